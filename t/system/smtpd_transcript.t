#!/usr/bin/perl
# notify_classes: the postmaster reads what was said in a session that met an
# error of a class he asked for; no secret of AUTH, no session without error.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;

my $ph = Posthorn->new(notify_classes => 'policy, protocol', error_notice_recipient => 'pm@example.test', myhostname => 'mx.posthorn.test',
    smtpd_recipient_restrictions => 'check_recipient_access inline:{refused@example.test=REJECT}')->start;

sub session { # commands, then QUIT or hang up
    my ($end, @commands) = @_;
    my $c = $ph->smtp;
    $c->ask($_) for @commands;
    $end eq 'QUIT' ? $c->quit : close $c->{s};
}

# A good session, with mail, is nobody's business; neither is what was said before good mail.
my $c = $ph->smtp;
is(($c->send(from => 'a@b.test', to => ['u@example.test'], body => "Subject: s\r\n\r\nx\r\n"))[0], 250, 'mail without an error');
is(scalar($c->ask('NOSUCH command')), 500, 'an unknown command after it');
$c->quit;
my ($text) = $ph->wait_mail('pm', 1);
like($text // '', qr/^Subject: Posthorn SMTP server: errors from localhost\[127\.0\.0\.1\]\n/m, 'protocol: the postmaster hears of it') or diag $ph->log;
like($text // '', qr/^To: Postmaster <pm\@example\.test>\n/m, 'it is for error_notice_recipient');
like($text // '', qr/^Return-Path: <double-bounce\@mx\.posthorn\.test>\n/m, 'from the double bounce sender');
like($text // '', qr/^ In:  NOSUCH command\n Out: 500 5\.5\.2 Error: command not recognized\n In:  QUIT\n/m, 'what was said');
unlike($text // '', qr/u\@example\.test/, 'not what belongs to good mail');

session('QUIT', 'EHLO c.test', 'AUTH PLAIN AHNlY3JldABzZWNyZXQ=', 'MAIL FROM:<a@b.test>', 'RCPT TO:<refused@example.test>');
my ($policy) = grep { /refused/ } $ph->wait_mail('pm', 2);
like($policy // '', qr/^ In:  RCPT TO:<refused\@example\.test>\n Out: 554 5\.7\.1 /m, 'policy: a refusal');
like($policy // '', qr/^ In:  AUTH\n Out: 50\d /m, 'AUTH is shown without its argument');
unlike($policy // '', qr/AHNlY3JldA/, 'no secret in it');

session('leave', 'EHLO c.test', 'BAD');
my ($cut) = grep { /BAD/ } $ph->wait_mail('pm', 3);
like($cut // '', qr/^Session aborted, reason: lost connection\n/m, 'why it ended');

# Sessions of the notices' own sender, and classes that nobody asked for.
session('QUIT', 'EHLO c.test', 'MAIL FROM:<double-bounce@mx.posthorn.test>', 'RCPT TO:<refused@example.test>');
$ph->set(notify_classes => 'resource, software');
is($ph->postfix('reload') && $?, 0, 'reload');
session('QUIT', 'EHLO c.test', 'NOSUCH', 'MAIL FROM:<a@b.test>', 'RCPT TO:<refused@example.test>');
is(($ph->smtp->send(from => 'a@b.test', to => ['last@example.test'], body => "Subject: s\r\n\r\nx\r\n"))[0], 250, 'more mail');
$ph->wait_mail('last', 1);
ok(Posthorn::wait_for(sub { !$ph->queued }), 'the queue runs empty');
is(scalar($ph->mail('pm')), 3, 'made no notice');

# The disk is full: with the classes of the stock configuration that is told, once there is room.
$ph->set(queue_minfree => '1000000000000000');
$ph->postfix('reload');
is(scalar(($ph->smtp->send(from => 'a@b.test', to => ['u@example.test'], body => "x\r\n"))[0]), 452, 'no room');
my @all = $ph->wait_mail('pm', 4);
is(scalar(grep { /^ Out: 452 4\.3\.1 /m } @all), 1, 'resource: the postmaster hears of it') or diag substr($ph->log, -2000);
done_testing();
