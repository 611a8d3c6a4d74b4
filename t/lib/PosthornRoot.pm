# PosthornRoot.pm: tests of Posthorn started as root.  They run in namespaces of
# their own (mounts, and a network with loopback only), where /etc/passwd,
# /etc/group and the installed tree are copies: the accounts exist
# nowhere else, and whatever happens nothing is left behind.
#
#     use PosthornRoot;            # skips the test aloud where it cannot be done
#     PosthornRoot::accounts(postfix => 731, postnet => 732, 'group postdrop' => 733, alice => 2001);
#     PosthornRoot::private_tree();
#     PosthornRoot::as('alice', sub { ... });
package PosthornRoot;
use strict;
use warnings;
use Cwd ();
use File::Temp ();
use POSIX ();
use Posthorn;
use Socket qw(AF_UNIX SOCK_STREAM);
use Test::More ();

our ($tmp, $owner, @mounts);

sub skip_all { my ($why) = @_; Test::More::plan(skip_all => $why); exit 0 }

sub import {
    skip_all('needs root') if $> != 0;
    if (!$ENV{POSTHORN_NAMESPACE}) {
        system('unshare -mn true 2>/dev/null') == 0 or skip_all('needs namespaces of its own (unshare -mn does not work here)');
        $ENV{POSTHORN_NAMESPACE} = 1;
        exec 'unshare', '-mn', $^X, (map { "-I$_" } @INC), $0 or die "unshare: $!";
    }
    delete $ENV{POSTHORN_NAMESPACE};
    $tmp = File::Temp->newdir('posthorn-root-XXXXXX', TMPDIR => 1, CLEANUP => 1);
    chmod 0755, "$tmp";
    $owner = $$;
    loopback_up();
    return;
}

# SIOCSIFFLAGS: IFF_UP | IFF_RUNNING on lo.
sub loopback_up {
    socket my $s, Socket::AF_INET(), Socket::SOCK_DGRAM(), 0 or die "socket: $!";
    ioctl $s, 0x8914, my $ifreq = pack 'a16 s x22', 'lo', 0x41 or die "loopback: $!";
    return;
}

sub bind_over {
    my ($from, $to) = @_;
    system('mount', '--bind', $from, $to) == 0 or die "mount $from on $to";
    push @mounts, $to;
    return;
}

# Before the temporary directory goes: mount points cannot be removed.
END {
    local $?;
    if ($owner && $$ == $owner) { system 'umount', '-l', $_ for reverse @mounts }
}

# Users by name => uid (a group of the same name and number each) or 'uid:gid'; 'group NAME' => gid.
sub accounts {
    my (%want) = @_;
    my %text = map { $_ => Posthorn::slurp("/etc/$_") } qw(passwd group);
    for my $name (sort keys %want) {
        my ($group) = $name =~ /^group (\S+)/;
        my ($uid, $gid) = split /:/, $want{$name};
        my $key = $group // $name;
        s/^\Q$key\E:.*\n//m for $group ? $text{group} : values %text;
        $text{group} .= "$key:x:$uid:\n" unless defined $gid;
        $text{passwd} .= "$name:x:$uid:" . ($gid // $uid) . "::/nonexistent:/bin/sh\n" unless $group;
    }
    # The whole of /etc: a file that is mounted comes off when somebody else
    # puts a new /etc/passwd in place.
    system('cp', '-a', '/etc', "$tmp/etc") == 0 or die 'cp /etc';
    Posthorn::spew("$tmp/etc/$_", $text{$_}) for keys %text;
    bind_over("$tmp/etc", '/etc');
    return;
}

# The installed tree becomes a copy that this test may change.
sub private_tree {
    system('cp', '-a', $Posthorn::inst, "$tmp/inst") == 0 or die 'cp';
    system('chown', '-Rh', '0:0', "$tmp/inst");
    bind_over("$tmp/inst", $Posthorn::inst);
    return;
}

# Become that user for good (in a child).
sub become {
    my ($name, @groups) = @_;
    my ($uid, $gid) = (getpwnam $name)[2, 3];
    $( = $gid;
    $) = join ' ', $gid, @groups ? @groups : $gid;
    POSIX::setuid($uid);
    die "not $name" if $< != $uid || $> != $uid || POSIX::setuid(0);
    return;
}

# Run code as that user in a child: what it returns (text), through a file.
sub as {
    my ($name, $code) = @_;
    pipe my $in, my $out or die "pipe: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        %Posthorn::live = ();
        close $in;
        my $text = eval { become($name); $code->() } // "died: $@";
        syswrite $out, $text;
        POSIX::_exit(0);
    }
    close $out;
    local $/;
    my $text = <$in> // '';
    waitpid $pid, 0;
    return $text;
}

# Run a program as that user with text on its input: (output, exit status).
sub run_as {
    my ($name, $input, @cmd) = @_;
    my $file = "$tmp/input";
    Posthorn::spew($file, $input);
    chmod 0644, $file;
    my $text = as($name, sub {
        chdir '/';
        open STDIN, '<', $file or die "$file: $!";
        open my $p, '-|', "@{[map { quotemeta } @cmd]} 2>&1" or die "$cmd[0]: $!";
        local $/;
        my $said = <$p> // '';
        close $p;
        return ($? >> 8) . "\n$said";
    });
    $text =~ s/^(\d+)\n// or return ($text, 255);
    return ($text, $1);
}

# What /proc says of a process.
sub status {
    my ($pid) = @_;
    my %s = Posthorn::slurp("/proc/$pid/status") =~ /^(\w+):[ \t]*(.*)$/mg;
    return \%s;
}

# A socket, or the reason.
sub dial {
    my ($path) = @_;
    socket my $s, AF_UNIX, SOCK_STREAM, 0 or return "socket: $!";
    connect $s, Socket::pack_sockaddr_un($path) or return "$!";
    return $s;
}

# One frame of attributes (posthorn/frame.h), and the answer as text; '' when the
# peer closes instead.
sub ask {
    my ($s, @frames) = @_;
    syswrite $s, Posthorn::frame(@$_) for @frames;
    my $r = '';
    vec($r, fileno $s, 1) = 1;
    my $got = '';
    return 'no answer' unless select $r, undef, undef, 10;
    sysread $s, $got, 65536;
    $got =~ s/[^ -~]+/ /g;
    return $got;
}

1;
