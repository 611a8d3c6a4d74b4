#!/usr/bin/perl
# The same sessions given to Debian's Postfix, as a black box, and to us: the
# same replies word for word, and the same log lines but for ids and times.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;
use PeerPostfix;

my $why = PeerPostfix->missing;
plan skip_all => $why if $why;

my %common = (
    myhostname => 'mx.test', mail_name => 'Mail', mynetworks => '192.0.2.0/24', relay_domains => 'relay.example', virtual_mailbox_domains => 'example.test',
    smtpd_error_sleep_time => '0', smtpd_hard_error_limit => 500, smtpd_junk_command_limit => 500, message_size_limit => 50000,
    smtpd_relay_restrictions => 'permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination',
);
my @quit = ('QUIT');

# name, settings of both, sessions of lines.  "+" in front: bytes as they are,
# without a reply; "-": the client leaves.
my @groups = (
    ['defaults', {}, [
        ['order of commands', 'RCPT TO:<u@example.test>', 'DATA', 'MAIL FROM:<a@b.test>', 'RSET', 'EHLO c.test', 'MAIL FROM:<a@b.test>', 'MAIL FROM:<a@b.test>', 'DATA', 'RSET x', 'RSET',
            'NOOP x', 'HELO', 'EHLO', 'HELO c.test', 'STARTTLS', 'AUTH PLAIN x', 'EXPN u', 'XCLIENT NAME=x', 'XFORWARD NAME=x', 'QUIT x'],
        ['syntax', 'EHLO c.test', '', '   ', 'FOO', 'foo bar', 'MAIL', 'MAIL FROM', 'MAIL FROM:', 'MAIL FROM:<a@b', 'MAIL FROM:<a@b> FOO', 'MAIL FROM:a b@c', 'MAIL FROM:<a@b.test> SIZE=x',
            'MAIL FROM:<a@b.test> SIZE=', 'MAIL FROM:<a@b.test> SIZE=60000', 'MAIL FROM:<a@b.test> BODY=BINARYMIME', 'MAIL FROM:<@x,@y:a@b.test> SIZE=100 BODY=7BIT', 'RCPT', 'RCPT TO:', 'RCPT TO:<>',
            'RCPT TO:<u@example.test> FOO', 'RCPT TO:<u@example.test', 'DATA x', 'RSET', @quit],
        ['DSN', 'EHLO c.test', 'MAIL FROM:<a@b.test> RET=FOO', 'MAIL FROM:<a@b.test> RET=FULL RET=FULL', 'MAIL FROM:<a@b.test> ENVID=', 'MAIL FROM:<a@b.test> ENVID=a+zz',
            'MAIL FROM:<a@b.test> RET=hdrs ENVID=a+3Db', 'RCPT TO:<u@example.test> NOTIFY=NEVER,SUCCESS', 'RCPT TO:<u@example.test> NOTIFY=FOO', 'RCPT TO:<u@example.test> NOTIFY=',
            'RCPT TO:<u@example.test> NOTIFY=SUCCESS NOTIFY=FAILURE', 'RCPT TO:<u@example.test> NOTIFY=success,SUCCESS', 'RCPT TO:<u@example.test> ORCPT=foo', 'RCPT TO:<u@example.test> ORCPT=;foo',
            'RCPT TO:<u@example.test> ORCPT=rfc822;', 'RCPT TO:<u@example.test> ORCPT=x-foo;a+2Bb', 'RCPT TO:<u@example.test> ORCPT=rfc822;a ORCPT=rfc822;a', @quit],
        ['UTF-8', 'EHLO c.test', "NOOP \xff", "MAIL FROM:<a\xc3\xa4\@b.test>", 'RSET', "MAIL FROM:<a\@b\xc3\xa4.test>", "MAIL FROM:<a\@b\xc3\xa4.test> SMTPUTF8", "RCPT TO:<u\xc3\xa4\@example.test>", 'RSET',
            'MAIL FROM:<a@b.test> SMTPUTF8=x', 'MAIL FROM:<a@b.test> SMTPUTF8 SMTPUTF8', 'RSET', 'MAIL FROM:<a@b.test>', "RCPT TO:<u\xc3\xa4\@example.test>", "RCPT TO:<u\@b\xc3\xa4.test>", @quit],
        ['VRFY', 'EHLO c.test', 'VRFY', 'VRFY u@example.test', 'VRFY <u@example.test>', 'VRFY u@example.test SMTPUTF8', 'VRFY u@example.test FOO', 'VRFY a b', 'VRFY u@other.test', "VRFY u\@ex\xc3\xa4.test",
            'MAIL FROM:<a@b.test>', 'VRFY u@example.test', 'RCPT TO:<u@example.test>', @quit],
        ['ETRN', 'EHLO c.test', 'ETRN', 'ETRN foo.example', 'ETRN #queue', 'ETRN foo!', 'MAIL FROM:<a@b.test>', 'ETRN foo.example', @quit],
        ['relaying', 'EHLO c.test', 'MAIL FROM:<a@b.test>', 'RCPT TO:<u@other.test>', 'DATA', 'RCPT TO:<u%other.test@relay.example>', 'RCPT TO:<"u@other.test"@relay.example>', 'RCPT TO:<@relay.example:u@other.test>',
            'RCPT TO:<u@relay.example>', 'RCPT TO:<u@sub.relay.example>', 'RCPT TO:<postmaster>', @quit],
        ['a message', 'EHLO c.test', 'MAIL FROM:<a@b.test> AUTH=s+2Bx@y', 'RCPT TO:<u@example.test>', 'DATA', "+Subject: x\r\n\r\nhi\r\n", '.', 'DATA', @quit],
        ['AUTH= twice', 'EHLO c.test', 'MAIL FROM:<a@b.test> AUTH=a@b AUTH=c@d', @quit],
        ['BDAT', 'EHLO c.test', "+BDAT 5\r\n", 'abc', 'RSET', 'MAIL FROM:<a@b.test>', 'RCPT TO:<u@example.test>', "+BDAT 14\r\nSubject: x\r\n", '', 'MAIL FROM:<a@b.test>', 'RCPT TO:<u@example.test>', 'DATA',
            'BDAT 0 LAST', 'BDAT 0', 'MAIL FROM:<a@b.test>', 'RCPT TO:<a@b.test>', 'DATA', 'BDAT 0 LAST', 'MAIL FROM:<a@b.test>', 'RCPT TO:<u@example.test>', 'BDAT 1 FOO', '-'],
        ['non-SMTP', 'GET / HTTP/1.0', '-'], ['a header', 'Subject: foo', '-'], ['no letter', '!foo', '-'], ['lost', 'EHLO c.test', 'MAIL FROM:<a@b.test>', '-'], ['lost early', '-'],
    ]],
    ['other settings', { smtpd_helo_required => 'yes', disable_vrfy_command => 'yes', strict_rfc821_envelopes => 'yes', strict_smtputf8 => 'yes', smtpd_delay_reject => 'no',
            smtpd_sender_restrictions => 'check_sender_access inline:{bad@b.test=REJECT, tmp@b.test=DEFER, {own@b.test=550 5.1.1 mine}}', smtpd_discard_ehlo_keywords => 'dsn, size',
            smtpd_recipient_limit => 2, smtpd_helo_restrictions => 'check_helo_access inline:{bad.test=REJECT}', smtpd_noop_commands => 'FOO VRFY', smtpd_client_port_logging => 'no' }, [
        ['HELO required', 'MAIL FROM:<a@b.test>', 'ETRN x.test', 'VRFY x', 'EHLO bad.test', 'MAIL FROM:<a@b.test>', 'HELO c.test', 'MAIL FROM: <a@b.test>', 'MAIL FROM:a@b.test', 'MAIL FROM:<a@b.test> RET=FULL', 'MAIL FROM:<bad@b.test>', 'MAIL FROM:<tmp@b.test>',
            'MAIL FROM:<own@b.test>', "MAIL FROM:<\xc3\xa4\@b.test>", 'MAIL FROM:<a@b.test>', 'RCPT TO:<u@example.test> NOTIFY=NEVER', "RCPT TO:<\xc3\xa4\@example.test>", 'RCPT TO:<u@example.test>', 'RCPT TO:<v@example.test>', 'RCPT TO:<w@example.test>',
            'FOO', @quit],
    ]],
    ['XCLIENT', { smtpd_authorized_xclient_hosts => '127.0.0.1', smtpd_authorized_xforward_hosts => '127.0.0.1' }, [
        ['syntax', 'EHLO c.test', 'XCLIENT', 'XCLIENT foo', 'XCLIENT FOO=bar', 'XCLIENT NAME=b%ad', 'XCLIENT ADDR=300.1.1.1', 'XCLIENT PROTO=FOO', 'XCLIENT HELO=', 'XCLIENT DESTADDR=x', 'XFORWARD', 'XFORWARD foo',
            'XFORWARD FOO=bar', 'XFORWARD SOURCE=FOO', 'XFORWARD PORT=x', 'MAIL FROM:<a@b.test>', 'XCLIENT NAME=foo', 'XFORWARD NAME=foo', @quit],
        ['XFORWARD', 'EHLO c.test', 'XFORWARD NAME=spike.test ADDR=192.0.2.5 PORT=25 HELO=h.test PROTO=ESMTP', 'XFORWARD IDENT=ABCD SOURCE=LOCAL', 'MAIL FROM:<a@b.test>', 'RCPT TO:<u@example.test>', 'RSET',
            'MAIL FROM:<a@b.test>', 'RCPT TO:<u@example.test>', 'RSET', 'XFORWARD IDENT=ZZ', 'MAIL FROM:<a@b.test>', 'RCPT TO:<u@example.test>', @quit],
        ['XCLIENT', 'EHLO c.test', 'XCLIENT NAME=spike.test LOGIN=joe HELO=spike PROTO=SMTP', 'MAIL FROM:<a@b.test>', 'RCPT TO:<u@example.test>', 'RSET', 'XCLIENT NAME=[TEMPUNAVAIL] REVERSE_NAME=rev.test', 'MAIL FROM:<a@b.test>',
            'RCPT TO:<u@other.test>', 'RCPT TO:<u@example.test>', 'RSET', 'XCLIENT ADDR=198.51.100.1', 'XCLIENT ADDR=127.0.0.1', 'XFORWARD NAME=x', 'EHLO d.test', 'MAIL FROM:<a@b.test>', 'RCPT TO:<u@other.test>', @quit],
    ]],
    ['names in mynetworks', { smtpd_authorized_xclient_hosts => '127.0.0.1', mynetworks => '!no.name.test name.test .dot.test inline:{tab.test=x} 192.0.2.0/24 foo/bar 999.1.1.1' }, [
        (map { [$_, 'EHLO c.test', "XCLIENT NAME=$_ ADDR=198.51.100.1", 'EHLO c.test', 'MAIL FROM:<a@b.test>', 'RCPT TO:<u@other.test>', @quit] }
            qw(name.test a.name.test no.name.test other-name.test x.dot.test sub.tab.test foo/bar [UNAVAILABLE])),
        ['an address', 'EHLO c.test', 'XCLIENT NAME=no.name.test ADDR=192.0.2.1', 'EHLO c.test', 'MAIL FROM:<a@b.test>', 'RCPT TO:<u@other.test>', @quit],
    ]],
    ['a network that is none', { mynetworks => '192.0.2.1/24', smtpd_forbid_bare_newline => 'yes', smtpd_client_event_limit_exceptions => '' }, [
        ['relaying', 'EHLO c.test', 'XCLIENT NAME=x', 'MAIL FROM:<a@b.test>', 'RCPT TO:<u@example.test>', 'RCPT TO:<u@other.test>', 'DATA', @quit],
    ]],
    ['exclusions and relays that cannot be looked up', { smtpd_forbid_bare_newline => 'yes', smtpd_forbid_bare_newline_exclusions => 'fail:x', local_header_rewrite_clients => 'check_address_map fail:x' }, [
        ['local_header_rewrite_clients', 'MAIL FROM:<a@b', 'EHLO c.test', 'MAIL FROM:<a@b.test> FOO', 'MAIL FROM:<a@b.test>', 'RCPT TO:<u@example.test>', 'RSET', 'MAIL FROM:<a@b.test>', @quit],
    ]],
    ['whether XCLIENT is allowed cannot be said', { smtpd_authorized_xclient_hosts => '192.0.2.1/24' }, [
        (map { [$_, 'HELO c.test', 'MAIL FROM:<a@b.test>', 'RCPT TO:<u@example.test>', 'RSET', 'XFORWARD NAME=x', $_, '-'] } 'EHLO c.test', 'XCLIENT NAME=x'),
    ]],
    ['nor XFORWARD', { smtpd_authorized_xforward_hosts => '192.0.2.1/24' }, [
        (map { [$_, 'HELO c.test', $_, '-'] } 'EHLO c.test', 'XFORWARD NAME=x'),
    ]],
    ['nor what is hidden', { smtpd_discard_ehlo_keyword_address_maps => 'fail:x' }, [['HELO', 'HELO c.test', 'MAIL FROM:<a@b.test>', 'RSET', 'EHLO c.test', '-']]],
    ['access actions', { smtpd_sender_restrictions => 'check_sender_access inline:{reject@b.test=REJECT, {words@b.test=REJECT go away}, {code@b.test=550 5.1.2 other words}, {dsn@b.test=REJECT 4.1.3 four}, defer@b.test=DEFER, {dip@b.test=DEFER_IF_PERMIT not now}, '
            . '{dir@b.test=DEFER_IF_REJECT}, {warn@b.test=WARN look at this}, {info@b.test=INFO told}, hold@b.test=HOLD, {held@b.test=HOLD for review}, discard@b.test=DISCARD, {gone@b.test=DISCARD go}, {redir@b.test=REDIRECT x@example.test}, {bcc@b.test=BCC y@example.test}, {bad@b.test=250 no}, '
            . '{odd@b.test=nonsense}, {high@b.test=621 x}, {net@b.test=421 4.7.0 bye}}',
            smtpd_recipient_restrictions => 'check_recipient_access inline:{{s8@example.test=550 5.1.8 eight}, {s7@example.test=REJECT 5.1.7 seven}, {ok@example.test=OK}, {n9@example.test=550 5.1.9 nine}}',
            smtpd_helo_restrictions => 'check_helo_access inline:{{one.test=550 5.1.1 first}}' }, [
        (map { ["from $_", 'EHLO c.test', "MAIL FROM:<$_\@b.test>", 'RCPT TO:<u@example.test>', 'DATA', ".", @quit] } qw(warn info hold held discard gone redir bcc dip)),
        ['refusals', 'EHLO c.test', (map { ("MAIL FROM:<$_\@b.test>", 'RCPT TO:<u@example.test>', 'RSET') } qw(reject words code dsn defer dir bad)), 'MAIL FROM:<a@b.test>',
            (map { "RCPT TO:<$_\@example.test>" } qw(s8 s7 ok n9)), @quit],
        ['421', 'EHLO c.test', 'MAIL FROM:<net@b.test>', 'RCPT TO:<u@example.test>', '-'],
        ['HELO', 'HELO one.test', 'MAIL FROM:<a@b.test>', 'RCPT TO:<u@example.test>', @quit],
    ]],
    ['keys of access tables', { smtpd_sender_restrictions => 'check_sender_access inline:{{bare=REJECT bare}, {bare@=REJECT at}, {d.test=REJECT domain}, {num@b.test=550}, {num2@b.test=42}, {mx.test=REJECT of myorigin}}',
            smtpd_client_restrictions => 'check_reverse_client_hostname_access inline:{{reverse.test=REJECT reverse}, {named.test=REJECT named}}, check_client_access inline:{{1.2.3.4=REJECT four}, {::ffff:1.2.3.4=REJECT six}}',
            smtpd_authorized_xclient_hosts => '127.0.0.1' }, [
        ['senders', 'EHLO c.test', (map { ("MAIL FROM:<$_>", 'RCPT TO:<u@example.test>', 'RSET') } 'bare', 'other', 'd.test', 'a@d.test.', 'a@d.test', 'a@x.d.test.', 'num@b.test', 'num2@b.test', 'bare@q.test', '"bare"'), @quit],
        map({ my $x = $_; [$x, 'EHLO c.test', "XCLIENT $x", 'EHLO c.test', 'MAIL FROM:<a@b.test>', 'RCPT TO:<u@example.test>', @quit] }
            'NAME=reverse.test', 'NAME=a.reverse.test', 'NAME=x.test REVERSE_NAME=reverse.test', 'REVERSE_NAME=reverse.test NAME=x.test', 'REVERSE_NAME=named.test', 'NAME=[UNAVAILABLE] REVERSE_NAME=reverse.test', 'NAME=named.test REVERSE_NAME=[UNAVAILABLE]',
            'ADDR=IPV6:::ffff:1.2.3.4', 'ADDR=1.2.3.4'),
    ]],
    ['permissions', { smtpd_log_access_permit_actions => 'static:all', smtpd_sender_restrictions => 'check_sender_access inline:{a@b.test=OK, c@b.test=permit, d@b.test=DUNNO}', mynetworks => '127.0.0.0/8',
            smtpd_client_restrictions => 'permit_mynetworks', smtpd_helo_restrictions => 'permit_inet_interfaces', smtpd_recipient_restrictions => 'permit_auth_destination' }, [
        ['logged', 'EHLO c.test', (map { ("MAIL FROM:<$_\@b.test>", 'RCPT TO:<u@example.test>', 'RSET') } qw(a c d)), @quit],
    ]],
    ['refused at once', { smtpd_client_restrictions => 'reject', smtpd_delay_reject => 'no' }, [['refused', 'EHLO c.test', 'FOO', 'MAIL FROM:<a@b.test>', @quit]]],
);

# What differs on purpose, or is newer than the Postfix at hand.
sub same { my ($text) = @_; $text =~ s/queued as \S+/queued as ID/; return $text }
sub shape {
    my ($log) = @_;
    my @lines;
    for (split /\n/, $log) {
        next unless s{^.*?postfix/smtpd\[\d+\]: }{};
        next if /^warning: unknown DSN NOTIFY/ || /removed \(discarded\)$/ || /^warning: Illegal address syntax from .*: <[^>]*$/;
        next if /^warning: task .* held the loop/;              # a busy machine
        next if /^error: |^warning: .*(?:fail:x always fails|table lookup problem|lookup error for)/;   # a list is read once; why a table fails has other words
        s/^warning: (?:\S+\[[\d.]+\]: )?(?:restriction \w+: )?(?=\w+: non-null)/warning: of /;         # a process of ours serves many, and says whom and where
        s/^NOQUEUE: ((?:lost connection|timeout|too many errors) after)/$1/;
        s/^(warning: )?[0-9A-Za-z]{10,}: /($1 || '') . 'ID: '/e;
        s/^ID: ((?:lost connection|timeout|too many errors) after)/$1/;
        push @lines, $_;
    }
    return @lines;
}

sub talk {
    my ($port, $name, @lines) = @_;
    my $c = Posthorn::Client->new(port => $port, raw => 1, timeout => 10) or return "$name: no connection";
    my @replies = (($c->reply)[1]);
    for my $l (@lines) {
        last if $l eq '-';
        $c->put($l =~ /^\+(.*)/s ? $1 : "$l\r\n");
        push @replies, "$l: " . same(($c->reply)[1]) unless $l =~ /^\+/;
    }
    close $c->{s};
    return @replies;
}

for my $g (@groups) {
    my ($title, $set, $sessions) = @$g;
    my $peer = PeerPostfix->new(%common, virtual_mailbox_maps => 'static:u/', virtual_mailbox_base => '/nonexistent', virtual_uid_maps => 'static:9', virtual_gid_maps => 'static:13',
        defer_transports => 'virtual smtp relay', %$set)->start;
    my $ph = Posthorn->new(%common, virtual_mailbox_maps => 'static:u/', %$set)->start;
    # Its start was watched with a connection, whose end comes first.
    Posthorn::wait_for(sub { $peer->log =~ /smtpd\[\d+\]: disconnect from/ }, 10);
    for my $s (@$sessions) {
        my ($name, @lines) = @$s;
        my ($done, @logs) = 0;
        my @theirs = talk($peer->port, $name, @lines);
        my @ours = talk($ph->port, $name, @lines);
        is_deeply(\@ours, \@theirs, "$title: $name");
        for my $side ($peer, $ph) {
            $side->{talks}++;
            my $want = $side->{talks} + ($side == $peer);
            Posthorn::wait_for(sub { (() = $side->log =~ /smtpd\[\d+\]: disconnect from/g) >= $want }, 10);
        }
    }
    my @theirs = shape($peer->log);
    shift @theirs until $theirs[0] =~ /^disconnect/;            # that connection
    shift @theirs;
    my @ours = shape($ph->log);
    is_deeply(\@ours, \@theirs, "$title: the log");
    if ($ENV{POSTHORN_DIFF}) {
        Posthorn::spew("/tmp/theirs", map { "$_\n" } @theirs);
        Posthorn::spew("/tmp/ours", map { "$_\n" } @ours);
        diag `diff /tmp/theirs /tmp/ours`;
    }
    $peer->stop;
    $ph->stop;
}
done_testing();
