# ResolvePeers.pm: the address resolvers of ours and of Debian's Postfix, asked
# by their sockets.  Each configuration is a service of its own beside the
# others, so that one start serves many.  What Postfix's requests and answers look like was seen
# with strace on its smtpd: names and values ended by NUL, an empty name at the end.
package ResolvePeers;
use strict;
use warnings;
use IO::Socket::UNIX;
use PeerPostfix;
use Posthorn;

# What one flag of Postfix's answer says (seen by what it follows).
my %flag = (1 => 'final', 2 => 'routed', 4 => 'error', 8 => 'fail', 256 => 'local', 512 => 'alias', 1024 => 'virtual', 2048 => 'relay', 4096 => 'default');

sub socket_of { my ($path) = @_; return Posthorn::wait_for(sub { IO::Socket::UNIX->new(Peer => $path) }) // die "$path: $!" }

package ResolvePeers::Theirs;
use strict;
use warnings;

sub new {
    my ($class, @conf) = @_;
    my $peer = PeerPostfix->new(mydestination => 'localhost', myhostname => 'mx.here.example', mydomain => 'here.example', inet_interfaces => '127.0.0.1');
    my $i = 0;
    my $more = join '', map { my $c = $_; sprintf("rw%d unix - - n - - trivial-rewrite\n", $i++) . join '', map { "  -o { $_ = $c->{$_} }\n" } sort keys %$c } @conf;
    Posthorn::spew("$peer->{dir}/conf/master.cf", Posthorn::slurp("$peer->{dir}/conf/master.cf"), $more);
    $peer->start;
    return bless { peer => $peer, dir => $peer->{dir}, s => [], buf => [] }, $class;
}

sub attributes {
    my ($self, $i) = @_;
    my @got;
    for (;;) {
        if ($self->{buf}[$i] =~ s{^((?:[^\0]+\0[^\0]*\0)+)\0}{}s) { @got = split /\0/, $1, -1; last }
        sysread($self->{s}[$i], $self->{buf}[$i], 65536, length $self->{buf}[$i]) or do { delete $self->{s}[$i]; return };
    }
    pop @got;
    return @got;
}

sub request {
    my ($self, $i, @attr) = @_;
    for (1 .. 2) {                             # a process of theirs leaves after a while
        unless ($self->{s}[$i]) {
            $self->{s}[$i] = ResolvePeers::socket_of("$self->{dir}/queue/private/rw$i");
            $self->{buf}[$i] = '';
            $self->attributes($i) or next;     # its greeting
        }
        syswrite $self->{s}[$i], join('', map { "$_\0" } @attr) . "\0";
        my @got = $self->attributes($i);
        return @got if @got;
    }
    return;
}

sub rewrite {
    my ($self, $i, $context, $address) = @_;
    my %got = $self->request($i, request => 'rewrite', rule => $context, address => $address) or return 'no answer';
    return $got{address};
}

# { class transport nexthop recipient routed error fail }
sub resolve {
    my ($self, $i, $op, $sender, $address) = @_;
    my @got = $self->request($i, request => $op, sender => $sender, address => $address) or return { fail => 1, why => 'no answer' };
    my %got = @got;                            # the later flags are those of the address
    my %r = map { $_ => $got{$_} } qw(transport nexthop recipient);
    for my $bit (keys %flag) { next unless (0 + $got{flags}) & (0 + $bit); $bit >= 256 ? ($r{class} = $flag{$bit}) : ($r{ $flag{$bit} } = 1) }
    return \%r;
}

sub log { return $_[0]{peer}->log }
sub stop { $_[0]{peer}->stop }

package ResolvePeers::Ours;
use strict;
use warnings;

sub new {
    my ($class, @conf) = @_;
    my $ph = Posthorn->new(myhostname => 'mx.here.example', inet_interfaces => '127.0.0.1');
    my $i = 0;
    my $yaml = join '', map {
        my $c = $_;
        sprintf("  - {name: rw%d, plugin: rewrite, listen: unix, settings: {%s}}\n", $i++, join ', ', map { my $v = $c->{$_}; $v =~ s/(["\\])/\\$1/g; qq($_: "$v") } sort keys %$c);
    } @conf;
    $ph->edit_master(sub { $_ .= $yaml })->start;
    return bless { ph => $ph, s => [] }, $class;
}

# The attributes of one frame, in order.
sub ask {
    my ($self, $i, @attr) = @_;
    my $s = $self->{s}[$i] //= ResolvePeers::socket_of($self->{ph}->queue . "/private/rw$i");
    syswrite $s, Posthorn::frame(@attr);
    my ($buf, @got) = ('');
    while (length $buf < 4 || length $buf < 4 + unpack 'V', $buf) { sysread($s, $buf, 65536, length $buf) or do { delete $self->{s}[$i]; return } }
    my $n = unpack 'x6v', $buf;
    my $at = 8;
    for (1 .. $n) {
        my ($name, $value) = unpack "x$at C/a V/a", $buf;
        $at += 5 + length($name) + length $value;
        push @got, $name, $value;
    }
    return @got;
}

sub rewrite {
    my ($self, $i, $context, $address) = @_;
    my %got = $self->ask($i, op => 'rewrite', context => $context, address => $address);
    return $got{address} // 'no answer';
}

sub resolve {
    my ($self, $i, $op, $sender, $address) = @_;
    my %r = $self->ask($i, op => $op, sender => $sender, address => $address);
    return { fail => 1, why => $r{reason} // 'no answer' } unless ($r{status} // '') eq 'ok';
    return \%r;
}

sub log { return $_[0]{ph}->log }
sub stop { $_[0]{ph}->stop }

1;
