# RewriteSink.pm: where all mail of the rewriting tests ends.  One process is
# the name server of a network of its own (every name has one address below
# 127.16, none has an exchanger) and a mail server at every address, with one
# port for each transport.  So it sees what was chosen: the transport by its
# port, the next hop by the address that was asked for.
#
#     my $sink = RewriteSink->new('local', 'smtp');
#     $sink->port('smtp');
#     for ($sink->fresh) { $_->{transport}, $_->{hop}, $_->{helo}, $_->{mail}, @{ $_->{rcpt} }, $_->{data} }
package RewriteSink;
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use Posthorn;

sub new {
    my ($class, @transports) = @_;
    my $tmp = File::Temp->newdir('posthorn-sink-XXXXXX', TMPDIR => 1, CLEANUP => 1);
    my $self = bless { tmp => $tmp, file => "$tmp/messages", read => 0, hop => {}, address => {} }, $class;
    my %listen = map { $_ => IO::Socket::INET->new(Listen => 1000, LocalAddr => '0.0.0.0') || die "sink: $!" } @transports;
    $self->{port} = { map { $_ => $listen{$_}->sockport } @transports };
    my $dns = IO::Socket::INET->new(Proto => 'udp', LocalAddr => '127.0.0.1', LocalPort => 53) or die "name server: $!";
    $self->{pid} = Posthorn::child(sub { $self->loop($dns, %listen) });
    return $self;
}

sub port { $_[0]{port}{ $_[1] } }
sub stop { my ($self) = @_; Posthorn::end_child(delete $self->{pid}) if $self->{pid}; return }
sub DESTROY { my ($self) = @_; local ($?, $!, $@); $self->stop }

sub loop {
    my ($self, $dns, %listen) = @_;
    open $self->{out}, '>', $self->{file} or die "$self->{file}: $!";
    my $select = IO::Select->new($dns, values %listen);
    my %transport = map { fileno($listen{$_}) => $_ } keys %listen;
    my %talk;
    while (my @ready = $select->can_read) {
        for my $fh (@ready) {
            my $fd = fileno $fh;
            if ($fh == $dns) {
                my $from = $dns->recv(my $query, 2000);
                $dns->send($self->answer($query), 0, $from) if $from && length $query > 16;
            } elsif ($transport{$fd}) {
                my $c = $fh->accept or next;
                $select->add($c);
                $talk{ fileno $c } = { c => $c, buf => '', transport => $transport{$fd}, hop => $self->{hop}{ $c->sockhost } // $c->sockhost, rcpt => [] };
                syswrite $c, "220 sink.test ESMTP\r\n";
            } else {
                my $t = $talk{$fd};
                next if sysread($fh, $t->{buf}, 262144, length $t->{buf}) && $self->serve($t);
                $select->remove($fh);
                delete $talk{$fd};
                close $fh;
            }
        }
    }
    return;
}

# What an A query gets; other types exist nowhere.
sub answer {
    my ($self, $q) = @_;
    my ($at, @labels) = (12);
    while (my $n = ord substr $q, $at, 1) { push @labels, substr $q, $at + 1, $n; $at += $n + 1 }
    my ($name, $type) = (lc join('.', @labels), unpack 'n', substr $q, $at + 1, 2);
    my $question = substr $q, 12, $at + 5 - 12;
    return substr($q, 0, 2) . pack('CCnnnn', 0x85, 0x80, 1, 0, 0, 0) . $question if $type != 1;
    my $address = $self->{address}{$name} //= do {
        my $k = 1 + keys %{ $self->{address} };
        my $ip = sprintf '127.16.%d.%d', $k / 250, 1 + $k % 250;
        $self->{hop}{$ip} = $name;
        $ip;
    };
    return substr($q, 0, 2) . pack('CCnnnn', 0x85, 0x80, 1, 1, 0, 0) . $question . pack('nnnNn', 0xc00c, 1, 1, 3600, 4) . pack 'C4', split /\./, $address;
}

# Answer what is whole of the client's input; false at QUIT.
sub serve {
    my ($self, $t) = @_;
    my ($reply, $quit) = ('');
    until ($quit) {
        if ($t->{data}) {
            my $end = $t->{buf} =~ /^\.\r\n/ ? 0 : index $t->{buf}, "\r\n.\r\n";
            last if $end < 0;
            my $data = $end ? substr $t->{buf}, 0, $end + 2 : '';
            substr $t->{buf}, 0, $end + ($end ? 5 : 3), '';
            $data =~ s/^\.//mg;
            my $fields = pack '(N/a*)*', @$t{qw(transport hop helo mail)}, join("\n", @{ $t->{rcpt} }), $data;
            syswrite $self->{out}, pack('N', length $fields) . $fields;       # one write: fresh() sees it whole
            $t->{data} = 0;
            $t->{rcpt} = [];
            $reply .= "250 2.0.0 Ok\r\n";
            next;
        }
        $t->{buf} =~ s/^([^\n]*?)\r?\n// or last;
        my $line = $1;
        if ($line =~ /^(?:EHLO|HELO|LHLO) (.*)/i) {
            $t->{helo} = $1;
            $reply .= "250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-DSN\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES\r\n";
        }
        elsif ($line =~ /^DATA/i) { $t->{data} = 1; $reply .= "354 go\r\n" }
        elsif ($line =~ /^QUIT/i) { $quit = 1; $reply .= "221 2.0.0 bye\r\n" }
        else {
            if ($line =~ /^MAIL FROM:(.*)/i) { $t->{mail} = $1; $t->{rcpt} = [] }
            elsif ($line =~ /^RCPT TO:(.*)/i) { push @{ $t->{rcpt} }, $1 }
            $reply .= "250 2.0.0 ok\r\n";
        }
    }
    syswrite $t->{c}, $reply if length $reply;
    return !$quit;
}

# The messages that came since the last call.
sub fresh {
    my ($self) = @_;
    open my $in, '<:raw', $self->{file} or return;
    seek $in, $self->{read}, 0;
    local $/;
    my $bytes = <$in> // '';
    my ($at, @new) = (0);
    while (length($bytes) - $at >= 4) {
        my $n = unpack 'N', substr $bytes, $at, 4;
        last if length($bytes) - $at < 4 + $n;
        my ($transport, $hop, $helo, $mail, $rcpt, $data) = unpack '(N/a*)*', substr $bytes, $at + 4, $n;
        push @new, { transport => $transport, hop => $hop, helo => $helo, mail => $mail, rcpt => [split /\n/, $rcpt], data => $data };
        $at += 4 + $n;
    }
    $self->{read} += $at;
    return @new;
}

1;
