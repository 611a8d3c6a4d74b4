#!/usr/bin/perl
# kill -9 of the process that writes, at its system calls, in a running instance:
# README.md beside this says what is proved, and how to read a failure.
#
#   POSTHORN_CRASH=sample (the default), all, NAME (all points of a scenario),
#   NAME:N:entry or NAME:N:exit (one point), NAME:trace (its calls, undisturbed)
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;
use Crash;
use CrashOps;

my $SAMPLE = 2;                 # points of a scenario
my $TRIES = 3;                  # until a run goes the way of the undisturbed one

plan skip_all => "$Crash::attach is not built" unless -x $Crash::attach;
my ($name, $n, $phase) = split /:/, $ENV{POSTHORN_CRASH} || 'sample';
my @chosen = grep { $name =~ /^(?:all|sample)$/ || $_->{name} eq $name } @CrashOps::scenarios;
BAIL_OUT("no scenario $name: " . join ', ', map { $_->{name} } @CrashOps::scenarios) unless @chosen;
plan skip_all => 'processes of others cannot be traced here (yama)' unless Crash::can_trace();

# Every tenth, say, but not the same ones in each scenario.
sub sample {
    my ($k, @all) = @_;
    my $step = @all / $SAMPLE;
    return map { $all[($_ * $step + $k * 0.37 * $step) % @all] } 0 .. $SAMPLE - 1;
}

sub op_of {
    my ($s, $calls) = @_;
    return $s->{op} unless ref $s->{op};
    my ($first, $re, $second) = @{ $s->{op} };
    return defined Crash::find_call($calls, 0, $re, 1) ? $second : $first;
}

# One point, again when timing led elsewhere.  Each run starts as the undisturbed one
# did, with a victim that is new: a killed one is, one that was not met is not.
my $is_new = 0;
sub try_point {
    my ($c, $s, @point) = @_;
    my $tries = $point[0] =~ /\./ ? 1 : $TRIES;       # a wait need not be there each time
    for my $try (1 .. $tries) {
        if (!$is_new) { $c->renew($s) }
        elsif ($try > 1) { $c->warm_up($s) }            # one message more: queue files are asked for in twos
        my $m = $c->run($s, @point);
        $is_new = $m->{end} =~ /^killed/;
        return $m if @{ $m->{wrong} || [] } || $try == $tries || $is_new && Crash::is_same_way($m);
    }
}

my (%points, %twice, %missed);
my ($killed, $logs, $restarts) = (0, 0, 0);

sub run_scenario {
    my ($c, $s, $k) = @_;
    $c->warm_up($s) && $c->renew($s) or return fail("$s->{name}: no mail flows") || diag $c->{ph}->log;
    my $calm = $c->run($s);
    $s->{baseline} = $calm->{calls};
    $is_new = 0;
    is_deeply($calm->{wrong} || [], [], "$s->{name}: undisturbed, " . @{ $calm->{calls} } . ' calls') or return diag $c->{ph}->log;
    if (($n // '') eq 'trace') {
        diag join ' ', @$_{'number', 'name', 'about'}, "= $_->{result}" for @{ $calm->{calls} };
        return;
    }
    my @points = defined $n ? ([$n, $phase]) x ($ENV{POSTHORN_TIMES} || 1) : Crash::points($calm->{calls});
    @points = sample($k, @points) if $name eq 'sample';
    my @wrong;
    for my $p (@points) {
        my $m = try_point($c, $s, @$p);
        if ($m->{end} =~ /^killed/) { $points{ op_of($s, $m->{calls}) }++; $killed++ } else { $missed{$s->{name}}++ }
        $twice{"$s->{name}: $_"}++ for keys %{ $m->{twice} || {} };
        push @wrong, map { "$s->{name}:$p->[0]:$p->[1] ($m->{end}): $_" } @{ $m->{wrong} || [] };
        diag join "\n", @{ $m->{wrong} }, grep { /$m->{tag}|\Q@{[$m->{id} || '-']}\E/ } split /\n/, $c->{ph}->log if @{ $m->{wrong} || [] } && $ENV{POSTHORN_VERBOSE};
    }
    is_deeply(\@wrong, [], "$s->{name}: " . @points . ' points');
}

my %by_conf;
for my $s (@chosen) { my $f = $s->{conf} || {}; push @{ $by_conf{ join "\n", map { "$_=$f->{$_}" } sort keys %$f } }, $s }
my $k = 0;
for my $conf (sort keys %by_conf) {
    my $c = Crash->new(%{ $by_conf{$conf}[0]{conf} || {} });
    run_scenario($c, $_, $k++) for @{ $by_conf{$conf} };
    my ($old, @left) = $c->finish;
    $logs += $old;
    $restarts += $c->{restarts};
    is_deeply(\@left, [], 'afterwards the queue is empty: no file, no log, nothing damaged') or diag $c->{ph}->log;
    my @late = map { my $m = $_; map { join ' ', $m->{s}{name} // 'warm-up', $m->{end} // '', ": $_" } $c->judge($m) } @{ $c->{all} };
    diag join "\n", map { my $m = $_; $c->judge($m) ? grep { /$m->{tag}|\Q@{[$m->{id} || '-']}\E/ } split /\n/, $c->{ph}->log : () } @{ $c->{all} } if @late && $ENV{POSTHORN_VERBOSE};
    is_deeply(\@late, [], 'and of ' . @{ $c->{all} } . ' messages none came late');
}
diag 'crash points: ', join(', ', map { "$points{$_} $_" } sort keys %points), ", total $killed; restarts of everything: $restarts; logs swept: $logs";
diag "  $_, $twice{$_} times" for sort keys %twice;
diag "  $_: $missed{$_} points that this run did not meet" for sort keys %missed;
done_testing();
