# make install, the stock configuration, set-permissions, check: an installation
# as root from nothing, in namespaces where it is the only one.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use PosthornRoot;
use Posthorn;
use Test::More;

my $inst = $Posthorn::inst;
my $conf = "$inst/etc/postfix";
my ($dest, $spool, $lib, $mail) = map { my $d = "$PosthornRoot::tmp/$_"; mkdir $d, 0755; $d } qw(dest spool lib mail);
chmod 01777, $mail;
my $ph = bless { dir => $conf, tmp => "$PosthornRoot::tmp", port => 25, owner => $$ }, 'Posthorn';
sub install { return system("umask 022; make -s -j2 -C '$Posthorn::build' $_[0] DESTDIR='$dest' >'$PosthornRoot::tmp/install.out' 2>&1") }

is(install('install'), 0, 'make install DESTDIR=') or diag Posthorn::slurp("$PosthornRoot::tmp/install.out");
for my $file (qw(sbin/postfix sbin/sendmail sbin/postdrop libexec/posthorn/master libexec/posthorn/worker share/posthorn/plugins.d/service_smtpd.yaml
    lib/posthorn/plugins-1/service_smtpd.so etc/postfix/main.cf etc/postfix/master.yaml etc/postfix/aliases share/posthorn/main.cf share/man/man8/qmgr.8)) {
    ok(-f "$dest$inst/$file", $file);
}
is(readlink "$dest$inst/bin/mailq", "$inst/sbin/sendmail", 'mailq is sendmail');
is(readlink "$dest$inst/lib/sendmail", "$inst/sbin/sendmail", 'and so is lib/sendmail');
Posthorn::spew("$dest$conf/main.cf", my $own = Posthorn::slurp("$dest$conf/main.cf") . "myhostname = mx.example.test\nmaillog_file = $PosthornRoot::tmp/log\nmaillog_file_prefixes = $PosthornRoot::tmp\n");
is(install('install-configuration'), 0, 'a second time');
is(Posthorn::slurp("$dest$conf/main.cf"), $own, 'keeps an edited main.cf');
system('chown', '-Rh', '0:0', "$dest$inst");

# Accounts that are missing are an error, said before anything is done.
PosthornRoot::bind_over("$dest$inst", $inst);
PosthornRoot::bind_over($spool, '/var/spool');
PosthornRoot::bind_over($lib, '/var/lib');
my $out = $ph->postfix('set-permissions');
SKIP: {
    skip 'this machine has an account postfix', 2 if getpwnam 'postfix';
    isnt($?, 0, 'without the account of mail_owner: set-permissions fails');
    like($out, qr/mail_owner: unknown user name value/, 'and says why');
}
PosthornRoot::accounts(postfix => 731, postnet => 732, 'group postdrop' => 733, alice => 2001);

# ---- set-permissions ----
$out = $ph->postfix('set-permissions');
is($?, 0, 'set-permissions') or diag $out;
like($out, qr{^\Q/var/spool/postfix/deferred: made\E$}m, 'says what it made');
like($out, qr{^\Q$inst/sbin/postdrop: owner root, group postdrop, mode 2755\E$}m, 'and what it changed');
is($ph->postfix('set-permissions'), '', 'the second time there is nothing to do');
unlike($out = $ph->postfix('check'), qr/owned|writable|mode|missing|set-gid/, 'check finds nothing') or diag $out;
is($?, 0, 'check');
my %damage = (
    'a directory others may write' => [sub { chmod 0777, '/var/spool/postfix/deferred' }, qr{group or other writable: /var/spool/postfix/deferred}],
    'a directory of another owner' => [sub { chown 2001, -1, '/var/spool/postfix/pool' }, qr{not owned by postfix: /var/spool/postfix/pool}],
    'a message of another owner' => [sub { mkdir '/var/spool/postfix/deferred/0'; Posthorn::spew('/var/spool/postfix/deferred/0/X', 'x') }, qr{not owned by postfix: /var/spool/postfix/deferred/0/X}],
    'the queue itself' => [sub { chown 731, -1, '/var/spool/postfix' }, qr{not owned by root: /var/spool/postfix$}m],
    'public for everybody' => [sub { chmod 0755, '/var/spool/postfix/public' }, qr{mode 755, not 710: /var/spool/postfix/public}],
    'the group of maildrop' => [sub { chown -1, 0, '/var/spool/postfix/maildrop' }, qr{not owned by group postdrop: /var/spool/postfix/maildrop}],
    'set-gid lost' => [sub { chmod 0755, "$inst/sbin/postdrop" }, qr{not set-gid or not owner\+group\+world executable: \Q$inst/sbin/postdrop\E}],
    'a missing directory' => [sub { rmdir '/var/spool/postfix/net' }, undef],
    'a configuration others may write' => [sub { chmod 0666, "$conf/master.yaml" }, qr{group or other writable: \Q$conf/master.yaml\E}],
);
for my $name (sort keys %damage) {
    my ($do, $re) = @{ $damage{$name} };
    $do->();
    $out = $ph->postfix('check');
    $re ? like($out, $re, "check: $name") : unlike($out, qr/missing/, "check: $name is made at once");
    $ph->postfix('set-permissions');
    is($?, 0, "repair: $name");
    unlike($out = $ph->postfix('check'), qr/owned|writable|mode|missing|set-gid/, "repaired: $name") or diag $out;
}
is(PosthornRoot::as('alice', sub { system("$inst/sbin/postfix", '-c', $conf, 'set-permissions') >> 8 }), 1, 'nobody but root repairs');

# ---- what packages of others list ----
mkdir "$conf/postfix-files.d", 0755;
Posthorn::spew("$conf/extra.cf", 'x');
Posthorn::spew('/var/spool/postfix/deferred/theirs', 'x');
Posthorn::spew("$conf/postfix-files.d/extra", <<'EOT');
# path:type:owner:group:mode:flags
$queue_directory/extra:d:$mail_owner:$setgid_group:0750:uc
$config_directory/extra.cf:f:root:$setgid_group:640:p
$config_directory/old.cf:f:root:-:644:o
/usr/bin/nothing:l:root:-:777:u
EOT
$out = $ph->postfix('set-permissions');
is($?, 0, 'postfix-files.d') or diag $out;
is(sprintf('%04o %d:%d', (stat '/var/spool/postfix/extra')[2] & 07777, (stat _)[4, 5]), '0750 731:733', 'its directory is made');
is(sprintf('%04o %d:%d', (stat "$conf/extra.cf")[2] & 07777, (stat _)[4, 5]), '0640 0:733', 'its file is given to the group');
Posthorn::spew("$conf/postfix-files.d/bad", "\$queue_directory/deferred/theirs:f:root:-:644:u\nnonsense\n/x:f:nosuch:-:644:u\n");
$out = $ph->postfix('set-permissions');
isnt($?, 0, 'what cannot be carried out fails');
like($out, qr{postfix-files\.d/bad:1: .*/deferred is not root's alone: left as it is}, 'nothing is given away in a directory of others');
like($out, qr{bad:2: not path:type:owner:group:mode:flags.*bad:3: no account "nosuch"}s, 'each line with its reason');
chmod 0666, "$conf/postfix-files.d/bad";
like($ph->postfix('set-permissions'), qr{bad: passed over: not root's, or others may write it}, 'a list that others may write is none');
unlink "$conf/postfix-files.d/bad", '/var/spool/postfix/deferred/theirs';

# ---- upgrade-configuration ----
my $yaml = Posthorn::slurp("$conf/master.yaml");
(my $old = $yaml) =~ s/^  - \{name: (?:relay|retry|discard),.*\n//mg;
$old =~ s/^  - \{name: error, /  - {name: error, enabled: false, /m;
Posthorn::spew("$conf/master.yaml", $old);
chmod 0640, "$conf/master.yaml";
rmdir '/var/spool/postfix/flush';
$out = $ph->postfix('upgrade-configuration');
is($?, 0, 'upgrade-configuration') or diag $out;
is(join(' ', $out =~ m{^Editing \Q$conf\E/master\.yaml, adding missing service (\w+)$}mg), 'relay retry discard', 'announces what it adds');
is(sprintf('%04o', (stat "$conf/master.yaml")[2] & 07777), '0640', 'the mode of the file stays');
ok(-d '/var/spool/postfix/flush', 'missing directories are made');
is($ph->postfix('upgrade-configuration'), '', 'the second time there is nothing to add');
like(Posthorn::slurp("$conf/master.yaml"), qr/name: error, enabled: false/, 'what is disabled stays so');
Posthorn::spew("$conf/master.yaml", $old . "plugins:\n  directory: /nowhere\n");
$out = $ph->postfix('upgrade-configuration');
isnt($?, 0, 'where it cannot be added');
like($out, qr/add them to the list by hand/, 'that is said');
is(Posthorn::slurp("$conf/master.yaml"), $old . "plugins:\n  directory: /nowhere\n", 'and the file is as it was');
Posthorn::spew("$conf/master.yaml", $yaml);
chmod 0644, "$conf/master.yaml";

# ---- what a less privileged account planted ----
my $victim = "$PosthornRoot::tmp/victim";
Posthorn::spew($victim, 'root only');
chmod 0600, $victim;
mkdir "$PosthornRoot::tmp/elsewhere", 0755;
Posthorn::spew("$PosthornRoot::tmp/elsewhere/file", 'x');
PosthornRoot::as('postfix', sub {
    symlink $victim, '/var/spool/postfix/deferred/link';
    symlink "$PosthornRoot::tmp/elsewhere", '/var/spool/postfix/deferred/dir';
    symlink $victim, '/var/spool/postfix/private/qmgr';
    symlink $victim, '/var/lib/postfix/master.lock';
});
Posthorn::spew("$spool/named-twice", 'root only');
link "$spool/named-twice", "$spool/postfix/deferred/hard" or die "link: $!";
$out = $ph->postfix('set-permissions');
isnt($?, 0, 'a second name of a file that is not its owner\'s is an error');
like($out, qr{deferred/hard: not repaired: the file has another name}, 'that is said');
is((stat "$spool/named-twice")[4], 0, 'and the file is as it was');
isnt(do { $ph->postfix('start'); $? }, 0, 'a link in place of master.lock: no start');
unlink '/var/lib/postfix/master.lock', '/var/spool/postfix/deferred/hard';
is(do { $out = $ph->postfix('start'); $? }, 0, 'start') or diag $out, Posthorn::slurp("$PosthornRoot::tmp/log");
$ph->{started} = 1;
$Posthorn::live{$conf} = { owner => $$, stop => sub { $ph->stop } };
is(sprintf('%04o %d', (stat $victim)[2] & 07777, (stat _)[4]), '0600 0', 'what the links pointed at is as it was');
is(Posthorn::slurp($victim), 'root only', 'its content too');
is((stat "$PosthornRoot::tmp/elsewhere/file")[4], 0, 'and nothing below another directory was given away');
ok(-S '/var/spool/postfix/private/qmgr' && !-l '/var/spool/postfix/private/qmgr', 'the socket replaced the link');

# ---- the stock configuration at work ----
my $c = Posthorn::Client->new(port => 25);
ok($c, 'it listens on port 25') or BAIL_OUT('no listener');
like($c->{last}, qr/^220 mx\.example\.test ESMTP/, 'its greeting');
is($c->ask('EHLO client.test'), 250, 'EHLO');
is($c->ask('MAIL FROM:<a@example.com>'), 250, 'MAIL');
like(join(' ', $c->ask('RCPT TO:<x@elsewhere.test>')), qr/^[45]5\d|250/, 'RCPT is answered');
$c->quit;
PosthornRoot::bind_over($mail, '/var/mail');
system('cp', "$conf/aliases", '/etc/aliases');
is(do { $out = $ph->run("$inst/bin/newaliases"); $? }, 0, 'newaliases') or diag $out;
my ($said, $rc) = PosthornRoot::run_as('alice', "Subject: to myself\n\nhello\n", "$inst/sbin/sendmail", 'alice', 'nosuchuser');
is($rc, 0, 'an ordinary user submits') or diag $said;
ok(Posthorn::wait_for(sub { Posthorn::slurp('/var/mail/alice') =~ /^Subject: to myself$/m }), 'his mail is in his mailbox')
    or diag Posthorn::slurp("$PosthornRoot::tmp/log");
is((stat '/var/mail/alice')[4], 2001, 'which is his');
ok(Posthorn::wait_for(sub { Posthorn::slurp('/var/mail/alice') =~ /^Subject: Undelivered Mail Returned to Sender$/m }), 'and so is the notice of what could not be delivered');
ok(Posthorn::wait_for(sub { $ph->cmd('postqueue', '-p') =~ /empty/ }), 'nothing is left in the queue');
($said, $rc) = PosthornRoot::run_as('alice', '', "$inst/bin/mailq");
like($said, qr/Mail queue is empty/, 'mailq of an ordinary user') or diag $said;
is(do { $out = $ph->postfix('status'); $? }, 0, 'status');
$ph->stop;
is((stat "$PosthornRoot::tmp/log")[4], 0, 'the log is root\'s');

# ---- an image that is built elsewhere ----
my $image = "$PosthornRoot::tmp/image";
mkdir $image, 0755;
system('cp', '-a', $dest, "$image/root");
$ENV{DESTDIR} = "$image/root";
$out = $ph->postfix('set-permissions');
delete $ENV{DESTDIR};
is($?, 0, 'set-permissions below DESTDIR') or diag $out;
is(sprintf('%04o %d:%d', (stat "$image/root/var/spool/postfix/maildrop")[2] & 07777, (stat _)[4, 5]), '0730 731:733', 'makes the queue there');
unlike($out, qr{^/var}m, 'and touches nothing else');
done_testing;
