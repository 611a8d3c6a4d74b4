/* t/plugin/local.c: the pure parts of the local delivery agent: destinations,
 * $name, Delivered-To, and what the end of a command means.
 * Run alone: make t/plugin/local.t && prove -v t/plugin/local.t */
#include "t/unit/tap.h"
#include "plugins/transport/common/exit.h"
#include <posthorn/alias.h>
#include "plugins/transport/local/loop.h"
#include "plugins/transport/local/macro.h"
#include <posthorn/error.h>

/* ---- destinations ---- */

/* One letter and the text for each: A address, M mailbox, C command, F file, I
 * include, ! one that cannot be read. */
static ph_str parse(struct ph_scope *s, ph_str list)
{
    static const char letters[] = { [PH_ALIAS_ADDRESS] = 'A', [PH_ALIAS_MAILBOX] = 'M', [PH_ALIAS_COMMAND] = 'C', [PH_ALIAS_FILE] = 'F', [PH_ALIAS_INCLUDE] = 'I' };
    struct ph_alias_item d;
    struct ph_buf b;
    struct ph_alias_walk w = { 0 };
    int rc;

    ph_buf_init(&b, s, 1 << 20);
    while ((rc = ph_alias_next(s, list, &w, &d)) != 0) {
        ph_buf_puts(&b, b.n ? ";" : "");
        if (rc < 0)
            ph_buf_putc(&b, '!');
        else
            ph_buf_printf(&b, "%c%.*s", letters[d.kind], PH_FMT(d.text));
    }
    return ph_buf_view(&b);
}

static const struct { const char *name, *in, *want; } lists[] = {
    { "nothing", "", "" },
    { "blanks and commas", " , ,\t", "" },
    { "an address", "joe", "Ajoe" },
    { "several", "joe, ann@example.com,bob", "Ajoe;Aann@example.com;Abob" },
    { "a phrase and brackets", "Joe Doe <joe@x>, \"Doe, Ann\" <ann@x>", "Ajoe@x;Aann@x" },
    { "a comment, with a comma", "joe (Doe, Joe), ann", "Ajoe;Aann" },
    { "a quoted local part", "\"john doe\"@x, \"a,b\"", "Ajohn doe@x;Aa,b" },
    { "the mailbox of a user", "\\joe, ann", "Mjoe;Aann" },
    { "the mailbox of nobody", "ann, \\", "Aann;!" },
    { "a command in quotes", "\"|/usr/bin/procmail -a \\\"x\\\", y\", joe", "C/usr/bin/procmail -a \"x\", y;Ajoe" },
    { "with a blank behind the quote", "\" |cmd\"", "Ccmd" },
    { "a bare command", "|/bin/cat, joe", "C/bin/cat;Ajoe" },
    { "a bare command with quotes", "|\"/bin/cat -u\"", "C/bin/cat -u" },
    { "a bare command with parentheses", "|(a; b), joe", "C(a; b);Ajoe" },
    { "a bar alone", "|", "!" },
    { "a file", "/var/mail/x", "F/var/mail/x" },
    { "a file in quotes", "\"/var/mail/a b\"", "F/var/mail/a b" },
    { "a file with a comment", "/dev/null (away), joe", "F/dev/null;Ajoe" },
    { "an include", ":include:/etc/list", "I/etc/list" },
    { "in quotes", "\":include:/etc/my list\"", "I/etc/my list" },
    { "its name in quotes", ":include:\"/etc/my list\"", "I/etc/my list" },
    { "in capitals", ":INCLUDE:/l", "I/l" },
    { "an include of nothing", ":include:", "!" },
    { "a quote that does not end", "joe, \"|cmd", "Ajoe;!" },
    { "a comment that does not end", "joe (x, ann", "!" },
    { "a quoted string that is an address", "\"|x\"@y", "A|x@y" },
    { "the null address", "<>, joe", "Ajoe" },
    { "a comment behind a command", "\"|cmd\" (why)", "Ccmd" },
    { "a control character in a path", "\"/a\nb\", joe", "!;Ajoe" },
    { "carriage returns around", "\r joe \r", "Ajoe" },
};

static void test_lists(void)
{
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        PH_SCOPED(s, NULL);

        is_bytes(parse(s, ph_cstr(lists[i].in)), lists[i].want, "destinations: %s", lists[i].name);
        /* Cut anywhere it ends, without reading beyond. */
        for (size_t n = 0; n < strlen(lists[i].in); n++) {
            char *cut = malloc(n + 1);

            memcpy(cut, lists[i].in, n);
            parse(s, (ph_str){ cut, n });
            free(cut);
        }
    }
    PH_SCOPED(s, NULL);
    is_bytes(parse(s, (ph_str){ "/a\0b, joe", 9 }), "!;Ajoe", "destinations: a NUL in a path");
}

/* A long line, as a user's .forward may be one, costs its length: read anew for each
 * destination, these would take minutes. */
static void test_long_lists(void)
{
    static const struct { const char *word; size_t want; } cases[] = {
        { "a ", 1 }, { "a@b.c, ", 1 }, { "<a> ", 1 }, { "a; ", 1 }, { "\"a b\" (c) ", 1 }, { "\\a ", 1 }, { "a (b) \\c\t", 2 }, { "a |b, ", 2 },
    };
    enum { COUNT = 100000 };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        PH_SCOPED(s, NULL);
        struct ph_alias_walk w = { 0 };
        struct ph_alias_item d;
        struct ph_buf b;
        size_t n = 0;

        ph_buf_init(&b, s, COUNT * strlen(cases[i].word));
        for (int k = 0; k < COUNT; k++)
            ph_buf_puts(&b, cases[i].word);
        size_t before = ph_scope_bytes(s);
        for (int rc; (rc = ph_alias_next(s, ph_buf_view(&b), &w, &d)) != 0; )
            n += rc > 0;
        size_t used = ph_scope_bytes(s) - before;
        is_int((long)n, (long)(cases[i].want * COUNT), "destinations of a long line of \"%s\"", cases[i].word);
        ok(used <= (n + 1) * 200, "memory is that of the results: %zu bytes", used);
    }
}

/* What must be read again for each destination is not read without end. */
static void test_tangled(void)
{
    PH_SCOPED(s, NULL);
    struct ph_alias_walk w = { 0 };
    struct ph_alias_item d;
    struct ph_buf b;
    int rc, good = 0, bad = 0;
    enum { COUNT = 100000 };

    is_bytes(parse(s, PH_STR("a |b(,c), @[\"\"] <d> @[\"\"] <e> \\f \"/g h\", i :j |k, l")), "Aa;Cb(;!;Ad;Ae;Mf;F/g h;Aj;Ck;Al", "what reads in two ways");
    ph_buf_init(&b, s, COUNT * 10);
    for (int k = 0; k < COUNT; k++)
        ph_buf_puts(&b, "@[\"\"] <a> ");
    while ((rc = ph_alias_next(s, ph_buf_view(&b), &w, &d)) != 0)
        rc > 0 ? good++ : bad++;
    ok(good > 1 && bad == 1 && w.at == b.n, "a long line of them ends: %s", ph_error());
}

static void test_lines(void)
{
    ph_str file = PH_STR("# comment\n\n  joe, ann\r\n\t# not here\n\\joe\n#\nlast"), line;
    static const char *const want[] = { "joe, ann", "\\joe", "last" };
    size_t at = 0, n = 0;

    while (ph_alias_line(file, &at, &line) && n < 3)
        is_bytes(line, want[n++], "line %zu of a file", n);
    is_int(n, 3, "all its lines");
    is_int(ph_alias_line(file, &at, &line), 0, "and then the end");
}

/* What a fuzzer would find first: bytes of the grammar in any order. */
static void test_noise(void)
{
    static const char bytes[] = "a@,\"\\()|/:<> \n\r;.#\0";
    uint32_t seed = 12345;
    size_t total = 0;

    for (int i = 0; i < 20000; i++) {
        PH_SCOPED(s, NULL);
        char in[24];
        size_t n = 0;

        for (; n < sizeof in && (n == 0 || seed >> 28); n++) {
            seed = seed * 1103515245u + 12345u;
            in[n] = bytes[(seed >> 16) % (sizeof bytes - 1)];
        }
        char *exact = malloc(n);
        memcpy(exact, in, n);
        total += parse(s, (ph_str){ exact, n }).n;
        free(exact);
    }
    ok(total > 0, "20000 lists of noise end");
}

/* ---- macros ---- */

static int value(void *arg PH_UNUSED, ph_str name, ph_str *v)
{
    static const struct { const char *name, *value; } known[] = {
        { "user", "joe" }, { "extension", "" }, { "home", "/home/joe" }, { "ext", "a/../b c" }, { "recipient_delimiter", "+" },
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (ph_str_eq(name, ph_cstr(known[i].name))) {
            *v = ph_cstr(known[i].value);
            return PH_FOUND;
        }
    return PH_NONE;
}

static const struct { const char *name, *in, *want; } macros[] = {
    { "no macro", "a b", "a b" },
    { "plain", "$home/.forward", "/home/joe/.forward" },
    { "in braces", "x${user}y", "xjoey" },
    { "in parentheses", "$(user)@", "joe@" },
    { "an empty value", "[$extension]", "[]" },
    { "when set", "${user?yes}${extension?no}", "yes" },
    { "when not set", "${user:no}${extension:none}", "none" },
    { "one or the other", "${user?{a}:{b}}${extension?{a}:{b}}", "ab" },
    { "nested", "${user?{${extension?{x}:{$home}}}:{z}}", "/home/joe" },
    { "a dollar sign", "$$user", "$user" },
    { "filtered", "$ext", "a/../b_c" },
    { "an unknown name", "$nothing", NULL },
    { "no name", "$", NULL },
    { "not closed", "${user", NULL },
    { "bad syntax", "${user!x}", NULL },
    { "half a choice", "${user?{a}:b}", NULL },
    { "braces behind text", "${extension:a{b}c}", "a{b}c" },
};

static void test_macros(void)
{
    const struct local_macros m = { .value = value, .filter = PH_STR("abcdefghijklmnopqrstuvwxyz./+") };

    for (size_t i = 0; i < sizeof macros / sizeof *macros; i++) {
        PH_SCOPED(s, NULL);
        ph_str out = PH_STR("unset"), in = ph_cstr(macros[i].in);
        int rc = local_macro_expand(s, in, &m, &out);

        if (macros[i].want)
            is_bytes(rc == 0 ? out : ph_cstr(ph_error()), macros[i].want, "macro: %s", macros[i].name);
        else
            is_int(rc, PH_CONF, "macro: %s", macros[i].name);
        for (size_t n = 0; n < in.n; n++)
            local_macro_expand(s, ph_str_first(in, n), &m, &out);
    }
    PH_SCOPED(s, NULL);
    struct ph_buf deep;
    ph_str out;
    ph_buf_init(&deep, s, 1000);
    for (int i = 0; i < 60; i++)
        ph_buf_puts(&deep, "${user?{");
    for (int i = 0; i < 60; i++)
        ph_buf_puts(&deep, "}}");
    is_int(local_macro_expand(s, ph_buf_view(&deep), &m, &out), PH_CONF, "macro: too deep");
}

/* ---- Delivered-To ---- */

static const struct { const char *name, *in; int want; } loops[] = {
    { "none", "From: x\r\nTo: joe@x\r\n", 0 },
    { "the header", "From: x\r\nDelivered-To: joe@x\r\n", 1 },
    { "in any case", "DELIVERED-to:JOE@X\r\n", 1 },
    { "with blanks", "Delivered-To \t:  joe@x \r\n", 1 },
    { "in brackets", "Delivered-To: <joe@x>\r\n", 1 },
    { "folded", "Delivered-To:\r\n joe@x\r\nTo: y\r\n", 1 },
    { "the second of them", "Delivered-To: ann@x\r\nDelivered-To: joe@x\r\n", 1 },
    { "another address", "Delivered-To: joe@xy\r\n", 0 },
    { "a part of it", "Delivered-To: moe joe@x\r\n", 0 },
    { "a longer name", "X-Delivered-To: joe@x\r\n", 0 },
    { "another name", "Delivered-Too: joe@x\r\n", 0 },
    { "inside another header", "Subject: x\r\n Delivered-To: joe@x\r\n", 0 },
    { "continued to something else", "Delivered-To: joe@x\r\n y\r\n", 0 },
    { "without a line end", "Delivered-To: joe@x", 1 },
    { "bare line feeds", "A: b\nDelivered-To: joe@x\nB: c\n", 1 },
};

static void test_loops(void)
{
    for (size_t i = 0; i < sizeof loops / sizeof *loops; i++)
        for (size_t cut = 0; cut <= strlen(loops[i].in); cut++) {
            PH_SCOPED(s, NULL);
            struct local_loop l;

            local_loop_init(&l, s, PH_STR("joe@x"));
            local_loop_feed(&l, (ph_str){ loops[i].in, cut });
            local_loop_feed(&l, ph_cstr(loops[i].in + cut));
            local_loop_end(&l);
            if ((int)l.found != loops[i].want || cut == strlen(loops[i].in))
                is_int(l.found, loops[i].want, "Delivered-To: %s, cut at %zu", loops[i].name, cut);
        }
    PH_SCOPED(s, NULL);
    struct local_loop l;
    local_loop_init(&l, s, PH_STR("joe@x"));
    local_loop_feed(&l, PH_STR("Delivered-To: "));
    for (int i = 0; i < 1000000; i++)
        local_loop_feed(&l, PH_STR("joe@x "));
    local_loop_end(&l);
    ok(!l.found && ph_scope_bytes(s) < 100000, "a value without end takes no memory without end");
}

/* ---- commands ---- */

static const struct {
    const char *name;
    int status, signal, timed_out;
    const char *output, *want;
} ends[] = {
    { "success", 0, 0, 0, "", "1 2.0.0 " },
    { "success in spite of its words", 0, 0, 0, "5.1.1 no", "1 2.0.0 " },
    { "a sysexit", 67, 0, 0, "", "2 5.1.1 user unknown" },
    { "that may pass", 75, 0, 0, "", "3 4.3.0 temporary failure" },
    { "with words", 77, 0, 0, "go\taway\n", "2 5.7.0 permission denied. Command output: go away " },
    { "its own code", 1, 0, 0, "4.2.2 over quota\n", "3 4.2.2 over quota " },
    { "a code of success counts for nothing", 1, 0, 0, "2.0.0 fine", "2 5.3.0 Command died with status 1: \"cmd\". Command output: 2.0.0 fine" },
    { "another status", 127, 0, 0, "", "2 5.3.0 Command died with status 127: \"cmd\"" },
    { "a signal", -1, 9, 0, "", "3 4.3.0 Command died with signal 9: \"cmd\"" },
    { "the time limit", -1, 9, 1, "", "2 5.3.0 Command time limit exceeded: \"cmd\"" },
    { "bytes that are no text", 64, 0, 0, "a\x01\xff\xc3\xa9", "2 5.3.0 command line usage error. Command output: a__\xc3\xa9" },
};

static void test_ends(void)
{
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        PH_SCOPED(s, NULL);
        struct ph_command_result r = { .status = ends[i].status, .signal = ends[i].signal, .timed_out = (uint32_t)ends[i].timed_out,
                                       .output = ph_cstr(ends[i].output) };
        struct ph_outcome o = { .size = sizeof o };

        transport_exit(s, &r, PH_STR("cmd"), &o);
        is_bytes(ph_str_printf(s, "%u %.*s %.*s", o.status, PH_FMT(o.dsn), PH_FMT(o.text)), ends[i].want, "end of a command: %s", ends[i].name);
    }
}

int main(void)
{
    test_lists();
    test_long_lists();
    test_tangled();
    test_lines();
    test_noise();
    test_macros();
    test_loops();
    test_ends();
    return done_testing();
}
