#!/usr/bin/perl
# sendmail beside Debian's Postfix: the same command lines, what is said and the
# exit status; and the answers of -bs.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Posthorn;
use PeerPostfix;
use Test::More;

my $why = PeerPostfix->missing;
plan skip_all => $why if $why;
delete @ENV{qw(MAIL_CONFIG NAME)};
my $peer = PeerPostfix->new(smtputf8_enable => 'yes', message_size_limit => 200000, export_environment => '');
$peer->reconfigure(export_environment => "TZ MAIL_CONFIG LANG LD_LIBRARY_PATH=$peer->{lib}");
my $ph = Posthorn->new(smtputf8_enable => 'yes', message_size_limit => 200000, myhostname => 'peer.test', alias_database => '');
my %run = (
    ours => sub { my ($in, @a) = @_; $ph->sendmail($in, @a) },
    theirs => sub { my ($in, @a) = @_; (bless { tmp => $peer->dir }, 'Posthorn')->run_in($in, '/usr/bin/env', $peer->env, "$peer->{root}/usr/sbin/sendmail", @a) },
);
my $rcpt = 'x@else.test';
my @lines = (
    (map { ["-$_", $rcpt] } grep { !/[CXqsvV]/ } 'a' .. 'z', 'A' .. 'Z', 0 .. 9),
    (map { ["-b$_", $rcpt] } grep { !/[dl]/ } 'a' .. 'z', 'A' .. 'Z'), (map { ["-q$_"] } grep { !/[0-9]/ } 'a' .. 'h', 'A', 'S', 'X'), ['-qR'], ['-qI'], ['-qI', $rcpt],
    ['-o'], ['-oi', $rcpt], ['-oA'], ['-oA', '-bi'], ['-o7', $rcpt], ['-o8', $rcpt], ['-om', $rcpt], ['-oee', $rcpt], ['-oQ/x', $rcpt], ['-o', 'x', $rcpt],
    ['-B', '7BIT', $rcpt], ['-B8BITMIME', $rcpt], ['-B', 'x', $rcpt], ['-N', 'success', $rcpt], ['-N', 'x', $rcpt], ['-N', 'never,delay', $rcpt], ['-R', 'x', $rcpt], ['-R', 'hdrs', $rcpt],
    ['-V', 'id1', $rcpt], ['-XVx', $rcpt], ['-XVab', $rcpt], ['-X', 'log', $rcpt], ['-A', 'm', $rcpt], ['-O', 'a=b', $rcpt], ['-L', 'x', $rcpt], ['-p', 'x', $rcpt], ['-h', '5', $rcpt],
    ['-t'], ['-t', $rcpt], ['-t', '-bp'], ['-t', '-bs'], ['-t', '-q'], ['-bp', $rcpt], ['-bs', $rcpt], ['-q', $rcpt], ['-bi', $rcpt], [], ['-f'], ['-f', 'a@b', $rcpt], ['-f', '<>', $rcpt],
    ['-F', 'Name', $rcpt], ['--', $rcpt], ['-i', '--', $rcpt], ['-v', $rcpt], ['-bv', $rcpt], ['-bv'], ['-bv', '-t'], ['-bv', '-t', $rcpt], ['-v', '-f', 'me@there', $rcpt], ['-f', 'me@there'], ['-q5m'], ['-bh'], ['-q1h', '-bh'], ['-G', $rcpt],
);
my $mail = "Subject: x\n\nbody\n";
for my $line (@lines) {
    my %said;
    for my $who (sort keys %run) {
        my $text = $run{$who}->($mail, @$line);
        my $status = $? >> 8;
        $text =~ s/^\S*sendmail: (?:invalid option|option requires).*\n//mg;
        $text =~ s/^\S*(?=(?:sendmail|postqueue): )//mg;
        $text =~ s/^postdrop: warning: unable to look up .*\n//mg;
        $text =~ s/^sendmail: warning: unknown DSN NOTIFY .*\n//mg;
        $text = "postqueue's affair\n" if $text =~ /^postqueue: |^(?:-Queue|----Queue|Mail queue)/m;
        my @files = glob(($who eq 'ours' ? $ph->queue : $peer->dir . '/queue') . '/maildrop/*');
        unlink @files;
        $said{$who} = "$status\n${text}stored: " . @files . "\n";
    }
    is($said{ours}, $said{theirs}, "sendmail @$line");
}
# Too big, and no recipient in the headers.
for my $case (['x' x 300000, $rcpt], ["Subject: x\n\nTo: a\@b\n", '-t']) {
    my ($in, @args) = @$case;
    my %said = map { my $text = $run{$_}->($in, @args); ($_ => ($? >> 8) . ' ' . join '', $text =~ /^(?:.*\/)?(sendmail: fatal: .*\n)/mg) } keys %run;
    is($said{ours}, $said{theirs}, 'refused with the same words: ' . substr "@args", 0, 20);
}
done_testing();
