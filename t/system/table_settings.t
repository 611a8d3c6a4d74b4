#!/usr/bin/perl
# Tables with a database behind them, without one: where their settings come from (a
# file, or main.cf as in older days), that postconf takes these for used, dollars, and
# which keys a server is never asked for.  What servers answer: table_*.t.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;

# Settings that lead to a server that is not there, and what then is said.
my $nowhere = '/nonexistent/posthorn';
my %type = (
    ldap => [{ server_host => 'ldapi://%2Fnonexistent%2Fposthorn', search_base => 'dc=%1', query_filter => 'mail=%s' }, 'query_filter', qr/Can't contact LDAP server/],
    mysql => [{ hosts => "unix:$nowhere", dbname => 'd', query => "select '%s'" }, 'query', qr/Can't connect/],
    pgsql => [{ hosts => "unix:$nowhere", dbname => 'd', query => "select '%s'" }, 'query', qr/$nowhere.* failed|No such file/],
    sqlite => [{ dbpath => '', query => "select '%s'" }, 'query', undef],
    memcache => [{ memcache => "unix:$nowhere", key_format => 'x%s', max_try => 1 }, 'key_format', qr/connect to $nowhere/],
    redis => [{ hosts => "unix:$nowhere", query => 'GET %s' }, 'query', qr/connect to $nowhere/],
);
my @types = grep { -e "$Posthorn::build/plugins/table/$_/.libs/table_$_.so" } sort keys %type;
my $has_sqlite = grep({ $_ eq 'sqlite' } @types) && !system 'python3 -c "import sqlite3" 2>/dev/null';
my $ph = Posthorn->new;
my $tmp = $ph->{tmp};
sub query { my ($table, $key) = @_; my $out = $ph->cmd('postmap', '-q', $key, $table); chomp $out; return $out . '|' . ($? >> 8) }
# Failures, each of which ends with a pause of a second: begun together, then looked at.
my @failing;
sub fails { push @failing, [@_]; return }
sub judge_failures {
    my @out = map { my ($table, $key) = @$_; open my $h, '-|', "'@{[$ph->sbin('postmap')]}' -c '@{[$ph->dir]}' -q '$key' '$table' 2>&1" or die "$!"; $h } @failing;
    for my $f (splice @failing) { my ($table, $key, $re, $what) = @$f; my $h = shift @out; local $/; my $said = <$h>; close $h; like($said, $re, $what); is($? >> 8, 1, '  with status 1') }
    return;
}
sub file { my ($name, %set) = @_; Posthorn::spew("$tmp/$name.cf", map { "$_ = $set{$_}\n" } sort keys %set); return "$tmp/$name.cf" }
if ($has_sqlite) { system 'python3', '-c', 'import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript("create table t (k text)")', "$tmp/db"; $type{sqlite}[0]{dbpath} = "$tmp/db" }
else { @types = grep { $_ ne 'sqlite' } @types }

# ---- settings in main.cf ----
my %old = map { my $t = $_; map { ("old_${t}_$_" => $type{$t}[0]{$_}) } keys %{ $type{$t}[0] } } @types;
$ph->set(%old, map { ("old_${_}_domain" => 'x.test') } @types);
my $unused = sub { return join "\n", grep { /unused parameter/ } split /\n/, $ph->cmd('postconf', '-n') };
is(scalar(() = $unused->() =~ /unused parameter/g), keys(%old) + @types, 'settings of tables that nothing names are not used');
$ph->set(virtual_alias_maps => join(', ', map { "$_:old_$_" } @types));
is($unused->(), '', 'those of tables that something names are');
$ph->set(virtual_alias_maps => join(', ', map { "proxy:$_:old_$_" } @types));
is($unused->(), '', 'through proxy: too');
like($ph->set(old_wrong => 1)->cmd('postconf', '-n'), qr/unused parameter: old_wrong=1/, 'one that begins like a table but belongs to none is not');
for my $t (@types) {
    my $fails = $type{$t}[2];
    is(query("$t:old_$t", 'a@y.test'), '|1', "$t: the list of domains is main.cf's: the server is not asked");
    if ($fails) { fails("$t:old_$t", 'a@x.test', qr/fatal: .*$fails/s, "$t: nor are the others") }
    else { is(query("$t:old_$t", 'a@x.test'), 'a@x.test|0', "$t: nor are the others") }
    $ph->set("new_${t}_$_" => $type{$t}[0]{$_}) for keys %{ $type{$t}[0] };
    $ph->set("new_${t}_$type{$t}[1]" => '%x');
    fails("$t:new_$t", 'a@x.test', qr/^postmap: fatal: .*$type{$t}[1]: "%x?/m, "$t: a template that is wrong");
}
judge_failures();

# ---- keys that no server is asked for ----
my %asked = (
    '%s' => [['a@x.test', 'bare', '@x.test'], []], '%u' => [['a@x.test', 'bare'], ['@x.test']], '%d' => [['a@x.test', '@x.test'], ['bare', 'a@']],
    '%2' => [['a@x.test', 'a@b.c.d'], ['bare', 'a@test']], '%3' => [['a@b.c.d'], ['a@x.test']], '%U%9' => [[], ['a@1.2.3.4.5.6.7.8', 'bare']],
);
for my $t (grep { $type{$_}[2] } @types) {
    my $n = 0;
    for my $letter (sort keys %asked) {
        my ($yes, $no) = @{ $asked{$letter} };
        my %set = (%{ $type{$t}[0] }, $type{$t}[1] => $type{$t}[0]{ $type{$t}[1] } =~ s/%s/$letter/r);
        $set{search_base} = 'dc=x' if $t eq 'ldap';
        my $table = "$t:" . file($t . $n++, %set);
        my $out = $ph->run_in(join('', map { "$_\n" } @$no), $ph->sbin('postmap'), '-c', $ph->dir, '-q', '-', $table);
        is("$out|" . ($? >> 8), '|1', "$t: $letter: not asked for: @$no");
        fails($table, $_, qr/fatal: .*$type{$t}[2]/, "$t: $letter: asked for: $_") for @$yes;
    }
}
judge_failures();

# ---- dollars: doubled in main.cf, themselves in a file ----
SKIP: {
    skip 'needs sqlite', 4 unless $has_sqlite;
    $ph->set(dollar_dbpath => "$tmp/db", dollar_query => q{select '$$5 $$$$ $mail_name %u'}, mail_name => 'M');
    is(query('sqlite:dollar', 'joe@x'), '$5 $$ M joe|0', 'in main.cf a dollar is doubled, and names are what they stand for');
    my $table = 'sqlite:' . file('dollar', dbpath => "$tmp/db", query => q{select '$5 $$ $mail_name %u'});
    is(query($table, 'joe@x'), '$5 $$ $mail_name joe|0', 'in a file it is itself');
    is(query('sqlite:' . file('brace', dbpath => "$tmp/db", query => q({ select '%u' })), 'joe@x') =~ /syntax error|unrecognized/ ? 1 : 0, 1, 'and braces too');
    chdir $tmp or die;
    is(query('sqlite:./dollar.cf', 'joe@x'), '$5 $$ $mail_name joe|0', 'a file by a relative name');
    chdir $Posthorn::top;
}
done_testing;
