# Smuggle.pm: attacks with the variants of Smuggle::Variants, and what became of
# them.  t/smuggle/README.md says what is proved and how to read a failure.
#
#     my $s = Smuggle->new(offset => 7);                     # which others are in the first sample
#     my $run = $s->attack('front', $port, 'data.test', ['data.test', 'bdat.test']);
#     $s->settle($ph, $peer);                                # nothing is under way any more
#     $s->judge($run, ours => 1);
#     $s->finish;                                            # prints the counts, ends the test
package Smuggle;
use strict;
use warnings;
use IO::Socket::INET;
use Socket qw(IPPROTO_TCP TCP_NODELAY);
use Test::More;
use Posthorn;
use Smuggle::Sink;
use Smuggle::Variants qw(variants sample lines_of ends_strict ends_loose);

# Nothing here asks for a disk that keeps what it is given.
BEGIN { $ENV{TMPDIR} //= '/dev/shm' if -w '/dev/shm' && (qx(df -k --output=avail /dev/shm) =~ /(\d+)\s*\z/ ? $1 : 0) > 500_000 }

my $replay = $ENV{SMUGGLE};                     # a name, or a pattern of names, or "all"

sub new {
    my ($class, %o) = @_;
    my $self = bless { offset => $o{offset} // 0, sample => $o{sample} // 60, runs => 0, split => 0, seen => {}, expected => 0 }, $class;
    $self->{sink} = Smuggle::Sink->new(
        data => ['8BITMIME', 'SIZE 100000000'], bdat => ['8BITMIME', 'CHUNKING', 'SIZE 100000000'], lmtp => ['8BITMIME'], seven => ['SIZE 100000000'],
        dsn => ['8BITMIME', 'CHUNKING', 'DSN', 'SMTPUTF8']);
    return $self;
}

sub sink { my ($self, $name) = @_; return $self->{sink}->port($name) }

# Those that are asked for, with the message inside addressed to $domain.
sub variants_for {
    my ($self, $domain, $wanted) = @_;
    my @v = grep { !$wanted || $wanted->($_) } variants($domain);
    return sample($self->{sample}, $self->{offset}++, @v) unless $replay;
    return @v if $replay eq 'all';
    return grep { $_->{name} eq $replay } @v if grep { $_->{name} eq $replay } variants($domain);
    return grep { $_->{name} =~ /$replay/ } @v;
}

# ---- the client ----

# Until the server has read all that was sent: its end of the connection has nothing to be read.
sub until_read {
    my ($s) = @_;
    my ($here, $there) = map { sprintf ':%04X', $_ } $s->sockport, $s->peerport;
    return Posthorn::wait_for(sub { Posthorn::slurp('/proc/net/tcp') !~ /^ *\d+: \w+\Q$there\E \w+\Q$here\E \w+ \w+:(?!00000000)/m }, 10);
}

sub put_content {
    my ($c, $v, $content) = @_;
    my $cut = $v->{cut} // ($v->{bytes} ? index($content, 'begin') : undef);
    return $c->put($content) unless defined $cut;
    $c->put(substr $content, 0, $cut, '');
    until_read($c->{s});
    if ($v->{bytes}) { $c->put($_) for split //, substr $content, 0, 200, '' }
    return $c->put($content);
}

# A command, which may be several for who reads it so; the last reply.
sub say_all { my ($c, $command) = @_; $c->put("$command\r\n"); my $n = 1 + $command =~ tr/\n//; my ($code, $text) = (0, ''); ($code, $text) = $c->reply for 1 .. $n; return $code }

sub innocent { my ($id) = @_; return "From: v$id\@a.test\r\nTo: r\@b.test\r\nDate: Thu, 01 Jan 2026 00:00:00 +0000\r\nMessage-ID: <v$id\@a.test>\r\nSubject: variant\r\n\r\nbegin\r\nthe end of $id\r\n" }

# One variant in a session of its own: all replies from the content on.
sub session {
    my ($port, $v, @domains) = @_;
    my $c = Posthorn::Client->new(port => $port, timeout => 10) or die "port $port: $!";
    setsockopt $c->{s}, IPPROTO_TCP, TCP_NODELAY, 1;
    say_all($c, 'EHLO ' . ($v->{helo} // 'client.test'));
    say_all($c, $v->{mail} // "MAIL FROM:<v$v->{id}\@a.test>");
    my @rcpt = map { "RCPT TO:<r\@$_>" } @domains;
    splice @rcpt, 0, $v->{kind} eq 'bdat' ? scalar @rcpt : 1, @{ $v->{rcpt} } if $v->{rcpt};
    say_all($c, $_) for @rcpt;
    my $content = $v->{content};
    if ($v->{kind} ne 'bdat') { $content = say_all($c, 'DATA') == 354 ? ($content // innocent($v->{id})) . ".\r\n" : '' }
    put_content($c, $v, $content . ($v->{short} ? '' : "QUIT\r\n"));
    shutdown $c->{s}, 1;
    my @lines;
    while (defined(my $l = $c->line)) {
        push @lines, $l;
        last if $l =~ /^500 .*Pipelining not supported/;         # OpenSMTPD reads no more, but is slow to hang up
    }
    return @lines;
}

my $taken = qr/^250[ -](?:.*queued as|OK id=|2\.0\.0 \w+ Message accepted)/;

# All variants at a port: a run, to be judged.  The first of the domains is that of the message inside.
sub attack {
    my ($self, $name, $port, @domains) = @_;
    return $self->attack_with($name, $port, undef, @domains);
}

sub attack_with {
    my ($self, $name, $port, $wanted, @domains) = @_;
    my %run = (name => $name, domains => \@domains);
    for my $v ($self->variants_for($domains[0], $wanted)) {
        my @replies = session($port, $v, @domains);
        my $n = grep { /$taken/ } @replies;
        $self->expect(\%run, $v, $n, @replies);
    }
    return \%run;
}

# $n messages of this variant are to arrive.
sub expect {
    my ($self, $run, $v, $n, @replies) = @_;
    push @{ $run->{tried} }, { v => $v, accepted => $n, replies => \@replies };
    $self->{expected} += $n * @{ $run->{domains} };
    $self->{seen}{ $v->{name} } = 1;
    return;
}

# Wait until everything that was accepted has arrived and no queue has anything,
# or, since a system may be refused by the next, until for long nothing moves.
sub settle {
    my ($self, @systems) = @_;
    my ($before, $still, $was, $settled) = ('', 0);
    my $step = sub {
        my @left = map { scalar $_->queued } @systems;
        my $n = $self->{sink}->records;
        my $idle = !grep { $_ } @left;
        $still = $idle && "$n @left" eq $before ? $still + 1 : 0;
        $before = "$n @left";
        return $idle && ($n >= $self->{expected} || $still == 50);
    };
    # As long as anything moves: how slow the other system is says nothing about us.
    # OpenSMTPD now and then waits for ever behind a reply; started anew it sends that message, by its id, again.
    my $again = 0;
    while (1) {
        do { ($was, $settled) = ($before, Posthorn::wait_for($step, $again ? 20 : 40)) } until $settled || $before eq $was;
        last if $settled || $again++ == 5;
        do { $_->stop; $_->start } for grep { $_->isa('Peer') && $_->queued } @systems;
    }
    diag "still queued: $before\n", map { substr $_->log, -2000 } @systems if !$settled;
    my (%by, %once);
    for my $r ($self->{sink}->records) {
        next if $again && $once{"@{ $r->{to} } $r->{raw}"}++;
        my ($which) = $r->{from} =~ /^"?([ve]\d+)(?!\d)/ or next;
        my %domains = map { (/\@([^\@]+)\z/ ? $1 : $_) => 1 } @{ $r->{to} };
        push @{ $by{$which}{$_} }, $r for keys %domains;
    }
    $self->{by} = \%by;
    return;
}

# ---- the verdict ----

sub letters { my ($s) = @_; return $s =~ tr/A-Za-z0-9//cdr }

# Why what goes over the wire could be read in two ways; undef: it cannot.
sub unsafe {
    my ($r) = @_;
    return 'a CR without LF' if $r->{raw} =~ /\r(?!\n)/;
    return 'an LF without CR' if $r->{raw} =~ /(?<!\r)\n/;
    return 'a line that begins with one dot' if $r->{how} ne 'bdat' && $r->{raw} =~ /^\.(?!\.)/m;
    return;
}

# What of the content must be there, from where it begins to be ours alone; undef: that cannot be said.
sub expected_text {
    my ($v, %o) = @_;
    my $sent = $v->{text} // $v->{content} // return;
    my $end = $o{stdin} ? undef : $o{loose} && $v->{kind} eq 'data' ? ends_loose($sent) : $v->{control} ? ends_strict($sent) : undef;
    $sent = substr $sent, 0, $end if defined $end;
    $sent =~ s/\0[^\n]*//g if $o{cut_at_nul};
    return $sent =~ s/\A.*?(?=X-Begin|begin)//sr if $sent =~ /X-Begin|begin/;
    return $sent;
}

# Why this is not the whole message; undef: it is.
sub incomplete {
    my ($v, $r, %o) = @_;
    my $sent = expected_text($v, %o) // return;
    my ($is, $should) = map { letters($_) } $r->{text} =~ s/\A.*?(?=X-Begin|begin)//sr, $sent;
    return 'it does not begin as it should' if $o{part} && index($should, $is) != 0 && $r->{text} =~ /X-Begin|begin/;
    return if $o{part};
    return 'not all of it is there' if index(letters($r->{text}), $should) < 0;
    return 'there is more than it should be' if $o{ours} && !$o{stdin} && ($v->{control} && $o{strict} || $o{loose}) && $v->{kind} eq 'data' && $r->{text} =~ /begin/ && $is ne $should;
    return unless $o{ours} && $o{strict} && $v->{exact} && !$v->{control} && $v->{content} !~ /[^\n]{999}/;
    my $want = join '', map { "$_\r\n" } lines_of($v->{text} // $v->{content}, $v->{kind} eq 'data');
    ($is, $should) = map { s/\A.*?\r\n\r\n//sr } $r->{text}, $want;
    return 'it is not byte for byte what it should be' if $is ne $should;
    return;
}

# Why not so many messages should have been accepted; undef: they should.
sub wrong_count {
    my ($v, $n, $evil, %o) = @_;
    return $n == 1 ? undef : 'sendmail did not take it' if $o{stdin};
    if ($v->{control}) { return $v->{two} && $o{patient} && ($n != 2 || $evil != 1) ? "$n messages were accepted, $evil of them inside, not 2 and 1" : undef }
    return if $v->{eager} && $o{patient};       # the client asked for what it gets
    return "$evil messages came out of one" if $evil && !$o{loose};
    return if $o{loose} && $v->{kind} eq 'data';
    my $want = $o{reject} && $v->{kind} eq 'data' && $v->{content} =~ /(?<!\r)\n/ ? 0 : $o{reject} && $v->{kind} eq 'bdat' && $n == 0 ? 0 : $v->{want};
    return "accepted $n times" if $n > 1 || defined $want && $n != $want;
    return;
}

sub why_not {
    my ($self, $run, $t, %o) = @_;
    my ($v, $n) = @$t{qw(v accepted)};
    my ($inner, @domains) = ($run->{domains}[0], @{ $run->{domains} });
    my $evil = @{ $self->{by}{"e$v->{id}"}{$inner} // [] };
    my $first = @{ $self->{by}{"v$v->{id}"}{$inner} // [] };
    my $wrong = $o{strict} || $o{loose} || $o{stdin} ? wrong_count($v, $n, $evil, %o) : undef;
    return $wrong if $wrong;
    # What the next one refuses of an envelope does not arrive at all.
    my $refused = !($o{strict} && $o{ours}) && $v->{kind} eq 'mail' && !$first;
    return "accepted $n, arrived " . ($first + $evil) if !$v->{rcpt} && !$refused && $first + $evil != $n;
    # The first reader, another's, may have read the end of it as commands, and what is no header may stand among its own.
    my $odd = ($v->{follow} // '') eq 'quit' || ($v->{where} // '') eq 'start' || grep({ /^5/ } @{ $t->{replies} }) || 2 < grep { /^\d{3} / } @{ $t->{replies} };
    my $whole = $o{strict} || $o{loose} || $o{stdin} ? $n == 1 || $v->{control} : $n == 1 && !$odd;
    for my $d (@domains) {
        my @got = @{ $self->{by}{"v$v->{id}"}{$d} // [] };
        my $may_lack = $evil || $n != 1 || $refused || ($v->{rcpt} && $d eq $inner);   # its recipient was what was tried
        return @got . " arrived at $d" if @got > 1 || (!@got && !$may_lack);
        for my $r (@got) {
            my $why = $o{ours} ? unsafe($r) : undef;
            $why //= incomplete($v, $r, %o) if $whole && !$o{converted}{$d};
            return "$d by $r->{how}: $why" if $why;
        }
    }
    return;
}

# strict    what is one message by RFC 5321 is accepted once; else: no more arrive than the first reader saw
# patient   ... and clients may pipeline as they like: of controls both are seen
# reject    ... but for what has a bare LF
# loose     the content ends where it ended of old
# stdin     it came by sendmail; part: a lone dot may have ended it
# cut_at_nul  the other reads lines as C strings
# ours      we sent it last;  converted {domain => 1}: the text is not compared
sub judge {
    my ($self, $run, %o) = @_;
    for my $t (@{ $run->{tried} }) {
        my $why = $self->why_not($run, $t, %o);
        $self->{runs} += @{ $run->{domains} };
        $self->{split}++ if $why;
        ok(!$why, "$run->{name}: $t->{v}{name}") or diag "$why\nreplies: @{ $t->{replies} }\nalone: SMUGGLE='$t->{v}{name}' prove -It/lib $0\n", map { "arrived: $_->{from} by $_->{how}: " . Smuggle::Variants::shown($_->{raw}) . "\n" } map { map { @$_ } values %{ $self->{by}{"$_$t->{v}{id}"} // {} } } 'v', 'e';
    }
    return;
}

sub finish {
    my ($self) = @_;
    my @stray = map { $_->{from} } grep { $_->{how} eq 'stray' } $self->{sink}->records;
    is_deeply(\@stray, [], 'no content was read as a command at the end');
    my $line = sprintf '%d variants, %d runs, %d split', scalar keys %{ $self->{seen} }, @$self{qw(runs split)};
    diag "smuggle: $line ($0)";
    if (my $tally = $ENV{SMUGGLE_TALLY}) { open my $out, '>>', $tally or die "$tally: $!"; print $out "$line\n" }
    return done_testing();
}

1;
