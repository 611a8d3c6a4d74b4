# TableRig.pm: servers for tables: scripted ones, and Debian's programs, which are
# unpacked and never installed; and the table plugins beside them.
package TableRig;
use strict;
use warnings;
use IO::Socket::INET;
use Socket qw(SOMAXCONN);
use Posthorn;

sub inet { return IO::Socket::INET->new(Listen => SOMAXCONN, LocalAddr => '127.0.0.1', ReuseAddr => 1, @_) // die "listen: $!" }

# A server in a child: each connection in a child of its own, $talk->(socket, what was read), until that is false.
sub server {
    my ($listen, $read, $talk) = @_;
    my $pid = Posthorn::child(sub {
        my %kid;
        $SIG{CHLD} = 'IGNORE';
        $SIG{TERM} = sub { kill 'KILL', keys %kid; POSIX::_exit(0) };
        while (my $c = $listen->accept) {
            my $kid = fork // die "fork: $!";
            if ($kid) { $kid{$kid} = 1; close $c; next }
            $SIG{TERM} = 'DEFAULT';
            close $listen;
            $c->autoflush;
            while (defined(my $q = $read->($c))) { $talk->($c, $q) or last }
            POSIX::_exit(0);
        }
    });
    close $listen;
    return $pid;
}

# posthorn-table-test with that script: its failures, or '' and at least one success.
sub script {
    my ($folder, $type, $dir, $text) = @_;
    Posthorn::spew("$dir/$type.test", $text);
    my $others = join ' ', map { "-p '$Posthorn::build/plugins/table/$_/.libs/table_$_.so'" } qw(inline static hash);
    my $out = `'$Posthorn::build/sdk/posthorn-table-test' $others '$Posthorn::build/plugins/table/$folder/.libs/table_$type.so' '$dir/$type.test' 2>&1`;
    my @bad = $out =~ /^(not ok .*(?:\n#.*)*)/mg;
    return @bad ? join "\n", @bad : $out =~ /^ok / && $out =~ /^1\.\.\d+$/m && !$? ? '' : "broken: $out";
}

# Debian's packages, the first with the program: (command to begin with), or () and why in $missing.
our $missing;
sub program {
    my ($path, $name, $dir, @packages) = @_;
    my @roots;
    for my $p (@packages) {
        push @roots, Posthorn::debian($p) // do { $missing = "package $p cannot be had"; return };
    }
    # Some look at the name that they are called by.
    symlink "$roots[0]$path", "$dir/$name" or die "$dir/$name: $!";
    return ('/usr/bin/env', 'LD_LIBRARY_PATH=' . join(':', map { ("$_/usr/lib/x86_64-linux-gnu", "$_/lib/x86_64-linux-gnu") } @roots), "$dir/$name");
}

# Start a server and wait until $answers->() is true; its pid.  It may be stopped (SIGSTOP) and is ended all the same.
sub start {
    my ($out, $answers, @command) = @_;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP PIPE);
        open STDIN, '<', '/dev/null';
        open STDOUT, '>', $out;
        open STDERR, '>&', \*STDOUT;
        exec { $command[0] } @command or POSIX::_exit(127);
    }
    $Posthorn::live{"pid $pid"} = { owner => $$, stop => sub { kill 'KILL', $pid; waitpid $pid, 0 } };
    return $pid if Posthorn::wait_for(sub { $answers->() || waitpid($pid, POSIX::WNOHANG()) }, 15) && kill 0, $pid;
    die "$command[-1]: " . Posthorn::slurp($out);
}

# SIGSTOP, and wait until it has stopped.
sub pause {
    my ($pid) = @_;
    kill 'STOP', $pid;
    return Posthorn::wait_for(sub { Posthorn::slurp("/proc/$pid/stat") =~ /\) T/ });
}

1;
