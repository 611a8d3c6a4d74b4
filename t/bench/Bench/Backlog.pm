# Backlog.pm: the same backlog in one system after the other: sent to it while
# the next hop is down, so that each has its own files as it writes them.
package Bench::Backlog;
use strict;
use warnings;
use Time::HiRes qw(time);
use Bench::Load;
use Bench::Meter;
use Bench::Systems;
use Bench::World;
use Posthorn;
use Soak;

# Nothing listens where mail is relayed to, and nothing is tried again meanwhile.
# Fresh mail goes to a maildir.
my %scenario = (
    sessions => 20, maildirs => 1, source => ['-t', 'u%@far.test', '-r', 1000],
    settings => { minimal_backoff_time => '2h', maximal_backoff_time => '2h', queue_run_delay => '1h' },
);

sub queue { my ($system) = @_; return $system->isa('Posthorn') ? $system->queue : "$system->{dir}/queue" }

sub deferred {
    my ($system) = @_;
    my $queue = queue($system);
    my $n = `find '$queue/deferred' -type f | wc -l`;
    return 0 + $n;
}

# Until all of it lies in deferred.
sub fill {
    my ($system, $count, $bytes) = @_;
    my $sent = Bench::Load::source($system->port, { %scenario, bytes => $bytes }, 'b', $count);
    die "bench: $system->{name} took $sent->{accepted} of $count\n" if $sent->{accepted} != $count;
    local $Posthorn::tick = 0.5;
    Posthorn::wait_for(sub { deferred($system) == $count }, 1200) or die "bench: $system->{name} has " . deferred($system) . " deferred\n";
    return 1e6 * $count / ($sent->{last_us} - $sent->{start_us});
}

sub rest {
    my ($system) = @_;
    my ($cpu, $since) = (-1, time);
    Posthorn::wait_for(sub { my $c = $system->{meter}->cpu; ($cpu, $since) = ($c, time) if $c > $cpu + 5; time - $since > 1 }, 300) or die "bench: $system->{name} does not rest\n";
    return;
}

# Seconds until a fresh message lies in the maildir.
sub fresh {
    my ($system) = @_;
    my ($dir, $t) = ("$system->{maildirs}[0]/new", time);
    my $n = () = glob "$dir/*";
    my $sent = 0;
    Posthorn::wait_for(sub {
        my $s = eval { Bench::Load::source($system->port, { %scenario, sessions => 1, bytes => 512, source => ['-t', 'u0@box.test', '-r', 1] }, 'f', 1) };
        return $sent = $s && $s->{accepted};
    }, 60) or die "bench: $system->{name} takes no mail\n";
    Posthorn::wait_for(sub { my $now = () = glob "$dir/*"; $now > $n }, 120) or die "bench: $system->{name} does not deliver\n";
    return time - $t;
}

# A command: wall clock, and CPU of it and of the system.
sub command {
    my ($system, @command) = @_;
    my ($t, $cpu, @own) = (time, $system->{meter}->cpu, (times)[2, 3]);
    my $out = $system->isa('Posthorn') ? $system->cmd(@command) : $system->run(@command);
    my @own1 = (times)[2, 3];
    return { wall => time - $t, cpu => $own1[0] + $own1[1] - $own[0] - $own[1] + ($system->{meter}->cpu - $cpu) / 1000, out => $out };
}

sub qmgr_kib {
    my ($system) = @_;
    my ($pid) = grep { join(' ', split /\0/, Posthorn::slurp("/proc/$_/cmdline")) =~ /^(?:qmgr\b|.*-n qmgr )/ } $system->{meter}->pids;
    return $pid ? Soak::kib('status', 'VmRSS', $pid) : 0;
}

# All figures of one system: [what, value].
sub measure {
    my ($name, $count, $bytes) = @_;
    my $system = Bench::Systems::start($name, \%scenario);
    my $rate = fill($system, $count, $bytes);
    rest($system);
    $system->stop;
    my $t = time;
    $system->{meter}->start(sub { $system->start });
    fresh($system);
    my $started = time - $t;
    rest($system);
    my $kib = qmgr_kib($system);
    my @list = map { command($system, 'postqueue', '-p') } 1 .. 3;
    my ($list) = (sort { $a->{wall} <=> $b->{wall} } @list)[1];
    my $shown = () = $list->{out} =~ /\@far\.test$/mg;
    die "bench: $name lists $shown of $count\n" if $shown != $count;
    my $delete = command($system, 'postsuper', '-d', 'ALL');
    my $left = deferred($system);
    die "bench: $name keeps $left: $delete->{out}\n" if $left;
    Bench::Systems::stop($system);
    return (['accepted/s while it grew', sprintf '%.0f', $rate], ['start until fresh mail is delivered, s', sprintf '%.2f', $started], ['memory of qmgr then, MiB', sprintf '%.1f', $kib / 1024],
        map { ["$_->[0], s (CPU)", sprintf '%.2f (%.2f)', $_->[1]{wall}, $_->[1]{cpu}] } ['postqueue -p', $list], ['postsuper -d ALL', $delete]);
}

# One table, a column for each system.
sub compare {
    my ($dir, $argv, $count, $bytes, @names) = @_;
    my (@rows, %value);
    # Packages are fetched while there is a network.
    @names = Bench::Systems::usable(@names) unless $ENV{POSTHORN_BENCH_INSIDE};
    $| = 1;
    $Bench::World::image_mib = int(512 + $count * ($bytes + 40_000) / 2**20);
    Bench::World::enter($dir, @$argv);
    @names = Bench::Systems::usable(@names);
    print 'Machine: ', Bench::World::machine(), "\n";
    for my $name (@names) {
        for my $row (measure($name, $count, $bytes)) {
            push @rows, $row->[0] unless grep { $_ eq $row->[0] } @rows;
            $value{$name}{ $row->[0] } = $row->[1];
        }
    }
    print join(' | ', "| $count deferred, $bytes bytes each", map { Bench::Systems::label($_) } @names), " |\n", '| --- ' x (1 + @names), "|\n";
    for my $what (@rows) { print join(' | ', "| $what", map { $value{$_}{$what} } @names), " |\n" }
    return;
}

1;
