/* service/bounce: the logs of what happened to recipients, and the notices made
 * of them.  It alone touches bounce/, defer/ and trace/.
 *
 * Requests, each with queue_id; the answer has `status` and `reason`:
 *   append log, then per record: index recipient original dsn_orcpt dsn_notify dsn action text
 *          relay diagnostic_type diagnostic remote_mta_type remote_mta; all records in one write
 *   notify kind=bounce|delay|trace + descriptor of the message, read-only; committed when answered
 *   remove [log]      queue_id may be there many times
 *   read log -> per record: index recipient dsn text
 *   words log, queue_id... -> per log that says something: queue_id, then per record: index text;
 *          count: how many of the ids, from the first, were read (one at least)
 * Reference: bounce.8. */
#include <posthorn/clock.h>
#include "bounce.h"

#define P struct bounce_params

static const struct ph_param rows[] = {
    PH_P_INT(P, size_limit, "bounce_size_limit", "50000", 1, 0x7fffffff,
             "Original text that a notice returns; a longer message is returned as its header."),
    PH_P_STR(P, notify_classes, "notify_classes", "resource, software",
             "What the postmaster hears of: bounce, 2bounce, delay, policy, protocol, resource, software, data."),
    PH_P_STR1(P, bounce_recipient, "bounce_notice_recipient", "postmaster", "Who gets copies of failure notices."),
    PH_P_STR1(P, delay_recipient, "delay_notice_recipient", "postmaster", "Who gets copies of delay warnings."),
    PH_P_STR1(P, double_recipient, "2bounce_notice_recipient", "postmaster", "Who gets undeliverable notices."),
    PH_P_STR(P, template_file, "bounce_template_file", "", "File with the words of notices, bounce(5)."),
    PH_P_STR(P, filter_classes, "internal_mail_filter_classes", "",
             "Mail of our own that goes through content filters: bounce, notify."),
    PH_P_BOOL(P, threaded, "enable_threaded_bounces", "no", "Notices refer to the Message-ID they are about."),
};

#undef P

static int load_shared(struct ph_service *v, struct bounce_params *p)
{
    p->myhostname = ph_conf_value(v->conf, v->scope, "myhostname");
    p->myorigin = ph_conf_value(v->conf, v->scope, "myorigin");
    p->mail_name = ph_conf_value(v->conf, v->scope, "mail_name");
    p->double_sender = ph_conf_value(v->conf, v->scope, "double_bounce_sender");
    p->from_format = ph_conf_value(v->conf, v->scope, "header_from_format");
    p->hash_names = ph_conf_value(v->conf, v->scope, "hash_queue_names");
    if (ph_conf_get_i64(v->conf, "hash_queue_depth", &p->hash_depth) < 0 ||
        ph_conf_get_bool(v->conf, "smtputf8_enable", &p->smtputf8) < 0 ||
        ph_conf_get_time(v->conf, "maximal_queue_lifetime", 'd', &p->queue_lifetime) < 0)
        return PH_CONF;
    return 0;
}

static void warn_of_template(void *arg PH_UNUSED, const char *text)
{
    ph_log_warn("%s; the built-in one is used", text);
}

/* Bad templates are no reason to send no notices. */
static void load_templates(struct ph_service *v, struct bounce *b)
{
    struct ph_bounce_template built_in[PH_TEMPLATES];

    if (ph_bounce_templates_load(v->scope, b->p.template_file, warn_of_template, NULL, b->template) < 0)
        ph_log_warn("bounce_template_file: %s; built-in templates are used", ph_error());
    ph_bounce_templates_default(built_in);
    for (int i = 0; i < PH_TEMPLATES; i++) {
        if (ph_bounce_template_expand(v->scope, v->conf, &b->template[i], &b->words[i]) >= 0)
            continue;
        ph_log_warn("%.*s: %s; the built-in template is used", PH_FMT(b->p.template_file), ph_error());
        b->template[i] = built_in[i];
        if (ph_bounce_template_expand(v->scope, v->conf, &b->template[i], &b->words[i]) < 0)
            b->words[i] = (ph_str){ "", 0 };
    }
}

static int bounce_open(struct ph_service *v)
{
    struct bounce *b = ph_new(v->scope, struct bounce);
    int rc = ph_params_load(v->conf, v->scope, rows, sizeof rows / sizeof *rows, sizeof *rows, &b->p);

    if (rc < 0 || (rc = load_shared(v, &b->p)) < 0)
        return rc;
    load_templates(v, b);
    b->service = v;
    v->self = b;
    return 0;
}

/* ---- requests ---- */

struct request {
    struct bounce *b;
    struct ph_scope *s;
    struct ph_frame *f, *reply;
    ph_str id;
};

/* The log a request is about. */
static int get_kind(struct request *q, ph_str *kind)
{
    *kind = ph_frame_value(q->f, "log");
    return log_kind_is_valid(*kind) ? 0 : ph_fail(PH_PERM, "no such log: \"%.*s\"", PH_FMT(*kind));
}

/* The records of a request: "index" begins each. */
static size_t get_records(struct request *q, struct log_record **out)
{
    size_t n = 0, at = 0;

    for (ph_str name, value; ph_frame_next(q->f, &at, &name, &value); )
        if (ph_str_eq(name, PH_STR("index")))
            n++;
    struct log_record *list = ph_alloc_array(q->s, n + 1, sizeof *list);

    n = at = 0;
    for (ph_str name, value; ph_frame_next(q->f, &at, &name, &value); ) {
        if (ph_str_eq(name, PH_STR("index")))
            n++;
        for (int i = 0; n && i < LOG_FIELDS; i++)
            if (ph_str_eq(name, ph_cstr(log_names[i])))
                list[n - 1].f[i] = value;
    }
    *out = list;
    return n;
}

static int do_append(struct request *q)
{
    struct log_record *list;
    ph_str kind;
    size_t n = get_records(q, &list);
    int rc = get_kind(q, &kind);

    if (rc < 0)
        return rc;
    if (!n)
        return ph_fail(PH_PERM, "append without a record");
    for (size_t i = 0; i < n; i++)
        list[i].f[LOG_STAMP] = i ? list[0].f[LOG_STAMP] : ph_str_printf(q->s, "%lld", (long long)ph_wall_us());
    return log_append(q->b, kind, q->id, list, n);
}

static void close_message(void *arg)
{
    ph_stream_close_taken((int)(intptr_t)arg);
}

static int do_notify(struct request *q)
{
    ph_str kind = ph_frame_value(q->f, "kind");
    struct ph_message *m;
    int fd = ph_frame_take_fd(q->f, 0), rc;
    int what = ph_str_eq(kind, PH_STR("bounce")) ? NOTICE_FAILURE : ph_str_eq(kind, PH_STR("delay")) ? NOTICE_DELAY :
               ph_str_eq(kind, PH_STR("trace")) ? NOTICE_SUCCESS : 0;

    if (fd < 0)
        return ph_fail(PH_PERM, "notify without the message");
    ph_defer(q->s, close_message, (void *)(intptr_t)fd);
    if (!what)
        return ph_fail(PH_PERM, "no such notice: \"%.*s\"", PH_FMT(kind));
    if ((rc = ph_message_open(q->s, fd, q->id, &m)) < 0)
        return rc;
    if (what == NOTICE_SUCCESS && (ph_trace_flags(m->trace_flags) & (PH_TRACE_VERIFY | PH_TRACE_RECORD)))
        what = NOTICE_VERIFY;
    return notice_send(q->b, q->s, what, m);
}

/* All the ids of a request: 0, or PH_PERM. */
static int get_ids(struct request *q, ph_str **out, size_t *n)
{
    size_t at = 0, max = 0;

    for (ph_str name, value; ph_frame_next(q->f, &at, &name, &value); )
        max += ph_str_eq(name, PH_STR("queue_id"));
    *out = ph_alloc_array(q->s, max, sizeof **out);
    *n = at = 0;
    for (ph_str name, value; ph_frame_next(q->f, &at, &name, &value); ) {
        if (!ph_str_eq(name, PH_STR("queue_id")))
            continue;
        if (!log_id_is_valid(value))
            return ph_fail(PH_PERM, "bad queue id");
        (*out)[(*n)++] = value;
    }
    return 0;
}

/* Without "log": all three. */
static int do_remove(struct request *q)
{
    static const ph_str all[] = { PH_STR_INIT("bounce"), PH_STR_INIT("defer"), PH_STR_INIT("trace") };
    ph_str kind, *id;
    size_t n;
    int rc = get_ids(q, &id, &n);

    if (rc < 0)
        return rc;
    if (ph_frame_get(q->f, "log", &kind) == PH_FOUND)
        return (rc = get_kind(q, &kind)) < 0 ? rc : log_remove_many(q->b, q->s, &kind, 1, id, n);
    return log_remove_many(q->b, q->s, all, 3, id, n);
}

static int do_words(struct request *q)
{
    struct log_words *words;
    ph_str kind, *id;
    size_t n, read;
    int rc = get_kind(q, &kind);

    if (rc < 0 || (rc = get_ids(q, &id, &n)) < 0)
        return rc;
    read = log_read_many(q->b, q->s, kind, id, n, &words);
    for (size_t i = 0, bytes = 0; i < read; i++) {
        if (words[i].n)
            ph_frame_str(q->reply, "queue_id", id[i]);
        for (size_t k = 0; k < words[i].n && bytes < PH_FRAME_MAX / 2; k++) {
            ph_frame_u64(q->reply, "index", words[i].list[k].index);
            ph_frame_str(q->reply, "text", words[i].list[k].f[LOG_TEXT]);
            bytes += words[i].list[k].f[LOG_TEXT].n + 64;
        }
    }
    ph_frame_u64(q->reply, "count", read);
    return 0;
}

static int do_read(struct request *q)
{
    struct log_record *list;
    ph_str kind;
    size_t n, bytes = 0;
    int rc = get_kind(q, &kind);

    if (rc < 0 || (rc = log_read(q->b, q->s, kind, q->id, &list, &n)) < 0)
        return rc;
    for (size_t i = 0; i < n && bytes < PH_FRAME_MAX / 2; i++) {
        ph_frame_u64(q->reply, "index", list[i].index);
        ph_frame_str(q->reply, "recipient", list[i].f[LOG_RECIPIENT]);
        ph_frame_str(q->reply, "dsn", list[i].f[LOG_DSN]);
        ph_frame_str(q->reply, "text", list[i].f[LOG_TEXT]);
        bytes += list[i].f[LOG_RECIPIENT].n + list[i].f[LOG_TEXT].n + 64;
    }
    return 0;
}

static const struct { const char *op; int (*run)(struct request *); } ops[] = {
    { "append", do_append }, { "notify", do_notify }, { "remove", do_remove }, { "read", do_read },
    { "words", do_words },
};

static int run(struct request *q)
{
    ph_str op = ph_frame_value(q->f, "op");

    q->id = ph_frame_value(q->f, "queue_id");
    if (!log_id_is_valid(q->id))
        return ph_fail(PH_PERM, "bad queue id");
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (ph_str_eq(op, ph_cstr(ops[i].op)))
            return ops[i].run(q);
    return ph_fail(PH_PERM, "unknown request \"%.*s\"", PH_FMT(ph_str_first(op, 32)));
}

/* The answer to one request; a refused one costs the connection nothing. */
static int respond(struct bounce *b, struct ph_scope *s, struct ph_stream *io, struct ph_frame *f)
{
    struct request q = { .b = b, .s = s, .f = f, .reply = ph_frame_new(s) };
    int rc = run(&q);

    if (rc == PH_CANCEL)
        return rc;
    if (rc < 0) {
        q.reply = ph_frame_new(s);
        ph_frame_cstr(q.reply, "status", rc == PH_PERM ? "perm" : "temp");
        ph_frame_str(q.reply, "reason", ph_str_dup(s, ph_cstr(ph_error())));   /* who asked logs it */
    } else {
        ph_frame_cstr(q.reply, "status", "ok");
    }
    return ph_frame_send(io, q.reply);
}

static int bounce_serve(struct ph_service *v, struct ph_scope *session, struct ph_stream *io,
                        const struct ph_peer *peer PH_UNUSED)
{
    int rc = 0;

    while (rc >= 0) {
        PH_SCOPED(s, session);
        struct ph_frame *f;

        if (!ph_stream_pending(io) && (rc = ph_stream_flush(io)) < 0)
            break;
        if ((rc = ph_frame_recv(io, s, 0, &f)) >= 0)
            rc = respond(v->self, s, io, f);
    }
    return rc == PH_EOF ? 0 : rc;
}

static int bounce_wakeup(struct ph_service *v)
{
    return sweep(v->self);
}

PH_PLUGIN_SERVICE(bounce,
    PH_IS(.exec = PH_COROUTINE, .concurrency = PH_MANY_CALLS,
          .params = rows, .param_count = sizeof rows / sizeof *rows,
          .summary = "logs of failed and delayed deliveries, and the notices made of them"),
    .needs = "bounce queue private",
    .uses = "cleanup qmgr",
    .open = bounce_open,
    .serve = bounce_serve,
    .wakeup = bounce_wakeup);
