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
    ['-bv', '-N', 'never', $rcpt], ['-bv', '-v', $rcpt], ['-v', '-bv', $rcpt], [''], [','], ['<>'], ['x:;', $rcpt], ['-F', 'Name', $rcpt], ['--', $rcpt], ['-i', '--', $rcpt], ['-v', $rcpt], ['-bv', $rcpt], ['-bv'], ['-bv', '-t'], ['-bv', '-t', $rcpt], ['-v', '-f', 'me@there', $rcpt], ['-f', 'me@there'], ['-q5m'], ['-bh'], ['-q1h', '-bh'], ['-G', $rcpt],
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
# Whom a list names: on the command line and in a header.
sub recipients {
    my ($who, @args) = @_;
    my $in = pop @args;
    my $text = $run{$who}->($in, @args);
    my @files = glob(($who eq 'ours' ? $ph->queue : $peer->dir . '/queue') . '/maildrop/*') or return "none: $text";
    my @to = $who eq 'ours' ? Posthorn::slurp($files[0]) =~ /^rcpt (.*)$/mg : $peer->run('postcat', '-e', $files[0]) =~ /^recipient: (.*)$/mg;
    unlink @files;
    return join ' | ', @to;
}
for my $list ('a@x.test b@x.test', 'a b c@x.test', "a\tb", '<a@x.test> <b@x.test>', '<a@x.test><b@x.test>', 'Joe <a@x.test> Doe <b@x.test>', '<a@x.test> b', 'a@x.test <b@x.test>', 'Joe <a@x.test> Doe', 'a @ x.test', 'a@x . test b', 'a (c) b',
              '"a b" c', 'a "b"', '"a"."b"@x.test', '"a" b@x.test', '<a b@x.test>', 'g: a b;', 'g: a b; c', 'a@x.test;b', 'a,, b', 'Joe Doe', 'Joe, Doe <j@x.test>', 'a\\ b@x.test', 'a@host:25', 'a@b:c', '@r.test:a@x.test', '<>') {
    for my $args ([$list, "S: x\n\n"], ['-t', "To: $list\n\n"]) {
        my ($ours, $theirs) = map { recipients($_, @$args) } qw(ours theirs);
        $theirs =~ s/\@r\.test://;                 # a route is dropped at once
        is($ours, $theirs, "recipients: @$args" =~ s/\n//gr);
    }
}
# Lines of a mailbox file before the message are no part of it.
for my $in ("From a\nFrom b\nSubject: x\n\ny\n", ">>From a\nSubject: x\n\ny\n", "From a\n b\nSubject: x\n", "Subject: x\nFrom a\n", "From a\n\nx\n", "FROM a\n\n") {
    my %text = map { $run{$_}->($in, '-i', $rcpt);
        my ($file) = glob(($_ eq 'ours' ? $ph->queue : $peer->dir . '/queue') . '/maildrop/*');
        my $text = $_ eq 'ours' ? Posthorn::slurp($file) =~ s/\A.*?^data \d+\n//smr =~ s/end\n\z//r : $peer->run('postcat', '-bh', $file);
        unlink $file;
        ($_ => $text) } keys %run;
    is($text{ours}, $text{theirs}, 'what is stored of ' . $in =~ s/\n/\\n/gr);
}
done_testing();
