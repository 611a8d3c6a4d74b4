#!/usr/bin/perl
# manual.pl VERSION PARAMS.TSV DEPRECATED.TSV DOCS.TSV KNOWN_TABLE.H SOURCE... PAGE...: the manual page
# postconf(5), on stdout: every parameter with what the table, the rows in the sources and docs.tsv say
# of it, and the pages that speak of it.
use strict;
use warnings;

my ($version, $tsv, $deprecated, $docs, $known, @files) = @ARGV;

sub lines {
    my ($path) = @_;
    open my $in, '<', $path or die "$path: $!\n";
    chomp(my @lines = grep { !/^#/ && /\S/ } <$in>);
    return @lines;
}
sub text { my ($path) = @_; open my $in, '<', $path or die "$path: $!\n"; local $/; return scalar <$in> }

my $string = qr/"((?:[^"\\]|\\.)*)"/;
my (%doc, %page);
for my $file (@files) {
    my $text = text($file);
    if ($file =~ m{([^/]+)\.([1578])$}) {
        my ($name, $section) = ($1, $2);
        $page{$_}{"$name($section)"} = 1 for $text =~ /\b([a-z0-9_]{4,}_[a-z0-9_]+|\w*stress|biff|relayhost|mydestination|myorigin|mydomain|myhostname|mynetworks)\b/g;
        next;
    }
    # PH_P_STR(struct, member, "name", "default", ..., "text"), and rows of the smtp transport for both of its protocols.
    while ($text =~ /\b(?:PH_P_[A-Z0-9]+|STR1?|BOOL|SECS|NUM)\(((?:[^()"]|$string|\((?:[^()"]|$string)*\))*)\)/gs) {
        my @strings = map { s/\\(.)/$1/gr } $1 =~ /$string/g;
        next if @strings < 3 && $1 !~ /PH_P_/;
        my $sentence = pop @strings;
        $doc{$_} //= $sentence for grep { /^[a-z0-9_]{4,}$/ } $strings[0], grep { /^lmtp_/ } @strings;
    }
}
for (lines($docs)) { my ($name, $sentence) = split /\t/; $doc{$name} = $sentence }
my %instead = map { my ($name, $new) = split /\t/; ($name => $new // '') } lines($deprecated);
my %built = map { /^    \{ "(\w+)".*, \d, 1, \d \},/ ? ($1 => 1) : () } split /\n/, text($known);

sub roff { my ($t) = @_; $t =~ s/\\/\\e/g; $t =~ s/-/\\-/g; $t =~ s/^([.'])/\\&$1/mg; return $t }
my %class = (string => 'text', raw => 'text, expanded for each message', int => 'number', bool => 'yes or no', time => 'time', computed => 'text, found out at start', old => 'former name of another');

sub entry {
    my ($name, $class, $min, $max, $def) = @_;
    my $plain = $name =~ s/^\*//r;
    my @about = $class{$class};
    my $unit = $class eq 'string' || $class eq 'raw' ? ' bytes' : $class eq 'time' ? ' s' : '';
    push @about, $max ? "$min to $max$unit" : "at least $min$unit" if $min || $max;
    print '.TP', "\n.B ", roff($name =~ s/^\*/TRANSPORT/r), "\n";
    print roff(ucfirst join(', ', @about) . '.'), "\n";
    print $class eq 'computed' ? '' : $def eq '' ? "Default: empty.\n" : 'Default: ' . roff($def =~ s/^\@(\w+)/<\L$1>/r) . "\n";
    print ".br\n", roff($doc{$plain} // $doc{$name}), "\n" if $doc{$plain} // $doc{$name};
    if (exists $instead{$name}) { print $instead{$name} ? "Goes away: use " . roff($instead{$name}) . ".\n" : "Goes away: leave it unset.\n" }
    my @pages = sort grep { !/^(?:postconf|main\.cf|posthorn)\(/ } keys %{ $page{$plain} // {} };
    print 'See ', join(', ', map { roff($_) } @pages), ".\n" if @pages;
    print "Not implemented yet: setting it has no effect, and a warning says so.\n" unless $built{$plain} || $class eq 'computed';
    return;
}

print qq(.TH POSTCONF 5 2026-11-26 "Posthorn $version" "Posthorn manual"\n), <<'ROFF';
.SH NAME
postconf \- the parameters of main.cf
.SH DESCRIPTION
Every parameter of
.IR main.cf ,
whose syntax is in
.BR main.cf (5),
with its class, its bounds and its default.
.B postconf
shows what holds on this machine.
Paths in angle brackets were chosen when Posthorn was built.
.SH PARAMETERS
ROFF
my @rows = map { [split /\t/, $_, 5] } lines($tsv);
entry(@$_) for sort { $a->[0] cmp $b->[0] } grep { $_->[0] !~ /^\*/ } @rows;
print <<'ROFF';
.SH "PARAMETERS OF SERVICES"
These exist for each transport of
.IR master.yaml ,
TRANSPORT being its name; those that end in _time_limit for each service that runs commands
.RB ( pipe (8), " spawn" (8)).
ROFF
entry(@$_) for sort { $a->[0] cmp $b->[0] } grep { $_->[0] =~ /^\*/ } @rows;
print ".SH \"SEE ALSO\"\n.BR main.cf (5),\n.BR postconf (1),\n.BR master.yaml (5)\n";
