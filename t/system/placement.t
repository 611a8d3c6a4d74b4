#!/usr/bin/perl
# A client cannot tell where a service runs: the same mail with every private
# service inline that may be, and with each in a process of its own.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;

for my $place ('inline', 'process') {
    my $sink = Posthorn::Sink->new(rcpt => sub { $_[1] =~ /^no/ ? '550 5.1.1 no such user' : '250 2.1.5 ok' });
    my $ph = Posthorn->new(relayhost => '[127.0.0.1]:' . $sink->port, myhostname => 'mx.posthorn.test');
    $ph->edit_master(sub { s/place: inline/place: $place/g });
    $ph->start;
    my @kids = map {
        my $k = $_;
        Posthorn::child(sub {
            my $c = Posthorn::Client->new(port => $ph->port);
            for my $i (1 .. 20) {
                my ($code, $text) = $c->send(from => 'sender@example.test', to => [('box@example.test', "far$i\@away.test", 'no@away.test')[$i % 3]],
                    body => "X-Tag: t$k-$i\r\n\r\n" . ("line $i\r\n" x ($i * 200)));
                die "$k-$i: $text" unless $code == 250;
            }
            $c->quit;
        });
    } 1 .. 5;
    for my $kid (@kids) { waitpid $kid, 0; is($?, 0, "$place: a client is content"); delete $Posthorn::live{"pid $kid"} }
    my $out = $ph->sendmail("To: box\@example.test\nFrom: me\@example.test\nX-Tag: local\n\nhi\n", '-t', '-i');
    is($?, 0, "$place: sendmail") or diag $out;
    ok(Posthorn::wait_for(sub { !$ph->queued && $ph->mail('box') >= 31 && $ph->mail('sender') >= 35 }, 60), "$place: everything is delivered or bounced") or diag substr($ph->log, -3000);
    my %seen;
    $seen{$_}++ for map { Posthorn::slurp($_) =~ /^X-Tag: (\S+)/m ? $1 : () } $ph->mail('box'), $ph->mail('sender');
    $seen{$_}++ for map { $_->{body} =~ /^X-Tag: (\S+)/m ? $1 : () } $sink->messages;
    is_deeply([sort keys %seen], [sort 'local', map { my $k = $_; map { "t$k-$_" } 1 .. 20 } 1 .. 5], "$place: each message is somewhere");
    is_deeply([grep { $seen{$_} != 1 } sort keys %seen], [], "$place: each in one place");
    my @own = grep { /-n cleanup/ } values %{ { $ph->processes } };
    is(scalar @own, $place eq 'inline' ? 0 : 1, "$place: cleanup " . ($place eq 'inline' ? 'has no process' : 'has its process'));
    like($ph->log, qr/postfix\/cleanup\[\d+\]: \S+: message-id=/, "$place: cleanup logs under its name");
    unlike($ph->log, qr/panic|fatal/, "$place: nothing broke");
    $ph->stop;
    $sink->stop;
}
done_testing();
