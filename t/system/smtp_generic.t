#!/usr/bin/perl
# smtp_generic_maps: what the outside sees of our addresses, in the envelope and
# in the headers; what stays here is not changed.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;

my $sink = Posthorn::Sink->new(ehlo => "250-sink.test\r\n250-PIPELINING\r\n250 SIZE 1000000");
my $ph = Posthorn->new(relayhost => '[127.0.0.1]:' . $sink->port, myorigin => 'origin.test', mydestination => 'here.test', recipient_delimiter => '+',
    minimal_backoff_time => '300s', queue_run_delay => '300s',
    smtp_generic_maps => 'inline:{ {ann+tag@here.test=tagged@out.test}, {ann@here.test=ann.long@out.test}, {bob=robert}, {@here.test=@rest.test}, {cid@far.test=sid@out.test} }')->start;

sub envelope_and_body {
    my ($from, $to, $headers) = @_;
    my $n = $sink->messages + 1;
    my ($code, $text) = $ph->smtp->send(from => $from, to => [$to], body => "$headers\r\nFrom: nobody\@here.test\r\n");
    is($code, 250, $text) if $code != 250;
    my @m = $sink->wait_messages($n);
    return $m[$n - 1] // {};
}

my $m = envelope_and_body('ann@here.test', 'cid@far.test', "From: \"Ann, A.\" <ann\@here.test>\r\nTo: cid\@far.test (Cid),\r\n\tzed+x\@here.test\r\nSubject: ann\@here.test\r\n");
is($m->{from}, 'ann.long@out.test', 'the sender');
is_deeply($m->{to}, ['sid@out.test'], 'the recipient');
like($m->{body}, qr/^From: "Ann, A\." <ann\.long\@out\.test>\r\nTo: sid\@out\.test \(Cid\),\r\n\tzed\+x\@rest\.test\r\nSubject: ann\@here\.test\r\n/m, 'headers: each address in its place');
like($m->{body}, qr/\r\n\r\nFrom: nobody\@here\.test\r\n\z/, 'the body stays');
like($ph->log, qr/to=<cid\@far\.test>, .*status=sent/, 'the log says who he is here');
is(envelope_and_body('ann+tag@here.test', 'x@far.test', "From: x\@y.test\r\n")->{from}, 'tagged@out.test', 'an address with its extension comes first');
is(envelope_and_body('ann+other@here.test', 'x@far.test', "From: x\@y.test\r\n")->{from}, 'ann.long@out.test', 'then without');
is(envelope_and_body('bob@here.test', 'x@far.test', "From: x\@y.test\r\n")->{from}, 'robert@origin.test', 'a user of ours');
is(envelope_and_body('bob@far.test', 'x@far.test', "From: x\@y.test\r\n")->{from}, 'bob@far.test', 'not of others');
is(envelope_and_body('', 'x@far.test', "From: x\@y.test\r\n")->{from}, '', 'the null sender stays');

# A table that does not work defers.
$ph->set(smtp_generic_maps => 'fail:generic');
$ph->postfix('reload');
my $id;
Posthorn::wait_for(sub {
    my ($code, $text) = eval { $ph->smtp->send(from => 'ann@here.test', to => ['later@far.test'], body => "From: x\@y.test\r\n\r\nx\r\n") };
    ($id) = ($text // '') =~ /queued as (\S+)/;
    return $ph->wait_log(qr/\Q${\($id \/\/ 'none')}\E: to=<later\@far\.test>, relay=none, .*status=deferred/, 2);
}, 30);
like($ph->log, qr/\Q$id\E: to=<later\@far\.test>, relay=none, .*dsn=4\.3\.0, status=deferred \(generic maps: /, 'a table that does not work: deferred') or diag $ph->log;
done_testing();
