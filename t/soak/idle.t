#!/usr/bin/perl
# Very many sessions that do nothing, at every place where a client can stop,
# and slow ones beside them: all are held, others are served, and each costs
# little.  SOAK=long (make soak) holds 5,000 and 200, and fails when the others
# wait more than twice as long.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;
use Soak;
use Time::HiRes ();

my $idle = $ENV{SOAK_SESSIONS} || Soak::pick(600, 5000);
my $slow = Soak::pick(50, 200);
my $open = Soak::pick(60, 500);                  # of each other kind
my $probes = Soak::pick(50, 1000);
my $blocks = Soak::pick(1, 4);                   # of probes; the quietest counts, for other work on the machine disturbs some
my $tick = Soak::pick(100, 1000);
my $kib_max = Soak::pick(6, 5);                  # of an idle session, when all is given back

# An empty server of the same kind beside: what else the machine does meets both.
my %plain = (virtual_transport => 'discard', virtual_mailbox_domains => 'example.test', smtpd_timeout => '1200s');
my $beside = Posthorn->new(%plain)->start;

# Messages to the servers in turn: for each one { failed, stage => { p50, p99 } }.
sub probe {
    my @r;
    for my $block (1 .. $blocks) {
        my @p = @{ Soak::load('probe', $probes, 'probe@example.test', map { $_->port } @_) };
        for my $i (0 .. $#p) {
            $r[$i] ||= { count => 0, failed => 0 };
            $r[$i]{$_} += $p[$i]{$_} for qw(count failed);
            for my $stage (qw(banner mail eod whole)) {
                for my $q (qw(p50 p99)) { $r[$i]{$stage}{$q} = $p[$i]{$stage}{$q} if !$r[$i]{$stage}{$q} || $r[$i]{$stage}{$q} > $p[$i]{$stage}{$q} }
            }
        }
    }
    return @r;
}

sub show {
    my ($what, $p) = @_;
    diag sprintf '  %s: %d messages, us p50/p99: %s', $what, $p->{count}, join ', ', map { "$_ $p->{$_}{p50}/$p->{$_}{p99}" } qw(banner mail eod whole);
}

# Until nothing is given back any more (it comes in sweeps), or the bound is kept in the short form.
sub wait_trimmed {
    my ($each) = @_;
    return Posthorn::wait_for(sub { $each->() <= $kib_max }, 40) unless Soak::long();
    my ($least, $since) = ($each->(), Time::HiRes::time());
    Posthorn::wait_for(sub { my $k = $each->(); ($least, $since) = ($k, Time::HiRes::time()) if $k < $least - 0.05; Time::HiRes::time() > $since + 12 }, 60);
    return $least <= $kib_max;
}

sub hold {
    my ($name, $sessions) = @_;
    my $ph = Posthorn->new(%plain);
    $ph->edit_master(sub { s/sessions: 1000/sessions: $sessions/ }) if $sessions;
    $ph->start;
    my $workers = sub { return Soak::workers($ph, 'smtp', 'inet') };
    my ($before) = probe($ph);
    is($before->{failed}, 0, "$name: messages into an empty server");

    # Idle after EHLO: what one costs.
    my $pss0 = Soak::pss($workers->());          # of one worker
    my $quiet = Soak::Hold->new($ph->port, $tick, ehlo => $idle);
    is($quiet->{first}{ehlo}, $idle, "$idle sessions have said EHLO and wait");
    # A further worker costs something empty: that is not the sessions'.
    my $each = sub { my @w = $workers->(); return (Soak::pss(@w) - @w * $pss0) / $idle };
    SKIP: {
        skip 'memory is not measured under a sanitizer', 1 if Soak::sanitized();
        ok(wait_trimmed($each), "an idle session costs at most $kib_max KiB");
        my @w = $workers->();
        diag sprintf '%s: %d idle sessions in %d worker(s): %.1f KiB each (%.1f with the workers), all %.1f MiB, %.2f %% of a processor', $name, $idle,
            scalar @w, $each->(), (Soak::pss(@w) - $pss0) / $idle, Soak::pss(@w) / 1024, 100 * Soak::share(Soak::pick(0.5, 5), @w);
    }

    # And the others: at the greeting, in a transaction, in the middle of the content, and the slow ones.
    my @pss1 = (Soak::pss($workers->()), scalar(my @w1 = $workers->()));
    my $more = Soak::Hold->new($ph->port, $tick, greet => $open, mail => $open, rcpt => $open, data => $open, slow => $slow);
    my $first = $more->{first};
    is_deeply([@$first{qw(greet mail rcpt data slow refused lost)}], [($open) x 4, $slow, 0, 0],
        "$open more each stop at the greeting, after MAIL, RCPT, in DATA; $slow send a byte at a time") or diag explain $first;
    my ($during, $empty) = probe($ph, $beside);
    is($during->{failed} + $empty->{failed}, 0, 'messages meanwhile');
    my @w = $workers->();
    diag sprintf '  with %d that stop elsewhere and %d slow ones: %.1f KiB each of these, %d worker(s), all %.1f MiB, %.1f %% of a processor', 4 * $open, $slow,
        (Soak::pss(@w) - $pss1[0] - (@w - $pss1[1]) * $pss0) / (4 * $open + $slow), scalar @w, Soak::pss(@w) / 1024, 100 * Soak::share(Soak::pick(0.5, 5), @w);
    compare($before, $during, $empty) if Soak::long();
    my $bytes = $more->status->{slow_bytes};
    ok(Posthorn::wait_for(sub { $more->status->{slow_bytes} > $bytes + 3 * $slow }, 30), 'the slow ones go on');
    is_deeply([map { $_->status->{lost} } $quiet, $more], [0, 0], 'nobody was lost');
    leave($ph, $workers, $quiet, $more);
}

sub compare {
    my ($before, $during, $empty) = @_;
    show('before', $before);
    show('meanwhile', $during);
    show('meanwhile, an empty server beside', $empty);
    for my $what (qw(banner mail eod whole)) {
        my ($ratio, $then) = map { $during->{$what}{p99} / $_->{$what}{p99} } $empty, $before;
        cmp_ok($ratio, '<=', 2, sprintf '%s: p99 is %.2f times that of an empty server (%.2f times its own before), at most twice', $what, $ratio, $then);
    }
}

sub leave {
    my ($ph, $workers, @holds) = @_;
    ok($_->end, 'they leave') for @holds;
    my $log = '';
    ok(Posthorn::wait_for(sub { $log = $ph->log; (() = $log =~ /smtpd\[\d+\]: connect from/g) == (() = $log =~ /smtpd\[\d+\]: disconnect from/g) }, 30),
        'each connect has its disconnect');
    unlike($log, qr/killed by signal|panic|fatal:|not started/, 'nothing failed on the way');
    is((probe($ph))[0]{failed}, 0, 'and the server serves');
    $ph->stop;
}

hold('as made by postfix init', 0);
hold('in one worker', 10000) if Soak::long();
done_testing();
