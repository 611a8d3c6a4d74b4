#!/usr/bin/perl
# Debian's Exim as the next hop: everything arrives, once, as it was sent.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;
use PeerExim;

my $why = PeerExim->missing;
plan skip_all => $why if $why;
my $n = 60;
my $exim = PeerExim->new->start;
my $ph = Posthorn->new(relayhost => '[127.0.0.1]:' . $exim->port)->start;
my $c = Posthorn::Client->new(port => $ph->port);
for my $i (1 .. $n) {
    my $body = "Subject: number $i\r\nX-Number: $i\r\n\r\n.\r\n..dots\r\n" . ("\xc3\xa4" x $i) . "\r\n" . 'x' x ($i * 700 % 20000) . "\r\nend $i\r\n";
    my ($code, $text) = $c->send(from => 'from@example.test', to => ["r$i\@exim.peer", "s$i\@exim.peer"], body => $body, mail_args => 'BODY=8BITMIME');
    is($code, 250, "message $i: $text") if $code != 250;
}
$c->quit;
Posthorn::wait_for(sub { $exim->mail >= $n }, 60);
my (%seen, $bad);
for my $m ($exim->mail) {
    my ($i) = $m->{headers} =~ /X-Number: (\d+)/;
    $seen{ $i // 'none' }++;
    (my $body = $m->{body}) =~ s/\n //g;      # long lines were broken
    my $want = ".\n..dots\n" . ("\xc3\xa4" x $i) . "\n" . 'x' x ($i * 700 % 20000) . "\nend $i\n";
    $bad .= " $i" if $body ne $want || "@{[sort @{ $m->{to} }]}" ne "r$i\@exim.peer s$i\@exim.peer";
}
is_deeply(\%seen, { map { $_ => 1 } 1 .. $n }, "$n messages: all arrive, once") or diag substr($ph->log, -3000), $exim->log;
is($bad, undef, 'as they were sent, for both recipients');
like($ph->log, qr/to=<r1\@exim\.peer>, relay=127\.0\.0\.1\[127\.0\.0\.1\]:${\$exim->port}, .*dsn=2\.0\.0, status=sent \(250.* byte chunk.* OK id=\S+\)/, 'and Exim says so of its BDAT chunk');
ok(Posthorn::wait_for(sub { !$ph->queued }), 'our queue is empty');
done_testing();
