#!/usr/bin/perl
# Where sessions, workers or descriptors end: a line in the log, and who is next
# waits in the listener's queue until one leaves.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;
use Soak;

my %plain = (virtual_transport => 'discard', virtual_mailbox_domains => 'example.test', dns_servers => '127.0.0.1');

# ---- all workers full ----
my $ph = Posthorn->new(%plain);
$ph->edit_master(sub { s/sessions: 1000/sessions: 10, processes: 2/ })->start;
my $hold = Soak::Hold->new($ph->port, 1000, ehlo => 15);
my $rest = Soak::Hold->new($ph->port, 1000, ehlo => 5);      # the second worker has waited for them
is($hold->{first}{held} + $rest->{first}{held}, 20, 'two workers of ten sessions each hold twenty');
my $say = qr/master\[\d+\]: warning: service "smtp" \(\d+\) has reached its process limit "2": new clients may experience noticeable delays\n/;
ok($ph->wait_log($say), 'the log says that this is all');
my @more = map { Posthorn::Client->new(port => $ph->port, raw => 1, timeout => 0.3) } 1 .. 3;
is_deeply([map { $_->line } @more], [], 'who comes now is not greeted') or diag explain [map { $_->{buf} } @more];
my @full = Soak::workers($ph, 'smtp', 'inet');
my $switches = Soak::switches(@full);
my @waiting = map { Posthorn::tick(); Posthorn::Client->new(port => $ph->port, raw => 1) } 1 .. 40;
close $_->{s} for @waiting;
cmp_ok(Soak::switches(@full) - $switches, '<', 30, 'and does not wake those who have no room');
$_->{timeout} = 30 for @more;
$_->end for $hold, $rest;
is_deeply([map { ($_->reply)[0] } @more], [220, 220, 220], 'and is when others have left');
is(($more[0]->send(from => 'a@soak.test', to => ['u@example.test'], body => "Subject: waited\r\n\r\nx\r\n"))[0], 250, 'and served');
$_->quit for @more;
$hold = Soak::Hold->new($ph->port, 1000, ehlo => 20);
is($hold->{first}{held}, 20, 'full again');
$hold->end;
is(scalar(() = $ph->log =~ /$say/g), 1, 'which is not said again at once');
is(scalar(Soak::workers($ph, 'smtp', 'inet')), 2, 'by two workers');
$ph->stop;

# ---- fewer descriptors than sessions ----
$ph = Posthorn->new(%plain);
$ph->edit_master(sub { s/sessions: 1000/sessions: 1000, processes: 4/ });
my $fds = 200;
my $started = $ph->run('/bin/sh', '-c', "ulimit -n $fds && exec \"\$\@\"", 'sh', $ph->sbin('postfix'), '-c', $ph->dir, 'start');
is($?, 0, "started with $fds descriptors for each process") or BAIL_OUT($started);
$ph->{started} = 1;
my $each = ($fds - 128) / 2;
$hold = Soak::Hold->new($ph->port, 1000, ehlo => $each * 2, rcpt => $each, data => $each);
is_deeply([@{ $hold->{first} }{qw(ehlo rcpt data refused lost)}], [$each * 2, $each, $each, 0, 0], 'they hold what they can, transactions among them') or diag explain $hold->{first};
ok($ph->wait_log(qr/smtpd\[\d+\]: warning: at most $each sessions at once in one process, not 1000: it may have $fds open files \(ulimit -n\)\n/), 'the log says how many that is');
ok($ph->wait_log(qr/service "smtp" \(\d+\) has reached its process limit "4"/), 'and that this is all');
my $one = Posthorn::Client->new(port => $ph->port, raw => 1, timeout => 30);
$hold->end;
is(($one->reply)[0], 220, 'who waited is greeted');
is(($one->send(from => 'a@soak.test', to => ['u@example.test'], body => "Subject: waited\r\n\r\nx\r\n"))[0], 250, 'and served');
unlike($ph->log, qr/Too many open files|killed by signal|panic|fatal:/, 'and no descriptor was missing anywhere');
$ph->stop;
done_testing();
