/* t/plugin/cleanup.c: the cleanup service over a memory stream.  The queue and
 * the rewrite service are stood in for: what would be queued is kept as text. */
#include "t/unit/tap.h"
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/client.h>
#include <posthorn/error.h>
#include <posthorn/intake.h>
#include <posthorn/service.h>
#include <posthorn/wire.h>
#include "core/conf/conf.h"
#include "core/plugin/registry.h"
#include "core/run/log.h"
#include "core/run/loop.h"
#include "plugins/service/cleanup/cleanup.h"

extern const struct ph_service_plugin service_cleanup_LTX_ph_plugin;

#define ID "4XyZ0123456789z"

/* The queue: one message at a time. */
struct ph_intake { int in_body, attrs; uint32_t rcpts; };

static struct {
    char content[5000000];
    size_t n, header_n;
    char sender[300], rcpts[60000], attrs[2000];
    uint32_t facts;
    int begun, committed, ended, commits;
    int fail_begin, fail_commit, fail_rewrite, asked;
    size_t limit;
} queue;

static void end_intake(void *arg PH_UNUSED) { queue.ended++; }

int ph_intake_begin(struct ph_scope *s, uint32_t who PH_UNUSED, struct ph_intake **q)
{
    if (queue.fail_begin)
        return ph_fail(PH_TEMP, "no slot");
    queue.n = queue.header_n = 0;
    queue.sender[0] = queue.rcpts[0] = queue.attrs[0] = 0;
    queue.committed = 0;
    queue.begun++;
    *q = ph_new(s, struct ph_intake);
    ph_defer(s, end_intake, NULL);
    return 0;
}

ph_str ph_intake_id(const struct ph_intake *q PH_UNUSED) { return PH_STR(ID); }
uint64_t ph_intake_bytes(const struct ph_intake *q PH_UNUSED) { return queue.n; }
uint32_t ph_intake_recipients(const struct ph_intake *q) { return q->rcpts; }
void ph_intake_forget_recipients(struct ph_intake *q) { q->rcpts = 0; queue.rcpts[0] = 0; }
void ph_intake_facts(struct ph_intake *q PH_UNUSED, uint32_t facts) { queue.facts = facts; }

int ph_intake_write(struct ph_intake *q PH_UNUSED, ph_str bytes)
{
    if (queue.limit && queue.n + bytes.n > queue.limit)
        return ph_fail(PH_PERM, "message size exceeds the limit");
    if (queue.n + bytes.n > sizeof queue.content)
        return ph_fail(PH_TEMP, "no space");
    memcpy(queue.content + queue.n, bytes.p, bytes.n);
    queue.n += bytes.n;
    return 0;
}

int ph_intake_write_plain(struct ph_intake *q, ph_str bytes)
{
    return ph_find_stray(bytes) < bytes.n ? PH_NONE : ph_intake_write(q, bytes);
}

int ph_intake_body(struct ph_intake *q)
{
    if (q->in_body)
        return 0;
    q->in_body = 1;
    queue.header_n = queue.n;
    return ph_intake_write(q, PH_STR("\r\n"));
}

void ph_intake_sender(struct ph_intake *q PH_UNUSED, ph_str a) { snprintf(queue.sender, sizeof queue.sender, "%.*s", PH_FMT(a)); }

int ph_intake_recipient(struct ph_intake *q, ph_str address, ph_str original, ph_str orcpt PH_UNUSED, ph_str notify)
{
    size_t n = strlen(queue.rcpts);

    q->rcpts++;
    snprintf(queue.rcpts + n, sizeof queue.rcpts - n, "%.*s(%.*s%s%.*s) ", PH_FMT(address), PH_FMT(original), notify.n ? "," : "", PH_FMT(notify));
    return 0;
}

int ph_intake_expanded(struct ph_intake *q, ph_str address, ph_str original, ph_str orcpt, ph_str notify)
{
    size_t n = strlen(queue.rcpts);

    snprintf(queue.rcpts + n, sizeof queue.rcpts - n, "expanded:");
    return ph_intake_recipient(q, address, original, orcpt, notify);
}

int ph_intake_attr(struct ph_intake *q PH_UNUSED, const char *name, ph_str value)
{
    size_t n = strlen(queue.attrs);

    snprintf(queue.attrs + n, sizeof queue.attrs - n, "%s=%.*s ", name, PH_FMT(value));
    return 0;
}

int ph_intake_commit(struct ph_intake *q PH_UNUSED)
{
    if (queue.fail_commit)
        return ph_fail(queue.fail_commit, "fdatasync: Input/output error");
    queue.committed = 1;
    queue.commits++;
    return 0;
}

/* The rewrite service: an origin for each address, by context. */
int ph_service_call(struct ph_scope *s, const char *name PH_UNUSED, const struct ph_frame *request, struct ph_frame **reply)
{
    struct ph_frame *f = ph_frame_new(s);
    const char *origin = ph_str_eq(ph_frame_value(request, "context"), PH_STR("local")) ? "origin.example" : "remote.example";
    ph_str what, value;
    size_t at = 0;

    if (queue.fail_rewrite)
        return ph_fail(PH_TEMP, "rewrite is not there");
    queue.asked++;
    ph_frame_cstr(f, "status", "ok");
    while (ph_frame_next(request, &at, &what, &value))
        if (ph_str_eq(what, PH_STR("address")))
            ph_frame_str(f, "address", ph_str_printf(s, "%.*s@%s", PH_FMT(value), origin));
    *reply = f;
    return 0;
}

/* One session. */
struct session {
    struct ph_scope *s, *far;
    struct ph_service v;
    struct ph_stream *io, *other;
    struct ph_group *g;
    int rc;
};

static void serve(void *arg)
{
    struct session *x = arg;
    struct ph_peer peer = { .size = sizeof peer, .inline_ = 1 };

    x->rc = service_cleanup_LTX_ph_plugin.serve(&x->v, x->far, x->other, &peer);
    ph_scope_free(x->far);         /* as the worker ends a session */
}

static struct session *session_start(struct ph_scope *s, const char *more)
{
    struct session *x = ph_new(s, struct session);
    ph_str text = ph_str_printf(s, "myhostname = mx.test\nmyorigin = origin.example\ncompatibility_level = 3.11\n%s\n", more);

    x->s = s;
    x->far = ph_scope_new(s);
    ph_conf_register(cleanup_rows, CLEANUP_ROWS, sizeof *cleanup_rows);
    x->v = (struct ph_service){ .scope = s, .ops = &service_cleanup_LTX_ph_plugin, .name = "cleanup" };
    if (ph_conf_parse(s, "/tmp", "main.cf", text, &x->v.conf) < 0 || service_cleanup_LTX_ph_plugin.open(&x->v) < 0) {
        printf("Bail out! %s\n", ph_error());
        exit(1);
    }
    ph_stream_pair(s, x->far, 0, &x->io, &x->other);
    x->g = ph_group_new(s);
    ph_spawn(x->g, "cleanup", serve, x);
    return x;
}

static void session_end(struct session *x)
{
    ph_stream_close(x->io);
    ph_group_wait(x->g, PH_FOREVER);
}

static struct ph_frame *receive(struct session *x)
{
    struct ph_frame *f;

    return ph_stream_flush(x->io) == 0 && ph_frame_recv(x->io, x->s, 0, &f) == 1 ? f : ph_frame_new(x->s);
}

static void send_frame(struct session *x, const char *const *pairs)
{
    struct ph_frame *f = ph_frame_new(x->s);

    for (; pairs[0]; pairs += 2)
        ph_frame_cstr(f, pairs[0], pairs[1]);
    ph_frame_send(x->io, f);
}
#define SEND(x, ...) send_frame(x, (const char *const[]){ __VA_ARGS__, NULL })

static ph_str begin(struct session *x, const char *context, const char *sender, const char *flags)
{
    SEND(x, "op", "begin", "who", "net", "context", context, "sender", sender, "flags", flags, "client_name", "c.test", "full_name", "A. Sender");
    return ph_frame_value(receive(x), "status");
}

static void send_content(struct session *x, ph_str text, size_t step)
{
    for (; text.n; text = ph_str_from(text, step)) {
        ph_str piece = ph_str_first(text, step);
        struct ph_frame *f = ph_frame_new(x->s);

        ph_frame_cstr(f, "op", "content");
        ph_frame_u64(f, "bytes", piece.n);
        ph_frame_send(x->io, f);
        ph_stream_str(x->io, piece);
        ph_stream_flush(x->io);
    }
}

static struct ph_frame *end(struct session *x)
{
    SEND(x, "op", "end", "facts", "0");
    return receive(x);
}

/* One whole message; the reply's text. */
static ph_str pass(struct session *x, const char *context, const char *sender, ph_str content, size_t step)
{
    begin(x, context, sender, "");
    SEND(x, "op", "rcpt", "address", "r@there.test", "original", "r@there.test");
    send_content(x, content, step);
    return ph_frame_value(end(x), "reply");
}

static ph_str queued(void) { return (ph_str){ queue.content, queue.n }; }

#define FULL "Received: x\r\nFrom: a@b\r\nMessage-ID: <1@b>\r\nDate: now\r\n"
#define MISSING_REMOTE "Received: x\r\nSubject: s\r\n"

/* conf, context, content in, content out.  DATE stands for the date we add. */
static const struct { const char *name, *conf, *context, *in, *out; } cases[] = {
    { "nothing is missing", "", "local", FULL "\r\nbody\r\n", FULL "\r\nbody\r\n" },
    { "remote mail stays as it is", "", "remote", MISSING_REMOTE "\r\nbody\r\n", MISSING_REMOTE "\r\nbody\r\n" },
    { "odd spelling stays", "", "remote", "subJECT:x\r\nX:\r\n\ty\r\n  z\r\n\r\nb", "subJECT:x\r\nX:\r\n\ty\r\n  z\r\n\r\nb" },
    { "a blank before the colon goes", "", "remote", "Name \t: x\r\n y\r\n\r\n", "Name: x\r\n y\r\n\r\n" },
    { "local mail is completed, behind its headers", "", "local", "Received: x\r\nSubject: s\r\n\r\nb\r\n",
      "Received: x\r\nSubject: s\r\nMessage-Id: <" ID "@mx.test>\r\nDate: DATE\r\nFrom: \"A. Sender\" <s@here.test>\r\n\r\nb\r\n" },
    { "remote mail too when asked", "always_add_missing_headers = yes", "remote", "Date: d\r\nFrom: f\r\n\r\n",
      "Date: d\r\nFrom: f\r\nMessage-Id: <" ID "@mx.test>\r\n\r\n" },
    { "the old form of From", "header_from_format = obsolete", "local", "Date: d\r\nMessage-Id: <x>\r\n\r\n",
      "Date: d\r\nMessage-Id: <x>\r\nFrom: s@here.test (A. Sender)\r\n\r\n" },
    { "a resent message gets Resent- headers", "", "local", FULL "Resent-To: x@y\r\n\r\n",
      FULL "Resent-To: x@y\r\nResent-Message-Id: <" ID "@mx.test>\r\nResent-Date: DATE\r\nResent-From: \"A. Sender\" <s@here.test>\r\n\r\n" },
    { "no recipient header", "undisclosed_recipients_header = To: undisclosed-recipients:;", "local", FULL "\r\n",
      FULL "To: undisclosed-recipients:;\r\n\r\n" },
    { "some headers are dropped, with their lines", "", "remote", "Bcc: a,\r\n b\r\nSubject: s\r\nReturn-Path: <x>\r\nCONTENT-LENGTH: 1\r\n\r\nbcc: b\r\n",
      "Subject: s\r\n\r\nbcc: b\r\n" },
    { "which ones is chosen", "message_drop_headers = x-secret", "remote", "Bcc: a\r\nX-Secret: s\r\n\r\n", "Bcc: a\r\n\r\n" },
    { "a line that is no header begins the body", "", "remote", "Subject: s\r\nno header\r\nmore\r\n", "Subject: s\r\n\r\nno header\r\nmore\r\n" },
    { "a message that starts with its body", "", "remote", " folded\r\nb\r\n", "\r\n folded\r\nb\r\n" },
    { "an empty message", "", "remote", "", "\r\n" },
    { "headers without an end", "", "remote", "Subject: s\r\n", "Subject: s\r\n\r\n" },
    { "the last header line is cut", "", "remote", "Subject: s", "Subject: s\r\n" },
    { "stray CR and LF become blanks", "", "remote", "Subject: a\rb\r\n\r\nx\ny\rz\r\r\n\n.\r\n\r", "Subject: a b\r\n\r\nx y z \r\n .\r\n " },
    { "an LF alone ends no header section", "", "remote", "A: b\r\n\nC: d\r\n\r\n", "A: b\r\n C: d\r\n\r\n" },
    { "stray ones stay when asked", "cleanup_replace_stray_cr_lf = no", "remote", "A: b\r\n\r\nx\ry\nz\r\n", "A: b\r\n\r\nx\ry\nz\r\n" },
    { "a header is cut at its limit", "header_size_limit = 100", "remote",
      "Long: 56789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890\r\nB: c\r\n\r\nb\r\n",
      "Long: 5678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678\r\nB: c\r\n\r\nb\r\n" },
    { "also when it is folded, and at a line end", "header_size_limit = 100", "remote",
      "Long: 56789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456\r\n more and more\r\nB: c\r\n\r\nb\r\n",
      "Long: 56789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456\r\nB: c\r\n\r\nb\r\n" },
};

#define BOTH "canonical_maps = inline:{ann@d.test=ann.x@out.test, cid@d.test=cid.x@out.test}\n"
/* configuration, context, headers in, headers out; NULL: byte for byte the same. */
static const struct { const char *name, *conf, *context, *in, *out; } rewritten[] = {
    { "nothing to do", "", "local", "From: \"A, B\" <a@b.test> (c)\r\nTo: x@y.test,\r\n\tz@y.test (d)\r\n", NULL },
    { "an address without a domain", "", "local", "From: Bob <bob>\r\nTo: x@y.test, ann (Ann)\r\n", "From: Bob <bob@origin.example>\r\nTo: x@y.test, ann@origin.example (Ann)\r\n" },
    { "of others it stays", "", "remote", "From: Bob <bob>\r\nTo: ann\r\n", NULL },
    { "or gets another", "remote_header_rewrite_domain = r.test", "remote", "From: Bob <bob>\r\n", "From: Bob <bob@remote.example>\r\n" },
    { "folding, comments, groups, names in quotes", "", "local", "Cc: (c) ann,\r\n\t\"B, C\" <bob> (x\r\n y), G: cid@d.test,dan; , \r\n eve@d.test\r\n",
      "Cc: (c) ann@origin.example,\r\n\t\"B, C\" <bob@origin.example> (x\r\n y), G: cid@d.test,dan@origin.example; , \r\n eve@d.test\r\n" },
    { "no blank behind the colon, one before it", "", "local", "To:ann\r\nCc :ann\r\n", "To:ann@origin.example\r\nCc:ann@origin.example\r\n" },
    { "words behind a comment", "", "local", "To: (c) ann\r\nTo: (c) \"b c\"\r\nTo: a@b.test (c)\r\nTo: a (c) d <a@b.test> (e) f, (x) g\r\n",
      "To: (c) ann@origin.example\r\nTo: (c) \"b c\"@origin.example\r\nTo: a@b.test (c)\r\nTo: a (c) d <a@b.test> (e) f, (x) g@origin.example\r\n" },
    { "several From headers, and Resent- ones", "", "local", "From: a\r\nFrom: b\r\nResent-From: c\r\nResent-Bcc: d\r\nResent-To: e\r\nResent-Message-Id: f\r\nResent-Date: g\r\n",
      "From: a@origin.example\r\nFrom: b@origin.example\r\nResent-From: c@origin.example\r\nResent-To: e@origin.example\r\nResent-Message-Id: f\r\nResent-Date: g\r\n" },
    { "all that hold addresses", "", "local", "Sender: a\r\nReply-To: b\r\nErrors-To: c\r\nReturn-Receipt-To: d\r\nDisposition-Notification-To: e\r\nX-To: f\r\nDelivered-To: g\r\n",
      "Sender: a@origin.example\r\nReply-To: b@origin.example\r\nErrors-To: c@origin.example\r\nReturn-Receipt-To: d@origin.example\r\n"
      "Disposition-Notification-To: e@origin.example\r\nX-To: f\r\nDelivered-To: g\r\n" },
    { "what is no address list", "", "local", "From: John Doe\r\nTo: ann <\r\nCc: <>\r\nReply-To:\r\nSender: undisclosed-recipients:;\r\n", NULL },
    { "an encoded word", "", "local", "From: =?utf-8?q?J=C3=B6?= <joe>\r\n", "From: =?utf-8?q?J=C3=B6?= <joe@origin.example>\r\n" },
    { "a header at the end without a line end", "", "local", "Subject: x\r\nTo: ann", "Subject: x\r\nTo: ann@origin.example" },
    { "canonical", BOTH, "local", "From: Ann <ann@d.test>\r\nTo: cid@d.test, x@y.test\r\nSubject: ann@d.test\r\n", "From: Ann <ann.x@out.test>\r\nTo: cid.x@out.test, x@y.test\r\nSubject: ann@d.test\r\n" },
    { "not for others", BOTH, "remote", "From: Ann <ann@d.test>\r\n", NULL },
    { "but with a domain for them", BOTH "remote_header_rewrite_domain = r.test", "remote", "From: Ann <ann@d.test>\r\n", "From: Ann <ann.x@out.test>\r\n" },
    { "by class: senders", BOTH "canonical_classes = header_sender", "local", "From: ann@d.test\r\nTo: ann@d.test\r\n", "From: ann.x@out.test\r\nTo: ann@d.test\r\n" },
    { "recipients", BOTH "canonical_classes = header_recipient", "local", "From: ann@d.test\r\nTo: ann@d.test\r\n", "From: ann@d.test\r\nTo: ann.x@out.test\r\n" },
    { "maps of senders", "sender_canonical_maps = inline:{ann@d.test=s@out.test}", "local", "Reply-To: ann@d.test\r\nTo: ann@d.test\r\n", "Reply-To: s@out.test\r\nTo: ann@d.test\r\n" },
    { "of recipients", "recipient_canonical_maps = static:s@out.test", "local", "From: ann@d.test\r\nCc: ann@d.test\r\n", "From: ann@d.test\r\nCc: s@out.test\r\n" },
    { "no aliases", "virtual_alias_maps = static:s@out.test", "local", "From: ann@d.test\r\nTo: ann@d.test\r\n", NULL },
    { "masquerade", "masquerade_domains = b.test", "local", "From: a@h.b.test\r\nTo: \"x y\"@h.b.test\r\nCc: c@c.test\r\n", "From: a@b.test\r\nTo: \"x y\"@b.test\r\nCc: c@c.test\r\n" },
    { "by class", "masquerade_domains = b.test\nmasquerade_classes = header_recipient", "local", "From: a@h.b.test\r\nTo: a@h.b.test\r\n", "From: a@h.b.test\r\nTo: a@b.test\r\n" },
    { "a result that must be quoted", "canonical_maps = inline:{ {a@b.test=\"x y\"@b.test} }", "local", "From: A <a@b.test>\r\n", "From: A <\"x y\"@b.test>\r\n" },
    { "quotes that need not be stay where nothing changes", BOTH, "local", "From: \"bob\"@d.test, ann . x @ d.test\r\n", NULL },
    { "more tokens than are read", "header_address_token_limit = 3", "local", "To: ann, bob, cid, dan\r\n", "To: ann@origin.example, bob, cid, dan\r\n" },
    { "a table that fails", "canonical_maps = fail:x\ncanonical_classes = header_sender", "local", "From: ann@d.test\r\n", "451 4.3.0 Error: queue file write error" },
    { "a circle", "canonical_classes = header_sender\ncanonical_maps = inline:{a@d.test=b@d.test, b@d.test=a@d.test}", "local", "From: a@d.test\r\n", "451 4.3.0 Error: queue file write error" },
};

#define PLAIN "Received: x\r\nFrom: a@b\r\nMessage-ID: <1@b>\r\nDate: now\r\n"
static void test_rewriting(void)
{
    for (size_t i = 0; i < sizeof rewritten / sizeof *rewritten; i++) {
        size_t n = strlen(rewritten[i].in);

        for (size_t step = 1; step <= n + 1; step += step > 3 ? 13 : 1) {
            PH_SCOPED(s, NULL);
            struct session *x = session_start(s, ph_str_printf(s, "append_dot_mydomain = no\n%s", rewritten[i].conf).p);
            ph_str in = ph_str_printf(s, PLAIN "%s", rewritten[i].in), want = ph_cstr(rewritten[i].out ? rewritten[i].out : rewritten[i].in);
            int whole = ph_str_ends(in, PH_STR("\n"));

            queue.asked = 0;
            begin(x, rewritten[i].context, "s@here.test", "map");
            SEND(x, "op", "rcpt", "address", "r@there.test", "original", "r@there.test");
            send_content(x, whole ? ph_str_printf(s, "%.*s\r\nTo: body\r\n", PH_FMT(in)) : in, step);
            ph_str reply = ph_frame_value(end(x), "reply");
            if (ph_is_digit(want.p[0])) {
                is_bytes(reply, rewritten[i].out, "rewriting: %s", rewritten[i].name);
            } else {
                is_bytes(queued(), ph_str_printf(s, PLAIN "%.*s\r\n%s", PH_FMT(want), whole ? "To: body\r\n" : "").p, "rewriting: %s, in pieces of %zu", rewritten[i].name, step);
                ok(queue.asked <= 1, "rewriting: %s: one question at most", rewritten[i].name);
            }
            session_end(x);
        }
    }
}

/* Many addresses in many headers: few questions, flat memory, everything in its place. */
static void test_many_addresses(void)
{
    PH_SCOPED(s, NULL);
    struct session *x = session_start(s, "");
    struct ph_buf in, want;

    ph_buf_init(&in, s, 4u << 20);
    ph_buf_init(&want, s, 4u << 20);
    ph_buf_puts(&in, PLAIN);
    ph_buf_puts(&want, PLAIN);
    for (int i = 0; i < 300; i++) {
        ph_buf_printf(&in, "X-%d: y\r\nCc: a%d", i, i);
        ph_buf_printf(&want, "X-%d: y\r\nCc: a%d@origin.example", i, i);
        for (int k = 0; k < 99; k++) {
            ph_buf_printf(&in, ",\r\n b%d", k);
            ph_buf_printf(&want, ",\r\n b%d@origin.example", k);
        }
        ph_buf_puts(&in, "\r\n");
        ph_buf_puts(&want, "\r\n");
    }
    ph_buf_puts(&want, "\r\n");
    queue.asked = 0;
    begin(x, "local", "s@a.test", "");
    SEND(x, "op", "rcpt", "address", "r@b.test", "original", "r@b.test");
    size_t before = ph_scope_bytes(x->far);
    send_content(x, ph_buf_view(&in), 8000);
    size_t held = ph_scope_bytes(x->far) - before;
    is_bytes(ph_frame_value(end(x), "status"), "ok", "30,000 addresses in 300 headers");
    ok(ph_str_eq(queued(), ph_buf_view(&want)), "each is completed in its place");
    ok(queue.asked <= 60, "in few questions (%d)", queue.asked);
    ok(held < 2000000, "and memory stays flat (%zu bytes)", held);
    session_end(x);
}

static void test_utf8(void)
{
    static const struct { const char *name, *conf, *origin, *sender, *to, *header; int want; } found[] = {
        { "a header", "", "sendmail", "s@a.test", "r@b.test", "Subject: \303\266\r\n", 1 },
        { "a sender", "", "sendmail", "\303\266@a.test", "r@b.test", "", 1 },
        { "a recipient", "", "sendmail", "s@a.test", "\303\266@b.test", "", 1 },
        { "a header that is dropped", "", "sendmail", "s@a.test", "r@b.test", "Bcc: \303\266\r\n", 0 },
        { "an address that is mapped to ASCII", "canonical_maps = inline:{\303\266@a.test=o@a.test}", "sendmail", "s@a.test", "r@b.test", "From: \303\266@a.test\r\n", 0 },
        { "an address that is mapped to UTF-8", "canonical_maps = inline:{o@a.test=\303\266@a.test}", "sendmail", "s@a.test", "r@b.test", "From: o@a.test\r\n", 1 },
        { "other bytes", "", "sendmail", "s@a.test", "r@b.test", "Subject: \366\r\n", 0 },
        { "ASCII", "", "sendmail", "s@a.test", "r@b.test", "", 0 },
        { "from elsewhere", "", "smtpd", "s@a.test", "r@b.test", "Subject: \303\266\r\n", 0 },
        { "when that is named", "smtputf8_autodetect_classes = smtpd", "smtpd", "s@a.test", "r@b.test", "Subject: \303\266\r\n", 1 },
        { "or all", "smtputf8_autodetect_classes = all", "forward", "s@a.test", "r@b.test", "Subject: \303\266\r\n", 1 },
        { "switched off", "smtputf8_enable = no", "sendmail", "s@a.test", "r@b.test", "Subject: \303\266\r\n", 0 },
    };

    for (size_t i = 0; i < sizeof found / sizeof *found; i++) {
        PH_SCOPED(s, NULL);
        struct session *x = session_start(s, found[i].conf);

        SEND(x, "op", "begin", "who", "net", "context", "local", "origin", found[i].origin, "sender", found[i].sender, "flags", "map");
        receive(x);
        SEND(x, "op", "rcpt", "address", found[i].to, "original", found[i].to);
        send_content(x, ph_str_printf(s, "%s\r\n\303\266\r\n", found[i].header), 100);
        is_bytes(ph_frame_value(end(x), "status"), "ok", "UTF-8: %s", found[i].name);
        is_int((queue.facts & PH_FACT_SMTPUTF8) != 0, found[i].want, "UTF-8: %s: asks for SMTPUTF8", found[i].name);
        session_end(x);
    }
}

/* Replace the date that was added, which no table can know. */
static ph_str without_date(struct ph_scope *s, ph_str text)
{
    ptrdiff_t at = ph_str_search(text, PH_STR("Date: "));
    ptrdiff_t end_at = at < 0 ? -1 : ph_str_search(ph_str_from(text, (size_t)at), PH_STR("\r\n"));

    if (at < 0 || ph_str_search(ph_str_from(text, (size_t)at), PH_STR("+")) < 0)
        return text;
    return ph_str_printf(s, "%.*sDate: DATE%.*s", PH_FMT(ph_str_first(text, (size_t)at)), PH_FMT(ph_str_from(text, (size_t)(at + end_at))));
}

/* Each content at every size of piece: where the network cuts must not matter. */
static void test_content(void)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = strlen(cases[i].in);

        for (size_t step = 1; step <= n + 1; step += n > 60 && step > 3 ? 17 : 1) {
            PH_SCOPED(s, NULL);
            struct session *x = session_start(s, cases[i].conf);
            ph_str reply = pass(x, cases[i].context, "s@here.test", ph_cstr(cases[i].in), step);
            /* A resent message has both dates; the one we add is the second. */
            ph_str got = queued(), head = PH_STR("");
            ptrdiff_t resent = ph_str_search(got, PH_STR("Resent-Date: "));

            if (resent >= 0) {
                head = ph_str_first(got, (size_t)resent);
                got = ph_str_from(got, (size_t)resent);
            }
            got = ph_str_printf(s, "%.*s%.*s", PH_FMT(head), PH_FMT(without_date(s, got)));
            is_bytes(got, cases[i].out, "%s, in pieces of %zu", cases[i].name, step);
            ok(queue.committed && ph_str_eq(reply, PH_STR("250 2.0.0 Ok: queued as " ID)), "and it is queued");
            session_end(x);
        }
    }
}

static void test_envelope(void)
{
    PH_SCOPED(s, NULL);
    struct session *x = session_start(s, "always_bcc = copy@here.test");

    is_bytes(begin(x, "remote", "sender", "bcc"), "ok", "begin");
    SEND(x, "op", "rcpt", "address", "bare", "original", "bare");
    SEND(x, "op", "rcpt", "address", "r@there.test", "original", "r@there.test", "dsn_notify", "FAILURE");
    SEND(x, "op", "rcpt", "address", "r@THERE.test", "original", "r@there.test", "dsn_notify", "FAILURE");
    SEND(x, "op", "rcpt", "address", "r@there.test", "original", "other@there.test");
    SEND(x, "op", "rcpt", "address", "", "original", "");
    send_content(x, PH_STR(FULL "\r\n"), 1000);
    struct ph_frame *r = end(x);
    is_bytes(ph_frame_value(r, "status"), "ok", "end");
    is_bytes(ph_frame_value(r, "queue_id"), ID, "the id is told again");
    is_bytes(ph_cstr(queue.sender), "sender@origin.example", "the sender is completed");
    is_bytes(ph_cstr(queue.rcpts), "bare@origin.example(bare) r@there.test(,FAILURE) r@there.test(other@there.test) "
             "MAILER-DAEMON@origin.example() copy@here.test(,NEVER) ", "recipients: completed, once each, with a copy");
    is_bytes(ph_cstr(queue.attrs), "rewrite_context=remote client_name=c.test full_name=A. Sender ", "attributes are kept");
    is_bytes(begin(x, "local", "MAILER-DAEMON@origin.example", ""), "ok", "a second message on the same connection");
    is_bytes(ph_cstr(queue.sender), "", "MAILER-DAEMON is the null sender");
    SEND(x, "op", "rcpt", "address", "r@there.test", "original", "r@there.test");
    send_content(x, PH_STR("Subject: s\r\n\r\n"), 1000);
    is_bytes(ph_frame_value(end(x), "status"), "ok", "is queued");
    ok(ph_str_search(queued(), PH_STR("\r\nFrom: MAILER-DAEMON\r\n")) > 0, "with From: MAILER-DAEMON");
    ok(ph_str_search(ph_cstr(queue.rcpts), PH_STR("copy@")) < 0, "and without a copy, which its client did not allow");
    begin(x, "remote", "s@a.test", "");
    SEND(x, "op", "rcpt", "address", "r@there.test", "original", "r@there.test");
    SEND(x, "op", "rcpt", "address", "q@there.test", "original", "q@there.test");
    send_content(x, PH_STR(FULL "\r\n"), 1000);
    SEND(x, "op", "end", "redirect", "q@there.test");
    is_bytes(ph_frame_value(receive(x), "status"), "ok", "redirected:");
    is_bytes(ph_cstr(queue.rcpts), "q@there.test() ", "to one recipient and nobody else");
    session_end(x);
    is_int(x->rc, 0, "the session ends with its client");
    is_int(queue.begun, queue.ended, "no slot is left taken");
}

/* Envelope by configuration: sender -> recipients in, sender -> recipients out, or the
 * reply that refuses it. */
static const struct { const char *name, *conf, *flags, *in, *out; } envelopes[] = {
    { "nothing is configured", "", "map bcc", "s@a.test>r@b.test", "s@a.test>r@b.test()" },
    { "canonical: both", "canonical_maps = inline:{s@a.test=x@y.test, r@b.test=q@b.test}", "map", "s@a.test>r@b.test", "x@y.test>q@b.test(r@b.test)" },
    { "by its classes", "canonical_classes = envelope_recipient\ncanonical_maps = static:x@y.test", "map", "s@a.test>r@b.test", "s@a.test>x@y.test(r@b.test)" },
    { "of senders first", "sender_canonical_maps = inline:{s@a.test=t@a.test}\ncanonical_maps = inline:{t@a.test=u@a.test, s@a.test=no@a.test}", "map",
      "s@a.test>s@a.test", "u@a.test>no@a.test(s@a.test)" },
    { "of recipients first", "recipient_canonical_maps = inline:{r@b.test=t@a.test}\ncanonical_maps = inline:{t@a.test=u@a.test, r@b.test=no@a.test}", "map",
      "r@b.test>r@b.test", "no@a.test>u@a.test(r@b.test)" },
    { "senders' classes", "sender_canonical_classes = header_sender\nsender_canonical_maps = static:x@y.test", "map", "s@a.test>r@b.test", "s@a.test>r@b.test()" },
    { "an address that is not complete", "canonical_maps = inline:{bob=robert}\nmydestination = origin.example", "map", "bob>bob", "robert@origin.example>robert@origin.example(bob)" },
    { "the null sender has no entry", "canonical_maps = static:x@y.test", "map", ">r@b.test", ">x@y.test(r@b.test)" },
    { "a circle", "canonical_maps = inline:{r@b.test=q@b.test, q@b.test=r@b.test}", "map", "s@a.test>r@b.test", "451 4.3.0 Error: queue file write error" },
    { "a circle of the sender", "canonical_maps = inline:{s@b.test=q@b.test, q@b.test=s@b.test}", "map", "s@b.test>r@b.test", "451 4.3.0 Error: queue file write error" },
    { "a table that fails", "recipient_canonical_maps = fail:x", "map", "s@a.test>r@b.test", "451 4.3.0 Error: queue file write error" },
    { "the sender's", "sender_canonical_maps = fail:x", "map", "s@a.test>r@b.test", "451 4.3.0 Error: queue file write error" },
    { "nothing is mapped unless the client says so", "canonical_maps = static:x@y.test\nvirtual_alias_maps = static:x@y.test\nmasquerade_domains = b.test", "bcc",
      "s@h.b.test>r@b.test", "s@h.b.test>r@b.test()" },
    { "masquerade: senders", "masquerade_domains = b.test", "map", "s@h.b.test>r@h.b.test", "s@b.test>r@h.b.test()" },
    { "recipients when named", "masquerade_domains = b.test\nmasquerade_classes = envelope_recipient", "map", "s@h.b.test>r@h.b.test", "s@h.b.test>r@b.test(r@h.b.test)" },
    { "from left to right", "masquerade_domains = x.b.test b.test", "map", "s@h.x.B.test>r@c.test", "s@x.b.test>r@c.test()" },
    { "the domain itself ends it", "masquerade_domains = x.b.test b.test", "map", "s@x.b.test>r@c.test", "s@x.b.test>r@c.test()" },
    { "!domain", "masquerade_domains = !x.b.test b.test", "map", "s@h.x.b.test>r@c.test", "s@h.x.b.test>r@c.test()" },
    { "at a dot", "masquerade_domains = b.test", "map", "s@hb.test>r@c.test", "s@hb.test>r@c.test()" },
    { "users that are excepted", "masquerade_domains = b.test\nmasquerade_exceptions = root s", "map", "s@h.b.test>r@c.test", "s@h.b.test>r@c.test()" },
    { "by a table that fails", "masquerade_domains = b.test\nmasquerade_exceptions = fail:x", "map", "s@h.b.test>r@c.test", "451 4.3.0 Error: queue file write error" },
    { "behind canonical maps", "masquerade_domains = b.test\ncanonical_maps = inline:{s@a.test=s@h.b.test}", "map", "s@a.test>r@c.test", "s@b.test>r@c.test()" },
    { "aliases: recipients alone", "virtual_alias_maps = inline:{ {s@a.test=q@c.test, p@c.test} }", "map", "s@a.test>s@a.test", "s@a.test>q@c.test(s@a.test) p@c.test(s@a.test)" },
    { "behind canonical maps", "canonical_maps = inline:{r@b.test=q@b.test}\nvirtual_alias_maps = inline:{q@b.test=p@b.test, r@b.test=no@b.test}", "map",
      "s@a.test>r@b.test", "s@a.test>p@b.test(r@b.test)" },
    { "a->a,b", "virtual_alias_maps = inline:{ {a@x.test=a@x.test, b@x.test} }", "map", "s@a.test>a@x.test", "s@a.test>a@x.test() b@x.test(a@x.test)" },
    { "a->b->a", "virtual_alias_maps = inline:{a@x.test=b@x.test, b@x.test=a@x.test}", "map", "s@a.test>a@x.test", "451 4.6.0 Alias expansion error" },
    { "and nobody gets it", "virtual_alias_maps = inline:{a@x.test=b@x.test, b@x.test=a@x.test}", "map", "s@a.test>ok@x.test,a@x.test", "451 4.6.0 Alias expansion error" },
    { "growth", "virtual_alias_maps = pcre:{ {/^(.*)@x/ $${1}+1234567@x.test} }", "map", "s@a.test>a@x.test", "451 4.6.0 Alias expansion error" },
    { "too many", "virtual_alias_expansion_limit = 2\nvirtual_alias_maps = inline:{ {a@x.test=b@x.test,c@x.test,d@x.test} }", "map", "s@a.test>a@x.test",
      "451 4.6.0 Alias expansion error" },
    { "failure behind a part", "virtual_alias_maps = inline:{ {a@x.test=b@x.test,c@x.test}, {b@x.test=b@x.test} } fail:x", "map", "s@a.test>a@x.test",
      "451 4.3.0 Error: queue file write error" },
    { "two to the same, by what they were", "virtual_alias_maps = inline:{a@x.test=c@x.test, b@x.test=c@x.test}", "map", "s@a.test>a@x.test,b@x.test",
      "s@a.test>c@x.test(a@x.test) c@x.test(b@x.test)" },
    { "or once", "enable_original_recipient = no\nvirtual_alias_maps = inline:{a@x.test=c@x.test, b@x.test=c@x.test}", "map", "s@a.test>a@x.test,b@x.test",
      "s@a.test>c@x.test(a@x.test)" },
    { "one that names a recipient twice", "virtual_alias_maps = inline:{ {a@x.test=c@x.test, c@x.test} }", "map", "s@a.test>a@x.test", "s@a.test>c@x.test(a@x.test)" },
    { "the null recipient", "empty_address_recipient = postmaster@x.test\nvirtual_alias_maps = inline:{postmaster@x.test=c@x.test}", "map", "s@a.test>,a@x.test",
      "s@a.test>c@x.test() a@x.test()" },
    { "copies: of all", "always_bcc = c", "map bcc", "s@a.test>a@x.test", "s@a.test>a@x.test() c@origin.example(,NEVER)" },
    { "for a sender", "sender_bcc_maps = inline:{s@a.test=c@x.test}", "map bcc", "s@a.test>a@x.test", "s@a.test>a@x.test() c@x.test(,NEVER)" },
    { "his address as it was mapped", "sender_bcc_maps = inline:{s@a.test=no@x.test, t@a.test=c@x.test}\ncanonical_maps = inline:{s@a.test=t@a.test}", "map bcc",
      "s@a.test>a@x.test", "t@a.test>a@x.test() c@x.test(,NEVER)" },
    { "not for the null sender", "sender_bcc_maps = static:c@x.test", "map bcc", ">a@x.test", ">a@x.test()" },
    { "for recipients", "recipient_bcc_maps = inline:{a@x.test=c@x.test, @y.test=d@x.test}", "map bcc", "s@a.test>a@x.test,b@y.test",
      "s@a.test>a@x.test() c@x.test(,NEVER) b@y.test() d@x.test(,NEVER)" },
    { "as they are before aliases", "recipient_bcc_maps = inline:{a@x.test=c@x.test, b@x.test=no@x.test}\nvirtual_alias_maps = inline:{a@x.test=b@x.test}", "map bcc",
      "s@a.test>a@x.test", "s@a.test>b@x.test(a@x.test) c@x.test(,NEVER)" },
    { "copies are mapped", "always_bcc = c@x.test\ncanonical_maps = inline:{c@x.test=d@x.test}\nvirtual_alias_maps = inline:{ {d@x.test=e@x.test,f@x.test} }", "map bcc",
      "s@a.test>a@x.test", "s@a.test>a@x.test() e@x.test(d@x.test,NEVER) f@x.test(d@x.test,NEVER)" },
    { "a copy has no copies", "recipient_bcc_maps = static:c@x.test", "map bcc", "s@a.test>a@x.test", "s@a.test>a@x.test() c@x.test(,NEVER)" },
    { "none without leave", "always_bcc = c\nsender_bcc_maps = static:c@x.test\nrecipient_bcc_maps = static:c@x.test", "map", "s@a.test>a@x.test", "s@a.test>a@x.test()" },
    { "a table of copies that fails", "recipient_bcc_maps = fail:x", "map bcc", "s@a.test>a@x.test", "451 4.3.0 Error: queue file write error" },
    { "of senders", "sender_bcc_maps = fail:x", "map bcc", "s@a.test>a@x.test", "451 4.3.0 Error: queue file write error" },
};

static ph_str map_frame(struct session *x, const char *flags, ph_str sender, ph_str rcpts)
{
    struct ph_frame *f = ph_frame_new(x->s), *answer;
    ph_str name, value;
    struct ph_buf b;
    size_t at = 0;

    ph_frame_cstr(f, "op", "map");
    ph_frame_cstr(f, "flags", flags);
    ph_frame_str(f, "sender", sender);
    for (int more = 1; more; ) {
        more = ph_str_find(rcpts, ',') >= 0;
        ph_frame_str(f, "address", ph_str_cut(&rcpts, ','));
    }
    ph_frame_send(x->io, f);
    answer = receive(x);
    ph_buf_init(&b, x->s, 60000);
    if (!ph_str_eq(ph_frame_value(answer, "status"), PH_STR("ok")))
        return ph_frame_value(answer, "reply");
    ph_buf_printf(&b, "%.*s>", PH_FMT(ph_frame_value(answer, "sender")));
    ph_str to = PH_STR(""), original = PH_STR("");
    while (ph_frame_next(answer, &at, &name, &value)) {
        if (ph_str_eq(name, PH_STR("recipient")))
            to = value;
        else if (ph_str_eq(name, PH_STR("original")))
            original = value;
        else if (ph_str_eq(name, PH_STR("notify")))
            ph_buf_printf(&b, "%.*s(%.*s%s%.*s) ", PH_FMT(to), PH_FMT(ph_str_eq(to, original) ? PH_STR("") : original), value.n ? "," : "", PH_FMT(value));
    }
    return ph_str_trim(ph_buf_view(&b));
}

/* Through a message, and through op=map, which must say the same. */
static void test_envelopes(void)
{
    for (size_t i = 0; i < sizeof envelopes / sizeof *envelopes; i++) {
        PH_SCOPED(s, NULL);
        struct session *x = session_start(s, envelopes[i].conf);
        ph_str rcpts = ph_cstr(envelopes[i].in), sender = ph_str_cut(&rcpts, '>');
        int refused = ph_is_digit(envelopes[i].out[0]), commits = queue.commits;

        is_bytes(map_frame(x, envelopes[i].flags, sender, rcpts), envelopes[i].out, "map: %s", envelopes[i].name);
        is_int(queue.begun, queue.ended, "without a message");
        is_bytes(begin(x, "remote", ph_cstr_dup(s, sender), envelopes[i].flags), "ok", "%s", envelopes[i].name);
        for (int more = 1; more; ) {
            more = ph_str_find(rcpts, ',') >= 0;
            const char *to = ph_cstr_dup(s, ph_str_cut(&rcpts, ','));
            SEND(x, "op", "rcpt", "address", to, "original", to);
        }
        send_content(x, PH_STR("A: b\r\n\r\n"), 100);
        struct ph_frame *r = end(x);
        is_bytes(refused ? ph_frame_value(r, "reply") : ph_str_trim(ph_str_printf(s, "%s>%s", queue.sender, queue.rcpts)), envelopes[i].out, "%s: the envelope",
                 envelopes[i].name);
        is_int(queue.commits - commits, !refused, "%s: committed or not", envelopes[i].name);
        if (refused)
            is_bytes(ph_frame_value(r, "own"), "1", "%s: it is this message's own trouble", envelopes[i].name);
        session_end(x);
        is_int(queue.begun, queue.ended, "no slot is left taken");
    }
}

/* NOTIFY of an alias and of its members, RFC 3461 5.2.7. */
static void test_notify(void)
{
    static const struct { const char *name, *sender, *to, *notify, *out; } wishes[] = {
        { "several members: the alias is told of, they are not", "s@a.test", "two@v.test", "SUCCESS,FAILURE", "expanded:two@v.test(,SUCCESS,FAILURE) a@x.test(two@v.test,FAILURE) b@x.test(two@v.test,FAILURE) " },
        { "success alone leaves nothing", "s@a.test", "two@v.test", "SUCCESS", "expanded:two@v.test(,SUCCESS) a@x.test(two@v.test,NEVER) b@x.test(two@v.test,NEVER) " },
        { "one member has it all", "s@a.test", "one@v.test", "SUCCESS,DELAY", "a@x.test(one@v.test,SUCCESS,DELAY) " },
        { "no success, no report", "s@a.test", "two@v.test", "FAILURE", "a@x.test(two@v.test,FAILURE) b@x.test(two@v.test,FAILURE) " },
        { "nor of the null sender", "", "two@v.test", "SUCCESS", "a@x.test(two@v.test,SUCCESS) b@x.test(two@v.test,SUCCESS) " },
    };

    for (size_t i = 0; i < sizeof wishes / sizeof *wishes; i++) {
        PH_SCOPED(s, NULL);
        struct session *x = session_start(s, "virtual_alias_maps = inline:{ {two@v.test=a@x.test, b@x.test}, {one@v.test=a@x.test} }");

        begin(x, "remote", wishes[i].sender, "map");
        for (int twice = 0; twice < 2; twice++)
            SEND(x, "op", "rcpt", "address", wishes[i].to, "original", wishes[i].to, "dsn_notify", wishes[i].notify);
        send_content(x, PH_STR("A: b\r\n\r\n"), 100);
        is_bytes(ph_frame_value(end(x), "status"), "ok", "NOTIFY: %s", wishes[i].name);
        is_bytes(ph_cstr(queue.rcpts), wishes[i].out, "NOTIFY: %s: once", wishes[i].name);
        session_end(x);
    }
    PH_SCOPED(s, NULL);
    struct session *x = session_start(s, "virtual_alias_maps = static:a@x.test");
    begin(x, "remote", "s@a.test", "map");
    SEND(x, "op", "rcpt", "address", "two@v.test", "original", "o@v.test", "dsn_notify", "SUCCESS", "expanded", "1");
    SEND(x, "op", "rcpt", "address", "q@v.test", "original", "");
    send_content(x, PH_STR("A: b\r\n\r\n"), 100);
    end(x);
    is_bytes(ph_cstr(queue.rcpts), "expanded:two@v.test(o@v.test,SUCCESS) a@x.test(q@v.test) ", "one that comes again from the queue is not expanded again");
    session_end(x);
}

static void test_duplicates(void)
{
    PH_SCOPED(s, NULL);
    struct session *x = session_start(s, "enable_original_recipient = no");

    begin(x, "remote", "s@a", "");
    for (int i = 0; i < 3; i++)
        SEND(x, "op", "rcpt", "address", "r@b", "original", i ? "x@b" : "y@b");
    SEND(x, "op", "rcpt", "address", "R@b", "original", "R@b");
    send_content(x, PH_STR("A: b\r\n\r\n"), 100);
    end(x);
    is_bytes(ph_cstr(queue.rcpts), "r@b(y@b) R@b() ", "by address alone; local parts have a case");
    session_end(x);
}

/* However long and strange the headers are, memory is flat, and what they say is seen. */
static void test_many_headers(void)
{
    PH_SCOPED(s, NULL);
    struct session *x = session_start(s, "");
    struct ph_buf b;

    ph_buf_init(&b, s, 200000);
    ph_buf_puts(&b, "Content-Transfer-Encoding: 8bit\r\nContent-Transfer-Encoding:");
    while (b.n < 90000)
        ph_buf_puts(&b, " 8bit\r\n");
    begin(x, "remote", "s@a.test", "");
    SEND(x, "op", "rcpt", "address", "r@b.test", "original", "r@b.test");
    size_t before = ph_scope_bytes(x->far);
    for (int i = 0; i < 40; i++)
        send_content(x, ph_buf_view(&b), 8000);
    size_t held = ph_scope_bytes(x->far) - before;
    ph_str reply = ph_frame_value(end(x), "reply");
    is_bytes(reply, "250 2.0.0 Ok: queued as " ID, "long headers pass");
    ok(queue.facts & PH_FACT_BODY_8BIT, "Content-Transfer-Encoding is believed");
    is_int((long long)queue.n, (long long)(40 * b.n + 2), "whole");
    ok(held < 700000, "and memory stays flat (%zu bytes)", held);
    session_end(x);
}

static void test_failures(void)
{
    PH_SCOPED(s, NULL);
    struct session *x = session_start(s, "hopcount_limit = 3");
    static const char loop[] = "Received: 1\r\nReceived: 2\r\nreceived: 3\r\nReceived: 4\r\n\r\n";

    is_bytes(pass(x, "remote", "s@a.test", PH_STR("Received: 1\r\nReceived: 2\r\nReceived: 3\r\n\r\n"), 100), "250 2.0.0 Ok: queued as " ID, "three hops pass");
    is_bytes(pass(x, "remote", "s@a.test", ph_cstr(loop), 100), "554 5.4.0 Error: too many hops", "four do not");
    ok(!queue.committed, "and nothing is queued");
    queue.limit = 100;
    ph_str big = { ph_alloc(s, 30000), 30000 };
    memset((char *)(uintptr_t)big.p, 'x', big.n);
    is_bytes(pass(x, "remote", "s@a.test", big, 7000), "552 5.3.4 Error: message file too big", "too big is permanent");
    ok(!queue.committed, "and nothing is queued");
    queue.limit = 0;
    queue.fail_commit = PH_TEMP;
    is_bytes(pass(x, "remote", "s@a.test", PH_STR("A: b\r\n\r\n"), 100), "451 4.3.0 Error: queue file write error", "a failing disk is temporary");
    queue.fail_commit = 0;
    begin(x, "remote", "s@a.test", "");
    send_content(x, PH_STR("A: b\r\n\r\n"), 100);
    struct ph_frame *r = end(x);
    is_bytes(ph_frame_value(r, "status"), "perm", "no recipients is permanent");
    is_bytes(ph_frame_value(r, "reason"), "no recipients", "and says so");
    queue.fail_rewrite = 1;
    is_bytes(begin(x, "remote", "bare", ""), "temp", "a sender that cannot be completed");
    is_bytes(begin(x, "remote", "s@a.test", ""), "ok", "one that need not be");
    SEND(x, "op", "rcpt", "address", "bare", "original", "bare");
    send_content(x, PH_STR("A: b\r\n\r\n"), 100);
    is_bytes(ph_frame_value(end(x), "status"), "temp", "a recipient that cannot be completed is temporary");
    ok(!queue.committed, "and nothing is queued");
    queue.fail_rewrite = 0;
    queue.fail_begin = 1;
    is_bytes(begin(x, "remote", "s@a.test", ""), "temp", "no slot");
    queue.fail_begin = 0;
    is_bytes(pass(x, "remote", "s@a.test", PH_STR("A: b\r\n\r\n"), 100), "250 2.0.0 Ok: queued as " ID, "and the connection still works");
    session_end(x);
    is_int(queue.begun, queue.ended, "no slot is left taken");
}

/* Ways to leave before the end: each time the message never existed. */
static void test_leaving(void)
{
    for (int how = 0; how < 5; how++) {
        PH_SCOPED(s, NULL);
        struct session *x = session_start(s, "");
        int commits = queue.commits;

        if (how > 0)
            begin(x, "remote", "s@a.test", "");
        if (how > 1)
            SEND(x, "op", "rcpt", "address", "r@b.test", "original", "r@b.test");
        if (how > 2)
            send_content(x, PH_STR("A: b\r\n\r\nbody"), 5);
        if (how == 4) {
            SEND(x, "op", "abort");
            SEND(x, "op", "end");
        }
        ph_stream_flush(x->io);
        session_end(x);
        is_int(queue.commits, commits, "leaving at step %d queues nothing", how);
        is_int(queue.begun, queue.ended, "and gives the slot back");
    }
}

static void test_hostile(void)
{
    static const char *const first[] = { "rcpt", "content", "end", "nonsense", "" };

    for (size_t i = 0; i < 5; i++) {
        PH_SCOPED(s, NULL);
        struct session *x = session_start(s, "");

        SEND(x, "op", first[i]);
        ph_stream_flush(x->io);
        ph_group_wait(x->g, PH_FOREVER);
        is_int(x->rc, PH_PERM, "\"%s\" without a message ends the connection", first[i]);
        session_end(x);
    }
    PH_SCOPED(s, NULL);
    struct session *x = session_start(s, "");
    begin(x, "remote", "s@a.test", "");
    SEND(x, "op", "content");
    ph_stream_flush(x->io);
    ph_group_wait(x->g, PH_FOREVER);
    is_int(x->rc, PH_PERM, "so does content without a length");
    session_end(x);
    x = session_start(s, "");
    begin(x, "remote", "s@a.test", "");
    SEND(x, "op", "content", "bytes", "18446744073709551615");
    send_content(x, PH_STR("short"), 5);
    session_end(x);
    ok(x->rc == PH_EOF || x->rc == 0, "a length that is never sent is waited for, not allocated");
}

static void test_configuration(void)
{
    PH_SCOPED(s, NULL);
    struct ph_service v = { .scope = s, .ops = &service_cleanup_LTX_ph_plugin, .name = "cleanup" };

    ph_conf_parse(s, "/tmp", "main.cf", PH_STR("myhostname = mx.test\nnon_empty_end_of_header_action = reject\n"), &v.conf);
    is_int(service_cleanup_LTX_ph_plugin.open(&v), PH_CONF, "an action that is not built is an error");
    ok(strstr(ph_error(), "not built yet") != NULL, "that says so");
}

static char log_path[] = "/tmp/ph-cleanup-XXXXXX";

static ph_str log_text(struct ph_scope *s)
{
    char *mem = ph_alloc(s, 1 << 20);
    FILE *f = fopen(log_path, "r");
    size_t n = fread(mem, 1, (1 << 20) - 1, f);

    fclose(f);
    return (ph_str){ mem, n };
}

static void test_log(void)
{
    PH_SCOPED(s, NULL);
    struct ph_log_options o = { .file = log_path, .service = "cleanup", .host = "mx.test" };
    struct session *x;

    close(mkstemp(log_path));
    is_int(ph_log_open(&o), 0, "a log file");
    x = session_start(s, "body_checks = inline:{x=y}");
    pass(x, "remote", "s@a.test", PH_STR("Message-ID:\r\n  <1@b>\r\n\r\n"), 100);
    pass(x, "remote", "s@a.test", PH_STR("A: b\r\n\r\n"), 100);
    begin(x, "remote", "s@a.test", "");
    session_end(x);
    ph_str text = log_text(s);
    ok(ph_str_search(text, PH_STR(": " ID ": message-id=<1@b>\n")) > 0, "message-id is logged, unfolded");
    ok(ph_str_search(text, PH_STR(": " ID ": message-id=<>\n")) > 0, "also when there is none");
    ok(ph_str_search(text, PH_STR("removed (canceled)")) > 0, "a message that was given up is logged");
    ok(ph_str_search(text, PH_STR("warning: body_checks = inline:{x=y} has no effect")) > 0, "a setting that does nothing yet is said");
    ok(ph_str_search(text, PH_STR(" mx postfix/cleanup[")) > 0, "in the form log tools know");
    unlink(log_path);
}

static int all(void *arg PH_UNUSED)
{
    test_content();
    test_envelope();
    test_envelopes();
    test_notify();
    test_rewriting();
    test_many_addresses();
    test_utf8();
    test_duplicates();
    test_many_headers();
    test_failures();
    test_leaving();
    test_hostile();
    test_configuration();
    test_log();
    return 0;
}

static char dir[] = "/tmp/posthorn-cleanup-XXXXXX";

static void put_text(struct ph_scope *s, const char *name, const char *text)
{
    FILE *f = fopen(ph_str_printf(s, "%s/%s", dir, name).p, "w");

    if (!f || fputs(text, f) < 0 || fclose(f) != 0)
        ph_die("%s", name);
}

/* The tables are the built plugins. */
static void install(struct ph_scope *s, const char *folder, const char *name)
{
    char real[PATH_MAX];

    if (!realpath(ph_str_printf(s, "%s/plugins/table/%s/.libs/table_%s.so", build_dir(), folder, name).p, real))
        ph_die("table_%s.so is not built", name);
    put_text(s, ph_str_printf(s, "plugins.d/%s.yaml", name).p,
             ph_str_printf(s, "format: 1\nkind: table\nname: %s\nobject: %s\n", name, real).p);
}

int main(void)
{
    PH_SCOPED(s, NULL);
    struct ph_conf *conf;

    umask(022);
    if (!mkdtemp(dir) || mkdir(ph_str_printf(s, "%s/plugins.d", dir).p, 0700) < 0)
        ph_die("%s", dir);
    install(s, "inline", "inline");
    install(s, "static", "static");
    install(s, "fail", "fail");
    install(s, "pattern", "pcre");      /* not regexp: ASan thinks that regexec reads up to a NUL */
    ph_registry_data_dir(dir);
    if (ph_conf_parse(s, dir, "main.cf", PH_STR(""), &conf) < 0 || ph_registry_open(conf) < 0)
        ph_die("%s", ph_error());
    is_int(ph_run_main(all, NULL), 0, "the loop ends");
    if (system(ph_str_printf(s, "rm -rf %s", dir).p) != 0)
        printf("# left behind: %s\n", dir);
    return done_testing();
}
