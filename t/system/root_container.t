# A container without a container runtime: start-fg as PID 1 of a PID namespace,
# the log on stdout, as root with the accounts.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use PosthornRoot;
use Posthorn;
use Test::More;

PosthornRoot::skip_all('needs PID namespaces (unshare -pf does not work here)') if system 'unshare -pf --mount-proc true 2>/dev/null';
PosthornRoot::accounts(postfix => 731, postnet => 732, 'group postdrop' => 733);
my $ph = Posthorn->new(maillog_file => '/dev/stdout', virtual_uid_maps => 'static:731', virtual_gid_maps => 'static:731');
my $out = "$ph->{tmp}/stdout";

my $end = "$ph->{tmp}/end";
POSIX::mkfifo($end, 0600) or die "mkfifo: $!";

# unshare waits for PID 1 and ends as it ends; what it leaves behind is killed.
my $unshare = Posthorn::child(sub {
    open STDOUT, '>', $out or die "$out: $!";
    open STDERR, '>&', \*STDOUT;
    open STDIN, '<', '/dev/null';
    # Orphans for PID 1: one that ended before the master is there, one that ends when we say so.
    exec 'unshare', '-pf', '--mount-proc', '--kill-child', $^X, '-e',
        '$k = fork // die; exit unless $k; do { open S, "/proc/$k/stat"; $s = <S> } until $s =~ /\) Z/; exec @ARGV', 'sh', '-c',
        '(cat "$2" & echo orphan $!) & exec "$0" -c "$1" start-fg', $ph->sbin('postfix'), $ph->dir, $end or die "unshare: $!";
});
my $log = sub { Posthorn::slurp($out) };
ok(Posthorn::wait_for(sub { $log->() =~ /daemon started/ }), 'start-fg starts, and logs to stdout') or diag $log->();
ok(Posthorn::wait_for(sub { my $c = eval { $ph->smtp } or return; $c->quit; 1 }), 'it listens');
is(($ph->smtp->send(from => 'a@x.test', to => ['u@example.test'], body => "Subject: in\r\n\r\nhi\r\n"))[0], 250, 'it takes mail');
is(scalar(my @mail = $ph->wait_mail('u', 1)), 1, 'and delivers it');
ok(Posthorn::wait_for(sub { $log->() =~ m{^\w{3} [ \d]\d [\d:]{8} \S+ postfix/virtual\[\d+\]: \w+: to=<u\@example\.test>.*status=sent}m }), 'the lines of all services are there') or diag $log->();
like($log->(), qr{postfix/master\[1\]: daemon started}, 'the master is PID 1');

like(Posthorn::slurp("/proc/$unshare/task/$unshare/children") =~ /(\d+)/ && Posthorn::slurp("/proc/$1/cmdline"), qr/-i/, 'it was told so');

# Processes of that PID namespace, as we see them.
my ($pid1) = Posthorn::slurp("/proc/$unshare/task/$unshare/children") =~ /(\d+)/;
my $ns = readlink "/proc/$pid1/ns/pid";
my $inside = sub { grep { (readlink "/proc/$_/ns/pid" // '') eq $ns } map { /(\d+)/ } glob '/proc/[0-9]*' };
isnt($ns, readlink '/proc/self/ns/pid', 'in a namespace of its own');
my $orphans = sub { return grep { my $s = PosthornRoot::status($_); ($s->{State} // '') =~ /^Z/ || ($s->{Name} // '') eq 'cat' } $inside->() };
ok(Posthorn::wait_for(sub { $orphans->() == 1 }), 'PID 1 reaps orphans that were there before it');
open my $tell, '+<', $end or die "$end: $!";      # both ways: it waits for nobody
close $tell;
ok(Posthorn::wait_for(sub { !$orphans->() }), 'and those that end later');
my %who = map { PosthornRoot::status($_)->{Uid} =~ /^(\d+)/ ? ($1 => 1) : () } grep { PosthornRoot::status($_)->{Name} eq 'worker' && PosthornRoot::status($_)->{NoNewPrivs} } $inside->();
is(join(' ', sort keys %who), '731 732', 'sealed workers run as the two accounts');

kill 'TERM', $pid1;
my $ended = Posthorn::wait_for(sub { waitpid($unshare, POSIX::WNOHANG()) == $unshare ? [$?] : undef }, 30);
delete $Posthorn::live{"pid $unshare"} if $ended;
is(($ended || [-1])->[0], 0, 'SIGTERM to PID 1: it ends with status 0');
like($log->(), qr/terminating on signal 15/, 'and says so');
is(scalar(grep { kill 0, $_ } $inside->()), 0, 'nothing is left');
done_testing;
