#!/usr/bin/perl
# local(8) beside Debian's Postfix: the same accounts, aliases, .forward files
# and messages; what both say in their logs of each recipient, and what they
# write into mailboxes, is the same.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;
use Accounts;
use PeerPostfix;

plan skip_all => Accounts->missing if Accounts->missing;
plan skip_all => PeerPostfix->missing if PeerPostfix->missing;

my $who = Accounts->new;
my ($tmp, $out) = ($who->dir, $who->dir . '/out');
my ($joe, $joe_uid) = $who->add('joe');
my ($ann, $ann_uid) = $who->add('ann');
my ($kim, $kim_uid) = $who->add('kim');
my ($low, $low_uid) = $who->add('low');
my @spools = map { mkdir "$tmp/spool/$_"; chown 0, scalar getgrnam('mail'), "$tmp/spool/$_"; chmod 02775, "$tmp/spool/$_"; "$tmp/spool/$_" } 0, 1;

$who->put("$tmp/list", 0, 0644, "# members\n$kim\nout\@elsewhere.test\n");
$who->put("$tmp/filter", 0, 0644, "/^5\\.1\\.1 unknown user: .nobody/ 4.1.1 not yet\n");
$who->put("$tmp/open", 0, 0666, "$kim\n");
$who->put("$tmp/anns", $ann_uid, 0644, "$kim, |/bin/true\n");
$who->put("$tmp/again", 0, 0644, "\\$kim\n$kim\n");
symlink "$tmp/list", "$tmp/link";
$who->put("$tmp/aliases", 0, 0644, <<"A");
two: $joe, $ann
words: $joe $ann
angles: Joe <$joe> Ann <$ann>
semicolon: $joe; $ann
after: <$joe> $ann (c)
again: :include:$tmp/again
ownedbox: \\$kim
owner-ownedbox: $ann
mixed: $joe, out\@elsewhere.test, "|/bin/true"
self: self, $joe
$joe: $joe, $ann
loop: loop2
loop2: loop
empty: :include:$tmp/none
list: :include:$tmp/list
open: :include:$tmp/open
linked: :include:$tmp/link
anns: :include:$tmp/anns
owned: :include:$tmp/list
owner-owned: $ann
file: /dev/null
newfile: $out/newfile
full: /dev/full
dir: $out
nofile: /nowhere/file
ex67: "|exit 67"
ex75: "|echo later; exit 75"
ex1: "|echo a; echo b >&2; exit 1"
code: "|echo 4.2.9 try again; exit 99"
missing: "|/no/such/command"
signal: "|kill -9 \$\$"
quoted: "|echo 'a b' \\"c\\" >$out/quoted"
mailbox: \\$ann
dup: $ann, $ann\@local.test, \\$ann
at: /tmp/x\@local.test
dsn: $ann, out\@elsewhere.test
A

my %cf = (myhostname => 'mx.local.test', mydestination => 'local.test', myorigin => 'local.test', recipient_delimiter => '+',
    alias_maps => "hash:$tmp/aliases", default_privs => $low, deliver_lock_attempts => 1, default_transport => 'discard:', local_recipient_maps => '',
    forward_path => "$tmp/home/\$user/.forward\${recipient_delimiter}\${extension}, $tmp/home/\$user/.forward", smtputf8_enable => 'no');

# ---- both sides ----

my $ph = Posthorn->new(%cf, mail_spool_directory => $spools[0]);
is($ph->cmd('postalias', "hash:$tmp/aliases"), '', 'postalias');
my $peer = PeerPostfix->new(%cf, mail_spool_directory => $spools[1]);
Posthorn::spew($peer->dir . '/conf/master.cf', Posthorn::slurp($peer->dir . '/conf/master.cf') . "local unix - n n - - local\n");
$_->start for $ph, $peer;

# What a side said of a message: lines without times and ids.
sub told {
    my ($side, $to, %o) = @_;
    my $c = Posthorn::Client->new(port => $side->port) or die;
    my ($code, $text) = $c->send(from => $o{from} // 'from@elsewhere.test', to => "$to\@local.test", body => $o{body} // "Subject: x\r\n\r\nhi\r\n", mail_args => $o{args});
    my ($id) = $text =~ /queued as (\w+)/ or return "refused: $text";
    Posthorn::wait_for(sub { $side->log =~ /$id: removed|$id: (?:to=<\Q$to\E@|.*orig_to=<\Q$to\E@).*status=deferred/ }, 20) or return "no end of $id";
    my @new = ($id, $side->log =~ /$id: to=.*forwarded as (\w+)/g);
    Posthorn::wait_for(sub { my $log = $side->log; !grep { $log !~ /$_: removed|$_: to=.*status=deferred/ } @new }, 20);
    my @lines;
    for my $line (split /\n/, $side->log) {
        next unless $line =~ m{/(?:local|qmgr)\[\d+\]: (\w+): ((?:to|from)=.*)} && grep { $_ eq $1 } @new;
        my ($of, $said) = ($1 eq $id ? 'old' : 'new', $2);
        next if $said =~ /^from=.*\(queue active\)/ && $of eq 'old';
        $said =~ s/ delay=[\d.]+, delays=[\d.\/]+,//;
        $said =~ s/, size=\d+//;
        $said =~ s/forwarded as \w+/forwarded as ID/;
        $said =~ s{\Q$_\E}{SPOOL}g for @spools;
        $said =~ s/(?:local: )?fatal: (?:execvp|cannot execute) /cannot execute /;   # the words of the helper
        push @lines, "$of $said";
    }
    return join "\n", sort @lines;
}

my $cases = 0;
sub same {
    my ($to, $what, %o) = @_;
    my ($ours, $theirs) = map { told($_, $to, %o) } $ph, $peer;
    $cases++;
    is($ours, $theirs, $what);
    return;
}

same($joe, 'an alias that names itself');
same($ann, 'a user');
same("$ann+ext", 'with an extension');
same(uc $ann, 'in capitals');
same($_, "alias $_") for qw(two words angles semicolon after again ownedbox mixed self loop empty list linked anns owned file full newfile nofile ex67 ex75 ex1 code missing signal quoted mailbox dup);
same($_, "name $_") for qw(no-such-user no+such+user postmaster mailer-daemon);
same($ann, 'Delivered-To in the headers', body => "delivered-TO: \U$ann\@LOCAL.test\r\n\r\nhi\r\n");
same($ann, 'Delivered-To in the body', body => "Subject: x\r\n\r\nDelivered-To: $ann\@local.test\r\n");
for my $case (["\\$ann, out\@elsewhere.test\n", 'mailbox and address'], ["$ann\n", 'the own name'], ["$ann\@local.test\n", 'the own address'], ["$kim\n", 'another user'], ["$kim out\@elsewhere.test\n", 'words'], ["~/mbox\n", 'a file in his home'],
              ["$ann+x\n", 'the own name with an extension'], ["# none\n", 'nothing'], ["|/bin/true\n", 'a bare command'], ["\"|/bin/true\", /dev/null\n", 'command and file'],
              [":include:$tmp/list\n", 'an include'], ["out\@elsewhere.test\n", 'world-writable', 0666], ["out\@elsewhere.test\n", 'group-writable', 0664],
              ["\"|exit 77\"\n", 'a failing command'], ["one\@elsewhere.test, two\@elsewhere.test\n\n# c\nthree\@elsewhere.test\n", 'several lines']) {
    my ($text, $what, $mode) = @$case;
    $who->put("$tmp/home/$ann/.forward", $ann_uid, $mode // 0644, $text);
    same($ann, ".forward: $what");
}
unlink "$tmp/home/$ann/.forward";

# ---- what a command sees ----

$who->put("$tmp/home/$ann/.forward", $ann_uid, 0644, "\"|env | sort >$out/env; cat >$out/input\"\n");
my @seen = map {
    told($_, "$ann+Ext~a", from => 'Some.One~x@elsewhere.test');
    my @env = grep { !/^(?:PATH|PWD|LANG|MAIL_CONFIG|SHLVL|_|OLDPWD|TZ)=/ } split /\n/, Posthorn::slurp("$out/env");
    my $input = record("$out/input");
    unlink "$out/env", "$out/input";
    join("\n", @env, $input);
} $ph, $peer;
like($seen[0], qr/^EXTENSION=ext_a$/m, 'a command has an environment');
is($seen[0], $seen[1], 'environment and input of a command');
unlink "$tmp/home/$ann/.forward";

# ---- mailboxes, byte for byte but for ids and times ----

sub record {
    my ($file) = @_;
    my $text = Posthorn::slurp($file);
    $text =~ s/^(From \S+  ).*$/$1TIME/mg;
    $text =~ s/^(Received: .*)\n((?:[ \t].*\n)*)/Received\n/mg;
    $text =~ s/^(Message-Id: |Date: ).*$/$1/mgi;
    return $text;
}
is(record("$spools[0]/$_"), record("$spools[1]/$_"), "the mailbox of $_") for $joe, $ann, $kim;

# ---- parameters: several at once, where they do not meet ----

sub again {
    my (%set) = @_;
    $_->stop for $ph, $peer;
    $ph->set(%set);
    $peer->reconfigure(%set);
    $_->start for $ph, $peer;
    return;
}

again(home_mailbox => 'Maildir/', luser_relay => "$kim+\$local", expand_owner_alias => 'yes', propagate_unmatched_extensions => 'alias, forward, include',
    prepend_delivered_header => 'file', local_command_shell => '/bin/sh -c');
same($kim, 'home_mailbox: a maildir');
same('not-here+ext', 'luser_relay');
same('owned', 'expand_owner_alias');
same("$_+more", "propagate_unmatched_extensions: $_") for qw(two mixed linked);
same('ex67', 'local_command_shell');
$who->put("$tmp/home/$ann/.forward", $ann_uid, 0644, "\\$ann, out\@elsewhere.test, \"|cat >$out/input\", $out/annsfile\n");
my @files = map { unlink "$out/annsfile"; join "\n", told($_, "$ann+ext"), record("$out/input"), record("$out/annsfile") } $ph, $peer;
is($files[0], $files[1], 'prepend_delivered_header');
unlink "$tmp/home/$ann/.forward";

again(home_mailbox => 'mail/box', luser_relay => 'nobody-at-all', mailbox_command_maps => "inline:{{$ann = exit 69}}", mailbox_transport_maps => "inline:{$kim=discard:,ghost=discard:}",
    fallback_transport_maps => 'inline:{phantom=discard:}', reset_owner_alias => 'yes', local_delivery_status_filter => "regexp:$tmp/filter");
mkdir "$tmp/home/$joe/mail" or die $!;
chown $joe_uid, -1, "$tmp/home/$joe/mail";
same($joe, 'home_mailbox in a directory, and mailbox_command_maps');
same($kim, 'mailbox_transport_maps');
same('ghost', 'mailbox_transport_maps for a name without account');
same('phantom', 'fallback_transport_maps');
same('not-here', 'luser_relay to nobody, and local_delivery_status_filter');

again(map({ $_ => '' } qw(home_mailbox luser_relay mailbox_command_maps mailbox_transport_maps fallback_transport_maps local_delivery_status_filter)),
    mailbox_command => 'cat >/dev/null; echo $LOCAL $EXTENSION $USER; exit 1', require_home_directory => 'yes', allow_mail_to_commands => 'forward', allow_mail_to_files => 'include',
    recipient_delimiter => '-', owner_request_special => 'no', mailbox_size_limit => 0);
same($ann, 'mailbox_command');
same("$ann-x", 'with another delimiter');
same("owner-$ann", 'owner_request_special = no');
same($_, "restricted: $_") for qw(ex67 newfile);
rename "$tmp/home/$kim", "$tmp/home/$kim.away";
same($kim, 'require_home_directory');
rename "$tmp/home/$kim.away", "$tmp/home/$kim";

diag "$cases cases";
$_->stop for $ph, $peer;
done_testing();
