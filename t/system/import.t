# A system that runs with the master.cf of Postfix: imported into an instance, started,
# mail through SMTP and through sendmail; what this release does not have is told and
# stops nothing.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Posthorn;
use Test::More;

my $ph = Posthorn->new;
my ($dir, $port) = ($ph->dir, $ph->port);
my $root = Posthorn::debian('postfix');
diag('Debian\'s postfix cannot be had: its services by heart') unless $root;
my $stock = $root ? Posthorn::slurp("$root/usr/share/postfix/master.cf.dist") : <<'CF';
smtp      inet  n       -       y       -       -       smtpd
pickup    unix  n       -       y       60      1       pickup
cleanup   unix  n       -       y       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       y       1000?   1       tlsmgr
rewrite   unix  -       -       y       -       -       trivial-rewrite
bounce    unix  -       -       y       -       0       bounce
defer     unix  -       -       y       -       0       bounce
trace     unix  -       -       y       -       0       bounce
verify    unix  -       -       y       -       1       verify
flush     unix  n       -       y       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
smtp      unix  -       -       y       -       -       smtp
relay     unix  -       -       y       -       -       smtp
        -o syslog_name=postfix/$service_name
showq     unix  n       -       y       -       -       showq
error     unix  -       -       y       -       -       error
retry     unix  -       -       y       -       -       error
discard   unix  -       -       y       -       -       discard
local     unix  -       n       n       -       -       local
virtual   unix  -       n       n       -       -       virtual
lmtp      unix  -       -       y       -       -       lmtp
anvil     unix  -       -       y       -       1       anvil
CF
$stock =~ s/^smtp( +inet .*)$/127.0.0.1:$port$1\n  -o syslog_name=postfix\/front -v/m or die 'no smtp';
Posthorn::spew("$dir/master.cf", $stock);
my $said = $ph->cmd('postconf', '--import-master', "$dir/master.cf");
is($?, 0, 'import') or diag $said;
like($said, qr/service tlsmgr \(tlsmgr\) is kept, but this release has no such program/, 'says what will not run');
ok(-s "$dir/master.yaml.old", 'the old file is kept');
unlike($said, qr/proxymap/, 'proxymap does');
unlike($ph->postfix('check'), qr/fatal|error/, 'check finds nothing wrong');
$ph->start;
ok($ph->wait_log(qr/service anvil is not run: this release has no program anvil/), 'so does the log');
is(($ph->smtp->send(from => 'a@b.test', to => ['by-smtp@example.test'], body => "Subject: s\r\n\r\nx\r\n"))[0], 250, 'mail by SMTP');
ok($ph->wait_mail('by-smtp', 1), 'is delivered');
like($ph->log, qr{postfix/front/smtpd\[\d+\]: connect from}, 'with the settings of its service');
$ph->sendmail("Subject: s\n\nx\n", '-f', 'a@b.test', 'by-sendmail@example.test');
is($?, 0, 'mail by sendmail');
ok($ph->wait_mail('by-sendmail', 1), 'is delivered');
$ph->sendmail("Subject: s\n\nx\n", '-f', 'sender@example.test', 'nobody@nowhere.invalid');
ok($ph->wait_mail('sender', 1), 'a notice comes back');
like($ph->cmd('postconf', '-M', "127.0.0.1:$port"), qr{^127\.0\.0\.1:$port inet +n +- +y +- +- +smtpd -o syslog_name=postfix/front -v$}, 'the line as it stood');
$ph->cmd('postconf', '-P', "127.0.0.1:$port/inet/syslog_name=postfix/other");
is($ph->postfix('reload') && $?, 0, 'an edit and a reload');
ok($ph->wait_log(qr/reload/), 'are taken');
is(($ph->smtp->send(from => 'a@b.test', to => ['again@example.test'], body => "Subject: s\r\n\r\nx\r\n"))[0], 250, 'and mail flows');
ok($ph->wait_log(qr{postfix/other/smtpd\[\d+\]: connect from}), 'with the new setting');
$ph->set(mydestinatoin => 'x', postscreen_greet_action => 'drop');
my $checked = $ph->postfix('check');
like($checked, qr/warning: \S+main\.cf: unused parameter: mydestinatoin=x \(did you mean mydestination\?\)/, 'check tells of a misspelling');
like($checked, qr/warning: \S+main\.cf: parameter is not implemented yet, so it has no effect: postscreen_greet_action=drop/, 'and of what has no effect');
like($ph->postfix('reload') . $ph->log, qr/unused parameter: mydestinatoin=x/, 'so does a reload');
done_testing;
