#!/usr/bin/perl
# local(8) started by root: mail, files and commands of several accounts, each
# with its own rights.  The accounts are made for this test and removed after it.
use strict;
use warnings;
use POSIX ();
use Test::More;
use lib 't/lib';
use Posthorn;
use Accounts;

plan skip_all => Accounts->missing if Accounts->missing;

my $who = Accounts->new;
my ($tmp, $out) = ($who->dir, $who->dir . '/out');
sub account { return $who->add(@_) }
sub put { return $who->put(@_) }

my ($joe, $joe_uid, $gid) = account('joe');
my ($ann, $ann_uid) = account('ann');
my ($kim) = account('kim');
my ($low, $low_uid) = account('low');
my $mail_gid = getgrnam('mail');

sub forward { my ($name, $text, %o) = @_; return put("$tmp/home/$name/.forward" . ($o{ext} // ''), $o{uid} // scalar getpwnam $name, $o{mode} // 0644, $text) }

put("$tmp/aliases", 0, 0644, <<"A");
# root's table: commands have the rights of default_privs
toall: $joe, "|cat >$out/cmd; id -un >$out/cmd.id", "$out/file", far\@example.test
$kim: $kim, $ann
twofail: "|exit 67", "|echo 5.7.7 not you; exit 1", $ann
null: /dev/null
root: $ann
A
put("$tmp/joe.aliases", $joe_uid, 0644, qq{joescmd "|id -un >$out/joe.id; env >$out/joe.env"\njoesfile $out/joe.file\n});
my $ph = Posthorn->new(myhostname => 'mx.local.test', mydestination => 'local.test', myorigin => 'local.test', recipient_delimiter => '+',
    alias_maps => "hash:$tmp/aliases, texthash:$tmp/joe.aliases", mail_spool_directory => "$tmp/spool", default_privs => $low,
    deliver_lock_attempts => 1, mailbox_size_limit => 20000, message_size_limit => 10000);
is($ph->cmd('postalias', "hash:$tmp/aliases"), '', 'postalias');
$ph->start;

sub queue_one {
    my ($to, %o) = @_;
    my ($code, $text) = $ph->smtp->send(from => $o{from} // 'from@example.test', to => "$to\@local.test", body => $o{body} // "Subject: x\r\n\r\nFrom here\r\nhi\r\n");
    return $text =~ /queued as (\w+)/ ? $1 : die "not queued: $text";
}

# Send one message; the lines of its log that say what became of whom, once it is over.
sub send_to {
    my ($to, %o) = @_;
    my $id = queue_one($to, %o);
    $ph->wait_log(qr/$id: removed|$id: to=<\Q$to\E@.*status=deferred/, 20) or diag $ph->log;
    return grep { s/.*?\/local\[\d+\]: $id: // && /^to=/ } split /\n/, $ph->log;
}

sub like_line { my ($line, $re, $what) = @_; return like($line // '(none)', $re, $what) }

# ---- mailboxes ----

my @l = send_to($joe . '+ext');
is(@l, 1, 'one line for a user');
like_line($l[0], qr/^to=<\Q$joe\E\+ext\@local\.test>, relay=local, delay=[\d.]+, delays=[\d.\/]+, dsn=2\.0\.0, status=sent \(delivered to mailbox\)$/, 'the line of a mailbox');
my $box = "$tmp/spool/$joe";
is(join(' ', (stat $box)[4, 5], sprintf '%o', (stat $box)[2] & 07777), "$joe_uid $mail_gid 600", 'the mailbox is the user\'s, in a spool of the group mail');
like(Posthorn::slurp($box), qr/\AFrom from\@example\.test  \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\nReturn-Path: <from\@example\.test>\nX-Original-To: \Q$joe\E\+ext\@local\.test\nDelivered-To: \Q$joe\E\+ext\@local\.test\nReceived: .*\n\n>From here\nhi\n\n\z/s, 'an mbox record');

chmod 0640, $box;
link $box, "$tmp/spool/hard";
like_line((send_to("$joe+x"))[0], qr/dsn=5\.2\.0, status=bounced \(cannot update mailbox \Q$box\E for user \Q$joe\E\. file has 2 hard links\)/, 'a mailbox of two names bounces');
unlink "$tmp/spool/hard";
chown $ann_uid, $gid, $box;
chmod 0666, $box;
like_line((send_to("$joe+x"))[0], qr/dsn=4\.2\.0, status=deferred \(cannot update mailbox \Q$box\E for user \Q$joe\E\. destination \Q$box\E is not owned by recipient\)/, 'one that another owns defers');
chmod 0600, $box;
like_line((send_to("$joe+x"))[0], qr/dsn=5\.2\.0, status=bounced \(cannot update mailbox \Q$box\E for user \Q$joe\E\. cannot open file: Permission denied\)/, 'one that may not be opened bounces');
chown $joe_uid, $mail_gid, $box;
put("$box.lock", $joe_uid, 0600, '');
like_line((send_to("$joe+x"))[0], qr/dsn=4\.2\.0, status=deferred \(cannot update mailbox \Q$box\E for user \Q$joe\E\. unable to create lock file \Q$box\E\.lock: File exists\)/, 'one that is locked defers');
unlink "$box.lock";
put($box, $joe_uid, 0600, 'x' x 19900);
like_line((send_to("$joe+x"))[0], qr/dsn=5\.2\.2, status=bounced \(cannot update mailbox .*error writing message: File too large\)/, 'one over the limit bounces');
is(-s $box, 19900, 'and is as it was');
unlink $box;

# ---- many for one mailbox at once: they take turns, nobody waits for the lock file's second ----

queue_one("$joe+many") for 1 .. 30;
Posthorn::wait_for(sub { (() = Posthorn::slurp($box) =~ /^Delivered-To: \Q$joe\E\+many/mg) == 30 }, 30);
is(scalar(() = Posthorn::slurp($box) =~ /^From from\@example\.test  /mg), 30, '30 messages, 30 records');
cmp_ok(scalar(() = $ph->log =~ /to=<\Q$joe\E\+many.* delays=[\d.]+\/[1-9]/g), '<=', 1, 'without waiting for each other');
unlink $box;

# ---- a full disk ----

SKIP: {
    mkdir "$tmp/small" or die $!;
    skip 'cannot mount a small file system', 5 if system("mount -t tmpfs -o size=64k,mode=0777 tmpfs $tmp/small 2>/dev/null");
    forward($joe, "$tmp/small/box\n");
    put("$tmp/small/pad", 0, 0600, 'y' x 57000);
    put("$tmp/small/box", $joe_uid, 0600, 'y' x 100);
    like_line((send_to("$joe+x", body => "Subject: x\r\n\r\n" . ('z' x 70 . "\r\n") x 120))[0],
        qr/dsn=4\.3\.0, status=deferred \(cannot append message to file \Q$tmp\E\/small\/box: error writing message: No space left on device\)/, 'a full disk defers');
    is(-s "$tmp/small/box", 100, 'and the file is as it was');
    ok(!-e "$tmp/small/box.lock", 'without a lock file');
    unlink "$tmp/small/box";
    mkdir "$tmp/small/md";
    chown $joe_uid, $gid, "$tmp/small/md";
    forward($joe, "$tmp/small/md/\n");
    like_line((send_to("$joe+x", body => "Subject: x\r\n\r\n" . ('z' x 70 . "\r\n") x 120))[0], qr/dsn=4\.3\.0, status=deferred \(maildir delivery failed: .*No space left on device\)/, 'a maildir too');
    is(scalar(() = glob "$tmp/small/md/{tmp,new}/*"), 0, 'which has nothing of it');
    unlink "$tmp/home/$joe/.forward";
    system('umount', "$tmp/small");
}

# ---- aliases ----

@l = map { $_->[1] } sort { $a->[0] cmp $b->[0] } map { [/(status=.*)/, $_] } send_to('toall');     # by what became of it, not by delays
is(@l, 4, 'each member of an alias has its line');
like_line($l[2], qr/^to=<\Q$joe\E\@local\.test>, orig_to=<toall\@local\.test>, relay=local, .*status=sent \(delivered to mailbox\)/, 'a user');
like_line($l[0], qr/^to=<toall\@local\.test>, relay=local, .*status=sent \(delivered to command: cat >\Q$out\E/, 'a command');
like_line($l[1], qr/^to=<toall\@local\.test>, relay=local, .*status=sent \(delivered to file: \Q$out\E\/file\)/, 'a file');
my ($forwarded) = ($l[3] // '') =~ /^to=<toall\@local\.test>, relay=local, .*status=sent \(forwarded as (\w+)\)$/;
ok($forwarded, 'the rest in a new message');
like($ph->log, qr/local\[\d+\]: \Q$forwarded\E|qmgr\[\d+\]: \Q$forwarded\E: from=<from\@example\.test>/, 'from the same sender');
ok($ph->wait_log(qr/virtual\[\d+\]: $forwarded: to=<far\@example\.test>, orig_to=<toall\@local\.test>/), 'with the alias as the original recipient');
like(($ph->wait_mail('far', 1))[0], qr/^Received: by mx\.local\.test \([^)]*\)\n\tid \Q$forwarded\E; .*\nDelivered-To: toall\@local\.test\nReceived: /m, 'it shows the way');
is(Posthorn::slurp("$out/cmd.id"), "$low\n", 'a command of root\'s table runs as default_privs');
like(Posthorn::slurp("$out/cmd"), qr/\AFrom from\@example\.test  .*\nReturn-Path: <from\@example\.test>\nX-Original-To: toall\@local\.test\nDelivered-To: toall\@local\.test\nReceived: .*\n\nFrom here\nhi\n\z/s, 'and reads the message, nothing quoted, no line behind it');
is(join(' ', (stat "$out/file")[4], sprintf '%o', (stat _)[2] & 07777), "$low_uid 600", 'a file is made by default_privs, mode 0600');
like(Posthorn::slurp("$tmp/spool/$joe"), qr/^X-Original-To: toall\@local\.test\nDelivered-To: toall\@local\.test$/m, 'the member\'s copy shows the alias');

@l = sort(send_to($kim));
is(@l, 2, 'an alias that names itself: the user, and the other');
like_line($_, qr/status=sent \(delivered to mailbox\)/, 'both delivered') for @l;

like_line((send_to('joescmd'))[0], qr/status=sent \(delivered to command/, 'a command of a user\'s table');
is(Posthorn::slurp("$out/joe.id"), "$joe\n", 'has that user\'s rights');
like_line((send_to('joesfile'))[0], qr/status=sent \(delivered to file/, 'a file too');
is((stat "$out/joe.file")[4], $joe_uid, 'it is his');
like_line((send_to('null'))[0], qr/status=sent \(delivered to file: \/dev\/null\)/, '/dev/null is a file');

@l = sort(send_to('twofail'));
like_line($l[0], qr/^to=<\Q$ann\E\@local.test>, orig_to=<twofail\@local.test>, .*status=sent/, 'one of three is delivered');
like_line((grep { /5\.1\.1/ } @l)[0], qr/dsn=5\.1\.1, status=bounced \(user unknown\)/, 'one ends with EX_NOUSER');
like_line((grep { /5\.7\.7/ } @l)[0], qr/dsn=5\.7\.7, status=bounced \(not you \)/, 'one says its own code');
my ($notice) = grep { /^Subject: Undelivered/m && /not you/ } $ph->wait_mail('from', 4);
like($notice, qr/^Status: 5\.1\.1\n.*^Status: 5\.7\.7\n/ms, 'the notice tells of both');
like_line((send_to('root'))[0], qr/^to=<\Q$ann\E\@local.test>, orig_to=<root\@local.test>/, 'root is an alias');

# ---- .forward ----

my $mbox = sub { return scalar(() = Posthorn::slurp("$tmp/spool/$ann") =~ /^From /mg) };
forward($ann, "# mine\n\n\\$ann, \"|id -un >$out/fwd.id; env >$out/fwd.env; pwd >$out/fwd.cwd\"\nfwd\@example.test\n");
my $before = $mbox->();
@l = sort(send_to("$ann+Work"));
is(@l, 3, 'a .forward file: mailbox, command, address');
is($mbox->(), $before + 1, 'its own name is the mailbox');
is(Posthorn::slurp("$out/fwd.id"), "$ann\n", 'the command has the user\'s rights');
my %env = map { /^(\w+)=(.*)$/ ? ($1 => $2) : () } split /\n/, Posthorn::slurp("$out/fwd.env");
is_deeply({ map { $_ => $env{$_} } qw(USER LOGNAME HOME SHELL LOCAL EXTENSION DOMAIN RECIPIENT ORIGINAL_RECIPIENT SENDER CLIENT_ADDRESS CLIENT_HELO CLIENT_PROTOCOL) },
    { USER => $ann, LOGNAME => $ann, HOME => "$tmp/home/$ann", SHELL => '/bin/sh', LOCAL => "$ann+work", EXTENSION => 'work', DOMAIN => 'local.test',
      RECIPIENT => "$ann+Work\@local.test", ORIGINAL_RECIPIENT => "$ann+Work\@local.test", SENDER => 'from@example.test', CLIENT_ADDRESS => '127.0.0.1',
      CLIENT_HELO => 'client.test', CLIENT_PROTOCOL => 'ESMTP' }, 'its environment') or diag explain \%env;
is(Posthorn::slurp("$out/fwd.cwd"), $ph->queue . "\n", 'it runs in the queue directory');
like(($ph->wait_mail('fwd', 1))[0], qr/^Delivered-To: \Q$ann\E\+Work\@local\.test$/m, 'the forwarded copy');

forward($ann, "ext\@example.test\n", ext => '+work');
like_line((send_to("$ann+work"))[0], qr/status=sent \(forwarded as/, '.forward+work is for +work');
like(($ph->wait_mail('ext', 1))[0], qr/^Delivered-To: \Q$ann\E\+work\@local/m, 'and counts alone');
unlink "$tmp/home/$ann/.forward+work";

for my $case (['group-writable', 1, mode => 0664], ['of root', 1, uid => 0], ['world-writable', 0, mode => 0666], ['of somebody else', 0, uid => $joe_uid],
              ['not readable', 0, mode => 0]) {
    my ($what, $used, %o) = @$case;
    forward($ann, "judged\@example.test\n", %o);
    like_line((send_to($ann))[0], $used ? qr/status=sent \(forwarded as/ : qr/status=sent \(delivered to mailbox\)/, "a .forward file $what is " . ($used ? 'used' : 'not used'));
}
unlink "$tmp/home/$ann/.forward";
put("$tmp/home/$ann/elsewhere", $ann_uid, 0644, "judged\@example.test\n");
symlink "$tmp/home/$ann/elsewhere", "$tmp/home/$ann/.forward";
like_line((send_to($ann))[0], qr/status=sent \(delivered to mailbox\)/, 'a symbolic link is not used');
my $warnings = () = $ph->log =~ /warning: forward file is not used: /g;
is($warnings, 4, 'each one not used is warned of');
unlink "$tmp/home/$ann/.forward";
forward($ann, "# nobody\n");
like_line((send_to($ann))[0], qr/status=sent \(delivered to mailbox\)/, 'one without destinations is as none');
unlink "$tmp/home/$ann/.forward";

# ---- what is started has no more rights, and no fewer ----

my $setgid = "$tmp/setgid-id";
system('cp', (grep { -x } '/usr/bin/id', '/bin/id')[0], $setgid) == 0 or die;
chown 0, $mail_gid, $setgid;
chmod 02755, $setgid;
forward($ann, "\"|$setgid -G -n >$out/groups\"\n");
send_to($ann);
SKIP: {
    skip 'set-group-id has no effect on this file system', 1 if qx(su $ann -s /bin/sh -c '$setgid -gn') !~ /mail/ && qx(su $ann -s /bin/sh -c '$setgid -gn') !~ /\S/;
    like(Posthorn::slurp("$out/groups"), qr/^users mail$|^mail users$/, 'a helper that is set-group-id gets its group (procmail\'s lock files), and there are no others');
}
SKIP: {
    my $root = Posthorn::debian('procmail') or skip 'Debian\'s procmail cannot be had', 2;
    my $procmail = "$root/usr/bin/procmail";
    chown 0, $mail_gid, $procmail;
    chmod 02755, $procmail;
    skip 'procmail is below a directory that others may not enter', 2 if system("su $ann -s /bin/sh -c 'test -x $procmail'");
    put("$tmp/home/$ann/.procmailrc", $ann_uid, 0644, "LOCKFILE=$tmp/spool/$ann.proc.lock\nDEFAULT=$tmp/spool/$ann\nLOGFILE=$out/procmail.log\n:0:\n* ^Subject: to a folder\n$tmp/home/$ann/folder\n");
    forward($ann, "\"|$procmail -t\"\n");
    $before = $mbox->();
    like_line((send_to($ann, body => "Subject: to a folder\r\n\r\nhi\r\n"))[0], qr/status=sent \(delivered to command: \Q$procmail\E -t\)/, 'procmail');
    like(Posthorn::slurp("$tmp/home/$ann/folder"), qr/^Subject: to a folder$/m, 'delivers to a folder') or diag Posthorn::slurp("$out/procmail.log");
}
unlink "$tmp/home/$ann/.forward";

# ---- the limits of a command ----

$ph->set(command_time_limit => '1s', mailbox_command => "exec sleep 100");
$ph->postfix('reload');
like_line((send_to($ann))[0], qr/dsn=5\.3\.0, status=bounced \(Command time limit exceeded: "exec sleep 100"\)/, 'a command that takes too long');
$ph->set(command_time_limit => '1000s', mailbox_command => 'echo over quota >&2; exit 75', command_execution_directory => '$home');
$ph->postfix('reload');
ok(Posthorn::wait_for(sub { (send_to($ann))[0] =~ /dsn=4\.3\.0, status=deferred \(temporary failure\. Command output: over quota \)/ }, 20), 'mailbox_command: exit status and output');
$ph->set(mailbox_command => "pwd >$out/mb.cwd; id -un >$out/mb.id");
$ph->postfix('reload');
ok(Posthorn::wait_for(sub { send_to($ann); Posthorn::slurp("$out/mb.cwd") eq "$tmp/home/$ann\n" }, 20), 'command_execution_directory');
is(Posthorn::slurp("$out/mb.id"), "$ann\n", 'mailbox_command has the user\'s rights');

$ph->stop;
unlike($ph->log, qr/panic|fatal|assert/i, 'nothing broke');
done_testing();
