#!/usr/bin/perl
# Next hops that misbehave, over real sockets: early, late, in pieces, too long,
# or not at all.  What becomes of the mail, and what the log says.
use strict;
use warnings;
use Socket qw(SOL_SOCKET SO_LINGER);
use Test::More;
use lib 't/lib';
use Posthorn;

my $big = 'y' x 76 . "\r\n";
$big x= 30000;                                   # 2.3 MB
sub nap { select undef, undef, undef, $_[0] }

# Up to (and with) a line that starts with $want; what was read.
sub until_line {
    my ($c, $want) = @_;
    while (defined(my $l = <$c>)) { return $l if $l =~ /^$want/ }
    POSIX::_exit(0);
}
sub say_all { my ($c, @lines) = @_; print $c "$_\r\n" for @lines }
sub reset_now { my ($c) = @_; setsockopt $c, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0; close $c }
sub to_data {
    my ($c, @offer) = @_;
    say_all($c, '220 s.test ESMTP');
    until_line($c, 'EHLO');
    say_all($c, '250-s.test', (map { "250-$_" } @offer), '250 PIPELINING');
    until_line($c, 'DATA');
    say_all($c, '250 2.1.0 ok', '250 2.1.5 ok', '354 go');
}

my $said = File::Temp->newdir('posthorn-said-XXXXXX', TMPDIR => 1, CLEANUP => 1);
chmod 0777, "$said";
my %server = (
    early => sub { my ($c) = @_; to_data($c); say_all($c, '250 2.0.0 taken already'); nap(0.3); until_line($c, '\.\r\n') },
    refuses => sub { my ($c) = @_; to_data($c); read $c, my $waste, 50000; say_all($c, '552 5.3.4 that is too much'); nap(0.3); close $c },
    hangs_up => sub { my ($c) = @_; to_data($c); read $c, my $waste, 50000; reset_now($c) },
    after_dot => sub { my ($c) = @_; to_data($c); until_line($c, '\.\r\n'); reset_now($c) },
    drips => sub {
        my ($c) = @_;
        for my $b (split //, "220 d.test ESMTP\r\n") { print $c $b; nap(0.01) }
        until_line($c, 'EHLO');
        for my $b ("250-d.test\r", "\n250", '-PIPE', "LINING\r\n250", " 8BITMIME\r\n") { print $c $b; nap(0.02) }
        until_line($c, 'DATA');
        for my $b ('250 2.1', ".0 ok\r\n2", "50 2.1.5 ok\r\n354 go\r\n") { print $c $b; nap(0.02) }
        until_line($c, '\.\r\n');
        say_all($c, '250 2.0.0 at last');
    },
    overlong => sub {
        my ($c) = @_;
        say_all($c, '220 ' . 'x' x 100000, '220 s.test ESMTP');
        until_line($c, 'EHLO');
        say_all($c, '250-' . 'y' x 100000, '250-s.test', '250 PIPELINING');
        until_line($c, 'DATA');
        say_all($c, '250 ok', '250 ok', '354 go');
        until_line($c, '\.\r\n');
        say_all($c, '250 2.0.0 fine');
    },
    silent => sub { my ($c) = @_; my $l = <$c> },
    resets => sub { my ($c) = @_; reset_now($c) },
    foretells => sub { my ($c) = @_; say_all($c, '220 x', '250 x', '250 ok', '250 ok', '354 go', '250 2.0.0 believe me'); until_line($c, '\.\r\n'); nap(0.2) },
    slow => sub {
        my ($c) = @_;
        nap(0.4);
        to_data($c);
        until_line($c, '\.\r\n');
        nap(0.6);
        say_all($c, '250 2.0.0 slowly');
    },
    raw => sub {
        my ($c) = @_;
        say_all($c, '220 s.test ESMTP');
        until_line($c, 'EHLO');
        say_all($c, '250-s.test', '250 PIPELINING');
        my $got = '';
        while ($got !~ /DATA\r\n\z/) { sysread $c, $got, 65536, length $got or return }
        print $c "250 ok\r\n250 ok\r\n354 go\r\n";
        sysread $c, my $rest, 65536;
        Posthorn::spew("$said/raw", $rest);
        Posthorn::spew("$said/from", $c->peerhost);
        say_all($c, '250 2.0.0 ok');
    },
    busy => sub { my ($c) = @_; say_all($c, '220 s.test ESMTP'); until_line($c, 'EHLO'); say_all($c, '250 s.test'); until_line($c, 'MAIL'); say_all($c, '451 4.7.1 wait'); until_line($c, 'QUIT') },
    controls => sub { my ($c) = @_; say_all($c, "554-5.7.1 \tno\x07", "554 5.7.1 \xc3\xa4\xff never"); until_line($c, 'QUIT') },
);
my %sink = map { my $n = $_; $n => Posthorn::Sink->new(session => sub { my ($c) = @_; binmode $c; $c->autoflush(1); $server{$n}->($c) }) } keys %server;
my $good = Posthorn::Sink->new;
my $dead = Posthorn::free_port();
my %hop = map { $_ => '[127.0.0.1]:' . $sink{$_}->port } keys %sink;
$hop{next} = "[127.0.0.1]:$dead, $hop{busy}, [127.0.0.1]:" . $good->port;
$hop{cached} = '[127.0.0.1]:' . $good->port;
my $ph = Posthorn->new(minimal_backoff_time => '300s', queue_run_delay => '300s', smtp_helo_timeout => '2s', smtp_skip_5xx_greeting => 'no', smtp_mx_session_limit => 5, smtp_bind_address => '127.0.0.2',
    smtp_connection_cache_destinations => 'localhost', message_size_limit => '10000000',
    transport_maps => 'inline:{ ' . join(', ', map { my $h = $_ eq 'cached' ? $hop{$_} =~ s/\[127.0.0.1\]/localhost/r : $hop{$_}; "{$_.test=smtp:$h}" } keys %hop) . ' }',
    smtp_host_lookup => 'native', smtp_dns_support_level => 'disabled', inet_protocols => 'ipv4')->start;

my %id;
my $client = Posthorn::Client->new(port => $ph->port);
for my $n (sort(keys %server), 'next') {
    my $body = "Subject: $n\r\n\r\n" . ($n =~ /^(early|refuses|hangs_up)$/ ? $big : "small\r\n");
    my ($code, $text) = $client->send(from => 's@example.test', to => ["u\@$n.test"], body => $body);
    ($id{$n}) = $text =~ /queued as (\S+)/ or BAIL_OUT("$n: $text");
}

sub line { my ($n, $re, $what) = @_; ok($ph->wait_log(qr/postfix\/smtp\[\d+\]: \Q$id{$n}\E: to=<u\@\Q$n\E\.test>, $re/), $what) or diag grep { /$id{$n}/ } map { "$_\n" } split /\n/, $ph->log }
sub relay { my ($n) = @_; my $p = $sink{$n}->port; return qr/relay=127\.0\.0\.1\[127\.0\.0\.1\]:$p, delay=[\d.]+, delays=[\d.]+\/[\d.]+\/[\d.]+\/[\d.]+/ }
my $peer = '127\.0\.0\.1\[127\.0\.0\.1\]';

line('early', relay('early') . ', dsn=2\.0\.0, status=sent \(250 2\.0\.0 taken already\)', 'an answer before the message was read counts');
line('refuses', relay('refuses') . ", dsn=5\\.3\\.4, status=bounced \\(host $peer said: 552 5\\.3\\.4 that is too much \\(in reply to end of DATA command\\)\\)", 'a refusal in the middle of the message, and a hang-up');
line('hangs_up', relay('hangs_up') . ", dsn=4\\.4\\.2, status=deferred \\(lost connection with $peer while (?:sending message body|sending end of data -- message may be sent more than once)\\)",
    'a hang-up in the middle of the message (the kernel may have taken all of it before)');
line('after_dot', relay('after_dot') . ", dsn=4\\.4\\.2, status=deferred \\(lost connection with $peer while sending end of data -- message may be sent more than once\\)", 'a hang-up after the final dot');
line('drips', relay('drips') . ', dsn=2\.0\.0, status=sent \(250 2\.0\.0 at last\)', 'replies byte by byte');
line('overlong', relay('overlong') . ', dsn=2\.0\.0, status=sent \(250 2\.0\.0 fine\)', 'lines without end are passed over');
line('silent', relay('silent') . ", dsn=4\\.4\\.2, status=deferred \\(conversation with $peer timed out while receiving the initial server greeting\\)", 'silence');
line('resets', '(?:' . relay('resets') . ", dsn=4\\.4\\.2, status=deferred \\(lost connection with $peer while receiving the initial server greeting\\)"
    . "|relay=none, .*, dsn=4\\.4\\.1, status=deferred \\(connect to $peer:\\d+: Connection reset by peer\\))", 'a reset (which may be there before the connection is looked at)');
line('foretells', relay('foretells') . ', dsn=2\.0\.0, status=sent \(250 2\.0\.0 believe me\)', 'all replies in advance');
line('controls', relay('controls') . ", dsn=5\\.7\\.1, status=bounced \\(host $peer refused to talk to me: 554-5\\.7\\.1 \\?no\\? 554 5\\.7\\.1 \\?\\?\\? never\\)", 'controls and bytes that are no UTF-8 in a reply');
line('slow', 'relay=\S+, delay=1\.?\d*, delays=[\d.]+/[\d.]+/0\.[4-9]\d*/0\.[6-9]\d*, dsn=2\.0\.0, status=sent', 'delays=a/b/c/d: connection set-up, and delivery');
my $port = $good->port;
line('next', "relay=$peer:$port, .*status=sent", 'the third next hop of a list');
like($ph->log, qr/postfix\/smtp\[\d+\]: connect to $peer:$dead: Connection refused$/m, 'a refused connection has a line without queue id');
like($ph->log, qr/postfix\/smtp\[\d+\]: $id{next}: host $peer said: 451 4\.7\.1 wait \(in reply to MAIL FROM command\)$/m, 'a refusal has one without recipient');
line('raw', relay('raw') . ', .*status=sent', 'one write for the message');
my $raw = Posthorn::slurp("$said/raw");
like($raw, qr/\r\nsmall\r\n\.\r\nQUIT\r\n\z/, 'with the final dot and QUIT');
unlike($raw, qr/[^\r]\n/, 'and no line ends without CR');
is(Posthorn::slurp("$said/from"), '127.0.0.2', 'smtp_bind_address, from inside the seal');

# Sessions that are kept: conn_use counts, the server sees one connection.
for my $i (1 .. 4) {
    my ($code, $text) = $client->send(from => 's@example.test', to => ["c$i\@cached.test"], body => "Subject: c$i\r\n\r\nc\r\n");
    my ($q) = $text =~ /queued as (\S+)/;
    my $use = $i > 1 ? "conn_use=$i, " : '';
    ok($ph->wait_log(qr/\Q$q\E: to=<c$i\@cached\.test>, relay=localhost\[127\.0\.0\.1\]:$port, ${use}delay=\S+, delays=\S+, dsn=2\.0\.0, status=sent/), "delivery $i over the session") or diag $ph->log;
}
is_deeply([sort map { map { $_->{address} } @{ $_->{recipients} } } $ph->queued], [map { "u\@$_.test" } sort qw(busy hangs_up after_dot silent resets)], 'what was not delivered waits in the queue');
done_testing();
