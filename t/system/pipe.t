#!/usr/bin/perl
# The pipe transport: the command sees the message as flags, macros and eol= say;
# its end is the outcome, for every recipient; a command that outlives its worker
# loses no mail.  As root the commands run as another user.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(time);
use lib 't/lib';
use Posthorn;

my $root = $> == 0;
my ($user, $uid, $gid) = $root ? ('daemon', (getpwnam 'daemon')[2, 3]) : ((getpwuid $>)[0] // $>, $>, $) + 0);
my $who = $root ? 'daemon' : "$uid:$gid";
my $ph = Posthorn->new(virtual_mailbox_domains => '', recipient_delimiter => '+', minimal_backoff_time => '1s', maximal_backoff_time => '2s',
    queue_run_delay => '1s', transport_retry_time => '1s', relay_domains => 'a.test, one.test, big.test, slow.test, code.test, small.test, bad.test, loop.test, die.test, esc.test, other.test, hang.test, jail.test, nojail.test',
    transport_maps => 'inline:{ {a.test=many:next.Hop} {one.test=single:} {big.test=count:} {slow.test=slow:} {code.test=code:} {small.test=small:}'
        . ' {bad.test=bad:} {loop.test=single:} {die.test=die:} {esc.test=esc:} {other.test=other:} {hang.test=hang:} {jail.test=jail:} {nojail.test=nojail:} }',
    single_destination_recipient_limit => 1, slow_time_limit => '1s', export_environment => 'LANG=C MAIL_CONFIG',
    pipe_delivery_status_filter => 'pcre:{ {/^5\.1\.1 user unknown/ 4.1.1 perhaps tomorrow} }');
my $out = "$ph->{tmp}/out";
mkdir $out;
chown $uid, $gid, $out if $root;
my $n = 0;

# Writes arguments, environment, identity and the message where the test finds them.
my $script = "$ph->{tmp}/record";
Posthorn::spew($script, <<"END");
#!/usr/bin/perl
use strict; use warnings;
my \$in = do { local \$/; binmode STDIN; <STDIN> } // '';
my \$file = sprintf '$out/%.6f.%d', (require Time::HiRes, Time::HiRes::time())[1], \$\$;
open my \$o, '>', "\$file.tmp" or die;
binmode \$o;
print \$o join("\\0", scalar(\@ARGV), \@ARGV, "\$< \$( | \$> \$)", join(' ', map { "\$_=\$ENV{\$_}" } sort keys %ENV), `pwd`, \$in);
close \$o;
rename "\$file.tmp", "\$file.msg";
print "stored\\n" if \@ARGV && \$ARGV[0] eq '-v';
END
chmod 0755, $script;

my $yaml = '';
sub service {
    my ($name, @args) = @_;
    $yaml .= "  - {name: $name, transport: pipe, listen: unix, args: [" . join(', ', map { "'$_'" } @args) . "]}\n";
}
service('many', 'flags=FRhu', "user=$who", "argv=$script", '-v', '${recipient}', '$sender', 'x=${nexthop}=${user}=$(extension)', '$size', '$queue_id', '$$', '; touch /tmp/no');
service('single', 'flags=DORXBq', "user=$who", 'null_sender=', 'directory=/tmp', "argv=$script", '$original_recipient', '$recipient', '<$sender>');
service('count', "user=$who", 'argv=/usr/bin/wc', '-c');
service('slow', "user=$who", 'argv=/bin/sh', '-c', "sleep 1000 & echo \$\$! >$out/slow; wait");
service('code', "user=$who", 'argv=/bin/sh', '-c', 'case $$0 in text*) echo 4.7.9 my words; exit 64;; sig*) kill -11 $$$$;; *) exit $$0;; esac', '$user');
service('small', "user=$who", 'size=500', "argv=$script");
service('bad', "user=$who", "argv=$script", '${nobody}');
service('die', "user=$who", 'argv=/bin/sh', '-c', "echo \$\$\$\$ \$\$PPID >$out/die.tmp; mv $out/die.tmp $out/die; cat >$out/whole.tmp && test -e $out/go && mv $out/whole.tmp $out/whole || sleep 1000");
service('hang', "user=$who", 'argv=/bin/sh', '-c', "echo \$\$\$\$ \$\$PPID >$out/hang.tmp; mv $out/hang.tmp $out/hang; test -e $out/go2 || exec sleep 1000; cat >/dev/null");
service('esc', 'flags=.>', "user=$who", 'eol=\r\n', "argv=$script");
# In a jail there is only what stands there: a program that needs nothing.
mkdir "$ph->{tmp}/jail";
mkdir "$ph->{tmp}/jail/in";
Posthorn::spew("$ph->{tmp}/jail.c", qq{#include <stdio.h>\n#include <unistd.h>\nint main(void) { char d[99], t[9999]; size_t n = fread(t, 1, sizeof t, stdin); printf("%s %d %d", getcwd(d, sizeof d), access("/etc/passwd", F_OK), n > 50); return 0; }\n});
my $jail = $root && system("gcc -static -o $ph->{tmp}/jail/prog $ph->{tmp}/jail.c 2>/dev/null") == 0;
service('jail', "user=$who", "chroot=$ph->{tmp}/jail", 'directory=/in', 'argv=/prog');
service('nojail', "user=$who", 'chroot=/nonexistent', "argv=$script");
service('other', 'user=' . ($root ? 'root' : 'daemon'), "argv=$script");
$ph->edit_master(sub { $_ .= $yaml });
$ph->start;

sub stored { my @f = sort glob "$out/*.msg"; return @f }
sub take {
    my ($count) = @_;
    Posthorn::wait_for(sub { stored() >= $count }) or diag $ph->log;
    my @got;
    for my $f (stored()) {
        my ($argc, @rest) = split /\0/, Posthorn::slurp($f), -1;
        push @got, { argv => [ splice @rest, 0, $argc ], id => $rest[0], env => $rest[1], dir => $rest[2], in => $rest[3] };
        unlink $f;
    }
    return @got;
}
sub mail {
    my ($to, $body, $from) = @_;
    my ($code, $text) = $ph->smtp->send(from => $from // 'Sender@From.test', to => $to, body => $body // "Subject: pipe\r\n\r\nhello\r\n");
    is($code, 250, 'accepted') or diag $text;
    return $text =~ /queued as (\S+)/;
}

# --- arguments, macros, flags ---
my ($id) = mail(['Joe+X@A.test', 'ann@a.test', q{"a b;$(id)"@a.test}], "Subject: s\r\n\r\nFrom here\r\n.dot\r\n");
my ($m) = take(1);
is_deeply([ @{ $m->{argv} }[0 .. 3] ], [ '-v', 'joe+x@a.test', 'ann@a.test', 'a b;$(id)@a.test' ], 'one command, an argument for each recipient, folded as u and h say');
is_deeply([ @{ $m->{argv} }[4 .. 7] ], [ 'Sender@From.test', 'x=next.hop=joe=x', 'x=next.hop=ann=', 'x=next.hop=a b;$(id)=' ], 'sender, next hop, user, extension');
is($m->{argv}[8] > 30, 1, 'size');
is_deeply([ @{ $m->{argv} }[9 .. $#{ $m->{argv} }] ], [ $id, '$', '; touch /tmp/no' ], 'queue id, a dollar, and nothing for a shell');
ok(!-e '/tmp/no', 'no shell saw it');
like($m->{in}, qr/\AFrom Sender\@From\.test  \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\nReturn-Path: <Sender\@From\.test>\nReceived: /, 'From_ line and Return-Path, then the headers');
like($m->{in}, qr/\n\nFrom here\n\.dot\n\z/, 'the body is unchanged, with the line ends of this host');
like($m->{id}, $root ? qr/^$uid $gid( $gid)? \| $uid $gid( $gid)?$/ : qr/^$uid /, 'user and group, no other groups');
is($m->{env}, "LANG=C MAIL_CONFIG=$ph->{dir} PATH=/usr/bin:/bin", 'the environment is what is exported');
is($m->{dir}, $ph->queue . "\n", 'it starts in the queue directory');
ok($ph->wait_log(qr/\Q$id\E: to=<joe\+x\@a\.test>|\Q$id\E: to=<Joe\+X\@A\.test>, relay=many, .*dsn=2\.0\.0, status=sent \(delivered via many service \(stored\)\)/), 'the log says so, with its output');
is(() = $ph->log =~ /\Q$id\E: to=.*status=sent/g, 3, 'for each recipient');

($id) = mail(['"q q"@one.test'], "Subject: s\r\n\r\nbody\r\n", '');
($m) = take(1);
is_deeply($m->{argv}, [ '"q q"@one.test', '"q q"@one.test', '<>' ], 'q quotes; an empty null_sender');
like($m->{in}, qr/\AReturn-Path: <>\nX-Original-To: "q q"\@one\.test\nDelivered-To: "q q"\@one\.test\nReceived: /, 'R, O and D');
like($m->{in}, qr/\nbody\n\n\z/, 'B: an empty line at the end');
is($m->{dir}, "/tmp\n", 'directory=');
($id) = mail(['x@loop.test'], "Subject: s\r\nDelivered-To: y\@loop.test\r\nDELIVERED-TO:\r\n X\@Loop.test\r\n\r\nb\r\n");
ok($ph->wait_log(qr/\Q$id\E: to=<x\@loop\.test>, relay=single, .*dsn=5\.4\.6, status=bounced \(mail forwarding loop for x\@loop\.test\)/), 'D finds loops, in any case and folded');
mail(['e@esc.test'], "Subject: s\r\n\r\nFrom x\r\n.y\r\n");
($m) = take(1);
like($m->{in}, qr/\r\n\r\n>From x\r\n\.\.y\r\n\z/, 'eol=, dots, From');

# --- how it ends ---
($id) = mail(['x@big.test'], "Subject: s\r\n\r\n" . ("x" x 70 . "\r\n") x 20000);
my ($size) = $ph->wait_log(qr/\Q$id\E: to=<x\@big\.test>.*status=sent \(delivered via count service \((\d+)\)\)/);
is($size && $size > 71 * 20000 && $size < 71 * 20000 + 1000, 1, 'a message larger than a pipe arrives whole') or diag $size // $ph->log;
my %want = (75 => '4.3.0, status=deferred \(temporary failure\)', 69 => '5.3.0, status=bounced \(service unavailable\)',
    67 => '4.1.1, status=deferred \(perhaps tomorrow\)', 1 => '5.3.0, status=bounced \(Command died with status 1: "/bin/sh"\)',
    text => '4.7.9, status=deferred \(my words \)', sig => '4.3.0, status=deferred \(Command died with signal 11: "/bin/sh"\)', 0 => '2.0.0, status=sent \(delivered via code service\)');
mail(["$_\@code.test"]) for sort keys %want;
ok($ph->wait_log(qr/to=<$_\@code\.test>, relay=code, .*dsn=$want{$_}/), "the end of the command: $_") or diag $ph->log for sort keys %want;
$ph->cmd('postsuper', '-d', 'ALL', 'deferred');
my $began = time;
($id) = mail(['x@slow.test']);
ok($ph->wait_log(qr/\Q$id\E: to=<x\@slow\.test>.*dsn=5\.3\.0, status=bounced \(Command time limit exceeded: "\/bin\/sh"\)/), 'slow_time_limit') or diag $ph->log;
ok(Posthorn::wait_for(sub { !kill 0, Posthorn::slurp("$out/slow") + 0 }), 'and what it started is gone');
($id) = mail(['x@small.test'], "Subject: s\r\n\r\n" . "y" x 600 . "\r\n");
ok($ph->wait_log(qr/\Q$id\E: .*dsn=5\.2\.3, status=bounced \(message too large\)/), 'size=');
($id) = mail(['x@bad.test']);
ok($ph->wait_log(qr/\Q$id\E: .*dsn=4\.3\.5, status=deferred \(mail system configuration error\)/), 'an unknown macro defers');
like($ph->log, qr/warning: .*unknown macro name "nobody"/, 'with a warning');
SKIP: {
    skip 'chroot= needs root and a static program', 2 unless $jail;
    ($id) = mail(['x@jail.test']);
    ok($ph->wait_log(qr{\Q$id\E: .*status=sent \(delivered via jail service \(/in -1 1\)\)}), 'chroot= and directory=') or diag $ph->log;
}
($id) = mail(['x@nojail.test']);
ok($ph->wait_log(qr/\Q$id\E: .*dsn=4\.3\.0, status=deferred \(temporary failure/), 'a root directory that is not there');
($id) = mail(['x@other.test']);
ok($ph->wait_log($root ? qr/user=root: nothing is done with the rights of root/ : qr/user=daemon: .*cannot become user/), 'a user that cannot be, and the log says why');
is(join(" ", map { Posthorn::slurp($_) } stored()), "", "nothing was run");
$ph->cmd('postsuper', '-d', 'ALL');

$ph->sendmail("Subject: probe\n\nx\n", '-bv', '-f', 'Sender@From.test', 'x@a.test');
ok($ph->wait_log(qr/to=<x\@a\.test>, relay=many, .*dsn=2\.0\.0, status=deliverable \(delivers to command: \Q$script\E\)/), 'sendmail -bv') or diag $ph->log;
is(join(" ", map { Posthorn::slurp($_) } stored()), "", "runs nothing");

# --- the worker dies while the command runs ---
my $line = 'z' x 78 . "\r\n";
($id) = mail(['x@die.test'], "Subject: s\r\n\r\n" . $line x 20000);
Posthorn::wait_for(sub { -e "$out/die" }) or diag $ph->log;
my ($command, $spawner) = Posthorn::slurp("$out/die") =~ /(\d+) (\d+)/;
like(Posthorn::slurp("/proc/$spawner/cmdline"), qr/^spawner: die/, 'the spawner is seen in ps');
my ($worker) = Posthorn::slurp("/proc/$spawner/stat") =~ /\) \S (\d+)/;
unlink "$out/die";
Posthorn::spew("$out/go", '');
kill 'KILL', $worker;
ok(Posthorn::wait_for(sub { !-e "/proc/$spawner" && (!-e "/proc/$command" || Posthorn::slurp("/proc/$command/stat") =~ /\) Z/) }), 'kill -9 of the worker: spawner and command are gone') or diag `ps axf`;
ok($ph->wait_log(qr/\Q$id\E: to=<x\@die\.test>.*status=sent \(delivered via die service\)/, 30), 'the message is delivered by the next worker') or diag $ph->log;
my $whole = Posthorn::slurp("$out/whole");
is((() = $whole =~ /^z{78}$/mg), 20000, 'whole');

# --- the spawner dies ---
($id) = mail(['x@hang.test']);
Posthorn::wait_for(sub { -e "$out/hang" }) or diag $ph->log;
($command, $spawner) = Posthorn::slurp("$out/hang") =~ /(\d+) (\d+)/;
kill 'KILL', $spawner;
ok($ph->wait_log(qr/\Q$id\E: to=<x\@hang\.test>.*dsn=4\.3\.0, status=deferred/), 'kill -9 of the spawner: the mail is deferred') or diag $ph->log;
ok(Posthorn::wait_for(sub { !-e "/proc/$command" || Posthorn::slurp("/proc/$command/stat") =~ /\) Z/ }), 'its command is gone');
Posthorn::spew("$out/go2", '');
ok($ph->wait_log(qr/\Q$id\E: to=<x\@hang\.test>.*status=sent \(delivered via hang service\)/, 30), 'a new worker has a new spawner') or diag $ph->log;

$ph->stop;
is(scalar(() = $ph->log =~ /panic|assert|error: fatal: (?!service other)/g), 0, 'nothing broke') or diag $ph->log =~ /(.*(?:panic|assert|fatal).*)/;
done_testing();
