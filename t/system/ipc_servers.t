#!/usr/bin/perl
# The other side of ipc_hostile.t: services that answer nonsense.  In the place of
# rewrite, bounce, cleanup, proxymap, a transport and qmgr stands, for a while, one that says
# everything but an answer.  Nothing that it says is a verdict: clients hear 4xx,
# mail stays in the queue, nobody dies, and when the right one is back mail flows.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use List::Util ();
use Posthorn;

my $seed = $ENV{IPC_SEED} || time;
srand $seed;
diag "seed $seed";
my $rounds = $ENV{IPC_ROUNDS} ? 10 : 1;
my $sample = $ENV{IPC_ROUNDS} ? 100 : 5;      # kinds of nonsense, by chance

# Refuses for good: what it says is reported by a notice.
my $sink = Posthorn::Sink->new(rcpt => sub { my ($l, $to) = @_; return $to =~ /^no/ ? '550 5.1.1 no such user' : '250 2.1.5 ok' });
my $ph = Posthorn->new(relay_domains => 'there.test', transport_maps => 'inline:{there.test=smtp:[127.0.0.1]:' . $sink->port . '}',
    minimal_backoff_time => '1s', maximal_backoff_time => '1s', queue_run_delay => '1s', transport_retry_time => '1s', ipc_timeout => '2s',
    in_flow_delay => '1s', smtpd_timeout => '60s');
$ph->edit_master(sub { s/(name: (?:cleanup|rewrite),.*)place: inline/$1place: process, processes: 1/g });
$ph->start;

my $many = join '', map { pack 'C/a V/a', rcpt => $_ } 1 .. 60000;
my $routes = join '', map { pack 'C/a V/a', transport => "t$_" } 1 .. 30000;

# What is said to each request: bytes, then perhaps the end.
sub nonsense {
    my ($but) = @_;
    my @f = (
        ['', 1],
        [join('', map { chr int rand 256 } 1 .. 1 + int rand 300), 0],
        ["\xff\xff\xff\xff\0\0\1\0", 0],
        [pack('V', 1 << 20) . "\0\0\1\0", 1],
        [substr(Posthorn::frame(status => 'ok', queue_id => 'X', reply => '250 ok'), 0, 20), 1],
        [Posthorn::frame(status => 'ok'), 0],
        [Posthorn::frame(status => "ok\0", reply => "250 ok\r\n550 x", reason => "a\nb"), 0],
        [Posthorn::frame(op => 'hello', role => 'qmgr', pid => 1), 0],
        [Posthorn::frame(status => 'temp', reason => 'x' x 50000), 0],
        [Posthorn::frame(op => 'outcomes', number => 0, queue_id => '4BAD0000000001', rcpt => 0, status => 'sent', dsn => '2.0.0'), 0],
        [Posthorn::frame(window => '18446744073709551615', status => 'ok') . Posthorn::frame(op => 'outcomes', number => 4294967295, rcpt => 7, status => 'bounced', dsn => '5.0.0'), 0],
        [Posthorn::frame(op => 'lease', slot => '../../etc/passwd', inode => 1, status => 'ok'), 0],
        [Posthorn::frame(op => 'settings', size_limit => '-1', flow_delay => '99999999', long_ids => 'x'), 0],
        [pack('V C C v', 4 + length $many, 0, 0, 60000) . $many, 0],
        [pack('V C C v', 4 + length $routes, 0, 0, 30000) . $routes, 0],
        ["\0" x 3000000, 1],
        [pack('V C C v', 4, 16, 0, 0), 0],
    );
    return (List::Util::shuffle(grep { !defined $but || $_->[0] !~ $but } @f))[0 .. $sample - 1] if $sample < @f;
    return grep { !defined $but || $_->[0] !~ $but } @f;
}

# A server in the place of a socket; `took` counts its clients.
sub stand_in {
    my ($name, $but) = @_;
    my $path = $ph->queue . "/$name";
    rename $path, "$path.real" or die "$path: $!";
    socket my $l, Socket::AF_UNIX(), Socket::SOCK_STREAM(), 0 or die;
    bind $l, Socket::pack_sockaddr_un($path) or die "$path: $!";
    chmod 0666, $path;
    listen $l, 100 or die;
    my $pid = Posthorn::child(sub {
        my $n = 0;
        my %io;
        my @say = nonsense($but);
        open my $count, '>>', "$ph->{tmp}/took";
        while (1) {
            my $r = '';
            vec($r, fileno $_, 1) = 1 for $l, map { $_->{s} } values %io;
            next unless select $r, undef, undef, undef;
            if (vec $r, fileno $l, 1) { accept my $c, $l or next; $c->blocking(0); $io{ fileno $c } = { s => $c } }
            for my $fd (grep { vec $r, $_, 1 } keys %io) {
                my $c = $io{$fd}{s};
                my $got = sysread $c, my $req, 65536;
                if (!$got) { delete $io{$fd}; next }
                my ($bytes, $end) = @{ $say[$n++ % @say] };
                syswrite $count, '.';
                my $at = 0;
                while ($at < length $bytes) {
                    my $w = '';
                    vec($w, $fd, 1) = 1;
                    last unless select undef, $w, undef, 2;
                    my $put = syswrite $c, $bytes, length($bytes) - $at, $at;
                    last unless $put;
                    $at += $put;
                }
                delete $io{$fd} if $end;
            }
        }
    });
    close $l;
    return sub {
        Posthorn::end_child($pid);
        rename "$path.real", $path or die "$path: $!";
    };
}

sub took { return -s "$ph->{tmp}/took" || 0 }
sub pids { my ($name) = @_; my %p = $ph->processes; return join ' ', sort { $a <=> $b } grep { $p{$_} =~ /worker -n \Q$name\E / } keys %p }
# A fresh pool of connections: old workers go, and what was connected to them.
sub fresh {
    my (@names) = @_;
    my %old = map { $_ => pids($_) } @names;
    $ph->postfix('reload');
    for my $name (@names) {
        my @old = split / /, $old{$name};
        Posthorn::wait_for(sub { my %now = map { $_ => 1 } split / /, pids($name); !grep { $now{$_} } @old });
    }
}
sub attempt {
    my ($to, $from) = @_;
    my $c = $ph->smtp or return (0, '');
    my @r = $c->send(from => $from // 'a@example.test', to => [$to], body => "Subject: t\r\n\r\nx\r\n");
    return @r;
}

my $total = 0;
my $variants = $sample < 100 ? $sample : 14;

# Sessions until each sort of nonsense was said: answers by their first digit.
sub sessions {
    my ($what, @to) = @_;
    my ($before, %seen) = took();
    my $i = 0;
    Posthorn::wait_for(sub {
        my ($code, $text) = attempt($to[$i++ % @to]);
        $seen{ substr $code, 0, 1 } .= "$text\n";
        return took() - $before >= $variants * $rounds || $i >= 3 * $variants * $rounds;
    }, 60);
    $total += took() - $before;
    cmp_ok(took() - $before, '>=', $variants * $rounds, "$what: each kind of nonsense was heard");
    ok(!$seen{5}, "$what: no 5xx") or diag $seen{5};
    return \%seen;
}

sub flows {
    my ($what) = @_;
    my ($code, $text);
    ok(Posthorn::wait_for(sub { ($code, $text) = attempt('u@example.test'); $code == 250 }), "$what: mail is accepted again") or diag $text, $ph->log;
}

# ---- rewrite, asked by smtpd and qmgr ----

my ($code, $text) = attempt('u@example.test');
is($code, 250, 'all is well at first') or diag $text;
$ph->wait_mail('u', 1);
my $back = stand_in('private/rewrite');
fresh('rewrite', 'smtp');
attempt('w@example.test');
my $smtpd = pids('smtp -t inet');
my $seen = sessions('rewrite', 'u@example.test', 'v@example.test');
ok(!$seen->{2}, 'rewrite: nothing is accepted meanwhile') or diag $seen->{2};
is(pids('smtp -t inet'), $smtpd, 'rewrite: smtpd lives');
$back->();
flows('rewrite');

# ---- cleanup, asked by smtpd ----

$back = stand_in('private/cleanup');
fresh('cleanup', 'smtp');
attempt('w@example.test');
$smtpd = pids('smtp -t inet');
$seen = sessions('cleanup', 'u@example.test');
ok(!$seen->{2}, 'cleanup: nothing is accepted meanwhile') or diag $seen->{2};
is(pids('smtp -t inet'), $smtpd, 'cleanup: smtpd lives');
$back->();
flows('cleanup');

# ---- proxymap, asked by smtpd ----

my ($boxes) = Posthorn::slurp($ph->dir . '/main.cf') =~ /^virtual_mailbox_maps = (.*)$/m;
$ph->set(virtual_mailbox_maps => "proxy:$boxes");
$back = stand_in('private/proxymap');
# After five answers of that kind an smtpd asks no more for a while; so another one is born then.
my ($begun, %heard) = took();
for (1 .. 2 + $variants * $rounds / 4) {
    fresh('smtp');
    $heard{ substr((attempt('u@example.test'))[0], 0, 1) }++ for 1 .. 5;
}
$total += took() - $begun;
cmp_ok(took() - $begun, '>=', $variants * $rounds, 'proxymap: each kind of nonsense was heard');
is(join(' ', keys %heard), 4, 'proxymap: nothing is accepted, nothing refused for good') or diag explain \%heard;
$back->();
flows('proxymap');
$ph->set(virtual_mailbox_maps => $boxes);
fresh('smtp');

# ---- a transport, asked by qmgr; bounce, told by qmgr; rewrite, asked by qmgr ----

my $qmgr = pids('qmgr');
my $n = $sink->messages;
$back = stand_in('private/smtp');
fresh('smtp -t unix');
my $before = took();
my @ids = map { (attempt("u$_\@there.test"))[1] =~ /queued as (\w+)/ } 1 .. 3;
is(scalar @ids, 3, 'a transport: mail is accepted');
ok(Posthorn::wait_for(sub { took() - $before >= $variants }, 90), 'a transport: each kind of nonsense was heard') or diag took() - $before;
$total += took() - $before;
is(scalar(grep { my $id = $_; grep { $_->{queue_id} eq $id } $ph->queued } @ids), 3, 'and the mail is still there');
$back->();
$ph->cmd('postqueue', '-f');
ok(Posthorn::wait_for(sub { $sink->messages >= $n + 3 }, 30), 'a transport: the right one delivers it') or diag $ph->log;

# (A bounce that says ok is believed: that is no nonsense.)
$back = stand_in('private/bounce', qr/status\x02\0\0\0ok/);
fresh('bounce');
$before = took();
my ($failed) = (attempt('no1@there.test', 'sender@example.test'))[1] =~ /queued as (\w+)/;
ok(Posthorn::wait_for(sub { took() - $before >= $variants }, 90), 'bounce: each kind of nonsense was heard') or diag took() - $before, $ph->log;
$total += took() - $before;
ok((grep { $_->{queue_id} eq $failed } $ph->queued), 'bounce: the message whose sender must be told stays');
$back->();
$ph->cmd('postqueue', '-f');
is(scalar $ph->wait_mail('sender', 1, 30), 1, 'bounce: and he is told, once');

is(pids('qmgr'), $qmgr, 'qmgr lives');

# ---- qmgr, asked by receivers and by showq ----

$back = stand_in('private/qmgr');
fresh('smtp', 'showq', 'cleanup');
attempt('w@example.test');
my $cleanup = pids('cleanup');
my $showq = pids('showq');
$before = took();
my %got;
Posthorn::wait_for(sub {
    my ($c) = attempt('u@example.test');
    $got{ substr $c, 0, 1 }++;
    $ph->cmd('postqueue', '-p');
    return took() - $before >= $variants;
}, 90);
$total += took() - $before;
cmp_ok(took() - $before, '>=', $variants, 'qmgr: each kind of nonsense was heard');
ok(!$got{2} && !$got{5}, 'qmgr: nothing is accepted, nothing refused for good') or diag explain \%got;
is(pids('cleanup'), $cleanup, 'qmgr: cleanup lives');
$back->();
flows('qmgr');
unlike($ph->log, qr{panic|assert|postfix/master.*killed by signal|AddressSanitizer}, 'nobody died of it');
diag "hostile answers: $total on 6 sockets";
$ph->stop;
done_testing;
