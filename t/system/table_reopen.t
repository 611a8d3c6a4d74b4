#!/usr/bin/perl
# Tables that lie neither in the configuration directory nor in /etc, in a directory
# that only a group may enter: a sealed service goes over to what is rebuilt there, to
# what is there only later, and to where a link leads.  And when patterns are compiled:
# once in each process, before the seal, to machine code.
use strict;
use warnings;
use File::Temp ();
use Test::More;
use lib 't/lib';
use Posthorn;
use Sealed;

my $maps = File::Temp->newdir('posthorn-maps-XXXXXX', TMPDIR => 1, CLEANUP => 1);
mkdir "$maps/$_" for qw(group linked target);
if ($> == 0) {
    # The worker's account: sealed.t.
    chmod 0755, "$maps";
    chown 0, scalar getgrnam('nogroup'), "$maps/group";
    chmod 0750, "$maps/group";
}
my @types = ('hash', 'btree', grep { -e "$Posthorn::build/plugins/table/$_/.libs/table_$_.so" } qw(lmdb cdb));
my ($linked) = grep { /cdb|lmdb/ } @types, 'hash';
my %suffix = (hash => 'db', btree => 'db', lmdb => 'lmdb', cdb => 'cdb');
my %table = map { $_ => "$_:$maps/group/$_" } @types, 'texthash';
my $pcre = "pcre:$maps/group/pcre";
my $ph = Posthorn->new(smtpd_delay_reject => 'no', smtpd_sender_restrictions => join ', ', map { "check_sender_access $_" }
    (map { $table{$_} } @types, 'texthash'), "texthash:$maps/group/late", "$linked:$maps/linked/x", $pcre);

# Write the source of an access table, and have it built where it is an indexed one.
sub build {
    my ($type, $file, $key, $word) = @_;
    Posthorn::spew("$file.new", "$key\@x.test 550 5.7.1 $word\n");
    rename "$file.new", $file;
    return $type eq 'texthash' || $ph->cmd('postmap', "$type:$file") eq '' && $? == 0;
}
sub says { my ($key) = @_; my $c = $ph->smtp; $c->ask('EHLO me'); return ($c->ask("MAIL FROM:<$key\@x.test>"))[1] }
sub comes { my ($key, $re) = @_; my $last = ''; return Posthorn::wait_for(sub { ($last = says($key)) =~ $re }) || do { diag "$key: $last\n" . $ph->log; 0 } }

ok(build($_, "$maps/group/$_", $_, 'first'), "a $_ table") for sort keys %table;
ok(build($linked, "$maps/target/x", 'linked', 'first'), 'and one behind a link');
symlink "$maps/target/x.$suffix{$linked}", "$maps/linked/x.$suffix{$linked}";
Posthorn::spew("$maps/group/pcre", "/^PCRE\\d+\@/ 550 5.7.1 matched\n/(/ never\n");
$ph->start;
like(says('nobody'), qr/^451 /, 'a table that is not there yet is a failure');
ok(build('texthash', "$maps/group/late", 'late', 'came'), 'it is written');
ok(comes('late', qr/^550 .*came/), 'and found');
ok(comes($_, qr/^550 .*first/), "$_: the first contents") for sort(keys %table), 'linked';
ok(build($_, "$maps/group/$_", $_, 'second'), "$_ is built anew") for sort keys %table;
ok(build($linked, "$maps/target/x", 'linked', 'second'), 'that behind the link too');
ok(comes($_, qr/^550 .*second/), "$_: the second contents") for sort(keys %table), 'linked';
unlike($ph->log, qr/cannot be used yet/, 'nothing could not be read');

# ---- patterns ----
like(says("pcre$_"), qr/^550 .*matched/, "a pattern, session $_") for 1 .. 5;
my (%opened, $log);
$log = $ph->log;
$opened{$1}++ while $log =~ m{smtpd\[(\d+)\]: warning: pcre map \Q$maps/group/pcre\E, line 2: error in regex at }g;
cmp_ok(scalar keys %opened, '>=', 1, 'the rule with an error is said');
is(join(' ', grep { $_ != 1 } values %opened), '', 'once in each process, whatever the number of sessions');
SKIP: {
    my ($pid) = Sealed::pid_of($ph, 'smtp', 'inet');
    skip 'sanitized programs are not sealed', 3 unless Sealed::available();
    like(Posthorn::slurp("/proc/$pid/status"), qr/^Seccomp:\s+2$/m, 'the receiver is sealed');
    skip 'is it this pcre2 that makes machine code here?', 2 unless Posthorn::slurp("/proc/$pid/maps") =~ /libpcre2/ && (POSIX::uname())[4] eq 'x86_64';
    # Memory that may be executed and belongs to no file is what the patterns were translated to.
    my $code = qr/^[0-9a-f]+-[0-9a-f]+ ..x. 0+ 00:00 0\s*$/m;
    like(Posthorn::slurp("/proc/$pid/maps"), $code, 'it executes machine code that was made of patterns');
    unlike(Posthorn::slurp('/proc/' . Sealed::pid_of($ph, 'qmgr', 'unix') . '/maps'), $code, 'and qmgr, which has no patterns, does not');
}
unlike($ph->log, qr/are interpreted/, 'nothing was said of patterns that are slower');
$ph->stop;
done_testing;
