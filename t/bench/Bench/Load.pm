# Load.pm: one run of the load against one system, or against nothing.
package Bench::Load;
use strict;
use warnings;
use IPC::Open2 ();
use JSON::PP ();
use Posthorn;

our $bin = "$Posthorn::build/t/bench";
my $runs = 0;

# Start the side that counts: (object with answer lines); its first line is its port, or empty.
sub receiver {
    my (@command) = @_;
    my $pid = IPC::Open2::open2(my $out, my $in, @command);
    $Posthorn::live{"pid $pid"} = { owner => $$, stop => sub { kill 'TERM', $pid; waitpid $pid, 0 } };
    my $first = readline $out;
    die "bench: @command ended\n" unless defined $first;
    return { pid => $pid, in => $in, out => $out, port => 0 + $first };
}

sub answer {
    my ($r, $seconds) = @_;
    my $bits = '';
    vec($bits, fileno $r->{out}, 1) = 1;
    return unless select $bits, undef, undef, $seconds;
    my $line = readline $r->{out};
    return defined $line ? JSON::PP::decode_json($line) : undef;
}

sub end {
    my ($r) = @_;
    close $r->{in};
    my $last;
    while (my $line = answer($r, 10)) { $last = $line }
    delete $Posthorn::live{"pid $r->{pid}"};
    kill 'TERM', $r->{pid} unless $last;
    waitpid $r->{pid}, 0;
    return $last // {};
}

# The source to its end: its figures.
sub source {
    my ($port, $s, $run, $messages) = @_;
    my @args = ('-s', $s->{sessions}, '-m', $messages, '-l', $s->{bytes}, '-i', $run, $s->{persistent} ? '-p' : (), @{ $s->{source} || [] }, $port);
    my $pid = open my $out, '-|', "$bin/source", @args or die "$bin/source: $!";
    $Posthorn::live{"pid $pid"} = { owner => $$, stop => sub { kill 'TERM', $pid; waitpid $pid, 0 } };
    my $text = readline $out;
    delete $Posthorn::live{"pid $pid"};
    close $out;
    return defined $text ? JSON::PP::decode_json($text) : die "bench: source @args: status $?\n";
}

# The command that counts what arrives in this scenario.
sub counter {
    my ($s, $system, $run, $messages) = @_;
    return ("$bin/arrivals", '-i', $run, '-m', $messages, @{ $system->{maildirs} }) if $s->{maildirs};
    return ("$bin/sink", '-i', $run, '-m', $messages, @{ $s->{sink} || [] }, $system ? $system->{sink_port} : 0);
}

# Messages through the system to where they are counted.  Without a system
# straight to the sink.  What has not come in time is still in the queue, or lost.
sub run {
    my ($s, $system, $messages) = @_;
    my $run = sprintf 'r%d', ++$runs;
    my $r = receiver(counter($s, $system, $run, $messages));
    my $meter = $system && $system->{meter};
    my $cpu = $meter ? $meter->cpu : 0;
    my $sent = source($system ? $system->port : $r->{port}, $s, $run, $messages);
    my $all = answer($r, $s->{patience} || 30);
    $cpu = $meter->cpu - $cpu if $meter;
    my $got = end($r);
    my $missing = $sent->{accepted} - $got->{distinct};
    my $queued = $missing > 0 && $system ? $system->queued : 0;
    my $took = $got->{distinct} ? ($got->{last_us} - $sent->{start_us}) / 1e6 : 1;
    return {
        messages => $messages, accepted => $sent->{accepted}, delivered => $got->{distinct}, lost => $missing > $queued ? $missing - $queued : 0, queued => $queued,
        duplicates => $got->{duplicates}, rejected => $sent->{rejected}, retried => $sent->{retried}, uncertain => $sent->{uncertain}, trouble => $sent->{trouble},
        connections => $sent->{connections}, bytes_sent => $sent->{bytes}, bytes_got => $got->{bytes}, tempfailed => $got->{tempfailed}, dropped => $got->{dropped}, late => $got->{late},
        delivered_rate => $got->{distinct} / $took, accepted_rate => 1e6 * $sent->{accepted} / (($sent->{last_us} - $sent->{start_us}) || 1),
        cpu_ms => $cpu / $messages, p50_ms => $sent->{p50_us} / 1000, p99_ms => $sent->{p99_us} / 1000,
        load_cpu_ms => ($sent->{cpu_us} + $got->{cpu_us}) / 1000 / $messages,
    };
}

1;
