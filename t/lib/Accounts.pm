# Accounts.pm: accounts made for one test (root only) and removed after it, with
# homes below a directory of the test.
#     my $who = Accounts->new; my ($name, $uid, $gid) = $who->add('joe');
package Accounts;
use strict;
use warnings;
use File::Temp ();
use Posthorn;

my @made;
my $owner = $$;

# Why they cannot be made, or undef.
sub missing {
    return 'needs root: it makes accounts' if $>;
    return 'needs useradd and userdel' if grep { !-x "/usr/sbin/$_" } qw(useradd userdel);
    return 'needs the groups users and mail' unless defined getgrnam('users') && defined getgrnam('mail');
    return;
}

sub new {
    my ($class) = @_;
    my $tmp = File::Temp->newdir('posthorn-local-XXXXXX', TMPDIR => 1, CLEANUP => 1);
    chmod 0755, "$tmp";
    mkdir "$tmp/$_" or die "$tmp: $!" for qw(home spool out);
    chown 0, scalar getgrnam('mail'), "$tmp/spool";
    chmod 02775, "$tmp/spool";
    chmod 0777, "$tmp/out";
    return bless { tmp => $tmp, dir => "$tmp" }, $class;
}

sub dir { $_[0]{dir} }

# An account whose name is not anybody's.
sub add {
    my ($self, $word) = @_;
    my $name = sprintf 'phl%d%s', $$, $word;
    my $home = "$self->{dir}/home/$name";
    system('/usr/sbin/useradd', '-M', '-N', '-g', 'users', '-s', '/bin/sh', '-d', $home, $name) == 0 or die "useradd $name";
    push @made, $name;
    my ($uid, $gid) = (getpwnam $name)[2, 3];
    mkdir $home or die "$home: $!";
    chown $uid, $gid, $home;
    return ($name, $uid, $gid);
}

# A file of somebody's, with a mode.
sub put {
    my ($self, $path, $uid, $mode, $text) = @_;
    unlink $path;
    Posthorn::spew($path, $text);
    chown $uid, scalar getgrnam('users'), $path;
    chmod $mode, $path;
    return $path;
}

END {
    if ($owner == $$) {
        my $rc = $?;
        for my $name (@made) {
            unlink "/var/mail/$name";  # procmail makes it, whatever it is told
            system('/usr/sbin/userdel', $name);
        }
        $? = $rc;
    }
}

1;
