# Smuggle/Sink.pm: the far end.  It speaks SMTP with or without CHUNKING and
# 8BITMIME, and LMTP, reads strictly, and keeps each transaction with its content
# exactly as it came over the wire, dots and all.
package Smuggle::Sink;
use strict;
use warnings;
use File::Temp ();
use Posthorn;

# new(name => [EHLO keywords], ...): a server for each; "lmtp" is one that answers each recipient.
sub new {
    my ($class, %servers) = @_;
    my $tmp = File::Temp->newdir('smuggle-XXXXXX', TMPDIR => 1, CLEANUP => 1);
    my $self = bless { tmp => $tmp, file => "$tmp/records", at => 0, rest => '', records => [] }, $class;
    Posthorn::spew($self->{file}, '');
    for my $name (keys %servers) {
        $self->{server}{$name} = Posthorn::Sink->new(session => sub { session($self, $name, $_[0], @{ $servers{$name} }) });
    }
    return $self;
}

sub port { my ($self, $name) = @_; return $self->{server}{$name}->port }

# ---- one session ----

# Up to and with the first match of $end, or $end bytes: what came before it, or undef when the peer left.
sub take {
    my ($x, $end) = @_;
    while (1) {
        return substr $x->{buf}, 0, $end, '' if !ref $end && length $x->{buf} >= $end;
        return substr $x->{buf}, 0, $+[0], '' if ref $end && $x->{buf} =~ $end;
        sysread $x->{c}, $x->{buf}, 65536, length $x->{buf} or return;
    }
}

sub answer { my ($x, @lines) = @_; syswrite $x->{c}, join '', map { "$_\r\n" } @lines; return }

sub record {
    my ($x, $how, $raw) = @_;
    open my $out, '>>:raw', $x->{file} or die "records: $!";
    syswrite $out, sprintf("%d %s %s %s\n", length $raw, $how, $x->{from} =~ s/\s/_/gr, join(',', map { s/\s/_/gr } @{ $x->{to} })) . $raw;
    my $ok = '250 2.0.0 Ok: queued as SINK';
    answer($x, $x->{lmtp} ? ($ok) x @{ $x->{to} } : $ok);
    @$x{qw(from to chunks)} = ('', [], '');
    return;
}

# A dot counts behind CRLF only; DATA's own is one.
sub data {
    my ($x) = @_;
    answer($x, '354 go');
    $x->{buf} = "\r\n$x->{buf}";
    my $raw = take($x, qr/\r\n\.\r\n/) // return;
    record($x, $x->{lmtp} ? 'lmtp' : 'data', substr $raw, 2, -3);
    return 1;
}

sub bdat {
    my ($x, $n, $last) = @_;
    my $chunk = take($x, $n) // return;
    $x->{chunks} .= $chunk;
    if ($last) { record($x, 'bdat', $x->{chunks}) }
    else { answer($x, '250 2.0.0 more') }
    return 1;
}

sub session {
    my ($self, $name, $c, @offer) = @_;
    my $x = { c => $c, buf => '', file => $self->{file}, from => '', to => [], chunks => '', lmtp => scalar($name =~ /lmtp/) };
    answer($x, '220 sink.test ESMTP');
    while (defined(my $l = take($x, qr/\r\n/))) {
        $l =~ s/\r\n\z//;
        if ($l =~ /^(?:EHLO|LHLO|HELO)/) { answer($x, (map { "250-$_" } 'sink.test', @offer), '250 PIPELINING') }
        elsif ($l =~ /^MAIL FROM:<(.*)>/) { @$x{qw(from to)} = ($1, []); answer($x, '250 2.1.0 ok') }
        elsif ($l =~ /^RCPT TO:<(.*)>/) { push @{ $x->{to} }, $1; answer($x, '250 2.1.5 ok') }
        elsif ($l =~ /^DATA\z/) { data($x) or return }
        elsif ($l =~ /^BDAT (\d+)( LAST)?\z/) { bdat($x, $1, $2) or return }
        elsif ($l =~ /^(?:RSET|NOOP)\z/) { answer($x, '250 2.0.0 ok') }
        elsif ($l =~ /^QUIT\z/) { answer($x, '221 2.0.0 bye'); return }
        else { @$x{qw(from to)} = ("no command: $l", []); record($x, 'stray', ''); answer($x, '500 5.5.2 what') }
    }
    return;
}

# ---- what arrived ----

# All so far: {how, from, to, raw, text}.  A command that nobody knows is one too: content that was read as commands.
sub records {
    my ($self) = @_;
    open my $in, '<:raw', $self->{file} or die "records: $!";
    seek $in, $self->{at}, 0;
    local $/;
    $self->{rest} .= my $new = <$in> // '';
    $self->{at} += length $new;
    while ($self->{rest} =~ /\A(\d+) (\S+) (\S*) (\S*)\n/) {
        my ($n, $how, $from, $to, $skip) = ($1, $2, $3, $4, $+[0]);
        last if length $self->{rest} < $skip + $n;
        my $raw = substr $self->{rest}, $skip, $n;
        substr $self->{rest}, 0, $skip + $n, '';
        my $text = $how eq 'bdat' ? $raw : $raw =~ s/(\A|\r\n)\./$1/gr;
        push @{ $self->{records} }, { how => $how, from => $from, to => [split /,/, $to], raw => $raw, text => $text };
    }
    return @{ $self->{records} };
}

1;
