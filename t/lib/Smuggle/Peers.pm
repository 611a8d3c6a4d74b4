# Smuggle/Peers.pm: one of the other mail systems in front of us and behind us.
package Smuggle::Peers;
use strict;
use warnings;
use Test::More;
use Posthorn;
use Smuggle;

# What others send us: to smtpd as it comes, and as it is for those in mynetworks.
my @front = qw(strict.test trusted.test);
# What we send others: by DATA, and by BDAT where that is offered.
my @behind = qw(data.test bdat.test);

# Notices to the senders.
my $nowhere = '{a.test=discard:}, {evil.test=discard:}';

sub systems {
    my ($s, $class, %set) = @_;
    my %port = map { $_ => Posthorn::free_port() } qw(strict.test trusted.test peer);
    my $sink = $s->sink('data');
    my $peer = $class->new(-port => $port{peer}, -relay => { (map { $_ => $port{$_} } @front), map { $_ => $sink } @behind }, %set);
    my $maps = join ', ', $nowhere, map({ "{$_=smtp:[127.0.0.1]:$sink}" } @front), "{data.test=nochunk:[127.0.0.1]:$port{peer}}", "{bdat.test=smtp:[127.0.0.1]:$port{peer}}";
    my $ph = Posthorn->new(-port => $port{'strict.test'}, mynetworks => '192.0.2.0/24', relay_domains => join(' ', @front, @behind), transport_maps => "inline:{ $maps }",
        smtpd_error_sleep_time => '0', default_destination_concurrency_limit => 5, minimal_backoff_time => '1s', queue_run_delay => '1s', smtpd_client_connection_count_limit => 0);
    $ph->edit_master(sub { s/^services:\n/<<"YAML"/me or die });
services:
  - {name: trusted, plugin: smtpd, listen: "inet:127.0.0.1:$port{'trusted.test'}", settings: {mynetworks: 127.0.0.0/8}}
  - {name: nochunk, transport: smtp, listen: unix, settings: {smtp_discard_ehlo_keywords: chunking}}
YAML
    return ($peer->start, $ph->start);
}

# How many of a run the first reader itself took for several messages.
sub torn { my ($run) = @_; return scalar grep { $_->{accepted} > 1 && !$_->{v}{control} } @{ $run->{tried} } }

# The test: $class in front and behind, with the settings of it.
sub both_ways {
    my ($class, $offset, %set) = @_;
    my $why = $class->missing;
    plan skip_all => $why if $why;
    my ($name) = $class =~ /^Peer(.*)/;
    my $s = Smuggle->new(offset => $offset);
    my ($peer, $ph) = systems($s, $class, %set);
    my $front = $s->attack("$name, then us", $peer->port, @front);
    my $behind = $s->attack("us, then $name", $ph->port, @behind);
    $s->settle($ph, $peer);
    my $cut = $name eq 'OpenSMTPD';
    $s->judge($front, ours => 1, cut_at_nul => $cut);
    $s->judge($behind, strict => 1, cut_at_nul => $cut);
    diag "smuggle: $name itself took ", torn($front), ' of ', scalar @{ $front->{tried} }, ' for several messages, and of what we sent none' if !$s->{split};
    return $s->finish;
}

1;
