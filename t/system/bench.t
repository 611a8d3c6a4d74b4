# The load of the benchmark (t/bench): what it counts is exact, so that a lost or
# doubled message of any system shows.  Nothing here is about how fast.
use strict;
use warnings;
use FindBin;
use Test::More;
use lib "$FindBin::Bin/../lib", "$FindBin::Bin/../bench";
use Posthorn;
use Bench::Load;
use Bench::Systems;

sub through { # scenario, messages [, system]: figures of both ends
    my ($s, $messages, $system) = @_;
    my $got = Bench::Load::run({ sessions => 20, bytes => 4096, %$s }, $system, $messages);
    is($got->{trouble}, '', 'nothing was refused') unless $s->{troubled};
    return $got;
}

sub counts { my ($got, %want) = @_; return is_deeply({ map { $_ => $got->{$_} } keys %want }, \%want, join ' ', map { "$_ $want{$_}" } sort keys %want) }

my $got = through({ bytes => 'mix' }, 400);
counts($got, accepted => 400, delivered => 400, lost => 0, queued => 0, duplicates => 0, retried => 0, uncertain => 0, connections => 400);
is($got->{bytes_sent}, $got->{bytes_got}, 'every byte arrives');
cmp_ok($got->{p50_ms}, '>', 0, 'latencies are there');
cmp_ok($got->{p99_ms}, '>=', $got->{p50_ms}, 'and in order');

$got = through({ bytes => 1_000_000, persistent => 1, source => ['-P'] }, 40);
counts($got, accepted => 40, delivered => 40, connections => 20);
is($got->{bytes_sent}, $got->{bytes_got}, 'large ones, sent in pieces, over sessions that stay');

$got = through({ sink => ['-t', 10, '-c', 10], troubled => 1 }, 1000);
counts($got, accepted => 1000, delivered => 1000, lost => 0, queued => 0, duplicates => 0, uncertain => $got->{dropped}, retried => $got->{tempfailed} + $got->{dropped},
    late => $got->{tempfailed} + $got->{dropped});
cmp_ok($got->{$_}, '>', 50, "some were $_") for qw(tempfailed dropped);

$got = through({ sink => ['-w', 30], persistent => 1 }, 60);
counts($got, accepted => 60, delivered => 60);
cmp_ok($got->{p50_ms}, '>=', 30, 'a slow sink answers so late');

$got = through({ sink => ['-q'], persistent => 1 }, 40);
counts($got, accepted => 40, delivered => 40, connections => 40);

# Twice the same run, and one of another name.
my $r = Bench::Load::receiver("$Bench::Load::bin/sink", '-i', 'same', '-m', 25);
Bench::Load::source($r->{port}, { sessions => 3, bytes => 2000 }, $_, 25) for qw(same other same);
my $end = Bench::Load::end($r);
counts($end, distinct => 25, duplicates => 25, foreign => 25);

# What is refused for good.
my $no = Posthorn::Sink->new(rcpt => sub { $_[1] =~ /^u3@/ ? '550 5.1.1 no' : '250 ok' });
my $sent = Bench::Load::source($no->port, { sessions => 2, bytes => 2000, source => ['-t', 'u%@x.test', '-r', 5] }, 'no', 20);
counts($sent, accepted => 16, rejected => 4, trouble => '550 5.1.1 no');
is_deeply([sort map { $_->{to}[0] } $no->messages], [map { ("u$_\@x.test") x 4 } 0, 1, 2, 4], 'recipients take turns');
$no->stop;

# Through a whole system: what was refused at first comes later, once.
my $port = Posthorn::free_port();
my $ph = Posthorn->new(relayhost => "[127.0.0.1]:$port", minimal_backoff_time => '1s', maximal_backoff_time => '1s', queue_run_delay => '1s')->start;
$ph->{sink_port} = $port;
$got = through({ persistent => 1, sink => ['-t', 10, '-w', 30] }, 300, $ph);
counts($got, accepted => 300, delivered => 300, lost => 0, queued => 0, duplicates => 0, late => $got->{tempfailed});
cmp_ok($got->{tempfailed}, '>', 10, 'some came later');
cmp_ok($got->{bytes_got}, '>', $got->{bytes_sent}, 'the system has added its headers');
ok(Posthorn::wait_for(sub { !$ph->queued }), 'nothing is left in the queue');
unlike($ph->log, qr/lost connection|Connection refused/, 'the sink ends when its last answers are sent');
$ph->stop;

# Into maildirs: the files are counted and read.
my $dir = $ph->dir . '/maildirs';
mkdir $dir;
my $scenario = { maildirs => 3, source => ['-t', 'u%@box.test', '-r', 3] };
$ph->set(Bench::Systems::settings($scenario, $dir, 0))->start;
$ph->{maildirs} = [glob "$dir/mail/u*"];
$got = through($scenario, 90, $ph);
counts($got, accepted => 90, delivered => 90, lost => 0, queued => 0, duplicates => 0);
cmp_ok($got->{bytes_got}, '>', $got->{bytes_sent} * 0.9, 'whole ones');
is(scalar(() = glob "$dir/mail/u*/new/*"), 0, 'and removed for the next run');
Posthorn::spew("$dir/mail/u0/new/$_", "Subject: x\nX-Bench-Id: twice-0\n\nx\n") for 1, 2;
$r = Bench::Load::receiver("$Bench::Load::bin/arrivals", '-i', 'twice', '-m', 1, @{ $ph->{maildirs} });
counts(Bench::Load::end($r), files => 0, distinct => 1, duplicates => 1);
done_testing;
