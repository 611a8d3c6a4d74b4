#!/usr/bin/perl
# Delivery by MX records, from inside the sealed worker: the name server is
# ours (dns_servers), and each domain shows one row of the rules.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;
use IO::Socket::INET;

# name => type => data; '!' fails, a missing name does not exist.
my %zone = (
    'multi.test' => { MX => [[20, 'live.test'], [10, 'dead.test']] },
    'dead.test' => { A => ['127.0.0.9'] },
    'live.test' => { A => ['127.0.0.1'] },
    'alias.test' => { CNAME => 'multi.test' },
    'nomx.test' => { A => ['127.0.0.1'] },
    'null.test' => { MX => [[0, '']] },
    'badmx.test' => { MX => [[10, '127.0.0.1']] },
    'self.test' => { MX => [[10, 'live.test'], [20, 'dead.test']] },
    'best.test' => { MX => [[10, 'live.test']] },
    'fail.test' => '!',
    'back.test' => '!',
);
my %type = (1 => 'A', 5 => 'CNAME', 15 => 'MX');

sub wire { return join('', map { chr(length) . $_ } split /\./, $_[0]) . "\0" }

sub record {
    my ($owner, $type, $data) = @_;
    my $rd = $type == 15 ? pack('n', $data->[0]) . wire($data->[1]) : $type == 5 ? wire($data) : pack('C4', split /\./, $data);
    return wire($owner) . pack('nnNn', $type, 1, 0, length $rd) . $rd;
}

sub answer {
    my ($q) = @_;
    my ($at, @labels) = (12);
    while (my $n = ord substr $q, $at, 1) { push @labels, substr $q, $at + 1, $n; $at += $n + 1 }
    my ($name, $type) = (lc join('.', @labels), unpack 'n', substr $q, $at + 1, 2);
    my ($rcode, @rr) = (0);
    if (!exists $zone{$name}) { $rcode = 3 }
    elsif (!ref $zone{$name}) { $rcode = 2 }
    else {
        if (my $to = $zone{$name}{CNAME}) { push @rr, record($name, 5, $to); $name = $to }
        push @rr, record($name, $type, $_) for @{ $zone{$name}{ $type{$type} || '' } || [] };
    }
    return substr($q, 0, 2) . pack('CCnnnn', 0x85, 0x80 | $rcode, 1, scalar @rr, 0, 0) . substr($q, 12, $at + 5 - 12) . join '', @rr;
}

my $udp = IO::Socket::INET->new(Proto => 'udp', LocalAddr => '127.0.0.1') or die "udp: $!";
my $flag = File::Temp->new;                          # once it has content, back.test is back
Posthorn::child(sub {
    while (my $from = $udp->recv(my $q, 2000)) {
        $zone{'back.test'} = $zone{'nomx.test'} if -s $flag->filename;
        $udp->send(answer($q), 0, $from) if length $q > 16;
    }
});

my $sink = Posthorn::Sink->new;
my $port = $sink->port;
my @domains = ((grep { !/^(?:dead|live)/ } sort keys %zone), 'nowhere.test');
my %hop = ('self.test' => 'self.test=smtp:self.test', 'best.test' => 'best.test=mxsmtp:best.test');   # SMTP's own port: there we would meet ourselves
my $ph = Posthorn->new(dns_servers => '127.0.0.1:' . $udp->sockport, minimal_backoff_time => '1s', maximal_backoff_time => '2s', queue_run_delay => '1s',
    transport_maps => 'inline:{ ' . join(', ', map { '{' . ($hop{$_} // "$_=smtp:$_:$port") . '}' } @domains) . ' }');
$ph->edit_master(sub { s/^(.*name: lmtp.*)$/$1\n  - {name: mxsmtp, transport: smtp, listen: unix, settings: {best_mx_transport: discard}}/m or die })->start;
my ($code, $text) = $ph->smtp->send(from => 's@example.test', to => [map { "u\@$_" } @domains], body => "Subject: dns\r\n\r\nbody\r\n");
is($code, 250, 'one message to all of them') or diag $text;

my $live = qr/relay=\S+\[127\.0\.0\.1\]:$port, .*dsn=2\.0\.0, status=sent/;
my %want = (
    'multi.test' => qr/relay=live\.test\[127\.0\.0\.1\]:$port, .*status=sent/,
    'alias.test' => qr/relay=live\.test\[127\.0\.0\.1\]:$port, .*status=sent/,
    'nomx.test' => $live,
    'null.test' => qr/relay=none, .*dsn=5\.1\.0, status=bounced \(Domain null\.test does not accept mail \(nullMX\)\)/,
    'badmx.test' => qr/relay=none, .*dsn=5\.4\.4, status=bounced \(.*Malformed or unexpected name server reply/,
    'fail.test' => qr/relay=none, .*dsn=4\.4\.3, status=deferred \(.*Name service error for name=fail\.test type=MX: Host not found, try again\)/,
    'back.test' => qr/relay=none, .*dsn=4\.4\.3, status=deferred/,
    'self.test' => qr/relay=none, .*dsn=5\.4\.6, status=bounced \(mail for self\.test loops back to myself\)/,
    'nowhere.test' => qr/relay=none, .*dsn=5\.4\.4, status=bounced \(.*Name service error for name=nowhere\.test type=A{1,4}: Host not found\)/,
);
ok($ph->wait_log(qr/postfix\/discard\[\d+\]: \S+: to=<u\@best\.test>, relay=\S+, .*status=sent/), 'best.test: we are the best MX, another transport has it')
    or diag join "\n", grep { /best\.test/ } split /\n/, $ph->log;
for my $d (grep { $want{$_} } @domains) {
    ok($ph->wait_log(qr/postfix\/smtp\[\d+\]: \S+: to=<u\@\Q$d\E>, $want{$d}/), "$d: as its records say")
        or diag join "\n", grep { /to=<u\@\Q$d\E>/ } split /\n/, $ph->log;
}
Posthorn::spew($flag->filename, 'yes');
$ph->cmd('postqueue', '-f');
ok($ph->wait_log(qr/to=<u\@back\.test>, $live/, 30), 'a name server that comes back is asked again');
is(scalar(grep { join(',', @{ $_->{to} }) =~ /u\@(?:multi|alias|nomx)\.test/ } $sink->messages), 3, 'three arrived before, each once')
    or diag join ' ', map { @{ $_->{to} } } $sink->messages;
done_testing;
