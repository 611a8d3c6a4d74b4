#!/usr/bin/perl
# postwhy says what the running system does: the transport and next hop that the log
# shows, the reply that smtpd gives; where each answer stands; what changes between two
# configurations.
use strict;
use warnings;
use JSON::PP qw(decode_json);
use Test::More;
use lib 't/lib';
use Posthorn;

my $ph = Posthorn->new(
    myhostname => 'mx.posthorn.test', myorigin => 'example.test', mynetworks => '198.51.100.0/24', smtpd_authorized_xclient_hosts => '127.0.0.1',
    smtpd_hard_error_limit => 1000, smtpd_error_sleep_time => 0, smtpd_relay_restrictions => 'permit_mynetworks, reject_unauth_destination',
    smtpd_client_restrictions => 'check_client_access cidr:$config_directory/clients', smtpd_helo_restrictions => 'check_helo_access inline:{{bad.helo.test=REJECT bad name}}',
    smtpd_sender_restrictions => 'check_sender_access texthash:$config_directory/senders',
    smtpd_recipient_restrictions => 'check_recipient_access hash:$config_directory/rcpt, careful', smtpd_restriction_classes => 'careful',
    careful => 'check_recipient_access regexp:$config_directory/careful', smtpd_data_restrictions => 'check_recipient_access inline:{{data@example.test=REJECT not this one}}',
    relay_domains => 'relay.test, hash:$config_directory/relays', relay_recipient_maps => '', transport_maps => 'hash:$config_directory/transport, regexp:$config_directory/transport.re',
    sender_dependent_relayhost_maps => 'inline:{special@s.test=[127.0.0.3]:1}', relayhost => '[127.0.0.2]:1', virtual_mailbox_maps => 'texthash:$config_directory/users',
    mydestination => 'local.test, $config_directory/ours', local_transport => 'error:5.2.1 nobody lives here', smtp_connect_timeout => '1s', minimal_backoff_time => '1000s',
    maximal_backoff_time => '1000s', transport_retry_time => '600s', alias_maps => 'inline:{root=alice}', soft_bounce => 'no', recipient_delimiter => '+',
    virtual_alias_maps => 'texthash:$config_directory/alias', recipient_canonical_maps => 'inline:{canon@example.test=alice@example.test}', sender_canonical_maps => 'inline:{sc@s.test=special@s.test}',
    recipient_bcc_maps => 'inline:{copied@example.test=bob@example.test}', masquerade_domains => 'm.test');
my $dir = $ph->dir;
my %file = (
    clients => "# networks\n203.0.113.0/24 REJECT not you\n192.0.2.66 DEFER later\n", senders => "spam\@s.test REJECT no spam\nhold\@s.test HOLD\nheavy\@s.test REDIRECT alice\@example.test\n",
    rcpt => "ok\@far.test OK\nno\@example.test REJECT go\n# one more\nMixed\@Example.test 450 4.7.1 wait\n", careful => "/^never/ REJECT never\n/^bin/ DISCARD\n",
    relays => "relay2.test x\n", transport => "relay2.test smtp:[127.0.0.4]:1\nslow\@example.test discard:\n.sub.test discard:here\nwaits.test discard:\nnowhere.test nosuch:\n", 'transport.re' => "/^moved/ error:5.1.6 gone\n/^later/ retry:4.3.0 later\n",
    users => "alice\@example.test alice/\nslow\@example.test s/\nmoved\@example.test m/\nlater\@example.test l/\nbob\@example.test b/\nno\@example.test n/\nmixed\@example.test m/\ndata\@example.test d/\nnever\@example.test n/\ncopied\@example.test c/\ncanon\@example.test c/\nloop\@example.test l/\nbinned\@example.test b/\n",
    alias => "# aliases\nteam\@example.test alice\@example.test, u\@relay.test,\n  boss\@example.test\nboss\@example.test bob\@example.test\nloop\@example.test loop\@example.test\nlocal\@example.test alice\nround\@example.test trip\@example.test\ntrip\@example.test round\@example.test x\@relay.test\nquoted\@example.test \"a b\"\@relay.test\n",
    ours => "# files too\nours.test\n",
);
Posthorn::spew("$dir/$_", $file{$_}) for keys %file;
sub build { my ($type, $name) = @_; my $out = $ph->cmd('postmap', "$type:$dir/$name"); die $out if $? }
build('hash', $_) for qw(rcpt relays transport);
$ph->start;

my $status;
sub why { my (@args) = @_; my $out = $ph->cmd('postwhy', @args); $status = $? >> 8; return $out }
sub why_out { my (@args) = @_; my $out = $ph->run('sh', '-c', 'exec "$@" 2>/dev/null', 'sh', $ph->sbin('postwhy'), '-c', $dir, @args); $status = $? >> 8; return $out }
sub why_json { my (@args) = @_; my $out = why_out('--json', @args); return eval { decode_json($out) } || do { diag "$@: $out"; {} } }
sub steps { my ($r, %want) = @_; return grep { my $s = $_; !grep { $s->{$_} ne $want{$_} } keys %want } @{$r->{steps}} }

# ---- what is accepted goes where the log says ----
my $sent = 0;
sub reply_of { # client, helo, sender, recipient: the reply that decides, and the queue id
    my ($client, $helo, $from, $to) = @_;
    my $c = $ph->smtp(timeout => 20);
    $c->ask("EHLO x.test");
    my ($code, $text) = $c->ask("XCLIENT ADDR=$client NAME=[UNAVAILABLE] REVERSE_NAME=[UNAVAILABLE]");
    return ($text, '') if $code >= 400;
    for my $line ("EHLO $helo", "MAIL FROM:<$from>", "RCPT TO:<$to>") {
        ($code, $text) = $c->ask($line);
        return ($text, '') if $code >= 400;
    }
    my $rcpt = $text;
    ($code, $text) = $c->ask('DATA');
    return ($text, '') if $code >= 400;
    $c->put("Subject: " . ++$sent . "\r\n\r\nx\r\n.\r\n");
    $text = ($c->reply)[1];
    $c->quit;
    return ($rcpt, $text =~ /queued as (\S+)/ ? $1 : '');
}

# client, sender, recipient => what is right; undef: refused.
my $out = '192.0.2.1';
my @cases = (
    ['a mailbox', $out, 'x@s.test', 'alice@example.test', 'virtual', 'example.test'], ['whatever its case', $out, 'x@s.test', 'ALICE@Example.Test', 'virtual', 'example.test'],
    ['a relay domain', $out, 'x@s.test', 'u@relay.test', 'relay', '[127.0.0.2]:1'], ['by sender', $out, 'special@s.test', 'u@relay.test', 'relay', '[127.0.0.3]:1'],
    ['transport_maps, a domain', $out, 'x@s.test', 'u@relay2.test', 'smtp', '[127.0.0.4]:1'], ['transport_maps, an address', $out, 'x@s.test', 'slow@example.test', 'discard', 'example.test'],
    ['one of ours may send on', '198.51.100.9', 'x@s.test', 'u@far.test', 'smtp', '[127.0.0.2]:1'], ['a parent domain', '198.51.100.9', 'x@s.test', 'u@a.sub.test', 'discard', 'here'],
    ['an incomplete address', '198.51.100.9', 'x@s.test', 'alice', 'virtual', 'example.test'], ['redirected', $out, 'heavy@s.test', 'bob@example.test', 'virtual', 'example.test'],
    ['the null sender', $out, '', 'alice@example.test', 'virtual', 'example.test'],
    ['a stranger may not relay', $out, 'x@s.test', 'u@far.test'], ['no such user', $out, 'x@s.test', 'nosuch@example.test'], ['a client that is listed', '203.0.113.5', 'x@s.test', 'alice@example.test'],
    ['one that is deferred', '192.0.2.66', 'x@s.test', 'alice@example.test'], ['a sender', $out, 'spam@s.test', 'alice@example.test'], ['a recipient', $out, 'x@s.test', 'no@example.test'],
    ['a reply by the table', $out, 'x@s.test', 'mixed@example.test'], ['a class', $out, 'x@s.test', 'never@example.test'], ['routed to a refusal', $out, 'x@s.test', 'moved@example.test'],
    ['or to later', $out, 'x@s.test', 'later@example.test'], ['a transport that refuses', $out, 'x@s.test', 'u@local.test'], ['a domain of a file', $out, 'x@s.test', 'u@ours.test'],
    ['a recipient that is none', $out, 'x@s.test', 'a@@'], ['a routed one', $out, 'x@s.test', 'a%far.test@example.test'], ['at DATA', $out, 'x@s.test', 'data@example.test'],
);
for my $case (@cases) {
    my ($name, $client, $from, $to, $transport, $nexthop) = @$case;
    my ($reply, $id) = reply_of($client, 'c.test', $from, $to);
    my $r = why_json('--client', $client, '--client-name', 'unknown', '--helo', 'c.test', '--sender', $from, $to);
    is($r->{reply}, $reply, "$name: the reply of smtpd");
    my $want = $reply =~ /^5/ ? 1 : $reply =~ /^4/ ? 2 : 0;
    is($status, $want, "$name: exit status $want");
    is($r->{status}, (qw(ok refused temporary))[$want], "$name: status");
    if (!defined $transport) {
        is($r->{refusal}, $reply, "$name: the reason is the reply");
        is_deeply($r->{results}, [], "$name: and it goes nowhere");
        is($id, '', "$name: as in life");
        next;
    }
    my $got = $r->{results}[0];
    is("$got->{transport} $got->{nexthop}", "$transport $nexthop", "$name: where it goes");
    my ($service, $address, $line) = $ph->wait_log(qr{postfix/([^/\[]+)\S*\[\d+\]: $id: to=<([^>]*)>, ([^\n]*)}m);
    is($service, $transport, "$name: the transport of the log") or diag $ph->log =~ /^(.*$id.*)$/mg;
    is(lc $got->{recipient}, lc $address, "$name: the recipient of the log");
    my ($host, $port) = $nexthop =~ /^\[([\d.]+)\]:(\d+)$/ or next;
    like($line, qr/\Q$host\E\[\Q$host\E\]:$port|connect to \Q$host\E/, "$name: the next hop of the log");
}
# ---- what cleanup makes of an envelope ----
for my $case (['aliases, of aliases too', 'x@s.test', 'team@example.test', 3], ['a canonical address', 'x@s.test', 'canon@example.test', 1], ['a copy', 'x@s.test', 'copied@example.test', 2],
              ['an extension', 'x@s.test', 'alice+ext@example.test', 1], ['an alias of itself', 'x@s.test', 'loop@example.test', 1], ['an alias without domain', 'x@s.test', 'local@example.test', 1],
              ['a canonical sender', 'sc@s.test', 'u@relay.test', 1], ['a masqueraded one', 'x@sub.m.test', 'alice@example.test', 1]) {
    my ($name, $from, $to, $n) = @$case;
    my ($reply, $id) = reply_of($out, 'c.test', $from, $to);
    my $r = why_json('--client', $out, '--client-name', 'unknown', '--sender', $from, $to);
    is($r->{reply}, $reply, "$name: the reply of smtpd");
    my @log;
    Posthorn::wait_for(sub { @log = $ph->log =~ /^.*: $id: to=<.*$/mg; @log >= $n });
    my @life = sort map { m{postfix/([^/\[]+)\S*\[\d+\]: \w+: to=<([^>]*)>} ? "$2 $1" : $_ } @log;
    is_deeply([sort map { "$_->{recipient} $_->{transport}" } @{$r->{results}}], \@life, "$name: recipients and transports of the log");
    is(scalar @life, $n, "$name: all of them");
    my ($sender) = $ph->wait_log(qr/$id: from=<([^>]*)>/);
    my ($note) = grep { $_->{value} =~ /^the sender becomes / } steps($r, kind => 'note', stage => 'map');
    is($note ? $note->{value} =~ s/^the sender becomes //r : $from, $sender, "$name: the sender of the log");
}
is(join(' ', map { "$_->{key} $_->{line}" } steps(why_json('team@example.test'), table => "texthash:$dir/alias", answer => 'found', stage => 'map')), 'team@example.test 2 boss@example.test 4',
   'each alias has its line');
for my $case (['an alias that goes round', 'round@example.test'], ['a quote that does not end', '"open'], ['two addresses', 'a@b@c'], ['a bracket', 'a@[1.2.3.4']) {
    my ($name, $to) = @$case;
    my ($c) = (why_json('--client', '198.51.100.9', '--client-name', 'unknown', '--sender', 'x@s.test', $to));
    my $session = $ph->smtp(timeout => 20);
    $session->ask($_) for 'EHLO x.test', 'XCLIENT ADDR=198.51.100.9 NAME=[UNAVAILABLE] REVERSE_NAME=[UNAVAILABLE]', 'EHLO c.test', 'MAIL FROM:<x@s.test>';
    my ($code, $reply) = $session->ask("RCPT TO:<$to>");
    if ($code == 250) { $session->ask('DATA'); $session->put(".\r\n"); $reply = ($session->reply)[1] }
    is($c->{reply}, $reply, "$name: the reply of smtpd");
    is($c->{refusal}, $reply, "$name: is the reason");
}
is(why_json('--client', $out, '--client-name', 'unknown', 'quoted@example.test')->{results}[0]{recipient}, '"a b"@relay.test', 'recipients are written as in the log');
is((reply_of($out, 'bad.helo.test', 'x@s.test', 'alice@example.test'))[0], why_json('--client', $out, '--client-name', 'unknown', '--helo', 'bad.helo.test', '--sender', 'x@s.test', 'alice@example.test')->{reply},
   'a HELO name');
like(why('--client', $out, '--client-name', 'unknown', 'binned@example.test'), qr/^=> accepted and discarded$/m, 'DISCARD is said');
is($status, 0, '... and is accepted');
like(why('--client', $out, '--client-name', 'unknown', '--sender', 'hold@s.test', 'alice@example.test'), qr/waits in the hold queue/, 'HOLD is said');
my @names = $ph->log =~ /binned/g;
is(scalar @names, 0, 'and the running system has not heard of it');
is(scalar(() = $ph->cmd('postqueue', '-p') =~ /hold\@s\.test|^[0-9A-Za-z]+!/mg), 0, 'nothing of it is in the queue');

# ---- what waits ----
{
    $ph->set(defer_transports => 'discard');
    my $warn = $ph->postfix('reload');
    for my $case (['waits.test', 'deferred transport'], ['nowhere.test', 'mail transport unavailable']) {
        my ($domain, $text) = @$case;
        my (undef, $id) = reply_of('198.51.100.9', 'c.test', 'x@s.test', "u\@$domain");
        like($ph->wait_log(qr/$id: to=<u\@$domain>, .*status=deferred (\(.*\))$/m), qr/\(\Q$text\E\)/, "$domain: it waits");
        my $r = why_json('--client', '198.51.100.9', '--client-name', 'unknown', '--sender', 'x@s.test', "u\@$domain");
        like($r->{refusal}, qr/^4\.3\.[02] \Q$text\E$/, "$domain: and why");
        is($status, 2, "$domain: exit 2");
    }
    $ph->set(defer_transports => '');
    $ph->postfix('reload');
}

# ---- refused at once, with a footer, softly ----
sub same_as_life { my ($name, @what) = @_; # client, helo, sender, recipient
    my ($reply) = reply_of(@what);
    is(why_json('--client', $what[0], '--client-name', 'unknown', '--helo', $what[1], '--sender', $what[2], $what[3])->{reply}, $reply, $name) }
for my $set ([smtpd_delay_reject => 'no'], [smtpd_reject_footer => '\\c (ask $client_address about it)\nhttp://posthorn.test/'], [soft_bounce => 'yes'], [smtpd_recipient_restrictions => 'defer_if_permit, permit'],
             [strict_rfc821_envelopes => 'yes'], [smtpd_helo_required => 'yes'], [message_size_limit => 100], [relay_recipient_maps => 'inline:{u@relay.test=x}']) {
    my %old = ($set->[0] => $ph->cmd('postconf', '-h', $set->[0]) =~ s/\n\z//r);
    $ph->set(@$set);
    my $out = $ph->postfix('reload');
    same_as_life("$set->[0] = $set->[1]: $_->[0] $_->[2]", $_->[0], 'c.test', $_->[1], $_->[2])
        for ['203.0.113.5', 'x@s.test', 'alice@example.test'], ['192.0.2.1', 'spam@s.test', 'alice@example.test'], ['192.0.2.1', 'x@s.test', 'u@far.test'],
            ['192.0.2.1', 'x@s.test', 'nosuch@relay.test'], ['192.0.2.1', 'x@s.test', 'alice@example.test'], ['198.51.100.9', '', 'u@far.test'];
    $ph->set(%old);
}
$ph->postfix('reload');

# ---- where it stands ----
sub place { my ($r, %want) = @_; my ($s) = steps($r, %want); return $s ? "$s->{file}:$s->{line}" : 'no step' }
sub line_of { my ($name) = @_; my $n = 0; for (split /\n/, Posthorn::slurp("$dir/main.cf")) { $n++; return $n if /^$name\b/ } return }
is(place(why_json('u@relay2.test'), table => "hash:$dir/transport", answer => 'found'), "$dir/transport:1", 'hash: the line of the source');
is(place(why_json('moved@example.test'), table => "regexp:$dir/transport.re", answer => 'found'), "$dir/transport.re:1", 'regexp');
is(place(why_json('bob@example.test'), table => "texthash:$dir/users", answer => 'found'), "$dir/users:5", 'texthash');
is(place(why_json('u@ours.test'), kind => 'match', answer => 'found'), "$dir/ours:2", 'an item of a file');
is(place(why_json('u@relay.test'), kind => 'match', answer => 'found'), "$dir/main.cf:" . line_of('relay_domains'), 'an item of the parameter');
is(place(why_json('--sender', 'special@s.test', 'u@relay.test'), key => 'special@s.test', answer => 'found'), "$dir/main.cf:" . line_of('sender_dependent_relayhost_maps'), 'an inline table: that of the parameter');
is(place(why_json('--client', '203.0.113.5', '--client-name', 'unknown', 'alice@example.test'), table => "cidr:$dir/clients", answer => 'found'), "$dir/clients:2", 'cidr');
is(place(why_json('--client', $out, '--client-name', 'unknown', 'Mixed@example.test'), table => "hash:$dir/rcpt", answer => 'found'), "$dir/rcpt:4", 'hash: folded, and in a restriction');
for my $type (qw(btree lmdb cdb)) {
    SKIP: {
        skip "$type is not built", 1 unless -e "$Posthorn::inst/lib/posthorn/plugins-1/table_$type.so";
        Posthorn::spew("$dir/t_$type", "# one\na x:\nu\@$type.test discard:$type\n");
        build($type, "t_$type");
        my $text = Posthorn::slurp("$dir/main.cf");
        mkdir "$dir/c_$type";
        Posthorn::spew("$dir/c_$type/main.cf", $text =~ s/^transport_maps.*/transport_maps = $type:$dir\/t_$type/mr =~ s/\$config_directory/$dir/gr);
        system('cp', "$dir/master.yaml", "$dir/c_$type/") == 0 or die;
        my $r = decode_json($ph->run($ph->sbin('postwhy'), '-c', "$dir/c_$type", '--json', "u\@$type.test"));
        is(place($r, table => "$type:$dir/t_$type", answer => 'found'), "$dir/t_$type:3", "$type, with the configuration of another directory");
    }
}
SKIP: {
    skip 'sqlite is not built, or Python has none', 4 if !-e "$Posthorn::inst/lib/posthorn/plugins-1/table_sqlite.so" || system('python3 -c "import sqlite3" 2>/dev/null');
    $ph->run('python3', '-c', 'import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.executescript("create table t (k, v); insert into t values (\'u@sql.test\', \'discard:sql\');"); c.commit()', "$dir/db");
    Posthorn::spew("$dir/sql.cf", "dbpath = $dir/db\nquery = SELECT v FROM t WHERE k = '%s'\n");
    my %old = (transport_maps => $ph->cmd('postconf', '-h', 'transport_maps') =~ s/\n\z//r);
    for my $list ("sqlite:$dir/sql.cf", "proxy:hash:$dir/rcpt, proxy:sqlite:$dir/sql.cf") {
        $ph->set(transport_maps => $list);
        my $r = why_json('u@sql.test');
        is("$r->{results}[0]{transport} $r->{results}[0]{nexthop}", 'discard sql', "$list: what may block, and what others would leave to proxymap");
        is((steps($r, kind => 'lookup', answer => 'found', parameter => 'transport_maps'))[0]{table}, (split /, /, $list)[-1], '... as it is written');
    }
    $ph->set(%old);
}
my ($rule) = steps(why_json('--client', $out, '--client-name', 'unknown', 'never@example.test'), kind => 'rule', table => "check_recipient_access regexp:$dir/careful");
is($rule->{parameter}, 'careful', 'a rule says which list it stands in');
like($rule->{value}, qr/^REJECT 554 5\.7\.1 <never\@example\.test>: Recipient address rejected: never$/, 'and its verdict');
my $time = (stat "$dir/transport.db")[9];
utime $time + 10, $time + 10, "$dir/transport" or die;
like(why('u@relay2.test'), qr/ -> smtp:\[127\.0\.0\.4\]:1  \(\Q$dir\E\/transport:1; the source is newer than the index\)\n/, 'a source that is newer is said');
Posthorn::spew("$dir/transport", $file{transport} =~ s/^.*\n//r);
utime $time - 10, $time - 10, "$dir/transport" or die;
like(why('u@relay2.test'), qr/\(\Q$dir\E\/transport\.db; \Q$dir\E\/transport does not have the key\)\n/, 'a key that it does not have');
Posthorn::spew("$dir/transport", $file{transport});
utime $time - 10, $time - 10, "$dir/transport" or die;

$ph->edit_master(sub { s/^(.*plugin: smtpd.*)$/$1\n  - {name: strict, plugin: smtpd, listen: "inet:127.0.0.1:@{[Posthorn::free_port()]}", settings: {smtpd_recipient_restrictions: reject}}/m or die });
my $strict = why_json('--client', '192.0.2.1', '--client-name', 'unknown', '--service', 'strict', 'alice@example.test');
is($strict->{reply}, '554 5.7.1 <alice@example.test>: Recipient address rejected: Access denied', 'another service of smtpd');
like(place($strict, kind => 'rule', table => 'reject'), qr/^\Q$dir\E\/master\.yaml:\d+$/, 'and its settings are in master.yaml');

# ---- without a client ----
$out = why('alice@example.test');
is($status, 0, 'a mailbox');
like($out, qr/\n  virtual_mailbox_maps +texthash:\Q$dir\E\/users  alice\@example\.test -> alice\/  \(\Q$dir\E\/users:1\)\n=> transport virtual, next hop example\.test, recipient alice\@example\.test\n\z/, 'the steps, and last where it goes');
like($out, qr/\n  transport_maps +hash:\Q$dir\E\/transport  example\.test, \.test, \* -> none\n/, 'keys that are not there share a line');
like(why('-v', 'alice@example.test'), qr/-> none\n  transport_maps +hash:\Q$dir\E\/transport  example\.test -> none\n/, 'with -v each has its own');
like(why('nosuch@example.test'), qr/^=> transport virtual.*\n=> refused: 550 5\.1\.1 <nosuch\@example\.test>: Recipient address rejected: User unknown in virtual mailbox table\n\z/m, 'who is not there is said');
is($status, 1, 'and returned');
like(why('joe'), qr/ map\n  append_at_myorigin +joe\@example\.test  \(by default\)\n/, 'what was appended');
like(why('--sender', 'x@s.test', 'u@relay.test'), qr/\n  relayhost +next hop \[127\.0\.0\.2\]:1  \(\Q$dir\E\/main\.cf:\Q@{[line_of('relayhost')]}\E\)\n/, 'the line of a parameter');
like(why('moved@example.test'), qr/=> refused: 5\.1\.6 gone\n\z/, 'the error transport refuses');
is($status, 1, 'exit 1');
why('later@example.test');
is($status, 2, 'retry: exit 2');
$out = why('alice@example.test', 'later@example.test', 'moved@example.test');
is($status, 2, 'of several addresses the gravest');
is(scalar(() = $out =~ /^=> transport/mg), 3, 'and each is answered');
$out = $ph->run_in("alice\@example.test\n# no\n\nu\@relay.test\r\n", $ph->sbin('postwhy'), '-c', $dir, '-');
is(scalar(() = $out =~ /^=> transport/mg), 2, 'addresses of standard input');
my @objects = map { decode_json($_) } split /\n/, why('--json', 'alice@example.test', 'u@relay.test');
is(scalar @objects, 2, 'JSON: a line for each');
is_deeply([sort keys %{$objects[0]}], [sort qw(address sender status failed reply refusal results steps omitted)], 'its members');
is_deeply([sort keys %{$objects[1]{results}[0]}], [sort qw(recipient class transport nexthop generic_sender generic_recipient)], 'those of results');
my %members = map { join(' ', sort keys %$_) => 1 } map { @{$_->{steps}} } @objects, why_json('--client', '192.0.2.1', '--client-name', 'unknown', 'alice@example.test');
is_deeply([keys %members], [join ' ', sort qw(stage kind parameter parameter_file parameter_line table key answer value file line remark depth)], 'those of steps, always the same');
my %kinds = map { $_->{kind} => 1 } map { @{$_->{steps}} } @objects;
is_deeply([sort keys %kinds], [qw(lookup match note)], 'their kinds');

# ---- what transports do ----
{
    my %old = map { $_ => $ph->cmd('postconf', '-h', $_) =~ s/\n\z//r } qw(transport_maps local_transport alias_maps mydestination myorigin relayhost);
    my $sink = Posthorn::Sink->new;
    my $me = getpwuid $>;
    my $master = Posthorn::slurp("$dir/master.yaml");
    my $out = "smtp:[127.0.0.1]:" . $sink->port;
    Posthorn::spew("$dir/generic", "ann\@local.test ann.out\@isp.test\n\@box.test \@isp.test\n");
    Posthorn::spew("$dir/members", "# some\nu\@m.test, root\@local.test\n");
    Posthorn::spew("$dir/aliases", "team: chief, \"|cat >/dev/null\", x\@m.test\nchief: $me, deputy\ndeputy: /dev/null\nround: trip\ntrip: round\nmany: :include:$dir/members\nnone: no-such-user-here\n"
        . "owned: $me\nowner-owned: $me\nself: self, /dev/null\nfar: x\@box.test\n");
    is($ph->cmd('postalias', "hash:$dir/aliases"), '', 'postalias');
    $ph->set(transport_maps => "inline:{ {m.test=discard:}, {box.test=$out}, {isp.test=$out} }", local_transport => 'local:', alias_maps => "hash:$dir/aliases", mydestination => 'local.test', myorigin => 'local.test', relayhost => '');
    $ph->edit_master(sub { s/^(.*\bname: smtp, *transport: smtp.*?)settings: \{/$1settings: {smtp_generic_maps: "texthash:$dir\/generic", / or s/^(.*\bname: smtp, *transport: smtp[^}]*)\}/$1, settings: {smtp_generic_maps: "texthash:$dir\/generic"}}/m or die $_ });
    $ph->stop->start;
    my $r = why_json('--client', '198.51.100.9', '--client-name', 'unknown', '--sender', 'ann@local.test', 'u@box.test');
    is("$r->{results}[0]{generic_sender} $r->{results}[0]{generic_recipient} $r->{results}[0]{recipient}", 'ann.out@isp.test u@isp.test u@box.test', 'smtp_generic_maps: sender and recipient as the other side sees them');
    reply_of('198.51.100.9', 'c.test', 'ann@local.test', 'u@box.test');
    my ($m) = $sink->wait_messages(1);
    is("$m->{from} $m->{to}[0]", 'ann.out@isp.test u@isp.test', '... and it does');
    like(place($r, parameter => 'smtp_generic_maps', key => 'ann@local.test', answer => 'found'), qr/generic:1$/, 'with file and line');
    like(why('--sender', 'ann@local.test', 'u@box.test'), qr/^=> transport smtp, next hop \[127\.0\.0\.1\]:\d+, recipient u\@box\.test, sent from ann\.out\@isp\.test, sent to u\@isp\.test$/m, 'in words');
    is(why_json('u@m.test')->{results}[0]{generic_recipient}, '', 'only what leaves by smtp');
    my $notes = sub { my ($r) = @_; return join '; ', map { $_->{value} } grep { $_->{stage} eq 'alias' && $_->{kind} eq 'note' && $_->{parameter} eq '' } @{$r->{steps}} };
    $r = why_json('team@local.test');
    is($notes->($r), "$me is a user: his .forward, or his mailbox; file /dev/null; command cat >/dev/null; x\@m.test gets a message of its own", 'aliases of aliases, files, commands');
    is(join(' ', map { "$_->{transport}:$_->{recipient}" } @{$r->{results}}), 'local:team@local.test discard:x@m.test', 'and where a member goes');
    is($r->{status}, 'ok', 'which is all right');
    is(join(' ', map { "$_->{key}:$_->{line}" } steps($r, parameter => 'alias_maps', answer => 'found')), 'team:1 chief:2 deputy:3', 'each with its line');
    $r = why_json('round@local.test');
    is("$r->{status} $r->{refusal}", 'refused 5.4.6 alias database loop for trip', 'a loop');
    $r = why_json('none@local.test');
    is("$r->{status} $r->{refusal}", 'refused 5.1.1 unknown user: "no-such-user-here"', 'a member that does not exist');
    like($notes->(why_json('many@local.test')), qr{^the members in \S+/members; u\@m\.test gets a message of its own; root\@local\.test gets a message of its own\z}, 'an :include: file');
    like($notes->(why_json('owned@local.test')), qr/^owner-owned is the sender for its members; $me\@local\.test gets a message of its own/, 'an owner');
    is($notes->(why_json('self@local.test')), 'self is neither alias nor user; file /dev/null', 'an alias that names itself');
    is(why_json('far@local.test')->{results}[1]{generic_recipient}, 'x@isp.test', 'a member that leaves by smtp');
    my (undef, $dropped) = reply_of('198.51.100.9', 'c.test', 'x@s.test', 'double-bounce@local.test');
    ok($ph->wait_log(qr/$dropped: to=<double-bounce\@local\.test>, relay=none, .*discarded/), 'mail for the double bounce sender is discarded');
    $r = why_json('double-bounce@local.test');
    is("$r->{status} $r->{refusal} " . @{$r->{results}}, 'ok accepted and discarded 0', '... and that is said');
    for my $case (['round', qr/\(alias database loop for trip\)/], ['none', qr/\(unknown user: "no-such-user-here"\)/]) {
        my ($name, $text) = @$case;
        my (undef, $id) = reply_of('198.51.100.9', 'c.test', 'x@s.test', "$name\@local.test");
        like($ph->wait_log(qr/$id: (to=<[^>]*>, [^\n]*status=bounced[^\n]*)/), $text, "$name: as in life");
    }
    $ph->stop;
    Posthorn::spew("$dir/master.yaml", $master);
    $ph->set(%old);
    $ph->start;
}

# ---- what goes wrong ----
$ph->set(relay_domains => 'relay.test, fail:down');
why('u@relay.test');
is($status, 0, 'a table that fails and is not come to');
$out = why('u@other.test');
is($status, 2, 'one that is: exit 2');
like($out, qr/ fail:down  other\.test -> failed: .*\n(?:.*\n)*=> not now: 451 4\.3\.0 /, 'and it is said');
$ph->postfix('reload');
like((reply_of('192.0.2.1', 'c.test', 'x@s.test', 'u@other.test'))[0], qr/^451 4\.3\.0 .*Temporary lookup failure$/, 'a running system defers it');
is(why_json('--client', '192.0.2.1', '--client-name', 'unknown', 'u@other.test')->{reply}, (reply_of('192.0.2.1', 'c.test', 'x@s.test', 'u@other.test'))[0], 'with the same words');
$ph->set(relay_domains => 'relay.test, hash:$config_directory/relays');
$ph->postfix('reload');
SKIP: {
    skip 'root may read everything', 3 if $> == 0;
    chmod 0, "$dir/users" or die;
    $out = why('alice@example.test');
    is($status, 2, 'a table that we may not read: exit 2');
    like($out, qr/users: Permission denied/, 'it is said');
    like($out, qr/with your own rights/, 'and whose rights count');
    chmod 0644, "$dir/users" or die;
}
for my $case (['no address', []], ['an unknown option', ['--nosuch', 'a@b']], ['a client that is no address', ['--client', 'host', 'a@b']], ['a name without a client', ['--helo', 'x', 'a@b']],
              ['no such service', ['--client', '192.0.2.1', '--service', 'nosuch', 'a@b']]) {
    $out = why(@{$case->[1]});
    is($status, 3, "$case->[0]: exit 3");
}
$out = $ph->run($ph->sbin('postwhy'), '-c', "$dir/nosuch", 'a@b');
is($? >> 8, 3, 'no such configuration: exit 3');
$ph->set(smtpd_recipient_restrictions => 'nosuch_restriction');
$out = why('--client', '192.0.2.1', 'a@b');
is($status, 3, 'a restriction that does not exist: exit 3');
like($out, qr/nosuch_restriction/, '... and is named');
$ph->set(smtpd_recipient_restrictions => 'check_recipient_access hash:$config_directory/rcpt, careful');

# ---- hostile addresses ----
for my $case (["control bytes", "a\e]0;x\a\x9b\@example.test"], ['a line end', "a\@example.test\r\nDATA"], ['4,096 bytes', 'a' x 4083 . '@example.test'], ['more', 'a' x 9000 . '@example.test'], ['a NUL is the end', 'a'],
              ['a quote', '"a@example.test'], ['a backslash', 'a\\'], ['nothing', ''], ['brackets', '<>'], ['an at', '@'], ['many', '@' x 2000], ['percents', '%' x 500 . '@local.test'], ['bangs', 'a!' x 300 . 'b'],
              ['format', '%s%n%d@example.test'], ['UTF-8', "\xc3\xbc\@example.test"], ['no UTF-8', "\xff\xfe\@example.test"], ['overlong', "\xc0\xaf\@example.test"]) {
    my ($name, $address) = @$case;
    for my $args ([], ['--client', '192.0.2.1', '--client-name', 'unknown']) {
        $out = why(@$args, $address);
        ok($status <= 2 && $? < 1 << 16, "$name: an answer") or diag "$?: $out";
        unlike($out, qr/[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]/, "$name: nothing that a terminal obeys");
        my $json = why_out('--json', @$args, $address);
        ok(eval { decode_json($json) }, "$name: JSON that parses") or diag "$@: $json";
    }
}

# ---- two configurations ----
my $new = "$ph->{tmp}/new";
mkdir $new;
Posthorn::spew("$new/main.cf", Posthorn::slurp("$dir/main.cf") =~ s/\$config_directory/$dir/gr);
system('cp', "$dir/master.yaml", $new) == 0 or die;
my @addresses = ('alice@example.test', 'bob@example.test', 'u@relay.test', 'u@relay2.test', 'u@far.test', 'moved@example.test', 'slow@example.test', 'nosuch@example.test', 'u@local.test');
Posthorn::spew("$ph->{tmp}/addresses", "# a file\n\n", map { "$_\n" } @addresses);
sub differ { my (@args) = @_; return why('--diff', $new, @args) }
$out = differ("$ph->{tmp}/addresses");
is($status, 0, 'two that say the same: exit 0');
is($out, "0 of 9 addresses differ\n", '... and nothing else');
my $text = Posthorn::slurp("$new/main.cf");
Posthorn::spew("$dir/transport2", "relay2.test smtp:[127.0.0.4]:1\nslow\@example.test discard:\nbob\@example.test discard:\n");
build('hash', 'transport2');
$text =~ s/^transport_maps.*/transport_maps = hash:$dir\/transport2 regexp:$dir\/transport.re/m;
$text =~ s/^relay_domains.*/relay_domains = hash:$dir\/relays/m;
Posthorn::spew("$new/main.cf", $text);
$out = differ("$ph->{tmp}/addresses");
is($status, 1, 'two that do not: exit 1');
my @changed = $out =~ /^([^\s@]+@\S+)$/mg;
is_deeply(\@changed, ['bob@example.test', 'u@relay.test'], 'exactly what was changed');
like($out, qr/^bob\@example\.test\n - => transport virtual, next hop example\.test, recipient bob\@example\.test\n.*\n \+ => transport discard, next hop example\.test, recipient bob\@example\.test\n.*-> discard:  \(\Q$dir\E\/transport2:3\)\n/m,
     'old, new, and the step that made it');
like($out, qr/^u\@relay\.test\n - => transport relay, .*\n +relay_domains .*\n \+ => transport smtp, /m, 'the same of a list');
like($out, qr/^2 of 9 addresses differ$/m, 'the count');
@objects = map { decode_json($_) } split /\n/, differ('--json', "$ph->{tmp}/addresses");
is_deeply([map { $_->{new} ? $_->{new}{address} : () } @objects], \@changed, 'the same as JSON');
is_deeply($objects[-1], { addresses => 9, different => 2, undecided => 0 }, 'with its count');
$out = differ('u@relay.test', 'alice@example.test');
like($out, qr/^1 of 2 addresses differ$/m, 'addresses as arguments');
$out = $ph->run_in("bob\@example.test\n", $ph->sbin('postwhy'), '-c', $dir, '--diff', $new, '-');
like($out, qr/^1 of 1 addresses differ$/m, 'or on standard input');
is(scalar(() = differ('--client', '192.0.2.1', '--client-name', 'unknown', "$ph->{tmp}/addresses") =~ /refused: 554 5\.7\.1 <u\@relay\.test>: Relay access denied/g), 1, 'as a client sees it');
differ('--client', '192.0.2.66', '--client-name', 'unknown', 'alice@example.test');
is($status, 0, 'a reply that defers is an answer');
Posthorn::spew("$dir/alias2", $file{alias} =~ s/boss\@example.test bob\K/by/r . "many\@example.test " . join(', ', map { "m$_\@relay.test" } 1 .. 900) . "\n");
$text =~ s/^virtual_alias_maps.*/virtual_alias_maps = texthash:$dir\/alias2/m;
Posthorn::spew("$new/main.cf", $text);
$out = differ('--sender', 'x@s.test', 'team@example.test');
like($out, qr/^team\@example\.test\n - => transport relay, [^\n]*\n - => transport virtual, [^\n]* bob\@example\.test\n[^\n]*\n \+ => [^\n]* u\@relay.test\n \+ => [^\n]* bobby\@example\.test\n \+ => refused: [^\n]*\n[^\n]*\n   1 more recipient as before\n/m,
     'of several recipients those that changed') or diag $out;
$out = $ph->run($ph->sbin('postwhy'), '-c', $new, '--json', 'many@example.test');
my $many = decode_json($out);
is(scalar @{$many->{results}}, 900, '900 recipients');
is(scalar @{$many->{steps}}, 2000, 'but not all steps');
cmp_ok($many->{omitted}, '>', 900, 'which is said');
$text =~ s/^relay_domains.*/relay_domains = fail:x/m;
Posthorn::spew("$new/main.cf", $text);
differ("$ph->{tmp}/addresses");
is($status, 2, 'a table that fails: exit 2');
$text =~ s/^smtpd_relay_restrictions.*/smtpd_relay_restrictions = nosuch/m;
Posthorn::spew("$new/main.cf", $text);
like(differ('--client', '192.0.2.1', 'alice@example.test'), qr/nosuch/, 'a configuration that cannot be used says why');
is($status, 3, '... exit 3');
is(scalar(() = differ("$ph->{tmp}/nofile") =~ /No such file/g), 1, 'a file that is not there');
done_testing();
