#!/usr/bin/perl
# Version script of libposthorn from the functions that include/posthorn declares.
use strict;
use warnings;

my $dir = shift or die "usage: mkmap.pl DIRECTORY\n";
my %name;
for my $file (sort glob "$dir/*.h") {
    open my $in, '<', $file or die "$file: $!\n";
    local $/;
    my $text = <$in>;
    $text =~ s{/\*.*?\*/}{}gs;                 # comments
    $text =~ s{^\#(?:[^\n\\]|\\\n|\\.)*}{}gm;  # preprocessor
    $text =~ s/\{[^{}]*\}//g;                  # bodies of structs
    $name{$1} = 1 while $text =~ /\b(ph_[a-z0-9_]+)\s*\(/g;
}
print "POSTHORN_1 {\n  global:\n", map("    $_;\n", sort keys %name), "  local: *;\n};\n",
      "POSTHORN_PRIVATE {\n  global: ph_*;\n} POSTHORN_1;\n";
