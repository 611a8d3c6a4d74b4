#!/usr/bin/perl
# Address maps end to end: what the envelope becomes on its way through SMTP and
# sendmail to mailboxes and to another server; limits, loops, failures.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;
use Notice;

my $sink = Posthorn::Sink->new(rcpt => sub { $_[1] =~ /^bad/ ? "550 5.1.1 <$_[1]>: no such user" : '250 2.1.5 ok' });
my $ph = Posthorn->new(myhostname => 'mx.posthorn.test', myorigin => 'here.test', relayhost => '[127.0.0.1]:' . $sink->port, recipient_delimiter => '+', append_dot_mydomain => 'yes',
    mydestination => 'here.test', local_recipient_maps => '');
my $tmp = "$ph->{tmp}";

sub table { my ($name, @lines) = @_; Posthorn::spew("$tmp/$name", map { "$_\n" } @lines); return "texthash:$tmp/$name" }

sub reload {
    my (%set) = @_;
    my $n = () = $ph->log =~ /reload -- /g;
    $ph->set(%set);
    my $said = $ph->postfix('reload');
    diag $said if $?;
    Posthorn::wait_for(sub { (() = $ph->log =~ /reload -- /g) > $n });
    return;
}

# Through SMTP: the last code, the last reply.
sub send_to {
    my ($from, $to, %o) = @_;
    my ($code, $text) = $ph->smtp->send(from => $from, to => ref $to ? $to : [$to], body => $o{body} // "From: x\@client.test\r\nTo: y\@client.test\r\nSubject: x\r\nMessage-Id: <1\@x>\r\nDate: x\r\n\r\nhi\r\n",
        mail_args => $o{mail_args}, rcpt_args => $o{rcpt_args});
    return wantarray ? ($code, $text) : $code;
}

# What arrives at the sink for it: "from>to to", and its text.
my $seen = 0;
sub relayed {
    my ($from, $to, %o) = @_;
    my ($code, $text) = send_to($from, $to, %o);
    return "$text" unless $code == 250;
    my @m = $sink->wait_messages(++$seen);
    my $m = $m[$seen - 1] or return 'nothing arrived';
    return wantarray ? ("$m->{from}>@{ $m->{to} }", $m->{body}) : "$m->{from}>@{ $m->{to} }";
}
# (The postmaster hears of trouble.)
sub nothing_queued { my ($why) = @_; ok(Posthorn::wait_for(sub { !$ph->queued }), "$why: nothing is queued"); is(scalar($sink->messages), $seen, "$why: nothing was sent"); return }

# ---- canonical maps and masquerading ----

$ph->set(canonical_maps => table('canonical', 'ann@here.test ann.long@out.test', 'bob robert', '@old.test @new.test', 'one@loop.test two@loop.test', 'two@loop.test one@loop.test',
        'two@x.test first@x.test, second@x.test', 'chain1@x.test chain2@x.test', 'chain2@x.test chain3@x.test'),
    sender_canonical_maps => table('senders', 'only@here.test sender@out.test'), recipient_canonical_maps => table('recipients', 'only@here.test recipient@out.test'),
    masquerade_domains => '!shown.mask.test mask.test', masquerade_exceptions => 'root',
    virtual_alias_maps => table('aliases', 'list@v.test a@far.test, b@far.test', 'self@v.test self@v.test, copy@far.test', 'nest@v.test list@v.test, c@far.test',
        'box@v.test mailbox@example.test', '@catch.test @example.test', 'round@v.test there@v.test', 'there@v.test round@v.test', 'same@v.test a@far.test', 'bad@v.test bad1@far.test',
        'two@v.test one@example.test, two@example.test', 'part@v.test fine@far.test, round@v.test', 'local@v.test bob', 'v.test x', 'catch.test x',
        'wide@v.test ' . join(', ', map { "w$_\@far.test" } 1 .. 1000), 'wider@v.test ' . join(', ', map { "w$_\@far.test" } 1 .. 1001)));
$ph->start;

is(relayed('ann@here.test', 'cid@old.test'), 'ann.long@out.test>cid@new.test', 'canonical_maps: sender and recipient');
is(relayed('ann+x@here.test', 'cid+y@old.test'), 'ann.long+x@out.test>cid+y@new.test', 'with extensions');
is(relayed('bob', 'x@far.test'), 'robert@here.test>x@far.test', 'a user of ours, who is completed before and after');
is(relayed('bob@far.test', 'x@far.test'), 'bob@far.test>x@far.test', 'not one of others');
is(relayed('only@here.test', 'x@far.test'), 'sender@out.test>x@far.test', 'sender_canonical_maps');
is(relayed('x@far.test', 'only@here.test'), 'x@far.test>recipient@out.test', 'recipient_canonical_maps');
is(relayed('chain1@x.test', 'two@x.test'), 'chain3@x.test>first@x.test', 'again and again; of several the first');
ok($ph->wait_log(qr/warning: multi-valued canonical_maps entry for two\@x\.test/), 'which is said');
is(relayed('u@h.deep.mask.test', 'r@h.mask.test'), 'u@mask.test>r@h.mask.test', 'masquerade_domains: senders');
is(relayed('root@h.mask.test', 'x@far.test'), 'root@h.mask.test>x@far.test', 'but for exceptions');
is(relayed('u@h.shown.mask.test', 'x@far.test'), 'u@h.shown.mask.test>x@far.test', 'and !domain');
is(relayed('', 'x@far.test'), '>x@far.test', 'the null sender stays');
my ($code, $text) = send_to('one@loop.test', 'x@far.test');
is("$code $text", '451 451 4.3.0 Error: queue file write error', 'a canonical loop: 451');
ok($ph->wait_log(qr/unreasonable canonical_maps map nesting for one\@loop\.test/), 'which is said');
nothing_queued('a canonical loop');

# ---- headers ----

# What a header block is behind us, without our Received: on top.
sub headers {
    my ($how, $from, @headers) = @_;
    my $text = join '', map { "$_\r\n" } @headers, 'Message-Id: <1@x>', 'Date: x', '', 'From: ann@here.test';
    my $body;
    if ($how eq 'smtp') { (undef, $body) = relayed($from, 'x@far.test', body => $text) }
    else {
        (my $unix = $text) =~ s/\r\n/\n/g;
        $ph->sendmail($unix, '-i', $how eq 'sendmail -G' ? '-G' : (), '-f', $from, 'x@far.test');
        my @m = $sink->wait_messages(++$seen);
        $body = $m[$seen - 1]{body};
    }
    $body =~ s/\AReceived: .*?\r\n(?![ \t])//s;
    $body =~ s/\r\nMessage-Id: <1\@x>\r\nDate: x\r\n\r\nFrom: ann\@here\.test\r\n\z// or return "unexpected: $body";
    return join "\n", split /\r\n(?![ \t])/, $body;
}

for my $how (qw(smtp sendmail)) {
    is(headers($how, 'x@far.test', "From: \"Ann, A.\" <ann\@here.test> (ann\@here.test)", "To: cid\@old.test,\r\n\tX <x\@y.test>, bob", 'Subject: ann@here.test'),
        "From: \"Ann, A.\" <ann.long\@out.test> (ann\@here.test)\nTo: cid\@new.test,\r\n\tX <x\@y.test>, robert\@here.test\nSubject: ann\@here.test", "$how: canonical_maps in headers");
    is(headers($how, 'x@far.test', 'From: only@here.test', 'Cc: only@here.test', 'Reply-To: u@h.mask.test, root@h.mask.test'),
        "From: sender\@out.test\nCc: recipient\@out.test\nReply-To: u\@mask.test, root\@h.mask.test", "$how: maps of senders and recipients, masquerading");
    is(headers($how, 'x@far.test', 'From: host!user', 'To: a%b', 'Cc: "a%b", list@v.test'), "From: user\@host.posthorn.test\nTo: a\@b.posthorn.test\nCc: a%b\@here.test, list\@v.test", "$how: operators outside quotes; no aliases");
}
is(headers('sendmail -G', 'x@far.test', 'From: ann@here.test', 'To: bob'), "From: ann\@here.test\nTo: bob", 'sendmail -G: left alone');
is(send_to('x@far.test', 'x@far.test', body => "From: one\@loop.test\r\n\r\nx\r\n"), 451, 'a loop of a header: 451');
nothing_queued('a loop of a header');
reload(local_header_rewrite_clients => 'permit_sasl_authenticated');
is(headers('smtp', 'ann@here.test', 'From: ann@here.test', 'To: bob'), "From: ann\@here.test\nTo: bob", 'headers of other clients are left alone');
ok($ph->wait_log(qr/smtpd\[\d+\]: warning: local_header_rewrite_clients: permit_sasl_authenticated has no effect: it is not built yet/), 'a word that is not built is said');
is(headers('sendmail', 'x@far.test', 'From: ann@here.test', 'To: bob'), "From: ann.long\@out.test\nTo: robert\@here.test", 'those of sendmail are not');
reload(local_header_rewrite_clients => '', remote_header_rewrite_domain => 'domain.invalid');
is(headers('smtp', 'ann@here.test', 'From: ann@here.test', 'To: bob'), "From: ann.long\@out.test\nTo: bob\@domain.invalid", 'remote_header_rewrite_domain: they are completed, otherwise');
reload(local_header_rewrite_clients => 'check_address_map inline:{127.0.0.1=x}');
is(headers('smtp', 'ann@here.test', 'From: ann@here.test', 'To: bob'), "From: ann.long\@out.test\nTo: robert\@here.test", 'check_address_map');
reload(local_header_rewrite_clients => 'permit_mynetworks', remote_header_rewrite_domain => '', mynetworks => '127.0.0.0/8');
is(headers('smtp', 'ann@here.test', 'From: ann@here.test', 'To: bob'), "From: ann.long\@out.test\nTo: robert\@here.test", 'permit_mynetworks');

# ---- who exists ----

reload(local_recipient_maps => 'inline:{known=x}', local_header_rewrite_clients => 'permit_inet_interfaces');
sub rcpt { my ($to, $from) = @_; my $c = $ph->smtp; $c->ask('EHLO client.test'); $c->ask('MAIL FROM:<' . ($from // 's@far.test') . '>'); my ($code) = $c->ask("RCPT TO:<$to>"); return $code }
Posthorn::wait_for(sub { rcpt('unknown@here.test') == 550 });
is(rcpt($_->[0]), $_->[1], "RCPT TO:<$_->[0]>: $_->[2]") for ['unknown@here.test', 550, 'in no table'], ['known@here.test', 250, 'in local_recipient_maps'], ['ann@here.test', 250, 'in canonical_maps'],
    ['ann+x@here.test', 250, 'with an extension'], ['bob@here.test', 250, 'a user of ours there'], ['bob', 250, 'not complete'], ['only@here.test', 250, 'in recipient_canonical_maps'], ['list@v.test', 250, 'in virtual_alias_maps'],
    ['nobody@v.test', 550, 'of a domain of aliases, in no table'];
reload(local_recipient_maps => 'inline:{known=x}', canonical_maps => 'fail:down');
Posthorn::wait_for(sub { rcpt('unknown@here.test') == 451 });
is(rcpt('unknown@here.test'), 451, 'a table that fails says nothing');
reload(local_recipient_maps => '', canonical_maps => "texthash:$tmp/canonical");
Posthorn::wait_for(sub { rcpt('unknown@here.test') == 250 });

# ---- aliases ----

is(relayed('s@far.test', 'list@v.test'), 's@far.test>a@far.test b@far.test', 'virtual_alias_maps: a list');
is(relayed('s@far.test', 'nest@v.test'), 's@far.test>a@far.test c@far.test b@far.test', 'lists in lists: the first result stands for the alias, the others go behind, as in Postfix');
is(relayed('s@far.test', 'list+x@v.test'), 's@far.test>a+x@far.test b+x@far.test', 'extensions go on');
send_to('', 'local@v.test');
ok($ph->wait_log(qr/to=<bob\@here\.test>, orig_to=<local\@v\.test>/), 'a result is completed, and canonical_maps are behind us');
is(relayed('s@far.test', ['list@v.test', 'same@v.test', 'a@far.test']), 's@far.test>a@far.test b@far.test a@far.test a@far.test', 'the same target by three ways is three recipients');
send_to('s@far.test', 'box@v.test');
my ($mail) = $ph->wait_mail('mailbox', 1);
like($mail // '', qr/^X-Original-To: box\@v\.test\nDelivered-To: mailbox\@example\.test\n/m, 'X-Original-To: is the alias');
ok($ph->wait_log(qr/to=<mailbox\@example\.test>, orig_to=<box\@v\.test>, .*status=sent/), 'orig_to= too');
send_to('s@far.test', 'any+ext@catch.test');
like(($ph->wait_mail('any', 1))[0] // '', qr/^X-Original-To: any\+ext\@catch\.test\n/m, '@domain to @domain keeps user and extension');
send_to('s@far.test', 'two@v.test');
is(scalar($ph->wait_mail($_, 1)), 1, "an alias of two mailboxes: $_") for qw(one two);
is(send_to('s@far.test', 'wide@v.test'), 250, '1000 results');
my %wide;
Posthorn::wait_for(sub { %wide = map { $_ => 1 } grep { /^w/ } map { @{ $_->{to} } } $sink->messages; keys %wide == 1000 });
is(scalar(keys %wide), 1000, 'each gets it');
Posthorn::wait_for(sub { !$ph->queued });
$seen = $sink->messages;
for ([wider => '1001 results', qr/virtual_alias_expansion_limit/], [round => 'a loop', qr/virtual_alias_recursion_limit/], [part => 'a part that loops', qr/virtual_alias_recursion_limit/]) {
    my ($user, $what, $why) = @$_;
    ($code, $text) = send_to('s@far.test', ['fine@far.test', "$user\@v.test"]);
    is($text, '451 4.6.0 Alias expansion error', $what);
    ok($ph->wait_log($why), 'the log names the limit');
    nothing_queued($what);
}

# Notices name who was meant: the alias, not where it leads.
$ph->sendmail("Subject: x\n\nx\n", '-f', 'back@example.test', 'bad@v.test');
my $n = Notice->new($ph, ($ph->wait_mail('back', 1))[0]);
is($n->header('Subject'), 'Undelivered Mail Returned to Sender', 'an alias of somebody unknown') or diag $ph->log;
is($n->recipient('bad1@far.test')->{'Original-Recipient'}, 'rfc822;bad@v.test', 'Original-Recipient is the alias');
like($n->words, qr/^<bad1\@far\.test> \(expanded from <bad\@v\.test>\): /m, 'and in words');

# NOTIFY=SUCCESS: an alias of several is reported as expanded, once, and its members are not; one of one is not.
$ph->sendmail("Subject: x\n\nx\n", '-f', 'exp@example.test', '-N', 'success,failure', 'list@v.test', 'two@v.test', 'box@v.test', 'same@v.test');
$n = Notice->new($ph, ($ph->wait_mail('exp', 1))[0]);
is($n->header('Subject'), 'Successful Mail Delivery Report', 'NOTIFY=SUCCESS: a report') or diag $ph->log;
my %told = map { $_->{'Final-Recipient'} =~ s/.*; //r => "$_->{Action} $_->{Status} $_->{'Original-Recipient'}" } $n->recipients;
is_deeply(\%told, { 'list@v.test' => 'expanded 2.0.0 rfc822;list@v.test', 'two@v.test' => 'expanded 2.0.0 rfc822;two@v.test', 'mailbox@example.test' => 'delivered 2.0.0 rfc822;box@v.test',
    'a@far.test' => 'relayed 2.0.0 rfc822;same@v.test' }, 'aliases of several are expanded, members are not told of, the others are') or diag explain \%told;
is(scalar($ph->wait_mail($_, 2)), 2, "$_ got it") for qw(one two);
my ($expid) = $ph->wait_log(qr/([0-9A-Za-z]+): to=<mailbox\@example\.test>, orig_to=<box\@v\.test>[^\n]*\n(?!.*to=<mailbox)/s);
ok($ph->wait_log(qr/qmgr\[\d+\]: \Q$expid\E: removed/), 'the message goes');
unlike($ph->log, qr/ to=<list\@v\.test>| to=<two\@v\.test>/, 'no delivery to an alias is logged');
is_deeply([glob "$ph->{dir}/queue/trace/*"], [], 'no log is left');
is(scalar($ph->mail('exp')), 1, 'one report');
# The same from a queue that was stopped and from one that held it.
reload(defer_transports => 'virtual smtp');
$ph->sendmail("Subject: held\n\nx\n", '-f', 'exp2@example.test', '-N', 'success', 'two@v.test');
my $deferred;
Posthorn::wait_for(sub { ($deferred) = grep { $_->{queue_name} eq 'deferred' && $_->{sender} eq 'exp2@example.test' } $ph->queued; $deferred }) or diag $ph->log;
is_deeply([sort map { $_->{address} } @{ $deferred->{recipients} // [] }], ['one@example.test', 'two@example.test'], 'a listing shows members, not the alias');
$ph->restart;
$ph->cmd('postsuper', '-r', $deferred->{queue_id});
reload(defer_transports => '');
$ph->cmd('postqueue', '-f');
is(scalar($ph->wait_mail('one', 3)), 3, 'requeued: its members get it');
my @reports = $ph->wait_mail('exp2', 1);
Posthorn::wait_for(sub { !$ph->queued });
@reports = $ph->mail('exp2');
is(scalar(@reports), 1, 'and it is reported once');
is((Notice->new($ph, Posthorn::slurp($reports[0]))->recipients)[0]{Action}, 'expanded', 'as expanded');
# Expired by force, before the first attempt and after it: its members are returned, the alias was expanded.
reload(defer_transports => 'smtp', smtpd_sender_restrictions => 'check_sender_access inline:{exp-f@example.test=HOLD}');
for my $how (qw(-f -e)) {
    my ($kept, %returned, @told);
    send_to("exp$how\@example.test", 'list@v.test', rcpt_args => 'NOTIFY=SUCCESS,FAILURE');
    Posthorn::wait_for(sub { ($kept) = grep { $_->{queue_name} =~ /hold|deferred/ && $_->{sender} eq "exp$how\@example.test" } $ph->queued; $kept }) or diag $ph->log;
    is($kept->{queue_name}, $how eq '-f' ? 'hold' : 'deferred', "postsuper $how: a message waits");
    is_deeply([sort map { $_->{address} } @{ $kept->{recipients} // [] }], ['a@far.test', 'b@far.test'], '  and is listed with its members');
    $ph->cmd('postsuper', $how, $kept->{queue_id});
    $ph->cmd('postqueue', '-i', $kept->{queue_id});
    for my $text ($ph->wait_mail("exp$how", 2)) {
        my $n = Notice->new($ph, $text);
        push @told, $n->header('Subject');
        $returned{ $_->{'Final-Recipient'} =~ s/.*; //r } = $_->{Action} for $n->recipients;
    }
    is_deeply(\%returned, { 'list@v.test' => 'expanded', 'a@far.test' => 'failed', 'b@far.test' => 'failed' }, '  its members are returned, the alias is reported as expanded') or diag explain(\%returned), $ph->log;
    is(scalar(@told), 2, '  in a notice each');
}
reload(defer_transports => '', smtpd_sender_restrictions => '');
$seen = $sink->messages;

# One message that cannot be taken yet holds up no other.
$ph->sendmail("Subject: x\n\nx\n", '-f', 'back@example.test', 'round@v.test');
ok($ph->wait_log(qr/pickup\[\d+\]: warning: maildrop\/\S+ waits: cleanup: unreasonable virtual_alias_maps expansion/), 'sendmail: it waits in maildrop');
$ph->sendmail("Subject: x\n\nx\n", '-f', 'back@example.test', 'behind@example.test');
is(scalar($ph->wait_mail('behind', 1)), 1, 'and the next goes through');
is(scalar(my @waiting = glob "$ph->{dir}/queue/maildrop/[A-Z0-9]*"), 1, 'the file is there');
reload(virtual_alias_maps => table('aliases2', 'round@v.test found@example.test', 'v.test x'), queue_run_delay => '5s');
$ph->cmd('postqueue', '-f');
$ph->sendmail("Subject: x\n\nx\n", '-f', 'back@example.test', 'behind@example.test');
is(scalar($ph->wait_mail('found', 1)), 1, 'until the map is right');

# ---- copies ----

reload(virtual_alias_maps => '', canonical_maps => 'inline:{bcc@far.test=copy@far.test}', sender_bcc_maps => 'inline:{s@far.test=sbcc@far.test}', recipient_bcc_maps => 'inline:{r@far.test=rbcc@far.test}',
    always_bcc => 'bcc@far.test');
my $all;
Posthorn::wait_for(sub { $all = relayed('s@far.test', 'r@far.test'); $all =~ /rbcc/ });
is($all, 's@far.test>r@far.test rbcc@far.test sbcc@far.test copy@far.test', 'sender_bcc_maps, recipient_bcc_maps, always_bcc');
is(relayed('s@far.test', ['r@far.test', 'rbcc@far.test']), 's@far.test>r@far.test rbcc@far.test rbcc@far.test sbcc@far.test copy@far.test', 'each once, beside one who was named');
$ph->sendmail("Subject: x\n\nx\n", '-f', 'back@example.test', 'bad@far.test');
my @back = $ph->wait_mail('back', 2);
is(scalar(@back), 2, 'a notice comes back');
Posthorn::wait_for(sub { !$ph->queued });
$seen = $sink->messages;
is(scalar(grep { $_->{from} eq '' && "@{ $_->{to} }" =~ /copy/ } $sink->messages), 0, 'no copy is made of it');

# receive_override_options: for mail that comes from a filter.
reload(always_bcc => 'bcc@far.test', canonical_maps => 'inline:{s@far.test=no@far.test}', virtual_alias_maps => 'inline:{r@far.test=no@far.test}', masquerade_domains => 'far.test', sender_bcc_maps => 'static:no@far.test',
    recipient_bcc_maps => 'static:no@far.test', receive_override_options => 'no_address_mappings');
Posthorn::wait_for(sub { $all = relayed('s@far.test', 'r@far.test'); $all !~ /bcc|no/ });
is(headers('smtp', 's@h.far.test', 'From: s@far.test', 'To: u@h.far.test, bob'), "From: s\@far.test\nTo: u\@h.far.test, bob\@here.test", 'no_address_mappings: headers are completed only');
is($all, 's@far.test>r@far.test', 'and the envelope is as it was');
is(headers('sendmail', 's@h.far.test', 'From: s@far.test', 'To: u@h.far.test'), "From: s\@far.test\nTo: u\@h.far.test", '... in mail of sendmail, too');
reload(receive_override_options => '');

# ---- failures ----

reload(always_bcc => '', sender_bcc_maps => '', recipient_bcc_maps => '', canonical_maps => '', sender_canonical_maps => '', recipient_canonical_maps => '', masquerade_domains => '');
Posthorn::wait_for(sub { relayed('s@far.test', 'r@far.test') eq 's@far.test>r@far.test' });
for my $map (qw(canonical_maps sender_canonical_maps recipient_canonical_maps virtual_alias_maps sender_bcc_maps recipient_bcc_maps)) {
    reload($map => 'fail:down');
    my $reply;
    Posthorn::wait_for(sub { my ($c, $t) = send_to('s@far.test', ['r@far.test', 'q@far.test']); $seen++ if $c == 250; $reply = $t; $c != 250 });
    like($reply, qr/^451 4\.3\.0 /, "$map that fails: 451");
    $sink->wait_messages($seen);
    Posthorn::wait_for(sub { !$ph->queued });
    nothing_queued("$map that fails");
    reload($map => '');
}
Posthorn::wait_for(sub { send_to('s@far.test', 'r@far.test') == 250 });
# An address without a user, which is empty_address_recipient, is not what is known of its domain.
reload(local_transport => 'smtp:[127.0.0.1]:' . $sink->port);
ok(Posthorn::wait_for(sub { send_to('s@far.test', 'first@here.test'); Posthorn::wait_for(sub { !$ph->queued }); $ph->log =~ /to=<first\@here\.test>, relay=127/ }), 'local mail goes by smtp');
$seen = $sink->messages;
is(relayed('s@far.test', '@here.test'), 's@far.test>MAILER-DAEMON@here.test', 'a recipient without a user');
is(relayed('s@far.test', 'zoe@here.test'), 's@far.test>zoe@here.test', 'takes no other of its domain with it');
unlike($ph->log, qr/panic|fatal|warning: .*(?:protocol|signal)/, 'nothing broke') or diag $ph->log;
done_testing();
