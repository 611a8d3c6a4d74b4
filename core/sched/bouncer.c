/* bouncer: requests to the bounce service.  Each may come twice without harm. */
#include <unistd.h>
#include "core/sched/qmgr_priv.h"

#define RECORDS_MAX 100u           /* in one request, so that it stays below a frame's limit */

static int ask(struct qmgr *q, struct ph_scope *s, const struct ph_frame *f, struct ph_frame **reply)
{
    int rc = q->call(s, "bounce", f, reply);

    if (rc < 0)
        return rc;
    if (!ph_str_eq(ph_frame_value(*reply, "status"), PH_STR("ok")))
        return ph_fail(PH_TEMP, "bounce: %.*s", PH_FMT(ph_frame_value(*reply, "reason")));
    return 0;
}

static int call(struct qmgr *q, struct ph_scope *s, const struct ph_frame *f)
{
    struct ph_frame *reply;

    return ask(q, s, f, &reply);
}

static struct ph_frame *request(struct ph_scope *s, const char *op, ph_str id)
{
    struct ph_frame *f = ph_frame_new(s);

    ph_frame_cstr(f, "op", op);
    ph_frame_str(f, "queue_id", id);
    return f;
}

static void put_record(struct ph_frame *f, const struct ph_message_rcpt *r, uint32_t index, const struct ph_outcome *o)
{
    const struct { const char *name; ph_str value; } fields[] = {
        { "recipient", o->recipient.n ? o->recipient : r->address }, { "original", o->recipient.n ? o->original : r->original }, { "dsn_orcpt", r->dsn_orcpt },
        { "dsn_notify", r->dsn_notify }, { "dsn", o->dsn }, { "action", o->action }, { "text", o->text },
        { "relay", o->relay }, { "diagnostic_type", o->diagnostic_type }, { "diagnostic", o->diagnostic },
        { "remote_mta_type", o->remote_mta_type }, { "remote_mta", o->remote_mta },
    };

    ph_frame_u64(f, "index", index);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (fields[i].value.n)
            ph_frame_str(f, fields[i].name, fields[i].value);
}

int ph_bouncer_append(struct mail *mail, const char *log, const struct ph_outcome *const *o,
                   const uint32_t *rcpt, uint32_t n)
{
    int rc = 0;

    for (uint32_t at = 0; rc >= 0 && at < n; at += RECORDS_MAX) {
        PH_SCOPED(s, NULL);
        struct ph_frame *f = request(s, "append", ph_cstr(mail->m->id));

        ph_frame_cstr(f, "log", log);
        for (uint32_t i = at; i < n && i < at + RECORDS_MAX; i++)
            put_record(f, ph_qmsg_rcpt(mail->m, rcpt[i]), rcpt[i], o[i]);
        rc = call(mail->q, s, f);
    }
    return rc;
}

/* ---- records that could not be written ---- */

struct unsaid {
    struct unsaid *next;
    struct ph_scope *scope;        /* with everything the request refers to */
    struct ph_frame *f;
};

static ph_str copy(struct ph_scope *s, ph_str v)
{
    return v.n ? ph_str_dup(s, v) : v;
}

static struct ph_outcome copy_outcome(struct ph_scope *s, const struct ph_outcome *o)
{
    struct ph_outcome c = *o;
    ph_str *views[] = { &c.dsn, &c.text, &c.relay, &c.action, &c.diagnostic_type, &c.diagnostic,
                        &c.remote_mta_type, &c.remote_mta, &c.recipient, &c.original };

    for (size_t i = 0; i < sizeof views / sizeof *views; i++)
        *views[i] = copy(s, *views[i]);
    return c;
}

static void keep_records(struct mail *mail, const char *log, const struct ph_outcome *const *o, const uint32_t *rcpt, uint32_t n)
{
    struct ph_scope *s = ph_scope_new(NULL);
    struct unsaid *u = ph_new(s, struct unsaid);

    u->scope = s;
    u->f = request(s, "append", ph_str_dup(s, ph_cstr(mail->m->id)));
    ph_frame_cstr(u->f, "log", log);
    for (uint32_t i = 0; i < n; i++) {
        const struct ph_message_rcpt *r = ph_qmsg_rcpt(mail->m, rcpt[i]);
        struct ph_message_rcpt mine = { .address = copy(s, r->address), .original = copy(s, r->original),
                                        .dsn_orcpt = copy(s, r->dsn_orcpt), .dsn_notify = copy(s, r->dsn_notify) };
        struct ph_outcome *its = ph_new(s, struct ph_outcome);

        *its = copy_outcome(s, o[i]);
        put_record(u->f, &mine, rcpt[i], its);
    }
    u->next = mail->unsaid;
    mail->unsaid = u;
}

void ph_bouncer_keep(struct mail *mail, const char *log, const struct ph_outcome *const *o, const uint32_t *rcpt, uint32_t n)
{
    for (uint32_t at = 0; at < n; at += RECORDS_MAX)
        keep_records(mail, log, o + at, rcpt + at, n - at < RECORDS_MAX ? n - at : RECORDS_MAX);
}

static void forget_first(struct mail *mail)
{
    struct unsaid *u = mail->unsaid;

    mail->unsaid = u->next;
    ph_scope_free(u->scope);
}

int ph_bouncer_say_kept(struct mail *mail)
{
    int rc = 0;

    while (mail->unsaid && rc >= 0) {
        PH_SCOPED(s, NULL);

        if ((rc = call(mail->q, s, mail->unsaid->f)) >= 0)
            forget_first(mail);
    }
    return rc;
}

void ph_bouncer_forget(struct mail *mail)
{
    while (mail->unsaid)
        forget_first(mail);
}

int ph_bouncer_words(struct mail *mail, unsigned char *has)
{
    PH_SCOPED(s, NULL);
    struct ph_frame *f = request(s, "read", ph_cstr(mail->m->id)), *reply;
    size_t at = 0;
    int rc;

    ph_frame_cstr(f, "log", "defer");
    if ((rc = ask(mail->q, s, f, &reply)) < 0)
        return rc;
    for (ph_str name, value; ph_frame_next(reply, &at, &name, &value); ) {
        uint64_t i;

        if (ph_str_eq(name, PH_STR("index")) && ph_str_u64(value, &i) && i < mail->m->rcpt_count)
            has[i] = 1;
    }
    return 0;
}

int ph_bouncer_notify(struct mail *mail, const char *kind)
{
    PH_SCOPED(s, NULL);
    struct ph_frame *f = request(s, "notify", ph_cstr(mail->m->id));
    int fd = ph_queue_open_reader(mail->q->queue, mail->m);
    int rc = fd;

    if (fd >= 0) {
        ph_frame_cstr(f, "kind", kind);
        ph_frame_fd(f, fd);
        rc = call(mail->q, s, f);
        close(fd);
    }
    return rc;
}

int ph_bouncer_remove(struct qmgr *q, ph_str id, const char *log)
{
    PH_SCOPED(s, NULL);
    struct ph_frame *f = request(s, "remove", id);

    if (log)
        ph_frame_cstr(f, "log", log);
    return call(q, s, f);
}

int ph_bouncer_remove_many(struct qmgr *q, const ph_str *id, unsigned n)
{
    PH_SCOPED(s, NULL);
    struct ph_frame *f = ph_frame_new(s);

    ph_frame_cstr(f, "op", "remove");
    for (unsigned i = 0; i < n; i++)
        ph_frame_str(f, "queue_id", id[i]);
    return call(q, s, f);
}
