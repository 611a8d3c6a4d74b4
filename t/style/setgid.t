#!/usr/bin/perl
# What runs with a group's rights for every user, or for every message: small, and
# unable to load a plugin.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Posthorn;
use Test::More;

for my $name (qw(postdrop postqueue postlog sendmail postlock postkick)) {
    my $path = "$Posthorn::inst/sbin/$name";
    my $dynamic = `readelf -d '$path'`;
    my @needed = $dynamic =~ /\(NEEDED\).*\[(\S+?)\.so/g;
    ok(@needed > 0, "$name is read") or next;
    is(join(' ', grep { /^lib(?:posthorn|ltdl|yaml|unbound|ssl|crypto|db|pcre|idn)/ } @needed), '', "$name links none of: plugins, YAML, DNS, TLS, tables");
    unlike($dynamic, qr/\((?:RPATH|RUNPATH)\)/, 'and takes no library from a directory of its own') unless `nm -D '$path' 2>/dev/null` =~ /__asan_init/;
    unlike(`nm -D --undefined-only '$path'`, qr/\b(?:dlopen|lt_dl\w+|system|popen)(?:@|$)/m, 'nor opens any, nor runs a shell');
}
done_testing();
