# Posthorn.pm: an instance of our own for one test, made by `postfix init`,
# started, watched and ended by pid; and the peers that talk to it.
#
#     use Posthorn;
#     my $ph = Posthorn->new('main.cf name' => 'value', ...)->start;
#     my $r = $ph->smtp->send(from => 'a@x.test', to => ['u@example.test'], body => "Subject: x\r\n\r\nhi\r\n");
#     $ph->wait_mail('u', 1);
package Posthorn;
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Find ();
use File::Path qw(make_path);
use File::Temp ();
use IO::Socket::INET;
use POSIX ();
use Test::More ();
use Time::HiRes qw(time);

our $top = abs_path(dirname(__FILE__) . '/../..');
our $build = $ENV{POSTHORN_BUILD} || "$top/build/test";
our $inst = $ENV{POSTHORN_INST} || "$top/inst/test";
our $slow = $ENV{POSTHORN_SLOW} || 1;        # how many times as patient: sanitizers, slow machines
our %live;                                   # what to end, by pid, when the test ends however it ends

# Free TCP port on loopback.
sub free_port {
    my $s = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die "no port: $!";
    return $s->sockport;
}

# One short turn of a wait for a condition.
our $tick = 0.02;
sub tick { select undef, undef, undef, $tick; return }    # IO::Select without handles would not wait

# Until $cond->() is true (its value is returned) or $seconds are over (then false).
sub wait_for {
    my ($cond, $seconds) = @_;
    my $end = time + ($seconds || 20) * $slow;
    while (1) {
        my $v = $cond->();
        return $v if $v;
        return if time > $end;
        tick();
    }
}

sub slurp {
    my ($path) = @_;
    open my $in, '<:raw', $path or return '';
    local $/;
    return scalar <$in> // '';
}

sub spew {
    my ($path, @text) = @_;
    open my $out, '>:raw', $path or die "$path: $!";
    print $out @text;
    close $out or die "$path: $!";
}

# A fresh instance (not started).  Names with "=": main.cf settings; -port => N.
sub new {
    my ($class, %set) = @_;
    my $port = delete $set{-port} || free_port();
    my $tmp = File::Temp->newdir('posthorn-XXXXXX', TMPDIR => 1, CLEANUP => 1);
    chmod 0755, "$tmp";
    my $self = bless { tmp => $tmp, dir => "$tmp/ph", port => $port, owner => $$ }, $class;
    my @args = map { "$_=$set{$_}" } sort keys %set;
    my $out = $self->run("$inst/sbin/postfix", 'init', '-p', $port, $self->{dir}, @args);
    die "postfix init failed: $out" if $?;
    return $self;
}

# Run a program of ours or another; returns stdout and stderr together, sets $?.
sub run {
    my ($self, @cmd) = @_;
    my $pid = open(my $out, '-|') // die "fork: $!";
    if (!$pid) {
        open STDERR, '>&', \*STDOUT;
        open STDIN, '<', '/dev/null' unless $self->{keep_stdin};
        exec { $cmd[0] } @cmd or do { print "exec $cmd[0]: $!\n"; POSIX::_exit(127) };
    }
    local $/;
    my $text = <$out> // '';
    close $out;
    return $text;
}

# Run with text on standard input.
sub run_in {
    my ($self, $in, @cmd) = @_;
    my $file = "$self->{tmp}/stdin." . ++$self->{stdin};
    spew($file, $in);
    open my $save, '<&', \*STDIN;
    open STDIN, '<', $file or die "$file: $!";
    local $self->{keep_stdin} = 1;
    my $text = $self->run(@cmd);
    my $rc = $?;
    open STDIN, '<&', $save;
    $? = $rc;
    return $text;
}

sub dir { $_[0]{dir} }
sub port { $_[0]{port} }
sub queue { "$_[0]{dir}/queue" }
sub sbin { "$inst/sbin/$_[1]" }
sub postfix { my ($self, @args) = @_; return $self->run($self->sbin('postfix'), '-c', $self->{dir}, @args) }
sub cmd { my ($self, $name, @args) = @_; return $self->run($self->sbin($name), '-c', $self->{dir}, @args) }
sub sendmail { my ($self, $in, @args) = @_; return $self->run_in($in, $self->sbin('sendmail'), '-C', $self->{dir}, @args) }

sub master_pid {
    my ($self) = @_;
    for my $f ("$self->{dir}/data/master.lock", "$self->{dir}/queue/pid/master.pid", "$self->{dir}/data/master.pid") {
        return $1 if slurp($f) =~ /(\d+)/;
    }
    return;
}

sub start {
    my ($self) = @_;
    my $out = $self->postfix('start');
    die "start failed: $out\n" . $self->log if $?;
    $self->{started} = 1;
    $live{$self->{dir}} = { owner => $$, stop => sub { $self->stop } };
    return $self;
}

sub stop {
    my ($self) = @_;
    return $self unless delete $self->{started};
    delete $live{$self->{dir}};
    my $out = $self->postfix('stop');
    Test::More::diag("stop: $out") if $?;
    return $self;
}

sub restart { my ($self) = @_; $self->stop; return $self->start }

sub log { return slurp("$_[0]{dir}/log/posthorn.log") }

# Wait for a log line; returns the match's groups (or 1).
sub wait_log {
    my ($self, $re, $seconds) = @_;
    my @got;
    wait_for(sub { @got = $self->log =~ $re }, $seconds);
    return wantarray ? @got : $got[0];
}

# Files delivered to example.test's user, oldest first.
sub mail {
    my ($self, $user) = @_;
    my @files;
    my $base = "$self->{dir}/mail" . (defined $user ? "/$user" : '');
    return @files unless -d $base;
    File::Find::find({ no_chdir => 1, wanted => sub { push @files, $_ if -f && m{/new/[^/]+$} } }, $base);
    @files = sort { (stat $a)[9] <=> (stat $b)[9] || $a cmp $b } @files;
    return @files;
}

# Wait until the user has $n messages; returns their texts.
sub wait_mail {
    my ($self, $user, $n, $seconds) = @_;
    wait_for(sub { $self->mail($user) >= $n }, $seconds);
    return map { slurp($_) } $self->mail($user);
}

# One frame of attributes, (name, value)...: posthorn/frame.h.
sub frame {
    my (@attr) = @_;
    my $body = '';
    for (my $i = 0; $i < @attr; $i += 2) { $body .= pack 'C/a V/a', $attr[$i], $attr[$i + 1] }
    return pack('V C C v', 4 + length $body, 0, 0, @attr / 2) . $body;
}

# Queue listing as decoded JSON objects.
sub queued {
    my ($self) = @_;
    require JSON::PP;
    return map { JSON::PP::decode_json($_) } grep { /^\{/ } split /\n/, $self->cmd('postqueue', '-j');
}

# Change settings: edits main.cf by appending (the last one counts).
sub set {
    my ($self, %set) = @_;
    my $cf = "$self->{dir}/main.cf";
    my $text = slurp($cf);
    for my $name (sort keys %set) {
        $text =~ s/^\Q$name\E\s*=.*\n(?:[ \t]+.*\n)*//m;
        $text .= "$name = $set{$name}\n";
    }
    spew($cf, $text);
    return $self;
}

# Change master.yaml with a function of its text.
sub edit_master {
    my ($self, $fn) = @_;
    my $file = "$self->{dir}/master.yaml";
    local $_ = slurp($file);
    $fn->();
    spew($file, $_);
    return $self;
}

sub smtp { my ($self, %o) = @_; return Posthorn::Client->new(port => $self->{port}, %o) }

# The processes of this instance: pid => command line.
sub processes {
    my ($self) = @_;
    my %p;
    for my $d (glob '/proc/[0-9]*') {
        my $line = slurp("$d/cmdline");
        next unless $line =~ /\Q$self->{dir}\E/ && $line =~ m{posthorn/(?:master|worker)};
        $p{$1} = join ' ', split /\0/, $line if $d =~ /(\d+)$/;
    }
    return %p;
}

# A process and all below it.
sub tree {
    my ($root) = @_;
    my %kids;
    for my $d (glob '/proc/[0-9]*') {
        my ($pid) = $d =~ /(\d+)$/;
        my $ppid = (slurp("$d/stat") =~ /\) \S (\d+)/)[0] or next;
        push @{ $kids{$ppid} }, $pid;
    }
    my @all = my @todo = ($root);
    while (@todo) { my @next = map { @{ $kids{$_} || [] } } @todo; push @all, @next; @todo = @next }
    return @all;
}

# A child of the test that is ended with it.  Returns its pid.
sub child {
    my ($code) = @_;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        %live = ();
        $SIG{TERM} = 'DEFAULT';
        eval { $code->(); 1 } or warn $@;
        POSIX::_exit(0);
    }
    $live{"pid $pid"} = { owner => $$, stop => sub { kill 'TERM', $pid; waitpid $pid, 0 } };
    return $pid;
}

sub end_child {
    my ($pid) = @_;
    my $l = delete $live{"pid $pid"} or return;
    $l->{stop}->();
}

# Debian's package of that name, unpacked (never installed) below the build
# directory; undef when it cannot be had.
sub debian {
    my ($package) = @_;
    my $root = "$build/peers/$package";
    return $root if -e "$root/.done";
    make_path($root);
    my $rc = system("cd '$root' && apt-get download -q '$package' >/dev/null 2>&1 && for f in *.deb; do dpkg -x \"\$f\" . ; rm \"\$f\"; done && : >.done");
    return $rc == 0 ? $root : undef;
}

# smtp-source, smtp-sink of Debian's Postfix: (command and its environment).
sub postfix_tool {
    my ($tool) = @_;
    my $root = debian('postfix') or return;
    return ('/usr/bin/env', "LD_LIBRARY_PATH=$root/usr/lib/postfix", "$root/usr/sbin/$tool");
}

sub DESTROY {
    my ($self) = @_;
    local ($?, $!, $@);
    $self->stop if $self->{started} && $self->{owner} == $$;
}

END {
    my $rc = $?;
    for my $k (sort { ($b =~ /^pid/) <=> ($a =~ /^pid/) } keys %live) {
        my $l = delete $live{$k} or next;
        $l->{stop}->() if $l->{owner} == $$;
    }
    $? = $rc;
}

for my $sig (qw(INT TERM HUP)) { $SIG{$sig} = sub { exit 1 } }
$SIG{PIPE} = 'IGNORE';

# An SMTP client that sees every byte.
package Posthorn::Client;
use strict;
use warnings;
use IO::Socket::INET;

sub new {
    my ($class, %o) = @_;
    my $s = IO::Socket::INET->new(PeerAddr => $o{host} || '127.0.0.1', PeerPort => $o{port}, Timeout => 20) or return;
    binmode $s;
    $s->autoflush(1);
    my $self = bless { s => $s, buf => '', timeout => ($o{timeout} || 30) * $Posthorn::slow }, $class;
    unless ($o{raw}) {
        my ($code) = $self->reply;
        die "greeting: $self->{last}" unless $code == 220;
    }
    return $self;
}

sub put { my ($self, $bytes) = @_; return print { $self->{s} } $bytes }

# One line without CRLF; undef at the end or after the time limit.
sub line {
    my ($self) = @_;
    while ($self->{buf} !~ /\n/) {
        my $r = '';
        vec($r, fileno $self->{s}, 1) = 1;
        return unless select($r, undef, undef, $self->{timeout});
        return unless sysread $self->{s}, $self->{buf}, 65536, length $self->{buf};
    }
    $self->{buf} =~ s/^([^\n]*)\n//;
    my $l = $1;
    $l =~ s/\r$//;
    return $l;
}

# A reply, all its lines: (code, text); (0, '') when the peer left.
sub reply {
    my ($self) = @_;
    my @lines;
    while (defined(my $l = $self->line)) {
        push @lines, $l;
        next if $l =~ /^\d\d\d-/;
        $self->{last} = join "\n", @lines;
        return ($l =~ /^(\d\d\d)/ ? $1 : 0, $self->{last});
    }
    $self->{last} = join "\n", @lines;
    return (0, $self->{last});
}

# Send a line, return its reply's code in scalar, (code, text) in list context.
sub ask {
    my ($self, $cmd) = @_;
    $self->put("$cmd\r\n");
    my @r = $self->reply;
    return wantarray ? @r : $r[0];
}

# A whole transaction; returns the last (code, text).  body: wire text without dots stuffed.
sub send {
    my ($self, %o) = @_;
    my @r;
    unless ($self->{greeted}) {
        @r = $self->ask('EHLO ' . ($o{helo} || 'client.test'));
        return @r unless $r[0] == 250;
        $self->{greeted} = 1;
    }
    @r = $self->ask("MAIL FROM:<$o{from}>" . ($o{mail_args} ? " $o{mail_args}" : ''));
    return @r unless $r[0] == 250;
    for my $to (ref $o{to} ? @{ $o{to} } : $o{to}) {
        @r = $self->ask("RCPT TO:<$to>" . ($o{rcpt_args} ? " $o{rcpt_args}" : ''));
        return @r unless $r[0] == 250;
    }
    @r = $self->ask('DATA');
    return @r unless $r[0] == 354;
    my $body = $o{body};
    $body =~ s/^\./../mg;
    $body .= "\r\n" if $body !~ /\n\z/;
    $self->put("$body.\r\n");
    return $self->reply;
}

sub quit { my ($self) = @_; $self->ask('QUIT'); close $self->{s}; return }

# An SMTP server that is scripted: the other side for delivery tests.
#   my $sink = Posthorn::Sink->new(rcpt => sub { my $to = shift; "250 ok" }, ...);
# Replies by stage: greet ehlo mail rcpt data eod quit (a text, or a function of
# the command line); each message is written whole to a file in {dir}.
package Posthorn::Sink;
use strict;
use warnings;
use IO::Socket::INET;

sub new {
    my ($class, %o) = @_;
    # Longer than any burst: from a full queue the kernel drops the last ACK of a handshake, and that client waits a minute for a greeting.
    my $listen = IO::Socket::INET->new(Listen => 4096, LocalAddr => $o{host} || '127.0.0.1', LocalPort => $o{port} || 0, ReuseAddr => 1)
        or die "sink: $!";
    my $tmp = File::Temp->newdir('posthorn-sink-XXXXXX', TMPDIR => 1, CLEANUP => 1);
    my $self = bless { port => $listen->sockport, tmp => $tmp, dir => "$tmp", o => \%o }, $class;
    $self->{pid} = Posthorn::child(sub {
        local $SIG{CHLD} = 'IGNORE';
        my $n = 0;
        while (my $c = $listen->accept) {
            $n++;
            my $pid = fork;
            next if $pid;
            close $listen;
            eval { $o{session} ? $o{session}->($c, $n, $self) : $self->session($c, $n) };
            warn $@ if $@;
            POSIX::_exit(0);
        }
    });
    close $listen;
    return $self;
}

sub port { $_[0]{port} }
sub stop { my ($self) = @_; Posthorn::end_child(delete $self->{pid}) if $self->{pid}; return $self }
sub DESTROY { my ($self) = @_; local ($?, $!, $@); $self->stop }

sub answer {
    my ($self, $stage, $default, @args) = @_;
    my $how = $self->{o}{$stage} // $default;
    return ref $how ? $how->(@args) : $how;
}

sub session {
    my ($self, $c, $n) = @_;
    binmode $c;
    $c->autoflush(1);
    my ($from, @to) = ('');
    my $count = 0;
    print $c $self->answer('greet', '220 sink.test ESMTP', $n), "\r\n";
    while (defined(my $l = <$c>)) {
        $l =~ s/\r?\n$//;
        if ($l =~ /^EHLO/i) { print $c $self->answer('ehlo', "250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 100000000", $l), "\r\n" }
        elsif ($l =~ /^HELO/i) { print $c "250 sink.test\r\n" }
        elsif ($l =~ /^MAIL FROM:<(.*?)>/i) { $from = $1; @to = (); print $c $self->answer('mail', '250 2.1.0 ok', $l), "\r\n" }
        elsif ($l =~ /^RCPT TO:<(.*?)>/i) { my $to = $1; my $r = $self->answer('rcpt', '250 2.1.5 ok', $l, $to); push @to, $to if $r =~ /^2/; print $c "$r\r\n" }
        elsif ($l =~ /^DATA/i) {
            my $r = $self->answer('data', @to ? '354 go' : '554 5.5.1 no valid recipients', $l);
            print $c "$r\r\n";
            next unless $r =~ /^3/;
            my ($body, $ended) = ('');
            while (defined(my $d = <$c>)) { last if $ended = $d eq ".\r\n"; $d =~ s/^\.//; $body .= $d }
            return unless $ended;              # a client that left in the middle has sent nothing
            my $eod = $self->answer('eod', '250 2.0.0 Ok: queued as SINK', $from, \@to, $body);
            if ($eod =~ /^2/) {
                my $name = sprintf '%s/%.6f.%d.%d', $self->{dir}, Time::HiRes::time(), $$, $count++;
                Posthorn::spew("$name.tmp", "$from\n", join(',', @to), "\n", $body);
                rename "$name.tmp", "$name.msg";
            }
            print $c "$eod\r\n";
        }
        elsif ($l =~ /^(RSET|NOOP)/i) { print $c "250 2.0.0 ok\r\n" }
        elsif ($l =~ /^QUIT/i) { print $c $self->answer('quit', '221 2.0.0 bye', $l), "\r\n"; last }
        else { print $c "502 5.5.2 what\r\n" }
    }
}

# What was accepted: ({from, to, body}, ...), oldest first.
sub messages {
    my ($self) = @_;
    return map {
        my ($from, $to, $body) = split /\n/, Posthorn::slurp($_), 3;
        { from => $from, to => [split /,/, $to], body => $body };
    } sort glob "$self->{dir}/*.msg";
}

sub wait_messages {
    my ($self, $n, $seconds) = @_;
    Posthorn::wait_for(sub { $self->messages >= $n }, $seconds);
    return $self->messages;
}

1;
