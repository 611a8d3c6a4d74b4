# RewriteCases.pm: generated configurations and messages for the comparison of
# address rewriting: few users in few domains, so that tables are hit often, and
# every form in which an address can be written.  The same seed gives the same
# cases on every machine.
#
#     my $g = RewriteCases->new($seed, $dir);
#     my $set = $g->configuration($number);      # main.cf settings; tables are files in $dir
#     my $case = $g->message;                    # {kind} {from} {to} {args} {headers} {text}
package RewriteCases;
use strict;
use warnings;
use Posthorn;

sub new {
    my ($class, $seed, $dir, %o) = @_;
    return bless { state => $seed, dir => $dir, %o }, $class;
}

# Numbers of our own: 31 bits, of which the upper ones are good.
sub number {
    my ($self, $n) = @_;
    $self->{state} = ($self->{state} * 1103515245 + 12345) % 2147483648;
    return int($self->{state} / 65536) % $n;
}
sub one { my $self = shift; return $_[$self->number(scalar @_)] }
sub some { my ($self, $percent) = @_; return $self->number(100) < $percent }

# ---- addresses ----

my @ours = ('here.test', 'here.test', 'mx.here.test', 'Here.TEST', 'localhost', '[127.0.0.1]');
my @hosted = ('alias.test', 'alias.test', 'sub.alias.test', 'box.test', 'relay.test', 'sub.relay.test');
my @far = ('far.test', 'far.test', 'other.test', 'a.far.test', 'x.a.far.test', 'FAR.test', 'b.other.test');
my @odd_domains = ('[127.9.8.7]', 'host', 'mx', 'far.test.', 'far.test..', "b\xc3\xbccher.test", 'xn--bcher-kva.test', '127.0.0.5', '-bad.test', 'a_b.test', '', '.far.test', 'far..test', '[x]',
    "B\xc3\x9cCHER.test", 'here.test.', '[127.0.0.9]', '[::1]', '1.2', '.', 'sub.here.test', 'localhost.here.test', 'x' x 64 . '.test');
my @users = qw(ann ann bob bob cid dee eve);
my @odd_users = ('ann+x', 'ann+x', 'bob+y', 'ann+x+y', 'ann-x', 'bob+', '+x', 'Ann', 'BOB+Y', 'owner-list', 'list-request', 'owner-list+x', 'postmaster', 'MAILER-DAEMON', 'mailer-daemon', 'double-bounce', 'root', 'a.b.c',
    '"joe smith"', '"a@b"', '"x\\"y"', '"x\\\\y"', '"ann"', '"bob+y"', '".ann"', 'ann.', '.ann', 'a..b', 'ann%far.test', 'far.test!bob', 'ann%other.test%far.test', 'x.test!far.test!ann', '"ann%far.test"', '"far.test!bob"',
    'ann%here.test', "j\xc3\xbcrgen", "\"j\xc3\xbc rg\"", 'ann+', 'ann-x+y', 'ann+x-y', '"joe smith+x"', 'x' x 70, '"(c)"', 'a/b', 'bob=far.test', '-ann', '"ann,bob"', 'ann!', '!ann', '%ann', 'ann%', 'undisclosed',
    '" ann"', '"bob "', '"a b c"', '"@far.test"', 'far.test!bob%other.test', 'far.test!other.test!cid%relay.test', 'ann%far.test%here.test', 'x!y%z', 'bob%', 'far.test!', '"ann+x"', 'ann+x-y+z', '-', '+',
    '--ann', 'ann--x', 'bob++y', 'Owner-List', 'double-bounce+x', 'postmaster+x', '"owner-list"', "ann+\xc3\xbc", '*', "o'neil", '#ann', 'ann=');

sub local_part { my ($self) = @_; return $self->some(65) ? $self->one(@users) : $self->one(@odd_users) }
sub domain {
    my ($self) = @_;
    my $k = $self->number(100);
    return $k < 30 ? $self->one(@ours) : $k < 55 ? $self->one(@hosted) : $k < 88 ? $self->one(@far) : $self->one(@odd_domains);
}
sub plain_domain { my ($self) = @_; return $self->one('here.test', 'here.test', 'alias.test', 'relay.test', 'box.test', 'far.test', 'other.test', 'a.far.test', 'mx.here.test') }
sub address { my ($self) = @_; return $self->some(85) ? $self->local_part . '@' . $self->domain : $self->local_part }
# In the envelope a part may be missing.
sub path { my ($self) = @_; return $self->some(96) ? $self->address : $self->some(50) ? '@' . $self->plain_domain : $self->local_part . '@' }
sub plain { my ($self) = @_; return $self->one(@users) . '@' . $self->plain_domain }

# ---- tables ----

# With the quotes that a local part has there.
sub in_table { my ($address) = @_; return lc($address) =~ s/^([^"\@]*\.\.[^"\@]*|\.[^"\@]*|[^"\@]*\.)(?=\@|\z)/"$1"/r }

sub key {
    my ($self) = @_;
    my $k = $self->number(20);
    return $k < 9 ? $self->plain : $k < 11 ? $self->one(@users) : $k < 13 ? '@' . $self->plain_domain : $k < 15 ? $self->one('ann+x', 'bob+y', 'ann-x') . ($self->some(60) ? '@' . $self->plain_domain : '')
        : $k < 17 ? in_table($self->one(@odd_users)) . '@' . $self->plain_domain : $k < 18 ? in_table($self->address) : $self->one("j\xc3\xbcrgen\@here.test", "ann\@b\xc3\xbccher.test", 'list-request', 'root', 'postmaster@here.test', '@mx.here.test', '@localhost', '@[127.0.0.1]', '@b.other.test');
}
sub value {
    my ($self) = @_;
    my $k = $self->number(24);
    return $k < 10 ? $self->plain : $k < 13 ? $self->one(@users) : $k < 16 ? '@' . $self->plain_domain : $k < 18 ? $self->local_part . '@' . $self->plain_domain
        : $k < 19 ? $self->one('Ann B <ann@far.test>', 'bob@far.test (Bob)', '<cid@other.test>')
        : $k < 20 ? $self->address : $k < 21 ? $self->one(@users) . '@host' : $k < 22 ? $self->one('ann+z', 'bob+z') . '@' . $self->plain_domain : $k < 23 ? $self->one('far.test!bob', 'ann%far.test', 'ann%here.test') : $self->plain;
}
sub several {
    my ($self) = @_;
    return join $self->one(', ', ' ', ','), map { $self->value } 1 .. 1 + ($self->some(70) ? 0 : $self->number(4));
}

# A table with lines that are made by these functions; now and then several tables.
sub table {
    my ($self, $name, $lines, $pattern) = @_;
    my @tables;
    for my $k (1 .. ($self->some(20) ? 2 : 1)) {
        my %seen;
        my @lines = grep { my ($key) = /^("(?:[^"\\]|\\.)*"\S*|\S+)/; !$seen{ lc($key // '') }++ } $lines->();
        my $file = "$self->{dir}/$name.$k";
        if ($pattern && $self->some(12)) {
            Posthorn::spew($file, map { "$_\n" } $pattern->());
            push @tables, "regexp:$file";
        } else {
            Posthorn::spew($file, map { "$_\n" } @lines);
            push @tables, "texthash:$file";
        }
    }
    return join ', ', @tables;
}
sub address_lines { my ($self, $value) = @_; my $n = 4 + $self->number(14); return sub { map { $self->key . ' ' . $value->() } 1 .. $n } }
sub address_patterns {
    my ($self) = @_;
    return sub { $self->one('/^(.*)@far\.test$/ $1@other.test', '/^(ann|bob)(\+.*)?@([^@"]*)$/ $1.re@$3', '/^bob@/ cid@re.test'), $self->one('/^(.*)@(a\.)?other\.test$/ ${1}@far.test', '/^[^@]*$/ bare@re.test') };
}

# A value for a one-address table that is not too wild: loops are a matter of their own.
sub mapped {
    my ($self) = @_;
    return $self->one('Ann B <ann.n@new.test>', 'bob.n@new.test (Bob)', '@new.test', '<cid.n@new.test>') if $self->some(12);
    return $self->one(qw(ann.new bob.new cid.new dee.x), 'ann+q') . $self->one('', '@new.test', '@new.test', '@here.test', '@far.test', '@host');
}

# ---- configurations ----

my %theme = (
    canonical => sub {
        my ($self, $set) = @_;
        for my $name ($self->some(50) ? 'canonical' : (), $self->some(50) ? 'sender_canonical' : (), $self->some(50) ? 'recipient_canonical' : 'canonical') {
            $set->{"${name}_maps"} = $self->table($name, $self->address_lines(sub { $self->mapped }), $self->address_patterns);
            my @classes = $name eq 'canonical' ? qw(envelope_sender envelope_recipient header_sender header_recipient) : $name =~ /^sender/ ? qw(envelope_sender header_sender) : qw(envelope_recipient header_recipient);
            $set->{"${name}_classes"} = join ', ', grep { $self->some(60) } @classes if $self->some(30);
            delete $set->{"${name}_classes"} if !length($set->{"${name}_classes"} // '');
        }
    },
    masquerade => sub {
        my ($self, $set) = @_;
        $set->{masquerade_domains} = join $self->one(' ', ', '), map { ($self->some(25) ? '!' : '') . $self->one('here.test', 'far.test', 'a.far.test', 'x.a.far.test', 'alias.test', 'relay.test', 'sub.relay.test', 'other.test', 'FAR.test', 'test') } 1 .. 1 + $self->number(4);
        $set->{masquerade_classes} = join ' ', grep { $self->some(70) } qw(envelope_sender envelope_recipient header_sender header_recipient) if $self->some(50);
        delete $set->{masquerade_classes} if !length($set->{masquerade_classes} // '');
        $set->{masquerade_exceptions} = $self->one('ann', 'root, bob', 'bob+y', 'ANN', 'postmaster ann') if $self->some(40);
    },
    virtual => sub {
        my ($self, $set) = @_;
        $set->{virtual_alias_maps} = $self->table('virtual', sub {
            (map { $self->key . ' ' . $self->several } 1 .. 4 + $self->number(12)),
            map { $self->one('ann@here.test ann@here.test, bob@far.test', 'eve@here.test eve', 'dee@here.test dee@alias.test', 'dee@alias.test cid@alias.test', 'cid@alias.test bob@far.test, ann@far.test',
                '@alias.test @here.test', '@sub.alias.test catch@far.test', 'eve@alias.test dee@alias.test, eve@alias.test, ann@far.test', 'bob@alias.test ann@alias.test', 'ann@alias.test bob@alias.test', 'bob@relay.test \\bob@relay.test',
                '@here.test @here.test', 'cid@here.test cid+q@here.test', 'other.test anything', 'alias.test x', '@other.test ann, bob@far.test', 'bob+y@here.test bob, ann+x@far.test', 'ann@alias.test "joe smith"@far.test', '"joe smith"@here.test dee@far.test',
                'eve@far.test <dee@far.test> bob', 'cid@far.test Ann B <ann@here.test> (c) dee', 'bob@other.test "a b"@far.test, "c,d"@far.test', 'dee dee, eve', 'list-request list-request+x@far.test') } 1 .. 1 + $self->number(5);
        }, $self->address_patterns);
        $set->{virtual_alias_domains} = $self->one('alias.test', 'alias.test, sub.alias.test', 'alias.test') if $self->some(70);
        $set->{virtual_alias_recursion_limit} = $self->one(1, 2, 3, 5) if $self->some(20);
        $set->{virtual_alias_expansion_limit} = $self->one(1, 2, 3, 5) if $self->some(20);
    },
    relocated => sub { my ($self, $set) = @_; $set->{relocated_maps} = $self->table('relocated', $self->address_lines(sub { $self->one('new@far.test', 'somewhere else', '"joe smith"@x.test', 'b <a@b>') })) },
    transport => sub {
        my ($self, $set) = @_;
        $set->{transport_maps} = $self->table('transport', sub {
            map { my $k = $self->number(10);
                ($k < 3 ? $self->key : $k < 6 ? $self->domain : $k < 8 ? '.' . $self->plain_domain : $k < 9 ? $self->one('*', 'test', '.test', 'host', '[127.9.8.7]') : lc($self->address)) . ' ' . $self->nexthop } 1 .. 3 + $self->number(9);
        }, sub { '/^ann@/ t1:re.test', $self->one('/@far\.test$/ t2:', '/./ :') });
        $set->{transport_maps} =~ s/regexp:\S+//g if $set->{transport_maps} =~ /^regexp:\S+$/ && $self->some(50);
    },
    sender_dependent => sub {
        my ($self, $set) = @_;
        $set->{sender_dependent_relayhost_maps} = $self->table('sdr', sub { ($self->some(40) ? ('<> [null.test]') : ()), map { $self->key . ' ' . $self->one('[sdr.test]', 'sdr2.test', 'DUNNO', '[sdr.test]:NAMED', 'dunno') } 1 .. 6 }) if $self->some(70);
        $set->{sender_dependent_default_transport_maps} = $self->table('sdt', sub { ($self->some(40) ? ('<> t2:nullt.test') : ()), map { $self->key . ' ' . $self->one('t1', 't1:', 't1:sdt.test', 't2:[sdt2.test]', 'DUNNO', 'relay:') } 1 .. 6 }) if $self->some(70);
        for my $what (qw(relayhost default_transport)) { $set->{"empty_address_${what}_maps_lookup_key"} = $self->one('ann@here.test', 'ann', 'bob+y@here.test', 'dee@far.test', 'eve@a.far.test', '@relay.test', 'null', '"<>"', 'cid@host') if $self->some(25) }
    },
    transports => sub {
        my ($self, $set) = @_;
        $set->{default_transport} = $self->one('smtp', 't1', 't1:def.test', 't2:[def.test]', 'error:5.1.0 not here', 'smtp:[def.test]:NAMED', 'error') if $self->some(50);
        $set->{relay_transport} = $self->one('relay', 't1:rel.test', 't2', 'smtp:') if $self->some(40);
        $set->{local_transport} = $self->one('local:$myhostname', 't1:loc.test', 't2', 'error:local mail is off', 'local:') if $self->some(40);
        $set->{virtual_transport} = $self->one('virtual', 't1:virt.test', 't2', 'smtp:[virt.test]') if $self->some(40);
        $set->{relayhost} = $self->one('rh.test', '[rh.test]', '[rh.test]:NAMED', '[127.9.9.9]') if $self->some(60);
    },
    generic => sub {
        my ($self, $set) = @_;
        $set->{smtp_generic_maps} = $self->table('generic', $self->address_lines(sub { $self->mapped }), $self->address_patterns);
    },
    bcc => sub {
        my ($self, $set) = @_;
        $set->{always_bcc} = $self->one('copy@far.test', 'ann', 'bob+y@here.test', '"joe smith"@far.test', 'dee@host') if $self->some(50);
        for my $which ('sender', 'recipient') {
            $set->{"${which}_bcc_maps"} = $self->table("${which}_bcc", $self->address_lines(sub { $self->one('bcc@far.test', 'bcc1', 'ann+b@here.test', 'bcc@host', 'bcc@alias.test', 'ann') })) if $self->some(60);
        }
    },
    remote => sub {
        my ($self, $set) = @_;
        $set->{local_header_rewrite_clients} = $self->one('permit_inet_interfaces', 'permit_mynetworks', 'static:all', 'permit_mynetworks, permit_inet_interfaces', '', 'check_address_map inline:{127.0.0.77=OK}', 'check_address_map cidr:{ {127.0.0.77/32 OK} }', 'permit_sasl_authenticated',
            'inline:{ {127.0.0.1 = yes} }', 'permit_tls_clientcerts, static:all') if $self->some(60);
        $set->{remote_header_rewrite_domain} = $self->one('domain.invalid', 'remote.test', 'rem') if $self->some(60);
        $set->{always_add_missing_headers} = $self->one('yes', 'no') if $self->some(40);
    },
    headers => sub {
        my ($self, $set) = @_;
        $set->{undisclosed_recipients_header} = 'To: undisclosed-recipients:;' if $self->some(40);
        $set->{message_drop_headers} = $self->one('bcc', 'bcc, return-path, x-drop', 'reply-to, bcc', '') if $self->some(30);
        $set->{header_from_format} = 'obsolete' if $self->some(30);
    },
    duplicates => sub {
        my ($self, $set) = @_;
        $set->{enable_original_recipient} = 'no' if $self->some(70);
        $set->{duplicate_filter_limit} = 0 if $self->some(40);
    },
    propagate => sub {
        my ($self, $set) = @_;
        $set->{propagate_unmatched_extensions} = $self->some(50) ? join $self->one(' ', ', ', ','), grep { $self->some(50) } qw(canonical virtual generic alias forward include)
            : $self->one('', 'canonical', 'virtual', 'canonical, virtual, generic', 'generic', 'alias, forward, include', 'virtual generic');
    },
    # What cleanup does not do for mail from outside, or at all.
    override => sub {
        my ($self, $set) = @_;
        $set->{receive_override_options} = $self->one('no_address_mappings', 'no_unknown_recipient_checks', 'no_address_mappings, no_header_body_checks', 'no_milters');
    },
    strict => sub {
        my ($self, $set) = @_;
        $set->{strict_rfc821_envelopes} = 'yes' if $self->some(40);
        $set->{smtputf8_enable} = 'no' if $self->some(40);
        $set->{strict_smtputf8} = 'yes' if $self->some(30);
        $set->{allow_min_user} = 'yes' if $self->some(30);
        $set->{owner_request_special} = 'no' if $self->some(40);
        $set->{smtputf8_autodetect_classes} = $self->one('all', 'smtpd', 'verify', 'sendmail, smtpd') if $self->some(40);
    },
    # Domains of each class in other forms than names.
    lists => sub {
        my ($self, $set) = @_;
        Posthorn::spew("$self->{dir}/list", "other.test yes\n.far.test yes\nsub.alias.test\tyes\n");
        Posthorn::spew("$self->{dir}/patterns", "/^(a\\.)?far\\.test\$/ yes\n/\\.relay\\.test\$/ yes\n/^host/ yes\n");
        $set->{relay_domains} = $self->one('relay.test, other.test', '.relay.test', 'relay.test, !sub.relay.test', "texthash:$self->{dir}/list", "regexp:$self->{dir}/patterns", 'test', '') if $self->some(60);
        $set->{mydestination} = $self->one('here.test, [127.9.8.7]', '.here.test, here.test', "here.test, regexp:$self->{dir}/patterns", "texthash:$self->{dir}/list, localhost", 'here.test, !mx.here.test', 'HERE.test, mx', '-bad.test, a_b.test, here.test') if $self->some(50);
        $set->{virtual_mailbox_domains} = $self->one('box.test, sub.relay.test', "texthash:$self->{dir}/list", 'box.test, b.other.test', '') if $self->some(40);
        $set->{proxy_interfaces} = '127.9.8.7' if $self->some(20);
    },
);

sub nexthop {
    my ($self) = @_;
    return $self->one('t1:', 't2:hop.test', ':hop2.test', ':', 't1:[hop3.test]', 'smtp:[hop.test]:NAMED', 'relay:', 'local:', 't2', 'error:5.7.1 no mail there', 'error:', 'retry:4.0.0 later', 't1:HOP.test', 't1:[127.9.9.9]', 'smtp', 'discard:');
}

# Not generated, because these differ: small limits of header_address_token_limit (Postfix drops the rest of the header)
# and of duplicate_filter_limit; values of tables that are no address or routed (what is made of them, and 451 for loops
# of canonical addresses), as several of the form "@other"; several addresses for one copy; quoted "user@domain" where a table has it unquoted (found, so
# that quotes do not lead around a rule); full names beyond ASCII (encoded, as later Postfix does); -v.

# Settings of configuration $n: what always varies, and some themes of {themes}.
sub configuration {
    my ($self, $n) = @_;
    my @themes = @{ $self->{themes} // [sort keys %theme] };
    my %set = (mydestination => $self->one('here.test, mx.here.test, localhost', 'here.test, mx.here.test, localhost', '$myhostname, localhost.$mydomain, localhost', '$mydomain', ''),
        relay_domains => 'relay.test', virtual_mailbox_domains => 'box.test', virtual_mailbox_maps => 'static:x');
    $set{myorigin} = $self->one('here.test', '$myhostname', '$mydomain', 'origin.test', 'far.test') if $self->some(70);
    $set{recipient_delimiter} = $self->one('+', '+', '+', '-', '+-', '-+') if $self->some(75);
    $set{append_dot_mydomain} = $self->one('yes', 'yes', 'no') if $self->some(60);
    $set{append_at_myorigin} = 'no' if $self->some(8);
    $set{swap_bangpath} = 'no' if $self->some(10);
    $set{allow_percent_hack} = 'no' if $self->some(10);
    $set{resolve_dequoted_address} = 'no' if $self->some(10);
    $set{resolve_null_domain} = 'yes' if $self->some(15);
    $set{resolve_numeric_domain} = 'yes' if $self->some(15);
    $set{empty_address_recipient} = 'ann' if $self->some(10);
    $set{parent_domain_matches_subdomains} = $self->one('', 'transport_maps', 'relay_domains') if $self->some(20);
    $set{smtpd_recipient_limit} = 1000;
    my %chosen = map { $_ => 1 } $themes[($n // 0) % @themes], map { $self->one(@themes) } 1 .. $self->number(5);
    $theme{$_}->($self, \%set) for grep { $chosen{$_} } @themes;
    s/NAMED/$self->{named_port}/g for values %set;
    for my $file (glob "$self->{dir}/*") {
        my $text = Posthorn::slurp($file);
        Posthorn::spew($file, $text) if $text =~ s/NAMED/$self->{named_port}/g;
    }
    return \%set;
}

# ---- headers ----

my @phrases = ('Ann', 'Ann B.', '"Ann, B."', '"ann@here.test"', '=?utf-8?Q?J=C3=BCrgen?=', "J\xc3\xbcrgen", '"a \\"b\\" c"', 'A (c) B', '"x:y;"', 'ann+x', '""', "\"two\n\tlines\"");
my @comments = ('(c)', '(a (nested) comment)', '(a@b.test, x)', '(\\))', "(\xc3\xbc)", "(folded\n comment)");

# What is no address, or two, or one in a form that readers take in different ways.
my @no_addresses = ('ann. b @far.test', 'ann b', 'ann b@far.test', 'ann@far.test@other.test', 'a;b', 'ann@[127.0.0.1] x', '<ann', 'ann>', '<ann@far.test', '"ann', 'ann(', '<>', '<ann@far.test> x', 'x <ann> y <bob>', '@far.test', '@', '<@>',
    'ann@', ')', '[', '\\', ':', 'ann:', '<ann><bob>', '"a" "b"@far.test', '"a".b@far.test', 'a."b c"@far.test', '<<ann>>', 'ann@"far.test"', '=?utf-8?Q?ann?=@far.test', "ann\@here.test\tbob\@here.test", 'ann@far.test:bob',
    'mailto:ann@far.test', "a\x01b\@far.test", "ann\@f\xffr.test", ' ', '(only)');

# One mailbox: text and address in turns.
sub mailbox {
    my ($self) = @_;
    my $a = $self->address;
    my $k = $self->number(40);
    return ('', $a, '') if $k < 16;
    return ($self->one(@phrases) . ' <', $a, '>') if $k < 26;
    return ('<', $a, '>') if $k < 28;
    return ('', $a, ' ' . $self->one(@comments)) if $k < 31;
    return ($self->one(@comments) . ' ', $a, '') if $k < 32;
    return ($self->one(@phrases) . $self->one('', "\n ", "\n\t", '  ') . '<' . $self->one('', ' '), $a, $self->one('', ' ') . '>' . $self->one('', ' ', ' ' . $self->one(@comments))) if $k < 36;
    return ('<@r.test,@s.test:', $a, '>') if $k < 37;
    my @parts = split /(?=\@)/, $a, 2;
    return ('', join($self->one(' ', '(in)', "\n ", ' (in) '), $parts[0], grep { defined } $parts[1]), '') if $k < 38;
    return ('', $self->one('ann @ here.test', 'ann@here . test', 'ann@far.test.', 'ann@far.test.'), '') if $k < 39 || $self->some(60);
    $self->{broken} = 1;
    return ('', $self->one(@no_addresses), '');
}

sub address_list {
    my ($self, $max) = @_;
    my @parts = ('');
    my $n = 1 + $self->number($max);
    for my $k (1 .. $n) {
        my @m;
        if ($self->some(4)) { @m = ($self->one('Team: ', 'Team:', '"A B": ', ': '), ''); $m[1] = undef; my @in = map { [$self->mailbox] } 1 .. $self->number(3); @m = ($m[0]); for my $in (@in) { $m[-1] .= ', ' if $in != $in[0]; $m[-1] .= shift @$in; push @m, @$in } $m[-1] .= ';' }
        elsif ($self->some(2)) { @m = ('undisclosed-recipients:;') }
        else { @m = $self->mailbox }
        $parts[-1] .= $self->one(', ', ', ', ',', ",\n ", ",\n\t", ' , ', $self->some(10) ? ',, ' : ', ') if $k > 1;
        $parts[-1] .= shift @m;
        push @parts, @m;
    }
    return \@parts;
}

sub header {
    my ($self, $name, $max) = @_;
    $self->{broken} = 0;
    my $list = $self->address_list($max // 3);
    return [$name, $self->one(' ', ' ', ' ', ' ', '', '  ', "\n "), $list, $self->{broken}];
}

sub headers {
    my ($self, $number) = @_;
    my @h = (['X-Case', ' ', [$number]]);
    my @from = $self->some(85) ? $self->header($self->one('From', 'From', 'From', 'from', 'FROM'), $self->some(10) ? 3 : 1) : ();
    push @from, $self->header('From', 1) if @from && $self->some(4);
    push @h, @from;
    push @h, $self->header($_, 4) for grep { $self->some(85) } 'To';
    push @h, $self->header($_, 3) for grep { $self->some(12) } qw(Cc CC Bcc Sender Reply-To Errors-To Return-Receipt-To Return-Path Disposition-Notification-To To Apparently-To Delivered-To Mail-Followup-To X-To Bounces-To Mail-Reply-To List-Post Resent-Reply-To);
    if ($self->some(12)) { push @h, $self->header($_, 2) for grep { $self->some(55) } qw(Resent-From Resent-To Resent-Cc Resent-Bcc Resent-Sender); push @h, ['Resent-Date', ' ', ['Thu, 26 Nov 2026 00:00:00 +0000']] if $self->some(40); push @h, ['Resent-Message-Id', ' ', ['<r@x.test>']] if $self->some(40) }
    push @h, ['Message-Id', ' ', ["<$number\@gen.test>"]] if $self->some(60);
    push @h, ['Date', ' ', ['Thu, 26 Nov 2026 00:00:00 +0000']] if $self->some(70);
    push @h, ['Subject', ' ', [$self->one('s', 'ann@here.test', "folded\n subject", '  blanks  ', "\xc3\xbc")]];
    push @h, $self->header('Cc', 60) if $self->some(2);
    if ($self->some(1)) { push @h, ['To', ' ', ['', (map { ("ann$_\@far.test", ",\n ") } 1 .. 400), 'bob', '']] }
    for my $i (reverse 2 .. $#h) { next unless $self->some(30); my $k = 1 + $self->number($i); @h[$i, $k] = @h[$k, $i] }
    return \@h;
}

# ---- messages ----

my $serial = 0;
sub message {
    my ($self) = @_;
    my $number = ++$serial;
    my $headers = $self->headers($number);
    my $case = { kind => $self->one('smtp', 'smtp', 'smtp', 'outside', 'outside', $self->{no_sendmail} ? 'smtp' : 'sendmail'), headers => $headers };
    $case->{text} = join('', map { "$_->[0]:$_->[1]" . join('', @{ $_->[2] }) . "\n" } @$headers) . $self->one("\nbody\n", "\nbody\n", "\n", "\nFrom: ann\@here.test\n.dot\n", '');
    my $from = $self->some(8) ? '' : $self->some(60) ? $self->plain : $self->path;
    my @to = map { $self->some(55) ? $self->plain : $self->path } 1 .. 1 + ($self->some(40) ? 0 : $self->number(5));
    push @to, $to[0] if $self->some(10);
    if ($case->{kind} eq 'sendmail') {
        my @args = ($self->some(70) ? ('-i') : (), $self->some(60) ? ('-f', $from) : (), $self->some(30) ? ('-F', $self->one('Full Name', 'A. B (c)', 'x "y" z', '', 'ann@here.test', 'a\\b', 'a,b')) : (), $self->some(8) ? ('-G') : (),
            $self->some(8) ? ('-N', $self->one('failure', 'failure,delay', 'never', 'success')) : (), $self->some(4) ? ('-V', 'env id') : ());
        push @args, $self->some(35) ? '-t' : ();
        push @args, '--', @to unless ($args[-1] // '') eq '-t' && $self->some(70);
        $case->{args} = \@args;
        return $case;
    }
    my $utf8 = $self->some(25);
    $case->{from} = $self->some(4) ? $self->one('@r.test:', '@r.test,@s.test:') . $from : $from;
    $case->{mail_args} = join '', $utf8 ? ' SMTPUTF8' : (), $self->some(25) ? ' BODY=8BITMIME' : (), $self->some(8) ? $self->one(' RET=HDRS', ' RET=FULL') : (), $self->some(5) ? ' ENVID=e+2Bx' : ();
    $case->{to} = [map { [($self->some(4) ? $self->one('@r.test,@s.test:', '@r.test:', '@[127.0.0.1]:', '@here.test:') : '') . $_, $self->some(15) ? $self->one(' NOTIFY=NEVER', ' NOTIFY=FAILURE,DELAY', ' NOTIFY=FAILURE', ' ORCPT=rfc822;first+2Bx@else.test', ' NOTIFY=FAILURE ORCPT=rfc822;o@p.test', ' NOTIFY=SUCCESS') : ''] } @to];
    return $case;
}

# sendmail -bv: where would it go?
sub probe {
    my ($self) = @_;
    return { kind => 'probe', headers => [], text => '', args => ['-bv', '-f', $self->plain, '--', $self->some(60) ? $self->plain : $self->address] };
}

1;
