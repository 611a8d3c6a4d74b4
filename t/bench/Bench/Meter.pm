# Meter.pm: what a system uses: all its processes are in a control group of
# their own, so that those which have ended count too.  Version 2 has processor
# time and is what perf can count by; version 1 has processor time; without
# either the processes below the master are summed.
package Bench::Meter;
use strict;
use warnings;
use Fcntl qw(F_SETFD);
use POSIX ();
use Posthorn;

my ($v1, $v2) = ('/sys/fs/cgroup/cpuacct', (grep { -e "$_/cgroup.procs" && -e "$_/cpu.stat" } qw(/sys/fs/cgroup /sys/fs/cgroup/unified))[0]);
my $top = '';                      # the group of all, below the root

# Use groups below this name; 'plain': none.
sub root {
    my ($name) = @_;
    $top = $name eq 'plain' ? '' : $name;
    mkdir "$v2/$top" if $top && $v2;
    mkdir "$v1/$top" if $top && !$v2;
    return;
}

# After all processes have ended.
sub remove {
    my ($name) = @_;
    return if $name eq 'plain';
    for my $dir (grep { defined && -d "$_/$name" } $v1, $v2) { rmdir for glob("$dir/$name/*/"), "$dir/$name" }
    return;
}

sub new {
    my ($class, $name) = @_;
    my $self = bless { name => $name }, $class;
    return $self unless $top;
    $self->{dir} = ($v2 // $v1) . "/$top/$name";
    mkdir $self->{dir};
    delete $self->{dir} unless -w "$self->{dir}/cgroup.procs";
    return $self;
}

# Run code whose children belong to the system.
sub start {
    my ($self, $code) = @_;
    Posthorn::spew("$self->{dir}/cgroup.procs", $$) if $self->{dir};
    my $system = $code->();
    Posthorn::spew(($v2 // $v1) . '/cgroup.procs', $$) if $self->{dir};
    $self->{master} = $system->master_pid;
    return $system;
}

sub pids {
    my ($self) = @_;
    return $self->{dir} ? split ' ', Posthorn::slurp("$self->{dir}/cgroup.procs") : Posthorn::tree($self->{master});
}

# Until no process is left; what does not end is killed (v2 only).
sub end {
    my ($self) = @_;
    return if !$self->{dir} || Posthorn::wait_for(sub { !$self->pids }, 5);
    Posthorn::spew("$self->{dir}/cgroup.kill", 1) if -e "$self->{dir}/cgroup.kill";
    Posthorn::wait_for(sub { !$self->pids }, 5);
    return;
}

# Processor time so far, in milliseconds.
sub cpu {
    my ($self) = @_;
    if ($self->{dir}) {
        return $v2 ? (Posthorn::slurp("$self->{dir}/cpu.stat") =~ /^usage_usec (\d+)/m)[0] / 1000 : Posthorn::slurp("$self->{dir}/cpuacct.usage") / 1e6;
    }
    my $ticks = 0;
    for my $pid ($self->pids) {
        my @f = split ' ', (Posthorn::slurp("/proc/$pid/stat") =~ /\) (.*)/s)[0] // next;
        $ticks += $f[11] + $f[12] + $f[13] + $f[14];
    }
    return 1000 * $ticks / POSIX::sysconf(&POSIX::_SC_CLK_TCK);
}

# Memory as the kernel shares it out, in KiB.
sub pss {
    my ($self) = @_;
    my $sum = 0;
    $sum += Posthorn::slurp("/proc/$_/smaps_rollup") =~ /^Pss:\s+(\d+)/m ? $1 : 0 for $self->pids;
    return $sum;
}

my @syncs = map { "syscalls:sys_enter_$_" } qw(fsync fdatasync sync syncfs msync sync_file_range);
my @events = ('context-switches', 'raw_syscalls:sys_enter', @syncs);

# Whether perf can count by group here.
sub can_count { my ($self) = @_; return $self->{dir} && $v2 && system('perf stat -a -e ' . join(',', @events) . " -G $top/$self->{name} -- true >/dev/null 2>&1") == 0 }

# Count while code runs: {switches, calls, syncs}.  Slows what it counts a little:
# nothing else is measured meanwhile.
sub count {
    my ($self, $code) = @_;
    my $file = "$Bench::World::base/perf.$self->{name}";
    my $group = join ',', ("$top/$self->{name}") x @events;
    my ($take, $tell, $hear, $answer);
    pipe $take, $tell and pipe $hear, $answer or die "pipe: $!";
    my $pid = Posthorn::child(sub {
        open STDERR, '>', '/dev/null';
        $SIG{INT} = 'DEFAULT';
        fcntl $_, F_SETFD, 0 or die "fcntl: $!" for $take, $answer;
        exec 'perf', 'stat', '-a', '-x', ',', '-o', $file, '-e', join(',', @events), '-G', $group,
            '-D', '-1', '--control', 'fd:' . fileno($take) . ',' . fileno($answer);
    });
    close $_ for $take, $answer;
    local $SIG{PIPE} = 'IGNORE';
    syswrite $tell, "enable\n";
    (<$hear> // '') =~ /^ack/ or die "perf did not start\n";
    my $result = $code->();
    kill 'INT', $pid;
    waitpid $pid, 0;
    delete $Posthorn::live{"pid $pid"};
    my %n = map { /^(\d+),[^,]*,([^,]+)/ ? ($2 => $1) : () } split /\n/, Posthorn::slurp($file);
    my $synced = 0;
    $synced += $n{$_} // 0 for @syncs;
    return ({ switches => $n{'context-switches'}, calls => $n{'raw_syscalls:sys_enter'}, syncs => $synced }, $result);
}

1;
