# postconf, against a configuration of its own: no running system.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use File::Temp ();
use Posthorn;
use Test::More;

my $dir = File::Temp->newdir('posthorn-postconf-XXXXXX', TMPDIR => 1);
my $self = bless { tmp => "$dir" }, 'Posthorn';
delete $ENV{MAIL_CONFIG};

Posthorn::spew("$dir/main.cf", <<'CF');
# a comment
myhostname = a.example.org
mydestination = $myhostname,
   # in between
   localhost.$mydomain, localhost
mydestinatoin = x
foo = bar
home = $foo
relay_domains = $home
empty =
mynetworks = $empty 127.0.0.0/8
CF
Posthorn::spew("$dir/master.yaml", <<'YAML');
format: 1
services:
  - {name: smtp, plugin: smtpd, listen: "inet::25"}
  - {name: qmgr, builtin: qmgr, listen: unix, private: no, processes: 1, wakeup: 300s}
  - {name: foo, plugin: other, listen: unix, unprivileged: n, chroot: n, sessions: unlimited,
     settings: {always_bcc: bar, a: $process_name, b: $service_name}}
  - {name: off, plugin: other, listen: unix, enabled: false}
YAML

# Standard output alone; what was said on stderr is in $said.
my $said;
sub postconf {
    my @args = @_;
    my $out = $self->run('/bin/sh', '-c', 'exec "$@" 2>"$0"', "$dir/stderr", Posthorn->sbin('postconf'), '-c', "$dir", @args);
    $said = Posthorn::slurp("$dir/stderr");
    return $out;
}

is(postconf('myhostname'), "myhostname = a.example.org\n", 'one parameter');
is(postconf('-h', 'myhostname', 'empty'), "a.example.org\n\n", '-h');
is(postconf('-H', 'myhostname'), "myhostname\n", '-H');
is(postconf('mydestination'), "mydestination = \$myhostname, localhost.\$mydomain, localhost\n", 'white space becomes one blank');
is(postconf('-x', 'mydestination'), "mydestination = a.example.org, localhost.example.org, localhost\n", '-x');
is(postconf('empty'), "empty =\n", 'an empty value has no trailing blank');
is(postconf('-o', 'myhostname=b.example.net', '-x', 'mydomain'), "mydomain = example.net\n", '-o');
is(postconf('nosuch'), '', 'an unknown name prints nothing');
is($?, 0, 'and is no failure');
like($said, qr/^postconf: warning: nosuch: unknown parameter$/m, 'but said');
like($said, qr/unused parameter: mydestinatoin=x \(did you mean mydestination\?\)/, 'a misspelling is said');

postconf('-o', 'own=1', 'own');
like($said, qr/^postconf: warning: own: unknown parameter$/m, 'a name that is set and not used is unknown, too');
postconf('-o', 'smtpd_use_tls=yes', '-n');
unlike($said, qr/smtpd_use_tls/, 'what main.cf does not say is not warned about');
Posthorn::spew("$dir/main.cf.keep", my $keep = Posthorn::slurp("$dir/main.cf"));
Posthorn::spew("$dir/main.cf", "smtpd_use_tls = yes\npostscreen_greet_action = drop\nsmtpd_tls_security_level = may\nprocess_name = x\nmyhostname = \$nosuch\$nosuch\nsmtpd_banner = \${x?{\$other}}\t!\nfoo = \t!\n");
postconf('-n');
like($said, qr{^postconf: warning: \Q$dir\E/main.cf: support for parameter "smtpd_use_tls" will be removed; instead, specify "smtpd_tls_security_level"$}m, 'a name that goes away');
like($said, qr{^postconf: warning: \Q$dir\E/main.cf: parameter is not implemented yet, so it has no effect: smtpd_tls_security_level=may$}m, 'also of one that a name that goes away points to');
like($said, qr{^postconf: warning: \Q$dir\E/main.cf: parameter is not implemented yet, so it has no effect: postscreen_greet_action=drop$}m, 'a parameter of what is not there yet');
like($said, qr{^postconf: warning: \Q$dir\E/main.cf: read-only parameter assignment: process_name=x$}m, 'what cannot be set');
is(join(' ', $said =~ /undefined parameter: (\S+)/g), 'nosuch x other', 'what nothing defines, once each, also where it is not chosen');
like($said, qr{^postconf: warning: \Q$dir\E/main.cf: unused parameter: foo=!$}m, 'a value stands alone');
Posthorn::spew("$dir/main.cf", "smtpd_banner = \$ 5\n");
postconf('-h', 'myhostname');
is($? >> 8, 1, 'a value that cannot be expanded fails, as in Postfix, whatever is asked for');
Posthorn::spew("$dir/main.cf", $keep);

is(postconf('-n', '-q'), <<"OUT", '-n: what is set, sorted');
config_directory = $dir
empty =
foo = bar
home = \$foo
mydestination = \$myhostname, localhost.\$mydomain, localhost
myhostname = a.example.org
mynetworks = \$empty 127.0.0.0/8
relay_domains = \$home
OUT
my @all = split /\n/, postconf('-q');
ok(@all > 900, 'all parameters');
is_deeply([map { /^([^ ]+)/ } @all], [sort map { /^([^ ]+)/ } @all], 'in byte order');
ok(!grep(/^mydestinatoin/, @all), 'without the unused');
ok(!grep(/^virtual_maps/, @all), 'nor a former name');
is(postconf('-q', 'virtual_maps', 'fallback_relay'), "virtual_maps =\nfallback_relay =\n", 'which has no default');
is(postconf('-dx', 'postscreen_dnsbl_max_ttl', 'smtpd_authorized_verp_clients'), "postscreen_dnsbl_max_ttl = 1h\nsmtpd_authorized_verp_clients =\n", 'so that its successor has its own');
is(postconf('-o', 'fallback_relay=x', '-xq', 'smtp_fallback_relay'), "smtp_fallback_relay = x\n", 'and follows it where it is set');
like(postconf('-d', 'mail_version'), qr/^mail_version = \d/, '-d mail_version');
is(postconf('-d', 'myorigin'), "myorigin = \$myhostname\n", '-d ignores main.cf');
is(postconf('-C', 'user', '-q'), "empty =\nfoo = bar\nhome = \$foo\n", '-C user');
is(postconf('-j', 'foo'), qq({"foo": "bar"}\n), '-j');

is(postconf('-nq', 'config_directory', 'myorigin'), "config_directory = $dir\n", '-n config_directory, which -c chose');
my $long = 'n' x 79;
is(postconf('-fq', '-o', "$long=1", '-o', "x=\$$long", $long), "$long\n    = 1\n", 'a name as long as a line');
is(postconf('-d', 'config_directory') =~ s/ = (?!\Q$dir\E)\/.*//r, "config_directory\n", '-d config_directory is the built-in one');
Posthorn::spew("$dir/users.cf", "hosts = a\nbogus = 3\n");
postconf('-o', "virtual_alias_maps=proxy:mysql:$dir/users.cf", '-n');
like($said, qr{^postconf: warning: mysql:\Q$dir\E/users.cf: unused parameter: bogus=3$}m, 'what a table does not know');
Posthorn::spew("$dir/users.cf", "hosts = a\nbogus\n");
postconf('-o', "virtual_alias_maps=mysql:$dir/users.cf", '-n');
like($said, qr{^postconf: fatal: \Q$dir\E/users.cf, line 2: missing '=' after attribute name: "bogus"$}m, 'a file of a table that cannot be read');
postconf('-o', 'process_name=1', '-o', 'mine=2', '-M');
like($said, qr{^postconf: warning: \Q$dir\E/main.cf: read-only parameter assignment: process_name=1$}m, 'an option that cannot be set');
postconf('-o', '{ myorigin = x }', '-n');
like($said, qr/^postconf: fatal: invalid parameter override: \{ myorigin = x \}: missing '=' after attribute name$/m, 'an option has no braces');
is(postconf('-M'), <<'OUT', '-M');
smtp       inet  n       -       -       -       -       smtpd
qmgr       unix  n       -       -       300     1       qmgr
foo        unix  -       n       n       -       0       other -o always_bcc=bar -o a=$process_name -o b=$service_name
OUT
is(postconf('-Mf', 'foo/unix'), <<'OUT', '-Mf');
foo        unix  -       n       n       -       0       other
    -o always_bcc=bar
    -o a=$process_name
    -o b=$service_name
OUT
is(postconf('-P', 'foo/unix/always_bcc'), "foo/unix/always_bcc = bar\n", '-P');
is(postconf('-x', '-P', 'foo'), "foo/unix/a = other\nfoo/unix/always_bcc = bar\nfoo/unix/b = foo\n", '-xP');
is(postconf('-F', 'qmgr/unix/wakeup'), "qmgr/unix/wakeup = 300\n", '-F');
is(postconf('-Mj', 'smtp'), qq({"smtp/inet": "smtp inet n - - - - smtpd"}\n), '-Mj');
postconf('-M', 'nosuch');
like($said, qr/unmatched request: "nosuch"/, 'an unmatched service');

Posthorn::spew("$dir/templates", "delay_template = <<EOF\nSubject: slow\n\nfor \$maximal_queue_lifetime_days days\nEOF\n");
like(postconf('-t'), qr/\Afailure_template = <<EOF\nCharset: us-ascii\nFrom: Mail Delivery System <MAILER-DAEMON>\nSubject: Undelivered Mail Returned to Sender\nPostmaster-Subject: Postmaster Copy: Undelivered Mail\n\n.*\nEOF\n\ndelay_template = /s, '-t: templates of notices');
like(postconf('-b'), qr/\Aexpanded_failure_text = <<EOF\nThe mail system at host (?!\$)\S+ reports:\n.*^expanded_delay_text = <<EOF\n.*^expanded_success_text.*^expanded_verify_text.*^EOF\n\z/ms, '-b: with their values');
like(postconf('-b', "$dir/templates"), qr/^expanded_delay_text = <<EOF\nfor 5 days\nEOF$/m, '-b FILE');
is(postconf('-t', ''), postconf('-t'), '-t "": the built-in ones');
postconf('-b', "$dir/nosuch");
like($said, qr/^postconf: fatal: open \S+nosuch: No such file or directory$/m, '-b with a file that is not there');

postconf('-hH', 'foo');
isnt($?, 0, '-h with -H fails');
like($said, qr/^postconf: fatal: specify one of -h -H$/m, 'and says why');
like(postconf('-m'), qr/^hash\n(?:.*\n)*proxy\n(?:.*\n)*static\n/m, '-m: table types, sorted');
is(postconf('-l'), "flock\nfcntl\ndotlock\n", '-l');
is(postconf('-T', 'run-version'), '', '-T: nothing without TLS');
postconf('-T', 'x');
is($? >> 8, 1, '-T with another word fails');
Posthorn::spew("$dir/main.cf", "a = 1\nbroken\n");
postconf('a');
like($said, qr{^postconf: fatal: \Q$dir\E/main.cf, line 2: missing '='}m, 'a syntax error and its place');
done_testing;
