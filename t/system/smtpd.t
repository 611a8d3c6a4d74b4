#!/usr/bin/perl
# The SMTP server: replies, states, limits, restrictions, the relay guard, and
# what the log says of them.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;

my $ph = Posthorn->new(myhostname => 'mx.posthorn.test', mynetworks => '192.0.2.0/24', smtpd_error_sleep_time => '0', message_size_limit => 5000,
    virtual_mailbox_limit => 0, relay_domains => 'relay.example', relayhost => '[127.0.0.1]:1', smtpd_recipient_limit => 3, virtual_mailbox_maps => 'inline:{u@example.test=u/}',
    smtpd_hard_error_limit => 100, smtpd_forbid_unauth_pipelining => 'no')->start;
my ($code, $text);
sub again { # with other settings
    my (%set) = @_;
    $ph->set(%set);
    my $out = $ph->postfix('reload');
    die "reload: $out" if $?;
}

# ---- greeting, EHLO, states ----
my $c = $ph->smtp(raw => 1);
($code, $text) = $c->reply;
is($text, '220 mx.posthorn.test ESMTP Posthorn', 'greeting');
($code, $text) = $c->ask('EHLO client.test');
is($text, "250-mx.posthorn.test\n250-PIPELINING\n250-SIZE 5000\n250-VRFY\n250-ETRN\n250-ENHANCEDSTATUSCODES\n250-8BITMIME\n250-DSN\n250-SMTPUTF8\n250 CHUNKING", 'EHLO reply, in order');
my @talk = (
    ['DATA', '503 5.5.1 Error: need RCPT command'], ['RCPT TO:<u@example.test>', '503 5.5.1 Error: need MAIL command'], ['', '500 5.5.2 Error: bad syntax'],
    ['FOO', '500 5.5.2 Error: command not recognized'], ['RSET x', '501 5.5.4 Syntax: RSET'], ['RSET', '250 2.0.0 Ok'], ['noop anything', '250 2.0.0 Ok'],
    ['MAIL', '501 5.5.4 Syntax: MAIL FROM:<address>'], ['MAIL FROM:a b@c', '555 5.5.4 Unsupported option: b@c'], ['MAIL FROM:<a@b', '501 5.1.7 Bad sender address syntax'],
    ['MAIL FROM:<a@b> SIZE=x', '501 5.5.4 Bad message size syntax'], ['MAIL FROM:<a@b> SIZE=99999', '552 5.3.4 Message size exceeds fixed limit'],
    ['MAIL FROM:<a@b> SIZE=99999999999999999999999', '552 5.3.4 Message size exceeds file system imposed limit'], ['MAIL FROM:<a@b> FOO=1', '555 5.5.4 Unsupported option: FOO=1'],
    ['mail from:<@r.test:a@b.test> body=8bitmime size=10', '250 2.1.0 Ok'], ['MAIL FROM:<c@d>', '503 5.5.1 Error: nested MAIL command'],
    ['RCPT TO:<>', '501 5.1.3 Bad recipient address syntax'], ['RCPT TO:<u@example.test> FOO', '555 5.5.4 Unsupported option: FOO'],
    ['RCPT TO:<-x@example.test>', '501 5.1.3 Bad recipient address syntax'], ['DATA', '554 5.5.1 Error: no valid recipients'],
    ['RCPT TO:<nobody@example.test>', '550 5.1.1 <nobody@example.test>: Recipient address rejected: User unknown in virtual mailbox table'],
    ['DATA', '554 5.5.1 Error: no valid recipients'], ['VRFY u@example.test', '252 2.0.0 u@example.test'], ['RCPT TO:<u@example.test>', '250 2.1.5 Ok'],
    ['DATA x', '501 5.5.4 Syntax: DATA'], ['EHLO again.test', undef], ['RCPT TO:<u@example.test>', '503 5.5.1 Error: need MAIL command'], ['HELP', undef],
    ['MAIL FROM:<>', '250 2.1.0 Ok'], ['RSET', '250 2.0.0 Ok'], ['QUIT', '221 2.0.0 Bye'],
);
for my $t (@talk) {
    ($code, $text) = $c->ask($t->[0]);
    defined $t->[1] ? is($text, $t->[1], "$t->[0]") : is($code, $t->[0] =~ /HELP/ ? 214 : 250, $t->[0]);
}
is($c->line, undef, 'QUIT closes');
ok($ph->wait_log(qr/NOQUEUE: reject: RCPT from localhost\[127\.0\.0\.1\]: 550 5\.1\.1 <nobody\@example\.test>: Recipient address rejected: User unknown in virtual mailbox table; from=<a\@b\.test> to=<nobody\@example\.test> proto=ESMTP helo=<client\.test>/), 'the reject line');
ok($ph->wait_log(qr/disconnect from localhost\[127\.0\.0\.1\] ehlo=2 mail=2\/10 rcpt=1\/7 data=0\/4 rset=2\/3 noop=1 vrfy=1 quit=1 help=1 unknown=0\/1 commands=\d+\/\d+/), 'the disconnect line') or diag $ph->log =~ /(disconnect.*)/;

# ---- the relay guard: 127.0.0.1 is no friend here ----
my @routes = (
    ['u@other.example', qr/^454 4\.7\.1 <u\@other\.example>: Relay access denied$/], ['u%other.example@example.test', qr/^454 4\.7\.1 .*Relay access denied|^550 /],
    ['other.example!u@relay.example', qr/Relay access denied/], ['u%other.example@relay.example', qr/Relay access denied/], ['"u@other.example"@relay.example', qr/Relay access denied/],
    ['@relay.example:u@other.example', qr/Relay access denied/], ['u@relay.example', qr/^250/], ['u@sub.relay.example', qr/^250/], ['U@EXAMPLE.TEST', qr/^250/], ['u@example.test.', qr/^250/],
    ['u@example.test..', qr/^501 5\.1\.3/], ['u@', qr/^501 5\.1\.3/], ['u@192.0.2.9', qr/^501 5\.1\.3/], ['u@[127.0.0.1]x', qr/^501 5\.1\.3/], ['postmaster', qr/^250/],
    ['u' . '%a.test' x 200 . '@relay.example', qr/Relay access denied/], ["u\@relay.ex\xc3\xa4mple", qr/^501 5\.1\.3/],
);
for my $r (@routes) {
    $c = $ph->smtp;
    $c->ask('EHLO client.test');
    $c->ask('MAIL FROM:<a@b.test>');
    my $path = $r->[0];
    ($code, $text) = $c->ask("RCPT TO:<$path>");
    like($text, $r->[1], 'relay guard: ' . substr($path, 0, 40));
    $c->quit;
}

# ---- limits ----
$c = $ph->smtp;
$c->ask('EHLO client.test');
($code, $text) = $c->ask('NOOP ' . 'x' x 5000);
is($text, '500 5.5.2 mx.posthorn.test Error: command too long', 'an overlong command');
is($c->ask('NOOP'), 250, 'and the session goes on');
$c->ask('MAIL FROM:<a@b.test>');
is($c->ask('RCPT TO:<u@example.test>'), 250, "recipient $_") for 1 .. 3;
($code, $text) = $c->ask('RCPT TO:<u@example.test>');
is($text, '452 4.5.3 Error: too many recipients', 'one recipient too many');
is($c->ask('DATA'), 354, 'DATA');
$c->put("Subject: big\r\n\r\n" . ("x" x 70 . "\r\n") x 200 . ".\r\n");
($code, $text) = $c->reply;
is($text, '552 5.3.4 Error: message file too big', 'a message over the limit');
($code, $text) = $c->ask('RCPT TO:<u@example.test>');
is($text, '503 5.5.1 Error: need MAIL command', 'after a refusal at the end of data the transaction is gone');
($code, $text) = $c->send(from => 'a@b.test', to => ['u@example.test'], body => "Subject: ok\r\n\r\nsmall\r\n");
is($code, 250, 'and the next one is accepted');
$c->quit;

# ---- line ends ----
my $bare = "Subject: x\r\n\r\na\n.\r\nMAIL FROM:<evil\@x>\r\nRCPT TO:<u\@example.test>\r\nDATA\r\nsmuggled\r\n.\r\n";
$c = $ph->smtp;
$c->ask('EHLO c.test'); $c->ask('MAIL FROM:<a@b.test>'); $c->ask('RCPT TO:<u@example.test>'); $c->ask('DATA');
$c->put($bare);
is(scalar(($c->reply)[0]), 250, 'LF . CRLF ends nothing');
is($c->ask('NOOP'), 250, 'one reply for one message');
$c->quit;
again(smtpd_forbid_bare_newline => 'reject');
$c = $ph->smtp;
$c->ask('EHLO c.test'); $c->ask('MAIL FROM:<a@b.test>'); $c->ask('RCPT TO:<u@example.test>'); $c->ask('DATA');
$c->put($bare);
($code, $text) = $c->reply;
is($text, '550 5.5.2 mx.posthorn.test Error: bare <LF> received', 'reject: said after the real end of data');
$c->quit;

# ---- non-SMTP, errors ----
again(smtpd_forbid_bare_newline => 'normalize', smtpd_hard_error_limit => 3, smtpd_forbid_unauth_pipelining => 'yes');
$c = $ph->smtp;
($code, $text) = $c->ask('GET / HTTP/1.0');
is($text, '221 2.7.0 Error: I can break rules, too. Goodbye.', 'HTTP');
is($c->line, undef, 'hangs up');
$c = $ph->smtp;
($code, $text) = $c->ask('Host: x');
is($code, 221, 'a header');
$c = $ph->smtp;
$c->ask('BOGUS') for 1 .. 2;
$c->put("BOGUS\r\n");
($code, $text) = $c->reply;
is($code, 500, 'third error');
($code, $text) = $c->reply;
is($text, '421 4.7.0 mx.posthorn.test Error: too many errors', 'too many errors');
ok($ph->wait_log(qr/NOQUEUE: too many errors after UNKNOWN from localhost\[127\.0\.0\.1\]/), 'and its log line');
$c = $ph->smtp;
$c->put("EHLO c.test\r\nNOOP\r\n");
($code, $text) = $c->reply;
is($text, '554 5.5.0 Error: SMTP protocol synchronization', 'a stranger that pipelines behind EHLO');
$c = $ph->smtp;
$c->put('EHLO');
close $c->{s};
ok($ph->wait_log(qr/NOQUEUE: lost connection after CONNECT from localhost/), 'a lost connection is said');

# ---- access tables, defer and reject ----
Posthorn::spew("$ph->{dir}/access", "bad\@x.test reject go away\nx.test 450 4.1.2 later\n.sub.test OK\nwarned\@y.test WARN odd\nclassy\@y.test strict\n<> 554 no nulls\n");
chmod 0644, "$ph->{dir}/access";
my @rules = (
    ['smtpd_sender_restrictions', "check_sender_access texthash:$ph->{dir}/access", 'bad@x.test', qr/^554 5\.7\.1 <bad\@x\.test>: Sender address rejected: go away$/],
    ['smtpd_sender_restrictions', "texthash:$ph->{dir}/access", 'BAD@X.test', qr/^554 5\.7\.1 <BAD\@X\.test>: Sender address rejected: go away$/],
    ['smtpd_sender_restrictions', "texthash:$ph->{dir}/access", 'other@x.test', qr/^450 4\.1\.\d <other\@x\.test>: Sender address rejected: later$/],
    ['smtpd_sender_restrictions', "texthash:$ph->{dir}/access", 'other@a.x.test', qr/^450 4\.1\.\d /],
    ['smtpd_sender_restrictions', "texthash:$ph->{dir}/access", '', qr/^554 5\.7\.1 <>: Sender address rejected: no nulls$/],
    ['smtpd_sender_restrictions', "texthash:$ph->{dir}/access, reject", 'warned@y.test', qr/^554 5\.7\.1 <warned\@y\.test>: Sender address rejected: Access denied$/],
    ['smtpd_sender_restrictions', "texthash:$ph->{dir}/access", 'classy@y.test', qr/^504 5\.5\.2 .*need fully-qualified hostname$/],
    ['smtpd_recipient_restrictions', 'defer_if_permit, permit', 'a@b.test', qr/^450 4\.7\.0 /], ['smtpd_recipient_restrictions', 'defer_if_permit, reject', 'a@b.test', qr/^554 5\.7\.1 /],
    ['smtpd_recipient_restrictions', 'defer_if_reject, reject', 'a@b.test', qr/^450 4\.7\.0 /], ['smtpd_recipient_restrictions', 'defer_if_reject, permit', 'a@b.test', qr/^250/],
    ['smtpd_recipient_restrictions', 'warn_if_reject reject, permit', 'a@b.test', qr/^250/], ['smtpd_recipient_restrictions', 'defer', 'a@b.test', qr/^450 4\.3\.2 /],
    ['smtpd_client_restrictions', 'permit', 'a@b.test', qr/^250/], ['smtpd_client_restrictions', 'check_client_access inline:{127.0.0=DEFER}', 'a@b.test', qr/^450 4\.7\.1 <localhost\[127\.0\.0\.1\]>: Client host rejected/],
    ['smtpd_client_restrictions', 'check_client_access cidr:' . "$ph->{dir}/nets", 'a@b.test', qr/^554 5\.7\.1 <localhost\[127\.0\.0\.1\]>: Client host rejected: by net$/],
    ['smtpd_helo_restrictions', 'reject_invalid_helo_hostname', 'a@b.test', qr/^250/], ['smtpd_helo_restrictions', 'check_helo_access pcre:' . "$ph->{dir}/helo", 'a@b.test', qr/^550 5\.7\.1 <client>: Helo command rejected: no client/],
    ['smtpd_sender_restrictions', 'check_sender_access fail:broken', 'a@b.test', qr/^451 4\.3\.5 <a\@b\.test>: Sender address rejected: Server configuration error$/],
    ['smtpd_recipient_restrictions', 'reject_non_fqdn_sender', 'a@b', qr/^504 5\.5\.2 <a\@b>: Sender address rejected: need fully-qualified address$/],
);
Posthorn::spew("$ph->{dir}/nets", "if 127.0.0.0/8\n!127.0.0.1 OK\n127.0.0.1 REJECT by net\nendif\n");
Posthorn::spew("$ph->{dir}/helo", "/^cl(i)ent\$/ 550 no client\n");
chmod 0644, "$ph->{dir}/nets", "$ph->{dir}/helo";
my @names = qw(smtpd_client_restrictions smtpd_helo_restrictions smtpd_sender_restrictions smtpd_recipient_restrictions);
for my $r (@rules) {
    my ($name, $list, $from, $re) = @$r;
    again((map { $_ => '' } @names), smtpd_restriction_classes => 'strict', strict => 'reject_non_fqdn_helo_hostname, reject', $name => $list);
    $c = $ph->smtp;
    $c->ask('EHLO client');
    ($code, $text) = $c->ask("MAIL FROM:<$from>");
    ($code, $text) = $c->ask('RCPT TO:<u@example.test>') if $code == 250;
    (my $short = $list) =~ s/\Q$ph->{dir}\E/DIR/;
    like($text, $re, "$name = $short from <$from>");
    $c->quit;
}
ok($ph->wait_log(qr/NOQUEUE: reject_warning: RCPT from localhost\[127\.0\.0\.1\]: 554 5\.7\.1 /), 'warn_if_reject logs a reject_warning');
ok($ph->wait_log(qr/NOQUEUE: warn: RCPT from localhost\[127\.0\.0\.1\]: odd;/), 'WARN logs');
again((map { $_ => '' } @names), smtpd_delay_reject => 'no', smtpd_client_restrictions => 'reject');
$c = $ph->smtp(raw => 1);
($code, $text) = $c->reply;
like($text, qr/^554 5\.7\.1 <localhost\[127\.0\.0\.1\]>: Client host rejected: Access denied$/, 'without delay the greeting refuses');
ok($ph->wait_log(qr/NOQUEUE: reject: CONNECT from/), 'WHERE is CONNECT');

# ---- a configuration that would be open or is unknown does not serve ----
again((map { $_ => '' } @names), smtpd_delay_reject => 'yes', smtpd_relay_restrictions => 'permit');
$c = eval { $ph->smtp(timeout => 3) };
ok(!$c, 'without a relay guard smtpd does not serve');
ok($ph->wait_log(qr/fatal: in parameter smtpd_relay_restrictions or smtpd_recipient_restrictions, specify at least one/), 'and says why');
again(smtpd_relay_restrictions => 'permit_mynetworks, reject_unauth_destination', smtpd_recipient_restrictions => 'reject_unath_destination');
$c = eval { $ph->smtp(timeout => 3) };
ok(!$c, 'with an unknown restriction smtpd does not serve');
ok($ph->wait_log(qr/fatal: smtpd_recipient_restrictions: unknown smtpd restriction: "reject_unath_destination"/), 'and says which');
done_testing();
