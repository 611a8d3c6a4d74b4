#!/usr/bin/perl
# The control command: each subcommand with what it says, where, and its status.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Posthorn;
use Time::HiRes qw(time);
use Test::More;

delete $ENV{MAIL_CONFIG};
my $ph = Posthorn->new;
$ph->edit_master(sub { s/^.*plugin: smtpd.*\n//m; s/^.*transport: smtp,.*\n//mg });
my $script = 'postfix/postfix-script';

# Run: status and text; the text must stand in the log too.
sub control {
    my ($status, $text, @args) = @_;
    my $said = $ph->postfix(@args);
    is($? >> 8, $status, "postfix @args: status $status");
    like($said, qr/^\Q$script\E: $text$/m, 'its words') or diag $said;
    like($ph->log, qr/ \Q$script\E\[\d+\]: $text$/m, 'and in the log');
    return $said;
}

control(1, 'the Postfix mail system is not running', 'status');
for my $sub (qw(stop abort drain quick-stop reload)) {
    control(1, 'fatal: the Postfix mail system is not running', $sub);
}
control(0, 'starting the Postfix mail system', 'start');
my ($pid) = control(0, 'the Postfix mail system is running: PID: \d+', 'status') =~ /PID: (\d+)/;
is($pid, $ph->master_pid, 'the pid is that of the pid file');
control(1, 'fatal: the Postfix mail system is already running', 'start');
control(1, 'fatal: the Postfix mail system is already running', 'start-fg');
control(0, 'refreshing the Postfix mail system', 'reload');
$ph->postfix('flush');
is($?, 0, 'flush');
is($ph->postfix('start_msg'), "Start postfix\n", 'start_msg');
is($ph->postfix('stop_msg'), "Stop postfix\n", 'stop_msg');
my $said = $ph->postfix('check');
is($? >> 8, 0, 'check');
like($said, qr{^\Q$script\E: queue_directory \Q@{[$ph->queue]}\E is on \S}m, 'names the filesystem');
Posthorn::spew($ph->queue . '/corrupt/XYZ', 'x');
control(0, 'warning: damaged message: corrupt/XYZ', 'check');
unlink $ph->queue . '/corrupt/XYZ';
control(0, 'stopping the Postfix mail system', 'stop');
ok(Posthorn::wait_for(sub { my %p = $ph->processes; !%p }), 'nothing is left');

# abort does not wait; drain leaves the workers to their work
control(0, 'starting the Postfix mail system', 'start');
control(0, 'aborting the Postfix mail system', 'abort');
ok(Posthorn::wait_for(sub { my %p = $ph->processes; !%p }), 'abort: all end');
$ph->postfix('start');
control(0, 'stopping the Postfix mail system', 'drain');
ok(Posthorn::wait_for(sub { my %p = $ph->processes; !%p }), 'drain: workers end when their master is gone');
$ph->postfix('start');
$ph->postfix('quick-stop');
ok(-e $ph->queue . '/quick-start', 'quick-stop leaves a word for the next start');
$ph->postfix('start');
is($?, 0, 'which comes up');
ok(!-e $ph->queue . '/quick-start', 'and takes the word away');

# logrotate: nothing is lost, everybody writes to the new file
my $log = $ph->dir . '/log/posthorn.log';
$ph->sendmail("Subject: x\n\nbefore\n", 'u@example.test');
$ph->wait_mail('u', 1);
$ph->wait_log(qr/status=sent.*\n.*: removed/);
my $old = Posthorn::slurp($log);
my $writer = Posthorn::child(sub { $ph->sendmail("Subject: $_\n\nbusy\n", 'busy@example.test') for 1 .. 40 });
$ph->wait_mail('busy', 5);
open my $reader, '<', $log or die;            # somebody looks at the log, as people do
my $said_rotate = $ph->postfix('logrotate');
close $reader;
is($? >> 8, 0, 'logrotate, while mail passes');
unlike($said_rotate, qr/still has/, 'nobody writes to the old file any more');
waitpid $writer, 0;
delete $Posthorn::live{"pid $writer"};
is(scalar($ph->wait_mail('busy', 40)), 40, 'all mail passes');
my @zipped = glob "$log.*";
is(scalar @zipped, 1, 'one old file');
like($zipped[0] // '', qr/posthorn\.log\.\d{8}-\d{6}\.gz$/, 'with the date in its name');
my $unzipped = $ph->run('gzip', '-dc', $zipped[0]);
is(substr($unzipped, 0, length $old), $old, 'it holds the old lines');
Posthorn::wait_for(sub { (() = ($unzipped . $ph->log) =~ /to=<busy\@example\.test>.*status=sent/g) >= 40 });
is(scalar(() = ($unzipped . $ph->log) =~ /to=<busy\@example\.test>.*status=sent/g), 40, 'and with the new ones no line is lost');
$ph->sendmail("Subject: x\n\nafter\n", 'u@example.test');
$ph->wait_mail('u', 2);
for my $who (qw(pickup cleanup qmgr virtual)) {
    ok($ph->wait_log(qr{ postfix/\Q$who\E\[\d+\]: }), "$who writes to the new file");
}
unlike($ph->run('gzip', '-dc', $zipped[0]), qr/after/, 'the old one is finished');
my $reload = control(0, 'refreshing the Postfix mail system', 'reload');
ok($ph->wait_log(qr{ postfix/master\[\d+\]: reload}), 'so does the master');
for my $bad (['maillog_file', '', 'maillog_file is empty'], ['maillog_file', '/dev/stdout', '/dev/stdout is not a file'],
             ['maillog_file_compressor', '/nosuch/zip -9', '"/nosuch/zip \S+" failed'], ['maillog_file_rotate_suffix', '/x', 'is no suffix']) {
    my $cf = Posthorn::slurp($ph->dir . '/main.cf');
    $ph->set($bad->[0] => $bad->[1]);
    my $said = $ph->postfix('logrotate');
    is($? >> 8, 1, "logrotate: $bad->[0] = $bad->[1]");
    like($said, qr/fatal: logrotate: .*$bad->[2]/, 'and why') unless $bad->[1] =~ /zip/;
    like($said, qr/fatal: logrotate: .*failed/, 'and why') if $bad->[1] =~ /zip/;
    Posthorn::spew($ph->dir . '/main.cf', $cf);
}
$ph->postfix('stop');

# Command lines
control(1, "fatal: unknown command: 'nosuch'\\. Usage: postfix start \\(or stop, reload, abort, flush, check, status, .*\\)", 'nosuch');
control(1, 'fatal: usage: postfix status \(no arguments\)', 'status', 'extra');
control(1, 'fatal: usage: postfix logrotate \(no arguments\)', 'logrotate', 'extra');
like($ph->run($ph->sbin('postfix'), '-c', 'relative', 'status'), qr/fatal: -c requires absolute pathname/, '-c is absolute');
is($? >> 8, 1, 'status 1');
like($ph->postfix(), qr/fatal: usage: postfix /, 'no subcommand');
like($ph->run($ph->sbin('postfix'), '-c', $ph->dir, '-vD', 'start_msg'), qr/^Start postfix$/m, '-v -D');
my $owner = $ph->cmd('postconf', '-h', 'mail_owner') =~ s/\n//r;
is($ph->postfix('/bin/sh', '-c', 'echo $queue_directory $mail_owner $MAIL_CONFIG; pwd; umask; echo "$*"; exit 7', 'sh', 'a b'),
    join("\n", $ph->queue . " $owner " . $ph->dir, $ph->queue, '0022', 'a b', ''),
    'a program of its own, in our environment');
is($? >> 8, 7, 'with its status');
mkdir "$ph->{tmp}/empty";
{
    my $cf = Posthorn::slurp($ph->dir . '/main.cf');
    $ph->set(daemon_directory => '/nosuch');
    control(1, 'fatal: no Postfix daemon_directory /nosuch!', 'status');
    Posthorn::spew($ph->dir . '/main.cf', $cf . "multi_instance_directories = /nosuch\n");
    control(1, 'fatal: start-fg does not support multi_instance_directories', 'start-fg');
    control(1, 'the Postfix mail system is not running', 'status');
    Posthorn::spew($ph->dir . '/main.cf', $cf);
}
# Several instances: the command that the default main.cf names acts on each.
SKIP: {
    my $default = "$Posthorn::inst/etc/postfix";
    system('mkdir', '-p', $default);
    skip 'needs root, and mounts of its own', 5 if $< || system("unshare -m true 2>/dev/null");
    mkdir "$ph->{tmp}/default";
    my $in = sub {
        my ($cf, @cmd) = @_;
        Posthorn::spew("$ph->{tmp}/default/main.cf", Posthorn::slurp($ph->dir . '/main.cf') . $cf);
        return $ph->run('unshare', '-m', 'sh', '-c', 'mount --bind "$1" "$2" && shift 2 && exec "$@"', 'sh', "$ph->{tmp}/default", $default, @cmd);
    };
    my $many = "multi_instance_directories = /nosuch\nmulti_instance_wrapper = /bin/echo -n wrapped\n";
    is($in->($many, $ph->sbin('postfix'), 'status'), 'wrapped status', 'the wrapper gets the command');
    is($in->($many, $ph->sbin('postfix'), 'set-permissions', 'a=b', 'c d'), 'wrapped set-permissions a=b c d', 'and its arguments');
    like($in->($many, $ph->sbin('postfix'), '-c', $ph->dir, 'status'), qr/is not running/, '-c: that instance only');
    like($in->($many, 'env', 'MAIL_CONFIG=' . $ph->dir, $ph->sbin('postfix'), 'status'), qr/is not running/, 'so with MAIL_CONFIG');
    like($in->("multi_instance_directories = /nosuch\n", $ph->sbin('postfix'), 'status'), qr/fatal: multi-instance support is enabled, but multi_instance_wrapper is not set/, 'no wrapper');
}
SKIP: {
    skip 'only root can become somebody else', 3 if $<;
    chmod 0755, "$ph->{tmp}";
    my $said = $ph->run('/usr/bin/setpriv', '--reuid', 'games', '--regid', 'games', '--clear-groups', $ph->sbin('postfix'), '-c', $ph->dir, 'stop');
    is($? >> 8, 1, 'a user');
    like($said, qr/error: to submit mail, use the Postfix sendmail command$/m, 'is told what he may have meant');
    like($said, qr/fatal: the postfix command is reserved for the superuser$/m, 'and that this is not for him');
}
# Whom qmgr keeps a connection to stops with it, not after the grace of sessions: a
# session in the middle of its mail shows how long that is.
{
    my $stops = Posthorn->new(default_transport => 'smtp:[127.0.0.1]:1', queue_run_delay => '1000s', minimal_backoff_time => '1000s');
    my $took = sub { my $from = time; $stops->stop; return time - $from };
    my ($grace, $best, $n) = (0, 1e9, 0);
    # The one with a session first; then on a busy machine one may be late, but not all.
    do {
        $stops->start;
        my $c = $stops->smtp;
        # Mail that is deferred has qmgr ask bounce.
        my ($id) = ($c->send(from => 'a@client.test', to => ['stop@example.test', 'later@far.test'], body => "Subject: s\r\n\r\nx\r\n"))[1] =~ /queued as (\w+)/;
        $stops->wait_mail('stop', ++$n);
        $stops->wait_log(qr/\Q$id\E: to=<later\@far\.test>.*status=deferred/);
        if ($n == 1) { $c->ask($_) for 'MAIL FROM:<a@client.test>', 'RCPT TO:<stop@example.test>', 'DATA'; $grace = $took->() }
        else { undef $c; my $idle = $took->(); $best = $idle if $idle < $best }
    } while ($n < 2 || ($best > $grace * 2 / 3 && $n < 10));
    cmp_ok($best, '<', $grace * 2 / 3, 'a stop waits for no idle connection between services') or diag "$best, $grace";
}

done_testing();
