#!/usr/bin/perl
# sqlite tables: questions, answers, domains, limits; keys that try to be SQL; and
# whatever is wrong with the database is a failure and never "not found".
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;

plan skip_all => 'libsqlite3 was not there' unless -e "$Posthorn::build/plugins/table/sqlite/.libs/table_sqlite.so";
plan skip_all => 'needs Python with sqlite3' if system('python3 -c "import sqlite3" 2>/dev/null');
my $ph = Posthorn->new;
my $tmp = $ph->{tmp};
my $db = "$tmp/m.db";

sub sql { my ($file, $text) = @_; return $ph->run_in($text, 'python3', '-c', 'import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.executescript(sys.stdin.read()); c.commit()', $file) }
sub cf { my ($name, @lines) = @_; Posthorn::spew("$tmp/$name.cf", map { "$_\n" } @lines); return "sqlite:$tmp/$name.cf" }
my $empty = 0;                     # warnings of empty values
sub query { my ($table, $key) = @_; my $out = $ph->cmd('postmap', '-q', $key, $table); $empty += $out =~ s/^postmap: warning: table "\Q$table\E": empty lookup result for: "\S+" -- ignored\n//mg; chomp $out; return $out }

is(sql($db, <<'S'), '', 'a database');
create table a (k text, v text, n integer);
insert into a values ('joe@x.test', 'joe', 1), ('two@x.test', 'one', 2), ('two@x.test', 'two', 3), ('null@x.test', null, 4), ('empty@x.test', '', 5), ('bare', 'bare value', 6),
    ('o''neil@x.test', 'irish', 7), ('back\slash@x.test', 'bs', 8), ('per%cent@x.test', 'pct', 9), ('"q"@x.test', 'quoted', 10), ('mixed@x.test', 'u@v.test', 11), ('mixed@x.test', '', 12),
    ('mixed@x.test', 'plain', 13), ('semi;colon@x.test', 'semi', 14), ('x.test', 'domain', 15), ('dash--@x.test', 'dash', 16);
S
my $plain = cf('plain', "dbpath = $db", '# a comment', "query = select v from a", "  where k = '%s'", '    order by n');
for my $row (['joe@x.test', 'joe'], ['JOE@X.TEST', 'joe', 'keys are folded'], ['two@x.test', 'one,two', 'several rows'], ['null@x.test', '', 'NULL is no value'], ['empty@x.test', '', 'an empty one neither'],
    ['bare', 'bare value'], ['none@x.test', ''], ["o'neil\@x.test", 'irish', 'a quote'], ['back\slash@x.test', 'bs', 'a backslash'], ['per%cent@x.test', 'pct', 'a percent sign'], ['"q"@x.test', 'quoted', 'double quotes'],
    ['mixed@x.test', 'u@v.test,plain', 'empty ones are passed over'], ['semi;colon@x.test', 'semi', 'a semicolon'], ['dash--@x.test', 'dash', 'dashes'],
    ["' or '1'='1", '', 'SQL in a key'], ["x' union select v from a --", '', 'more of it'], ["'; drop table a; --", '', 'and worse'], ["\\' or 1=1 --", '', 'an escaped quote'], ["''", '', 'two quotes'], ["'", '', 'one quote']) {
    $empty = 0;
    is(query($plain, $row->[0]), $row->[1], $row->[2] // $row->[0]);
    is($? >> 8, $row->[1] eq '' ? 1 : 0, '  and the exit status');
    is($empty, $row->[0] =~ /^(empty|mixed)/ ? 1 : 0, '  what is empty is said');
}
is(query($plain, 'joe@x.test'), 'joe', 'all is still there');

# Letters of questions and answers.
my %q = (
    u => ["select '%u'", ['joe@x.test' => 'joe'], ['bare' => 'bare'], ['@x.test' => '']],
    d => ["select '%d'", ['joe@x.test' => 'x.test'], ['bare' => ''], ['a@b@c.test' => 'c.test']],
    labels => ["select '%1/%2/%3'", ['j@a.b.c' => 'c/b/a'], ['j@b.c' => ''], ['bare' => '']],
    percent => ["select '100%%'", ['x' => '100%']],
    capitals => ["select '%S %U %D'", ['j@x.test' => 'j@x.test j x.test']],
    wild => ["select v from a where k like '%%%d' order by n limit 1", ['j@x.test' => 'joe']],
    double => ['select "%s"', ['a' => 'a'], ['a" || v || "' => ''], ['a\\' => '']],
    bare => ['select v from a where n = %s', ['1' => 'joe'], ['1 or 1=1' => ''], ['1--' => ''], ['(select 1)' => ''], ['n' => 'joe,one,two,bare value,irish,bs,pct,quoted,u@v.test,plain,semi,domain,dash']],
    comment => [q{select v /* it's */ from a where n = %s}, ['1' => 'joe'], ['1 or 1=1' => '']],
    bracket => [q{select v as [it's] from a where n = %s}, ['1' => 'joe'], ['1 or 1=1' => '']],
    backslash => [q{select v from a where '\\' = '\\' and k = '%s'}, ['joe@x.test' => 'joe'], [q{x' or 1=1 --} => '']],
    two => ["select '%s''s', 'second column'", ['joe' => "joe's"]],
);
for my $name (sort keys %q) {
    my ($sql, @rows) = @{ $q{$name} };
    my $t = cf($name, "dbpath = $db", "query = $sql");
    is(query($t, $_->[0]), $_->[1], "$sql: $_->[0]") for @rows;
}
my %f = (
    'smtp:[%s]' => ['two@x.test', 'smtp:[one],smtp:[two]'], '%u' => ['mixed@x.test', 'u,plain'], '%d' => ['mixed@x.test', 'v.test'], '%S=%s' => ['joe@x.test', 'joe@x.test=joe'],
    '%U at %D: %s' => ['joe@x.test', 'joe at x.test: joe'], '%2.%1' => ['joe@x.test', 'x.test'], '%%' => ['joe@x.test', '%'], '%D' => ['bare', ''],
);
is(query(cf('format', "dbpath = $db", "query = select v from a where k = '%s' order by n", "result_format = $_"), $f{$_}[0]), $f{$_}[1], "result_format $_") for sort keys %f;
my $list = cf('list', "dbpath = $db", "query = select v from a where k = '%s' or 'x' = '%u'", 'domain = x.test, y.test');
is(query($list, 'joe@x.test'), 'joe', 'a domain of the list');
is(query($list, $_), '', "not of it: $_") for 'bare', 'x.test', '@x.test', 'x@z.test', 'joe@sub.x.test';
$list = cf('nodb', 'dbpath = /nonexistent/db', "query = select 1", 'domain = x.test');
like(query($list, 'x@x.test'), qr{fatal: .*nonexistent/db: No such file}, 'a database that is not there is a failure');
like(query(cf('limit', "dbpath = $db", "query = select v from a where k = '%s'", 'expansion_limit = 1'), 'two@x.test'), qr/query error: .*more than 1 values: expansion_limit/, 'more values than expansion_limit');
is(query(cf('limit', "dbpath = $db", "query = select v from a where k = '%s'", 'expansion_limit = 2'), 'two@x.test'), 'one,two', 'as many');
is(query(cf('old', "dbpath = $db", 'table = a', 'select_field = v', 'where_field = k', 'additional_conditions = and n > 2'), 'two@x.test'), 'two', 'the settings of older days');
$ph->set(oldway_dbpath => $db, oldway_query => "select v from a where k = '%s'");
is(query('sqlite:oldway', 'joe@x.test'), 'joe', 'settings in main.cf');

# What is wrong is said, and is a failure.
my %bad = (
    'query = select v from a' => 'dbpath is not set', "dbpath = $db" => 'query is not set', "dbpath = $db\nquery = select '%x'" => 'query: "%x" is none of', "dbpath = $db\nquery = x %" => 'is none of',
    "dbpath = $db\nquery = selct v" => 'syntax error', "dbpath = $db\nquery = select v from nosuch" => 'no such table', "dbpath = $tmp/plain.cf\nquery = select v from a" => 'file is not a database',
    "dbpath = $db\nquery = select 1\nexpansion_limit = x" => 'expansion_limit: "x" is no number', "nonsense" => 'line 1: expected name = value: "nonsense"', "{ query = x }" => 'line 1: expected name = value', "dbpath = $db\nquery = select 1\nresult_format =" => 'bad string length 0 < 1: result_format = ', "dbpath = $db\nquery = select 1\nresult_format = %q" => 'result_format: "%q" is none of',
    "dbpath = $db\nquery = delete from a" => 'readonly database', "dbpath = $db\nquery = -- nothing" => 'the query is empty',
);
for my $text (sort keys %bad) {
    like(query(cf('bad', $text), 'x'), qr/^postmap: fatal: .*\Q$bad{$text}\E/m, $text =~ s/\n/; /gr);
    is($? >> 8, 1, '  and exits with 1');
}
like(query("sqlite:$tmp/none.cf", 'x'), qr{fatal: .*none.cf: No such file}, 'no such file');

# Somebody writes: readers wait a moment, and then it is a failure.
my $ready = "$tmp/ready";
my $writer = Posthorn::child(sub { exec 'python3', '-c', 'import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute("begin exclusive"); open(sys.argv[2], "w").close(); time.sleep(600)', $db, $ready });
ok(Posthorn::wait_for(sub { -e $ready }), 'a writer holds the database');
like(query($plain, 'joe@x.test'), qr/query error: .*database is locked/, 'it is locked: a failure');
Posthorn::end_child($writer);
is(query($plain, 'joe@x.test'), 'joe', 'and free again');

# 10,000 look-ups in one go.
my $out = $ph->run_in(join('', map { $_ % 2 ? "joe\@x.test\n" : "nobody$_\@x.test\n" } 1 .. 10_000), $ph->sbin('postmap'), '-c', $ph->dir, '-q', '-', $plain);
is(scalar(() = $out =~ /^joe\@x\.test\tjoe$/mg), 5000, '10,000 look-ups');
done_testing();
