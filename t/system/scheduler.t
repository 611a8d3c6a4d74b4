#!/usr/bin/perl
# The scheduler over the real thing: batches, windows, rate delays, transports
# that are held back, a large list beside single messages, forced expiry.
use strict;
use warnings;
use Test::More;
use Time::HiRes ();
use lib 't/lib';
use Posthorn;

# A sink that notes when each transaction begins, and keeps those of the sender
# "held" at their end until the file `go` is there.
my $notes = File::Temp->newdir('posthorn-notes-XXXXXX', TMPDIR => 1, CLEANUP => 1);
sub note_down {
    open my $out, '>>', "$notes/events" or return;
    syswrite $out, sprintf("%.6f %s\n", Time::HiRes::time(), join ' ', @_);
}
sub events {
    my ($re) = @_;
    return map { /^(\S+) (.*)/ ? { at => $1, text => $2 } : () } grep { /$re/ } split /\n/, Posthorn::slurp("$notes/events");
}
my $sink = Posthorn::Sink->new(
    mail => sub { my ($from) = $_[0] =~ /<(.*?)>/; note_down("begin $from"); return '250 2.1.0 ok' },
    rcpt => sub { return $_[1] =~ /^refuse/ ? '450 4.2.1 not now' : '250 2.1.5 ok' },
    eod => sub {
        my ($from, $to) = @_;
        if ($from =~ /^held/) {
            note_down("waits $from");
            Posthorn::wait_for(sub { -e "$notes/go" }, 30);
        }
        note_down("end $from " . scalar @$to);
        return '250 2.0.0 ok';
    });
my $port = $sink->port;
my @clones = qw(batch narrow paced spaced held list);
my $ph = Posthorn->new(
    relayhost => "[127.0.0.1]:$port", smtpd_recipient_limit => 5000,
    transport_maps => 'inline:{ ' . join(', ', map { "{$_.test=$_:[127.0.0.1]:$port}" } @clones) .
        ", {one.test=spaced:[127.0.0.1]:$port}, {two.test=spaced:[localhost]:$port} }",
    batch_destination_recipient_limit => 3, smtp_destination_concurrency_limit => 15, local_destination_recipient_limit => 1,
    narrow_destination_concurrency_limit => 2,
    paced_destination_rate_delay => '1s', paced_destination_concurrency_failed_cohort_limit => 10,
    spaced_transport_rate_delay => '1s',
    defer_transports => 'held',
    list_destination_recipient_limit => 10, list_destination_concurrency_limit => 3, list_initial_destination_concurrency => 3,
    minimal_backoff_time => '300s', queue_run_delay => '300s', dns_servers => '127.0.0.1:1');
$ph->edit_master(sub { $_ .= join '', map { "  - {name: $_, transport: smtp, listen: unix}\n" } @clones });
$ph->start;

unlike($ph->cmd('postconf', '-n'), qr/not implemented yet|unused parameter/, 'the parameters of transports are known and have an effect');

sub submit {
    my ($from, @to) = @_;
    my ($code, $text) = $ph->smtp->send(from => $from, to => \@to, body => "Subject: s\r\n\r\nx\r\n");
    is($code, 250, "$from: accepted") or diag $text;
    return $text =~ /queued as (\S+)/ ? $1 : '';
}
sub ended { my ($from) = @_; return scalar events(qr/ end \Q$from\E /) }

# These take seconds, so they run beside the rest.
submit('paced@example.test', "u$_\@paced.test") for 1 .. 3;
my $spaced_at = Time::HiRes::time;
submit('spaced@example.test', $_) for 'a@one.test', 'b@two.test', 'c@one.test';

# Batches.
my $id = submit('batch@example.test', map { "u$_\@batch.test" } 1 .. 10);
ok($ph->wait_log(qr/\Q$id\E: removed/), 'ten recipients are delivered') or diag $ph->log;
is(join(',', sort map { $_->{text} =~ /(\d+)$/ } events(qr/ end batch/)), '1,3,3,3', 'destination_recipient_limit: in batches of three');

# A window.
submit('held@example.test', "u$_\@narrow.test") for 1 .. 6;
ok(Posthorn::wait_for(sub { events(qr/ waits held/) == 2 }), 'two deliveries are under way');
$id = submit('other@example.test', 'x@elsewhere.test');
ok($ph->wait_log(qr/\Q$id\E: removed/), 'mail of another transport passes meanwhile');
is(scalar events(qr/ begin held/), 2, 'destination_concurrency_limit: no third one began');
Posthorn::spew("$notes/go", '');
ok(Posthorn::wait_for(sub { ended('held@example.test') == 6 }), 'the others follow');
my ($now, $most) = (0, 0);
for my $e (events(qr/ (?:waits|end) held/)) {
    $now += $e->{text} =~ /^waits/ ? 1 : -1;
    $most = $now if $now > $most;
}
is($most, 2, 'and there were never more than two at once');
unlink "$notes/go";

# A transport that is held back.
$id = submit('back@example.test', 'u@held.test');
ok($ph->wait_log(qr/postfix\/error\[\d+\]: \Q$id\E: to=<u\@held\.test>, relay=none, .*dsn=4\.3\.2, status=deferred \(deferred transport\)/),
    'defer_transports: deferred with its reason') or diag $ph->log;
ok(Posthorn::wait_for(sub { grep { $_->{queue_id} eq $id && $_->{queue_name} eq 'deferred' } $ph->queued }), 'it waits');
$ph->cmd('postqueue', '-i', $id);
ok($ph->wait_log(qr/\Q$id\E: removed/), 'until it is flushed') or diag $ph->log;
my $new = submit('back@example.test', 'v@held.test');
ok($ph->wait_log(qr/\Q$new\E: to=<v\@held\.test>, .*\(deferred transport\)/), 'new mail is held back still');

# A list of 3,000 (300 requests) beside a single message for the same site.
my $list = submit('held-list@example.test', map { "u$_\@list.test" } 1 .. 3000);
ok(Posthorn::wait_for(sub { events(qr/ waits held-list/) == 3 }), 'a list fills the window of its site');
my $single = submit('single@example.test', 'one@list.test');
ok($ph->wait_log(qr/\Q$single\E: from=.*\(queue active\)/), 'a single message comes behind it');
Posthorn::spew("$notes/go", '');
ok($ph->wait_log(qr/\Q$single\E: removed/, 30), 'and is delivered') or diag $ph->log;
my @begun = events(qr/ begin (?:held-list|single)/);
my ($at) = grep { $begun[$_]{text} =~ /single/ } 0 .. $#begun;
ok($at <= 8, "after few deliveries of the list ($at)");
ok($ph->wait_log(qr/\Q$list\E: removed/, 60), 'the list is delivered too');
is(ended('held-list@example.test'), 300, 'in 300 requests');
is(scalar(() = $ph->log =~ /\Q$list\E: to=<u\d+\@list\.test>.*status=sent/g), 3000, 'each recipient once');

# Forced expiry: with the words of the last deferral, or our own.
$id = submit('expire@example.test', 'refuse@elsewhere.test');
ok(Posthorn::wait_for(sub { grep { $_->{queue_id} eq $id && $_->{queue_name} eq 'deferred' } $ph->queued }), 'a message is deferred');
$ph->cmd('postsuper', '-e', $id);
is($?, 0, 'postsuper -e');
$ph->cmd('postqueue', '-i', $id);
ok($ph->wait_log(qr/qmgr\[\d+\]: \Q$id\E: from=<expire\@example\.test>, status=force-expired, returned to sender/), 'it is returned') or diag $ph->log;
my ($notice) = $ph->wait_mail('expire', 1);
like($notice // '', qr/450 4\.2\.1 not now/, 'with the words of its deferral');
is(scalar(() = $ph->log =~ /\Q$id\E: to=</g), 1, 'it was not tried again');

$id = submit('never@example.test', 'w@held.test');
ok($ph->wait_log(qr/\Q$id\E: to=<w\@held\.test>/), 'another');
$ph->cmd('postsuper', '-h', $id);
$ph->cmd('postsuper', '-f', $id);
ok($ph->wait_log(qr/\Q$id\E: from=<never\@example\.test>, status=force-expired, returned to sender/, 20), 'postsuper -f releases and expires what was held') or diag $ph->log;
($notice) = $ph->wait_mail('never', 1);
like($notice // '', qr/deferred transport/, 'its notice has the words');

# What was begun above.
for my $kind (qw(paced spaced)) {
    ok(Posthorn::wait_for(sub { ended("$kind\@example.test") == 3 }, 20), "$kind: all are delivered");
    my @t = map { $_->{at} } events($kind eq 'paced' ? qr/ (?:begin|end) paced/ : qr/ begin spaced/);
    # Any may come late to the sink on a busy machine: spaced ones are a second and two behind the first submission, at least.
    my @gap = $kind eq 'paced' ? ($t[2] - $t[1], $t[4] - $t[3]) : ($t[1] - $spaced_at, $t[2] - $spaced_at - 1);
    ok((grep { $_ > 0.9 } @gap) == 2, "$kind: a second between them (@gap)");
}
$ph->stop;
done_testing();
