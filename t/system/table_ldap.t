#!/usr/bin/perl
# ldap tables against Debian's slapd: questions, answers, groups in groups, limits,
# keys that try to be filters or names, passwords, down, killed, hung, 10,000 look-ups.
# Whatever is wrong is a failure and never "not found".
use strict;
use warnings;
use IO::Socket::INET;
use Test::More;
use lib 't/lib';
use Posthorn;
use TableRig;

plan skip_all => 'libldap was not there' unless -e "$Posthorn::build/plugins/table/ldap/.libs/table_ldap.so";
my $ph = Posthorn->new;
my $tmp = $ph->{tmp};
# libldap loses what GnuTLS had made for a context that it cannot finish (an unknown CA).
Posthorn::spew("$tmp/lsan", map { "leak:$_\n" } qw(libgnutls libtasn1 libgmp));
$ENV{LSAN_OPTIONS} = "suppressions=$tmp/lsan:print_suppressions=0";
sub cf { my ($name, @lines) = @_; Posthorn::spew("$tmp/$name.cf", map { "$_\n" } @lines); return "ldap:$tmp/$name.cf" }
sub script { return TableRig::script('ldap', 'ldap', "$tmp", $_[0]) }
sub query { my ($table, $key) = @_; my $out = $ph->cmd('postmap', '-q', $key, $table); chomp $out; return $out }

# ---- settings ----
my %bad = (
    'version = 3' => 'search_base is not set', "search_base = x\nquery_filter = %x" => 'query_filter: "%x" is none of', "search_base = %" => 'search_base: "%" is none of', "search_base = x\nscope = all" => 'scope: "all" is none of',
    "search_base = x\nversion = 4" => 'version: "4" is no number from 2', "search_base = x\nbind = maybe" => 'bind: "maybe" is neither', "search_base = x\nbind = sasl" => 'only EXTERNAL is implemented yet', "search_base = x\nversion = 3\nbind = sasl\nsasl_mechs = DIGEST-MD5" => 'sasl_mechs is "DIGEST-MD5"', "search_base = x\nbind = sasl\nsasl_mechs = EXTERNAL" => 'needs version = 3', "search_base = x\nbind_dn = cn=me" => 'bind_pw is not',
    "search_base = x\nstart_tls = yes" => 'needs version = 3', "search_base = x\nserver_host = ," => 'names no server', "search_base = x\nserver_port = 0" => 'server_port: "0"', "search_base = x\ndereference = 4" => 'dereference: "4"',
    "search_base = x\nresult_filter = %x" => 'result_filter: "%x"', "search_base = x\nrecursion_limit = 0" => 'recursion_limit: "0"',
);
my $n = 0;
my $refused = '';
for (sort keys %bad) { cf('bad' . ++$n, $_); $refused .= "refused ldap:$tmp/bad$n.cf -- $bad{$_}\n" }
is(script($refused), '', 'settings that are wrong');
my $free = Posthorn::free_port();
cf('down', "server_host = 127.0.0.1:$free", 'search_base = dc=test', 'domain = x.test, y.test');
is(script("open ldap:$tmp/down.cf\nfails a\@x.test -- Can't contact LDAP server\nnone a\@z.test\nnone bare\n"), '', 'no server');
my $silent = TableRig::inet();
cf('silent', "server_host = ldap://127.0.0.1:@{[$silent->sockport]}", 'search_base = dc=test', 'timeout = 1');
is(script("open ldap:$tmp/silent.cf\nfails a\@x.test -- Timed out\n"), '', 'a server that says nothing');
my $noise = TableRig::inet();
cf('noise', "server_host = ldap://127.0.0.1:@{[$noise->sockport]}", 'search_base = dc=test', 'timeout = 2', 'bind = no', 'version = 3');
my $noisy = TableRig::server($noise, sub { my $n = sysread $_[0], my $b, 4096; $n ? $b : undef }, sub { my ($c) = @_; print $c "HTTP/1.1 400 Bad Request\r\n\r\n" x 20; 1 });
is(script("open ldap:$tmp/noise.cf\nfails a\@x.test --\n"), '', 'one that speaks another protocol');
Posthorn::end_child($noisy);

# ---- Debian's ----
SKIP: {
    my @slapd = TableRig::program('/usr/sbin/slapd', 'slapd', "$tmp", qw(slapd libldap-2.5-0 libltdl7 libwrap0 libnsl2 libtirpc3)) or skip $TableRig::missing, 1;
    my $root = Posthorn::debian('slapd');
    my $at = Posthorn::free_port();
    my $has_tls = system("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ldap.test -addext subjectAltName=IP:127.0.0.1 -keyout '$tmp/key' -out '$tmp/cert' 2>/dev/null") == 0;
    my $secure = Posthorn::free_port();
    my $ldapi = 'ldapi://' . "$tmp/ldapi" =~ s{/}{%2F}gr;
    symlink "$tmp/slapd", "$tmp/slapadd";
    mkdir "$tmp/db";
    Posthorn::spew("$tmp/slapd.conf", (map { "include $root/etc/ldap/schema/$_.schema\n" } qw(core cosine inetorgperson)), <<"C");
@{[$has_tls ? "TLSCertificateFile $tmp/cert\nTLSCertificateKeyFile $tmp/key\nTLSCACertificateFile $tmp/cert\nTLSVerifyClient allow\n" : '']}
authz-regexp "gidNumber=.*,cn=peercred,cn=external,cn=auth" "uid=joe,ou=people,dc=test"
authz-regexp "cn=ldap.test" "uid=two,ou=people,dc=test"
modulepath $root/usr/lib/ldap
moduleload back_mdb
allow bind_v2
database mdb
maxsize 10485760
suffix "dc=test"
rootdn "cn=admin,dc=test"
rootpw secret
directory $tmp/db
index mail eq
access to dn.subtree="ou=closed,dc=test" by users read by anonymous auth
access to * by * read
C
    my $person = sub { my ($uid, $mail, @more) = @_; return join "\n", "dn: uid=$uid,ou=people,dc=test", 'objectClass: inetOrgPerson', 'objectClass: extensibleObject', "cn: $uid", "sn: $uid", "uid: $uid", "mail: $mail", @more, '', '' };
    my $group = sub { my ($cn, @more) = @_; return join "\n", "dn: cn=$cn,ou=people,dc=test", 'objectClass: groupOfNames', 'objectClass: extensibleObject', "mail: $cn\@x.test", @more, '', '' };
    my $member = sub { return map { /^cn=/ ? "member: $_,ou=people,dc=test" : "member: uid=$_,ou=people,dc=test" } @_ };
    Posthorn::spew("$tmp/ldif", "dn: dc=test\nobjectClass: organization\nobjectClass: dcObject\no: test\ndc: test\n\n", (map { "dn: ou=$_,dc=test\nobjectClass: organizationalUnit\nou: $_\n\n" } 'people', 'closed', 'x.test'),
        $person->('joe', 'joe@x.test'), $person->('two', 'two@x.test', 'uid: second'), $person->('star', 'a*(b)\c@x.test'), $person->('quote', 'o\'neil "q"@x.test'), $person->('nothing', 'nothing@x.test', 'description: d'),
        $person->('final', 'final@x.test', 'description: last word', $member->('joe')), "dn: uid=secret,ou=closed,dc=test\nobjectClass: inetOrgPerson\ncn: s\nsn: s\nuid: secret\nmail: secret\@x.test\n\n",
        "dn: uid=in,ou=x.test,dc=test\nobjectClass: inetOrgPerson\ncn: s\nsn: s\nuid: in\nmail: in\@x.test\n\n",
        $group->('staff', 'uid: staff-box', $member->('joe', 'two', 'dead', 'cn=more')), $group->('more', $member->('quote')), $group->('a', $member->('cn=b', 'joe')), $group->('b', $member->('cn=a', 'cn=b')),
        $group->('byurl', $member->('dead'), 'labeledURI: ldap:///ou=people,dc=test?uid?sub?(mail=two@x.test)'), $group->('badurl', $member->('dead'), 'labeledURI: ldap:///ou=people,dc=test?uid?wrong'));
    my $said = $ph->run(@slapd[0, 1], "$tmp/slapadd", '-f', "$tmp/slapd.conf", '-l', "$tmp/ldif");
    is($?, 0, 'slapd is filled') or diag $said;
    my $start = sub { return TableRig::start("$tmp/slapd.out", sub { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $at) }, @slapd, '-f', "$tmp/slapd.conf", '-h', "ldap://127.0.0.1:$at $ldapi" . ($has_tls ? " ldaps://127.0.0.1:$secure" : ''), '-d', 0) };
    my $pid = $start->();
    my @as = ("server_host = ldap://127.0.0.1:$at", 'search_base = dc=test', 'query_filter = mail=%s');
    cf('plain', @as, 'result_attribute = uid', 'version = 3', 'timeout = 1');
    cf('old', "server_host = 127.0.0.1", "server_port = $at", @as[1, 2], 'result_attribute = uid', 'bind = no', 'domain = x.test');
    cf('list', "server_host = ldap://127.0.0.1:$free, 127.0.0.1:$at", @as[1, 2], 'result_attribute = uid');
    cf('admin', @as, 'result_attribute = uid', 'version = 3', 'bind_dn = cn=admin,dc=test', 'bind_pw = secret');
    cf('wrong', @as, 'result_attribute = uid', 'version = 3', 'bind_dn = cn=admin,dc=test', 'bind_pw = guess');
    cf('base', $as[0], 'search_base = ou=%d,dc=test', 'query_filter = uid=%u', 'result_attribute = uid', 'scope = one');
    cf('nobase', $as[0], 'search_base = ou=none,dc=test', $as[2], 'result_attribute = uid');
    cf('badfilter', @as[0, 1], 'query_filter = (mail=%s', 'result_attribute = uid');
    cf('group', @as, 'result_attribute = uid', 'special_result_attribute = member, labeledURI', 'terminal_result_attribute = description', 'version = 3');
    cf('leaf', @as, 'result_attribute =', 'leaf_result_attribute = uid', 'special_result_attribute = member', 'version = 3');
    cf('shallow', @as, 'leaf_result_attribute = uid', 'special_result_attribute = member', 'recursion_limit = 1');
    cf('values', @as, 'result_attribute = uid', 'expansion_limit = 1', 'result_filter = <%s>');
    cf('entries', @as[0, 1], 'query_filter = uid=*', 'result_attribute = uid', 'size_limit = 2');
    cf('none', @as, 'result_attribute =');
    my @tls = (@as[1, 2], 'result_attribute = uid', 'version = 3');
    cf('tls', $as[0], @tls, 'start_tls = yes');
    cf('checked', $as[0], @tls, 'start_tls = yes', 'tls_require_cert = yes', "tls_ca_cert_file = $tmp/cert");
    cf('unknown', $as[0], @tls, 'start_tls = yes', 'tls_require_cert = yes', 'tls_ca_cert_file = /etc/ssl/certs/ca-certificates.crt');
    cf('misnamed', "server_host = ldap://localhost:$at", @tls, 'start_tls = yes', 'tls_require_cert = yes', "tls_ca_cert_file = $tmp/cert");
    cf('ldaps', "server_host = ldaps://127.0.0.1:$secure", @tls, 'tls_require_cert = yes', "tls_ca_cert_file = $tmp/cert");
    cf('ldapsunknown', "server_host = ldaps://127.0.0.1:$secure", @tls, 'tls_require_cert = yes');
    cf('weak', "server_host = ldaps://127.0.0.1:$secure", @tls, 'tls_cipher_suite = NONE:+NOSUCH');
    cf('certificate', "server_host = ldaps://127.0.0.1:$secure", @tls, "tls_cert = $tmp/cert", "tls_key = $tmp/key", 'bind = sasl', 'sasl_mechs = EXTERNAL');
    cf('external', "server_host = $ldapi", @tls, 'bind = sasl', 'sasl_mechs = external');
    cf('other', "server_host = $ldapi", @tls, 'bind = sasl', 'sasl_mechs = EXTERNAL', 'sasl_authz_id = dn:uid=star,ou=people,dc=test');
    cf('nobody', "server_host = $ldapi", @tls);
    is(script(<<"T"), '', 'questions and answers');
open ldap:$tmp/plain.cf
found joe\@x.test -- joe
found JOE\@x.test -- joe
found two\@x.test -- two,second
none nobody\@x.test
none secret\@x.test
found a*(b)\\c\@x.test -- star
found o'neil "q"\@x.test -- quote
# RFC 4515
none *
none j*e\@x.test
none *)(uid=joe
none joe\@x.test)(uid=*
none x)(|(uid=joe)
none \\6aoe\@x.test
open ldap:$tmp/old.cf
found joe\@x.test -- joe
none joe
none joe\@y.test
open ldap:$tmp/list.cf
found joe\@x.test -- joe
open ldap:$tmp/admin.cf
found secret\@x.test -- secret
open ldap:$tmp/wrong.cf
fails joe\@x.test -- Invalid credentials
open ldap:$tmp/base.cf
found in\@x.test -- in
none in\@y.test
none out\@x.test
none bare
# RFC 4514
none joe\@people,dc=test
none in\@x.test,dc=test
none joe\@people\\
none in\@odd, name
open ldap:$tmp/nobase.cf
fails joe\@x.test -- No such object
open ldap:$tmp/badfilter.cf
fails joe\@x.test -- Bad search filter
open ldap:$tmp/group.cf
found joe\@x.test -- joe
found staff\@x.test -- staff-box,joe,two,second,quote
found final\@x.test -- last word
found byurl\@x.test -- two,second
fails badurl\@x.test -- is no URL of LDAP
fails a\@x.test -- recursion_limit
found joe\@x.test -- joe
open ldap:$tmp/leaf.cf
found staff\@x.test -- joe,two,second,quote
found joe\@x.test -- joe
open ldap:$tmp/shallow.cf
found more\@x.test -- quote
fails staff\@x.test -- more than 1 deep: recursion_limit
open ldap:$tmp/values.cf
found joe\@x.test -- <joe>
fails two\@x.test -- more than 1 values: expansion_limit
open ldap:$tmp/entries.cf
fails x -- Size limit exceeded
open ldap:$tmp/none.cf
none joe\@x.test
open ldap:$tmp/nobody.cf
none secret\@x.test
found joe\@x.test -- joe
# as the account that we run as
open ldap:$tmp/external.cf
found secret\@x.test -- secret
open ldap:$tmp/other.cf
fails joe\@x.test -- bind to
T
    SKIP: {
        if (!$has_tls) {
            is(script("open ldap:$tmp/tls.cf\nfails joe\@x.test -- start TLS with\n"), '', 'a server without TLS is a failure');
            skip 'needs openssl to make a certificate', 1;
        }
        is(script(<<"T"), '', 'TLS');
open ldap:$tmp/tls.cf
found joe\@x.test -- joe
open ldap:$tmp/checked.cf
found joe\@x.test -- joe
open ldap:$tmp/unknown.cf
fails joe\@x.test -- start TLS with
open ldap:$tmp/misnamed.cf
fails joe\@x.test -- start TLS with
open ldap:$tmp/ldaps.cf
found joe\@x.test -- joe
open ldap:$tmp/ldapsunknown.cf
fails joe\@x.test -- Can't contact LDAP server
open ldap:$tmp/weak.cf
fails joe\@x.test -- refused by the LDAP library
# as the owner of a certificate
open ldap:$tmp/certificate.cf
found secret\@x.test -- secret
T
    }
    my $plain = "ldap:$tmp/plain.cf";
    unlike(query("ldap:$tmp/wrong.cf", 'x'), qr/guess/, 'messages do not tell the password');
    my $out = $ph->run_in(join('', map { $_ % 2 ? "joe\@x.test\n" : "nobody$_\@x.test\n" } 1 .. 10_000), $ph->sbin('postmap'), '-c', $ph->dir, '-q', '-', $plain);
    is(scalar(() = $out =~ /^joe\@x\.test\tjoe$/mg), 5000, '10,000 look-ups');

    TableRig::pause($pid);
    like(query($plain, 'joe@x.test'), qr/query error: .*Timed out/, 'hung: a failure');
    kill 'CONT', $pid;
    is(query($plain, 'joe@x.test'), 'joe', 'and it goes on');
    TableRig::pause($pid);
    my $asking = Posthorn::child(sub { Posthorn::spew("$tmp/asked", query("ldap:$tmp/admin.cf", 'joe@x.test') . '.') });
    ok(Posthorn::wait_for(sub { Posthorn::slurp('/proc/net/tcp') =~ /:\s*\w+:@{[sprintf '%04X', $at]} \w+:\w+ 01 \w+:(?!0{8})/m }), 'a question waits there');
    Posthorn::end_child($pid);
    ok(Posthorn::wait_for(sub { Posthorn::slurp("$tmp/asked") =~ /\.$/ }), 'killed in mid-query');
    like(Posthorn::slurp("$tmp/asked"), qr/query error: /, 'it is a failure');
    Posthorn::end_child($asking);
    like(query($plain, 'joe@x.test'), qr/query error: .*Can't contact/, 'down: a failure');

    # One process that asks before and after: the connection is opened anew.
    $pid = $start->();
    pipe my $r, my $w or die;
    my $asker = open(my $answers, '-|') // die "fork: $!";
    if (!$asker) { close $w; open STDIN, '<&', $r; exec $ph->sbin('postmap'), '-c', $ph->dir, '-q', '-', $plain }
    close $r;
    $w->autoflush;
    print $w "joe\@x.test\n";
    ok(Posthorn::wait_for(sub { Posthorn::slurp('/proc/net/tcp') =~ /:\s*\w+:@{[sprintf '%04X', $at]} \w+:\w+ 01 /m }), 'postmap has its connection');
    Posthorn::end_child($pid);
    $pid = $start->();
    print $w "two\@x.test\n";
    close $w;
    is(join('', <$answers>), "joe\@x.test\tjoe\ntwo\@x.test\ttwo,second\n", 'a server that was started anew between two questions');
    close $answers;
    Posthorn::end_child($pid);
}
done_testing();
