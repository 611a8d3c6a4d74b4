#!/usr/bin/perl
# Failing calls below a running system: a full disk, no descriptors, a failing
# sync, a failing table: 4xx and a clear log line, never a false 250, never
# "user unknown".  And a sink that answers before it reads.
use strict;
use warnings;
use Test::More;
use lib 't/lib', 't/faults';
use Faults;

plan skip_all => 'inject.so is not built' unless -e $Faults::inject;
# With threads: t/faults/points.t does without.
my $faults = Faults->new(disk_threads => 8, minimal_backoff_time => '1s', maximal_backoff_time => '2s', queue_run_delay => '1s',
    smtpd_recipient_restrictions => 'check_recipient_access fail:down', smtpd_delay_reject => 'yes');
my $ph = $faults->ph;
$ph->start;

sub try_mail { my ($to) = @_; return $ph->smtp->send(from => 'a@b.test', to => [$to], body => "Subject: f\r\n\r\nx\r\n") }

# The failing table comes first, while nothing else is wrong.
my ($code, $text) = try_mail('u@example.test');
like($text, qr/^4\d\d 4\.\d\.\d /, 'a failing table is 4xx') or diag $ph->log;
unlike($text, qr/unknown/i, 'and not "user unknown"');
ok($ph->wait_log(qr/warning: .*fail:down/), 'and the log names the table');
$ph->set(smtpd_recipient_restrictions => '', virtual_mailbox_maps => 'fail:maps');
$ph->postfix('reload');
ok(Posthorn::wait_for(sub { ($code, $text) = try_mail('u@example.test'); $text =~ /maps|^4\d\d 4\.[^7]/ }), 'a failing mailbox table is 4xx') or diag $text;
unlike($text, qr/unknown/i, 'and not "user unknown"');
$ph->set(virtual_mailbox_maps => 'static:x/');
$ph->stop;
# The mailbox table as init wrote it.
my $fresh = Posthorn->new;
my ($line) = Posthorn::slurp($fresh->dir . '/main.cf') =~ /^(virtual_mailbox_maps\s*=.*)$/m;
(my $value = $line) =~ s/^\S+\s*=\s*//;
$value =~ s/\Q$fresh->{dir}\E/$ph->{dir}/g;
$ph->set(virtual_mailbox_maps => $value);
$ph->start;
is((try_mail('ok@example.test'))[0], 250, 'without faults mail flows');
$ph->wait_mail('ok', 1);

for my $case (['sync', 'EIO', 'a failing fdatasync'], ['pwrite', 'ENOSPC', 'a full disk'], ['pwrite', 'EIO', 'a failing write']) {
    my ($what, $fault, $name) = @$case;
    my $user = lc "$what$fault";
    $faults->arm(calls => [$what], fault => $fault, count => 1_000_000);
    ($code, $text) = try_mail("$user\@example.test");
    like($text, qr/^4\d\d 4\.3\.0 /, "$name: 4xx") or diag $ph->log;
    cmp_ok($faults->hits, '>', 0, "$name: the fault was met");
    ok($ph->wait_log(qr/(?:warning|error|fatal): .*(?:Input\/output error|No space left)/), "$name: the log says so");
    $faults->calm;
    ok(Posthorn::wait_for(sub { (try_mail("$user\@example.test"))[0] == 250 }), "$name: afterwards mail flows again") or diag substr($ph->log, -3000);
    $ph->wait_mail($user, 1);
    is(scalar($ph->mail($user)), 1, "$name: what got 4xx was not delivered");
}

for my $what ('accept', 'open', 'socket') {
    $faults->arm(calls => [$what], fault => 'EMFILE', count => 20);
    my ($c, $t) = eval { try_mail("$what\@example.test") };
    $c //= 0;
    my $sent = $c == 250 ? 1 : 0;
    ok($sent || !$c || ($t // '') =~ /^4/, "EMFILE in $what: 250 or 4xx (" . ($t // 'closed') . ')');
    $faults->calm;
    ok(Posthorn::wait_for(sub { my @r = eval { try_mail("$what\@example.test") }; $sent++ if ($r[0] // 0) == 250; ($r[0] // 0) == 250 }), "EMFILE in $what: afterwards mail flows");
    $ph->wait_mail($what, $sent);
    is(scalar($ph->mail($what)), $sent, "EMFILE in $what: what got 250 arrives, nothing else");
}

# A sink that answers 250 before it reads: it must not see the next message.
my $early = Posthorn::Sink->new(session => sub {
    my ($c, $n, $self) = @_;
    $c->autoflush(1);
    print $c "220 early.test ESMTP\r\n";
    while (defined(my $l = <$c>)) {
        if ($l =~ /^EHLO/i) { print $c "250 early.test\r\n" }
        elsif ($l =~ /^DATA/i) { print $c "354 go\r\n250 2.0.0 taken unread\r\n"; last }
        else { print $c "250 ok\r\n" }
    }
    # Read late, in small bites, and keep all of it.
    my $all = '';
    while (sysread $c, my $piece, 100) { $all .= $piece; Posthorn::tick() if length($all) % 7000 < 100 }
    Posthorn::spew("$self->{dir}/$n.raw", $all);
});
$ph->set(relayhost => '[127.0.0.1]:' . $early->port, default_destination_concurrency_limit => 1);
$ph->postfix('reload');
for my $i (1 .. 6) {
    my $mark = chr(64 + $i) x 60;
    my ($rc) = $ph->smtp->send(from => 'a@b.test', to => ["r$i\@early.test"], body => "Subject: $mark\r\n\r\n" . "$mark\r\n" x 400);
    is($rc, 250, "early sink: message $i accepted by us");
}
Posthorn::wait_for(sub { my @f = glob "$early->{dir}/*.raw"; @f >= 6 }, 60);
my @raw = glob "$early->{dir}/*.raw";
cmp_ok(scalar @raw, '>=', 6, 'early sink: each went over a connection of its own');
for my $f (@raw) {
    my %seen;
    $seen{$_}++ for Posthorn::slurp($f) =~ /([A-F])\1{59}/g;
    cmp_ok(scalar(keys %seen), '<=', 1, 'early sink: not one byte of another message');
}
done_testing();
