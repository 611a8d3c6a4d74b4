# postconf -e -X -#: the edits of main.cf, each beside Debian's postconf when that
# can be had; and what holds for ours: nothing but the entry changes, all or nothing.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Fcntl qw(:flock);
use File::Temp ();
use Posthorn;
use Test::More;

my $dir = File::Temp->newdir('posthorn-edit-XXXXXX', TMPDIR => 1);
my $self = bless { tmp => "$dir" }, 'Posthorn';
my @peer = Posthorn::postfix_tool('postconf');
delete $ENV{MAIL_CONFIG};
diag('Debian\'s postfix cannot be had: no comparison') unless @peer;

# (standard output and error, status) of a postconf in $dir.
sub with {
    my ($command, @args) = @_;
    my $out = $self->run(@$command, '-c', "$dir", @args);
    my $rc = $? >> 8;
    $out =~ s{^\S*/postconf: }{postconf: }mg;
    return ($out, $rc);
}
sub postconf { return with([Posthorn->sbin('postconf')], @_) }
sub main_cf { my ($text) = @_; Posthorn::spew("$dir/main.cf", $text); return utime(time - 3600, time - 3600, "$dir/main.cf") }

my $stock = <<'CF';
# top
a = 1
# c
  2

   3
name=x.test
name = y.test
mydestination =
  a,
 # in
  b
# end
CF
my @edits = (
    ['a value, one that is new and given twice', $stock, '-e', 'mydestination = new   value ', 'zz=1', 'zz=3'],
    ['an entry that stands twice', $stock, '-e', 'name = z'],
    ['an empty value', $stock, '-e', 'a=', 'z ='],
    ['-e is implied', $stock, 'a=$b ${c?{d}} # not a comment'],
    ['a value with = in it', $stock, '-e', 'a = b=c'],
    ['the option behind -p', $stock, '-p', '-e', 'a=2'],
    ['comment out', $stock, '-#', 'mydestination', 'nosuch'],
    ['comment out what stands twice', $stock, '-#', 'name'],
    ['remove', $stock, '-X', 'mydestination', 'nosuch'],
    ['remove what stands twice', $stock, '-X', 'name', 'a'],
    ['a broken line', "foo bar\nfoo\n  x\nb = 1\n", '-e', 'b=2'],
    ['a broken line of that name', "foo bar\nfoo\n  x\nb = 1\n", '-e', 'foo=3'],
    ['a first line that begins with a blank', "  lead\na = 1\n", '-X', 'a'],
    ['CR at the end of lines', "a= 1\r\n  2\r\n# c\r\nd=1\r\n", '-e', 'a=4'],
    ['blank lines with blanks', "a = 1\n \t\n  2\n \n", '-e', 'a=4'],
    ['a comment that begins with blanks', "  # c\na = 1\n    # d\n 2\n", '-e', 'a=4'],
    ['the same twice', $stock, '-e', 'a=5', 'a=5'],
    ['blanks around a name to remove', $stock, '-X', ' a ', 'name'],
    ['blanks around a name to comment out', $stock, '-#', 'a ', 'name'],
    ['nothing to remove', $stock, '-X', ' '],
    ['nothing to comment out', $stock, '-#', ''],
    ['blanks', $stock, '-e', '   '],
    ['blanks before and behind', $stock, '-e', '  a  '],
    ['-T twice', $stock, '-T', 'run-version', '-T', 'x'],
    ['two files of templates', $stock, '-t', 'a', 'b'],
    ['no =', $stock, '-e', 'a'],
    ['no = behind the name', $stock, '-e', 'a b = c'],
    ['no name', $stock, '-e', '=x'],
    ['nothing', $stock, '-e', ''],
    ['a comment', $stock, '-e', '#a=b'],
    ['a comment to remove', $stock, '-X', '#a'],
    ['two lines', $stock, '-e', "a=b\nc=d"],
    ['remove with a value', $stock, '-X', 'a=b'],
    ['comment out with a value', $stock, '-#', 'a=b'],
    ['-e without arguments', $stock, '-e'],
    ['-X without arguments', $stock, '-X'],
    (map { ["options @$_ do not go together", $stock, @$_, 'a=b'] } ['-e', '-n'], ['-d'], ['-e', '-f'], ['-x'], ['-h'], ['-H'], ['-o', 'c=d']),
    (map { ["options @$_ do not go together", $stock, @$_, 'a'] } ['-X', '-#'], ['-X', '-n'], ['-#', '-x'], ['-e', '-X'], ['-h', '-H'], ['-d', '-n'],
        ['-d', '-o', 'a=b'], ['-M', '-F'], ['-M', '-P'], ['-p', '-P'], ['-m', '-l'], ['-b', '-t'], ['-M', '-n'], ['-M', '-h'], ['-P', '-d'], ['-P', '-#'],
        ['-F', '-X'], ['-F', '-#'], ['-m', '-x'], ['-a', '-e'], ['-l', '-h'],
        # Which of several is told.
        ['-d', '-n', '-X'], ['-n', '-f', '-X'], ['-x', '-h', '-#'], ['-d', '-h', '-H'], ['-F', '-n', '-#'], ['-d', '-M', '-h'], ['-m', '-f', '-H'], ['-A', '-d', '-x'], ['-T', 'run-version', '-f', '-n'],
        ['-d', '-n', '-o', 'c=d'], ['-m', '-M', '-p'], ['-b', '-t', '-M']),
    (map { ["options @$_ do not go together", $stock, @$_, 'a=b'] } ['-d', '-n'], ['-d', '-X'], ['-n', '-#'], ['-d', '-M'], ['-n', '-F'], ['-X', '-F'], ['-h', '-H'], ['-x', '-o', 'c=d'], ['-d', '-h', '-H']),
);
# A failure takes its second, so all run at once, each in a directory of its own.
sub act {
    my ($n, $command, $text, @args) = @_;
    my $sub = "$dir/" . (@$command > 1 ? 'theirs' : 'ours') . $n;
    mkdir $sub or die "$sub: $!";
    Posthorn::spew("$sub/main.cf", $text);
    Posthorn::spew("$sub/master.cf", '');
    Posthorn::spew("$sub/master.yaml", "format: 1\nservices: []\n");
    utime time - 3600, time - 3600, "$sub/main.cf", "$sub/master.cf";
    my $out = $self->run(@$command, '-c', $sub, @args);
    Posthorn::spew("$sub/out", $? >> 8, ' ', $out =~ s{^\S*/postconf: }{postconf: }mgr =~ s{\Q$sub\E}{DIR}gr);
}
my @running;
for my $n (0 .. $#edits) {
    my ($name, @case) = @{ $edits[$n] };
    push @running, map { my $c = $_; Posthorn::child(sub { act($n, $c, @case) }) } [Posthorn->sbin('postconf')], @peer ? \@peer : ();
}
waitpid $_, 0 for @running;
for my $n (0 .. $#edits) {
    my ($name, $text) = @{ $edits[$n] };
    my ($out, $now) = map { Posthorn::slurp("$dir/ours$n/$_") } 'out', 'main.cf';
    isnt("$out$now", "0 $text", "$name: something is done or said");
    is($now, $text, "$name: what fails changes nothing") if $out !~ /^0/;
    next unless @peer;
    is($now, Posthorn::slurp("$dir/theirs$n/main.cf"), "$name: the file as with Postfix");
    is($out, Posthorn::slurp("$dir/theirs$n/out"), "$name: the words too");
}

# Debian's appends to a last line that has no end; we do not.
main_cf('a = 1');
postconf('-e', 'b=2');
is(Posthorn::slurp("$dir/main.cf"), "a = 1\nb = 2\n", 'a last line without its end');

# Names that are given twice to -X and -# end Debian's with signal 11; what follows a NUL is lost there, and kept here.
main_cf("a = 1\nb = 2\nc = 3\0 4\n");
is((postconf('-X', 'a', 'a'))[1], 0, 'a name twice');
is(Posthorn::slurp("$dir/main.cf"), "b = 2\nc = 3\0 4\n", 'goes once');
main_cf('a = 1');
postconf('-e', 'b=2');

# It leaves new ones in the order of its hash table.
postconf('-e', 'z=1', 'e=1', 'm=1');
is(Posthorn::slurp("$dir/main.cf"), "a = 1\nb = 2\ne = 1\nm = 1\nz = 1\n", 'new entries go to the end, by name');

chmod 0640, "$dir/main.cf";
chown 1, 1, "$dir/main.cf" if $> == 0;
my @before = (stat "$dir/main.cf")[2, 4, 5];
postconf('b=3');
is_deeply([(stat "$dir/main.cf")[2, 4, 5]], \@before, 'mode and owner stay');
ok(!-e "$dir/main.cf.tmp", 'and nothing else stays');

mkdir "$dir/real" or die;
rename "$dir/main.cf", "$dir/real/main.cf" or die;
symlink 'real/main.cf', "$dir/main.cf" or die;
postconf('b=4');
ok(-l "$dir/main.cf", 'a symbolic link stays');
like(Posthorn::slurp("$dir/real/main.cf"), qr/^b = 4$/m, 'and its file is edited');
unlink "$dir/main.cf";
main_cf("a = 1\n");

# Twenty editors at once, and one who holds the lock as Postfix's tools do.
open my $lock, '>', "$dir/main.cf.tmp" or die;
flock $lock, LOCK_EX or die;
my @pids = map { my $n = $_; Posthorn::child(sub { my ($out, $rc) = postconf("n$n=$n"); $rc }) } 1 .. 20;
my $inode = (stat $lock)[1];
ok(Posthorn::wait_for(sub { 20 == grep { /-> FLOCK .*:$inode / } split /\n/, Posthorn::slurp('/proc/locks') }, 20), 'editors wait for the lock');
is(Posthorn::slurp("$dir/main.cf"), "a = 1\n", 'and do nothing meanwhile');
flock $lock, LOCK_UN;
waitpid $_, 0 for @pids;
is(join(' ', sort { $a <=> $b } Posthorn::slurp("$dir/main.cf") =~ /^n(\d+) = \1$/mg), join(' ', 1 .. 20), 'of 20 at once each has its turn');

unlink "$dir/main.cf";
my ($out, $rc) = postconf('-e', 'a=b');
is("$rc $out", "1 postconf: fatal: open $dir/main.cf for reading: No such file or directory\n", 'no main.cf');
symlink '/etc/passwd', "$dir/main.cf.tmp" or die;
main_cf("a = 1\n");
($out, $rc) = postconf('-e', 'a=b');
is($rc, 1, 'a link in the place of the new file is not followed');
is(Posthorn::slurp("$dir/main.cf"), "a = 1\n", 'and the old one stays');
done_testing;
