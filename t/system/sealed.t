#!/usr/bin/perl
# Plugins of a running system attempt what is forbidden, and are refused, and what
# is allowed works (t/seal).  One uid here: what only files' owners forbid is in
# sealed_root.t.  Then every service of the system is looked at in /proc.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;
use Sealed;

plan skip_all => 'the plugins of t/seal are not built as objects, or sanitized programs are not sealed' unless Sealed::available();
diag 'Landlock ' . (Sealed::landlock() ? 'ABI ' . Sealed::landlock() : 'is not available on this kernel: files are guarded by their owners only');
my $ph = Posthorn->new(relay_domains => 'act.test, wait.test', transport_maps => 'inline:{ {act.test=acttransport:} {wait.test=lmtp:inet:127.0.0.1:1} }',
    smtpd_sender_restrictions => 'check_sender_access act_table:x', max_idle => '1h');
Sealed::install($ph);
$ph->start;
my ($id) = (Sealed::mail($ph, 'a@b', 'u@wait.test'))[1] =~ /queued as (\w+)/ or die $ph->log;
my %with = Sealed::stage($ph, $id);

for my $service (qw(act_none act_net act_bounce)) {
    Sealed::rows($ph, $service, \%with, @Sealed::never, @Sealed::always);
    is(Sealed::ask($ph, $service, 'nonsense'), -1, "$service: an unknown act is told from a done one");
}
# What a descriptor allows, and the one beside it does not.
Sealed::rows($ph, 'act_none', \%with, [connect => 'PORT', 13, 4], [bind => 'FREE', 13, 4], [create => 'QUEUE/bounce/X1', 13, 1]);
Sealed::rows($ph, 'act_net', \%with, [connect => 'PORT', 0], [bind => '0', 0], [bind => 'FREE', 13, 4], [create => 'QUEUE/bounce/X2', 13, 1]);
Sealed::rows($ph, 'act_bounce', \%with, [connect => 'PORT', 13, 4], [create => 'QUEUE/bounce/X3', 0], [rename => 'QUEUE/bounce/X3', 0], [unlink => 'QUEUE/bounce/X3.x', 0],
    [list => 'QUEUE/maildrop', 0], [create => 'QUEUE/defer/X4', 0], [unlink => 'QUEUE/defer/X4', 0]);
Sealed::rows($ph, 'act_none', \%with, [unix => 'QUEUE/private/bounce', 0]);
diag 'with one uid a sealed process can connect to any socket of the system (core/master/README.md); sealed_root.t has two accounts';

# In a transport, in the words of its delivery; in a table, in smtpd.
for my $row ([exec => 'bin', 38], [fork => 'x', 38], [setuid => 'x', 38], [ptrace => $with{PID}, 38], [mount => 'x', 38], [io_uring => 'x', 38], [connect => $with{PORT}, 0], [thread => 'x', 0], [udp => 'x', 0]) {
    my ($act, $arg, $want) = @$row;
    my ($code, $text) = Sealed::mail($ph, 'a@b', "$act=$arg\@act.test");
    is($code, 250, "transport: $act is asked for") or diag $text;
    my ($said) = $ph->wait_log(qr/to=<\Q$act=$arg\E\@act\.test>.*status=sent \(said (-?\d+)\)/, 20);
    Sealed::refused($said // 'nothing', "transport: $act", $want);
    ($code, $text) = Sealed::mail($ph, "$act=$arg\@act.test", 'u@example.test');
    Sealed::refused($text =~ /said (-?\d+)/ ? $1 : "nothing: $text", "table in smtpd: $act", $want);
}

# ---- who else there is ----
Sealed::each_service($ph, sub {
    my ($name, $s) = @_;
    my $uid = $> == 0 ? getpwnam('nobody') : $>;
    is($s->{Uid}, join("\t", ($uid) x 4), "$name: uid");
});
ok(kill(0, $ph->master_pid), 'the master heard the babble, and lives');
is((Sealed::mail($ph, 'a@b', 'u@example.test'))[0], 250, 'mail is accepted');
is(scalar $ph->wait_mail('u', 1), 1, 'and delivered');
Sealed::unstage($ph, \%with);
$ph->stop;
done_testing;
