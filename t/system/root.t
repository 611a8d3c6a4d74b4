# Started as root with the accounts postfix and postnet and the group postdrop:
# who runs as whom, who may reach what, and an ordinary user's mail.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use PosthornRoot;
use Posthorn;
use Test::More;

PosthornRoot::accounts(postfix => 731, postnet => 732, 'group postdrop' => 733, alice => 2001, bob => 2002);
PosthornRoot::private_tree();
my $sink = Posthorn::Sink->new;
my $ph = Posthorn->new(relayhost => "[127.0.0.1]:" . $sink->port, virtual_uid_maps => 'static:731', virtual_gid_maps => 'static:731',
    myhostname => 'mx.example.test', myorigin => 'example.test');
my $q = $ph->queue;
$ph->edit_master(sub { $_ .= qq(  - {name: policy, plugin: spawn, listen: unix, args: ["user=bob", "argv=/bin/sh", "-c", "read a; echo \$(id -un) heard \$a"]}\n) });

# The instance is the one that set-gid programs accept.
my $conf = "$Posthorn::inst/etc/postfix";
system('mkdir', '-p', $conf);
PosthornRoot::bind_over($ph->dir, $conf);
$ph->{dir} = $conf;
is($ph->postfix('set-permissions') && $?, 0, 'set-permissions');
is(sprintf('%04o %d:%d', (stat "$Posthorn::inst/sbin/$_")[2] & 07777, (stat _)[4, 5]), '2755 0:733', "$_ is set-gid postdrop") for qw(postdrop postqueue postlog);
$ph->start;

# ---- who owns what ----
my %want = (
    '.' => '0755 0', pid => '0755 0', private => '0700 731', net => '0710 731:732', public => '0710 731:733', maildrop => '0730 731:733',
    map { $_ => '0700 731' } qw(pool incoming active deferred hold corrupt bounce defer trace flush),
);
for my $name (sort keys %want) {
    my @st = stat "$q/$name";
    my $is = sprintf '%04o %d', $st[2] & 07777, $st[4];
    $is .= ":$st[5]" if $want{$name} =~ /:/;
    is($is, $want{$name}, "queue/$name");
}
is(sprintf('%04o %d', (stat "$conf/data")[2] & 07777, (stat _)[4]), '0700 731', 'data');
is(sprintf('%04o %d', (stat "$q/pid/master.pid")[2] & 07777, (stat _)[4]), '0600 0', 'pid/master.pid');
is(sprintf('%04o %d', (stat "$conf/data/master.lock")[2] & 07777, (stat _)[4]), '0600 731', 'data/master.lock');
my ($first) = split /\n/, Posthorn::slurp("$q/pid/master.pid");
like($first, qr/^ +\d+$/, 'the first line of master.pid is the pid');
is(length $first, 32, 'right-aligned in 32 columns');
for my $socket (glob("$q/private/* $q/public/* $q/net/*")) {
    my @st = stat $socket;
    is(sprintf('%04o %d:%d', $st[2] & 07777, @st[4, 5]), '0666 731:731', 'socket ' . substr $socket, length $q);
}
is(join(' ', map { s{.*/}{}r } sort glob "$q/net/*"), 'cleanup policy proxymap proxywrite qmgr rewrite', 'what the network account may ask');

# ---- mail through all of it ----
is(($ph->smtp->send(from => 'a@x.test', to => ['u@example.test'], body => "Subject: in\r\n\r\nhi\r\n"))[0], 250, 'mail from the network');
is(scalar(my @in = $ph->wait_mail('u', 1)), 1, 'is delivered to a mailbox');
is(($ph->smtp->send(from => 'a@example.test', to => ['far@y.test'], body => "Subject: out\r\n\r\nhi\r\n"))[0], 250, 'mail to the network');
is(scalar(my @out = $sink->wait_messages(1)), 1, 'is relayed');
my ($said, $rc) = PosthornRoot::run_as('alice', "Subject: from alice\n\nhello\n", "$Posthorn::inst/sbin/sendmail", 'u@example.test');
is($rc, 0, 'an ordinary user submits') or diag $said;
my @mail = $ph->wait_mail('u', 2);
is(scalar @mail, 2, 'his mail arrives') or diag $ph->log;
like(join('', @mail), qr/^From:.*alice\@example\.test/m, 'from his login name');
like($ph->log, qr{postfix/pickup\[\d+\]: \w+: uid=2001 from=<alice(?:\@example\.test)?>}, 'pickup logs his uid');

# ---- who runs as whom ----
my $master = $ph->master_pid;
my %processes = $ph->processes;
my %seen;
$ph->cmd('postqueue', '-p');       # showq
%processes = $ph->processes;
for my $pid (sort { $a <=> $b } keys %processes) {
    my ($name, $type) = $processes{$pid} =~ m{worker -n (\S+) -t (\S+)} or next;
    my $s = PosthornRoot::status($pid);
    next unless $s->{PPid} && $s->{PPid} == $master;
    my $who = $type eq 'inet' || $name =~ /^(?:smtp|relay|lmtp)$/ ? 732 : 731;
    $seen{"$name/$type"} = 1;
    is($s->{Uid}, join("\t", ($who) x 4), "$name/$type: uid");
    is($s->{Gid}, join("\t", ($who) x 4), "$name/$type: gid");
    is($s->{Groups} =~ s/\s+$//r, '', "$name/$type: no other groups");
    is("$s->{CapPrm} $s->{CapEff} $s->{CapInh} $s->{CapAmb}", join(' ', ('0' x 16) x 4), "$name/$type: no capabilities");
    is($s->{NoNewPrivs}, 1, "$name/$type: no new rights");
    SKIP: {
        skip 'sanitized programs are not sealed', 1 if $ENV{POSTHORN_INST} && $ENV{POSTHORN_INST} =~ /asan/;
        is($s->{Seccomp}, 2, "$name/$type: system calls are filtered");
    }
}
ok($seen{$_}, "$_ was looked at") for qw(qmgr/unix showq/unix pickup/unix virtual/unix rewrite/unix smtp/inet smtp/unix);
is(PosthornRoot::status($master)->{Uid}, join("\t", (0) x 4), 'only the master is root');

# ---- what the network account can reach ----
$sink->stop;
is(($ph->smtp->send(from => 'a@example.test', to => ['later@y.test'], body => "Subject: later\r\n\r\nsecret\r\n"))[0], 250, 'mail that has to wait');
my ($file) = @{ Posthorn::wait_for(sub { my @f = glob "$q/deferred/*/*"; @f ? \@f : undef }) || [] };
ok($file, 'is deferred') or diag $ph->log;
my ($slot) = glob "$q/pool/*/*";
Posthorn::spew("$q/maildrop/planted", 'x');
for my $who (qw(postnet alice)) {
    for my $path ($file // "$q/deferred", $slot // "$q/pool", "$q/maildrop/planted", "$q/pid/master.pid", "$conf/data/master.lock") {
        is(PosthornRoot::as($who, sub { open(my $f, '<', $path) ? 'opened' : "$!" }), 'Permission denied', "$who cannot read " . ($path =~ s{^\Q$q\E/|^\Q$conf\E/}{}r));
    }
    for my $dir (qw(pool deferred maildrop private public net)) {
        is(PosthornRoot::as($who, sub { opendir(my $d, "$q/$dir") ? 'opened' : "$!" }), 'Permission denied', "$who cannot list $dir");
        is(PosthornRoot::as($who, sub { open(my $f, '>', "$q/$dir/evil") ? 'made' : "$!" }), 'Permission denied', "$who cannot make a file in $dir");
    }
    for my $socket ("$q/private/qmgr", glob("$q/private/* $q/public/*")) {
        is(PosthornRoot::as($who, sub { ref PosthornRoot::dial($socket) || PosthornRoot::dial($socket) }), 'Permission denied', "$who cannot connect to " . substr $socket, length $q);
    }
}
unlink "$q/maildrop/planted";
for my $pid (grep { $processes{$_} =~ /-n qmgr / } keys %processes) {
    is(PosthornRoot::as('postfix', sub { opendir(my $d, "/proc/$pid/fd") ? 'opened' : "$!" }), 'Permission denied', 'no process of the same account looks into qmgr');
}
sub tell_qmgr {
    my ($who, $socket, @frames) = @_;
    return PosthornRoot::as($who, sub {
        my $s = PosthornRoot::dial("$q/$socket");
        return ref $s ? PosthornRoot::ask($s, map { my @f = @$_; $f[-1] = $$ if $f[0] eq 'op' && $f[1] eq 'hello' && $f[-1] eq 'me'; \@f } @frames) : $s;
    });
}
sub hello { my ($role, $pid) = @_; return [op => 'hello', role => $role, service => 'smtp', pid => $pid // 'me'] }
is(PosthornRoot::as('postnet', sub { my $s = PosthornRoot::dial("$q/net/policy"); return $s unless ref $s; syswrite $s, "a question\n"; my $l = <$s>; return $l // 'nothing' }),
    "bob heard a question\n", 'it may ask a policy server, which runs as its own user');
my ($id) = ($file // '') =~ m{([^/]+)$};
my @list = ([op => 'list']);
like(tell_qmgr('postfix', 'private/qmgr', hello('control'), @list), qr/later\@y\.test/, 'mail_owner may list the queue');
is(tell_qmgr('postnet', 'net/qmgr', hello('control'), @list), '', 'the network account may not speak as control');
is(tell_qmgr('alice', 'net/qmgr', hello('intake'), [op => 'lease', count => 1]), 'Permission denied', 'an ordinary user cannot reach net/');
like(tell_qmgr('postnet', 'net/qmgr', hello('intake'), [op => 'lease', who => 0, count => 1]), qr{settings|lease}, 'it may receive mail');
is(tell_qmgr('postnet', 'net/qmgr', hello('intake', 1), [op => 'lease', who => 0, count => 1]), '', 'but not as another process');
my @lie = ([op => 'outcomes', queue_id => $id, rcpt => 0, status => 'sent', dsn => '2.0.0', text => 'ha']);
like(tell_qmgr('postnet', 'net/qmgr', hello('agent'), @lie), qr/perm/, 'no outcome of a message that was not handed out');
ok($ph->wait_log(qr/\Q$id\E: outcomes from an agent that was not handed the message/), 'and the log says so');
ok(-e $file, 'the message stays');

# ---- the queue as an ordinary user sees it ----
# (The sanitizer's search for leaks cannot look into a set-gid program.)
sub ended_well { my ($text, $status, $name) = @_; return is($text =~ /LeakSanitizer has encountered a fatal/ ? 0 : $status, 0, $name) || diag $text }
($said, $rc) = PosthornRoot::run_as('bob', '', "$Posthorn::inst/sbin/postqueue", '-p');
like($said, qr/later\@y\.test/, 'postqueue lists through its group');
$ph->set(authorized_mailq_users => 'alice', authorized_submit_users => '!bob, static:all', authorized_flush_users => 'root');
$ph->postfix('reload');
($said, $rc) = PosthornRoot::run_as('bob', '', "$Posthorn::inst/sbin/postqueue", '-p');
isnt($rc, 0, 'authorized_mailq_users');
like($said, qr/not allowed to view the mail queue/, 'its words');
($said, $rc) = PosthornRoot::run_as('alice', '', "$Posthorn::inst/sbin/postqueue", '-p');
ended_well($said, $rc, 'and who is listed');
($said, $rc) = PosthornRoot::run_as('alice', '', "$Posthorn::inst/sbin/postqueue", '-f');
like($said, qr/not allowed to flush/, 'authorized_flush_users');
($said, $rc) = PosthornRoot::run_as('bob', "Subject: no\n\nx\n", "$Posthorn::inst/sbin/sendmail", 'u@example.test');
isnt($rc, 0, 'authorized_submit_users');
($said, $rc) = PosthornRoot::run_as('bob', '', "$Posthorn::inst/sbin/postqueue", '-c', '/tmp', '-p');
like($said, qr/unauthorized configuration directory/i, 'another configuration directory is refused');

($said, $rc) = PosthornRoot::run_as('bob', '', "$Posthorn::inst/sbin/postlog", '-c', '/tmp', 'x');
like($said, qr/unauthorized configuration directory/i, 'for postlog too');
($said, $rc) = PosthornRoot::run_as('bob', '', "$Posthorn::inst/sbin/postlog", 'a line');
ended_well($said, $rc, 'postlog of an ordinary user');

# ---- the tools of root while it is down ----
$ph->stop;
like($ph->cmd('postqueue', '-p'), qr/accessing queue directly.*later\@y\.test/s, 'down: root sees the queue');
like($ph->cmd('postsuper', '-h', $id), qr/Placed on hold: 1 message/, 'down: postsuper -h');
my @held = stat "$q/hold/$id";
is("@held[4, 5]", '731 731', 'what it moved is mail_owner\'s') or diag join ' ', glob "$q/hold/*";
like($ph->cmd('postsuper', '-H', $id), qr/Released from hold: 1 message/, 'down: postsuper -H');
symlink '/etc/shadow', "$q/deferred/evil";
system('chown', '-h', 'postfix', "$q/deferred/evil");
$ph->cmd('postsuper', '-s');
is((stat '/etc/shadow')[4], 0, 'a link in the queue leads root nowhere');
unlink "$q/deferred/evil";
($file) = grep { m{/\Q$id\E$} } glob("$q/deferred/*/*"), glob("$q/deferred/*"), glob("$q/incoming/*");
is((stat $file)[4], 731, 'released mail too');
$ph->start;
$master = $ph->master_pid;
ok(Posthorn::wait_for(sub { grep { $_->{queue_id} eq $id } $ph->queued }), 'and it is there when the system is up again');

# ---- killed and started again ----
kill 'KILL', $master;
ok(Posthorn::wait_for(sub { my %p = $ph->processes; !grep { kill 0, $_ } keys %p }, 30), 'all of it ends with the master');
$ph->set(relayhost => '');
delete $ph->{started};
$ph->start;
ok($ph->wait_log(qr/daemon started.*daemon started/s), 'it starts again');
is(($ph->smtp->send(from => 'a@x.test', to => ['v@example.test'], body => "Subject: again\r\n\r\nhi\r\n"))[0], 250, 'mail after the restart');
is(scalar(my @again = $ph->wait_mail('v', 1)), 1, 'arrives');
ok(-e $file || $ph->log =~ /\Q$id\E: removed/, 'what waited is still there');
$ph->stop;
unlike($ph->log, qr/panic|Assertion/, 'nothing broke');
done_testing;
