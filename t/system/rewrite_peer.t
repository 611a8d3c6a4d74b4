#!/usr/bin/perl
# Address rewriting by what is delivered: generated configurations and messages
# given to Debian's Postfix and to us.  The replies are the same, and of each
# message that leaves the transport, the next hop, envelope, DSN parameters,
# headers and body.  Of our headers, only
# addresses change: every other byte is the sender's.
#
# A longer run: POSTHORN_REWRITE="SEED CONFIGURATIONS MESSAGES", e.g. "7 200 60";
# one configuration of it: "7 200 60 13"; POSTHORN_SHOW=1 tells all differences.
# The longer run gives mail by sendmail too, and asks sendmail -bv; some of it still differs.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use PosthornRoot;
use Posthorn;
use PeerPostfix;
use RewriteCases;
use RewriteRig;
use Test::More;

my $why = PeerPostfix->missing;
plan skip_all => $why if $why;
delete @ENV{qw(MAIL_CONFIG NAME)};
my ($seed, $configurations, $messages, $only) = split ' ', $ENV{POSTHORN_REWRITE} // '1 30 42';
my $rig = RewriteRig->new;

# ---- what differs on purpose ----
#
# Taken out of the comparison here:
# - Received:, ids, dates, product names; words of notices but those about recipients.
# - Blanks and folding of a header in which an address was replaced, and where its
#   comments stand: Postfix writes it anew, we replace the address.  A comment
#   inside of an address goes with it (the generator's say "(in)").
# - Quotes of a local part that needs none, or lacks some: ours stay, Postfix's are made anew.
# - The route of an address in a header: it means nothing (RFC 5322 4.4), ours
#   stays, Postfix drops it; that of a recipient of sendmail we drop at once (orig_to).
#   So tables: we look up the address behind the route, Postfix what it takes the whole for.
# - A local part with a dot at its end, its beginning or beside another dot has quotes in
#   tables: we find it without them too, and so in headers.
# - An error transport without a text: we say "Address is undeliverable", Postfix the domain.
# - orig_to= that differs from to= in the case of letters only: we tell it.
# - A header that is no list of addresses (@no_addresses in RewriteCases.pm): ours
#   stays as it is, Postfix makes a list of it, mostly by commas and quotes of its own.
# - An empty line behind the headers of a message without a body: we send it always.
# - The host that a message went to, in a notice: its domain in lower case.
# - A backslash of a full name in a comment: ours says it twice, as it is one for readers.
# - BODY=8BITMIME and Content-Transfer-Encoding of a notice: with us when it needs them.
# - ORCPT of an address beyond ASCII: of type utf-8 (RFC 6533); Postfix says rfc822 unless it was told otherwise.
# - Why an address cannot be used: Postfix has "bad address syntax" for all reasons,
#   and names the address as far as it had taken it apart.
# - Original-Recipient: of a notice that says the same as Final-Recipient:, with the quotes that
#   belong to it or without, which we always give.
# - Mail of sendmail asks for SMTPUTF8 when an address as it goes out needs it (RFC 6531 3.6, the
#   recipient behind an alias too), or a header: which is checked of ours; Postfix looks at recipients
#   before aliases.  So a notice about such a recipient is one of RFC 6533 with us.
#
# A message is left out, and counted, when a reason of @reasons holds:
my @reasons = (
    # [why ours is right, what it is recognised by]
    ['addresses that differ in the case of the local part are two recipients (RFC 5321 2.4), Postfix drops one as a duplicate', sub {
        my ($case) = @_;
        my (%exact, %folded);
        for my $m (map { @{ $case->{ours}{sent} } } 1) { for (@{ $m->{rcpt} }) { my ($a) = /^<(.*?)> /; $exact{$a // $_}++; $folded{ lc($a // $_) }++ } }
        return keys %exact != keys %folded;
    }],
    ['canonical tables that lead in a circle defer the message; Postfix says that it does, and sends what it has come to', sub { my ($case) = @_; return "@{ $case->{ours}{replies} }" =~ /451 4\.3\.0|stays in maildrop/ }],
    ['the null sender stays null, whatever a pattern of canonical tables makes of it: notices are not answered', sub {
        my ($case) = @_;
        return ($case->{from} // 'x') eq '' && grep { $_->{mail} =~ /^<bare\@re\.test>/ } @{ $case->{theirs}{sent} };
    }],
    ['an alias with one member hands the wish for success on (RFC 3461 5.2.7.1), so that the sender hears of the delivery; Postfix tells him of the alias', sub {
        my ($case) = @_;
        my %theirs = map { $_ => 1 } map { @{ $_->{rcpt} } } @{ $case->{theirs}{sent} };
        my %expanded = map { $_ => 1 } map { $_->{data} =~ /^<(\S+)>: alias expanded/mg } @{ $case->{theirs}{sent} };
        return 1 if grep { my $to = $_->[0]; $_->[1] =~ /SUCCESS/ && $expanded{$to} && 1 == grep { /orig_to=<\Q$to\E>/ } @{ $case->{ours}{told} } } @{ $case->{to} // [] };
        return grep { s/NOTIFY=SUCCESS$/NOTIFY=NEVER/r ne $_ && $theirs{ s/NOTIFY=SUCCESS$/NOTIFY=NEVER/r } } map { @{ $_->{rcpt} } } @{ $case->{ours}{sent} };
    }],
    ['text that is UTF-8 by half is no reason to ask for SMTPUTF8', sub { my ($case) = @_; return $case->{text} =~ /\xff/ }],
);

# ---- what is compared ----

my ($mapped, $silent);                                          # of the configuration: tables look at headers; an error transport without a text
my $unusual = qr/<\@r\.test|ann\.(?=[\s(\@])|(?<!\w)\.ann|a\.\.b/;    # what they find there differs
my $addresses = qr/^(?:resent-(?:from|to|cc|bcc|sender|reply-to)|from|to|cc|bcc|sender|reply-to|errors-to|return-receipt-to|disposition-notification-to|apparently-to|mail-followup-to|return-path)$/i;

my $blank = qr/\s|\((?:[^()\\]|\\.|\([^()]*\))*\)/;       # or a comment
# The value of such a header without what has no meaning.
sub squeeze {
    my ($v) = @_;
    $v =~ s{\r\n(?=[ \t])}{}g;
    my ($out, $depth, @comments) = ('', 0);
    while ($v =~ /\G("(?:[^"\\]|\\.)*"|\\.|[ \t\r\n]+|[()]|[^"\\ \t\r\n()]+|["\\])/gs) {
        my $t = $1;
        if ($t eq '(' && !$depth++) { push @comments, '' }
        if ($depth) { $comments[-1] .= $t =~ s{[ \t]+}{ }gr =~ s{\\\\}{\\}gr }
        elsif ($t =~ m{^"}) { $out .= substr($v, pos $v) =~ m{^$blank*(?:[\@>,;]|\z)} ? $t =~ s{\\(.)|"}{$1 // ''}gser : $t =~ s{[ \t]+}{ }gr }
        elsif ($t !~ m{^[ \t\r\n]}) { $out .= $t }
        $depth-- if $t eq ')' && $depth;
    }
    $out =~ s{(?<=<)(?:\@[^<>:]*:)+}{}g;
    return join ' ', $out, sort grep { $_ ne '(in)' } @comments;
}

# The headers of a message: [name, text behind the colon], and its body.
sub fields {
    my ($data) = @_;
    my $end = index $data, "\r\n\r\n";
    my ($block, $body) = $end < 0 ? ($data, '') : (substr($data, 0, $end + 2), substr $data, $end + 4);
    return ([map { /\A([^:\r\n]*):(.*)\z/s ? [$1, $2] : ['', $_] } $block =~ /([^\r\n]*\r\n(?:[ \t][^\n]*\n)*)/g], $body);
}

sub is_notice { return $_[0]{mail} =~ /^<>/ && $_[0]{data} =~ m{^Content-Type: multipart/report}m }

sub bare { my ($address) = @_; return $address =~ s/\\(.)|"/$1 \/\/ ''/ger }

# What can be compared of a notice: what it says of each recipient.
sub notice {
    my ($m) = @_;
    my $d = $m->{data} =~ s/\r\n/\n/gr =~ s/((?:: delivery via |^Remote-MTA: dns; )[\w.-]+)/\L$1/mgr =~ s/^remote-mta/Remote-MTA/mgr;
    my @out = map { /^((?:To|Subject):.*)/ ? $1 : () } split /\n/, $d =~ s/\n\n.*//sr;
    my ($words) = $d =~ /\n\n(<.*?)\n\n--/s;
    push @out, sort split /\n\n/, ($words // 'no words') =~ s/\n +/ /gr;
    my ($status) = $d =~ m{^Content-Type: message/(?:global-)?delivery-status\n(.*?)\n--}ms;
    $status =~ s/^(\w+-Recipient: ?)utf-8;/$1rfc822;/mg if defined $status;
    for my $block (split /\n\n+/, ($status // 'no status') =~ s/\n[ \t]+/ /gr) {
        my ($final) = $block =~ /^Final-Recipient: \S+ (.*)/m;
        push @out, join "\n", grep { !/^(?:Arrival-Date|X-\w+-Queue-ID|Last-Attempt-Date|Content-Transfer-Encoding):/ && !(defined $final && /^Original-Recipient: ?\S+?; ?(?:\Q$final\E|\Q@{[bare($final)]}\E)$/) } split /\n/, $block =~ s/^(Original-Recipient: ?\S+?;) /$1/mr;
    }
    return map { split /\n/ } @out[0 .. 1], sort grep { length } map { s/X-Postfix/X-Posthorn/gr =~ s/^\n+//r } @out[2 .. $#out];
}

sub plain_orcpt {
    my ($line) = @_;
    return $line unless $line =~ /^(.* ORCPT=)rfc822;(\S*\+[89A-F][0-9A-F]\S*)(.*)$/s;
    my ($front, $value, $rest) = ($1, $2, $3);
    $value =~ s/\+([0-9A-F]{2})/chr hex $1/ge;
    utf8::decode($value) or return $line;
    $value =~ s/([^!-~]|[+=\\])/sprintf '\\x{%02X}', ord $1/ge;
    return "${front}utf-8;$value$rest";
}

# One message as lines.
sub message_lines {
    my ($case, $m) = @_;
    my $mail = $m->{mail};
    $mail =~ s/ BODY=8BITMIME// if is_notice($m);
    $mail =~ s/ SMTPUTF8// if $case->{args};
    my $hop = $m->{hop} eq '127.0.0.1' ? 'localhost' : $m->{hop};         # which we do not ask DNS for
    my @lines = ("$m->{transport} to $hop MAIL $mail", sort map { '  RCPT ' . plain_orcpt($_) } @{ $m->{rcpt} });
    return (@lines, map { "  notice: $_" } notice($m)) if is_notice($m);
    my ($h, $body) = fields($m->{data});
    shift @$h if @$h && $h->[0][0] =~ /^received$/i;
    my %had = map { lc $_->[0] => 1 } @{ $case->{headers} };
    my %broken = map { $_->[3] || $mapped && join('', @{ $_->[2] }) =~ $unusual ? (lc $_->[0] => 1) : () } @{ $case->{headers} };
    for my $f (@$h) {
        my ($name, $value) = @$f;
        $value = $broken{ lc $name } ? ' (no list)' : $name =~ /^(?:resent-)?(?:message-id|date)$/i && !$had{ lc $name } ? ' (added)'
            : $name =~ $addresses ? squeeze($value) : $value =~ s/\r\n\z//r;
        push @lines, "  $name:$value";
    }
    return (@lines, "  body: $body");
}

# Transactions that differ in their recipients alone as one, with the number of them: which ones go together is chance.
sub gathered {
    my (%same, @all);
    for my $m (@_) {
        my $all = $same{ join "\0", map { s/\AReceived:.*?\r\n(?![ \t])//sr } @$m{qw(transport hop mail data)} } //= do { push @all, { %$m, rcpt => [] }; $all[-1] };
        push @{ $all->{rcpt} }, @{ $m->{rcpt} };
    }
    return @all;
}

sub outcome {
    my ($case, $side) = @_;
    my $o = $case->{$side};
    my @lines = map { join "\n", message_lines($case, $_) } gathered(@{ $o->{sent} });
    for my $line (@{ $o->{told} // [] }) {
        my ($to, $orig, $dsn, $status, $text) = $line =~ /^to=<(.*?)>, (?:orig_to=<(.*?)>, )?relay=.*? dsn=(\S+), status=(\w+) \((.*)\)$/ or next;
        ($orig //= '') =~ s/^(?:\@[^:]*:)+//;
        push @lines, "recipient <$to> of <" . (lc $orig eq lc $to ? '' : $orig) . "> $dsn $status" . ($status eq 'sent' ? '' : " $text");
    }
    s/\b(?:malformed domain name|missing domain name|bad address literal|numeric domain name|local part begins with a minus sign)\b/bad address syntax/g for @lines;
    s/bad address syntax \(bad address syntax\)/bad address syntax/g for @lines;
    my @replies = map { "reply $_" } @{ $o->{replies} };
    if ($silent) { s/(rejected: |bounced |>\): |X-Posthorn; )[\w.-]+$/$1Address is undeliverable/mg for @lines, @replies }
    return join "\n", @replies, sort @lines;
}

# ---- our headers ----

# 1 when the value is these texts, every other of which (an address) may be another.
sub fits {
    my ($value, $blank, $is_list, @parts) = @_;
    my @literal = map { $parts[2 * $_] } 0 .. $#parts / 2;
    my $at = 0;
    $literal[0] = $blank . $literal[0];
    $literal[-1] .= "\n";
    s/\n/\r\n/g for @literal;
    for my $k (0 .. $#literal) {
        my $address = $k ? $parts[2 * $k - 1] =~ s/\n/\r\n/gr : '';
        my $next = $at;
        if ($k && substr($value, $at, length($address) + length $literal[$k]) eq $address . $literal[$k]) { $next += length $address }
        elsif ($k && !$is_list) { return 0 }
        elsif ($k) { $next = $k == $#literal ? length($value) - length $literal[$k] : index $value, $literal[$k], $at }
        return 0 if $next < $at || substr($value, $next, length $literal[$k]) ne $literal[$k];
        $at = $next + length $literal[$k];
    }
    return $at == length $value;
}

# Headers of one of our messages that are not the sender's but for their addresses.
sub touched {
    my ($case, $m) = @_;
    my ($h) = fields($m->{data});
    my @in = @{ $case->{headers} };
    my %had = map { lc $_->[0] => 1 } @in;
    my @bad;
    shift @$h;
    for my $f (@$h) {
        my ($name, $value) = @$f;
        next if !$had{ lc $name } && $name =~ /^(?:Resent-)?(?:Message-Id|Date|From)$|^To$/;      # added behind them
        my $fits = 0;
        while (my $want = shift @in) {
            $fits = 1, last if $name eq $want->[0] && fits($value, $want->[1], scalar($name =~ $addresses), @{ $want->[2] });
            last if $name eq $want->[0];
        }
        push @bad, "$name:$value" unless $fits;
    }
    return @bad;
}

# Of mail of sendmail: SMTPUTF8 that something asks for, or not.
sub utf8_asked {
    my ($case) = @_;
    my @sent = grep { !is_notice($_) } @{ $case->{ours}{sent} };
    return unless $case->{args} && @sent && $case->{text} !~ /\xff/;
    my $need = grep { /[\x80-\xff]/ } @{ $case->{ours}{told} }, map { my $m = $_; $m->{mail}, map { @$_ } @{ (fields($m->{data}))[0] } } @sent;
    return map { ($_->{mail} =~ / SMTPUTF8/) == !!$need ? () : "SMTPUTF8: MAIL FROM:$_->{mail}" } @sent;
}

# ---- the run ----

my ($shown, %total) = (0);
sub show { my ($text) = @_; $shown++; diag $text if $shown < 150 || $ENV{POSTHORN_SHOW}; return }

sub differences {
    my ($ours, $theirs) = @_;
    my @o = split /\n/, $ours;
    my @t = split /\n/, $theirs;
    s{\r}{\\r}g for @o, @t;
    # What follows another reply is that one's consequence.
    if (join('', grep { /^reply/ } @o) ne join '', grep { /^reply/ } @t) { @$_ = grep { /^reply/ } @$_ for \@o, \@t }
    my (%o, %t);
    $o{$_}++ for @o;
    $t{$_}++ for @t;
    return join '', map({ "  ours:   $_\n" } grep { ($t{$_} // 0) < $o{$_} } @o), map { "  theirs: $_\n" } grep { ($o{$_} // 0) < $t{$_} } @t;
}

for my $n (1 .. $configurations) {
    my $dir = "$rig->{dir}/c$n";
    mkdir $dir;
    my $g = RewriteCases->new($seed * 1000 + $n, $dir, named_port => $rig->named_port, no_sendmail => !$ENV{POSTHORN_REWRITE});
    my $set = $g->configuration($n);
    my @cases = ((map { $g->message } 1 .. $messages), map { $g->probe } 1 .. ($ENV{POSTHORN_REWRITE} ? 4 : 0));
    next if $only && $only != $n;
    $mapped = grep { /canonical_maps|generic_maps/ } keys %$set;
    $silent = ($set->{default_transport} // '') eq 'error';
    $rig->configure($set, glob "$dir/*");
    $rig->give($_) for @cases;
    ok($rig->settle, "configuration $n: all leaves both");
    my @wrong;
    for my $case (@cases) {
        my ($ours, $theirs) = map { outcome($case, $_) } qw(ours theirs);
        my @bad = (utf8_asked($case), map { touched($case, $_) } grep { !is_notice($_) } @{ $case->{ours}{sent} });
        $total{ $case->{kind} }++;
        next if $ours eq $theirs && !@bad;
        my ($reason) = grep { $_->[1]->($case) } @reasons;
        if ($reason && !@bad) { $total{"differing: $reason->[0]"}++ }
        else { push @wrong, [$case, $ours, $theirs, @bad] }
    }
    ok(!@wrong, "configuration $n: of " . @cases . ' messages the same comes out') and next;
    show("$_ = $set->{$_}") for sort keys %$set;
    for my $file (glob "$dir/*") { show($file =~ s{.*/}{}r . ":\n" . Posthorn::slurp($file)) }
    for my $w (@wrong) {
        my ($case, $ours, $theirs, @bad) = @$w;
        show("-- $case->{kind} " . join ' ', map { "'$_'" } $case->{args} ? @{ $case->{args} } : ("<$case->{from}>$case->{mail_args}", map { "<$_->[0]>$_->[1]" } @{ $case->{to} }));
        show($case->{text} =~ s/^/    | /mgr);
        show(differences($ours, $theirs));
        show("  not the sender's: $_") for @bad;
    }
}
$rig->leave;
diag "$_: $total{$_}" for sort keys %total;
done_testing();
