# Crash.pm: one process of a running instance is killed at one of its system
# calls; then everybody does what they would (the master restarts it, clients
# send again, an administrator flushes), and an oracle looks at what became of
# the mail.  What is done is in CrashOps.pm; README.md in t/crash says more.
package Crash;
use strict;
use warnings;
use Posthorn;
use Time::HiRes ();

our $attach = "$Posthorn::build/t/crash/attach";
my $KILLS = 9;                  # of one service: then the master would throttle it
my $SETTLE_S = 30;
my %notice_window;

# The processes that may be killed, by their command lines.
my %service = (
    smtpd => qr/-n smtp -t inet/, qmgr => qr/-n qmgr /, bounce => qr/-n bounce /, pickup => qr/-n pickup /,
    smtp => qr/-n smtp -t unix/, virtual => qr/-n virtual /, local => qr/-n local /,
);

# An instance and its other side.  Whom the sink refuses is in the address: no-
# for good, later- until the message is released (file in {yes}).
sub new {
    my ($class, %set) = @_;
    my $self = bless { count => 0, kills => {}, all => [], restarts => 0 }, $class;
    $Posthorn::tick = 0.002;
    $self->{tmp} = File::Temp->newdir('posthorn-crash-XXXXXX', TMPDIR => 1, CLEANUP => 1);
    my ($seen, $yes) = map { my $d = "$self->{tmp}/$_"; mkdir $d; $d } 'seen', 'yes';
    @$self{'seen', 'yes'} = ($seen, $yes);
    $self->{sink} = Posthorn::Sink->new(
        ehlo => '250 sink.test',               # one command, one answer: the calls repeat
        rcpt => sub { $_[1] =~ /^no-/ ? '550 5.1.1 no' : $_[1] =~ /^later-(\w+)/ && !-e "$yes/$1" ? '451 4.2.0 later' : '250 2.1.5 ok' },
        eod => sub {
            my ($from, $to, $body) = @_;
            for my $addr (@$to) { open my $f, '>>', "$seen/$addr" or die $!; syswrite $f, "1\n" }
            return '250 2.0.0 ok';
        });
    $self->{ph} = Posthorn->new(disk_threads => 0, relayhost => '[127.0.0.1]:' . $self->{sink}->port,
        smtp_connection_cache_on_demand => 'no', smtpd_peername_lookup => 'no', service_throttle_time => '1s', in_flow_delay => '1s',
        minimal_backoff_time => '300s', queue_run_delay => '300s', transport_retry_time => '1s', notify_classes => '', %set)->start;
    return $self;
}

# ---- processes ----

sub children {
    my ($self) = @_;
    my $master = $self->{ph}->master_pid or return;
    return split ' ', Posthorn::slurp("/proc/$master/task/$master/children");
}

sub pid_of {
    my ($self, $name) = @_;
    for my $pid ($self->children) {
        return $pid if Posthorn::slurp("/proc/$pid/cmdline") =~ s{\0}{ }gr =~ $service{$name};
    }
    return;
}

# All of them, also a child that is not a worker yet.
sub everybody {
    my ($self) = @_;
    return grep { Posthorn::slurp("/proc/$_/cmdline") =~ /\0-c\0\Q$self->{ph}{dir}\E\0/ } map { m{(\d+)$} } glob '/proc/[0-9]*';
}

# Everything at once, and the next start.  Nothing is under way: what this
# kills while it works is no point of ours.
sub restart_hard {
    my ($self) = @_;
    Posthorn::wait_for(sub { $self->queue_is_empty }, $SETTLE_S);
    my %dead;
    Posthorn::wait_for(sub { my @pids = $self->everybody; @dead{@pids} = (); kill 'KILL', @pids; !@pids });
    # Who is dying has no command line any more, but still has locks and sockets for a moment.
    Posthorn::wait_for(sub { !grep { Posthorn::slurp("/proc/$_/stat") =~ /\) [^Z]/ } keys %dead });
    $self->{ph}{started} = 0;
    $self->{ph}->start;
    $self->{kills} = {};
    $self->{restarts}++;
    return;
}

# ---- the tracer ----

# Nothing when the process ended before it could be traced.
sub trace {
    my ($self, $pid, @point) = @_;
    my $tracer = open(my $fh, '-|', $attach, $pid, @point) // die "$attach: $!";
    return { pid => $tracer, fh => $fh } if (<$fh> // '') eq "ready\n";
    close $fh;
    return;
}

# The process of that service, traced: one that is just ending is not waited for.
sub trace_victim {
    my ($self, $name, @point) = @_;
    my $t;
    Posthorn::wait_for(sub { my $pid = $self->pid_of($name); $t = $self->trace($pid, @point) if $pid; $t }) or die "no process $name to be traced\n" . substr($self->{ph}->log, -4000);
    return $t;
}

sub trace_is_over {
    my ($t) = @_;
    my $r = '';
    vec($r, fileno $t->{fh}, 1) = 1;
    return select($r, undef, undef, 0);
}

# Its calls: [{name, about, returned, result}], how it ended, and the sockets in which
# something waited for it then.
sub trace_end {
    my ($t) = @_;
    kill 'TERM', $t->{pid} unless trace_is_over($t);
    my $fh = $t->{fh};
    my (@calls, @unread);
    my $end = '';
    while (my $line = <$fh>) {
        chomp $line;
        if ($line =~ /^[\d.]+\t/) {
            my ($number, $name, $about, $returned, $result) = split /\t/, $line;
            $number =~ s/\.0$//;
            push @calls, { number => $number, name => $name, about => $about, text => "$name $about", returned => $returned, result => $result };
        }
        elsif ($line =~ /^unread (.*)/) { push @unread, $1 }
        else { $end = $line }
    }
    close $fh;
    return (\@calls, $end, \@unread);
}

# ---- mail ----

# A message of scenario $s: to, who must get it or be told of; rcpt, whom the client
# names when these are others.
sub message {
    my ($self, $s) = @_;
    my $tag = sprintf 't%05d', ++$self->{count};
    my $m = { tag => $tag, from => "s-$tag\@example.test", acked => 0, s => $s, log_from => -s "$self->{ph}{dir}/log/posthorn.log" };
    @$m{'to', 'rcpt'} = map { my $list = $_; [map { s/TAG/$tag/r } @$list] } $s->{to}, $s->{rcpt} || $s->{to};
    return $m;
}

sub body {
    my ($m) = @_;
    return "Subject: $m->{tag}\r\nX-Tag: $m->{tag}\r\n\r\n" . ("$m->{tag} 789 123456789 123456789 123456789 123456789\r\n" x ($m->{s}{lines} || 3));
}

# One session; acked when the client heard 250.
sub submit {
    my ($self, $m) = @_;
    my @r = eval {
        my $c = Posthorn::Client->new(port => $self->{ph}->port, timeout => 20) or die 'no connection';
        my @got = $c->send(from => $m->{from}, to => $m->{rcpt}, body => body($m), rcpt_args => $m->{s}{rcpt_args});
        $m->{acked}++ if $got[0] == 250;
        ($m->{id}) = $got[1] =~ /queued as (\w+)/ if $got[0] == 250;
        $c->quit;
        @got;
    };
    return $m->{acked};
}

# A transaction that holds a queue file, and is given up when the session is.
sub begin_transaction {
    my ($self, $m) = @_;
    return eval {
        my $c = Posthorn::Client->new(port => $self->{ph}->port, timeout => 20) or die 'no connection';
        $c->ask($_) for 'EHLO client.test', "MAIL FROM:<$m->{from}>", "RCPT TO:<$m->{rcpt}[0]>";
        $c;
    } || ();
}

# As a user of this machine: accepted when sendmail says so.
sub sendmail {
    my ($self, $m) = @_;
    my @notify = ($m->{s}{rcpt_args} // '') =~ /^NOTIFY=(\S+)/ ? ('-N', lc $1) : ();
    $self->{ph}->sendmail(body($m) =~ s/\r//gr, '-f', $m->{from}, @notify, @{ $m->{rcpt} });
    $m->{acked}++ if $? == 0;
    return $m->{acked};
}

sub logged {
    my ($self, $m, $re) = @_;
    open my $in, '<:raw', "$self->{ph}{dir}/log/posthorn.log" or return;
    seek $in, $m->{log_from}, 0;
    local $/;
    return (<$in> // '') =~ $re;
}

sub removed { my ($self, $m) = @_; return $m->{id} && $self->logged($m, qr/\Q$m->{id}\E: removed/) }

# Where the file of a message is: a path below the queue directory.
sub found_in {
    my ($self, $place, $id) = @_;
    my $q = $self->{ph}->queue;
    return -e "$q/$place/$id" || scalar(() = glob "$q/$place/?/$id");
}

sub is_deferred { my ($self, $m) = @_; return $m->{id} && $self->found_in('deferred', $m->{id}) }
sub let_pass { my ($self, $m) = @_; Posthorn::spew("$self->{yes}/$m->{tag}", ''); return }

# Accepted, tried and deferred, which is where many stories begin.
sub defer {
    my ($self, $m) = @_;
    Posthorn::wait_for(sub { $self->submit($m) }) or die "$m->{tag} is not accepted";
    Posthorn::wait_for(sub { $self->is_deferred($m) }) or die "$m->{tag} is not deferred";
    return;
}

sub put_on_hold {
    my ($self, $m) = @_;
    Posthorn::wait_for(sub { $self->submit($m) }) or die "$m->{tag} is not accepted";
    Posthorn::wait_for(sub { $self->found_in('hold', $m->{id}) }) or die "$m->{tag} is not on hold";
    return;
}

sub flush_one { my ($self, $m) = @_; return $self->{ph}->cmd('postqueue', '-i', $m->{id}) }
sub flush { my ($self) = @_; return $self->{ph}->cmd('postqueue', '-f') }

# The administrator's wish; promised: it was said to be done.
sub super {
    my ($self, $m, $option) = @_;
    $m->{promised} ||= $self->{ph}->cmd('postsuper', $option, $m->{id}) =~ /: 1 message/;
    return;
}

sub wake_pickup { my ($self) = @_; return $self->{ph}->cmd("postkick", "public", "pickup", "W") }

# Nothing is in the queue: qmgr itself says so.
sub queue_is_empty {
    my ($self) = @_;
    my $q = $self->{ph}->queue;
    return 0 if glob "$q/maildrop/*";
    my $out = $self->{ph}->cmd('postqueue', '-j');
    return $? == 0 && $out eq '';
}

# ---- the oracle ----

sub delivered {
    my ($self, $addr) = @_;
    return scalar(() = Posthorn::slurp("$self->{seen}/$addr") =~ /\n/g) if $addr =~ /away\.test$/;
    my ($user) = $addr =~ /^([^@]+)/;
    return scalar(() = glob "$self->{ph}{dir}/mail/$user/new/*");
}

# What the sender was told of a recipient: how often, by action (failed, delayed,
# relayed ...); again: notices that came twice.
sub told {
    my ($self, $m, $addr) = @_;
    my (%n, %seen);
    for my $f (glob "$self->{ph}{dir}/mail/s-$m->{tag}/new/*") {
        my $text = Posthorn::slurp($f);
        my ($id) = $text =~ /^Message-I[Dd]: *(\S+)/m;
        # One notice that was delivered twice is one notice, in the window of all mail.
        $n{notices}++ unless $seen{$id};
        if ($seen{$id}++) {
            $n{again}++;
            next;
        }
        while ($text =~ /^Final-Recipient: [^\r\n]*;\s*\Q$addr\E\r?\n(.*?)\n\r?\n/msg) {
            my ($action) = $1 =~ /^Action: (\w+)/m;
            $n{ $action // 'none' }++;
        }
    }
    return %n;
}

# How many times something happened to a recipient: `want` 1 (once), 0 (never),
# '?' (once or never).  Twice (or, of reports, never) is right in a window only.
sub count {
    my ($self, $m, $i, $what, $n, $want) = @_;
    my $text = "$m->{to}[$i]: $what";
    if (!$n) {
        return if $want ne '1' || !$m->{acked} || $self->window($m, "no $what", $i);
        return "$text never";
    }
    return "$text, which must not be" if $want eq '0';
    return if $n == 1;
    my $window = $self->window($m, $what, $i);
    return "$text $n times" if $n > 2 || !$window;
    $m->{twice}{"$what twice: $window"} = 1;
    return;
}

# What is wrong with a message.  A recipient's fate: delivered, failed, or (list-,
# an alias of several) expanded; told: what else the sender hears of it, action => want.
sub judge {
    my ($self, $m) = @_;
    my $s = $m->{s};
    my @wrong;
    for my $i (0 .. $#{ $m->{to} }) {
        my $addr = $m->{to}[$i];
        my $fails = $addr =~ /^no-/ || $s->{expires} && $addr =~ /^later-/;
        my $is_alias = $addr =~ /^list-/;
        my ($d, %told) = ($self->delivered($addr), $self->told($m, $addr));
        my %want = (failed => $fails ? '1' : '0', delayed => '0', relayed => '0', delivered => '0', expanded => $is_alias ? '1' : '0', %{ $s->{told} || {} });
        push @wrong, $self->count($m, $i, 'delivered', $d, $fails || $is_alias ? '0' : '1');
        push @wrong, map { $self->count($m, $i, "told $_", $told{$_} // 0, $want{$_}) } sort keys %want;
        next unless $told{again};
        push @wrong, "$addr: a notice came twice" unless $self->window($m, 'notice', $i, $told{notices});
        $m->{twice}{"a notice twice: $notice_window{name}"} = 1;
    }
    return @wrong;
}

# ---- windows ----

sub matches { my ($call, $re) = @_; return $call->{text} =~ $re }

# The window that was open when the process died, or nothing.  A window: what may
# happen twice, and to whom; the calls that open it, one after the other ([re, 'last']:
# the last one of an undisturbed run); the call that closes it, for each recipient
# one when `each`, or `n` of them (notices).  unread: what waited for the dead in such a socket was lost, which
# opens the window too.
sub window {
    my ($self, $m, $what, $i, $n) = @_;
    my $calls = $m->{calls} or return;
    return unless $m->{end} =~ /^killed/;
    for my $w (@{ $m->{s}{windows} || [] }, $m->{s}{victim} eq 'qmgr' ? \%notice_window : ()) {
        my $for = $w->{for} || qr/./;
        next unless $w->{what} eq $what && $m->{to}[$i] =~ $for;
        my $nth = $w->{each} ? scalar grep { $_ =~ $for } @{ $m->{to} }[0 .. $i] : $n // 1;
        return $w->{name} if $w->{unread} && grep { $_ =~ $w->{unread} } @{ $m->{unread} };
        return $w->{name} if is_open($w, $calls, $m->{s}{baseline}, $nth);
    }
    return;
}

# A notice is mail: the agent has answered, and qmgr has not marked it.
%notice_window = (what => 'notice', name => 'in the mailbox, before the mark', unread => qr{private/virtual$},
    after => [qr{^recvmsg unix:.*private/virtual$}], until => qr/^pwrite64 .* 1 bytes/);

sub find_call {
    my ($calls, $from, $re, $n) = @_;
    for my $k ($from .. $#$calls) { return $k if $calls->[$k]{returned} && $calls->[$k]{result} >= 0 && matches($calls->[$k], $re) && --$n <= 0 }
    return;
}

# From call $at on: the steps are made, and the end is not.
sub is_open_from {
    my ($w, $calls, $baseline, $nth, $at, @steps) = @_;
    my $step = shift @steps // return !defined find_call($calls, $at, $w->{until}, $nth);
    if (ref $step eq 'ARRAY') {
        my $k = find_call($calls, 0, $step->[0], scalar grep { $_->{result} >= 0 && matches($_, $step->[0]) } @$baseline) // return 0;
        return is_open_from($w, $calls, $baseline, $nth, $k + 1, @steps);
    }
    while (defined(my $k = find_call($calls, $at, $step, 1))) {
        return 1 if is_open_from($w, $calls, $baseline, $nth, $at = $k + 1, @steps);
    }
    return 0;
}

sub is_open { my ($w, $calls, $baseline, $nth) = @_; return is_open_from($w, $calls, $baseline, $nth, 0, @{ $w->{after} }) }

# ---- one run ----

sub settle {
    my ($self, $m) = @_;
    my $nudged = 0;
    return Posthorn::wait_for(sub {
        $self->submit($m) if !$m->{acked} && $m->{s}{resend};
        return 1 if $self->queue_is_empty;
        if (Time::HiRes::time() > $nudged + 0.02) {
            $m->{s}{nudge}->($self, $m) if $m->{s}{nudge};
            $self->flush;
            $nudged = Time::HiRes::time();
        }
        return 0;
    }, $SETTLE_S);
}

# A message through everything the scenario uses, so that each point finds the
# same processes in the same state.
sub warm_up {
    my ($self, $s) = @_;
    my @no = $s->{victim} eq 'bounce' ? 'no-TAG@away.test' : ();
    my ($to, $rcpt) = map { [(map { s/^held-/free-/r } @$_), @no] } $s->{to}, $s->{rcpt} || $s->{to};
    my $m = $self->message({ to => $to, rcpt => $rcpt, resend => 1, $s->{rcpt} ? (rcpt_args => $s->{rcpt_args}) : () });
    $self->let_pass($m);
    my $submit = $s->{victim} eq 'pickup' ? sub { $self->sendmail($m) } : sub { $self->submit($m) };
    Posthorn::wait_for($submit, $SETTLE_S) or return 0;
    $self->wake_pickup if $s->{victim} eq 'pickup';
    Posthorn::wait_for(sub { $self->removed($m) || !$m->{id} && $self->queue_is_empty }, 3);
    push @{ $self->{all} }, $m;
    return $self->settle($m) && Posthorn::wait_for(sub { !$self->judge($m) }, 3) && $self->pid_of($s->{victim});
}

# Another victim, with the same state as after every kill.  Nothing is under way.
sub renew {
    my ($self, $s) = @_;
    Posthorn::wait_for(sub { $self->queue_is_empty }, $SETTLE_S);
    kill 'KILL', $self->pid_of($s->{victim}) // ();
    $self->restart_hard if ++$self->{kills}{ $s->{victim} } >= $KILLS;
    return $self->warm_up($s);
}

# Run the scenario with its victim killed at call $n, entry or exit; without a
# point: undisturbed.  Returns the message: {calls}, {end}, {wrong}.
sub run {
    my ($self, $s, @point) = @_;
    my $m = $self->message($s);
    $s->{begin}->($self, $m) if $s->{begin};
    my $t = $self->trace_victim($s->{victim}, @point);
    $s->{act}->($self, $m);
    Posthorn::wait_for(sub { trace_is_over($t) || $s->{done}->($self, $m) }, $SETTLE_S) or push @{ $m->{wrong} }, 'the operation does not end';
    @$m{'calls', 'end', 'unread'} = trace_end($t);
    push @{ $m->{wrong} }, $s->{promised}->($self, $m) if $m->{promised} && $s->{promised};
    push @{ $m->{wrong} }, 'does not settle' unless $self->settle($m);
    # What is on its way to a mailbox is not in the queue any more.
    Posthorn::wait_for(sub { !$self->judge($m) }, 3);
    push @{ $m->{wrong} }, $self->judge($m);
    push @{ $self->{all} }, $m;
    if ($m->{end} =~ /^killed/) {
        $self->restart_hard if ++$self->{kills}{ $s->{victim} } >= $KILLS;
        push @{ $m->{wrong} }, 'afterwards no mail flows' unless $self->warm_up($s);
    }
    return $m;
}

# Whether the run went the way of the undisturbed one until its end.
sub is_same_way {
    my ($m) = @_;
    my @way = map { [grep { $_->{number} !~ /\./ } @$_] } $m->{calls}, $m->{s}{baseline};
    for my $k (0 .. $#{ $way[0] }) { return 0 if $k > $#{ $way[1] } || $way[0][$k]{name} ne $way[1][$k]{name} }
    return 1;
}

# All points of a scenario, in order.
sub points {
    my ($calls) = @_;
    return map { ($_->{number} ne '0' ? [$_->{number}, 'entry'] : (), $_->{returned} ? [$_->{number}, 'exit'] : ()) } @$calls;
}

# ---- at the end: nothing is left behind ----

sub leftovers {
    my ($self) = @_;
    my $q = $self->{ph}->queue;
    my @found;
    File::Find::find({ no_chdir => 1, wanted => sub { push @found, $_ if -f } }, grep { -d } map { "$q/$_" } qw(incoming active deferred hold corrupt maildrop bounce defer trace));
    return @found;
}

# A log whose message is gone is swept when it is an hour old: it is made so.
sub finish {
    my ($self) = @_;
    my $old = time - 7200;
    my @logs = grep { m{/queue/(?:bounce|defer|trace)/} } $self->leftovers;
    utime $old, $old, @logs;
    $self->restart_hard;
    Posthorn::wait_for(sub { !$self->leftovers }, 10);
    return (scalar @logs, $self->leftovers);
}

# Whether a process that is no child of ours may be traced.
sub can_trace {
    my $scope = Posthorn::slurp("/proc/sys/kernel/yama/ptrace_scope");
    return $scope !~ /[123]/ || $scope =~ /[12]/ && $> == 0;
}

1;
