# Soak.pm: what the soak tests share: the load program, and what a worker costs.
# SOAK=long asks for the long form (make soak).
package Soak;
use strict;
use warnings;
use IPC::Open2 ();
use JSON::PP ();
use Posthorn;
use Time::HiRes qw(time);

our $program = "$Posthorn::build/t/soak/load";

sub long { return ($ENV{SOAK} || '') eq 'long' }
sub pick { my ($short, $long) = @_; return long() ? $long : $short }
# Memory means nothing where each allocation is padded and kept after its end.
sub sanitized { return Posthorn::slurp("$Posthorn::build/config.status") =~ /fsanitize=address|--enable-sanitizers/ }

# One run of the load program to its end: what it printed, decoded.
sub load {
    my (@args) = @_;
    open my $out, '-|', $program, @args or die "$program: $!";
    my $text = do { local $/; <$out> } // '';
    close $out;
    return eval { JSON::PP::decode_json($text) } || die "load @args: $text";
}

# The workers of a service, by the name and type of the master file.
sub workers {
    my ($ph, $name, $type) = @_;
    my %p = $ph->processes;
    my @pids = sort { $a <=> $b } grep { $p{$_} =~ /worker -n \Q$name\E -t \Q$type\E / } keys %p;
    return @pids;
}

sub kib { # of one field in files like smaps_rollup and status, summed over processes
    my ($file, $field, @pids) = @_;
    my $sum = 0;
    $sum += Posthorn::slurp("/proc/$_/$file") =~ /^$field:\s+(\d+) kB/m ? $1 : 0 for @pids;
    return $sum;
}
sub pss { return kib('smaps_rollup', 'Pss', @_) }
sub peak_begin { Posthorn::spew("/proc/$_/clear_refs", "5\n") for @_; return kib('status', 'VmHWM', @_) }
sub peak { return kib('status', 'VmHWM', @_) }

# Descriptors that are sockets: one per session, and a few more.
sub sockets {
    my (@pids) = @_;
    return scalar grep { (readlink $_ // '') =~ /^socket:/ } map { glob "/proc/$_/fd/*" } @pids;
}

# Seconds of CPU.
sub cpu {
    my (@pids) = @_;
    my ($sum, $hz) = (0, POSIX::sysconf(&POSIX::_SC_CLK_TCK));
    for my $pid (@pids) {
        my @f = split ' ', (Posthorn::slurp("/proc/$pid/stat") =~ /\) (.*)/s)[0] // next;
        $sum += ($f[11] + $f[12]) / $hz;
    }
    return $sum;
}

# Times that they slept until something came.
sub switches { my $sum = 0; $sum += (Posthorn::slurp("/proc/$_/status") =~ /^voluntary_ctxt_switches:\s+(\d+)/m)[0] for @_; return $sum }

# Share of one processor over some seconds.
sub share {
    my ($seconds, @pids) = @_;
    my ($t0, $c0) = (time, cpu(@pids));
    Posthorn::tick() while time - $t0 < $seconds;
    return (cpu(@pids) - $c0) / (time - $t0);
}

# Sessions that are held until ->end: Soak::Hold->new(port, tick in ms, ehlo => 5000, slow => 200).
package Soak::Hold;
use strict;
use warnings;

sub new {
    my ($class, $port, $tick_ms, @kinds) = @_;
    my @args;
    while (my ($k, $n) = splice @kinds, 0, 2) { push @args, "$k=$n" if $n }
    my $pid = IPC::Open2::open2(my $out, my $in, $Soak::program, 'hold', $port, $tick_ms, @args);
    my $self = bless { pid => $pid, out => $out, in => $in }, $class;
    $in->autoflush(1);
    $Posthorn::live{"pid $pid"} = { owner => $$, stop => sub { kill 'TERM', $pid; waitpid $pid, 0 } };
    $self->{first} = $self->answer;
    return $self;
}

sub answer {
    my ($self) = @_;
    my $line = readline $self->{out};
    return defined $line ? JSON::PP::decode_json($line) : die "hold: ended early\n";
}

sub status { my ($self) = @_; print { $self->{in} } "\n"; return $self->answer }

sub end {
    my ($self) = @_;
    my $pid = delete $self->{pid} or return;
    delete $Posthorn::live{"pid $pid"};
    close $self->{in};
    waitpid $pid, 0;
    return $? == 0;
}

sub DESTROY { my ($self) = @_; local ($?, $!, $@); $self->end }

1;
