#!/usr/bin/perl
# Databases and proxy: in a running system: mail sessions, routing, mailboxes and aliases by
# SQLite and PostgreSQL without a word about proxymap; a database that hangs, dies in the
# middle and comes back, while other mail flows.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(time);
use lib 't/lib';
use Posthorn;
use Database;
use Proxymap;

plan skip_all => 'libsqlite3 was not there' unless -e "$Posthorn::build/plugins/table/sqlite/.libs/table_sqlite.so";
plan skip_all => 'needs Python with sqlite3' if system('python3 -c "import sqlite3" 2>/dev/null');
my $ph = Posthorn->new(max_idle => '1h');
my $tmp = $ph->{tmp};
my $sink = Posthorn::Sink->new;

sub sql { my ($text) = @_; return $ph->run_in($text, 'python3', '-c', 'import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.executescript(sys.stdin.read()); c.commit()', "$tmp/m.db") }
sub cf { my ($type, $name, @lines) = @_; Posthorn::spew("$tmp/$name.cf", map { "$_\n" } @lines); chmod 0644, "$tmp/$name.cf"; return "$type:$tmp/$name.cf" }
sub sqlite { my ($name, $where) = @_; return cf('sqlite', $name, "dbpath = $tmp/m.db", "query = select v from $where") }
sub rcpt { my ($to, $from) = @_; my $c = $ph->smtp; $c->ask('EHLO client.test'); $c->ask('MAIL FROM:<' . ($from // 'a@client.test') . '>'); my ($code, $text) = $c->ask("RCPT TO:<$to>"); $c->quit; return wantarray ? ($code, $text) : $code }
sub sends { my ($to) = @_; return ($ph->smtp->send(from => 'a@client.test', to => [$to], body => "Subject: t\r\n\r\nx\r\n"))[0] }

# ---- SQLite, and files behind proxy: ----
is(sql(<<'S'), '', 'a database');
create table domains (k text, v text); insert into domains values ('lite.test', 'x');
create table boxes (k text, v text); insert into boxes values ('joe@lite.test', 'joe/'), ('@catch.test', 'all/');
create table aliases (k text, v text); insert into aliases values ('team', 'joe@lite.test, ann@example.test');
create table senders (k text, v text); insert into senders values ('bad@client.test', 'REJECT by sqlite'), ('evil.test', 'REJECT whole domain');
S
chmod 0644, "$tmp/m.db";
my %lite = (domains => sqlite(domains => "domains where k = '%s'"), boxes => sqlite(boxes => "boxes where k = '%s'"), aliases => sqlite(aliases => "aliases where k = '%s'"), senders => sqlite(senders => "senders where k = '%s'"));
Posthorn::spew("$tmp/routes", "far.test smtp:[127.0.0.1]:" . $sink->port . "\n");
Posthorn::spew("$tmp/relay", "far.test x\n");
is($ph->run($ph->sbin('postmap'), '-c', $ph->dir, "hash:$tmp/$_"), '', "postmap $_") for qw(routes relay);
chmod 0644, "$tmp/$_.db" for qw(routes relay);
# A table that sees whole addresses only, and nobody would think so of its type.
Posthorn::spew("$tmp/whole", "/^pattern\\.test\$/ REJECT a domain alone\n/^whole\@pattern\\.test\$/ REJECT a whole address\n");
my $boxes = Posthorn::slurp($ph->dir . '/main.cf') =~ /^virtual_mailbox_maps = (.*)$/m ? $1 : die 'no mailboxes';
my $domains = Posthorn::slurp($ph->dir . '/main.cf') =~ /^virtual_mailbox_domains = (.*)$/m ? $1 : die 'no domains';
$ph->set(virtual_mailbox_domains => "$domains $lite{domains}", virtual_mailbox_maps => "$lite{boxes}, $boxes",
    mydestination => 'here.test', alias_maps => $lite{aliases}, local_recipient_maps => '$alias_maps',
    relay_domains => "proxy:hash:$tmp/relay", transport_maps => "proxy:hash:$tmp/routes",
    smtpd_sender_restrictions => "check_sender_access $lite{senders}, check_sender_access proxy:unionmap:{pcre:$tmp/whole}", smtpd_recipient_restrictions => 'reject_unauth_destination', smtpd_relay_restrictions => '', mynetworks => '192.0.2.1');
$ph->start;
is(rcpt('joe@lite.test'), 250, 'a recipient of SQLite');
is((rcpt('nobody@lite.test'))[1], '550 5.1.1 <nobody@lite.test>: Recipient address rejected: User unknown in virtual mailbox table', 'and one who is not there');
is(rcpt('joe+x@lite.test'), 250, 'with an extension') if $ph->cmd('postconf', '-h', 'recipient_delimiter') =~ /\+/;
is(rcpt('x@other.test'), 554, 'a domain that SQLite does not have');
is((rcpt('joe@lite.test', 'bad@client.test'))[1], '554 5.7.1 <bad@client.test>: Sender address rejected: by sqlite', 'an access table');
is((rcpt('joe@lite.test', 'x@sub.evil.test'))[1], '554 5.7.1 <x@sub.evil.test>: Sender address rejected: whole domain', 'whose partial keys are asked for');
like((rcpt('joe@lite.test', 'whole@pattern.test'))[1], qr/^554 .*a whole address/, 'a table behind proxy: that sees whole keys');
is(rcpt('joe@lite.test', 'other@pattern.test'), 250, 'is not asked for parts of them');
is(sends('joe@lite.test'), 250, 'mail for a mailbox of SQLite');
is(scalar $ph->wait_mail('joe', 1), 1, 'is delivered') or diag $ph->log;
is(sends('ann@example.test'), 250, 'mail for a mailbox of another table');
is(scalar $ph->wait_mail('ann', 1), 1, 'is delivered');
is(rcpt('x@far.test'), 250, 'a domain behind proxy:');
is(sends('x@far.test'), 250, 'mail for it');
is(scalar $sink->wait_messages(1), 1, 'goes where a table behind proxy: says') or diag $ph->log;
is(rcpt('team@here.test'), 250, 'an alias of SQLite');
is(rcpt('nobody@here.test'), 550, 'and none');
is(sends('team@here.test'), 250, 'mail for the alias');
is(scalar $ph->wait_mail('joe', 2), 2, 'is forwarded as SQLite says') or diag $ph->log;
is(scalar $ph->wait_mail('ann', 2), 2, 'to each of them');
sql("insert into boxes values ('new\@lite.test', 'new/');");
is(rcpt('new@lite.test'), 250, 'a row that is new counts at once');
# Another file takes the place of the database: seen within a second or two.
$ph->run('cp', "$tmp/m.db", "$tmp/other.db");
$ph->run_in("insert into boxes values ('later\@lite.test', 'later/');", 'python3', '-c', 'import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.executescript(sys.stdin.read()); c.commit()', "$tmp/other.db");
chmod 0644, "$tmp/other.db";
rename "$tmp/other.db", "$tmp/m.db" or die "rename: $!";
ok(Posthorn::wait_for(sub { rcpt('later@lite.test') == 250 }), 'a database that is replaced is opened');
my %p = $ph->processes;
is_deeply([grep { $p{$_} !~ /-n proxymap/ && Posthorn::slurp("/proc/$_/maps") =~ /libsqlite3|libpq/ } keys %p], [], 'no other process has a database library in it');
# The database is locked: a failure, and mail waits.
my $ready = "$tmp/ready";
my $writer = Posthorn::child(sub { exec 'python3', '-c', 'import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute("begin exclusive"); open(sys.argv[2], "w").close(); time.sleep(600)', "$tmp/m.db", $ready });
ok(Posthorn::wait_for(sub { -e $ready }), 'a writer holds the database');
is(rcpt('joe@lite.test'), 451, 'the answer is "later"');
Posthorn::end_child($writer);
ok(Posthorn::wait_for(sub { rcpt('joe@lite.test') == 250 }), 'and then it is free again');
unlike($ph->log, qr/unapproved/, 'nobody asked for what is not served');
like($ph->cmd('postwhy', 'joe\@lite.test'), qr/\Q$lite{boxes}\E/, 'postwhy asks the tables itself');
$ph->stop;

# ---- PostgreSQL ----
SKIP: {
    my $why = -e "$Posthorn::build/plugins/table/pgsql/.libs/table_pgsql.so" ? Database::Postgres->missing : 'libpq was not there';
    skip $why, 1 if $why;
    my ($apart, $certs) = Peer::directory('certs');        # where no table lies: those directories stay readable anyway
    my $has_tls = system("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=db.test -addext subjectAltName=IP:127.0.0.1 -keyout '$certs/key' -out '$certs/cert' 2>/dev/null") == 0;
    if ($has_tls && $> == 0) { chown +(Peer::account()), "$certs/key" }
    my $db = Database::Postgres->new(more => [$has_tls ? ('ssl = on', "ssl_cert_file = '$certs/cert'", "ssl_key_file = '$certs/key'") : ()], sql => [
        q{create role mail login password 'it''s'}, 'create table boxes (k text, v text)', q{insert into boxes values ('pg.test', 'x'), ('joe@pg.test', 'pgjoe/')},
        q{insert into boxes select 'u' || n || '@pg.test', 'u' || n || '/' from generate_series(1, 200) n}, 'grant all on all tables in schema public to mail',
    ])->start;
    my @login = ('hosts = inet:127.0.0.1:' . $db->port, 'user = mail', "password = it's", 'dbname = postgres', 'timeout = 2', 'retry_interval = 1');
    my $pg = cf('pgsql', 'pg', @login, q{query = select v from boxes where k = '%s'});
    # What a key of h...@pg.test asks for takes its time.
    my $hangs = cf('pgsql', 'hangs', (map { s/timeout = 2/timeout = 60/r } @login), q{query = select 'x' from (select case when '%s' like 'h%%' then pg_sleep(600) end) s where '%s' like 'h%%'});
    $ph->set(virtual_mailbox_domains => "$domains $lite{domains} $pg", virtual_mailbox_maps => "$lite{boxes}, $boxes, $pg", smtpd_sender_restrictions => '');
    $ph->start;
    is(rcpt('joe@pg.test'), 250, 'a recipient of PostgreSQL');
    is(rcpt('nobody@pg.test'), 550, 'and one who is not there');
    is(sends('joe@pg.test'), 250, 'mail');
    is(scalar $ph->wait_mail('pgjoe', 1), 1, 'is delivered') or diag $ph->log;

    # Many sessions at once, and all processes are replaced meanwhile.
    my @kids = map { my $k = $_; Posthorn::child(sub { for my $i (1 .. 20) { my $n = ($k * 20 + $i) % 200 + 1; die "u$n" unless rcpt("u$n\@pg.test") == 250; die "v$n" unless rcpt("v$n\@pg.test") == 550 } }) } 1 .. 5;
    is($ph->postfix('reload') && $?, 0, 'reload');
    for my $kid (@kids) { waitpid $kid, 0; delete $Posthorn::live{"pid $kid"}; is($?, 0, 'a client among others gets the right answers') }

    # The server is stopped: everything that needs it waits, the rest does not.
    $db->signal('STOP');
    my $before = time;
    is(rcpt('u1@pg.test'), 451, 'a server that hangs: later');
    cmp_ok(time - $before, '<', 30 * $Posthorn::slow, 'within its time');
    $db->signal('CONT');
    ok(Posthorn::wait_for(sub { rcpt('u1@pg.test') == 250 }, 60), 'it goes on, and so do we') or diag $ph->log;

    # Killed in the middle of a query.
    $ph->set(smtpd_recipient_restrictions => "check_recipient_access $hangs, reject_unauth_destination");
    $ph->restart;
    is(rcpt('joe@pg.test'), 250, 'a question more');
    my $c = $ph->smtp;
    $c->ask('EHLO client.test');
    $c->ask('MAIL FROM:<a@client.test>');
    $c->put("RCPT TO:<h1\@pg.test>\r\n");
    ok(Posthorn::wait_for(sub { $db->is_busy }), 'a query is under way');
    is(rcpt('joe@pg.test'), 250, 'others are served by another process');
    $db->crash;
    is(($c->reply)[0], 451, 'killed in mid-query: later');
    is(rcpt('u2@pg.test'), 451, 'and while it is down');
    $ph->set(smtpd_recipient_restrictions => 'reject_unauth_destination', virtual_mailbox_domains => "$domains $lite{domains} pg.test");
    is($ph->postfix('reload') && $?, 0, 'without the query in front');
    ok(Posthorn::wait_for(sub { rcpt('joe@lite.test') == 250 }), 'mail that needs other tables is taken');
    is(sends('joe@lite.test'), 250, 'all of it');
    my $joes = scalar $ph->wait_mail('joe', 3);
    is($joes, 3, 'and delivered') or diag $ph->log;
    is(rcpt('u3@pg.test'), 451, 'an absent server is never "not found"');
    $db->start;
    ok(Posthorn::wait_for(sub { rcpt('u3@pg.test') == 250 }, 60), 'it is back, and so is its mail') or diag $ph->log;
    is(rcpt('nobody@pg.test'), 550, 'also who is not there');
  SKIP: {
        skip 'needs openssl to make a certificate', 3 unless $has_tls;
        # A certificate that a URI names is read again when a sealed process connects again.
        my $tls = cf('pgsql', 'tls', 'hosts = postgresql://127.0.0.1:' . $db->port . "/?sslmode=verify-full&sslrootcert=$certs/cert", @login[1 .. 5], q{query = select v from boxes where k = '%s'});
        $ph->set(virtual_mailbox_maps => "$lite{boxes}, $boxes, $tls");
        $ph->restart;
        is(rcpt('u4@pg.test'), 250, 'over TLS, with a certificate that a URI names') or diag $ph->log;
        $db->crash;
        is(rcpt('u4@pg.test'), 451, 'the server is down');
        $db->start;
        ok(Posthorn::wait_for(sub { rcpt('u4@pg.test') == 250 }, 60), 'and the certificate is read again') or diag $ph->log;
    }
    $db->stop;
}
unlike($ph->log, qr/panic|assert|it is not built yet/, 'nothing broke');
done_testing;
