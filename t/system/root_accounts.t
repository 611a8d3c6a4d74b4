# Accounts that are no walls between each other are refused before anything
# runs; without network_owner there is one account, and that is said aloud.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use PosthornRoot;
use Posthorn;
use Test::More;

PosthornRoot::accounts(postfix => 731, postnet => 732, 'group postdrop' => 733, toor => 0, samegid => '740:731', twin => '731:750', 'group asmail' => 731, 'group asroot' => 0);

my $ph = Posthorn->new;
my $cf = Posthorn::slurp($ph->dir . '/main.cf');
like($cf, qr/^mail_owner = postfix$/m, 'an instance of root belongs to postfix');
my @refused = (
    [{ mail_owner => 'nosuch' }, qr/mail_owner: unknown user name value/],
    [{ mail_owner => 'root' }, qr/mail_owner: "root" has the rights of root/],
    [{ mail_owner => 'toor' }, qr/mail_owner: "toor" has the rights of root/],
    [{ mail_owner => 'twin' }, qr/mail_owner: "twin" has the user id of "postfix"/],
    [{ network_owner => 'root' }, qr/network_owner: "root" has the rights of root/],
    [{ network_owner => 'samegid' }, qr/network_owner: "samegid" has the group of mail_owner/],
    [{ setgid_group => 'asroot' }, qr/setgid_group: "asroot" has the rights of root/],
    [{ setgid_group => 'asmail' }, qr/setgid_group: "asmail" has the group id of "postfix"|is the group of "postfix"/],
    [{ setgid_group => 'postfix' }, qr/setgid_group: "postfix" has the group id of "asmail"|is the group of "postfix"/],
    [{ setgid_group => 'postnet' }, qr/setgid_group: "postnet" is the group of "postnet"/],
    [{ default_privs => 'nosuch' }, qr/default_privs: unknown user name value/],
    [{ default_privs => 'root' }, qr/default_privs: "root" has the rights of root/],
    [{ default_privs => 'postfix' }, qr/default_privs: "postfix" and mail_owner "postfix" share/],
    [{ default_privs => 'postnet' }, qr/default_privs: "postnet" and network_owner "postnet" share/],
);
for my $case (@refused) {
    my ($set, $re) = @$case;
    my ($name) = %$set;
    $ph->set(%$set);
    my $out = $ph->postfix('start');
    isnt($?, 0, "$name = $set->{$name}: no start");
    like($out, $re, "$name = $set->{$name}: says why");
    Posthorn::spew($ph->dir . '/main.cf', $cf);
}

# ---- one account ----
for my $case (['nosuch', qr/warning: network_owner "nosuch" does not exist: workers that touch the network run as mail_owner "postfix"/],
    ['', qr/warning: network_owner is not set: /], ['postfix', qr/warning: network_owner is mail_owner itself: /]) {
    my ($name, $re) = @$case;
    $ph->set(network_owner => $name);
    my $out = $ph->postfix('start');
    is($?, 0, "network_owner = $name: it starts") or diag $out;
    like($out, $re, "network_owner = $name: says so");
    like($ph->log, $re, "network_owner = $name: the log too");
    $ph->{started} = 1;
    $Posthorn::live{ $ph->dir } = { owner => $$, stop => sub { $ph->stop } };
    if ($name eq 'nosuch') {
        is(($ph->smtp->send(from => 'a@x.test', to => ['u@example.test'], body => "Subject: in\r\n\r\nhi\r\n"))[0], 250, 'mail is taken');
        my %p = $ph->processes;
        my ($smtpd) = grep { $p{$_} =~ /-n smtp -t inet/ } keys %p;
        like(PosthornRoot::status($smtpd)->{Uid}, qr/^731\t731\t731\t731$/, 'smtpd runs as mail_owner');
        is(join(' ', glob $ph->queue . '/net/*'), '', 'no socket in net/');
        # Other accounts from one reload to the next would own nothing.
        $ph->set(network_owner => 'postnet');
        $out = $ph->postfix('reload');
        isnt($?, 0, 'a reload with other accounts is refused');
        ok($ph->wait_log(qr/network_owner or setgid_group is another account now: stop and start/), 'and says what to do');
        is(($ph->smtp->send(from => 'a@x.test', to => ['u@example.test'], body => "Subject: in\r\n\r\nhi\r\n"))[0], 250, 'the system goes on');
    }
    $ph->stop;
    Posthorn::spew($ph->dir . '/main.cf', $cf);
}

# ---- without the group ----
$ph->set(setgid_group => 'nosuch');
my $out = $ph->postfix('check');
is($?, 0, 'without setgid_group: check goes on');
like($out, qr/warning: setgid_group "nosuch" does not exist: only root and mail_owner/, 'and says what that means');
done_testing;
