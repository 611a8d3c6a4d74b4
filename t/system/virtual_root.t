#!/usr/bin/perl
# Started as root, virtual writes each mailbox as the user and group that the
# tables say, by numbers without accounts; root and the mail system are refused.
use strict;
use warnings;
use File::Path qw(make_path);
use Test::More;
use lib 't/lib';
use Posthorn;

plan skip_all => 'only root can deliver as other users' unless $> == 0;
my ($one, $two, $group) = (23451, 23452, 23459);
plan skip_all => "the ids $one, $two belong to somebody" if getpwuid $one or getpwuid $two;

my $ph = Posthorn->new(virtual_mailbox_domains => 'v.test', minimal_backoff_time => '1s', maximal_backoff_time => '2s', queue_run_delay => '1s',
    virtual_mailbox_maps => 'inline:{ {one@v.test=one/} {two@v.test=two/deep/} {box@v.test=boxes/box} {root@v.test=root/} {low@v.test=low/}'
        . ' {none@v.test=none/} {wrong@v.test=boxes/wrong} {hidden@v.test=hidden/x/} {link@v.test=boxes/link} {locked@v.test=boxes/locked} {blind@v.test=blind/box} {blind2@v.test=blind/md/} }',
    virtual_uid_maps => "inline:{ {one\@v.test=$one} {two\@v.test=$two} {box\@v.test=$one} {root\@v.test=0} {low\@v.test=1} {wrong\@v.test=$two} {hidden\@v.test=$two} {link\@v.test=$two} {locked\@v.test=$one} {blind\@v.test=$one} {blind2\@v.test=$one} }",
    virtual_gid_maps => "static:$group", virtual_delivery_status_filter => 'pcre:{ {/^2\.0\.0 delivered to maildir/ 5.0.0 never} {/^4\.3\.5 mail system configuration error/ 4.3.5 ask the postmaster} }', virtual_mailbox_base => '/nowhere');
my $base = "$ph->{dir}/mail";
$ph->set(virtual_mailbox_base => $base);
mkdir "$base/$_" for qw(one two boxes hidden root low none);
chown $one, $group, "$base/one", "$base/hidden";
chown $two, $group, "$base/two";
chmod 0700, "$base/one", "$base/two", "$base/hidden";
mkdir "$base/blind";
make_path("$base/blind/md/$_") for qw(new cur tmp);
chown $one, $group, "$base/blind", map { "$base/blind/md$_" } '', qw(/new /cur /tmp);
chmod 0300, "$base/blind/md/new", "$base/blind";
chown 0, $group, "$base/boxes";
chmod 01770, "$base/boxes";
Posthorn::spew("$base/boxes/wrong", '');
chown $one, $group, "$base/boxes/wrong";
chmod 0660, "$base/boxes/wrong";
Posthorn::spew("$ph->{tmp}/target", "untouched\n");
chmod 0666, "$ph->{tmp}/target";
symlink "$ph->{tmp}/target", "$base/boxes/link";
$ph->start;

sub mail {
    my (@to) = @_;
    my ($code, $text) = $ph->smtp->send(from => 'a@b.test', to => [ map { "$_\@v.test" } @to ], body => "Subject: v\r\n\r\nFrom x\r\nhello @to\r\n");
    is($code, 250, "accepted: @to") or diag $text;
    return $text =~ /queued as (\S+)/;
}
sub owner { my @st = lstat $_[0]; return sprintf '%d:%d %04o', @st[4, 5], $st[2] & 07777 }

my ($id) = mail('one', 'two');
ok($ph->wait_log(qr/\Q$id\E: to=<$_\@v\.test>, relay=virtual, .*dsn=2\.0\.0, status=sent \(delivered to maildir\)/), "$_ has mail") or diag $ph->log for qw(one two);
like($ph->log, qr/warning: virtual_delivery_status_filter: "5\.0\.0 never" for "2\.0\.0 delivered to maildir" cannot be used/, 'a filter cannot make a failure of success');
my ($file) = glob "$base/one/new/*";
is(owner($file // ''), "$one:$group 0600", 'owner, group and mode of the message');
is(owner("$base/one/$_"), "$one:$group 0700", "and of $_") for qw(new cur tmp);
like(Posthorn::slurp($file), qr/\AReturn-Path: <a\@b\.test>\nX-Original-To: one\@v\.test\nDelivered-To: one\@v\.test\n.*\nhello one two\n\z/s, 'what is in it');
is(owner("$base/two/deep"), "$two:$group 0700", 'a directory that was made on the way');
is(scalar(() = glob "$base/*/tmp/* $base/two/deep/tmp/*"), 0, 'nothing is left in tmp');

($id) = mail('box');
ok($ph->wait_log(qr/\Q$id\E: .*status=sent \(delivered to mailbox\)/), 'an mbox') or diag $ph->log;
is(owner("$base/boxes/box"), "$one:$group 0600", 'made as its owner');
($id) = mail('box');
ok($ph->wait_log(qr/\Q$id\E: .*status=sent/), 'and once more');
like(Posthorn::slurp("$base/boxes/box"), qr/\AFrom a\@b\.test  .*\n>From x\nhello box\n\nFrom a\@b\.test  .*\nhello box\n\n\z/s, 'both are there');
ok(!-e "$base/boxes/box.lock", 'no lock is left');

# Another program's locks count.
Posthorn::spew("$base/boxes/locked.lock", '');
($id) = mail('locked');
ok(Posthorn::wait_for(sub { $ph->log =~ /\Q$id\E: from=/ }), 'mail for a locked mailbox');
ok(!-e "$base/boxes/locked", 'it waits');
unlink "$base/boxes/locked.lock";
ok($ph->wait_log(qr/\Q$id\E: .*status=sent \(delivered to mailbox\)/), 'until it is free');

# Directories in which names can be made but not made stable.
($id) = mail('blind');
ok($ph->wait_log(qr/\Q$id\E: .*dsn=4\.3\.0, status=deferred .*Permission denied/), 'a message in a mailbox whose name may be lost: deferred, not returned') or diag $ph->log;
ok($ph->wait_log(qr/\Q$id\E: .*status=sent/), 'then it is in it');
($id) = mail('blind2');
ok($ph->wait_log(qr/\Q$id\E: .*dsn=5\.2\.0, status=bounced .*Permission denied/), 'a maildir that cannot be synced: returned') or diag $ph->log;
is(scalar(() = glob "$base/blind/md/{new,tmp}/*"), 0, 'and not delivered');

my %refused = (root => 'ask the postmaster', low => 'ask the postmaster', none => 'ask the postmaster');
for my $who (sort keys %refused) {
    ($id) = mail($who);
    ok($ph->wait_log(qr/\Q$id\E: to=<$who\@v\.test>.*dsn=4\.3\.5, status=deferred \($refused{$who}\)/), "$who is deferred");
}
is(scalar(() = glob "$base/root/* $base/low/* $base/none/*"), 0, 'nothing was written');
($id) = mail('wrong');
ok($ph->wait_log(qr/\Q$id\E: .*dsn=4\.2\.0, status=deferred .*is not owned by recipient/), 'somebody else\'s mailbox');
($id) = mail('hidden');
ok($ph->wait_log(qr/\Q$id\E: .*dsn=[45]\.2\.0, status=(?:deferred|bounced) .*Permission denied/), 'a directory that is not his') or diag $ph->log;
($id) = mail('link');
ok($ph->wait_log(qr/\Q$id\E: .*dsn=5\.2\.0, status=bounced/), 'a symbolic link');
is(Posthorn::slurp("$ph->{tmp}/target"), "untouched\n", 'leads nowhere');

# The spawner and its children go with the worker, and a new one delivers.  (A child that nobody
# needs for a minute ends, which is soon on a machine that stands still: both are needed once more.)
($id) = mail('one', 'two');
ok($ph->wait_log(qr/\Q$id\E: to=<$_\@v\.test>.*status=sent/), "$_ has more mail") or diag $ph->log for qw(one two);
sub children { my ($of) = @_; return grep { Posthorn::slurp("/proc/$_/stat") =~ /\) \S $of / } map { m{(\d+)$} } glob '/proc/[0-9]*' }
my %mine = $ph->processes;
my ($worker) = grep { $mine{$_} =~ /-n virtual/ } keys %mine;
ok($worker, 'a worker');
my @family = children($worker);
is(@family, 1, 'one spawner beside it');
like(Posthorn::slurp("/proc/$family[0]/cmdline"), qr/^spawner: virtual/, 'named so');
my @hands = children($family[0]);
cmp_ok(scalar @hands, '>=', 2, 'and a child for each identity');
my %uids = map { (Posthorn::slurp("/proc/$_/status") =~ /^Uid:\s+(\d+)\s+(\d+)\s+(\d+)/m)[0] => 1 } @hands;
is_deeply([ sort keys %uids ], [ $one, $two ], 'with that identity');
is((Posthorn::slurp("/proc/$worker/status") =~ /^Uid:\s+(\d+)/m)[0] != 0, 1, 'the worker itself is not root');
kill 'KILL', $worker;
ok(Posthorn::wait_for(sub { !grep { -e "/proc/$_" } @family, @hands }), 'kill -9 of the worker ends them all') or diag `ps axf`;
Posthorn::wait_for(sub { ($id) = mail('one'); $ph->wait_log(qr/\Q$id\E: .*status=sent/, 5) }) or diag $ph->log;
ok($ph->log =~ /\Q$id\E: .*status=sent/, 'the next worker delivers');
$ph->stop;
unlike($ph->log, qr/panic|assert/, 'nothing broke');
done_testing();
