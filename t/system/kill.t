#!/usr/bin/perl
# kill -9 of a random process of ours, qmgr and master included, 20 times under
# load: every message that got 250 arrives; none is both delivered and bounced.
# POSTHORN_KILLS sets another number.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;

my $kills = $ENV{POSTHORN_KILLS} || 20;
my $sink = Posthorn::Sink->new(rcpt => sub { $_[1] =~ /^no/ ? '550 5.1.1 no such user' : '250 2.1.5 ok' });
my $ph = Posthorn->new(relayhost => '[127.0.0.1]:' . $sink->port, minimal_backoff_time => '2s', maximal_backoff_time => '4s', queue_run_delay => '2s',
    in_flow_delay => '1s')->start;
my $acks = "$ph->{tmp}/acks";
mkdir $acks;

# Clients send numbered messages until told to stop, and note what was accepted.
my $stop = "$ph->{tmp}/stop";
my @kids = map {
    my $k = $_;
    Posthorn::child(sub {
        open my $log, '>>', "$acks/$k" or die $!;
        $log->autoflush(1);
        for (my $i = 0; !-e $stop; $i++) {
            my $tag = "m$k-$i";
            my $to = ('box@example.test', 'far@away.test', 'no@away.test')[$i % 3];
            my $r = eval {
                my $c = Posthorn::Client->new(port => $ph->port, timeout => 20) or die 'no connection';
                my @r = $c->send(from => 'sender@example.test', to => [$to], body => "Subject: $tag\r\nX-Tag: $tag\r\n\r\n$tag\r\n");
                $r[0];
            };
            if (($r // 0) == 250) { print $log "$tag $to\n" } else { Posthorn::tick() }
        }
    });
} 1 .. 4;

srand($ENV{POSTHORN_SEED} // 20261124);
my ($done, %killed) = (0);
while ($done < $kills) {
    my $sum = sub { my $n = 0; $n += (() = Posthorn::slurp($_) =~ /\n/g) for glob "$acks/*"; $n };
    my $before = $sum->();
    # Some mail between two kills, so that each hits a working system.
    Posthorn::wait_for(sub { $sum->() >= $before + 10 }, 30) or BAIL_OUT("no mail flows after $done kills:\n" . substr($ph->log, -4000));
    my %p = $ph->processes;
    my @pids = sort { $a <=> $b } keys %p or BAIL_OUT('no process of ours is left');
    my $pid = $pids[rand @pids];
    # The master and the queue manager are among them, whatever the dice say.
    my $must = { 3 => qr{/master}, 6 => qr{-n qmgr}, 9 => qr{-n smtp -t inet} }->{ $done % 10 };
    ($pid) = grep { $p{$_} =~ $must } @pids if $must && grep { $p{$_} =~ $must } @pids;
    my ($what) = $p{$pid} =~ m{posthorn/(.{0,40})};
    $killed{ $p{$pid} =~ m{/master} ? 'master' : $p{$pid} =~ /-n\s*(\S+)/ ? $1 : $what }++;
    kill 'KILL', $pid;
    $done++;
    if ($p{$pid} =~ m{posthorn/master}) {
        # The workers end by themselves; then an administrator starts it again.
        Posthorn::wait_for(sub { my %q = $ph->processes; !%q }, 40) or diag 'still there: ' . join ', ', values %{ { $ph->processes } };
        my $out = $ph->postfix('start');
        BAIL_OUT("no start after the master was killed: $out") if $?;
    }
}
diag join ', ', map { "$_: $killed{$_}" } sort keys %killed;
Posthorn::spew($stop, '');
for my $k (@kids) { waitpid $k, 0; delete $Posthorn::live{"pid $k"} }

my %acked = map { map { /^(\S+) (\S+)/ ? ($1 => $2) : () } split /\n/, Posthorn::slurp($_) } glob "$acks/*";
ok(Posthorn::wait_for(sub { !$ph->queued }, 120), 'the queue runs empty') or diag $ph->cmd('postqueue', '-p');
my (%delivered, %bounced);
$delivered{$_}++ for map { Posthorn::slurp($_) =~ /^X-Tag: (\S+)/m ? $1 : () } $ph->mail('box');
$delivered{$_}++ for map { $_->{body} =~ /^X-Tag: (\S+)/m ? $1 : () } $sink->messages;
$bounced{$_}++ for map { Posthorn::slurp($_) =~ /^X-Tag: (\S+)/m ? $1 : () } $ph->mail('sender');
my @lost = grep { !$delivered{$_} && !$bounced{$_} } sort keys %acked;
is_deeply(\@lost, [], scalar(keys %acked) . " acknowledged messages over $kills kills: none is lost") or do {
    my $log = $ph->log;
    diag "$_: $acked{$_}\n" . join "\n", grep { /\Q$_\E/ } split /\n/, $log for @lost[0 .. ($#lost > 3 ? 3 : $#lost)];
};
is_deeply([grep { $bounced{$_} } sort keys %delivered], [], 'none is both delivered and bounced');
is_deeply([grep { $acked{$_} =~ /^no/ ? $delivered{$_} : $bounced{$_} } sort keys %acked], [], 'each went where it belongs');
my $twice = grep { $delivered{$_} > 1 } keys %delivered;
diag "delivered twice: $twice";
cmp_ok($twice, '<=', $kills * 60, 'duplicates stay within what was under way');
my @slots = split /\n/, $ph->run('find', $ph->queue, '-path', '*/corrupt/*', '-type', 'f');
is_deeply(\@slots, [], 'nothing was called corrupt');
done_testing();
