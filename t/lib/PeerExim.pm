# PeerExim.pm: Debian's Exim as the other side: unpacked, never installed, run
# on loopback below a temporary directory.  Needs root; borrows the account
# news, and shows Exim the account it was built for through nss_wrapper.
# It keeps what it gets in its queue, where {mail} reads it.
# PeerExim->missing says why it cannot run, or undef.
package PeerExim;
use strict;
use warnings;
use File::Path qw(make_path);
use File::Temp ();
use Posthorn;

my %need = ('exim4-daemon-light' => 'usr/sbin/exim4', 'libidn12' => 'usr/lib', 'libnss-wrapper' => 'usr/lib');

sub missing {
    return 'Exim as a peer needs root' if $> != 0;
    return 'account news is missing' unless defined getpwnam('news');
    for my $p (sort keys %need) { return "package $p cannot be had" unless Posthorn::debian($p) }
    return;
}

# more: lines of the main part of its configuration.
sub new {
    my ($class, %o) = @_;
    my $port = $o{-port} || Posthorn::free_port();
    my $tmp = File::Temp->newdir('exim-XXXXXX', TMPDIR => 1, CLEANUP => 1);
    chmod 0755, "$tmp";
    my ($uid, $gid) = (getpwnam 'news')[2, 3];
    make_path(map { "$tmp/$_" } qw(spool log));
    chown $uid, $gid, map { "$tmp/$_" } qw(spool log);
    Posthorn::spew("$tmp/passwd", Posthorn::slurp('/etc/passwd'), "Debian-exim:x:$uid:${gid}::/:/bin/false\n");
    Posthorn::spew("$tmp/group", Posthorn::slurp('/etc/group'), "Debian-exim:x:$gid:\n");
    my $exim = Posthorn::debian('exim4-daemon-light') . '/usr/sbin/exim4';
    Posthorn::spew("$tmp/conf", <<"CONF");
keep_environment = ^LD_:^NSS_WRAPPER
exim_path = $exim
queue_only = true
exim_user = news
exim_group = news
spool_directory = $tmp/spool
log_file_path = $tmp/log/%slog
pid_file_path = $tmp/exim.pid
daemon_smtp_ports = $port
local_interfaces = 127.0.0.1
primary_hostname = exim.test
smtp_accept_max = 100
smtp_accept_max_per_connection = 0
smtp_accept_queue_per_connection = 0
tls_advertise_hosts =
dsn_advertise_hosts = *
acl_smtp_rcpt = accept
acl_smtp_data = accept
never_users =
${\($o{more} // '')}
begin routers
all:
  driver = accept
  transport = box
begin transports
box:
  driver = appendfile
  file = /dev/null
CONF
    return bless { tmp => $tmp, dir => "$tmp", port => $port, exim => $exim }, $class;
}

sub start {
    my ($self) = @_;
    my ($arch) = glob(Posthorn::debian('libidn12') . '/usr/lib/*-linux-*');
    my ($wrapper) = glob(Posthorn::debian('libnss-wrapper') . '/usr/lib/*/libnss_wrapper.so');
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        setpgrp 0, 0;
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', "$self->{dir}/out";
        open STDERR, '>&', \*STDOUT;
        @ENV{qw(LD_PRELOAD LD_LIBRARY_PATH NSS_WRAPPER_PASSWD NSS_WRAPPER_GROUP)} = ($wrapper, $arch, "$self->{dir}/passwd", "$self->{dir}/group");
        exec $self->{exim}, '-C', "$self->{dir}/conf", '-bdf';
    }
    $self->{pid} = $pid;
    $Posthorn::live{"pid $pid"} = { owner => $$, stop => sub { $self->stop } };
    Posthorn::wait_for(sub { my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port}) and return 1; 0 }, 20)
        or die 'Exim did not start: ' . Posthorn::slurp("$self->{dir}/out") . $self->log;
    return $self;
}

sub stop {
    my ($self) = @_;
    my $pid = delete $self->{pid} or return;
    delete $Posthorn::live{"pid $pid"};
    kill 'TERM', $pid;
    Posthorn::wait_for(sub { waitpid($pid, POSIX::WNOHANG()) != 0 }, 15) or do { kill 'KILL', -$pid; waitpid $pid, 0 };
    return $self;
}

sub port { $_[0]{port} }
sub log { return join '', map { Posthorn::slurp($_) } glob "$_[0]{dir}/log/*" }

# The queued messages: ({to => [...], body => text with LF}, ...).  NAME-H holds
# the envelope and the headers, NAME-D the body behind a line of its own.
sub mail {
    my ($self) = @_;
    my @got;
    for my $data (glob "$self->{dir}/spool/input/*-D") {
        (my $head = $data) =~ s/D$/H/;
        my ($envelope, $headers) = split /\n\n/, Posthorn::slurp($head), 2;
        (my $body = Posthorn::slurp($data)) =~ s/^[^\n]*\n//;
        next unless defined $headers && $body ne '';
        push @got, { to => [$envelope =~ /^([^<\s]\S*\@\S+)$/mg], headers => $headers, body => $body };
    }
    return @got;
}
sub DESTROY { my ($self) = @_; local ($?, $!, $@); $self->stop }

1;
