# Operations.pm: the ways of a message through the queue, each as one function
# that drives it to its end, and the oracle that says where it is.
package Operations;
use strict;
use warnings;
use Faults;
use JSON::PP ();
use Posthorn;
use Test::More ();

# tokens name messages: each has a mailbox and an address at the far side of its own.
sub new {
    my ($class, %set) = @_;
    my $self = bless { serial => 0, sent => {}, log_at => 0 }, $class;
    my $box = $self->{box} = File::Temp->newdir('posthorn-far-XXXXXX', TMPDIR => 1, CLEANUP => 1);
    $self->{sink} = Posthorn::Sink->new(
        rcpt => sub { my ($line, $to) = @_; far_rcpt("$box", $to) },
        eod => sub { my ($from, $to, $body) = @_; return far_take("$box", $to, $body) });
    $self->{faults} = Faults->new(
        relayhost => '[127.0.0.1]:' . $self->{sink}->port, minimal_backoff_time => '1s', maximal_backoff_time => '2s', queue_run_delay => '1s',
        smtp_destination_concurrency_limit => 1,
        (map { ("smtp_${_}_timeout" => '5s') } qw(helo mail rcpt data_init data_done data_xfer quit rset)), default_destination_concurrency_failed_cohort_limit => 0,
        recipient_canonical_maps => 'pcre:{{/^nick-(\w+)@/ list-$$1}}', recipient_bcc_maps => 'pcre:{{/^list-(\w+)@/ ok-$${1}o@far.test}}',
        virtual_alias_maps => 'pcre:{{/^list-(\w+)@/ ok-$$1@far.test, $${1}l@example.test}}', %set);
    $self->{ph} = $self->{faults}->ph;
    return $self;
}

sub start { my ($self) = @_; $self->{ph}->start; return $self }

# ---- the far side: ok-T takes it, once-T only when told, no-T never, gate-T waits ----

sub far_rcpt {
    my ($box, $to) = @_;
    my ($how, $t) = $to =~ /^(\w+)-(\w+)\@/ or return '550 5.1.1 who';
    return '550 5.1.1 no such user' if $how eq 'no';
    return '450 4.2.0 not now' if $how eq 'once' && !-e "$box/open-$t";
    if ($how eq 'gate') {
        Posthorn::spew("$box/at-$t", '');
        Posthorn::wait_for(sub { -e "$box/open-$t" }, 20);
    }
    return '250 2.1.5 ok';
}

sub far_take {
    my ($box, $to, $body) = @_;
    for (@$to) {
        /^\w+-(\w+)\@/ or next;
        open my $f, '>>', "$box/got-$1" or return '451 4.3.0 no';
        print $f length($body), "\n";
    }
    return '250 2.0.0 Ok: queued as SINK';
}

sub open_far { my ($self, $t) = @_; Posthorn::spew("$self->{box}/open-$t", ''); return }

# ---- what became of a message ----

sub delivered {
    my ($self, $t) = @_;
    my $far = () = Posthorn::slurp("$self->{box}/got-$t") =~ /\n/g;
    my @near = glob "$self->{ph}{dir}/mail/$t/new/*";
    return $far + @near;
}

# What its sender was told: {sender} of a token that came with another.
sub notices { my ($self, $t) = @_; my $of = $self->{sender}{$t} // $t; return map { Posthorn::slurp($_) } glob "$self->{ph}{dir}/mail/b-$of/new/*" }
sub bounced { my ($self, $t) = @_; return scalar grep { /^Final-Recipient: .*\b$t\@.*\r?\n(?:.+\n)*?Action: failed/m } $self->notices($t) }
sub reported { my ($self, $t) = @_; return scalar grep { /^Action: expanded/m } $self->notices($t) }
sub ended { my ($self, $t) = @_; return $self->delivered($t) + $self->bounced($t) }
sub flush { my ($self) = @_; $self->postqueue('-f'); return }
sub queued { my ($self, $t) = @_; return grep { grep { $_->{address} =~ /\b$t\@/ } @{ $_->{recipients} } } $self->all_queued }
sub all_queued { my ($self) = @_; return map { JSON::PP::decode_json($_) } grep { /^\{/ } split /\n/, $self->postqueue('-j') }

# A service that a fault made silent must not keep the test waiting.
sub postqueue { my ($self, @args) = @_; return $self->{ph}->run('timeout', '10', $self->{ph}->sbin('postqueue'), '-c', $self->{ph}->dir, @args) }

# Before the process that made it goes by another way than exit.
sub stop { my ($self) = @_; $self->{ph}->stop; $self->{sink}->stop; return }

# Until it has ended; flushes hurry it.
sub settle {
    my ($self, $t, $seconds) = @_;
    my $turns = 0;
    return Posthorn::wait_for(sub { return 1 if $self->ended($t); $self->flush if ++$turns == 10 || $turns % 25 == 0; return 0 }, $seconds || 12);
}

# New lines of the log.
sub new_log {
    my ($self) = @_;
    open my $in, '<:raw', "$self->{ph}{dir}/log/posthorn.log" or return '';
    seek $in, $self->{log_at}, 0;
    local $/;
    my $text = <$in> // '';
    $self->{log_at} += length $text;
    return $text;
}

sub token { my ($self) = @_; return sprintf 't%05d', ++$self->{serial} }

# ---- submission ----

sub body { my ($t, $bytes) = @_; return "Subject: $t\r\nX-Tag: $t\r\n\r\n" . ("0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab\r\n" x int($bytes / 62)) }

# A disk that others keep busy takes its time.
my $patience = 60;

# One transaction: its reply, and whether a 250 was said, noted by token.  {client}:
# a session that was begun before.
sub say_mail {
    my ($self, $t, %o) = @_;
    my $began = time;
    my @r = eval {
        my $c = delete $self->{client} || $self->{ph}->smtp(timeout => $patience) or die "no connection\n";
        my %m = (from => "b-$t\@example.test", to => $o{to} || "$t\@example.test", body => body($t, $o{bytes} || 100), rcpt_args => $o{rcpt_args});
        $o{bdat} ? bdat($c, %m) : $c->send(%m);
    };
    my ($code, $text) = @r ? @r : (0, $@);
    $text ||= time - $began < $patience ? 'connection closed' : "no answer in $patience s" if !$code;
    $self->{sent}{$t} = { code => $code, text => $text };
    return $code == 250;
}

sub bdat {
    my ($c, %m) = @_;
    my @r;
    for my $line ('EHLO client.test', "MAIL FROM:<$m{from}>", "RCPT TO:<$m{to}>") {
        @r = $c->ask($line);
        return @r unless $r[0] == 250;
    }
    my $half = int(length($m{body}) / 2);
    $c->put("BDAT $half\r\n" . substr $m{body}, 0, $half);
    @r = $c->reply;
    return @r unless $r[0] == 250;
    $c->put('BDAT ' . (length($m{body}) - $half) . " LAST\r\n" . substr $m{body}, $half);
    return $c->reply;
}

sub id_of { my ($self, $t) = @_; return ($self->{sent}{$t}{text} // '') =~ /queued as (\w+)/ ? $1 : undef }

# Whether qmgr is done with it; a fault of the next point would meet what it still does.
sub is_removed {
    my ($self, $t) = @_;
    my $id = $self->id_of($t) // return 1;
    my $at = $self->{log_at};
    my $said = $self->new_log;
    $self->{log_at} = $at;
    return $said =~ /\b$id: removed/;
}

# What the log says from its message's first line to the last.
sub story {
    my ($self, $t) = @_;
    my $id = $self->id_of($t) // return '';
    return $self->{ph}->log =~ /^([^\n]*\b$id\b.*\b$id\b[^\n]*\n)/ms ? $1 : '';
}

sub wait_deferred {
    my ($self, $t) = @_;
    return Posthorn::wait_for(sub { my ($q) = $self->queued($t); $q && $q->{queue_name} eq 'deferred' }, 5);
}

# ---- operations: each takes a token and ends when its message has, if it was accepted ----

our @order = qw(accept accept-large accept-bdat sendmail smtp defer bounce hold requeue expire expand restart);
our %run = (
    'accept' => sub { my ($self, $t) = @_; return $self->say_mail($t) && $self->settle($t) },
    'accept-large' => sub { my ($self, $t) = @_; return $self->say_mail($t, bytes => 300_000) && $self->settle($t) },
    'accept-bdat' => sub { my ($self, $t) = @_; return $self->say_mail($t, bytes => 2000, bdat => 1) && $self->settle($t) },
    'sendmail' => sub {
        my ($self, $t) = @_;
        my $out = $self->{faults}->command_in(body($t, 100), $self->{ph}->sbin('sendmail'), '-C', $self->{ph}->dir, '-i', '-f', "b-$t\@example.test", "$t\@example.test");
        $self->{sent}{$t} = { code => $? ? 400 + ($? >> 8) : 250, text => $out };
        return $? == 0 && $self->settle($t);
    },
    'smtp' => sub { my ($self, $t) = @_; return $self->say_mail($t, to => "ok-$t\@far.test") && $self->settle($t) },
    'defer' => sub {
        my ($self, $t) = @_;
        my $taken = $self->say_mail($t, to => "once-$t\@far.test");
        $self->wait_deferred($t) if $taken;
        $self->open_far($t);               # it may be there without our knowing
        return 0 unless $taken;
        $self->flush;
        return $self->settle($t);
    },
    'bounce' => sub { my ($self, $t) = @_; return $self->say_mail($t, to => "no-$t\@far.test") && $self->settle($t) },
    'hold' => sub { my ($self, $t) = @_; return $self->with_postsuper($t, ['-h'], ['-H']) },
    'requeue' => sub { my ($self, $t) = @_; return $self->with_postsuper($t, ['-r']) },
    'expire' => sub { my ($self, $t) = @_; return $self->with_postsuper($t, ['-e']) },
    'expand' => sub { my ($self, $t) = @_; return $self->expand($t) },
    'restart' => sub { my ($self, $t) = @_; return $self->restart($t) },
);

# A deferred message, then postsuper; a fault may have made it not deferred, or
# the command fail: the message must end all the same.
sub with_postsuper {
    my ($self, $t, @with) = @_;
    if (!$self->say_mail($t, to => "once-$t\@far.test")) {
        $self->open_far($t);
        return 0;
    }
    $self->wait_deferred($t);
    my $id = $self->id_of($t);
    for my $how (@with) {
        for my $try (1, 2) {
            my $out = $self->{faults}->command($self->{ph}->sbin('postsuper'), '-c', $self->{ph}->dir, @$how, $id);
            last if $out =~ /: 1 message/;
        }
    }
    $self->open_far($t) unless $with[0][0] eq '-e';
    $self->flush;
    return $self->settle($t);
}

# A name that is mapped to an alias of two, which has a copy: tokens of their own
# for the second and the copy.  The sender hears that it was expanded.
sub expand {
    my ($self, $t) = @_;
    my $taken = $self->say_mail($t, to => "nick-$t\@example.test", rcpt_args => 'NOTIFY=SUCCESS,FAILURE');
    for (qw(l o)) { $self->{sent}{"$t$_"} = $self->{sent}{$t}; $self->{sender}{"$t$_"} = $t }
    return 0 unless $taken;
    my $ok = 1;
    for (map { "$t$_" } '', 'l', 'o') { $ok = 0 unless $self->settle($_) }
    Posthorn::wait_for(sub { $self->reported($t) }, 5);
    return $ok;
}

# One message at the far side's door and one behind it in its slot, one deferred:
# the queue manager is killed, and the next one finds all.
sub restart {
    my ($self, $t) = @_;
    my ($late, $old) = ("${t}l", "${t}o");
    my $ok = $self->say_mail($old, to => "once-$old\@far.test") && $self->wait_deferred($old);
    $ok = $self->say_mail($t, to => "gate-$t\@far.test") && $ok;
    Posthorn::wait_for(sub { -e "$self->{box}/at-$t" }, 5);
    $ok = $self->say_mail($late, to => "ok-$late\@far.test") && $ok;
    my %p = $self->{ph}->processes;
    my ($qmgr) = grep { $p{$_} =~ /-n qmgr/ } keys %p;
    kill 'KILL', $qmgr if $qmgr;
    Posthorn::wait_for(sub { my %q = $self->{ph}->processes; grep { $q{$_} =~ /-n qmgr/ && $_ != ($qmgr // 0) } keys %q }, 5);
    $self->open_far($_) for $t, $old;
    $self->flush;
    for ($t, $late, $old) { $ok = 0 if ($self->{sent}{$_}{code} // 0) == 250 && !$self->settle($_) }
    return $ok;
}

1;
