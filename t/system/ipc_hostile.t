#!/usr/bin/perl
# IPC is hostile: every socket of a running system is fed with everything that no
# client would say (t/ipc).  Only that connection closes: the process stays the
# same, who was connected before is served, memory and descriptors stay as they
# were, the log has at most a line for each, and mail flows.
# IPC_ROUNDS=N, IPC_SEED=N: more frames by chance, the same ones again.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;

my $feed = "$Posthorn::build/t/ipc/feed";
plan skip_all => 't/ipc/feed is not built' unless -x $feed;
my $asan = `nm $feed 2>/dev/null` =~ /__asan_init/;
my $rounds = $ENV{IPC_ROUNDS} || 40;
my $every = $ENV{IPC_ROUNDS} ? 1 : 12;
my $seed = $ENV{IPC_SEED} || time;
diag "seed $seed, $rounds frames by chance for each conversation";

# Of names nobody knows any: at once.
my $names = IO::Socket::INET->new(Proto => 'udp', LocalAddr => '127.0.0.1') or die "dns: $!";
Posthorn::child(sub {
    while (defined(my $from = $names->recv(my $q, 1500))) { $names->send(substr($q, 0, 2) . pack('n', 0x8183) . substr($q, 4), 0, $from) if length $q > 12 }
});

my $ph = Posthorn->new(default_transport => 'discard:', relay_transport => 'discard:', max_idle => '1h', disk_threads => '2',
    my_table => 'proxy:static:fed', proxy_read_maps => '$my_table', proxy_write_maps => 'proxy:btree:$data_directory/fed',
    dns_servers => '127.0.0.1@' . $names->sockport, relay_domains => 'held.test',
    transport_maps => 'inline:{held.test=lmtp:inet:127.0.0.1:1}');
$ph->edit_master(sub {
    s/(name: (?:cleanup|rewrite),.*)place: inline/$1place: process, processes: 1/g;
    s/(transport: \w+, listen: unix)/$1, processes: 1/g;
    s/(plugin: (?:pickup|showq), listen: unix)/$1, processes: 1/g;
    s/(plugin: proxymap, listen: unix)\}/$1, processes: 1}/;
    my $who = $> == 0 ? 'daemon' : $> . ':' . ($) + 0);
    $_ .= qq(  - {name: pipe, transport: pipe, listen: unix, processes: 1, args: ["user=$who", "argv=/bin/cat"]}\n)
        . qq(  - {name: spawned, plugin: spawn, listen: unix, processes: 1, args: ["user=$who", "argv=/bin/cat"]}\n);
});
$ph->start;

sub send_mail { my ($to) = @_; my ($code, $text) = $ph->smtp->send(from => 'a@client.test', to => [$to], body => "Subject: t\r\n\r\nx\r\n"); return $code == 250 ? $text : undef }

# A message that stays, and a copy of its file to be shown to those who deliver.  Another that the
# administrator's conversation names: one of its spoilt frames says "delete", and is obeyed.
my ($id) = send_mail('stays@held.test') =~ /queued as (\w+)/ or die $ph->log;
my ($goes) = send_mail('goes@held.test') =~ /queued as (\w+)/ or die $ph->log;
ok(Posthorn::wait_for(sub { 2 == grep { $_->{queue_name} eq 'deferred' } $ph->queued }), 'two messages are deferred');
my ($file) = glob $ph->queue . "/deferred/*/$id";
my $copy = "$ph->{tmp}/message";
Posthorn::spew($copy, Posthorn::slurp($file));

# ---- what a well-behaved client of each socket says ----

my @rcpt = (rcpt => 0, address => 'u@discard.test', original => 'u@discard.test', notify => 'NEVER');
my @extents = (header_offset => 256, header_bytes => 20, body_offset => 278, body_bytes => 30, longest_line => 20, facts => 0, arrival => 1700000000000000);
my $number = qr/\d/;

# Each a list of [attributes] or [attributes, descriptors, bytes behind the frame].
sub hello { my ($role) = @_; return [[op => 'hello', role => $role, service => 'test', pid => $$]] }
my %talks = (
    rewrite => sub { return [[[op => 'rewrite', context => 'local', address => 'user', address => 'u@v']], [[op => 'resolve', sender => 'a@b.test', address => 'u@discard.test']]] },
    bounce => sub { return [[[op => 'append', log => 'defer', queue_id => '4BAD0000000001', index => 0, recipient => 'u@discard.test', dsn => '4.0.0', text => 'x']],
        [[op => 'read', log => 'defer', queue_id => '4BAD0000000001']], [[op => 'remove', log => 'defer', queue_id => '4BAD0000000001']],
        [[op => 'notify', kind => 'delay', queue_id => '4BAD0000000001'], 1]] },
    cleanup => sub { return [[[op => 'begin', who => 'net', context => 'remote', sender => 'a@b.test', client_name => 'c', client_address => '192.0.2.1']],
        [[op => 'rcpt', address => 'u@discard.test', original => 'u@discard.test', dsn_notify => 'NEVER']],
        [[op => 'content', bytes => 17], 0, "Subject: x\r\n\r\nx\r\n"], [[op => 'end', facts => 0]]] },
    intake => sub { return [hello('intake'), [[op => 'lease', who => 0, count => 2]], [[op => 'commit', slot => '0/0.0', record => substr(Posthorn::slurp($copy), 0, 256), envelope => 'x', rcpts => 'y']],
        [[op => 'drop', slot => '0/0.0']], [[op => 'hold', slot => '0/0.0', slot => '1/1.1'], 1]] },
    agent => sub { return [hello('agent'), [[op => 'outcomes', number => 0, queue_id => $id, rcpt => 0, status => 'sent', dsn => '2.0.0', text => 'ok'], 1]] },
    control => sub { return [hello('control'), [[op => 'exists', queue_id => '4BAD0000000001']], [[op => 'open', queue_id => $goes]], [[op => 'list', queue => 'deferred']],
        [[op => 'hold', queue_id => '4BAD0000000001']], [[op => 'flush', queue_id => '4BAD0000000001']]] },
    transport => sub { return [hello('qmgr'), [[op => 'deliver', number => 0, nexthop => 'discard.test', active => 1700000000000000, reuse => 0, @extents,
        queue_id => '4BAD0000000001', sender => 'a@b.test', @rcpt], 1]] },
    # Tables that it has, and one that it refuses; of changes it says no, or makes them.
    tables => sub { return [[[op => 'lookup', table => 'static:fed', flags => 1, proxied => 1, wait => 1000, key => 'k']], [[op => 'open', table => 'hash:/etc/passwd', flags => 1, proxied => 0, wait => 1000]],
        [[op => 'walk', table => 'static:fed', flags => 1, proxied => 1, wait => 1000, first => 1]], [[op => 'update', table => 'static:fed', flags => 2, proxied => 1, wait => 1000, key => 'k', value => 'v']]] },
    changes => sub { my $t = 'btree:' . $ph->dir . '/data/fed'; return [[[op => 'update', table => $t, flags => 2, proxied => 1, wait => 1000, key => 'k', value => 'v']],
        [[op => 'walk', table => $t, flags => 2, proxied => 1, wait => 1000, first => 1]], [[op => 'walk', table => $t, flags => 2, proxied => 1, wait => 1000, first => 0]], [[op => 'remove', table => $t, flags => 2, proxied => 1, wait => 1000, key => 'k']]] },
    silent => sub { return [[[op => 'anything', at => 'all']]] },
);

# Socket => conversations, and what the connection of old asks and hears.
my %of = (
    'private/rewrite' => { talks => ['rewrite'], ask => sub { return [[[op => 'rewrite', context => 'local', address => 'user']]] }, hear => 'status' },
    'private/bounce'  => { talks => ['bounce'], ask => sub { return [[[op => 'read', log => 'defer', queue_id => '4BAD0000000002']]] }, hear => 'ok' },
    'private/cleanup' => { talks => ['cleanup'], ask => sub { return [[[op => 'begin', who => 'net', context => 'remote', sender => 'a@b.test']]] }, hear => 'queue_id' },
    'private/qmgr'    => { talks => [qw(intake agent control)], ask => sub { return [hello('control'), [[op => 'exists', queue_id => $id]]] }, hear => 'found' },
    'public/qmgr'     => { talks => ['control', 'intake'], ask => sub { return [hello('control'), [[op => 'exists', queue_id => $id]]] }, hear => 'found' },
    'public/pickup'   => { talks => ['silent'] },
    'public/showq'    => { talks => ['silent'] },
    'private/proxymap' => { talks => ['tables'], lodgers => 3 },    # it ends connections that ask nothing, one after the other, a second each
    'private/proxywrite' => { talks => ['changes', 'tables'] },
    'private/spawned' => { talks => ['silent'] },
);
$of{"private/$_"} = { talks => ['transport'] } for qw(smtp relay local lmtp virtual error retry discard pipe);

# ---- feeding ----

sub talk_file {
    my ($name, $parts) = @_;
    my $out = '';
    for my $p (@$parts) {
        my ($attr, $fds, $behind) = @$p;
        my $bytes = Posthorn::frame(@$attr) . ($behind // '');
        substr $bytes, 4, 1, chr($fds // 0);
        $out .= pack 'V C a*', length $bytes, $fds // 0, $bytes;
    }
    my $path = "$ph->{tmp}/talk.$name";
    Posthorn::spew($path, $out);
    return $path;
}

# The feeder's own pid stands in the hellos: they are written by who becomes it.
sub run_feed {
    my ($path, $of, $pid) = @_;
    my $child = open(my $out, '-|') // die "fork: $!";
    if (!$child) {
        %Posthorn::live = ();
        my @talks = map { talk_file("$_", $talks{$_}->()) } @{ $of->{talks} };
        my @old = $of->{ask} ? ('-q', talk_file('ask', $of->{ask}->()), '-a', $of->{hear}) : ();
        exec $feed, '-l', $of->{lodgers} // 16, '-s', $seed, '-n', $rounds, '-e', $every, '-w', 20000 * $Posthorn::slow, '-f', $copy, '-p', $pid, @old, $path, @talks or POSIX::_exit(127);
    }
    local $/;
    my $text = <$out>;
    close $out;
    return ($text, $?);
}

sub worker { my ($name) = @_; my %p = $ph->processes; return grep { $p{$_} =~ /worker -n \Q$name\E -t unix/ } sort keys %p }
sub rss { my ($pid, $what) = @_; return Posthorn::slurp("/proc/$pid/status") =~ /^$what:\s+(\d+)/m ? $1 / 1024 : 0 }
sub fds { my ($pid) = @_; opendir my $d, "/proc/$pid/fd" or return 0; return scalar grep { /\d/ } readdir $d }
# Complaints: a delivery that was asked for in good form has its line, and may.
sub lines { return scalar(() = $ph->log =~ /: (?:warning|error|fatal|panic): /g) }

sub connect_unix {
    my ($path) = @_;
    socket my $s, Socket::AF_UNIX(), Socket::SOCK_STREAM(), 0 or die "socket: $!";
    connect $s, Socket::pack_sockaddr_un($path) or return;
    return $s;
}

sub spawner { my ($pid) = @_; return Posthorn::slurp("/proc/$pid/comm") =~ /^spawner/ }
sub serving { my ($name) = @_; return grep { !spawner($_) } worker($name) }

my ($frames, $sockets, $asked) = (0, 0, 0);
my @paths = map { my $d = $_; map { "$d/$_" } map { m{([^/]+)$} } grep { -S } glob $ph->queue . "/$d/*" } qw(private public net);
is_deeply([grep { !$of{$_} } @paths], [], 'each socket is known to this test') or diag "@paths";

for my $short (grep { $of{$_} } @paths) {
    my ($name) = $short =~ m{/(.*)};
    my $path = $ph->queue . "/$short";
    my $first = connect_unix($path);
    ok(Posthorn::wait_for(sub { serving($name) == 1 }), "$short: a worker comes") or diag $ph->log;
    my ($pid) = serving($name);
    close $first;
    my ($text, $status);
    # Twice: what the first one leaves in caches and heaps is no leak; what each leaves is.
    my $before = { rss => rss($pid, 'VmRSS'), fds => fds($pid), lines => lines() };
    Posthorn::spew("/proc/$pid/clear_refs", '5') if -w "/proc/$pid/clear_refs";
    ($text, $status) = run_feed($path, $of{$short}, $pid);
    my ($n, $q) = $text =~ /frames (\d+) asked (\d+)/;
    is($status, 0, "$short: " . ($n // 0) . ' hostile frames, only their connections close') or diag $text;
    $frames += $n // 0;
    $asked += $q // 0;
    $sockets++;
    is_deeply([serving($name)], [$pid], "$short: the same process serves");
    # Beside a few: idle connections to another service are kept, 16 at most.
    ok(Posthorn::wait_for(sub { fds($pid) <= $before->{fds} + 8 + 16 }, 10), "$short: no descriptor stays") or diag "before $before->{fds}, now " . fds($pid) . "\n" . `ls -l /proc/$pid/fd`;
    my $peak = rss($pid, 'VmHWM') - $before->{rss};
    cmp_ok($peak, '<', $asan ? 600 : 64, sprintf '%s: memory is bounded (%.1f MiB more at the worst)', $short, $peak);
    cmp_ok(lines() - $before->{lines}, '<=', $n // 0, "$short: at most a warning for each");
}
diag "hostile frames: $frames on $sockets sockets; $asked times the older connections were served";

ok(defined send_mail('u@example.test'), 'mail is accepted');
is(scalar $ph->wait_mail('u', 1), 1, 'and delivered');
ok(Posthorn::wait_for(sub { grep { $_->{queue_id} eq $id && $_->{queue_name} eq 'deferred' } $ph->queued }), 'the deferred message is where it was')
    or diag $ph->cmd('postqueue', '-j'), $ph->log;
unlike($ph->log, qr{panic|assert|fatal|postfix/master.*killed by signal|AddressSanitizer}, 'nothing died');
$ph->stop;
done_testing;
