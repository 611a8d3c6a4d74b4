#!/usr/bin/perl
# Tables of the pool that hang, are late, fail and crash, a pool that is killed and one that
# is not there: the look-ups under way fail, never as "not found"; other tables go on; a table
# that gives trouble is left alone for a while, and comes back.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;
use Proxymap;

plan skip_all => 'the plugins of t/proxymap are not built as objects' unless Proxymap::available();
my $timeout = 8;             # s; eight processes start in it, on a busy machine too
my $ph = Posthorn->new(max_idle => '1h', ipc_timeout => "${timeout}s");
Proxymap::install($ph);
my ($bad, $good, $late, $dying, $gone) = map { Proxymap::slow($ph, $_) } qw(bad good late dying gone);
$ph->set(map { ("my_$_->{dir}" =~ s/\W/_/gr => $_->{table}) } $bad, $good, $late, $dying, $gone);
$ph->start;

sub begin { my ($t, $key) = @_; return Proxymap::begin($ph, table => $t->{table}, key => $key) }
sub lookup { my ($t, $key) = @_; return Proxymap::hear(begin($t, $key)) // { rc => 'no answer', text => '' } }
sub finds { my ($t, $key, $what) = @_; my $r = lookup($t, $key); return is("$r->{rc} $r->{value}", "1 $key of $t->{dir}", $what) || diag "$r->{text}\n" }
# How often the log says it; a line may come a moment behind the answer.
sub lines { my ($re, $least) = @_; my $n; Posthorn::wait_for(sub { ($n = () = $ph->log =~ /$re/g) >= ($least // 1) }); return $n }
# Until connections that nobody uses are closed: ours is, and it is the youngest.
sub rest { my $s = Proxymap::connect_to($ph, 'private/proxymap'); Proxymap::say_to($s, op => 'open', table => $good->{table}, flags => 1, proxied => 0, wait => 1000); Proxymap::hear($s); Proxymap::hear($s); return }

finds($good, 'first', 'a look-up');
is(lookup($good, 'nobody')->{rc}, 2, 'and one that finds nothing');

# ---- a table that hangs, beside one that does not ----
$bad->do(hang => 'h');
# In two handles, as two parameters that name it have them (64: a flag that says nothing here).
my @hung = map { Proxymap::begin($ph, table => $bad->{table}, key => "h$_", flags => $_ % 2 ? 1 : 65) } 1 .. 12;
ok(Posthorn::wait_for(sub { $bad->asked >= 8 }), 'eight look-ups hang');
my @ms = map { my $r = lookup($good, "k$_"); is($r->{value}, "k$_ of $good->{dir}", 'another table answers'); $r->{ms} } 1 .. 20;
cmp_ok((sort { $a <=> $b } @ms)[10], '<', 1000 * $Posthorn::slow, "  without delay (@ms)");
is(scalar $bad->asked, 8, 'no more than eight are under way');
my @r = map { Proxymap::hear($_) } @hung;
is(join(' ', map { $_->{rc} } @r), join(' ', (-1) x 12), 'all fail for now');
# Were they begun far apart (a busy machine), some of the others still got the turn of those that had failed.
my $unanswered = grep { $_->{text} =~ /no answer within \d+ ms/ } @r;
cmp_ok($unanswered, '>=', 8, 'eight because no answer came');
is(scalar(grep { $_->{text} =~ /it is not asked for \d+ ms, because calls in a row failed|8 others are waiting/ } @r), 12 - $unanswered, 'the others because of these') or diag map { "$_->{text}\n" } @r;
is(scalar(grep { $_->{ms} > 1000 * $timeout - 500 && $_->{ms} < (1000 * $timeout + 4000) * $Posthorn::slow } @r), 12, 'in the time that ipc_timeout says') or diag join ' ', map { $_->{ms} } @r;
is(lines(qr/asks\[\d+\]: warning: table slow:\S+\/bad: 5 calls in a row failed: not asked for a while, until it answers: service proxymap: no answer within/), 1, 'which is said once');
my %hanging = map { $_->[0] => 1 } $bad->asked;
is(scalar keys %hanging, $unanswered, 'as many processes hang');
# One of many tries it, the others fail at once.
ok(Posthorn::wait_for(sub { lookup($bad, 'h-trial'); $bad->asked > $unanswered }, 30), 'after a while one look-up tries, and asks');
my $asked = $bad->asked;
my @again = map { lookup($bad, 'h-again') } 1 .. 5;
is(scalar(grep { $_->{rc} == -1 } @again), 5, 'when that fails the others fail');
cmp_ok((sort { $a <=> $b } map { $_->{ms} } @again)[2], '<', 1000 * $Posthorn::slow, '  at once');
is(scalar $bad->asked, $asked, 'and ask nothing');
ok(Posthorn::wait_for(sub { !grep { kill 0, $_ } keys %hanging }, 40), 'processes that hang end');
cmp_ok(lines(qr/proxymap\)?.*table slow:\S+\/bad does not come to an end with a look-up: this process ends/, 8), '>=', 8, 'with words in the log') or diag $ph->log;
unlike($ph->log, qr/throttling/, 'and are no reason to stop the service');
$bad->stop_it('hang');
ok(Posthorn::wait_for(sub { lookup($bad, 'h-back')->{rc} == 1 }, 40), 'a table that answers again is asked again');
is(lines(qr/asks\[\d+\]: table slow:\S+\/bad: answers again, after \d+ s/), 1, 'which is said once');
is(lines(qr/calls in a row failed/), 1, 'nothing else was shut');
finds($bad, 'h1', 'from then on it is asked');

# ---- failures that come late, and soon ----
$late->do('late');
@r = map { Proxymap::hear($_) } map { begin($late, "l$_") } 1 .. 5;
is(join(' ', map { $_->{rc} } @r), join(' ', (-1) x 5), 'failures that take their time');
like(lookup($late, 'x')->{text}, qr/it is not asked for \d+ ms/, 'shut the table');
$late->stop_it('late')->do('fail');
$asked = $late->asked;
ok(Posthorn::wait_for(sub { lookup($late, 'y')->{text} =~ /it fails/ }), 'it fails soon now');
is(lines(qr/slow:\S+\/late: fails without delay now, so it is asked again, after/), 1, 'which opens it');
$asked = $late->asked;
like(lookup($late, "f$_")->{text}, qr/^table \S+: lookup of "f$_": it fails$/, 'a failure, in its words') for 1 .. 20;
is($late->asked - $asked, 20, 'each is asked for: a key that fails shuts nobody out');
$late->stop_it('fail');
finds($late, 'z', 'and it works again at once');

# ---- processes that die ----
rest();
$good->do(hang => 'w');
$asked = $good->asked;
my @waiting = map { begin($good, "w$_") } 1 .. 4;
ok(Posthorn::wait_for(sub { $good->asked >= $asked + 4 }), 'four look-ups are under way');
my %at = map { $_->[1] => $_->[0] } ($good->asked)[$asked .. $asked + 3];
ok(kill('KILL', $at{w2}), 'one process is killed');
my $r = Proxymap::hear($waiting[1]);
is($r->{rc}, -1, 'its look-up fails');
like($r->{text}, qr/no answer of the pool/, '  because there was no answer');
finds($good, 'another', 'others are served');
$good->stop_it('hang');
is((Proxymap::hear($waiting[$_]) // {})->{value}, 'w' . ($_ + 1) . " of $good->{dir}", 'what was under way elsewhere is answered') for 0, 2, 3;
ok($ph->wait_log(qr/\(proxymap\) pid $at{w2} killed by signal 9/), 'the master says so');
rest();
$dying->do(crash => 'c');
is(lookup($dying, 'c1')->{rc}, -1, 'a key that crashes the table');
finds($dying, 'd1', 'costs nobody else');
$dying->stop_it('crash');
finds($dying, 'c1', 'and the table is there');
# All at once, in the middle of many look-ups.
my @many = map { begin($dying, "m$_") } 1 .. 40;
kill 'KILL', Proxymap::pids($ph);
@r = map { Proxymap::hear($_) // { rc => 'none' } } @many;
is(scalar(grep { $_->{rc} eq '1' || $_->{rc} eq '-1' } @r), 40, 'each look-up is answered or failed, none is not found') or diag join ' ', map { $_->{rc} } @r;
ok(Posthorn::wait_for(sub { lookup($dying, 'after')->{rc} == 1 }), 'and then all is well');

# ---- a pool that is not there ----
rest();
my $socket = $ph->queue . '/private/proxymap';
rename $socket, "$socket.away" or die "rename: $!";
is(lookup($gone, "g$_")->{rc}, -1, 'without the socket a look-up fails') for 1 .. 5;
like(lookup($gone, 'g6')->{text}, qr/it is not asked for/, 'and soon nobody tries');
rename "$socket.away", $socket or die "rename: $!";
ok(Posthorn::wait_for(sub { lookup($gone, 'g7')->{rc} == 1 }), 'when it is there again it is asked');
is(lines(qr/slow:\S+\/gone: answers again/), 1, 'which is said');
unlike($ph->log, qr/panic|assert/, 'nothing broke');
done_testing;
