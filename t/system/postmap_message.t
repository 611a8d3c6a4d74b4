#!/usr/bin/perl
# postmap with a message as its keys (-b -h -m), beside Debian's Postfix; values
# that are files (-F).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use MIME::Base64;
use Posthorn;
use Test::More;

my $ph = Posthorn->new;
my $dir = $ph->{tmp};
my $tool = [Posthorn::postfix_tool('postmap')];
Posthorn::spew("$dir/all", "/^(.*)/ <\$1>\n");
mkdir "$dir/conf";
Posthorn::spew("$dir/conf/main.cf", "compatibility_level = 3.7\nmail_owner = news\nsetgid_group = uucp\n");
$tool = [] unless defined getpwnam('news') && defined getgrnam('uucp');

my %message = (
    'a multipart in a multipart' => <<'END',
From: a@b
Subject: one
 two
Content-Type: multipart/mixed; charset=x; boundary="x;x"

preamble
--x;x
Content-Type: text/plain
X-Part: 1

body: one
--x;x
Content-Type: message/rfc822

Subject: inner
To: x

inner body
--x;x
Content-Type: multipart/alternative; boundary=yy

--yy

part a
--yyz
Content-Type: text/html

part b
--yy--
epi: inner
--x;x--
epi: logue
END
    'no MIME' => "Subject: x\n\nName: no header\n--x\nName: none\n",
    'no empty line' => "Subject: x\nnot a header\nTo: y\n\nrest\n",
    'headers only' => "Subject: x\nTo: y\n z\n",
    'body only' => "\nbody\n",
    'nothing' => '',
    'a part that ends in its headers' => "Content-Type: multipart/mixed; boundary=q\n\n--q\nX: 1\n--q\nX: 2\n\nt\n--q--\n",
    'a message within a message' => "Content-Type: message/rfc822\n\nContent-Type: message/rfc822\n\nSubject: deep\n\ntext\n",
    'boundary without quotes and comment' => "Content-Type: multipart/mixed (c); boundary=b1 ; x=y\n\n--b1\nA: b\n\nc\n--b1--\n",
    'a boundary that is a prefix' => "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=ab\n\n--ab\nX: 1\n\n--ab--\n--a--\nend\n",
    'CR LF: the CR is in the key' => "Subject: x\r\n y\r\nContent-Type: multipart/mixed; boundary=q\r\n\r\n--q\r\nX: 1\r\n\r\nt\r\n--q--\r\n",
    'blanks before a colon' => "To :b\nX\t: c\n: d\nY: e\n\n", 'a name that is no ASCII' => "A: x\nX\xc3\xa9: y\nB: z\n\n", 'NUL' => "A: b\0c\n d\nB: x\n\nx\0y\n\0\n",
    'a long header' => 'X: ' . 'a' x 102396 . "\n more\n even\nY: z\n\n", 'a long boundary' => 'Content-Type: multipart/mixed; boundary=' . 'q' x 3000 . "\n\n--" . 'q' x 3000 . "\nX: 1\n\n--" . 'q' x 2048 . "\nX: 2\n\n--" . 'q' x 2047 . "\nX: 3\n\n",
    'comments in Content-Type' => "Content-Type: (a)multipart (b;\n boundary=z)/ mixed (c \\) (d)); (x) boundary=(y)b\n\n--b\nX: 1\n\nt\n--b--\n--z\nX: 2\n\n",
    'Content-Type again' => "Content-Type: multipart/mixed; boundary=a; boundary=b\nContent-Type: text/plain\n\n--a\nX: 1\n\nt\n--b\nY: 2\n\nu\n--a--\n",
    'two boundaries' => "Content-Type: multipart/mixed; boundary=a\nContent-Type: multipart/mixed; boundary=b\n\n--a\nX: 1\n\n--b\nX: 2\n\n--a\nX: 3\n\n--b--\nX: 4\n--a--\n--b\nX: 5\n",
    'a folded boundary' => "Content-Type: multipart/mixed; boundary=\"a\n b\\\"\"\n\n--a b\"\nX: 1\n\nt\n", 'too deep' => join('', map { "Content-Type: multipart/mixed; boundary=b${_}z\n\n--b${_}z\n" } 0 .. 110), 'a digest' => "Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: in\n\nt\n--b\nX: 1\n\nSubject: in\n\nt\n--b\nContent-Type: text/plain\n\nSubject: no\n--b--\n",
    (map { $_ => "Content-Type: $_\n\n--b\nX: 1\n\nt\n--b--\n" } 'multipart; boundary=b', 'multipart/mixed boundary=b', 'multipart/mixed;;boundary=b', 'multipart/mixed; a/boundary=b', 'multipart/mixed; boundary==b', 'multipart/mixed; x="boundary=z"; boundary=b; y', 'message/x; boundary=b', 'multipart/mixed; boundary="b'),
    'a part without an empty line' => "Content-Type: multipart/mixed; boundary=q\n\n--q\nX: 1\nno header\nX: 2\n--q--\n",
);
for my $name (sort keys %message) {
    Posthorn::spew("$dir/message", $message{$name});
    for my $o (qw(-b -h -bh -bm -hm -bhm)) {
        my $ours = $ph->run_in($message{$name}, $ph->sbin('postmap'), '-c', $ph->dir, $o, '-q', '-', "regexp:$dir/all") . $?;
        SKIP: {
            skip 'no Postfix to compare with', 1 unless @$tool;
            my $theirs = $ph->run_in($message{$name}, @$tool, '-c', "$dir/conf", $o, '-q', '-', "regexp:$dir/all") . $?;
            is($ours, $theirs, "$name: $o");
        }
    }
}
is($ph->run_in($message{'no MIME'}, $ph->sbin('postmap'), '-c', $ph->dir, '-hj', '-q', '-', "regexp:$dir/all"), qq({"Subject: x": "<Subject: x>"}\n), 'as JSON');
is($ph->run_in("Subject: \xff\n\n", $ph->sbin('postmap'), '-c', $ph->dir, '-h', '-q', '-', "regexp:$dir/all"), "Subject: \xff\t<Subject: \xff>\n", 'any bytes');
$ph->set(smtputf8_enable => 'yes');
like($ph->run_in("Subject: \xff\n\n", $ph->sbin('postmap'), '-c', $ph->dir, '-hU', '-q', '-', "regexp:$dir/all"), qr/^postmap: warning: .*UTF-8/, '-U: only UTF-8');
for my $bad (['-b', '-q', 'x'], ['-h', '-s'], ['-m', '-d', '-'], ['-b']) {
    like($ph->cmd('postmap', @$bad, "regexp:$dir/all"), qr/fatal: specify -b -h or -m only with "-q -"/, "postmap @$bad");
    is($? >> 8, 1, 'status 1');
}
like($ph->run_in("x\n", $ph->sbin('postmap'), '-c', $ph->dir, '-m', '-q', '-', "regexp:$dir/all"), qr/warning: ignoring -m option without -b or -h\nx\t<x>\n/, '-m alone');

# -F
my %file = (one => "first\n", two => "\0bin\xff", three => '');
Posthorn::spew("$dir/$_", $file{$_}) for keys %file;
Posthorn::spew("$dir/map", "a $dir/one\nb $dir/one, $dir/two\nc $dir/three $dir/two\n");
is($ph->cmd('postmap', '-F', "hash:$dir/map"), '', '-F builds');
for my $case (['a', 'first' . "\n"], ['b', "first\n\n\0bin\xff"], ['c', "\n\0bin\xff"]) {
    my ($key, $want) = @$case;
    is($ph->cmd('postmap', '-F', '-q', $key, "hash:$dir/map"), "$want\n", "-F -q $key: the content");
    is($ph->cmd('postmap', '-q', $key, "hash:$dir/map"), encode_base64($want, '') . "\n", 'which is stored as base64');
}
like($ph->cmd('postmap', '-F', '-s', "hash:$dir/map"), qr/^a\tfirst\n$/m, '-F -s');
SKIP: {
    skip 'no Postfix to compare with', 1 unless @$tool;
    is($ph->run(@$tool, '-c', "$dir/conf", '-F', '-q', 'a', "hash:$dir/map"), "first\n\n", 'Postfix reads it');
}
Posthorn::spew("$dir/bad", "a $dir/one\nb $dir/nosuch\n");
like($ph->cmd('postmap', '-F', "hash:$dir/bad"), qr{warning: \Q$dir\E/bad, line 2: open \Q$dir\E/nosuch: No such file or directory: skipping this entry}, 'a file that is missing');
is($? >> 8, 0, 'is no error, as with Postfix');
is($ph->cmd('postmap', '-F', '-q', 'a', "hash:$dir/bad"), "first\n\n", 'and the other entry is in the table');
Posthorn::spew("$dir/plain", "a not-base64\n");
$ph->cmd('postmap', "hash:$dir/plain");
like($ph->cmd('postmap', '-F', '-q', 'a', "hash:$dir/plain"), qr/warning: table hash:\S+: key a: malformed BASE64 value: not-base64\n.*fatal: table hash:\S+: query error/s, 'a table made without -F');
like($ph->cmd('postalias', '-F', "hash:$dir/plain"), qr/fatal: usage: postalias/, 'not for postalias');
done_testing();
