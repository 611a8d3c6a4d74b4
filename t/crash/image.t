#!/usr/bin/perl
# Loss of power, with real filesystems: a running instance has its queue on an image;
# under load the image is copied at once (t/lib/Image.pm), each time right behind an
# acknowledgement; each copy is mounted, which replays its journal, and another
# instance takes the queue up.  What was acknowledged before the copy began is there.
#
#   POSTHORN_IMAGE=sample (the default: ext4, 2 copies), all, or names: ext4 ext4-bare xfs btrfs
#   POSTHORN_COPIES=N of each (make imagetest IMAGE= COPIES=)
use strict;
use warnings;
use Test::More;
use Time::HiRes ();
use lib 't/lib';
use Posthorn;
use Image;

plan skip_all => Image::missing() if Image::missing();
my $which = $ENV{POSTHORN_IMAGE} || 'sample';
my @names = $which eq 'all' ? ('ext4', 'ext4-bare', 'xfs', 'btrfs') : $which eq 'sample' ? 'ext4' : split ' ', $which;
my $COPIES = $ENV{POSTHORN_COPIES} || ($which eq 'sample' ? 2 : 8);
my $CLIENTS = 6;
my @KINDS = ((map { "ok$_\@example.test" } 1 .. 6), 'later@later.test', 'no@no.test', 'hold@example.test');

# ---- letters ----

# Small ones, some that come in pieces, few that outgrow a slot.
sub lines_of { my ($n) = @_; return $n % 50 == 49 ? 5000 : $n % 10 == 9 ? 1500 : 5 + $n % 60 }
sub text { my ($tag, $n) = @_; return join '', map { sprintf "%s line %06d %s\r\n", $tag, $_, 'x' x 40 } 1 .. lines_of($n) }
sub letter { my ($tag, $n) = @_; return "Subject: $tag\r\nX-Tag: $tag-end\r\n\r\n" . text($tag, $n) }

# One client: what was begun and what was acknowledged, a line each, in one write.
sub client {
    my ($ph, $name, $begun, $acked) = @_;
    open my $b, '>>', $begun or die $!;
    open my $a, '>>', $acked or die $!;
    for (my $n = 0; ; ) {
        my $c = eval { $ph->smtp } or next;
        for (1 .. 20) {
            my ($tag, $to) = ("$name-$n", $KINDS[$n % @KINDS]);
            syswrite $b, "$tag $n $to\n";
            my ($code) = eval { $c->send(from => 'me@example.test', to => [$to], body => letter($tag, $n)) };
            $n++;
            last unless $code && $code == 250;
            syswrite $a, "$tag\n";
        }
    }
    return;
}

sub lines_in { my ($file) = @_; return map { [split] } grep { /\n\z/ } Posthorn::slurp($file) =~ /.*\n?/g }

# ---- the load, and the copies ----

# Each copy: what had been acknowledged before it, and which files were in mailboxes behind it.
sub load {
    my ($image, $ph, $begun, $acked) = @_;
    my @copies;
    my @clients = map { my $name = "c$_"; Posthorn::child(sub { client($ph, $name, $begun, $acked) }) } 1 .. $CLIENTS;
    for my $k (1 .. $COPIES) {
        my $have = -s $acked || 0;
        my $more = $have + 40 + 7 * (($k * 37) % 60);       # some six to sixty letters on
        Posthorn::wait_for(sub { (-s $acked || 0) >= $more }, 60) or return fail("$image->{name}: no mail is taken") || diag $ph->log;
        my @before = map { $_->[0] } lines_in($acked);
        $image->copy("copy$k");
        push @copies, { name => "copy$k", acked => \@before, delivered => [$ph->mail] };
    }
    my $have = -s $acked;
    Posthorn::wait_for(sub { -s $acked > $have + 200 }, 60);    # and it went on behind the last
    Posthorn::end_child($_) for @clients;
    return @copies;
}

# ---- the next life ----

sub tags_in { my ($text) = @_; return $text =~ /^X-Tag: (\S+)-end\r?$/mg }
sub is_notice { my ($text) = @_; return $text =~ m{^Content-Type: multipart/report}m }

# What the copy gives to whom asks for nothing but its mail: texts.
sub recover {
    my ($ph, $image, $copy) = @_;
    my $sink = Posthorn::Sink->new;
    $ph->set(transport_maps => 'static:smtp:[127.0.0.1]:' . $sink->port);
    my $trouble = $image->mount($copy->{name}, "$ph->{dir}/disk");
    return (undef, $trouble) if $trouble;
    $ph->start;
    $ph->cmd('postsuper', '-H', 'ALL');
    Posthorn::wait_for(sub { $ph->cmd('postqueue', '-f'); !$ph->queued }, 60) or $trouble = 'the queue does not become empty';
    $ph->stop;
    my @corrupt = glob "$ph->{dir}/disk/q/corrupt/*";
    $image->unmount_last;
    return ([map { $_->{body} } $sink->messages], $trouble, scalar @corrupt);
}

# What must hold; how many came twice or late.
sub judge {
    my ($copy, $begun, $texts, $delivered) = @_;
    my (%here, %notice, @wrong, %count);
    for my $text (@$texts) {
        my ($tag) = tags_in($text) or next;         # of nobody: counted by the postmaster's copies, if at all
        if (is_notice($text)) { $notice{$tag}++; next }
        $here{$tag}++;
        my $b = $begun->{$tag};
        push @wrong, "$tag comes from nowhere" unless $b;
        push @wrong, "$tag is not whole" if $b && (split /\r\n\r\n/, $text, 2)[1] ne text($tag, $b->{n});
    }
    push @wrong, map { "$_ is there $here{$_} times" } grep { $here{$_} > 1 } sort keys %here;
    my (%before, %told);
    for my $file (@{ $copy->{delivered} }) { my $d = $delivered->{$file} or next; ($d->{notice} ? $told{$d->{tag}} : $before{$d->{tag}})++ }
    for my $tag (@{ $copy->{acked} }) {
        my $to = $begun->{$tag}{to};
        my $done = $to =~ /^no/ ? $told{$tag} || $notice{$tag} : $before{$tag};
        push @wrong, "$tag for $to was acknowledged and is lost" unless $here{$tag} || $done;
        $count{twice}++ if $here{$tag} && $done;
        $count{notices}++ if $notice{$tag};
        $count{acknowledged}++;
        $count{recovered}++ if $here{$tag};
    }
    my %acked = map { $_ => 1 } @{ $copy->{acked} };
    $count{unanswered} = grep { !$acked{$_} } keys %here;
    return (\@wrong, \%count);
}

# ---- one filesystem ----

sub instance {
    my (%set) = @_;
    my $ph = Posthorn->new(smtpd_peername_lookup => 'no', notify_classes => '', minimal_backoff_time => '300s', queue_run_delay => '300s', %set);
    mkdir "$ph->{dir}/disk" or die $!;
    return $ph->set(queue_directory => "$ph->{dir}/disk/q");
}

sub try_kind {
    my ($name) = @_;
    my $image = Image->new($name);
    my $ph = instance(transport_maps => 'inline:{{later.test = retry:4.2.0 later},{no.test = error:5.1.1 no}}',
        smtpd_recipient_restrictions => 'check_recipient_access inline:{{hold@example.test = HOLD}}, permit');
    my ($begun, $acked) = map { my $f = "$ph->{tmp}/$_"; Posthorn::spew($f, ''); $f } 'begun', 'acked';
    is($image->mount('first', "$ph->{dir}/disk"), undef, "$name: made and mounted") or return;
    mkdir "$ph->{dir}/disk/q" or die $!;
    $ph->start;
    my @copies = load($image, $ph, $begun, $acked);
    $ph->stop;
    $image->unmount_last;
    my %begun = map { $_->[0] => { n => $_->[1], to => $_->[2] } } lines_in($begun);
    my %delivered = map { my $t = Posthorn::slurp($_); my ($tag) = tags_in($t); $tag ? ($_ => { tag => $tag, notice => scalar is_notice($t) }) : () } $ph->mail;
    my $next = instance();
    my %sum;
    for my $copy (@copies) {
        my ($texts, $trouble, $corrupt) = recover($next, $image, $copy);
        is($trouble, undef, "$name, $copy->{name}: the queue is taken up") or diag $next->log;
        next unless $texts;
        my ($wrong, $count) = judge($copy, \%begun, $texts, \%delivered);
        # Torn are only those that were being written: one of each client, and a notice.  (Without
        # a journal also removed files whose blocks others have now.)
        push @$wrong, "$corrupt files in corrupt" if $corrupt > 2 * $CLIENTS && !$image->{kind}{fsck};
        is_deeply($wrong, [], "$name, $copy->{name}: of " . @{ $copy->{acked} } . ' acknowledged none is lost, torn or twice') or diag $next->log;
        # What was acknowledged behind the copy is not in it: so it would be seen.
        my ($later) = judge({ %$copy, acked => [map { $_->[0] } lines_in($acked)] }, \%begun, $texts, \%delivered);
        cmp_ok(scalar(grep { /is lost/ } @$later), '>', 0, "$name, $copy->{name}: what came later is missed");
        $sum{$_} += $count->{$_} for keys %$count;
        $sum{corrupt} += $corrupt;
        $image->drop($copy->{name});
    }
    cmp_ok($sum{recovered} || 0, '>', 0, "$name: there was mail to recover");
    diag "$name: " . @copies . ' copies: ' . join ', ', map { "$sum{$_} $_" } sort keys %sum;
    return;
}

for my $name (@names) {
    my $why = Image::missing($name);
    SKIP: {
        skip "$name: $why", 1 if $why;
        try_kind($name);
    }
    diag "$name is skipped: $why" if $why;
}
done_testing();
