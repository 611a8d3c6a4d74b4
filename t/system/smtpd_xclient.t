#!/usr/bin/perl
# XCLIENT and XFORWARD: who may, what they change and what they must not, and
# that nothing of a claim gets into a log line or header but what it may say.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;

my $ph = Posthorn->new(myhostname => 'mx.posthorn.test', mynetworks => '192.0.2.0/24', smtpd_authorized_xclient_hosts => '127.0.0.1, 192.0.2.9', smtpd_authorized_xforward_hosts => '127.0.0.1',
    smtpd_hard_error_limit => 1000, smtpd_error_sleep_time => '0', virtual_mailbox_limit => 0, virtual_mailbox_maps => 'inline:{u@example.test=u/}', local_header_rewrite_clients => '',
    smtpd_client_restrictions => 'check_client_access inline:{192.0.2.66=REJECT}, check_client_access cidr:{{203.0.113.0/24 REJECT}}', unknown_client_reject_code => 550,
    smtpd_recipient_restrictions => 'check_sender_access inline:{names@b.test=named, reverse@b.test=reversed}', smtpd_restriction_classes => 'named, reversed',
    named => 'reject_unknown_client_hostname', reversed => 'reject_unknown_reverse_client_hostname')->start;
my ($c, $code, $text);
sub with { my (%set) = @_; $ph->set(%set); my $out = $ph->postfix('reload'); die "reload: $out" if $? }
sub hello { $c = $ph->smtp(timeout => 10); return ($c->ask('EHLO client.test'))[1] }
sub ask { return ($c->ask($_[0]))[1] }
sub rcpt { my ($to, $from) = @_; $c->ask('RSET'); $c->ask('MAIL FROM:<' . ($from // 'a@b.test') . '>'); return ask("RCPT TO:<$to>") }
my $greeting = '220 mx.posthorn.test ESMTP Posthorn';

# ---- what is announced ----
like(hello(), qr/\n250-XCLIENT NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT\n250-XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT\n/, 'announced to those who may');

# ---- another identity: access, names, login ----
like(rcpt('u@far.test'), qr/^454 4\.7\.1 .*Relay access denied/, 'as itself the client may not relay');
is(ask('RSET') && ask('XCLIENT ADDR=192.0.2.9 NAME=friend.test'), $greeting, 'XCLIENT: the session begins anew');
like(rcpt('u@far.test'), qr/^250 /, 'an address of mynetworks may relay');
like(ask('RSET') && ask('XCLIENT ADDR=198.51.100.7 NAME=[UNAVAILABLE] REVERSE_NAME=[UNAVAILABLE] PORT=2525'), qr/^220 /, 'an address that is in the list may go on');
is(rcpt('u@example.test', 'names@b.test'), '550 5.7.25 Client host rejected: cannot find your hostname, [198.51.100.7]', 'a name that does not exist');
is(rcpt('u@example.test', 'reverse@b.test'), '550 5.7.1 Client host rejected: cannot find your reverse hostname, [198.51.100.7]', '... nor a reverse one');
is(ask('RSET') && ask('XCLIENT NAME=x.test'), '550 5.7.0 Error: insufficient authorization', 'an address that is not in the list may not');
$c->quit;
ok($ph->wait_log(qr/disconnect from unknown\[198\.51\.100\.7\] ehlo=1 xclient=0\/3 /), 'the disconnect line names the last identity; XCLIENT counts in the total only');
hello();
ask('XCLIENT NAME=[TEMPUNAVAIL] REVERSE_NAME=[tempunavail] ADDR=198.51.100.8');
like(rcpt('u@example.test', 'names@b.test'), qr/^450 4\.7\.25 /, 'a name that cannot be looked up now');
like(rcpt('u@example.test', 'reverse@b.test'), qr/^450 4\.7\.1 /, '... a reverse one');
hello();
ask('XCLIENT ADDR=198.51.100.8 NAME=[UNAVAILABLE] REVERSE_NAME=rev.test');
like(rcpt('u@example.test', 'names@b.test'), qr/^550 5\.7\.25 /, 'only the reverse name is known:');
like(rcpt('u@example.test', 'reverse@b.test'), qr/^250 /, 'each is judged for itself');
hello();
is(ask('XCLIENT LOGIN=joe+40x.test HELO=other.test PROTO=SMTP'), $greeting, 'LOGIN');
like(rcpt('u@far.test'), qr/^250 /, 'permit_sasl_authenticated');
ok($ph->wait_log(qr/client=localhost\[127\.0\.0\.1\], sasl_method=XCLIENT, sasl_username=joe\@x\.test$/m), 'is logged');
like(ask('RCPT TO:<nobody@example.test>'), qr/^550 /, 'and in a reject line:');
ok($ph->wait_log(qr/reject: RCPT .*; from=<a\@b\.test> to=<nobody\@example\.test> proto=SMTP helo=<other\.test> sasl_method=XCLIENT sasl_username=joe\@x\.test$/m), 'with PROTO and HELO as they were given');
ask('RSET');
ask('XCLIENT HELO=third.test');
like(rcpt('u@far.test'), qr/^454 /, 'the next XCLIENT forgets the login');
hello();
ask('XCLIENT ADDR=192.0.2.66');
like(rcpt('u@example.test'), qr/^554 5\.7\.1 <localhost\[192\.0\.2\.66\]>: Client host rejected/, 'access tables see the address');
hello();
is(ask('XCLIENT NAME=six.test ADDR=IPV6:2001:DB8::1'), $greeting, 'IPv6');
like(rcpt('u@example.test'), qr/^250 /, 'accepted');
$c->ask('DATA');
$c->put("S: x\r\n\r\n.\r\n");
$c->reply;
like(join('', $ph->wait_mail('u', 1)), qr/^Received: from six\.test \(six\.test \[IPv6:2001:db8::1\]\)\n\tby mx/m, 'in Received:, the EHLO name is gone');

# ---- states ----
hello();
ask('MAIL FROM:<a@b.test>');
is(ask('XCLIENT NAME=foo.test'), '503 5.5.1 Error: MAIL transaction in progress', 'not inside a transaction');
is(ask('XFORWARD NAME=foo.test'), '503 5.5.1 Error: MAIL transaction in progress', 'neither of them');
like(ask('RCPT TO:<u@example.test>'), qr/^250 /, 'which goes on');
hello();
$c->put("XCLIENT NAME=foo.test\r\nMAIL FROM:<a\@b.test>\r\nRCPT TO:<u\@example.test>\r\n");
is_deeply([map { scalar(($c->reply)[0]) } 1 .. 3], [220, 554, 0], 'after it the protocol is SMTP again: no pipelining');

# ---- nothing but what it may say ----
hello();
for my $bad ('XCLIENT', 'XCLIENT foo', 'XCLIENT NAME=', 'XCLIENT NAME=a+0Ab', 'XCLIENT NAME=-x', 'XCLIENT NAME=a_+00', 'XCLIENT ADDR=1.2.3', 'XCLIENT ADDR=IPV6:1.2.3.4', 'XCLIENT ADDR=[TEMPUNAVAIL]', 'XCLIENT PORT=65536',
    'XCLIENT PORT=-1', 'XCLIENT HELO=a+0D+0Ab', 'XCLIENT LOGIN=a+0Ab', 'XCLIENT LOGIN=a+zz', 'XCLIENT HELO=' . 'x' x 256, 'XCLIENT IDENT=x', 'XFORWARD LOGIN=x', 'XFORWARD IDENT=a+0Ab', 'XFORWARD PROTO=' . 'x' x 65, 'XFORWARD NAME=a%b') {
    like(ask($bad), qr/^501 5\.5\.4 /, 'refused: ' . substr $bad, 0, 30);
}
is(ask('XCLIENT NAME=good.test ADDR=bad'), '501 5.5.4 Bad ADDR syntax: bad', 'one bad attribute');
like(rcpt('nobody@example.test'), qr/^550/, 'and none of the command counts:');
ok($ph->wait_log(qr/reject: RCPT from localhost\[127\.0\.0\.1\]: 550 .* helo=<client\.test>$/m), 'the identity is what it was');
ask('RSET');
is(ask('XCLIENT HELO=a(b)<c>@d'), $greeting, 'a HELO that could break a header');
rcpt('nobody@example.test');
ok($ph->wait_log(qr/helo=<a\?b\?\?c\?\?d>$/m), 'is made harmless');

# ---- XFORWARD ----
hello();
is(ask('XFORWARD NAME=spike.test ADDR=192.0.2.5 PORT=25 HELO=h.test PROTO=ESMTP'), '250 2.0.0 Ok', 'XFORWARD');
is(ask('XFORWARD IDENT=ABCD SOURCE=LOCAL'), '250 2.0.0 Ok', 'in two parts');
ask('MAIL FROM:<a@b.test>');
like(ask('RCPT TO:<u@far.test>'), qr/^454 /, 'it gives no rights');
like(ask('RCPT TO:<u@example.test>'), qr/^250 /, 'mail for us is taken');
ok($ph->wait_log(qr/client=localhost\[127\.0\.0\.1\], orig_queue_id=ABCD, orig_client=spike\.test\[192\.0\.2\.5\]$/m), 'logged');
$c->ask('DATA');
$c->put("S: forwarded\r\n\r\n.\r\n");
$c->reply;
my @mail = grep { /forwarded/ } $ph->wait_mail('u', 2);
like($mail[0], qr/^Received: from client\.test \(localhost \[127\.0\.0\.1\]\)/m, 'Received: names who brought it');
like($mail[0], qr/^Message-Id: /m, 'SOURCE=LOCAL: the headers are completed');
ask('MAIL FROM:<a@b.test>');
ask('RCPT TO:<u@example.test>');
ok($ph->wait_log(qr/client=localhost\[127\.0\.0\.1\], orig_queue_id=ABCD.*\n(?:.*\n)*?.*client=localhost\[127\.0\.0\.1\]$/m), 'the next message is not from there');
ask('RSET');
ask('XFORWARD IDENT=ZZ');
ask('XFORWARD ADDR=IPV6:2001:db8::2');
ask('RSET');
ask('XFORWARD ADDR=IPV6:2001:db8::3');
ask('MAIL FROM:<a@b.test>');
ask('RCPT TO:<u@example.test>');
ok($ph->wait_log(qr/client=localhost\[127\.0\.0\.1\], orig_client=unknown\[2001:db8::3\]$/m), 'RSET forgets; a name that was not given is unknown');

# ---- who may not; a refusal at connect ----
with(smtpd_authorized_xclient_hosts => '', smtpd_authorized_xforward_hosts => '');
unlike(hello(), qr/XCLIENT|XFORWARD/, 'not announced to others');
is(ask($_ . ' NAME=x.test'), '550 5.7.0 Error: insufficient authorization', "$_: refused") for qw(XCLIENT XFORWARD);
with(smtpd_authorized_xclient_hosts => '127.0.0.1', smtpd_delay_reject => 'no', smtpd_forbid_bare_newline => 'reject', smtpd_forbid_bare_newline_exclusions => '192.0.2.0/24');
hello();
like(ask('XCLIENT ADDR=192.0.2.66'), qr/^554 5\.7\.1 <localhost\[192\.0\.2\.66\]>: Client host rejected/, 'an identity that is refused at connect');
is(ask('MAIL FROM:<a@b.test>'), '503 5.7.0 Error: access denied for localhost[192.0.2.66]', 'gets no further');
is(ask('QUIT'), '221 2.0.0 Bye', 'than QUIT');
hello();
ask('XCLIENT ADDR=192.0.2.10');
$c->put("NOOP\n");
is(scalar(($c->reply)[0]), 250, 'exclusions are those of the new identity');
done_testing();
