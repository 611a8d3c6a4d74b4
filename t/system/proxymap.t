#!/usr/bin/perl
# proxymap and proxywrite: which tables they serve (what the configuration names, in
# whatever depth, and nothing else), what they answer, and changes that last.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;
use Proxymap;

plan skip_all => 'the plugins of t/proxymap are not built as objects' unless Proxymap::available();
my $ph = Posthorn->new(max_idle => '1h');
my $tmp = $ph->{tmp};
Proxymap::install($ph);
my $named = Proxymap::slow($ph, 'slow');
Posthorn::spew("$tmp/nets", "# proxy:static:comment\n127.0.0.2\n proxy:static:infile slow:/infile\n");
Posthorn::spew("$tmp/log", "slow:/evil proxy:static:evil\n");
Posthorn::spew("$tmp/mc.cf", "memcache = inet:127.0.0.1:1\nbackup = slow:/backup\n");
$ph->set(
    relocated_maps => 'proxy:static:direct', local_recipient_maps => 'proxy:unix:passwd.byname $alias_maps',
    sender_bcc_maps => '$my_first', my_first => 'inline:{x=y}, $my_second', my_second => 'proxy:proxy:static:indirect',
    smtpd_restriction_classes => 'strict', strict => 'check_client_access proxy:static:class, check_client_access slow:/class, permit',
    smtpd_recipient_restrictions => 'check_recipient_access { proxy:static:brace }, check_sender_access proxy:inline:{a=REJECT}, reject_unauth_destination',
    mynetworks => "127.0.0.0/8, !proxy:static:negative, $tmp/nets",
    canonical_maps => 'unionmap:{pipemap:{proxy:static:deep, static:x}, debug:proxy:static:debugged}, proxy:pipemap:{static:a,proxy:static:inner}',
    my_private => 'proxy:static:private', my_log => "$tmp/log", my_slow => "debug:$named->{table}", my_named => 'slow:/user',
    smtpd_end_of_data_restrictions => 'check_client_access slow:/named',
    transport_maps => "pipemap:{static:x, slow:/inpipe}, memcache:$tmp/mc.cf", my_place => 'main', smtpd_reject_footer_maps => 'slow:/of_$my_place',
    address_verify_map => 'proxy:btree:$data_directory/cache', postscreen_cache_map => 'btree:$data_directory/other',
);
$ph->edit_master(sub {
    s/(plugin: smtpd, .*)\}/$1, settings: {my_place: setting, smtpd_client_restrictions: "check_client_access slow:\/setting, check_client_access proxy:static:setting"}}/ or die;
    $_ .= qq(  - {name: off, plugin: showq, listen: unix, enabled: false, settings: {my_x: "slow:/off"}}\n);
});
$ph->start;

# ---- which tables ----
my @served = (
    map({ [1, $_, 1] } 'unix:passwd.byname', map({ "static:$_" } qw(direct indirect class brace negative infile deep debugged inner)), 'inline:{a=REJECT}', 'pipemap:{static:a,proxy:static:inner}'),
    map({ [0, "slow:/$_", 1] } qw(class infile user named inpipe backup of_main of_setting setting)),
    # not with proxy: in front, or not where it counts
    map({ [1, $_, 0] } 'hash:/etc/passwd', 'static:x', 'inline:{x=y}', 'slow:/named', map({ "static:$_" } qw(private evil comment setting)), 'static:direct ', 'static:', 'static', ':x', 'proxy:static:direct'),
    # of a type that does not block, or not named
    map({ [0, $_, 0] } 'static:direct', 'hash:/etc/passwd', "slow:/evil", 'slow:/off', 'slow:/', 'slow:/named/', 'slow:/named x', 'proxy:slow:/named'),
);
for my $row (@served) {
    my ($proxied, $table, $want) = @$row;
    my $r = Proxymap::call($ph, 'private/proxymap', op => 'open', table => $table, proxied => $proxied) // { status => 'none' };
    my $is = ($proxied ? 'proxy:' : '') . $table;
    if ($want) { isnt($r->{status}, $Proxymap::DENY, "$is is served") or diag $r->{text} }
    else { is($r->{status}, $Proxymap::DENY, "$is is not served") }
}
$ph->wait_log(qr/list proxy:proxy:slow:\/named in proxy_read_maps/);        # the last one
my $log = $ph->log;
my %refused;
$refused{$_}++ for $log =~ m{proxymap\[(\d+)\]: warning: request for unapproved table: "hash:/etc/passwd"\n}g;
is_deeply([sort values %refused], [(1) x keys %refused], 'a refusal is in the log, once for each table and process');
ok(%refused, '  indeed');
like($log, qr{warning: to have this table served, list proxy:hash:/etc/passwd in proxy_read_maps}, 'and what to do');

# ---- what is answered ----
sub ask { my (%a) = @_; return Proxymap::call($ph, 'private/proxymap', op => 'lookup', proxied => 1, %a) // {} }
my $r = ask(table => 'static:direct', key => 'anything');
is("$r->{status} $r->{value}", '0 direct', 'a value');
is(ask(table => 'inline:{a=REJECT}', key => 'A')->{value}, 'REJECT', 'keys are folded');
is(ask(table => 'inline:{a=REJECT}', key => 'A', flags => 0)->{status}, $Proxymap::NONE, 'unless the use does not want it');
is(ask(table => 'inline:{a=REJECT}', key => 'b')->{status}, $Proxymap::NONE, 'no such key');
$r = ask(table => 'slow:/named', key => 'b', proxied => 0);
is($r->{status}, $Proxymap::RETRY, 'a table that cannot be opened just now');
like($r->{text}, qr{/named/asked: No such file}, '  and why');
$r = ask(table => 'unix:passwd.byname', key => 'root');
like($r->{value}, qr/^root:[^:]*:0:0:/, 'an account');
$r = ask(op => 'update', table => 'static:direct', key => 'a', value => 'b');
is($r->{status}, $Proxymap::DENY, 'proxymap changes nothing');
$r = ask(op => 'remove', table => 'hash:/x', key => 'a');
is($r->{status}, $Proxymap::DENY, 'whatever it is');
ok($ph->wait_log(qr/request to change table "static:direct": this service only reads/), 'and says so');
is(ask(op => 'walk', first => 1, table => 'static:direct')->{status}, $Proxymap::CONFIG, 'a walk through a table that has no order');
for my $bad ([op => 'nonsense'], [table => ''], [flags => 'x'], [flags => '99999999999'], [wait => '-1'], [wait => '99999999'], [proxied => '']) {
    is(ask(table => 'static:direct', @$bad)->{status}, $Proxymap::BAD, "no request: @$bad");
}
# Of a process only one client is served; a kept connection that asks nothing makes room.
my @held = map { Proxymap::connect_to($ph, 'private/proxymap') } 1 .. 3;
Proxymap::say_to($_, op => 'lookup', table => 'static:direct', flags => 1, proxied => 1, wait => 5000, key => 'x') for @held;
is(join(' ', map { (Proxymap::hear($_) // {})->{value} // '-' } @held), 'direct direct direct', 'several clients at once');
cmp_ok(scalar Proxymap::pids($ph), '>=', 2, 'by several processes');
ok(!defined Proxymap::hear($_), 'a client that asks nothing more is left') for @held;

# ---- the other side: a service that uses tables ----
sub uses { my (%a) = @_; return Proxymap::asks($ph, %a) }
$r = uses(table => 'proxy:static:direct', key => 'x');
is("$r->{rc} $r->{value}", '1 direct', 'a service has a table behind proxy:');
$r = uses(table => 'pipemap:{inline:{a=b}, proxy:static:deep}', key => 'a');
is("$r->{rc} $r->{value}", '1 deep', 'within another table');
$r = uses(table => 'proxy:static:unlisted', key => 'x');
is($r->{rc}, -3, 'what is refused is an error of the configuration');
like($r->{text}, qr/^table static:unlisted: lookup of "x": proxymap refuses the table: list proxy:static:unlisted in proxy_read_maps$/, 'in these words');
is(uses(table => 'proxy:static:direct', key => 'x', flags => 8)->{value}, 'direct', 'where an answer gives rights proxy: is the table itself');
is(uses(table => 'proxy:static:unlisted', key => 'x', flags => 8)->{value}, 'unlisted', 'also when the pool would refuse it');
like(uses(table => 'proxy:nosuch:x', key => 'x')->{text}, qr/unsupported dictionary type: nosuch/, 'a type that is not there');

is(uses(table => $named->{table}, key => 'x')->{value}, "x of $named->{dir}", 'a table that may block needs no word');
is(uses(table => $named->{table}, key => 'x', flags => 9)->{value}, 'secure', 'and knows when an answer gives rights');
is(uses(table => "proxy:$named->{table}", key => 'x', flags => 9)->{value}, 'secure', 'also behind proxy:, which then does not count');
like(uses(table => "proxy:$named->{table}", key => 'x')->{text}, qr/proxymap refuses the table: list proxy:slow:/, 'where it counts it must be listed');

# ---- changes ----
my $cache = 'proxy:btree:' . $ph->dir . '/data/cache';
sub change { my ($do, @more) = @_; my $c = uses(do => $do, flags => 2, table => $cache, @more); return join ' ', $c->{rc}, grep { length } $c->{key}, $c->{value} }
is(change('lookup', key => 'a'), '2 a', 'a table that was not there is empty') or diag $ph->log;
is(change('update', key => 'a', value => '1'), '1 a', 'an update');
is(change('update', key => "k$_", value => $_), "1 k$_", 'another') for 1 .. 3;
is(change('lookup', key => 'a'), '1 a 1', 'is there');
is(change('update', key => 'a', value => 'two'), '1 a', 'is replaced');
is(change('lookup', key => 'a'), '1 a two', 'by the new value');
my ($pid) = Proxymap::pids($ph, 'proxywrite');
ok(kill('KILL', $pid), 'the process is killed');
is(change('lookup', key => 'a'), '1 a two', 'and what was changed is on the disk');
is(change('remove', key => 'a'), '1 a', 'a key is removed');
is(change('remove', key => 'a'), '2 a', 'once');
is(join(',', change('first'), map { change('next') } 1 .. 3), '1 k1 1,1 k2 2,1 k3 3,2', 'a walk');
is(join(',', change('first'), change('update', key => 'k9', value => 'x'), change('first')), '1 k1 1,1 k9,1 k1 1', 'begun anew');
is(uses(do => 'update', flags => 3, table => $cache, key => 'BIG', value => 'x')->{rc}, 1, 'a use that folds');
is(change('lookup', key => 'big'), '1 big x', 'folds');
$r = uses(do => 'update', flags => 2, table => 'proxy:btree:' . $ph->dir . '/data/other', key => 'a', value => 'b');
is($r->{rc}, -3, 'a table that proxy_write_maps does not name with proxy: is not changed');
like($r->{text}, qr/list proxy:btree:\S+other in proxy_write_maps/, 'and the parameter is named');
ok(!-e $ph->dir . '/data/other.db', 'nor made');
is(Proxymap::call($ph, 'private/proxywrite', op => 'lookup', proxied => 1, table => 'static:direct', key => 'x')->{status}, $Proxymap::DENY, 'proxywrite does not read what it does not change');
is(Proxymap::call($ph, 'private/proxymap', op => 'lookup', proxied => 1, table => 'btree:' . $ph->dir . '/data/cache', key => 'k1')->{status}, $Proxymap::DENY, 'and proxymap not what is for proxywrite');
is(scalar Proxymap::pids($ph, 'proxywrite'), 1, 'one process writes');

# ---- after a reload the configuration is another ----
$ph->set(relocated_maps => 'proxy:static:newer');
is($ph->postfix('reload') && $?, 0, 'reload');
ok(Posthorn::wait_for(sub { (ask(table => 'static:newer', key => 'x')->{value} // '') eq 'newer' }), 'a table that is new is served');
ok(Posthorn::wait_for(sub { ask(table => 'static:direct', key => 'x')->{status} == $Proxymap::DENY }), 'the one before is not');

# ---- other names ----
$ph->edit_master(sub { $_ .= "  - {name: proxyread, plugin: proxymap, listen: unix}\n" });
$ph->postfix('reload');
ok(Posthorn::wait_for(sub { -S $ph->queue . '/private/proxyread' }), 'a service of another name');
Proxymap::connect_to($ph, 'private/proxyread');
ok($ph->wait_log(qr/service proxyread: a service of plugin proxymap is called proxymap/), 'is refused, with the names that there are');

# ---- without the services ----
$ph->edit_master(sub { s/^.*plugin: proxymap.*\n//mg });
$ph->restart;
is(uses(table => 'proxy:static:direct', key => 'x')->{value}, 'direct', 'without proxymap in master.yaml proxy: is the table itself');
like(uses(table => $named->{table}, key => 'x')->{text}, qr/may block, so that a service reads it through proxymap\(8\), which master.yaml does not declare/, 'and a table that may block is an error');
like($ph->postfix('upgrade-configuration'), qr/adding missing service proxymap\n.*adding missing service proxywrite\n/s, 'upgrade-configuration adds both');
$ph->restart;
is(uses(table => $named->{table}, key => 'x')->{value}, "x of $named->{dir}", 'and then it is read');
unlike($ph->log, qr/panic|assert/, 'nothing broke');
done_testing;
