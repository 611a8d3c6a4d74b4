# Services as master.cf had them: import, views, edits and export, beside Debian's
# postconf when that can be had: after the same commands both must show the same,
# though ours keeps master.yaml.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use File::Temp ();
use Posthorn;
use Test::More;

my $dir = File::Temp->newdir('posthorn-services-XXXXXX', TMPDIR => 1);
my $self = bless { tmp => "$dir" }, 'Posthorn';
my @ours = Posthorn->sbin('postconf');
my @peer = Posthorn::postfix_tool('postconf');
my $root = Posthorn::debian('postfix');
delete $ENV{MAIL_CONFIG};
diag('Debian\'s postfix cannot be had: no comparison') unless @peer;

# Odd shapes that people have: tabs, blanks and CR at the end, -o in pieces, braces, comments inside, pairs of
# amavis, spf by spawn, postscreen before a commented smtpd, programs and types that we do not have.
my $odd = join '', map { "$_\n" } (
    '# odd', "smtp\tinet\tn\t-\ty\t-\t1\tpostscreen\t", 'smtpd pass  - - y - - smtpd  ', 'dnsblog   unix  -       -       y       -       0       dnsblog',
    '#smtp      inet  n       -       y       -       -       smtpd', '#  -o smtpd_tls_security_level=may', '#     only words', '#  -o smtpd_helo_required=yes',
    "pickup fifo n - y 60 1 pickup\r", 'qmgr fifo n - n 300 1 nqmgr', 'cleanup unix n - y - 0 cleanup', 'rewrite unix - - y - - trivial-rewrite',
    'bounce unix - - y - 0 bounce', 'tlsmgr unix - - y 1000? 1 tlsmgr', '127.0.0.1:10025 inet n - y - - smtpd', map({ "   -o $_" } 'content_filter=',
    'local_recipient_maps=', 'relay_recipient_maps=', 'smtpd_delay_reject=no', 'smtpd_client_restrictions=permit_mynetworks,reject',
    'smtpd_helo_restrictions=', 'smtpd_sender_restrictions=', 'smtpd_recipient_restrictions=permit_mynetworks,reject', 'mynetworks=127.0.0.0/8',
    'smtpd_error_sleep_time=0', 'smtpd_soft_error_limit=1001', 'smtpd_hard_error_limit=1000'), '# inside', '#24 inet n - y - - smtpd', '#  -o a=b', '   -o strict_rfc821_envelopes=yes',
    '[::1]:587 inet n - n - 20 smtpd -v', ' -o syslog_name=postfix/six -o { smtpd_banner = a b  c } -D', '628 inet n - n - - qmqpd',
    'amavis unix - - n - 2 smtp -o smtp_data_done_timeout=1200 -osmtp_send_xforward_command=yes', 'policyd-spf unix - n n - 0 spawn',
    '    user=policyd-spf argv=/usr/bin/policyd-spf', 'dovecot unix - n n - - pipe flags=DRhu user=vmail:vmail argv=/usr/lib/dovecot/deliver -f ${sender} -d ${recipient}',
    'twice unix - - n - - smtp -o smtp_helo_name=a -o smtp_helo_name=b', 'never unix - - n 0? 3 smtp', 'never2 unix - - n -? 0 smtp', 'zero unix - - n 0 - smtp', 'args unix - - n - - pipe flags=q {a b} -x "$y" # not a comment',
    'other unix y y n - 17 ../bin/other-program x', 'braces unix - - n - - smtp -o { smtp_helo_name =', "\t x,", '  # between', '    y  } -o{smtp_bind_address=1} -vo smtp_bind_address6=2', 'postlog   unix-dgram n  -       n       -       1       postlogd', 'plain unix - - n - - smtp -- -o x=y', 'last unix - - n - - error',
);

sub make {
    my ($name, $master) = @_;
    my $at = "$dir/$name";
    mkdir $at or die "$at: $!" unless -d $at;
    Posthorn::spew("$at/main.cf", "myhostname = a.test\nmua_client_restrictions = permit\n");
    Posthorn::spew("$at/master.cf", $master);
    utime time - 3600, time - 3600, "$at/main.cf", "$at/master.cf";
    return $at;
}
my $said = '';
sub out {
    my ($command, $at, @args) = @_;
    my $text = $self->run('/bin/sh', '-c', 'exec "$@" 2>"$0"', "$dir/stderr", @$command, '-c', $at, @args);
    $said = Posthorn::slurp("$dir/stderr") =~ s{^\S*/postconf: }{postconf: }mgr =~ s{\Q$at\E}{DIR}gr;
    return $text;
}

# The same master.cf in both, the same views.  Postfix shows a fifo as it stands.
sub same_views {
    my ($at, $what) = @_;
    my $now = Posthorn::slurp("$at/master.yaml");
    ok(out(\@ours, $at, '-M'), "$what: -M shows something");
    return unless @peer;
    for my $view (['-M'], ['-Mf'], ['-F'], ['-P'], ['-Mf', '*/inet'], ['-F', '*/unix/command'], ['-Ph'], ['-FH'], ['-xP'], ['-xM'], ['-fF']) {
        next if $what eq 'odd' && "@$view" =~ m{/unix/};    # which two of ours are, and fifo there
        my ($mine, $theirs) = map { out($_, $at, @$view) } \@ours, \@peer;
        if ($what eq 'odd') {
            # What import makes new, and what Postfix splits or shows as something else.
            $theirs =~ s/^(pickup|qmgr)( +)fifo/$1$2unix/mg;
            $theirs =~ s{^((?:pickup|qmgr))/fifo}{$1/unix}mg;
            $theirs =~ s/^((?:pickup|qmgr)\/unix\/type = )fifo$/$1unix/mg;
            $theirs =~ s/\bnqmgr\b/qmgr/g;
            # -oNAME is split again at each later o.
            $theirs =~ s/smtp_send_xf -o rward_c -o mmand=yes/smtp_send_xforward_command=yes/;
            $theirs =~ s/smtp_send_xf\n    -o rward_c\n    -o mmand=yes/smtp_send_xforward_command=yes/;
            $theirs =~ s{^amavis/unix/mmand = yes\n(.*\n)}{$1amavis/unix/smtp_send_xforward_command = yes\n}m;
            $theirs =~ s{^yes\n1200\n}{1200\nyes\n}m;
        }
        is($mine, $theirs, "$what: @$view as with Postfix");
    }
}

my $stock = make('stock', $root ? Posthorn::slurp("$root/usr/share/postfix/master.cf.dist") : $odd);
is(out(\@ours, $stock, '--import-master', "$stock/master.cf"), '', 'import of the stock file');
same_views($stock, 'stock');
like($said, qr/\A(?!.*fatal)/s, 'and fails nowhere');
my $yaml = Posthorn::slurp("$stock/master.yaml");
if ($root) {
    like($yaml, qr/^  # Choose one: enable submission for loopback clients only/m, 'comments are kept');
    like($yaml, qr/^  - name: submission\n(?:    .*\n)*    enabled: false\n(?:    .*\n)*      smtpd_client_restrictions: ""\n/m, 'a service that is commented out is disabled');
    like($yaml, qr/^  - \{name: cleanup, plugin: cleanup, .*place: inline\}/m, 'cleanup stays inside its clients');
}
my $odd_at = make('odd', $odd);
out(\@ours, $odd_at, '--import-master', "$odd_at/master.cf");
like($said, qr/^postconf: warning: \S*: line \d+: service other \(\.\.\/bin\/other-program\) is kept, but this release has no such program/m, 'what cannot run is said');
same_views($odd_at, 'odd');
# What one service refers to is not used by what another sets.
my $two = make('two', "a unix - - n - - smtp -o smtp_helo_name=\$x -o y=\$z\nb unix - - n - - smtp -o x=1 -o y=2 -o z=3\n");
out(\@ours, $two, '--import-master', "$two/master.cf");
out(\@ours, $two, '-M', 'nosuch');
my $words = join '', sort map { s/master\.yaml/master.cf/r . "\n" } split /\n/, $said;
if (@peer) { out(\@peer, $two, '-M', 'nosuch'); my %once = map { $_ => 1 } split /\n/, $said; is($words, join('', sort map { "$_\n" } keys %once), 'settings that are unused in each service, as with Postfix') }
like(out(\@ours, $odd_at, '-M', 'dovecot'), qr/pipe flags=DRhu user=vmail:vmail argv=\S+ -f \$\{sender\} -d \$\{recipient\}$/, 'arguments as they stood');

# What a master.cf does not say stays; bytes that YAML does not have do not.
my $keeps = make('keeps', "# caf\xe9 \x01 \t tab\nlast unix - - n - - error\n");
Posthorn::spew("$keeps/master.yaml", "format: 1\nplugins:\n  directory: /x   # here\n  include: [a.yaml]\nservices: []\n");
out(\@ours, $keeps, '--import-master', "$keeps/master.cf");
is(Posthorn::slurp("$keeps/master.yaml"), "format: 1\nplugins:\n  directory: /x   # here\n  include: [a.yaml]\nservices:\n  # caf? ?   tab\n  - {name: last, transport: error, listen: unix, chroot: false}\n",
    'plugins stay, comments become UTF-8') or diag $said;

# Export and import again: equal, in text and in what runs.
for my $at ($stock, $odd_at) {
    my ($before, $export) = (out(\@ours, $at, '-M'), out(\@ours, $at, '--export-master'));
    my $again = make('again', $export);
    out(\@ours, $again, '--import-master', "$again/master.cf");
    is(out(\@ours, $again, '-M'), $before, 'export and import: the same lines');
    is(out(\@ours, $again, '--export-master'), $export, 'and the same export, disabled services too');
    my @services = map { join '', grep { /^  - |^    /m } map { "$_\n" } split /\n/, Posthorn::slurp("$_/master.yaml") } $at, $again;
    is($services[1], $services[0], 'and the same master.yaml but for comments');
}

# What is written wrong changes nothing.
my $bad = make('bad', '');
Posthorn::spew("$bad/master.yaml", $yaml);
for (['foo unix - n n', qr/bad field count: "foo unix - n n"/], ['foo unix - X n - 0 x', qr/invalid unprivileged field "X" in "foo unix - X n - 0 x"/],
    ['foo unix - - n 5x - x', qr/invalid wakeup field "5x"/], ['foo unix - - n - 5x x', qr/invalid process_limit field "5x"/], ['foo unicks - - n - - x', qr/invalid type field "unicks"/],
    ['foo unix - - n - - x -o a', qr/invalid "-o a" option value: missing '='/], ['foo unix - - n - - x {a', qr/missing '\}'/]) {
    Posthorn::spew("$bad/master.cf", "# c\n$_->[0]\n");
    out(\@ours, $bad, '--import-master', "$bad/master.cf");
    like($said, qr/^postconf: fatal: file DIR\/master\.cf: line 2: .*$_->[1]/m, "import of '$_->[0]' says what is wrong, and where");
}
is(Posthorn::slurp("$bad/master.yaml"), $yaml, 'and nothing was changed');
Posthorn::spew("$bad/master.cf", "a unix - - n - - smtp\na unix - - n - - error\n");
out(\@ours, $bad, '--import-master', "$bad/master.cf");
like($said, qr/line 1: a unix stands again in line 2, which counts/, 'a service that stands twice');
is(out(\@ours, $bad, '-M'), "a          unix  -       -       n       -       -       error\n", 'the later one counts');
is(Posthorn::slurp("$bad/master.yaml.old"), $yaml, 'the old file is kept beside the new');

# Edits, each on the same lines, each beside Postfix.  Not among them, because ours refuse what would break the file: fields
# that are empty (Postfix's ends with signal 11, or writes a file that it cannot read), -o without '=', open braces, two
# services of one name (Postfix adds a second one), names of parameters with other bytes than letters, digits and '_'.
# And what is shown differently: {{a}} and {} keep their braces, 007 is 7, an entry made a comment comes back where it stood,
# -Fh has a blank behind a program whose arguments are no options (3.7 has none), -PP shows all (3.7 knows it not).
my $lines = <<'CF';
smtp      inet  n       -       y       -       -       smtpd
  -o always_bcc=b
  -o smtpd_banner=d
foo unix - n n - 0 other -o myhostname=bar flags=x y
10024 inet n - n - 5 smtpd -v -o always_bcc=c
tail unix - - - 10? - pipe flags=DRhu user=vmail argv=/usr/bin/maildrop -d ${recipient}
dup unix - - n - - smtp
dup inet n - n - - smtpd
CF
my @edits = (
    ['-Me', 'foo/unix=foo unix - n y - 3 other -o always_bcc=c'], ['-Me', 'foo/unix=bar unix - n y - 3 smtp', 'new/inet = new  inet n - - - -  smtpd -o {always_bcc=b} -v'],
    ['-M', 'new/unix=new unix - - - - - error'], ['-Me', 'smtp/inet=smtp inet n - - - 20 smtpd'], ['-Me', 'smtp/inet=25 inet n - y - - smtpd -o smtpd_banner=d'],
    ['-Me', 'x/unix=foo unix - - - - - pipe flags=a user=b argv=c'], ['-Me', 'dup/unix=dup unix n y y 7 0 lmtp'],
    ['-Fe', 'smtp/inet/chroot=n', 'foo/unix/command=smtpd -o always_bcc=b', 'nosuch/unix/chroot=n'], ['-Fe', '*/*/chroot=y'], ['-Fe', 'foo/unix/service=new', 'dup/unix/wakeup=5?'],
    ['-F', 'tail/unix/process_limit=0', 'tail/unix/wakeup=-', 'dup/unix/private=n'], ['-Fe', '10024/inet/command=error a b'],
    ['-Pe', 'smtp/inet/mynetworks=1', 'smtp/inet/always_bcc=c', 'foo/unix/mydomain = x', 'nosuch/unix/a=b'], ['-P', 'dup/*/myorigin=x', '10024/inet/always_bcc=d', '10024/inet/mydomain=d'],
    # All that match go for the one that comes; patterns that are none; order is that of the services.
    ['-Me', '*/inet=a inet n - n - - smtpd'], ['-Me', 'dup/*=dup unix - - n - - smtpd'], ['-Me', 'foo/unix=dup unix - - n - - smtp'], ['-Me', 'smtp/inet=foo unix - - n - - lmtp'],
    ['-Me', 'p/unix=p unix - n n - - pipe user=x argv=/bin/y {a b} {c}', 'q/unix=q unix - - n - - smtp -o { smtp_helo_name = x  y }'], ['-M', 'dup', 'nosuch', 'smtp', 'dup/inet'],
    ['-F', 'dup/inet/type', 'smtp/inet/chroot'], map({ [split /,/] } '-M,/inet', '-F,s*', '-P,*p/inet', '-MX,*p/inet', '-M#,s*/*', '-M,smtp//inet', '-F,a/b/c/d', '-P,a/b/c/d', '-F,smtp//inet/chroot', '-M,',
        '-Fe,smtp/inet/chroot/x=n', '-Fe,s*/inet/chroot=n', '-Pe,smtp/inet/x/y=z', '-Pe,smtp/i*/x=y', '-Me,#a/unix=a unix - - n - - smtp', "-Fe,smtp/inet/command=smtpd\n-v", "-PX,#x/inet/y"),
    ['-Pe', 'smtp/inet/always_bcc='], ['-PX', 'smtp/inet/smtpd_banner', 'foo/unix/nosuch', 'nosuch/unix/x', '10024/inet/always_bcc'], ['-PX', 'smtp/inet/smtpd_banner', 'smtp/inet/always_bcc'],
    ['-MX', 'smtp/inet', 'nosuch/unix'], ['-MX', 'dup/unix', 'tail/unix', 'smtp/inet', '10024/inet', 'dup/inet', 'foo/unix'], ['-M#', 'smtp/inet', 'tail/unix', 'nosuch/unix'],
    map({ [split /,/] } '-MX,smtp', '-M#,smtp', '-Me,smtp/inet', '-Me,smtp=x', '-Me,foo/unix=foo', '-Me,foo/unix=', '-Fe,foo/unix/nosuch=n', '-Fe,foo/unix=x', '-Fe,foo/unix/*=x',
        '-Fe,foo/unix/chroot=x', '-Fe,foo/unix/chroot', '-Pe,foo/unix=x', '-PX,foo/unix', '-Pe,foo/unix/*=x', '-PX,foo/unix/*', '-PX,foo/unix/a=b', '-Me', '-MX', '-F,-e', '-M,-e,a/b/c=d',
        '-Me,foo/unix=foo unix - X n - 0 x', '-Me,foo/unix=foo unix - - n X - x', '-Me,foo/unix=foo unix - - n - X x', '-Me,foo/unix=foo unicks - - n - - x',
        '-Me,foo/unix=foo unix - - X - - x', '-Me,foo/unix=foo unix X - n - - x', '-Pe,foo/unix/a=b c', '-Fe,foo/unix/chroot=n y', '-M,foo/unix/x', '-F,foo/unix/nosuch', '-M,nosuch', '-P,foo/unix/nosuch'),
);
# Failures take a second, so all at once, in directories of their own.
my $n = 0;
my @running;
for my $e (@edits) {
    $n++;
    for my $who (\@ours, @peer ? \@peer : ()) {
        my $at = make(($who == \@ours ? 'ours' : 'theirs') . $n, $lines);
        push @running, Posthorn::child(sub {
            my $s = bless { tmp => $at }, 'Posthorn';
            my $err = "$at/stderr";
            $s->run(@ours, '-c', $at, '--import-master', "$at/master.cf") if $who == \@ours;
            my $text = $s->run('/bin/sh', '-c', 'exec "$@" 2>"$0"', $err, @$who, '-c', $at, @$e);
            my $rc = $? >> 8;
            my $errors = join '', grep { !/unused parameter/ } map { "$_\n" } split /\n/, Posthorn::slurp($err) =~ s{^\S*/postconf: }{postconf: }mgr;
            Posthorn::spew("$at/out", "$rc $errors$text");
            Posthorn::spew("$at/after", $s->run(@$who, '-c', $at, '-Mf') =~ s/^\S*postconf: warning: .*\n//mgr);
        });
    }
}
waitpid $_, 0 for @running;
for my $i (1 .. $n) {
    my $what = join ' ', @{ $edits[$i - 1] };
    my ($out, $after) = map { Posthorn::slurp("$dir/ours$i/$_") } 'out', 'after';
    isnt($out, '', "$what: something happens");
    ok(!-e "$dir/ours$i/master.yaml.tmp", "$what: no file is left behind");
    next unless @peer;
    is($out, Posthorn::slurp("$dir/theirs$i/out"), "$what: words and status as with Postfix");
    is($after, Posthorn::slurp("$dir/theirs$i/after"), "$what: services as with Postfix");
}

# Edits leave everything else in the file as it stands.
my $at = make('ours0', '');
Posthorn::spew("$at/master.yaml", my $text = <<'YAML');
# top
format: 1
plugins: {directory: /x}   # behind
services:
  # about smtp
  - {name: smtp,    plugin: smtpd,   listen: "inet::smtp", sessions: 20}  # stays
  - name: submission # here
    plugin: smtpd

    # between
    listen: "inet::submission"
    enabled: false
    settings:
      # of the settings
      syslog_name: postfix/submission   # a
      smtpd_client_restrictions:
        - permit_mynetworks   # why
        - reject
    # end of it
  - { name: "größe" , plugin: other
    , listen: unix, settings: { always_bcc: "ä" , mydomain: x } , args: [ "a b" ] }
  - plugin: spawn
    name: behind
    listen: [unix]
    args:
      - user=nobody
      - argv=/bin/x
    comment: |
      two
      lines
# the end
YAML
$text =~ s/größe/grosse/;
Posthorn::spew("$at/master.yaml", $text);
sub edited {
    my ($name, $change, @args) = @_;
    Posthorn::spew("$at/master.yaml", $text);
    out(\@ours, $at, @args);
    my $want = $text;
    $change->() for $want;
    is(Posthorn::slurp("$at/master.yaml"), $want, "$name: nothing else changes") or diag $said;
}
edited('one that is new in a line', sub { s/sessions: 20\}/sessions: 20, chroot: true}/ }, '-F', 'smtp/inet/chroot=y');
edited('one that is there', sub { s/sessions: 20\}/sessions: 30, processes: 1}/ }, '-F', 'smtp/inet/process_limit=30');
edited('one that goes', sub { s/, sessions: 20\}/}/ }, '-F', 'smtp/inet/process_limit=-');
edited('a new name', sub { s/name: smtp,    /name: 2525,    /; s/inet::smtp/inet::2525/; s/"(inet::2525)"/"$1"/ }, '-F', 'smtp/inet/service=2525');
edited('a first setting', sub { s/sessions: 20\}/sessions: 20, settings: {always_bcc: x}}/ }, '-P', 'smtp/inet/always_bcc=x');
edited('disabled', sub { s/sessions: 20\}/sessions: 20, enabled: false}/ }, '-M#', 'smtp/inet');
edited('enabled by -Me, a list that does not change stays one', sub { s/    enabled: false\n//; s/\n        - permit_mynetworks   # why\n        - reject/\n        "permit_mynetworks,reject"/; s/(    # between\n)/$1/; s/(    listen: "inet::submission"\n)/$1/ },
    '-Me', 'submission/inet=submission inet n - - - - smtpd -o syslog_name=postfix/submission -o smtpd_client_restrictions=permit_mynetworks,reject');
edited('a setting among others', sub { s/always_bcc: "ä"/always_bcc: "c&d"/; s/mydomain: x \}/mydomain: x, myorigin: y }/ }, '-P', 'grosse/unix/always_bcc=c&d', 'grosse/unix/myorigin=y');
edited('a setting goes', sub { s/always_bcc: "ä" , // }, '-PX', 'grosse/unix/always_bcc');
edited('the last setting goes', sub { s/, settings: \{ always_bcc: "ä" , mydomain: x \}// }, '-PX', 'grosse/unix/always_bcc', 'grosse/unix/mydomain');
edited('arguments of lines', sub { s/\n      - user=nobody\n      - argv=\/bin\/x/\n      [user=nobody, "argv={"]/ }, '-F', 'behind/unix/command=spawn user=nobody argv={');
edited('the key behind the dash', sub { s/- plugin: spawn\n    name: behind/- name: behind/; s/(      two\n      lines\n)/$1    transport: error\n/ }, '-F', 'behind/unix/command=error user=nobody argv=/bin/x');
edited('remove', sub { s/  - \{name: smtp, .*\n// }, '-MX', 'smtp/inet');
edited('remove one of lines', sub { s/  - plugin: spawn\n.*?      lines\n//s }, '-MX', 'behind/unix');
edited('add', sub { s/(      lines\n)/$1  - {name: last, transport: error, listen: unix}\n/ }, '-Me', 'last/unix=last unix - - - - - error');
edited('add one with settings', sub { s/(      lines\n)/$1  - name: last\n    transport: error\n    listen: unix\n    settings:\n      always_bcc: x\n      myorigin: "y z"\n/ }, '-Me', 'last/unix=last unix - - - - - error -o always_bcc=x -o {myorigin=y z}');
edited('what would be refused', sub { }, '-Fe', 'smtp/inet/private=y');
like($said, qr/an inet listener cannot be private/, 'is said');
chmod 0640, "$at/master.yaml";
out(\@ours, $at, '-MX', 'smtp/inet');
is(sprintf('%o', (stat "$at/master.yaml")[2] & 07777), '640', 'the mode stays');
Posthorn::spew("$at/master.yaml", "format: 1\nservices: []\n");
out(\@ours, $at, '-Me', 'a/unix=a unix - - - - - error');
is(Posthorn::slurp("$at/master.yaml"), "format: 1\nservices: [{name: a, transport: error, listen: unix}]\n", 'the first of a list');
out(\@ours, $at, '-MX', 'a/unix');
is(Posthorn::slurp("$at/master.yaml"), "format: 1\nservices: []\n", 'and away again');
done_testing;
