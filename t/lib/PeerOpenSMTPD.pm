# PeerOpenSMTPD.pm: Debian's OpenSMTPD as the other side: unpacked, never
# installed, run on loopback below a temporary directory.  Needs root, and a
# mount namespace of its own: its queue, its socket and its accounts are at
# fixed places.  It relays everything.
# PeerOpenSMTPD->missing says why it cannot run, or undef.
package PeerOpenSMTPD;
use strict;
use warnings;
use parent 'Peer';
use File::Path qw(make_path);
use Posthorn;

my @packages = qw(opensmtpd libevent-2.1-7);

sub missing {
    my $why = Peer::lacks('OpenSMTPD', @packages);
    return $why if $why;
    return 'mount namespaces or overlays cannot be had' unless Peer::can_mount(Peer::over_usr(@packages));
    return;
}

# new(-port => N, -relay => {domain => port on loopback}, more => lines of its configuration).
sub new {
    my ($class, %o) = @_;
    my ($tmp, $dir) = Peer::directory('opensmtpd');
    my $port = $o{-port} || Posthorn::free_port();
    make_path(map { "$dir/$_" } qw(spool/smtpd run lib/opensmtpd/empty));
    chmod 0711, "$dir/spool/smtpd";
    my $relay = $o{-relay} // {};
    my $n = 0;
    Posthorn::spew("$dir/conf", $o{more} // '', "listen on 127.0.0.1 port $port hostname opensmtpd.test\n", map { $n++; <<"CONF" } sort keys %$relay);
action "to$n" relay host "smtp://127.0.0.1:$relay->{$_}" helo opensmtpd.test
match from any for domain "$_" action "to$n"
CONF
    return bless { tmp => $tmp, dir => $dir, port => $port }, $class;
}

sub command {
    my ($self) = @_;
    my $dir = $self->{dir};
    # Two accounts that may be one: its queue is root's and the second's.
    my @mounts = (Peer::over_usr(@packages), Peer::named($dir, qw(opensmtpd opensmtpq)), "mount --bind $dir/spool /var/spool", "mount --bind $dir/lib /var/lib", "mount --bind $dir/run /run");
    return ({}, 'sh', '-c', 'exec ' . Peer::inside(Posthorn::debian('opensmtpd') . "/usr/sbin/smtpd -d -f $dir/conf", @mounts));
}

# How many envelopes it still has.
sub queued { my ($self) = @_; return scalar(my @e = grep { m{/[0-9a-f]{16}$} } glob "$self->{dir}/spool/smtpd/queue/*/*/*") }
sub log { return Posthorn::slurp("$_[0]{dir}/out") }

1;
