#!/usr/bin/perl
# The spawn service: each client talks to a command of its own, which has the
# rights of its user, ends in time, and goes when its worker goes.
use strict;
use warnings;
use Test::More;
use IO::Socket::INET;
use IO::Socket::UNIX;
use lib 't/lib';
use Posthorn;

my $root = $> == 0;
my $who = $root ? 'daemon' : "$>:" . ($) + 0);
my ($uid, $gid) = $root ? (getpwnam 'daemon')[2, 3] : ($>, $) + 0);
my $port = Posthorn::free_port();
my $ph = Posthorn->new(slow_time_limit => '1s', export_environment => 'LANG=C');
my $yaml = '';
sub service {
    my ($name, $listen, @args) = @_;
    $yaml .= "  - {name: $name, plugin: spawn, listen: $listen, args: [" . join(', ', map { "'$_'" } @args) . "]}\n";
}
service('talk', 'unix', "user=$who", 'argv=/bin/sh', '-c', 'echo "$(id -u) $(id -g) $0" $(env | grep -v ^PWD=); read x; echo "got $x" >&2; pwd; exit 3', '; echo no shell');
service("port", "\"inet:127.0.0.1:$port\"", 'USER=' . $who, 'ARGV=cat');
service('slow', 'unix', "user=$who", 'argv=/bin/sh', '-c', 'sleep 1000 & echo $!; wait');
service('sig', 'unix', "user=$who", 'argv=/bin/sh', '-c', 'kill -11 $$');
service('stay', 'unix', "user=$who", 'argv=/bin/sh', '-c', 'echo $$ $PPID; exec sleep 1000');
$ph->edit_master(sub { $_ .= $yaml });
$ph->start;

sub dial { my ($name) = @_; my $s; Posthorn::wait_for(sub { $s = IO::Socket::UNIX->new(Peer => $ph->queue . "/private/$name") }); return $s }

my $c = dial('talk');
like(scalar <$c>, qr/^$uid $gid ; echo no shell PATH=\/usr\/bin:\/bin LANG=C( _=\S+)?$/, 'user, group, arguments, environment');
print $c "hello\n";
is(scalar <$c>, "got hello\n", 'standard input and standard error are the connection');
is(scalar <$c>, $ph->queue . "\n", 'it starts in the queue directory');
is(scalar <$c>, undef, 'its end is the end of the connection');
ok($ph->wait_log(qr/spawn\[\d+\]: warning: command \/bin\/sh exit status 3/), 'a status other than 0 is a warning');

my @many = map { IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port") } 1 .. 5;
print { $many[$_] } "to $_\n" for reverse 0 .. 4;
is(join('', map { scalar readline $_ } @many), "to 0\nto 1\nto 2\nto 3\nto 4\n", 'clients over TCP, each with its own command');
my $big = 'x' x 300000;
shutdown $many[0], 1 if print { $many[0] } $big;
is(length(do { local $/; readline $many[0] }), 300000, 'much goes both ways');
$_->close for @many;
unlike($ph->log, qr/command cat/, 'a command that ends well is not worth a word');

$c = dial('slow');
my $pid = <$c>;
is(scalar <$c>, undef, 'the time limit ends the connection');
ok($ph->wait_log(qr/warning: command \/bin\/sh: time limit of 1 seconds exceeded/), 'with a warning');
ok(Posthorn::wait_for(sub { !kill 0, $pid + 0 }), 'and with what the command started');
$c = dial('sig');
is(scalar <$c>, undef, 'a command that crashes');
ok($ph->wait_log(qr/warning: command \/bin\/sh killed by signal 11/), 'is a warning');

$c = dial('stay');
my ($command, $spawner) = split ' ', scalar <$c>;
my ($worker) = Posthorn::slurp("/proc/$spawner/stat") =~ /\) \S (\d+)/;
kill 'KILL', $worker;
ok(Posthorn::wait_for(sub { !-e "/proc/$spawner" && !(kill 0, $command) }), 'kill -9 of the worker: its command goes too') or diag `ps axf`;
$c = dial('stay');
like(scalar <$c>, qr/^\d+ \d+$/, 'the next worker serves');
$ph->stop;
unlike($ph->log, qr/panic|assert|fatal/, 'nothing broke');

my $bad = Posthorn->new;
$yaml = '';
service('a', 'unix', 'user=no-such-user', 'argv=x');
service('b', 'unix', 'argv=x');
service('c', 'unix', "user=$who", 'argv=');
service('d', 'unix', "user=$who", 'usr=x', 'argv=x');
service('e', 'unix', 'user=root', 'argv=x');
$bad->edit_master(sub { $_ .= $yaml });
$bad->start;
my %want = (a => 'user=no-such-user: no such user or group', b => 'user= is missing', c => 'argv= names no command', d => 'unknown attribute "usr=x"',
    e => $root ? 'user=root: nothing is done with the rights of root' : 'user=root: the mail system runs as user');
for my $name (sort keys %want) {
    my $s = IO::Socket::UNIX->new(Peer => $bad->queue . "/private/$name");
    ok($bad->wait_log(qr/fatal: service $name: \Q$want{$name}\E/), "refused: $want{$name}");
}
done_testing();
