#!/usr/bin/perl
# Rewriting and resolving, held against Debian's Postfix as a black box: the same
# generated configurations, addresses and senders, each asked of both by their sockets
# (t/lib/ResolvePeers.pm).  What differs has a reason below, or is a mistake.
#
#   RESOLVE_SEEDS=1,2,3 RESOLVE_CONFS=20 RESOLVE_ADDRESSES=500 prove -It/lib t/system/resolve_peer.t
use strict;
use warnings;
use File::Temp ();
use Test::More;
use lib 't/lib';
use ResolveCases;
use ResolvePeers;

my $missing = PeerPostfix->missing;
plan skip_all => $missing if $missing;
my @seeds = split /,/, $ENV{RESOLVE_SEEDS} // '1';
my ($confs, $addresses) = ($ENV{RESOLVE_CONFS} // 12, $ENV{RESOLVE_ADDRESSES} // 60);
my (%count, %reason_seen);

# ---- what may differ, and why ----

# In Postfix the external form is read as RFC 822 words again: blanks appear around
# those that touch, comments are moved, an open quote or bracket is closed.  Ours reads the
# grammar of its callers, ph_address_external() and ph_address_next_external().
my $word = qr/"(?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*"|\[[0-9a-zA-Z.:]*\]|(?:[^"\\()<>,;:\[\]\x00-\x20\x7f.@!%]|\\[^\x00-\x1f\x7f])+|/;
sub is_external { return $_[0] =~ /^(?:(?:\@[^:@]*,?)+:)?$word(?:[.@!%]$word)*\z/s }
sub squeezed { my ($text) = @_; $text =~ s/[\s"\\]//g; return $text }
# Bytes in an internal form that Postfix reads as syntax all the same.
sub has_syntax { return $_[0] =~ /["\\()<>,;:\x00-\x20\x7f]/ || $_[0] =~ /[\[\]]/ && $_[0] !~ /^[^\[\]]*\@\[[0-9a-zA-Z.:]*\]\z/ }

# Whether a table of the list has the key "*".
sub has_star { my ($maps) = @_; return scalar grep { Posthorn::slurp($_) =~ /^\* /m } ($maps // '') =~ m{:(/\S+/table\d+)}g }

my @rewrite_reasons = (
    ['not in external form: nobody asks so' => sub { my ($c) = @_; !is_external($c->{address}) }],
    ['what was quoted stays quoted while there is no domain, or it would be another address' => sub {
        my ($c) = @_;
        $c->{ours} =~ /^".*"\z/s && squeezed($c->{ours}) eq squeezed($c->{theirs});
    }],
    ['a quoted local part that looks like a source route is none, and stays quoted' => sub {
        my ($c) = @_;
        $c->{ours} =~ /^"\@.*:/ && $c->{theirs} =~ /^\@.*:/ && squeezed($c->{ours}) eq squeezed($c->{theirs});
    }],
    ['empty quotes are nothing: no word between a dot and the end, no local part' => sub { my ($c) = @_; $c->{address} =~ /""/ }],
    ['all of several source routes go, not the first alone' => sub { my ($c) = @_; $c->{address} =~ /^\@[^:]*:\@[^:]*:/ }],
    ['the colon of a literal ends no route' => sub { my ($c) = @_; $c->{address} =~ /^\@\[[^\]]*:[^\[\]]*\]\z/ }],
    ['a route to nowhere is nothing' => sub { my ($c) = @_; $c->{address} =~ /^\@[^:]*:\z/ && $c->{ours} eq '' }],
);

my @resolve_reasons = (
    ['a next hop that is the domain is in lower case: one destination' => sub {
        my ($c) = @_;
        lc $c->{ours} eq lc $c->{theirs} && lc $c->{o}{nexthop} eq $c->{o}{nexthop} && $c->{o}{recipient} =~ /\@\Q$c->{o}{nexthop}\E\z/i;
    }],
    ['error and retry without a text say so, not the domain or the relay host' => sub {
        my ($c) = @_;
        my %theirs = (%{ $c->{t} }, nexthop => 'Address is undeliverable');
        ($c->{o}{transport} // '') =~ /^(?:error|retry)\z/ && $c->{ours} eq shown(\%theirs) && $c->{t}{nexthop} !~ /text|thanks|please|gone/;
    }],
    ['a numeric IPv6 domain becomes a literal that is valid, with its tag' => sub {
        my ($c) = @_;
        my %ours = map { my $v = $c->{o}{$_}; $v =~ s/\[IPv6:/[/i; $_ => $v } keys %{ $c->{o} };
        $c->{conf}{resolve_numeric_domain} eq 'yes' && $c->{t}{recipient} =~ /\@\[[0-9a-f:]+\]\z/i && lc shown(\%ours) eq lc $c->{theirs};
    }],
    ['what is not UTF-8 is no address, a literal behind it or not' => sub {
        my ($c) = @_;
        my $bytes = $c->{address};
        $c->{ours} eq 'error' && !utf8::decode($bytes);
    }],
    ['an address that is not valid is so before a table is asked' => sub { my ($c) = @_; $c->{ours} eq 'error' && $c->{theirs} eq 'fail' }],
    ['probes have the "*" of their own tables, not that of transport_maps' => sub {
        my ($c) = @_;
        $c->{op} eq 'verify' && exists $c->{conf}{address_verify_transport_maps} && has_star($c->{conf}{transport_maps});
    }],
    ['internal forms are not read as quoted words, comments, lists: only blanks and quotes differ' => sub {
        my ($c) = @_;
        has_syntax($c->{address}) && $c->{o}{recipient} && $c->{t}{recipient} && squeezed(lc $c->{ours}) eq squeezed(lc $c->{theirs});
    }],
    ['internal forms are not read as quoted words, comments, lists: the syntax stands in it' => sub { my ($c) = @_; has_syntax($c->{address}) }],
    ['a local part that has to be quoted, with both operators: site!user first, as in rewriting' => sub {
        my ($c) = @_;
        $c->{conf}{swap_bangpath} eq 'yes' && $c->{conf}{allow_percent_hack} eq 'yes' && $c->{address} =~ /!.*%/s && $c->{address} =~ /[\[\] ]|\.\.|\.(?:[@%!]|\z)|(?:^|[@!%])\./;
    }],
);

# ---- asking ----

sub shown {
    my ($r) = @_;
    return 'fail' if $r->{fail};
    return 'error' if $r->{error};
    my $hop = $r->{nexthop};
    $hop =~ s/^\s+//;                          # they keep blanks behind the colon
    return "$r->{class} $r->{transport} [$hop] <$r->{recipient}>" . ($r->{routed} ? ' routed' : '');
}

sub reason {
    my ($case, @reasons) = @_;
    for my $r (@reasons) { if ($r->[1]->($case)) { $reason_seen{ $r->[0] }++; return 1 } }
    return 0;
}

sub told {
    my ($case, $with_conf) = @_;
    my $conf = join '', map { my $v = $case->{conf}{$_}; "    $_ = $v\n" . join '', map { "        $_\n" } map { split /\n/, Posthorn::slurp($_) } $v =~ m{:(/\S+/table\d+)}g } sort keys %{ $case->{conf} };
    return "$case->{op} of <$case->{address}>" . (defined $case->{sender} ? " from <$case->{sender}>" : '') . "\n  ours   $case->{ours}\n  theirs $case->{theirs}\n" . ($with_conf ? $conf : '');
}

my $told = 0;
sub compare {
    my ($case, @reasons) = @_;
    $count{ $case->{op} }++;
    return 1 if $case->{ours} eq $case->{theirs} || reason($case, @reasons);
    diag told($case, $told < 2) if $told++ < 20;
    return 0;
}

sub one_address {
    my ($ours, $theirs, $i, $conf) = @_;
    my ($address, $sender, $wrong) = (ResolveCases::address(), ResolveCases::sender(), 0);
    for my $context (qw(local remote)) {
        my $external = ResolveCases::external($address);
        my %case = (op => "rewrite $context", conf => $conf, address => $external, ours => $ours->rewrite($i, $context, $external),
            theirs => $theirs->rewrite($i, $context, $external));
        $case{theirs} = '' if $case{theirs} eq '""';           # the empty address
        $wrong++ unless compare(\%case, @rewrite_reasons);
    }
    for my $op (qw(resolve verify)) {
        my %case = (op => $op, conf => $conf, address => $address, sender => $sender, o => $ours->resolve($i, $op, $sender, $address),
            t => $theirs->resolve($i, $op, $sender, $address));
        @case{qw(ours theirs)} = map { shown($case{$_}) } qw(o t);
        $wrong++ unless compare(\%case, @resolve_reasons);
    }
    return $wrong;
}

sub fresh_dir { my $dir = File::Temp->newdir('posthorn-XXXXXX', TMPDIR => 1); chmod 0755, "$dir"; return $dir }

# Their postmap makes the hash tables of both.
sub maker {
    my ($dir) = @_;
    Posthorn::spew("$dir/main.cf", "compatibility_level = 3.7\nmail_owner = news\nsetgid_group = uucp\n");
    my (undef, @tool) = Posthorn::postfix_tool('postmap');
    return sub { system('/usr/bin/env', "MAIL_CONFIG=$dir", @tool, @_) == 0 or die "postmap @_" };
}

sub both { return (ResolvePeers::Ours->new(@_), ResolvePeers::Theirs->new(@_)) }

for my $seed (@seeds) {
    my $dir = fresh_dir();
    my $cases = ResolveCases->new(seed => $seed, dir => "$dir", postmap => maker($dir));
    my @conf = map { $cases->configuration } 1 .. $confs;
    my ($ours, $theirs) = both(@conf);
    my $wrong = 0;
    for my $i (0 .. $#conf) { $wrong += one_address($ours, $theirs, $i, $conf[$i]) for 1 .. $addresses }
    is($wrong, 0, "seed $seed: " . $confs * $addresses . ' addresses, each completed and resolved twice, the same or for a reason');
    $_->stop for $ours, $theirs;
}

# ---- differences that the cases above avoid, and what must not be one ----

{
    my $dir = fresh_dir();
    Posthorn::spew("$dir/star", "/^\\*\$/ star:\n");
    Posthorn::spew("$dir/groups", "/^(u)\@/ smtp:[\$1]\n/^w\@/ smtp:[w]\n");
    my ($ours, $theirs) = both({ mydestination => '', transport_maps => "regexp:$dir/star" }, { mydestination => '', transport_maps => "regexp:$dir/groups" });
    my @star = map { $_->resolve(0, 'resolve', '', 'u@o.example')->{transport} } $ours, $theirs;
    is("@star", 'smtp star', 'pattern tables see whole addresses: ours does not ask them for "*"');
    is($_->resolve(1, 'resolve', '', 'u@o.example')->{transport} . $_->resolve(1, 'resolve', '', 'w@o.example')->{nexthop}, 'smtp[w]', 'no $1 in routes: ' . ref) for $ours, $theirs;
    $_->stop for $ours, $theirs;
}

note sprintf '%-16s %d', $_, $count{$_} for sort keys %count;
note sprintf '%6d  %s', $reason_seen{$_}, $_ for sort { $reason_seen{$b} <=> $reason_seen{$a} } keys %reason_seen;
done_testing;
