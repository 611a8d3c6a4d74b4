# Faults.pm: an instance whose workers preload t/faults/inject.so, the file by
# which they are told what fails, and the call sites that it has seen.
package Faults;
use strict;
use warnings;
use Errno ();
use Posthorn;
use Test::More ();

# As in inject.h.
my @calls = qw(open read pread write pwrite send recv sync rename link unlink mkdir stat statvfs utime chmod truncate lock fcntl close
    dir readdir accept socket connect pair poll epoll map fork dup access fds);
my %call;
@call{@calls} = 0 .. $#calls;
my %mode = (calm => 0, record => 1, fault => 2, count_memory => 3, no_memory => 4);
my ($MODULES, $MODULE_BYTES, $MODULE_COUNT, $SITES, $SITE_BYTES, $SITE_COUNT, $DEPTH) = (4096, 128, 64, 12288, 168, 8192, 8);
my %how = (SHORT => 2, FDS => 3);                # every other fault is an errno (1)

our $inject = "$Posthorn::build/t/faults/.libs/inject.so";

# What can fail where: by call, then by what the call works on (see kind_of in inject.c).
our %applicable = (
    open => { n => [qw(EIO EMFILE ENFILE EINTR)], c => [qw(ENOSPC EDQUOT EIO EMFILE ENFILE EINTR)] },
    read => { s => [qw(ECONNRESET EINTR SHORT)], p => [qw(EIO EINTR SHORT)], f => [qw(EIO EINTR SHORT)] },
    pread => { f => [qw(EIO EINTR SHORT)] },
    write => { f => [qw(ENOSPC EDQUOT EIO EINTR SHORT)], s => [qw(EPIPE EINTR SHORT)], p => [qw(EPIPE EINTR SHORT)] },
    pwrite => { f => [qw(ENOSPC EDQUOT EIO EINTR SHORT)] },
    send => { s => [qw(ECONNRESET ENOBUFS EINTR SHORT)] },
    recv => { s => [qw(ECONNRESET EINTR SHORT)] },
    fds => { s => ['FDS'] },
    sync => { f => [qw(EIO ENOSPC EDQUOT)], d => [qw(EIO ENOSPC EDQUOT)] },
    (map { $_ => { n => [qw(ENOSPC EDQUOT EIO)] } } qw(rename link mkdir)),
    (map { $_ => { n => ['EIO'], f => ['EIO'], d => ['EIO'] } } qw(unlink stat statvfs utime chmod truncate access)),
    lock => { f => [qw(ENOLCK EINTR)] },
    close => { f => [qw(EIO EINTR)], d => ['EIO'] },
    dir => { n => [qw(EMFILE ENOMEM)], d => ['ENOMEM'] },
    readdir => { n => ['EIO'] },
    accept => { s => [qw(EMFILE ENFILE EINTR ECONNABORTED)] },
    socket => { n => [qw(EMFILE ENFILE)] },
    pair => { n => [qw(EMFILE ENFILE)] },
    dup => { f => ['EMFILE'], s => ['EMFILE'], n => ['EMFILE'] },
    connect => { s => [qw(ECONNREFUSED EAGAIN)] },
    poll => { n => ['EINTR'] },
    epoll => { n => [qw(ENOSPC ENOMEM)] },
    map => { n => ['ENOMEM'] },
    fork => { n => ['EAGAIN'] },
);

sub errno_of { my ($name) = @_; no strict 'refs'; return &{"Errno::$name"}() }
sub words_of { my ($name) = @_; local $! = errno_of($name); return "$!" }

# A preloaded instance, not started.  %set: main.cf settings.
sub new {
    my ($class, %set) = @_;
    my $ph = Posthorn->new(disk_threads => 0, in_flow_delay => '1s', service_throttle_time => '1s', %set);
    my $self = bless { ph => $ph, file => "$ph->{tmp}/faults" }, $class;
    Posthorn::spew($self->{file}, "\0" x ($SITES + $SITE_COUNT * $SITE_BYTES));
    chmod 0666, $self->{file};
    open $self->{io}, '+<:raw', $self->{file} or die "$self->{file}: $!";
    # A worker that preloads the library; the rest of the daemon directory is ours.
    my $bin = "$ph->{tmp}/libexec";
    mkdir $bin;
    my $real = "$Posthorn::inst/libexec/posthorn";
    symlink $_, "$bin/" . ($_ =~ m{([^/]+)$})[0] for grep { !m{/worker$} } glob "$real/*";
    Posthorn::spew("$bin/worker", "#!/bin/sh\nLD_PRELOAD=" . preload() . " POSTHORN_FAULTS=$self->{file} exec $real/worker \"\$@\"\n");
    chmod 0755, "$bin/worker";
    $ph->set(daemon_directory => $bin);
    return $self;
}

sub is_sanitized { return scalar `nm -D $Posthorn::inst/libexec/posthorn/worker 2>/dev/null` =~ /__asan_init/ }

# ASan's own library must be the first.
sub preload {
    return $inject unless is_sanitized();
    chomp(my $asan = `gcc -print-file-name=libasan.so`);
    return "$asan:$inject";
}

sub ph { return $_[0]{ph} }

# Run a command of ours with the library in it.
sub command {
    my ($self, @cmd) = @_;
    local $ENV{POSTHORN_FAULTS} = $self->{file};
    return $self->{ph}->run('/usr/bin/env', 'LD_PRELOAD=' . preload(), @cmd);
}

sub command_in {
    my ($self, $in, @cmd) = @_;
    local $ENV{POSTHORN_FAULTS} = $self->{file};
    return $self->{ph}->run_in($in, '/usr/bin/env', 'LD_PRELOAD=' . preload(), @cmd);
}

# ---- the control block ----

sub put { my ($self, $at, $bytes) = @_; sysseek $self->{io}, $at, 0; syswrite $self->{io}, $bytes; return }
sub get { my ($self, $at, $n) = @_; my $bytes; sysseek $self->{io}, $at, 0; sysread $self->{io}, $bytes, $n; return $bytes }

sub set_mode { my ($self, $name) = @_; $self->put(0, pack 'l', $mode{$name}); return }

# Nothing fails any more.
sub calm { my ($self) = @_; $self->set_mode('calm'); return }

# The next calls fail: fault => ENOSPC, SHORT, FDS ...; site => hash, or calls => [names];
# service, skip, count (1).
sub arm {
    my ($self, %o) = @_;
    my $bits = 0;
    $bits |= 1 << $call{$_} for @{ $o{calls} || [] };
    my $how = $how{ $o{fault} } || 1;
    $self->calm;
    $self->put(4, pack 'l5Q Q a16 a256', $how, $how == 1 ? errno_of($o{fault}) : 0, $o{skip} || 0, $o{count} || 1, 0,
        $o{site} || 0, $bits, $o{service} || '', '');
    $self->set_mode('fault');
    return;
}

sub hits { my ($self) = @_; return unpack 'l', $self->get(20, 4) }
sub struck { my ($self) = @_; return unpack 'Z*', $self->get(56, 256) }
sub struck_pid { my ($self) = @_; return unpack 'l', $self->get(400, 4) }
sub struck_frames { my ($self) = @_; return $self->frames(unpack 'L8 L8', $self->get(312, 64)) }

# The allocation after `skip` others of the service fails, and `count` in all.
sub arm_memory {
    my ($self, $service, $skip, $count) = @_;
    $self->calm;
    $self->put(20, pack 'l', 0);
    $self->put(40, pack 'a16 a256', $service, '');
    $self->put(376, pack 'q3', $skip, $count, 0);
    $self->set_mode('no_memory');
    return;
}

sub count_memory {
    my ($self, $service) = @_;
    $self->calm;
    $self->put(20, pack 'l', 0);
    $self->put(40, pack 'a16', $service);
    $self->put(376, pack 'q3', 0, 0, 0);
    $self->set_mode('count_memory');
    return;
}

sub memory_met { my ($self) = @_; return unpack 'q', $self->get(392, 8) }

# ---- call sites ----

# Forget how often each site was met, and note them from now on.
sub record {
    my ($self) = @_;
    $self->calm;
    $self->put($SITES, "\0" x ($SITE_COUNT * $SITE_BYTES));
    $self->set_mode('record');
    return;
}

# Sites met since, as { hash, call, kind, service, what, met, frames }.
sub sites {
    my ($self) = @_;
    my ($bytes, @found) = ($self->get($SITES, $SITE_COUNT * $SITE_BYTES));
    die 'more call sites than the table holds' if unpack 'l', $self->get(404, 4);
    for (my $at = 0; $at < length $bytes; $at += $SITE_BYTES) {
        next unless unpack 'Q', substr $bytes, $at, 8;
        my ($hash, $call, $kind, $met, $seen, $service, $what, @frames) = unpack 'Q L4 Z16 Z64 L16', substr $bytes, $at, $SITE_BYTES;
        push @found, { hash => $hash, call => $calls[$call], kind => chr $kind, met => $met, service => $service, what => $what, frames => \@frames };
    }
    return @found;
}

# Frames (8 modules, then 8 offsets) as [module, offset] pairs.
sub frames {
    my ($self, @n) = @_;
    return map { $n[$_] ? [$n[$_], $n[$_ + $DEPTH]] : () } 0 .. $DEPTH - 1;
}

# Name return addresses: "function:line" each, what was inlined too, innermost first.
sub names {
    my ($self, @frames) = @_;
    my (%ask, @words);
    $ask{ $_->[0] }{ $_->[1] } = 1 for grep { !$self->{names}{"$_->[0] $_->[1]"} } @frames;
    for my $m (keys %ask) {
        my $path = unpack 'Z*', $self->get($MODULES + $m * $MODULE_BYTES, $MODULE_BYTES);
        my @at = sort { $a <=> $b } keys %{ $ask{$m} };
        my ($key, @lines);
        my $in = join "\n", map { sprintf '0x%x', $_ - 1 } @at;     # the call, not where it returns to
        for my $l (split /\n/, $self->{ph}->run_in("$in\n", 'addr2line', '-a', '-f', '-i', '-e', $path)) {
            if ($l =~ /^0x[0-9a-f]+$/) { $key = "$m " . (hex($l) + 1); $self->{names}{$key} = []; @lines = () }
            elsif (@lines % 2) { $lines[-1] .= $l =~ /:(\d+)/ ? ":$1" : ''; push @{ $self->{names}{$key} }, $lines[-1]; @lines = () }
            else { push @lines, $l }
        }
    }
    return map { @{ $self->{names}{"$_->[0] $_->[1]"} || ['?'] } } @frames;
}

# Adds a name to each: service, call, and who called whom.  What says nothing is
# left out: wrappers of the C library's headers, the disk pool, the tasks' roots.
sub site_names {
    my ($self, @sites) = @_;
    my %twins;
    $self->names(map { $self->frames(@{ $_->{frames} }) } @sites);
    for my $s (sort { $a->{hash} <=> $b->{hash} } @sites) {
        my @n = grep { !/^(?:openat|open|read|recv|pread|ph_disk|task_entry|run_defers|end_content|turn|main|_start)(?::|$)/ }
            $self->names($self->frames(@{ $s->{frames} }));
        splice @n, 6 if @n > 6;
        $s->{name} = "$s->{service} $s->{call}($s->{kind}) " . join '<', @n;
        my $twin = ++$twins{ $s->{name} };
        $s->{name} .= "~$twin" if $twin > 1;
    }
    return @sites;
}

1;
