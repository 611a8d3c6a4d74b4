#!/usr/bin/perl
# The sweep of bounce: logs of messages that are gone go, however many there are of
# messages that are still there; young ones stay.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Posthorn;
use Test::More;

my $N = 1500;
my $ph = Posthorn->new(default_transport => 'retry:4.4.4 nobody is there', minimal_backoff_time => '1000s', queue_run_delay => '1000s');
$ph->edit_master(sub { s/(name: bounce,.*wakeup: )\d+s/${1}1s/ or die 'no wakeup' });
$ph->start->stop;
is(system("$Posthorn::build/t/bench/backlog_fill", $ph->queue, $N, 256), 0, "a backlog of $N");
my $queue = $ph->queue;
my @logs = glob "$queue/defer/?/*";
is(scalar @logs, $N, 'each has a log');

# One without a message in each directory, and one of each kind; the owner's, as all.
my ($owner, $group) = (stat $logs[0])[4, 5];
my %name = map { m{/defer/(.)/(\w+)$} ? ($1 => $2) : () } @logs;
my (@gone, $young);
for my $h (sort keys %name) {
    (my $id = $name{$h}) =~ s/\w{4}$/zzzz/;
    push @gone, "$queue/defer/$h/$id";
}
push @gone, map { "$queue/$_/" . $gone[0] =~ s{.*/}{}r } qw(bounce trace);
($young = $gone[0]) =~ s/zzzz$/yyyy/;
Posthorn::spew($_, "index=0\n\n") for @gone, $young;
chown $owner, $group, @gone, $young;
my $old = time - 7200;
utime $old, $old, @logs, @gone;

$ph->start;
ok(Posthorn::wait_for(sub { !grep { -e } @gone }, 60), 'logs of messages that are gone are removed, in each directory')
    or diag join "\n", (grep { -e } @gone), substr $ph->log, -1000;
like($ph->log, qr/removing the bounce log of a message that is gone/, 'that is said');
is((grep { !-e } @logs), 0, 'those of messages that are there stay');
ok(-e $young, 'and a young one');
done_testing();
