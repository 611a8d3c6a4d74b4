#!/usr/bin/perl
# A dead destination: deferred, listed, delivered after a flush when it is
# back.  A refusal: a notice to the sender.  The null sender never bounces.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;

my $dead = Posthorn::free_port();
my $ph = Posthorn->new(relayhost => "[127.0.0.1]:$dead", myhostname => 'mx.posthorn.test', bounce_queue_lifetime => '5d',
    minimal_backoff_time => '300s', queue_run_delay => '300s')->start;

my ($code, $text) = $ph->smtp->send(from => 'sender@example.test', to => ['u@dead.test', 'v@dead.test'], body => "Subject: d\r\n\r\nbody\r\n");
is($code, 250, 'accepted');
my ($id) = $text =~ /queued as (\S+)/;
ok($ph->wait_log(qr/postfix\/smtp\[\d+\]: \Q$id\E: to=<u\@dead\.test>, relay=none, delay=[\d.]+, delays=[\d.\/]+, dsn=4\.4\.1, status=deferred \(connect to 127\.0\.0\.1\[127\.0\.0\.1\]:$dead: Connection refused\)/),
    'the log line names the cause') or diag $ph->log;
my $list = $ph->cmd('postqueue', '-p');
Posthorn::wait_for(sub { ($list = $ph->cmd('postqueue', '-p')) =~ /Connection refused/ });
like($list, qr/^\Q$id\E\s+\d+ \w{3} \w{3}\s+\d+ [\d:]+ sender\@example\.test$/m, 'postqueue -p: id, size, time, sender') or diag $list;
like($list, qr/\(connect to 127\.0\.0\.1\[127\.0\.0\.1\]:$dead: Connection refused\)/, 'postqueue -p: the reason');
like($list, qr/^\s+u\@dead\.test$/m, 'postqueue -p: the recipient');
like($list, qr/^-- \d+ Kbytes in 1 Request\.$/m, 'postqueue -p: the sum');
my ($json) = $ph->queued;
is($json->{queue_id}, $id, 'postqueue -j: queue_id');
is($json->{queue_name}, 'deferred', 'postqueue -j: queue_name');
is($json->{sender}, 'sender@example.test', 'postqueue -j: sender');
is_deeply([sort map { $_->{address} } @{ $json->{recipients} }], ['u@dead.test', 'v@dead.test'], 'postqueue -j: recipients');
like($json->{recipients}[0]{delay_reason}, qr/Connection refused/, 'postqueue -j: delay_reason');
ok(-e (glob "$ph->{dir}/queue/deferred/*/$id")[0], 'the file lies in deferred');
like($ph->cmd('postcat', '-q', $id), qr/^body$/m, 'postcat shows the content');

# Survives a restart.
$ph->restart;
is(scalar(grep { $_->{queue_id} eq $id } $ph->queued), 1, 'a deferred message survives a restart');

# Back again.
my $sink = Posthorn::Sink->new(port => $dead);
$ph->cmd('postqueue', '-f');
is($?, 0, 'postqueue -f');
my @m = $sink->wait_messages(1);
is_deeply([sort @{ $m[0]{to} // [] }], ['u@dead.test', 'v@dead.test'], 'flush delivers when it is back');
ok($ph->wait_log(qr/\Q$id\E: removed/), 'and it is removed');
ok(Posthorn::wait_for(sub { $ph->cmd('postqueue', '-p') =~ /Mail queue is empty/ }), 'Mail queue is empty');
$sink->stop;

# A refusal bounces.
$sink = Posthorn::Sink->new(port => $dead, rcpt => sub { $_[1] =~ /^bad/ ? '550 5.1.1 <bad@dead.test>: no such user' : '250 2.1.5 ok' });
($code, $text) = $ph->smtp->send(from => 'sender@example.test', to => ['bad@dead.test', 'good@dead.test'],
    body => "Subject: original\r\nMessage-ID: <orig\@x>\r\n\r\nthe body\r\n");
($id) = $text =~ /queued as (\S+)/;
my ($notice) = $ph->wait_mail('sender', 1);
ok($notice, 'the sender got a notice') or diag $ph->log;
like($ph->log, qr/\Q$id\E: to=<bad\@dead\.test>, relay=127\.0\.0\.1\[127\.0\.0\.1\]:$dead, .*dsn=5\.1\.1, status=bounced \(host 127\.0\.0\.1\[127\.0\.0\.1\] said: 550 5\.1\.1 <bad\@dead\.test>: no such user \(in reply to RCPT TO command\)\)/, 'log line of the refusal');
like($ph->log, qr/\Q$id\E: to=<good\@dead\.test>, .*status=sent/, 'the other recipient was delivered');
like($ph->log, qr/bounce\[\d+\]: \Q$id\E: sender non-delivery notification: \S+/, 'bounce names the notice');
ok(Posthorn::wait_for(sub { !$ph->queued }), 'nothing stays in the queue');
Posthorn::spew("$ph->{tmp}/notice", $notice // '');
my $py = $ph->run('python3', '-c', <<'PY', "$ph->{tmp}/notice");
import email, email.policy, sys
m = email.message_from_bytes(open(sys.argv[1], 'rb').read(), policy=email.policy.default)
print('type', m.get_content_type(), m.get_param('report-type'))
print('from', m['From']); print('to', m['To']); print('subject', m['Subject']); print('auto', m['Auto-Submitted'])
parts = list(m.iter_parts())
print('parts', ' '.join(p.get_content_type() for p in parts))
ds = parts[1].get_payload()
print('reporting', ds[0]['Reporting-MTA']); print('arrival', bool(ds[0]['Arrival-Date']))
for k in ('Final-Recipient', 'Action', 'Status', 'Remote-MTA', 'Diagnostic-Code'): print(k, ds[1][k])
print('original', parts[2].get_payload()[0]['Message-ID'])
print('defects', m.defects, [p.defects for p in m.walk()])
PY
like($py, qr{^type multipart/report delivery-status$}m, 'Python: multipart/report') or diag $py;
like($py, qr/^from .*MAILER-DAEMON\@mx\.posthorn\.test/m, 'Python: From');
like($py, qr/^to sender\@example\.test$/m, 'Python: To');
like($py, qr/^subject Undelivered Mail Returned to Sender$/m, 'Python: Subject');
like($py, qr/^auto auto-replied$/m, 'Python: Auto-Submitted');
like($py, qr{^parts text/plain message/delivery-status message/rfc822$}m, 'Python: the three parts');
like($py, qr/^reporting dns; mx\.posthorn\.test$/m, 'Python: Reporting-MTA');
like($py, qr/^Final-Recipient rfc822; bad\@dead\.test$/m, 'Python: Final-Recipient');
like($py, qr/^Action failed$/m, 'Python: Action');
like($py, qr/^Status 5\.1\.1$/m, 'Python: Status');
like($py, qr/^Remote-MTA dns; 127\.0\.0\.1$/m, 'Python: Remote-MTA');
like($py, qr/^Diagnostic-Code smtp; 550 5\.1\.1 <bad\@dead\.test>: no such user$/m, 'Python: Diagnostic-Code');
like($py, qr/^original <orig\@x>$/m, 'Python: the original is there');
like($py, qr/^defects \[\] \[(\[\](, )?)+\]$/m, 'Python: no defects');
like($notice // '', qr/^Return-Path: <>$/m, 'the notice has the null sender');

# The null sender never bounces.
my $before = () = $ph->log =~ /non-delivery notification/g;
($code, $text) = $ph->smtp->send(from => '', to => ['bad@dead.test'], body => "Subject: n\r\n\r\nx\r\n");
($id) = $text =~ /queued as (\S+)/;
ok($ph->wait_log(qr/\Q$id\E: removed/), 'null-sender mail that fails is removed') or diag $ph->log;
my $after = () = $ph->log =~ /sender non-delivery notification/g;
is($after, $before, 'and makes no notice');
$sink->stop;

# Expiry returns it.
$ph->set(maximal_queue_lifetime => '1s', minimal_backoff_time => '1s', maximal_backoff_time => '1s', queue_run_delay => '1s');
$ph->postfix('reload');
($code, $text) = $ph->smtp->send(from => 'old@example.test', to => ['w@dead.test'], body => "Subject: e\r\n\r\nx\r\n");
($id) = $text =~ /queued as (\S+)/;
ok($ph->wait_log(qr/qmgr\[\d+\]: \Q$id\E: from=<old\@example\.test>, status=expired, returned to sender/, 60), 'too old: expired') or diag $ph->log;
($notice) = $ph->wait_mail('old', 1);
like($notice // '', qr/Connection refused/, 'the notice says why');
done_testing();
