# Image.pm: filesystems in files, mounted by loop, and copies of them at one moment.
#
# The image lies on a filesystem of its own (xfs) that clones files: a clone holds
# what the filesystem inside had handed to its disk at that moment, and nothing
# that it had not, as if the power had gone.
package Image;
use strict;
use warnings;
use File::Temp ();
use Posthorn;

# How each is made, mounted, and put in order when it was left without a farewell.
our %kind = (
    'ext4'      => { mkfs => ['mkfs.ext4', '-q', '-F'], module => 'ext4' },
    'ext4-bare' => { mkfs => ['mkfs.ext4', '-q', '-F', '-O', '^has_journal'], module => 'ext4', fsck => ['e2fsck', '-f', '-y'] },
    'xfs'       => { mkfs => ['mkfs.xfs', '-q', '-f'], module => 'xfs', options => ',nouuid' },
    'btrfs'     => { mkfs => ['mkfs.btrfs', '-q', '-f'], module => 'btrfs', forget => ['btrfs', 'device', 'scan', '--forget'] },
);
my $SIZE = 400 << 20;           # sparse; xfs wants 300 MiB

sub tool { my ($name) = @_; return grep { -x "$_/$name" } split(/:/, $ENV{PATH}), '/sbin', '/usr/sbin' }

# Why it cannot be done here, or undef.
sub missing {
    my ($name) = @_;
    return 'needs root' if $>;
    return 'needs loop devices' unless -e '/dev/loop-control';
    return 'needs mkfs.xfs (it holds the images)' unless tool('mkfs.xfs');
    return unless defined $name;
    my $k = $kind{$name} or return "no filesystem $name";
    my $known = sub { grep { /\t\Q$k->{module}\E$/ } split /\n/, Posthorn::slurp('/proc/filesystems') };
    system "modprobe $k->{module} 2>/dev/null" unless $known->();
    return "the kernel has no $k->{module}" unless $known->();
    return "$k->{mkfs}[0] is not installed" unless tool($k->{mkfs}[0]);
    return;
}

sub run { my (@cmd) = @_; local $?; my $out = Posthorn::run({}, @cmd); return wantarray ? ($? >> 8, $out) : $? == 0 || die "@cmd: $out" }

sub unmount {
    my ($dir) = @_;
    Posthorn::wait_for(sub { my ($rc) = run('umount', $dir); $rc == 0 }, 20) or Test::More::diag("$dir stays mounted");
    return;
}

sub new {
    my ($class, $name) = @_;
    my $where = -w '/dev/shm' ? '/dev/shm' : undef;
    my $tmp = File::Temp->newdir('posthorn-image-XXXXXX', $where ? (DIR => $where) : (TMPDIR => 1), CLEANUP => 1);
    my $self = bless { name => $name, kind => $kind{$name}, tmp => $tmp, owner => $$, mounted => [] }, $class;
    run('truncate', '-s', '4G', "$tmp/outer");
    run('mkfs.xfs', '-q', '-m', 'reflink=1', "$tmp/outer");
    mkdir "$tmp/images" or die $!;
    run('mount', '-o', 'loop', "$tmp/outer", "$tmp/images");
    push @{ $self->{mounted} }, "$tmp/images";
    run('truncate', '-s', $SIZE, "$tmp/images/first");
    run(@{ $self->{kind}{mkfs} }, "$tmp/images/first");
    return $self;
}

# The filesystem in that image at $dir: undef, or what is wrong with it.
sub mount {
    my ($self, $image, $dir) = @_;
    my $file = "$self->{tmp}/images/$image";
    if ($self->{kind}{fsck} && $image ne 'first') {
        my ($rc, $out) = run(@{ $self->{kind}{fsck} }, $file);
        return "fsck: $out" if $rc > 2;             # 1, 2: mended
    }
    my ($rc, $out) = run('mount', '-o', 'loop' . ($self->{kind}{options} || ''), $file, $dir);
    return "mount: $out" if $rc;
    push @{ $self->{mounted} }, $dir;
    return;
}

sub unmount_last {
    my ($self) = @_;
    unmount(pop @{ $self->{mounted} });
    run(@{ $self->{kind}{forget} }) if $self->{kind}{forget};      # copies have one identity
    return;
}

# What the disk holds now.
sub copy { my ($self, $image) = @_; return run('cp', '--reflink=always', "$self->{tmp}/images/first", "$self->{tmp}/images/$image") }
sub drop { my ($self, $image) = @_; return unlink "$self->{tmp}/images/$image" }

sub DESTROY {
    my ($self) = @_;
    return if $self->{owner} != $$;
    local ($?, $!, $@);
    $self->unmount_last while @{ $self->{mounted} };
    return;
}

1;
