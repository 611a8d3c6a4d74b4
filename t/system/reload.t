#!/usr/bin/perl
# reload under load drops no session and no outcome; a syntax error in either
# configuration file changes nothing and says where.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;

my $sink = Posthorn::Sink->new;
my $ph = Posthorn->new(relayhost => '[127.0.0.1]:' . $sink->port)->start;

# A session that is inside DATA across three reloads.
my $open = $ph->smtp;
is($open->ask($_->[0]), $_->[1], $_->[0]) for ['EHLO a.test', 250], ['MAIL FROM:<a@b.test>', 250], ['RCPT TO:<held@example.test>', 250], ['DATA', 354];
$open->put("Subject: across reloads\r\n\r\nfirst\r\n");
my $idle = $ph->smtp;
is($idle->ask('EHLO b.test'), 250, 'an idle session');

my $stop = "$ph->{tmp}/stop";
my @kids = map {
    my $k = $_;
    Posthorn::child(sub {
        open my $log, '>', "$ph->{tmp}/ack$k";
        $log->autoflush(1);
        my ($c, $on) = (undef, 0);
        for (my $i = 0; !-e $stop; $i++) {
            $c = Posthorn::Client->new(port => $ph->port), $on = 0 unless $c && $on++ < 20;
            if (!$c) { print $log "drop connect\n"; next }
            my @r = $c->send(from => 'a@b.test', to => [$i % 2 ? 'load@example.test' : 'load@far.test'], body => "X-Tag: t$k-$i\r\n\r\nx\r\n");
            print $log $r[0] == 250 ? "ok t$k-$i\n" : "drop t$k-$i $r[1]\n";
            undef $c unless $r[0] == 250;
        }
    });
} 1 .. 3;
my $acked = sub { my $n = 0; $n += (() = Posthorn::slurp($_) =~ /^ok/mg) for glob "$ph->{tmp}/ack*"; $n };
for my $round (1 .. 3) {
    my $before = $acked->();
    Posthorn::wait_for(sub { $acked->() > $before + 20 });
    my $out = $ph->postfix('reload');
    is($?, 0, "reload $round under load") or diag $out;
    $open->put("line $round\r\n");
}
my $before = $acked->();
ok(Posthorn::wait_for(sub { $acked->() > $before + 20 }), 'mail flows after the reloads');
Posthorn::spew($stop, '');
for my $k (@kids) { waitpid $k, 0; delete $Posthorn::live{"pid $k"} }
my @drops = map { grep { /^drop/ } split /\n/, Posthorn::slurp($_) } glob "$ph->{tmp}/ack*";
is_deeply(\@drops, [], 'no session was dropped, no mail refused');
$open->put(".\r\n");
is(scalar(($open->reply)[0]), 250, 'the session inside DATA ends with 250');
my ($mail) = $ph->wait_mail('held', 1);
like($mail // '', qr/first\nline 1\nline 2\nline 3\n/, 'and its message is whole');
is($idle->ask('NOOP'), 250, 'the idle session still answers');
my %want = map { map { /^ok (\S+)/ ? ($1 => 1) : () } split /\n/, Posthorn::slurp($_) } glob "$ph->{tmp}/ack*";
Posthorn::wait_for(sub { $ph->mail('load') + $sink->messages >= keys %want }, 60);
my %got;
$got{$_}++ for map { /^X-Tag: (\S+)/m ? $1 : () } (map { Posthorn::slurp($_) } $ph->mail('load')), map { $_->{body} } $sink->messages;
is_deeply(\%got, \%want, scalar(keys %want) . ' messages: each arrives once');
ok(Posthorn::wait_for(sub { !$ph->queued }), 'no outcome was dropped: the queue is empty');

# Errors change nothing.
my $good_cf = Posthorn::slurp($ph->dir . '/main.cf');
my $good_yaml = Posthorn::slurp($ph->dir . '/master.yaml');
for my $case (['main.cf', $good_cf . "this is no setting\n", qr/main\.cf, line \d+/], ['main.cf', $good_cf . "queue_run_delay = soon\n", qr/main\.cf.*queue_run_delay|queue_run_delay.*main\.cf/],
    ['master.yaml', $good_yaml . "  - {name: x, plugin: nosuchplugin, listen: unix, colour: red}\n", qr/master\.yaml:\d+:\d+: .*colour/],
    ['master.yaml', $good_yaml . "  - [\n", qr/master\.yaml:\d+:\d+/]) {
    my ($file, $text, $re) = @$case;
    Posthorn::spew($ph->dir . "/$file", $text);
    my $out = $ph->postfix('reload');
    isnt($?, 0, "$file with an error: reload fails");
    like($out . $ph->log, $re, "$file with an error: says where");
    is((my @r = $ph->smtp->send(from => 'a@b.test', to => ['still@example.test'], body => "Subject: s\r\n\r\nx\r\n"))[0], 250, "$file with an error: mail still flows");
    # Also through workers that start only now: they get what the master checked.
    my %p = $ph->processes;
    my @smtpd = grep { $p{$_} =~ / -n smtp -t inet/ } keys %p;
    kill 'KILL', @smtpd;
    Posthorn::wait_for(sub { !grep { kill 0, $_ } @smtpd });
    is((@r = $ph->smtp->send(from => 'a@b.test', to => ['still@example.test'], body => "Subject: s\r\n\r\nx\r\n"))[0], 250, "$file with an error: a new worker serves");
    Posthorn::spew($ph->dir . '/main.cf', $good_cf);
    Posthorn::spew($ph->dir . '/master.yaml', $good_yaml);
}
$ph->postfix('reload');
is($?, 0, 'with good files reload works again');
done_testing();
