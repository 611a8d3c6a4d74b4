# Points.pm: every call site of every operation, times every fault that can
# happen there, one at a time; and what must hold after each.
package Points;
use strict;
use warnings;
use Operations;
use Storable ();
use Test::More ();

# Where a message may come twice: it was taken, and the word of that was lost on
# its way (the far side's answer, the agent's report, bounce's answer), or its
# directory was not synced after the rename.
our $window = qr/^\S+ \S+ (?:(?:smtp|virtual|bounce|qmgr) (?:send|recv|epoll|fds)\(|virtual sync\(d\) \S*<ph_files_rename:)/;

# The submitter could not hear postdrop's answer: it is tried again, and came.
our $unheard = qr/^\S+ \S+ sendmail read\(p\) read_answer/;

# Watchers of the test, not of the way of a message.
my %watcher = map { $_ => 1 } qw(showq postqueue);
# What a program must take without anybody noticing.  (An interrupted open of a
# file is a failure like another: no file system of Linux that we use knows it.)
sub is_transparent { my ($p) = @_; return $p->{fault} eq 'SHORT' || ($p->{fault} eq 'EINTR' && $p->{call} ne 'open') }

sub new {
    my ($class, %set) = @_;
    my $self = bless { op => Operations->new(%set)->start, points => {}, faults => {}, trouble => [], tokens => {} }, $class;
    $self->{faults_of} = $self->{op}{faults};
    return $self;
}

# The sites that an operation meets, in two undisturbed runs (the first may start workers).
sub sites_of {
    my ($self, $op) = @_;
    my ($o, $f) = ($self->{op}, $self->{op}{faults});
    for my $turn (1, 2) {
        my $t = $o->token;
        $f->record if $turn == 2;
        my $ok = $Operations::run{$op}->($o, $t);
        $f->calm;
        Test::More::BAIL_OUT("$op does not work undisturbed: $o->{sent}{$t}{text}\n" . $o->new_log) unless $ok;
        $o->new_log;
        $self->{tokens}{$t} = { op => $op, name => "$op undisturbed", clean => 1 };
    }
    return $f->site_names(grep { !$watcher{ $_->{service} } } $f->sites);
}

# All points of an operation: { op, name, site, fault, skip }.
sub points_of {
    my ($self, $op) = @_;
    my @points;
    for my $s (sort { $a->{name} cmp $b->{name} } $self->sites_of($op)) {
        for my $fault (@{ $Faults::applicable{ $s->{call} }{ $s->{kind} } || [] }) {
            for my $skip ($s->{met} > 1 ? (0, $s->{met} - 1) : 0) {
                push @points, { op => $op, site => $s->{hash}, fault => $fault, skip => $skip, call => $s->{call}, kind => $s->{kind},
                    name => "$op $fault $s->{name}" . ($skip ? " last" : '') };
            }
        }
    }
    return @points;
}

sub trouble {
    my ($self, $p, $why) = @_;
    push @{ $self->{trouble} }, "$p->{name}: $why";
    Test::More::diag("$p->{name}: $why" . ($ENV{FAULT_VERBOSE} ? "\n$p->{log}" : ''));
    return;
}

# Strike once while the operation runs.
sub try_point {
    my ($self, $p) = @_;
    my ($o, $f) = ($self->{op}, $self->{op}{faults});
    my $t = $p->{token} = $o->token;
    $self->{tokens}{$t} = $p;
    $f->arm(site => $p->{site}, fault => $p->{fault}, skip => $p->{skip});
    my $ok = $Operations::run{ $p->{op} }->($o, $t);
    $p->{met} = $f->hits;
    $p->{struck} = $f->struck;
    $f->calm;
    $self->{points}{ $p->{op} }{ $p->{met} ? 'met' : 'not met' }++;
    $self->{faults}{ $p->{fault} }++ if $p->{met};
    $p->{sent} = [grep { $_->[1] } map { [$_, $o->{sent}{$_}] } $t, "${t}l", "${t}o"];
    $self->leaves($p);
    $self->serves($p);
    # What a command said counts as well: it has no other place to say it.
    $p->{log} = $o->new_log . join '', map { "$_->[1]{text}\n" } @{ $p->{sent} };
    $self->judge($p, $ok);
    return;
}

# Its messages leave before the next point begins, which may kill a process that has
# not heard yet that they were delivered.
sub leaves {
    my ($self, $p) = @_;
    my $o = $self->{op};
    my @taken = map { $_->[0] } grep { $_->[1]{code} == 250 } @{ $p->{sent} };
    Posthorn::wait_for(sub { @taken = grep { !$o->is_removed($_) && $o->queued($_) } @taken; !@taken }, 3);
    return;
}

# The next client is served, whatever happened.
sub serves {
    my ($self, $p) = @_;
    my $o = $self->{op};
    my $t;
    # A new message each time: who hears no answer does not know whether it was taken.
    my $ok = Posthorn::wait_for(sub {
        $t = $o->token;
        $self->{tokens}{$t} = { op => 'accept', name => "$p->{name} (the next message)", clean => 1, log => '' };
        return $o->say_mail($t);
    }, 6);
    return if $ok && $o->settle($t) && Posthorn::wait_for(sub { $o->is_removed($t) }, 12);
    $self->trouble($p, "no service afterwards: $o->{sent}{$t}{text}");
    $o->{ph}->restart;
    return;
}

# What must hold at once; the rest is seen at the end (audit).
sub judge {
    my ($self, $p, $ok) = @_;
    my $o = $self->{op};
    for my $m (@{ $p->{sent} }) {
        my ($t, $said) = @$m;
        if ($said->{code} == 250) {
            next if over_quota($p);
            next if $o->ended($t) || $o->settle($t, 15);
            my $where = $o->queued($t) ? 'stays in the queue' : 'LOST';
            $self->trouble($p, "$t got 250 and $where");
        } elsif ($said->{code} >= 500) {
            $self->trouble($p, "a refusal for good: $said->{text}");
        } elsif ($p->{met} && is_transparent($p)) {
            $self->trouble($p, "not taken: $said->{text}");
        }
    }
    $self->trouble($p, 'a false 250: what was written is not on disk, and all is well') if $p->{met} && is_false($p);
    $self->trouble($p, "$1") while $p->{log} =~ /^.*? ([\w\/-]+\[\d+\]: (?:warning: )?(?:panic|process .* killed by signal (?!9\b)).*)$/mg;
    $self->look_at_log($p) if $p->{met};
    return;
}

# A promise that nothing stands behind: the write or the sync of a new message
# failed, and no 4xx; that of a mailbox did, and no deferral.  The page cache
# delivers it all the same, so that only the answers can tell.
sub is_false {
    my ($p) = @_;
    return 0 if is_transparent($p) || $p->{name} =~ /flush_file/;
    return !grep { $_->[1]{code} != 250 } @{ $p->{sent} } if $p->{name} =~ /^\S+ \S+ (?:in:smtp|postdrop) (?:sync|pwrite|write)\([fd]\)/;
    return $p->{name} =~ /^\S+ \S+ virtual (?:sync|write|rename|link)\([fdn]\)/ && $p->{log} !~ /status=(?:deferred|bounced)/;
}

# A mailbox over its quota is full: the sender is told, and who is told of that has none.
sub over_quota { my ($p) = @_; return ($p->{fault} // '') eq 'EDQUOT' && $p->{name} =~ /^\S+ \S+ virtual / }

# Connections that end are an everyday thing; of disks and descriptors an administrator must hear.
sub look_at_log {
    my ($self, $p) = @_;
    return if is_transparent($p) || $p->{fault} =~ /^(?:ECONN|EPIPE|EAGAIN|ENOBUFS)/;
    my $words = $p->{fault} eq 'FDS' ? 'descriptors' : Faults::words_of($p->{fault});
    # The sync of a directory after a rename is told as EIO, whatever it was.
    return if $p->{log} =~ /\Q$words\E/i || $p->{log} =~ /\(maildir delivery failed: rename .*: Input\/output error/;
    my $noticed = $p->{log} =~ /status=deferred/ && $p->{op} !~ /^(?:defer|hold|requeue|expire|restart)$/
        || grep { $_->[1]{code} != 250 } @{ $p->{sent} };
    $self->trouble($p, "\"$words\" is not in the log") if $noticed;
    $self->{unnoticed}++ unless $noticed;
    return;
}

# At the end, with everything quiet: nothing twice, nothing both ways, nothing that was refused.
sub audit {
    my ($self) = @_;
    my $o = $self->{op};
    my $empty = Posthorn::wait_for(sub { return 1 unless $o->all_queued; $o->flush; return 0 }, 30);
    $self->trouble({ name => 'end', log => '' }, "the queue does not run empty:\n" . $o->postqueue('-p')) unless $empty;
    for my $first (sort keys %{ $self->{tokens} }) {
        my $p = $self->{tokens}{$first};
        $self->audit_report($p, $first) if $p->{op} eq 'expand' && $o->{sent}{$first};
        for my $t ($first, "${first}l", "${first}o") {
            my $said = $o->{sent}{$t} or next;
            my ($d, $b) = ($o->delivered($t), $o->bounced($t));
            # Who did not hear that his mail was taken has nobody expire it.
            my $fails = $p->{op} eq 'bounce' || $p->{op} eq 'expire' && $said->{code} == 250;
            $fails ||= over_quota($p) && $b;
            $self->trouble($p, "$t was answered $said->{code}, and came all the same") if $said->{code} >= 400 && $d + $b && $p->{name} !~ $unheard;
            $self->trouble($p, "$t is lost") if $said->{code} == 250 && !($d + $b) && !over_quota($p);
            $self->trouble($p, "$t was returned ($b) and delivered ($d)") if $fails ? $d : $b;
            $self->trouble($p, "$t came " . ($d + $b) . " times without a fault\n" . $o->story($t)) if $p->{clean} && $d + $b > 1;
            next unless ($fails ? $b : $d) > 1 && !$p->{clean};
            $self->{twice}{ $p->{name} } = 1;
            $self->trouble($p, "$t came twice") unless $p->{name} =~ $window;
        }
    }
    my @corrupt = glob "$o->{ph}{dir}/queue/corrupt/*";
    $self->trouble({ name => 'end', log => '' }, "damaged: @corrupt") if @corrupt;
    return;
}

# Whose alias was expanded hears of it once.
sub audit_report {
    my ($self, $p, $t) = @_;
    my $n = $self->{op}->reported($t);
    $self->trouble($p, "$t was not taken, and reported") if $n && $self->{op}{sent}{$t}{code} >= 400;
    $self->trouble($p, "$t is not reported") if !$n && $self->{op}{sent}{$t}{code} == 250 && !over_quota($p);
    return if $n < 2;
    $self->{twice}{"$p->{name} (report)"} = 1;
    $self->trouble($p, "$t was reported $n times") unless $p->{name} =~ $window;
    return;
}

# What a part leaves for its parent.
sub save { my ($self, $out) = @_; Storable::nstore({ map { $_ => $self->{$_} } qw(points faults trouble twice unnoticed) }, $out); return }
sub load { my ($in) = @_; return Storable::retrieve($in) }

sub merge {
    my %sum = (trouble => [], met => 0, unmet => 0, unnoticed => 0);
    for my $r (@_) {
        push @{ $sum{trouble} }, @{ $r->{trouble} };
        $sum{points}{$_} = $r->{points}{$_} for keys %{ $r->{points} };
        $sum{faults}{$_} += $r->{faults}{$_} for keys %{ $r->{faults} };
        $sum{twice}{$_} = 1 for keys %{ $r->{twice} || {} };
        $sum{unnoticed} += $r->{unnoticed} || 0;
        for my $n (values %{ $r->{points} }) {
            $sum{met} += $n->{met} || 0;
            $sum{unmet} += $n->{'not met'} || 0;
        }
    }
    return \%sum;
}

sub report {
    my ($sum) = @_;
    for my $op (grep { $sum->{points}{$_} } @Operations::order) {
        my $n = $sum->{points}{$op};
        printf "# %-13s %4d faults injected, %d not met\n", $op, $n->{met} || 0, $n->{'not met'} || 0;
    }
    print '# by fault: ', join(', ', map { "$_ $sum->{faults}{$_}" } sort keys %{ $sum->{faults} }), "\n";
    print "# twice, in a window that is known: $_\n" for sort keys %{ $sum->{twice} };
    print "# faults without effect, so not in the log: $sum->{unnoticed}\n";
    print "# total: $sum->{met} faults injected, $sum->{unmet} not met\n";
    return;
}

1;
