#!/usr/bin/perl
# Debian's Postfix relays 1,000 messages to us and we relay 1,000 to it: all
# arrive, once.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;
use PeerPostfix;

my $why = PeerPostfix->missing;
plan skip_all => $why if $why;
my $n = 1000;
my $port = Posthorn::free_port();
my $ph = Posthorn->new(relayhost => "[127.0.0.1]:$port")->start;
my $peer = PeerPostfix->new(-port => $port, relayhost => '[127.0.0.1]:' . $ph->port, virtual_mailbox_domains => 'inside.peer');
my $box = $peer->dir . '/mbox/';
mkdir $box;
my ($uid, $gid) = (getpwnam 'news')[2, 3];
chown $uid, $gid, $box;
$peer->reconfigure(virtual_mailbox_base => $peer->dir, virtual_mailbox_maps => 'static:mbox/', virtual_uid_maps => "static:$uid", virtual_gid_maps => "static:$gid",
    virtual_minimum_uid => 1);
$peer->start;

sub blast { # PORT TO: n numbered messages over 10 connections
    my ($to_port, $to) = @_;
    my @kids;
    for my $k (0 .. 9) {
        push @kids, Posthorn::child(sub {
            my $c = Posthorn::Client->new(port => $to_port);
            for (my $i = $k; $i < $n; $i += 10) {
                my ($code, $text) = $c->send(from => 'from@example.test', to => [$to], body => "Subject: number $i\r\nX-Number: $i\r\n\r\nbody $i\r\n");
                die "message $i: $text" unless $code == 250;
            }
            $c->quit;
        });
    }
    for my $kid (@kids) { waitpid $kid, 0; delete $Posthorn::live{"pid $kid"} }
}

sub numbers { my %seen; $seen{ /^X-Number: (\d+)$/m ? $1 : 'none' }++ for @_; return \%seen }
my %once = map { $_ => 1 } 0 .. $n - 1;

blast($ph->port, 'u@inside.peer');
Posthorn::wait_for(sub { my @f = glob "${box}new/*"; @f >= $n }, 120);
is_deeply(numbers(map { Posthorn::slurp($_) } glob "${box}new/*"), \%once, "we relay $n to Postfix: all arrive, once") or diag substr($ph->log, -3000);

blast($peer->port, 'u@example.test');
my @mail = $ph->wait_mail('u', $n, 120);
is_deeply(numbers(@mail), \%once, "Postfix relays $n to us: all arrive, once") or diag substr($ph->log, -3000);
ok(Posthorn::wait_for(sub { !$ph->queued }), 'our queue is empty');
done_testing();
