#!/usr/bin/perl
# The Nth allocation of a service fails, once or from then on, while a message
# passes: the worker ends with words in the log (or does without), the master
# starts another, nothing acknowledged is lost, and others are served.
# FAULT_MEMORY=N: how many allocations of each service and way (0: all of them);
# FAULT=NAME: only this one ("smtp qmgr allocation 12").
use strict;
use warnings;
use Test::More;
use lib 't/lib', 't/faults';
use Operations;

plan skip_all => 'inject.so is not built' unless -e $Faults::inject;
plan skip_all => "allocations cannot be made to fail under ASan, which has an allocator of its own" if Faults::is_sanitized();
my $sample = $ENV{FAULT_MEMORY} // 2;
my $only = $ENV{FAULT} // '';

# A client to each receiver: so one that is served meanwhile is in another process.
my $o = Operations->new;
my ($ph, $f) = ($o->{ph}, $o->{faults});
$ph->edit_master(sub { s/sessions: 1000/sessions: 1/ });
$o->start;
my @ways = (['in:smtp', 'accept'], ['in:smtp', 'accept-bdat'], ['qmgr', 'smtp'], ['qmgr', 'bounce'], ['smtp', 'smtp'], ['virtual', 'accept'],
    ['bounce', 'bounce'], ['bounce', 'defer'], ['pickup', 'sendmail']);
my (%count, @trouble, %tolerated, @all);

sub trouble { my ($name, $why) = @_; push @trouble, "$name: $why"; diag "$name: $why"; return }

# Allocations of the service in one undisturbed run of the operation.
sub allocations {
    my ($service, $op) = @_;
    for my $turn (1, 2) {
        my $t = $o->token;
        $o->{client} = $ph->smtp;          # so that its receiver runs already
        $f->count_memory($service) if $turn == 2;
        $Operations::run{$op}->($o, $t) or BAIL_OUT("$op does not work undisturbed: $o->{sent}{$t}{text}");
        $f->calm;
    }
    return $f->memory_met;
}

# A transaction that was begun before, in another receiver.  It sends nothing more until
# the end: what its receiver still did when memory ends would be met instead.
sub begin_other {
    my $c = $ph->smtp(timeout => 20);
    my $t = $o->token;
    for my $line ('EHLO other.test', "MAIL FROM:<b-$t\@example.test>", "RCPT TO:<$t\@example.test>", 'DATA') {
        my ($code, $text) = $c->ask($line);
        BAIL_OUT("the other client: $text") unless $code =~ /^[23]/;
    }
    return ($c, $t);
}

# Its end.  Without qmgr it may hear 4xx; a receiver's end is nothing to another.
sub end_other {
    my ($name, $service, $c, $t) = @_;
    $c->put("Subject: $t\r\n\r\nother\r\n.\r\n");
    my ($code, $text) = $c->reply;
    $o->{sent}{$t} = { code => $code, text => $text };
    trouble($name, "another client got: " . ($text || 'the end of its connection')) unless $code == 250 || ($service eq 'qmgr' && $code =~ /^4/);
    trouble($name, "another client's mail did not come") if $code == 250 && !$o->settle($t, 20);
    return;
}

sub look_at_end {
    my ($name, $pid, $log) = @_;
    my @where = $f->names($f->struck_frames);
    # libseccomp takes no care; a process that is being sealed serves nobody yet.
    if ($log =~ /\Q$pid\E killed by signal 11/ && grep { /^seccomp_load/ } @where) { $count{'ended in libseccomp'}++ }
    elsif ($log =~ /\Q$pid\E killed by signal (\d+)/) {
        trouble($name, "killed by signal $1 " . join "<", @where);
    } elsif ($log =~ /pid \Q$pid\E exit status/) {
        $count{ended}++;
        trouble($name, "ended without words: $log") unless $log =~ /fatal: .*(?:out of memory|Cannot allocate memory)/;
    } elsif (kill 0, $pid) {
        $count{'went on'}++;
        my @n = $f->names($f->struck_frames);
        splice @n, 4 if @n > 4;
        $tolerated{ join '<', @n }++;
    }
    return;
}

sub try_one {
    my ($service, $op, $n, $times) = @_;
    my $name = "$op $service allocation $n" . ($times > 1 ? ' and all after' : '');
    return if $only && $name !~ /$only/;
    my ($c, $other) = begin_other();
    my $t = $o->token;
    $o->{client} = $ph->smtp(timeout => 20);
    $o->new_log;
    $f->arm_memory($service, $n, $times);
    my $ok = $Operations::run{$op}->($o, $t);
    delete $o->{client};
    $f->calm;
    my ($hits, $pid) = ($f->hits, $f->struck_pid);
    end_other($name, $service, $c, $other);
    my $probe = $o->token;
    trouble($name, "no service afterwards: $o->{sent}{$probe}{text}") unless Posthorn::wait_for(sub { $o->say_mail($probe) }, 10) && $o->settle($probe, 20);
    my $said = $o->{sent}{$t};
    trouble($name, "got 250 and " . ($o->queued($t) ? 'stays in the queue' : 'is LOST')) if $said->{code} == 250 && !$ok && !$o->settle($t, 20);
    trouble($name, "a refusal for good: $said->{text}") if $said->{code} >= 500;
    push @all, [$name, $op, $t, $other];
    $count{$hits ? 'met' : 'not met'}++;
    look_at_end($name, $pid, $o->new_log) if $hits;
    return;
}

for my $way (@ways) {
    my ($service, $op) = @$way;
    next if $only && $only !~ /^\Q$op $service\E /;
    my $n = allocations($service, $op);
    cmp_ok($n, '>', 0, "$op: $service allocates ($n times)") or next;
    my $points = $sample && $sample < $n ? $sample : $n;
    try_one($service, $op, int($_ * $n / $points), $_ % 2 ? 1_000_000 : 1) for 0 .. $points - 1;
}
Posthorn::wait_for(sub { return 1 unless $o->all_queued; $o->flush; return 0 }, 30) or trouble('end', 'the queue does not run empty');
for my $x (@all) {
    my ($name, $op, @t) = @$x;
    for my $t (@t) {
        my ($d, $b, $said) = ($o->delivered($t), $o->bounced($t), $o->{sent}{$t});
        my $fails = $op eq 'bounce' && $t eq $t[0];
        trouble($name, "$t was answered $said->{code}, and came all the same") if $said->{code} >= 400 && $d + $b;
        trouble($name, "$t is lost") if $said->{code} == 250 && !($d + $b);
        trouble($name, "$t was returned ($b) and delivered ($d)") if $fails ? $d : $b;
        $count{twice}++ if ($fails ? $b : $d) > 1;
    }
}
print '# allocations failed: ', join(', ', map { "$_ $count{$_}" } sort keys %count), "\n";
print "# went on without: $_: $tolerated{$_}\n" for sort keys %tolerated;
is_deeply(\@trouble, [], 'memory ended in each of them: nothing acknowledged is lost, others are served, no crash');
cmp_ok($count{ended} || 0, '>', 0, 'workers ended by it') unless $only;
done_testing();
