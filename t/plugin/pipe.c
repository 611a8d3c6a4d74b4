/* t/plugin/pipe.c: what of the pipe transport is pure: the arguments of a service,
 * the command line, the message as the command reads it.  Commands themselves:
 * t/system/pipe.t.  Run alone: make t/plugin/pipe.t && prove -v t/plugin/pipe.t */
#include <posthorn/error.h>
#include "plugins/transport/common/exit.h"
#include "plugins/transport/pipe/pipe.h"
#include "t/unit/tap.h"

static struct ph_scope *scope;

/* ---- the message and its outcome are the test's own ---- */

uint64_t ph_message_bytes(const struct ph_message *m)
{
    return m->header_bytes + m->body_bytes;
}

int64_t ph_message_read(const struct ph_message *m PH_UNUSED, uint64_t offset PH_UNUSED, void *p PH_UNUSED, size_t n PH_UNUSED)
{
    return 0;
}

void ph_delivered(struct ph_delivery *d PH_UNUSED, uint32_t i PH_UNUSED, const struct ph_outcome *o PH_UNUSED)
{
}

/* ---- attributes ---- */

static const struct {
    const char *name, *args[8], *want; /* "flags user argv..." or the error */
} attrs[] = {
    { "flags, user, command", { "flags=DRX", "user=vmail", "argv=/bin/x", "-d", "${recipient}" }, "50 vmail /bin/x -d ${recipient}" },
    { "every flag", { "flags=BDFORXhuq.>", "user=u:g", "argv=x" }, "2047 u:g x" },
    { "names in any case", { "FLAGS=B", "User=u", "Argv=x" }, "1 u x" },
    { "what looks like an attribute behind argv is an argument", { "user=u", "argv=x", "flags=Z", "" }, "0 u x flags=Z" },
    { "an unknown flag", { "flags=DZ", "user=u", "argv=x" }, "flags=: unknown flag 'Z'; known are BDFORXhqu.>" },
    { "an unknown attribute", { "usr=u", "argv=x" }, "unknown attribute \"usr=\"; known are flags user directory chroot eol null_sender size argv" },
    { "no attribute", { "-v", "argv=x" }, "\"-v\" is no attribute=value" },
    { "no user", { "argv=x" }, "user= is missing: whose rights the command has" },
    { "no command", { "user=u" }, "argv= is missing: the command to run" },
    { "an empty command", { "user=u", "argv=" }, "argv= names no command" },
    { "a relative directory", { "user=u", "directory=tmp", "argv=x" }, "directory=: \"tmp\" is no absolute path" },
    { "a size that is no number", { "user=u", "size=10k", "argv=x" }, "size=: \"10k\" is no number" },
    { "an escape that is none", { "user=u", "eol=\\x", "argv=x" }, "eol=: unknown escape; known are \\a \\b \\f \\n \\r \\t \\v \\\\ \\nnn" },
};

static void test_attrs(void)
{
    for (size_t i = 0; i < sizeof attrs / sizeof *attrs; i++) {
        struct pipe_attr a;
        struct ph_buf got;

        ph_buf_init(&got, scope, 1000);
        if (pipe_attr_parse(scope, attrs[i].args, &a) < 0) {
            ph_buf_puts(&got, ph_error());
        } else {
            ph_buf_printf(&got, "%u %.*s", a.flags, PH_FMT(a.user));
            for (uint32_t k = 0; k < a.argc; k++)
                ph_buf_printf(&got, "%s%s", *a.argv[k] ? " " : "", a.argv[k]);
        }
        is_str(got, attrs[i].want, "attributes: %s", attrs[i].name);
    }
    struct pipe_attr a;
    const char *const args[] = { "user=u", "eol=\\r\\n\\041\\\\", "null_sender=", "size=5", "chroot=/c", "argv=x", NULL };
    is_int(pipe_attr_parse(scope, args, &a), 0, "the rest of them");
    is_bytes(a.eol, "\r\n!\\", "escapes of C");
    is_int(a.null_sender.n, 0, "an empty null_sender");
    is_int(a.has_size == 1 && a.size == 5 && strcmp(a.chroot, "/c") == 0, 1, "size, chroot");
}

/* ---- the command line ---- */

static struct ph_message message = {
    .queue_id = PH_STR_INIT("4XyZ"), .sender = PH_STR_INIT("se nd@From.Test"), .envelope_id = PH_STR_INIT("ENV"), .header_bytes = 40, .body_bytes = 2,
    .client_name = PH_STR_INIT("host.test"), .client_address = PH_STR_INIT("192.0.2.1"), .client_port = PH_STR_INIT("999"), .client_helo = PH_STR_INIT("helo.test"),
    .client_protocol = PH_STR_INIT("ESMTP"), .sasl_method = PH_STR_INIT("PLAIN"), .sasl_username = PH_STR_INIT("me"), .sasl_sender = PH_STR_INIT("me@x"),
};

static struct ph_recipient rcpts[] = {
    { .address = PH_STR_INIT("Joe+Ext@A.Test"), .original = PH_STR_INIT("Alias@B.Test") },
    { .address = PH_STR_INIT("ann@A.Test") },
    { .address = PH_STR_INIT("+$(recipient); rm -rf `x`@A.Test") },
};

static const struct {
    const char *name, *flags, *args[6], *want; /* "[arg][arg]", or the error */
} lines[] = {
    { "an argument with a recipient is one for each", "", { "x", "-d", "$recipient", "end" }, "[x][-d][Joe+Ext@A.Test][ann@A.Test][+$(recipient); rm -rf `x`@A.Test][end]" },
    { "three forms of a macro", "", { "x", "$sender|${sender}|$(sender)" }, "[x][se nd@From.Test|se nd@From.Test|se nd@From.Test]" },
    { "user, extension", "", { "x", "${user}", "${extension}" }, "[x][Joe][ann][+$(recipient); rm -rf `x`][Ext][][]" },
    { "mailbox, original_recipient", "", { "x", "<$mailbox>", "$original_recipient" },
      "[x][<Joe+Ext>][<ann>][<+$(recipient); rm -rf `x`>][Alias@B.Test][ann@A.Test][+$(recipient); rm -rf `x`@A.Test]" },
    { "domain for each, nexthop once", "", { "x", "$domain", "$nexthop" }, "[x][A.Test][A.Test][A.Test][Hop.Test]" },
    { "what does not depend on recipients", "", { "x", "$size $queue_id $envid", "$client_address $client_helo $client_hostname $client_port $client_protocol",
      "$sasl_method $sasl_username $sasl_sender" }, "[x][42 4XyZ ENV][192.0.2.1 helo.test host.test 999 ESMTP][PLAIN me me@x]" },
    { "h lowers domains", "h", { "x", "$original_recipient", "$domain", "$nexthop", "$sender" },
      "[x][Alias@b.test][ann@a.test][+$(recipient); rm -rf `x`@a.test][a.test][a.test][a.test][hop.test][se nd@From.Test]" },
    { "u lowers local parts", "u", { "x", "$user.$extension", "$mailbox" }, "[x][joe.ext][ann.][+$(recipient); rm -rf `x`.][joe+ext][ann][+$(recipient); rm -rf `x`]" },
    { "q quotes whole addresses", "q", { "x", "$sender", "$recipient" }, "[x][\"se nd\"@From.Test][Joe+Ext@A.Test][ann@A.Test][\"+$(recipient); rm -rf `x`\"@A.Test]" },
    { "dollars", "", { "x", "$$recipient$$", "100$$" }, "[x][$recipient$][100$]" },
    { "nothing around it is touched", "", { "x", "a b  'c' \"d\" \\e *" }, "[x][a b  'c' \"d\" \\e *]" },
    { "an empty argument stays", "", { "x", "" }, "[x][]" },
    { "an unknown macro", "", { "x", "${recipient}${nobody}" }, "unknown macro name \"nobody\"" },
    { "no name", "", { "x", "$ " }, "unknown macro name \"\"" },
    { "a dollar at the end", "", { "x", "a$" }, "unknown macro name \"\"" },
    { "no end", "", { "x", "${user" }, "no '}' ends the macro ${user" },
};

static void test_argv(void)
{
    struct ph_delivery d = { .message = &message, .rcpt = rcpts, .rcpt_count = 3, .nexthop = PH_STR("Hop.Test") };

    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct pipe_attr a = { .null_sender = PH_STR("MAILER-DAEMON"), .argv = lines[i].args };
        const char **argv;
        size_t bytes;
        struct ph_buf got;

        for (const char *f = lines[i].flags; *f; f++)
            a.flags |= *f == 'h' ? PIPE_LOW_DOMAIN : *f == 'u' ? PIPE_LOW_LOCAL : PIPE_QUOTE;
        while (lines[i].args[a.argc])
            a.argc++;
        ph_buf_init(&got, scope, 4000);
        if (pipe_argv_expand(scope, &a, PH_STR("+"), &d, 0, 3, &argv, &bytes) < 0)
            ph_buf_puts(&got, ph_error());
        else
            for (size_t n = 0; argv[n]; n++)
                ph_buf_printf(&got, "[%s]", argv[n]);
        is_str(got, lines[i].want, "command line: %s", lines[i].name);
    }
}

static void test_null_sender(void)
{
    struct ph_message bounce = { .queue_id = PH_STR("X") };
    struct ph_delivery d = { .message = &bounce, .rcpt = rcpts, .rcpt_count = 1 };
    struct pipe_attr a = { .null_sender = PH_STR("MAILER-DAEMON"), .flags = PIPE_FROM | PIPE_RETURN, .eol = PH_STR("\r\n"),
                           .argv = (const char *const[]){ "x", "$sender", NULL }, .argc = 2 };
    const char **argv;
    size_t bytes;
    struct ph_buf b;

    setenv("TZ", "UTC", 1);
    ph_buf_init(&b, scope, 1000);
    is_int(pipe_argv_expand(scope, &a, PH_STR(""), &d, 0, 1, &argv, &bytes), 0, "the null sender");
    is_bytes(ph_cstr(argv[1]), "MAILER-DAEMON", "has a name as argument");
    pipe_prefix(scope, &a, &d, &rcpts[0], 0, &b);
    is_str(b, "From MAILER-DAEMON  Thu Jan  1 00:00:00 1970\r\nReturn-Path: <MAILER-DAEMON>\r\n", "and in what stands before the message");
    a.null_sender = PH_STR("");
    ph_buf_reset(&b);
    pipe_argv_expand(scope, &a, PH_STR(""), &d, 0, 1, &argv, &bytes);
    is_bytes(ph_cstr(argv[1]), "", "an empty one is an empty argument");
    pipe_prefix(scope, &a, &d, &rcpts[0], 0, &b);
    is_str(b, "From MAILER-DAEMON  Thu Jan  1 00:00:00 1970\r\nReturn-Path: <>\r\n", "and <>, but From_ has a name");
    ph_buf_reset(&b);
    a.flags = PIPE_FROM | PIPE_RETURN | PIPE_ORIGINAL | PIPE_DELIVERED | PIPE_LOW_LOCAL | PIPE_LOW_DOMAIN;
    a.eol = PH_STR("\n");
    d.message = &message;
    pipe_prefix(scope, &a, &d, &rcpts[0], 0, &b);
    is_str(b, "From \"se nd\"@From.Test  Thu Jan  1 00:00:00 1970\nReturn-Path: <\"se nd\"@From.Test>\n"
              "X-Original-To: Alias@B.Test\nDelivered-To: Joe+Ext@A.Test\n", "all of them; addresses are quoted and not folded");
}

/* ---- content ---- */

static const struct {
    const char *name;
    uint32_t flags;
    const char *eol, *in, *want;
} contents[] = {
    { "line ends become those of this host", 0, "\n", "a\r\nb\r\n", "a\nb\n" },
    { "or what eol= says", 0, "\r\n", "a\r\n\r\nb\r\n", "a\r\n\r\nb\r\n" },
    { "or nothing", 0, "", "a\r\nb\r\n", "ab" },
    { "bare CR and LF", 0, "|", "a\rb\nc\r\r\n\r", "a\rb|c\r|\r" },
    { "nothing is quoted unasked", 0, "\n", "From x\r\n.\r\n", "From x\n.\n" },
    { "dots", PIPE_DOT, "\n", ".\r\n..x\r\na.\r\n", "..\n...x\na.\n" },
    { "From", PIPE_GREATER, "\n", "From \r\nFromage\r\n>From x\r\n From y\r\nFrom\r\n", ">From \nFromage\n>From x\n From y\nFrom\n" },
    { "both", PIPE_DOT | PIPE_GREATER, "\r\n", "\r\n.From x\r\nFrom .\r\n", "\r\n..From x\r\n>From .\r\n" },
    { "an end in the middle of a word", PIPE_GREATER, "\n", "x\r\nFro", "x\nFro" },
    { "an end behind the word", PIPE_GREATER, "\n", "x\r\nFrom ", "x\n>From " },
};

static void test_content(void)
{
    for (size_t i = 0; i < sizeof contents / sizeof *contents; i++) {
        size_t n = strlen(contents[i].in);
        int good = 1;
        struct ph_buf out;

        ph_buf_init(&out, scope, 4000);
        /* Pieces of every size, with what is not settled given again. */
        for (size_t piece = 1; piece <= n && good; piece++) {
            struct pipe_content c = { .flags = contents[i].flags, .eol = ph_cstr(contents[i].eol) };
            size_t from = 0, to = 0;

            ph_buf_reset(&out);
            while (from < n) {
                to = to + piece < n ? to + piece : n;
                from += pipe_content_feed(&c, (ph_str){ contents[i].in + from, to - from }, to == n, &out);
            }
            good = ph_str_eq(ph_buf_view(&out), ph_cstr(contents[i].want));
        }
        is_str(out, contents[i].want, "content: %s", contents[i].name);
    }
}

/* ---- exit status ---- */

static const struct {
    int status, signal, timed_out;
    const char *output, *want;     /* "status dsn text" */
} ends[] = {
    { 0, 0, 0, "4.7.1 not counted", "1 2.0.0 " },
    { 67, 0, 0, "", "2 5.1.1 user unknown" },
    { 75, 0, 0, "try later\n", "3 4.3.0 temporary failure. Command output: try later " },
    { 77, 0, 0, "4.7.1 come\tback\n", "3 4.7.1 come back " },
    { 75, 0, 0, "5.7.1 never\n", "2 5.7.1 never " },
    { 75, 0, 0, "2.0.0 not a failure", "3 4.3.0 temporary failure. Command output: 2.0.0 not a failure" },
    { 1, 0, 0, "", "2 5.3.0 Command died with status 1: \"CMD\"" },
    { 127, 0, 0, "\x01\xc3\xa4\xff", "2 5.3.0 Command died with status 127: \"CMD\". Command output: _\xc3\xa4_" },
    { -1, 11, 0, "", "3 4.3.0 Command died with signal 11: \"CMD\"" },
    { -1, 9, 1, "", "2 5.3.0 Command time limit exceeded: \"CMD\"" },
};

static void test_exit(void)
{
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        struct ph_command_result r = { .size = sizeof r, .status = ends[i].status, .signal = ends[i].signal,
                                       .timed_out = (uint32_t)ends[i].timed_out, .output = ph_cstr(ends[i].output) };
        struct ph_outcome o = { .size = sizeof o };

        transport_exit(scope, &r, PH_STR("CMD"), &o);
        ph_str got = ph_str_printf(scope, "%u %.*s %.*s", o.status, PH_FMT(o.dsn), PH_FMT(o.text));
        is_bytes(got, ends[i].want, "end %zu of a command: status %d, signal %d", i, ends[i].status, ends[i].signal);
    }
}

int main(void)
{
    scope = ph_scope_new(NULL);
    test_attrs();
    test_argv();
    test_null_sender();
    test_content();
    test_exit();
    ph_scope_free(scope);
    return done_testing();
}
