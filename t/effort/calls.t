#!/usr/bin/perl
# System calls and syncs per message of each process, counted by strace:
# README.md beside this.
use strict;
use warnings;
use Test::More;
use lib 't/lib', 't/bench', 't/effort';
use Effort;

my $MESSAGES = 40;
my $CALL = 0.5;                # a call more per message is seen
my $WAITS = 0.2;               # of the waits: how many there are depends on who is faster
my %is_wait = map { $_ => 1 } qw(epoll_wait epoll_pwait epoll_pwait2 futex ppoll poll);
my $depends = qr{= -1 EAGAIN|^\d+<(?:anon_inode:\[eventfd\]|/[^>]*/log/[^>]*)>};   # vain reads, wake-ups, and the log, which is written when a turn ends
my %is_sync = map { $_ => 1 } qw(fsync fdatasync sync syncfs msync sync_file_range);

plan skip_all => 'the calls of a sanitized build are not what is expected' if Effort::is_sanitized();
plan skip_all => 'strace is not installed' unless grep { -x "$_/strace" } split /:/, $ENV{PATH};

# The processes, and of each task which it belongs to.
sub tasks {
    my ($ph) = @_;
    my %line = $ph->processes;
    my (%role, @pids);
    for my $pid (sort { $a <=> $b } grep { $line{$_} =~ m{/worker} } keys %line) {
        my ($name) = grep { $line{$pid} =~ $Effort::process{$_} } keys %Effort::process;
        push @pids, $pid;
        $role{$_} = $name // 'others' for map { m{(\d+)$} } glob "/proc/$pid/task/*";
    }
    return (\%role, @pids);
}

sub traced_by { my ($task) = @_; return Posthorn::slurp("/proc/$task/status") =~ /^TracerPid:\s*(\d+)/m ? $1 : 0 }

# Code runs under strace: ({process}{kind} => calls, syncs).  A wait at the beginning is
# the one that the task was in when strace came.
sub count {
    my ($e, $code) = @_;
    my ($role, @pids) = tasks($e->{ph});
    my $file = "$e->{ph}{tmp}/strace";
    my $tracer = Posthorn::child(sub {
        open STDERR, '>', "$file.err";
        $SIG{INT} = 'DEFAULT';
        exec 'strace', '-f', '-y', '-o', $file, map { ('-p', $_) } @pids;
    });
    Posthorn::wait_for(sub { !grep { !traced_by($_) } keys %$role }) or die 'strace: ', Posthorn::slurp("$file.err");
    $code->();
    kill 'INT', $tracer;
    waitpid $tracer, 0;
    delete $Posthorn::live{"pid $tracer"};
    is_deeply([(tasks($e->{ph}))[1 .. @pids]], \@pids, 'by the same processes');
    my ($syncs, %n, %begun) = (0);
    for (split /\n/, Posthorn::slurp($file)) {
        my ($task, $resumed, $call, $rest) = /^(\d+) +(<\.\.\. )?(\w+)[( ](.*)/ or next;
        my $kind = $n{ $role->{$task} // 'others' } //= { calls => 0, waits => 0 };
        if ($resumed) {                 # the end of a call that was counted
            $kind->{calls}--, $kind->{waits}++ if !$is_wait{$call} && $rest =~ $depends;
            next;
        }
        next if !$begun{$task}++ && $is_wait{$call};
        $syncs++ if $is_sync{$call};
        $kind->{ $is_wait{$call} || $rest =~ $depends ? 'waits' : 'calls' }++;
    }
    return (\%n, $syncs);
}

my $e = Effort->new;
$e->{ph}->start;
$e->relay('kept', 200, 20);    # from here on there are slots enough, and all are used again
my $expected = Effort::expected();
for my $scenario (sort keys %Effort::scenario) {
    $e->relay($scenario, 20);
    # A message that comes before a slot is back makes a new one, whose name is synced too: on a busy machine one in 20 may,
    # and where more do, it is counted again.
    my ($n, $syncs);
    for my $try (1 .. 4) {
        ($n, $syncs) = count($e, sub { $e->relay($scenario, $MESSAGES) });
        last if $syncs <= 1.05 * $MESSAGES;
    }
    ok($syncs >= $MESSAGES && $syncs <= 1.05 * $MESSAGES, "$scenario: one sync for each message") or diag "$syncs";
    for my $who (sort(keys %Effort::process), 'others') {
        for my $what (qw(calls waits)) {
            my $want = $expected->{"$what $who $scenario"};
            Effort::judge("$what of $who, $scenario", ($n->{$who}{$what} // 0) / $MESSAGES, $want, $what eq 'calls' ? $CALL : 0.5 + $WAITS * ($want // 0));
        }
    }
}
done_testing();
