#!/usr/bin/perl
# Notices of failure and delay: who gets one, what it says, for which recipients.
use strict;
use warnings;
use utf8;
use Encode qw(encode_utf8);
use Test::More;
use lib 't/lib';
use Posthorn;
use Notice;

my $sink = Posthorn::Sink->new(ehlo => "250-sink.test\r\n250-PIPELINING\r\n250-SMTPUTF8\r\n250 8BITMIME", rcpt => sub {
    $_[1] =~ /^bad/ ? "550 5.1.1 <$_[1]>: no  such user, says this reply that is too long for one line of a notice"
        : $_[1] =~ /^b\xc3\xa4d/ ? "550 5.1.1 kein Empf\xc3\xa4nger" : $_[1] =~ /^tmp/ ? '450 4.2.1 try later' : '250 2.1.5 ok' });
my $dead = Posthorn::free_port();
my $ph = Posthorn->new(smtputf8_autodetect_classes => 'verify', myhostname => 'mx.posthorn.test', relayhost => '[127.0.0.1]:' . $sink->port, bounce_size_limit => 2000, smtputf8_enable => 'yes');
Posthorn::spew("$ph->{tmp}/transport", "dead.test smtp:[127.0.0.1]:$dead\nerr.test error:5.1.2 no such place\n");
$ph->set(transport_maps => "texthash:$ph->{tmp}/transport");
$ph->start;

# Submit with what each recipient wants: [address, notify, orcpt].
sub submit {
    my ($sender, $content, $rcpt, @lines) = @_;
    my $text = join '', "posthorn-maildrop 1\nsender $sender\n", map({ "$_\n" } @lines),
        map({ "rcpt $_->[0]\n" . ($_->[1] ? "notify $_->[1]\n" : '') . ($_->[2] ? "orcpt $_->[2]\n" : '') } @$rcpt), "\n",
        "data " . length($content) . "\n$content" . "end\n";
    my $said = $ph->run_in($text, $ph->sbin('postdrop'), '-r', '-c', $ph->dir);
    like($said, qr/^ok /, "submitted for $sender") or diag $said;
    return;
}

my %seen;
# The next notices of that user.
sub notices {
    my ($user, $n) = @_;
    my @new;
    Posthorn::wait_for(sub { (@new = grep { !$seen{$_} } $ph->mail($user)) >= $n }, 30);
    @seen{@new} = (1) x @new;
    return map { Notice->new($ph, Posthorn::slurp($_)) } @new;
}
sub next_notice { my ($user) = @_; my ($n) = notices($user, 1); return $n }
sub gone { my ($to, $what) = @_; my $id = $ph->wait_log(qr/([0-9A-Za-z]+): to=<\Q$to\E>/); ok($ph->wait_log(qr/\Q$id\E: removed/), $what) or diag $ph->log; return $id }

# The whole notice.
submit('ann@example.test', "Subject: hello\nMessage-ID: <orig\@x>\nTLS-Required: no\n\nthe body\n", [['bad@relay.test', '', 'rfc822;first+x@else.test'], ['e@err.test'], ['fine@relay.test']],
    'envelope_id my id');
my $n = next_notice('ann');
is_deeply([$n->header_names], [qw(Return-Path X-Original-To Delivered-To Received Date From Subject To TLS-Required Auto-Submitted MIME-Version Content-Type
    Content-Transfer-Encoding Message-Id)], 'headers, in order') or diag $n->source;
is($n->header('Return-Path'), '<>', 'from the null sender');
is($n->header('From'), 'Mail Delivery System <MAILER-DAEMON@mx.posthorn.test>', 'From');
is($n->header('Subject'), 'Undelivered Mail Returned to Sender', 'Subject');
is($n->header('To'), 'ann@example.test', 'To');
is($n->header('TLS-Required'), 'no', 'TLS-Required: no is kept');
is($n->header('Auto-Submitted'), 'auto-replied', 'Auto-Submitted');
like($n->header('Content-Type'), qr{^multipart/report; report-type="?delivery-status"?; boundary="[0-9A-Za-z]+\.\d+/mx\.posthorn\.test"$}, 'Content-Type');
like($n->header('Message-Id'), qr/^<\d{14}\.[0-9A-Za-z]+\@mx\.posthorn\.test>$/, 'Message-Id');
is($n->types, 'text/plain message/delivery-status message/rfc822', 'three parts');
is_deeply([map { $n->part($_)->{description} } 0 .. 2], ['Notification', 'Delivery report', 'Undelivered Message'], 'their descriptions');
is_deeply([map { $n->part($_)->{encoding} } 0 .. 2], ['8bit', undef, '8bit'], 'their encodings');
is($n->part(0)->{charset}, 'utf-8', 'the words are UTF-8');
is_deeply([$n->defects], [], 'no defects');
like($n->source, qr{\n\n--[^\n]+\nContent-Description: Undelivered}, 'an empty line before a boundary');
like($n->words, qr/^The mail system at host mx\.posthorn\.test reports:$/m, 'the words name the host');
unlike($n->source, qr/<postmaster>/i, 'no postmaster in angle brackets');
like($n->words, qr/^<bad\@relay\.test>: host 127\.0\.0\.1\[127\.0\.0\.1\] said: 550 5\.1\.1 <bad\@relay\.test>:\n    no  such user, says this reply that is too long for one line of a notice\n    \(in reply to RCPT TO command\)$/m,
    'the reply as it was, folded') or diag $n->words;
like($n->words, qr/^<e\@err\.test>: no such place$/m, 'the other one');
unlike($n->source, qr/fine\@relay\.test/, 'who got it is not listed');
is_deeply([$n->field_names(0)], [qw(Reporting-MTA Original-Envelope-Id X-Posthorn-Queue-ID X-Posthorn-Sender Arrival-Date)], 'fields of the message, in order');
my $f = $n->fields(0);
is($f->{'Reporting-MTA'}, 'dns; mx.posthorn.test', 'Reporting-MTA');
is($f->{'Original-Envelope-Id'}, 'my id', 'Original-Envelope-Id');
is($f->{'X-Posthorn-Sender'}, 'rfc822; ann@example.test', 'X-Posthorn-Sender');
like($f->{'Arrival-Date'}, qr/^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [-+]\d{4} \(\w+\)$/, 'Arrival-Date');
my ($i) = grep { $n->fields($_)->{'Final-Recipient'} =~ /bad/ } 1, 2;
is_deeply([$n->field_names($i)], [qw(Final-Recipient Original-Recipient Action Status Remote-MTA Diagnostic-Code)], 'fields of a recipient, in order');
is_deeply($n->recipient('bad@relay.test'), { 'Final-Recipient' => 'rfc822; bad@relay.test', 'Original-Recipient' => 'rfc822;first+x@else.test', Action => 'failed',
    Status => '5.1.1', 'Remote-MTA' => 'dns; 127.0.0.1', 'Diagnostic-Code' => 'smtp; 550 5.1.1 <bad@relay.test>: no such user, says this reply that is too long for one line of a notice' }, 'their values');
is_deeply($n->recipient('e@err.test'), { 'Final-Recipient' => 'rfc822; e@err.test', 'Original-Recipient' => 'rfc822;e@err.test', Action => 'failed', Status => '5.1.2',
    'Diagnostic-Code' => 'X-Posthorn; no such place' }, 'nobody replied: our own words');
like($n->source, qr{^Return-Path: <ann\@example\.test>\nReceived: .*?\nSubject: hello\n.*?\nthe body\n\n--}ms, 'the message is returned whole');
my $id = gone('e@err.test', 'the message is removed');
like($ph->log, qr/bounce\[\d+\]: \Q$id\E: sender non-delivery notification: (\S+)\n.*cleanup\[\d+\]: \1: message-id=/, 'the line that links both ids comes first');

# RET, size.
submit('ret@example.test', "Subject: r\n\nsecret\n", [['bad@relay.test']], 'ret HDRS');
$n = next_notice('ret');
is($n->types, 'text/plain message/delivery-status text/rfc822-headers', 'RET=HDRS: the header');
is($n->part(2)->{description}, 'Undelivered Message Headers', 'is called so');
unlike($n->source, qr/secret/, 'the body does not come back');
submit('big@example.test', "Subject: b\n\n" . ("x" x 70 . "\n") x 40, [['bad@relay.test']], 'ret FULL');
$n = next_notice('big');
is($n->types, 'text/plain message/delivery-status text/rfc822-headers', 'beyond bounce_size_limit: the header');
unlike($n->source, qr/xxxxx/, 'a message is never cut');

# NOTIFY of each recipient.
submit('wish@example.test', "Subject: w\n\nx\n", [['bad1@relay.test', 'NEVER'], ['bad2@relay.test', 'DELAY,SUCCESS'], ['bad3@relay.test', 'FAILURE'], ['bad4@relay.test']]);
$n = next_notice('wish');
is_deeply([sort map { $_->{'Final-Recipient'} } $n->recipients], ['rfc822; bad3@relay.test', 'rfc822; bad4@relay.test'], 'NOTIFY: only those who may be told of');
submit('none@example.test', "Subject: w\n\nx\n", [['bad5@relay.test', 'NEVER'], ['bad6@relay.test', 'SUCCESS']]);
gone('bad6@relay.test', 'NOTIFY without FAILURE for all: removed');
is(scalar($ph->mail('none')), 0, 'without a notice');
is_deeply([glob "$ph->{dir}/queue/bounce/*"], [], 'and its log is gone');

# Characters.
submit('ascii@example.test', "Subject: a\n\nx\n", [[encode_utf8('bäd@relay.test')]]);
$n = next_notice('ascii');
like($n->words, qr/550 5\.1\.1 kein Empf\?\?nger/, 'not an SMTPUTF8 message: a reply beyond ASCII is shown with ?') or diag $n->source;
is($n->part(1)->{type}, 'message/delivery-status', 'and the report is an ordinary one');
submit('utf@example.test', encode_utf8("Subject: grüße\n\nx\n"), [[encode_utf8('bäd@relay.test')]], 'smtputf8 1');
$n = next_notice('utf');
is($n->types, 'text/plain message/global-delivery-status message/global', 'SMTPUTF8: RFC 6533') or diag $ph->log;
is_deeply([map { $n->part($_)->{encoding} } 0 .. 2], ['8bit', '8bit', '8bit'], 'all of it 8bit');
like($n->source, qr/^Final-Recipient: utf-8; b\xc3\xa4d\@relay\.test$/m, 'the recipient');
like($n->source, qr/^Original-Recipient: utf-8;b\xc3\xa4d\@relay\.test$/m, 'the original one');
like($n->source, qr/^Diagnostic-Code: smtp; 550 5\.1\.1 kein Empf\xc3\xa4nger$/m, 'the reply');
like($n->source, qr/^Subject: gr\xc3\xbc\xc3\x9fe$/m, 'the original');
submit('utf@example.test', encode_utf8("Subject: grüße\n\nx\n"), [['bad@relay.test']], 'smtputf8 1', 'ret HDRS');
is(next_notice('utf')->types, 'text/plain message/global-delivery-status message/global-headers', 'SMTPUTF8, the header only');

# The null sender is never answered.
submit('', "Subject: n\n\nx\n", [['bad7@relay.test']]);
$id = gone('bad7@relay.test', 'null sender: removed');
unlike($ph->log, qr/\Q$id\E: (sender|postmaster)/, 'null sender: nobody is told');

# Other settings: copies for the postmaster, threads, forms.
Posthorn::spew("$ph->{tmp}/templates", <<'T');
# ours
failure_template = <<EOF
Charset: us-ascii
From: Our Mailer <mailer>
Subject: No luck
Postmaster-Subject: Look at this

Host $myhostname in ${mydomain} tried; that was worth $$5.
# Warned after $delay_warning_time_minutes minutes, kept $maximal_queue_lifetime_hours hours.
EOF

delay_template = <<EOF
Charset: us-ascii
Subject: $not allowed

x
EOF
bogus_template = <<END
Charset: us-ascii

x
END
success_template = <<EOF
Charset: us-ascii

$nosuch_parameter
EOF
T
$ph->set(notify_classes => 'bounce, 2bounce, delay', bounce_notice_recipient => 'bpm@example.test', '2bounce_notice_recipient' => 'dpm@example.test',
    delay_notice_recipient => 'wpm@example.test', enable_threaded_bounces => 'yes', bounce_template_file => "$ph->{tmp}/templates", delay_warning_time => '1s',
    minimal_backoff_time => '1s', maximal_backoff_time => '1s', queue_run_delay => '1s', maximal_queue_lifetime => '2d');
$ph->postfix('reload');
submit('bob@example.test', "Subject: copy\nMessage-ID: <thread\@x>\n\nprivate\n", [['bad8@relay.test'], ['bad9@relay.test', 'NEVER']]);
$n = next_notice('bob');
is($n->header('References') . $n->header('In-Reply-To'), '<thread@x><thread@x>', 'enable_threaded_bounces');
is($n->header('Subject'), 'No luck', 'a template: Subject') or diag $ph->log;
is($n->header('From'), 'Our Mailer <mailer@mx.posthorn.test>', 'a template: From');
like($n->words, qr/^Host mx\.posthorn\.test in posthorn\.test tried; that was worth \$5\.\n# Warned after 0 minutes, kept 48 hours\.\n\n</m, 'a template: words') or diag $n->words;
for my $w (qr/line \d+: delay_template: Subject: must be one line of ASCII text without \$/, qr/unknown template "bogus_template"/, qr/success_template: \$nosuch_parameter is not defined/) {
    ok($ph->wait_log($w), "a bad template is named: $w");
}
$n = next_notice('bpm');
is($n->header('Subject'), 'Look at this', 'copy for the postmaster: Subject');
is($n->header('Return-Path'), '<double-bounce@mx.posthorn.test>', 'its sender');
is($n->header('Auto-Submitted'), 'auto-generated', 'nobody asked for it');
is($n->header('References'), '<thread@x>', 'in the same thread');
is($n->types, 'text/plain message/delivery-status text/rfc822-headers', 'the header only');
unlike($n->words, qr/worth/, 'without the words of the template');
is(scalar(my @r = $n->recipients), 2, 'all that failed, whatever their NOTIFY');
submit('', "Subject: twice\n\nthe evidence\n", [['bad10@relay.test']]);
$n = next_notice('dpm');
is($n->types, 'text/plain message/delivery-status message/rfc822', 'null sender: to the postmaster, whole') or diag $ph->log;
is($n->fields(0)->{'X-Posthorn-Sender'}, 'rfc822; MAILER-DAEMON@mx.posthorn.test', 'who is called so');
ok($ph->wait_log(qr/: postmaster non-delivery notification: /), 'the log says so');
submit('double-bounce@mx.posthorn.test', "Subject: thrice\n\nx\n", [['bad11@relay.test']]);
$id = gone('bad11@relay.test', 'a notice to the postmaster that fails: removed');
like($ph->log, qr/warning: \Q$id\E: undeliverable postmaster notification discarded/, 'and the log says so');
is(scalar($ph->mail('dpm')), 1, 'without another');
submit('somebody@example.test', "Subject: back\n\nx\n", [['Double-Bounce@[127.0.0.1]']]);
$id = gone('Double-Bounce@[127.0.0.1]', 'mail for the sender of such notices: removed');
like($ph->log, qr/qmgr\[\d+\]: \Q$id\E: to=<Double-Bounce\@\[127\.0\.0\.1\]>, relay=none, .*, dsn=2\.0\.0, status=sent \(undeliverable postmaster notification discarded\)/, 'and the log says so');

# Delay.
submit('slow@example.test', "Subject: d\n\nx\n", [['w1@dead.test'], ['tmp@relay.test', 'DELAY'], ['w2@dead.test', 'FAILURE']]);
$n = next_notice('slow');
is($n->header('Subject'), 'Delayed Mail (still being retried)', 'delay: the built-in template');
is_deeply([sort map { $_->{'Final-Recipient'} } $n->recipients], ['rfc822; tmp@relay.test', 'rfc822; w1@dead.test'], 'delay: those with DELAY');
like($n->words, qr/kept|until it is 2 days old/, 'delay: how long it is tried');
is($n->recipient('tmp@relay.test')->{Action}, 'delayed', 'delay: Action');
is($n->recipient('tmp@relay.test')->{Status}, '4.2.1', 'delay: Status');
like($n->recipient('w1@dead.test')->{'Will-Retry-Until'}, qr/^\w{3}, \d\d? \w{3} \d{4} /, 'delay: Will-Retry-Until');
is($n->types, 'text/plain message/delivery-status text/rfc822-headers', 'delay: the header only');
$n = next_notice('wpm');
is($n->header('Subject'), 'Postmaster Warning: Delayed Mail', 'delay: copy for the postmaster');
my ($slow) = $ph->log =~ /([0-9A-Za-z]+): to=<w1\@dead\.test>/;
ok(Posthorn::wait_for(sub { (() = $ph->log =~ /\Q$slow\E: to=<w1\@dead/g) >= 4 }), 'tried again and again');
is((() = $ph->log =~ /\Q$slow\E: sender delay notification/g), 1, 'but warned once');
$ph->cmd('postsuper', '-d', $slow);
submit('calm@example.test', "Subject: d\n\nx\n", [['w3@dead.test', 'FAILURE']]);
my $calm = $ph->wait_log(qr/([0-9A-Za-z]+): to=<w3\@dead\.test>/);
ok(Posthorn::wait_for(sub { (() = $ph->log =~ /\Q$calm\E: to=<w3\@dead/g) >= 3 }), 'nobody wants to hear of the delay');
unlike($ph->log, qr/\Q$calm\E: sender delay/, 'and nobody does');
$ph->cmd('postsuper', '-e', $calm);
$n = next_notice('calm');
is($n->recipient('w3@dead.test')->{Action} . ' ' . $n->recipient('w3@dead.test')->{Status}, 'failed 4.4.1', 'expired: failed, with the code of the last deferral');

# Without SMTPUTF8.
$ph->set(smtputf8_enable => 'no', header_from_format => 'obsolete', bounce_template_file => "$ph->{tmp}/nosuch", enable_threaded_bounces => 'no');
$ph->postfix('reload');
submit('old@example.test', "Subject: o\n\nx\n", [['bad12@relay.test']]);
$n = next_notice('old');
like($n->source, qr/^From: MAILER-DAEMON\@mx\.posthorn\.test \(Mail Delivery System\)$/m, 'header_from_format = obsolete');
is($n->header('Content-Transfer-Encoding') // 'none', 'none', 'smtputf8_enable = no: no encoding is said');
is_deeply([map { $n->part($_)->{encoding} } 0 .. 2], [undef, undef, undef], 'nor in the parts');
is($n->part(0)->{charset}, 'us-ascii', 'and the words are ASCII');
ok($ph->wait_log(qr/bounce_template_file: open \S+nosuch: No such file or directory; built-in templates are used/), 'a file that is not there is no reason for silence');
done_testing();
