# Proxymap.pm: the pool of proxymap(8) in a running system: its socket, a table that
# misbehaves as it is told to (t/proxymap/table.c), and a service that uses tables
# (t/proxymap/service.c).
#
#     Proxymap::install($ph);                        # before it is started
#     my $slow = Proxymap::slow($ph, 'name');         # slow:/dir; ->{table}, do(hang => 'key'), stop_it('hang')
#     my $r = Proxymap::asks($ph, do => 'lookup', table => $slow->{table}, key => 'x');   # {rc, value, text, ms}
#     my $r = Proxymap::call($ph, 'private/proxymap', op => 'lookup', table => ..., key => ...);
package Proxymap;
use strict;
use warnings;
use IO::Select ();
use Posthorn;
use Socket ();

our ($OK, $NONE, $RETRY, $BAD, $DENY, $CONFIG) = (0 .. 5);

sub available { return -e "$Posthorn::build/t/proxymap/.libs/table_slow.so" }

sub install {
    my ($ph) = @_;
    my $dir = "$ph->{dir}/objects";
    mkdir $_ for "$ph->{dir}/plugins.d", $dir;
    for my $p (['table', 'slow', 'exec: blocking'], ['service', 'asks', '']) {
        my ($kind, $name, $more) = @$p;
        my $so = "$dir/${kind}_$name.so";
        Posthorn::spew($so, Posthorn::slurp("$Posthorn::build/t/proxymap/.libs/${kind}_$name.so"));
        chmod 0755, $so;
        Posthorn::spew("$ph->{dir}/plugins.d/$name.yaml", "format: 1\nkind: $kind\nname: $name\nobject: $so\n$more\n");
    }
    chmod 0755, $dir, "$ph->{dir}/plugins.d";
    $ph->edit_master(sub { $_ .= "  - {name: asks, plugin: asks, listen: unix, processes: 1}\n" });
    return;
}

sub connect_to {
    my ($ph, $socket) = @_;
    socket my $s, Socket::AF_UNIX(), Socket::SOCK_STREAM(), 0 or die "socket: $!";
    connect $s, Socket::pack_sockaddr_un($ph->queue . "/$socket") or die "$socket: $!";
    return $s;
}

# The attributes of the next frame, or undef at the end or after a while.
sub hear {
    my ($s, $seconds) = @_;
    my $got = '';
    my $want = 4;
    while (length $got < $want) {
        return unless IO::Select->new($s)->can_read($seconds || 100);
        sysread $s, $got, $want - length $got, length $got or return;
        $want = 4 + unpack 'V', $got if length $got == 4;
    }
    my %attr;
    my $at = 8;
    while ($at < length $got) {
        my ($name, $value) = unpack 'C/a V/a', substr $got, $at;
        $attr{$name} //= $value;
        $at += 5 + length($name) + length $value;
    }
    return \%attr;
}

sub say_to { my ($s, @attr) = @_; my $f = Posthorn::frame(@attr); return syswrite($s, $f) == length $f }

# One request of our own to the pool.
sub call {
    my ($ph, $socket, @attr) = @_;
    my %attr = (flags => 1, proxied => 0, wait => 5000, @attr);
    my $s = connect_to($ph, $socket);
    say_to($s, %attr);
    return hear($s);
}

# Begin to use a table; its answer is for `hear`.
sub begin {
    my ($ph, @attr) = @_;
    my %attr = (flags => 1, do => 'lookup', @attr);
    my $s = connect_to($ph, 'private/asks');
    say_to($s, %attr);
    return $s;
}

sub asks { my ($ph, %attr) = @_; return hear(begin($ph, %attr)) // { rc => 'no answer' } }

# Processes of the pool: pids.
sub pids { my ($ph, $name) = @_; $name //= 'proxymap'; my %p = $ph->processes; return grep { $p{$_} =~ /worker -n \Q$name\E -t unix/ } sort { $a <=> $b } keys %p }

sub slow {
    my ($ph, $name) = @_;
    my $dir = "$ph->{dir}/$name";
    mkdir $dir;
    chmod 0755, $dir;
    Posthorn::spew("$dir/asked", '');
    chmod 0666, "$dir/asked";
    return bless { dir => $dir, table => "slow:$dir" }, 'Proxymap::Slow';
}

package Proxymap::Slow;
use strict;
use warnings;

sub do { my ($self, $what, $keys) = @_; Posthorn::spew("$self->{dir}/.$what", $keys // ''); rename "$self->{dir}/.$what", "$self->{dir}/$what" or die "$what: $!"; return $self }
sub stop_it { my ($self, @what) = @_; unlink map { "$self->{dir}/$_" } @what; return $self }
# What it was asked for so far: ([pid, key], ...).
sub asked { my ($self) = @_; return map { [split / /, $_, 2] } split /\n/, Posthorn::slurp("$self->{dir}/asked") }

1;
