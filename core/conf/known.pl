#!/usr/bin/perl
# known.pl PARAMS.TSV DEPRECATED.TSV SOURCE...: the C tables of all parameters, and of those that
# go away, on stdout.
# A parameter counts as built when the code of some source names it in quotes or
# behind a '$'; so nobody keeps a second list of what exists.
use strict;
use warnings;

my ($tsv, $deprecated, @sources) = @ARGV;
my %seen;
for my $file (@sources) {
    open my $in, '<', $file or die "$file: $!\n";
    local $/;
    my $text = <$in>;
    $text =~ s{/\*.*?\*/}{}gs;
    $seen{$1} = 1 while $text =~ /"(?:%s|%\.\*s)?([A-Za-z0-9_]{4,})"/g;
    $seen{$1} = 1 while $text =~ /\$[{(]?([A-Za-z0-9_]{4,})/g;
}

sub c_text {
    my ($text) = @_;
    my $macro = '';
    $macro = "PH_$1 " if $text =~ s/^\@(DAEMON_DIR|COMMAND_DIR|BIN_DIR|MANPAGE_DIR|CONF_DIR|PLUGIN_DIR)//;
    $macro = 'PACKAGE_VERSION ' if $text =~ s/^\@VERSION//;
    $macro = '' if $text =~ s/^\@RELEASE_DATE//;
    $text =~ s/(["\\])/\\$1/g;
    $text =~ s/\?/\\?/g;                     # no trigraphs
    return $macro ? qq($macro"$text") : qq("$text");
}

my %class = (string => 'PH_TYPE_STR', raw => 'PH_TYPE_RAW', int => 'PH_TYPE_INT', bool => 'PH_TYPE_BOOL',
             time => 'PH_TYPE_TIME', computed => 'PH_TYPE_STR', old => 'PH_TYPE_STR');
my (@rows, @plain, @template);
open my $in, '<', $tsv or die "$tsv: $!\n";
while (<$in>) {
    chomp;
    next if /^#/;
    my ($name, $class, $min, $max, $def) = split /\t/, $_, 5;
    die "$tsv:$.: bad row\n" unless defined $def && $class{$class} && $min =~ /^-?\d+$/ && $max =~ /^\d+$/;
    push @rows, [$name, $class, $min, $max, $def];
}

# What the default of a used parameter refers to is used too; but that tables are served if a
# parameter names some makes no feature of that parameter.
my %default = map { $_->[0] => $_->[4] } @rows;
my @todo = keys %seen;
while (defined(my $name = pop @todo)) {
    my $def = $default{$name} // next;
    next if $name =~ /^proxy_(?:read|write)_maps$/;
    $seen{$1}++ or push @todo, $1 while $def =~ /\$[{(]?([A-Za-z0-9_]+)/g;
}

# Those of our own transports stand in the table by name too.
my %of_transport = map { my $t = $_; map { ("$t$_" => 1) } grep { $seen{$_} || $seen{substr $_, 1} } map { $_->[0] =~ /^\*(.*)/ } @rows }
    qw(smtp lmtp relay local virtual);

for (@rows) {
    my ($name, $class, $min, $max, $def) = @$_;
    my $list = \@plain;
    my $built = $class eq 'computed' || $seen{$name} || $of_transport{$name} ? 1 : 0;
    if ($name =~ s/^\*//) {
        $list = \@template;
        $built = $seen{$name} || $seen{substr $name, 1} ? 1 : 0;
    }
    push @$list, [$name, sprintf '    { "%s", %s, %s, %s, %s, %d, %d, %d },', $name, c_text($def), $class{$class},
                  $min, $max, $class eq 'computed', $built, $class eq 'old'];
}
print "/* Made by known.pl from params.tsv and the sources. */\n";
open my $old, '<', $deprecated or die "$deprecated: $!\n";
print "static const struct { const char *name, *instead; } deprecated_rows[] = {\n",
    map({ my ($name, $instead) = split /\t/; sprintf qq(    { "%s", "%s" },\n), $name, $instead // '' } grep { !/^#/ && chomp } <$old>), "};\n";
for (['known_rows', @plain], ['template_rows', @template]) {
    my ($name, @rows) = @$_;
    print "static const struct ph_known $name\[] = {\n", map("$_->[1]\n", sort { $a->[0] cmp $b->[0] } @rows), "};\n";
}
