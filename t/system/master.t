#!/usr/bin/perl
# The supervisor and its workers: start, second start, status, foreground,
# crash and throttle, rights of the workers, stop.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;

my $ph = Posthorn->new;
$ph->postfix('status');
isnt($?, 0, 'status before the start');
$ph->start;
my $out = $ph->postfix('status');
is($?, 0, 'status while it runs');
like($out, qr/is running: PID: \d+/, 'and says the pid');
$out = $ph->postfix('start');
isnt($?, 0, 'a second start is refused');
like($out, qr/already running/, 'and says why');
is(scalar(keys %{ { $ph->processes } }) >= 2 ? 1 : 0, 1, 'and the first one runs on');

# Every worker: not root, no new rights, sealed.
$ph->smtp->send(from => 'a@b.test', to => ['u@example.test'], body => "Subject: x\r\n\r\nx\r\n");
$ph->wait_mail('u', 1);
my %p = $ph->processes;
my $asan = `nm -D $Posthorn::inst/libexec/posthorn/worker 2>/dev/null` =~ /__asan_init/;
for my $pid (sort { $a <=> $b } grep { $p{$_} =~ m{/worker} } keys %p) {
    my ($name) = $p{$pid} =~ /-n (\S+)/;
    my $status = Posthorn::slurp("/proc/$pid/status") or next;
    unlike($status, qr/^Uid:\s+0\b/m, "$name does not run as root") if $> == 0;
    like($status, qr/^NoNewPrivs:\s+1$/m, "$name has no_new_privs");
    like($status, qr/^Seccomp:\s+2$/m, "$name is under seccomp") unless $asan;
    like($status, qr/^CapEff:\s+0+$/m, "$name has no capability");
}
unlike(Posthorn::slurp('/proc/' . $ph->master_pid . '/maps'), qr/plugins-1/, 'the master has loaded no plugin');

# A worker that is killed comes back; one that cannot start is throttled.
my ($smtpd) = grep { $p{$_} =~ /-n smtp -t inet/ } keys %p;
kill 'KILL', $smtpd;
is(Posthorn::wait_for(sub { my @r = eval { $ph->smtp->send(from => 'a@b.test', to => ['u@example.test'], body => "Subject: y\r\n\r\ny\r\n") }; $r[0] }), 250, 'a killed smtpd is started again');
ok($ph->wait_log(qr/warning: process \S+ \(smtp\) pid $smtpd killed by signal 9/), 'and the log says what happened');
$ph->set(smtpd_recipient_restrictions => 'no_such_restriction');
$ph->postfix('reload');
eval { $ph->smtp(timeout => 2) };
ok($ph->wait_log(qr/warning: smtp: bad command startup -- throttling/), 'a worker that cannot start is throttled');
$ph->set(smtpd_recipient_restrictions => '');
$ph->postfix('reload');
is(Posthorn::wait_for(sub { my @r = eval { $ph->smtp->send(from => 'a@b.test', to => ['u@example.test'], body => "Subject: z\r\n\r\nz\r\n") }; $r[0] }), 250, 'a reload ends the throttling');

# Tasks on demand.
my %q = $ph->processes;
my ($qmgr) = grep { $q{$_} =~ /-n qmgr/ } keys %q;
kill 'USR1', $qmgr;
ok($ph->wait_log(qr/postfix\/qmgr\[$qmgr\]: task .*waits.*postfix\/qmgr\[$qmgr\]: tasks: \d+$/sm), 'SIGUSR1 lists the tasks of a worker');
my $session = $ph->smtp;
$session->ask('EHLO client.test');
$out = $ph->postfix('tasks', 'smtp');
is($?, 0, 'postfix tasks');
like($out, qr/^smtp\[\d+\]\n(?:  task .*\n)*  task smtp \(127\.0\.0\.1\): age [\d.]+ s, waits [\d.]+ s for descriptor \d+ readable\n/m, 'shows a session') or diag $out;
unlike($out, qr/^qmgr/m, 'and no other service');
$out = $ph->postfix('tasks', '--debug');
my ($shown) = $out =~ /^  task smtp \(127\.0\.0\.1\).*\n((?:      \S+\n)+)/m;
like($shown // '', qr/ph_fd_wait.*\n(?:.*\n)*.*smtpd\.so\+0x/, 'with the calls in which it waits') or diag $out;
like($out, qr/^qmgr\[$qmgr\]\n/m, 'and without a name all services');
$session->quit;
kill 'STOP', $qmgr;
$out = $ph->postfix('tasks', 'qmgr');
kill 'CONT', $qmgr;
isnt($?, 0, 'a worker that does not turn');
like($out, qr/qmgr\[$qmgr\] does not answer/, 'is named');
$out = $ph->postfix('tasks', 'nosuch');
isnt($?, 0, 'a service of no name');
like($out, qr/no worker of nosuch/, 'is said');

$ph->stop;
ok(Posthorn::wait_for(sub { my %q = $ph->processes; !%q }), 'stop leaves no process behind');
$out = $ph->postfix('stop');
isnt($?, 0, 'stop when nothing runs says so');

# In the foreground, log to stdout, as in a container.
$ph->set(maillog_file => '/dev/stdout');
my $log = "$ph->{tmp}/stdout";
my $pid = Posthorn::child(sub { open STDOUT, '>', $log; open STDERR, '>&', \*STDOUT; exec $ph->sbin('postfix'), '-c', $ph->dir, 'start-fg' });
ok(Posthorn::wait_for(sub { Posthorn::slurp($log) =~ /daemon started/ }), 'start-fg logs to stdout');
is(Posthorn::wait_for(sub { my @r = eval { $ph->smtp->send(from => 'a@b.test', to => ['fg@example.test'], body => "Subject: f\r\n\r\nf\r\n") }; $r[0] }), 250, 'start-fg takes mail');
$ph->wait_mail('fg', 1);
ok(Posthorn::wait_for(sub { Posthorn::slurp($log) =~ m{postfix/virtual\[\d+\]: \S+: to=<fg\@example\.test>.*status=sent} }), 'and workers log there too') or diag Posthorn::slurp($log);
kill 'TERM', $pid;
waitpid $pid, 0;
is($? & 127, 0, 'SIGTERM ends it in order');
delete $Posthorn::live{"pid $pid"};
ok(Posthorn::wait_for(sub { my %q = $ph->processes; !%q }), 'with all its workers');

# Configurations that do not start.
for my $bad (['main.cf', "mail_owner = root\n", $> == 0 ? qr/mail_owner/ : undef], ['main.cf', "\$broken\n", qr/main\.cf, line \d+/], ['master.yaml', "  - {name: x}\n", qr/master\.yaml:\d+:\d+/]) {
    next unless $bad->[2];
    my $file = $ph->dir . "/$bad->[0]";
    my $good = Posthorn::slurp($file);
    Posthorn::spew($file, $good . $bad->[1]);
    $out = $ph->postfix('start');
    isnt($?, 0, "$bad->[0] with $bad->[1] does not start");
    like($out, $bad->[2], 'and says where');
    Posthorn::spew($file, $good);
}
done_testing();
