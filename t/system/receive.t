#!/usr/bin/perl
# A message arrives byte-exact whatever client sends it: in a maildir through
# virtual, and at Debian's smtp-sink through relay.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;

my $sink = Posthorn::Sink->new;
my $ph = Posthorn->new(relayhost => '[127.0.0.1]:' . $sink->port, myhostname => 'mx.posthorn.test',
    smtpd_forbid_unauth_pipelining => 'no')->start;             # below everything comes in one packet

# Content that would show any change: dots, tabs, trailing blanks, 8-bit, long lines, odd headers.
my $content = join "\r\n", 'From: "A, B" <a@client.test>', 'To:   u@example.test,', "\tother\@example.test", 'Subject: =?utf-8?q?dots?=',
    'Message-ID: <fixed@client.test>', 'Date: Tue, 24 Nov 2026 10:00:00 +0100', '', '.', '..', '.leading', "tab\there ", "8-bit \xc3\xa4\xff",
    'x' x 900, '', 'From the past', 'end', '';

# The message as it was sent, without what we put in front of it.
sub body_of { my ($mail) = @_; $mail =~ s/\r\n/\n/g; $mail =~ s/.*?^(From: "A, B")/$1/ms or return "unrecognised: $mail"; return $mail }
(my $want = $content) =~ s/\r\n/\n/g;

my ($code, $text) = $ph->smtp->send(from => 'a@client.test', to => ['one@example.test'], body => $content, mail_args => 'BODY=8BITMIME');
is($code, 250, 'accepted');
like($text, qr/^250 2\.0\.0 Ok: queued as \S+$/, 'the reply names the queue id');
my ($mail) = $ph->wait_mail('one', 1);
is(body_of($mail // ''), $want, 'maildir: byte for byte');
like($mail // '', qr/^Return-Path: <a\@client\.test>\n/, 'Return-Path is on top');
like($mail // '', qr/^Delivered-To: one\@example\.test\n/m, 'Delivered-To is there');
like($mail // '', qr/^Received: from client\.test \(\S+ \[127\.0\.0\.1\]\)\n\tby mx\.posthorn\.test \(Posthorn\) with ESMTP id \S+\n/m, 'Received names us and the client');

($code) = $ph->smtp->send(from => 'a@client.test', to => ['far@away.test'], body => $content, mail_args => 'BODY=8BITMIME');
is($code, 250, 'accepted for relay');
my ($m) = $sink->wait_messages(1);
is(body_of($m->{body} // ''), $want, 'relayed: byte for byte');
is($m->{from}, 'a@client.test', 'relayed: envelope sender');
is_deeply($m->{to}, ['far@away.test'], 'relayed: envelope recipient');

# All in one packet.
my $dots = $content;
$dots =~ s/^\./../mg;
my $c = $ph->smtp;
$c->put("EHLO one.packet\r\nMAIL FROM:<a\@client.test>\r\nRCPT TO:<two\@example.test>\r\nDATA\r\n");
my @codes = map { scalar(($c->reply)[0]) } 1 .. 4;
is_deeply(\@codes, [250, 250, 250, 354], 'pipelined commands are answered in order');
$c->put("$dots.\r\nMAIL FROM:<b\@client.test>\r\nRCPT TO:<two\@example.test>\r\nRSET\r\nNOOP\r\nQUIT\r\n");
@codes = map { scalar(($c->reply)[0]) } 1 .. 6;
is_deeply(\@codes, [250, 250, 250, 250, 250, 221], 'content, commands behind it and QUIT in one packet');
is(body_of(($ph->wait_mail('two', 1))[0] // ''), $want, 'pipelined: byte for byte');

# One byte per packet.
$c = $ph->smtp;
setsockopt $c->{s}, 6, 1, 1;
$c->put($_) for split //, "EHLO slow.client\r\nMAIL FROM:<a\@client.test>\r\nRCPT TO:<three\@example.test>\r\n";
@codes = map { scalar(($c->reply)[0]) } 1 .. 3;
is_deeply(\@codes, [250, 250, 250], 'a byte per packet: commands');
is($c->ask('DATA'), 354, 'a byte per packet: DATA');
$c->put($_) for split //, "$dots.\r\n";
is(scalar(($c->reply)[0]), 250, 'a byte per packet: accepted');
is(body_of(($ph->wait_mail('three', 1))[0] // ''), $want, 'a byte per packet: byte for byte');

# swaks.
SKIP: {
    skip 'swaks is not installed', 2 unless grep { -x "$_/swaks" } split /:/, $ENV{PATH};
    Posthorn::spew("$ph->{tmp}/data", $content);
    my $out = $ph->run('swaks', '--server', '127.0.0.1:' . $ph->port, '--helo', 'swaks.test', '--from', 'a@client.test', '--to', 'four@example.test', '--data', "\@$ph->{tmp}/data");
    is($?, 0, 'swaks is content') or diag $out;
    (my $got = body_of(($ph->wait_mail('four', 1))[0] // '')) =~ s/\n+\z/\n/;
    is($got, $want, 'swaks: byte for byte');
}

# sendmail -t: bare LF input, Bcc is a recipient and goes away, the rest stays.
(my $unix = $content) =~ s/\r\n/\n/g;
$unix =~ s/^To:.*?\n\t.*?\n/To: five\@example.test\nBcc: six\@example.test\n/ms;
my $out = $ph->sendmail($unix, '-t', '-i', '-f', 'a@client.test');
is($?, 0, 'sendmail -t exits 0') or diag $out;
($mail) = $ph->wait_mail('five', 1);
(my $expect = $unix) =~ s/^Bcc:.*\n//m;
is(body_of($mail // ''), $expect, 'sendmail -t: byte for byte but Bcc');
is(scalar($ph->wait_mail('six', 1)), 1, 'sendmail -t: Bcc got it');

# Debian's smtp-source and smtp-sink.
SKIP: {
    my @source = Posthorn::postfix_tool('smtp-source') or skip 'package postfix cannot be had', 3;
    my @sinkcmd = Posthorn::postfix_tool('smtp-sink');
    my $out2 = $ph->run(@source, '-c', '-s', '5', '-m', '50', '-l', '3000', '-f', 'a@client.test', '-t', 'seven@example.test', '127.0.0.1:' . $ph->port);
    is($?, 0, 'smtp-source is content') or diag $out2;
    my @all = $ph->wait_mail('seven', 50);
    is(scalar @all, 50, 'smtp-source: all arrive');
    my $port = Posthorn::free_port();
    my $dump = "$ph->{tmp}/dump";
    mkdir $dump;
    chmod 0777, $dump;
    my $pid = Posthorn::child(sub {
        open STDOUT, '>', '/dev/null';
        exec @sinkcmd, ($> == 0 ? ('-u', 'nobody') : ()), '-d', "$dump/%M.", "127.0.0.1:$port", '100';
    });
    Posthorn::wait_for(sub { my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port"); $s ? 1 : 0 });
    $ph->set(relayhost => "[127.0.0.1]:$port");
    $ph->postfix('reload');
    $ph->wait_log(qr/reload/i);
    ($code) = $ph->smtp->send(from => 'a@client.test', to => ['far@sink.test'], body => $content, mail_args => 'BODY=8BITMIME');
    $ph->wait_log(qr/to=<far\@sink\.test>.*status=sent/) or diag $ph->log;
    my ($file) = grep { Posthorn::slurp($_) =~ /far\@sink/ } glob "$dump/*";
    (my $dumped = $file ? Posthorn::slurp($file) : '') =~ s/\n\n\z/\n/;    # smtp-sink puts an empty line behind each message
is(body_of($dumped), $want, 'smtp-sink: byte for byte');
    Posthorn::end_child($pid);
}
my @removed = $ph->log =~ /qmgr\[\d+\]: (\S+): removed/g;
ok(Posthorn::wait_for(sub { !$ph->queued }), 'the queue is empty at the end');
unlike($ph->log, qr/panic|fatal|warning: .*(?:protocol|signal)/, 'nothing broke') or diag $ph->log;
done_testing();
