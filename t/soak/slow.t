#!/usr/bin/perl
# Slow clients under a deadline, connections that are closed on one side, and
# thousands that only come and go.
use strict;
use warnings;
use Socket qw(SOL_SOCKET SO_LINGER SHUT_WR);
use Test::More;
use lib 't/lib';
use Posthorn;
use Soak;

my $connects = Soak::pick(3000, 30000);
my $slow = Soak::pick(50, 200);
my $half = Soak::pick(20, 500);
my %plain = (virtual_transport => 'discard', virtual_mailbox_domains => 'example.test');

sub sessions_end {
    my ($ph, $what) = @_;
    my $log = '';
    ok(Posthorn::wait_for(sub { $log = $ph->log; (() = $log =~ /smtpd\[\d+\]: connect from/g) == (() = $log =~ /smtpd\[\d+\]: disconnect from/g) }, 30),
        "$what: each session has ended");
    return $log;
}

# ---- half-closed: what was said is answered, then the session ends ----
my $ph = Posthorn->new(%plain)->start;
my $port = $ph->port;
my $start = join "\r\n", 'EHLO half.test', 'MAIL FROM:<half@soak.test>', 'RCPT TO:<half@example.test>';
my %say = (greeted => [250, "EHLO half.test\r\n"], recipient => [250, "$start\r\n"], content => [354, "$start\r\nDATA\r\n"]);
my %reply = map { $_ => 0 } keys %say;
my %ended = map { $_ => 0 } keys %say;
for my $where (sort keys %say) {
    my @c = map { Posthorn::Client->new(port => $port) } 1 .. $half;
    for my $c (@c) {
        my ($code, $text) = @{ $say{$where} };
        my @commands = split /(?<=\n)/, $text;
        for my $line (@commands) { $c->put($line); my ($got) = $c->reply; $reply{$where} += $got == $code if $line eq $commands[-1] }
        $c->put("Subject: half a mess") if $where eq 'content';
        shutdown $c->{s}, SHUT_WR;
    }
    for my $c (@c) { $ended{$where}++ unless defined $c->line }
}
is_deeply(\%reply, { map { $_ => $half } keys %say }, "$half sessions each come as far as they shall and are closed on our side");
is_deeply(\%ended, { map { $_ => $half } keys %say }, 'the server closes its side of all');
my $log = sessions_end($ph, 'half-closed');
is(scalar(() = $log =~ /: lost connection after (?:EHLO|RCPT|DATA \(\d+ bytes\)) from localhost/g), 3 * $half, 'and the log says where the client was lost');
is_deeply([$ph->queued], [], 'nothing of them is in the queue');

# ---- connect and close ----
my ($worker) = Soak::workers($ph, 'smtp', 'inet');
my $base = Soak::pss($worker);
for my $i (1 .. $connects) {
    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) or BAIL_OUT("connection $i: $!");
    setsockopt $s, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0 if $i % 3;   # with a reset
    sysread $s, my $banner, 100 if $i % 4 == 0;
    close $s;
}
$log = sessions_end($ph, "$connects connects and closes");
cmp_ok(scalar(() = $log =~ /smtpd\[\d+\]: connect from/g), '>=', $connects / 4, 'those that the kernel did not forget were sessions');
is_deeply([Soak::workers($ph, 'smtp', 'inet')], [$worker], 'all in one worker');
cmp_ok(Soak::sockets($worker), '<', 20, 'no descriptor is left');
SKIP: {
    skip 'memory is not measured under a sanitizer', 1 if Soak::sanitized();
    my $more = Soak::pss($worker) - $base;
    cmp_ok($more, '<=', 2048, 'memory is what it was') or diag "+$more KiB";
    diag "$connects connects and closes: worker +$more KiB";
}
cmp_ok(Soak::share(0.5, $worker), '<', 0.2, 'nobody spins');
is(Soak::load('probe', 10, 'probe@example.test', $port)->[0]{failed}, 0, 'mail goes in');
$ph->stop;

# ---- a byte at a time, and a deadline for the whole request ----
$ph = Posthorn->new(%plain, smtpd_timeout => '2s', smtpd_per_request_deadline => 'yes')->start;
my $hold = Soak::Hold->new($ph->port, 20, slow => $slow);
is($hold->{first}{slow}, $slow, "$slow clients that send fifty bytes a second");
ok(Posthorn::wait_for(sub { $hold->status->{lost} == $slow }, 60), 'smtpd_per_request_deadline ends all of them');
my $s = $hold->status;
cmp_ok($s->{slow_bytes}, '<', 300 * $slow, 'long before their message is through');
$log = sessions_end($ph, 'slow');
is(scalar(() = $log =~ /: timeout after (?:DATA \(\d+ bytes\)|\w+) from localhost/g), $slow, 'the log says where');
diag sprintf '%d slow clients sent %.0f bytes each before the deadline', $slow, $s->{slow_bytes} / $slow;
is(Soak::load('probe', 10, 'probe@example.test', $ph->port)->[0]{failed}, 0, 'mail goes in');
$hold->end;
done_testing();
