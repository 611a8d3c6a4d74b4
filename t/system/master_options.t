# The master's own command line, for who starts it without postfix(1).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Posthorn;
use Test::More;

my $ph = Posthorn->new;
my $master = "$Posthorn::inst/libexec/posthorn/master";
sub ends { my ($pid) = @_; my $s = Posthorn::wait_for(sub { waitpid($pid, POSIX::WNOHANG()) == $pid ? [$?] : undef }, 30); delete $Posthorn::live{"pid $pid"}; return $s ? $s->[0] : -1 }
sub master_log { return scalar(() = $ph->log =~ /$_[0]/g) }

$ph->run($master, '-c', $ph->dir, '-t');
is($?, 0, '-t: none runs');
ok(!-e $ph->queue . '/pid/master.pid', 'and nothing was made');
for my $bad (['-t', '-w'], ['-i', '-w'], ['-k', '-s'], ['-x'], ['-e', 'x'], ['more']) {
    $ph->run($master, '-c', $ph->dir, @$bad);
    isnt($?, 0, "@$bad is refused");
}
like($ph->run($master, '-c', $ph->dir, '-i'), qr/-i is for process 1/, '-i: not process 1');
$ph->postfix('check');                           # makes the directories

# No option: a daemon in place.
my $pid = Posthorn::child(sub { exec $master, '-c', $ph->dir });
ok(Posthorn::wait_for(sub { master_log(qr/daemon started/) == 1 }), 'it starts') or diag $ph->log;
is($ph->master_pid, $pid, 'as the same process');
is((split ' ', Posthorn::slurp("/proc/$pid/stat") =~ s/.*\) //r)[3], $pid, 'with a session of its own');
is(join(' ', map { readlink "/proc/$pid/fd/$_" } 0 .. 2), '/dev/null /dev/null /dev/null', 'and nothing on 0 to 2');
$ph->run($master, '-c', $ph->dir, '-t');
isnt($?, 0, '-t: one runs');
like($ph->run($master, '-c', $ph->dir, '-s'), qr/unable to set exclusive lock: the mail system is already running/, 'a second one is refused');
kill 'TERM', $pid;
is(ends($pid), 0, 'SIGTERM ends it');

# -s: in the foreground; -e: for a time.
my $out = "$ph->{tmp}/out";
$pid = Posthorn::child(sub { open STDOUT, '>', $out; exec $master, '-c', $ph->dir, '-s', '-e', '1' });
is(ends($pid), 0, '-e: it ends by itself');
ok(master_log(qr/master exit time has arrived/), 'and says why');

# Who starts it in the background and reads to the end of a pipe does not wait for ever.
pipe my $in, my $hold or die "pipe: $!";
my $fd = fileno $hold;
require Fcntl;
fcntl $hold, Fcntl::F_SETFD(), 0;                # the starter inherits it
$ph->start;
close $hold;
my $r = '';
vec($r, fileno $in, 1) = 1;
ok(select(my $ready = $r, undef, undef, 10) && !sysread($in, my $byte, 1), "a started system holds no descriptor of its starter ($fd)");
$ph->stop;
done_testing;
