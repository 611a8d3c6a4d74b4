# PeerDovecot.pm: Debian's Dovecot as a mail store behind LMTP: unpacked, never
# installed, run below a temporary directory.  Needs root: it sees its programs
# where it was built to find them, in a mount namespace of its own.
# PeerDovecot->missing says why it cannot run, or undef.
package PeerDovecot;
use strict;
use warnings;
use File::Path qw(make_path);
use File::Temp ();
use IO::Socket::UNIX;
use Posthorn;

sub missing {
    return 'Dovecot as a peer needs root' if $> != 0;
    return 'account news is missing' unless defined getpwnam('news');
    for my $p (qw(dovecot-core dovecot-lmtpd)) { return "package $p cannot be had" unless Posthorn::debian($p) }
    return 'mount namespaces or overlays cannot be had' if system(_inside('true') . ' >/dev/null 2>&1') != 0;
    return;
}

# A shell command that runs with the unpacked packages laid over /usr.
sub _inside {
    my ($command) = @_;
    my @roots = map { Posthorn::debian($_) } qw(dovecot-core dovecot-lmtpd);
    my $lay = join ' && ', map { my $d = $_; my $over = join ':', grep { -d } map { "$_/usr/$d" } @roots; "mount -t overlay overlay -o lowerdir=$over:/usr/$d /usr/$d" } qw(lib bin);
    return "unshare --mount --propagation private sh -c '$lay && exec $command'";
}

# new(users => ['ann', ...]): each has a maildir; sockets {dir}/lmtp and port {port}.
sub new {
    my ($class, %o) = @_;
    my $tmp = File::Temp->newdir('dovecot-XXXXXX', TMPDIR => 1, CLEANUP => 1);
    my $port = Posthorn::free_port();
    chmod 0755, "$tmp";
    make_path(map { "$tmp/$_" } qw(run state mail));
    my ($uid, $gid) = (getpwnam 'news')[2, 3];
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

sub start {
    my ($self) = @_;
    my $program = Posthorn::debian('dovecot-core') . '/usr/sbin/dovecot';
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        setpgrp 0, 0;
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', "$self->{dir}/out";
        open STDERR, '>&', \*STDOUT;
        exec 'sh', '-c', 'exec ' . _inside("$program -F -c $self->{dir}/conf");
    }
    $self->{pid} = $pid;
    $Posthorn::live{"pid $pid"} = { owner => $$, stop => sub { $self->stop } };
    Posthorn::wait_for(sub { my $s = IO::Socket::UNIX->new(Peer => $self->socket) and return 1; 0 }, 20)
        or die 'Dovecot did not start: ' . Posthorn::slurp("$self->{dir}/out") . $self->log;
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

sub socket { "$_[0]{dir}/lmtp" }
sub port { $_[0]{port} }
sub log { Posthorn::slurp("$_[0]{dir}/log") }
sub mail { my ($self, $user) = @_; return map { Posthorn::slurp($_) } glob "$self->{dir}/mail/$user/new/*" }
sub DESTROY { my ($self) = @_; local ($?, $!, $@); $self->stop }

1;
