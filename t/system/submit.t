# sendmail and postdrop up to the file in maildrop: no running system.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use File::Temp ();
use Posthorn;
use Test::More;

my $dir = File::Temp->newdir('posthorn-submit-XXXXXX', TMPDIR => 1);
my $self = bless { tmp => "$dir", dir => "$dir" }, 'Posthorn';
my $sbin = Posthorn->sbin('');
$sbin =~ s{/$}{};
delete $ENV{MAIL_CONFIG};
chmod 0755, "$dir";
mkdir "$dir/$_" for qw(queue queue/maildrop queue/public);
Posthorn::spew("$dir/main.cf", "queue_directory = $dir/queue\ncommand_directory = $sbin\nmyhostname = here.test\n"
    . "message_size_limit = 100000\nsmtputf8_enable = yes\nmaillog_file = $dir/log\n");
Posthorn::spew("$dir/log", '');

sub files { return sort glob "$dir/queue/maildrop/*" }

# Send; the one new file's text, which is then removed.
sub sent {
    my ($in, @args) = @_;
    my $said = $self->sendmail($in, @args);
    my @new = files();
    is(scalar @new, 1, "sendmail @args: one file") or diag $said;
    return '' unless @new;
    my $text = Posthorn::slurp($new[0]);
    is((stat $new[0])[2] & 07777, 0744, 'which is marked ready');
    unlink @new;
    return $text;
}

sub refused {
    my ($re, $in, @args) = @_;
    my $said = $self->sendmail($in, @args);
    is($? >> 8, 75, "sendmail @args fails, as any failure of it does");
    like($said, $re, 'and says why');
    is_deeply([files()], [], 'and stores nothing');
    is_deeply([glob "$dir/queue/maildrop/.[a-z0-9]*"], [], 'not even half a file');
}

my $me = getpwuid($<);
my $text = sent("Subject: x\n\nhi\n.\nnot this\n", 'bob@example.com', 'carl@x, dora@y');
like($text, qr/^posthorn-maildrop 1\ntime \d+\nsender \Q$me\E\n/, 'the user is the sender');
like($text, qr/^rcpt bob\@example.com\nrcpt carl\@x\nrcpt dora\@y\n\n/m, 'recipients of the command line');
like($text, qr/data \d+\nSubject: x\n\nhi\nend\n\z/, 'the message ends at the dot');
like(sent("a\n.\nb", '-i', 'x@y'), qr/data 5\na\n.\nbend\n\z/, '-i: a dot is a dot');
like(sent("a\n.\nb", '-oi', 'x@y'), qr/data 5\n/, '-oi');
like(sent("a\n", '-f', 'list-bounces@x', '-F', 'The List', 'y@z'), qr/sender list-bounces\@x\nfull_name The List\n/, '-f and -F');
like(sent("a\n", '-f', '<>', 'y@z'), qr/^sender \n/m, '-f <>');
like(sent("a\n", '-N', 'success,delay', '-R', 'hdrs', '-V', 'ID1', 'y@z'),
    qr/envelope_id ID1\nret HDRS\nrcpt y\@z\nnotify SUCCESS,DELAY\n/, '-N -R -V');
like(sent("a\n", '-odb', '-oem', '-m', '-h', '5', '-B8BITMIME', 'y@z'), qr/^body 8BITMIME$/m, 'options of old');
for my $old (['-Am'], ['-Ac'], ['-bm'], ['-c'], ['-e', 'q'], ['-L', 'tag'], ['-O', 'Mode=b'], ['-o7'], ['-o8'], ['-om'],
             ['-oQ/tmp'], ['-p', 'x'], ['-U'], ['-x'], ['-N', 'x'], ['-R', 'x'], ['-Nnever,success'], ['-q5m']) {
    like(sent("a\n", @$old, 'y@z'), qr/rcpt y\@z\n\n/, "option @$old changes nothing");
}
like(sent("a\n", '-r', 'z@z', 'y@z'), qr/sender z\@z\n/, '-r is -f');
like(sent("a\n", '-G', 'y@z'), qr/^context remote$/m, '-G');
like(sent("a\n", '-O', 'smtputf8=yes', 'y@z'), qr/^smtputf8 1$/m, '-O smtputf8=yes');
unlike(sent("a\n", 'y@z'), qr/^trace/m, 'no report without a word');
like(sent("a\n", '-v', 'y@z'), qr/^trace record$/m, '-v: a report is wanted');
like(sent("not read\n", '-bv', 'y@z'), qr/^trace verify\nrcpt y\@z\n\nend\n\z/m, '-bv: recipients and no message');
like($self->sendmail("a\n", '-v', '-f', 'me@here', 'y@z'), qr/^Mail Delivery Status Report will be mailed to <me\@here>\.$/m, 'which is said');
unlink files();
{
    local $ENV{NAME} = 'Env Name';
    like(sent("a\n", 'y@z'), qr/^full_name Env Name$/m, '$NAME');
}
like(sent("a\n", '--', '-f@dash.test'), qr/^rcpt -f\@dash\.test$/m, '-- ends the options');
is_deeply([sent("a\n", '-f', 'bad address <', 'y@z') =~ /^sender .+$/m ? 1 : 0], [1], 'a malformed -f is only warned about');
{
    my $save = $self->{dir};
    local $self->{dir} = "$save/main.cf";
    like(sent("a\n", 'y@z'), qr/^rcpt y\@z$/m, '-C main.cf');
}

# line ends
my %ends = (always => ["a\r\nb\n", "a\r\nb\n"], never => ["a\r\nb\n", "a \nb\n"], strict => ["a\nb\r\n", "a\nb \n"]);
for my $how (sort keys %ends) {
    my $cf = Posthorn::slurp("$dir/main.cf");
    Posthorn::spew("$dir/main.cf", $cf . "sendmail_fix_line_endings = $how\n");
    like(sent("Subject: x\n\n", 'y@z'), qr/Subject: x\n\n/, "sendmail_fix_line_endings = $how");
    like(sent($ends{$how}[0], 'y@z'), qr/data \d+\n\Q$ends{$how}[1]\Eend\n/, 'line ends') unless $how eq 'strict';
    like(sent("S: x\n\n$ends{$how}[0]", 'y@z'), qr/S: x\n\n\Q$ends{$how}[1]\Eend\n/, 'line ends behind a first LF');
    Posthorn::spew("$dir/main.cf", $cf);
}

$text = sent("From: me\nTo: a\@b, \"C, D\" <c\@d>,\n\t(comment) e\@f\nBcc: g\@h\nX-To: no\@x\nSubject: q\n\nTo: no\@body\n", '-t', 'cmd@line');
is_deeply([$text =~ /^rcpt (.*)$/mg], [qw(cmd@line a@b c@d e@f g@h)], '-t: recipients of the headers and of the command line');
like($text, qr/^Bcc: g\@h$/m, 'headers stay for cleanup');
$text = sent("To: a\@x, \"b\@c d\", e\@y\nCc: f\@x, g\@x:25, h\@y\nBcc: i j \"k\n\nx\n", '-t');
is_deeply([$text =~ /^rcpt (.*)$/mg], ['a@x', '"b@c d"', 'e@y', 'f@x', 'g@x:25, h@y', 'i j "k'], '-t: what is no address is a recipient that will bounce, too');
$text = sent("To: a\@b\nResent-To: r\@s\nResent-Cc: t\@u\n\nx\n", '-t');
is_deeply([$text =~ /^rcpt (.*)$/mg], [qw(r@s t@u)], '-t: Resent- fields alone count');
like(sent("From me Tue\n>>From me Mon\nTo: a\@b\n\nx\n", '-t'), qr/\nTo: a\@b\n/, 'lines of a mailbox file before the headers ...');
unlike(sent("From me Tue\n>>From me Mon\nTo: a\@b\n\nx\n", '-t'), qr/From me/, '... are no part of the message');
my $long = 'x' x 90000;
ok(sent("To: a\@b\n\n$long\n", '-t') =~ s/data \d+\n//gr =~ /\Q$long\E/, 'a long line stays whole');

refused(qr/fatal: \Q$me\E\($<\): Recipient addresses must be specified/, "x\n");
refused(qr/fatal: \Q$me\E\($<\): No recipient addresses found in message header/, "Subject: x\n\nTo: a\@b\n", '-t');
for my $bad (['-d'], ['-z'], ['-Z'], ['-D'], ['-1']) {
    refused(qr/sendmail: fatal: usage: /, "x\n", @$bad, 'a@b');
}
refused(qr/fatal: -n option not supported/, "x\n", '-n', 'a@b');
refused(qr/fatal: unsupported: -bz/, "x\n", '-bz', 'a@b');
refused(qr/fatal: unsupported: -Xl/, "x\n", '-Xlog', 'a@b');
refused(qr/fatal: -V requires two characters from -=\+/, "x\n", '-XVx', 'a@b');
refused(qr/fatal: -B option needs 8BITMIME or 7BIT/, "x\n", '-Bother', 'a@b');
refused(qr/fatal: -qX is not implemented/, "x\n", '-qX');
refused(qr/fatal: specify: -qRsitename/, "x\n", '-qR');
refused(qr/fatal: -oA requires pathname/, "x\n", '-oA', '-bi');
refused(qr/fatal: display queue mode requires no recipient/, '', '-bp', 'a@b');
refused(qr/fatal: flush queue mode requires no recipient/, '', '-q', 'a@b');
refused(qr/fatal: alias initialization mode requires no recipient/, '', '-bi', 'a@b');
refused(qr/fatal: stand-alone mode requires no recipient/, '', '-bs', 'a@b');
refused(qr/fatal: -t can be used only in delivery mode/, '', '-bp', '-t');
refused(qr/fatal: -O requiretls=yes is not built yet/, "x\n", '-O', 'requiretls=yes', 'a@b');
refused(qr/fatal: bad address\(\d+\): Recipient addresses/, "x\n", '-f', 'bad address');
refused(qr/fatal: \Q$me\E\($<\): message file too big/, 'x' x 100001, 'a@b');
like(Posthorn::slurp("$dir/log"), qr{ postfix/postdrop\[\d+\]: fatal: message file too big$}m, 'the log has it');
like(Posthorn::slurp("$dir/log"), qr{ postfix/sendmail\[\d+\]: fatal: \Q$me\E\($<\): message file too big$}m, 'with the sender and his uid');
SKIP: {
    skip 'only root can become a user without a name', 3 if $<;
    Posthorn::spew("$dir/in", "x\n");
    my $out = $self->run('/usr/bin/perl', '-e', '$> = $< = 4242; exec @ARGV', $self->sbin('sendmail'), '-C', $self->dir, 'a@b');
    is($? >> 8, 75, 'a user without a login name');
    like($out, qr/fatal: no login name found for user ID 4242/, 'is refused');
    is_deeply([files()], [], 'and nothing is stored');
}

# -bs
my $out = $self->sendmail("EHLO x\r\nMAIL FROM:<a\@b> BODY=8BITMIME\r\nRCPT TO:<c\@d>\r\nDATA\r\nSubject: q\r\n\r\n..dot\r\n.\r\nNOOP\r\nQUIT\r\n", '-bs');
like($out, qr/^220 here.test ESMTP Posthorn\r\n250-here.test\r\n/, '-bs: greeting');
like($out, qr/^250 2.0.0 Ok: queued as [0-9A-Z]+\r\n250 2.0.0 Ok\r\n221 2.0.0 Bye\r\n\z/m, '-bs: stored, and goes on');
like(join('', map { Posthorn::slurp($_) } files()), qr/sender a\@b\nbody 8BITMIME\nrcpt c\@d\n\ndata \d+\nSubject: q\r\n\r\n.dot\r\nend\n\z/, '-bs: the message');
unlink files();
like($out, qr/^250-PIPELINING\r\n250-SIZE 100000\r\n250-VRFY\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250-DSN\r\n250 SMTPUTF8\r\n/m,
    '-bs: its keywords');
$out = $self->sendmail("MAIL FROM:<a\@b> SIZE=5 RET=hdrs ENVID=x+2By\r\nRCPT TO:<c\@d> notify=success,delay ORCPT=rfc822;q\@z\r\nDATA\r\nhi\r\n.\r\n", '-bs');
like(join('', map { Posthorn::slurp($_) } files()), qr/envelope_id x\+y\nret HDRS\nrcpt c\@d\nnotify SUCCESS,DELAY\norcpt rfc822;q\@z\n\n/, '-bs: DSN');
unlink files();
my @answers = ("MAIL FROM:<a\@b> SIZE=100001" => '552 5.3.4', "MAIL FROM:<a\@b> FOO=1" => '555 5.5.4', "MAIL FROM:<a\@b> ENVID=+" => '501 5.5.4',
    "RCPT TO:<a\@b>" => '503 5.5.1', "MAIL FROM:<>" => '250 2.1.0', "MAIL FROM:<>" => '503 5.5.1', "DATA" => '554 5.5.1', "RCPT TO:<>" => '501 5.5.4',
    "RCPT TO:<a\@b> NOTIFY=NEVER,SUCCESS" => '501 5.5.4', "RCPT TO:<a\@b> X=1" => '555 5.5.4', "RCPT TO:<a\@b>" => '250 2.1.5', "ETRN x" => '458',
    "VRFY root" => '252 2.0.0', "STARTTLS" => '502 5.5.2', "HELO" => '501 5.5.4', "RSET" => '250 2.0.0', "DATA" => '503 5.5.1', "QUIT" => '221 2.0.0');
my (@ask, @want);
while (my ($q, $a) = splice @answers, 0, 2) { push @ask, $q; push @want, $a }
my @got = split /\r\n/, $self->sendmail(join('', map { "$_\r\n" } @ask), '-bs');
is(shift @got, '220 here.test ESMTP Posthorn', '-bs: greeting');
for my $i (0 .. $#ask) { like($got[$i] // '', qr/^\Q$want[$i]\E /, "-bs: $ask[$i]") }
like($self->sendmail("MAIL FROM:<a\@b>\r\nRCPT TO:<c\@d>\r\nDATA\r\n" . 'x' x 100001 . "\r\n.\r\nNOOP\r\n", '-bs'),
    qr/^552 5\.3\.4 Error: message file too big\r\n250 2\.0\.0 Ok\r\n/m, '-bs: too big, and goes on');
is_deeply([files()], [], '-bs: nothing of it is stored');
$self->sendmail("EHLO x\r\nMAIL FROM:<a\@b>\r\nRCPT TO:<c\@d>\r\nDATA\r\nhalf\r\n", '-bs');
is_deeply([files()], [], '-bs: half a message is none');

# postdrop believes nobody.
my $head = "posthorn-maildrop 1\nsender a\nrcpt b\n";
for my $case (["$head\ndata 5\nhello", 0, qr/\A\z/, 'a message cut short is cancelled quietly'],
              ['', 0, qr/\A\z/, 'so is nothing'],
              ["$head" . "uid 0\n\nend\n", 65, qr/^error 65 malformed input: unexpected line/, 'an unknown line'],
              ["posthorn-maildrop 1\nsender a\n\nend\n", 70, qr/^error 70 no recipient/, 'no recipient'],
              ["$head\nend\nmore", 65, qr/^error 65 malformed input: text behind the end/, 'text behind the end']) {
    my ($in, $status, $re, $name) = @$case;
    like($self->run_in($in, Posthorn->sbin('postdrop'), '-r', '-c', "$dir"), $re, $name);
    is($? >> 8, $status, 'its status');
    is_deeply([files()], [], 'nothing is stored');
}
# The caller's clock does not count; a signal leaves nothing behind.
like($self->run_in("posthorn-maildrop 1\ntime 5\nsender a\nrcpt b\n\ndata 1\nx" . "end\n", Posthorn->sbin('postdrop'), '-r', '-c', "$dir"), qr/^ok \w+$/, 'a time of the caller');
my ($stored) = Posthorn::slurp((files())[0]) =~ /^time (\d+)$/m;
cmp_ok($stored, '>', time - 100, 'is replaced by ours');
unlink files();
for my $signal (qw(HUP INT QUIT TERM)) {
    pipe my $read, my $write or die;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open STDIN, '<&', $read;
        close $write;
        $SIG{$_} = 'DEFAULT' for qw(HUP INT QUIT TERM);     # a shell's background job ignores QUIT
        exec Posthorn->sbin('postdrop'), '-r', '-c', "$dir";
    }
    close $read;
    syswrite $write, "${head}\ndata 5\nhello";
    ok(Posthorn::wait_for(sub { my @half = glob "$dir/queue/maildrop/.[0-9]*"; @half == 1 }), "$signal: half a file");
    kill $signal, $pid;
    waitpid $pid, 0;
    isnt($?, 0, 'it ends');
    is_deeply([glob "$dir/queue/maildrop/* $dir/queue/maildrop/.[0-9]*"], [], 'and the file is gone');
}
{
    my $text = Posthorn::slurp("$dir/main.cf");
    Posthorn::spew("$dir/main.cf", $text . "command_directory = /nosuch\n");
    refused(qr/fatal: \Q$me\E\($<\): cannot run postdrop from command_directory/, "x\n", 'a@b');
    Posthorn::spew("$dir/main.cf", $text);
}
my $cf = Posthorn::slurp("$dir/main.cf");

# Who may submit: no table plugin is loaded for that.
sub with {
    my ($text, $code) = @_;
    Posthorn::spew("$dir/main.cf", $cf . $text);
    $code->();
    Posthorn::spew("$dir/main.cf", $cf);
}
Posthorn::spew("$dir/users", "# who\nnobody-else\n  , $me\n");
Posthorn::spew("$dir/table", "$me x\n");
for my $list ($me, "nobody-else, $me", "!nobody-else static:all", "$dir/users", "!!$me", "inline:{who-else=1, {$me = yes}}", "texthash:$dir/table") {
    with("authorized_submit_users = $list\n", sub { sent("x\n", 'a@b') });
}
for my $list ('nobody-else', '', "!$me, static:all", "!$dir/users static:all", 'inline:{who-else=1}') {
    with("authorized_submit_users = $list\n", sub {
        refused(qr/fatal: \Q$me\E\($<\): User \Q$me\E\($<\) is not allowed to submit mail/, "x\n", 'a@b');
    });
}
for my $list ("hash:$dir/table", "$dir/nosuch", '!', 'texthash:/nosuch', 'inline:x') {
    with("authorized_submit_users = $list\n", sub { refused(qr/fatal: .*authorized_submit_users: /, "x\n", 'a@b') });
}

# Which senders.
my $senders = "recipient_delimiter = +\nmyorigin = o.test\nlocal_login_sender_maps = inline:{who-else=*, { $me = Foo\@b.test, \@c.test, <>, me\@o.test } }\n";
for my $from ('foo@b.test', 'FOO+list@B.test', 'any@c.test', '<>', 'me') {
    with($senders, sub { sent("x\n", '-f', $from, 'a@b') });
}
for my $from ('fo@b.test', 'foo@x.b.test', 'a@sub.c.test', 'you', 'a@notc.test', '"foo@b.test"@evil.test') {
    with($senders, sub { refused(qr/not authorized to use sender='\Q@{[$from =~ tr,",,dr]}\E'/, "x\n", '-f', $from, 'a@b') });
}
with("local_login_sender_maps = inline:{ {$me = a\@b} }\n", sub { refused(qr/not authorized to use sender=''/, "x\n", '-f', '<>', 'a@b') });
with("local_login_sender_maps = inline:{ {$me = none} }\nempty_address_local_login_sender_maps_lookup_key = none\n", sub { sent("x\n", '-f', '<>', 'a@b') });
with("local_login_sender_maps = inline:{who-else=*}\n", sub { refused(qr/not authorized to use sender=/, 'x' x 5_000_000, 'a@b') });
with("local_login_sender_maps = hash:$dir/table\n", sub { refused(qr/local_login_sender_maps: hash:.*use static:, inline: or texthash:/, "x\n", 'a@b') });

chmod 0500, "$dir/queue/maildrop";
SKIP: {
    skip 'root writes everywhere', 1 if $< == 0;
    like($self->sendmail("x\n", 'a@b'), qr/Permission denied/, 'a directory that cannot be written');
}
chmod 0700, "$dir/queue/maildrop";
done_testing;
