/* acceptor: what stands behind smtpd: the real cleanup over memory streams, and
 * behind that a queue which does as the content says (DISK: cannot be written,
 * SYNC: cannot be made durable, DIE: cleanup ends).  The policy does as the
 * addresses say.  Time stands still. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <posthorn/client.h>
#include <posthorn/error.h>
#include <posthorn/intake.h>
#include <posthorn/log.h>
#include <posthorn/wire.h>
#include "core/conf/conf.h"
#include "core/run/switch.h"
#include "plugins/service/cleanup/cleanup.h"
#include "t/model/model.h"

#define PIPE_BYTES 512u            /* the least: a dead cleanup is noticed within one chunk */

extern const struct ph_service_plugin service_cleanup_LTX_ph_plugin;

struct acceptor acceptor;
static struct ph_service cleanup;
static struct ph_group *conversations;

static void fault(const char *why)
{
    if (!acceptor.why)
        acceptor.why = why;
}

/* ---- the queue ---- */

struct ph_intake {
    ph_str id;
    char client[100], sender[100], to[200], content[MESSAGE_BYTES];
    size_t n;
    int in_body, failed;
    uint32_t rcpts;
};

static void end_intake(void *arg PH_UNUSED)
{
    acceptor.open--;
    ph_cond_broadcast(acceptor.changed);
}

int ph_intake_begin(struct ph_scope *s, uint32_t who, struct ph_intake **q)
{
    int fails = acceptor.fail_begin;

    acceptor.fail_begin = 0;
    if (who != PH_INTAKE_NET)
        fault("smtpd is not the network");
    if (fails)
        return ph_fail(PH_TEMP, "no slot");
    *q = ph_new(s, struct ph_intake);
    (*q)->id = ph_str_printf(s, "%X", 0x100000 + ++acceptor.begun);
    acceptor.open++;
    ph_defer(s, end_intake, NULL);
    return 0;
}

ph_str ph_intake_id(const struct ph_intake *q) { return q->id; }
uint64_t ph_intake_bytes(const struct ph_intake *q) { return q->n; }
uint32_t ph_intake_recipients(const struct ph_intake *q) { return q->rcpts; }
void ph_intake_forget_recipients(struct ph_intake *q PH_UNUSED) { fault("nobody redirects"); }
void ph_intake_facts(struct ph_intake *q PH_UNUSED, uint32_t facts PH_UNUSED) { }
void ph_intake_hold(struct ph_intake *q PH_UNUSED) { fault("nobody holds"); }

int ph_intake_write(struct ph_intake *q, ph_str bytes)
{
    if (q->failed)
        fault("written to after an error");
    q->failed = 1;
    if (q->n + bytes.n > sizeof q->content) {
        fault("more content than can be");
        return ph_fail(PH_TEMP, "no space");
    }
    size_t from = q->n < 3 ? 0 : q->n - 3;         /* a word may come in two pieces */
    memcpy(q->content + q->n, bytes.p, bytes.n);
    q->n += bytes.n;
    if (memmem(q->content + from, q->n - from, "DIE", 3))
        return PH_CANCEL;
    if (memmem(q->content + from, q->n - from, "DISK", 4))
        return ph_fail(PH_TEMP, "no space");
    q->failed = 0;
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
    return ph_intake_write(q, PH_STR("\r\n"));
}

static void keep(char *to, size_t size, ph_str v)
{
    size_t n = v.n < size - 1 ? v.n : size - 1;

    memcpy(to, v.p, n);
    to[n] = 0;
}

void ph_intake_sender(struct ph_intake *q, ph_str a) { keep(q->sender, sizeof q->sender, a); }

int ph_intake_recipient(struct ph_intake *q, ph_str address, ph_str original PH_UNUSED, ph_str orcpt PH_UNUSED, ph_str notify PH_UNUSED)
{
    size_t n = strlen(q->to);

    keep(q->to + n, sizeof q->to - n - 1, address);
    strcat(q->to, " ");
    q->rcpts++;
    return 0;
}

int ph_intake_attr(struct ph_intake *q, const char *name, ph_str value)
{
    if (strcmp(name, "client_address") == 0)
        keep(q->client, sizeof q->client, value);
    return 0;
}

int ph_intake_commit(struct ph_intake *q)
{
    if (q->failed)
        fault("committed after an error");
    if (memmem(q->content, q->n, "SYNC", 4))
        return ph_fail(PH_TEMP, "fdatasync: Input/output error");
    keep(acceptor.id, sizeof acceptor.id, q->id);
    strcpy(acceptor.sender, q->sender);
    strcpy(acceptor.to, q->to);
    strcpy(acceptor.client, q->client);
    memcpy(acceptor.content, q->content, q->n);
    acceptor.n = q->n;
    acceptor.commits++;
    return 0;
}

/* ---- the way to cleanup ---- */

struct conversation {
    struct ph_scope *scope;
    struct ph_stream *io;
};

static void converse(void *arg)
{
    struct conversation *x = arg;
    struct ph_peer peer = { .size = sizeof peer, .inline_ = 1 };

    (void)service_cleanup_LTX_ph_plugin.serve(&cleanup, x->scope, x->io, &peer);
    ph_scope_free(x->scope);       /* as the worker ends a session */
}

int ph_service_dial(struct ph_scope *s, const char *name, struct ph_stream **io)
{
    struct ph_scope *scope = ph_scope_new(NULL);
    struct conversation *x = ph_new(scope, struct conversation);

    if (strcmp(name, "cleanup") != 0)
        fault("smtpd called another service");
    x->scope = scope;
    ph_stream_pair(s, scope, PIPE_BYTES, io, &x->io);
    return ph_spawn(conversations, "cleanup", converse, x);
}

/* rewrite: addresses are whole already. */
int ph_service_call(struct ph_scope *s, const char *name PH_UNUSED, const struct ph_frame *request, struct ph_frame **reply)
{
    struct ph_frame *f = ph_frame_new(s);

    ph_frame_cstr(f, "status", "ok");
    ph_frame_str(f, "address", ph_str_dup(s, ph_frame_value(request, "address")));
    *reply = f;
    return 0;
}

int acceptor_open(struct ph_scope *s, struct ph_conf *conf)
{
    acceptor.changed = ph_cond_new(s);
    conversations = ph_group_new(s);
    cleanup = (struct ph_service){ .scope = s, .ops = &service_cleanup_LTX_ph_plugin, .name = "cleanup", .conf = conf };
    return service_cleanup_LTX_ph_plugin.open(&cleanup);
}

/* Tasks only: what can come comes within a few turns, however busy the machine is. */
int acceptor_settle(unsigned open)
{
    int rc = acceptor.open == open ? 0 : ph_cond_wait(acceptor.changed, ph_in_ms(50));

    for (int i = 0; rc != PH_CANCEL && acceptor.open != open && i < 100; i++)
        rc = ph_yield();
    return acceptor.open == open ? 0 : PH_TIMEOUT;
}

/* ---- policy ---- */

static const char *const names[] = { "check_helo", "check_sender", "reject_unauth_destination", "check_data", "check_end" };

int ph_restriction_has_argument(ph_str name PH_UNUSED) { return PH_NONE; }

int ph_restriction_open(struct ph_conf *c PH_UNUSED, struct ph_scope *s, ph_str name, ph_str argument PH_UNUSED, struct ph_restriction **r)
{
    *r = ph_new(s, struct ph_restriction);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (ph_str_eq(name, ph_cstr(names[i])))
            (*r)->name = names[i];
    return (*r)->name ? 0 : ph_fail(PH_CONF, "no restriction %.*s", PH_FMT(name));
}

static int starts(ph_str v, const char *with) { return ph_str_starts(v, ph_cstr(with)); }

static int say(ph_str *action, const char *text)
{
    *action = ph_cstr(text);
    return PH_FOUND;
}

static int about_sender(const struct ph_policy_facts *f, ph_str *action)
{
    if (acceptor.early && f->stage == PH_STAGE_MAIL && starts(f->sender, "noslot@"))
        acceptor.fail_begin = 1;
    return starts(f->sender, "no@") ? say(action, "550 5.7.1 Sender address rejected") : PH_NONE;
}

static int about_recipient(const struct ph_policy_facts *f, ph_str *action)
{
    if (starts(f->recipient, "noslot@") && f->queue_id.n == 0)
        acceptor.fail_begin = 1;
    if (starts(f->recipient, "fail@"))
        return ph_fail(PH_TEMP, "a table is broken");
    if (starts(f->recipient, "no@"))
        return say(action, "550 5.1.1 <no@x.test>: Recipient address rejected: User unknown");
    if (starts(f->recipient, "later@"))
        return say(action, "450 4.2.0 <later@x.test>: Recipient address rejected: Greylisted");
    return starts(f->recipient, "leave@") ? say(action, "421 4.7.0 go away") : PH_NONE;
}

int ph_restriction_check(struct ph_restriction *r, const struct ph_policy_facts *f, struct ph_scope *out PH_UNUSED, ph_str *action)
{
    switch (r->name[6]) {
    case 'h': return starts(f->helo, "no.") ? say(action, "550 5.7.1 Helo command rejected") : PH_NONE;
    case 's': return about_sender(f, action);
    case 'd': return starts(f->sender, "picky@") ? say(action, "550 5.7.1 Data command rejected") : PH_NONE;
    case 'e': return f->message_bytes == EOD_BYTES ? say(action, "550 5.7.1 End-of-data rejected") : PH_NONE;
    default: return about_recipient(f, action);
    }
}

/* ---- time and log ---- */

int64_t ph_wall_us(void) { return 0; }

/* The words are made as ever, so that a sanitizer sees a view that is void. */
static void discard(const char *fmt, va_list ap)
{
#ifdef WITH_ASAN
    char line[4096];

    vsnprintf(line, sizeof line, fmt, ap);
#else
    (void)fmt, (void)ap;
#endif
}

void ph_log(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    discard(fmt, ap);
    va_end(ap);
}

void ph_log_warn(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    discard(fmt, ap);
    va_end(ap);
}
