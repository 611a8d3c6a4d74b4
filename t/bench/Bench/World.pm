# World.pm: where the benchmark runs: as root in namespaces of its own (mounts,
# processes, a network with loopback only), with accounts that exist nowhere
# else and a fresh journaled filesystem for each system.  The end of the inner
# process, however it comes, ends all processes and mounts; the outer one then
# removes files and control groups.
package Bench::World;
use strict;
use warnings;
use Cwd ();
use File::Path qw(make_path remove_tree);
use POSIX ();
use Posthorn;
use PosthornRoot ();

our ($base, $disks);               # where all files are; whether disks are images of their own
our $image_mib = 1024;

# In the outer process: run this program again inside.  Returns only there.
sub enter {
    my ($dir, @argv) = @_;
    my $name = "posthorn-bench-$$";
    if (my $inside = $ENV{POSTHORN_BENCH_INSIDE}) {
        ($base, my $root) = split / /, $inside;
        Bench::Meter::root($root);
        return $root eq 'plain' ? 1 : settle();
    }
    make_path($dir);
    $base = Cwd::abs_path($dir) . "/$name";
    mkdir $base or die "$base: $!";
    chmod 0755, $base;
    my @unshare = qw(setpriv --pdeathsig KILL unshare -mn --propagation private --pid --fork --kill-child --mount-proc);
    my $root = $> == 0 && system("@unshare true 2>/dev/null") == 0 ? $name : 'plain';
    print "bench: not root, or no namespaces: Posthorn alone, its queue in a plain directory\n" if $root eq 'plain';
    local $ENV{POSTHORN_BENCH_INSIDE} = "$base $root";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        setpgrp 0, 0;
        exec $root eq 'plain' ? () : @unshare, $^X, $0, @argv or POSIX::_exit(127);
    }
    my $caught;
    local @SIG{qw(INT TERM HUP)} = (sub { $caught = 1; kill 'TERM', -$pid }) x 3;
    1 while waitpid($pid, 0) < 0 && $!{EINTR};
    my $rc = $?;
    Bench::Meter::remove($root);
    remove_tree($base);
    exit($caught || $rc ? 1 : 0);
}

# In the inner process: loopback, accounts, an /etc of its own.
sub settle {
    mkdir $PosthornRoot::tmp = "$base/root";
    PosthornRoot::loopback_up();
    PosthornRoot::accounts(postfix => 731, postnet => 732, 'group postdrop' => 733);
    # With cookies a full listener drops clients for good that believe they are
    # connected; without, they come again a second later.
    Posthorn::spew('/proc/sys/net/ipv4/tcp_syncookies', "0\n");
    Posthorn::spew('/etc/resolv.conf', "nameserver 127.0.0.1\n");
    $disks = image('probe', 64) ? 1 : 0;
    print "bench: no loop device: the queues are in plain directories\n" unless $disks;
    release('probe') if $disks;
    return 1;
}

# A file of that size, mounted as ext4 with a journal, all blocks of it there:
# what the host's filesystem does for new ones is not measured.
sub image {
    my ($name, $mib) = @_;
    my ($file, $dir) = ("$base/$name.img", "$base/$name");
    -e $file or system('dd', 'if=/dev/zero', "of=$file", 'bs=1M', "count=$mib", 'conv=fsync', 'status=none') == 0 or return;
    mkdir $dir;
    system("mkfs.ext4 -q -F -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 '$file' 2>/dev/null") == 0 or return;
    # Past the page cache of the host, which would copy everything once more; the
    # device goes with its last mount.
    my $loop = `losetup -f --show --direct-io=on '$file' 2>/dev/null`;
    chomp $loop;
    return if $loop eq '';
    my $mounted = system("mount '$loop' '$dir' 2>/dev/null") == 0;
    system('losetup', '-d', $loop);
    chmod 0755, $dir;
    return $mounted ? $dir : undef;
}

# An empty directory for a system.
sub disk {
    my ($name) = @_;
    return image($name, $image_mib) || die "bench: no disk for $name\n" if $disks;
    my $dir = "$base/$name";
    remove_tree($dir);
    mkdir $dir or die "$dir: $!";
    chmod 0755, $dir;
    return $dir;
}

sub release {
    my ($name) = @_;
    system('umount', "$base/$name") == 0 or system('umount', '-l', "$base/$name") if $disks;
    return;
}

# What this is measured on, in words.
sub machine {
    my ($model) = Posthorn::slurp('/proc/cpuinfo') =~ /^model name\s*:\s*(.*)/m;
    my $cores = () = Posthorn::slurp('/proc/cpuinfo') =~ /^processor/mg;
    my ($kib) = Posthorn::slurp('/proc/meminfo') =~ /^MemTotal:\s+(\d+)/;
    my $fs = `findmnt -n -o FSTYPE -T '$base'`;
    chomp $fs;
    return sprintf '%d cores (%s), %.0f GiB memory, Linux %s, queues on %s', $cores, $model || 'unknown', $kib / 1048576,
        (POSIX::uname())[2], $disks ? "ext4 images with a journal, on $fs" : $fs;
}

1;
