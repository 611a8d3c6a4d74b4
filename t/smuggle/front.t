#!/usr/bin/perl
# Attacker -> us -> a next hop, by DATA, by BDAT, by LMTP, and to one without
# 8BITMIME: what we accept as one message leaves as one, and nothing that we send
# can be read in two ways.  With every smtpd_forbid_bare_newline, and from stdin.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;
use Smuggle;
use Smuggle::Variants qw(ends_loose ends_strict);

my $s = Smuggle->new;
my @ways = qw(data bdat lmtp seven);
my @outs = map { "$_.test" } @ways;
my @modes = qw(reject note no open stdin stdini strays);          # each has a domain of its own
my $maps = join ', ', '{a.test=discard:}, {evil.test=discard:}', map({ "{$_.test=" . (/lmtp/ ? 'lmtp:inet:127.0.0.1:' : 'smtp:[127.0.0.1]:') . $s->sink($_) . '}' } @ways), map { "{$_.test=smtp:[127.0.0.1]:" . $s->sink('bdat') . '}' } @modes;
my %port = map { $_ => Posthorn::free_port() } qw(reject note no open);
my %cf = (mynetworks => '192.0.2.0/24', relay_domains => join(' ', @outs, map { "$_.test" } @modes), transport_maps => "inline:{ $maps }", smtpd_error_sleep_time => '0');
my $ph = Posthorn->new(%cf);
my %setting = map { $_ => "smtpd_forbid_bare_newline: $_" } qw(reject note no);
$setting{open} = 'smtpd_forbid_unauth_pipelining: no';
$ph->edit_master(sub { s/^services:\n/"services:\n" . join '', map { "  - {name: $_, plugin: smtpd, listen: \"inet:127.0.0.1:$port{$_}\", settings: {$setting{$_}}}\n" } sort keys %port/me or die });
$ph->start;

my @runs = ([$s->attack('in front', $ph->port, @outs), strict => 1, ours => 1, converted => { 'seven.test' => 1 }]);
push @runs, [$s->attack('reject', $port{reject}, 'reject.test'), ours => 1, strict => 1, reject => 1];
push @runs, [$s->attack('note', $port{note}, 'note.test'), ours => 1, strict => 1];
# Clients who may send on without waiting: nothing but the end of data is between two messages.
push @runs, [$s->attack('any pipelining', $port{open}, 'open.test'), ours => 1, patient => 1, strict => 1];
# What smtpd_forbid_bare_newline = no means: as of old, and no more than that.
push @runs, [$s->attack('as of old', $port{no}, 'no.test'), ours => 1, loose => 1];

# With strays left in the queue the client that sends stands alone.
my $kept = Posthorn->new(%cf, cleanup_replace_stray_cr_lf => 'no')->start;
push @runs, [$s->attack('strays kept', $kept->port, 'strays.test'), ours => 1, strict => 1];

for my $i (0, 1) {                                           # sendmail, with and without -i
    my %run = (name => $i ? 'sendmail -i' : 'sendmail', domains => [$i ? 'stdini.test' : 'stdin.test']);
    for my $v ($s->variants_for($run{domains}[0], sub { $_[0]{kind} eq 'data' })) {
        my $said = $ph->sendmail($v->{content}, $i ? '-i' : (), '-f', "v$v->{id}\@a.test", "r\@$run{domains}[0]");
        $s->expect(\%run, $v, $? ? 0 : 1, $said);
    }
    push @runs, [\%run, ours => 1, stdin => 1, part => !$i];
}
$s->settle($ph, $kept);
$s->judge(@$_) for @runs;
$s->finish;
