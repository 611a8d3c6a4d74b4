#!/usr/bin/perl
# From sendmail to the mailbox: the log line, the trace header, what -t, -G and -v
# do, files that wait in maildrop.
use strict;
use warnings;
use Fcntl qw(:flock);
use FindBin;
use lib "$FindBin::Bin/../lib";
use Posthorn;
use Test::More;

my $ph = Posthorn->new(myhostname => 'here.test', mail_name => 'Postie', myorigin => 'example.test', minimal_backoff_time => '1000s', default_transport => 'smtp:[127.0.0.1]:' . Posthorn::free_port());
$ph->edit_master(sub { s/^.*plugin: smtpd.*\n//m });
my $me = getpwuid $<;
my $count = 0;

# Submit for user uN; his one message.
sub through {
    my ($text, @args) = @_;
    my $user = 'u' . ++$count;
    s/%u/$user\@example.test/g for $text, @args;
    my $said = $ph->sendmail($text, @args);
    is($?, 0, "sendmail @args") or diag $said;
    return ($ph->wait_mail($user, 1))[0] // '';
}

# While the system is down mail waits in maildrop, and is taken at the start.
$ph->sendmail("Subject: early\n\nx\n", 'early@example.test');
is(scalar(my @waiting = glob $ph->queue . '/maildrop/*'), 1, 'down: it waits in maildrop');
like($ph->cmd('postqueue', '-j'), qr/"queue_name": "maildrop", "queue_id": "\w+".*"early\@example\.test"|Queue report unavailable/, 'and stands in the listing') if !$<;
$ph->start;
ok($ph->wait_mail('early', 1), 'and is taken when it starts');
is(scalar(@waiting = glob $ph->queue . '/maildrop/*'), 0, 'maildrop is empty');

# After a reload two pickups may be at work: a file that the other one has is left to him.
$ph->stop;
$ph->sendmail("Subject: other\n\nx\n", 'other@example.test');
my ($file) = glob $ph->queue . '/maildrop/*';
open my $other, '<', $file or die "$file: $!";
flock $other, LOCK_EX or die;
$ph->start;
for my $who (qw(first second)) { $ph->sendmail("Subject: x\n\nx\n", "$who\@example.test"); ok($ph->wait_mail($who, 1), "the $who message is taken") }
is(scalar(() = $ph->mail('other')), 0, 'what another has is not');
ok(-e $file, 'and stays');
close $other;
$ph->cmd('postkick', 'public', 'pickup', 'W');
is(scalar(() = $ph->wait_mail('other', 1)), 1, 'until he has left it');

my $mail = through("Subject: x\n\nhi\n.\nnot this\n", '%u');
like($mail, qr/^Received: by here\.test \(Postie, from userid $<\)\n\tid (\w+); \w{3}, \d\d \w{3} \d{4} [\d:]{8} [-+]\d{4} \(\w+\)$/m, 'the trace header');
my ($id) = $mail =~ /^\tid (\w+);/m;
like($ph->log, qr{ postfix/pickup\[\d+\]: $id: uid=$< from=<$me>$}m, 'the log line, the sender as he was given');
like($mail, qr/^Return-Path: <\Q$me\E\@example\.test>$/m, 'the sender gets $myorigin');
like($mail, qr/^Message-Id: <\S+\@here\.test>$/mi, 'Message-Id:');
for my $blank (' ', "\t", "\r") { like(through("${blank}X: y\n\nb\n", '%u'), qr/^From: .*\n\n\s*X: y\n\nb\n\z/m, sprintf 'a first line that begins with %02x is no part of it', ord $blank) }
like($mail, qr/^Date: /m, 'Date:');
like($mail, qr/\n\nhi\n\n*\z/, 'up to the dot');

$mail = through("From: a\@b.test\nTo: %u\nBcc: secret\@example.test\nSubject: x\n\nhi\n", '-t', '-F', 'No Use');
unlike($mail, qr/^Bcc:/mi, '-t: Bcc: is not shown');
ok($ph->wait_mail('secret', 1), 'but served');
unlike(($ph->wait_mail('secret', 1))[0] // 'Bcc: lost', qr/^Bcc:/mi, 'nor shown to him');
like(through("Subject: x\n\nhi\n", '-F', 'Full Name', '%u'), qr/^From: (?:"?Full Name"? <\Q$me\E\@example\.test>|\Q$me\E\@example\.test \(Full Name\))$/m, '-F: in the From: that is made');
like(through("Subject: x\r\n\r\nhi\r\nho\r\n", '%u'), qr/^Subject: x\n(?:.*\n)*\nhi\nho\n/m, 'CR LF are line ends');
my $long = 'y' x 5000;
like(through("Subject: x\n\n$long\n", '-f', '<>', '%u'), qr/^Return-Path: <>\n.*\n\n\Q$long\E\n/s, 'a long line stays whole; the null sender');
like(through("Subject: x\nTo: short\n\nhi\n", '-G', '%u'), qr/^To: short$/m, '-G: headers are left alone');

# Put back from the queue: a new id, the old one in the log.
$ph->sendmail("Subject: again\n\nagain\n", '-f', 'alice', '-v', 'x@else.test');
my $old = $ph->wait_log(qr/postfix\/qmgr\[\d+\]: (\w+): from=<alice\@example\.test>/);
ok(Posthorn::wait_for(sub { grep { $_->{queue_id} eq $old && $_->{queue_name} eq 'deferred' } $ph->queued }), 'a deferred message');
like($ph->cmd('postcat', '-e', '-q', $old), qr/^named_attribute: trace_flags=record$/m, '-v is carried into the queue');
$ph->cmd('postsuper', '-r', $old);
my $new = $ph->wait_log(qr/postfix\/pickup\[\d+\]: (\w+): uid=\d+ from=<alice\@example\.test> orig_id=\Q$old\E$/m);
ok($new && $new ne $old, 'requeued: orig_id in the log');
ok(Posthorn::wait_for(sub { $ph->cmd('postcat', '-q', $new) =~ /^recipient: x\@else\.test$/m }), 'the mail is there');
like($ph->cmd('postcat', '-e', '-q', $new), qr/^named_attribute: trace_flags=record$/m, 'with what was asked for');
$ph->cmd('postsuper', '-d', 'ALL');

# -bv: nothing is delivered.
my $said = $ph->sendmail('', '-bv', '-f', 'asker@example.test', 'nobody-gets@example.test');
is($said, "Mail Delivery Status Report will be mailed to <asker\@example.test>.\n", '-bv says who will be told');
ok($ph->wait_mail('asker', 1), 'he is');
is_deeply([$ph->mail('nobody-gets')], [], 'and nothing is delivered');

# Files that somebody put there: not ready, in the future, old.
my $drop = $ph->queue . '/maildrop';
my $owner = (stat $drop)[4];
sub put {
    my ($name, $mode, $when, $user) = @_;
    Posthorn::spew("$drop/.$name", "posthorn-maildrop 1\ntime $when\nsender a\nrcpt $user\@example.test\n\ndata 3\nhi\nend\n");
    chmod $mode, "$drop/.$name";
    chown $owner, -1, "$drop/.$name" if !$<;
    rename "$drop/.$name", "$drop/$name";
}
put('NOTREADY', 0644, time, 'never');
Posthorn::spew("$drop/.NORCPT", "posthorn-maildrop 1\nsender a\n\nend\n");
chmod 0744, "$drop/.NORCPT";
chown $owner, -1, "$drop/.NORCPT" if !$<;
rename "$drop/.NORCPT", "$drop/NORCPT";
put('FUTURE', 0744, time + 10 * 86400, 'future');
put('OLD', 0744, time - 3 * 86400, 'old');
$ph->cmd('postkick', 'public', 'pickup', 'W');
my ($future, $oldmail) = map { ($ph->wait_mail($_, 1))[0] // '' } qw(future old);
my $today = POSIX::strftime('%d %b %Y', gmtime);
like($future, qr/^\tid \w+; \w+, (?:\Q$today\E|\d\d) /m, 'from the future: it is of now');
unlike($future, qr/^\tid \w+; \w+, \Q@{[POSIX::strftime('%d %b %Y', gmtime(time + 10 * 86400))]}\E/m, 'not of then');
like($oldmail, qr/^\tid \w+; \w+, \Q@{[POSIX::strftime('%d %b %Y', gmtime(time - 3 * 86400))]}\E/m, 'an old one keeps its time');
like($ph->log, qr/postfix\/pickup\[\d+\]: \w+: message has been queued for 3 days$/m, 'and the log says how old');
ok(-e "$drop/NOTREADY", 'what is not ready waits');
is_deeply([$ph->mail('never')], [], 'and is not sent');
ok($ph->wait_log(qr{postfix/pickup\[\d+\]: warning: maildrop/NORCPT: no recipient in the envelope; (?:moved|renamed) to }), 'what has no recipient is put aside, with a warning');
ok(!-e "$drop/NORCPT", 'and not looked at again');
done_testing();
