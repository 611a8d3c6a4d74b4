/* t/unit/transcript.c: transcripts of sessions for the postmaster.  The test
 * stands in for cleanup. */
#include "tap.h"
#include <inttypes.h>
#include <posthorn/client.h>
#include <posthorn/error.h>
#include <posthorn/transcript.h>
#include "core/conf/conf.h"
#include "core/run/loop.h"

static struct ph_group *group;
static struct ph_scope *stage;
static struct { int mails, refuse; char sender[64], to[64], notify[16], flags[32], text[65536]; } got;

static int cleanup_step(struct ph_stream *io, struct ph_scope *s, struct ph_frame *f)
{
    ph_str op = ph_frame_value(f, "op");
    struct ph_frame *reply = ph_frame_new(s);
    uint64_t n = 0;

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
        snprintf(got.sender, sizeof got.sender, "%.*s", PH_FMT(ph_frame_value(f, "sender")));
        snprintf(got.flags, sizeof got.flags, "%.*s", PH_FMT(ph_frame_value(f, "flags")));
        memset(got.text, 0, sizeof got.text);
        ph_frame_cstr(reply, "queue_id", "4NEWID");
    } else {
        got.mails += got.refuse ? 0 : 1;
    }
    ph_frame_cstr(reply, "status", got.refuse ? "temp" : "ok");
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

int ph_service_dial(struct ph_scope *s, const char *name PH_UNUSED, struct ph_stream **io)
{
    struct ph_stream *far;

    ph_stream_pair(s, ph_scope_new(stage), 0, io, &far);
    return ph_spawn(group, "cleanup", cleanup_task, far);
}

static void has(const char *text, const char *what)
{
    if (!ok(strstr(got.text, text) != NULL, "%s", what))
        printf("# missing: %s\n# in:\n%s\n", text, got.text);
}

static struct ph_transcript_rules *rules(struct ph_scope *s, const char *settings)
{
    struct ph_transcript_rules *r = NULL;
    struct ph_conf *c;

    ok(ph_conf_parse(s, "/", "main.cf", ph_cstr(settings), &c) == 0 && ph_transcript_setup(c, s, "SMTP server", &r) == 0, "setup");
    return r;
}

static void test_session(struct ph_scope *s, const struct ph_transcript_rules *r)
{
    struct ph_transcript *t = ph_transcript_new(s, r, PH_ERROR_POLICY | PH_ERROR_RESOURCE, PH_STR("client.test[192.0.2.1]"));

    ph_transcript_out(t, PH_STR("220 mx.example ESMTP"));
    ph_transcript_in(t, PH_STR("EHLO \001\xff x\r\n"));
    ph_transcript_out(t, PH_STR("250-mx.example\r\n250 SIZE\r\n"));
    ph_transcript_in(t, PH_STR(""));
    is_int(ph_transcript_send(t, ""), 0, "no error: done");
    ph_transcript_error(t, PH_ERROR_RESOURCE);
    is_int(ph_transcript_send(t, ""), 0, "an error of another class: done");
    is_int(got.mails, 0, "and nobody is told");
    ph_transcript_error(t, PH_ERROR_POLICY);
    is_int(ph_transcript_send(t, "lost connection"), 0, "an error that the postmaster wants to hear of");
    is_int(got.mails, 1, "is told");
    is_bytes(ph_cstr(got.sender), "double-bounce@mx.example", "from the double bounce sender of this host");
    is_bytes(ph_cstr(got.to), "errors@origin.example", "to error_notice_recipient");
    is_bytes(ph_cstr(got.notify), "NEVER", "and never answered");
    is_bytes(ph_cstr(got.flags), "bounce map filter", "filtered when internal_mail_filter_classes has notify");
    has("From: Mail Delivery System <MAILER-DAEMON@origin.example>\r\nTo: Postmaster <errors@origin.example>\r\n"
        "Subject: Posthorn SMTP server: errors from client.test[192.0.2.1]\r\nAuto-Submitted: auto-generated\r\nMessage-Id: <", "header");
    has(" Out: 220 mx.example ESMTP\r\n In:  EHLO ?? x\r\n Out: 250-mx.example\r\n Out: 250 SIZE\r\n In:  \r\n", "what was said");
    has("\r\n\r\nTranscript of session follows.\r\n", "is announced");
    has("\r\nSession aborted, reason: lost connection\r\n", "the reason of an early end");
    got.refuse = 1;
    is_int(ph_transcript_send(t, ""), PH_TEMP, "cleanup refuses: said so");
    got.refuse = 0;
    t = ph_transcript_new(s, r, PH_ERROR_POLICY, PH_STR("x[192.0.2.1]"));
    ph_transcript_out(t, PH_STR("250 ok"));
    ph_transcript_reset(t);
    ph_transcript_error(t, PH_ERROR_DATA);
    is_int(ph_transcript_send(t, ""), 0, "after reset nothing is left");
    is_int(got.mails, 1, "and nothing told");
    ph_transcript_error(t, PH_ERROR_POLICY);
    ph_transcript_reset(t);
    is_int(ph_transcript_send(t, ""), 0, "but an error stays");
    is_int(got.mails, 2, "and is told");
    ph_transcript_error(t, PH_ERROR_POLICY);
    ph_transcript_sender(t, PH_STR("Double-Bounce@mx.example"));
    is_int(ph_transcript_send(t, ""), 0, "mail that is itself a notice to the postmaster");
    is_int(got.mails, 2, "makes no other");
}

static void test_bounds(struct ph_scope *s, const struct ph_transcript_rules *r)
{
    struct ph_transcript *t = ph_transcript_new(s, r, PH_ERROR_POLICY, PH_STR("x[192.0.2.2]"));
    size_t before = ph_scope_bytes(s);
    char *line = ph_alloc(s, 5000);

    memset(line, 'y', 4999);
    for (int i = 0; i < 20000; i++)
        ph_transcript_in(t, ph_str_printf(s, "line %d end", i));
    ph_transcript_in(t, ph_cstr(line));
    ph_transcript_error(t, PH_ERROR_POLICY);
    ph_transcript_send(t, "");
    has(" In:  line 0 end\r\n In:  line 1 end\r\n", "a long session: how it began");
    has(" [lines are left out here]\r\n In:  line ", "what is left out is said");
    has(" In:  line 19999 end\r\n In:  yyyy", "and how it ended");
    ok(strlen(got.text) < 30000, "within bounds");
    ok(before > 0, "and it has a home");
}

/* Strangers decide how many sessions fail. */
static void test_flood(struct ph_scope *s, const struct ph_transcript_rules *r)
{
    unsigned before = (unsigned)got.mails;

    for (int i = 0; i < 500; i++) {
        struct ph_transcript *t = ph_transcript_new(s, r, PH_ERROR_POLICY, PH_STR("x[192.0.2.3]"));

        ph_transcript_error(t, PH_ERROR_POLICY);
        ph_transcript_send(t, "");
    }
    ok((unsigned)got.mails > before && got.mails <= 100, "500 sessions that fail: %d notices", (int)got.mails);
}

static int run(void *arg PH_UNUSED)
{
    PH_SCOPED(s, NULL);

    stage = s;
    group = ph_group_new(s);
    struct ph_transcript_rules *r = rules(s, "myhostname = mx.example\nmyorigin = origin.example\nnotify_classes = bounce, Policy,protocol\nerror_notice_recipient = errors\n"
                                             "internal_mail_filter_classes = notify\n");

    ok(!ph_transcript_new(s, r, PH_ERROR_RESOURCE | PH_ERROR_SOFTWARE | PH_ERROR_DATA, PH_STR("x")), "classes that nobody wants to hear of cost nothing");
    ph_transcript_in(NULL, PH_STR("x"));
    ph_transcript_out(NULL, PH_STR("x"));
    ph_transcript_error(NULL, PH_ERROR_DATA);
    ph_transcript_sender(NULL, PH_STR("x"));
    ph_transcript_reset(NULL);
    is_int(ph_transcript_send(NULL, ""), 0, "no transcript: nothing to send");
    ok(ph_transcript_new(s, rules(s, "myhostname = mx.example\n"), PH_ERROR_SOFTWARE, PH_STR("x")) != NULL, "software is wanted by default");
    test_session(s, r);
    test_bounds(s, r);
    test_flood(s, r);
    ph_group_cancel(group);
    return ph_group_wait(group, PH_FOREVER);
}

int main(void)
{
    is_int(ph_run_main(run, NULL), 0, "the stage ends in order");
    return done_testing();
}
