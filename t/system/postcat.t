#!/usr/bin/perl
# postcat: every option, on messages of the queue, submitted, damaged, and beside
# Debian's Postfix for the form of its lines.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Posthorn;
use PeerPostfix;
use Test::More;

my @send = ('-f', 'a@b.test', '-F', 'Full Name', '-N', 'success,failure', '-V', 'ID1', '-R', 'hdrs', 'x@else.test', 'y@else.test');
my $mail = "From: a\@b.test\nSubject: hello\n world\nTo: x\@y.test\n\nline 1\n\n.dot\nlast";

my $ph = Posthorn->new(append_dot_mydomain => 'no');
$ph->edit_master(sub { s/^.*plugin: smtpd.*\n//m; s/^.*transport: smtp,.*\n//mg });
$ph->start;
$ph->sendmail($mail, '-i', @send);
my $id;
Posthorn::wait_for(sub { my ($m) = grep { $_->{queue_name} eq 'deferred' } $ph->queued; $id = $m && $m->{queue_id} });
ok($id, 'a deferred message') or die $ph->log;

sub cat_ { my (@args) = @_; return $ph->cmd('postcat', @args) }
sub lines { return split /\n/, shift }

my $all = cat_('-q', $id);
my ($name) = $all =~ /^\*\*\* ENVELOPE RECORDS (\S+) \*\*\*$/m;
like($name, qr{^deferred/\w/$id$}, 'the name of the file');
is(cat_('-beh', '-q', $id), $all, 'all three parts are the default');
my ($envelope, $header, $body) = map { cat_($_, '-q', $id) } qw(-e -h -b);
is(cat_('-bh', '-q', $id), $header . $body, '-bh: the message');
like($header, qr/\AReceived: .*^Subject: hello\n world\nTo: x\@y.test\n.*[^\n]\n\z/ms, '-h: without the empty line');
is($body, "\nline 1\n\n.dot\nlast\n", '-b: from the empty line on');
like($envelope, qr/^message_size: +(\d+) +\d+ +2 +\d+ +\1 +\d+$/m, 'sizes');
is((lines($envelope))[-4] . 'x', "recipient: y\@else.testx", 'then the recipients');
like($envelope, qr/^\*\*\* MESSAGE CONTENTS $name \*\*\*\n\*\*\* HEADER EXTRACTED $name \*\*\*\n\*\*\* MESSAGE FILE END $name \*\*\*\n\z/m, '-e: markers alone');
is(cat_('-n', '-q', $id), $all, '-n changes nothing');

# -o: each offset is where that text stands in the file.
my ($file) = grep { -f } glob $ph->queue . "/deferred/*/$id";
my $bytes = Posthorn::slurp($file);
for my $l (lines(cat_('-o', '-q', $id))) {
    my ($at, $text) = $l =~ /^ *(\d+) (.*)$/ or do { fail("offset of $l"); next };
    next if $text =~ /^\*\*\*|^message_|^named_attribute: (?:notify|ret_)/;
    my $want = $text =~ /^(?:named_attribute: \w+=|\w+: )(.*)$/ && $at > index($bytes, 'last') ? $1 : $text;
    my $there = substr $bytes, $at, length($want) + 80;
    like($there, qr/^(?:[^@]{0,30})\Q$want\E/s, "-o: $text");
}
my ($offset) = cat_('-o', '-q', $id) =~ /^ *(\d+) line 1$/m;
is(cat_('-b', '-s', $offset, '-q', $id), "line 1\n\n.dot\nlast\n", '-s: from there on');
like(cat_('-s', 'x', '-q', $id), qr/fatal: bad offset: x/, '-s wants a number');
like(cat_('-d', '-bh', '-q', $id), qr/\A( 78 .*\n)+\z/, '-d: the type of content');
like(cat_('-od', '-q', $id), qr/^ *\d+  83 sender: a\@b\.test$/m, '-o and -d');
like(cat_('-f', '-bh', '-q', $id), qr/\A($name: .*\n)+\z/, '-f: the name in front');
like(cat_('-v', '-b', '-q', $id), qr/\Aregular_text: \nregular_text: line 1\n/, '-v: content with its label');
like(cat_('-v', '-e', '-q', $id), qr/^named_attribute: facts=.*leading_dot.*\nnamed_attribute: longest_line=\d+$/m, '-v: facts');
my $order = cat_('-r', '-q', $id);
ok(index($order, 'line 1') < index($order, 'recipient:'), '-r: content first, as in the file');

# Other sources
is(cat_('-bh', $file), $header . $body, 'by file name');
is($ph->run_in($bytes, $ph->sbin('postcat'), '-c', $ph->dir, '-bh'), $header . $body, 'from standard input');
is(cat_('-bh', $file, $file), ($header . $body) x 2, 'two files');
like(cat_('/etc/passwd', $file), qr{^postcat: warning: /etc/passwd: input is not a valid queue file\n.*line 1}ms, 'another file is passed over');
is($?, 0, 'without error');
for my $bad (['-q', 'NOSUCHID'], ['-q', '../main.cf'], ['/nosuch'], ['-Z']) {
    like(cat_(@$bad), qr/^postcat: fatal: /m, "postcat @$bad");
    is($? >> 8, 1, 'status 1');
}

# A damaged one is told and shown.
my $copy = "$ph->{tmp}/copy";
Posthorn::spew($copy, $bytes =~ s/line 1/lime 1/r);
like(cat_('-b', $copy), qr{^postcat: warning: \Q$copy\E: .*checksum.*\n.*lime 1}ms, 'damaged: a warning, and what it says');
my $cut = 0;
my ($end) = cat_('-o', '-q', $id) =~ /^ *(\d+) \*\*\* MESSAGE FILE END/m;
for my $n (0, 1, 17, 255, 256, 300, $offset, $end - 1) {
    Posthorn::spew($copy, substr $bytes, 0, $n);
    $cut++ if cat_($copy) =~ /^postcat: warning: /m && $? == 0;
}
is($cut, 8, 'cut short anywhere it is told');
my $lies = 0;
srand 1;
for (1 .. 30) {
    my $b = $bytes;
    substr($b, int rand length $b, 1) = chr int rand 256;
    Posthorn::spew($copy, $b);
    cat_($copy);
    $lies++ if $? & 127;
}
is($lies, 0, 'no byte makes it crash');

# In maildrop.
$ph->stop;
$ph->sendmail($mail, '-i', '-v', '-O', 'smtputf8=yes', @send);
my ($drop) = glob $ph->queue . '/maildrop/*';
my $did = $drop =~ s{.*/}{}r;
my $text = cat_('-q', $did);
like($text, qr{\A\*\*\* ENVELOPE RECORDS maildrop/$did \*\*\*\nmessage_arrival_time: .*\n}, 'maildrop: its name');
like($text, qr/^sender: a\@b\.test\nsender_fullname: Full Name\n(?:named_attribute: .*\n)*recipient: x\@else\.test\n/m, 'envelope');
is(cat_('-bh', '-q', $did), "$mail\n", 'content');
is(cat_('-h', '-q', $did) . cat_('-b', '-q', $did), "$mail\n", 'in two parts');
is(cat_('-b', '-q', $did), "\nline 1\n\n.dot\nlast\n", 'the body begins with the empty line');
my ($at) = cat_('-o', '-q', $did) =~ /^ *(\d+) line 1$/m;
is(substr(Posthorn::slurp($drop), $at, 6), 'line 1', '-o');
Posthorn::spew($copy, substr(Posthorn::slurp($drop), 0, $at + 3));
like(cat_($copy), qr/^lin\n.*|not whole/m, 'one that is not whole is shown and told');

# The same message in Debian's Postfix: the same lines by their labels.
SKIP: {
    my $why = PeerPostfix->missing;
    skip $why, 3 if $why;
    my $peer = PeerPostfix->new(default_transport => 'smtp', defer_transports => 'smtp');
    $peer->reconfigure(export_environment => "TZ MAIL_CONFIG LANG LD_LIBRARY_PATH=$peer->{lib}");
    $peer->start;
    (bless { tmp => $peer->dir }, 'Posthorn')->run_in($mail, '/usr/bin/env', $peer->env, "$peer->{root}/usr/sbin/sendmail", '-i', @send);
    my $pid;
    Posthorn::wait_for(sub { ($pid) = $peer->run('postqueue', '-j') =~ /"deferred", "queue_id": "(\w+)"/ });
    ok($pid, 'Postfix has it too') or skip 'nothing to compare', 2;
    my $theirs = $peer->run('postcat', '-q', $pid);
    my @labels = map { [map { s/^(\*\*\* [A-Z ]+).*/$1/r =~ s/^(named_attribute: \w+|\w+):? .*/$1/r } grep { /^\*\*\*|^[a-z_]+: / } lines($_)] } $theirs, $all;
    my %ours = map { $_ => 1 } @{ $labels[1] };
    is_deeply([grep { !$ours{$_} && !/create_time/ } @{ $labels[0] }], [], 'each of its lines is one of ours');
    my ($values) = map { join '', grep { /^(?:sender|sender_fullname|recipient|original_recipient|named_attribute: (?:notify|ret|env)\w*)[=:]/ } map { "$_\n" } lines($_) } $theirs;
    my $same = join '', grep { /^(?:sender|sender_fullname|recipient|original_recipient|named_attribute: (?:notify|ret|env)\w*)[=:]/ } map { "$_\n" } lines($all);
    is(join('', sort split /^/, $same), join('', sort split /^/, $values), 'with the same values');
    $peer->stop;
}
done_testing();
