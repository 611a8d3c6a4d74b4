# Database.pm: database servers of Debian for tests of tables: unpacked (never
# installed), run on loopback and a UNIX socket below a temporary directory, by
# an ordinary account when the test is root.
#
#     my $db = Database::Postgres->new(sql => [...]);     # each statement on one line
#     $db->start; $db->port; $db->socket;
#     $db->signal('STOP');  $db->signal('CONT');  $db->crash;
#     my $ask = Database::Asks->new('pgsql', 'user = mail', ...);
#     is($ask->query($ask->file('query = ...'), 'key'), "key\tvalue");
#     is($ask->script("open pgsql:...\nfound key -- value\n"), '');
# missing() says why there is none, or undef.
package Database;
use strict;
use warnings;
use parent 'Peer';
use Posthorn;
use POSIX ();

# The command as the account that the server runs as.
sub as_account { return $> != 0 ? @_ : ('setpriv', '--reuid=news', '--regid=news', '--clear-groups', @_) }

# Why that program of the package cannot be run, or undef.
sub lacks_program {
    my ($program, @command) = @_;
    return 'account news is missing' if $> == 0 && !defined getpwnam 'news';
    my @run = as_account(@command, '--version');
    my $out = `@run 2>&1`;
    return $? ? "$program does not run here: $out" : undef;
}

sub directory {
    my ($class, $name) = @_;
    my ($tmp) = Peer::directory($name);
    chown +(Peer::account()), "$tmp" if $> == 0;
    return $tmp;
}

# Run to its end; its output is said when it fails.
sub must {
    my ($in, @command) = @_;
    my @words = map { "'$_'" } as_account(@command);
    my $out = `@words < '$in' 2>&1`;
    die "@command: $out" if $?;
    return $out;
}

sub start { my ($self) = @_; unlink "$self->{dir}/out"; return $self->SUPER::start }      # its last words are not those of before

# To all processes of the server.
sub signal { my ($self, $name) = @_; kill $name, $_ for Posthorn::tree($self->{pid}); return $self }

sub stop {
    my ($self) = @_;
    my $pid = $self->{pid} or return;
    kill 'CONT', $_ for Posthorn::tree($pid);
    kill $self->quick, $pid;
    return $self->SUPER::stop;
}

# As when the machine loses its power.
sub crash {
    my ($self) = @_;
    my $pid = delete $self->{pid} or return;
    delete $Posthorn::live{"pid $pid"};
    my @all = Posthorn::tree($pid);
    kill 'KILL', @all;
    waitpid $pid, 0;
    Posthorn::wait_for(sub { !grep { kill 0, $_ } @all }) or die 'the server does not die';
    return $self;
}

sub log { Posthorn::slurp("$_[0]{dir}/out") }

# Keys with what means something in SQL, and their values; and keys that nobody has, which try to be SQL.
our %rows = ('joe@x.test' => 'joe', bare => 'bare value', "o'neil\@x.test" => 'irish', 'back\slash@x.test' => 'bs', 'per%cent@x.test' => 'pct', '"q"@x.test' => 'quoted', 'semi;colon@x.test' => 'semi',
    'dash--@x.test' => 'dash', 'dollar$$@x.test' => 'dollar', '`tick`@x.test' => 'tick', 'hash#@x.test' => 'hash', "caf\xc3\xa9\@x.test" => "th\xc3\xa9", 'all\'"\\`@x.test' => 'all of them');
our @hostile = ('nobody@x.test', "\xff\@x.test", "caf\xe9\@x.test", "' or '1'='1", "x' union select v from a --", "'; drop table a; --", "\\' or 1=1 --", "''", "'", '\\', '"', '" or 1=1 --', '\\" or 1=1 #', '$$ or 1=1 --', '*/ or 1=1 --',
    "\\''||v||'", "\xbf' or 1=1 --", "\xbf\\' or 1=1 -- ", '` or 1=1 -- ', '% or 1=1', '_' x 10);
# What `postmap -q -` says of both.
sub all_rows { return join "\n", map { "$_\t$rows{$_}" } sort keys %rows }
sub all_keys { return ((sort keys %rows), @hostile) }
# SQL that makes them, by a function that writes a text.
sub insert_rows { my ($text) = @_; return 'insert into a (k, v) values ' . join ', ', map { '(' . $text->($_) . ', ' . $text->($rows{$_}) . ')' } sort keys %rows }

package Database::Asks;
use strict;
use warnings;
use IO::Socket::INET;
use IO::Socket::UNIX;
use TableRig;
use Test::More;
use Time::HiRes qw(time);

# Tables of that type whose files begin with these lines.  postmap (-u) leaves to them what is no UTF-8.
sub new { my ($class, $type, @lines) = @_; return bless { type => $type, lines => [@lines], ph => Posthorn->new, count => 0 }, $class }
sub name { my ($self, $suffix) = @_; return "$self->{ph}{tmp}/" . ++$self->{count} . ".$suffix" }

sub file {
    my ($self, @lines) = @_;
    my $f = $self->name('cf');
    Posthorn::spew($f, map { "$_\n" } @{ $self->{lines} }, @lines);
    return "$self->{type}:$f";
}

# Keys to lines of key, tab and value.
sub query {
    my ($self, $table, @keys) = @_;
    my $out = $self->{ph}->run_in(join('', map { "$_\n" } @keys), $self->{ph}->sbin('postmap'), '-c', $self->{ph}->dir, '-u', '-q', '-', $table);
    return $out =~ s/\n\z//r;
}

# posthorn-table-test with that script: '', or its failures.
sub script { my ($self, $text) = @_; return $self->end_script($self->start_script($text)) }

sub start_script {
    my ($self, $text) = @_;
    my $f = $self->name('test');
    Posthorn::spew($f, $text);
    open my $h, '-|', "'$Posthorn::build/sdk/posthorn-table-test' '$Posthorn::build/plugins/table/$self->{type}/.libs/table_$self->{type}.so' '$f' 2>&1" or die "$!";
    return $h;
}

sub end_script {
    my ($self, $h) = @_;
    my $out = join '', <$h>;
    close $h;
    return TableRig::failures($out);
}

# Each [table, words] or [table, words, 1: it is not even opened]: a failure that says so.  postmap sleeps
# a second before it ends with one, so only the first is asked through it.
sub is_fatal {
    my ($self, @rows) = @_;
    like($self->query($rows[0][0], 'joe@x.test'), qr/^postmap: fatal: .*\Q$rows[0][1]\E/m, "a failure: $rows[0][1]");
    is($? >> 8, 1, '  and exit status 1');
    is($self->script($_->[2] ? "refused $_->[0] -- $_->[1]\n" : "open $_->[0]\nfails joe\@x.test -- $_->[1]\n"), '', "a failure: $_->[1]") for @rows;
    return;
}

# A failure that takes its time, and no longer.
sub gives_up {
    my ($self, $what, $table, $words, $least, $most) = @_;
    my $before = time;
    like($self->query($table, 'bare'), qr/fatal: .*$words/, $what);
    my $took = time - $before;
    cmp_ok($took, '>', $least, sprintf '  not before its time: %.1f s', $took);
    cmp_ok($took, '<', $most * $Posthorn::slow, '  and not long after');
    return;
}

# Hosts that are not there, or silent, are set aside.  o: port of the server; gone, silent: paths that
# its library makes a socket of; login, hasty: settings (hasty has timeout = 1), and a query; refused: what
# is said of a TCP port where nobody listens; unreached: of a socket that is not there.
sub sets_aside {
    my ($self, %o) = @_;
    my $file = sub { my ($hosts, @more) = @_; return $self->file(map { "$_\n" } "hosts = $hosts", @more) };
    is($self->script(<<"T"), '', 'a host that is not there is set aside');
open @{[$file->("unix:$o{gone}, inet:127.0.0.1:$o{port}", @{ $o{login} }, $o{query})]}
found bare -- bare value
warned not asked for 60 s: unix:$o{gone}: $o{unreached}
found bare -- bare value
open @{[$file->("unix:$o{gone}, 127.0.0.1:1", @{ $o{login} }, $o{query})]}
fails bare -- $o{refused}
fails bare -- all servers are set aside; unix:$o{gone}: $o{unreached}
T
    my $silent = IO::Socket::UNIX->new(Local => $o{silent}, Listen => 5) or die "$!";
    my $before = time;
    is($self->script(<<"T"), '', 'one that is silent too');
open @{[$file->("inet:127.0.0.1:$o{port} unix:$o{silent}", @{ $o{hasty} }, $o{query})]}
found bare -- bare value
warned the server does not answer
found bare -- bare value
within 300
open @{[$file->("unix:$o{silent}", @{ $o{hasty} }, $o{query})]}
fails bare -- the server does not answer
T
    cmp_ok(time - $before, '<', 10 * $Posthorn::slow, 'within its time');
    return;
}

# The server hangs, is killed, is down and comes back.  o: db; unix, inet: its lines `hosts`; login, hasty and
# query as above; endless: a query that takes 600 s; busy->(): another one, which takes 601, is being executed; down, down_inet: what is said
# when nobody is there.
sub outlives {
    my ($self, %o) = @_;
    my ($db, $port) = ($o{db}, $o{db}->port);
    my $file = sub { return $self->file(map { "$_\n" } @_) };
    $self->gives_up('a query without end', $file->($o{unix}, @{ $o{hasty} }, $o{endless}), 'the server does not answer', 0.9, 10);
    $db->signal('STOP');
    $self->gives_up('a server that hangs', $file->($o{unix}, @{ $o{hasty} }, $o{query}), 'the server does not answer', 0.9, 10);
    $self->gives_up('over TCP', $file->($o{inet}, @{ $o{hasty} }, $o{query}), 'the server does not answer', 0.9, 10);
    $db->signal('CONT');
    my ($plain, $inet) = map { $file->($_, @{ $o{login} }, $o{query}) } @o{qw(unix inet)};
    is($self->query($plain, 'bare'), "bare\tbare value", 'it goes on');
    my $running = $self->start_script("open @{[$file->($o{unix}, @{ $o{login} }, 'timeout = 60', $o{endless} =~ s/600/601/r)]}\nfails bare -- server\n");
    ok(Posthorn::wait_for($o{busy}), 'a query is executed');
    $db->crash;
    is($self->end_script($running), '', 'the server is killed in mid-query: a failure');
    like($self->query($plain, 'bare'), qr/fatal: .*$o{down}/, 'it is down');
    like($self->query($inet, 'bare'), qr/fatal: .*$o{down_inet}/, 'over TCP');
    # Who answers in its place hangs up, which shows that both names were tried.
    my $listen = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1', LocalPort => $port, ReuseAddr => 1, Timeout => 20) or die "$!";
    my $both = $file->("hosts = 127.0.0.1:$port inet:127.0.0.1:$port", @{ $o{login} }, 'retry_interval = 1', $o{query});
    $running = $self->start_script("open $both\ncomes bare -- bare value\nwarned not asked for 1 s\n");
    is(scalar(grep { $listen->accept } 1 .. 2), 2, 'both names are tried');
    close $listen;
    $db->start;
    is($self->end_script($running), '', 'set aside, both are asked again in time');
    my $out = $self->query($plain, map { $_ % 2 ? 'bare' : "nobody$_\@x.test" } 1 .. 10_000);
    is(scalar(() = $out =~ /^bare\tbare value$/mg), 5000, '10,000 look-ups');
    return;
}

package Database::Postgres;
use strict;
use warnings;
our @ISA = 'Database';

my $bin;
sub programs { return $bin //= (map { "$_/bin" } grep { -x "$_/bin/postgres" } map { glob("$_/usr/lib/postgresql/*") } Posthorn::debian('postgresql-15') // (), '')[0] }

sub missing {
    my $dir = programs() or return 'package postgresql-15 cannot be had';
    return Database::lacks_program('PostgreSQL', "$dir/postgres");
}

# User admin may do all through the socket; user mail with password "it's" needs it everywhere.  more: lines
# of its configuration.
sub new {
    my ($class, %o) = @_;
    my $tmp = $class->directory('postgres');
    my $self = bless { tmp => $tmp, dir => "$tmp", port => Posthorn::free_port(), data => "$tmp/data" }, $class;
    Database::must('/dev/null', programs() . '/initdb', '-D', $self->{data}, '-U', 'admin', '-A', 'trust', '--no-locale', '-E', 'UTF8', '-N');
    Posthorn::spew("$tmp/data/pg_hba.conf", "local all admin trust\nlocal all mail scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n");
    Posthorn::spew("$tmp/data/postgresql.auto.conf", <<"CONF");
listen_addresses = '127.0.0.1'
port = $self->{port}
unix_socket_directories = '$tmp'
max_connections = 20
shared_buffers = 8MB
fsync = off
autovacuum = off
jit = off
${\join '', map { "$_\n" } @{ $o{more} || [] }}
CONF
    Posthorn::spew("$tmp/sql", map { "$_\n" } @{ $o{sql} });
    my $out = Database::must("$tmp/sql", programs() . '/postgres', '--single', '-D', $self->{data}, 'postgres');
    die "sql: $out" if $out =~ /ERROR|FATAL/;
    return $self;
}

sub quick { 'INT' }                # without waiting for sessions
sub command { my ($self) = @_; return ({}, Database::as_account($self->programs . '/postgres', '-D', $self->{data})) }
sub socket { my ($self) = @_; return "$self->{dir}/.s.PGSQL.$self->{port}" }
# Whether a session executes a statement just now.
sub is_busy { my ($self) = @_; return grep { Posthorn::slurp("/proc/$_/cmdline") =~ /^postgres: mail .* SELECT/ } Posthorn::tree($self->{pid}) }
sub answers { my ($self) = @_; return $self->log =~ /ready to accept connections/ }

package Database::MariaDB;
use strict;
use warnings;
our @ISA = 'Database';

my ($root, @libraries);
# The server, seen with the libraries that it needs.
sub programs {
    $root //= Posthorn::debian('mariadb-server-core') // '';
    @libraries = grep { defined } map { Posthorn::debian($_) } qw(libaio1 liburing2 libnuma1) if $root && !@libraries;
    return $root;
}
sub server {
    my ($self, @args) = @_;
    my $usr = programs() . '/usr';
    return ('env', 'LD_LIBRARY_PATH=' . join(':', map { glob "$_/usr/lib/*-linux-gnu" } @libraries), "$usr/sbin/mariadbd", '--no-defaults',
        $self ? ("--basedir=$usr", "--lc-messages-dir=$usr/share/mysql", "--character-sets-dir=$usr/share/mysql/charsets", "--datadir=$self->{data}", "--tmpdir=$self->{dir}", '--innodb-buffer-pool-size=8M', '--innodb-log-file-size=4M',
            '--innodb-flush-log-at-trx-commit=0', '--innodb-flush-method=nosync', '--key-buffer-size=1M', '--character-set-server=utf8mb4') : (), @args);
}

sub missing {
    programs() or return 'package mariadb-server-core cannot be had';
    return Database::lacks_program('MariaDB', server());
}

# User mail with password "it's" may do all in database mail.
sub new {
    my ($class, %o) = @_;
    my $tmp = $class->directory('mariadb');
    my $self = bless { tmp => $tmp, dir => "$tmp", port => Posthorn::free_port(), data => "$tmp/data", more => $o{more} || [] }, $class;
    mkdir $self->{data};
    chown +(Peer::account()), $self->{data} if $> == 0;
    # What mariadb-install-db does.
    my $share = programs() . '/usr/share/mysql';
    Posthorn::spew("$tmp/system", "create database mysql;\nuse mysql;\nset \@auth_root_socket = null, \@current_hostname = 'localhost';\n",
        map { Posthorn::slurp("$share/$_.sql") } qw(mysql_system_tables mysql_performance_tables mysql_system_tables_data));
    Database::must("$tmp/system", $self->server('--bootstrap'));
    Posthorn::spew("$tmp/sql", map { "$_;\n" } 'create database mail', 'use mail', q{create user mail@'%' identified by 'it''s'}, q{grant all on mail.* to mail@'%'}, q{delete from mysql.global_priv where user = ''}, 'flush privileges', @{ $o{sql} });
    return $self;
}

sub quick { 'TERM' }
sub socket { "$_[0]{dir}/sock" }
sub start { my ($self) = @_; unlink "$self->{dir}/general"; $self->SUPER::start; Posthorn::spew("$self->{dir}/sql", ''); return $self }        # the statements: once
sub command { my ($self) = @_; return ({}, Database::as_account($self->server("--socket=$self->{dir}/sock", "--port=$self->{port}", '--bind-address=127.0.0.1', "--pid-file=$self->{dir}/pid", "--init-file=$self->{dir}/sql",
    '--skip-name-resolve', '--general-log=1', "--general-log-file=$self->{dir}/general", @{ $self->{more} }))) }
# Whether a statement with these words was begun.
sub has_begun { my ($self, $words) = @_; return Posthorn::slurp("$self->{dir}/general") =~ /Query\s.*\Q$words\E/ }
sub answers { my ($self) = @_; return $self->log =~ /ready for connections/ }

1;
