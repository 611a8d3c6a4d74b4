#!/usr/bin/perl
# The queue from outside: postqueue, postcat, postsuper, with the system up and down.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Posthorn;
use Test::More;

# Without the smtp transport mail for elsewhere stays, and no network is needed.
my $ph = Posthorn->new;
$ph->edit_master(sub { s/^.*plugin: smtpd.*\n//m; s/^.*transport: smtp,.*\n//mg });
$ph->start;

sub submit {
    my (@to) = @_;
    $ph->sendmail("Subject: queue test\nFrom: a\@example.test\n\nline one\n.dot\n", '-i', '-f', 'a@example.test', @to);
    return $?;
}

# Queue ids by first recipient, once all have a reason.
sub ids {
    my ($n) = @_;
    my %id;
    Posthorn::wait_for(sub {
        %id = map { $_->{recipients}[0]{address} => $_->{queue_id} } grep { $_->{recipients}[0]{delay_reason} } $ph->queued;
        return keys %id == $n;
    });
    return %id;
}

sub place {
    my ($id) = @_;
    my ($m) = grep { $_->{queue_id} eq $id } $ph->queued;
    return $m ? $m->{queue_name} : 'none';
}

is($ph->cmd('postqueue', '-p'), "Mail queue is empty\n", 'an empty queue');
is($ph->cmd('postqueue', '-j'), '', 'as JSON: nothing');

is(submit('one@else.test'), 0, 'submitted');
is(submit('two@else.test', 'three@else.test'), 0, 'submitted');
my %id = ids(2);
is(scalar keys %id, 2, 'two messages are deferred');
my $one = $id{'one@else.test'};
my $list = $ph->cmd('postqueue', '-p');
like($list, qr/^----Queue ID----- --Size-- ---Arrival Time---- --Sender\/Recipient------$/m, 'heading');
like($list, qr/^ {50}\(mail transport unavailable\)\n {47}two\@else\.test\n {47}three\@else\.test$/m,
    'one reason line for both recipients');
like($list, qr/^-- 0 Kbytes in 2 Requests\.$/m, 'sum');

# postcat
my $text = $ph->cmd('postcat', '-q', $one);
like($text, qr{^\*\*\* ENVELOPE RECORDS deferred/\w/$one \*\*\*$}m, 'postcat: envelope');
like($text, qr/^sender: a\@example\.test$/m, 'sender');
like($text, qr/^recipient: one\@else\.test$/m, 'recipient');
like($ph->cmd('postcat', '-bh', '-q', $one), qr/\AReceived: .*^Subject: queue test\n.*\n\nline one\n\.dot\n\z/ms,
    'postcat -bh: the message alone');
like($ph->cmd('postcat', '-q', 'NOSUCHID'), qr/fatal/, 'an unknown id');
isnt($?, 0, 'is an error');

# hold, release
is($ph->cmd('postsuper', '-h', $one), "postsuper: $one: placed on hold\npostsuper: Placed on hold: 1 message\n", 'hold');
is(place($one), 'hold', 'it is there');
like($ph->cmd('postqueue', '-p'), qr/^\Q$one\E! /m, 'the listing shows it');
is($ph->cmd('postsuper', '-h', $one), "postsuper: Placed on hold: 0 messages\n", 'again: nothing to do');
is($ph->cmd('postsuper', '-H', 'ALL'), "postsuper: Released from hold: 1 message\n", 'release all');
ok(Posthorn::wait_for(sub { place($one) eq 'deferred' }), 'it is deferred again');

# odd ids
is($ph->cmd('postsuper', '-d', '../x', '-d', 'all'),
    "postsuper: warning: invalid mail queue id: ../x\npostsuper: Deleted: 0 messages\n", 'bad ids');
is($?, 0, 'are no error');
like($ph->cmd('postsuper', '-d', 'ALL', 'nonsense'), qr/fatal: invalid directory name: nonsense/, 'bad queue');
is($ph->cmd('postsuper', '-d', 'ALL', 'hold'), "postsuper: Deleted: 0 messages\n", 'only the queue named');

# requeue: a new id, the same mail
is($ph->cmd('postsuper', '-r', $one), "postsuper: $one: requeued\npostsuper: Requeued: 1 message\n", 'requeue');
ok(Posthorn::wait_for(sub { my %now = ids(2); ($now{'one@else.test'} // $one) ne $one }), 'it comes back under a new id');
%id = ids(2);
$one = $id{'one@else.test'};
like($ph->cmd('postcat', '-bh', '-q', $one), qr/\n\nline one\n\.dot\n\z/, 'with its content');

# expire: returned to the sender
is($ph->cmd('postsuper', '-e', $one), "postsuper: $one: expired\npostsuper: Force-expired: 1 message\n", 'expire');
$ph->cmd('postqueue', '-f');
is($?, 0, 'flush');
my ($notice) = $ph->wait_mail('a', 1);
like($notice // '', qr/one\@else\.test/, 'the sender is told') or diag $ph->log;
ok(Posthorn::wait_for(sub { place($one) eq 'none' }), 'and the message is gone');

# with the system down
submit('four@else.test');
%id = ids(2);
$ph->stop;
SKIP: {
    skip 'only root looks at the queue directly', 1 if $>;
    like($ph->cmd('postqueue', '-j'), qr/"address": "four\@else\.test"/, 'down: root sees the queue');
}
my $four = $id{'four@else.test'};
like($ph->cmd('postcat', '-q', $four), qr/^recipient: four\@else\.test$/m, 'down: postcat');
is($ph->run_in("$four\n", $ph->sbin('postsuper'), '-c', $ph->dir, '-d', '-'),
    "postsuper: $four: removed\npostsuper: Deleted: 1 message\n", 'down: delete, ids from standard input');
is($ph->cmd('postsuper', '-h', 'ALL'), "postsuper: Placed on hold: 1 message\n", 'down: hold all');
$ph->start;
is(join(' ', map { $_->{queue_name} } $ph->queued), 'hold', 'up again: one message, on hold');
is($ph->cmd('postsuper', '-d', 'ALL'), "postsuper: Deleted: 1 message\n", 'delete all');
is($ph->cmd('postqueue', '-p'), "Mail queue is empty\n", 'the queue is empty');
done_testing();
