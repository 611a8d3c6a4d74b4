#!/usr/bin/perl
# An agent that answers before qmgr knows that its request is all sent: the answer
# counts.  Taken for one to no request, it ended the connection, and everything that
# was under way there was delivered again.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Socket qw(AF_UNIX SOCK_STREAM pack_sockaddr_un);
use Posthorn;

# More than a socket holds, so that qmgr stands in the middle of its request.
my $rcpts = 1000;
my $domain = join '.', ('x' x 60) x 3, 'there.test';
my $ph = Posthorn->new(relay_domains => $domain, transport_maps => "inline:{$domain=smtp:[127.0.0.1]:1}", smtpd_recipient_limit => 2 * $rcpts,
    smtp_destination_recipient_limit => 2 * $rcpts, smtpd_recipient_overshoot_limit => $rcpts, minimal_backoff_time => '1s', queue_run_delay => '1s');
$ph->start;

sub take_frame {
    my ($c, $buf) = @_;
    while (length($$buf) < 8 || length($$buf) < 4 + unpack("V", $$buf)) { sysread $c, $$buf, 65536, length $$buf or return }
    return substr $$buf, 0, 4 + unpack('V', $$buf), '';
}

sub put { my ($c, $bytes) = @_; while (length($bytes)) { my $n = syswrite $c, $bytes or return; substr $bytes, 0, $n, '' } return }
sub value {
    my ($bytes, $name) = @_;
    my $key = pack 'C/a', $name;
    return $bytes =~ /\Q$key\E(....)/s ? substr $bytes, $+[0], unpack 'V', $1 : undef;
}

# Whether the other side has read all that we wrote.
sub is_read { my ($c) = @_; my $left = pack 'i', 0; ioctl $c, 0x5411, $left or die "TIOCOUTQ: $!"; return unpack('i', $left) == 0 }

sub agent {
    my ($c) = @_;
    my $buf = '';
    take_frame($c, \$buf) // return;
    put($c, Posthorn::frame(status => 'ok', window => 5));
    while (1) {
        until (length($buf) > 4096) { sysread $c, $buf, 4096, length $buf or return }
        my ($id, $number) = map { value($buf, $_) } qw(queue_id number);
        put($c, Posthorn::frame(op => 'outcomes', number => $number, queue_id => $id, map { (rcpt => $_, status => 'sent', dsn => '2.0.0', text => 'early') } 0 .. $rcpts - 1));
        Posthorn::wait_for(sub { is_read($c) }, 20);
        take_frame($c, \$buf) // return;
    }
}

my $path = $ph->queue . '/private/smtp';
unlink $path or die "$path: $!";
socket my $l, AF_UNIX, SOCK_STREAM, 0 or die;
bind $l, pack_sockaddr_un($path) or die "$path: $!";
chmod 0666, $path;
listen $l, 10 or die;
my $pid = Posthorn::child(sub { while (accept my $c, $l) { agent($c) } });
close $l;

my $c = $ph->smtp;
my @r = $c->send(from => 'a@example.test', to => [map { sprintf 'u%06d@%s', $_, $domain } 1 .. $rcpts], body => "Subject: t\r\n\r\nx\r\n");
is($r[0], 250, 'mail for many is accepted') or diag $r[1];
ok($ph->wait_log(qr/qmgr\[\d+\]: \w+: removed/, 30), 'all of it is delivered');
my $log = $ph->log;
my $lost = () = $log =~ /status=deferred|malformed response|lost connection with/g;
is($lost, 0, 'at once, on one connection') or diag grep { /deferred|malformed|lost/ } (split /^/, $log)[0 .. 400];
Posthorn::end_child($pid);
done_testing();
