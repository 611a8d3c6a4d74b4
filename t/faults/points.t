#!/usr/bin/perl
# Each call site of the queue path with each fault that can happen there: see
# README.md.  FAULT=REGEX: only the points whose name matches; FAULT_SAMPLE=N:
# every Nth point and those below ("all": each one); FAULT_OPS: these operations
# only; FAULT_JOBS: instances at once.
use strict;
use warnings;
use Test::More;
use lib 't/lib', 't/faults';
use Points;

plan skip_all => 'inject.so is not built' unless -e $Faults::inject;
plan skip_all => 'addr2line (binutils) is not installed' unless grep { -x "$_/addr2line" } split /:/, $ENV{PATH};
my $only = $ENV{FAULT};
my $sample = $ENV{FAULT_SAMPLE} || ($only ? 'all' : 250);
my @ops = $ENV{FAULT_OPS} ? split(/ /, $ENV{FAULT_OPS}) : @Operations::order;
# What went wrong once, or matters most, is tried each time.
my @always = (
    qr/^accept (?:ENOSPC|SHORT) in:smtp pwrite\(f\)/, qr/^accept EIO in:smtp sync\(f\)/,
    qr/^accept ENOBUFS in:smtp send\(s\) .*<writer:/,              # the commit that is told to qmgr
    qr/^accept EINTR in:smtp recv\(s\) .*<transfer:\d+<.*[^t]$/,
    qr/^accept FDS /, qr/^sendmail SHORT pickup pread\(f\)/,
    qr/^requeue EIO qmgr open\(n\) run_dir_sync/, qr/^defer EIO qmgr stat\(n\) ph_queue_find:\d+<next_deferred/,
    qr/^restart EMFILE qmgr open\(n\) is_leased:\d+<recover_slot:\d+<found_in_pool.* last/, qr/^restart EIO qmgr readdir\(n\) each_name/,
);

# Operations in as many parts of about the same length.
sub parts {
    my ($jobs) = @_;
    my %weight = (restart => 15, expire => 7, hold => 6, requeue => 6, bounce => 5, expand => 4, defer => 4, sendmail => 4);
    my @part = map { { sum => 0, ops => [] } } 1 .. $jobs;
    for my $op (sort { ($weight{$b} || 2) <=> ($weight{$a} || 2) } @ops) {
        my ($least) = sort { $a->{sum} <=> $b->{sum} } @part;
        $least->{sum} += $weight{$op} || 2;
        push @{ $least->{ops} }, $op;
    }
    return grep { @{ $_->{ops} } } @part;
}

sub is_chosen {
    my ($p, $n) = @_;
    return $p->{name} =~ /$only/ if $only;
    return 1 if $sample eq 'all' || !($n % $sample);
    return grep { $p->{name} =~ $_ } @always;
}

sub run_part {
    my ($ops, $out) = @_;
    my $points = Points->new;
    my $n = 0;
    for my $op (@$ops) {
        for my $p ($points->points_of($op)) {
            next unless is_chosen($p, ++$n);
            print "# $p->{name}\n" if $ENV{FAULT_VERBOSE};
            $points->try_point($p);
        }
    }
    $points->audit;
    $points->save($out);
    $points->{op}->stop;
    return;
}

my $dir = File::Temp->newdir('posthorn-points-XXXXXX', TMPDIR => 1, CLEANUP => 1);
my ($n, @kids) = (0);
for my $part (parts($ENV{FAULT_JOBS} || 2)) {
    my $out = "$dir/" . $n++;
    push @kids, Posthorn::child(sub { run_part($part->{ops}, $out) });
}
for my $pid (@kids) { waitpid $pid, 0; delete $Posthorn::live{"pid $pid"} }
my @results = map { -e "$dir/$_" ? Points::load("$dir/$_") : () } 0 .. $n - 1;
is(scalar @results, $n, 'each part came to its end');
my $sum = Points::merge(@results);
Points::report($sum);
cmp_ok($sum->{met}, '>', 0, "$sum->{met} faults were met");
is_deeply($sum->{trouble}, [], 'never a false 250, nothing lost, nothing twice, the next client is served, the log says why');
done_testing();
