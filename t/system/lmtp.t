#!/usr/bin/perl
# LMTP into a store, over a socket and over TCP: each recipient has its own
# fate, sessions are used again, a store that is down defers.
use strict;
use warnings;
use IO::Socket::UNIX;
use Test::More;
use lib 't/lib';
use Posthorn;

# A store: one reply per accepted recipient, by its name; what it was sent goes to $dir/N.
sub store {
    my ($c, $dir) = @_;
    my @to;
    $c->autoflush(1);
    binmode $c;
    print $c "220 store.test LMTP\r\n";
    while (defined(my $l = <$c>)) {
        $l =~ s/\r?\n\z//;
        open my $say, '>>', "$dir/said";
        print $say "$l\n";
        close $say;
        if ($l =~ /^LHLO/) { print $c "250-store.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n" }
        elsif ($l =~ /^RCPT TO:<no/) { print $c "550 5.1.1 no such user\r\n" }
        elsif ($l =~ /^RCPT TO:<(\w+)/) { push @to, $1; print $c "250 2.1.5 ok\r\n" }
        elsif ($l =~ /^(MAIL|RSET)/) { @to = (); print $c "250 2.1.0 ok\r\n" }
        elsif ($l =~ /^DATA/) {
            print $c @to ? "354 go\r\n" : "503 5.5.1 no recipients\r\n";
            next unless @to;
            while (defined(my $d = <$c>)) { last if $d eq ".\r\n" }
            for (@to) { print $c /^full/ ? "452 4.2.2 <$_> over quota\r\n" : /^big/ ? "552 5.3.4 <$_> too big\r\n" : "250 2.1.5 <$_> Saved\r\n" }
        }
        elsif ($l =~ /^QUIT/) { print $c "221 2.0.0 bye\r\n"; last }
        else { print $c "500 5.5.2 what\r\n" }
    }
}

my $dir = File::Temp->newdir('posthorn-store-XXXXXX', TMPDIR => 1, CLEANUP => 1);
chmod 0777, "$dir";
umask 0;
my $path = "$dir/lmtp";
sub start_store {
    my $listen = IO::Socket::UNIX->new(Local => $path, Listen => 20) or die "socket: $!";
    my $pid = Posthorn::child(sub {
        local $SIG{CHLD} = 'IGNORE';
        while (my $c = $listen->accept) {
            my $kid = fork;
            next if $kid;
            store($c, "$dir");
            POSIX::_exit(0);
        }
    });
    close $listen;
    return $pid;
}
my $pid = start_store();
my $tcp = Posthorn::Sink->new(session => sub { store($_[0], "$dir") });
my $ph = Posthorn->new(-port => Posthorn::free_port(), lmtp_lhlo_name => 'client.test', minimal_backoff_time => '300s', queue_run_delay => '300s',
    transport_maps => "inline:{ {sock.test=lmtp:unix:$path}, {tcp.test=lmtp:inet:127.0.0.1:" . $tcp->port . "}, {down.test=lmtp:unix:private/nobody} }")->start;
my $host = qr/[^\s\[]+/;

sub deliver { my (@to) = @_; my ($code, $text) = $ph->smtp->send(from => 's@example.test', to => \@to, body => "Subject: l\r\n\r\nbody\r\n"); return $text =~ /queued as (\S+)/ ? $1 : "$code" }

my $id = deliver(map { "$_\@sock.test" } qw(ann full big nobody bob));
ok($ph->wait_log(qr/postfix\/lmtp\[\d+\]: \Q$id\E: to=<$_->[0]\@sock\.test>, relay=$host\[\Q$path\E\], delay=\S+, delays=\S+, dsn=$_->[1], status=$_->[2] \($_->[3]\)/), "$_->[0]: $_->[2]")
    or diag $ph->log
    for ['ann', '2\.1\.5', 'sent', '250 2\.1\.5 <ann> Saved'], ['bob', '2\.1\.5', 'sent', '250 2\.1\.5 <bob> Saved'],
    ['full', '4\.2\.2', 'deferred', "host $host\\[\Q$path\E\\] said: 452 4\\.2\\.2 <full> over quota \\(in reply to end of DATA command\\)"],
    ['big', '5\.3\.4', 'bounced', "host $host\\[\Q$path\E\\] said: 552 5\\.3\\.4 <big> too big \\(in reply to end of DATA command\\)"],
    ['nobody', '5\.1\.1', 'bounced', "host $host\\[\Q$path\E\\] said: 550 5\\.1\\.1 no such user \\(in reply to RCPT TO command\\)"];
my ($bounce) = $ph->wait_mail('s', 1);
like($bounce, qr/^Final-Recipient: rfc822; big\@sock\.test\r?$/m, 'the notice names who was refused');
is_deeply([map { map { $_->{address} } @{ $_->{recipients} } } $ph->queued], ['full@sock.test'], 'who is over quota stays in the queue');
like(Posthorn::slurp("$dir/said"), qr/^LHLO client\.test$/m, 'lmtp_lhlo_name');
ok(Posthorn::wait_for(sub { Posthorn::slurp("$dir/said") =~ /^QUIT$/m }), 'and QUIT at the end');

$id = deliver('eve@tcp.test');
ok($ph->wait_log(qr/\Q$id\E: to=<eve\@tcp\.test>, relay=127\.0\.0\.1\[127\.0\.0\.1\]:${\$tcp->port}, .*status=sent \(250 2\.1\.5 <eve> Saved\)/), 'over TCP') or diag $ph->log;

$id = deliver('x@down.test');
ok($ph->wait_log(qr/\Q$id\E: to=<x\@down\.test>, relay=none, .*dsn=4\.4\.1, status=deferred \(connect to $host\[private\/nobody\]: No such file or directory\)/), 'no socket: deferred, with its name as configured')
    or diag $ph->log;

# The store ends; mail waits for it.
Posthorn::end_child($pid);
unlink $path;
$id = deliver('ann@sock.test');
ok($ph->wait_log(qr/\Q$id\E: to=<ann\@sock\.test>, relay=none, .*status=deferred \(connect to $host\[\Q$path\E\]: No such file or directory\)/), 'the store is down: deferred');
ok(Posthorn::wait_for(sub { grep { $_->{queue_id} eq $id && $_->{queue_name} eq 'deferred' } $ph->queued }), 'and in the queue');
$pid = start_store();
$ph->cmd('postqueue', '-f');
ok($ph->wait_log(qr/\Q$id\E: to=<ann\@sock\.test>, .*status=sent/), 'it is back: delivered') or diag $ph->log;
done_testing();
