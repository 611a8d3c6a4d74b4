#!/usr/bin/perl
# mysql tables against Debian's MariaDB: questions, answers, character sets, modes;
# keys that try to be SQL; TLS; hosts; a server that is down, killed, hung, that refuses.
use strict;
use warnings;
use IO::Socket::INET;
use Test::More;
use lib 't/lib';
use Posthorn;
use Database;

plan skip_all => 'libmariadb was not there' unless -e "$Posthorn::build/plugins/table/mysql/.libs/table_mysql.so";
plan skip_all => $_ for grep { defined } Database::MariaDB->missing;
my $ask = Database::Asks->new('mysql');
my $tmp = $ask->{ph}{tmp};
my $has_tls = system("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=db.test -addext subjectAltName=IP:127.0.0.1 -keyout '$tmp/key' -out '$tmp/cert' 2>/dev/null") == 0;
chmod 0644, "$tmp/key";
my $db = Database::MariaDB->new(
    more => $has_tls ? ["--ssl-cert=$tmp/cert", "--ssl-key=$tmp/key"] : ['--skip-ssl'],
    sql => [
        'create table a (k varchar(200), v varchar(200), w varchar(200), n int auto_increment primary key) character set utf8mb4 collate utf8mb4_bin',
        Database::insert_rows(sub { '0x' . unpack('H*', $_[0]) }),
        q{insert into a (k, v, w) values ('two@x.test', 'one', null), ('two@x.test', 'two', null), ('null@x.test', null, null), ('empty@x.test', '', ''), ('cols@x.test', 'left', 'right'), ('cols@x.test', '', 'alone')},
        'create sequence once',
        'create definer = mail procedure one_set(t text) select v from a where k = t order by n', 'create definer = mail procedure no_set(t text) set @x = t', 'create definer = mail procedure two_sets(t text) begin select v from a; select v from a; end',
        # Ends its own session every other time.
        'create definer = mail procedure dies_once(t text) begin if nextval(once) % 2 = 1 then kill connection_id(); end if; select t; end',
        'create definer = mail procedure dies() begin kill connection_id(); select 1; end',
        'create definer = mail procedure end_all() begin declare n int default 0; for r in (select id from information_schema.processlist where user = \'mail\' and id <> connection_id()) do kill r.id; set n = n + 1; end for; select n; end',
    ],
)->start;

my @login = ('user = mail', "password = it's", 'dbname = mail', 'timeout = 20');
my @hasty = (@login[0 .. 2], 'timeout = 1');
my $unix = 'hosts = unix:' . $db->socket;
my $inet = 'hosts = inet:127.0.0.1:' . $db->port;
sub file { return $ask->file(map { "$_\n" } @_) }
sub cf { return file($unix, @login, @_) }
sub query { return $ask->query(@_) }

# ---- questions and answers ----
my $select = q{query = select v from a where k = '%s' order by n};
my $double = q{query = select v from a where k = "%s" order by n};
my $plain = cf($select);
# Sessions of another sql_mode.
sub mode { my ($mode) = @_; my $f = $ask->name('cnf'); Posthorn::spew($f, "[client]\ninit-command = set sql_mode='$mode'\n"); return "option_file = $f" }
my %form = (
    "'%s'" => $plain, '"%s"' => cf($double), 'over TCP' => file($inet, @login, $select), 'a procedure' => cf(q{query = call one_set('%s')}),
    "no backslashes, '%s'" => cf(mode('NO_BACKSLASH_ESCAPES'), $select), 'no backslashes, "%s"' => cf(mode('NO_BACKSLASH_ESCAPES'), $double), 'names in double quotes' => cf(mode('ANSI'), $select),
    'a backslash before, and a comment with an apostrophe' => cf(q{query = select v /* it's */ from a where 'it\\'s' = 'it\\'s' and k = '%s' order by n}),
);
is(query($form{$_}, Database::all_keys()), Database::all_rows(), "$_: all answers, and no key is SQL") for sort keys %form;
is(query(cf(q{query = select v from a where k = convert('%s' using utf8mb4) collate utf8mb4_bin}, 'charset = gbk'), grep { /^[ -~]*$/ || !$Database::rows{$_} } Database::all_keys()), join("\n", grep { /^[\t -~]*$/ } split /\n/, Database::all_rows()), 'a character set with backslashes in its characters');
is(query(cf(q{query = select v from a where k = convert("%s" using utf8mb4) collate utf8mb4_bin}, 'charset = gbk'), grep { /^[ -~]*$/ || !$Database::rows{$_} } Database::all_keys()), join("\n", grep { /^[\t -~]*$/ } split /\n/, Database::all_rows()), '  in double quotes');
is(query($plain, 'JOE@X.Test'), "JOE\@X.Test\tjoe", 'keys are folded');
is(query(cf("query = select v from a where k = $_"), grep { /[^\w.]/ } Database::all_keys()), '', "bare and in names ($_) no address is asked for") for 'concat(%s, k)', '`%s`';
is(query(cf(mode('ANSI'), q{query = select "%s" from a where k = 'bare'}), 'v'), "v\tbare value", 'the name of a column');
like(query(cf(mode('ANSI'), q{query = select "%s" from a where k = 'bare'}), 'v" or 1=1 -- '), qr/Unknown column 'v" or 1=1 --/, 'which no key ends');
my $columns = cf(q{query = select v, w from a where k = '%s' order by n});
is(query($columns, 'cols@x.test', 'joe@x.test'), qq{postmap: warning: table "$columns": empty lookup result for: "cols\@x.test" -- ignored\ncols\@x.test\tleft,right,alone\njoe\@x.test\tjoe}, 'several columns: an empty value is said, NULL is none');
is(query(cf('charset = latin1', $select), "caf\xe9\@x.test"), "caf\xe9\@x.test\tth\xe9", 'charset');
is(query(cf('table = a', 'select_field = v', 'where_field = k', "additional_conditions = and v <> 'one'"), 'two@x.test'), "two\@x.test\ttwo", 'the settings of older days');
is(query(cf($select, 'domain = x.test', 'result_format = <%s> of %u'), 'bare', 'two@x.test'), "two\@x.test\t<one> of one,<two> of two", 'domain, result_format');
like(query(cf($select, 'expansion_limit = 1'), 'two@x.test'), qr/more than 1 values: expansion_limit/, 'expansion_limit');
is(query(cf(q{query = call no_set('%s')}, 'require_result_set = no'), 'bare'), '', 'require_result_set = no');
$ask->{ph}->set(oldway_hosts => 'unix:' . $db->socket, oldway_user => 'mail', oldway_password => "it's", oldway_dbname => 'mail', oldway_query => "select v from a where k = '%s'");
is(query('mysql:oldway', 'bare'), "bare\tbare value", 'settings in main.cf');
my $cnf = $ask->name('cnf');
Posthorn::spew($cnf, "[client]\nuser = nobody\n[mail]\nuser = mail\npassword = it's\n");
is(query(file($unix, 'dbname = mail', "option_file = $cnf", 'option_group = mail', $select), 'bare'), "bare\tbare value", 'option_file, option_group');

# ---- TLS ----
SKIP: {
    skip 'needs openssl to make a certificate', 4 unless $has_tls;
    my $cipher = q{query = select variable_value <> '' from information_schema.session_status where variable_name = 'ssl_cipher'};
    is(query(file($inet, @login, $cipher, "tls_CAfile = $tmp/cert", 'tls_verify_cert = yes'), 'x'), "x\t1", 'TLS, the certificate is looked at');
    like(query(file($inet, @login, $cipher, 'tls_CAfile = /etc/hostname', 'tls_verify_cert = yes'), 'x'), qr/fatal: .*(?:TLS|SSL|certificate)/i, 'another authority is a failure');
    like(query(file('hosts = localhost.test:' . $db->port, @login, $cipher, 'tls_verify_cert = yes'), 'x'), qr/fatal: /, 'so is a host that is not there');
    my $plain_server = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1') or die "$!";
    my $pid = Posthorn::child(sub {
        # A greeting of the protocol, version 10, without the flag of TLS.
        while (my $c = $plain_server->accept) { my $g = "\x0a10.11.0\0" . pack('V', 1) . "abcdefgh\0" . pack('v', 0xf7df & ~0x0800) . "\x2d" . pack('v', 2) . pack('v', 0x800b) . "\x15" . ("\0" x 10) . "ijklmnopqrst\0mysql_native_password\0"; print $c substr(pack('V', length $g), 0, 3), "\0", $g; $c->flush; sysread $c, my $x, 1000; print $c "\7\0\0\2\0\0\0\2\0\0\0"; $c->flush; sysread $c, $x, 1000 }
    });
    like(query(file('hosts = 127.0.0.1:' . $plain_server->sockport, @login, $cipher, "tls_CAfile = $tmp/cert"), 'x'), qr/fatal: .*the server has no TLS/, 'and a server without TLS');
    Posthorn::end_child($pid);
}

# ---- what is wrong is said, and is a failure ----
$ask->is_fatal(
    [cf('query = selct v'), 'error in your SQL syntax'], [cf("query = select v from nosuch where k = '%s'"), "Table 'mail.nosuch' doesn't exist"], [cf('query = # nothing'), 'no result set'],
    [cf(q{query = call no_set('%s')}), 'no result set: require_result_set'], [cf(q{query = call two_sets('%s')}), 'several result sets'], [cf('query = select v from a; select v from a'), 'error in your SQL syntax'],
    [cf('query = select cast(1 as nosuch)'), 'Unknown data type'], [file($unix, 'user = mail', 'password = wrong', 'dbname = mail', $select), 'Access denied'], [file($unix, 'user = mail', 'dbname = mail', $select), 'Access denied'],
    [cf($select, 'dbname = nosuch'), 'Access denied'], [cf($select, 'charset = nosuch'), 'nosuch'], [file('hosts = 127.0.0.1:1', @login, $select), q{Can't connect}],
    [file('hosts = unix:/nonexistent', @login, $select), q{Can't connect}], [cf($select, 'dbname ='), 'dbname is not set', 1], [file('hosts = 127.0.0.1:x', @login, $select), 'hosts: "127.0.0.1:x" is not', 1],
    [file('hosts = mysql://h/x', @login, $select), 'hosts: "x" is not', 1], [file('hosts = unix:x', @login, $select), 'begins with /', 1], [cf(), 'query is not set', 1], [cf($select, 'tls_verify_cert = x'), 'neither yes nor no', 1],
);
is(query($plain, Database::all_keys()), Database::all_rows(), 'nothing of that changed the table');

# ---- connections ----
is($ask->script(<<"T"), '', 'a kept connection that was ended meanwhile is made anew, once');
open @{[cf('query = call end_all()')]}
comes x -- 0
open $plain
found bare -- bare value
swap
found x -- 1
swap
found bare -- bare value
none nobody
open @{[cf("query = call dies()")]}
fails bare -- killed
open @{[cf("query = call dies_once('%s')")]}
fails x -- killed
found again -- again
# in mid-query, too
found third -- third
T
$ask->sets_aside(port => $db->port, gone => "$tmp/gone", silent => "$tmp/silent", login => \@login, hasty => \@hasty, query => $select, refused => q{127.0.0.1:1: Can't connect}, unreached => q{Can't connect});

# ---- hung, killed, down, back ----
my $endless = q{query = select v, sleep(600) from a where k = '%s'};
$ask->outlives(db => $db, unix => $unix, inet => $inet, login => \@login, hasty => \@hasty, query => $select, endless => $endless, busy => sub { $db->has_begun('sleep(601)') }, down => q{Can't connect}, down_inet => q{Can't connect});
$db->stop;
done_testing();
