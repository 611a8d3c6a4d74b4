#!/usr/bin/perl
# proxymap started as root, with two accounts: it reads files that receivers may not, it
# cannot reach the queue, and what it is not meant to do it cannot; proxywrite owns its files.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use PosthornRoot;
use Posthorn;
use Proxymap;
use Sealed;
use Test::More;

plan skip_all => 'the plugins of t/proxymap are not built as objects, or sanitized programs are not sealed' unless Proxymap::available() && Sealed::available();
plan skip_all => 'libsqlite3 was not there' unless -e "$Posthorn::build/plugins/table/sqlite/.libs/table_sqlite.so";
plan skip_all => 'needs Python with sqlite3' if system('python3 -c "import sqlite3" 2>/dev/null');
PosthornRoot::accounts(postfix => 731, postnet => 732, 'group postdrop' => 733, alice => 2001);
PosthornRoot::private_tree();
my $ph = Posthorn->new(max_idle => '1h', virtual_uid_maps => 'static:2001', virtual_gid_maps => 'static:2001', relay_domains => 'wait.test', transport_maps => 'inline:{wait.test=lmtp:inet:127.0.0.1:1}');
my $tmp = $ph->{tmp};
Proxymap::install($ph);
Sealed::install($ph);

# Files of each kind: name, group, mode.
my $sql = "create table a (k text, v text); insert into a values ('joe\@lite.test', 'joe/'), ('lite.test', 'x'), ('team', 'joe\@lite.test');";
sub table {
    my ($name, $gid, $mode) = @_;
    $ph->run_in($sql, 'python3', '-c', 'import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.executescript(sys.stdin.read()); c.commit()', "$tmp/$name.db");
    Posthorn::spew("$tmp/$name.cf", "dbpath = $tmp/$name.db\nquery = select v from a where k = '%s'\n");
    for my $f ("$tmp/$name.cf", "$tmp/$name.db") { chown 0, $gid, $f; chmod $mode, $f }
    return "sqlite:$tmp/$name.cf";
}
my $secret = table(secret => 731, 0640);
my $network = table(network => 732, 0640);
my $roots = table(roots => 0, 0600);
my ($boxes) = Posthorn::slurp($ph->dir . '/main.cf') =~ /^virtual_mailbox_maps = (.*)$/m;
$ph->set(virtual_mailbox_domains => "example.test $secret", virtual_mailbox_maps => "$secret, $boxes", mydestination => 'here.test', alias_maps => $secret, local_recipient_maps => '$alias_maps',
    my_tables => "$network $roots", proxy_read_maps => 'proxy:act_table:x', address_verify_map => 'proxy:btree:$data_directory/cache',
    postscreen_cache_map => "proxy:btree:$tmp/elsewhere");
is($ph->postfix('set-permissions') && $?, 0, 'set-permissions');
chmod 0700, "$ph->{dir}/mail";
chown 2001, 2001, "$ph->{dir}/mail";
$ph->start;

my $c = $ph->smtp;
$c->ask('EHLO client.test');
$c->ask('MAIL FROM:<a@client.test>');
is(($c->ask('RCPT TO:<joe@lite.test>'))[0], 250, 'a table that mail_owner\'s group may read') or diag $ph->log;
is(($c->ask('RCPT TO:<nobody@lite.test>'))[0], 550, 'is read');
$c->quit;
my %p = $ph->processes;
my ($smtpd) = grep { $p{$_} =~ /-n smtp -t inet/ } keys %p;
is(PosthornRoot::status($smtpd)->{Uid}, join("\t", (732) x 4), 'for a receiver of the network\'s account');
is(PosthornRoot::as('postnet', sub { open my $f, '<', "$tmp/secret.cf" or return "$!"; return 'opened' }), 'Permission denied', 'which cannot read it');
is(($ph->smtp->send(from => 'a@client.test', to => ['joe@lite.test'], body => "Subject: t\r\n\r\nx\r\n"))[0], 250, 'mail');
is(scalar $ph->wait_mail('joe', 1), 1, 'is delivered') or diag $ph->log;
is(($ph->smtp->send(from => 'a@client.test', to => ['team@here.test'], body => "Subject: t\r\n\r\nx\r\n"))[0], 250, 'mail for an alias');
is(scalar $ph->wait_mail('joe', 2), 2, 'is forwarded: local, too, asks for a table that may block') or diag $ph->log;
is(Proxymap::asks($ph, table => $network, key => 'lite.test')->{value}, 'x', 'a table that the network\'s account may read');
my $r = Proxymap::asks($ph, table => $roots, key => 'lite.test');
is($r->{rc}, -1, 'one that root alone may read is a failure');
like($r->{text}, qr/Permission denied/, 'with the cause');
my ($pool) = Proxymap::pids($ph);
my $s = PosthornRoot::status($pool);
is("$s->{Uid} $s->{Gid}" =~ s/\s+/ /gr, join(' ', (732) x 8), 'the pool is of the network\'s account');
is($s->{Groups} =~ s/\s+$//r, '731', 'with the group of mail_owner');

# ---- what a broken table could do in it ----
my ($id) = (Sealed::mail($ph, 'a@b', 'u@wait.test'))[1] =~ /queued as (\w+)/ or die $ph->log;
my %with = Sealed::stage($ph, $id);
for my $row ([exec => '/bin/true', 38], [fork => '', 38], [setuid => '', 38], [ptrace => 'PID', 38], [kill => 'PID', 38], [linger => '', 38], [write => '/etc/passwd', 13], [create => '/etc/posthorn-sealed', 13],
    [connect => 'PORT', 0], [unix => 'QUEUE/net/qmgr', 0], [unix => 'QUEUE/private/qmgr', 13], [unix => 'QUEUE/private/local', 13], [unix => 'QUEUE/public/showq', 13],
    [write => 'DIR/main.cf', 13], [create => 'QUEUE/bounce/X2', 13], [unlink => 'QUEUE/deferred/H/ID', 13], @Sealed::queue, [create => 'DIR/data/X', 13]) {
    my ($act, $arg, $want) = @$row;
    $arg = Sealed::fill($arg, \%with);
    my $a = Proxymap::asks($ph, table => 'proxy:act_table:x', key => "$act=$arg\@act.test", flags => 0);
    is(($a->{value} // '') =~ /said (-?\d+)/ ? $1 : "nothing: $a->{text}", $want, "in the pool: $act $arg");
}
Sealed::unstage($ph, \%with);

# ---- proxywrite ----
my $cache = 'proxy:btree:' . $ph->dir . '/data/cache';
is(Proxymap::asks($ph, do => 'update', flags => 2, table => $cache, key => 'a', value => 'b')->{rc}, 1, 'proxywrite makes and changes a table in data_directory') or diag $ph->log;
is(Proxymap::asks($ph, flags => 2, table => $cache, key => 'a')->{value}, 'b', 'and reads it');
is(join(' ', (stat $ph->dir . '/data/cache.db')[4, 5]), '731 731', 'which is mail_owner\'s');
is(Proxymap::asks($ph, do => 'update', flags => 2, table => "proxy:btree:$tmp/elsewhere", key => 'a', value => 'b')->{rc}, -1, 'elsewhere it cannot');
my ($writer) = Proxymap::pids($ph, 'proxywrite');
$s = PosthornRoot::status($writer);
is("$s->{Uid} $s->{Gid} $s->{Groups}" =~ s/\s+/ /gr =~ s/ $//r, join(' ', (731) x 8), 'its account');
unlike($ph->log, qr/panic|assert/, 'nothing broke');
$ph->stop;
done_testing;
