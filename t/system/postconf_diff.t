# A thousand generated main.cf files, read by our postconf and by Debian's: what is
# shown must be equal, byte by byte.  Several files are read as one, each with
# parameters of its own, so that it takes seconds; FILES=1 of the environment reads
# each alone, SEED and COUNT generate others.  What cannot be equal stands in
# the table of known differences, with its reason.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use File::Temp ();
use Posthorn;
use Test::More;

my @peer = Posthorn::postfix_tool('postconf') or plan skip_all => 'Debian\'s postfix cannot be had';
my @ours = Posthorn->sbin('postconf');
my $dir = File::Temp->newdir('posthorn-diff-XXXXXX', TMPDIR => 1);
delete $ENV{MAIL_CONFIG};
my $count = $ENV{COUNT} // 1000;
my $batch = $ENV{FILES} ? 1 : 25;

# Numbers of our own: the same files on every machine.
my $state = $ENV{SEED} // 20261126;
sub number { my ($n) = @_; $state = ($state * 1103515245 + 12345) % 2147483648; return int($state / 65536) % $n }
sub one { return $_[number(scalar @_)] }

# Parameters that can hold any text: both know them, and no program reads them while postconf runs.
my @names = grep { !/^(?:default_|import|export|mail_(?:version|name)|process_|config_dir|alternate|authorized|multi|syslog|shlib|meta|inet_|my|proxy_)/ } qw(
    access_map_reject_code address_verify_map address_verify_relayhost address_verify_sender alias_database alias_maps
    allow_mail_to_commands always_bcc anvil_rate_time_unit append_at_myorigin backwards_bounce_logfile_compatibility
    berkeley_db_create_buffer_size best_mx_transport biff body_checks bounce_notice_recipient bounce_queue_lifetime
    bounce_service_name bounce_size_limit bounce_template_file broken_sasl_auth_clients canonical_classes canonical_maps
    cleanup_service_name command_time_limit content_filter cyrus_sasl_config_path daemon_timeout debug_peer_level debug_peer_list
    debugger_command defer_code defer_service_name defer_transports delay_logging_resolution_limit delay_notice_recipient
    delay_warning_time deliver_lock_attempts detect_8bit_encoding_header disable_dns_lookups disable_vrfy_command
    duplicate_filter_limit empty_address_recipient error_notice_recipient error_service_name execution_directory_expansion_filter
    expand_owner_alias fallback_transport fast_flush_domains fast_flush_refresh_time fault_injection_code flush_service_name
    fork_attempts fork_delay hash_queue_names header_address_token_limit header_checks helpful_warnings home_mailbox hopcount_limit
    ignore_mx_lookup_error in_flow_delay info_log_address_format internal_mail_filter_classes ipc_idle ipc_timeout ipc_ttl
    line_length_limit lmtp_bind_address lmtp_body_checks lmtp_connect_timeout lmtp_generic_maps lmtp_host_lookup lmtp_tcp_port
    local_command_shell local_header_rewrite_clients local_recipient_maps local_transport mailbox_command_maps
    mailbox_delivery_lock mailbox_transport masquerade_classes masquerade_domains masquerade_exceptions max_idle max_use
    maximal_backoff_time maximal_queue_lifetime message_reject_characters message_size_limit message_strip_characters
    milter_connect_macros milter_protocol mime_boundary_length_limit mime_header_checks minimal_backoff_time
    nested_header_checks non_smtpd_milters notify_classes owner_request_special parent_domain_matches_subdomains
    permit_mx_backup_networks pickup_service_name postscreen_access_list postscreen_dnsbl_sites postscreen_greet_banner
    prepend_delivered_header propagate_unmatched_extensions qmqpd_authorized_clients queue_minfree queue_run_delay
    rbl_reply_maps recipient_bcc_maps recipient_canonical_maps recipient_delimiter relay_domains relay_recipient_maps
    relay_transport relayhost relocated_maps remote_header_rewrite_domain require_home_directory reset_owner_alias
    resolve_numeric_domain sender_bcc_maps sender_canonical_maps sendmail_fix_line_endings service_throttle_time showq_service_name
    smtp_always_send_ehlo smtp_bind_address smtp_body_checks smtp_connect_timeout smtp_destination_recipient_x smtp_generic_maps
    smtp_header_checks smtp_helo_name smtp_host_lookup smtp_line_length_limit smtp_mx_address_limit smtp_pix_workarounds
    smtp_quit_timeout smtp_sasl_mechanism_filter smtp_sender_dependent_authentication smtp_tls_ciphers smtp_tls_protocols
    smtpd_banner smtpd_client_port_logging smtpd_client_restrictions smtpd_data_restrictions smtpd_discard_ehlo_keywords
    smtpd_end_of_data_restrictions smtpd_error_sleep_time smtpd_etrn_restrictions smtpd_helo_restrictions
    smtpd_history_flush_threshold smtpd_junk_command_limit smtpd_log_access_permit_actions smtpd_milters smtpd_noop_commands
    smtpd_null_access_lookup_key smtpd_policy_service_default_action smtpd_proxy_filter smtpd_recipient_limit
    smtpd_recipient_restrictions smtpd_relay_restrictions smtpd_sasl_path smtpd_sasl_security_options smtpd_sender_login_maps
    smtpd_sender_restrictions smtpd_timeout smtpd_tls_ciphers smtpd_tls_protocols soft_bounce stale_lock_time
    strict_7bit_headers strict_mailbox_ownership swap_bangpath tls_preempt_cipherlist transport_maps transport_retry_time
    trigger_timeout undisclosed_recipients_header unknown_address_reject_code verp_delimiter_filter virtual_alias_domains
    virtual_alias_maps virtual_gid_maps virtual_mailbox_base virtual_mailbox_domains virtual_mailbox_maps virtual_minimum_uid
    virtual_transport virtual_uid_maps);
@names = grep { !/_x$/ } @names;

# --- the generator ---
my @words = ('a', 'b9', 'hash:/etc/x', 'permit,', 'reject', '#', '=', ':', '?', '!', '[::1]:25', '/a/b,', '"q"', "'q'", '\\', '%s', '@x.test', '10', '3w', '<x>', '|', '~', 'é',
    '-o', 'a=b', ',', '{', '}');
my @texts = ('', 'x', '10', '9', '010', 'a b', 'yes', 'no', ' x', 'x ', '3.10', '007', 'A');
my @blanks = ('', '', '', ' ', "\t", '  ');
my ($defined, $empty);           # names that an expression can refer to, of this file

sub name { my $n = number(10); return $n < 6 ? one(@$defined) : $n < 8 ? one(@$empty) : $n < 9 ? one(qw(mail_owner setgid_group default_process_limit)) : "nosuch$n" . number(50) }
sub text { my ($depth) = @_; return number(3) && $depth < 4 ? expression($depth + 1) : one(@texts) }
sub expression {
    my ($depth) = @_;
    my $k = number(15);
    my ($b, $c) = (one(@blanks), one(@blanks));
    return '$' . name() . one('', ' ', '/', '.') if $k < 3;
    return '${' . $b . name() . $c . '}' if $k < 4;
    return '$(' . name() . ')' if $k < 5;
    return '$$' . one(@texts) if $k < 6;
    # Bare text must not begin with a brace and has no odd ones inside.
    return '${' . name() . one('?', ':') . one('', 'bare', 'b?c:d', ' two words ', 'x{y}z', '$$') . text($depth) . '}' if $k < 8;
    return '${' . name() . $b . one('?', ':') . $c . '{' . text($depth) . '}' . $b . '}' if $k < 10;
    return '${' . $b . name() . '?' . $c . '{' . text($depth) . '}' . $b . ':' . $c . '{' . text($depth) . '}' . $c . '}' if $k < 12;
    return '${' . name() . '?{' . text($depth) . '}' . $b . ':' . one('bare', ' b c ', '') . '}' if $k < 13;
    my $relation = $b . '{' . text($depth) . '}' . $c . one(qw(== != < <= > >=)) . $b . '{' . text($depth) . '}' . $c;
    return '${' . $relation . '}' if $k < 14;
    return '${' . $relation . '?' . $b . '{' . text($depth) . '}' . one('', $c . ':' . $b . '{' . text($depth) . '}') . '}';
}
sub value { return join one(' ', ' ', ', ', ',', ''), map { number(3) ? one(@words) : expression(0) } 1 .. number(7) }

# A value as people write it: over several lines, comments between them.
sub entry {
    my ($name, $value) = @_;
    my $text = $name . one('', ' ', '  ', "\t") . '=' . one('', ' ', '   ');
    my @done;
    for my $c (split /(?<= )/, $value) {
        push @done, $c;
        $text .= $c;
        next if number(6) || $c !~ / $/ || substr($value, length join('', @done)) =~ /^#/;    # a # would begin a comment
        $text .= one("\n", " \n", "\n\n", "\n# comment = x\n", "\n  # c\n \t\n") . one(' ', '    ', "\t");
    }
    return $text . one('', '', ' ', "\t") . "\n";
}
my $serial = 0;
sub file {
    my (@mine) = @_;             # its parameters
    my $n = $serial++;
    $defined = [map { "user${n}_$_" } 1 .. 4];
    $empty = [map { "none${n}_$_" } 1 .. 3];                    # the third only when it is expanded
    my @entries = ((map { entry($_, one(@texts[1 .. $#texts])) } @$defined), (map { "$_ =\n" } @$empty[0, 1]), "$empty->[2] = \$$empty->[0]\n", map { entry($_, value()) } @mine);
    push @entries, entry($mine[0], value()) if number(4) == 0;                # twice: the last counts
    push @entries, entry("unused${n}", value()) if number(4) == 0;
    push @entries, one("# only a comment\n", "\n", " \n", "#\n  # more\n") for 1 .. number(3);
    for my $i (reverse 1 .. $#entries) { my $k = number($i + 1); @entries[$i, $k] = @entries[$k, $i] }
    return join '', @entries;
}

# Warnings that only one of both has.  1: also of a file that is refused.
my @known = (
    [qr/not implemented yet/, 1, 'Posthorn says of what it does not have that it has no effect; Postfix has it'],
    [qr/will be removed/, 1, 'deprecated names: 3.7 does not warn of them, later releases and Posthorn do'],
    [qr/missing '\}' in|syntax error after '\}'/, 1, 'Postfix looks for type:name in every value and meets braces that close nothing; they are text'],
    [qr/macro|expected at:|syntax error at:|unexpected input at:/, 0, 'mistakes in a branch that is not chosen: told by both, each with its words'],
    [qr{DIR/main\.cf:\d+:\d+: \S+: }, 0, 'the same, ours'],
);
# Not generated, because these differ: numbers beyond 64 bits (fatal there; compared here); a file whose last line has no
# end and is edited (joined there, t/system/postconf_edit.t); ${function{text}}, which 3.7 does not have; NUL bytes (what
# follows one is dropped by both; ours warns); $name of a service parameter without its service (undefined there); settings of
# tables that later releases have (charset, idle_interval, retry_interval, encoding) and of redis: (unused there), those of a
# table that a class of restrictions names (unused there, though its smtpd reads them); bytes beyond ASCII in
# warnings ('?' there, UTF-8 here); mistakes in what no program reads (told here).
# "undefined parameter" is said at each place there and once here, so each is counted once.

# --- running both ---
sub conf {
    my ($who, $cf, $what) = @_;
    my $at = "$dir/conf";
    mkdir $at;
    Posthorn::spew("$at/main.cf", $cf);
    Posthorn::spew("$at/master.cf", '');
    Posthorn::spew("$at/master.yaml", "format: 1\nservices: []\n");
    utime time - 3600, time - 3600, "$at/main.cf", "$at/master.cf";
    my $pid = fork // die;
    if (!$pid) {
        open STDOUT, '>', "$dir/out";
        open STDERR, '>', "$dir/err";
        exec @$who, '-c', $at, @$what;
    }
    waitpid $pid, 0;
    my $err = Posthorn::slurp("$dir/err") =~ s{^\S*/postconf: }{postconf: }mgr =~ s{\Q$at\E}{DIR}gr;
    # They say it at each place, we once; and order is that of a hash table.
    my $failed = $?;
    my %once = map { $_ => 1 } grep { my $line = $_; !grep { $line =~ $_->[0] && ($_->[1] || !$failed) } @known } split /\n/, $err;
    delete @once{ grep { /NUL byte/ } keys %once };
    return ($failed >> 8, Posthorn::slurp("$dir/out") =~ s{\Q$at\E}{DIR}gr, join "\n", sort map { s/ \(did you mean .*\)$//r =~ s/[^ -~]/?/gr } keys %once);
}

# Like is(), but tells only the lines that differ.
sub same {
    my ($mine, $theirs, $name) = @_;
    return 1 if ok($mine eq $theirs, $name);
    my (%m, %t);
    $m{$_}++ for split /\n/, $mine;
    $t{$_}++ for split /\n/, $theirs;
    diag("ours:   $_") for grep { !$t{$_} } sort keys %m;
    diag("theirs: $_") for grep { !$m{$_} } sort keys %t;
    return 0;
}

my @views = (['-n'], ['-nx'], ['-nf'], ['-nh'], ['-nHC', 'user']);
my ($files, $values) = (0, 0);
while ($files < $count) {
    my @pool = @names;
    for my $i (reverse 1 .. $#pool) { my $k = number($i + 1); @pool[$i, $k] = @pool[$k, $i] }
    my $cf = '';
    my $each = int(@pool / 25);
    for (1 .. $batch) {
        my @mine = splice @pool, 0, $each;
        $cf .= file(@mine);
        $values += @mine;
        $files++;
    }
    for my $view (@views) {
        my @mine = conf(\@ours, $cf, $view);
        my @theirs = conf(\@peer, $cf, $view);
        my $name = "files to $files, @$view";
        my $ok = is($mine[0], $theirs[0], "$name: status") & same($mine[1], $theirs[1], "$name: output");
        $ok &= same($mine[2], $theirs[2], "$name: warnings") if $view->[0] ne '-nHC';
        next if $ok;
        my $keep = "/tmp/postconf_diff.$$.cf";
        Posthorn::spew($keep, $cf);
        BAIL_OUT("the file is kept as $keep") if $ENV{BAIL};
    }
}
note "$files files, $values generated values";
cmp_ok($files, '>=', $count, 'so many files were compared');

# What is wrong: the same status, and the place or the text is named.  A second each, so all at once.
my @wrong = ('$', '$ 5', '${', '${x', '$(x', '${}', '$()', '${x?{a}', '${x?{a} b}', '${x-y}', '${{a} == {b}', '${{a} = {b}}', '${{a} == b}', '${{a} == {b} x}',
    '${{a} <level {b}}', '${x:{a}:{b}}', '${f{a}}', '$((x))', '${x.y}', '$-', '$$$', '${$x}', '${{a} >= {b}:{c}:{d}}', '${myorigin?{a}b}', '${{3.1.2.3} <level {3}}', '$x$', '${x?$}', '${y:${}}');
my @right = ('${{a} == {b} ? c}', '${{a} == {b} ? {c} : d}', '${{a} == {b} : {c}}', '${ x }', '$(x?y)', '$(x?{y}:{z})', '${x?y}}', '${x ?y}', '${x? {y} : z }', '$x.y', '${{a}=={b}}', '${{}=={}}',
    '${{1}<{02}?{c}:{d}}', '${x:y:z}', '${x?y?z}', '${myorigin?a:b}', '${{3.1} <level {3.01}}', '${{3} ==level {3.0.0}}', '${{ 3} ==level {3}}', '${{10} < {9}}', '${{ 10 } == {10}}', '${{-1} < {0}}',
    '${x:}|${x?}|${x:{}}|${myorigin?{}:{a}}', '${{3.9} <level {3.10} ? {lt} : {ge}}', '${{1}!=level{1.0}}', '${{a}==level{b}', 'a{b}c}d{', '${x?{${y?{a}:{${x:{b}}}}}:{${y:{c d}}}}');
my @lines = ("foo bar\n", "= bar\n", "a b = c\n", "foo\n bar\n", "  lead\nmyorigin = x\n", "process_name = x\nservice_name = y\n", "myorigin = a\nmyorigin = b\nmyorigin = b\n", "myorigin\n  =   c\n",
    "a ==c\nb= =c\n\"q\"=3\nx.y=3\n", "smtpd_restriction_classes = cl1, cl2\ncl1 = permit\n", "smtpd_banner = \$def\nabc = \$def\ndef = 3\n", "virtual_alias_maps = mysql:foo\nfoo_hosts = x\nother = \$foo_hosts\n",
    "foo = bar # c\nsmtpd_banner=\$foo\n", "a =\nb = \$a\nsmtpd_banner = \${b?x}\${b:y}\${a?z}\${virtual_alias_maps?v}\${{\$b}=={}}\n",
    # Which names are used.
    "a = 1\nsmtpd_banner = \$\$a \${{a} == {b} ? {c}}\n", "a = 1\nmailbox_command = \$a\nforward_path = \$nosuch\n", "virtual_alias_maps = mysql:um, proxy:ldap:lm unionmap:{pgsql:pg,{sqlite:sq}}\num_hosts = 1\num_x = 1\nlm_scope = 1\nlm_hosts = 1\npg_query = 1\nsq_dbpath = 1\n",
    "c = mysql:um\num_hosts = 1\n", "c = mysql:um\nsmtpd_banner = \$c\num_hosts = 1\n", "virtual_alias_maps = hash:um MYSQL:um xmysql:um mysql:a-b\num_hosts = 1\na-b_hosts = 1\n", "mynetworks = !mysql:um \"ldap:um\"\num_hosts = 1\num_scope = 1\n",
    "virtual_alias_maps = sqlite:/nosuch/x.cf\n", "smtpd_restriction_classes = { cl1, cl2 }\ncl1 = permit\ncl2 = \$q\n", "foo_recipient_limit = 3\nsmtp_destination_recipient_limit = 3\nlocal_destination_recipient_limit = 2\n",
    "virtual_maps = hash:x\nfallback_relay = y\nnosuch_maps = z\n", "config_directory = /x\nprocess_id = 1\n", "c = \$nosuch\n", "\n\tmyorigin = a\n  more\nmydomain = b\n", "smtpd_banner = a\fb \fc\n", "smtpd\0x = 1\nmyorigin = c\n",
    "compatibility_level = 3.1024\n", "compatibility_level =\n", "compatibility_level = +3. 6\nsmtpd_banner = \${{\$compatibility_level} >=level {3.6}}\n", ("n" x 90) . " = 1\nsmtpd_banner = \$" . ("n" x 90) . "\n", "smtpd_banner=x\r\n\r\n  y\r\n", "mynetworks_style = class\n", "mynetworks_style = host\ninet_protocols = ipv4\n", "smtpd_banner = \$a\na = \$b\nb = \$c\nc = \$nothing\n", "smtpd_banner = x");
my @cases = ((map { ["value $_", "smtpd_banner = $_\n"] } @wrong, @right), map { ["lines $_", $_] } @lines);
my @running;
for my $i (0 .. $#cases) {
    for my $who (0, 1) {
        push @running, Posthorn::child(sub {
            $dir = "$dir/case$i.$who";
            mkdir $dir or die;
            my @got = conf($who ? \@peer : \@ours, $cases[$i][1], ['-nx']);
            my @more = conf($who ? \@peer : \@ours, $cases[$i][1], ['mynetworks']);
            Posthorn::spew("$dir/result", join "\0", @got, "$more[0] $more[1]");
        });
    }
}
waitpid $_, 0 for @running;
for my $i (0 .. $#cases) {
    my ($mine, $theirs) = map { [split /\0/, Posthorn::slurp("$dir/case$i.$_/result")] } 0, 1;
    my $what = $cases[$i][0] =~ s/\n/|/gr;
    is(scalar @$mine, 4, "$what: was read");
    is($mine->[0], $theirs->[0], "$what: status");
    is($mine->[1], $theirs->[1], "$what: output");
    is($mine->[3], $theirs->[3], "$what: mynetworks");
    if ($mine->[0] && $what =~ /^value/) {        # ours says where it stands, in words of its own
        like($mine->[2], qr{fatal: DIR/main\.cf:1:\d+: smtpd_banner: }, "$what: the place is said");
    } elsif ($mine->[2] =~ /^postconf: fatal: DIR\/main\.cf:\d+:\d+: (malformed compatibility level syntax: ".*")$/) {
        like($theirs->[2], qr/\Q$1\E$/m, "$what: words, which there are a warning before another fatal error");
    } else {
        is($mine->[2], $theirs->[2], "$what: words");
    }
}
done_testing;
