#!/usr/bin/perl
# Instructions per message of each process, counted by callgrind: README.md
# beside this.
use strict;
use warnings;
use Test::More;
use lib 't/lib', 't/bench', 't/effort';
use Effort;

my ($FEW, $MANY) = (20, 120);  # what starting and stopping takes is in both
my $CHANCE = 0.08;

plan skip_all => 'instructions are expected of the developer build (./dev test) only' unless Effort::is_developer();
plan skip_all => 'valgrind is not installed' unless grep { -x "$_/valgrind" } split /:/, $ENV{PATH};

# A directory of daemons in which those that are counted start under callgrind,
# and one for its counts.  Files of counts are there before a worker that was
# root changes its account.
sub daemons {
    my ($ph) = @_;
    my ($daemons, $counts, $real) = ("$ph->{tmp}/daemons", "$ph->{tmp}/counts", "$Posthorn::inst/libexec/posthorn");
    mkdir $_, 0755 for $daemons, $counts;
    symlink "$real/master", "$daemons/master" or die "symlink: $!";
    Posthorn::spew("$daemons/worker", <<"SH");
#!/bin/sh
case " \$*" in
*" -n smtp "*|*" -n qmgr "*)
    : >"$counts/\$\$"
    chmod 666 "$counts/\$\$"
    exec valgrind -q --tool=callgrind --callgrind-out-file="$counts/%p" --log-file="$counts/%p.log" "$real/worker" "\$@" ;;
esac
exec "$real/worker" "\$@"
SH
    chmod 0755, "$daemons/worker";
    return ($daemons, $counts);
}

# One instance from start to stop, with so many messages of each scenario:
# {process} => instructions.  Without the seal, whose calls callgrind's own are not.
sub count {
    my (%messages) = @_;
    my $e = Effort->new;
    my $ph = $e->{ph};
    my ($daemons, $counts) = daemons($ph);
    $ph->set(daemon_directory => $daemons);
    $ph->edit_master(sub { s/^(  - \{name: (?:smtp|qmgr),)/$1 sandbox: false,/mg });
    $ph->start;
    $e->relay($_, $messages{$_}) for sort keys %messages;
    my %line = $ph->processes;
    $ph->stop;
    my %n;
    for my $pid (keys %line) {
        my ($who) = grep { $line{$pid} =~ $Effort::process{$_} } keys %Effort::process;
        next unless $who;
        die "callgrind said: ", Posthorn::slurp("$counts/$pid.log") unless Posthorn::slurp("$counts/$pid") =~ /^(?:summary|totals): *(\d+)/m;
        $n{$who} += $1;
    }
    return \%n;
}

my %base = map { $_ => $FEW } keys %Effort::scenario;
my $few = count(%base);
is_deeply([sort keys %$few], [sort keys %Effort::process], 'each process runs under callgrind');
my $expected = Effort::expected();
for my $scenario (sort keys %Effort::scenario) {
    my $many = count(%base, $scenario => $MANY);
    for my $who (sort keys %Effort::process) {
        my $want = $expected->{"instructions $who $scenario"};
        Effort::judge("instructions of $who, $scenario", ($many->{$who} - $few->{$who}) / ($MANY - $FEW), $want, $CHANCE * ($want // 0));
    }
}
done_testing();
