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
mkdir "$dir/$_" for qw(queue queue/maildrop queue/public);
Posthorn::spew("$dir/main.cf", "queue_directory = $dir/queue\ncommand_directory = $sbin\nmyhostname = here.test\n"
    . "message_size_limit = 100000\nmaillog_file = $dir/log\n");
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
    isnt($?, 0, "sendmail @args fails");
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

$text = sent("From: me\nTo: a\@b, \"C, D\" <c\@d>,\n\t(comment) e\@f\nBcc: g\@h\nX-To: no\@x\nSubject: q\n\nTo: no\@body\n", '-t', 'cmd@line');
is_deeply([$text =~ /^rcpt (.*)$/mg], [qw(cmd@line a@b c@d e@f g@h)], '-t: recipients of the headers and of the command line');
like($text, qr/^Bcc: g\@h$/m, 'headers stay for cleanup');
$text = sent("To: a\@b\nResent-To: r\@s\nResent-Cc: t\@u\n\nx\n", '-t');
is_deeply([$text =~ /^rcpt (.*)$/mg], [qw(r@s t@u)], '-t: Resent- fields alone count');
like(sent("From me Tue\nTo: a\@b\n\nx\n", '-t'), qr/^X-Mailbox-Line: From me Tue\nTo: a\@b\n/m, 'a mailbox line is kept as a header');
my $long = 'x' x 90000;
ok(sent("To: a\@b\n\n$long\n", '-t') =~ s/data \d+\n//gr =~ /\Q$long\E/, 'a long line stays whole');

refused(qr/fatal: Recipient addresses must be specified/, "x\n");
refused(qr/fatal: No recipient addresses found in message header/, "Subject: x\n\nTo: a\@b\n", '-t');
refused(qr/fatal: usage: /, "x\n", '-d', 'a@b');
refused(qr/fatal: message file too big/, 'x' x 100001, 'a@b');
like(Posthorn::slurp("$dir/log"), qr{ postfix/postdrop\[\d+\]: fatal: message file too big$}m, 'the log has it');

# -bs
my $out = $self->sendmail("EHLO x\r\nMAIL FROM:<a\@b> BODY=8BITMIME\r\nRCPT TO:<c\@d>\r\nDATA\r\nSubject: q\r\n\r\n..dot\r\n.\r\nNOOP\r\nQUIT\r\n", '-bs');
like($out, qr/^220 here.test ESMTP Posthorn\r\n250-here.test\r\n/, '-bs: greeting');
like($out, qr/^250 2.0.0 Ok: queued as [0-9A-Z]+\r\n250 2.0.0 Ok\r\n221 2.0.0 Bye\r\n\z/m, '-bs: stored, and goes on');
like(join('', map { Posthorn::slurp($_) } files()), qr/sender a\@b\nbody 8BITMIME\nrcpt c\@d\n\ndata \d+\nSubject: q\r\n\r\n.dot\r\nend\n\z/, '-bs: the message');
unlink files();
$self->sendmail("EHLO x\r\nMAIL FROM:<a\@b>\r\nRCPT TO:<c\@d>\r\nDATA\r\nhalf\r\n", '-bs');
is_deeply([files()], [], '-bs: half a message is none');

# postdrop believes nobody.
my $head = "posthorn-maildrop 1\nsender a\nrcpt b\n";
for my $case (["$head\ndata 5\nhello", 0, qr/\A\z/, 'a message cut short is cancelled quietly'],
              ['', 0, qr/\A\z/, 'so is nothing'],
              ["$head" . "uid 0\n\nend\n", 65, qr/^error 65 malformed input: unexpected line/, 'an unknown line'],
              ["posthorn-maildrop 1\nsender a\n\nend\n", 65, qr/^error 65 no recipient/, 'no recipient'],
              ["$head\nend\nmore", 65, qr/^error 65 malformed input: text behind the end/, 'text behind the end']) {
    my ($in, $status, $re, $name) = @$case;
    like($self->run_in($in, Posthorn->sbin('postdrop'), '-r', '-c', "$dir"), $re, $name);
    is($? >> 8, $status, 'its status');
    is_deeply([files()], [], 'nothing is stored');
}
my $cf = Posthorn::slurp("$dir/main.cf");
Posthorn::spew("$dir/main.cf", $cf . "authorized_submit_users = root, nobody-else\n");
SKIP: {
    skip 'root may always submit', 3 if $< == 0;
    refused(qr/is not allowed to submit mail/, "x\n", 'a@b');
}
Posthorn::spew("$dir/main.cf", $cf);
chmod 0500, "$dir/queue/maildrop";
SKIP: {
    skip 'root writes everywhere', 1 if $< == 0;
    like($self->sendmail("x\n", 'a@b'), qr/Permission denied/, 'a directory that cannot be written');
}
chmod 0700, "$dir/queue/maildrop";
done_testing;
