#!/usr/bin/perl
# A message that somebody signed (DKIM, RFC 6376, in the strictest form) is as good
# behind us as before us, unless an address in it had to change: signed and verified by
# Debian's python3-dkim.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;

my $python = '/usr/bin/python3';
plan skip_all => "package python3-dkim is not installed" if system("$python -c 'import dkim' 2>/dev/null") != 0;
plan skip_all => 'openssl is not installed' if system('openssl version >/dev/null 2>&1') != 0;

my $sink = Posthorn::Sink->new;
my $ph = Posthorn->new(myhostname => 'mx.posthorn.test', relayhost => '[127.0.0.1]:' . $sink->port, canonical_maps => 'inline:{someone@else.test=x@y.test, carl@client.test=carl.c@client.test}',
    masquerade_domains => 'mask.test', append_dot_mydomain => 'yes', smtp_generic_maps => 'inline:{someone@else.test=x@y.test}')->start;
my $tmp = "$ph->{tmp}";
system("openssl genrsa -out $tmp/key 2048 2>/dev/null && openssl rsa -in $tmp/key -pubout -outform DER 2>/dev/null | base64 -w0 >$tmp/pub") == 0 or BAIL_OUT('no key');

# What a signer puts in front of a message; every byte of these headers counts.
my $script = <<'PY';
import dkim, sys
op, tmp, path = sys.argv[1:4]
data = open(path, 'rb').read()
def zone(name, timeout=5):
    return b'v=DKIM1; k=rsa; p=' + open(tmp + '/pub', 'rb').read() if name.startswith(b'sel._domainkey.client.test') else None
if op == 'sign':
    names = [b'from', b'to', b'cc', b'reply-to', b'sender', b'subject', b'date', b'message-id', b'mime-version', b'content-type']
    sys.stdout.buffer.write(dkim.sign(data, b'sel', b'client.test', open(tmp + '/key', 'rb').read(), canonicalize=(b'simple', b'simple'), include_headers=names))
else:
    print('good' if dkim.verify(data, dnsfunc=zone) else 'bad')
PY

sub python { my ($op, $text) = @_; Posthorn::spew("$tmp/message", $text); return $ph->run($python, '-c', $script, $op, $tmp, "$tmp/message") }

sub signed { my ($text) = @_; return python('sign', $text) . $text }

my $message = join "\r\n", "From:  \"Ann, A.\" (the \"first\") <ann\@client.test>", "Reply-To: ann \@ client . test ,\t=?utf-8?q?B=C3=B6b?= <\"bob\"\@client.test>",
    'Sender: <@relay.test:ann@client.test>', 'To: undisclosed-recipients:;', "Cc: Friends: carol\@h.other.test , Dan\r\n <dan\@other.test>;,\r\n\t\tann.x\@else.test   (x\r\n y)",
    "subject:A  folded\r\n  subject\t", 'Date: Thu, 26 Nov 2026 10:00:00 +0100', 'Message-ID: <fixed@client.test>', 'MIME-Version: 1.0', 'Content-Type: text/plain; charset=utf-8', '',
    "8-bit \xc3\xa4", '.dot', 'end', '';
my $whole = signed($message);
like($whole, qr/\ADKIM-Signature: /, 'a signed message');
is(python('verify', $whole), "good\n", 'which verifies');
is(python('verify', $whole =~ s/Ann, A/Ann,  A/r), "bad\n", 'and no longer with a blank more');

my $n = 0;
sub relayed {
    my ($how, $text) = @_;
    if ($how eq 'sendmail') {
        (my $unix = $text) =~ s/\r\n/\n/g;
        my $said = $ph->sendmail($unix, '-i', '-f', 'ann@client.test', 'far@other.test');
        is($?, 0, 'sendmail takes it') or diag $said;
    } else {
        my ($code, $reply) = $ph->smtp->send(from => 'ann@client.test', to => ['far@other.test'], body => $text, mail_args => 'BODY=8BITMIME');
        is($code, 250, 'smtpd takes it') or diag $reply;
    }
    my @m = $sink->wait_messages(++$n);
    my $got = $m[$n - 1]{body} // '';
    # Ours on top is all that may be new.
    $got =~ s/\AReceived: .*?\r\n(?![ \t])//s;
    return $got;
}

for my $context ('permit_inet_interfaces', '') {
    if ($context eq '') {
        my $reloads = () = $ph->log =~ /reload -- /g;
        $ph->set(local_header_rewrite_clients => '');
        $ph->postfix('reload');
        Posthorn::wait_for(sub { (() = $ph->log =~ /reload -- /g) > $reloads });
    }
    for my $how (qw(smtp sendmail)) {
        my $name = "$how, local_header_rewrite_clients = $context";
        my $got = relayed($how, $whole);
        is($got, $whole, "$name: byte for byte");
        is(python('verify', $got), "good\n", "$name: it verifies");
    }
}

# Where something must change, that changes and nothing else.
(my $carl = $message) =~ s/ann\@client/carl\@client/;
my $theirs = signed($carl);
(my $want = $theirs) =~ s/<carl\@client/<carl.c\@client/;
my $got = relayed('sendmail', $theirs);
is($got, $want, 'an address that is mapped: its bytes alone');
is(python('verify', $got), "bad\n", 'which no signature survives');
$got = relayed('smtp', $theirs);
is($got, $theirs, 'of others it is not mapped');
is(python('verify', $got), "good\n", 'and verifies');
unlike($ph->log, qr/panic|fatal/, 'nothing broke');
done_testing();
