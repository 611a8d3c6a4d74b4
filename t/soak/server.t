#!/usr/bin/perl
# The other way round: servers that never come to the end of a reply.  Our
# client gives up, the mail stays in the queue, its memory stays flat.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;
use Soak;

my $most = (Soak::pick(64, 1024)) << 20;         # they would send
my $flat_kib = 4096;

sub until_line { my ($c, $want) = @_; while (defined(my $l = <$c>)) { return $l if $l =~ /^$want/ } POSIX::_exit(0) }

my $sent = File::Temp->newdir('posthorn-sent-XXXXXX', TMPDIR => 1, CLEANUP => 1);
# The same piece until we have sent enough or the client has gone.
sub pour {
    my ($c, $name, $piece) = @_;
    my ($block, $n) = ($piece x (65536 / length $piece), 0);
    while ($n < $most) { my $w = syswrite $c, $block or last; $n += $w }
    Posthorn::spew("$sent/$name.tmp", $n);
    rename "$sent/$name.tmp", "$sent/$name";
}
sub greet { my ($c) = @_; print $c "220 s.test ESMTP\r\n"; until_line($c, 'EHLO') }
sub ready { my ($c) = @_; greet($c); print $c "250-s.test\r\n250 SIZE\r\n" }

my %server = (
    'greeting' => sub { pour($_[0], 'greeting', "220-and more\r\n") },
    'greeting-line' => sub { pour($_[0], 'greeting-line', 'x') },
    'ehlo' => sub { greet($_[0]); pour($_[0], 'ehlo', "250-X-KEYWORD with some words\r\n") },
    'ehlo-line' => sub { greet($_[0]); print { $_[0] } '250-'; pour($_[0], 'ehlo-line', 'y ') },
    'no-reply' => sub { ready($_[0]); until_line($_[0], 'MAIL'); pour($_[0], 'no-reply', "this is no reply\r\n") },
    'empty' => sub { ready($_[0]); until_line($_[0], 'MAIL'); pour($_[0], 'empty', "\n") },
    'mail' => sub { ready($_[0]); until_line($_[0], 'MAIL'); pour($_[0], 'mail', "250-2.1.0 yes and\r\n") },
    'refusal' => sub { ready($_[0]); until_line($_[0], 'MAIL'); pour($_[0], 'refusal', "550-5.1.0 no and again no\r\n") },
    'data' => sub { ready($_[0]); until_line($_[0], 'MAIL'); print { $_[0] } "250 ok\r\n"; until_line($_[0], 'RCPT'); print { $_[0] } "250 ok\r\n";
        until_line($_[0], 'DATA'); print { $_[0] } "354 go\r\n"; until_line($_[0], '\.\r\n'); pour($_[0], 'data', "250-2.0.0 perhaps\r\n") },
);
my %sink = map { my $n = $_; $n => Posthorn::Sink->new(session => sub { my ($c) = @_; binmode $c; $c->autoflush(1); $SIG{PIPE} = 'IGNORE'; $server{$n}->($c) }) } keys %server;
my $honest = Posthorn::Sink->new;
my %port = (honest => $honest->port, map { $_ => $sink{$_}->port } keys %sink);
my $ph = Posthorn->new(minimal_backoff_time => '300s', queue_run_delay => '300s', relayhost => '', smtp_host_lookup => 'native', smtp_dns_support_level => 'disabled',
    transport_maps => 'inline:{ ' . join(', ', map { "{$_.test=smtp:[127.0.0.1]:$port{$_}}" } keys %port) . ' }')->start;
my $client = Posthorn::Client->new(port => $ph->port);

$client->send(from => 's@example.test', to => ['u@honest.test'], body => "Subject: first\r\n\r\nhello\r\n");
is(scalar(my @m = $honest->wait_messages(1)), 1, 'mail goes out');
my @w = Soak::workers($ph, 'smtp', 'unix');
my ($sum, $worst) = (0, 0);
for my $n (sort keys %server) {
    my $base = Soak::peak_begin(@w);
    my ($code, $text) = $client->send(from => 's@example.test', to => ["u\@$n.test"], body => "Subject: $n\r\n\r\nhello\r\n");
    my ($id) = $text =~ /queued as (\S+)/ or BAIL_OUT("$n: $text");
    my ($status) = $ph->wait_log(qr/postfix\/smtp\[\d+\]: \Q$id\E: to=<u\@\Q$n\E\.test>, .*? (status=.*)/, 60);
    like($status, qr/^status=deferred \(.*endless reply|^status=deferred \(lost connection/, "$n: the delivery is put off");
    Posthorn::wait_for(sub { -e "$sent/$n" }) or diag "$n: the server did not notice";
    my $mib = (Posthorn::slurp("$sent/$n") || 0) / (1 << 20);
    cmp_ok($mib, '<', 32, "$n: the client has left long before the end");
    $sum += $mib;
    if (!Soak::sanitized()) {
        my $more = Soak::peak(@w) - $base;
        $worst = $more if $more > $worst;
        cmp_ok($more, '<=', $flat_kib, "$n: its memory stays flat");
        diag sprintf '%-13s %.1f MiB taken; worker +%d KiB', $n, $mib, $more;
    }
}
diag sprintf '%d servers, %.1f MiB taken, the worker never above +%d KiB', scalar keys %server, $sum, $worst;
is_deeply([Soak::workers($ph, 'smtp', 'unix')], [@w], 'the worker has survived');
is(scalar(my @q = $ph->queued), scalar keys %server, 'all mail is in the queue');
cmp_ok(Soak::share(0.5, @w), '<', 0.2, 'nobody spins');
unlike($ph->log, qr/killed by signal|panic|fatal:/, 'nothing failed on the way');
done_testing();
