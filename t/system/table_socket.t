#!/usr/bin/perl
# tcp and socketmap tables against servers of this test: answers, servers that
# are down, killed, hung, that talk nonsense or too much; and in a sealed smtpd
# that serves others meanwhile.  Whatever happens, nobody is "not found".
use strict;
use warnings;
use IO::Socket::UNIX;
use Socket qw(SOMAXCONN);
use Test::More;
use lib 't/lib';
use Posthorn;
use TableRig;

my $tmp = File::Temp->newdir('posthorn-XXXXXX', TMPDIR => 1);

# posthorn-table-test with that script.
sub script { return TableRig::script('socket', $_[0], "$tmp", $_[1]) }

# ---- tcp ----
my $once = "$tmp/once";
my $listen = TableRig::inet();
my $port = $listen->sockport;
my $long = 'x' x 4000;
my %answer = (
    plain => '200 a value', blanks => "200 a%20b  c", kept => "200  x ", tab => "200\tv", other2 => '250 v', empty => '200 ', percent => '200 100%25%0a', none => '500 no', other5 => '599 x',
    temp => '400 come back', long => "200 $long", 'a%20b%25%7F%C3%A9"' => '200 quoted',
    two => '2xx v', digits => '2000 v', glued => '200v', short => '5 z', third => '300 v', hex => '200 %zz', half => '200 %4', words => 'hello', nothing => '',
);
my $tcp = sub {
    my ($c, $q) = @_;
    return unless $q =~ /^get (.*)\n/;
    my $k = $1;
    return 1 if $k eq 'hang';
    return print $c 'x' x 5000, "\n" if $k eq 'big';
    if ($k eq 'endless') { $SIG{PIPE} = 'DEFAULT'; print $c 'x' x 65536 for 1 .. 1e5; return }
    return print $c "200 mine\n200 of another\n" if $k eq 'twice';
    if ($k eq 'drop') {           # the first time: half an answer, and gone
        return print $c "200 second\n" if -e $once;
        Posthorn::spew($once, 'x');
        print $c '200 fi';
        return;
    }
    return print $c ($answer{$k} // '500 not here'), "\n";
};
my $server = TableRig::server($listen, sub { my $l = readline $_[0]; $l }, $tcp);
is(script('tcp', <<"T"), '', 'tcp: answers of a server, good and bad');
open tcp:127.0.0.1:$port
found plain -- a value
found blanks -- a b  c
found tab -- v
found other2 -- v
found empty --
found long -- $long
none none
none other5
none nobody
fails temp -- the server says: come back
found a b%\x7f\xc3\xa9" -- quoted
none Plain
fails two -- malformed answer "2xx v"
fails digits -- malformed answer
fails glued -- malformed answer
fails short -- malformed answer
fails third -- malformed answer "300 v"
fails hex -- malformed answer
fails half -- malformed answer
fails words -- malformed answer "hello"
fails nothing -- malformed answer
fails big -- the answer is longer than 4096 bytes
found plain -- a value
fails endless -- the answer is longer
found plain -- a value
# what came too much is no answer to another question
found twice -- mine
found plain -- a value
found drop -- second
# hung
within 300
fails hang --
found plain -- a value
open tcp:localhost:$port
found plain -- a value
open tcp:$port
found plain -- a value
open tcp::$port
found plain -- a value
T
# Killed between two look-ups, and there again.
Posthorn::end_child($server);
$server = TableRig::server(TableRig::inet(LocalPort => $port), sub { my $l = readline $_[0]; $l }, $tcp);
is(script('tcp', "open tcp:127.0.0.1:$port\nfound plain -- a value\n"), '', 'tcp: a server that was started anew');
my $dying;
my $dies = TableRig::inet();
my $dies_port = $dies->sockport;
$dying = TableRig::server($dies, sub { my $l = readline $_[0]; $l }, sub { kill 'TERM', getppid; POSIX::_exit(1) });
is(script('tcp', "open tcp:127.0.0.1:$dies_port\nfails x -- Connection refused\n"), '', 'tcp: killed in mid-query, it is tried for a while and then a failure');
Posthorn::end_child($dying);

# ---- socketmap ----
sub read_netstring {
    my ($c) = @_;
    my ($n, $q) = ('', '');
    while (1) { return unless read($c, my $ch, 1); last if $ch eq ':'; $n .= $ch }
    return unless read($c, $q, $n + 1) == $n + 1 && $q =~ s/,$//;
    return $q;
}
my $netstring = sub { return length($_[0]) . ":$_[0]," };
my %said = (ok => 'OK a value', empty => 'OK ', bare => 'OK', blanks => 'OK  a  b ', none => 'NOTFOUND ', none2 => 'NOTFOUND', temp => 'TEMP t', timeout => 'TIMEOUT o', perm => 'PERM p', lower => 'ok x',
    word => 'foo', nothing => '', "bytes\n" => "OK \0\n");
my %raw = (nocomma => '5:OK ab;', nolength => 'x5:OK ab,', zeros => '0000005:OK ab,', big => '200000:', huge => '99999999999999999999:', line => "OK ab\n", twice => '5:OK ab,9:OK other,');
my $socketmap = sub {
    my ($c, $q) = @_;
    my ($name, $k) = split / /, $q, 2;
    return 1 if $k eq 'hang';
    if ($k eq 'last') { print $c $netstring->('OK bye'); return }
    if ($k eq 'drop') { print $c '10:OK'; return }
    return print $c $raw{$k} if exists $raw{$k};
    return print $c $netstring->($name ne 'map' ? "OK $name" : $said{$k} // 'NOTFOUND ');
};
$listen = TableRig::inet();
my $sm_port = $listen->sockport;
my $sm = TableRig::server($listen, \&read_netstring, $socketmap);
my $unix = TableRig::server(IO::Socket::UNIX->new(Local => "$tmp/sock", Listen => SOMAXCONN) // die("$!"), \&read_netstring, $socketmap);
my $cases = <<'T';
found ok -- a value
found empty --
none bare
none none
none none2
none nobody
fails temp -- the server says: TEMP t
fails timeout -- the server says: TIMEOUT o
fails perm -- the server says: PERM p
fails lower -- not in the protocol: ok x
fails word -- not in the protocol: foo
fails nothing -- not in the protocol
fails nocomma -- malformed answer
fails nolength -- malformed answer
found zeros -- ab
fails big -- socketmap_max_reply_size allows 100000
fails huge -- malformed answer
fails line -- malformed answer
found twice -- ab
found ok -- a value
# the server hangs up behind an answer: another connection, silently
found last -- bye
found ok -- a value
found last -- bye
found last -- bye
# in the middle of one it is a failure
fails drop -- connection closed by the peer
found ok -- a value
within 300
fails hang --
found ok -- a value
T
is(script('socketmap', "open socketmap:inet:127.0.0.1:$sm_port:map\n$cases"), '', 'socketmap: answers of a server over TCP');
is(script('socketmap', "open socketmap:unix:$tmp/sock:map\n$cases"), '', 'socketmap: over a UNIX socket');
is(script('socketmap', "open socketmap:inet:127.0.0.1:$sm_port:other\nfound ok -- other\n"), '', 'socketmap: the name goes with the question');
my $key = 'k' x 10000;
is(script('socketmap', "open socketmap:inet:127.0.0.1:$sm_port:map\nnone $key\nwarned socketmap_max_query_size\n"), '', 'socketmap: too large a key is not found, with a warning');

# 10,000 look-ups through one connection each.
my $ph = Posthorn->new;
is($ph->cmd('postmap', '-q', 'kept', "tcp:127.0.0.1:$port"), " x \n", 'tcp: one blank stands between the code and the value');
my $keys = join '', map { $_ % 2 ? "plain\n" : "nobody$_\n" } 1 .. 10_000;
my $out = $ph->run_in($keys, $ph->sbin('postmap'), '-c', $ph->dir, '-q', '-', "tcp:127.0.0.1:$port");
is(scalar(() = $out =~ /^plain\ta value$/mg), 5000, 'tcp: 10,000 look-ups');
$out = $ph->run_in($keys =~ s/plain/ok/gr, $ph->sbin('postmap'), '-c', $ph->dir, '-q', '-', "socketmap:unix:$tmp/sock:map");
is(scalar(() = $out =~ /^ok\ta value$/mg), 5000, 'socketmap: 10,000 look-ups');

# ---- in a sealed smtpd ----
$ph->set(smtpd_recipient_restrictions => "check_recipient_access tcp:127.0.0.1:$port, check_recipient_access socketmap:unix:$tmp/sock:map, permit",
    smtpd_relay_restrictions => 'reject_unauth_destination', smtpd_delay_reject => 'no');
%said = (%said, 'sm@example.test' => 'OK REJECT by socketmap');
$ph->start;
$answer{$_->[0]} = $_->[1] for ['no@example.test' => '200 REJECT by tcp'];
Posthorn::end_child($_) for $server, $unix;       # with what they have learnt
unlink "$tmp/sock";
$server = TableRig::server(TableRig::inet(LocalPort => $port), sub { my $l = readline $_[0]; $l }, sub { my ($c, $q) = @_; return $q =~ /hang/ ? 1 : $tcp->($c, $q) });
$unix = TableRig::server(IO::Socket::UNIX->new(Local => "$tmp/sock", Listen => SOMAXCONN) // die("$!"), \&read_netstring, $socketmap);
chmod 0777, "$tmp", "$tmp/sock";
TableRig::serves_smtpd($ph, { no => 'by tcp', sm => 'by socketmap' }, sub { Posthorn::end_child($server) },
    sub { $server = TableRig::server(TableRig::inet(LocalPort => $port), sub { my $l = readline $_[0]; $l }, $tcp) });
$ph->stop;
Posthorn::end_child($_) for $server, $unix, $sm;
done_testing();
