#!/usr/bin/perl
# local(8) started by an ordinary user: all is done with his own rights.  What
# needs several accounts is in local_root.t.
use strict;
use warnings;
use POSIX ();
use Test::More;
use Time::HiRes qw(time);
use lib 't/lib';
use Posthorn;

# root would get another spawner: be nobody.
if (!$>) {
    my ($uid, $gid) = (getpwnam 'nobody')[2, 3];
    plan skip_all => 'there is no account "nobody" to become' unless $uid;
    $) = "$gid $gid";
    POSIX::setgid($gid);
    POSIX::setuid($uid);
    plan skip_all => "nobody may not run $Posthorn::inst/sbin/postfix" unless -x "$Posthorn::inst/sbin/postfix";
}
my $me = getpwuid $> or plan skip_all => 'this uid has no account';

my $tmp = File::Temp->newdir('posthorn-local-XXXXXX', TMPDIR => 1, CLEANUP => 1);
mkdir "$tmp/$_" for qw(spool maildirs forward);
my $out = "$tmp/out";

sub put {
    my ($path, $mode, @text) = @_;
    Posthorn::spew($path, @text);
    chmod $mode, $path;
    return;
}

put("$tmp/list", 0644, "# members\n$me, one\@example.test\n\"Two\" <two\@example.test> (second)\n");
put("$tmp/inner", 0644, "in\@example.test\n");
put("$tmp/outer", 0644, ":include:$tmp/inner, |echo never >$out.never\n/never\n");
put("$tmp/self", 0644, "again\@example.test, :include:$tmp/self\n");
put("$tmp/open", 0666, "one\@example.test\n");
put("$tmp/nobody", 0644, "# nobody yet\n\n");
put("$tmp/ping", 0644, "pong\@local.test\n");
put("$tmp/pong", 0644, "ping\@local.test\n");
# postalias would write it anew.
put("$tmp/odd", 0644, qq{bad two words\@x@@, "unclosed\n});
put("$tmp/aliases", 0644, <<"A");
me: $me
list: :include:$tmp/list
owned: :include:$tmp/list
owner-owned: boss\@example.test
nested: :include:$tmp/outer
recursive: :include:$tmp/self
empty: :include:$tmp/nobody
missing: :include:$tmp/none
open: :include:$tmp/open
a: b
b: a
chain: chain2
chain2: chain3, two\@example.test
chain3: $me
ping: :include:$tmp/ping
pong: :include:$tmp/pong
twice: $me, \\$me, $me\@local.test, x\@example.test, X\@EXAMPLE.test, x\@example.test
bar: "|echo \$EXTENSION >$out.ext; exit 0"
direct: |/usr/bin/env
conf: "|echo \$MAIL_CONFIG >$out.conf"
postmaster: $me
big: :include:$tmp/big
fwd: fwd\@example.test
A

my $ph = Posthorn->new(myhostname => 'mx.local.test', mydestination => 'local.test', myorigin => 'local.test', recipient_delimiter => '+',
    alias_maps => "hash:$tmp/aliases, texthash:$tmp/odd", mail_spool_directory => "$tmp/spool", forward_path => "$tmp/forward/\$user\${recipient_delimiter}\${extension}, $tmp/forward/\$user",
    default_transport => 'discard:', local_destination_concurrency_limit => 20);
is($ph->cmd('postalias', "hash:$tmp/aliases"), '', 'postalias');
$ph->start;

# The lines of local about one message, once it is over.
sub lines_of {
    my ($id, $to) = @_;
    $ph->wait_log(qr/$id: removed|$id: to=<\Q$to\E@.*status=deferred/, 20) or diag $ph->log;
    return sort grep { s/.*?\/local\[\d+\]: $id: // && /^to=/ } split /\n/, $ph->log;
}

sub queue_one {
    my ($to, %o) = @_;
    my $c = $ph->smtp;
    my ($code, $text);
    if ($o{notify}) {              # the client writes RCPT without parameters
        $c->ask($_) for 'EHLO client.test', "MAIL FROM:<$o{from}>", "RCPT TO:<$to\@local.test> NOTIFY=$o{notify}", 'DATA';
        ($code, $text) = $c->ask("Subject: x\r\n\r\nhi\r\n.");
    } else {
        ($code, $text) = $c->send(from => $o{from} // 'from@example.test', to => "$to\@local.test", body => $o{body} // "Subject: x\r\n\r\nhi\r\n");
    }
    return $text =~ /queued as (\w+)/ ? $1 : die "not queued: $text";
}

sub send_to { my ($to, %o) = @_; return lines_of(queue_one($to, %o), $to) }
sub newest { my ($user) = @_; my ($f) = ($ph->mail($user))[-1]; return Posthorn::slurp($f // '/dev/null') }
sub like_line { my ($line, $re, $what) = @_; return like($line // '(none)', $re, $what) }
sub reload { my (%set) = @_; my $n = () = $ph->log =~ /reload -- /g; $ph->set(%set); my $said = $ph->postfix('reload'); diag $said if $?; Posthorn::wait_for(sub { (() = $ph->log =~ /reload -- /g) > $n }); return }

# ---- names ----

like_line((send_to($me))[0], qr/^to=<\Q$me\E\@local\.test>, relay=local, .*dsn=2\.0\.0, status=sent \(delivered to mailbox\)$/, 'a user');
is((stat "$tmp/spool/$me")[2] & 07777, 0600, 'his mailbox has mode 0600');
like_line((send_to(uc $me))[0], qr/status=sent \(delivered to mailbox\)/, 'case does not matter');
like_line((send_to('nobody-of-that-name+x'))[0], qr/dsn=5\.1\.1, status=bounced \(unknown user: "nobody-of-that-name"\)$/, 'an unknown user, without the extension');
like_line((send_to('mailer-daemon'))[0], qr/dsn=2\.0\.0, status=sent \(discarded\)$/, 'mailer-daemon without an alias');
like($ph->log, qr/local\[\d+\]: warning: required alias not found: mailer-daemon\n/, 'which is said');
like_line((send_to('postmaster'))[0], qr/^to=<\Q$me\E\@local\.test>, orig_to=<postmaster\@local\.test>/, 'postmaster has one here');

# ---- aliases ----

my ($id, $new);
my @l = send_to('chain');
is(@l, 2, 'aliases of aliases');
like_line((grep { /mailbox/ } @l)[0], qr/^to=<\Q$me\E\@local\.test>, orig_to=<chain\@local\.test>, .*\(delivered to mailbox\)/, 'the user at their end');
like_line((grep { /forwarded/ } @l)[0], qr/^to=<chain\@local\.test>, relay=local, .*\(forwarded as/, 'and who is elsewhere');
@l = send_to('twice');
is(@l, 2, 'a member named several times gets one copy') or diag explain \@l;
like_line((send_to('a'))[0], qr/dsn=5\.4\.6, status=bounced \(alias database loop for b\)/, 'a: b, b: a');
@l = send_to('bad');
like_line($l[-1], qr/^to=<bad\@local\.test>, .*dsn=4\.3\.5, status=deferred \(mail system configuration error\)/, 'a line that cannot be read defers');
like_line((send_to('bar+Some~thing'))[0], qr/status=sent \(delivered to command: echo \$EXTENSION/, 'a command by an extended name');
is(Posthorn::slurp("$out.ext"), "some_thing\n", 'its environment is cleaned');
like_line((send_to('conf'))[0], qr/status=sent/, 'a command that wants to know its configuration');
is(Posthorn::slurp("$out.conf"), $ph->dir . "\n", 'gets MAIL_CONFIG');
like_line((send_to('direct'))[0], qr/status=sent \(delivered to command: \/usr\/bin\/env\)$/, 'a bare command');

# ---- :include: ----

@l = send_to('list');
is(@l, 1, 'all members of an :include: file go into a new message');
($new) = $l[0] =~ /forwarded as (\w+)/;
like_line((lines_of($new, $me))[0], qr/^to=<\Q$me\E\@local\.test>, orig_to=<list\@local\.test>, relay=local, .*delivered to mailbox/, 'local ones too');
like($ph->log, qr/qmgr\[\d+\]: $new: from=<from\@example\.test>, size=\d+, nrcpt=3 /, 'three of them, from the sender');
@l = send_to('owned');
($new) = $l[0] =~ /forwarded as (\w+)/;
ok($ph->wait_log(qr/qmgr\[\d+\]: $new: from=<owner-owned\@local\.test>, size=\d+, nrcpt=3 /), 'a list with an owner: he is the sender');
like_line((lines_of($new, $me))[0], qr/^to=<\Q$me\E\@local\.test>, relay=local/, 'and its members stand for themselves');
@l = send_to('nested');
is((grep { /dsn=5\.7\.1, status=bounced \(mail to (?:command|file) is restricted\)/ } @l), 2, 'commands and files in :include: are refused');
is((grep { /forwarded as/ } @l), 1, 'the rest is delivered');
ok(!-e "$out.never", 'nothing was run');
is((grep { /forwarded as/ } send_to('recursive')), 1, 'a file that includes itself');
@l = send_to('empty');
is(@l, 0, 'an empty one: nobody, and no line');
like_line((send_to('missing'))[0], qr/dsn=5\.3\.5, status=bounced \(mail system configuration error\)/, 'a missing one bounces');
like_line((send_to('open'))[0], qr/status=bounced \(mail system configuration error\)/, 'one that everybody may write to is not used');

# ---- loops ----

like_line((send_to($me, body => "Delivered-To: x\@y\r\nDELIVERED-TO:\r\n \U$me\E\@local.test\r\n\r\nhi\r\n"))[0],
    qr/dsn=5\.4\.6, status=bounced \(mail forwarding loop for \Q$me\E\@local\.test\)/, 'what was here before bounces');
like_line((send_to($me, body => "Subject: x\r\n Delivered-To: $me\@local.test\r\n\r\nDelivered-To: $me\@local.test\r\n"))[0], qr/delivered to mailbox/, 'the name alone, elsewhere, does not');
@l = send_to('ping');
ok($ph->wait_log(qr/to=<ping\@local\.test>.*dsn=5\.4\.6, status=bounced \(mail forwarding loop for ping\@local\.test\)/), 'two that forward to each other stop');
is(scalar(() = $ph->log =~ /to=<p[io]ng\@local\.test>.*forwarded as/g), 2, 'after one round');

# ---- .forward ----

put("$tmp/forward/$me", 0644, "\\$me, away\@example.test\n");
@l = send_to($me);
is(@l, 2, 'a .forward file with a copy for the mailbox');
ok($ph->wait_mail('away', 1), 'and one that goes on');
like(newest('away'), qr/^Delivered-To: \Q$me\E\@local\.test$/m, 'marked');
put("$tmp/forward/$me", 0644, "$me+x\@local.test\n");
like_line((send_to($me))[0], qr/delivered to mailbox/, 'one\'s own address is the mailbox');
put("$tmp/forward/$me+tag", 0644, "\"|cat >$out.tag\"\n");
like_line((send_to("$me+tag"))[0], qr/delivered to command: cat/, 'a file for an extension');
put("$tmp/forward/$me+more", 0644, ":include:$tmp/inner\n");
like_line((send_to("$me+more"))[0], qr/forwarded as/, 'a file that includes another');
unlink glob "$tmp/forward/*";

# ---- what the sender is told ----

$ph->sendmail('', '-bv', '-f', 'eve@example.test', 'chain@local.test', 'bar@local.test', 'no-such@local.test');
my ($report) = $ph->wait_mail('eve', 1);
for my $want (["\Q$me\E\@local\.test", 'deliverable', 'delivers to mailbox'], ['chain\@local\.test', 'deliverable', 'forwards to two\@example\.test'],
              ['bar\@local\.test', 'deliverable', 'delivers to command: echo'], ['no-such\@local\.test', 'undeliverable', 'unknown user: "no-such"']) {
    my ($addr, $action, $text) = @$want;
    like($report, qr/^Final-Recipient: rfc822; $addr\n(?:.+\n)*?Action: $action\n(?:.+\n)*?Diagnostic-Code: .*(?:\n .*)*$text/m, "sendmail -bv: $text");
}
$id = queue_one('chain', from => 'fay@example.test', notify => 'SUCCESS,FAILURE ORCPT=rfc822;the+2Borig@x.test');
($report) = $ph->wait_mail('fay', 1);
like($report, qr/^Final-Recipient: rfc822; chain\@local\.test\nOriginal-Recipient: rfc822;the\+orig\@x\.test\nAction: expanded\nStatus: 2\.0\.0\n/m, 'NOTIFY=SUCCESS of an alias: expanded');
unlike($report, qr/Action: delivered/, 'and nothing of its members');
($new) = $ph->wait_log(qr/local\[\d+\]: $id: to=<chain\@.*forwarded as (\w+)/);
ok($ph->wait_log(qr/$new: removed/), 'the copy for the other member');
is(scalar($ph->mail('fay')), 1, 'asks for no report of success');
queue_one($me, from => 'gus@example.test', notify => 'SUCCESS');
($report) = $ph->wait_mail('gus', 1);
like($report, qr/^Action: delivered\nStatus: 2\.0\.0\n/m, 'NOTIFY=SUCCESS of a user: delivered');

# ---- a crash between the new message and the outcome duplicates, never loses ----

my (%want, $kills);
for my $n (1 .. 40) {
    queue_one('fwd', body => "Subject: number $n.\r\n\r\nhi\r\n");
    $want{$n} = 1;
    my %p = $ph->processes;
    for (grep { $p{$_} =~ /-n local\b/ } keys %p) { kill 'KILL', $_ and $kills++ if $n % 4 == 0 }
}
Posthorn::wait_for(sub {
    delete @want{ map { Posthorn::slurp($_) =~ /^Subject: number (\d+)\./m ? $1 : () } $ph->mail('fwd') };
    $ph->cmd('postqueue', '-f') if %want;
    !%want;
}, 40);
is_deeply([sort keys %want], [], 'forwarding while the agent is killed loses nothing');
cmp_ok($kills, '>', 0, 'it was killed');

# ---- parameters ----

reload(luser_relay => 'relayed+$local@example.test', expand_owner_alias => 'yes', propagate_unmatched_extensions => 'alias', mail_spool_directory => "$tmp/maildirs/");
like_line((send_to('who+ext'))[0], qr/^to=<who\+ext\@local\.test>, .*forwarded as/, 'luser_relay');
ok($ph->wait_log(qr/to=<relayed\+who\+ext\@example\.test>, orig_to=<who\+ext\@local\.test>/), 'goes there');
ok((grep { /forwarded as/ } send_to('fwd+keep')) && $ph->wait_log(qr/to=<fwd\+keep\@example\.test>/), 'propagate_unmatched_extensions');
like_line((send_to($me))[0], qr/delivered to maildir\)$/, 'a maildir spool');
my @mails = glob "$tmp/maildirs/$me/new/*";
is(@mails, 1, 'has the message');
like($mails[0], qr{/\d+\.V[0-9a-f]+I[0-9a-f]+M\d+\.[^/:]+$}, 'its name');
like(Posthorn::slurp($mails[0]), qr/\AReturn-Path: <from\@example\.test>\nX-Original-To: \Q$me\E\@local\.test\nDelivered-To: \Q$me\E\@local\.test\nReceived: .*\n\nhi\n\z/s, 'and its text');

@l = send_to('owned');
($new) = $l[0] =~ /forwarded as (\w+)/;
ok($ph->wait_log(qr/qmgr\[\d+\]: $new: from=<boss\@example\.test>/), 'expand_owner_alias');

reload(luser_relay => 'unknown-too', mailbox_transport_maps => "inline:{$me=virtual:, ghost=discard:}", fallback_transport => 'nosuch:');
like_line((send_to('one-more'))[0], qr/dsn=4\.3\.0, status=deferred \(mail transport unavailable\)/, 'fallback_transport that is not there defers');
$id = queue_one('ghost');
ok($ph->wait_log(qr/local\[\d+\]: $id: passing <ghost\@local\.test> to transport=discard\n/), 'mailbox_transport_maps, for names without account too');
ok($ph->wait_log(qr/discard\[\d+\]: $id: to=<ghost\@local\.test>, relay=none, .*dsn=2\.0\.0, status=sent \(/), 'that transport writes the line');
ok($ph->wait_log(qr/qmgr\[\d+\]: $id: removed/), 'and its answer counts');
$id = queue_one($me);
ok($ph->wait_log(qr/virtual\[\d+\]: $id: to=<\Q$me\E\@local\.test>, relay=virtual, .*dsn=5\.1\.1, status=bounced/), 'a failure of that transport');
ok($ph->wait_log(qr/bounce\[\d+\]: $id: sender non-delivery notification/), 'counts too');
reload(mailbox_transport_maps => '', fallback_transport => '');
like_line((send_to('unknown-at-all'))[0], qr/dsn=5\.1\.1, status=bounced \(unknown user: "unknown-too"\)/, 'luser_relay to nobody bounces');

reload(alias_maps => 'inline:{{hollow = ,}}', luser_relay => '', mail_spool_directory => "$tmp/open.spool/");
like_line((send_to('hollow'))[0], qr/dsn=4\.3\.5, status=deferred \(mail system configuration error\)/, 'an alias that names nobody defers');
mkdir "$tmp/open.spool";
chmod 0777, "$tmp/open.spool";
like_line((send_to($me))[0], qr/dsn=4\.2\.0, status=deferred \(mail_spool_directory .*everybody may write to it\)/, 'a spool of maildirs that everybody may write to defers');
reload(alias_maps => 'fail:down');
like_line((send_to('unknown'))[0], qr/dsn=4\.3\.0, status=deferred/, 'a table that cannot be asked is no unknown user');

# ---- who exists: what smtpd asks ----

reload(alias_maps => "hash:$tmp/aliases", local_recipient_maps => 'proxy:unix:passwd.byname $alias_maps');
like($ph->cmd('postmap', '-q', $me, 'unix:passwd.byname'), qr/^\Q$me\E:[^:]*:$>:/, 'the table of accounts');
my $c = $ph->smtp;
$c->ask('EHLO client.test');
$c->ask('MAIL FROM:<from@example.test>');
like(join(' ', $c->ask("RCPT TO:<$_\@local.test>")), qr/^250 /, "RCPT of $_") for $me, "$me+ext", 'list', 'list+ext';
like(join(' ', $c->ask('RCPT TO:<no-such-user@local.test>')), qr/^550 550 5\.1\.1 .*User unknown in local recipient table/, 'and of nobody');
$c->quit;

# ---- many ----

put("$tmp/big", 0644, map { "member$_\@elsewhere.test\n" } 1 .. 100000);
my $start = time;
@l = send_to('big');
is(@l, 2, '100000 members of a list: two new messages');
like_line($l[0], qr/forwarded as/, 'in new messages');
diag sprintf '100000 members: %.1f s', time - $start;

$ph->stop;
unlike($ph->log, qr/panic|fatal|assert/i, 'nothing broke');
done_testing();
