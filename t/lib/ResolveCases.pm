# ResolveCases.pm: generated configurations, addresses and senders for the
# resolver, the same for us and for a peer.  All comes from one seed.
package ResolveCases;
use strict;
use warnings;
use Posthorn;

my @domains = qw(here.example mx.here.example localhost localhost.here.example relay.example a.relay.example b.a.relay.example v.example m.example o.example
    a.o.example b.a.o.example two.example host moved.example xn--bcher-kva.example);
my @odd_domains = ('HERE.Example', 'O.Example', 'here.example.', 'o.example.', 'o.example..', '.', '.o.example', 'o..example', '-bad.example', 'bad-.example', 'a_b.example',
    '192.0.2.9', '192.0.2.50', '2001:db8::1', '[192.0.2.9]', '[127.0.0.1]', '[192.0.2.7]', '[192.0.2.50]', '[IPv6:2001:db8::1]', '[ipv6:2001:DB8::1]',
    '[::1]', '[x]', '[]', '[192.0.2.9', '192.0.2.9]', '[127.0.0.1]x', '[192.0.2.256]', 'b cher.example', "b\xc3\xbccher.example", "b\xfccher.example", '',
    'x' x 63 . '.example', 'x' x 64 . '.example', join('.', ('y' x 60) x 4) . '.example', '1.example', '1', '1.2', '0x7f.1', 'o.example:25', '[o.example]');
my @locals = qw(u v U u+x u-x u+x-y u-x+y +x -x u+ owner-u u-request postmaster MAILER-DAEMON moved old u.v);
my @odd_locals = ('a b', 'a"b', 'a\\b', '.u', 'u.', 'u..v', '', '"u"', "\xc3\xbc", "\xfc", "u\x01", 'u@', '@u', '@r:u', 'u,v', 'u;v', 'u<v', 'u(v)', 'u:v', 'x' x 70, '[u]', "u'v", '*', '<>', 'u{v}', "\$u");

sub new {
    my ($class, %o) = @_;
    my $self = bless { seed => $o{seed}, dir => $o{dir}, postmap => $o{postmap}, tables => 0 }, $class;
    srand $o{seed};
    return $self;
}

sub one { return $_[rand @_] }
sub chance { return rand() < $_[0] }
sub some { my ($p, @all) = @_; return grep { chance($p) } @all }

# ---- addresses ----

sub local_part { return chance(0.8) ? one(@locals) : one(@odd_locals) }
sub domain { return chance(0.75) ? one(@domains) : one(@odd_domains) }

# Routing on routing.
sub routed {
    my ($depth) = @_;
    my $a = local_part();
    for (1 .. $depth) {
        my $kind = int rand 4;
        $a = $kind == 0 ? $a . '%' . domain() : $kind == 1 ? domain() . '!' . $a : $kind == 2 ? $a . '@' . domain() : '"' . $a . '"';
    }
    return $a;
}

sub noise {
    my @bytes = (qw(u v . @ ! % + - " \\ [ ] : o.example here.example 1), ' ', ',', ';', '<', '>', '(', ')', "\x01", "\x7f", "\xc3\xbc", "\xff");
    return join '', map { one(@bytes) } 1 .. 1 + rand 12;
}

sub address {
    my $kind = rand;
    return $kind < 0.45 ? local_part() . '@' . domain()
        : $kind < 0.52 ? local_part()
        : $kind < 0.75 ? routed(1 + rand 3) . '@' . domain()
        : $kind < 0.82 ? routed(1 + rand 4)
        : $kind < 0.97 ? noise()
        : $kind < 0.98 ? 'u' . ('%here.example' x 200) . one('', '@here.example', '@o.example')
        : $kind < 0.99 ? ('x' x one(1000, 2000)) . '@' . domain()
        : ('%', '!', '@')[rand 3] x (1 + rand 60) . one('', 'u@here.example', 'here.example');
}

# Something in external form: that address as it is, with a local part in quotes, or words of either kind.
sub external {
    my ($address) = @_;
    my $kind = rand;
    return $address if $kind < 0.3;
    if ($kind < 0.6) {
        my ($local, $domain) = $address =~ /^(.*)(\@.*)\z/s ? ($1, $2) : ($address, '');
        $local =~ s/(["\\])/\\$1/g;
        return qq("$local"$domain);
    }
    my @words = (@locals, qw(a!b c%d e@f "a!b" "c%d" "e@f" "g h" "" a\\!b "i\"j" [192.0.2.50]), @domains);
    return join '', map { one(@words) . one('@', '@', '!', '%', '.', '') } 1 .. 1 + rand 3;
}

sub sender { return chance(0.25) ? '' : local_part() . '@' . one(@domains) }

# ---- tables ----

sub table {
    my ($self, $type, @rows) = @_;
    my $file = "$self->{dir}/table" . $self->{tables}++;
    Posthorn::spew($file, map { "$_\n" } @rows);
    $self->{postmap}->("$type:$file") if $type eq 'hash';
    return "$type:$file";
}

# Keys of a table whose key is an address, quoted where it must be.
sub address_key {
    my $user = one(qw(u v u+x u-x moved old), '"a b"', 'mailer-daemon');
    return $user . '@' . one(grep { !/host$/ } @domains);
}

sub fixed_rows {
    my ($n, $key, $value) = @_;
    my %rows;
    $rows{ $key->() } //= $value->() for 1 .. $n;
    return map { "$_ $rows{$_}" } sort keys %rows;
}

# None that matches "*": see resolve_peer.t.
sub pattern_row { my ($value) = @_; return '/' . one('^u@', '^v\+', '@o\.example$', 'relay', '^"a b"@', '@a\.', '^mailer-daemon@', '%') . "/ $value" }

sub maps {
    my ($self, $rows, $key, $value) = @_;
    my @lists;
    for (1 .. 1 + rand 2) {
        my $type = one(qw(hash texthash regexp));
        push @lists, $self->table($type, $type eq 'regexp' ? map { pattern_row($value->()) } 1 .. 1 + rand 2 : fixed_rows(1 + rand $rows, $key, $value));
    }
    return join one(' ', ', '), @lists;
}

sub route {
    return one('smtp:[t.example]', 'smtp:[t.example]:26', 'lmtp:unix:private/Lmtp', 'smtp:', ':', ':[n.example]:27', 'relay:Hop.Example', 'error:5.7.1 No: thanks', 'error:',
        'retry:4.7.1 Later: please', 'discard:', 'local:', 'smtp:a.example, b.example', 'smtp', 'smtp:[t.example] ', 'virtual:x y', ':o.example', 'LMTP:x');
}

sub transport_key {
    my $d = one(grep { !/^host/ } @domains);
    my $r = rand;
    return $r < 0.3 ? address_key() : $r < 0.55 ? $d : $r < 0.75 ? ".$d" : $r < 0.8 ? "\@$d" : $r < 0.85 ? '.example' : $r < 0.88 ? 'example' : $r < 0.91 ? 'u' : $r < 0.94 ? '[192.0.2.50]' : '*';
}

sub relay_hop { return one('[hub.example]', '[hub.example]:587', 'hub.example', 'Hub.Example:25', '[192.0.2.1]:26', '[IPv6:2001:db8::5]:25', 'a.example, b.example') }
sub sender_key { my $r = rand; return $r < 0.5 ? address_key() : $r < 0.8 ? '@' . one(@domains) : $r < 0.9 ? '<>' : one(qw(u v u+x o.example)) }
sub moved_key { my $r = rand; return $r < 0.5 ? address_key() : $r < 0.75 ? '@' . one(@domains) : one(qw(u moved old u+x mailer-daemon)) }

# ---- configurations ----

sub domain_list {
    my ($self, @likely) = @_;
    my @list = (some(0.7, @likely), some(0.06, @domains, map { ".$_" } @domains));
    push @list, '!' . one(@domains) if chance(0.1);
    push @list, one(map { ".$_" } @likely) if @likely && chance(0.2);
    push @list, $self->table('hash', map { "$_ x" } some(0.3, @domains)) if chance(0.15);
    push @list, $self->table('regexp', one('/^o\.example$/ x', '/\.relay\.example$/ x', '/^two\./ x', '/host/ x')) if chance(0.1);
    @list = sort { rand() <=> 0.5 } @list if chance(0.3);
    return join ', ', @list;
}

sub way { return one(@_, 'lmtp:unix:private/X', 'smtp:[f.example]:2525', 'smtp', 'error:5.2.2 class: text', 'retry:4.2.2 class text', 'error', 'discard', 'pipe:Hop') }

my %booleans = (append_at_myorigin => 0.85, append_dot_mydomain => 0.3, swap_bangpath => 0.8, allow_percent_hack => 0.8, resolve_dequoted_address => 0.75,
    resolve_null_domain => 0.3, resolve_numeric_domain => 0.3);

sub configuration {
    my ($self) = @_;
    my %c = map { $_ => chance($booleans{$_}) ? 'yes' : 'no' } sort keys %booleans;
    %c = (
        %c, myhostname => 'mx.here.example', mydomain => 'here.example', myorigin => one('$myhostname', '$mydomain', 'orig.example'), proxy_interfaces => '192.0.2.9',
        inet_interfaces => '127.0.0.1', mydestination => $self->domain_list(qw(here.example mx.here.example localhost localhost.here.example [192.0.2.7])),
        virtual_alias_domains => $self->domain_list(qw(v.example)), virtual_mailbox_domains => $self->domain_list(qw(m.example)),
        relay_domains => $self->domain_list(qw(relay.example)), recipient_delimiter => one('', '+', '+', '-', '+-'),
        parent_domain_matches_subdomains => one('relay_domains', 'relay_domains', '', 'transport_maps', 'relay_domains, transport_maps, mydestination, virtual_alias_domains'),
        remote_header_rewrite_domain => one('', 'remote.invalid'),
    );
    $c{local_transport} = way('local:$myhostname', 'local') if chance(0.3);
    $c{virtual_transport} = way('virtual') if chance(0.3);
    $c{relay_transport} = way('relay') if chance(0.3);
    $c{default_transport} = way('smtp') if chance(0.3);
    $c{relayhost} = relay_hop() if chance(0.3);
    $c{empty_address_recipient} = one('nobody', 'u') if chance(0.15);
    $c{sender_dependent_relayhost_maps} = $self->maps(8, \&sender_key, sub { one(relay_hop(), relay_hop(), 'DUNNO', 'dunno') }) if chance(0.4);
    $c{sender_dependent_default_transport_maps} = $self->maps(8, \&sender_key, sub { one(route(), route(), 'DUNNO') }) if chance(0.4);
    $c{empty_address_relayhost_maps_lookup_key} = one('null@o.example', 'u') if chance(0.1);
    $c{empty_address_default_transport_maps_lookup_key} = one('null', 'u') if chance(0.1);
    $c{transport_maps} = $self->maps(12, \&transport_key, \&route) if chance(0.6);
    $c{relocated_maps} = $self->maps(6, \&moved_key, sub { one('new@there.example', '5.2.0 gone: away', 'x') }) if chance(0.3);
    if (chance(0.2)) {
        $c{address_verify_default_transport} = way('smtp');
        $c{address_verify_relayhost} = relay_hop() if chance(0.5);
        $c{address_verify_transport_maps} = $self->maps(6, \&transport_key, \&route) if chance(0.5);
        $c{address_verify_local_transport} = way('local') if chance(0.5);
    }
    return \%c;
}

1;
