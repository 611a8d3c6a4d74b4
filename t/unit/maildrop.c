/* t/unit/maildrop.c: the form of submitted mail.  Run alone:
 * make t/unit/maildrop.t && prove -v t/unit/maildrop.t */
#include "tap.h"
#include <posthorn/error.h>
#include <posthorn/maildrop.h>

static struct ph_scope *scope;

/* Input that comes `piece` bytes at a time. */
struct input {
    ph_str rest;
    size_t piece;
};

static int64_t input_read(void *arg, char *p, size_t n)
{
    struct input *in = arg;

    n = n < in->piece ? n : in->piece;
    n = n < in->rest.n ? n : in->rest.n;
    if (n)
        memcpy(p, in->rest.p, n);
    in->rest = ph_str_from(in->rest, n);
    return (int64_t)n;
}

/* Read all of it: the answer that ended it; content in *out. */
static int read_all(struct ph_scope *s, ph_str text, size_t piece, struct ph_maildrop *m, struct ph_buf *out)
{
    struct input in = { text, piece };
    struct ph_maildrop_source source;
    ph_str bytes;
    int rc;

    ph_maildrop_source_init(&source, s, input_read, &in);
    if ((rc = ph_maildrop_envelope(&source, s, m)) < 0)
        return rc;
    while ((rc = ph_maildrop_content(&source, &bytes)) == PH_FOUND)
        ph_buf_str(out, bytes);
    return rc;
}

static const char whole[] =
    "posthorn-maildrop 1\ntime 17\nsender alice\nfull_name A. Lice\nbody 8BITMIME\nsmtputf8 1\n"
    "envelope_id x+2B\nret HDRS\ncontext remote\ntrace record\nrcpt bob@x\nnotify SUCCESS,FAILURE\norcpt rfc822;bob@x\n"
    "rcpt \"a b\"@y\n\ndata 5\na\nenddata 4\n\nendend\n";

static void test_whole(void)
{
    for (size_t piece = 1; piece <= sizeof whole; piece += piece < 40 ? 1 : 97) {
        struct ph_scope *s = ph_scope_new(NULL);
        struct ph_maildrop m;
        struct ph_buf out, again;
        int rc;

        ph_buf_init(&out, s, 1000);
        ph_buf_init(&again, s, 1000);
        rc = read_all(s, ph_cstr(whole), piece, &m, &out);
        if (!ok(rc == PH_NONE, "whole, %zu bytes at a time", piece)) {
            printf("# %s\n", ph_error());
            ph_scope_free(s);
            continue;
        }
        is_str(out, "a\nend\nend", "content that looks like our lines");
        ok(m.rcpt_count == 2 && m.time_s == 17 && m.smtputf8 == 1, "members");
        is_bytes(m.rcpt[1].address, "\"a b\"@y", "a recipient with a blank");
        is_bytes(m.rcpt[0].notify, "SUCCESS,FAILURE", "notify");
        is_bytes(m.trace, "record", "trace");
        is_int(ph_maildrop_put(&again, &m), 0, "written again");
        ok(ph_str_starts(ph_cstr(whole), PH_STR("posthorn-maildrop 1\ntime 17\n")) && again.n > 0 &&
           ph_str_search(ph_buf_view(&again), PH_STR("orcpt rfc822;bob@x\nrcpt \"a b\"@y\n\n")) > 0, "with all recipients");
        ph_scope_free(s);
    }
}

static void test_cut(void)
{
    size_t wrong = 0;

    for (size_t n = 0; n < sizeof whole - 1; n++) {
        struct ph_scope *s = ph_scope_new(NULL);
        struct ph_maildrop m;
        struct ph_buf out;

        ph_buf_init(&out, s, 1000);
        wrong += read_all(s, (ph_str){ whole, n }, 100, &m, &out) != PH_EOF;
        ph_scope_free(s);
    }
    is_int(wrong, 0, "cut anywhere it is not whole");
}

#define HEAD "posthorn-maildrop 1\n"
static const struct { const char *text, *why; } bad[] = {
    { "hello\n", "not ours" },
    { HEAD "rcpt b\n\nend\n", "no sender" },
    { HEAD "sender a\n\nend\n", "no recipient" },
    { HEAD "sender a\nsender b\nrcpt c\n\nend\n", "two senders" },
    { HEAD "sender a\nnotify NEVER\nrcpt b\n\nend\n", "notify before a recipient" },
    { HEAD "sender a\nrcpt b\nnotify NEVER,SUCCESS\n\nend\n", "bad notify" },
    { HEAD "sender a\nrcpt b\nnotify SUCCESS,\n\nend\n", "notify with a comma at its end" },
    { HEAD "sender a\nrcpt b\rc\n\nend\n", "CR in a recipient" },
    { HEAD "sender a\nrcpt b\nuid 0\n\nend\n", "unknown line" },
    { HEAD "sender a\nrcpt b\nbody 9BIT\n\nend\n", "bad body" },
    { HEAD "sender a\nrcpt b\ntime -1\n\nend\n", "bad time" },
    { HEAD "sender a\nrcpt b\ntrace expand\n\nend\n", "a trace that is the system's own" },
    { HEAD "sender a\nrcpt b\ntrace record\ntrace verify\n\nend\n", "two traces" },
    { HEAD "sender a\nrcpt b\n\ndata 0\nend\n", "empty chunk" },
    { HEAD "sender a\nrcpt b\n\ndata 99999\nend\n", "chunk too large" },
    { HEAD "sender a\nrcpt b\n\ndata -1\nend\n", "negative chunk" },
    { HEAD "sender a\nrcpt b\n\nmore\nend\n", "neither chunk nor end" },
    { HEAD "sender a\nrcpt b\n\nend\nx", "text behind the end" },
};

static void test_bad(void)
{
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct ph_maildrop m;
        struct ph_buf out;

        ph_buf_init(&out, scope, 1000);
        is_int(read_all(scope, ph_cstr(bad[i].text), 1, &m, &out), strncmp(bad[i].why, "no ", 3) ? PH_PERM : PH_CONF, "%s", bad[i].why);
    }
    struct ph_maildrop m;
    struct ph_buf out, text;

    ph_buf_init(&out, scope, 1000);
    ok(read_all(scope, PH_STR(HEAD "sender\nrcpt\n\nend\n"), 1, &m, &out) > 0, "a recipient may be empty: empty_address_recipient");
    ok(m.rcpt_count == 1 && m.rcpt[0].address.n == 0, "... and is");

    ph_buf_init(&out, scope, 1000);
    ph_buf_init(&text, scope, 10000);
    ph_buf_puts(&text, HEAD "sender ");
    while (text.n < 5000)
        ph_buf_putc(&text, 'a');
    is_int(read_all(scope, ph_buf_view(&text), 50, &m, &out), PH_PERM, "a line without end");
    const struct ph_maildrop_rcpt evil = { .address = PH_STR_INIT("x\nrcpt y") };
    struct ph_maildrop w = { .sender = PH_STR_INIT("a"), .rcpt = &evil, .rcpt_count = 1 };

    is_int(ph_maildrop_put(&out, &w), PH_PERM, "a line end is never written into a value");
}

static void test_wire(void)
{
    static const struct { const char *in, *want; } cases[] = {
        { "", "" }, { "a", "a\r\n" }, { "a\n", "a\r\n" }, { "a\r\nb\n", "a\r\nb\r\n" }, { "a\rb", "a b\r\n" },
        { "a\r\r\nb\n", "a \r\nb\r\n" }, { "a\r", "a\r\n" }, { "\n\n", "\r\n\r\n" }, { "\r\n", "\r\n" }, { ".\n", ".\r\n" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t cut = 0; cut <= strlen(cases[i].in); cut++) {
            char out[64];
            uint32_t state = 0;
            size_t n = ph_maildrop_wire(&state, (ph_str){ cases[i].in, cut }, out);

            n += ph_maildrop_wire(&state, ph_cstr(cases[i].in + cut), out + n);
            n += ph_maildrop_wire_finish(&state, out + n);
            is_bytes(((ph_str){ out, n }), cases[i].want, "line ends, case %zu cut at %zu", i, cut);
        }
}

int main(void)
{
    scope = ph_scope_new(NULL);
    test_whole();
    test_cut();
    test_bad();
    test_wire();
    ph_scope_free(scope);
    return done_testing();
}
