#!/usr/bin/perl
# Tables that change under those who read them: a session that stays open sees the new
# contents without a reload; a build under constant look-ups gives nobody an error, a
# table that lacks entries, or one that is partly old; and tables of rules are read again
# at the reload.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;

my @types = ('hash', 'btree', grep { -e "$Posthorn::build/plugins/table/$_/.libs/table_$_.so" } qw(lmdb cdb));
my @rules = ('regexp', 'pcre', 'cidr');
my $ph = Posthorn->new(smtpd_delay_reject => 'no', smtpd_hard_error_limit => 1000000, smtpd_junk_command_limit => 1000000, smtpd_error_sleep_time => '0');
my %file = map { $_ => "$ph->{dir}/m.$_" } @types, 'texthash', @rules;
$ph->set(smtpd_helo_restrictions => join(', ', map { "check_helo_access $_:$file{$_}" } 'regexp', 'pcre'),
    smtpd_client_restrictions => "check_client_access cidr:$file{cidr}",
    smtpd_sender_restrictions => join(', ', map { "check_sender_access $_:$file{$_}" } @types, 'texthash'));
my $keys = 300;

# The source, in one step, as an editor does it; an indexed one is built.
sub build {
    my ($type, $generation) = @_;
    Posthorn::spew("$file{$type}.new", map { "$type$_\@x.test 550 5.7.1 generation $generation\n" } 1 .. $keys);
    rename "$file{$type}.new", $file{$type};
    return $type eq 'texthash' || $ph->cmd('postmap', "$type:$file{$type}") eq '' && $? == 0;
}
sub rules {
    my ($word) = @_;
    Posthorn::spew($file{regexp}, "/^regexp/ 550 5.7.1 $word\n");
    Posthorn::spew($file{pcre}, "/^pcre/ 550 5.7.1 $word\n");
    Posthorn::spew($file{cidr}, $word eq 'first' ? "192.0.2.0/24 REJECT\n" : "127.0.0.0/8 550 5.7.1 $word\n");
}

# What the session says of the sender.
sub asks { my ($c, $who) = @_; my ($code, $text) = $c->ask("MAIL FROM:<$who\@x.test>"); $c->ask('RSET') if $code == 250; return $text }

build($_, 1) for @types, 'texthash';
rules('first');
$ph->start;
my $open = $ph->smtp;
$open->ask('EHLO me');
for my $type (@types, 'texthash') {
    like(asks($open, "${type}7"), qr/^550 .*generation 1/, "$type: what was there when the session began");
    ok(build($type, 2), "$type: built anew");
    my $last = '';
    ok(Posthorn::wait_for(sub { ($last = asks($open, "${type}7")) !~ /generation 1/ }), "$type: the session sees a change");
    like($last, qr/^550 .*generation 2/, "$type: which is the new contents");
}

# Builds, one after the other, while the session and commands ask.
for my $type (@types) {
    my $builds = 25;
    my $builder = Posthorn::child(sub { build($type, 2 + $_) or POSIX::_exit(1) for 1 .. $builds; Posthorn::spew("$ph->{tmp}/built.$type", 'x') });
    my ($seen, $asked, @wrong) = (2, 0);
    my $list = join '', map { "$type$_\@x.test\n" } 1 .. $keys;
    my $end = time + 60;
    my $done = 0;
    while (!$done && time < $end) {
        $done = -e "$ph->{tmp}/built.$type";
        for (1 .. 40) {
            my $answer = asks($open, $type . (1 + int rand $keys));
            $asked++;
            my ($g) = $answer =~ /^550 .*generation (\d+)$/;
            push @wrong, $answer if !defined $g || $g < $seen;
            $seen = $g if defined $g;
        }
        my $all = $ph->run_in($list, $ph->sbin('postmap'), '-c', $ph->dir, '-q', '-', "$type:$file{$type}");
        my %g;
        my $n = () = $all =~ /generation \d+$/mg;
        $g{$1}++ while $all =~ /generation (\d+)$/mg;
        push @wrong, "postmap: $n of $keys entries, of generations " . join ' ', sort keys %g if $n != $keys || keys %g != 1;
    }
    Posthorn::end_child($builder);
    ok($done, "$type: $builds builds while $asked questions were asked");
    is(join("\n", @wrong[0 .. ($#wrong < 4 ? $#wrong : 4)]), '', "$type: each answer was there, whole and not older than the one before");
    my $last;
    ok(Posthorn::wait_for(sub { ($last = asks($open, "${type}1")) =~ /generation @{[2 + $builds]}$/ }), "$type: and the last one is seen") or diag $last;
}
$open->quit;
is(scalar(() = glob "$ph->{dir}/m.*.tmp*"), 0, 'nothing half-built is left');
unlike($ph->log, qr/cannot be used yet|lookup of .*: /, 'and nothing could not be read');

# Tables of rules: at the reload.
sub says { my ($helo) = @_; my $c = $ph->smtp(raw => 1); my ($code, $text) = $c->reply; return $text if $code != 220; return ($c->ask("EHLO $helo"))[1] }
like(says("$_.test"), qr/^550 .*first/, "$_: the rules that were there") for 'regexp', 'pcre';
like(says('me'), qr/^250/, 'cidr: too');
rules('second');
$ph->postfix('reload');
ok(Posthorn::wait_for(sub { says('me') =~ /^550 .*second/ }), 'cidr: the new rules, after the reload');
Posthorn::spew($file{cidr}, "192.0.2.0/24 REJECT\n");
$ph->postfix('reload');
for my $type ('regexp', 'pcre') {
    my $last;
    ok(Posthorn::wait_for(sub { ($last = says("$type.test")) =~ /^550 .*second/ }), "$type: the new rules, after the reload") or diag $last;
}
$ph->stop;
done_testing;
