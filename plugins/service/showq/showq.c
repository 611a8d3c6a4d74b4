/* service/showq: the queue listing that postqueue prints.
 *
 * A client says nothing; it gets {protocol=mail_queue_list_protocol}, then per
 * message a frame with queue_name queue_id time (s) size forced_expire 0|1 sender
 * and per recipient original_recipient recipient log_class (defer, bounce or
 * empty) reason; a message with very many recipients goes on in frames with
 * part=1.  Last: {end=1, status, reason}.
 *
 * qmgr says what is in the queue, bounce why it is still there; maildrop is read
 * here.  Nothing is kept: memory does not grow with the queue. */
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

/* A listing without reasons is better than none, so trouble is not an error. */
static struct reasons read_log(struct ph_scope *s, const char *log, ph_str id)
{
    struct ph_frame *f = ph_frame_new(s), *reply;
    struct reasons r = { 0 };
    ph_str name, value;
    uint64_t index = 0;
    size_t count = 0;

    ph_frame_cstr(f, "op", "read");
    ph_frame_cstr(f, "log", log);
    ph_frame_str(f, "queue_id", id);
    if (ph_service_call(s, "bounce", f, &reply) < 0)
        return r;
    for (size_t at = 0; ph_frame_next(reply, &at, &name, &value);)
        count += ph_str_eq(name, PH_STR("text"));
    r.at = ph_alloc_array(s, count, sizeof *r.at);
    for (size_t at = 0; ph_frame_next(reply, &at, &name, &value);)
        if (ph_str_eq(name, PH_STR("index")) && !ph_str_u64(value, &index))
            index = UINT64_MAX;
        else if (ph_str_eq(name, PH_STR("text")))
            r.at[r.n++] = (struct reason){ index, value };
    return r;
}

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
    ph_str address, original, state;
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
    struct ph_map *shown = ph_map_new(s);

    for (int pass = 0; pass < 3; pass++)
        for (size_t i = 0; i < n; i++) {
            int failed = ph_str_eq(r[i].state, PH_STR("F"));
            const ph_str *why = find_reason(failed ? bounce : defer, r[i].index);

            if (pass != (failed ? 1 : why ? 0 : 2) || ph_map_get(shown, r[i].address))
                continue;
            if (v->p.duplicate_limit == 0 || ph_map_count(shown) < (size_t)v->p.duplicate_limit)
                ph_map_set(shown, r[i].address, shown);
            entry_rcpt(out, r[i].original, r[i].address, failed ? "bounce" : why ? "defer" : "",
                           why ? *why : PH_STR(""));
        }
}

static int show_message(const struct showq *v, struct ph_scope *s, const struct ph_frame *f, struct ph_stream *client)
{
    struct entry e = { .queue = ph_frame_value(f, "queue"), .id = ph_frame_value(f, "queue_id"),
                       .sender = ph_frame_value(f, "sender") };
    struct reasons defer = { 0 }, bounce = { 0 };
    struct rcpt *r;
    uint64_t expired;
    size_t n = read_rcpts(s, f, &r), failed = 0;
    struct ph_frame *out;

    if (ph_frame_get_u64(f, "size", &e.size) != PH_FOUND || ph_frame_get_time(f, "arrival", &e.arrival_s) != PH_FOUND)
        return ph_fail(PH_TEMP, "qmgr: bad listing");
    e.arrival_s /= 1000000;
    e.expired = ph_frame_get_u64(f, "expired", &expired) == PH_FOUND && expired;
    for (size_t i = 0; i < n; i++)
        failed += ph_str_eq(r[i].state, PH_STR("F"));
    if (n > failed && !ph_str_eq(e.queue, PH_STR("incoming")))
        defer = read_log(s, "defer", e.id);
    if (failed > 0)
        bounce = read_log(s, "bounce", e.id);
    out = entry_frame(s, &e, ph_frame_value(f, "part").n > 0);
    put_rcpts(v, s, out, r, n, &defer, &bounce);
    return ph_frame_send(client, out);
}

/* All of qmgr's queues in one request: between two a message could move, and be
 * in neither answer.  0, PH_TEMP (qmgr), PH_EOF and others (client). */
static int show_queues(const struct showq *v, struct ph_stream *qmgr, struct ph_stream *client)
{
    PH_SCOPED(ask, NULL);
    struct ph_frame *f = ph_frame_new(ask);
    int rc;

    ph_frame_cstr(f, "op", "list");
    if ((rc = ph_frame_send(qmgr, f)) < 0 || (rc = ph_stream_flush(qmgr)) < 0)
        return rc == PH_CANCEL ? rc : ph_fail(PH_TEMP, "lost connection with qmgr");
    for (;;) {
        PH_SCOPED(s, NULL);

        if ((rc = ph_frame_recv(qmgr, s, 0, &f)) < 0)
            return rc == PH_CANCEL ? rc : ph_fail(PH_TEMP, "lost connection with qmgr");
        if (ph_frame_value(f, "end").n || ph_frame_value(f, "status").n) {
            ph_str status = ph_frame_value(f, "status");

            if (status.n && !ph_str_eq(status, PH_STR("ok")) && !ph_str_eq(status, PH_STR("none")))
                return ph_fail(PH_TEMP, "qmgr: %.*s", PH_FMT(ph_frame_value(f, "reason")));
            return 0;
        }
        if ((rc = show_message(v, s, f, client)) < 0)
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
    return show_queues(v, qmgr, client);
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
