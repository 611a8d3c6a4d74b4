#!/usr/bin/perl
# The same messages through us and through Debian's Postfix: what the next hop
# gets is the same, with and without 8BITMIME.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;
use PeerPostfix;

my $why = PeerPostfix->missing;
plan skip_all => $why if $why;

my $H = "From: s\@x.test\r\nTo: a\@y.test\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-ID: <number\@x>\r\n";
my $C = "Content-Transfer-Encoding: ";
my $long = join '', map { chr(97 + $_ % 26) } 0 .. 2999;
my $ae = "\xc3\xa4";
my @messages = (
    ['8-bit', "$H${C}8bit\r\nSubject: $ae\r\n\r\n$ae = x \r\n.dot\r\n..\r\n"],
    ['no line end at the end', "$H\r\nabc"],
    ['long lines of the body', "$H\r\n$long\r\n.$long\r\n"],
    ['a long header', "X-Long: $long\r\n$H\r\nbody\r\n"],
    ['lines at the limit', "$H\r\n" . ('a' x 998) . "\r\n" . ('a' x 999) . "\r\n." . ('b' x 998) . "\r\n"],
    ['parts', "${H}MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b b\"\r\n${C}8bit\r\n\r\npre \xa0\r\n--b b\r\n${C}8bit\r\n\r\n\xa0 tab\t\r\n--b bx\r\n"
        . "--b b \r\nA: b\r\n\r\n\xa0\r\n--b b--\r\npost\xa0\r\n"],
    ['parts in parts', "${H}Content-Type: multipart/mixed; boundary=out\r\n\r\n--out\r\nContent-Type: multipart/alternative; boundary=in\r\n\r\n--in\r\n"
        . "Content-Type: text/plain; charset=utf-8\r\n${C}8bit\r\n\r\n$ae\r\n--in\r\nContent-Type: text/html\r\n${C}7bit\r\n\r\n$ae\r\n--in--\r\n--out\r\n${C}8bit\r\n"
        . "Content-Type: application/octet-stream\r\n\r\n\x80\x81\r\n--out--\r\n"],
    ['a message inside', "${H}Content-Type: message/rfc822\r\n${C}8bit\r\n\r\nSubject: in\r\n${C}8bit\r\n\r\n$ae\r\n"],
    ['a message inside, without label', "${H}Content-Type: message/rfc822\r\n\r\nSubject: in\r\n${C}8bit\r\n\r\n$ae\r\n"],
    ['a digest', "${H}Content-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n\r\nSubject: in\r\n${C}8bit\r\n\r\n$ae\r\n--d--\r\n"],
    ['binary', "${H}Content-Type: application/x\r\n${C}binary\r\n\r\n\x01\x7f\xff=\t \r\n"],
    ['labels with comments', "${H}Content-Type: multipart/mixed (c); boundary=(x)b\r\n\r\n--b\r\n${C}(c)\r\n 8BIT (comment)\r\n\r\n$ae\r\n--b--\r\n"],
    ['blanks behind a delimiter, and parts after the last', "${H}Content-Type: multipart/mixed;\r\n\tboundary=b\r\n\r\n--b\t\r\n${C}8bit\r\n\r\n$ae\r\n--b--\r\n${C}8bit\r\n\r\n$ae\r\n"],
    ['a delimiter with more behind it', "${H}Content-Type: multipart/mixed; boundary=b\r\n\r\n--bb\r\n${C}8bit\r\n\r\n$ae\r\n--b\r\n${C}8bit\r\n\r\n$ae\r\n"],
    ['8-bit in a part without label', "${H}Content-Type: multipart/mixed; boundary=b\r\n${C}8bit\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n$ae\r\n--b--\r\n"],
    ['a blank at the very end', "$H${C}8bit\r\n\r\n$ae "],
);

# One sink for each of the two; they differ in what was stamped on the way.
sub stripped { my ($text) = @_; $text =~ s/^Received:.*\r\n(?:[ \t].*\r\n)*//mg; return $text }

for my $offer ('8BITMIME', 'X-NOTHING') {
    my @sink = map { Posthorn::Sink->new(ehlo => "250-sink.test\r\n250-PIPELINING\r\n250 $offer") } 0, 1;
    my @mta = (Posthorn->new(relayhost => '[127.0.0.1]:' . $sink[0]->port), PeerPostfix->new(relayhost => '[127.0.0.1]:' . $sink[1]->port));
    $_->start for @mta;
    for my $i (0 .. $#messages) {
        my ($name, $text) = @{ $messages[$i] };
        $text =~ s/<number/<number$i/;
        for my $mta (@mta) {
            my ($code) = Posthorn::Client->new(port => $mta->port)->send(from => 's@x.test', to => ['a@y.test'], body => $text, mail_args => 'BODY=8BITMIME');
            is($code, 250, "$name: accepted") if $code != 250;
        }
    }
    my ($ours, $theirs) = map { my %by = map { my $b = stripped($_->{body}); $b =~ /<number(\d+)\@/ ? ($1 => $b) : () } $_->wait_messages(scalar @messages); \%by } @sink;
    for my $i (0 .. $#messages) {
        is($ours->{$i} // 'nothing', $theirs->{$i} // 'no peer', "server with $offer: $messages[$i][0]");
    }
}
done_testing();
