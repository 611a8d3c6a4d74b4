#!/usr/bin/perl
# memcache tables: answers of a scripted server, good and bad; Debian's memcached:
# look-ups, updates, a backup, down, killed, hung, 10,000 look-ups.  Without a backup
# nobody is "not found" because of the server, with one it does not matter.
use strict;
use warnings;
use IO::Socket::INET;
use IO::Socket::UNIX;
use Socket qw(SOMAXCONN);
use Test::More;
use lib 't/lib';
use Posthorn;
use TableRig;

my $ph = Posthorn->new;
my $tmp = $ph->{tmp};
sub cf { my ($name, @lines) = @_; Posthorn::spew("$tmp/$name.cf", map { "$_\n" } @lines); return "memcache:$tmp/$name.cf" }
sub script { return TableRig::script('memcache', 'memcache', "$tmp", $_[0]) }
sub query { my ($table, $key) = @_; my $out = $ph->cmd('postmap', '-q', $key, $table); chomp $out; return $out }

# ---- a scripted server ----
my $value = sub { my ($k, $v, $flags) = @_; return "VALUE $k " . ($flags // 0) . ' ' . length($v) . "\r\n$v\r\nEND\r\n" };
my %raw = (
    ok => $value->('ok', 'a value'), flags => $value->('flags', 'v', 4294967295), empty => $value->('empty', ''), lines => $value->('lines', "END\r\nVALUE"), most => $value->('most', 'x' x 10240), none => "END\r\n",
    "o'neil\"q\"\@x.test" => $value->("o'neil\"q\"\@x.test", 'quoted'),
    error => "ERROR\r\n", client => "CLIENT_ERROR bad\r\n", server => "SERVER_ERROR out of memory\r\n", large => $value->('large', 'x' x 10241), huge => "VALUE huge 0 99999999999999999999\r\n", minus => "VALUE minus 0 -1\r\n",
    other => $value->('ok', 'of another'), noflags => "VALUE noflags 2\r\nxx\r\nEND\r\n", more => "VALUE more 0 1 2 3\r\nx\r\nEND\r\n", lf => "VALUE lf 0 1\nx\nEND\n", noend => "VALUE noend 0 1\r\nxyEND\r\n", two => "VALUE two 0 1\r\nx\r\nVALUE two 0 1\r\ny\r\nEND\r\n",
    longer => "VALUE longer 0 1\r\nxyz\r\nEND\r\n", words => "hello\r\n", nothing => "\r\n", stored => "STORED\r\n", longline => 'x' x 2000 . "\r\n", http => "HTTP/1.1 400 Bad Request\r\n\r\n", twice => $value->('twice', 'mine') . $value->('ok', 'not mine'),
);
my %set = ('set:error' => "ERROR\r\n", 'set:large' => "SERVER_ERROR object too large for cache\r\n", 'set:not' => "NOT_STORED\r\n", 'set:there' => "NOT_STORED\r\n", 'set:value' => "END\r\n", 'set:blank' => "\r\n");
my $talk = sub {
    my ($c, $q) = @_;
    if ($q =~ /^(?:set|add) (\S+) 7 1000 (\d+)\r\n\z/) {
        read $c, my $v, $2 + 2;
        return print $c $set{$1} // "STORED\r\n";
    }
    return print $c $1 eq 'there' ? "DELETED\r\n" : $1 eq 'del:bad' ? "STORED\r\n" : "NOT_FOUND\r\n" if $q =~ /^delete (\S+)\r\n\z/;
    return print $c "ERROR\r\n" unless $q =~ /^get (\S+)\r\n\z/;
    my $k = $1;
    return 1 if $k eq 'hang';
    if ($k eq 'endless') { $SIG{PIPE} = 'DEFAULT'; print $c 'x' x 65536 for 1 .. 1e5; return }
    if ($k eq 'drop') { print $c "VALUE drop 0 5\r\nhe"; return }
    if ($k eq 'last') { print $c $value->('last', 'bye'); return }
    if ($k eq 'once') {           # the first time an error
        return print $c $value->('once', 'better') if -e "$tmp/once";
        Posthorn::spew("$tmp/once", 'x');
        return print $c "SERVER_ERROR busy\r\n";
    }
    return print $c $raw{$k} // "END\r\n";
};
my $line = sub { my $l = readline $_[0]; $l };
my $listen = TableRig::inet();
my $port = $listen->sockport;
my $server = TableRig::server($listen, $line, $talk);
my $sock = TableRig::server(IO::Socket::UNIX->new(Local => "$tmp/sock", Listen => SOMAXCONN) // die("$!"), $line, $talk);
my $k250 = 'k' x 250;
my $cases = join '', map { "$_\n" } (
    'found ok -- a value', 'found OK -- a value', 'found flags -- v', 'found empty --', 'found most -- ' . 'x' x 10240, "found o'neil\"q\"\@x.test -- quoted", 'none none', 'none nobody', "none $k250",
    '# no key of memcached: it would read a second one, or complain', 'none ok two', "none ok\x01", "none ok\x7f", "none ${k250}k",
    (map { "fails $_ -- the server says: " . $raw{$_} =~ s/\r\n.*//sr } qw(error client server words nothing stored http)), 'fails two -- the server says: VALUE', 'fails large -- data_size_limit allows 10240',
    (map { "fails $_ -- malformed answer" } qw(huge minus other noflags more lf noend longer longline endless)), 'found ok -- a value', '# what came too much is no answer to another question', 'found twice -- mine', 'found ok -- a value',
    '# the server hangs up behind an answer', 'found last -- bye', 'found ok -- a value', 'fails drop -- connection closed by the peer', 'found ok -- a value', 'within 300', 'fails hang --', 'within 0', 'found ok -- a value');
my @fast = ("memcache = inet:127.0.0.1:$port", 'retry_pause = 0');
cf('tcp', @fast);
cf('unix', "memcache = unix:$tmp/sock", 'retry_pause = 0');
is(script("open memcache:$tmp/tcp.cf\n$cases"), '', 'answers of a server, good and bad');
is(script("open memcache:$tmp/unix.cf\n$cases"), '', 'over a UNIX socket');
cf('once', "memcache = 127.0.0.1:$port", 'max_try = 1');
is(script("open memcache:$tmp/once.cf\nfails once -- SERVER_ERROR busy\n"), '', 'tried once');
unlink "$tmp/once";
is(script("open memcache:$tmp/tcp.cf\nfound once -- better\n"), '', 'tried twice');
cf('hang', @fast, 'timeout = 1');
is(script("open memcache:$tmp/hang.cf\nfails hang --\nfound ok -- a value\n"), '', 'a server that hangs');
cf('write', @fast, 'flags = 7', 'ttl = 1000');
is(script(<<"T"), '', 'updates');
open memcache:$tmp/write.cf -- write
put ok -- new
put there -- new
unwritten set:error -- ERROR
unwritten set:large -- object too large
unwritten set:not -- the server says: NOT_STORED
unwritten set:value -- the server says: END
unwritten set:blank -- the server says:
unwritten two words -- cannot be a key
unwritten ${k250}k -- cannot be a key
remove there
missing nobody
missing two words
open memcache:$tmp/write.cf -- write keep
put ok -- new
kept set:there -- new
unwritten set:error -- ERROR
T
Posthorn::end_child($_) for $server, $sock;
is(script("open memcache:$tmp/tcp.cf\nfails ok -- Connection refused\nopen memcache:$tmp/unix.cf\nfails ok -- Connection refused\n"), '', 'a server that is gone');

# ---- Debian's ----
SKIP: {
    my @memcached = TableRig::program('/usr/bin/memcached', 'memcached', "$tmp", qw(memcached libevent-2.1-7 libsasl2-2)) or skip $TableRig::missing, 1;
    my $at = Posthorn::free_port();
    my $start = sub {
        return TableRig::start("$tmp/memcached.out", sub { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $at) }, @memcached, '-p', $at, '-l', '127.0.0.1', '-U', 0, '-m', 8, ($> ? () : ('-u', 'root')));
    };
    my $pid = $start->();
    my @as = ("memcache = 127.0.0.1:$at", 'retry_pause = 0');
    my $plain = cf('plain', @as, 'timeout = 1');
    cf('format', @as, 'key_format = p:%d:%u');
    cf('list', @as, 'domain = x.test');
    cf('brief', @as, 'ttl = 1');
    cf('dated', @as, 'ttl = 4000000');
    is(script(<<"T"), '', 'look-ups and updates');
open memcache:$tmp/plain.cf -- write
none joe\@x.test
put joe\@x.test -- joe
found joe\@x.test -- joe
put joe\@x.test -- joe, again
found joe\@x.test -- joe, again
remove joe\@x.test
missing joe\@x.test
none joe\@x.test
put joe\@x.test -- joe
put o'neil"q"\@x.test -- quoted
found o'neil"q"\@x.test -- quoted
put $k250 -- long
found $k250 -- long
put most -- @{['x' x 10240]}
found most -- @{['x' x 10240]}
open memcache:$tmp/plain.cf -- write keep
kept joe\@x.test -- other
put jim\@x.test -- jim
found joe\@x.test -- joe
open memcache:$tmp/format.cf -- write
none joe\@x.test
put joe\@x.test -- of a prefix
found joe\@x.test -- of a prefix
none bare
unwritten bare -- cannot be a key
open memcache:$tmp/plain.cf
found p:x.test:joe -- of a prefix
open memcache:$tmp/list.cf -- write
found joe\@x.test -- joe
none p:x.test:joe
unwritten joe\@y.test -- not in the list of domains
open memcache:$tmp/dated.cf -- write
put late -- later
found late -- later
open memcache:$tmp/brief.cf -- write
put brief -- v
T
    my $evil = "x\r\nset hacked 0 0 1\r\n1\r\ndelete joe\@x.test";
    is(query($plain, $evil), '', 'a key that holds commands is not found');
    is(query($plain, 'hacked'), '', 'and did nothing');
    is(query($plain, 'joe@x.test'), 'joe', 'at all');
    ok(Posthorn::wait_for(sub { query($plain, 'brief') eq '' }), 'what is old is forgotten');
    is($ph->run_in("Key1 value one\nkey2 value two\n", $ph->sbin('postmap'), '-c', $ph->dir, '-i', $plain), '', 'postmap -i');
    is(query($plain, 'key1'), 'value one', 'adds');
    is($ph->cmd('postmap', '-d', 'key1', $plain), '', 'postmap -d');
    is(query($plain, 'key1'), '', 'removes');
    like($ph->run_in("big @{['x' x 10241]}\n", $ph->sbin('postmap'), '-c', $ph->dir, '-i', $plain), qr/fatal: .*data_size_limit allows 10240/, 'not what is too large');
    like($ph->cmd('postmap', $plain), qr/fatal: .*not built from a source file/, 'postmap alone does not build it');
    like($ph->cmd('postmap', '-s', $plain), qr/fatal: .*without a backup it cannot be listed/, 'nor does it list');

    my $out = $ph->run_in(join('', map { $_ % 2 ? "joe\@x.test\n" : "nobody$_\@x.test\n" } 1 .. 10_000), $ph->sbin('postmap'), '-c', $ph->dir, '-q', '-', $plain);
    is(scalar(() = $out =~ /^joe\@x\.test\tjoe$/mg), 5000, '10,000 look-ups');

    # With a backup.
    Posthorn::spew("$tmp/b", "first of the backup\nbad key x\n");
    is($ph->cmd('postmap', "hash:$tmp/b"), '', 'a backup');
    my $backed = cf('backed', @as, "backup = hash:$tmp/b", 'timeout = 1');
    is(query($plain, 'first'), '', 'the server does not have it');
    is(query($backed, 'first'), 'of the backup', 'the backup has');
    is(query($plain, 'first'), 'of the backup', 'and now the server too');
    is(query($backed, 'nobody'), '', 'what neither has is not found');
    is($ph->run_in("second new\n", $ph->sbin('postmap'), '-c', $ph->dir, '-i', $backed), '', 'an update');
    is(query($_, 'second'), 'new', "is in $_") for $plain, "hash:$tmp/b";
    is($ph->run_in("big @{['x' x 10241]}\n", $ph->sbin('postmap'), '-c', $ph->dir, '-i', $backed), '', 'one that is too large for the server');
    is(query($plain, 'big') . '/' . length query($backed, 'big'), '/10241', 'is in the backup only');
    like($ph->cmd('postmap', '-s', $backed), qr/^second\tnew$/m, 'it can be listed');
    is($ph->cmd('postmap', '-d', 'second', $backed), '', 'a removal');
    is(query($_, 'second'), '', "is from $_ too") for $plain, "hash:$tmp/b", $backed;
    TableRig::pause($pid);
    like(query($plain, 'joe@x.test'), qr/query error: .*lookup of/, 'hung: a failure');
    like(query($backed, 'first'), qr/^of the backup$/m, 'or the answer of the backup');
    my $asking = Posthorn::child(sub { Posthorn::spew("$tmp/asked", query(cf('slow', @as, 'timeout = 60'), 'joe@x.test') . '.') });
    ok(Posthorn::wait_for(sub { Posthorn::slurp('/proc/net/tcp') =~ /:\s*\w+:@{[sprintf '%04X', $at]} \w+:\w+ 01 \w+:(?!0{8})/m }), 'a question waits there');
    Posthorn::end_child($pid);
    ok(Posthorn::wait_for(sub { Posthorn::slurp("$tmp/asked") =~ /\.$/ }), 'killed in mid-query');
    like(Posthorn::slurp("$tmp/asked"), qr/query error: /, 'it is a failure');
    Posthorn::end_child($asking);
    like(query($plain, 'joe@x.test'), qr/query error: .*Connection refused/, 'down: a failure');
    like(query($backed, 'first'), qr/^of the backup$/m, 'or the answer of the backup');
    like(query($backed, 'nobody'), qr/^(?:(?:postmap: )?warning: .*)?$/, 'who alone says that there is no such key');
    like($ph->run_in("third new\n", $ph->sbin('postmap'), '-c', $ph->dir, '-i', $backed), qr/fatal: .*Connection refused/, 'an update fails');
    $pid = $start->();
    is(query($plain, 'joe@x.test'), '', 'up again, and empty');
    is(query($backed, 'first'), 'of the backup', 'the backup is not');
    Posthorn::end_child($pid);
}
done_testing();
