#!/usr/bin/perl
# postlog, and where the log goes: file, its mode and permitted places, syslog.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use IO::Socket::UNIX;
use Posthorn;
use Test::More;

delete @ENV{qw(MAIL_CONFIG MAIL_LOGTAG)};
my $ph = Posthorn->new(myhostname => 'here.example.test');
my $log = $ph->dir . '/log/posthorn.log';

# Run; the lines that came into the log, without time and pid.
sub logged {
    my ($in, @args) = @_;
    my $before = length Posthorn::slurp($log);
    my $said = $ph->run_in($in, $ph->sbin('postlog'), '-c', $ph->dir, @args);
    my $new = substr Posthorn::slurp($log), $before;
    $new =~ s/^\w{3} [ \d]\d \d\d:\d\d:\d\d here //mg;
    $new =~ s/\[\d+\]: /: /g;
    return ($new, $said);
}

for my $case ([['hello', 'big', 'world'], "postfix/postlog: hello big world\n", "postlog: hello big world\n"],
              [['-i', '-v', '-t', 'mine', 'x'], "mine: x\n"], [['-t', 'postfix/my script', 'x'], "postfix/my?script: x\n"], [['-t', "a\nb", 'x'], "a?b: x\n"],
              [['-p', 'info', 'x'], "postfix/postlog: x\n"], [['-p', 'warn', 'x'], "postfix/postlog: warning: x\n"], [['-p', 'warning', 'x'], "postfix/postlog: warning: x\n"],
              [['-p', 'error', 'x'], "postfix/postlog: error: x\n"], [['-p', 'fatal', 'x'], "postfix/postlog: fatal: x\n"], [['-p', 'panic', 'x'], "postfix/postlog: panic: x\n"],
              [["ctrl\x01\x7f\e[m\xff"], "postfix/postlog: ctrl??\x{3f}[m?\n"]) {
    my ($args, $want, $stderr) = @$case;
    my $begin = Time::HiRes::time;
    my ($line, $said) = logged('', @$args);
    my $took = Time::HiRes::time - $begin;
    is($line, $want, "postlog @$args" =~ s/[^ -~]/?/gr);
    is($? >> 8, 0, 'status 0');
    is($said, $stderr, 'on standard error too') if $stderr;
    cmp_ok($took, '>', 0.9, 'with a pause, for scripts that fail in a loop') if "@$args" =~ /fatal|panic/;
}
is((logged("one\ntwo\r\n\nlast"))[0], "postfix/postlog: one\npostfix/postlog: two\npostfix/postlog: \npostfix/postlog: last\n", 'each line of standard input is a record');
my ($long) = logged('x' x 10000 . "\n");
is($long =~ s/[^x]//gr =~ tr/x/x/ > 1900 && length(($long =~ /^(.*)$/m)[0]) < 2100, 1, 'a long line stays within the limit of a record');
{
    local $ENV{MAIL_LOGTAG} = 'postfix/instance';
    like((logged('', 'x'))[0], qr{^postfix/instance/postlog: x$}, 'MAIL_LOGTAG');
    like((logged('', '-t', 'mine', 'x'))[0], qr{^mine: x$}, 'and -t goes before it');
    $ENV{MAIL_LOGTAG} = "a\nb";
    is((logged('', 'x'))[0], "a?b/postlog: x\n", 'its control bytes do not reach the log');
}
for my $bad (['-p', 'nosuch', 'x'], ['-z']) {
    my ($line, $said) = logged('', @$bad);
    is($? >> 8, 1, "postlog @$bad: status 1");
    like($said, qr/postlog: fatal: /, 'and why');
}
like((logged('', '-c', '/nosuch', 'x'))[1], qr{fatal: open /nosuch/main.cf: No such file or directory}, 'no configuration');

# The file: made with the mode that is asked for, only where it is permitted.
for my $case (['0600', 0600], ['0640', 0640], ['00644', 0644], ['644', 0644]) {
    my ($value, $mode) = @$case;
    unlink $log;
    $ph->set(maillog_file_permissions => $value);
    my $old = umask 077;
    logged('', 'x');
    umask $old;
    is((stat $log)[2] & 07777, $mode, "maillog_file_permissions = $value");
}
my $cf = Posthorn::slurp($ph->dir . '/main.cf');
for my $bad ('0666', 'rw', '') {
    next if $bad eq '';
    $ph->set(maillog_file_permissions => $bad);
    like((logged('', 'x'))[1], qr/fatal: maillog_file_permissions: use 0600, 0640 or 0644/, "maillog_file_permissions = $bad");
    Posthorn::spew($ph->dir . '/main.cf', $cf);
}
$ph->set(maillog_file_prefixes => '/nosuch, /dev/stdout');
like((logged('', 'x'))[1], qr/fatal: maillog_file value '\Q$log\E' does not match any prefix in maillog_file_prefixes/, 'a file elsewhere is refused');
like($ph->postfix('start'), qr/fatal: .*does not match any prefix/, 'by the mail system too');
isnt($?, 0, 'which does not start');
Posthorn::spew($ph->dir . '/main.cf', $cf);
$ph->set(maillog_file => '/dev/stdout');
is($ph->run('/bin/sh', '-c', $ph->sbin('postlog') . ' -c ' . $ph->dir . ' -t tag x 2>/dev/null') =~ s/^\w{3} [ \d]\d [\d:]{8} here tag\[\d+\]/T/r, "T: x\n", '/dev/stdout');
Posthorn::spew($ph->dir . '/main.cf', $cf);

SKIP: {
    skip 'only root can become somebody else', 2 if $<;
    chmod 0755, "$ph->{tmp}";
    my $before = Posthorn::slurp($log);
    is($ph->run('/usr/bin/setpriv', '--reuid', 'games', '--regid', 'games', '--clear-groups', $ph->sbin('postlog'), '-c', $ph->dir, 'not for the file'), "postlog: not for the file\n",
        'who may not write the file uses syslog');
    is(Posthorn::slurp($log), $before, 'and the file has nothing of it');
}
done_testing();
