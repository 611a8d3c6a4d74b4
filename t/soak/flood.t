#!/usr/bin/perl
# Clients that send without end: lines, headers, bodies, chunks, commands.  The
# session ends or is answered as it should be, the worker's memory stays flat,
# the disk gives back what was lent, and nobody spins afterwards.
# Each sends 64 MiB, in the long form (make soak) 1 GiB.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;
use Soak;

my $bytes = ($ENV{SOAK_MIB} || Soak::pick(64, 1024)) << 20;
my $small = Soak::pick(8, 128) << 20;            # where each command costs a reply
my $flat_kib = 1024;
my $ph = Posthorn->new(virtual_transport => 'discard', virtual_mailbox_domains => 'example.test', smtpd_timeout => '5s', smtpd_error_sleep_time => '0s',
    notify_classes => '', smtpd_recipient_restrictions => 'reject_unlisted_recipient, check_recipient_access inline:{elsewhere.test=REJECT}')->start;
my $port = $ph->port;

sub warm { return Soak::load('probe', 5, 'probe@example.test', $port)->[0]{failed} == 0 }
# Free slots and leases that wait are the pool's usual size.
sub pool_kib { my $sum = 0; File::Find::find(sub { $sum += (lstat)[12] / 2 if -f _ || -f }, $ph->queue . '/pool'); return $sum }

ok(warm(), 'mail goes in');
my ($worker) = Soak::workers($ph, 'smtp', 'inet');
my @all = keys %{ { $ph->processes } };
my $pool = pool_kib();

# Closed while we send may be seen as a reset.
my $over = '(?:closed|reset)';
# Kind, how it ends, the last reply, replies that there must be at least, bytes that it gets rid of (0: it is stopped early).
my @floods = (
    # Endless content is read to its end, whatever its size, RFC 5321 4.5.3.1.
    (map { [$_, 'answered', 221, { 552 => 1, 221 => 1 }, $bytes] } qw(headers header folded names body body-line dots stray)),
    # Chunks too; after an error each is one more.
    ['bdat', $over, 421, { 421 => 1, 552 => 1 }, 0],
    Soak::long() ? ['bdat-small', $over, 421, { 250 => 10_240_000, 552 => 1, 421 => 1 }, 0] : ['bdat-small', 'limit', 250, {}, $small],
    ['bdat-huge', $over, 552, { 552 => 1 }, 0],
    ['bdat-max', $over, 552, { 552 => 1 }, 0],
    ['bdat-no-mail', $over, 421, { 421 => 1 }, 0],
    # Lines and commands end with 421.
    (map { [$_, $over, 421, { 421 => 1, 500 => 20 }, 0] } qw(line line-greeted unknown empty)),
    (map { [$_, $over, 421, { 421 => 1 }, 0] } qw(rset noop ehlo vrfy mail-rset rcpt)),
    ['rcpt-refused', $over, 421, { 421 => 1, 554 => 20 }, 0],
    ['pipelined', $over, 554, { 554 => 1 }, 0],
    ['help', 'limit', 214, {}, $small],
);
my ($sum, $worst) = (0, 0);
sub report {
    my ($r, $more) = @_;
    $sum += $r->{sent};
    $worst = $more if $more > $worst;
    diag sprintf '%-12s %7.1f MiB in %5.1f s, %s; worker +%d KiB; %s', $r->{kind}, $r->{sent} / (1 << 20), $r->{ms} / 1000, $r->{ended}, $more,
        join ' ', map { "$_:$r->{replies}{$_}" } sort keys %{ $r->{replies} };
}

# Its answers are never read: smtpd_timeout ends it; we look at that at the end.
open my $deaf, '-|', $Soak::program, 'flood', $port, 'deaf', $bytes or die $!;
for my $f (@floods) {
    my ($kind, $ended, $last, $want, $least) = @$f;
    my $base = Soak::peak_begin($worker);
    my $r = Soak::load('flood', $port, $kind, $least || $bytes);
    my $more = Soak::peak($worker) - $base;
    report($r, $more);
    ok($r->{ended} =~ /^$ended$/ && $r->{last} == $last && !(grep { ($r->{replies}{$_} || 0) < $want->{$_} } keys %$want) && $r->{sent} >= $least, "$kind: last reply $last")
        or diag explain $r;
    flat("$kind: the worker's memory stays flat", $more);
}

sub flat {
    my ($what, $more, $most) = @_;
    SKIP: {
        skip 'memory is not measured under a sanitizer', 1 if Soak::sanitized();
        cmp_ok($more, '<=', $most || $flat_kib, $what);
    }
}

# Many at once, and others are served.
my $many = Soak::pick(5, 20);
my $base = Soak::peak_begin($worker);
my @out = map { open my $h, '-|', $Soak::program, 'flood', $port, $_ % 2 ? 'body' : 'headers', $bytes / $many or die $!; $h } 1 .. $many;
is(Soak::load('probe', 100, 'probe@example.test', $port)->[0]{failed}, 0, "100 messages beside $many floods");
my @r = map { JSON::PP::decode_json(do { local $/; readline $_ }) } @out;
close $_ for @out;
is_deeply([map { $_->{replies} } @r], [({ 552 => 1, 221 => 1 }) x $many], 'each of these is answered');
# A session that sends much has a few buffers of 64 KB: so much and no more for each.
flat('memory stays flat with many too', Soak::peak($worker) - $base, 256 * $many);
$sum += $_->{sent} for @r;

my $r = JSON::PP::decode_json(do { local $/; readline $deaf });
close $deaf;
report($r, 0);
like($r->{ended}, qr/^$over$/, 'who never reads our replies is left');
ok($ph->wait_log(qr/timeout after HELP from localhost/), 'for a timeout, says the log');     # its line leaves when the turn ends
diag sprintf '%d floods, %.1f MiB, the worker never above +%d KiB', @floods + 1 + $many, $sum / (1 << 20), $worst;

is_deeply([Soak::workers($ph, 'smtp', 'inet')], [$worker], 'the worker has survived all of it');
ok(Posthorn::wait_for(sub { Soak::sockets($worker) < 20 }, 30), 'no session is left');
ok(warm(), 'and mail goes in');
cmp_ok(pool_kib() - $pool, '<=', 24 * 1024, 'the pool holds no more than before and a few slots');
my $share = Soak::share(1, @all);
cmp_ok($share, '<', 0.2, 'nobody spins') or diag "share of a processor: $share";
unlike($ph->log, qr/killed by signal|panic|fatal:/, 'nothing failed on the way');
done_testing();
