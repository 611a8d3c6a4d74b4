#!/usr/bin/perl
# sealed.t as root, with two accounts: what the network account is refused by the
# owners of files and directories, and each service's identity.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use PosthornRoot;
use Posthorn;
use Sealed;
use Test::More;

plan skip_all => 'the plugins of t/seal are not built as objects, or sanitized programs are not sealed' unless Sealed::available();
diag 'Landlock ' . (Sealed::landlock() ? 'ABI ' . Sealed::landlock() : 'is not available on this kernel: files are guarded by their owners only');
PosthornRoot::accounts(postfix => 731, postnet => 732, 'group postdrop' => 733, alice => 2001);
PosthornRoot::private_tree();
my $ph = Posthorn->new(relay_domains => 'act.test, wait.test', transport_maps => 'inline:{ {act.test=acttransport:} {wait.test=lmtp:inet:127.0.0.1:1} }',
    virtual_uid_maps => 'static:2001', virtual_gid_maps => 'static:2001', smtpd_sender_restrictions => 'check_sender_access act_table:x', max_idle => '1h');
Sealed::install($ph);
is($ph->postfix('set-permissions') && $?, 0, 'set-permissions');
chmod 0700, "$ph->{dir}/mail";
chown 2001, 2001, "$ph->{dir}/mail";
$ph->start;
my ($id) = (Sealed::mail($ph, 'a@b', 'u@wait.test'))[1] =~ /queued as (\w+)/ or die $ph->log;
my %with = Sealed::stage($ph, $id);

for my $service (qw(act_none act_net act_bounce)) {
    Sealed::rows($ph, $service, \%with, @Sealed::never, @Sealed::always);
}
# The directories of sockets: net for who touches the network, private for the others.
Sealed::rows($ph, 'act_net', \%with, [unix => 'QUEUE/net/qmgr', 0], [unix => 'QUEUE/private/bounce', 13], [unix => 'QUEUE/private/qmgr', 13], [unix => 'QUEUE/private/local', 13],
    [unix => 'QUEUE/public/showq', 13], [connect => 'PORT', 0], [create => 'QUEUE/bounce/X2', 13], @Sealed::queue);
Sealed::rows($ph, 'act_bounce', \%with, [unix => 'QUEUE/private/bounce', 0], [create => 'QUEUE/bounce/X3', 0], [unlink => 'QUEUE/bounce/X3', 0], [connect => 'PORT', 13, 4]);

my %net = map { $_ => 1 } qw(smtp/inet smtp/unix relay/unix lmtp/unix act_net/unix acttransport/unix proxymap/unix);
Sealed::each_service($ph, sub {
    my ($name, $s) = @_;
    my $uid = $net{$name} ? 732 : 731;
    is($s->{Uid}, join("\t", ($uid) x 4), "$name: uid");
    is($s->{Gid}, join("\t", ($uid) x 4), "$name: gid");
    is($s->{Groups} =~ s/\s+$//r, $name eq 'proxymap/unix' ? 731 : '', "$name: no other groups");
});
Sealed::unstage($ph, \%with);
$ph->stop;
done_testing;
