#!/usr/bin/perl
# Each table plugin through posthorn-table-test, by the script in its folder;
# then what takes two processes: rebuilding under a reader, the wrong type.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;

my ($top, $build) = ($Posthorn::top, $Posthorn::build);
my $harness = "$build/sdk/posthorn-table-test";
my @objects = glob "$build/plugins/table/*/.libs/table_*.so";
for my $script (sort glob "$top/plugins/table/*/*.test") {
    my ($folder, $name) = $script =~ m{table/(\w+)/(\w+)\.test$};
    my $so = "$build/plugins/table/$folder/.libs/table_$name.so";
    if ($folder =~ /^(?:cdb|lmdb|sqlite)$/ && !-e $so) {
        SKIP: { skip "$name: its library is not here", 1 }
        next;
    }
    my $others = join ' ', map { "-p '$_'" } grep { $_ ne $so } @objects;
    my $out = `'$harness' $others '$so' '$script' 2>&1`;
    my $failed = $?;
    my @bad = $out =~ /^(not ok .*(?:\n#.*)*)/mg;
    cmp_ok(scalar(() = $out =~ /^ok /mg), '>', 0, "$name: the script does something");
    ok(!$failed && $out =~ /^1\.\.\d+$/m, "$name: $folder/$name.test") or diag @bad ? join "\n", @bad : $out;
}
done_testing();
