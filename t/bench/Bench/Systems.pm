# Systems.pm: the mail systems that are compared, and how each is set up.  All
# log to a file; all run from an unpacked package or an installed tree, none is
# installed into the machine.
package Bench::Systems;
use strict;
use warnings;
use File::Path qw(make_path);
use PeerExim;
use PeerOpenSMTPD;
use PeerPostfix;
use Posthorn;

# Retry times of the scenarios where something is refused for now.
my %soon = (minimal_backoff_time => '2s', maximal_backoff_time => '2s', queue_run_delay => '1s');

# What an administrator would raise who has one machine for it and few
# destinations, all documented in postconf(5).
my %tuned = (
    default_process_limit => 600, default_destination_concurrency_limit => 100, initial_destination_concurrency => 50,
    smtp_destination_concurrency_limit => 100, max_use => 10000, in_flow_delay => '0s', qmgr_message_active_limit => 40000,
    smtpd_peername_lookup => 'no', disable_dns_lookups => 'yes', smtpd_client_connection_count_limit => 0,
    smtpd_client_connection_rate_limit => 0, receive_override_options => 'no_address_mappings', ipc_idle => '100s',
);

# Maildirs that are there already; as root, of a number that is nobody's.
my $vmail = 734;

sub maildirs {
    my ($s, $dir) = @_;
    my $owner = $> || $vmail;
    my @dirs = map { "$dir/mail/u$_" } 0 .. $s->{maildirs} - 1;
    my @all = ("$dir/mail", map { ($_, "$_/new", "$_/cur", "$_/tmp") } @dirs);
    make_path(@all, { mode => 0700 });
    chmod 0755, "$dir/mail";
    chown $owner, $owner, @all if !$>;
    return ($owner, @dirs);
}

# main.cf of both families for a scenario.
sub settings {
    my ($s, $dir, $sink_port) = @_;
    my @relay = (relayhost => "[127.0.0.1]:$sink_port", $s->{retry} ? %soon : (), %{ $s->{settings} || {} });
    return @relay unless $s->{maildirs};
    my ($owner, @dirs) = maildirs($s, $dir);
    return ($s->{settings} ? @relay : (), virtual_mailbox_domains => 'box.test', virtual_mailbox_base => "$dir/mail", virtual_uid_maps => "static:$owner", virtual_gid_maps => "static:$owner",
        virtual_mailbox_maps => join(' ', 'inline:{', map({ "{u$_\@box.test=u$_/}" } 0 .. $#dirs), '}'));
}

sub postfix {
    my ($s, $dir, $sink_port, %more) = @_;
    return PeerPostfix->new(-dir => $dir, settings($s, $dir, $sink_port), %more);
}

# Debian's limit is 20 sessions.
sub exim {
    my ($s, $dir, $sink_port) = @_;
    return PeerExim->new(-relay => { 'sink.test' => $sink_port }, -accept_max => 1000, more => "smtp_connect_backlog = 512\n");
}

# Its own limits are for hosts of others: few connections, with pauses between them.
my $opensmtpd_limits = join '', map({ "mta limit $_ 100\n" } map { "max-conn-per-$_" } qw(host route source connector relay domain)),
    map({ "mta limit $_ 0\n" } qw(session-transaction-delay reconn-delay-route), map { "conn-delay-$_" } qw(host source connector relay domain));

sub opensmtpd {
    my ($s, $dir, $sink_port) = @_;
    return PeerOpenSMTPD->new(-relay => { 'sink.test' => $sink_port }, more => $opensmtpd_limits);
}

my %systems = (
    posthorn => { label => 'Posthorn', missing => sub { }, make => sub { my ($s, $dir, @a) = @_; return Posthorn->new(settings($s, $dir, @a)) } },
    postfix => { label => 'Postfix', missing => sub { PeerPostfix->missing }, make => \&postfix },
    exim => { label => 'Exim', missing => sub { PeerExim->missing }, only => ['relay'], make => \&exim },
    opensmtpd => { label => 'OpenSMTPD', missing => sub { PeerOpenSMTPD->missing }, only => ['relay'], most => 20, make => \&opensmtpd },
    'postfix-tuned' => { label => 'Postfix tuned', missing => sub { PeerPostfix->missing }, make => sub { return postfix(@_, %tuned) } },
);
our @order = qw(posthorn postfix postfix-tuned exim opensmtpd);

# Whether it can run in a scenario: `only` names the kinds, `most` the sessions at
# once that do not spend their time before a full listener.
sub can_do {
    my ($name, $s) = @_;
    my $kind = $s->{maildirs} ? 'maildirs' : $s->{idle} ? 'idle' : 'relay';
    return 0 if ($s->{sessions} || 0) > ($systems{$name}{most} || 1e9);
    return !$systems{$name}{only} || grep { $_ eq $kind } @{ $systems{$name}{only} };
}

sub label { my ($name) = @_; return $systems{$name}{label} }

# Those of the names that can run here; why not is said once.
my %told;
sub usable {
    return grep {
        my $why = $systems{$_} ? $systems{$_}{missing}->() : die "bench: no system $_ (there are: @order)\n";
        print "bench: $_ left out: $why\n" if $why && !$told{$_}++;
        !$why;
    } @_;
}

# Running on a disk of its own, in a control group of its own.
sub start {
    my ($name, $s) = @_;
    my $dir = Bench::World::disk($name);
    my $sink_port = Posthorn::free_port();
    local $ENV{TMPDIR} = $dir;
    my $system = $systems{$name}{make}->($s, $dir, $sink_port);
    my $meter = Bench::Meter->new($name);
    $meter->start(sub { $system->start });
    @$system{qw(meter sink_port name)} = ($meter, $sink_port, $name);
    $system->{maildirs} = [glob "$dir/mail/u*"] if $s->{maildirs};
    return $system;
}

sub stop {
    my ($system) = @_;
    my $name = $system->{name};
    $system->stop;
    $system->{meter}->end;
    undef $_[0];                   # its directory goes before its disk does
    Bench::World::release($name);
    return;
}

1;
