# CrashOps.pm: what is done to a message while one process is watched, and in
# which windows something may happen twice.  The rows are those of the crash table
# in core/queue/README.md.
#
#     name, op     op: what it counts as; [first, re, second]: first until the call re is made
#     victim, conf which process; settings of its instance
#     to           recipients; the sink refuses no-, and later- until it is let pass; held- goes on hold
#     rcpt         whom the client names, where `to` has what becomes of it: list-, an alias that was expanded, and its members
#     begin, act   before the watch, and what is watched; done: it ended undisturbed
#     promised     what must hold when the administrator was told that it is done
#     nudge        what people do when a process has died; resend: the client, too
#     expires      later- fails in the end; told: what else the sender hears, action => 1, ?
package CrashOps;
use strict;
use warnings;
use Posthorn;

my $mark = qr{^pwrite64 .*/pool/\S+ 1 bytes$};
my $any_mark = qr{^pwrite64 .*/(?:pool|deferred)/\S+ 1 bytes$};
my $commit = qr{^pwritev .*/pool/};
my $to_agent = qr{^sendmsg unix:.*private/(?:smtp|virtual)$};
my $from_agent = qr{^recvmsg unix:.*private/(?:smtp|virtual)$};
my $to_bounce = qr{^sendmsg unix:.*private/bounce$};
my $answer = qr{^sendmsg unix:};

my @send = (resend => 1, act => sub { $_[0]->submit($_[1]) });
my $removed = sub { $_[0]->removed($_[1]) };
my $expire_held = sub { my ($c, $m) = @_; $c->{ph}->cmd('postsuper', $_, $m->{id}) for '-e', '-H' };
my $let_pass = sub { $_[0]->let_pass($_[1]) };

# In the agent: the site has it, qmgr does not know.
my $sent = { what => 'delivered', name => 'after the remote 250, before the mark', for => qr/^(?:to|too|later)-/,
             after => [qr{^pread64 .*/pool/|^pread64 .*/deferred/}, qr/^sendmsg inet/], until => $answer };
# In qmgr: the agent has answered, the mark is not written.
my $unmarked = { what => 'delivered', name => $sent->{name}, for => qr/^(?:to|too|box|copy)-/, each => 1, unread => qr{private/(?:smtp|virtual)$},
                 after => [$to_agent, $from_agent], until => $any_mark };
# In bounce: the notice is committed, qmgr does not know.
my $noticed = { name => 'notice committed, before told is on disk', after => [$commit], until => $to_bounce };
# In qmgr: the failed marks are synced, bounce was asked and may have done it.
my $untold = { name => $noticed->{name}, after => [qr/^fdatasync .*/, $to_bounce], until => $any_mark };

# Aliases of several members: a name that is mapped first, and has a copy.  held- and
# free- are those of held mail; what fails in the end, fails for each member.
my %aliases = (
    smtpd_recipient_restrictions => 'check_recipient_access pcre:{{/^held-/ HOLD}}, permit_mynetworks, reject',
    recipient_canonical_maps => 'pcre:{{/^(?:nick|held|free)-(.*)/ list-$$1}}',
    recipient_bcc_maps => 'pcre:{{/^list-(t\d+)@/ copy-$$1@away.test}}',
    virtual_alias_maps => 'pcre:{{/^list-(t\d+)@/ to-$$1@away.test, too-$$1@away.test}, {/^list-(t\d+)-part@/ to-$$1@away.test, later-$$1@away.test},'
        . ' {/^list-(t\d+)-end@/ later-$$1@away.test, later-$$1-b@away.test}}',
);
my @alias = (conf => \%aliases, rcpt_args => 'NOTIFY=SUCCESS,FAILURE');
my $told = sub { map { my $w = $_; map { { %$w, what => $_ } } 'delivered', 'told expanded' } @_ };
my @expanded = (@alias, to => ['list-TAG@example.test', 'to-TAG@away.test', 'too-TAG@away.test', 'copy-TAG@away.test']);
# In qmgr: the nth request to bounce was the one for the report.
my $reported = sub { return { what => 'told expanded', name => 'report committed, before its log goes', after => [($to_bounce) x $_[0]], until => $to_bounce } };
# No listing is asked for: qmgr's calls would be those of the listing.
my $reported_back = sub { my ($c, $m) = @_; return { $c->told($m, $m->{to}[0]) }->{expanded} && !(() = glob $c->{ph}->queue . '/maildrop/*') };

# The same story with each of several victims.
sub each_victim {
    my ($story, %victims) = @_;
    return map { { name => "$story->{name}-$_", victim => $_, %$story{ grep { $_ ne 'name' } keys %$story }, windows => $victims{$_} } } sort keys %victims;
}

our @scenarios = (
    {
        name => 'accept', op => 'accept', victim => 'smtpd', to => ['to-TAG@away.test'], @send, done => sub { $_[1]{acked} },
        windows => [{ what => 'delivered', name => 'after fdatasync, before the client hears 250', after => [$commit], until => qr/^sendmsg inet/ }],
    },
    {
        name => 'accept-large', op => 'accept', victim => 'smtpd', to => ['to-TAG@away.test'], lines => 6000, @send, done => sub { $_[1]{acked} },
        windows => [{ what => 'delivered', name => 'after fdatasync, before the client hears 250', after => [[$commit, 'last']], until => qr/^sendmsg inet/ }],
    },
    {
        # More slots than are at hand: qmgr makes some.
        name => 'slots', op => 'accept', victim => 'qmgr', to => ['to-TAG@away.test'], resend => 1, done => $removed,
        act => sub { my ($c, $m) = @_; my @busy = map { $c->begin_transaction($m) } 1 .. 12; $c->submit($m) }, windows => [$unmarked],
    },
    {
        name => 'accept-pickup', op => 'accept', victim => 'pickup', to => ['to-TAG@away.test'],
        act => sub { $_[0]->sendmail($_[1]) },
        done => sub { $_[0]->delivered($_[1]{to}[0]) && $_[0]->queue_is_empty }, nudge => sub { $_[0]->wake_pickup },
        windows => [{ what => 'delivered', name => 'taken from maildrop, not removed there', after => [$commit], until => qr/^unlinkat / }],
    },
    each_victim({ name => 'deliver', op => ['activate', $to_agent, 'deliver'], to => ['to-TAG@away.test', 'too-TAG@away.test'], @send, done => $removed },
        qmgr => [$unmarked]),
    each_victim({ name => 'deliver', op => 'deliver', to => ['to-TAG@away.test', 'too-TAG@away.test'], @send, done => $removed }, smtp => [$sent]),
    {
        name => 'deliver-virtual', op => 'deliver', victim => 'virtual', to => ['box-TAG@example.test'], @send, done => $removed,
        windows => [{ what => 'delivered', name => 'in the mailbox, before the mark', after => [qr/^renameat2? |^linkat /], until => $answer }],
    },
    {
        name => 'retry-qmgr', op => ['activate', $to_agent, 'deliver'], victim => 'qmgr', to => ['later-TAG@away.test'],
        begin => sub { $_[0]->defer($_[1]); $_[0]->let_pass($_[1]) }, act => sub { $_[0]->flush_one($_[1]) }, done => $removed,
        windows => [{ %$unmarked, for => qr/./ }],
    },
    each_victim({ name => 'defer', op => 'defer', to => ['to-TAG@away.test', 'later-TAG@away.test'], @send, done => sub { $_[0]->is_deferred($_[1]) }, nudge => $let_pass },
        qmgr => [$unmarked], smtp => [$sent], bounce => []),
    each_victim({ name => 'warn', op => 'defer', to => ['later-TAG@away.test'], conf => { delay_warning_time => '1s' }, told => { delayed => '?' },
        begin => sub { my ($c, $m) = @_; $c->defer($m); my $at = time; Posthorn::wait_for(sub { time > $at }) },
        act => sub { $_[0]->flush_one($_[1]) }, done => sub { scalar $_[0]->logged($_[1], qr/\Q$_[1]{id}\E: to=.*\n(?:.*\n)*.*\Q$_[1]{id}\E: to=.*status=deferred/) && { $_[0]->told($_[1], $_[1]{to}[0]) }->{delayed} },
        nudge => $let_pass },
        qmgr => [{ what => 'told delayed', name => 'warning committed, before its mark is on disk', after => [$to_bounce, $to_bounce], until => $any_mark }], bounce => [{ what => 'told delayed', %$noticed, name => 'warning committed, before its mark is on disk' }]),
    each_victim({ name => 'bounce', op => 'bounce', to => ['no-TAG@away.test', 'to-TAG@away.test'], @send, done => $removed },
        qmgr => [$unmarked, { what => 'told failed', %$untold }], smtp => [$sent], bounce => [{ what => 'told failed', %$noticed }]),
    each_victim({ name => 'report', op => 'deliver', to => ['to-TAG@away.test'], rcpt_args => 'NOTIFY=SUCCESS', told => { relayed => '1' }, @send, done => $removed },
        qmgr => [$unmarked, { what => 'no told relayed', name => 'delivered mark written, before the report of success', after => [$mark], until => $to_bounce },
            # Asked for, but bounce could not commit it: qmgr was gone.
            { what => 'no told relayed', name => 'delivered mark written, before the report of success', after => [$mark, $to_bounce], until => $to_bounce }],
        bounce => [{ what => 'told relayed', %$noticed }]),
    {
        name => 'hold', op => 'hold', victim => 'qmgr', to => ['later-TAG@away.test'], begin => sub { $_[0]->defer($_[1]) },
        act => sub { $_[0]->super($_[1], '-h') }, done => sub { $_[0]->found_in('hold', $_[1]{id}) },
        promised => sub { $_[0]->found_in('hold', $_[1]{id}) ? () : 'it was said to be on hold and is not' },
        nudge => sub { $_[0]->let_pass($_[1]); $_[0]->{ph}->cmd('postsuper', '-H', 'ALL') },
    },
    {
        name => 'release', op => 'hold', victim => 'qmgr', to => ['later-TAG@away.test'],
        begin => sub { $_[0]->defer($_[1]); $_[0]->{ph}->cmd('postsuper', '-h', $_[1]{id}); $_[0]->let_pass($_[1]) },
        act => sub { $_[0]->super($_[1], '-H') }, done => $removed, windows => [{ %$unmarked, for => qr/./ }],
        promised => sub { $_[0]->found_in('hold', $_[1]{id}) ? 'it was said to be released and is not' : () },
        nudge => sub { $_[0]->super($_[1], '-H') },
    },
    {
        name => 'hold-new', op => 'hold', victim => 'qmgr', to => ['held-TAG@away.test'], @send,
        conf => { smtpd_recipient_restrictions => 'check_recipient_access pcre:{{/^held-/ HOLD}}, permit_mynetworks, reject' },
        done => sub { $_[1]{id} && $_[0]->found_in('hold', $_[1]{id}) }, nudge => sub { $_[0]->{ph}->cmd('postsuper', '-H', 'ALL') },
    },
    each_victim({ name => 'requeue', op => 'requeue', to => ['later-TAG@away.test'], begin => sub { $_[0]->defer($_[1]); $_[0]->let_pass($_[1]) },
        act => sub { $_[0]->super($_[1], '-r') }, done => sub { $_[0]->delivered($_[1]{to}[0]) && $_[0]->queue_is_empty },
        nudge => sub { $_[0]->wake_pickup } },
        qmgr => [{ %$unmarked, for => qr/./ }],
        pickup => [{ what => 'delivered', name => 'taken from maildrop, not removed there', after => [$commit], until => qr/^unlinkat / }]),
    each_victim({ name => 'expire', op => 'expire', to => ['to-TAG@away.test', 'later-TAG@away.test'], expires => 1, conf => { maximal_queue_lifetime => '0' }, @send, done => $removed },
        qmgr => [$unmarked, { what => 'told failed', %$untold }], bounce => [{ what => 'told failed', %$noticed }]),
    each_victim({ name => 'expire-forced', op => 'expire', to => ['later-TAG@away.test'], expires => 1, begin => sub { $_[0]->defer($_[1]) },
        act => sub { $_[0]->super($_[1], '-e'); $_[0]->flush_one($_[1]) }, done => $removed, nudge => sub { $_[0]->super($_[1], '-e') } },
        qmgr => [{ what => 'told failed', %$untold }], bounce => [{ what => 'told failed', %$noticed }]),
    # The sender of an alias with NOTIFY=SUCCESS hears that it was expanded, once, and of its members when they fail.
    each_victim({ name => 'expand', op => 'expand', @expanded, rcpt => ['nick-TAG@example.test'], @send, done => $removed },
        smtpd => [$told->({ name => 'after fdatasync, before the client hears 250', after => [$commit], until => qr/^sendmsg inet/ })],
        qmgr => [$unmarked, map { { what => 'no told expanded', name => 'delivered mark written, before the report of success', after => $_, until => $to_bounce } } [[$mark, 'last']], [[$mark, 'last'], $to_bounce]],
        bounce => [{ what => 'told expanded', %$noticed }]),
    each_victim({ name => 'expand-defer', op => 'expand', @alias, to => ['list-TAG-part@example.test', 'to-TAG@away.test', 'later-TAG@away.test'], rcpt => ['nick-TAG-part@example.test'],
        @send, done => sub { $_[0]->is_deferred($_[1]) }, nudge => $let_pass },
        qmgr => [$unmarked, $reported->(3)],
        bounce => [{ what => 'told expanded', %$noticed }]),
    each_victim({ name => 'expand-requeue', op => 'expand', @expanded, rcpt => ['held-TAG@example.test'], begin => sub { $_[0]->put_on_hold($_[1]) },
        act => sub { $_[0]->super($_[1], '-r') }, done => $reported_back, nudge => sub { $_[0]->super($_[1], '-r'); $_[0]->wake_pickup } },
        # The alias, its members and the copy have a mark each.
        qmgr => [$unmarked, map { { what => 'no told expanded', name => 'delivered mark written, before the report of success', after => $_, until => $to_bounce } } [($mark) x 4], [($mark) x 4, $to_bounce]], pickup => [$told->({ name => 'taken from maildrop, not removed there', after => [$commit], until => qr/^unlinkat / })]),
    each_victim({ name => 'expand-expire', op => 'expand', @alias, to => ['list-TAG-end@example.test', 'later-TAG@away.test', 'later-TAG-b@away.test'], rcpt => ['held-TAG-end@example.test'],
        expires => 1, begin => sub { $_[0]->put_on_hold($_[1]) }, act => $expire_held, done => $removed, nudge => $expire_held },
        qmgr => [{ what => 'told failed', %$untold, for => qr/^later-/, each => 1 }, $reported->(6)],
        bounce => [map { { what => "told $_", %$noticed } } qw(failed expanded)]),
);

1;
