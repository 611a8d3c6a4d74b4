#!/usr/bin/perl
# Bad plugins in a running system: each is refused with its true cause in the
# log, what needs it fails for a while, and the rest runs.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;

my $ph = Posthorn->new();
my $bad = "$Posthorn::build/t/plugin/bad";
my %cause = (
    undefined => qr/undefined symbol: ph_no_such_call/,
    noentry => qr/does not export table_noentry_LTX_ph_plugin/,
    abi => qr/built for plugin ABI 99, this is ABI 1/,
    gone => qr/libphgone\.so: cannot open shared object file/,
    private => qr/uses private symbols of libposthorn/,
    missing => qr/no-such-file\.so: No such file or directory/,
    writable => qr/writable\.so: writable by everybody/,
);
mkdir "$ph->{dir}/plugins.d" or die;
Posthorn::spew("$ph->{dir}/writable.so", Posthorn::slurp("$bad/table_good.so"));
chmod 0777, "$ph->{dir}/writable.so";
for my $name (keys %cause) {
    my $so = $name eq 'missing' ? "$ph->{dir}/no-such-file.so" : $name eq 'writable' ? "$ph->{dir}/writable.so" : "$bad/table_$name.so";
    Posthorn::spew("$ph->{dir}/plugins.d/$name.yaml", "format: 1\nkind: table\nname: $name\nobject: $so\n");
}

# The administrator sees it at once with postmap.
for my $name (sort keys %cause) {
    like($ph->cmd('postmap', '-q', 'x', "$name:x"), qr/^postmap: fatal: table type "$name": .*$cause{$name}/, "postmap: $name");
}

# smtpd uses all of them in a list; a mail that comes to one gets 4xx, mail that
# does not is delivered.
Posthorn::spew("$ph->{dir}/ok", "good\@x.test OK\n");
$ph->set(smtpd_sender_restrictions => join(', ', "check_sender_access texthash:$ph->{dir}/ok", map { "check_sender_access $_:x" } sort keys %cause));
$ph->start;
my @r = $ph->smtp->send(from => 'good@x.test', to => ['u@example.test'], body => "Subject: 1\r\n\r\none\r\n");
is($r[0], 250, 'what does not need the bad plugins is accepted') or diag "@r", $ph->log;
ok($ph->wait_mail('u', 1), 'and delivered');
@r = $ph->smtp->send(from => 'other@x.test', to => ['u@example.test'], body => "Subject: 2\r\n\r\ntwo\r\n");
like($r[0], qr/^4/, 'what comes to one gets 4xx, not a refusal for good') or diag "@r", $ph->log;
for my $name (sort keys %cause) {
    ok($ph->wait_log(qr/postfix\/smtpd\[\d+\]: error: .*table type "$name": .*$cause{$name}/), "the log says why: $name") or diag $ph->log;
}
$ph->stop;

like($ph->cmd('postmap', '-q', 'x', 'texthsh:x'), qr/unsupported dictionary type: texthsh: did you mean "texthash"\?/, 'a misspelt type');
done_testing();
