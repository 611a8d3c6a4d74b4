# PeerPostfix.pm: Debian's Postfix as the other side: unpacked, never
# installed, run on loopback below a temporary directory.  Needs root, because
# Postfix does; it borrows the system accounts news and uucp, so that none has
# to be made.  PeerPostfix->missing says why it cannot run, or undef.
package PeerPostfix;
use strict;
use warnings;
use parent 'Peer';
use File::Path qw(make_path);
use Posthorn;

sub missing {
    return 'group uucp is missing' unless defined getgrnam('uucp');
    return Peer::lacks('Postfix', 'postfix');
}

# new(main.cf settings): -port => N for its SMTP port; -relay => {domain =>
# port on loopback}, and all else is discarded.
sub new {
    my ($class, %set) = @_;
    my $port = delete $set{-port} || Posthorn::free_port();
    my $root = Posthorn::debian('postfix') or die 'no postfix';
    my $relay = delete $set{-relay} // {};
    my ($tmp) = Peer::directory('peer', delete $set{-dir});
    my $self = bless { tmp => $tmp, dir => "$tmp", port => $port, root => $root, lib => "$root/usr/lib/postfix" }, $class;
    make_path("$tmp/conf", "$tmp/data", map { "$tmp/queue/$_" } qw(active bounce corrupt defer deferred flush hold incoming saved trace
        maildrop pid private public));
    my ($uid, $gid, $drop) = (Peer::account(), scalar getgrnam 'uucp');
    my $maps = join ', ', %$relay ? '{*=discard:}' : (), map { "{$_=smtp:[127.0.0.1]:$relay->{$_}}" } sort keys %$relay;
    chown $uid, $gid, "$tmp/data", map { "$tmp/queue/$_" } qw(active bounce corrupt defer deferred flush hold incoming saved trace private);
    chmod 0700, map { "$tmp/queue/$_" } qw(active bounce corrupt defer deferred flush hold incoming saved trace private);
    chown $uid, $drop, "$tmp/queue/maildrop", "$tmp/queue/public";
    chmod 01730, "$tmp/queue/maildrop";
    chmod 02710, "$tmp/queue/public";
    my %cf = (
        compatibility_level => '3.7', queue_directory => "$tmp/queue", data_directory => "$tmp/data", daemon_directory => "$self->{lib}/sbin",
        command_directory => "$root/usr/sbin", shlib_directory => $self->{lib}, meta_directory => "$tmp/conf", mail_owner => 'news',
        setgid_group => 'uucp', inet_interfaces => 'loopback-only', inet_protocols => 'ipv4', myhostname => 'peer.test', mydestination => '',
        mynetworks => '127.0.0.0/8', maillog_file => "$tmp/log", maillog_file_prefixes => "$tmp",
        import_environment => "MAIL_CONFIG MAIL_DEBUG TZ LANG=C LD_LIBRARY_PATH=$self->{lib}", alias_maps => '',
        $maps ? (transport_maps => "inline:{ $maps }") : (), %set,
    );
    $self->{cf} = \%cf;
    $self->reconfigure;
    Posthorn::spew("$tmp/conf/master.cf", <<"CF");
127.0.0.1:$port inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
CF
    return $self;
}

# Change main.cf (before start).
sub reconfigure {
    my ($self, %set) = @_;
    my %cf = (%{ $self->{cf} }, %set);
    $self->{cf} = \%cf;
    Posthorn::spew("$self->{dir}/conf/main.cf", map { "$_ = $cf{$_}\n" } sort keys %cf);
    return $self;
}

sub env { my ($self) = @_; return ("MAIL_CONFIG=$self->{dir}/conf", "LD_LIBRARY_PATH=$self->{lib}") }

sub command { my ($self) = @_; return ({}, '/usr/bin/env', $self->env, "$self->{lib}/sbin/master", '-d', '-c', "$self->{dir}/conf") }
sub run { my ($self, $tool, @args) = @_; return Posthorn::run({}, '/usr/bin/env', $self->env, "$self->{root}/usr/sbin/$tool", @args) }
sub log { Posthorn::slurp("$_[0]{dir}/log") }
# How many messages it still has.
sub queued { my ($self) = @_; return scalar grep { /^\{/ } split /\n/, $self->run('postqueue', '-j') }

1;
