# Table.pm: medians, and the table as markdown.
package Bench::Table;
use strict;
use warnings;

sub median { my @s = sort { $a <=> $b } @_; return @s % 2 ? $s[$#s / 2] : @s ? ($s[@s / 2 - 1] + $s[@s / 2]) / 2 : undef }
sub range { my @s = sort { $a <=> $b } @_; return @s[0, -1] }

# {figure => {median, min, max}} of the rounds; what perf counted as it is.
sub summary {
    my ($rounds, $counts) = @_;
    my %of;
    for my $k (sort keys %{ $rounds->[0] }) {
        next if $k eq 'trouble';
        my @v = map { $_->{$k} // () } @$rounds;
        my ($min, $max) = range(@v);
        $of{$k} = { median => median(@v), min => $min, max => $max } if @v;
    }
    $of{$_} = { median => $counts->{$_} } for keys %{ $counts || {} };
    return \%of;
}

sub number {
    my ($v, $digits) = @_;
    return defined $v ? sprintf("%.*f", $digits, $v) : '-';
}
sub spread { my ($f, $d) = @_; return defined $f->{min} ? sprintf('%s (%s-%s)', number($f->{median}, $d), number($f->{min}, $d), number($f->{max}, $d)) : number($f->{median}, $d) }

# Column: title, figure, digits, with min-max.
my @columns = (
    ['delivered/s', 'delivered_rate', 0, 1], ['accepted/s', 'accepted_rate', 0, 0], ['CPU ms', 'cpu_ms', 3, 0], ['switches', 'switches', 1, 0],
    ['system calls', 'calls', 0, 0], ['syncs', 'syncs', 2, 0], ['p50 ms', 'p50_ms', 1, 0], ['p99 ms', 'p99_ms', 1, 0], ['PSS MiB', 'pss_mib', 0, 0],
);

sub ratio {
    my ($ours, $theirs, $figure) = @_;
    my ($a, $b) = map { $_->{$figure}{median} } $ours, $theirs;
    return defined $a && $b ? sprintf($a / $b < 1 ? '%.2f' : '%.1f', $a / $b) : '-';
}

sub row { return '| ' . join(' | ', @_) . " |\n" }

# $result: [{scenario, systems => [[name, label, summary], ...]}, ...]
sub markdown {
    my ($result) = @_;
    my $text = row('', map { $_->[0] } @columns) . row(('---') x (1 + @columns));
    for my $r (grep { !$_->{idle} } @$result) {
        $text .= row("**$r->{scenario}{title}**", ('') x @columns);
        my ($ours) = grep { $_->[0] eq 'posthorn' } @{ $r->{systems} };
        for my $s (@{ $r->{systems} }) {
            my ($name, $label, $sum) = @$s;
            $text .= row($label . troubles($sum), map { $_->[3] ? spread($sum->{ $_->[1] }, $_->[2]) : number($sum->{ $_->[1] }{median}, $_->[2]) } @columns);
        }
        for my $s (grep { $ours && $_->[0] ne 'posthorn' && !$_->[3] } @{ $r->{systems} }) {
            $text .= row("ratio to $s->[1]", map { ratio($ours->[2], $s->[2], $_->[1]) } @columns);
        }
    }
    return $text . join '', map { idle($_) } grep { $_->{idle} } @$result;
}

sub idle {
    my ($r) = @_;
    return join '', "\n", row($r->{scenario}{title}, 'held', 'KiB each', 'PSS MiB'), row(('---') x 4),
        map { row($_->[1], $_->[2]{held}, number($_->[2]{kib}, 1), number($_->[2]{pss_mib}, 0)) } @{ $r->{idle} };
}

# The rates of syncs.c in words.
sub disk {
    my ($rate) = @_;
    return sprintf '4 KiB made durable on an empty one of these disks: new files %.0f/s with 1 writer, %.0f/s with 32; written over %.0f/s and %.0f/s.',
        map { $rate->{$_} } '-w 1', '-w 32', '-w 1 -r', '-w 32 -r';
}

# What must not be silent: lost, twice, refused.
sub troubles {
    my ($sum) = @_;
    my @t = map { ($sum->{$_}{max} // 0) > 0 ? "$_ $sum->{$_}{max}" : () } qw(lost queued duplicates rejected retried);
    return @t ? ' (at most per run: ' . join(', ', @t) . ')' : '';
}

1;
