#!/usr/bin/perl
# What maps make of an envelope, beside Debian's Postfix: the same tables, the same
# messages through SMTP, the same senders and recipients behind each.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;
use PeerPostfix;

plan skip_all => 'Postfix needs root' if $> != 0;
my $missing = PeerPostfix->missing;
plan skip_all => $missing if $missing;

my %set = (
    myhostname => 'mx.maps.test', myorigin => 'origin.test', mydestination => 'here.test', local_recipient_maps => '', recipient_delimiter => '+', append_dot_mydomain => 'no',
    local_transport => 'smtp', smtpd_relay_restrictions => 'permit_mynetworks, reject',
    canonical_maps => 'inline:{ {ann@here.test=ann.long@out.test}, {bob=robert}, {@old.test=@new.test}, {multi@x.test=first@x.test, second@x.test}, {c1@x.test=c2@x.test}, {c2@x.test=c3@x.test}, {self@x.test=self@x.test},'
        . ' {Case@x.test=CASE@x.test}, {quoted@x.test="a b"@x.test}, {name@x.test=Joe Doe <joe@x.test>}, {bare@x.test=bare}, {"q q"@x.test=unquoted@x.test}, {pm=postmaster@x.test} }',
    sender_canonical_maps => 'inline:{ {only@here.test=sender@out.test} }', recipient_canonical_maps => 'inline:{ {only@here.test=recipient@out.test}, {c2@x.test=rc@x.test} }',
    masquerade_domains => '!shown.mask.test mask.test deep.other.test other.test', masquerade_exceptions => 'root', masquerade_classes => 'envelope_sender, envelope_recipient',
    virtual_alias_maps => 'inline:{ {list@v.test=a@far.test, b@far.test}, {nest@v.test=list@v.test, c@far.test}, {self@v.test=self@v.test, copy@far.test}, {blank@v.test=a@far.test b@far.test}, {@dom.test=@far.test},'
        . ' {@two.test=@far.test, other@far.test}, {name@v.test=Joe Doe <joe@far.test>}, {quoted@v.test="a b"@far.test}, {bare@v.test=bare}, {dup@v.test=a@far.test, a@far.test}, {Upper@v.test=Mixed@Far.test},'
        . ' {user=u@far.test}, {ann.long@out.test=through@far.test}, {comment@v.test=a@far.test (comment)}, {trail@v.test=a@far.test,}, {v.test=x}, {route@v.test=<@r.test:a@far.test>}, {@wild.test=all@far.test}, {chain@v.test=@dom.test}, {two@v.test=a@far.test <b@far.test> c <d@far.test>}, {angles@v.test=<a@far.test><b@far.test> c@far.test}, {point@v.test=a @ far.test b} }',
    virtual_alias_domains => '', sender_bcc_maps => 'inline:{ {s1@far.test=sb@far.test}, {@sdom.test=sdom@far.test}, {mask@mask.test=masked@far.test} }',
    recipient_bcc_maps => 'inline:{ {r1@far.test=rb@far.test}, {r2@far.test=list@v.test}, {@rdom.test=rdom@far.test}, {r3@far.test=bob} }',
);

# from, to...
my @mails = (
    ['s@far.test', 'ann@here.test'], ['ann@here.test', 'x@far.test'], ['ann+e@here.test', 'ann+e@here.test'], ['bob@here.test', 'bob@origin.test'], ['bob@far.test', 'bob@far.test'], ['bob', 'bob'],
    ['u@old.test', 'u+e@old.test'], ['multi@x.test', 'multi@x.test'], ['c1@x.test', 'c1@x.test'], ['self@x.test', 'self@x.test'], ['case@x.test', 'Case@X.test'], ['quoted@x.test', 'quoted+e@x.test'],
    ['name@x.test', 'name@x.test'], ['bare@x.test', 'bare+e@x.test'], ['"q q"@x.test', '"q q"@x.test'], ['only@here.test', 'only@here.test'], ['pm@here.test', 'pm+x@here.test'],
    ['u@h.mask.test', 'u@h.g.mask.test'], ['root@h.mask.test', 'root+e@h.mask.test'], ['u@h.shown.mask.test', 'u@shown.mask.test'], ['u@h.deep.other.test', 'u@deep.other.test'], ['u@other.test', 'u@x.other.test'], ['u@xmask.test', 'u@mask.test'],
    ['s@far.test', 'list@v.test'], ['s@far.test', 'nest@v.test'], ['s@far.test', 'self@v.test'], ['s@far.test', 'list+e@v.test'], ['s@far.test', 'blank@v.test'], ['s@far.test', 'u+e@dom.test'], ['s@far.test', 'u@two.test'],
    ['s@far.test', 'name@v.test'], ['s@far.test', 'quoted+e@v.test'], ['s@far.test', 'bare@v.test'], ['s@far.test', 'dup@v.test'], ['s@far.test', 'UPPER@V.test'], ['s@far.test', 'user@here.test'], ['s@far.test', 'user+e@here.test'],
    ['s@far.test', 'user@far.test'], ['s@far.test', 'comment@v.test'], ['s@far.test', 'trail@v.test'], ['s@far.test', 'route@v.test'], ['s@far.test', 'any+e@wild.test'], ['s@far.test', 'list@v.test', 'a@far.test', 'dup@v.test', 'self@v.test'],
    ['s1@far.test', 'x@far.test'], ['s1+e@far.test', 'x@far.test'], ['any@sdom.test', 'x@far.test'], ['mask@h.mask.test', 'x@far.test'], ['', 'x@far.test'],
    ['s@far.test', 'r1@far.test'], ['s@far.test', 'r1+e@far.test', 'r1@far.test'], ['s@far.test', 'r2@far.test'], ['s@far.test', 'x@rdom.test'], ['s@far.test', 'r3@far.test'], ['s1@far.test', 'r1@far.test', 'rb@far.test'],
    ['s@far.test', 'two@v.test'], ['s@far.test', 'angles@v.test'], ['s@far.test', 'point@v.test'], ['s@far.test', 'user%far.test@here.test'], ['s@far.test', 'a@far.test.'],
);
# Of a list that begins with @domain Postfix makes addresses with parts of the list in quotes.
my %otherwise = ('u@two.test' => 's@far.test> other@far.test u@far.test');

# Headers: Postfix writes one that changes on lines of its own, so blanks do not count.
my @headers = (
    'From: ann@here.test', 'From: "Ann, A." <ann@here.test> (c)', 'To: bob, bob@here.test, c1@x.test', 'Cc: =?utf-8?q?J=C3=B6?= <u@old.test>,X <x@far.test>', 'Reply-To: multi@x.test', 'Sender: only@here.test', 'Resent-To: only@here.test',
    'Errors-To: bare@x.test', 'Resent-From: quoted@x.test', 'To: G: ann@here.test, bob;, x@far.test', 'To: list@v.test', 'From: u@h.mask.test', 'From: host!user', 'To: a%b, a%b@far.test', 'Subject: ann@here.test', 'Disposition-Notification-To: bob',
    'Return-Receipt-To: bob', 'Apparently-To: bob', 'Mail-Followup-To: bob', 'X-To: bob', 'Delivered-To: bob', 'To: undisclosed-recipients:;', 'From: <>', 'To: "q q"@x.test', 'To: "ann"@here.test', 'Cc: a@[192.0.2.1]', 'To: bob@here.test.', 'Resent-Reply-To: bob',
    'Mail-Followup-To: only@here.test', 'Mail-Reply-To: bob', 'Errors-To: only@here.test', 'Apparently-To: only@here.test', 'Return-Receipt-To: only@here.test', 'Disposition-Notification-To: only@here.test',
    'Resent-Errors-To: bob', 'Resent-Return-Receipt-To: bob', 'Resent-Sender: only@here.test', 'Resent-Cc: only@here.test', 'Resent-Disposition-Notification-To: bob', 'Resent-Apparently-To: bob', 'To: <bob><c1@x.test>', 'To: B <bob> C <c1@x.test>', 'To: x@host:25',
);

sub header_of {
    my ($port, $sink, $header, $k) = @_;
    my ($code, $text) = Posthorn::Client->new(port => $port)->send(from => 's@far.test', to => ['x@far.test'], body => "X-H: $k\r\nMessage-Id: <1\@x>\r\n$header\r\nDate: x\r\n\r\nx\r\n");
    my $m;
    Posthorn::wait_for(sub { ($m) = grep { $_->{body} =~ /^X-H: $k\r/m } $sink->messages; $m }) or return "nothing: $text";
    my ($got) = $m->{body} =~ /^Message-Id: <1\@x>\r\n(.*?)^Date: x\r\n/ms or return $m->{body};
    $got =~ s/\s+//g;
    return $got;
}

# All messages, and what arrives: number => "from> to to".
sub envelopes {
    my ($port, $sink) = @_;
    my $n = 0;
    for my $m (@mails) {
        my ($from, @to) = @$m;
        my ($code, $text) = Posthorn::Client->new(port => $port)->send(from => $from, to => \@to, body => "X-N: $n\r\nSubject: x\r\n\r\nx\r\n");
        diag "$n @$m: $text" if $code != 250;
        $n++;
    }
    my %seen;
    Posthorn::wait_for(sub {
        %seen = ();
        for my $m ($sink->messages) {
            my ($k) = $m->{body} =~ /^X-N: (\d+)/m or next;
            $seen{$k}{from} = $m->{from};
            push @{ $seen{$k}{to} }, @{ $m->{to} };
        }
        keys %seen == @mails;
    }, 60);
    return { map { $_ => "$seen{$_}{from}> " . join ' ', sort @{ $seen{$_}{to} } } keys %seen };
}

my ($our_sink, $their_sink) = map { Posthorn::Sink->new } 1, 2;
my $ph = Posthorn->new(%set, relayhost => '[127.0.0.1]:' . $our_sink->port, virtual_mailbox_domains => '')->start;
my $peer = PeerPostfix->new(%set, relayhost => '[127.0.0.1]:' . $their_sink->port)->start;
my $ours = envelopes($ph->port, $our_sink);
my $theirs = envelopes($peer->port, $their_sink);
is(scalar(keys %$theirs), scalar(@mails), 'all arrive from Postfix');
my $about = sub { my ($k) = @_; return $otherwise{ $mails[$k][1] } // $theirs->{$k} // 'nothing' };
is($ours->{$_} // 'nothing', $about->($_), "<$mails[$_][0]> to " . join ' ', map { "<$_>" } @{ $mails[$_] }[1 .. $#{ $mails[$_] }]) for 0 .. $#mails;
is(header_of($ph->port, $our_sink, $headers[$_], $_), header_of($peer->port, $their_sink, $headers[$_], $_), $headers[$_]) for 0 .. $#headers;
done_testing();
