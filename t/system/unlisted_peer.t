#!/usr/bin/perl
# Who exists, and whom a stranger may reach, as smtpd says it: the same recipients and
# senders, with the same tables, of ours and of Debian's Postfix as a black box.  The
# replies are compared word for word.
use strict;
use warnings;
use File::Temp ();
use Test::More;
use lib 't/lib';
use PeerPostfix;

my $missing = PeerPostfix->missing;
plan skip_all => $missing if $missing;
my $dir = File::Temp->newdir('posthorn-XXXXXX', TMPDIR => 1);
chmod 0755, "$dir";

my %table = (
    alias => "a\@v.example joe\@here.example\naliased\@here.example joe\@here.example\nerr\@o.example joe\@here.example\nmoved2\@here.example joe\@here.example\ndom\@dom.v.example x\nbare joe\n" .
             "host\@host.here.example joe\n\"q u\"\@v.example joe\n",
    canon => "canon\@here.example joe\@here.example\ncan joe\n\@can.v.example joe\@here.example\n", rcanon => "rcanon\@here.example joe\@here.example\n",
    scanon => "scanon\@here.example joe\@here.example\n", box => "box\@m.example x\n\@any.m.example x\nBig\@m.example x\nlost\@m.example x\n", rel => "rel\@r.example x\n\@sub.r.example x\n",
    users => "joe x\nann+list x\nmoved x\nmoved2 x\nq\@here.example x\nin\@other.here.example x\n\"s p\" x\n",
    route => "err\@o.example error:5.7.1 No way\nerr2\@o.example error:only a text\nerr3\@o.example error:\nlate\@o.example retry:4.7.1 Later: on\nlate2\@o.example retry:soon\nlate3\@o.example retry:\n" .
             "lost\@m.example error:5.2.1 box is closed\nnobody\@here.example error:5.2.1 gone\nnobody\@r.example error:5.2.1 gone\n",
    moved => "moved\@here.example new\@there.example\nmoved2 new\@there.example\na\@v.example n\@there.example\nm\@v.example n\@there.example\nmoved\@o.example n\@there.example\n",
);
Posthorn::spew("$dir/$_", $table{$_}) for keys %table;
my %conf = (
    myhostname => 'mx.here.example', mydomain => 'here.example', mydestination => 'here.example, mx.here.example, other.here.example, lh.ex', append_dot_mydomain => 'yes',
    inet_interfaces => '127.0.0.1', virtual_alias_domains => 'v.example, can.v.example, dom.v.example', virtual_alias_maps => "texthash:$dir/alias", canonical_maps => "texthash:$dir/canon",
    recipient_canonical_maps => "texthash:$dir/rcanon", sender_canonical_maps => "texthash:$dir/scanon", virtual_mailbox_domains => 'm.example, any.m.example',
    virtual_mailbox_maps => "texthash:$dir/box", relay_domains => 'r.example', relay_recipient_maps => "texthash:$dir/rel", local_recipient_maps => "texthash:$dir/users",
    transport_maps => "texthash:$dir/route", relocated_maps => "texthash:$dir/moved", recipient_delimiter => '+', smtpd_reject_unlisted_sender => 'yes',
    mynetworks => '127.0.0.0/8', smtpd_relay_restrictions => 'permit_mynetworks, reject', smtpd_delay_reject => 'no', smtpd_recipient_limit => '1000',
    smtpd_soft_error_limit => '1000', smtpd_hard_error_limit => '1000', smtpd_error_sleep_time => '0', alias_maps => '',
);

my @addresses = (
    'joe@here.example', 'JOE@HERE.example', 'joe+x@here.example', 'ann+list@here.example', 'ann+other@here.example', 'ann@here.example', 'nobody@here.example', 'none@here.example',
    'q@here.example', 'q@mx.here.example', 'in@other.here.example', 'in@here.example', 'joe@mx.here.example', 'joe', 'none', 'joe@[127.0.0.1]', 'none@[127.0.0.1]', 'postmaster', 'postmaster@here.example',
    'PostMaster@mx.here.example', 'MAILER-DAEMON@here.example', 'double-bounce@here.example', 'postmaster@v.example', 'postmaster@m.example', 'a@v.example', 'A@V.example', 'a+x@v.example', 'none@v.example',
    'aliased@here.example', 'aliased+x@here.example', 'bare@here.example', 'bare@v.example', 'bare@o.example', 'dom@dom.v.example', 'none@dom.v.example', '"q u"@v.example', '"s p"@here.example', '"n n"@here.example',
    'canon@here.example', 'canon+y@here.example', 'can@here.example', 'can@v.example', 'x@can.v.example', 'rcanon@here.example', 'scanon@here.example', 'box@m.example', 'BOX@M.example', 'big@m.example', 'box+x@m.example',
    'none@m.example', 'none@any.m.example', 'lost@m.example', 'rel@r.example', 'rel+x@r.example', 'none@r.example', 'none@sub.r.example', 'nobody@r.example', 'err@o.example', 'err2@o.example', 'err3@o.example',
    'late@o.example', 'late2@o.example', 'late3@o.example', 'moved@here.example', 'moved2@here.example', 'moved+x@here.example', 'm@v.example', 'moved@o.example', 'u@o.example', 'joe@here', 'host@host', 'none@host',
    'joe@other', 'a%v.example@here.example', 'none%v.example@here.example', 'joe%here.example', 'here.example!joe', 'here.example!none', 'v.example!a', '@here.example', 'joe@here.example.', 'joe@here.example..', 'joe@', 'joe@1.2.3.4',
    'joe@[1.2.3.4', 'joe@[::1]', 'joe@[127.0.0.1]x', '"joe@here.example"', '"a@v.example"@here.example', '@here.example:a@v.example', 'joe@a b', 'joe@-x.example', 'joe@x_y.example', "j\xc3\xbc\@here.example", "j\xc3\xbc\@m.example", '-joe@here.example', '',
);

sub replies {
    my ($port, $with_mail, @list) = @_;
    my %r;
    my $c = Posthorn::Client->new(port => $port) or die "no connection";
    $c->ask('EHLO client.test');
    for my $a (@list) {
        $c->ask('RSET');
        $r{"MAIL $a"} = ($c->ask("MAIL FROM:<$a>"))[1] if $with_mail;
        $c->ask('RSET');
        $c->ask('MAIL FROM:<u@o.example>');
        $r{"RCPT $a"} = ($c->ask("RCPT TO:<$a>"))[1];
    }
    $c->quit;
    return \%r;
}

# What differs, and why: our reply.
my %differs = (
    # A bracket that is not closed: they close it.
    map({ ("RCPT $_" => '501 5.1.3 Bad recipient address syntax') } 'u@other.test@r.example', 'U@OTHER.TEST@R.EXAMPLE'),      # two "@" without quotes are no syntax of ours
    'RCPT joe@[1.2.3.4' => '501 5.1.3 Bad recipient address syntax', 'MAIL joe@[1.2.3.4' => '501 5.1.7 Bad sender address syntax',
);

# Each address of the list to both, with that configuration.
sub compare {
    my ($with_mail, $list, %set) = @_;
    my $ours = Posthorn->new(%conf, %set, -port => Posthorn::free_port())->start;
    my $theirs = PeerPostfix->new(%conf, smtpd_sender_restrictions => '', inet_protocols => 'ipv4', %set)->start;
    my ($o, $t) = map { replies($_->port, $with_mail, @$list) } $ours, $theirs;
    for my $what (sort keys %$t) {
        my $want = $differs{$what} // $t->{$what};
        $want =~ s/(<[^>]{200})[^>]*/$1/;      # ours keeps the line within RFC 5321 4.5.3.1.5
        is($o->{$what}, $want, substr($what, 0, 60) . ': ' . substr $want, 0, 100);
    }
    $_->stop for $ours, $theirs;
    return;
}

compare(1, \@addresses);

# The relay guard: a client that is a stranger, our domains, and ways around them.
my @vectors = (
    'joe@here.example', 'u@other.test', 'u%other.test@here.example', 'other.test!u@here.example', '"u@other.test"@here.example', '"u%other.test"@here.example', '"other.test!u"@here.example',
    'u%other.test@r.example', 'other.test!u@r.example', '"u@other.test"@r.example', 'u@other.test@r.example', '@here.example:u@other.test', '@r.example:u@other.test', '@here.example,@r.example:rel@r.example',
    'rel@r.example', 'rel@sub.r.example', 'joe@here.example.', 'joe@here.example..', 'joe@', 'joe@127.0.0.1', 'joe@[127.0.0.1]', 'joe@[127.0.0.1]x', 'u@[192.0.2.1]', 'postmaster', '', '@', '%other.test@here.example',
    'u%here.example@other.test', 'u%other.test%here.example@here.example', 'here.example!other.test!u@here.example', 'u%other.test@v.example', 'u%other.test@m.example', 'joe%here.example@here.example',
    'u%other.test', 'other.test!u', '"u@other.test"', '"u%other.test"', 'joe%here.example', "joe\@here\xe2\x80\xa4example", "joe\@h\xd0\xb5re.example", "rel\@\xef\xbd\x92.example", "u\xef\xbc\xa0other.test\@here.example",
    'joe' . '%lh.ex' x 200 . '@here.example', 'u' . '%lh.ex' x 200 . '%other.test@here.example', 'u%other.test' . '%lh.ex' x 200 . '@here.example', 'lh.ex!' x 200 . 'u%other.test@here.example',
    'x' x 1900 . '@here.example', 'x' x 1900 . '@other.test', 'x' x 1900 . '%other.test@here.example', '"' . 'x' x 900 . '@other.test' . '"@here.example',
);
compare(0, [@vectors, map { uc } grep { /^[\x21-\x7e]{1,60}\z/ } @vectors], mynetworks => '192.0.2.128/32', smtpd_relay_restrictions => 'reject_unauth_destination', smtpd_reject_unlisted_sender => 'no');
done_testing;
