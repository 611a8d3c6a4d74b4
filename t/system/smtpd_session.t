#!/usr/bin/perl
# The SMTP server: limits, time, errors, who is no mail client, keywords that
# are hidden, what DSN and SMTPUTF8 parameters become in the queue, the trace.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;
use Time::HiRes qw(time);

my $ph = Posthorn->new(myhostname => 'mx.posthorn.test', mynetworks => '192.0.2.0/24', smtpd_error_sleep_time => '0', smtpd_hard_error_limit => 1000,
    smtpd_junk_command_limit => 1000, virtual_mailbox_limit => 0, virtual_mailbox_maps => 'inline:{u@example.test=u/, v@example.test=v/}',
    relay_domains => 'held.example', relayhost => '[127.0.0.1]:1', local_header_rewrite_clients => '')->start;
my ($c, $code, $text);
my $base = Posthorn::slurp($ph->dir . '/main.cf');

# With these settings, and no others, until the next call.
sub with {
    my (%set) = @_;
    Posthorn::spew($ph->dir . '/main.cf', $base);
    $ph->set(%set);
    my $out = $ph->postfix('reload');
    die "reload: $out" if $?;
}
sub hello { $c = $ph->smtp(timeout => 15); return ($c->ask('EHLO client.test'))[1] }
sub begin { $c->ask('MAIL FROM:<a@b.test>' . ($_[0] // '')); return $c->ask('RCPT TO:<u@example.test>') }
my %seen;
# The next new message of u, with LF line ends.
sub mail {
    my @files;
    Posthorn::wait_for(sub { @files = grep { !$seen{$_} } $ph->mail('u') }, 10) or return 'no message came';
    $seen{$_} = 1 for @files;
    return Posthorn::slurp($files[-1]);
}
sub body { my $m = mail(); $m =~ s/.*?\n\n//s; return $m }
sub data { my ($bytes) = @_; return $c->ask('DATA') unless defined $bytes; $c->ask('DATA') == 354 or return 0; $c->put($bytes); return $c->reply }

# ---- RFC 2920 3.2: what is owed leaves before we wait, also for the rest of a line ----
hello();
$c->put("RSET\r\nRS");
is(($c->reply)[1], '250 2.0.0 Ok', 'a reply is not kept back by half a command behind it');
$c->put("ET\r\n");
is(($c->reply)[1], '250 2.0.0 Ok', 'which is answered when it is whole');

# ---- end of data and bare newlines (23.1), also a byte a packet ----
my @vectors = (
    ["a\r\n.\r\n", "a\n"], ["a\n.\r\nb\r\n.\r\n", "a\nb\n"], ["a\r\n.\nb\r\n.\r\n", "a\nb\n"], ["a\n.\nb\r\n.\r\n", "a\nb\n"], ["a\n.\r\n.\r\n", "a\n"],
    ["a\r\n.\r\r\nb\r\n.\r\n", "a\n \nb\n"], ["a\r.\rb\r\n.\r\n", "a . b\n"], ["..a\r\n.\r\n", ".a\n"], ["x" x 2048 . ".\r\n.\r\n", "x" x 2048 . ".\n"],
);
hello();
for my $v (@vectors) {
    my ($in, $want) = @$v;
    (my $shown = substr $in, 0, 20) =~ s/\r/CR/g;
    $shown =~ s/\n/LF/g;
    begin();
    $c->ask('DATA');
    $c->put("S: x\r\n\r\n$in");
    is(scalar(($c->reply)[0]), 250, "accepted: $shown");
    is(body(), $want, 'as one message');
    next if length $in > 100;
    setsockopt $c->{s}, 6, 1, 1;
    begin();
    $c->ask('DATA');
    $c->put($_) for split //, "S: x\r\n\r\n$in";
    is(scalar(($c->reply)[0]), 250, 'the same a byte a packet');
    is(body(), $want, 'is the same');
}
with(smtpd_forbid_bare_newline => 'reject');
hello();
for my $v (grep { $_->[0] =~ /[^\r]\n/ } @vectors) {
    begin();
    $c->ask('DATA');
    $c->put("S: x\r\n\r\n$v->[0]");
    is(($c->reply)[1], '550 5.5.2 mx.posthorn.test Error: bare <LF> received', 'reject: one reply after the real end');
}
ok($ph->wait_log(qr/reject: END-OF-MESSAGE from localhost\[127\.0\.0\.1\]: 550 5\.5\.2 mx\.posthorn\.test Error: bare <LF> received; from=<a\@b\.test> to=<u\@example\.test> proto=ESMTP helo=<client\.test>/), 'reject: logged');
is(($c->put("NOOP\n") && $c->reply)[1], '550 5.5.2 mx.posthorn.test Error: bare <LF> received', 'reject: also a command');
is($c->line, undef, 'which ends the session');
with(smtpd_forbid_bare_newline => 'reject', smtpd_forbid_bare_newline_exclusions => '127.0.0.0/8');
hello();
begin();
$c->ask('DATA');
$c->put("S: x\n\na\n.\n");
is(scalar(($c->reply)[0]), 250, 'an excluded client: any dot line ends the message');
is(body(), "a\n", 'as of old');
is($c->put("NOOP\n") && scalar(($c->reply)[0]), 250, 'and commands may end in LF');
begin();
$c->ask('DATA');
$c->put("S: x\r\r\n\r\r\na\r\r\n.\r\r\n");
is(scalar(($c->reply)[0]), 250, 'CRs before a line end belong to it, also behind the last dot');
is(body(), "a\n", 'and are not kept');
with(smtpd_forbid_bare_newline => 'no');
hello();
begin();
$c->ask('DATA');
$c->put("S: x\r\n\r\na\n.\r\n");
is(scalar(($c->reply)[0]), 250, 'no: LF . CRLF ends the message');
body();

# ---- the first line ----
for my $v ([" blank\r\nb\r\n", qr/; \w+, \d\d \w+ \d{4} \d\d:\d\d:\d\d [-+]\d{4} \(\w+\)\n\n blank\nb\n\z/, 'a first line with a blank does not join Received:'],
    ["\rblank\r\nb\r\n", qr/\(\w+\)\n\n blank\nb\n\z/, '... nor one with a stray CR, which becomes one'], [".\rX: y\r\nb\r\n", qr/\(\w+\)\n\n X: y\nb\n\z/, '... behind a dot'],
    ["\tX: y\r\n\r\nb\r\n", qr/\(\w+\)\n\n\tX: y\n\nb\n\z/, '... nor one with a tab'],
    ["From me Mon\r\nS: y\r\n\r\nb\r\n", qr/\)\nX-Mailbox-Line: From me Mon\nS: y\n\nb\n\z/, 'a line of a mailbox file becomes a header'],
    ["From me Mon\r\n>From you\r\nFrom\r\nS: y\r\n\r\nb\r\n", qr/\)\nX-Mailbox-Line: From me Mon\nX-Mailbox-Line: >From you\n\nFrom\nS: y\n\nb\n\z/, 'each of several does'],
    [">From me\r\n\r\nb\r\n", qr/\)\nX-Mailbox-Line: >From me\n\nb\n\z/, '... also quoted'], ["From: me\r\n\r\nb\r\n", qr/\)\nFrom: me\n\nb\n\z/, 'From: is none'],
    [">Fro", qr/\n\n>Fro\n\z/, 'nor is a part of it'], ['', qr/\)\n\n?\z/, 'no content at all']) {
    begin();
    $c->ask('DATA');
    $c->put($v->[0] . ($v->[0] =~ /[^\n]\z/ ? "\r\n" : '') . ".\r\n");
    is(scalar(($c->reply)[0]), 250, 'accepted');
    like(mail(), $v->[1], $v->[2]);
}

# ---- the trace ----
begin();
data("S: x\r\n\r\n.\r\n");
like(mail(), qr/^Received: from client\.test \(localhost \[127\.0\.0\.1\]\)\n\tby mx\.posthorn\.test \(Posthorn\) with ESMTP id \w+\n\tfor <u\@example\.test>; \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [-+]\d{4} \(\w+\)\nS: x\n/m, 'Received:');
begin();
$c->ask('RCPT TO:<v@example.test>');
data("S: x\r\n\r\n.\r\n");
like(mail(), qr/ with ESMTP id \w+;\n\t\w{3}, \d\d .*\nS: x\n/, 'two recipients: none is named');
begin(' SMTPUTF8');
data("S: x\r\n\r\n.\r\n");
like(mail(), qr/ with UTF8SMTP id \w+\n/, 'RFC 6531 has a name for it');
$c->ask("EHLO evil (c) <x>\@\"y\"\\;z\tw");
begin();
data("S: x\r\n\r\n.\r\n");
like(mail(), qr/^Received: from evil\?\?c\?\?\?x\?\?\?y\?\?\?z\?w \(localhost \[127/m, 'the EHLO name cannot break the header');
$c = $ph->smtp;
$c->ask('HELO old.test');
begin();
data("S: x\r\n\r\n.\r\n");
like(mail(), qr/^Received: from old\.test .*\n.* with SMTP id/m, 'HELO: SMTP');
$c = $ph->smtp;
begin();
data("S: x\r\n\r\n.\r\n");
like(mail(), qr/^Received: from localhost \(localhost /m, 'without HELO the verified name stands there');
with(smtpd_hide_client_session => 'yes');
hello();
begin();
data("S: x\r\n\r\n.\r\n");
like(mail(), qr/^Received: by mx\.posthorn\.test \(Posthorn\) id \w+\n\tfor <u\@example\.test>; .*\nS: x\n/m, 'smtpd_hide_client_session');

# ---- DSN and SMTPUTF8 in the queue ----
with();
hello();
is(($c->ask('MAIL FROM:<a@b.test> RET=HDRS ENVID=QQ+2B314 BODY=8BITMIME SMTPUTF8 AUTH=s@x.test'))[1], '250 2.1.0 Ok', 'MAIL with all its parameters');
is(($c->ask('RCPT TO:<one@held.example> NOTIFY=DELAY,success ORCPT=rfc822;Bob+2Bx@held.example'))[1], '250 2.1.5 Ok', 'RCPT with all');
is(($c->ask('RCPT TO:<two@held.example> NOTIFY=NEVER ORCPT=utf-8;b\x{F6}b@held.example'))[1], '250 2.1.5 Ok', '... utf-8');
is(($c->ask('RCPT TO:<three@held.example>'))[1], '250 2.1.5 Ok', 'and with none');
($code, $text) = data("S: x\r\n\r\n.\r\n");
my ($id) = $text =~ /queued as (\w+)/;
my $cat;
Posthorn::wait_for(sub { ($cat = $ph->cmd('postcat', '-qve', $id)) =~ /recipient: three/ }, 10);      # it is on its way to deferred
like($cat, qr/envelope_id[=:] ?QQ\+314$/m, 'ENVID, decoded') or diag $cat;
like($cat, qr/ret_flags=2$/m, 'RET');
like($cat, qr/sasl_sender=s\@x\.test/m, 'AUTH=');
like($cat, qr/notify_flags=10\n.*dsn_orig_rcpt=rfc822;Bob\+x\@held\.example\n.*recipient: one/, 'ORCPT, decoded, and NOTIFY');
like($cat, qr/notify_flags=1\n.*dsn_orig_rcpt=utf-8;b\xc3\xb6b\@held\.example\n.*recipient: two/, 'ORCPT of type utf-8');
like($cat, qr/facts[:=].*smtputf8 body_8bit/, 'SMTPUTF8 and BODY');
ok($ph->wait_log(qr/$id: client=localhost\[127\.0\.0\.1\], sasl_sender=s\@x\.test$/m), 'AUTH= is logged');
for my $bad ('ENVID=a+00b', 'ENVID=a+0Db', 'ENVID=' . 'x' x 101, 'RET=', 'ENVID') {
    like(($c->ask("MAIL FROM:<a\@b.test> $bad"))[1], qr/^(501 5\.5\.4 Bad |555 )/, "refused: " . substr $bad, 0, 20);
}
$c->ask('MAIL FROM:<a@b.test>');
for my $bad ('ORCPT=rfc822;a+00b', 'ORCPT=rfc822;a+0D+0Ab', 'ORCPT=utf-8;\x{0}', 'ORCPT=utf-8;\x{D800}', 'ORCPT=utf-8;\x{110000}', 'ORCPT=utf-8;\x{', 'ORCPT=rfc822;a=b', 'ORCPT=x;' . 'y' x 1500, 'NOTIFY=SUCCESS,', 'NOTIFY=,') {
    like(($c->ask("RCPT TO:<u\@held.example> $bad"))[1], qr/^501 5\.5\.4 Error: Bad (ORCPT|NOTIFY) parameter syntax$/, "refused: " . substr $bad, 0, 25);
}
with(smtputf8_enable => 'no');
unlike(hello(), qr/SMTPUTF8/, 'smtputf8_enable = no: not offered');
like(($c->ask('MAIL FROM:<a@b.test> SMTPUTF8'))[1], qr/^555 5\.5\.4/, '... not taken');

# ---- errors, limits ----
with(smtpd_hard_error_limit => 4, smtpd_junk_command_limit => 2);
hello();
$c->ask('NOOP') for 1 .. 3;                    # EHLO and NOOP: the fourth is one too many (limit + 2)
is(scalar($c->ask('BOGUS')), 500, 'errors so far: 2') for 1 .. 1;
begin();
is(scalar((data("S: x\r\n\r\n.\r\n"))[0]), 250, 'a message that is accepted');
body();
$c->ask('BOGUS') for 1 .. 3;
is($c->ask('NOOP'), 250, 'clears the count');
is(scalar($c->ask('BOGUS')), 500, 'the fourth since then');
is(($c->reply)[1], '421 4.7.0 mx.posthorn.test Error: too many errors', 'is too much');
hello();
$c->ask('NOOP') for 1 .. 6;
is(($c->reply)[1], '421 4.7.0 mx.posthorn.test Error: too many errors', 'junk commands become errors');
with(smtpd_recipient_limit => 1, smtpd_recipient_overshoot_limit => 2, smtpd_hard_error_limit => 2);
hello();
begin();
is(scalar($c->ask('RCPT TO:<v@example.test>')), 452, 'a recipient too many') for 1 .. 3;
is(scalar($c->ask('RCPT TO:<v@example.test>')), 452, 'the first two cost nothing');
is(scalar(($c->reply)[0]), 421, 'then each is an error');
with(smtpd_soft_error_limit => 2, smtpd_error_sleep_time => '1s');
my ($t, $took);
for (1 .. 10) {                                 # on a busy machine one may be late, but not all
    hello();
    $t = time;
    $c->ask('BOGUS') for 1 .. 2;
    last if ($took = time - $t) < 0.9;
}
cmp_ok($took, '<', 0.9, 'below the soft limit nothing is slow');
$t = time;
is($c->ask('NOOP'), 250, 'at the soft limit also a good command');
cmp_ok(time - $t, '>', 0.9, '... is answered late');

# ---- time ----
with(smtpd_timeout => '2s', smtpd_per_request_deadline => 'yes', smtpd_min_data_rate => 1000);
hello();
is(($c->reply)[1], '421 4.4.2 mx.posthorn.test Error: timeout exceeded', 'a client that is silent');
ok($ph->wait_log(qr/NOQUEUE: timeout after EHLO from localhost\[127\.0\.0\.1\]/), 'is logged');
hello();
begin();
$c->ask('DATA');
$t = time;
while (time - $t < 30) {                       # 20 bytes each 0.1 s: far below 1000 bytes/s
    $c->put('x' x 18 . "\r\n");
    my $r = '';
    vec($r, fileno $c->{s}, 1) = 1;
    last if select $r, undef, undef, 0.1;
}
is(($c->reply)[1], '421 4.4.2 mx.posthorn.test Error: timeout exceeded', 'a client that is slower than smtpd_min_data_rate');
cmp_ok(time - $t, '<', 20, 'is not waited for');        # what it sends in a second lengthens its two by 0.2 s
ok($ph->wait_log(qr/timeout after DATA \(\d+ bytes\) from localhost\[127\.0\.0\.1\]/), 'and the log says how far it came');

# ---- who is no mail client ----
with();
for my $line ('GET / HTTP/1.1', 'post /x', 'Host: x', '{"a":1}', '!x', 'CONNECT a:25') {
    $c = $ph->smtp;
    is(($c->ask($line))[1], '221 2.7.0 Error: I can break rules, too. Goodbye.', "not SMTP: $line");
    is($c->line, undef, 'hangs up');
}
ok($ph->wait_log(qr/warning: non-SMTP command from localhost\[127\.0\.0\.1\]: GET \/ HTTP\/1\.1/), 'log');
$c = Posthorn::Client->new(port => $ph->port, raw => 1);
$c->put("EHLO early\r\n");
my @first = $c->reply;
SKIP: {
    skip 'the greeting was faster', 1 if $first[0] == 220;
    is($first[1], '554 5.5.0 Error: SMTP protocol synchronization', 'who speaks before the greeting');
}
$c = $ph->smtp;
$c->put("NOOP\r\nMAIL FROM:<x\@y>\r\n");
is(($c->reply)[1], '554 5.5.0 Error: SMTP protocol synchronization', 'pipelining behind NOOP');
is($c->line, undef, 'closes');
ok($ph->wait_log(qr/improper command pipelining after NOOP from localhost\[127\.0\.0\.1\]: MAIL FROM:<x\@y>\\r\\n/), 'log, escaped');
$c = $ph->smtp;
$c->put("RSET\r\nRSET\r\n");
is(scalar(($c->reply)[0]), 554, 'before EHLO any pipelining is improper');
hello();
$c->put("RSET\r\nMAIL FROM:<a\@b.test>\r\nRCPT TO:<u\@example.test>\r\nRSET\r\nQUIT\r\n");
is_deeply([map { scalar(($c->reply)[0]) } 1 .. 5], [250, 250, 250, 250, 221], 'behind EHLO it is proper');
hello();
begin();
$c->put("DATA\r\nS: x\r\n\r\n.\r\n");
is(scalar(($c->reply)[0]), 554, 'but not behind DATA');
with(smtpd_forbid_unauth_pipelining => 'no', smtpd_data_restrictions => 'reject_unauth_pipelining');
hello();
begin();
$c->put("DATA\r\nS: x\r\n\r\n.\r\n");
is(($c->reply)[1], '503 5.5.0 <DATA>: Data command rejected: Improper use of SMTP command pipelining', 'reject_unauth_pipelining');

# ---- keywords hidden, commands changed ----
with(smtpd_discard_ehlo_keyword_address_maps => 'inline:{{127.0.0.1=dsn, chunking, Size, silent-discard}}', smtpd_command_filter => 'regexp:{{/^FOO$$/ NOOP}, {/^bar baz$$/ RSET}}');
my $ehlo = hello();
unlike($ehlo, qr/DSN|CHUNKING|SIZE/, 'keywords hidden by address');
like($ehlo, qr/ENHANCEDSTATUSCODES/, 'others not');
is(($c->ask('MAIL FROM:<a@b.test> RET=FULL'))[1], '501 5.7.1 DSN support is disabled', 'and not taken');
unlike($ph->log, qr/discarding EHLO keywords/, 'silent-discard');
is(($c->ask('FOO'))[1], '250 2.0.0 Ok', 'smtpd_command_filter');
is(($c->ask(' bar baz'))[1], '250 2.0.0 Ok', '... without leading blanks');
ok($ph->wait_log(qr/localhost\[127\.0\.0\.1\]: replacing command "FOO" with "NOOP"/), '... logs');
with(smtpd_discard_ehlo_keywords => 'etrn, VRFY');
hello();
ok($ph->wait_log(qr/discarding EHLO keywords: VRFY ETRN$/m), 'hiding is logged');
for my $broken ('smtpd_discard_ehlo_keyword_address_maps', 'smtpd_authorized_xclient_hosts', 'smtpd_command_filter', 'smtpd_forbidden_commands', 'smtpd_noop_commands') {
    with($broken => 'fail:broken');
    $c = $ph->smtp;
    ($code, $text) = $c->ask($broken =~ /forbidden/ ? 'FOO' : 'EHLO client.test');
    is($text, '421 4.3.0 mx.posthorn.test Server local data error', "a table that fails ends the session: $broken");
    is($c->line, undef, 'closes');
}

# ---- when the queue file is taken; restrictions at their own command ----
with(smtpd_delay_open_until_valid_rcpt => 'no');
hello();
$c->ask('MAIL FROM:<early@b.test>');
$c->ask('RCPT TO:<nobody@example.test>');
ok($ph->wait_log(qr/\n\S+ \S+ \S+ \S+ postfix\/smtpd\[\d+\]: (\w{10,}): client=localhost\[127\.0\.0\.1\]\n(?:.*\n)*?.*\1: reject: RCPT from .* from=<early\@b\.test>/), 'the id is known before the first recipient');
with(smtpd_delay_reject => 'no', smtpd_client_restrictions => 'defer_if_permit', smtpd_helo_restrictions => 'check_helo_access inline:{bad.test=REJECT}',
    smtpd_sender_restrictions => 'check_sender_access inline:{bad@b.test=REJECT}');
hello();
is(scalar($c->ask('MAIL FROM:<a@b.test>')), 250, 'defer_if_permit at connect lets MAIL pass');
is(($c->ask('RCPT TO:<u@example.test>'))[1], '450 4.7.0 <localhost[127.0.0.1]>: Client host rejected: defer_if_permit requested', 'and defers each recipient');
like(($c->ask('EHLO bad.test'))[1], qr/^554 5\.7\.1 <bad\.test>: Helo command rejected/, 'EHLO is refused at once');
ok($ph->wait_log(qr/reject: EHLO from localhost\[127\.0\.0\.1\]: 554 5\.7\.1 <bad\.test>: Helo command rejected: Access denied; proto=ESMTP helo=<bad\.test>$/m), '... with WHERE EHLO and no from=');
is(($c->ask('MAIL FROM:<bad@b.test>'))[1], '503 5.5.1 Error: nested MAIL command', '... and leaves everything as it was, RFC 5321 4.1.4');
$c->ask('RSET');
like(($c->ask('MAIL FROM:<bad@b.test>'))[1], qr/^554 5\.7\.1 <bad\@b\.test>: Sender address rejected/, 'so is MAIL');
with(smtpd_delay_reject => 'no', smtpd_client_restrictions => 'check_client_access inline:{{127.0.0.1=421 4.7.0 away}}');
$c = Posthorn::Client->new(port => $ph->port, raw => 1);
like(($c->reply)[1], qr/^421 4\.7\.0 /, '421 at connect');
is($c->line, undef, 'closes');
with(smtpd_recipient_restrictions => 'check_recipient_access inline:{{u@example.test=521 5.7.1 never}}');
hello();
begin();
is($c->line, undef, '521 closes, whatever said it');

# ---- space, codes, soft_bounce, overrides ----
with(queue_minfree => '9000000000000000');
hello();
is(($c->ask('MAIL FROM:<a@b.test>'))[1], '452 4.3.1 Insufficient system storage', 'no space');
ok($ph->wait_log(qr/warning: not enough free space in mail queue: \d+ bytes < /), 'log');
with(soft_bounce => 'yes', unknown_virtual_mailbox_reject_code => 551);
hello();
$c->ask('MAIL FROM:<a@b.test>');
like(($c->ask('RCPT TO:<nobody@example.test>'))[1], qr/^451 4\.1\.1 <nobody/, 'soft_bounce and the code of an unknown recipient');
is(($c->ask('FOO'))[1], '400 4.5.2 Error: command not recognized', 'soft_bounce: all of them');
with(receive_override_options => 'no_unknown_recipient_checks');
hello();
$c->ask('MAIL FROM:<a@b.test>');
is(scalar($c->ask('RCPT TO:<nobody@example.test>')), 250, 'no_unknown_recipient_checks');

# ---- ETRN, HELP, what holds nothing ----
with();
hello();
is(($c->ask('ETRN held.example'))[1], '458 Unable to queue messages', 'ETRN for a domain of ours');
is(($c->ask('ETRN other.example'))[1], '459 <other.example>: service unavailable', 'ETRN for another');
ok($ph->wait_log(qr/warning: reject: ETRN other\.example\.\.\. from localhost\[127\.0\.0\.1\]/), 'log');
is(($c->ask('HELP'))[1], '214 2.0.0 Commands: BDAT DATA EHLO ETRN HELO HELP MAIL NOOP QUIT RCPT RSET VRFY', 'HELP');
with(smtpd_etrn_restrictions => 'check_etrn_access inline:{held.example=REJECT}');
hello();
is(($c->ask('ETRN held.example'))[1], '554 5.7.1 <held.example>: Etrn command rejected: Access denied', 'smtpd_etrn_restrictions');
ok($ph->wait_log(qr/reject: ETRN from localhost\[127\.0\.0\.1\]: 554 5\.7\.1 <held\.example>: Etrn command rejected: Access denied; proto=ESMTP helo=<client\.test>/), 'log');
with(smtpd_recipient_restrictions => 'check_recipient_access inline:{u@example.test=HOLD, {v@example.test=PREPEND X-V: yes}, {w@example.test=550 5.1.7 no}}', smtpd_sender_restrictions => 'check_sender_access inline:{{s@b.test=450 4.1.1 no}}');
hello();
is(scalar($c->ask('VRFY u@example.test')), 252, 'HOLD at VRFY');
ok($ph->wait_log(qr/warning: access action HOLD is ignored/), 'is ignored');
$c->ask('MAIL FROM:<a@b.test>');
is(scalar($c->ask('VRFY v@example.test')), 252, 'PREPEND at VRFY too');
is(($c->ask('RCPT TO:<w@example.test>'))[1], '550 5.1.3 <w@example.test>: Recipient address rejected: no', 'a sender code about a recipient is put right');
$c->ask('RSET');
$c->ask('MAIL FROM:<s@b.test>');
like(($c->ask('RCPT TO:<v@example.test>'))[1], qr/^450 4\.1\.7 /, 'and the other way round');
# ---- always reachable; several recipients; a flag of one of them; long words ----
with(smtpd_recipient_restrictions => 'check_recipient_access inline:{u@example.test=DEFER_IF_PERMIT}, check_sender_access inline:{{long@b.test=REJECT ' . 'w' x 900 . '}}, check_recipient_access inline:{double-bounce@mx.posthorn.test=REJECT, postmaster@example.test=REJECT}',
    smtpd_data_restrictions => 'check_recipient_access inline:{v@example.test=REJECT}');
hello();
$c->ask('MAIL FROM:<a@b.test>');
is(($c->ask('RCPT TO:<DOUBLE-BOUNCE@mx.posthorn.test>'))[1], '250 2.1.5 Ok', 'the sender of address probes is reachable');
is(($c->ask('RCPT TO:<Postmaster>'))[1], '250 2.1.5 Ok', 'postmaster is');
like(($c->ask('RCPT TO:<postmaster@example.test>'))[1], qr/^554 5\.7\.1 /, 'with a domain it is an address like others');
$c->ask('RSET');
$c->ask('MAIL FROM:<a@b.test>');
like(($c->ask('RCPT TO:<u@example.test>'))[1], qr/^450 4\.7\.1 /, 'a flag that one recipient raised');
is(($c->ask('RCPT TO:<v@example.test>'))[1], '250 2.1.5 Ok', 'is not of the next one');
like(($c->ask('DATA'))[1], qr/^554 5\.7\.1 <v\@example\.test>: Recipient address rejected/, 'at DATA the only recipient is known');
is(($c->ask('RCPT TO:<Postmaster>'))[1], '250 2.1.5 Ok', 'after that the transaction stands');
is(scalar($c->ask('DATA')), 354, 'of several none is');
$c->put("S: x\r\n\r\n.\r\n");
is(scalar(($c->reply)[0]), 250, 'accepted');
$c->ask('MAIL FROM:<long@b.test>');
is(length(($c->ask('RCPT TO:<v@example.test>'))[1]), 510, 'a reply is cut at 510 bytes');
hello();
$c->ask('MAIL FROM:<a@b.test>');
$c->ask('RCPT TO:<Postmaster>');
$c->ask('DATA');
my $lines = () = $ph->log =~ /disconnect from/g;
$c->put("S: x\r\n\r\n.\r\n");
$c->reply;
close $c->{s};
ok(Posthorn::wait_for(sub { (() = $ph->log =~ /disconnect from/g) > $lines }, 10), 'who leaves after the reply to a message');
unlike($ph->log, qr/lost connection after END-OF-MESSAGE/, 'is not blamed');

# ---- other recipients; what stands behind a refusal ----
with(smtpd_recipient_restrictions => 'check_sender_access inline:{{redir@b.test=REDIRECT v@example.test}, {bcc@b.test=BCC v@example.test}, {bad@b.test=BCC nobody}}');
for my $case (['redir', 'redirect', 0], ['bcc', 'bcc', 1]) {
    my ($who, $keyword, $both) = @$case;
    hello();
    $c->ask("MAIL FROM:<$who\@b.test>");
    $c->ask('RCPT TO:<u@example.test>');
    is(scalar((data("Subject: $who\r\n\r\nx\r\n.\r\n"))[0]), 250, "$who: accepted");
    ok(Posthorn::wait_for(sub { grep { /^Subject: $who/m } map { Posthorn::slurp($_) } $ph->mail('v') }, 10), "$who: the other recipient has it");
    $both ? like(mail(), qr/^Subject: $who/m, "$who: so has the first") : unlike(join('', map { Posthorn::slurp($_) } $ph->mail('u')), qr/^Subject: $who/m, "$who: the first has not");
    my $word = uc $keyword;
    ok($ph->wait_log(qr/NOQUEUE: $keyword: RCPT from localhost\[127\.0\.0\.1\]: <$who\@b\.test>: Sender address triggers $word v\@example\.test; from=<$who\@b\.test> to=<u\@example\.test> proto=ESMTP helo=<client\.test>/), "$who: log");
}
with(smtpd_reject_footer => '\c. For help say $localtime to $server_name\nfrom ($client_address):${client_port} <$sender> $$', smtpd_expansion_filter => '0123456789.abcdefghijklmnopqrstuvwxyz',
    smtpd_reject_footer_maps => 'pcre:{{/^550 5\.1\.1/ second line}}');
hello();
like(($c->ask('FOO'))[1], qr/^500-5\.5\.2 Error: command not recognized\. For help say \S+ to mx\.posthorn\.test\n500 5\.5\.2 from \(127\.0\.0\.1\):\d+ <> \$$/, 'smtpd_reject_footer');
is(($c->ask('NOOP'))[1], '250 2.0.0 Ok', 'not behind other replies');
$c->ask('MAIL FROM:<a!b@b.test>');
is(($c->ask('RCPT TO:<nobody@example.test>'))[1], "550-5.1.1 <nobody\@example.test>: Recipient address rejected: User unknown in virtual mailbox table\n550 5.1.1 second line", 'smtpd_reject_footer_maps');
like(($c->ask('FOO'))[1], qr/<a_b_b\.test>/, 'what a client said is filtered');
unlike($ph->log, qr/second line|For help/, 'and it is not in the log');

# ---- what log tools read (23.6): every line is one of these ----
my $naddr = qr/[^\[\s]+\[[0-9a-fA-F:.]+\]/;
my @shapes = (
    qr/^connect from $naddr$/, qr/^(\w+): client=$naddr(, sasl_method=\S+)?(, sasl_username=.+?)?(, sasl_sender=\S+)?(, orig_queue_id=\w+)?(, orig_client=\S+)?$/,
    qr/^(NOQUEUE|\w+): (reject|reject_warning|hold|discard|filter|redirect|bcc|warn|info|permit): (\w+(?:-\w+)*) from $naddr: (.*?); (?:from=<(.*?)> )?(?:to=<(.*?)> )?proto=(\w+)(?: helo=<(.*?)>)?( sasl_\w+=.*)?$/,
    qr/^NOQUEUE: reject: \w+ from $naddr: 421 4\.3\.0 \S+ Server local data error$/,
    qr/^disconnect from $naddr( \w+=\d+(\/\d+)?)+( notes=\S+)?$/, qr/^(NOQUEUE|\w+): (timeout|lost connection|too many errors) after (.*) from $naddr$/,
    qr/^improper command pipelining after \w+ from $naddr: /, qr/^discarding EHLO keywords: /, qr/^mapping DSN status [\d.]+ into [\w ]+ status [\d.]+$/, qr/^$naddr: replacing command /, qr/^warning: /, qr/^error: /, qr/^\w+: removed \(discarded\)$/,
);
my @strange = grep { my $l = $_; !grep { $l =~ $_ } @shapes } map { m{postfix/smtpd\[\d+\]: (.*)} ? $1 : () } split /\n/, $ph->log;
is(join("\n", @strange), '', 'each line of the log has a known shape');
done_testing();
