#!/usr/bin/perl
# postsuper: every action with its words, beside Debian's Postfix; structure and
# purge, with the system up and down.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Posthorn;
use PeerPostfix;
use Test::More;

my $ph = Posthorn->new;
$ph->edit_master(sub { s/^.*plugin: smtpd.*\n//m; s/^.*transport: smtp,.*\n//mg });
$ph->start;

# The two systems behind one face: submit, ids of what is deferred or on hold, postsuper.
my %side = (ours => {
    send => sub { $ph->sendmail("Subject: $_[0]\n\nx\n", '-f', 'a@b.test', "$_[0]\@else.test") },
    list => sub { $ph->cmd('postqueue', '-j') },
    super => sub { my ($in, @a) = @_; return $ph->run_in($in, $ph->sbin('postsuper'), '-c', $ph->dir, @a) },
});
my $peer;
if (!PeerPostfix->missing) {
    $peer = PeerPostfix->new(default_transport => 'smtp', defer_transports => 'smtp', queue_run_delay => '1000s');
    $peer->reconfigure(export_environment => "TZ MAIL_CONFIG LANG LD_LIBRARY_PATH=$peer->{lib}");
    $peer->start;
    my $plain = bless { tmp => $peer->dir }, 'Posthorn';
    my @bin = ('/usr/bin/env', $peer->env);
    $side{theirs} = {
        send => sub { $plain->run_in("Subject: $_[0]\n\nx\n", @bin, "$peer->{root}/usr/sbin/sendmail", '-f', 'a@b.test', "$_[0]\@else.test") },
        list => sub { $peer->run('postqueue', '-j') },
        super => sub { my ($in, @a) = @_; return $plain->run_in($in, @bin, "$peer->{root}/usr/sbin/postsuper", '-c', $peer->dir . '/conf', @a) },
    };
}

# Id and queue by the recipient's name, once $n messages are there and none is on its way.
sub queue_of {
    my ($side, $n) = @_;
    my %m;
    Posthorn::wait_for(sub {
        %m = map { /"queue_name": "(\w+)", "queue_id": "(\w+)".*"address": "(\w+)\@else/ ? ($3 => { queue => $1, id => $2 }) : () } split /\n/, $side->{list}->();
        return keys %m == $n && !grep { $_->{queue} !~ /deferred|hold/ } values %m;
    });
    return \%m;
}

# Commands; %a is the id of message a.  What is said, ids by their letters again.
my @steps = (
    ['', '-h', '%a', '-h', '%b'], ['', '-h', '%a'], ['', '-H', '%a', '-d', '%c'], ['', '-h', 'ALL', 'deferred'], ['', '-H', 'ALL'],
    ["%a\n\n%b\n", '-h', '-'], ['', '-f', '%a'], ['', '-e', '%b', '-e', 'NOSUCH'], ['', '-d', 'all', '-d', '../etc', '-d', 'a/b'],
    ['', '-d', 'ALL', 'incoming', 'active'], ['', '-d', 'ALL', 'nonsense'], ['', '-x'], ['', '-c', 'rel', '-d', 'ALL'], ['', '-s', '-p'], ['', '-d', '%d', 'hold'], ['', '-h', 'ALL', '-d', '%b'],
    ['', '-d', 'ALL', 'hold'], ['', '-d', 'ALL'], ['', '-r', 'ALL', '-d', 'ALL', '-e', 'ALL', '-h', 'ALL', '-H', 'ALL'],
);
my %said;
for my $who (sort keys %side) {
    my $side = $side{$who};
    $side->{send}->($_) for qw(a b c d);
    my $m = queue_of($side, 4);
    is(join(' ', sort keys %$m), 'a b c d', "$who: four messages are deferred") or diag $side->{list}->();
    my %letter = map { $m->{$_}{id} => $_ } keys %$m;
    for my $step (@steps) {
        my ($in, @args) = map { s/%(\w)/$m->{$1}{id}/gr } @$step;
        # What was released is tried at once, and while it is a wish about it is only noted.
        Posthorn::wait_for(sub { $side->{list}->() !~ /"queue_name": "active"/ });
        my $text = $side->{super}->($in, @args);
        my $status = $? >> 8;
        $text =~ s/(\w{10,})/$letter{$1} || $1/ge;
        $text =~ s/^\S*(?=postsuper: )//mg;
        $text =~ s/(usage: postsuper) .*/$1/;
        push @{ $said{$who} }, "postsuper @$step: $status\n$text";
    }
}
SKIP: {
    skip 'no Postfix to compare with: ' . PeerPostfix->missing, scalar @steps unless $peer;
    is($said{ours}[$_], $said{theirs}[$_], "the same words as Postfix: @{ $steps[$_] }") for 0 .. $#steps;
}
like($said{ours}[0], qr/: 0\npostsuper: a: placed on hold\npostsuper: b: placed on hold\npostsuper: Placed on hold: 2 messages\n\z/, 'hold two');
like($said{ours}[6], qr/: 0\npostsuper: a: expired\npostsuper: a: released from hold\npostsuper: Force-expired: 1 message\npostsuper: Released from hold: 1 message\n\z/, '-f: both');
like($said{ours}[-1], qr/\npostsuper: Requeued: 0 messages\npostsuper: Deleted: 0 messages\npostsuper: Force-expired: 0 messages\npostsuper: Placed on hold: 0 messages\npostsuper: Released from hold: 0 messages\n\z/, 'all sums, in their order');
$peer->stop if $peer;

# maildrop: deleted there too, with the system down; ids of any length on standard input
$ph->stop;
$side{ours}{send}->($_) for qw(e f g);
my ($one) = map { m{([^/]+)$} } glob $ph->queue . '/maildrop/*';
is($ph->cmd('postsuper', '-h', $one, '-r', $one), "postsuper: Requeued: 0 messages\npostsuper: Placed on hold: 0 messages\n", 'submitted mail cannot be held or requeued');
is($ph->run_in('x' x 1000 . "\n$one\n", $ph->sbin('postsuper'), '-c', $ph->dir, '-d', '-'),
    'postsuper: warning: invalid mail queue id: ' . 'x' x 1000 . "\npostsuper: $one: removed\npostsuper: Deleted: 1 message\n", 'but deleted');
is($ph->cmd('postsuper', '-d', 'ALL', 'maildrop'), "postsuper: Deleted: 2 messages\n", 'all of it');

# structure and purge
$ph->start;
$side{ours}{send}->($_) for qw(h i j);
my $m = queue_of($side{ours}, 3);
$ph->cmd('postsuper', '-h', $m->{j}{id});
$ph->stop;
my $q = $ph->queue;
sub path { my ($id) = @_; my ($p) = grep { -f } glob join " ", map { ("$q/$_/$id", "$q/$_/*/$id", "$q/$_/*/*/$id") } qw(deferred hold); return defined $p ? $p =~ s/^\Q$q\E\///r : undef }
my %was = map { $_ => path($m->{$_}{id}) } qw(h i j);
my $owner = (stat "$q/deferred")[4];
my @made = ("$q/deferred/Q", "$q/deferred/Q/x", "$q/hold/A");
for (@made) { mkdir $_ and chown $owner, -1, $_ }
rename "$q/$was{h}", "$q/deferred/$m->{h}{id}" or die;
rename "$q/$was{i}", "$q/deferred/Q/x/$m->{i}{id}" or die;
rename "$q/$was{j}", "$q/hold/A/$m->{j}{id}" or die;
my @litter = ("$q/maildrop/.half", "$q/maildrop/NOTREADY", "$q/deferred/0/.tmp", "$q/hold/odd~name", "$q/incoming/x.y");
my @fresh = map { "$_.fresh" } @litter;
for (@litter, @fresh) { Posthorn::spew($_, 'x'); chown $owner, -1, $_; chmod 0600, $_ }
utime time - 8 * 86400, time - 8 * 86400, $_ for @litter;
symlink '/etc/passwd', "$q/deferred/LINK";
is($ph->cmd('postsuper', '-p'), "postsuper: maildrop: 2 old files removed\npostsuper: incoming: 1 old file removed\n"
    . "postsuper: deferred: 1 old file removed\npostsuper: hold: 1 old file removed\npostsuper: warning: incoming/x.y.fresh: not a queue id, or known from elsewhere: left alone\n", '-p: old litter goes');
is_deeply([grep { -e } @litter], [], 'all of it');
is_deeply([grep { !-e } @fresh], [], 'what is younger than a week stays');
isnt(path($m->{h}{id}), $was{h}, 'and -p moves nothing');
my $text = $ph->cmd('postsuper', '-s', 'deferred');
like($text, qr{^postsuper: deferred/$m->{h}{id}: moved to $was{h}$}m, '-s: a misplaced message is put right');
like($text, qr{^postsuper: deferred: 2 misplaced files moved$}m, 'and counted');
isnt(path($m->{j}{id}), $was{j}, 'only in the queues named');
like($ph->cmd('postsuper'), qr{^postsuper: hold: 1 misplaced file moved$}m, 'without options: all queues');
is(path($m->{$_}{id}), $was{$_}, "$_ is in its place") for qw(h i j);
is_deeply([grep { -e } @made], [], 'directories that are empty now are gone');
ok(-l "$q/deferred/LINK", 'a link is not followed and not touched');
unlink "$q/deferred/LINK", @fresh;
is($ph->cmd('postsuper', '-S'), '', 'again: nothing to say');

# Interrupted in the middle: it says so, and a second run ends the work.
SKIP: {
    skip 'strace cannot trace here', 4 if system("strace -o /dev/null true 2>/dev/null");
    rename "$q/$was{$_}", "$q/deferred/$m->{$_}{id}" or die for qw(h i);
    my $text = $ph->run('strace', '-f', '-o', '/dev/null', '-e', 'inject=renameat2:signal=TERM:when=1', $ph->sbin('postsuper'), '-c', $ph->dir, '-s');
    like($text, qr/^postsuper: warning: OPERATION INCOMPLETE -- RERUN COMMAND TO FIX THE QUEUE FIRST$/m, 'a signal while files are moved');
    is($? >> 8, 1, 'status 1');
    $ph->cmd('postsuper', '-s');
    is(path($m->{$_}{id}), $was{$_}, "run again: $_ is in its place") for qw(h i);
}

# The same while it runs, and it is delivered afterwards.
$ph->start;
mkdir "$q/deferred/Q" and chown $owner, -1, "$q/deferred/Q";
rename "$q/$was{h}", "$q/deferred/Q/$m->{h}{id}" or die;
like($ph->cmd('postsuper', '-s'), qr{deferred/Q/$m->{h}{id}: moved to \Q$was{h}\E$}m, 'up: put right too');
$ph->cmd('postsuper', '-d', 'ALL');
ok(Posthorn::wait_for(sub { !$ph->queued }), 'all deleted');
is_deeply([map { s/^\Q$q\E\///r } grep { -f } glob "$q/defer/* $q/defer/*/* $q/bounce/* $q/trace/*"], [], 'with their logs');

SKIP: {
    skip 'only root can become somebody else', 2 if $<;
    chmod 0755, "$ph->{tmp}";
    like($ph->run('/usr/bin/setpriv', '--reuid', 'games', '--regid', 'games', '--clear-groups', $ph->sbin('postsuper'), '-c', $ph->dir, '-d', 'ALL'),
        qr/fatal: use of this command is reserved for the superuser/, 'not for users');
    is($? >> 8, 1, 'status 1');
}
done_testing();
