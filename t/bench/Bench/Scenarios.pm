# Scenarios.pm: the rows of the table.
package Bench::Scenarios;
use strict;
use warnings;

# bytes: of a message, or mix.  against: the systems, when not all.  sink, source: more options of theirs.
# retry: short retry times.  maildirs: so many, instead of relaying.  idle: sessions that
# are held and do nothing, of each system (for those that have a process for each, fewer).
my @three = qw(posthorn postfix postfix-tuned);    # the others try again much later, whatever they are told
our @all = (
    { name => 'relay20', title => 'relay, 20 sessions, one message each, 4 KB', sessions => 20, bytes => 4096, quick => 1 },
    { name => 'relay100', title => 'relay, 100 sessions, one message each, 4 KB', sessions => 100, bytes => 4096, quick => 1 },
    { name => 'persistent20', title => 'relay, 20 sessions that stay, 4 KB', sessions => 20, bytes => 4096, persistent => 1, quick => 1 },
    { name => 'relay500', title => 'relay, 500 sessions, one message each, 4 KB', sessions => 500, bytes => 4096, against => [qw(posthorn postfix-tuned)] },
    { name => 'mix20', title => 'relay, 20 sessions, one message each, median 30 KB, 10 % of 300 KB', sessions => 20, bytes => 'mix' },
    { name => 'big', title => 'relay, 10 sessions, one message each, 1 MB', sessions => 10, bytes => 1_000_000 },
    { name => 'maildir1', title => 'SMTP to one maildir, 20 sessions, one message each, 4 KB', sessions => 20, bytes => 4096, maildirs => 1, source => ['-t', 'u%@box.test', '-r', 1] },
    { name => 'maildir100', title => 'SMTP to 100 maildirs, 20 sessions, one message each, 4 KB', sessions => 20, bytes => 4096, maildirs => 100, source => ['-t', 'u%@box.test', '-r', 100] },
    { name => 'tempfail', title => 'relay20, the sink refuses 10 % for now', sessions => 20, bytes => 4096, sink => ['-t', 10], retry => 1, against => \@three },
    { name => 'slow', title => 'relay20, the sink answers 50 ms late', sessions => 20, bytes => 4096, sink => ['-w', 50], against => \@three },
    { name => 'close', title => 'relay20, the sink closes early on 10 %', sessions => 20, bytes => 4096, sink => ['-c', 10], retry => 1, against => \@three },
    { name => 'idle', title => 'idle sessions, after EHLO', idle => { posthorn => 10_000, 'postfix-tuned' => 400 } },
);

sub find { my ($name) = @_; return (grep { $_->{name} eq $name } @all)[0] // die "bench: no scenario $name (there are: @{[map { $_->{name} } @all]})\n" }

1;
