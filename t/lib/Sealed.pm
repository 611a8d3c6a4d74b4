# Sealed.pm: plugins that attempt what is forbidden (t/seal), in a running system;
# and what /proc says of each in-tree service.
package Sealed;
use strict;
use warnings;
use Posthorn;
use Test::More;
use File::Temp ();
use IO::Socket::INET;
use Socket ();

our %errno = (0 => 'done', 1 => 'EPERM', 13 => 'EACCES', 38 => 'ENOSYS', -1 => 'no such act');
my %kind = (act_none => 'service', act_net => 'service', act_bounce => 'service', act_transport => 'transport', act_table => 'table');
my %needs = (act_net => 'network', act_bounce => 'bounce maildrop', act_transport => 'network');

# Landlock's version on this kernel; 0: none.
sub landlock { my $abi = syscall 444, 0, 0, 1; return $abi < 0 ? 0 : $abi }

sub available { return -e "$Posthorn::build/t/seal/.libs/service_act_none.so" && `nm -D $Posthorn::inst/libexec/posthorn/worker 2>/dev/null` !~ /__asan_init/ }

# The plugins become part of an instance: manifests, services.  `dir`: where the
# objects may be loaded from (owners are checked).
sub install {
    my ($ph) = @_;
    my $dir = "$ph->{dir}/objects";
    mkdir "$ph->{dir}/plugins.d";
    mkdir $dir;
    for my $name (keys %kind) {
        my $so = "$dir/$kind{$name}_$name.so";
        Posthorn::spew($so, Posthorn::slurp("$Posthorn::build/t/seal/.libs/$kind{$name}_$name.so"));
        chmod 0755, $so;
        Posthorn::spew("$ph->{dir}/plugins.d/$name.yaml", "format: 1\nkind: $kind{$name}\nname: $name\nobject: $so\n" . ($needs{$name} ? "needs: $needs{$name}\n" : ''));
    }
    chmod 0755, $dir, "$ph->{dir}/plugins.d";
    $ph->edit_master(sub {
        for my $name (qw(act_none act_net act_bounce)) { $_ .= "  - {name: $name, plugin: $name, listen: unix}\n" }
        $_ .= "  - {name: acttransport, transport: act_transport, listen: unix}\n";
    });
    return;
}

# What a service says of an act.
sub ask {
    my ($ph, $service, $act, $arg) = @_;
    socket my $s, Socket::AF_UNIX(), Socket::SOCK_STREAM(), 0 or die;
    connect $s, Socket::pack_sockaddr_un($ph->queue . "/private/$service") or return "no $service: $!";
    syswrite $s, Posthorn::frame(act => $act, arg => $arg // '');
    my $r = '';
    vec($r, fileno $s, 1) = 1;
    return 'no answer' unless select $r, undef, undef, 20;
    sysread $s, my $got, 4096;
    return 'it ended' unless length($got // '') > 17;
    return substr $got, 17;
}

sub pid_of { my ($ph, $name, $type) = @_; my %p = $ph->processes; return (sort { $a <=> $b } grep { $p{$_} =~ /worker -n \Q$name\E -t $type/ && Posthorn::slurp("/proc/$_/comm") !~ /^spawner/ } keys %p)[0] }

# A row: act, argument, errno wanted (a list: any of them), from which Landlock on.
sub refused {
    my ($said, $what, $want, $abi) = @_;
    SKIP: {
        skip "$what: this kernel's Landlock does not hold it back", 1 if ($abi || 0) > landlock();
        my %ok = map { $_ => 1 } ref $want ? @$want : $want;
        my $ok = ok($ok{$said}, sprintf '%s: %s', $what, $errno{$said} // $said);
        diag "said $said, wanted " . join ' or ', sort keys %ok unless $ok;
    }
    return;
}

# What no process of ours may, whatever its descriptor says.
our @never = (
    [exec => '/bin/true', 38], [execveat => '/bin/true', 38], [memfd => '', 38], [fork => '', 38], [clone3 => '', 38], [newuser => '', 38],
    [kill => 'PID', 38], [tgkill => 'PID', 38], [queue => 'PID', 38], [ptrace => 'PID', 38], [seize => 'PID', 38], [pidfd => 'PID', 38], [kcmp => 'PID', 38],
    [setprio => 'PID', 38], [vm_read => 'PID', 38], [mem => 'PID', [1, 2, 13], 1], [fds => 'PID', [1, 2, 13], 1], [setown => 'PID', 38], [siospgrp => 'PID', 38],
    [setuid => '', 38], [setgid => '', 38], [setresuid => '', 38], [setgroups => '', 38], [capset => '', 38], [rlimit => '', [1, 38]], [rlimit_of => 'PID', 38],
    [mount => '/mnt', 38], [umount => '/', 38], [unshare => '', 38], [setns => '', 38], [chroot => '/', 38], [pivot => '/', 38], [bpf => '', 38], [perf => '', 38],
    [keyctl => '', 38], [add_key => '', 38], [io_uring => '', 38], [uffd => '', 38], [fanotify => '', 38], [handle => '', 38], [reboot => '', 38], [module => '', 38],
    [settime => '', 38], [sethost => '', 38], [swap => '/dev/null', 38], [quotactl => '/', 38], [modify_ldt => '', 38],
    [raw => '', [1, 38]], [packet => '', 38], [netlink => '', 38], [vsock => '', 38], [alg => '', 38], [linger => '', 38],
    [write => '/etc/passwd', 13], [create => '/etc/posthorn-sealed', 13], [truncate => '/etc/passwd', 13], [reopen => '/etc/hostname', 13],
    [chmod => '/etc/passwd', [1, 13]], [abstract => 'ABSTRACT', 1, 6], [bind_unix => 'TMP/socket', 13], [mknod => 'TMP/node', [13, 38]], [symlink => 'TMP/link', [13, 38]],
    [create => 'TMP/file', 13], [read => 'TMP/secret', 13], [list => 'TMP', 13],
    [write => 'DIR/main.cf', 13], [unlink => 'DIR/main.cf', 13], [rename => 'DIR/main.cf', [13, 18]], [create => 'DIR/new.cf', 13],
    [unlink => 'QUEUE/deferred/H/ID', 13], [create => 'QUEUE/incoming/X', 13], [write => 'QUEUE/deferred/H/ID', 13],
);

# Reading the queue.  These instances have all below the directory of the
# configuration, which every service may read: there only two accounts help
# (core/master/README.md; apart from each other: t/unit/seal.c).
our @queue = ([read => 'QUEUE/deferred/H/ID', 13], [list => 'QUEUE/pool', 13], [list => 'QUEUE/maildrop', 13], [read => 'DIR/data/master.lock', 13]);

# And what any may.
our @always = (
    [read => '/etc/hostname', 0], [read => 'DIR/main.cf', 0], [list => '/usr/lib', 0], [raise => '', 0], [thread => '', 0], [getlimit => '', 0], [udp => '', 0], [tcp => '', 0], [babble => '', 0],
);

# A mail: (code, text) of the last answer.
sub mail {
    my ($ph, $from, $to) = @_;
    return $ph->smtp->send(from => $from, to => [$to], body => "Subject: t\r\n\r\nx\r\n");
}

# What the rows speak of: a message in the queue, files of others, who listens.
my ($listener, $abstract);
sub stage {
    my ($ph, $id) = @_;
    Posthorn::wait_for(sub { grep { $_->{queue_name} eq 'deferred' } $ph->queued });
    my ($hash) = map { m{/deferred/(.*)/} } glob $ph->queue . "/deferred/*/$id";
    my $tmp = File::Temp->newdir('posthorn-sealed-XXXXXX', TMPDIR => 1, CLEANUP => 1);
    chmod 0777, "$tmp";
    Posthorn::spew("$tmp/secret", 'x');
    chmod 0666, "$tmp/secret";     # Landlock alone stands before it
    $listener = IO::Socket::INET->new(Listen => 50, LocalAddr => '127.0.0.1');
    socket $abstract, Socket::AF_UNIX(), Socket::SOCK_STREAM(), 0 or die;
    bind $abstract, Socket::pack_sockaddr_un("\0posthorn-sealed-$$") or die "abstract: $!";
    listen $abstract, 50;
    return (PID => pid_of($ph, 'qmgr', 'unix'), ABSTRACT => "posthorn-sealed-$$", TMP => "$tmp", keep => $tmp, DIR => $ph->dir, QUEUE => $ph->queue, ID => $id,
        H => $hash // 'x', PORT => $listener->sockport, FREE => Posthorn::free_port());
}

# Nothing that was refused may have happened.
sub unstage {
    my ($ph, $with) = @_;
    is(join(' ', sort map { m{([^/]+)$} } glob "$with->{TMP}/*"), 'secret', 'nothing was made where nothing may be');
    ok(!-e '/etc/posthorn-sealed' && -s '/etc/passwd' && !-e $ph->dir . '/new.cf', 'nor elsewhere');
    is((grep { $_->{queue_id} eq $with->{ID} } $ph->queued)[0]{queue_name}, 'deferred', 'the message is where it was');
    is(pid_of($ph, 'qmgr', 'unix'), $with->{PID}, 'qmgr is the same');
    close $listener;
    close $abstract;
    return;
}

sub rows {
    my ($ph, $service, $with, @rows) = @_;
    for my $row (@rows) {
        my ($act, $arg, $want, $abi) = @$row;
        my $full = fill($arg, $with);
        # Files: without Landlock their owners may allow it.
        $abi //= 1 if $want ne '0' && $arg =~ m{^(?:TMP|DIR|QUEUE)};
        refused(ask($ph, $service, $act, $full), "$service: $act $arg", $want, $abi);
    }
    return;
}

# Each in-tree service that runs, and its line by line in /proc; $more->(name, status).
sub each_service {
    my ($ph, $more) = @_;
    for my $socket (map { glob $ph->queue . "/$_/*" } qw(private public)) {
        socket my $s, Socket::AF_UNIX(), Socket::SOCK_STREAM(), 0 or die;
        connect $s, Socket::pack_sockaddr_un($socket);
        my ($name) = $socket =~ m{([^/]+)$};
        Posthorn::wait_for(sub { pid_of($ph, $name, 'unix') && Posthorn::slurp('/proc/' . pid_of($ph, $name, 'unix') . '/status') =~ /^NoNewPrivs:\s+1/m });
    }
    my (%p, $seen, $spawners) = $ph->processes;
    for my $pid (sort { $a <=> $b } keys %p) {
        my ($name) = $p{$pid} =~ m{worker -n (\S+ -t \S+)};
        if (Posthorn::slurp("/proc/$pid/comm") =~ /^spawner/) { $spawners++; next }
        next unless $name;
        $name =~ s{ -t }{/};
        my %s = Posthorn::slurp("/proc/$pid/status") =~ /^(\w+):[ \t]*(.*)$/mg;
        is($s{NoNewPrivs}, 1, "$name: no new rights");
        is($s{Seccomp}, 2, "$name: system calls are filtered");
        is("$s{CapPrm} $s{CapEff} $s{CapInh} $s{CapAmb}", join(' ', ('0' x 16) x 4), "$name: no capabilities");
        $more->($name, \%s);
        $seen++;
    }
    cmp_ok($seen, '>=', 14, "$seen processes were looked at");
    return;
}

# PID and the like in an argument.
sub fill {
    my ($arg, $with) = @_;
    $arg =~ s/\b(PID|ABSTRACT|TMP|DIR|QUEUE|ID|H|PORT|FREE)\b/$with->{$1} \/\/ $1/ge;
    return $arg;
}

1;
