# Database.pm: database servers of Debian for tests of tables: unpacked (never
# installed), run on loopback and a UNIX socket below a temporary directory, by
# an ordinary account when the test is root.
#
#     my $db = Database::Postgres->new(sql => [...]);     # each statement on one line
#     $db->start; $db->port; $db->socket;
#     $db->signal('STOP');  $db->signal('CONT');  $db->crash;
# missing() says why there is none, or undef.
package Database;
use strict;
use warnings;
use parent 'Peer';
use Posthorn;
use POSIX ();

# The command as the account that the server runs as.
sub as_account { return $> != 0 ? @_ : ('setpriv', '--reuid=news', '--regid=news', '--clear-groups', @_) }

# Why that program of the package cannot be run, or undef.
sub lacks_program {
    my ($program, @command) = @_;
    return 'account news is missing' if $> == 0 && !defined getpwnam 'news';
    my @run = as_account(@command, '--version');
    my $out = `@run 2>&1`;
    return $? ? "$program does not run here: $out" : undef;
}

sub directory {
    my ($class, $name) = @_;
    my ($tmp) = Peer::directory($name);
    chown +(Peer::account()), "$tmp" if $> == 0;
    return $tmp;
}

# Run to its end; its output is said when it fails.
sub must {
    my ($in, @command) = @_;
    my @words = map { "'$_'" } as_account(@command);
    my $out = `@words < '$in' 2>&1`;
    die "@command: $out" if $?;
    return $out;
}

sub start { my ($self) = @_; unlink "$self->{dir}/out"; return $self->SUPER::start }      # its last words are not those of before

# To all processes of the server.
sub signal { my ($self, $name) = @_; kill $name, $_ for Posthorn::tree($self->{pid}); return $self }

sub stop {
    my ($self) = @_;
    my $pid = $self->{pid} or return;
    kill 'CONT', $_ for Posthorn::tree($pid);
    kill $self->quick, $pid;
    return $self->SUPER::stop;
}

# As when the machine loses its power.
sub crash {
    my ($self) = @_;
    my $pid = delete $self->{pid} or return;
    delete $Posthorn::live{"pid $pid"};
    my @all = Posthorn::tree($pid);
    kill 'KILL', @all;
    waitpid $pid, 0;
    Posthorn::wait_for(sub { !grep { kill 0, $_ } @all }) or die 'the server does not die';
    return $self;
}

sub log { Posthorn::slurp("$_[0]{dir}/out") }

package Database::Postgres;
use strict;
use warnings;
our @ISA = 'Database';

my $bin;
sub programs { return $bin //= (map { "$_/bin" } grep { -x "$_/bin/postgres" } map { glob("$_/usr/lib/postgresql/*") } Posthorn::debian('postgresql-15') // (), '')[0] }

sub missing {
    my $dir = programs() or return 'package postgresql-15 cannot be had';
    return Database::lacks_program('PostgreSQL', "$dir/postgres");
}

# User admin may do all through the socket; user mail with password "it's" needs it everywhere.
sub new {
    my ($class, %o) = @_;
    my $tmp = $class->directory('postgres');
    my $self = bless { tmp => $tmp, dir => "$tmp", port => Posthorn::free_port(), data => "$tmp/data" }, $class;
    Database::must('/dev/null', programs() . '/initdb', '-D', $self->{data}, '-U', 'admin', '-A', 'trust', '--no-locale', '-E', 'UTF8', '-N');
    Posthorn::spew("$tmp/data/pg_hba.conf", "local all admin trust\nlocal all mail scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n");
    Posthorn::spew("$tmp/data/postgresql.auto.conf", <<"CONF");
listen_addresses = '127.0.0.1'
port = $self->{port}
unix_socket_directories = '$tmp'
max_connections = 20
shared_buffers = 8MB
fsync = off
autovacuum = off
jit = off
CONF
    Posthorn::spew("$tmp/sql", map { "$_\n" } @{ $o{sql} });
    my $out = Database::must("$tmp/sql", programs() . '/postgres', '--single', '-D', $self->{data}, 'postgres');
    die "sql: $out" if $out =~ /ERROR|FATAL/;
    return $self;
}

sub quick { 'INT' }                # without waiting for sessions
sub command { my ($self) = @_; return ({}, Database::as_account($self->programs . '/postgres', '-D', $self->{data})) }
sub socket { my ($self) = @_; return "$self->{dir}/.s.PGSQL.$self->{port}" }
# Whether a session executes a statement just now.
sub is_busy { my ($self) = @_; return grep { Posthorn::slurp("/proc/$_/cmdline") =~ /^postgres: mail .* SELECT/ } Posthorn::tree($self->{pid}) }
sub answers { my ($self) = @_; return $self->log =~ /ready to accept connections/ }

1;
