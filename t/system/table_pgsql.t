#!/usr/bin/perl
# pgsql tables against Debian's PostgreSQL: questions, answers, encodings; keys that
# try to be SQL; hosts; a server that is down, killed, hung, that refuses.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;
use Database;

my $so = "$Posthorn::build/plugins/table/pgsql/.libs/table_pgsql.so";
plan skip_all => 'libpq was not there' unless -e $so;
plan skip_all => $_ for grep { defined } Database::Postgres->missing;
my $db = Database::Postgres->new(sql => [
    q{create role mail login password 'it''s'}, q{create table a (k text, v text, w text, n serial)},
    Database::insert_rows(sub { "convert_from('\\x" . unpack('H*', $_[0]) . "', 'UTF8')" }),
    q{insert into a (k, v, w) values ('two@x.test', 'one', null), ('two@x.test', 'two', null), ('null@x.test', null, null), ('empty@x.test', '', ''), ('cols@x.test', 'left', 'right'), ('cols@x.test', '', 'alone')},
    q{create sequence once}, q{grant all on all tables in schema public to mail}, q{grant all on all sequences in schema public to mail},
    q{create function twice(t text) returns setof text language sql as $$ select v from a where k = t union all select v from a where k = t $$},
    # Ends its own session, the first time only: a sequence is not rolled back.
    q{create function dies_once(t text) returns text language sql as $$ select case when nextval('once') = 1 then pg_terminate_backend(pg_backend_pid(), 2000)::text else t end $$},
])->start;

my @login = ('user = mail', "password = it's", 'dbname = postgres', 'timeout = 20');
my @hasty = (@login[0 .. 2], 'timeout = 1');
my $unix = 'hosts = unix:' . $db->socket;
my $inet = 'hosts = inet:127.0.0.1:' . $db->port;
my $ask = Database::Asks->new('pgsql');
my $tmp = $ask->{ph}{tmp};
sub file { return $ask->file(map { "$_\n" } @_) }
sub cf { return file($unix, @login, @_) }
sub query { return $ask->query(@_) }

# ---- questions and answers ----
my $select = q{query = select v from a where k = '%s' order by n};
my $plain = cf($select);
my %form = (
    "'%s'" => $plain, "E'%s'" => cf(q{query = select v from a where k = E'%s' order by n}), 'over TCP' => file($inet, @login, $select),
    'by URI' => file('hosts = postgresql://mail:it%27s@127.0.0.1:' . $db->port . '/postgres?sslmode=disable', $select),
    'by URI, which leaves out what is set' => file('hosts = {postgresql://127.0.0.1:' . $db->port . ',127.0.0.1:1}', @login, $select),
    'a directory' => file("hosts = postgresql:///?host=$db->{dir}&port=" . $db->port, @login, $select),
    'backslashes escape' => file("hosts = postgresql:///?host=$db->{dir}&port=" . $db->port . '&options=-c%20standard_conforming_strings%3Doff%20-c%20backslash_quote%3Don', @login, $select),
    'a comment with an apostrophe' => cf(q{query = select v /* it's */ from a where k = '%s' order by n}),
);
is(query($form{$_}, Database::all_keys()), Database::all_rows(), "$_: all answers, and no key is SQL") for sort keys %form;
is(query($plain, 'JOE@X.Test'), "JOE\@X.Test\tjoe", 'keys are folded');
is(query(cf("query = select v from a where k = $_"), grep { /[^\w.]/ } Database::all_keys()), '', "bare and between dollars ($_) no address is asked for") for '%s || k', '$$%s$$ || v';
is(query(cf(q{query = select v from a where k = $$%s$$}), 'joe@x.test', 'bare', '$$ or 1=1 --'), "bare\tbare value", 'but a word is');
is(query(cf(q{query = select "%s" from a where k = 'bare'}), 'v', 'v" || k || "'), "v\tbare value", 'the name of a column');
my $columns = cf(q{query = select v, w from a where k = '%s' order by n});
is(query($columns, 'cols@x.test', 'joe@x.test'), qq{postmap: warning: table "$columns": empty lookup result for: "cols\@x.test" -- ignored\ncols\@x.test\tleft,right,alone\njoe\@x.test\tjoe}, 'several columns: an empty value is said, NULL is none');
is(query(file($unix, @login, 'encoding = LATIN1', $select), "caf\xe9\@x.test"), "caf\xe9\@x.test\tth\xe9", 'encoding');
is(query(cf('select_function = twice'), 'two@x.test'), "two\@x.test\tone,two,one,two", 'select_function');
is(query(cf('table = a', 'select_field = v', 'where_field = k', "additional_conditions = and v <> 'one'"), 'two@x.test'), "two\@x.test\ttwo", 'the settings of older days');
is(query(cf($select, 'domain = x.test', 'result_format = <%s> of %u'), 'bare', 'two@x.test'), "two\@x.test\t<one> of one,<two> of two", 'domain, result_format');
like(query(cf($select, 'expansion_limit = 1'), 'two@x.test'), qr/more than 1 values: expansion_limit/, 'expansion_limit');
$ask->{ph}->set(oldway_hosts => 'unix:' . $db->socket, oldway_user => 'mail', oldway_password => "it's", oldway_dbname => 'postgres', oldway_query => "select v from a where k = '%s'");
is(query('pgsql:oldway', 'bare'), "bare\tbare value", 'settings in main.cf');

# ---- what is wrong is said, and is a failure ----
$ask->is_fatal(
    [cf('query = selct v'), 'syntax error'], [cf("query = select v from nosuch where k = '%s'"), 'relation "nosuch" does not exist'], [cf('query = -- nothing'), 'the query is empty'],
    [cf('query = set statement_timeout = 0'), 'gives no rows'], [cf('query = copy a to stdout'), 'gives no rows'], [cf("query = select v from a; select v from a"), 'cannot insert multiple commands'],
    [cf("query = select 1/0"), 'division by zero'], [file($unix, 'user = mail', 'password = wrong', 'dbname = postgres', $select), 'password authentication failed'],
    [file($unix, 'user = mail', 'dbname = postgres', $select), 'no password'], [file($unix, 'user = mail', "password = it's", 'dbname = nosuch', $select), 'database "nosuch" does not exist'],
    [cf($select, 'encoding = nosuch'), 'client_encoding'], [file("hosts = 127.0.0.1:1", @login, $select), 'Connection refused'], [file('hosts = unix:/nonexistent', @login, $select), 'No such file'],
    [cf($select, 'dbname ='), 'dbname is not set', 1], [file("hosts = 127.0.0.1:x", @login, $select), 'hosts: "127.0.0.1:x" is not', 1], [file('hosts = unix:x', @login, $select), 'begins with /', 1],
    [file('hosts = postgresql://[::1', $select), 'hosts: ', 1], [cf(), 'query is not set', 1], [cf("query = '%x'"), 'query: "%x"', 1], [cf($select, 'timeout = 0'), 'timeout: "0"', 1],
);
is(query($plain, Database::all_keys()), Database::all_rows(), 'nothing of that changed the table');

# ---- connections ----
my $end_all = cf("query = select count(pg_terminate_backend(pid, 2000)) from pg_stat_activity where usename = 'mail' and pid <> pg_backend_pid()");
my $dies_once = cf("query = select dies_once('%s')");
is($ask->script(<<"T"), '', 'a kept connection that was ended meanwhile is made anew, once');
open $end_all
comes x -- 0
open $plain
found bare -- bare value
swap
found x -- 1
swap
found bare -- bare value
none nobody
open @{[cf("query = select pg_terminate_backend(pg_backend_pid(), 2000) from a where k = '%s'")]}
none nobody
fails bare -- terminating connection
none nobody
open $dies_once
fails x -- terminating connection
found again -- again
T
is($ask->script(<<"T"), '', 'it ends in mid-query, too');
open @{[cf("query = select case '%s' when 'reset' then setval('once', 1, false)::text else dies_once('%s') end")]}
found reset -- 1
found y -- y
T
$ask->sets_aside(port => $db->port, gone => "$tmp/gone/.s.PGSQL.1", silent => "$tmp/.s.PGSQL.7", login => \@login, hasty => \@hasty, query => $select, refused => 'Connection refused', unreached => 'connection to server');

# ---- hung, killed, down, back ----
my $endless = q{query = select v from a, pg_sleep(600) where k = '%s'};
$ask->outlives(db => $db, unix => $unix, inet => $inet, login => \@login, hasty => \@hasty, query => $select, endless => $endless, busy => sub { $db->is_busy }, down => '(?:Connection refused|No such file)', down_inet => 'Connection refused');
$db->stop;
done_testing();
