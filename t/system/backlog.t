#!/usr/bin/perl
# A large backlog: what a run over it may cost (calls, memory: counted, not timed), that
# the commands stream, that a listing misses nothing while mail moves, and that fresh
# mail passes a backlog that is stuck.  t/bench/backlog measures the same at any size.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Posthorn;
use Soak;
use Test::More;

my ($N, $LONG) = (2000, 120);
my $fill = "$Posthorn::build/t/bench/backlog_fill";
my $stuck = IO::Socket::INET->new(Listen => 1024, LocalAddr => '127.0.0.1') or die "no port: $!";     # accepts, and never speaks
my $ph = Posthorn->new(default_transport => 'smtp:[127.0.0.1]:' . $stuck->sockport, minimal_backoff_time => '1000s', queue_run_delay => '1000s',
    qmgr_message_active_limit => 400, qmgr_message_recipient_limit => 400);

sub pid_of { my ($name) = @_; my %p = $ph->processes; return (grep { $p{$_} =~ /worker -n \Q$name\E / } keys %p)[0] }
sub fill { my (@args) = @_; is(system($fill, $ph->queue, @args), 0, "a backlog of $args[0]") }
sub files { my $n = () = glob $ph->queue . '/deferred/?/*'; return $n }

# Until it computes nothing: what was begun by itself is over.
sub settle {
    my ($pid) = @_;
    my ($cpu, $same) = (-1, 0);
    Posthorn::wait_for(sub { my $c = Soak::cpu($pid); $same = $c == $cpu ? $same + 1 : 0; $cpu = $c; $same > 15 }, 60);
}

# Names of files that qmgr asks the kernel about while $what runs: path => times.
sub looks {
    my ($what, $least) = @_;
    my ($q, $file) = (pid_of('qmgr'), "$ph->{tmp}/strace");
    my $pid = Posthorn::child(sub { open STDERR, '>', '/dev/null'; exec 'strace', '-f', '-qq', '-e', 'trace=%file,unlinkat', '-o', $file, '-p', $q });
    return unless Posthorn::wait_for(sub { Posthorn::slurp("/proc/$q/status") =~ /^TracerPid:\s+[1-9]/m }, 10);
    $what->();
    # A qmgr that a busy machine keeps waiting looks as if it had settled.
    Posthorn::wait_for(sub { queue_files(names_in($file)) > $least }, 30) if $least;
    settle($q);
    kill 'INT', $pid;
    waitpid $pid, 0;
    delete $Posthorn::live{"pid $pid"};
    return names_in($file);
}

sub names_in {
    my ($text, %seen) = (Posthorn::slurp($_[0]));
    $seen{$1}++ while $text =~ /\((?:AT_FDCWD|\d+), "([^"]+)"/g;
    return \%seen;
}

sub queue_files { return grep { /^(?:deferred\/.\/)?\w{12,}$/ } keys %{ $_[0] } }

$ph->start->stop;                            # makes the directories
fill($N, 1000);
$ph->start;
my $q = pid_of('qmgr');
settle($q);

# ---- a listing: all of them, as they are read ----
my %inode = map { m{(./([^/]+))$} ? ($2 => [$1, (stat)[1]]) : () } glob $ph->queue . '/deferred/?/*';
my @ids = keys %inode;
is(scalar @ids, $N, 'the files are there');
for my $how (['-p', qr/^(\w{12,})[*!# ]/], ['-j', qr/"queue_id": "(\w+)"/]) {
    my ($option, $re) = @$how;
    my (%seen, %last);
    my $back = 0;
    Soak::peak_begin($q, pid_of('showq') // ());
    my $before = Soak::kib('status', 'VmRSS', $q);
    open my $out, '-|', $ph->sbin('postqueue'), '-c', $ph->dir, $option or die $!;
    while (defined(my $l = <$out>)) {
        next unless $l =~ $re;
        $seen{$1}++;
        my ($dir, $inode) = (substr($inode{$1}[0], 0, 1), $inode{$1}[1]);
        $back++ if $inode < ($last{$dir} // 0);
        $last{$dir} = $inode;
    }
    close $out;
    is($back, 0, "postqueue $option: files of a directory are read in the order of their inodes");
    is_deeply([sort keys %seen], [sort @ids], "postqueue $option: every message");
    is((grep { $_ != 1 } values %seen), 0, 'each once');
    SKIP: {
        skip 'memory means nothing under a sanitizer', 1 if Soak::sanitized();
        my $most = Soak::peak($q) - $before;
        cmp_ok($most, '<', 1500, 'qmgr keeps no list of them') or diag "$before + $most KiB";
    }
}
# A reader that takes one line and then stops: it has that line, though the rest cannot
# even have been made: the pipe and the sockets on the way hold less.
{
    $ph->stop;
    fill($LONG, 1000, 1000, 10, 250);                # recipients each: about 30 KB of a listing
    $ph->start;
    settle($q = pid_of('qmgr'));
    my $pid = open my $out, '-|', $ph->sbin('postqueue'), '-c', $ph->dir, '-j' or die $!;
    my $line = <$out>;
    like($line, qr/^\{"queue_name"/, 'the first message is shown');
    my $read = sub { Posthorn::slurp("/proc/$_[0]/io") =~ /^rchar: (\d+)/m ? $1 : 0 };
    settle($pid);
    is(waitpid($pid, POSIX::WNOHANG()), 0, 'while postqueue waits for its reader');
    my %p = $ph->processes;
    SKIP: {
        skip 'memory means nothing under a sanitizer', 1 if Soak::sanitized();
        cmp_ok(Soak::kib('status', 'VmRSS', $_), '<', 20000, 'nobody keeps what he does not take: ' . (($p{$_} // 'postqueue') =~ /-n (\S+)/ ? $1 : 'postqueue'))
            for grep { $_ } pid_of('qmgr'), pid_of('showq'), $pid;
    }
    my $c = $ph->smtp;
    is(($c->send(from => 'a@client.test', to => 'patient@example.test', body => "Subject: x\r\n\r\nx\r\n"))[0], 250, 'mail is accepted meanwhile');
    is(scalar($ph->wait_mail('patient', 1)), 1, 'and delivered');
    my $lines = 1;
    $lines++ while defined($line = <$out>);
    close $out;
    is($lines, $N + $LONG, 'the reader goes on: the rest comes');
}

# ---- a flush looks at no file that it knows ----
SKIP: {
    skip 'no strace, or it may not attach', 3 if !-x '/usr/bin/strace';
    my $was = files();
    my $seen = looks(sub { $ph->cmd('postqueue', '-f') }, 100);
    skip 'strace may not attach', 3 unless $seen;
    my @files = queue_files($seen);
    cmp_ok(scalar @files, '>', 100, 'those are read that have room in the active queue');
    cmp_ok(scalar @files, '<', 1000, 'and of the others no file is looked at') or diag scalar @files;
    is((grep { $seen->{$_} > 12 } @files), 0, 'each a few times') or diag join ' ', map { "$_ $seen->{$_}" } grep { $seen->{$_} > 12 } @files;
}

# ---- fresh mail passes ----
is(Posthorn::wait_for(sub { scalar(grep { /queue active/ } split /\n/, $ph->log) > 250 }) ? 1 : 0, 1, 'a part of it is active');
is(($ph->smtp->send(from => 'a@client.test', to => 'fresh@example.test', body => "Subject: $_\r\n\r\nx\r\n"))[0], 250, "fresh mail $_ is accepted") for 1 .. 5;
is(scalar($ph->wait_mail('fresh', 5)), 5, 'and delivered, while the backlog is stuck') or diag substr $ph->log, -3000;

# ---- deletion ----
$ph->restart;                                # ends what is under way; the active ones are active again
settle($q = pid_of('qmgr'));
$ph->cmd('postqueue', '-f');
Posthorn::wait_for(sub { my ($m) = grep { $_->{queue_name} eq 'active' } $ph->queued; $m });
my $left = files();
# A log of failures too, among many messages that have none.
my ($rare) = map { s{/defer/./}{/bounce/}r } glob $ph->queue . '/defer/?/*';
Posthorn::spew($rare, "index=0\n\n");
is($ph->cmd('postsuper', '-d', 'ALL'), "postsuper: Deleted: $left messages\n", 'postsuper -d ALL: each counted once, those that are active too');
close $stuck;                                # what is being delivered is deleted when that has ended
ok(Posthorn::wait_for(sub { files() == 0 }), 'no message is left');
ok(Posthorn::wait_for(sub { my $n = () = glob $ph->queue . '/defer/?/*'; $n == 0 }), 'and no log');
ok(!-e $rare, 'of any kind');
is($ph->cmd('postqueue', '-p'), "Mail queue is empty\n", 'the queue is empty');

# ---- a listing while everything moves: what is there all the time is in it ----
$ph->stop;
fill(600, 1000);
$ph->set(default_transport => 'retry:4.4.4 nobody is there', transport_retry_time => '1s')->start;
settle($q = pid_of('qmgr'));
my @all = map { m{([^/]+)$} } glob $ph->queue . '/deferred/?/*';
my $mover = Posthorn::child(sub { while (1) { $ph->cmd('postqueue', '-f'); select undef, undef, undef, 0.05 } });     # as fast as they fail
my ($missed, $twice, $states, %was) = (0, 0, '');
my $moved = sub { scalar grep { keys %$_ > 1 } values %was };       # seen in both queues
for my $round (1 .. 60) {
    my %seen;
    my %state;
    for my $m ($ph->queued) { $seen{ $m->{queue_id} }++; $state{ $m->{queue_name} }++; $was{ $m->{queue_id} }{ $m->{queue_name} } = 1 }
    $missed += grep { !$seen{$_} } @all;
    $twice += grep { $_ > 1 } values %seen;
    $states .= join(' ', map { "$_=$state{$_}" } sort keys %state) . '; ';
    last if $round >= 6 && $moved->();        # a busy machine may be slow to move them
}
Posthorn::end_child($mover);
is($missed, 0, "no listing missed a message that moved between active and deferred") or diag $states;
is($twice, 0, 'or had it twice');
cmp_ok($moved->(), '>', 0, 'they did move') or diag $states;

# ---- why: from the note in the message's file, else from the log ----
$ph->set(transport_retry_time => '1000s')->restart;
$ph->cmd('postsuper', '-d', 'ALL');
Posthorn::wait_for(sub { files() == 0 });
$ph->sendmail("Subject: x\n\nx\n", '-f', 'a@client.test', 'x@far.test', 'y@far.test');
ok(Posthorn::wait_for(sub { my @m = grep { $_->{queue_name} eq 'deferred' } $ph->queued; @m == 1 }), 'mail for two is deferred');
my ($file) = glob $ph->queue . '/deferred/?/*';
my ($log) = glob $ph->queue . '/defer/?/*';
my $why = sub { my ($m) = $ph->queued; join '; ', map { "$_->{address} " . ($_->{delay_reason} // 'unknown') } sort { $a->{address} cmp $b->{address} } @{ $m->{recipients} } };
my $known = 'x@far.test nobody is there; y@far.test nobody is there';
is($why->(), $known, 'why, of both');
rename $log, "$ph->{tmp}/log" or die "$log: $!";
is($why->(), $known, 'also without the log');
my $at = index Posthorn::slurp($file), 'PHN1';
cmp_ok($at, '>', 0, 'the note stands in the file');
open my $io, '+<:raw', $file or die "$file: $!";
seek $io, $at + 30, 0;
print $io '*';
close $io;
is($why->(), 'x@far.test unknown; y@far.test unknown', 'a damaged note says nothing');
rename "$ph->{tmp}/log", $log or die "$log: $!";
is($why->(), $known, 'then the log does');

done_testing();
