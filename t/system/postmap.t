#!/usr/bin/perl
# postmap and postalias: what scripts rely on, and a running system that takes
# up a rebuilt table.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;

my $ph = Posthorn->new('default_database_type' => 'hash');
my $m = "$ph->{tmp}/m";
sub postmap { return $ph->cmd('postmap', @_) }

Posthorn::spew($m, "# c\nAlpha one\nbeta two\n  more\n\"a b\"\@x three\nalpha again\nonly\n");
my $out = postmap($m);
is($?, 0, 'postmap without type builds the default type');
like($out, qr/warning: \S+\/m.db: duplicate entry: "alpha"/, 'a duplicate is warned about');
like($out, qr/warning: \S+\/m, line 7: expected format: key whitespace value/, 'a line without value too');
is(postmap('-q', 'ALPHA', "hash:$m"), "one\n", '-q prints the value of the first entry');
is($?, 0, 'status 0 when found');
is(postmap('-q', 'nope', "hash:$m"), '', 'nothing when not found');
is($? >> 8, 1, 'and status 1');
is($ph->run_in("alpha\nnope\nBETA\n", $ph->sbin('postmap'), '-c', $ph->dir, '-q', '-', "hash:$m"), "alpha\tone\nBETA\ttwo  more\n", '-q -: key, tab, value');
is(join('', sort { $a cmp $b } split /^/, postmap('-s', "hash:$m")), qq("a b"\@x\tthree\nalpha\tone\nbeta\ttwo  more\n), '-s lists');
is(postmap('-q', 'beta', '-j', "hash:$m"), qq({"beta": "two  more"}\n), '-j is JSON');
postmap('-d', 'beta', "hash:$m");
is($?, 0, '-d removes');
postmap('-d', 'beta', "hash:$m");
is($? >> 8, 1, 'and says when it was not there');
$ph->run_in("gamma three\nalpha new\n", $ph->sbin('postmap'), '-c', $ph->dir, '-i', '-r', "hash:$m");
is(postmap('-q', 'gamma', "hash:$m") . postmap('-q', 'alpha', "hash:$m"), "three\nnew\n", '-i adds, -r replaces');
postmap('-w', "btree:$m.b");
isnt($?, 0, 'a missing source is fatal');
like(postmap("regexp:$m"), qr/fatal: unsupported dictionary type: regexp does not support bulk-mode creation/, 'a type that cannot be built says so');
like(postmap('-q', 'x', "hsh:$m"), qr/fatal: unsupported dictionary type: hsh: did you mean "hash"\?/, 'a misspelt type');
like(postmap('-q', 'x', "mongodb:$m"), qr/fatal: unsupported dictionary type: mongodb: it is not built yet/, 'a type that does not exist yet');
like(postmap('-q', 'x', 'nis:passwd.byname'), qr/fatal: unsupported dictionary type: nis: NIS is not supported: write the map into a file/, 'one that will not, and what to do');
like(postmap('-q', 'x', '-d', 'y', "hash:$m"), qr/specify only one of -s -q or -d/, 'one mode only');
is(postmap('-q', 'x', 'fail:down') =~ /^postmap: fatal: table fail:down: query error/m && $? >> 8 == 1 ? 1 : 0, 1, 'a failing table is no "not found"');
chmod 0640, $m;
unlink "$m.db";
postmap($m);
is((stat "$m.db")[2] & 0777, 0640, 'the result has the read bits of the source');
Posthorn::spew("$ph->{tmp}/text", "a b\n");
like(postmap('-d', 'beta', "hash:$m", "texthash:$ph->{tmp}/text"), qr/fatal: texthash:\S+ map requires O_RDONLY access mode/, '-d of several tables, one of which cannot');
is(postmap('-q', 'beta', "hash:$m"), "two  more\n", 'deletes nothing') and is(scalar(() = glob "$ph->{tmp}/*.tmp.*"), 0, 'and leaves nothing behind');
Posthorn::spew("$ph->{tmp}/long", "a b\n", 'k' x 600, " v\n");
SKIP: {
    skip 'no lmdb', 2 unless -e "$Posthorn::build/plugins/table/lmdb/.libs/table_lmdb.so";
    like(postmap("lmdb:$ph->{tmp}/long"), qr{fatal: table lmdb:\S+: write \S+/long.lmdb: MDB_BAD_VALSIZE}, 'a key that is too long');
    is(join(' ', glob "$ph->{tmp}/long.*"), '', 'leaves nothing behind');
}
SKIP: {
    skip 'needs root', 1 unless $> == 0;
    mkdir "$ph->{tmp}/own";
    Posthorn::spew("$ph->{tmp}/own/m", "a b\n");
    chown 65534, 65534, "$ph->{tmp}/own", "$ph->{tmp}/own/m";
    postmap("hash:$ph->{tmp}/own/m");
    is((stat "$ph->{tmp}/own/m.db")[4], 65534, 'root builds as the owner of the source');
}
# Root in a user's directory has the user's rights, also where no source says whose they are.
sub facts { return sprintf '%o %d:%d', (stat shift)[2, 4, 5] }
sub added { my ($table) = @_; return $ph->run_in("x y\n", $ph->sbin('postmap'), '-c', $ph->dir, '-ir', $table) }
SKIP: {
    skip 'needs root', 1 unless $> == 0;
    my ($mine, $roots) = ("$ph->{tmp}/mine", "$ph->{tmp}/roots");
    chmod 0755, $ph->{tmp};
    for my $type ('hash', grep { -e "$Posthorn::build/plugins/table/$_/.libs/table_$_.so" } qw(cdb lmdb)) {
        my $file = $type eq 'hash' ? 'db' : $type;
        mkdir $_ for $mine, $roots;
        chown 65534, 65534, $mine;
        is(added("$type:$mine/new"), '', "$type: -i makes a table in a user's directory");
        is(facts("$mine/new.$file"), '100644 65534:65534', 'it is his');
        chmod 06664, "$mine/new.$file";
        is(added("$type:$mine/new"), '', '-i of his table');
        is(facts("$mine/new.$file"), '100664 65534:65534', 'it stays his, its mode too, but no set-uid bits');
        chmod 06660, "$mine/new.$file";
        is(postmap('-d', 'x', "$type:$mine/new"), '', '-d of his table');
        is(facts("$mine/new.$file"), '100660 65534:65534', 'the same');
        # What only root may write is not written for the sake of a user's table, or of a name that leads there.
        Posthorn::spew("$roots/his", "x z\n");
        postmap("$type:$roots/his");
        chown 65534, 65534, "$roots/his.$file";
        unlink "$roots/his";
        my $before = Posthorn::slurp("$roots/his.$file");
        like(postmap('-d', 'x', "$type:$roots/his"), qr/fatal: .*[Pp]ermission denied/, "-d of a user's table in root's directory");
        like(added("$type:$roots/his"), qr/fatal: .*[Pp]ermission denied/, '-i');
        is(postmap('-o', '-d', 'nope', "$type:$roots/his"), '', '-o -d keeps root\'s rights');
        chown 0, 0, "$roots/his.$file";
        chmod 0600, "$roots/his.$file";
        symlink "$roots/his.$file", "$mine/link.$file";
        postmap('-d', 'x', "$type:$mine/link");
        isnt($?, 0, 'a link to root\'s table is not followed with root\'s rights');
        added("$type:$mine/link");
        is(Posthorn::slurp("$roots/his.$file"), $before, 'root\'s table is what it was');
        is(facts("$roots/his.$file"), '100600 0:0', 'and whose');
        is(postmap('-q', 'x', "$type:$mine/link"), "z\n", 'the link still leads to it');
        # With root's source in a user's directory no owner, group or mode is taken from his table.
        Posthorn::spew("$mine/src", "x y\n");
        Posthorn::spew("$mine/src.$file", $before);
        chmod 0600, "$mine/src";
        chown 65534, 65534, "$mine/src.$file";
        like(postmap("$type:$mine/src"), qr/warning: source file .* is owned by root and its directory is not/, 'root\'s source in a user\'s directory');
        is(facts("$mine/src.$file"), '100600 0:0', 'what it holds is not his to read');
        # In root's own directory group and mode stay, but nobody reads more than the source lets him.
        Posthorn::spew("$roots/src", "x y\n");
        postmap("$type:$roots/src");
        chown 0, 65534, "$roots/src.$file";
        chmod 06664, "$roots/src.$file";
        postmap('-d', 'x', "$type:$roots/src");
        is(facts("$roots/src.$file"), '100664 0:65534', 'root\'s table keeps group and mode, but set-uid bits');
        chmod 0600, "$roots/src";
        postmap("$type:$roots/src");
        is(facts("$roots/src.$file"), $type eq 'cdb' ? '100600 0:0' : '100600 0:65534', 'a restricted source makes a restricted table');
        is(join(' ', glob "$mine/*.tmp.* $roots/*.tmp.*"), '', 'nothing half-built is left');
        system 'rm', '-r', $mine, $roots;
    }
}
is(scalar(() = glob "$ph->{tmp}/*.tmp.*"), 0, 'nothing half-built is left');

Posthorn::spew("$ph->{tmp}/aliases", "root: joe, \"|/bin/a b\"\npostmaster:root\nbad\@x: y\n\"two words\": a,b\nnothing\n");
$out = $ph->cmd('postalias', "hash:$ph->{tmp}/aliases");
like($out, qr/line 3: name must be local/, 'postalias: a name with domain is left out');
like($out, qr/line 5: need name:value pair/, 'postalias: a line without colon too');
is($ph->cmd('postalias', '-q', 'root', "hash:$ph->{tmp}/aliases"), qq(joe, "|/bin/a b"\n), 'postalias -q');
is($ph->cmd('postalias', '-q', '@', "hash:$ph->{tmp}/aliases"), "\@\n", 'the completeness mark');

# Patterns become machine code when the table is opened, or it is said that they do not.
Posthorn::spew("$ph->{tmp}/p", "/^a.c\$/ yes\n/x/ no\n");
is(postmap('-q', 'abc', "pcre:$ph->{tmp}/p"), "yes\n", 'pcre: patterns are compiled: nothing is said');
SKIP: {
    # PR_SET_MDWE: from now on no memory becomes executable.
    my @deny = ($^X, '-e', 'exit 9 if syscall(157, 65, 1, 0, 0, 0) != 0; exec @ARGV');
    $ph->run(@deny, '/bin/true') if (POSIX::uname())[4] eq 'x86_64';
    skip 'this kernel cannot deny executable memory', 1 if $? || (POSIX::uname())[4] ne 'x86_64';
    is($ph->run(@deny, $ph->sbin('postmap'), '-c', $ph->dir, '-q', 'abc', "pcre:$ph->{tmp}/p"),
        "postmap: pcre map $ph->{tmp}/p: 2 of 2 patterns are interpreted, which is slower: the system gives no memory that may be executed\nyes\n", 'where they cannot be it is said, and they answer');
}

# A running system, sealed, sees rebuilt tables without reload.
my @types = ('hash', 'btree', grep { -e "$Posthorn::build/plugins/table/$_/.libs/table_$_.so" } qw(lmdb cdb));
sub rebuild {
    my ($type, $box) = @_;
    Posthorn::spew("$ph->{dir}/boxes.$type", "$type\@example.test $box/\n");
    return postmap("$type:$ph->{dir}/boxes.$type");
}
my $n = 0;
sub arrives {
    my ($type, $box) = @_;
    return Posthorn::wait_for(sub {
        $n++;
        $ph->smtp->send(from => 'a@x.test', to => ["$type\@example.test"], body => "Subject: $n\r\n\r\nmore\r\n");
        my @got = glob "$ph->{dir}/mail/$box/new/*";
        return scalar @got;
    });
}
rebuild($_, $_) for @types;
$ph->set(virtual_mailbox_maps => join(', ', map { "$_:$ph->{dir}/boxes.$_" } @types), smtpd_reject_unlisted_recipient => 'no');
$ph->start;
ok(arrives($_, $_), "a mailbox of a $_ table") or diag $ph->log for @types;
rebuild($_, "other-$_"), is($?, 0, "$_: built anew while readers have it open") for @types;
ok(arrives($_, "other-$_"), "and they go over to the new one: $_") or diag $ph->log for @types;
$ph->stop;
done_testing();
