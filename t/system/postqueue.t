#!/usr/bin/perl
# postqueue and mailq: the listing blank by blank beside Debian's Postfix, exit
# statuses, who may.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Posthorn;
use PeerPostfix;
use Test::More;

delete $ENV{MAIL_CONFIG};
my $nowhere = 'smtp:[127.0.0.1]:' . Posthorn::free_port();
my $ph = Posthorn->new(defer_transports => 'smtp', default_transport => $nowhere, queue_run_delay => '1000s', minimal_backoff_time => '1000s', smtputf8_enable => 'yes');
$ph->edit_master(sub { s/^.*plugin: smtpd.*\n//m });
$ph->start;
my %side = (ours => { run => sub { my ($c, @a) = @_; $ph->cmd($c, @a) }, send => sub { my ($in, @a) = @_; $ph->sendmail($in, @a) }, dir => $ph->dir });
my $peer;
if (!PeerPostfix->missing) {
    $peer = PeerPostfix->new(default_transport => $nowhere, defer_transports => 'smtp', queue_run_delay => '1000s', minimal_backoff_time => '1000s',
        enable_long_queue_ids => 'yes', smtputf8_enable => 'yes');
    $peer->reconfigure(export_environment => "TZ MAIL_CONFIG LANG LD_LIBRARY_PATH=$peer->{lib}");
    $peer->start;
    my $plain = bless { tmp => $peer->dir }, 'Posthorn';
    my $tool = sub { my ($in, $c, @a) = @_; $plain->run_in($in, '/usr/bin/env', $peer->env, "$peer->{root}/usr/sbin/$c", @a) };
    $side{theirs} = { run => sub { my ($c, @a) = @_; $tool->('', $c, @a) }, send => sub { my ($in, @a) = @_; $tool->($in, 'sendmail', @a) } };
}

# What differs by nature gets another letter of the same width: ids, sizes, times.
sub shape {
    my ($text) = @_;
    $text =~ s/^([0-9A-Za-z]{12,})([*!#]*)( *)( +)\d+ \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d/sprintf '%-17s SIZE SIZE DAY MON DD HH:MM:SS', "ID$2"/mge;
    $text =~ s/\d+ Kbytes/N Kbytes/;
    $text =~ s/"queue_id": "\w+"/"queue_id": "ID"/g;
    $text =~ s/"(arrival_time|message_size)": \d+/"$1": N/g;
    $text =~ s/^\S*(?=(?:postqueue|sendmail): )//mg;
    # Which message comes first is the directory's affair, and which recipient the log's.
    $text =~ s/((?:^ {47}\S.*(?:\n|\z)){2,})/join '', map { "$_\n" } sort split m{\n}, $1/mge;
    $text =~ s/("recipients": \[)(.*)\]/my ($k, $v) = ($1, $2); $k . join(', ', sort $v =~ m{\{.*?\}}g) . ']'/ge;
    return $1 . join "\n", sort split /\n\n/, $text if $text =~ s/^(--.*\n)//;
    $text =~ s/"orig_address": "(?:[^"\\]|\\.)*", //g;     # newer than the Postfix we compare with
    return $text =~ /^\{/ ? join '', sort split /^/, $text : $text;
}

my @mails = (
    ['plain', '-f', 'a@b.test', 'x@else.test'],
    ['several', '-f', 'a@b.test', 'x@else.test', 'y@else.test', 'z@other.test'],
    ['null sender', '-f', '<>', 'x@else.test'],
    ['odd names', '-f', '"a b"@b.test', '"x y"@else.test', '"q\\"r"@else.test', "ma\xc3\xbc\@else.test"],
    ['held', '-f', 'held@b.test', 'x@else.test'],
    ['expired', '-f', 'expired@b.test', 'x@else.test'],
);
my %said;
for my $who (sort keys %side) {
    my $s = $side{$who};
    is(shape($s->{run}->('postqueue', '-p')), "Mail queue is empty\n", "$who: an empty queue");
    is($s->{run}->('postqueue', '-j'), '', "$who: nothing as JSON");
    $s->{send}->("Subject: $_->[0]\n\nx\n", @{$_}[1 .. $#$_]) for @mails;
    my $n = 0;
    Posthorn::wait_for(sub { my $text = $s->{run}->('postqueue', '-j'); $n = () = $text =~ /"queue_name": "deferred".*"delay_reason"/g; $n == @mails });
    is($n, scalar @mails, "$who: all are deferred") or diag $s->{run}->('postqueue', '-p');
    my %id = map { /"queue_id": "(\w+)".*"sender": "(\w+)\@/ ? ($2 => $1) : () } split /\n/, $s->{run}->('postqueue', '-j');
    $s->{run}->('postsuper', '-h', $id{held}, '-h', $id{expired}, '-e', $id{expired});
    $said{$who} = { map { my @a = @$_; ("@a" => shape($s->{run}->(@a)) . 'status ' . ($? >> 8)) }
        ['postqueue', '-p'], ['postqueue', '-j'], ['postqueue'], ['postqueue', '-p', '-f'], ['postqueue', '-x'], ['postqueue', '-p', 'x'],
        ['postqueue', '-i'], ['postqueue', '-i', 'a/b'], ['postqueue', '-i', 'NOSUCHID'], ['postqueue', '-i', $id{held}], ['postqueue', '-s', 'no site'], ['postqueue', '-s', '[1.2.3]'],
        ['postqueue', '-s', 'else.test'], ['postqueue', '-s', '[127.0.0.1]'] };
}
for my $c (sort keys %{ $said{ours} }) {
    next if $c =~ /^postqueue -i \w{12,}/;
    SKIP: {
        skip 'no Postfix to compare with', 1 unless $peer;
        my ($ours, $theirs) = ($said{ours}{$c}, $said{theirs}{$c});
        $theirs =~ s/^postqueue: (?:name_mask|inet_addr).*\n//mg;      # what -v says
        is($ours, $theirs, "the same as Postfix: $c");
    }
}
my $list = $ph->cmd('postqueue', '-p');
is($ph->run($ph->sbin('sendmail'), '-C', $ph->dir, '-bp'), $list, 'sendmail -bp is the same');
{
    local $ENV{MAIL_CONFIG} = $ph->dir;
    is($ph->run("$Posthorn::inst/bin/mailq"), $list, 'and so is mailq');
}
like($list, qr/^\S+!  +\d+ .* held\@b\.test$/m, 'on hold: !');
like($list, qr/^\S+!# +\d+ .* expired\@b\.test$/m, 'expired: #');
like($list, qr/^ {58}\(deferred transport\)$/m, 'the reason ends in column 78');
like($list, qr/ MAILER-DAEMON$/m, 'the null sender');

# Which recipients -p shows reasons for, is A.6 of the listing's rules: same text once.
my ($several) = grep { /z\@other/ } split /\n\n/, $list;
is(() = $several =~ /deferred transport/g, 1, 'one reason line for recipients with the same reason');

# -i tries one, -f tries all.
my ($id) = $list =~ /^(\w+) .* a\@b\.test$/m;
my $tries = sub { my ($re) = @_; my $n = () = $ph->log =~ /$re.*status=deferred/g; $n };
my $before = $tries->($id);
is($ph->cmd('postqueue', '-i', $id), '', '-i says nothing');
ok(Posthorn::wait_for(sub { $tries->($id) > $before }), 'and the message is tried');
$before = $tries->('');
is($ph->run($ph->sbin('sendmail'), '-C', $ph->dir, '-q'), '', 'sendmail -q');
ok(Posthorn::wait_for(sub { $tries->('') >= $before + 3 }), 'tries all');

# A reader that leaves is no error; a full disk is.
is(system('/bin/sh', '-c', $ph->sbin('postqueue') . ' -c ' . $ph->dir . ' -p | :'), 0, 'a pager that was left');
like($ph->run('/bin/sh', '-c', $ph->sbin('postqueue') . ' -c ' . $ph->dir . ' -p >/dev/full'), qr/fatal: output write error/, 'output that cannot be written');
is($? >> 8, 69, 'status 69');

# Who may.  mail_owner and root always.
SKIP: {
    skip 'only root can become somebody else', 13 if $<;
    chmod 0755, "$ph->{tmp}";
    my @as = ('/usr/bin/setpriv', '--reuid', 'games', '--regid', 'games', '--clear-groups', $ph->sbin('postqueue'), '-c', $ph->dir);
    my $cf = Posthorn::slurp($ph->dir . '/main.cf');
    my $games = getpwnam 'games';
    for my $case (['authorized_mailq_users', 'root', '-p', 'view'], ['authorized_mailq_users', '!games, static:all', '-j', 'view'],
                  ['authorized_flush_users', '', '-f', 'flush'], ['authorized_flush_users', 'nobody', '-i', 'flush', 'ABC'], ['authorized_flush_users', 'root', '-s', 'flush', 'else.test']) {
        my ($name, $value, $option, $word, @arg) = @$case;
        Posthorn::spew($ph->dir . '/main.cf', "$cf$name = $value\n");
        is($ph->run(@as, $option, @arg), "postqueue: fatal: User games($games) is not allowed to $word the mail queue\n", "$name = $value: $option");
        is($? >> 8, 69, 'status 69');
    }
    Posthorn::spew($ph->dir . '/main.cf', "${cf}authorized_mailq_users = hash:/x\n");
    like($ph->run(@as, '-p'), qr/fatal: authorized_mailq_users: hash:.*loads no table plugins/, 'a table it cannot use');
    Posthorn::spew($ph->dir . '/main.cf', "${cf}authorized_mailq_users = games\n");
    is($ph->run('/usr/bin/setpriv', '--reuid', 4242, '--regid', 4242, '--clear-groups', $ph->sbin('postqueue'), '-c', $ph->dir, '-p'),
        "postqueue: fatal: User unknown(4242) is not allowed to view the mail queue\n", 'a user without a login name');
    unlike($ph->run(@as, '-p'), qr/not allowed/, 'listed: allowed');
    Posthorn::spew($ph->dir . '/main.cf', $cf);
}

# Down.
$ph->stop;
for my $case (['-f', 'Cannot flush mail queue - mail system is down'], ['-i ABC', 'Cannot flush mail queue - mail system is down'], ['-s else.test', 'Flush service is not configured for destination "else.test"']) {
    is($ph->cmd('postqueue', split / /, $case->[0]), "postqueue: fatal: $case->[1]\n", "down: $case->[0]");
    is($? >> 8, 69, 'status 69');
}
SKIP: {
    skip 'an ordinary user', 3 if $<;
    my $direct = $ph->cmd('postqueue', '-p');
    like($direct, qr/^postqueue: warning: Mail system is down -- accessing queue directly$/m, 'root looks at the queue itself');
    is(() = $direct =~ /^\S{12,}/mg, scalar(@mails), 'and sees all');
    is($ph->run('/usr/bin/setpriv', '--reuid', 'games', '--regid', 'games', '--clear-groups', $ph->sbin('postqueue'), '-c', $ph->dir, '-p') =~ /fatal: (?:Queue report unavailable - mail system is down|connect to .*Permission denied)$/m, 1,
        'others are told');
}
if ($<) {
    is($ph->cmd('postqueue', '-p'), "postqueue: fatal: Queue report unavailable - mail system is down\n", 'users are told');
}
done_testing();
