#!/usr/bin/perl
# The same failures given to Debian's Postfix and to us: the same structure, the
# same fields and values, the same words about each recipient.  Left out of the
# comparison: names of products and hosts, ids, dates, the words of templates.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;
use PeerPostfix;
use Notice;

my $why = PeerPostfix->missing;
plan skip_all => $why if $why;

my %rcpt = (rcpt => sub {
    $_[1] =~ /^bad/ ? "550 5.1.1 <$_[1]>: no such user here, this is a rather long reply that is folded somewhere"
        : $_[1] =~ /^utf/ ? "550 5.1.1 kein Empf\xc3\xa4nger" : $_[1] =~ /^tmp/ ? '450 4.2.1 try later' : "250 2.1.5 <$_[1]> ok" });
my $sink = Posthorn::Sink->new(%rcpt, ehlo => "250-sink.test\r\n250-PIPELINING\r\n250-SMTPUTF8\r\n250 8BITMIME");
my $dsn = Posthorn::Sink->new(%rcpt, ehlo => "250-sink.test\r\n250-DSN\r\n250 8BITMIME");
my $collect = Posthorn::Sink->new(ehlo => "250-sink.test\r\n250-PIPELINING\r\n250-SMTPUTF8\r\n250 8BITMIME");
my $dead = Posthorn::free_port();
my $tmp = File::Temp->newdir('notices-XXXXXX', TMPDIR => 1);
chmod 0755, "$tmp";
Posthorn::spew("$tmp/transport", map { "$_\n" } 'no.test smtp:[127.0.0.1]:' . $sink->port, "dead.test smtp:[127.0.0.1]:$dead", 'dsn.test smtp:[127.0.0.1]:' . $dsn->port,
    'disc.test discard:gone', 'err.test error:5.1.2 no such place', 'inside.test virtual',
    'later.test retry:4.3.2 not before noon');
Posthorn::spew("$tmp/aliases", "one\@al.test pf\@no.test\n", "far\@al.test one\@al.test\n");
Posthorn::spew("$tmp/moved", "moved\@no.test new\@there.test\n\@gone.test the whole domain\n");
Posthorn::spew("$tmp/boxes", "box\@inside.test box/\n");
my %set = (relayhost => '[127.0.0.1]:' . $collect->port, transport_maps => "texthash:$tmp/transport", delay_warning_time => '1s', minimal_backoff_time => '1s',
    maximal_backoff_time => '1s', queue_run_delay => '1s', notify_classes => 'bounce, 2bounce, delay', bounce_notice_recipient => 'bpm@pm.test',
    '2bounce_notice_recipient' => 'dpm@pm.test', delay_notice_recipient => 'wpm@pm.test', bounce_size_limit => 3000, smtputf8_enable => 'yes',
    virtual_mailbox_domains => 'inside.test', virtual_mailbox_maps => "texthash:$tmp/boxes",
    virtual_alias_domains => 'al.test', virtual_alias_maps => "texthash:$tmp/aliases", relocated_maps => "texthash:$tmp/moved");
my $ph = Posthorn->new(%set, myhostname => 'ours.test')->start;
my ($uid, $gid) = (getpwnam 'news')[2, 3];
my $peer = PeerPostfix->new(%set, command_directory => "$tmp/bin", virtual_uid_maps => "static:$uid", virtual_gid_maps => "static:$gid", virtual_minimum_uid => 1);
mkdir $peer->dir . '/box';
chown $uid, $gid, $peer->dir . '/box';
$peer->reconfigure(virtual_mailbox_base => $peer->dir, enable_long_queue_ids => 'yes')->start;
# sendmail of the peer looks for its postdrop by path, and gives it no library path.
mkdir "$tmp/bin";
Posthorn::spew("$tmp/bin/postdrop", "#!/bin/sh\nLD_LIBRARY_PATH=$peer->{lib} exec $peer->{root}/usr/sbin/postdrop \"\$@\"\n");
chmod 0755, "$tmp/bin/postdrop";

# What can be compared of a notice.
sub shape {
    my ($n, $host) = @_;
    my @out = (join(' ', $n->header_names), map { "$_: " . ($n->header($_) // '-') } qw(From Subject To Auto-Submitted References Content-Transfer-Encoding));
    push @out, $n->type, map { join '|', map { $_ // '-' } @{$_}{qw(type description charset encoding)} } @{ $n->{parts} };
    for my $block (@{ $n->{parts}[1]{blocks} }) { push @out, '--', map { "$_->[0]: $_->[1]" } @$block }
    push @out, '--', grep { /\S/ } split /\n/, $n->words =~ /^(<.*)/ms ? $1 : '';
    push @out, '--', $n->part(2)->{text} =~ /(Return-Path: [^\n]*)/, $n->source =~ /the body/ ? 'body' : 'no body';
    my $text = join "\n", @out;
    $text =~ s/X-(Postfix|Posthorn)/X-NAME/g;
    $text =~ s/^(X-NAME-Queue-ID): \S+/$1: ID/mg;
    $text =~ s/\b\w{3}, +\d+ \w{3} \d{4} [\d:]+ [-+]\d{4} \(\w+\)/DATE/g;
    $text =~ s/\Q$host\E/HOST/g;
    $text =~ s/(bad address syntax) \([^)]*\)/$1/g;      # ours says what is wrong with it
    return $text;
}

my %taken;
# The notices that answer a submission from $sender, by Subject; each side's.
sub collected {
    my ($re, $n) = @_;
    my @got;
    Posthorn::wait_for(sub {
        @got = grep { !$taken{$_} && Posthorn::slurp($_) =~ $re } sort glob "$collect->{dir}/*.msg";
        @got >= $n;
    }, 30);
    @taken{@got} = (1) x @got;
    return map { Posthorn::slurp($_) =~ s/\A[^\n]*\n[^\n]*\n//r =~ s/\r//gr } @got;
}

sub compare {
    my ($what, $re, $n) = @_;
    my (%ours, %theirs);
    for my $text (collected($re, 2 * $n)) {
        my $is_ours = $text =~ /by ours\.test/;
        my $notice = Notice->new($ph, $text);
        ($is_ours ? \%ours : \%theirs)->{ $notice->header('Subject') . ' to ' . $notice->header('To') } = shape($notice, $is_ours ? 'ours.test' : 'peer.test');
    }
    is_deeply([sort keys %ours], [sort keys %theirs], "$what: the same notices") or diag $ph->log;
    for my $k (sort keys %theirs) { is($ours{$k}, $theirs{$k}, "$what: $k") }
    return;
}

# One message to both.  Ours goes in by postdrop, theirs by SMTP: the envelope is the same.
sub both {
    my ($sender, $rcpt, %o) = @_;
    my $content = "Subject: s\nMessage-ID: <m\@x>\nFrom: a\@b.test\nTo: c\@d.test\nDate: Thu, 26 Nov 2026 00:00:00 +0000\n" . ($o{header} // '') . "\nthe body\n" . ($o{body} // '');
    my $text = join '', "posthorn-maildrop 1\nsender $sender\n", $o{envid} ? "envelope_id $o{envid}\n" : '', $o{ret} ? "ret $o{ret}\n" : '', $o{utf8} ? "smtputf8 1\n" : '',
        map({ "rcpt $_->[0]\n" . ($_->[1] ? "notify $_->[1]\n" : '') . ($_->[2] ? "orcpt $_->[2]\n" : '') } @$rcpt), "\n", "data " . length($content) . "\n$content" . "end\n";
    my $said = $ph->run_in($text, $ph->sbin('postdrop'), '-r', '-c', $ph->dir);
    like($said, qr/^ok /, "$o{name}: submitted to us") or diag $said;
    my $c = Posthorn::Client->new(port => $peer->port);
    $c->ask('EHLO client.test');
    my @r = $c->ask("MAIL FROM:<$sender>" . ($o{envid} ? ' ENVID=' . ($o{envid} =~ s/ /+20/gr) : '') . ($o{ret} ? " RET=$o{ret}" : '') . ($o{utf8} ? ' SMTPUTF8' : ''));
    @r = $c->ask("RCPT TO:<$_->[0]>" . ($_->[1] ? " NOTIFY=$_->[1]" : '') . ($_->[2] ? ' ORCPT=' . ($_->[2] =~ s/\+/+2B/gr) : '')) for @$rcpt;
    $c->ask('DATA');
    $c->put($content =~ s/\n/\r\n/gr . ".\r\n");
    @r = $c->reply;
    is($r[0], 250, "$o{name}: submitted to Postfix") or diag $r[1];
    $c->quit;
    return;
}

both('a@from.test', [['bad@no.test', '', 'rfc822;first+x@else.test'], ['fine@no.test']], name => 'failure', envid => 'my id');
compare('failure', qr/X-P\w+-Sender: rfc822; a\@from/, 2);
both('a3@from.test', [['bad@no.test']], name => 'RET', ret => 'HDRS');
compare('RET=HDRS', qr/X-P\w+-Sender: rfc822; a3\@from/, 2);
both('big@from.test', [['bad@no.test']], name => 'large', body => join('', ("x" x 70 . "\n") x 60));
compare('large', qr/X-P\w+-Sender: rfc822; big\@from/, 2);
both('w@from.test', [['bad1@no.test', 'NEVER'], ['bad2@no.test', 'DELAY'], ['bad3@no.test', 'FAILURE']], name => 'NOTIFY');
compare('NOTIFY', qr/X-P\w+-Sender: rfc822; w\@from/, 2);
both('', [['bad@no.test']], name => 'null sender');
compare('null sender', qr/X-P\w+-Sender: rfc822; MAILER-DAEMON/, 1);
both('utf8@from.test', [['bad@no.test'], ], name => 'SMTPUTF8', utf8 => 1, header => "X-U: \xc3\xa4\n");
compare('SMTPUTF8', qr/X-P\w+-Sender: rfc822; utf8\@from/, 2);
both('ok@from.test', [['yes@no.test', 'SUCCESS'], ['yes@dsn.test', 'SUCCESS']], name => 'success', envid => 'e2');
compare('success', qr/X-P\w+-Sender: rfc822; ok\@from/, 1);
both('ok2@from.test', [['box@inside.test', 'SUCCESS,FAILURE']], name => 'success in a mailbox');
compare('success in a mailbox', qr/X-P\w+-Sender: rfc822; ok2\@from/, 1);
both('ok3@from.test', [['d@disc.test', 'SUCCESS']], name => 'success, discarded');
compare('success, discarded', qr/X-P\w+-Sender: rfc822; ok3\@from/, 1);
both('slow@from.test', [['tmp@no.test']], name => 'delay');
compare('delay', qr/X-P\w+-Sender: rfc822; slow\@from/, 2);
both('slow2@from.test', [['q@dead.test', 'DELAY']], name => 'delay, no remote');
compare('delay, no remote', qr/X-P\w+-Sender: rfc822; slow2\@from/, 2);
for my $id (map { $_->{queue_id} } $ph->queued) { $ph->cmd('postsuper', '-d', $id) }

# sendmail -bv and -v.
sub sendmail_both {
    my (@args) = @_;
    $ph->sendmail("Subject: s\n\nthe body\n", @args);
    my $file = "$tmp/stdin";
    Posthorn::spew($file, "Subject: s\n\nthe body\n");
    open my $save, '<&', \*STDIN;
    open STDIN, '<', $file or die;
    Posthorn::run({ keep_stdin => 1 }, '/usr/bin/env', $peer->env, "$peer->{root}/usr/sbin/sendmail", @args);
    open STDIN, '<&', $save;
    return;
}
for my $case (['pf@no.test'], ['bad@no.test'], ['tmp@no.test'], ['q2@dead.test'], ['box@inside.test'], ['nobody@inside.test'], ['d@disc.test'], ['e@err.test'],
    ['one@al.test'], ['far@al.test'], ['none@al.test'], ['moved@no.test'], ['any@gone.test'], ['r@later.test'], ['u@1.2.3.4'], ['u%no.test@al.test']) {
    my $name = $case->[0] =~ tr/@%/--/r;
    sendmail_both('-bv', '-f', "v$name\@from.test", @$case);
    compare("sendmail -bv @$case", qr/X-P\w+-Sender: rfc822; v\Q$name\E\@from/, 1);
}
for my $case (['u@inside.test'], ['e@err.test']) {
    my $name = $case->[0] =~ tr/@/-/r;
    sendmail_both('-f', "s$name\@from.test", @$case);
    compare("no remote server, @$case", qr/X-P\w+-Sender: rfc822; s\Q$name\E\@from/, 2);
}
sendmail_both('-v', '-f', 'verbose@from.test', 'bad@no.test');
compare('sendmail -v', qr/X-P\w+-Sender: rfc822; verbose\@from/, 3);
done_testing();
