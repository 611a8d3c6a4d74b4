# PeerDovecot.pm: Debian's Dovecot as a mail store behind LMTP: unpacked, never
# installed, run below a temporary directory.  Needs root: it sees its programs
# where it was built to find them, in a mount namespace of its own.
# PeerDovecot->missing says why it cannot run, or undef.
package PeerDovecot;
use strict;
use warnings;
use parent 'Peer';
use File::Path qw(make_path);
use IO::Socket::UNIX;
use Posthorn;

my @packages = qw(dovecot-core dovecot-lmtpd);

sub missing {
    my $why = Peer::lacks('Dovecot', @packages);
    return $why if $why;
    return 'mount namespaces or overlays cannot be had' unless Peer::can_mount(Peer::over_usr(@packages));
    return;
}

# new(users => ['ann', ...]): each has a maildir; sockets {dir}/lmtp and port {port}.
sub new {
    my ($class, %o) = @_;
    my ($tmp) = Peer::directory('dovecot');
    my $port = Posthorn::free_port();
    make_path(map { "$tmp/$_" } qw(run state mail));
    my ($uid, $gid) = Peer::account();
    chown $uid, $gid, "$tmp/mail";
    Posthorn::spew("$tmp/users", map { "$_\::$uid:$gid\::$tmp/mail/$_\::\n" } @{ $o{users} });
    Posthorn::spew("$tmp/conf", <<"CONF");
base_dir = $tmp/run
state_dir = $tmp/state
default_internal_user = news
default_internal_group = news
default_login_user = nobody
protocols = lmtp
log_path = $tmp/log
ssl = no
first_valid_uid = 1
first_valid_gid = 1
mail_location = maildir:$tmp/mail/%n
passdb {
  driver = static
  args = nopassword=y
}
userdb {
  driver = passwd-file
  args = username_format=%n $tmp/users
}
service lmtp {
  chroot =
  unix_listener $tmp/lmtp {
    mode = 0666
  }
  inet_listener lmtp {
    address = 127.0.0.1
    port = $port
  }
}
service anvil {
  chroot =
}
service stats {
  chroot =
}
protocol lmtp {
  postmaster_address = postmaster\@dovecot.test
}
CONF
    return bless { tmp => $tmp, dir => "$tmp", port => $port }, $class;
}

sub command {
    my ($self) = @_;
    return ({}, 'sh', '-c', 'exec ' . Peer::inside(Posthorn::debian('dovecot-core') . "/usr/sbin/dovecot -F -c $self->{dir}/conf", Peer::over_usr(@packages)));
}

sub answers { my ($self) = @_; return IO::Socket::UNIX->new(Peer => $self->socket) ? 1 : 0 }
sub socket { "$_[0]{dir}/lmtp" }
sub log { Posthorn::slurp("$_[0]{dir}/log") }
sub mail { my ($self, $user) = @_; return map { Posthorn::slurp($_) } glob "$self->{dir}/mail/$user/new/*" }

1;
