#!/usr/bin/perl
# Scripts parse, manual pages are clean.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;

chdir $Posthorn::top or die;
for my $sh ('dev', '.ci/run') {
    is(scalar `bash -n $sh 2>&1`, '', "$sh parses");
}
my @man = (glob('man/*.[1-8]'), glob('plugins/*/*/*.[1-8]'), glob('sdk/*.[1-8]'));
SKIP: {
    skip 'mandoc is not installed', 1 unless grep { -x "$_/mandoc" } split /:/, $ENV{PATH};
    skip 'no manual page yet', 1 unless @man;
    for my $m (@man) {
        my $out = join '', grep { !/lower case character in document title|outdated mandoc|operating system explicitly|unknown architecture/ } `mandoc -T lint -W warning $m 2>&1`;
        is($out, '', "$m has no warnings");
    }
}
done_testing();
