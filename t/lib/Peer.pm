# Peer.pm: what the other mail systems have in common: Debian's packages,
# unpacked and never installed, run on loopback below a temporary directory.
# A peer gives command() = (\%environment, program, arguments) that stays in the
# foreground and ends with SIGTERM, log(), and {dir}, {port}.
package Peer;
use strict;
use warnings;
use File::Temp ();
use POSIX ();
use Posthorn;

# Why a peer cannot run that needs root, the account news and these packages; undef: it can.
sub lacks {
    my ($what, @packages) = @_;
    return "$what as a peer needs root" if $> != 0;
    return 'account news is missing' unless defined getpwnam('news');
    for my $p (@packages) { return "package $p cannot be had" unless Posthorn::debian($p) }
    return;
}

# (uid, gid) of the account that peers borrow, so that none has to be made.
sub account { return (getpwnam 'news')[2, 3] }

# A directory that others may enter: (object that removes it at its end, path).
sub directory {
    my ($name, $base) = @_;
    my $tmp = File::Temp->newdir("$name-XXXXXX", $base ? (DIR => $base) : (TMPDIR => 1), CLEANUP => 1);
    chmod 0755, "$tmp";
    return ($tmp, "$tmp");
}

# Mounts that lay unpacked packages over /usr.
sub over_usr {
    my @roots = map { Posthorn::debian($_) } @_;
    return map { my $d = $_; my $over = join ':', grep { -d } map { "$_/usr/$d" } @roots; $over ? "mount -t overlay overlay -o lowerdir=$over:/usr/$d /usr/$d" : () } qw(lib bin);
}

# Mounts that show programs these names for the account of above; the files are made in $dir.
sub named {
    my ($dir, @names) = @_;
    my ($uid, $gid) = account();
    Posthorn::spew("$dir/passwd", Posthorn::slurp('/etc/passwd'), map { "$_:x:$uid:${gid}::/nonexistent:/bin/false\n" } @names);
    Posthorn::spew("$dir/group", Posthorn::slurp('/etc/group'), map { "$_:x:$gid:\n" } @names);
    return map { "mount --bind $dir/$_ /etc/$_" } qw(passwd group);
}

# A shell command that runs where the mounts were made, for programs that look at paths they were built with.
sub inside {
    my ($command, @mounts) = @_;
    return "unshare --mount --propagation private sh -c '" . join(' && ', @mounts, "exec $command") . "'";
}

# Whether `inside` works here.
sub can_mount { return system(inside('true', @_) . ' >/dev/null 2>&1') == 0 }

sub start {
    my ($self) = @_;
    my ($env, @command) = $self->command;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        setpgrp 0, 0;
        $SIG{$_} = 'DEFAULT' for qw(INT QUIT TERM HUP PIPE);
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', "$self->{dir}/out";
        open STDERR, '>&', \*STDOUT;
        @ENV{ keys %$env } = values %$env;
        exec { $command[0] } @command or POSIX::_exit(127);
    }
    $self->{pid} = $pid;
    $Posthorn::live{"pid $pid"} = { owner => $$, stop => sub { $self->stop } };
    Posthorn::wait_for(sub { $self->answers }, 20) or die ref($self) . ' did not start: ' . Posthorn::slurp("$self->{dir}/out") . $self->log;
    return $self;
}

sub answers { my ($self) = @_; return IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port}) ? 1 : 0 }

sub stop {
    my ($self) = @_;
    my $pid = delete $self->{pid} or return;
    delete $Posthorn::live{"pid $pid"};
    kill 'TERM', $pid;
    Posthorn::wait_for(sub { waitpid($pid, POSIX::WNOHANG()) != 0 }, 15) or do { kill 'KILL', -$pid; waitpid $pid, 0 };
    return $self;
}

sub port { $_[0]{port} }
sub master_pid { $_[0]{pid} }
sub dir { $_[0]{dir} }
sub DESTROY { my ($self) = @_; local ($?, $!, $@); $self->stop }

1;
