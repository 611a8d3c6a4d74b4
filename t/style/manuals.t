#!/usr/bin/perl
# Every program that is installed has a manual page that says what it is, and
# mandoc finds nothing to complain about in any page.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use File::Basename qw(basename);
use Posthorn;
use Test::More;

my $man = "$Posthorn::inst/share/man";
my @programs = grep { -x && -f } glob "$Posthorn::inst/{sbin,bin,libexec/posthorn}/*";
cmp_ok(scalar @programs, '>', 15, 'programs are installed');
for my $path (@programs) {
    my $name = basename($path);
    my ($page) = grep { -e } map { "$man/man$_/$name.$_" } 1, 8;
    ok($page, "$name has a manual page") or next;
    like(Posthorn::slurp($page), qr/^\.SH NAME\n(?:.*, )?\Q@{[$name =~ s,-,\\-,gr]}\E\b.*\\- \S|^\.Nm \Q$name\E$/m, 'which names it');
}
my @pages = glob "$man/man[1578]/*";
is(scalar(grep { -l && !-e } @pages), 0, 'no page is a link to nowhere');
if (-x '/usr/bin/mandoc') {
    is(scalar `mandoc -T lint -W warning @pages 2>&1`, '', 'mandoc has nothing to say');
    my $found = `man -M $man -w mailq newaliases postlock 2>/dev/null` // '';
    is(join(' ', map { basename($_) } split /\n/, $found), join(' ', map { basename(-l $_ ? readlink $_ : $_) } map { "$man/man1/$_.1" } qw(mailq newaliases postlock)), 'man finds them')
        if $found =~ /\.1$/m;
}
done_testing();
