# RewriteRig.pm: Debian's Postfix and Posthorn with one configuration, given the
# same mail, and what comes out of each.  Runs where PosthornRoot made a network
# of its own: their mail goes to every address there (RewriteSink.pm).
#
#     my $rig = RewriteRig->new;
#     $rig->configure({ canonical_maps => '...' });
#     $rig->give($case) for @cases;      # {kind}: smtp, outside, sendmail
#     $rig->settle;                      # both have delivered
#     for (@cases) { $_->{ours}, $_->{theirs} }    # {replies} {sent} {bounced}
package RewriteRig;
use strict;
use warnings;
use Posthorn;
use PeerPostfix;
use PosthornRoot ();
use RewriteSink;

our @transports = qw(local virtual relay smtp t1 t2);
our @sides = qw(ours theirs);

my %common = (
    compatibility_level => '3.6', myhostname => 'mx.here.test', mydomain => 'here.test', inet_interfaces => '127.0.0.1', inet_protocols => 'ipv4', mynetworks => '127.0.0.0/8',
    smtpd_error_sleep_time => 0, smtpd_hard_error_limit => 1000000, smtpd_junk_command_limit => 1000000, smtpd_client_connection_count_limit => 0, smtpd_recipient_limit => 1000,
    local_recipient_maps => '', alias_maps => '', virtual_mailbox_maps => '', virtual_mailbox_domains => '', smtpd_relay_restrictions => 'permit_mynetworks, reject',
    smtp_randomize_addresses => 'no', smtp_connection_cache_on_demand => 'no', biff => 'no', smtpd_client_port_logging => 'no', notify_classes => '', maximal_queue_lifetime => '1d',
);

sub new {
    my ($class) = @_;
    PosthornRoot::accounts();
    Posthorn::spew("$PosthornRoot::tmp/etc/resolv.conf", "nameserver 127.0.0.1\n");
    my $sink = RewriteSink->new(@transports, 'named');
    my ($dir, $path) = Peer::directory('rewrite');
    my $self = bless { sink => $sink, tmp => $dir, dir => $path, given => 0 }, $class;
    my $ph = $self->{ours} = Posthorn->new(%common, smtp_helo_name => 'ours');
    my $peer = $self->{theirs} = PeerPostfix->new(%common, smtp_helo_name => 'theirs');
    $peer->reconfigure(export_environment => "TZ MAIL_CONFIG LANG LD_LIBRARY_PATH=$peer->{lib}");
    $self->{base}{ours} = Posthorn::slurp($ph->dir . '/main.cf');
    $self->{base}{theirs} = Posthorn::slurp($peer->dir . '/conf/main.cf');
    my %seen;
    $ph->edit_master(sub {
        s/^  - \{name: (?:local|virtual|relay), .*\n//mg;
        s/^  - \{name: smtp, *transport.*\n//mg;
        $_ .= join '', map { "  - {name: $_, transport: smtp, listen: unix, settings: {smtp_tcp_port: '" . $sink->port($_) . "'}}\n" } @transports;
    });
    my $cf = $peer->dir . '/conf/master.cf';
    Posthorn::spew($cf, grep({ !/^(?:local|virtual|relay|smtp) / } Posthorn::slurp($cf) =~ /^(.*\n)/mg),
        map { "$_ unix - - n - - smtp -o smtp_tcp_port=" . $sink->port($_) . "\n" } @transports);
    $self->{main}{ours} = $ph->dir . '/main.cf';
    $self->{main}{theirs} = $peer->dir . '/conf/main.cf';
    $self->{log} = { map { $_ => { read => 0, stays => {}, id => {}, left => '' } } @sides };
    return $self;
}

# The name that both take for the next hop's port of the sink that is asked for by number.
sub named_port { $_[0]{sink}->port('named') }

# Both get these settings over what is common, and start; @files are their tables.
sub configure {
    my ($self, $set, @files) = @_;
    $self->leave;
    for my $side (@sides) {
        my $text = $self->{base}{$side};
        for my $name (sort keys %$set) {
            $text =~ s/^\Q$name\E\s*=.*\n(?:[ \t]+.*\n)*//m;
            $text .= "$name = $set->{$name}\n";
        }
        Posthorn::spew($self->{main}{$side}, $text);
    }
    # Postfix reads a file again, a second later, that was written just now.
    utime time - 3600, time - 3600, @files, values %{ $self->{main} };
    $_->start for @$self{@sides};
    $self->{started} = 1;
    return;
}

# Stop both; what is still in a queue goes.
sub leave {
    my ($self) = @_;
    return unless delete $self->{started};
    $self->{log}{$_}{picked} = [] for @sides;
    delete $self->{clients};
    my $peer = $self->{theirs};
    if ($self->{deferred}) {
        $self->{ours}->cmd('postsuper', '-d', 'ALL');
        $peer->run('postsuper', '-d', 'ALL');
        delete $self->{deferred};
    }
    # Nothing is under way, and a stop in order would wait for services to take leave of each other.
    kill 'KILL', Posthorn::tree($self->{ours}->master_pid);
    # One that is dying has no command line any more, and still has the master's lock.
    Posthorn::wait_for(sub { !$self->{ours}->processes && do { $self->{ours}->postfix('status'); $? } }, 10);
    delete $self->{ours}{started};
    delete $Posthorn::live{ $self->{ours}->dir };
    $peer->stop;
    unlink glob("$_/maildrop/*") for $self->{ours}->queue, $peer->dir . '/queue';
    return;
}

# ---- giving ----

sub client {
    my ($self, $side, $outside) = @_;
    my $c = $self->{clients}{$side}{$outside ? 1 : 0};
    return $c if $c;
    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{$side}->port, LocalAddr => $outside ? '127.0.0.77' : '127.0.0.1') or die "$side: $!";
    binmode $s;
    $s->autoflush(1);
    $c = $self->{clients}{$side}{$outside ? 1 : 0} = bless { s => $s, buf => '', timeout => 30 }, 'Posthorn::Client';
    $c->reply;
    $c->ask('EHLO client.test');
    return $c;
}

# One message to both.
sub give {
    my ($self, $case) = @_;
    $case->{number} = ++$self->{given};
    for my $side (@sides) {
        my $out = $case->{$side} = { replies => [], sent => [], bounced => [] };
        $case->{args} ? $self->by_sendmail($side, $case, $out) : $self->by_smtp($side, $case, $out);
        $self->{log}{$side}{id}{ $out->{id} }{case} = $case if $out->{id};
    }
    return;
}

sub by_smtp {
    my ($self, $side, $case, $out) = @_;
    my $c = $self->client($side, $case->{kind} eq 'outside');
    my $say = sub { my ($line) = @_; $c->ask($line); push @{ $out->{replies} }, $c->{last} =~ s/queued as \S+/queued as ID/r; return $c->{last} =~ /^[23]/ };
    my $ok = $say->("MAIL FROM:<$case->{from}>$case->{mail_args}");
    my $n = 0;
    if ($ok) { for my $to (@{ $case->{to} }) { $n++ if $say->("RCPT TO:<$to->[0]>$to->[1]") } }
    if (!$n || !$say->('DATA')) {
        $c->ask('RSET');
        return;
    }
    $c->put($case->{text} =~ s/^\./../mgr =~ s/\n/\r\n/gr . ".\r\n");
    my ($code, $said) = $c->reply;
    push @{ $out->{replies} }, $said =~ s/queued as \S+/queued as ID/r;
    ($out->{id}) = $said =~ /queued as (\w+)/;
    return;
}

# sendmail, then until pickup has told what it calls the message.
sub by_sendmail {
    my ($self, $side, $case, $out) = @_;
    my $x = $self->{$side};
    $self->{log}{$side}{picked} = [];
    my @program = $side eq 'ours' ? ($x->sbin('sendmail'), '-C', $x->dir) : ('/usr/bin/env', $x->env, "$x->{root}/usr/sbin/sendmail");
    my $text = (bless { tmp => $self->{dir} }, 'Posthorn')->run_in($case->{text}, @program, @{ $case->{args} });
    my $status = $?;
    $text =~ s/^\S*(?=(?:sendmail|postqueue): )//mg;
    $text =~ s/^(?:postdrop|postfix\S*): warning: .*\n//mg;
    $text =~ s/^postdrop: fatal: uid=\d+: malformed input\n//mg;   # when sendmail had given up, and it saw that in time
    $text =~ s{(?<=fatal: )(.*?)(?=\(\d+\): )}{$1 =~ s/["\\]//gr}ge;   # the sender as it was given, or as it is meant
    push @{ $out->{replies} }, ($status >> 8) . " $text";
    return if $status;
    my $log = $self->{log}{$side};
    # Refused by cleanup, it stays in maildrop, and would be tried again.
    my $maildrop = ($side eq 'ours' ? $x->queue : $x->dir . '/queue') . '/maildrop';
    Posthorn::wait_for(sub {
        $self->look($side);
        $out->{id} //= shift @{ $log->{picked} };
        my $refused = $out->{id} && $log->{id}{ $out->{id} }{end};
        my @left = map { s{.*/}{}r } glob "$maildrop/*";
        return @left ? $refused || grep { $log->{stays}{$_} } @left : $out->{id};
    }, 20);
    if (my @left = glob "$maildrop/*") {
        push @{ $out->{replies} }, 'stays in maildrop';
        unlink @left;
    }
    return;
}

# ---- what became of it ----

# Read what is new in a log.
sub look {
    my ($self, $side) = @_;
    my $log = $self->{log}{$side};
    my $file = $side eq 'ours' ? $self->{ours}->dir . '/log/posthorn.log' : $self->{theirs}->dir . '/log';
    open my $in, '<:raw', $file or return;
    seek $in, $log->{read}, 0;
    local $/;
    my $text = $log->{left} . (<$in> // '');
    $log->{read} = tell $in;
    $log->{left} = $text =~ s/([^\n]*)\z// ? $1 : '';
    my $ids = $log->{id};
    for my $line (split /\n/, $text) {
        if ($line =~ m{postfix/pickup\[\d+\]: warning: .*maildrop/}) { $log->{stays}{$1} = 1 if $line =~ m{ maildrop/(\w+)(?: waits|: .*(?:error writing|queue file write error))}; next }
        my ($program, $id, $said) = $line =~ m{postfix/(\S+)\[\d+\]: (?:warning: )?([0-9A-Za-z]{8,}): (.*)} or next;
        if ($said =~ /^uid=\d+ from=/) { push @{ $log->{picked} }, $id }
        elsif ($said =~ /^from=<(.*)>, size=\d+, nrcpt=(\d+) \(queue active\)/) { $ids->{$id}{want} = $2 }
        elsif ($said =~ /^to=</) {
            push @{ $ids->{$id}{to} }, $said;
            $self->{deferred} = $ids->{$id}{deferred} = 1 if $said =~ /status=deferred/;
            $ids->{$id}{owes} = 1 if $said =~ /status=(?:bounced|undeliverable|deliverable)/;
        }
        elsif ($said =~ /^removed/) { $ids->{$id}{removed} = 1 }
        elsif ($said =~ /^sender .*notification: (\w+)/) { $ids->{$1}{of} = $id; $ids->{$id}{owes} = 0 }
        elsif ($line =~ /warning: /) { push @{ $ids->{$id}{warned} }, $said }
        if ($program =~ /cleanup|pickup/ && $said =~ /message rejected|not accepted|^reject/) { $ids->{$id}{end} = 1 }
    }
    return;
}

# A message that waits for another day is done too, once its notice is under way.
sub is_done { my ($i) = @_; return $i->{removed} || $i->{end} || ($i->{deferred} && !$i->{owes} && @{ $i->{to} } >= ($i->{want} // 1e9)) }

# Until all that was accepted has left, or is deferred; each outcome goes to its case.  1: all did.
sub settle {
    my ($self) = @_;
    my $all = 1;
    for my $side (@sides) {
        my $ids = $self->{log}{$side}{id};
        next if Posthorn::wait_for(sub { $self->look($side); !grep { !is_done($_) } values %$ids }, 20);
        Test::More::diag("$side: not done: " . join ' ', grep { !is_done($ids->{$_}) } sort keys %$ids);
        $all = 0;
    }
    for my $m ($self->{sink}->fresh) {
        my $side = $m->{helo};
        my $ids = $self->{log}{$side}{id};
        my ($id) = $m->{data} =~ /^X-(?:Postfix|Posthorn)-Queue-ID: (\w+)/mi;
        ($id) = $m->{data} =~ /\AReceived:[^\n]*\n(?:[ \t][^\n]*\n)*?[^\n]*\bid (\w+)/ if !$id || !$ids->{$id};
        my $case = $id && $ids->{$id} ? $ids->{$id}{case} : undef;
        if (!$case) { Test::More::diag("$side: whose is this? $m->{data}"); $all = 0; next }
        push @{ $case->{$side}{sent} }, $m;
    }
    for my $side (@sides) {
        my $ids = $self->{log}{$side}{id};
        for my $id (sort keys %$ids) {
            my $case = $ids->{$id}{case} or next;
            $case->{$side}{told} = $ids->{$id}{to} // [];
            $case->{$side}{warned} = $ids->{$id}{warned} // [];
        }
        $self->{log}{$side}{id} = {};
    }
    return $all;
}

1;
