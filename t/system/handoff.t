#!/usr/bin/perl
# Between 250 and the queue manager: what is acknowledged is on disk, whoever
# dies next; a slot that somebody holds is lent to nobody else.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;

my $ph = Posthorn->new(in_flow_delay => '1s')->start;
sub pid_of { my ($re) = @_; my %p = $ph->processes; return (sort { $a <=> $b } grep { $p{$_} =~ $re } keys %p)[0] }
sub body { my ($tag) = @_; return "Subject: $tag\r\nX-Tag: $tag\r\n\r\n" . "$tag\r\n" x 20 }
my $c = $ph->smtp;
is(($c->send(from => 'a@b.test', to => ['u@example.test'], body => body('first')))[0], 250, 'a first message');
$ph->wait_mail('u', 1);

# The queue manager hears nothing of this one: it is stopped, and the receiver
# is killed as soon as it has said 250.
my ($qmgr, $smtpd) = (pid_of(qr/-n qmgr/), pid_of(qr/-n smtp -t inet/));
kill 'STOP', $qmgr;
my ($code, $text) = $c->send(from => 'a@b.test', to => ['u@example.test'], body => body('handed'));
is($code, 250, '250 while the queue manager does not move') or diag $text;
kill 'KILL', $smtpd;
kill 'CONT', $qmgr;
is(scalar($ph->wait_mail('u', 2)), 2, 'the message of a worker killed behind its 250 is delivered');
is(pid_of(qr/-n qmgr/), $qmgr, 'without a restart of the queue manager');
my @tags = map { Posthorn::slurp($_) =~ /^X-Tag: (\S+)/m ? $1 : () } $ph->mail('u');
is_deeply([sort @tags], ['first', 'handed'], 'once');

# Many receivers in mid-message while qmgr is killed and started again: the
# slots they hold must not be lent to those who come then.
my @open = map {
    my $o = $ph->smtp;
    $o->ask('EHLO c.test'); $o->ask('MAIL FROM:<a@b.test>'); $o->ask('RCPT TO:<v@example.test>');
    is(scalar $o->ask('DATA'), 354, "session $_ is in mid-message");
    $o->put("Subject: open$_\r\nX-Tag: open$_\r\n\r\n" . "x" x 1000 . "\r\n");
    $o;
} 1 .. 8;
kill 'KILL', $qmgr;
ok(Posthorn::wait_for(sub { my $n = pid_of(qr/-n qmgr/); $n && $n != $qmgr }), 'a killed queue manager comes back');
my %ok;
for my $i (1 .. 30) {
    my @r = Posthorn::wait_for(sub { my @a = eval { $ph->smtp->send(from => 'a@b.test', to => ['v@example.test'], body => body("new$i")) }; ($a[0] // 0) == 250 });
    $ok{"new$i"} = 1 if $r[0];
}
is(scalar keys %ok, 30, 'new mail is taken meanwhile');
for my $k (1 .. 8) {
    $open[$k - 1]->put("end$k\r\n.\r\n");
    my ($rc) = $open[$k - 1]->reply;
    $ok{"open$k"} = 1 if $rc == 250;
    like($rc, qr/^(250|4\d\d)$/, "session $k ends with 250 or 4xx ($rc)");
}
ok(Posthorn::wait_for(sub { !$ph->queued && $ph->mail('v') >= keys %ok }), 'all of it is delivered');
my %got;
for my $f ($ph->mail('v')) {
    my $text2 = Posthorn::slurp($f);
    my ($tag) = $text2 =~ /^X-Tag: (\S+)/m;
    $got{ $tag // 'none' }++;
    my ($k) = ($tag // '') =~ /^open(\d+)/;
    ok($text2 =~ /^end$k$/m && $text2 !~ /new\d/, "message open$k is whole and nobody else's") if $k;
}
is_deeply(\%got, \%ok, 'what was acknowledged, nothing else, once');
unlike($ph->log, qr/corrupt/, 'no slot held two messages');
done_testing();
