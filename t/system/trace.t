#!/usr/bin/perl
# Reports that were asked for: NOTIFY=SUCCESS, sendmail -v, sendmail -bv.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;
use Notice;

my $dead = Posthorn::free_port();
my $data = 0;
my $sink = Posthorn::Sink->new(rcpt => sub {
    $_[1] =~ /^bad/ ? "550 5.1.1 <$_[1]>: no such user" : $_[1] =~ /^tmp/ ? '450 4.2.1 try later' : "250 2.1.5 <$_[1]> ok" });
my $dsn = Posthorn::Sink->new(ehlo => "250-sink.test\r\n250-PIPELINING\r\n250-DSN\r\n250 8BITMIME");
my $ph = Posthorn->new(myhostname => 'mx.posthorn.test', relayhost => '[127.0.0.1]:' . $sink->port);
Posthorn::spew("$ph->{tmp}/transport", "dead.test smtp:[127.0.0.1]:$dead\ndsn.test smtp:[127.0.0.1]:" . $dsn->port
    . "\nerr.test error:5.1.2 no such place\ndiscard.test discard:gone\n");
Posthorn::spew("$ph->{tmp}/aliases", "alist m1\@example.test, m2\@relay.test\nmixed m1\@example.test, no-such-user-here\nowned m1\@example.test, bad4\@relay.test\nowner-owned olga\@example.test\n");
$ph->set(mydestination => 'here.test, mx.posthorn.test', alias_maps => "texthash:$ph->{tmp}/aliases", local_recipient_maps => '', transport_maps => "texthash:$ph->{tmp}/transport", delay_warning_time => '1h', confirm_delay_cleared => 'yes');
$ph->start;

sub id_of { my ($to) = @_; return scalar $ph->wait_log(qr/([0-9A-Za-z]+): to=<\Q$to\E>/) }
sub report { my ($user, $n) = @_; my @m = $ph->wait_mail($user, $n); return Notice->new($ph, $m[$n - 1]) }

# NOTIFY=SUCCESS: one report with everything that was delivered or passed on.
my $said = $ph->sendmail("Subject: success\nMessage-ID: <s\@x>\n\nbody\n", '-f', 'sam@example.test', '-N', 'success,failure', '-R', 'full', '-V', 'id 1',
    'box@example.test', 'far@relay.test', 'd@discard.test', 'told@dsn.test');
is($?, 0, 'sendmail -N success') or diag $said;
my $n = report('sam', 1);
is($n->header('Subject'), 'Successful Mail Delivery Report', 'success: subject') or diag $ph->log;
is($n->header('To'), 'sam@example.test', 'success: to the sender');
is($n->header('Auto-Submitted'), 'auto-replied', 'success: Auto-Submitted');
is($n->type, 'multipart/report; delivery-status', 'success: type');
is($n->types, 'text/plain message/delivery-status text/rfc822-headers', 'success: the header only, whatever RET says');
is($n->part(2)->{description}, 'Message Headers', 'success: description of the third part');
is($n->fields(0)->{'Original-Envelope-Id'}, 'id 1', 'success: ENVID');
is(scalar(my @r = $n->recipients), 3, 'success: three recipients');
is($n->recipient('box@example.test')->{Action}, 'delivered', 'a mailbox: delivered');
is($n->recipient('box@example.test')->{Status}, '2.0.0', 'a mailbox: 2.0.0');
is($n->recipient('box@example.test')->{'Diagnostic-Code'}, 'X-Posthorn; delivery via virtual: delivered to maildir', 'a mailbox: how');
is($n->recipient('far@relay.test')->{Action}, 'relayed', 'a server without DSN: relayed');
is($n->recipient('far@relay.test')->{'Diagnostic-Code'}, 'smtp; 250 2.0.0 Ok: queued as SINK', 'with its reply');
is($n->recipient('far@relay.test')->{'Remote-MTA'}, 'dns; 127.0.0.1', 'and its name');
is($n->recipient('d@discard.test')->{'Diagnostic-Code'}, 'X-Posthorn; gone', 'without a relay there is no "via"');
is_deeply($n->recipient('told@dsn.test'), {}, 'a server with DSN reports itself');
like($n->words, qr/^<box\@example\.test>: delivery via virtual: delivered to maildir$/m, 'words');
is_deeply([$n->defects], [], 'no defects');
my $id = id_of('box@example.test');
ok($ph->wait_log(qr/bounce\[\d+\]: \Q$id\E: sender delivery status notification: \S+/), 'the log links both');
ok($ph->wait_log(qr/qmgr\[\d+\]: \Q$id\E: removed/), 'and the message is removed');
is_deeply([glob "$ph->{dir}/queue/trace/*"], [], 'the trace log is gone');

# Never combined with failures; NOTIFY=SUCCESS alone wants no bounce.
$ph->sendmail("Subject: x\n\nx\n", '-f', 'only@example.test', '-N', 'success', 'bad@relay.test', 'good@relay.test');
$n = report('only', 1);
is($n->header('Subject'), 'Successful Mail Delivery Report', 'NOTIFY=SUCCESS: the success');
is(scalar(@r = $n->recipients), 1, 'without the failure');
ok($ph->wait_log(qr/@{[id_of('good@relay.test')]}: removed/), 'done');
is(scalar($ph->mail('only')), 1, 'and no notice of the failure');

# Nobody asked: nothing.
$ph->sendmail("Subject: x\n\nx\n", '-f', 'quiet@example.test', 'quiet1@relay.test');
ok($ph->wait_log(qr/@{[id_of('quiet1@relay.test')]}: removed/), 'mail without NOTIFY');
is(scalar($ph->mail('quiet')), 0, 'makes no report');
$ph->sendmail("Subject: x\n\nx\n", '-f', '<>', '-N', 'success', 'null1@relay.test');
my $null = id_of('null1@relay.test');
ok($ph->wait_log(qr/\Q$null\E: removed/), 'the null sender');
unlike($ph->log, qr/\Q$null\E: sender/, 'is never told');

# sendmail -v: delivered, and one report of all.
$said = $ph->sendmail("Subject: v\n\nx\n", '-v', '-f', 'vera@example.test', 'vbox@example.test', 'bad2@relay.test', 'vfar@relay.test', 'q@dead.test', 'e@err.test');
like($said, qr/^Mail Delivery Status Report will be mailed to <vera\@example\.test>\.$/m, 'sendmail -v says where the report goes');
my @mail = $ph->wait_mail('vera', 2);
my ($bounce) = map { Notice->new($ph, $_) } grep { /^Subject: Undelivered Mail/m } @mail;
($n) = map { Notice->new($ph, $_) } grep { /^Subject: Mail Delivery Status Report/m } @mail;
ok($bounce && $n, '-v: a notice of the failures, and the report') or diag $ph->log;
is_deeply([sort map { $_->{'Final-Recipient'} } $bounce->recipients], ['rfc822; bad2@relay.test', 'rfc822; e@err.test'], '-v: the notice has the failures');
my %action = map { $_->{'Final-Recipient'} =~ s/.*; //r => $_->{Action} } $n->recipients;
is_deeply(\%action, { 'vbox@example.test' => 'delivered', 'bad2@relay.test' => 'failed', 'vfar@relay.test' => 'relayed', 'q@dead.test' => 'delayed',
    'e@err.test' => 'failed' }, '-v: the report has everything') or diag explain \%action;
is($n->recipient('bad2@relay.test')->{'Diagnostic-Code'}, 'smtp; 550 5.1.1 <bad2@relay.test>: no such user', '-v: replies');
like($n->words, qr/^<q\@dead\.test>: connect to 127/m, '-v: no relay, no "via"');
is(scalar($ph->wait_mail('vbox', 1)), 1, '-v: the message was delivered');
ok((my $vid = id_of('q@dead.test')), '-v: the rest');
$ph->cmd('postqueue', '-f');
ok(Posthorn::wait_for(sub { (() = $ph->log =~ /\Q$vid\E: to=<q\@dead\.test>/g) >= 2 }), 'is tried again');
$ph->cmd('postsuper', '-d', $vid);
is((() = $ph->log =~ /\Q$vid\E: sender delivery status notification/g), 1, 'and not reported again');

# sendmail -bv: nothing is delivered, everything is answered.
my $before = $sink->messages;
$said = $ph->sendmail('', '-bv', '-f', 'eve@example.test', 'pbox@example.test', 'bad3@relay.test', 'pfar@relay.test', 'tmp@relay.test', 'pq@dead.test',
    'pe@err.test', 'pd@discard.test');
like($said, qr/^Mail Delivery Status Report will be mailed to <eve\@example\.test>\.$/m, 'sendmail -bv says where the report goes');
$n = report('eve', 1);
is($n->header('Subject'), 'Mail Delivery Status Report', '-bv: subject') or diag $ph->log;
%action = map { $_->{'Final-Recipient'} =~ s/.*; //r => "$_->{Action} $_->{Status}" } $n->recipients;
is_deeply(\%action, { 'pbox@example.test' => 'deliverable 2.0.0', 'bad3@relay.test' => 'undeliverable 5.1.1', 'pfar@relay.test' => 'deliverable 2.1.5',
    'tmp@relay.test' => 'undeliverable 4.2.1', 'pq@dead.test' => 'undeliverable 4.4.1', 'pe@err.test' => 'undeliverable 5.1.2',
    'pd@discard.test' => 'deliverable 2.0.0' }, '-bv: every recipient') or diag explain \%action;
is($n->recipient('pfar@relay.test')->{'Diagnostic-Code'}, 'smtp; 250 2.1.5 <pfar@relay.test> ok', '-bv: the reply to RCPT');
is($n->recipient('pbox@example.test')->{'Diagnostic-Code'}, 'X-Posthorn; delivery via virtual: delivers to maildir', '-bv: a mailbox');
my $pid = id_of('pfar@relay.test');
ok($ph->wait_log(qr/\Q$pid\E: removed/), '-bv: the probe is removed, deferrals too');
unlike($ph->log, qr/\Q$pid\E: to=<[^>]*>.*status=(?!deliverable|undeliverable)/, '-bv: log lines say deliverable or undeliverable');
like($ph->log, qr/\Q$pid\E: to=<tmp\@relay\.test>.* status=undeliverable \(host /, '-bv: 4xx too');
is(scalar($ph->mail('pbox')), 0, '-bv: nothing went to the mailbox');
is(scalar($sink->messages), $before, '-bv: nor to the server');
is(scalar($ph->mail('eve')), 1, '-bv: no other notice');
ok(Posthorn::wait_for(sub { !$ph->queued }), 'nothing is left');

# Aliases: expanded, and that is all their sender hears of success; an owner hears of failures.
$ph->sendmail("Subject: al\n\nx\n", '-f', 'al@example.test', '-N', 'success,failure', 'alist@here.test');
$n = report('al', 1);
is($n->header('Subject'), 'Successful Mail Delivery Report', 'an alias: a report of success') or diag $ph->log;
is(scalar(@r = $n->recipients), 1, 'of the alias alone');
is($n->recipient('alist@here.test')->{Action}, 'expanded', 'which was expanded');
is(scalar($ph->wait_mail('m1', 1)), 1, 'its members get the mail');
$ph->sendmail("Subject: mi\n\nx\n", '-f', 'mi@example.test', '-N', 'success,failure', 'mixed@here.test');
%action = map { my ($r) = $_->recipients; $_->header('Subject') => "$r->{Action} $r->{'Final-Recipient'}" =~ s/@.*//r } map { Notice->new($ph, $_) } $ph->wait_mail('mi', 2);
is_deeply(\%action, { 'Undelivered Mail Returned to Sender' => 'failed rfc822; no-such-user-here', 'Successful Mail Delivery Report' => 'expanded rfc822; mixed' },
    'an alias of which a member fails: two notices') or diag explain \%action;
$ph->sendmail("Subject: ow\n\nx\n", '-f', 'ow@example.test', 'owned@here.test');
($n) = map { Notice->new($ph, $_) } $ph->wait_mail('olga', 1);
is($n->header('Subject'), 'Undelivered Mail Returned to Sender', 'an alias with an owner: the failure goes to the owner') or diag $ph->log;
is($n->recipient('bad4@relay.test')->{Status}, '5.1.1', 'and names the member');
is(scalar($ph->mail('ow')), 0, 'not to the sender');
$ph->sendmail('', '-bv', '-f', 'bval@example.test', 'alist@here.test');
$n = report('bval', 1);
is_deeply([sort map { "$_->{Action}, $_->{'Diagnostic-Code'}" =~ s/X-Posthorn; delivery via local: //r } $n->recipients],
    ['deliverable, forwards to m1@example.test', 'deliverable, forwards to m2@relay.test'], '-bv: aliases are expanded') or diag $n->source;

# confirm_delay_cleared: who was warned is told that it arrived.
$ph->set(delay_warning_time => '1s', minimal_backoff_time => '1s', maximal_backoff_time => '1s', queue_run_delay => '1s');
$ph->postfix('reload');
$ph->sendmail("Subject: late\n\nx\n", '-f', 'late@example.test', 'late@dead.test');
($n) = map { Notice->new($ph, $_) } $ph->wait_mail('late', 1, 30);
is($n->header('Subject'), 'Delayed Mail (still being retried)', 'a delay warning') or diag $ph->log;
my $alive = Posthorn::Sink->new(port => $dead, ehlo => "250-sink.test\r\n250-DSN\r\n250 8BITMIME");
@mail = $ph->wait_mail('late', 2, 30);
($n) = map { Notice->new($ph, $_) } grep { /Successful/ } @mail;
ok($n, 'confirm_delay_cleared: the report') or diag $ph->log;
is($n && $n->recipient('late@dead.test')->{Action}, 'relayed', 'even when the server has DSN');
done_testing();
