#!/usr/bin/perl
# BDAT, RFC 3030: chunks of any size arrive as one message, byte for byte; an
# error anywhere leaves client and server in step; nothing in a chunk is ever
# read as a command, nor a command as content.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;

my $ph = Posthorn->new(myhostname => 'mx.posthorn.test', mynetworks => '192.0.2.0/24', smtpd_error_sleep_time => '0', message_size_limit => 100000,
    virtual_mailbox_limit => 0, smtpd_hard_error_limit => 1000, smtpd_junk_command_limit => 1000, virtual_mailbox_maps => 'inline:{u@example.test=u/, v@example.test=v/}')->start;
my ($c, $code, $text);
my %seen;                                      # messages of a user that were looked at

sub again { my (%set) = @_; $ph->set(%set); my $out = $ph->postfix('reload'); die "reload: $out" if $? }
sub hello { $c = $ph->smtp(timeout => 10); $c->ask('EHLO client.test'); return $c }
sub begin { $c->ask('MAIL FROM:<a@b.test>'); return $c->ask('RCPT TO:<u@example.test>') }
sub chunk { my ($data, $last, $n) = @_; $c->put('BDAT ' . ($n // length $data) . ($last ? ' LAST' : '') . "\r\n$data"); return ($c->reply)[1] }
# The body of the next new message of u, with LF line ends.
sub body {
    my @files;
    Posthorn::wait_for(sub { @files = grep { !$seen{$_} } $ph->mail('u') }, 10) or return 'no message came';
    $seen{$files[0]} = 1;
    my $mail = Posthorn::slurp($files[0]);
    $mail =~ s/.*?\n\n//s;
    return $mail;
}
my $head = "Subject: chunks\r\n\r\n";

# ---- whole, in parts, byte by byte ----
hello();
begin();
is(chunk($head . "one\r\n", 1) =~ s/ as \S+/ as ID/r, '250 2.0.0 Ok: 24 bytes queued as ID', 'one chunk is the message');
is(body(), "one\n", 'and it is delivered');
begin();
is(chunk("Subject: chu"), '250 2.0.0 Ok: 12 bytes', 'a chunk may end in the middle of a header');
is(chunk("nks\r"), '250 2.0.0 Ok: 4 bytes', '... between CR and LF');
is(chunk("\n\r\n.\r\n..two\r\n.\r"), '250 2.0.0 Ok: 15 bytes', '... and dots are dots');
is(chunk("\nlast", 1) =~ s/ as \S+/ as ID/r, '250 2.0.0 Ok: 38 bytes queued as ID', 'a last line without an end gets one, and it counts');
is(body(), ".\n..two\n.\nlast\n", 'the parts are one message');
begin();
is(chunk($_), '250 2.0.0 Ok: 1 bytes', 'a chunk of one byte') for ('S', ':', ' ', 'x', "\r", "\n", "\r", "\n", 'y', "\r", "\n");
like(chunk('', 1, 0), qr/^250 2\.0\.0 Ok: 11 bytes queued as \S+$/, 'BDAT 0 LAST ends it');
is(body(), "y\n", 'byte by byte');
setsockopt $c->{s}, 6, 1, 1;
$c->put($_) for split //, "MAIL FROM:<a\@b.test>\r\nRCPT TO:<u\@example.test>\r\nBDAT 21\r\n${head}ab" . "BDAT 3 LAST\r\n\nc\n";
$c->reply for 1 .. 3;
like(($c->reply)[1], qr/^250 2\.0\.0 Ok: \d+ bytes queued as/, 'one byte a packet');
like(body(), qr/^ab\nc\n\z/, 'and the content is the same');

# ---- pipelined; nothing is smuggled ----
my $evil = "${head}x\r\n.\r\nMAIL FROM:<evil\@x.test>\r\nRCPT TO:<v\@example.test>\r\nDATA\r\nsmuggled\r\n.\r\n";
$c->put("MAIL FROM:<a\@b.test>\r\nRCPT TO:<u\@example.test>\r\nBDAT " . length($evil) . " LAST\r\n$evil" .
    "MAIL FROM:<a\@b.test>\r\nRCPT TO:<u\@example.test>\r\nBDAT " . length($head) . "\r\n${head}BDAT 3 LAST\r\ntwoRSET\r\nNOOP\r\n");
my @codes = map { scalar(($c->reply)[0]) } 1 .. 9;
is_deeply(\@codes, [(250) x 9], 'two transactions in one packet');
my @two = sort map { body() } 1 .. 2;
is($two[0], "two\n", "the second one");
like(join('', @two), qr/two\n/, 'both came');
is(scalar($ph->mail('v')), 0, 'commands in a chunk are content');

# ---- 23.1 through BDAT: no line is an end; however the chunks are cut ----
for my $v (["a\r\n.\r\n", "a\n.\n"], ["a\n.\r\nb\r\n", "a\n.\nb\n"], ["a\r\n.\nb\r\n", "a\n.\nb\n"], ["a\n.\nb\r\n", "a\n.\nb\n"], ["a\r\n.\r\r\nb\r\n", "a\n. \nb\n"], ["a\r.\rb\r\n", "a . b\n"], ["..a\r\n", "..a\n"], ["a\r", "a \n"]) {
    my ($in, $want) = @$v;
    my $good = 1;
    for my $cut (0 .. length $in) {
        begin();
        chunk($head . substr $in, 0, $cut);
        chunk(substr($in, $cut), 1);
        $good &= body() eq $want;
    }
    (my $shown = $in) =~ s/([\r\n])/$1 eq "\r" ? 'CR' : 'LF'/ge;
    ok($good, "BDAT, at every cut: $shown");
}

# ---- errors: in step, and the message is gone (23.4) ----
is(chunk('abcde'), '503 5.5.1 Error: need RCPT command', 'no transaction: swallowed, then 503');
$c->ask('RSET');
is(chunk('', 0, 0), '551 5.7.1 Null BDAT request', 'BDAT 0 without LAST');
is(($c->ask('MAIL FROM:<a@b.test>'))[1], '503 5.5.1 Error: MAIL after BDAT', 'MAIL after a failed chunk');
is(($c->ask('RCPT TO:<u@example.test>'))[1], '503 5.5.1 Error: need MAIL command', 'RCPT after a failed chunk');
is(($c->ask('DATA'))[1], '503 5.5.1 Error: DATA after BDAT', 'DATA after a failed chunk');
is(chunk("RSET\r\nQUIT\r\n"), '551 5.0.0 Discarded 12 bytes after earlier error', 'chunks are passed over');
is(chunk('x', 1), '551 5.0.0 Discarded 1 bytes after earlier error', '... up to LAST');
is(begin(), 250, 'and a new transaction begins');
is(chunk($head), '250 2.0.0 Ok: 19 bytes', 'in a sequence:');
is(($c->ask('RCPT TO:<v@example.test>'))[1], '503 5.5.1 Error: RCPT after BDAT', 'RCPT');
is(($c->ask('MAIL FROM:<c@d.test>'))[1], '503 5.5.1 Error: nested MAIL command', 'MAIL');
is(($c->ask('DATA'))[1], '503 5.5.1 Error: DATA after BDAT', 'DATA');
is(($c->ask('VRFY u@example.test'))[1], '252 2.0.0 u@example.test', 'VRFY');
like(chunk("still\r\n", 1), qr/queued as/, 'and the sequence goes on');
is(body(), "still\n", 'unharmed');
begin();
chunk('abc');
is(($c->ask('RSET'))[1], '250 2.0.0 Ok', 'RSET ends a sequence');
is(begin(), 250, 'and all begins anew');
$c->ask('RSET');
$c->ask('MAIL FROM:<a@b.test>');
$c->ask('RCPT TO:<nobody@example.test>');
is(chunk('abc', 1), '554 5.5.1 Error: no valid recipients', 'no valid recipient');
is(begin(), 250, 'LAST ends that too');
is(chunk('x' x 90000), '250 2.0.0 Ok: 90000 bytes', 'near the limit');
is(chunk('y' x 10001), '552 5.3.4 Chunk exceeds message size limit', 'over the limit in sum');
is(chunk('z', 1), '551 5.0.0 Discarded 1 bytes after earlier error', 'the rest is passed over');
begin();
is(chunk("x\n" x 49000), '552 5.3.4 Chunk exceeds message size limit', 'bare LF: what counts is what would be stored');
$c->ask('RSET');
ok($ph->wait_log(qr/warning: \w+: BDAT request from localhost\[127\.0\.0\.1\] exceeds message size limit/), 'log: too big');
ok($ph->wait_log(qr/warning: NOQUEUE: null BDAT request from localhost\[127\.0\.0\.1\]/), 'log: null BDAT');
$c->quit;
for my $bad ('', '-1', '5 LAST foo', 'x', '9999999999999999999', '5 FIRST', '5.0', '0x5') {
    hello();
    begin();
    is(($c->ask("BDAT $bad" =~ s/ $//r))[1], '521 5.5.4 Syntax: BDAT count [LAST]', "BDAT $bad");
    is($c->line, undef, 'closes: what follows may be content');
}
# Nor when the line as such cannot be read: what follows it is content all the same.
for (['not UTF-8', "BDAT 6 LAST \xff"], ['too long', 'BDAT 6 LAST' . ' ' x 2100]) {
    my ($what, $line) = @$_;
    hello();
    begin();
    $c->put("$line\r\nRSET\r\nNOOP\r\n");
    is(($c->reply)[1], '521 5.5.4 Syntax: BDAT count [LAST]', "a BDAT line that is $what");
    is($c->line, undef, 'closes');
}
ok($ph->wait_log(qr/warning: \w+: malformed BDAT command syntax from localhost\[127\.0\.0\.1\]: BDAT 5 LAST foo/), 'log: syntax');
hello();
begin();
$c->put("BDAT 99999999999\r\n");
is(($c->reply)[1], '552 5.3.4 Chunk exceeds message size limit', 'an absurd chunk is not waited for');
is($c->line, undef, 'the session ends');
ok($ph->wait_log(qr/too much BDAT content -- disabling further input from localhost\[127\.0\.0\.1\]/), 'log: absurd');

# ---- replies do not wait for a chunk that is late ----
hello();
$c->put("MAIL FROM:<a\@b.test>\r\nRCPT TO:<u\@example.test>\r\nBDAT 5\r\n");
is_deeply([map { scalar(($c->reply)[0]) } 1 .. 2], [250, 250], 'replies leave before the server waits for content');
$c->put("S:\r\n\r");
is(($c->reply)[1], '250 2.0.0 Ok: 5 bytes', 'which then comes');
$c->ask('RSET');

# ---- the client leaves in a chunk ----
hello();
begin();
$c->put("BDAT 1000\r\n" . 'x' x 100 . "\r\n");
close $c->{s};
ok($ph->wait_log(qr/\w{12,}: lost connection after BDAT \(\d+ bytes\) from localhost\[127\.0\.0\.1\]/), 'log: lost in a chunk');
ok($ph->wait_log(qr/disconnect from localhost\[127\.0\.0\.1\] ehlo=1 mail=1 rcpt=1 bdat=0\/1 commands=3\/4/), 'a chunk that never came counts as failed');

# ---- restrictions: the first chunk is DATA; the end of data ----
again(smtpd_data_restrictions => 'check_sender_access inline:{nodata@b.test=REJECT}', smtpd_end_of_data_restrictions => 'check_sender_access inline:{noend@b.test=REJECT}');
hello();
$c->ask('MAIL FROM:<nodata@b.test>');
$c->ask('RCPT TO:<u@example.test>');
is(chunk('abc'), '554 5.7.1 <nodata@b.test>: Sender address rejected: Access denied', 'smtpd_data_restrictions at the first chunk');
is(chunk('abc'), '551 5.0.0 Discarded 3 bytes after earlier error', 'the others are passed over');
is(chunk('abc', 1), '551 5.0.0 Discarded 3 bytes after earlier error', 'to the last');
ok($ph->wait_log(qr/reject: BDAT from localhost\[127\.0\.0\.1\]: 554 5\.7\.1 <nodata\@b\.test>: Sender address rejected: Access denied; from=<nodata\@b\.test> to=<u\@example\.test> proto=ESMTP helo=<client\.test>/),
    'WHERE is BDAT');
$c->ask('MAIL FROM:<noend@b.test>');
$c->ask('RCPT TO:<u@example.test>');
like(chunk($head, 1), qr/^554 5\.7\.1 <noend\@b\.test>/, 'smtpd_end_of_data_restrictions at LAST');
is(($c->ask('RCPT TO:<u@example.test>'))[1], '503 5.5.1 Error: need MAIL command', 'the transaction is gone');
is(($c->ask('DATA'))[1], '503 5.5.1 Error: need RCPT command', 'and so is the sequence');
begin();
like(chunk("${head}fine\r\n", 1), qr/queued as/, 'the next message is its own');
is(body(), "fine\n", 'and comes');

# ---- bare line ends, and a session without CHUNKING ----
again(smtpd_forbid_bare_newline => 'reject', smtpd_data_restrictions => '', smtpd_end_of_data_restrictions => '');
hello();
begin();
is(chunk("${head}a\nb"), '250 2.0.0 Ok: 22 bytes', 'reject: all is read first');
is(chunk("c\r\n", 1), '550 5.5.2 mx.posthorn.test Error: bare <LF> received', 'then refused');
begin();
like(chunk("${head}a\r", 0) && chunk("\nb\r\n", 1), qr/queued as/, 'CR and LF in two chunks are no bare LF');
is(body(), "a\nb\n", 'and come');
again(smtpd_forbid_bare_newline => 'note', smtpd_discard_ehlo_keywords => '');
hello();
begin();
like(chunk("${head}a\nb\n", 1), qr/queued as/, 'note: accepted');
is(body(), "a\nb\n", 'as whole lines');
$c->quit;
ok($ph->wait_log(qr/disconnect from localhost\[127\.0\.0\.1\] [^\n]* commands=\d+ notes=bare_lf$/m), 'note: in the disconnect line');
again(smtpd_discard_ehlo_keywords => 'chunking, silent-discard', smtpd_forbid_bare_newline => 'normalize');
$c = $ph->smtp;
unlike(($c->ask('EHLO client.test'))[1], qr/CHUNKING/, 'hidden');
is(($c->ask('BDAT 5'))[1], '521 5.5.1 Error: command not implemented', 'and not taken');
is($c->line, undef, 'closes');
done_testing();
