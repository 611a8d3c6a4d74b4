#!/usr/bin/perl
# The pipe transport beside Debian's Postfix: the same services, the same mail;
# the commands get the same arguments, environment and message, and the logs say
# the same.
use strict;
use warnings;
use Test::More;
use lib 't/lib';
use Posthorn;
use PeerPostfix;

my $why = PeerPostfix->missing;
plan skip_all => $why if $why;
my $tmp = File::Temp->newdir('posthorn-pipe-XXXXXX', TMPDIR => 1, CLEANUP => 1);
chmod 0755, "$tmp";
my $out = "$tmp/out";
mkdir $out;
chown((getpwnam 'daemon')[2, 3], $out);

# Says what it was given; the side is known by MAIL_CONFIG.
my $script = "$tmp/record";
Posthorn::spew($script, <<"END");
#!/usr/bin/perl
use strict; use warnings;
my \$in = do { local \$/; binmode STDIN; <STDIN> } // '';
my \$n = 0;
\$n++ while -e "$out/\$\$.\$n.msg";
open my \$o, '>:raw', "$out/\$\$.\$n.tmp" or die;
my %env = %ENV;
my \$config = delete \$env{MAIL_CONFIG};
delete \@env{qw(PATH)};
my \$groups = () = split ' ', \$);
print \$o join "\\0", \$config, scalar(\@ARGV), \@ARGV, "\$<,\$>,\$groups", join(' ', map { "\$_=\$env{\$_}" } sort keys %env), \$in;
close \$o;
rename "$out/\$\$.\$n.tmp", "$out/\$\$.\$n.msg";
my \$how = \@ARGV ? \$ARGV[-1] : '';
if (\$how =~ s/^say (.*?)=//) { (my \$words = \$1) =~ s/%(..)/chr hex \$1/ge; print "\$words\\n" }
kill 11, \$\$ if \$how =~ /^signal/;
exit \$1 if \$how =~ /^exit (\\d+)/;
END
chmod 0755, $script;

my %service; # name => its arguments; a blank inside one is written with braces for Postfix
my @order;
sub service { my ($name, @args) = @_; push @order, $name; $service{$name} = ['user=daemon', @args] }
service(plain => "argv=$script", '${recipient}', '$sender', '$(nexthop)', '${user}', '${extension}', '${domain}', '${mailbox}', '$$x', 'a $user b');
service(full => 'flags=FRDOBh.>', "argv=$script", '$original_recipient', '$recipient');
service(fold => 'flags=Fqhu', 'null_sender=', "argv=$script", '$sender', '$recipient', '$user', '$extension', '$domain', '$nexthop');
service(client => "argv=$script", '$client_address', '$client_helo', '$client_hostname', '$client_protocol', '$sasl_method', '$sasl_username', '$sasl_sender');
service(crlf => 'eol=\\r\\n', 'flags=RX', "argv=$script", '-', '[$extension]');
service(nobody => "argv=$script", '${nobody}');
service(lost => 'argv=/nonexistent/command', 'x');
service(nodir => 'directory=/nonexistent', "argv=$script");
service(size => 'size=400', "argv=$script");
service("e$_", "argv=$script", "exit $_") for 0, 1, 64 .. 79, 127;
service(signal => "argv=$script", 'signal');
service(said => "argv=$script", 'say all went well=exit 0');
service(said5 => "argv=$script", 'say 5.7.7 never=exit 75');
service(said4 => "argv=$script", 'say 4.7.7 later=exit 64');
service(words => "argv=$script", 'say a%09b%01c%c3%a4d%ffe%0af%0a=exit 70');
my @local = (full_destination_recipient_limit => 1);

my $domains = join ', ', map { "$_.test" } @order;
my %cf = (relay_domains => $domains, transport_maps => 'inline:{ ' . join(' ', map { "{$_.test=$_:hop.$_}" } @order) . ' }', recipient_delimiter => '+',
    export_environment => 'TZ MAIL_CONFIG LANG=C', @local, myhostname => 'pipe.test', default_destination_concurrency_limit => 1, maximal_queue_lifetime => '1d',
    smtpd_recipient_restrictions => 'permit_mynetworks, reject', smtpd_relay_restrictions => 'permit_mynetworks, reject', command_time_limit => '20s');
my $ph = Posthorn->new(%cf, virtual_mailbox_domains => '', mynetworks => '127.0.0.0/8', notify_classes => '');
$ph->edit_master(sub {
    for my $name (@order) {
        $_ .= "  - {name: $name, transport: pipe, listen: unix, args: [" . join(', ', map { my $a = $_; $a =~ s/(["\\])/\\$1/g; "\"$a\"" } @{ $service{$name} }) . "]}\n";
    }
});
my $peer = PeerPostfix->new(%cf, bounce_queue_lifetime => 0, notify_classes => '');
my $master = Posthorn::slurp($peer->dir . '/conf/master.cf');
for my $name (@order) {
    $master .= "$name unix - n n - - pipe\n " . join(' ', map { my $a = $_; $a =~ /[ \t]|^\{/ ? "{$a}" : $a } @{ $service{$name} }) . "\n";
}
Posthorn::spew($peer->dir . '/conf/master.cf', $master);
$ph->start;
$peer->start;

# [name, sender, recipients (in the order in which Postfix sorts them), text]
my @mail = (
    [ plain => 'Sender@From.test', ['Joe+Ext@Plain.test', 'ann@plain.test', 'x+@plain.test'], "Subject: a\r\n\r\nhello\r\n" ],
    [ plain => '', ['one@plain.test'], "Subject: null sender\r\n\r\nhello\r\n" ],
    [ full => 'Sender@From.test', ['Joe+Ext@Full.test'], "Subject: b\r\n\r\nFrom x\r\n.\r\n..\r\n>From y\r\n\r\n" ],
    [ full => '"a b"@From.test', ['loop@full.test'], "Subject: loop\r\nDelivered-To: LOOP\@Full.test\r\n\r\nx\r\n" ],
    [ full => '', ['"quo ted"@full.test'], "Subject: quoted\r\n\r\nx\r\n" ],
    [ fold => '', ['B@fold.test', '"Quo Ted+X Y"@Fold.test'], "Subject: c\r\n\r\nx\r\n" ],
    [ client => 's@from.test', ['c@client.test'], "Subject: d\r\n\r\nx\r\n" ],
    [ crlf => 's@from.test', ['a@crlf.test', 'b+c@crlf.test'], "Subject: e\r\n\r\nx\r\n\r\ny\r\n" ],
    [ size => 's@from.test', ['s@size.test'], "Subject: size\r\n\r\n" . "x" x 500 . "\r\n" ],
    map { [ $_ => 's@from.test', ["u\@$_.test"], "Subject: $_\r\n\r\nx\r\n" ] } grep { !/^(plain|full|fold|client|crlf|size)$/ } @order,
);

sub clean {
    my ($text) = @_;
    $text =~ s/\bReceived:.*?\n(?=\S)//s;
    $text =~ s/^(Message-Id|Date):.*\r?\n//mig;
    $text =~ s/^(From \S+|From ".*?"\S+)  \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}/$1  DATE/;
    return $text;
}

# What the commands of one side got, each as one text.
sub taken {
    my ($config) = @_;
    my @got;
    for my $f (glob "$out/*.msg") {
        my ($side, $argc, @rest) = split /\0/, Posthorn::slurp($f), -1;
        next unless $side eq $config;
        my @argv = splice @rest, 0, $argc;
        push @got, join "\n", (map { "arg [$_]" } @argv), "id $rest[0]", "env $rest[1]", clean($rest[2]);
        unlink $f;
    }
    return join "\n====\n", sort @got;
}

sub outcomes {
    my ($log, $name) = @_;
    my %seen;
    # Whose words they are why a command does not start is not Postfix's.
    $log =~ s/(temporary failure)\. Command output: .*fatal: .*\)/$1)/g if $name =~ /^(?:lost|nodir)$/;
    $seen{"$1 $2 $3"} = 1 while $log =~ /: to=<([^>]*\@\Q$name\E\.test)>.*?(relay=\Q$name\E), .*?(dsn=\S+ status=.*)$/mgi;
    return join "\n", sort keys %seen;
}

my %side = (ours => [$ph->port, $ph->dir, sub { $ph->log }], peer => [$peer->port, $peer->dir . '/conf', sub { $peer->log }]);
for my $m (@mail) {
    my ($name, $from, $to, $body) = @$m;
    for my $s (values %side) {
        my $c = eval { Posthorn::Client->new(port => $s->[0]) } or die "no greeting of $s->[1]: " . $s->[2]->();
        my ($code, $text) = $c->send(from => $from, to => $to, body => $body, helo => 'client.test');
        is($code, 250, "accepted: $name") or diag $text;
        $c->quit;
    }
}
for my $name (@order) {
    my $n = () = map { @{ $_->[2] } } grep { $_->[0] eq $name } @mail;
    for my $s (values %side) {
        Posthorn::wait_for(sub { my @l = split /\n/, outcomes($s->[2]->(), $name); @l >= $n }, 30) or diag "$name: no outcome:\n" . join "\n", grep { /\Q$name\E/ } split /\n/, $s->[2]->();
    }
    is(outcomes($ph->log, $name), outcomes($peer->log, $name), "$name: the same words in the log");
}
my ($ours, $theirs) = (taken($ph->dir), taken($peer->dir . '/conf'));
my (@a, @b) = ();
@a = split /\n====\n/, $ours;
@b = split /\n====\n/, $theirs;
is(scalar @a, scalar @b, 'as many commands were run');
is($a[$_] // '', $b[$_] // '', 'what a command got: ' . (split /\n/, $b[$_] // '')[0]) for 0 .. ($#b > $#a ? $#b : $#a);
$ph->stop;
$peer->stop;
done_testing();
