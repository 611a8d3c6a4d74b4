# Effort.pm: an instance that relays one message after the other, and what that
# costs each process, per message, against the figures in `expected`.
package Effort;
use strict;
use warnings;
use Test::More;
use Bench::Load;
use Posthorn;

# Who is counted, by command line.  cleanup and rewrite run inside smtpd.
our %process = (smtpd => qr/-n smtp -t inet/, qmgr => qr/-n qmgr /, smtp => qr/-n smtp -t unix/);
our %scenario = (once => 0, kept => 1);      # a session for each message, or one for all

my $PATIENCE_S = 60;
my ($here) = __FILE__ =~ m{^(.*)/};

# What configured the build: prefix, compiler, flags, options.
sub build { return Posthorn::slurp("$Posthorn::build/.dev") }
sub is_sanitized { return build() =~ /--enable-sanitizers/ }
sub is_developer { return build() =~ m{\|(?:ccache )?gcc\|-O1 -g\|--enable-developer$} }

# An instance with its sink; %set: more of main.cf.  Not started.
sub new {
    my ($class, %set) = @_;
    my $self = bless { removed => 0 }, $class;
    $self->{sink} = Bench::Load::receiver("$Bench::Load::bin/sink", '-i', 'none', '-m', 1_000_000, 0);
    $self->{ph} = Posthorn->new(relayhost => "[127.0.0.1]:$self->{sink}{port}", smtpd_peername_lookup => 'no', max_use => 1_000_000, max_idle => '1h', %set);
    $self->{ph}->edit_master(sub { s/^(  - \{name: smtp,.*plugin: smtpd,)/$1 processes: 1,/m or die });
    return $self;
}

# $n messages of 4 KB through it, each when the one before was accepted (or over
# more sessions at once); until they are delivered and gone.
sub relay {
    my ($self, $scenario, $n, $sessions) = @_;
    my $sent = Bench::Load::source($self->{ph}->port, { sessions => $sessions // 1, bytes => 4096, persistent => $scenario{$scenario} }, 'effort', $n);
    die "effort: $sent->{accepted} of $n accepted: $sent->{trouble}\n" if $sent->{accepted} != $n || $sent->{retried};
    $self->{removed} += $n;
    my $seen = 0;
    Posthorn::wait_for(sub { ($seen = () = $self->{ph}->log =~ /: removed$/mg) >= $self->{removed} }, $PATIENCE_S)
        or die "effort: $seen of $self->{removed} are gone\n" . substr $self->{ph}->log, -4000;
    return;
}

# ---- the figures ----

# "what process scenario" => number.
sub expected {
    my %e;
    for (split /\n/, Posthorn::slurp("$here/expected")) {
        next if /^\s*(?:#|$)/;
        my ($what, $who, $once, $kept) = split ' ';
        @e{ "$what $who once", "$what $who kept" } = ($once, $kept);
    }
    return \%e;
}

# Not more than expected, and so much as chance may do.  What got cheaper is
# said: the figure then wants to follow.
sub judge {
    my ($name, $got, $want, $chance) = @_;
    return fail("$name: $got, and no figure in t/effort/expected") unless defined $want;
    my $text = sprintf '%s: %s, expected %s', $name, map { sprintf $_ >= 1000 ? '%.0f' : '%.2f', $_ } $got, $want;
    ok($got <= $want + $chance, $text) or diag 'more work per message than it was: t/effort/README.md';
    diag "$text: it got cheaper, lower the figure" if $got < $want - 2 * $chance;
    return;
}

1;
