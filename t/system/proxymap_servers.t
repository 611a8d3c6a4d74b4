#!/usr/bin/perl
# MariaDB and OpenLDAP asked by the sealed pool, over TCP and with TLS, whose certificates lie
# where nothing else of the configuration does: what their libraries open and call when they
# connect is behind the seal.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;
use Database;
use Proxymap;
use TableRig;

plan skip_all => 'the plugins of t/proxymap are not built as objects' unless Proxymap::available();
my $ph = Posthorn->new(max_idle => '1h');
my $tmp = $ph->{tmp};
Proxymap::install($ph);
mkdir "$tmp/server";
my $apart = File::Temp->newdir('posthorn-XXXXXX', TMPDIR => 1);        # what lies below a table's file can be read, too
chmod 0755, "$apart";
system("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=db.test -addext subjectAltName=IP:127.0.0.1 -keyout '$tmp/server/key' -out '$tmp/server/cert' 2>/dev/null") == 0 or plan skip_all => 'openssl does not run here';
system('cp', "$tmp/server/cert", "$apart/ca");
chmod 0644, "$tmp/server/key", "$tmp/server/cert", "$apart/ca";
sub cf { my ($type, $name, @lines) = @_; Posthorn::spew("$tmp/$name.cf", map { "$_\n" } @lines); chmod 0644, "$tmp/$name.cf"; return "$type:$tmp/$name.cf" }

# Named in main.cf, asked for by a service.
sub answers {
    my ($what, $table, $key, $value) = @_;
    my $r = Proxymap::asks($ph, table => $table, key => $key);
    is($r->{value}, $value, "$what: an answer") or diag $r->{text}, $ph->log;
    is(Proxymap::asks($ph, table => $table, key => 'nobody')->{rc}, 2, "$what: and none");
    return;
}
sub restart { my (@tables) = @_; $ph->set(my_tables => "@tables"); $ph->restart; return }

SKIP: {
    my $why = -e "$Posthorn::build/plugins/table/mysql/.libs/table_mysql.so" ? Database::MariaDB->missing : 'libmariadb was not there';
    skip "MariaDB: $why", 1 if $why;
    my $db = Database::MariaDB->new(more => ["--ssl-cert=$tmp/server/cert", "--ssl-key=$tmp/server/key"], sql => ['create table a (k varchar(200), v varchar(200))', q{insert into a values ('joe', 'box')}])->start;
    my @as = ('hosts = inet:127.0.0.1:' . $db->port, 'user = mail', "password = it's", 'dbname = mail', 'timeout = 20', q{query = select v from a where k = '%s'});
    my $plain = cf('mysql', 'my', @as);
    my $tls = cf('mysql', 'mytls', @as, "tls_CAfile = $apart/ca", 'tls_verify_cert = yes');
    restart($plain, $tls);
    answers('MariaDB', $plain, 'joe', 'box');
    answers('MariaDB with TLS', $tls, 'joe', 'box');
    $db->stop;
}
SKIP: {
    skip 'libldap was not there', 1 unless -e "$Posthorn::build/plugins/table/ldap/.libs/table_ldap.so";
    my @slapd = TableRig::program('/usr/sbin/slapd', 'slapd', "$tmp/server", qw(slapd libldap-2.5-0 libltdl7 libwrap0 libnsl2 libtirpc3)) or skip "OpenLDAP: $TableRig::missing", 1;
    my $root = Posthorn::debian('slapd');
    my $at = Posthorn::free_port();
    symlink "$tmp/server/slapd", "$tmp/server/slapadd";
    mkdir "$tmp/server/db";
    Posthorn::spew("$tmp/server/conf", (map { "include $root/etc/ldap/schema/$_.schema\n" } qw(core cosine inetorgperson)), <<"C");
TLSCertificateFile $tmp/server/cert
TLSCertificateKeyFile $tmp/server/key
modulepath $root/usr/lib/ldap
moduleload back_mdb
database mdb
maxsize 10485760
suffix "dc=test"
rootdn "cn=admin,dc=test"
rootpw secret
directory $tmp/server/db
C
    Posthorn::spew("$tmp/server/ldif", "dn: dc=test\nobjectClass: organization\nobjectClass: dcObject\no: test\ndc: test\n\ndn: cn=joe,dc=test\nobjectClass: inetOrgPerson\ncn: joe\nsn: joe\nuid: box\nmail: joe\n\n");
    my $said = $ph->run(@slapd[0, 1], "$tmp/server/slapadd", '-f', "$tmp/server/conf", '-l', "$tmp/server/ldif");
    is($?, 0, 'slapd is filled') or diag $said;
    my $pid = TableRig::start("$tmp/server/out", sub { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $at) }, @slapd, '-f', "$tmp/server/conf", '-h', "ldap://127.0.0.1:$at", '-d', 0);
    my @as = ("server_host = ldap://127.0.0.1:$at", 'search_base = dc=test', 'query_filter = mail=%s', 'result_attribute = uid', 'version = 3', 'bind_dn = cn=admin,dc=test', 'bind_pw = secret');
    my $plain = cf('ldap', 'ldap', @as);
    my $tls = cf('ldap', 'ldaptls', @as, 'start_tls = yes', 'tls_require_cert = yes', "tls_ca_cert_file = $apart/ca");
    restart($plain, $tls);
    answers('OpenLDAP', $plain, 'joe', 'box');
    answers('OpenLDAP with TLS', $tls, 'joe', 'box');
    ok(TableRig::pause($pid), 'slapd is stopped');
    is(Proxymap::asks($ph, table => $plain, key => 'joe')->{rc}, -1, 'OpenLDAP: a server that hangs is a failure');
    kill 'CONT', $pid;
    ok(Posthorn::wait_for(sub { Proxymap::asks($ph, table => $plain, key => 'joe')->{rc} == 1 }, 60), 'and then it goes on');
}
ok(1, 'all that is here was asked');
unlike($ph->log, qr/panic|assert/, 'nothing broke');
done_testing;
