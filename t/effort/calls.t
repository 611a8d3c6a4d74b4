#!/usr/bin/perl
# System calls and syncs per message of each process, counted by strace:
# README.md beside this.
use strict;
use warnings;
use Test::More;
use lib 't/lib', 't/bench', 't/effort';
use Effort;

my $MESSAGES = 40;
my $CALL = 0.8;                # a call more per message is seen
my $WAITS = 0.2;               # of the waits: how many depends on who is faster
my %is_wait = map { $_ => 1 } qw(epoll_wait epoll_pwait epoll_pwait2 futex ppoll poll);
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

# Code runs under strace: {process}{kind} => calls.  A wait at the beginning is
# the one that the task was in when strace came.
sub count {
    my ($e, $code) = @_;
    my ($role, @pids) = tasks($e->{ph});
    my $file = "$e->{ph}{tmp}/strace";
    my $tracer = Posthorn::child(sub {
        open STDERR, '>', "$file.err";
        $SIG{INT} = 'DEFAULT';
        exec 'strace', '-f', '-o', $file, map { ('-p', $_) } @pids;
    });
    Posthorn::wait_for(sub { !grep { !traced_by($_) } keys %$role }) or return fail('strace: ' . Posthorn::slurp("$file.err"));
    $code->();
    kill 'INT', $tracer;
    waitpid $tracer, 0;
    delete $Posthorn::live{"pid $tracer"};
    is_deeply([(tasks($e->{ph}))[1 .. @pids]], \@pids, 'by the same processes');
    my (%n, %begun);
    for (split /\n/, Posthorn::slurp($file)) {
        my ($task, $call, $rest) = /^(\d+) +(\w+)\((.*)/ or next;
        next if !$begun{$task}++ && $is_wait{$call};
        my $who = $role->{$task} // 'others';
        $n{all}{syncs}++ if $is_sync{$call};
        $n{$who}{ $is_wait{$call} || $rest =~ /= -1 EAGAIN/ ? 'waits' : 'calls' }++;
    }
    return \%n;
}

my $e = Effort->new;
$e->{ph}->start;
$e->relay('kept', 200, 20);    # from here on there are slots enough, and all are used again
my $expected = Effort::expected();
for my $scenario (sort keys %Effort::scenario) {
    $e->relay($scenario, 20);
    my $n = count($e, sub { $e->relay($scenario, $MESSAGES) }) or next;
    is($n->{all}{syncs}, $MESSAGES, "$scenario: one sync for each message");
    for my $who (sort(keys %Effort::process), 'others') {
        for my $what (qw(calls waits)) {
            my $want = $expected->{"$what $who $scenario"};
            Effort::judge("$what of $who, $scenario", ($n->{$who}{$what} // 0) / $MESSAGES, $want, $what eq 'calls' ? $CALL : 0.5 + $WAITS * ($want // 0));
        }
    }
}
done_testing();
