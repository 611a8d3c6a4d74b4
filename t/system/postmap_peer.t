#!/usr/bin/perl
# postmap, postalias and Debian's, as a black box: the same source files, options and
# keys: the same tables, answers, warnings and exit status.  What differs is named.
use strict;
use warnings;
use File::Path qw(remove_tree make_path);
use Test::More;
use lib 't/lib';
use Posthorn;

plan skip_all => 'needs root: Debian\'s postmap loads no types that a dynamicmaps.cf of another user names' if $> != 0;
my $root = Posthorn::debian('postfix') or plan skip_all => "Debian's postfix cannot be had";
my %plugin = map { my $d = Posthorn::debian("postfix-$_"); $d && -e "$Posthorn::build/plugins/table/$_/.libs/table_$_.so" ? ($_ => "$d/usr/lib/postfix/postfix-$_.so") : () } qw(cdb lmdb pcre);
my $tmp = File::Temp->newdir('posthorn-XXXXXX', TMPDIR => 1);
my $lib = "$root/usr/lib/postfix";
make_path("$tmp/debian", "$tmp/ours", "$tmp/bytes/debian", "$tmp/bytes/ours", "$tmp/q", "$tmp/d");
my $common = "compatibility_level = 3.7\ndefault_database_type = hash\nmyhostname = peer.test\nmail_owner = news\nsetgid_group = uucp\ninet_interfaces = loopback-only\n";
Posthorn::spew("$tmp/ours/main.cf", $common, "maillog_file = /dev/null\n");
Posthorn::spew("$tmp/debian/main.cf", $common, "queue_directory = $tmp/q\ndata_directory = $tmp/d\ndaemon_directory = $lib/sbin\ncommand_directory = $root/usr/sbin\n",
    "shlib_directory = $lib\nmeta_directory = $tmp/debian\ninet_protocols = ipv4\nimport_environment = MAIL_CONFIG LD_LIBRARY_PATH=$lib\n");
Posthorn::spew("$tmp/debian/dynamicmaps.cf", map { "$_\t$plugin{$_}\tdict_${_}_open\t" . ($_ eq 'pcre' ? '' : "mkmap_${_}_open") . "\n" } sort keys %plugin);
for my $who (qw(debian ours)) {
    Posthorn::spew("$tmp/bytes/$who/$_", Posthorn::slurp("$tmp/$who/$_"), $_ eq 'main.cf' ? "smtputf8_enable = no\n" : '') for 'main.cf', $who eq 'ours' ? () : 'dynamicmaps.cf';
}
my $conf = $tmp;

# Output (both streams) and exit status of a command in the work directory, with that input.
sub run {
    my ($who, $in, $tool, @args) = @_;
    return $in->() // '' if ref $in;
    Posthorn::spew("$tmp/in", $in);
    my @cmd = $who eq 'debian' ? ('/usr/bin/env', "MAIL_CONFIG=$conf/debian", "LD_LIBRARY_PATH=$lib", "$root/usr/sbin/$tool", @args)
        : ("$Posthorn::inst/sbin/$tool", '-c', "$conf/ours", @args);
    my $out = `@{[join ' ', map { my $w = s/'/'\\''/gr; "'$w'" } @cmd]} < '$tmp/in' 2>&1`;
    my $rc = $? >> 8;
    $out =~ s/^YP_LAST_MODIFIED(:?)\t\d{10}$/YP_LAST_MODIFIED$1\tNOW/mg;
    # A hash has no order that means something; warnings and answers come on two streams.
    my @lines = sort split /\n/, $out, -1;
    return join "\n", @lines, "exit $rc";
}

my ($compared, $mode) = (0, 0);
# A source file of that text as F, and commands: [input, tool, arguments], or [what is done between them].
sub same {
    my ($name, $text, @commands) = @_;
    my (%got, @wrong);
    for my $who (qw(debian ours)) {
        my $dir = "$tmp/work";
        remove_tree($dir);
        make_path($dir);
        chdir $dir or die "$dir: $!";
        Posthorn::spew('F', $text);
        utime time - 1000, time - 1000, 'F';       # theirs reads a file that is being written again and again
        $got{$who} = [map { run($who, @$_) } @commands];
        push @{ $got{$who} }, join ' ', map { sprintf '%s %o %d:%d', $_, (stat)[2] & 07777, (stat)[4, 5] } sort glob 'F.*';
        chdir $Posthorn::top;
    }
    for my $i (0 .. @commands) {
        $compared++;
        next if $got{debian}[$i] eq $got{ours}[$i];
        my $what = $commands[$i] ? join(' ', @{ $commands[$i] }[1 .. $#{ $commands[$i] }]) : 'the files';
        push @wrong, "$what\n--- Debian's\n$got{debian}[$i]\n--- ours\n$got{ours}[$i]";
    }
    ok(!@wrong, $name) or diag join "\n", @wrong;
}

my %source = (
    plain => "# c\nAlpha one\nbeta two\n  more\n\"a b\"\@x three\nalpha again\nonly\nk:  v\n\tcont at the end\n",
    quotes => "a\\ b c\n\"unclosed x\nx\"y z\"w v\n\\\"q v\n  \n#c\nlast value   \t\n\"quoted\" v\n\"Two Words\" v\n\"a\\\"b\" v\nback\\slash v\nnonl x",
    'starts with a blank' => "  lead x\na b\n# comment\n  c\n\n  d\nb c\n", 'starts with a long one' => " a line that has more than thirty bytes in it\n and goes on\na b\n",
    bytes => "\xff bad\nok v\xff\nmixed\xC3\xA9 v\na\x01b c\x02d\n\xff\xfe\xC3\xA9\x01 x\n", 'CR LF' => "a b\r\nc d\r\n", empty => '', comments => "#only\n\n   # more\n", colons => "a: b\nc : d\n\"e f\": g\n",
    NUL => "a\0b c\nx y\0z\na b\n \0 c\n", tabs => "a\tb\tc\nd \t e  f \n", duplicates => "a 1\nA 2\na 3\nb 1\n", 'keys alone' => "key\n\"key two\"\nkey3 \n", 'quoted nothing' => "\"\" v\n",
    letters => "\xc3\x84\xc3\x96x u\nSTRASSE\xc3\x9f s\n\xce\xa3\xcf\x82 g\n\xd0\x90\xd0\x91 c\n\xc4\xb0 i\n\xef\xac\x81 l\n\xe1\xba\x9e e\n\xf0\x90\x90\x80 d\n\xc3\x84\xc3\x96X again\n",
    long => 'k' x 400 . ' ' . 'v' x 5000 . "\n", many => join('', map { "key$_ value $_\n" } 1 .. 3000),
);
my $keys = "\xc3\xa4\xc3\xb6X\nstra\xc3\x9fess\n\xcf\x83\xcf\x83\na\nALPHA\nnope\nb\n\xff\na:\n\"a b\"\@x\nkey1\nkey2999\nx\n";
for my $type ('hash', 'btree', grep { $plugin{$_} } qw(cdb lmdb)) {
    same("$type: $_", $source{$_}, ['', 'postmap', "$type:F"], $type eq 'cdb' ? () : ['', 'postmap', '-s', "$type:F"],
        (map { ['', 'postmap', '-q', $_, "$type:F"] } 'a', 'alpha', 'Alpha', 'a\\ b', '"two words"', 'k:', 'lead', 'ok'), [$keys, 'postmap', '-q', '-', "$type:F"]) for sort keys %source;
    same("$type: options", $source{duplicates}, map { (["b first\nz last\n", 'postmap', @$_, "$type:F"], [$keys, 'postmap', '-q', '-', "$type:F"], [$keys, 'postmap', '-fq', '-', "$type:F"]) }
        ['-w'], ['-r'], ['-f'], ['-n'], ['-N'], ['-o'], ['-p'], ['-u'], ['-wr'], ['-rw'], ['-Nw'], $type eq 'cdb' ? () : ['-i']) if $type ne 'lmdb';
}
same("texthash: $_", $source{$_}, (map { ['', 'postmap', '-q', $_, 'texthash:F'] } 'a', 'alpha'), [$keys, 'postmap', '-q', '-', 'texthash:F']) for sort keys %source;

my %alias = (
    plain => "root: joe, \"|/bin/a b\"\npostmaster:root\nbad\@x: y\n\"two words\": a,b\nnothing\nx :  y\nlist: :include:/etc/l, /dev/null\nUPPER: Mixed\@Case.Example\n",
    odd => "a: b c\na: d\nper%cent: x\n: novalue\nnovalue:\nnv2: ,\nnv3: a,,b,\ngroup: a, b;\nang: <a\@b>, \"N N\" <c\@d>\ncom: a (comment), b\n",
    words => "a: \"quo ted\"\@x, b\n \tc\n# hi\n d\nx y: z\n\"x,y\": z\na\\b: c\nq: \"|cmd 'a b' \\\"x\\\"\"\nr: |cmd\ns: \"/file name\"\nt: /file\n",
    specials => "a:b:c\nb: :include: /x\nc::d\n\"d:\": e\ne: user+ext\@dom, \@dom, user\@\nf: a\@b\@c\ng: <>\nh: \"\"\ni: .\nj: a.b.c\nk: 1\@[1.2.3.4]\nl: a\@b (c (d)) e\nm: x; y\n",
    bytes => "\xff: c\nd: \xff\n\@: x\n*: y\n a: cont\n", names => "\"un name\": x\n(c) k: v\nk (c): v\n<k>: v\nk2 : v\n\"a\"b: v\na.b: v\n() : v\n%%x: v\nx;y: v\nx<y>: v\n[dl]: v\n",
    unclosed => "u: \"unclosed, x\nw: (unclosed\ndl: [unclosed x\nesc: a\\\nn2: a\\ b\n", 'no blank' => ":b\n::\na\n:\n",
);
my @token = ('a', '"q s"', '(c)', '[1]', '<', '>', '@', '.', ':', ';', ',', '\\x', '"q"', '{', '=');
my $n = 0;
$alias{pairs} = join '', map { my $l = $_; map { my $r = $_; map { 'k' . ++$n . ": z$l$_${r}y\n" } '', ' ' } @token } @token;
for my $type ('hash', grep { $plugin{$_} } 'lmdb') {
    same("postalias $type: $_", $alias{$_}, ['', 'postalias', "$type:F"], ['', 'postalias', '-s', "$type:F"], ['', 'postmap', '-s', "$type:F"],
        (map { ['', 'postalias', '-q', $_, "$type:F"] } 'a', 'root', '@', '"two words"', 'two words', 'upper'), ["a\nroot\nnope\n", 'postalias', '-q', '-', "$type:F"]) for sort keys %alias;
}

same('adding and removing', "a 1\nb 2\n", ['', 'postmap', 'hash:F'], ["c 3\na 9\n", 'postmap', '-i', 'hash:F'], ['', 'postmap', '-s', 'hash:F'], ["c 4\na 9\n", 'postmap', '-ir', 'hash:F'], ['', 'postmap', '-s', 'hash:F'],
    ["c 5\n", 'postmap', '-iw', 'hash:F'], ['', 'postmap', '-d', 'a', 'hash:F'], ['', 'postmap', '-d', 'a', 'hash:F'], ["b\nzz\nC\n", 'postmap', '-d', '-', 'hash:F'], ['', 'postmap', '-s', 'hash:F'], ["zz\n", 'postmap', '-d', '-', 'hash:F'],
    ["c 3\nbad\n\xff x\n", 'postmap', '-i', 'hash:F'], ['', 'postmap', '-s', 'hash:F']);
# Entries with and without the NUL behind them; where each kind is looked for.
same("-n, -N: $_", "a 1\nb 2\n", map { my $o = $_; ['', 'postmap', @$o, 'hash:F'], (map { ["a\nb\n", 'postmap', @$_, 'hash:F'] } ['-q', '-'], ['-nq', '-'], ['-Nq', '-'], ['-nNq', '-'], ['-Nnd', '-'], ['-s']) } [$_]) for '-w', '-n', '-N';
# Options end where the tables begin; which of two counts; what is said first.
same("the order of options: @$_", "a 1\nb 2\na 3\n", ['', 'postmap', @$_], ['', 'postmap', '-s', 'hash:F']) for ['hash:F', '-w'], ['hash:F', '-q', 'a'], ['-w', '-r', 'hash:F'], ['-r', '-w', 'hash:F'], ['-b'], ['-m'], ['-h'], ['-q', 'a', '-s', 'hash:F'], ['-d', 'a', '-s', 'hash:F'];
same('postalias -i', "root: x\na: 1\n", map { ["a: 2\nb: 3\n", 'postalias', @$_, 'hash:F'] } ['-w'], ['-i'], ['-ir'], ['-iw'], ['-s'], ['-d', '@'], ['-d', '@'], ['-s']);
# A table that is there keeps its group and mode; a new one has those of the source.  Not its owner: theirs is written
# in place, and ours is another file, which root does not give away.  What is added to and deleted from has its owner's rights.
same(sprintf('the mode of the table, %o', $_), "a 1\n", ['', 'postmap', 'hash:F'], [sub { chmod $mode, 'F.db'; chown 0, 2, 'F.db' }], ['', 'postmap', 'hash:F'], ["b 2\n", 'postmap', '-i', 'hash:F'], ['', 'postmap', '-d', 'a', 'hash:F'],
    [sub { sprintf '%o %d:%d', (stat 'F.db')[2, 4, 5] }], [sub { unlink 'F.db'; chmod 0600, 'F' }], ['', 'postmap', 'hash:F']) for map { $mode = $_ } 0600, 0640, 0664;
symlink '/dev/null', "$tmp/null";
same('/dev/null is an empty file', '', (map { ["a\n", 'postmap', '-q', '-', "$_:/dev/null"] } 'texthash', 'regexp', 'cidr', $plugin{pcre} ? 'pcre' : ()), ['', 'postmap', "hash:$tmp/null"], ['', 'postmap', '-s', "hash:$tmp/null"], ['', 'postalias', "hash:$tmp/null"]);
same('a table of no bytes', "a 1\n", (map { ([sub { Posthorn::spew('F.db', '') }], $_) } ['', 'postmap', '-q', 'a', 'hash:F'], ["b 2\n", 'postmap', '-i', 'hash:F'], ['', 'postmap', 'hash:F']), ['', 'postmap', '-s', 'hash:F']);
same('bytes that are no UTF-8, and may be there', "a \xff\n\xc3\x84\xff X\n\xc3\x84 x\n\xc3\xa4 y\nA again\n", map { my $o = $_; ['', 'postmap', @$o, 'hash:F'], ['', 'postmap', @$o, '-s', 'hash:F'], ["A\n\xc3\x84\xff\n\xc3\x84\n\xc3\xa4\n", 'postmap', @$o, '-q', '-', 'hash:F'] } [], ['-f'], ['-u']) for map { $conf = $_ } "$tmp/bytes", $tmp;
same("refused: @$_", "a 1\nb 2\n", ['', @$_]) for
    (map { ['postmap', '-d', 'x', $_] } 'texthash:F', 'inline:{a=b}', 'regexp:F', 'cidr:F', 'unionmap:{static:x}', 'unix:passwd.byname'),
    ['postmap', '-q', 'a', '-d', 'b', 'hash:F'], ['postmap', '-d', 'x', '-d', 'y', 'hash:F'], ['postmap', '-s', '-q', 'x', 'hash:F'], ['postmap'], ['postmap', '-x', 'hash:F'], ['postmap', '-q'], ['postmap', '-h', 'hash:F'],
    ['postmap', '-b', '-q', 'x', 'hash:F'], ['postmap', '-m', '-q', '-', 'static:x'], ['postmap', '-q', 'a', 'nosuch:F'], ['postmap', 'hash:/nonexistent/x'], ['postmap', '-q', 'x', 'hash:/nonexistent/x'],
    ['postmap', '-q', 'x', 'texthash:/nonexistent/x'], ['postmap', 'texthash:F'], ['postmap', 'proxy:hash:F'], ['postmap', '-s', 'static:x'], ['postmap', '-d', 'x', 'static:x'], ['postmap', '-i', 'texthash:F'],
    ['postmap', '-q', 'x', 'inline:{}'], ['postmap', '-q', 'x', 'inline:{x}'], ['postmap', '-q', 'x', 'unix:foo'], ['postmap', '-q', 'k', 'static:'], ['postmap', '-q', 'k', 'inline:{k=}'], ['postmap', '-q', 'x', 'randmap:{}'],
    ['postmap', '-q', 'x', 'randmap:a'], ['postmap', '-q', 'x', 'pipemap:{}'], ['postmap', '-q', 'x', 'pipemap:{foo}'], ['postmap', '-q', 'x', 'environ:'], ['postmap', '-q', 'x', 'tcp:'], ['postmap', '-q', 'x', 'socketmap:'],
    ['postalias', '-b', 'hash:F'], ['postalias', '-F', 'hash:F'], ['postalias'], ['postalias', '-x', 'F'];
same("@$_", "a 1\nb 2\n", ['', 'postmap', 'hash:F'], ['', @$_]) for
    ['postmap', '-s', '-s', 'hash:F'], ['postmap', '-i', '-s', 'hash:F'], ['postmap', '-q', '', 'hash:F'], ['postmap', '-q', 'root', 'unix:passwd.byname'], ['postmap', '-q', 'k', 'static:a b'], ['postmap', '-q', 'k', 'static:{a b}'],
    ['postmap', '-q', 'k', 'inline:{{k = a, b}}'], ['postmap', '-q', 'k', 'inline:{k=1, k=2}'], ['postmap', '-q', 'K', '-f', 'inline:{K=1}'], ['postmap', '-q', 'b', 'static:x', 'hash:F'], ['postmap', '-s', 'hash:F', 'static:x'],
    ['postmap', '-q', 'a', 'F'], ['postmap', '-q', 'x', 'unionmap:{static:a,static:b}'], ['postmap', '-q', 'x', 'pipemap:{static:a,inline:{a=c}}'], ['postmap', '-q', 'x', 'pipemap:{inline:{a=c}}'], ['postmap', '-q', 'x', 'randmap:{ {b c} }'],
    ['postmap', '-q', 'x', 'unionmap:{inline:{x=1},inline:{y=2},static:3}'];
Posthorn::spew("$tmp/f1", "one\n");
Posthorn::spew("$tmp/f2", 'two');
Posthorn::spew("$tmp/empty", '');
same('-F', "a $tmp/f1, $tmp/f2\nb $tmp/none\nc $tmp/f1\n", ['', 'postmap', '-F', 'hash:F'], (map { ['', 'postmap', @$_, 'hash:F'] } ['-s'], ['-Fs'], ['-Fq', 'a'], ['-Fq', 'b']), ["a\nc\n", 'postmap', '-Fq', '-', 'hash:F']);
same("-F of $_", "a $_\nb YWI=\n", ['', 'postmap', 'hash:F'], map { ['', 'postmap', @$_, 'hash:F'] } ['-Fq', 'a'], ['-Fq', 'b'], ['-Fs']) for '!!!', 'YWI=YQ==', 'YQ=Q', 'YQ==!!!!';
same('-F with no file, and an empty one', "a , ,\nb $tmp/empty\n", ['', 'postmap', '-F', 'hash:F'], map { ['', 'postmap', @$_, 'hash:F'] } ['-Fq', 'a'], ['-Fq', 'b'], ['-Fs']);
# Tables that are not built have the names of files: they are read when they are asked for, there when the table is opened.
same("-F $_", "a $tmp/f1, $tmp/f2\n", ["a\nb\n", 'postmap', '-Fq', '-', $_]) for 'texthash:F', "inline:{{a=$tmp/f1}}", "static:{$tmp/f1 $tmp/f2}", "regexp:{{/a/ $tmp/f2}}", "cidr:{{::/0 $tmp/f1}}", "randmap:{$tmp/f1}", "unionmap:{static:$tmp/f1}";

# Tables of Debian's are read by us, and ours by them.
for my $type ('hash', 'btree', grep { $plugin{$_} } qw(cdb lmdb)) {
    for my $who (qw(debian ours)) {
        my $other = $who eq 'ours' ? 'debian' : 'ours';
        chdir "$tmp/work";
        Posthorn::spew('G', $source{many});
        run($who, '', 'postmap', $_, "$type:G"), is(run($other, "key1\nnope\nkey3000\n", 'postmap', '-q', '-', "$type:G"), "\nkey1\tvalue 1\nkey3000\tvalue 3000\nexit 0", "$type: built by $who ($_), read by $other") for '-n', '-N', '-o';
        chdir $Posthorn::top;
    }
}
cmp_ok($compared, '>', 500, "$compared outputs compared");
done_testing();
