#!/usr/bin/perl
# The layers of the tree and the borders of the objects: who may include whom,
# what a plugin exports, what libposthorn lets it use.
use strict;
use warnings;
use File::Find;
use Test::More;
use lib 't/lib';
use Posthorn;

my $top = $Posthorn::top;
chdir $top or die;

my (@c, @public);
find({ no_chdir => 1, wanted => sub { push @c, $File::Find::name if /\.[ch]$/ } }, 'core', 'plugins', 'sdk');
@public = glob 'include/posthorn/*.h';

# What each core folder may include besides itself.
my %may = (
    base => [], run => ['base'], net => [qw(base run)], conf => [qw(base run)], ipc => [qw(base run)], mail => ['base'],
    queue => [qw(base run conf ipc mail)], sched => [qw(base run conf ipc mail net queue worker)], plugin => [qw(base run net conf ipc mail)],
    worker => [qw(base run net conf ipc mail queue sched plugin)], master => [qw(base run net conf ipc mail plugin)],   # plugin: manifests, master.t sees that none is loaded
    cmd => [qw(base run net conf ipc mail queue sched plugin)],
);
# The scheduler itself is pure; the qmgr service around it may use more than base.
my (@bad, @goto, @long);
for my $file (sort @c) {
    my $text = Posthorn::slurp($file);
    my $lines = () = $text =~ /\n/g;
    push @long, "$file ($lines)" if $lines > 600;
    (my $code = $text) =~ s{/\*.*?\*/}{}gs;
    push @goto, $file if $code =~ /^\s*goto\s/m;
    for my $inc ($text =~ /^\s*#\s*include\s+(["<][^">]+)/mg) {
        my $what = substr $inc, 1;
        if ($file =~ m{^core/(\w+)/(\w+)}) {
            my ($dir, $stem) = ($1, $2);
            push @bad, "$file includes $what" if $what =~ m{plugins/};
            next unless $what =~ m{^core/(\w+)/};
            my $to = $1;
            push @bad, "$file includes $what" unless $to eq $dir || grep { $_ eq $to } @{ $may{$dir} };
            push @bad, "$file (pure scheduler) includes $what"
                if $dir eq 'sched' && $stem =~ /^(?:sched|dest|timed|preempt|refill|feedback|retry|priv)$/ && $to !~ /^(base|sched)$/ && $what ne 'core/queue/id.h';      # pure too
        } elsif ($file =~ m{^plugins/}) {
            push @bad, "$file includes $what" if $what =~ m{(^|/)core/} || $what =~ m{^\.\./\.\./};
        }
    }
}
is_deeply(\@bad, [], 'includes point one way; plugins see only <posthorn/...>');
is_deeply(\@goto, [], 'no goto');
is_deeply(\@long, [], 'no file over 600 lines');

for my $pair (['gcc', '-std=c17', 'c'], ['g++', '-std=c++11', 'c++']) {
    my ($cc, $std, $lang) = @$pair;
    my @fails;
    for my $h (@public) {
        my $out = `$cc $std -Wall -Wextra -Wno-pragma-once-outside-header -fsyntax-only -Iinclude -x $lang $h 2>&1`;
        push @fails, "$h: $out" if $?;
    }
    is_deeply(\@fails, [], "every public header stands alone under $cc $std");
}

my @so;
find({ no_chdir => 1, wanted => sub { push @so, $File::Find::name if /\.so$/ } }, "$Posthorn::inst/lib/posthorn/plugins-1");
cmp_ok(scalar @so, '>', 0, 'plugins are installed');
for my $so (sort @so) {
    my ($stem) = $so =~ m{([^/]+)\.so$};
    my @exports = map { /\s[A-Z]\s+([^\s@]+)/ ? $1 : () } `nm -D --defined-only '$so'`;
    @exports = grep { !/^(__asan|__ubsan|__odr_asan|_init$|_fini$|__bss_start|_edata|_end)/ } @exports;
    is_deeply(\@exports, ["${stem}_LTX_ph_plugin"], "$stem exports its descriptor and nothing else");
    my @private = grep { /POSTHORN_PRIVATE/ } `nm -D --undefined-only --with-symbol-versions '$so'`;
    is_deeply(\@private, [], "$stem uses no private symbol");
}
my ($lib) = glob "$Posthorn::inst/lib/libposthorn.so.1";
my @foreign = grep { !/ ph_|POSTHORN_|__asan|__ubsan|__odr_asan/ } `nm -D --defined-only --with-symbol-versions '$lib'`;
is_deeply(\@foreign, [], 'libposthorn exports ph_ names only');

my @words = grep { !m{^t/style/} } split /\n/, `git grep -lIE '/wor[k]/|before-sto[p]' 2>/dev/null`;
is_deeply(\@words, [], 'the repository speaks of the project alone');
done_testing();
