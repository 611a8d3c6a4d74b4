# TableRig.pm: servers for tables: scripted ones, and Debian's programs, which are
# unpacked and never installed; and the table plugins beside them.
package TableRig;
use strict;
use warnings;
use IO::Socket::INET;
use Socket qw(SOMAXCONN);
use Posthorn;
use Test::More;

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
    return failures($out);
}

# What posthorn-table-test said and how it ended ($?), as failures: '' when there was a success and no other.
sub failures {
    my ($out) = @_;
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

# A table that smtpd asks for recipients, in a system that runs: each key of %$refused is refused with these words,
# yes@ is not, hang@ keeps its server waiting.  $end->() ends the server, $begin->() starts it anew.
sub serves_smtpd {
    my ($ph, $refused, $end, $begin) = @_;
    my $rcpt = sub { my ($c, $to) = @_; return ($c->ask("RCPT TO:<$to\@example.test>"))[-1] };
    my $session = sub { my $c = $ph->smtp; $c->ask('EHLO c.test'); $c->ask('MAIL FROM:<a@b.test>'); return $c };
    my $c = eval { $session->() } or diag($ph->log);
    like($rcpt->($c, $_), qr/^554 .*$refused->{$_}/, "smtpd asks it: $refused->{$_}") or diag($ph->log) for sort keys %$refused;
    like($rcpt->($c, 'yes'), qr/^250/, 'who is not in it is let in');
    my $stuck = $session->();
    $stuck->put("RCPT TO:<hang\@example.test>\r\n");
    my $others = $session->();
    like($rcpt->($others, "u$_"), qr/^250/, "while one waits for its server others are served ($_)") for 1 .. 3;
    $end->();
    like($rcpt->($others, 'v'), qr/^451/, 'a server that is gone is a failure, and not "not found"');
    like($stuck->reply, qr/^451/, 'for who was waiting too');
    $begin->();
    like($rcpt->($others, 'v'), qr/^250/, 'when it is there again all is well');
    return;
}

# SIGSTOP, and wait until it has stopped.
sub pause {
    my ($pid) = @_;
    kill 'STOP', $pid;
    return Posthorn::wait_for(sub { Posthorn::slurp("/proc/$pid/stat") =~ /\) T/ });
}

1;
