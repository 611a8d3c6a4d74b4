#!/usr/bin/perl
# Debian's Dovecot as the mail store, over its socket and over TCP.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;
use PeerDovecot;

my $why = PeerDovecot->missing;
plan skip_all => $why if $why;
my $store = PeerDovecot->new(users => [qw(ann bob)])->start;
my $ph = Posthorn->new(virtual_mailbox_domains => 'example.test, sock.test, tcp.test', virtual_mailbox_maps => 'static:x', minimal_backoff_time => '300s',
    transport_maps => "inline:{ {sock.test=lmtp:unix:${\$store->socket}}, {tcp.test=lmtp:inet:[127.0.0.1]:${\$store->port}} }")->start;
my $host = qr/[^\s\[]+/;
my $path = quotemeta $store->socket;

my $c = Posthorn::Client->new(port => $ph->port);
my $body = "Subject: a dot\r\nFrom: s\@example.test\r\n\r\n.\r\n..two\r\n\xc3\xa4\r\nend\r\n";
my ($code, $text) = $c->send(from => 's@example.test', to => [map { "$_\@sock.test" } qw(ann nobody bob)], body => $body, mail_args => 'BODY=8BITMIME');
my ($id) = $text =~ /queued as (\S+)/;
ok($ph->wait_log(qr/postfix\/lmtp\[\d+\]: \Q$id\E: to=<$_\@sock\.test>, relay=$host\[$path\], delay=\S+, delays=\S+, dsn=2\.0\.0, status=sent \(250 2\.0\.0 <$_\@sock\.test> \S+ Saved\)/), "$_: saved")
    or diag $ph->log, $store->log for qw(ann bob);
ok($ph->wait_log(qr/\Q$id\E: to=<nobody\@sock\.test>, relay=$host\[$path\], .*dsn=5\.1\.1, status=bounced \(host $host\[$path\] said: 550 5\.1\.1 <nobody\@sock\.test> User doesn't exist: \S+ \(in reply to RCPT TO command\)\)/),
    'a user who is not there: bounced') or diag $ph->log, $store->log;
my ($mail) = $store->mail('ann');
like($mail, qr/\n\n\.\n\.\.two\n\xc3\xa4\nend\n\z/, 'the message is as it was sent');

($code, $text) = $c->send(from => 's@example.test', to => ['bob@tcp.test'], body => "Subject: tcp\r\n\r\nover tcp\r\n");
($id) = $text =~ /queued as (\S+)/;
ok($ph->wait_log(qr/\Q$id\E: to=<bob\@tcp\.test>, relay=127\.0\.0\.1\[127\.0\.0\.1\]:${\$store->port}, .*status=sent/), 'over TCP') or diag $ph->log, $store->log;

# Many at once: sessions of the store are used again, everything arrives once.
for my $i (1 .. 40) {
    ($code, $text) = $c->send(from => 's@example.test', to => ['ann@sock.test'], body => "Subject: n$i\r\nX-Number: $i\r\n\r\nx\r\n");
    is($code, 250, $text) if $code != 250;
}
ok(Posthorn::wait_for(sub { $store->mail('ann') >= 41 }, 30), 'forty more arrive') or diag $ph->log;
my %seen;
$seen{ /^X-Number: (\d+)/m ? $1 : 0 }++ for $store->mail('ann');
is_deeply(\%seen, { map { $_ => 1 } 0 .. 40 }, 'each once');
ok(Posthorn::wait_for(sub { !$ph->queued }), 'our queue is empty');

$store->stop;
($code, $text) = $c->send(from => 's@example.test', to => ['ann@sock.test'], body => "Subject: down\r\n\r\nx\r\n");
($id) = $text =~ /queued as (\S+)/;
ok($ph->wait_log(qr/\Q$id\E: to=<ann\@sock\.test>, relay=none, .*dsn=4\.4\.1, status=deferred \(connect to $host\[$path\]: (?:Connection refused|No such file or directory)\)/), 'the store is down: deferred') or diag $ph->log;
done_testing();
