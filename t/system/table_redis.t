#!/usr/bin/perl
# redis tables: answers of a scripted server, good and bad; Debian's redis-server:
# types, keys that try to be commands, passwords, down, killed, hung, two hosts, 10,000
# look-ups; and in a sealed smtpd.  Whatever happens, nobody is "not found".
use strict;
use warnings;
use IO::Socket::INET;
use IO::Socket::UNIX;
use Socket qw(SOMAXCONN);
use Test::More;
use Time::HiRes qw(time);
use lib 't/lib';
use Posthorn;
use TableRig;

my $ph = Posthorn->new;
my $tmp = $ph->{tmp};
sub cf { my ($name, @lines) = @_; Posthorn::spew("$tmp/$name.cf", map { "$_\n" } @lines); return "redis:$tmp/$name.cf" }
sub script { return TableRig::script('redis', 'redis', "$tmp", $_[0]) }
sub query { my ($table, $key) = @_; my $out = $ph->cmd('postmap', '-q', $key, $table); chomp $out; return $out }

# ---- a scripted server ----
my $bulk = sub { return join '', map { defined() ? '$' . length() . "\r\n$_\r\n" : "\$-1\r\n" } @_ };
my $list = sub { return '*' . @_ . "\r\n" . $bulk->(@_) };
sub read_command {
    my ($c) = @_;
    my $line = readline $c;
    return unless defined $line && $line =~ /^\*(\d+)\r\n\z/;
    my @word;
    for (1 .. $1) {
        my ($n) = (readline($c) // '') =~ /^\$(\d+)\r\n\z/ or return;
        my $w;
        return unless read($c, $w, $n + 2) == $n + 2 && $w =~ s/\r\n\z//;
        push @word, $w;
    }
    return \@word;
}
my %raw = (
    ok => $bulk->('a value'), empty => $bulk->(''), nil => $bulk->(undef), nillist => "*-1\r\n", emptylist => "*0\r\n", list => $list->('a', undef, '', 'b'), nils => $list->(undef, undef),
    zero => ":0\r\n", one => ":1\r\n", negative => ":-3\r\n", odd => $bulk->("\$5\r\n:0"), second => $bulk->('second'), large => $bulk->('x' x 60_000), larger => $bulk->('x' x 1e6), 'moved@x.test' => $bulk->('REJECT by redis'),
    status => "+OK\r\n", error => "-ERR no\r\n", loading => "-LOADING Redis is loading the dataset in memory\r\n", moved => "-MOVED 3999 127.0.0.1:6381\r\n", noauth => "-NOAUTH Authentication required.\r\n",
    clusterdown => "-CLUSTERDOWN The cluster is down\r\n", errorlist => "*2\r\n\$1\r\na\r\n-ERR half\r\n", nested => "*1\r\n*1\r\n\$1\r\na\r\n", lf => "\$2\nhi\n", noend => "\$2\r\nhixx\r\n", minus2 => "\$-2\r\n",
    huge => "\$99999999\r\n", overflow => "\$99999999999999999999\r\n", nonumber => "\$x\r\n", number => ":x\r\n", nothing => "\r\n", hugelist => "*1000000000\r\n" . "\$-1\r\n" x 70_000, words => "hello\r\n",
    http => "HTTP/1.1 400 Bad Request\r\n\r\n", resp3 => "_\r\n", map => "%1\r\n+a\r\n+b\r\n", longline => '+' . 'x' x 5000 . "\r\n", toolarge => $bulk->('x' x 1_100_000), twice => $bulk->('mine') . $bulk->('of another'),
);
my $talk = sub {
    my ($c, $q) = @_;
    my $k = $q->[1];
    return print $c "+OK\r\n" if $q->[0] =~ /^(?:AUTH|SELECT)$/;
    return print $c $bulk->("$q->[0] " . join '|', @$q[2 .. $#$q]) if $k eq 'echo';
    return 1 if $k =~ /^hang/;
    if ($k eq 'endless') { $SIG{PIPE} = 'DEFAULT'; print $c 'x' x 65536 for 1 .. 1e5; return }
    if ($k eq 'drop') { print $c "\$5\r\nhe"; return }
    if ($k eq 'last') { print $c $bulk->('bye'); return }
    if ($k eq 'half') {           # the first time: a part of the answer, and gone
        return print $c $list->('a', 'b') if -e "$tmp/once";
        Posthorn::spew("$tmp/once", 'x');
        print $c "*2\r\n\$1\r\na\r\n";
        return;
    }
    return print $c $raw{$k} // "\$-1\r\n";
};
my $listen = TableRig::inet();
my $port = $listen->sockport;
my $server = TableRig::server($listen, \&read_command, $talk);
my $cases = join '', map { "$_\n" } (
    'found ok -- a value', (map { "none $_" } qw(empty nil nillist emptylist nils zero nobody)), 'found list -- a,b', 'found one -- 1', 'found negative -- -3', 'found large -- ' . 'x' x 60_000,
    'fails error -- the server says: ERR no', (map { "fails $_ -- the server says: \U$_" } qw(loading moved noauth clusterdown)), 'fails errorlist -- the server says: ERR half',
    (map { "fails $_ -- malformed answer" } qw(status nested lf noend minus2 overflow nonumber number nothing words http resp3 map longline endless)),
    (map { "fails $_ -- the answer is too long" } qw(huge hugelist toolarge)), 'found ok -- a value',
    '# what came too much is no answer to another question', 'found twice -- mine', 'found ok -- a value',
    '# the server hangs up behind an answer: another connection, silently', 'found last -- bye', 'found ok -- a value', 'found half -- a,b',
    '# in the middle of one it is a failure', 'fails drop -- connection closed by the peer', 'found ok -- a value', 'within 300', 'fails hang --', 'within 0', 'found ok -- a value');
cf('tcp', "hosts = inet:127.0.0.1:$port");
is(script("open redis:$tmp/tcp.cf\n$cases"), '', 'answers of a server, good and bad');
unlink "$tmp/once";
my $sock = TableRig::server(IO::Socket::UNIX->new(Local => "$tmp/sock", Listen => SOMAXCONN) // die("$!"), \&read_command, $talk);
cf('unix', "hosts = unix:$tmp/sock", 'password = x', 'db = 2');
is(script("open redis:$tmp/unix.cf -- secure\n$cases"), '', 'the same over a UNIX socket, with a password and a database');
is(query(cf('odd', "hosts = 127.0.0.1:$port"), 'odd'), "\$5\r\n:0", 'what looks like the protocol is a value');
is(length query("redis:$tmp/odd.cf", 'larger'), 1e6, 'a large value');
cf('echo', "hosts = localhost:$port", "query = hget echo a%u  '%d' %1%%");
is(script("open redis:$tmp/echo.cf\nfound j o\@x.test -- hget aj o|'x.test'|test%\nnone bare\n"), '', 'words of a query');
cf('format', "hosts = 127.0.0.1:$port", 'result_format = [%s] %S', 'expansion_limit = 1');
is(script("open redis:$tmp/format.cf\nfound ok -- [a value] ok\nfails list -- more than 1 values: expansion_limit\nfound ok -- [a value] ok\n"), '', 'result_format and expansion_limit');
cf('short', "hosts = 127.0.0.1:$port", 'timeout = 1');
is(script("open redis:$tmp/short.cf\nfails hang --\nfound ok -- a value\n"), '', 'a server that hangs');

# Two hosts: one that hangs, one that is not there, and one that answers.
my $hung = TableRig::inet();
my $free = Posthorn::free_port();
cf('hosts', "hosts = inet:127.0.0.1:$free, inet:127.0.0.1:@{[$hung->sockport]}, inet:127.0.0.1:$port", 'timeout = 1');
my $before = time;
is(script("open redis:$tmp/hosts.cf\nfound ok -- a value\nwarned 127.0.0.1:$free\nwarned left out for 60 seconds\n" . "found ok -- a value\n" x 20 . "none nobody\nfails error -- ERR no\n"), '', 'the next host is asked');
cmp_ok(time - $before, '<', 20 * $Posthorn::slow, 'and who does not answer is left out');      # asked each time, it would have its second each time
my $asked = 0;
$hung->blocking(0);
$asked++ while $hung->accept;
is($asked, 1, 'having been asked once');
cf('gone', "hosts = 127.0.0.1:$free 127.0.0.1:@{[Posthorn::free_port()]}");
is(script("open redis:$tmp/gone.cf\n" . "fails ok -- Connection refused\n" x 3), '', 'no host at all');

# ---- in a sealed smtpd ----
cf('smtpd', "hosts = inet:127.0.0.1:$port", 'timeout = 60');
$ph->set(smtpd_recipient_restrictions => "check_recipient_access redis:$tmp/smtpd.cf, permit", smtpd_relay_restrictions => 'reject_unauth_destination', smtpd_delay_reject => 'no');
$raw{'no@example.test'} = $bulk->('REJECT by redis');
Posthorn::end_child($server);
$server = TableRig::server(TableRig::inet(LocalPort => $port), \&read_command, $talk);
chmod 0644, glob "$tmp/*.cf";
$ph->start;
TableRig::serves_smtpd($ph, { no => 'by redis' }, sub { Posthorn::end_child($server) }, sub { $server = TableRig::server(TableRig::inet(LocalPort => $port), \&read_command, $talk) });
$ph->stop;
Posthorn::end_child($_) for $server, $sock;

# ---- Debian's ----
SKIP: {
    my @redis = TableRig::program('/usr/bin/redis-check-rdb', 'redis-server', "$tmp", qw(redis-tools libjemalloc2 liblzf1 libatomic1)) or skip $TableRig::missing, 1;
    my $at = Posthorn::free_port();
    my $start = sub {
        return TableRig::start("$tmp/redis.out", sub { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $at) }, @redis, '--port', $at, '--bind', '127.0.0.1', '--unixsocket', "$tmp/redis.sock",
            '--save', '', '--appendonly', 'no', '--dir', "$tmp", '--requirepass', 'secret word', '--databases', 4);
    };
    # Commands, and the first line of each answer.
    my $tell = sub {
        my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $at) or die "redis: $!";
        return map { print $s $list->(@$_); my $l = readline($s) // ''; $l =~ s/\r\n//; $l } ['AUTH', 'secret word'], @_;
    };
    my $evil = "a\r\nSET hacked 1\r\n*1\r\n\$8\r\nFLUSHALL\r\n";
    my $fill = sub {
        return $tell->([SET => 'joe@x.test', 'joe'], [SET => 'empty', ''], [SET => "o'neil \"q\"\@x.test", 'quoted'], [SET => lc $evil, 'a value of its own'], [HSET => 'user:joe', 'maildrop', 'joe-box'], [SADD => 'domains', 'x.test'],
            [RPUSH => 'two', 'one', '', 'two'], [SET => 'gone', 'v', 'PX', 1], ['ACL', 'SETUSER', 'mail', 'on', '>mailpw', '~*', '+get', '+select'], [SELECT => 3], [SET => 'joe@x.test', 'joe of 3'], [DBSIZE => ]);
    };
    my $pid = $start->();
    my @said = $fill->();
    is(scalar(grep { /^-/ } @said), 0, 'redis-server is filled') or diag join "\n", @said;
    my @as = ("hosts = 127.0.0.1:$at", 'password = secret word');
    cf('get', @as, 'timeout = 1');
    cf('db', @as, 'db = 3');
    cf('hash', @as, 'query = HGET user:%u maildrop');
    cf('set', @as, 'query = SISMEMBER domains %d');
    cf('lrange', "hosts = unix:$tmp/redis.sock", $as[1], 'query = LRANGE %s 0 -1');
    cf('user', $as[0], 'user = mail', 'password = mailpw');
    cf('lacks', $as[0], 'user = mail', 'password = mailpw', 'query = MGET %s');
    cf('wrong', $as[0], 'password = guess');
    cf('nobody', $as[0], 'user = nobody', 'password = x');
    cf('none', $as[0]);
    cf('nodb', @as, 'db = 9');
    cf('syntax', @as, 'query = GET %s more');
    is(script(<<"T"), '', 'types, databases, users, passwords');
open redis:$tmp/get.cf
found joe\@x.test -- joe
found JOE\@X.TEST -- joe
found o'neil "q"\@x.test -- quoted
none empty
none nobody
comes joe\@x.test -- joe
none gone
fails user:joe -- WRONGTYPE
fails two -- WRONGTYPE
found joe\@x.test -- joe
open redis:$tmp/db.cf
found joe\@x.test -- joe of 3
none o'neil "q"\@x.test
open redis:$tmp/hash.cf
found joe\@y.test -- joe-box
none jim
open redis:$tmp/set.cf
found any\@x.test -- 1
none any\@y.test
none bare
open redis:$tmp/lrange.cf -- secure
found two -- one,two
none three
open redis:$tmp/user.cf
found joe\@x.test -- joe
open redis:$tmp/lacks.cf
fails joe\@x.test -- NOPERM
open redis:$tmp/wrong.cf
fails joe\@x.test -- WRONGPASS
fails nobody -- WRONGPASS
open redis:$tmp/nobody.cf
fails joe\@x.test -- WRONGPASS
open redis:$tmp/none.cf
fails joe\@x.test -- NOAUTH
open redis:$tmp/nodb.cf
fails joe\@x.test -- DB index is out of range
open redis:$tmp/syntax.cf
fails joe\@x.test -- wrong number of arguments
T
    my $get = "redis:$tmp/get.cf";
    is(query($get, $evil), 'a value of its own', 'a key that holds commands is a key');
    is(query($get, "x\r\n$evil"), '', 'and one that is not there is not there');
    is(join(' ', ($tell->([GET => 'hacked'], [GET => 'joe@x.test']))[1, 2]), '$-1 $3', 'nothing was done by it');
    unlike(query("redis:$tmp/wrong.cf", 'x') . query("redis:$tmp/nobody.cf", 'x'), qr/guess/, 'messages do not tell the password');

    my $out = $ph->run_in(join('', map { $_ % 2 ? "joe\@x.test\n" : "nobody$_\@x.test\n" } 1 .. 10_000), $ph->sbin('postmap'), '-c', $ph->dir, '-q', '-', $get);
    is(scalar(() = $out =~ /^joe\@x\.test\tjoe$/mg), 5000, '10,000 look-ups');

    TableRig::pause($pid);
    like(query($get, 'joe@x.test'), qr/query error: .*lookup of/, 'hung: a failure');
    kill 'CONT', $pid;
    is(query($get, 'joe@x.test'), 'joe', 'and it goes on');
    TableRig::pause($pid);
    my $asking = Posthorn::child(sub { Posthorn::spew("$tmp/asked", query("redis:$tmp/user.cf", 'joe@x.test') . '.') });
    ok(Posthorn::wait_for(sub { Posthorn::slurp('/proc/net/tcp') =~ /:\s*\w+:@{[sprintf '%04X', $at]} \w+:\w+ 01 \w+:(?!0{8})/m }), 'a question waits there');
    Posthorn::end_child($pid);
    ok(Posthorn::wait_for(sub { Posthorn::slurp("$tmp/asked") =~ /\.$/ }), 'killed in mid-query');
    like(Posthorn::slurp("$tmp/asked"), qr/query error: /, 'it is a failure');
    Posthorn::end_child($asking);
    like(query($get, 'joe@x.test'), qr/query error: .*Connection refused/, 'down: a failure');
    $pid = $start->();
    $fill->();
    is(query($get, 'joe@x.test'), 'joe', 'and up again');
    Posthorn::end_child($pid);
}
done_testing();
