#!/usr/bin/perl
# Beside Debian's Postfix: a list of 40 requests and single messages behind it,
# one delivery at a time: both send them in the same order.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;
use PeerPostfix;

my $why = PeerPostfix->missing;
plan skip_all => $why if $why;

my %limits = (smtp_destination_concurrency_limit => 1, initial_destination_concurrency => 1, smtp_destination_recipient_limit => 5,
    smtpd_recipient_limit => 1000, smtpd_client_connection_count_limit => 0);

# A sink that keeps the first transaction until `go` is there and notes whose each is.
sub sink {
    my ($dir) = @_;
    return Posthorn::Sink->new(eod => sub {
        my ($from) = @_;
        open my $out, '>>', "$dir/order" or die;
        syswrite $out, uc substr $from, 0, 1;
        Posthorn::wait_for(sub { -e "$dir/go" }, 60);
        return '250 2.0.0 ok';
    });
}

# What is sent, in order, to a relay that listens at the port; log is a function.
sub order_of {
    my ($port, $log, $dir, @script) = @_;
    my $send = sub {
        my ($from, $n) = @_;
        my ($code, $text) = Posthorn::Client->new(port => $port)->send(from => "$from\@example.test", to => [map { "u$_\@site.test" } 1 .. $n],
            body => "Subject: x\r\n\r\nx\r\n");
        my ($id) = $text =~ /queued as (\w+)/ or die $text;
        Posthorn::wait_for(sub { $log->() =~ /\Q$id\E: from=.*\(queue active\)/ }) or die "$id is not active";
        return $id;
    };
    my @ids = $send->('list', 200);
    Posthorn::wait_for(sub { -s "$dir/order" }) or die 'the list did not begin';
    push @ids, $send->(@$_) for @script;
    Posthorn::spew("$dir/go", '');
    for my $id (@ids) { Posthorn::wait_for(sub { $log->() =~ /\Q$id\E: removed/ }, 60) or die "$id stays" }
    return Posthorn::slurp("$dir/order");
}

my %scripts = (
    'six single messages' => [map { ['single', 1] } 1 .. 6],
    'three of two requests' => [['a', 10], ['b', 10], ['c', 10]],
);
my %order;
for my $who (qw(ours postfix)) {
    my $dir = File::Temp->newdir('posthorn-order-XXXXXX', TMPDIR => 1, CLEANUP => 1);
    my $sink = sink("$dir");
    my %set = (%limits, relayhost => '[127.0.0.1]:' . $sink->port);
    my $mta = $who eq 'ours' ? Posthorn->new(%set)->start : PeerPostfix->new(%set)->start;
    for my $name (sort keys %scripts) {
        $order{$name}{$who} = order_of($mta->port, sub { $mta->log }, "$dir", @{ $scripts{$name} });
        unlink "$dir/order", "$dir/go";
    }
    $mta->stop;
    $sink->stop;
}
like($order{'six single messages'}{ours}, qr/^LSLLLLLSLLLLLS/, 'one passes on credit, then one for each five');
is($order{$_}{ours}, $order{$_}{postfix}, "$_: the same order as Postfix") for sort keys %scripts;
done_testing();
