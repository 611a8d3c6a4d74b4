#!/usr/bin/perl
# Each 250 comes behind its sync: a whole instance runs under strace from its
# start, mail comes in every way there is, and in the order of the calls, before
# "queued as ID" is sent, the file that ID was written to is on disk: after the
# last write to it an fdatasync began and returned 0, and where the file's name was
# new the directory was synced, too.
use strict;
use warnings;
use Test::More;
use lib 't/lib', 't/bench';
use Bench::Load;
use Posthorn;

plan skip_all => 'strace is not installed' unless grep { -x "$_/strace" } split /:/, $ENV{PATH};
plan skip_all => 'a sanitized build is too slow under strace' if Posthorn::slurp("$Posthorn::build/.dev") =~ /--enable-sanitizers/;

my $is_write = qr/^(?:p?write(?:v|v2|64)?|ftruncate|fallocate)$/;
my $is_send = qr/^(?:write|writev|sendto|sendmsg|sendmmsg)$/;
my $calls = 'write,writev,pwrite64,pwritev,pwritev2,ftruncate,fallocate,copy_file_range,sendfile,splice,io_uring_enter,sendto,sendmsg,sendmmsg,'
    . 'fdatasync,fsync,openat,open,link,linkat,rename,renameat,renameat2';

# ---- the judge ----

# A line of strace: {task, call, text, begins, returns}.  The end of a call that
# others came between stands on a line of its own.
sub parse {
    my ($line) = @_;
    my ($task, $resumed, $call, $text) = $line =~ /^(\d+) +(<\.\.\. )?(\w+)(?: resumed>|\()(.*)/ or return;
    my ($rc) = $text =~ /\) += (-?\d+)[^=]*$/;
    return { task => $task, call => $call, text => $text, begins => !$resumed, returns => $rc };
}

my %receiver;                   # tasks of smtpd.  Others' writes are marks of deliveries, which may be sooner than the 250

# What was acknowledged, ID => what is wrong ('' when all is well).
sub judge {
    my (@lines) = @_;
    my ($now, %under_way, %changed, %synced, %name_since, %file_of, %verdict) = (0);
    for my $c (map { parse($_) } @lines) {
        $now++;
        my $u = $c->{begins} ? ($under_way{$c->{task}} = { text => '' }) : $under_way{$c->{task}} //= { text => '' };
        $u->{text} .= $c->{text};
        $u->{since} = $now if $c->{begins};
        my ($path) = $u->{text} =~ m{^\d+<([^>]*)>};
        if ($c->{call} =~ $is_write && $path && $path =~ m{/queue/} && $receiver{$c->{task}}) {
            $changed{$path} = $now;
            $file_of{$1} //= $path while $c->{text} =~ /with \w+ id (\w+)/g;
        }
        elsif ($c->{call} =~ /sync$/ && ($c->{returns} // -1) == 0) {
            $synced{$path} = $u->{since};
        }
        elsif ($c->{call} =~ /^open/ && $u->{text} =~ /O_CREAT/ && $u->{text} =~ m{= \d+<([^>]*/queue/[^>]*)>$}) {
            $name_since{$1} = $now;
        }
        elsif ($c->{call} =~ /^(?:link|rename)/ && $u->{text} =~ m{.*<([^>]*)>, "([^"]*)"} && defined $c->{returns}) {
            $name_since{"$1/$2"} = $now;
        }
        if ($c->{begins} && $c->{call} =~ $is_send && $path && $path !~ m{^/}) {
            $verdict{$1} = why($1, \%file_of, \%changed, \%synced, \%name_since) while $c->{text} =~ /250 2\.0\.0 Ok: (?:\d+ bytes )?queued as (\w+)/g;
        }
    }
    return \%verdict;
}

sub why {
    my ($id, $file_of, $changed, $synced, $name_since) = @_;
    my $path = $file_of->{$id} // return 'it was not written';
    my ($dir) = $path =~ m{(.*)/};
    return "$path was not synced" if ($synced->{$path} // 0) <= $changed->{$path};
    return "the name of $path was not synced" if $name_since->{$path} && ($synced->{$dir} // 0) <= $name_since->{$path};
    return '';
}

sub wrong { my ($verdict) = @_; return my @wrong = sort map { "$_: $verdict->{$_}" } grep { $verdict->{$_} } keys %$verdict }

# ---- the instance ----

my $sink = Bench::Load::receiver("$Bench::Load::bin/sink", '-i', 'none', '-m', 1_000_000, 0);
my $ph = Posthorn->new(relayhost => "[127.0.0.1]:$sink->{port}", smtpd_peername_lookup => 'no', in_flow_delay => '0s');
my $file = "$ph->{tmp}/strace";
my $tracer = Posthorn::child(sub {
    open STDOUT, '>', "$file.out";
    open STDERR, '>&', \*STDOUT;
    exec 'strace', '-I', '2', '-f', '-y', '-s', 4096, '-e', "trace=$calls", '-o', $file, $ph->sbin('postfix'), '-c', $ph->dir, 'start';
});
$ph->{started} = 1;
$Posthorn::live{ $ph->dir } = { owner => $$, stop => sub { $ph->stop } };
my $c;
Posthorn::wait_for(sub { $c = $ph->smtp }, 60) or die 'no start under strace: ', Posthorn::slurp("$file.out"), $ph->log;

# ---- the mail: what each client was told ----

my %told;
sub heard { my ($text) = @_; $text //= ''; my ($id) = $text =~ /queued as (\w+)/; ok($id, "accepted: " . substr $text, 0, 60); $told{$id} = 1 if $id; return }
sub body { my ($bytes) = @_; return "Subject: x\r\n\r\n" . ("x" x 70 . "\r\n") x ($bytes / 72) . "end\r\n" }
my $from = 'MAIL FROM:<a@b.test>';
my $to = 'RCPT TO:<u@away.test>';

heard(($c->send(from => 'a@b.test', to => ['u@away.test', 'v@away.test'], body => body($_)))[1]) for 100, 4096, 20_000, 400_000, 2_000_000, 100;
$c->quit;

# Transactions without waiting for answers, RFC 2920: the next envelope stands behind
# the content; with BDAT (RFC 3030) all of it at once.
$c = $ph->smtp;
$c->ask('EHLO client.test');
my $envelope = "$from\r\n$to\r\nDATA\r\n";
$c->put($envelope);
$c->reply for 1 .. 3;
for (100, 4096, 70_000, 100) {
    $c->put(body($_) . ".\r\n$envelope");
    heard(($c->reply)[1]);
    $c->reply for 1 .. 3;
}
$c->put(body(100) . ".\r\n");
heard(($c->reply)[1]);
my @heard;
$c->put(join '', map { my $b = body($_); my $half = length($b) >> 1; "$from\r\n$to\r\nBDAT $half\r\n" . substr($b, 0, $half) . 'BDAT ' . (length($b) - $half) . " LAST\r\n" . substr $b, $half } 100, 4096, 300_000, 100);
@heard = map { my @r = $c->reply; $r[1] } 1 .. 4 * 4;
heard($_) for @heard[map { 4 * $_ - 1 } 1 .. 4];
$c->put("$from\r\n$to\r\nBDAT 9 LAST\r\nA: b\r\n\r\nc");
$c->reply for 1, 2;
heard(($c->reply)[1]);
$c->quit;

# Many at once: more slots are made, and made again.
my $many = 0;
for my $s ({ sessions => 60, bytes => 4096, n => 240 }, { sessions => 20, bytes => 4096, persistent => 1, source => ['-P'], n => 200 }, { sessions => 10, bytes => 'mix', persistent => 1, n => 60 }) {
    my $sent = Bench::Load::source($ph->port, $s, 'ack', $s->{n});
    is($sent->{accepted}, $s->{n}, "$s->{n} messages over $s->{sessions} sessions");
    $many += $s->{n} + $sent->{uncertain};
}
Posthorn::wait_for(sub { !$ph->queued }, 60);
my %line = $ph->processes;
for my $pid (grep { $line{$_} =~ /-n smtp -t inet/ } keys %line) { $receiver{$_} = 1 for map { m{(\d+)$} } glob "/proc/$pid/task/*" }
$ph->stop;
waitpid $tracer, 0;
delete $Posthorn::live{"pid $tracer"};

# ---- the verdict ----

my @lines = split /\n/, Posthorn::slurp($file);
my $verdict = judge(@lines);
is(scalar keys %$verdict, keys(%told) + $many, 'strace saw every acknowledgement');
is_deeply([grep { !defined $verdict->{$_} } keys %told], [], 'those that the clients saw');
is_deeply([wrong($verdict)], [], 'each behind the sync of its file, and of its name');

# The judge sees what is missing: the same run as if a call had not been made, or had failed.
my $syncs_file = qr/ (?:<\.\.\. )?fdatasync/;
is(scalar(wrong(judge(grep { !/$syncs_file/ } @lines))), keys %$verdict, 'without fdatasync all are wrong');
is(scalar(wrong(judge(map { /$syncs_file/ ? s/= 0$/= -1 EIO (Input\/output error)/r : $_ } @lines))), keys %$verdict, 'with one that fails, too');
cmp_ok(scalar(wrong(judge(grep { !m{fsync\(\d+<[^>]*/pool/} } @lines))), '>', 30, 'without the sync of directories those in new files are');
my ($at) = grep { $lines[$_] =~ /queued as/ } 0 .. $#lines;
my ($sync) = grep { $lines[$_] =~ /$syncs_file.*= 0$/ && $receiver{ (split ' ', $lines[$_])[0] } } reverse 0 .. $at;
my @late = @lines;
splice @late, $at, 0, splice @late, $sync, 1;
is(scalar(wrong(judge(@late))), 1, 'one that comes behind its 250 is seen');
done_testing();
