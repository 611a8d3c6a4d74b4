#!/usr/bin/perl
# A plugin outside the tree: the template, built against what is installed, goes
# through the installed harness and is found by the installed programs.
use strict;
use warnings;
use File::Temp ();
use Test::More;
use lib 't/lib';
use Posthorn;

my $inst = $Posthorn::inst;
my $tmp = File::Temp->newdir('posthorn-template-XXXXXX', TMPDIR => 1, CLEANUP => 1);
system('cp', '-r', "$Posthorn::top/sdk/template/.", "$tmp") == 0 or die;
local $ENV{PKG_CONFIG_PATH} = "$inst/lib/pkgconfig";
local $ENV{PATH} = "$inst/bin:$inst/sbin:$ENV{PATH}";
local $ENV{LD_LIBRARY_PATH} = "$inst/lib";
my $asan = `nm -D '$inst/lib/libposthorn.so' 2>/dev/null` =~ /__asan_init/;
my $flags = $asan ? 'CC=gcc -fsanitize=address,undefined' : 'CC=gcc';
my $out = `make -C '$tmp' '$flags' check 2>&1`;
is($?, 0, 'builds against the installed headers and passes the harness') or diag $out;
like($out, qr/^ok 4 - .*\n1\.\.4$/m, 'all of its script');
my @exports = map { /\s[A-Z]\s+(\w+)/ ? $1 : () } `nm -D --defined-only '$tmp/table_example.so'`;
is_deeply([grep { !/^__(asan|ubsan|odr_asan)/ } @exports], ['table_example_LTX_ph_plugin'], 'it exports its descriptor and nothing else');

my $ph = Posthorn->new;
mkdir "$ph->{dir}/plugins.d";
(my $yaml = Posthorn::slurp("$tmp/table_example.yaml")) =~ s{^object: }{object: $tmp/}m;
Posthorn::spew("$ph->{dir}/plugins.d/table_example.yaml", $yaml);
is($ph->cmd('postmap', '-q', 'a@b', 'example:org'), "a\@b.org\n", 'postmap asks it');
done_testing();
