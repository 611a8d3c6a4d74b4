#!/usr/bin/perl
# A thousand and more generated tables, built and asked by our postmap and postalias and
# by Debian's: output, warnings and exit status must be equal.  Tables of a kind are
# built by one command and asked together (unionmap), so that it takes seconds.  SEED and
# COUNT of the environment generate others; KEEP=1 leaves the sources of what differs.
# What cannot be equal stands in the table of known differences, with its reason.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use File::Path qw(remove_tree make_path);
use File::Temp ();
use Posthorn;
use Test::More;

plan skip_all => 'needs root: Debian\'s postmap loads no types that a dynamicmaps.cf of another user names' if $> != 0;
my $root = Posthorn::debian('postfix') or plan skip_all => 'Debian\'s postfix cannot be had';
my $lib = "$root/usr/lib/postfix";
my %plugin = map { my $d = Posthorn::debian("postfix-$_"); $d && -e "$Posthorn::build/plugins/table/$_/.libs/table_$_.so" || $d && $_ eq 'pcre' ? ($_ => "$d/usr/lib/postfix/postfix-$_.so") : () } qw(cdb lmdb pcre);
my $count = $ENV{COUNT} // 1100;
my $dir = File::Temp->newdir('posthorn-diff-XXXXXX', TMPDIR => 1);
my $each = 10;                   # tables of one batch

make_path(map { "$dir/$_" } qw(debian ours q d));
my $common = "compatibility_level = 3.7\ndefault_database_type = hash\nmyhostname = peer.test\nmail_owner = news\nsetgid_group = uucp\ninet_interfaces = loopback-only\n";
Posthorn::spew("$dir/ours/main.cf", $common, "maillog_file = /dev/null\n");
Posthorn::spew("$dir/debian/main.cf", $common, "queue_directory = $dir/q\ndata_directory = $dir/d\ndaemon_directory = $lib/sbin\ncommand_directory = $root/usr/sbin\n",
    "shlib_directory = $lib\nmeta_directory = $dir/debian\ninet_protocols = ipv4\nimport_environment = MAIL_CONFIG LD_LIBRARY_PATH=$lib\n");
Posthorn::spew("$dir/debian/dynamicmaps.cf", map { "$_\t$plugin{$_}\tdict_${_}_open\t" . ($_ eq 'pcre' ? '' : "mkmap_${_}_open") . "\n" } sort keys %plugin);
utime time - 1000, time - 1000, "$dir/debian/main.cf";

# Numbers of our own: the same tables on every machine.
my $state = $ENV{SEED} // 20261126;
sub number { my ($n) = @_; $state = ($state * 1103515245 + 12345) % 2147483648; return int($state / 65536) % $n }
sub one { return $_[number(scalar @_)] }
sub many { my ($n, @from) = @_; return join '', map { one(@from) } 1 .. 1 + number($n) }

# ---- lines ----

my @letter = ('a', 'b', 'ab', 'A', 'joe', 'x', '1', '.', '-', '@', '+', 'é', 'É', 'ß', 'Σ', '=', '%', '$', '!', '*', ';', '|');
my @odd = ('"', '\\', ':', '#', ',', '{', '}', '(', ')', '<', '>', '[', ']', '/', '^', '?', '&', "'", '~', "\x01", "\x7f", "\xff", "\xc3", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xed\xa0\x80", "\r", "\0", "\x0b");
my @key = ('a', 'B', 'Ab', 'joe', 'Joe@x.Test', 'joe+x@x.test', '@x.test', '.x.test', 'k1', 'K2', 'k:', '"two words"', '"a b"@x', '"a\\"b"', 'a\\ b', 'a"b c"d', '*', '#k', '""', "\xc3\x89t\xc3\xa9", "stra\xc3\x9fe", "STRASSE");
sub key { my $n = number(10); return $n < 5 ? one(@key) : $n < 8 ? many(4, @letter) : many(4, @letter, @letter, @odd) }
sub value { my $n = number(10); return $n < 4 ? 'v' . number(100) : $n < 6 ? many(4, @letter, ' ') : $n < 8 ? many(6, @letter, ' ', "\t", ', ', @odd) : $n < 9 ? one('', ' ', '  two  words  ', '# c', '"q s"', 'é€', "tab\there", "a,b, c") : 'w' x number(number(20) ? 90 : 3000) }
sub blanks { return one(' ', ' ', ' ', "\t", "  \t", " \x0b") }
sub noise { return one("# comment\n", "  # indented comment\n", "\n", " \t \n", "#\n", "\r\n", "   \r\n", "\x0c\n") }

# A line end, a continuation: what may follow a logical line.
sub line {
    my ($text, $eol) = @_;
    my $out = $text;
    while (number(8) == 0) {
        $out .= $eol . (number(3) ? '' : noise()) . one(' ', "\t", '    ') . one('more', 'x y', '# no comment', many(3, @letter), '"', value());
    }
    return $out . one('', '', '', ' ', "\t") . $eol;
}

# Lines of a source, joined: sometimes CR LF, a first line that begins with a blank, no end.
sub source {
    my ($entry, $n) = @_;
    my $eol = number(8) ? "\n" : "\r\n";
    my $text = number(12) ? '' : one(' lead x', "\tlead y", " a long line that begins with a blank and goes on") . $eol;
    for (1 .. 1 + number($n)) {
        $text .= noise() if number(6) == 0;
        $text .= line($entry->(), $eol);
    }
    $text =~ s/\r?\n\z// if number(8) == 0;
    $text =~ s/^\0|\0\K[^\n]*[\x80-\xff][^\n]*//mg;         # what they say of a line depends on what stands behind a NUL in it
    return $text;
}

sub map_entry { return number(15) ? key() . blanks() . value() : one(key(), key() . ' ', '"open v', 'a"b c', '\\', 'k:  v', ' ', '"k" ') }

# ---- patterns ----

my @piece = ('a', 'b', 'ab', 'joe', '.', '.*', 'a+', '[ab]', '[^a]', '(a)', '(b|1)', '(x*)', '\\.', 'a?', '@', '^', '$', 'a{1,2}', '(a(b)?)', '\\/', ' ', 'É', '\\1', '|');
my @wrong = ('(', ')', '[', '*', 'a{2,1}', '[[:x:]]', '\\', '/', '!', 'a**', '{');
sub pattern {
    my $d = number(8) ? '/' : one('!' x number(2) . '/', '"', ',', '|', '(', '{', '=', '#', 'a', 'é', '\\');
    my $text = many(4, @piece, number(6) ? () : @wrong);
    return ('!' x (number(5) ? 0 : 1 + number(2))) . (number(12) ? '' : ' ') . $d . $text . (number(25) ? $d : '') . (number(5) ? '' : many(2, 'i', 'm', 'x', 's', 'A', 'U', 'E', number(4) ? 'i' : ('X', 'q', 'é')));
}
sub result { my $n = number(10); return $n < 5 ? 'v' . number(1000) : $n < 7 ? one('$1', '${1}x', '$(1)', '$$', 'a$1-b', '$2', '${2}$1', '$1.$1', '$$1', '$01') : $n < 8 ? one('$', '$x', '${', '${1', '$(1}', '$0', '$1x', '${ 1}', '$-', '${}', '$3$x', '$é', '$1$', '${${1}}', '$(x)', '$99') : value() }
sub rule {
    my $n = number(20);
    return one('if', 'IF', 'If') . one(' ', ' ', '', '  ', ' !', '!') . pattern() . (number(8) ? '' : one(' ', ' text', " x y")) if $n < 3;
    return one('endif', 'ENDIF', 'EndIf') . (number(10) ? '' : one(' x', '#', ' # c', '/', 'x')) if $n < 6;
    return one('abc def', 'if', 'ifx /a/ b', '!', '! !', '/', '//', '/a/', '/a/ ', '!/a/', '/a/i', 'if !', '{a} b', '1a1 b') if $n < 7;
    return pattern() . '!' . pattern() . blanks() . result() if $n < 8;
    return pattern() . blanks() . result();
}
sub address { my $n = number(12); return $n < 6 ? join('.', map { number(3) } 1 .. 4) : $n < 9 ? '2001:db8::' . number(4) : $n < 10 ? '::' . number(3) : $n < 11 ? one('::ffff:1.2.0.1', '2001:DB8:0:0::1', '1.2.0.255', '0.0.0.0', '255.255.255.255', '::') : one('01.2.0.1', '1.2.0', '1.2.0.1.1', '1.2.0.300', 'host', '1.2.0.1x', '::g', '1::2::3', 'IPv6:::1', '::1%lo', '2001:db8::00001', '', '-1', '1.2.0.00') }
sub net {
    my $a = address();
    my $m = number(3) ? '/' . ($a =~ /:/ ? one(0, 1, 16, 32, 64, 127, 128, 128, 128) : one(0, 1, 8, 16, 24, 30, 31, 32, 32)) : number(8) ? '' : '/' . one('', 33, 129, 'x', '8x', '-1', '+8', '032', '8/8', '0', ' 8', '255.0.0.0');
    my $b = number(6) ? 0 : 1 + number(6);
    my $text = $b == 1 ? "[$a]$m" : $b == 2 ? "[$a$m]" : $b == 3 ? "[$a$m" : $b == 4 ? "[$a]x$m" : $b == 5 ? "$a]$m" : $a . $m;
    return ('!' x (number(6) ? 0 : 1 + number(2))) . (number(12) ? '' : ' ') . $text;
}
sub cidr_rule {
    my $n = number(20);
    return one('if', 'IF') . one(' ', ' ', '!', ' !', '  ') . net() . (number(10) ? '' : ' x') if $n < 3;
    return one('endif', 'ENDIF') . (number(10) ? '' : one(' x', '#', 'x')) if $n < 6;
    return one('if', '!', 'x', '1.2.0.1', 'if !', '/24 x', '[] x', '[', '1.2.0.0/24,1.2.1.0/24 v') if $n < 7;
    return net() . blanks() . value();
}

# ---- aliases ----

my @token = ('a', 'joe', 'Ann', '"q s"', '(c)', '(c (d) e)', '[1.2.3.4]', '<', '>', '@', '.', ':', ';', ',', ', ', '\\x', '"q"', '{', '=', ' ', "\t", 'x.test', '/file', '|cmd', '"|cmd \'a b\' \\"x\\""', '":include:/x y"', ':include:/x', '"/file name"', 'é', '%', '+', '-', '"', '(', '[', '\\', "\xff", '*', '~', '$x', '#');
sub alias_entry {
    my $n = number(10);
    my $name = $n < 4 ? one(qw(root Postmaster list owner-list a joe MAILER-DAEMON)) : $n < 6 ? one('"two words"', '"a\\"b"', 'a.b', 'a b', '@', '%', 'a%b', 'a@b', '"a@b"', '(c) k', 'k (c)', '<k>', '', '""', '"', "\xff", 'É') : many(3, @token);
    my $to = number(3) ? join(one(', ', ',', ' , ', ' '), map { many(3, @token) } 1 .. 1 + number(3)) : one('joe', 'a, b', '"|/bin/a b"', ':include:/etc/list', '/dev/null', 'joe@x.test', '<joe@x.test>', '"J. Doe" <j@x.test>', 'group: a, b;', '', ' ', ',', 'a,,b', '\\joe');
    return $name . one(':', ':', ': ', ' : ', ":\t", number(5) ? ': ' : '') . $to;
}

# ---- tables in a command line ----

sub pair { my $k = one('a', 'b', 'A', 'joe', '"a b"', 'a\\ b', number(4) ? 'c' : many(2, @letter, @odd[0 .. 16])); my $v = one('1', 'b', 'a', 'joe', '', 'x=y', number(4) ? 'c' : many(3, @letter, ' ', @odd[0 .. 16])); return number(2) ? "{$k = $v}" : "$k=$v" }
sub braced { my ($type, @items) = @_; my $t = $type . ':' . one('{', '{ ') . join(one(',', ', ', ' '), @items) . one('}', ' }'); return number(25) ? $t : one("$t}", "$t x", substr($t, 0, -1), "$type: {x}", "$type:{}", "$type:{ }", "$type:{,}", "$type:x", "$type:") }
sub table {
    my ($depth) = @_;
    my $n = number($depth > 2 ? 7 : 10);
    return braced('inline', map { pair() } 1 .. 1 + number(4)) if $n < 3;
    return 'static:' . one('a', 'b', '{a b}', 'A', '{ }', '{a', 'a}', '{a}b', '{{a}}', ' x') if $n < 4;
    return braced(one('regexp', $plugin{pcre} ? 'pcre' : ()), map { '{' . one('/a/ x', '/(a)/ $1', '/b/ b', '!/a/ n', 'if /a/', 'endif', '/(/ x', '/a', rule() =~ s/[{}]//gr) . '}' } 1 .. 1 + number(3)) if $n < 5;
    return braced('cidr', map { '{' . (cidr_rule() =~ s/[{}]//gr) . '}' } 1 .. 1 + number(3)) if $n < 6;
    return one('environ:x', 'unix:passwd.byname', 'unix:group.byname', 'unix:x', 'fail:x', 'nosuch:x', 'texthash:/nonexistent/x', 'hash:/nonexistent/x', 'static:', ':x', 'x', 'regexp:/nonexistent/x') if $n < 7 && number(3) == 0;
    return braced('randmap', one('a', '{a b}', 'joe', '{}')) if $n < 7;
    return braced(one('pipemap', 'unionmap'), map { number(20) ? table($depth + 1) : one('{static:a}', 'static', ':a', 'a') } 1 .. 1 + number(3));
}

# ---- keys ----

sub flip { my ($k) = @_; my $n = number(4); return $n == 0 ? uc $k : $n == 1 ? lc $k : $n == 2 ? ucfirst $k : $k }
sub keys_of {
    my ($kind, @text) = @_;
    my @k = map { number(3) ? flip($_) : $_ } map { /^("[^"\n]*"\S*|[^\s:]+)/mg } @text;
    @k = map { address() } 1 .. 60 if $kind eq 'cidr';
    @k = map { many(5, @letter) } 1 .. 40 if $kind =~ /regexp|pcre/;
    push @k, map { key() } 1 .. 10;
    push @k, one($kind eq 'lmdb' ? () : '', "a\0b", ' a', 'a ', "a\r", "\xff", 'two words', '"a" b', 'x' x 300) for 1 .. 4;
    @k = grep { /^[^\0]/ } @k if $kind eq 'lmdb';          # an empty key is an error of LMDB's there, and not found here
    return join '', map { s/\n//gr . (number(30) ? "\n" : "\r\n") } @k;
}

# ---- known differences ----

# What a warning is brought to before it is compared, and why.
my @known = (
    [sub { s/^(\S+: fatal: table .*: query error): .*/$1/mg }, 'why a question failed is said here'],
    [sub { s/\xed[\xa0-\xbf][\x80-\xbf]/???/g }, 'surrogates are shown there, and "?" here: they are not UTF-8'],
    [sub { $_ = join "\n", map { substr $_, 0, 700 } split /\n/ }, 'long lines are cut at another length'],
);
# Not compared, or not generated, because these differ:
# - What was answered before an error ended the command: there it may not have been written yet.
# - Text behind a NUL in a line: whether it counts for "is this UTF-8" differs there from place to place.
# - An empty key asked of an lmdb table: an error of LMDB's there, not found here.
# - A directory as source: an empty table there, refused here.
# - Group numbers beyond 32 bits in a result, which wrap around there.
# - /path:with:colons without a type is a path here, and an unknown type there.
# - What a pcre pattern exceeds (match limit) is "not found" there, and an error here.
# - environ can be listed and deleted from here, cdb listed, added to and deleted from; debug and -j are newer than 3.7.
# - "{...}", "type:" and misspelt types: here with a hint, or another one; what an unreadable or foreign file is, in words of the library there.
# - -v says nothing here.  -s without a table ends in silence there.
# - Root adds to and deletes from a table with the rights of its owner (-o: with root's); there with its own.  What is rebuilt is who built it's, not the old one's owner's.
# - A source that is closed to others closes the table that is rebuilt, which keeps its mode there.
# - -i that makes a table gives it the mode of the source beside it, if there is one: 0644 there.
# - A table's file that is a symbolic link is replaced here, and written through there: a link must not lead us to another file.  Junk in the place of an lmdb file is replaced too.
# - -d of several tables changes all or none; there those before the one that fails are changed.
# - proxy: is the table itself here; there a command asks the proxymap that runs.
# - -F: content with a NUL in it is cut there; a missing file in a table that is not built is said when its key is asked, there when the table is opened.
# - A NUL in what tcp, socketmap or sqlite answer ends the value there.  A CR before the line end of tcp belongs to the value there.
# - sqlite: a statement that writes is refused here; a negative expansion_limit too; a database that cannot be asked is a failure of the look-up, there of the program.

# ---- running both ----

# Output of a command in the work directory, with that input: (status, stdout, stderr).
sub run {
    my ($who, $at, $in, $tool, @args) = @_;
    Posthorn::spew("$at.in", $in);
    my $pid = fork // die;
    if (!$pid) {
        chdir $at or die;
        open STDIN, '<', "$at.in" or die;
        open STDOUT, '>', "$at.out" or die;
        open STDERR, '>', "$at.err" or die;
        $ENV{MAIL_CONFIG} = "$dir/$who";
        $ENV{LD_LIBRARY_PATH} = $lib if $who eq 'debian';
        exec { $who eq 'debian' ? "$root/usr/sbin/$tool" : "$Posthorn::inst/sbin/$tool" } $tool, @args or POSIX::_exit(127);
    }
    waitpid $pid, 0;
    my $failed = $?;
    my ($out, $err) = map { Posthorn::slurp("$at.$_") } qw(out err);
    $out =~ s/^YP_LAST_MODIFIED(:?)\t\d{10}$/YP_LAST_MODIFIED$1\tNOW/mg;
    $out = join "\n", sort split /\n/, $out if grep { /^-\w*s$/ } @args;      # a table has an order of its own
    for my $k (@known) { $k->[0]->() for $err }
    return ($failed & 127 ? "signal " . ($failed & 127) : $failed >> 8, $out, $err);
}

# One batch: { kind, files => { name => text }, commands => [[input, tool, arguments] ...] }.  What differs, as text.
sub compare {
    my ($batch, $n) = @_;
    my (%got, @wrong);
    for my $who (qw(debian ours)) {
        my $at = "$dir/work$n.$who";
        make_path($at);
        for my $f (keys %{ $batch->{files} }) {
            Posthorn::spew("$at/$f", $batch->{files}{$f});
            utime time - 1000, time - 1000, "$at/$f";       # theirs reads a file that is being written again and again
        }
        for my $c (@{ $batch->{commands} }) {
            push @{ $got{$who} }, [run($who, $at, @$c)];
        }
        push @{ $got{$who} }, [0, join(' ', map { sprintf '%s %o', m{([^/]+)$}, (stat)[2] & 07777 } sort glob "$at/*"), ''];
        remove_tree($at);
        unlink "$at.in", "$at.out", "$at.err";
    }
    for my $i (0 .. @{ $batch->{commands} }) {
        my $what = join ' ', @{ $batch->{commands}[$i] || [undef, 'files'] }[1 .. $#{ $batch->{commands}[$i] || [0, 0] }];
        for my $part (0 .. 2) {
            my ($theirs, $ours) = map { $got{$_}[$i][$part] } qw(debian ours);
            next if $theirs eq $ours;
            # Theirs loses what it has not written when it ends with an error.
            next if $part == 1 && $got{debian}[$i][2] =~ /: fatal: / && $got{ours}[$i][2] =~ /: fatal: / && index($ours, $theirs) == 0;
            my (%t, %o);
            $t{$_}++ for split /\n/, $theirs;
            $o{$_}++ for split /\n/, $ours;
            my @d = ((map { "  theirs: $_" } grep { !$o{$_} } split /\n/, $theirs), (map { "  ours:   $_" } grep { !$t{$_} } split /\n/, $ours));
            push @wrong, "$what: " . (qw(status output words))[$part], @d ? @d[0 .. ($#d < 19 ? $#d : 19)] : '  (the order)';
        }
    }
    return join '', map { s/[^ -~]/sprintf '\\x%02x', ord $&/ger . "\n" } @wrong;
}

# ---- batches ----

my @types = ('hash', 'btree', grep { $plugin{$_} } qw(cdb lmdb));
my $serial = 0;
sub indexed {
    my $type = one(@types);
    my @names = map { 'm' . $serial++ } 1 .. $each;
    my %files = map { $_ => source(\&map_entry, 12) } @names;
    my @o = number(3) ? () : map { one(qw(-f -w -r -o -p -n -N -u)) } 1 .. 1 + number(2);
    my @q = grep { /^-[fu]$/ } @o;
    my $keys = keys_of($type, values %files);
    my @all = map { "$type:$_" } @names;
    my @c = (['', 'postmap', @o, @all], [$keys, 'postmap', @q, '-q', '-', 'unionmap:{' . join(',', @all) . '}'], [$keys, 'postmap', @q, '-q', '-', @all]);
    push @c, map { ['', 'postmap', '-s', "$type:$_"] } @names[0 .. 2] if $type ne 'cdb';
    if ($type ne 'cdb' && number(3) == 0) {
        push @c, [source(\&map_entry, 6), 'postmap', '-i', @o, $all[0]], [$keys, 'postmap', @q, '-d', '-', $all[0], $all[1]], map { ['', 'postmap', '-s', $_] } @all[0, 1];
    }
    return { kind => $type, files => \%files, commands => \@c, tables => scalar @names };
}
sub memory {
    my ($type) = @_;
    my @names = map { 'm' . $serial++ } 1 .. $each;
    my %entry = (texthash => \&map_entry, cidr => \&cidr_rule, regexp => \&rule, pcre => \&rule);
    my %files = map { $_ => source($entry{$type}, 14) } @names;
    my @o = number(4) ? () : one(['-f'], ['-u'], ['-fu']);
    @o = @{ $o[0] } if @o;
    my $keys = keys_of($type, values %files);
    my @all = map { "$type:$_" } @names;
    my @c = ([$keys, 'postmap', @o, '-q', '-', 'unionmap:{' . join(',', @all) . '}'], [$keys, 'postmap', @o, '-q', '-', @all]);
    push @c, map { ['', 'postmap', @o, '-s', $_] } @all[0, 1] if $type eq 'texthash';
    return { kind => $type, files => \%files, commands => \@c, tables => scalar @names };
}
sub aliases {
    my $type = one('hash', 'btree', $plugin{lmdb} ? 'lmdb' : ());
    my @names = map { 'm' . $serial++ } 1 .. $each;
    my %files = map { $_ => source(\&alias_entry, 12) } @names;
    my @o = number(3) ? () : one(qw(-f -w -r -o -p -n -N -u));
    my @q = grep { /^-[fu]$/ } @o;
    my $keys = keys_of($type, values %files);
    my @all = map { "$type:$_" } @names;
    my @c = (['', 'postalias', @o, @all], [$keys, 'postalias', @q, '-q', '-', 'unionmap:{' . join(',', @all) . '}'], map { ['', one('postalias', 'postmap'), '-s', "$type:$_"] } @names[0 .. 3]);
    return { kind => 'aliases', files => \%files, commands => \@c, tables => scalar @names };
}
sub command_line {
    my @t = map { table(0) =~ s{w{20,}}{www}gr } 1 .. 4;
    my $keys = join '', map { "$_\n" } 'a', 'b', 'A', 'joe', '"a b"', 'a b', 'a\\ b', 'c', '1.2.0.1', '2001:db8::1', '::1', map { key() =~ s/\n//gr } 1 .. 3;
    return { kind => 'command line', files => { F => "a b\n" }, commands => [map { [$keys, 'postmap', (number(8) ? () : one('-f', '-u')), '-q', '-', $_] } @t], tables => scalar @t };
}

my @makers = (\&indexed, \&indexed, \&indexed, (map { my $t = $_; sub { memory($t) } } 'texthash', 'regexp', $plugin{pcre} ? 'pcre' : (), 'cidr'), \&aliases, \&aliases, \&command_line, \&command_line, \&command_line, \&command_line);
my (@batches, $tables);
while (($tables // 0) < $count) {
    my $b = $makers[@batches % @makers]->();
    push @batches, $b;
    $tables += $b->{tables};
}
my $workers = 8;             # an error that ends a command costs a second of sleep, there and here
my @pids = map {
    my $w = $_;
    Posthorn::child(sub {
        for (my $i = $w; $i < @batches; $i += $workers) { Posthorn::spew("$dir/result$i", compare($batches[$i], $i)) }
    });
} 0 .. $workers - 1;
waitpid $_, 0 for @pids;
for my $i (0 .. $#batches) {
    my $wrong = -e "$dir/result$i" ? Posthorn::slurp("$dir/result$i") : 'it was not compared';
    ok($wrong eq '', "batch $i: $batches[$i]{kind}") and next;
    diag $wrong;
    next unless $ENV{KEEP};
    make_path("$ENV{KEEP}/$i");
    Posthorn::spew("$ENV{KEEP}/$i/$_", $batches[$i]{files}{$_}) for keys %{ $batches[$i]{files} };
}
cmp_ok($tables, '>=', $count, "$tables tables were compared");
done_testing;
