/* t/plugin/bounce.c: the bounce service: its logs, torn at every byte, and its
 * notices.  The test stands in for cleanup and for the message file. */
#include "t/unit/tap.h"
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/client.h>
#include "core/conf/conf.h"
#include "core/run/loop.h"
#include "plugins/service/bounce/bounce.h"

extern const struct ph_service_plugin service_bounce_LTX_ph_plugin;

/* ---- the message ---- */

static const char header[] = "From: alice@example.org\r\nMessage-ID: <orig@x>\r\nSubject: hello\r\n";
static const char body[] = "the body\r\n";
static struct ph_message message;
static struct ph_message_rcpt rcpts[4];
static int unreadable;

int ph_message_open(struct ph_scope *s PH_UNUSED, int fd, ph_str id, struct ph_message **m)
{
    message.fd = fd;
    message.queue_id = id;
    *m = &message;
    return 0;
}

int64_t ph_message_read(const struct ph_message *m PH_UNUSED, uint64_t offset, void *p, size_t n)
{
    char all[sizeof header + sizeof body + 2];
    size_t len = (size_t)snprintf(all, sizeof all, "%s\r\n%s", header, body);

    if (unreadable)
        return PH_TEMP;
    if (offset >= len)
        return 0;
    if (n > len - offset)
        n = len - (size_t)offset;
    memcpy(p, all + offset, n);
    return (int64_t)n;
}

uint64_t ph_message_bytes(const struct ph_message *m)
{
    return m->header_bytes + 2 + m->body_bytes;
}

/* ---- cleanup ---- */

static struct ph_group *group;
static struct { int mails; char sender[64], to[64], notify[16], flags[32], text[4 << 20]; int refuse, no_body; } got;

static int cleanup_step(struct ph_stream *io, struct ph_scope *s, struct ph_frame *f)
{
    ph_str op = ph_frame_value(f, "op");
    struct ph_frame *reply = ph_frame_new(s);
    uint64_t n;

    if (ph_str_eq(op, PH_STR("rcpt"))) {
        snprintf(got.to, sizeof got.to, "%.*s", PH_FMT(ph_frame_value(f, "address")));
        snprintf(got.notify, sizeof got.notify, "%.*s", PH_FMT(ph_frame_value(f, "dsn_notify")));
        return 0;
    }
    if (ph_str_eq(op, PH_STR("content"))) {
        size_t at = strlen(got.text);

        ph_frame_get_u64(f, "bytes", &n);
        return at + n < sizeof got.text ? ph_stream_read(io, got.text + at, (size_t)n) : PH_PERM;
    }
    if (ph_str_eq(op, PH_STR("begin"))) {
        snprintf(got.sender, sizeof got.sender, "<%.*s>", PH_FMT(ph_frame_value(f, "sender")));
        snprintf(got.flags, sizeof got.flags, "%.*s", PH_FMT(ph_frame_value(f, "flags")));
        memset(got.text, 0, strlen(got.text));
        ph_frame_cstr(reply, "queue_id", "4NEWID");
    } else {
        got.mails += got.refuse ? 0 : 1;
        if (got.no_body && strstr(got.text, "the body")) {
            got.mails--;
            ph_frame_cstr(reply, "status", "perm");
            ph_frame_send(io, reply);
            return ph_stream_flush(io);
        }
    }
    ph_frame_cstr(reply, "status", got.refuse ? "temp" : "ok");
    ph_frame_cstr(reply, "reason", "451 4.3.0 no");
    ph_frame_send(io, reply);
    return ph_stream_flush(io);
}

static void cleanup_task(void *arg)
{
    struct ph_stream *io = arg;
    int rc = 0;

    while (rc >= 0) {
        PH_SCOPED(s, NULL);
        struct ph_frame *f;

        if ((rc = ph_frame_recv(io, s, 0, &f)) >= 0)
            rc = cleanup_step(io, s, f);
    }
    ph_stream_close(io);
}

static struct ph_scope *stage;

int ph_service_dial(struct ph_scope *s, const char *name PH_UNUSED, struct ph_stream **io)
{
    struct ph_stream *far;

    ph_stream_pair(s, ph_scope_new(stage), 0, io, &far);
    return ph_spawn(group, "cleanup", cleanup_task, far);
}

int ph_service_call(struct ph_scope *s PH_UNUSED, const char *name PH_UNUSED,
                    const struct ph_frame *request PH_UNUSED, struct ph_frame **reply PH_UNUSED)
{
    return PH_TEMP;
}

/* ---- pure ---- */

static struct log_record record(uint32_t index, const char *rcpt, const char *text)
{
    static char number[4][12];
    static int turn;
    char *n = number[turn++ & 3];
    struct log_record r = { .index = index };

    snprintf(n, sizeof number[0], "%u", index);
    r.f[LOG_INDEX] = ph_cstr(n);
    r.f[LOG_RECIPIENT] = ph_cstr(rcpt);
    r.f[LOG_DSN] = PH_STR("5.1.1");
    r.f[LOG_TEXT] = ph_cstr(text);
    return r;
}

static void test_records(void)
{
    PH_SCOPED(s, NULL);
    struct ph_buf a, b, c;
    struct log_record one = record(0, "a@x", "line\nbreak \\x41 \001"), two = record(1, "b@x", "second"),
                      three = record(2, "c@x", "third"), *list;
    size_t n, bad = 0;

    ph_buf_init(&a, s, 10000);
    ph_buf_init(&b, s, 10000);
    ph_buf_init(&c, s, 10000);
    log_format(&a, &one);
    log_parse(s, ph_buf_view(&a), &list, &n);
    is_int(n, 1, "a record is read back");
    is_bytes(list[0].f[LOG_TEXT], "line\nbreak \\x41 \001", "with every byte of its text");
    log_format(&b, &two);
    log_format(&c, &three);
    for (size_t cut = 0; cut < b.n; cut++) {
        struct ph_buf all;

        ph_buf_init(&all, s, 10000);
        ph_buf_str(&all, ph_buf_view(&a));
        ph_buf_str(&all, ph_str_first(ph_buf_view(&b), cut));
        ph_buf_str(&all, ph_buf_view(&c));
        log_parse(s, ph_buf_view(&all), &list, &n);
        if (n < 2 || list[0].index != 0 || list[n - 1].index != 2 || (n == 3 && cut < b.n - 2))
            bad++;
    }
    is_int(bad, 0, "a record torn at any byte costs neither the one before nor the one behind it");
    c.p[10] ^= 1;
    log_parse(s, ph_buf_view(&c), &list, &n);
    is_int(n, 0, "a changed byte is seen");
    log_parse(s, PH_STR("\n\n\nindex=5\n\nsum=\n\nx"), &list, &n);
    is_int(n, 0, "noise gives nothing");
}

static void test_names(void)
{
    static const struct { const char *id; int good; } cases[] = {
        { "4Bq2rS5mXFzQ1z", 1 }, { "C3CD21F3E90", 1 }, { "../../x", 0 }, { "a/b/c/d", 0 }, { "", 0 }, { "abc", 0 }, { ".hidden", 0 },
    };
    struct ph_service v = { .queue_dir_fd = -1 };
    struct bounce b = { .service = &v, .p = { .hash_names = PH_STR("deferred, defer"), .hash_depth = 2 } };
    PH_SCOPED(s, NULL);

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        is_int(log_id_is_valid(ph_cstr(cases[i].id)), cases[i].good, "id \"%s\"", cases[i].id);
    is_bytes(log_path(&b, s, PH_STR("bounce"), PH_STR("4Bq2rS5mXFzQ1z")), "bounce/4Bq2rS5mXFzQ1z", "bounce is flat");
    ok(log_path(&b, s, PH_STR("defer"), PH_STR("4Bq2rS5mXFzQ1z")).n == strlen("defer/0/0/4Bq2rS5mXFzQ1z"), "defer is hashed");
}

/* ---- the service ---- */

static struct ph_service service;

static struct ph_frame *ask(struct ph_scope *s, struct ph_stream *io, struct ph_frame *f)
{
    struct ph_frame *reply = NULL;

    ph_frame_send(io, f);
    ph_stream_flush(io);
    ph_frame_recv(io, s, 0, &reply);
    return reply;
}

static struct ph_frame *request(struct ph_scope *s, const char *op, const char *log)
{
    struct ph_frame *f = ph_frame_new(s);

    ph_frame_cstr(f, "op", op);
    ph_frame_cstr(f, "queue_id", "4Bq2rS5mXFzQ1z");
    if (log)
        ph_frame_cstr(f, "log", log);
    return f;
}

static void put(struct ph_frame *f, unsigned index, const char *rcpt, const char *dsn, const char *text)
{
    ph_frame_u64(f, "index", index);
    ph_frame_cstr(f, "recipient", rcpt);
    ph_frame_cstr(f, "dsn", dsn);
    ph_frame_cstr(f, "text", text);
}

static ph_str status(const struct ph_frame *f)
{
    return f ? ph_frame_value(f, "status") : PH_STR("no answer");
}

static void test_logs(struct ph_scope *s, struct ph_stream *io)
{
    struct ph_frame *f = request(s, "append", "defer");

    put(f, 0, "bad@x", "4.4.1", "first words");
    put(f, 1, "old@x", "4.4.1", "too slow");
    is_bytes(status(ask(s, io, f)), "ok", "append two records at once");
    f = request(s, "append", "defer");
    put(f, 0, "bad@x", "4.4.2", "later words");
    ask(s, io, f);
    f = ask(s, io, request(s, "read", "defer"));
    is_bytes(ph_frame_value(f, "text"), "later words", "the last record of a recipient counts");
    f = request(s, "append", "bounce");
    put(f, 0, "bad@x", "5.1.1", "host mx[192.0.2.7] said: 550 5.1.1 No such user (in reply to RCPT TO command)");
    ph_frame_cstr(f, "diagnostic_type", "smtp");
    ph_frame_cstr(f, "diagnostic", "550 5.1.1 No such user");
    ph_frame_cstr(f, "remote_mta_type", "dns");
    ph_frame_cstr(f, "remote_mta", "mx");
    is_bytes(status(ask(s, io, f)), "ok", "append to bounce");
    is_bytes(status(ask(s, io, request(s, "append", "bounce"))), "perm", "append without a record is refused");
    is_bytes(status(ask(s, io, request(s, "read", "../x"))), "perm", "an unknown log is refused");
    f = ph_frame_new(s);
    ph_frame_cstr(f, "op", "read");
    ph_frame_cstr(f, "log", "defer");
    ph_frame_cstr(f, "queue_id", "../../etc/x");
    is_bytes(status(ask(s, io, f)), "perm", "a path is no queue id");
}

static struct ph_frame *notify(struct ph_scope *s, struct ph_stream *io, const char *kind)
{
    struct ph_frame *f = request(s, "notify", NULL), *reply;
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    ph_frame_cstr(f, "kind", kind);
    ph_frame_fd(f, fd);
    reply = ask(s, io, f);
    close(fd);
    return reply;
}

static void has(const char *text, const char *what)
{
    if (!ok(strstr(got.text, text) != NULL, "%s", what))
        printf("# missing: %s\n# in:\n%s\n", text, got.text);
}

static void set_states(const char *states)
{
    static const char *const names[] = { "bad@x", "old@x", "never@x", "fine@x" };

    message.rcpt = rcpts;
    message.rcpt_count = 4;
    for (int i = 0; i < 4; i++)
        rcpts[i] = (struct ph_message_rcpt){ .address = ph_cstr(names[i]), .state = (uint32_t)states[i] };
    rcpts[2].dsn_notify = PH_STR("NEVER");
    rcpts[0].original = PH_STR("alias@x");
}

static void test_failure(struct ph_scope *s, struct ph_stream *io)
{
    set_states("FFFD");
    message.sender = PH_STR("alice@example.org");
    is_bytes(status(notify(s, io, "bounce")), "ok", "a notice is committed");
    is_bytes(ph_cstr(got.sender), "<>", "from the null sender");
    is_bytes(ph_cstr(got.to), "alice@example.org", "to the sender");
    is_bytes(ph_cstr(got.notify), "", "without a NOTIFY: the null sender says enough");
    has("From: Mail Delivery System <MAILER-DAEMON@origin.example>\r\n", "From");
    has("Subject: Undelivered Mail Returned to Sender\r\n", "Subject");
    has("Auto-Submitted: auto-replied\r\n", "Auto-Submitted");
    has("Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"4Bq2rS5mXFzQ1z.", "Content-Type");
    has("<bad@x> (expanded from <alias@x>): host mx[192.0.2.7] said: 550 5.1.1 No such\r\n    user (in reply to RCPT TO command)\r\n", "words, folded");
    has("Reporting-MTA: dns; mx.example\r\nX-Posthorn-Queue-ID: 4Bq2rS5mXFzQ1z\r\nX-Posthorn-Sender: rfc822; alice@example.org\r\nArrival-Date: ", "fields of the message");
    has("\r\n\r\nFinal-Recipient: rfc822; bad@x\r\nOriginal-Recipient: rfc822;alias@x\r\nAction: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; mx\r\nDiagnostic-Code: smtp; 550 5.1.1 No such user\r\n", "fields of a recipient");
    has("Final-Recipient: rfc822; old@x\r\nOriginal-Recipient: rfc822;old@x\r\nAction: failed\r\nStatus: 4.4.1\r\nDiagnostic-Code: X-Posthorn; too slow\r\n", "an expired recipient has the words of the last deferral");
    ok(!strstr(got.text, "never@x") && !strstr(got.text, "fine@x"), "NOTIFY=NEVER and who was delivered are not listed");
    has("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nReturn-Path: <alice@example.org>\r\nFrom: alice@example.org\r\n", "the original");
    has("\r\n\r\nthe body\r\n\r\n--4Bq2rS5mXFzQ1z.", "whole");
    ok(!strstr(got.text, "\n\n") && !strstr(got.text, "\r\r"), "every line ends with CRLF");
}

static void test_others(struct ph_scope *s, struct ph_stream *io)
{
    int mails = got.mails;

    set_states("DDFD");
    is_bytes(status(notify(s, io, "bounce")), "ok", "nobody wants to hear of it: done");
    is_int(got.mails, mails, "without a notice");
    set_states("FDDD");
    message.sender = PH_STR("");
    is_bytes(status(notify(s, io, "bounce")), "ok", "the null sender: done");
    is_int(got.mails, mails, "and not answered");
    message.sender = PH_STR("double-bounce@mx.example");
    is_bytes(status(notify(s, io, "bounce")), "ok", "what came from the double bounce sender: done");
    is_int(got.mails, mails, "and dropped");
    message.sender = PH_STR("alice@example.org");
    message.dsn_ret = PH_STR("HDRS");
    notify(s, io, "bounce");
    has("Content-Description: Undelivered Message Headers\r\nContent-Type: text/rfc822-headers\r\n", "RET=HDRS: the header only");
    ok(!strstr(got.text, "the body"), "and not the body");
    message.dsn_ret = PH_STR("");
    set_states("DPDD");
    is_bytes(status(notify(s, io, "delay")), "ok", "a delay warning");
    has("Action: delayed\r\nStatus: 4.4.1\r\n", "says so");
    has("Will-Retry-Until: ", "and until when");
    set_states("DDDF");
    notify(s, io, "bounce");
    has("the reason was not recorded", "a failed recipient without a record is reported in general words");
    got.refuse = 1;
    is_bytes(status(notify(s, io, "bounce")), "temp", "cleanup refuses: the notice is still owed");
    got.refuse = 0;
    is_bytes(status(ask(s, io, request(s, "notify", NULL))), "perm", "notify without a message is refused");
    is_bytes(status(ask(s, io, request(s, "remove", NULL))), "ok", "remove all logs");
    ok(ph_frame_value(ask(s, io, request(s, "read", "defer")), "text").n == 0, "nothing is left to read");
    is_bytes(status(ask(s, io, request(s, "explode", NULL))), "perm", "an unknown request is refused");
}

/* Members of an alias: several records of one recipient, of the attempt that came last. */
static void test_members(struct ph_scope *s, struct ph_stream *io)
{
    struct ph_frame *f = request(s, "append", "defer");

    ask(s, io, request(s, "remove", NULL));
    put(f, 1, "gone@x", "4.2.1", "an older attempt");
    put(f, 1, "m1@x", "4.2.1", "an older word");
    ask(s, io, f);
    f = request(s, "append", "defer");
    put(f, 1, "m1@x", "4.4.1", "words of one");
    put(f, 1, "m2@x", "4.4.2", "words of two");
    ph_frame_cstr(f, "original", "old@x");
    ask(s, io, f);
    set_states("DFDD");
    rcpts[1].dsn_orcpt = PH_STR("rfc822;first@else");
    message.sender = PH_STR("alice@example.org");
    notify(s, io, "bounce");
    has("<m1@x>: words of one\r\n\r\n<m2@x> (expanded from <old@x>): words of two\r\n", "an alias: each member that failed");
    has("Final-Recipient: rfc822; m2@x\r\nOriginal-Recipient: rfc822;first@else\r\nAction: failed\r\nStatus: 4.4.2\r\n", "with its fields");
    ok(!strstr(got.text, "gone@x") && !strstr(got.text, "older"), "those of an older attempt are not listed");
    f = request(s, "append", "bounce");
    put(f, 1, "m3@x", "5.1.1", "the end");
    ask(s, io, f);
    notify(s, io, "bounce");
    has("<m3@x>: the end\r\n", "a failure");
    ok(!strstr(got.text, "m1@x"), "comes before deferrals");
}

static void put_trace(struct ph_frame *f, unsigned index, const char *rcpt, const char *action, const char *relay)
{
    put(f, index, rcpt, "2.0.0", "words");
    ph_frame_cstr(f, "action", action);
    ph_frame_cstr(f, "relay", relay);
}

static void test_trace(struct ph_scope *s, struct ph_stream *io)
{
    struct ph_frame *f = request(s, "append", "trace");
    int mails = got.mails;

    ask(s, io, request(s, "remove", NULL));
    is_bytes(status(notify(s, io, "trace")), "ok", "no trace log: done");
    is_int(got.mails, mails, "without a report");
    put_trace(f, 0, "bad@x", "delivered", "virtual");
    put_trace(f, 1, "old@x", "relayed", "none");
    put_trace(f, 3, "fine@x", "delivered", "mx[192.0.2.7]:25");
    put_trace(f, LOG_NO_INDEX, "list@x", "expanded", "none");
    put_trace(f, 77, "stray@x", "delivered", "none");
    ask(s, io, f);
    set_states("PDDD");
    is_bytes(status(notify(s, io, "trace")), "ok", "a report of success");
    has("Subject: Successful Mail Delivery Report\r\n", "its subject");
    has("<old@x>: words\r\n\r\n<fine@x>: delivery via mx[192.0.2.7]:25: words\r\n", "where it went");
    has("Action: relayed\r\n", "the action of the record");
    has("Final-Recipient: rfc822; list@x\r\nOriginal-Recipient: rfc822;list@x\r\nAction: expanded\r\n", "an alias that is no recipient any more");
    has("Content-Description: Message Headers\r\nContent-Type: text/rfc822-headers\r\n", "the header only");
    ok(!strstr(got.text, "bad@x"), "a record of a recipient that is not marked delivered does not count");
    ok(!strstr(got.text, "stray@x"), "nor one of a recipient that the message does not have");
    message.trace_flags = PH_STR("record");
    notify(s, io, "trace");
    has("Subject: Mail Delivery Status Report\r\n", "sendmail -v: its subject");
    message.trace_flags = PH_STR("");
    message.sender = PH_STR("");
    mails = got.mails;
    notify(s, io, "trace");
    is_int(got.mails, mails, "the null sender gets no report");
    message.sender = PH_STR("alice@example.org");
}

/* What would break the notice. */
static void test_hostile(struct ph_scope *s, struct ph_stream *io)
{
    struct ph_frame *f = request(s, "append", "bounce");
    char text[3001], *part;
    size_t longest = 0;

    ask(s, io, request(s, "remove", NULL));
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    put(f, 0, "", "5.1.3", text);
    put(f, 1, "a\r\nX: y@x", "5.1.3", "line\r\nSubject: injected");
    put(f, 3, "fine@x", "5.1.1", "two  blanks \xff");
    ask(s, io, f);
    set_states("FFDF");
    message.envelope_id = PH_STR("id\r\nX-Evil: 1");
    is_bytes(status(notify(s, io, "bounce")), "ok", "odd recipients, replies and ids");
    has("\r\n<>: ", "a null recipient is reported");
    ok(!strstr(got.text, "\nX: y") && !strstr(got.text, "\nSubject: injected") && !strstr(got.text, "\nX-Evil"), "a line end in a value makes no line");
    has("two  blanks ?\r\n", "blanks stay, a byte that is not ASCII does not");
    for (const char *at = got.text; (part = strstr(at, "\r\n")); at = part + 2)
        if ((size_t)(part - at) > longest)
            longest = (size_t)(part - at);
    ok(longest <= 998, "no line is longer than 998 bytes");
    message.envelope_id = PH_STR("");
    message.fd = -1;
}

/* Neither the log nor the message can be read: the best notice that is possible. */
static void test_unreadable(struct ph_scope *s, struct ph_stream *io)
{
    static const char log[] = "bounce/4Bq2rS5mXFzQ1z";
    int dir = service.queue_dir_fd, mails = got.mails;

    ask(s, io, request(s, "remove", NULL));
    set_states("FDDD");
    is_int(mkdirat(dir, log, 0700), 0, "a log that is no file");
    unreadable = 1;
    is_bytes(status(notify(s, io, "bounce")), "ok", "and a message that cannot be read");
    is_int(got.mails, mails + 1, "are no reason for silence");
    has("<bad@x> (expanded from <alias@x>): delivery failed; the reason was not recorded\r\n", "who failed is said");
    has("Content-Type: text/rfc822-headers\r\n", "what could not be read is left out");
    unreadable = 0;
    unlinkat(dir, log, AT_REMOVEDIR);
}

static void test_size(struct ph_scope *s, struct ph_stream *io)
{
    int mails = got.mails;

    message.fd = 0;
    set_states("FDDD");
    got.no_body = 1;
    is_bytes(status(notify(s, io, "bounce")), "ok", "cleanup finds the notice too large");
    is_int(got.mails, mails + 1, "it is sent");
    has("Content-Type: text/rfc822-headers\r\n", "with the header only");
    got.no_body = 0;
    is_bytes(ph_cstr(got.flags), "bounce map filter", "through filters when internal_mail_filter_classes has bounce");
}

/* More recipients than one notice holds. */
static void test_many(struct ph_scope *s, struct ph_stream *io)
{
    enum { MANY = 2500 };
    struct ph_message_rcpt *list = ph_alloc_array(s, MANY, sizeof *list);
    int mails = got.mails;

    ask(s, io, request(s, "remove", NULL));
    for (uint32_t i = 0; i < MANY; i++)
        list[i] = (struct ph_message_rcpt){ .address = ph_str_printf(s, "u%u@x", i), .state = PH_STATE_FAILED };
    message.rcpt = list;
    message.rcpt_count = MANY;
    is_bytes(status(notify(s, io, "bounce")), "ok", "%d recipients fail", MANY);
    is_int(got.mails - mails, 3, "three notices, none without bounds");
    has("Final-Recipient: rfc822; u2499@x\r\n", "the last one has the last recipient");
}

static void serve_task(void *arg)
{
    service.ops->serve(&service, stage, arg, NULL);
}

static int run(void *arg)
{
    PH_SCOPED(s, NULL);
    struct ph_stream *near, *far;
    struct ph_conf *conf;
    int rc;

    stage = s;
    group = ph_group_new(s);
    service = (struct ph_service){ .scope = s, .ops = &service_bounce_LTX_ph_plugin, .name = "bounce",
                                   .queue_dir_fd = *(int *)arg };
    if ((rc = ph_conf_parse(s, "/", "main.cf", PH_STR("myhostname = mx.example\nmyorigin = origin.example\nsmtputf8_enable = yes\ninternal_mail_filter_classes = bounce\n"), &conf)) < 0)
        return rc;
    service.conf = conf;
    if ((rc = service.ops->open(&service)) < 0)
        return puts(ph_error()), rc;
    message.header_bytes = sizeof header - 1;
    message.body_bytes = sizeof body - 1;
    message.arrival_us = 1790000000000000;
    ph_stream_pair(s, s, 0, &near, &far);
    ph_spawn(group, "serve", serve_task, far);
    test_logs(s, near);
    test_failure(s, near);
    test_others(s, near);
    test_members(s, near);
    test_trace(s, near);
    test_hostile(s, near);
    test_unreadable(s, near);
    test_size(s, near);
    test_many(s, near);
    ph_stream_close(near);
    ph_group_cancel(group);
    return ph_group_wait(group, PH_FOREVER);
}

static int rm(const char *path, const struct stat *st PH_UNUSED, int kind PH_UNUSED, struct FTW *f PH_UNUSED)
{
    return remove(path);
}

int main(void)
{
    char dir[64];
    int fd;

    snprintf(dir, sizeof dir, "%s/bounce-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    if (!mkdtemp(dir) || (fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        return 1;
    test_records();
    test_names();
    is_int(ph_run_main(run, &fd), 0, "the service ends in order");
    nftw(dir, rm, 10, FTW_DEPTH | FTW_PHYS);
    close(fd);
    return done_testing();
}
