/* service/showq: the queue listing that postqueue prints.
 *
 * A client says nothing; it gets {protocol=mail_queue_list_protocol}, then per
 * message a frame with queue_name queue_id time (s) size forced_expire 0|1 sender
 * and per recipient original_recipient recipient log_class (defer, bounce or
 * empty) reason; a message with very many recipients goes on in frames with
 * part=1.  Last: {end=1, status, reason}.
 *
 * qmgr says what is in the queue, and why where the message's file tells; else bounce
 * is asked why it is still there (for some messages at a time); maildrop is read here.  Nothing is kept: memory does not grow
 * with the queue, and the first messages are sent before the last are read. */
#include <unistd.h>
#include <posthorn/message.h>
#include "showq.h"

static const struct ph_param rows[] = {
    PH_P_INT(struct showq_params, duplicate_limit, "duplicate_filter_limit", "1000", 0, 0,
             "Recipients of a message remembered to leave out duplicates; 0 means all."),
};

struct ph_frame *entry_frame(struct ph_scope *s, const struct entry *e, int part)
{
    struct ph_frame *f = ph_frame_new(s);

    ph_frame_str(f, "queue_name", e->queue);
    ph_frame_str(f, "queue_id", e->id);
    ph_frame_i64(f, "time", e->arrival_s);
    ph_frame_u64(f, "size", e->size);
    ph_frame_u64(f, "forced_expire", (uint64_t)e->expired);
    ph_frame_str(f, "sender", e->sender);
    if (part)
        ph_frame_cstr(f, "part", "1");
    return f;
}

void entry_rcpt(struct ph_frame *f, ph_str original, ph_str address, const char *log_class, ph_str reason)
{
    ph_frame_str(f, "original_recipient", original.n ? original : address);
    ph_frame_str(f, "recipient", address);
    ph_frame_cstr(f, "log_class", log_class);
    ph_frame_str(f, "reason", reason);
}

/* Reasons of one message: the last record of a log about each recipient. */
struct reason {
    uint64_t index;
    ph_str text;
};

struct reasons {
    struct reason *at;
    size_t n;
};

static const ph_str *find_reason(const struct reasons *r, uint64_t index)
{
    for (size_t i = r->n; i-- > 0;)
        if (r->at[i].index == index)
            return &r->at[i].text;
    return NULL;
}

/* One recipient of qmgr's frame. */
struct rcpt {
    uint64_t index;
    ph_str address, original, state, why;
};

/* One frame of qmgr's. */
struct shown {
    struct entry e;
    struct rcpt *rcpt;
    size_t n, failed, unsaid;      /* unsaid: deferred, and qmgr does not say why */
    int part;
    struct reasons defer, bounce;
};

/* Frames that are shown together: bounce is asked once for all of them. */
#define BATCH       64u
#define BATCH_RCPTS 2000u
struct batch {
    struct ph_scope *s;
    struct shown at[BATCH];
    size_t n, rcpts;
};

static size_t read_rcpts(struct ph_scope *s, const struct ph_frame *f, struct rcpt **out)
{
    ph_str name, value;
    size_t n = 0, max = 0;

    for (size_t at = 0; ph_frame_next(f, &at, &name, &value);)
        max += ph_str_eq(name, PH_STR("rcpt"));
    *out = ph_alloc_array(s, max, sizeof **out);
    for (size_t at = 0; ph_frame_next(f, &at, &name, &value);) {
        struct rcpt *r = n ? *out + n - 1 : NULL;

        if (ph_str_eq(name, PH_STR("rcpt"))) {
            if (!ph_str_u64(value, &(*out)[n].index))
                (*out)[n].index = UINT64_MAX;
            n++;
        } else if (r && ph_str_eq(name, PH_STR("address"))) {
            r->address = value;
        } else if (r && ph_str_eq(name, PH_STR("original"))) {
            r->original = value;
        } else if (r && ph_str_eq(name, PH_STR("state"))) {
            r->state = value;
        } else if (r && ph_str_eq(name, PH_STR("why"))) {
            r->why = value;
        }
    }
    return n;
}

/* Recipients with a reason of deferral first, then those that failed and are
 * not yet told, then the rest; an address that was shown is not shown again, as
 * far as it is remembered. */
static void put_rcpts(const struct showq *v, struct ph_scope *s, struct ph_frame *out, const struct rcpt *r, size_t n,
                      const struct reasons *defer, const struct reasons *bounce)
{
    struct ph_map *shown = n > 1 ? ph_map_new(s) : NULL;

    for (int pass = 0; pass < 3; pass++)
        for (size_t i = 0; i < n; i++) {
            int failed = ph_str_eq(r[i].state, PH_STR("F"));
            const ph_str *why = r[i].why.n ? &r[i].why : find_reason(failed ? bounce : defer, r[i].index);

            if (pass != (failed ? 1 : why ? 0 : 2) || (shown && ph_map_get(shown, r[i].address)))
                continue;
            if (shown && (v->p.duplicate_limit == 0 || ph_map_count(shown) < (size_t)v->p.duplicate_limit))
                ph_map_set(shown, r[i].address, shown);
            entry_rcpt(out, r[i].original, r[i].address, failed ? "bounce" : why ? "defer" : "",
                           why ? *why : PH_STR(""));
        }
}

/* ---- reasons ---- */

static int is_asked(const struct shown *m, int bounce)
{
    return bounce ? m->failed > 0 : m->unsaid > 0 && !ph_str_eq(m->e.queue, PH_STR("incoming"));
}

/* Words of bounce's answer to the messages they are about, from number `first` on: both are
 * in the same order. */
static void take_words(struct batch *b, const struct ph_frame *f, int bounce, size_t first)
{
    struct reasons *now = NULL;
    uint64_t index = UINT64_MAX;
    ph_str name, value;
    size_t count = 0, i = first;

    for (size_t at = 0; ph_frame_next(f, &at, &name, &value);)
        count += ph_str_eq(name, PH_STR("text"));
    struct reason *next = ph_alloc_array(b->s, count, sizeof *next);
    for (size_t at = 0; ph_frame_next(f, &at, &name, &value);)
        if (ph_str_eq(name, PH_STR("queue_id"))) {
            while (i < b->n && !(is_asked(&b->at[i], bounce) && ph_str_eq(b->at[i].e.id, value)))
                i++;
            now = i == b->n ? NULL : bounce ? &b->at[i].bounce : &b->at[i].defer;
            i += i < b->n;
            if (now)
                now->at = next;
        } else if (ph_str_eq(name, PH_STR("index")) && !ph_str_u64(value, &index)) {
            index = UINT64_MAX;
        } else if (now && ph_str_eq(name, PH_STR("text"))) {
            *next++ = (struct reason){ index, value };
            now->n++;
        }
}

/* One request, about those from number `*first` on; it moves.  1: there are more. */
static int ask_words(struct batch *b, int bounce, size_t *first)
{
    struct ph_frame *f = ph_frame_new(b->s), *reply;
    uint64_t count = 0, asked = 0;
    size_t i = *first;

    ph_frame_cstr(f, "op", "words");
    ph_frame_cstr(f, "log", bounce ? "bounce" : "defer");
    for (; i < b->n; i++)
        if (is_asked(&b->at[i], bounce)) {
            ph_frame_str(f, "queue_id", b->at[i].e.id);
            asked++;
        }
    if (!asked || ph_service_call(b->s, "bounce", f, &reply) < 0 || ph_frame_get_u64(reply, "count", &count) != PH_FOUND || !count)
        return 0;
    take_words(b, reply, bounce, *first);
    for (i = *first; i < b->n && count > 0; i++)
        count -= is_asked(&b->at[i], bounce) ? 1u : 0u;
    *first = i;
    return 1;
}

/* A listing without reasons is better than none, so trouble is not an error. */
static void ask_reasons(struct batch *b)
{
    for (int bounce = 0; bounce < 2; bounce++)
        for (size_t first = 0; ask_words(b, bounce, &first); )
            ;
}

/* ---- messages ---- */

static int take_message(struct batch *b, const struct ph_frame *f)
{
    struct shown *m = &b->at[b->n];
    uint64_t expired;

    *m = (struct shown){ .e = { .queue = ph_frame_value(f, "queue"), .id = ph_frame_value(f, "queue_id"),
                                .sender = ph_frame_value(f, "sender") } };
    if (ph_frame_get_u64(f, "size", &m->e.size) != PH_FOUND || ph_frame_get_time(f, "arrival", &m->e.arrival_s) != PH_FOUND)
        return ph_fail(PH_TEMP, "qmgr: bad listing");
    m->e.arrival_s /= 1000000;
    m->e.expired = ph_frame_get_u64(f, "expired", &expired) == PH_FOUND && expired;
    m->part = ph_frame_value(f, "part").n > 0;
    m->n = read_rcpts(b->s, f, &m->rcpt);
    for (size_t i = 0; i < m->n; i++) {
        int failed = ph_str_eq(m->rcpt[i].state, PH_STR("F"));

        m->failed += failed ? 1u : 0u;
        m->unsaid += !failed && !m->rcpt[i].why.n ? 1u : 0u;
    }
    b->rcpts += m->n;
    b->n++;
    return 0;
}

static int show_batch(const struct showq *v, struct batch *b, struct ph_stream *client)
{
    int rc = 0;

    ask_reasons(b);
    for (size_t i = 0; i < b->n && rc == 0; i++) {
        const struct shown *m = &b->at[i];
        struct ph_frame *out = entry_frame(b->s, &m->e, m->part);

        put_rcpts(v, b->s, out, m->rcpt, m->n, &m->defer, &m->bounce);
        rc = ph_frame_send(client, out);
    }
    b->n = b->rcpts = 0;
    ph_scope_reset(b->s);
    return rc;
}

/* 0, or what qmgr said went wrong. */
static int read_status(const struct ph_frame *f)
{
    ph_str status = ph_frame_value(f, "status");

    if (!status.n || ph_str_eq(status, PH_STR("ok")) || ph_str_eq(status, PH_STR("none")))
        return 0;
    return ph_fail(PH_TEMP, "qmgr: %.*s", PH_FMT(ph_frame_value(f, "reason")));
}

/* The listing of qmgr: 0, PH_TEMP (qmgr), PH_EOF and others (client). */
static int show_queue(const struct showq *v, struct ph_scope *s, struct ph_stream *qmgr, struct ph_stream *client)
{
    struct batch *b = ph_new(s, struct batch);
    struct ph_frame *f = ph_frame_new(s);
    int rc;

    b->s = ph_scope_new(s);
    ph_frame_cstr(f, "op", "list");
    if ((rc = ph_frame_send(qmgr, f)) < 0 || (rc = ph_stream_flush(qmgr)) < 0)
        return rc == PH_CANCEL ? rc : ph_fail(PH_TEMP, "lost connection with qmgr");
    for (;;) {
        if ((rc = ph_frame_recv(qmgr, b->s, 0, &f)) < 0)
            return rc == PH_CANCEL ? rc : ph_fail(PH_TEMP, "lost connection with qmgr");
        if (ph_frame_value(f, "end").n || ph_frame_value(f, "status").n) {
            int trouble = read_status(f);

            return (rc = show_batch(v, b, client)) < 0 ? rc : trouble;
        }
        if ((rc = take_message(b, f)) < 0)
            return rc;
        if ((b->n == BATCH || b->rcpts >= BATCH_RCPTS || !ph_stream_pending(qmgr)) && (rc = show_batch(v, b, client)) < 0)
            return rc;
    }
}

static int show_all(struct showq *v, struct ph_scope *s, struct ph_stream *client)
{
    struct ph_frame *hello = ph_frame_new(s);
    struct ph_stream *qmgr;
    int rc = list_maildrop(v, client);

    if (rc < 0 || (rc = ph_service_dial(s, "qmgr", &qmgr)) < 0)
        return rc;
    ph_frame_cstr(hello, "op", "hello");
    ph_frame_cstr(hello, "role", "control");
    ph_frame_cstr(hello, "service", "showq");
    ph_frame_u64(hello, "pid", (uint64_t)getpid());
    if ((rc = ph_frame_send(qmgr, hello)) < 0)
        return rc;
    return show_queue(v, s, qmgr, client);
}

static int32_t showq_open(struct ph_service *v)
{
    struct showq *self = ph_new(v->scope, struct showq);
    int rc = ph_params_load(v->conf, v->scope, rows, sizeof rows / sizeof *rows, sizeof *rows, &self->p);

    if (rc < 0)
        return rc;
    self->queue_dir = v->queue_dir_fd;
    v->self = self;
    return 0;
}

static int32_t showq_serve(struct ph_service *v, struct ph_scope *session, struct ph_stream *io,
                           const struct ph_peer *peer PH_UNUSED)
{
    struct ph_frame *first = ph_frame_new(session), *last = ph_frame_new(session);
    int rc;

    ph_frame_cstr(first, "protocol", "mail_queue_list_protocol");
    if ((rc = ph_frame_send(io, first)) < 0)
        return rc;
    rc = show_all(v->self, session, io);
    if (rc == PH_CANCEL || rc == PH_EOF)
        return rc;
    ph_frame_cstr(last, "end", "1");
    ph_frame_cstr(last, "status", rc < 0 ? "temp" : "ok");
    if (rc < 0)
        ph_frame_str(last, "reason", ph_str_dup(session, ph_cstr(ph_error())));
    if ((rc = ph_frame_send(io, last)) < 0)
        return rc;
    return ph_stream_flush(io);
}

PH_PLUGIN_SERVICE(showq,
    PH_IS(.summary = "lists the queue for postqueue and mailq", .exec = PH_COROUTINE, .params = rows,
          .param_count = sizeof rows / sizeof *rows),
    .needs = "maildrop private",
    .uses = "qmgr bounce",
    .open = showq_open,
    .serve = showq_serve);
