/* notice: who is told what.
 *
 * failure: the sender; the postmaster a copy when notify_classes has "bounce".
 * The null sender is never answered: the postmaster is told when the class
 * "2bounce" (or "bounce") is on, else nobody.  What failed to reach the
 * postmaster is dropped and logged, or it would go round for ever. */
#include <string.h>
#include <posthorn/address.h>
#include <posthorn/clock.h>
#include <posthorn/dsn.h>
#include <posthorn/map.h>
#include "bounce.h"

#define NOTICE_RCPTS 1000u          /* recipients of one notice */
#define NOTICE_EXTRA (NOTICE_RCPTS * 32768u)    /* bytes of a notice beside the returned message */

struct notice {
    struct bounce *b;
    struct ph_scope *s;
    const struct ph_message *m;
    int kind;
    struct ph_map *deferred, *bounced;     /* by index: what the logs say */
    struct log_record *list;       /* who is reported */
    size_t n, room;
};

static int is_listed(ph_str list, ph_str name)
{
    for (ph_str w; (w = ph_str_list(&list)).n; )
        if (ph_str_eq_nocase(w, name))
            return 1;
    return 0;
}

static int has_class(struct bounce *b, const char *name)
{
    return is_listed(b->p.notify_classes, ph_cstr(name));
}

/* The sender's wish, RFC 3461 4.1, is no wish of the postmaster's. */
static int is_wanted(ph_str notify, int kind, int postmaster)
{
    return postmaster || (ph_notify_flags(notify) & (kind == NOTICE_FAILURE ? PH_NOTIFY_FAILURE : PH_NOTIFY_DELAY));
}

/* ---- what is known of each recipient ---- */

static size_t read_log(struct notice *n, ph_str log, struct log_record **list)
{
    size_t count = 0;

    if (log_read(n->b, n->s, log, n->m->queue_id, list, &count) >= 0)
        return count;
    /* A log that cannot be read is no reason for silence. */
    ph_log_warn("%.*s: %s", PH_FMT(n->m->queue_id), ph_error());
    return 0;
}

/* The records of one recipient: those of the request that came last.  There is
 * more than one when the recipient is an alias and several of its members failed. */
struct told {
    struct log_record *list;
    size_t n;
    ph_str stamp;
};

/* 1 when a was made before b: both are numbers. */
static int is_older(ph_str a, ph_str b)
{
    return a.n != b.n ? a.n < b.n : ph_str_cmp(a, b) < 0;
}

static void index_record(struct notice *n, struct ph_map *map, struct log_record *x)
{
    ph_str key = ph_str_printf(n->s, "%u", x->index), stamp = x->f[LOG_STAMP];
    struct told *t = ph_map_get(map, key);

    if (!t)
        ph_map_set(map, key, t = ph_new(n->s, struct told));
    if (t->n && is_older(stamp, t->stamp))
        return;
    if (!t->n || is_older(t->stamp, stamp)) {
        t->list = x;
        t->n = 0;
        t->stamp = stamp;
    }
    if (x != t->list + t->n) {     /* one of the same request lies elsewhere */
        struct log_record *more = ph_alloc_array(n->s, t->n + 1, sizeof *more);

        memcpy(more, t->list, t->n * sizeof *more);
        more[t->n] = *x;
        t->list = more;
    }
    t->n++;
}

static struct ph_map *index_log(struct notice *n, ph_str log)
{
    struct ph_map *map = ph_map_new(n->s);
    struct log_record *list;
    size_t count = read_log(n, log, &list);

    for (size_t i = 0; i < count; i++)
        index_record(n, map, &list[i]);
    return map;
}

/* What is known of a recipient; for failures the bounce log comes first, and
 * who is too old has the words of his last deferral. */
static const struct told *find_told(const struct notice *n, uint32_t index)
{
    ph_str key = ph_str_printf(n->s, "%u", index);
    const struct told *t = n->bounced ? ph_map_get(n->bounced, key) : NULL;

    return t ? t : ph_map_get(n->deferred, key);
}

/* The recipient's state byte decides that it is reported; records give words. */
static void report_recipient(struct notice *n, uint32_t index)
{
    const struct ph_message_rcpt *r = &n->m->rcpt[index];
    struct log_record unknown = { .index = index, .f = { [LOG_RECIPIENT] = r->address, [LOG_ORIGINAL] = r->original } };
    const struct told *t = find_told(n, index);

    unknown.f[LOG_DSN] = n->kind == NOTICE_FAILURE ? PH_STR("5.0.0") : PH_STR("4.0.0");
    unknown.f[LOG_TEXT] = n->kind == NOTICE_FAILURE ? PH_STR("delivery failed; the reason was not recorded")
                                                    : PH_STR("delivery is delayed; the reason was not recorded");
    for (size_t i = 0; i < (t ? t->n : 1); i++) {
        struct log_record x = t ? t->list[i] : unknown;

        if (ph_str_eq(x.f[LOG_RECIPIENT], r->address))
            x.f[LOG_ORIGINAL] = r->original;       /* not a member */
        x.f[LOG_ORCPT] = r->dsn_orcpt;
        if (n->n == n->room) {
            struct log_record *more = ph_alloc_array(n->s, n->room * 2 + 16, sizeof *more);

            memcpy(more, n->list, n->n * sizeof *more);
            n->list = more;
            n->room = n->room * 2 + 16;
        }
        n->list[n->n++] = x;
    }
}

static void choose(struct notice *n, int postmaster)
{
    uint32_t state = n->kind == NOTICE_FAILURE ? PH_STATE_FAILED : PH_STATE_PENDING;

    n->n = 0;
    for (uint32_t i = 0; i < n->m->rcpt_count; i++)
        if (n->m->rcpt[i].state == state && is_wanted(n->m->rcpt[i].dsn_notify, n->kind, postmaster))
            report_recipient(n, i);
}

/* A record of success counts when the recipient's byte says so too; one without
 * a recipient in the message (an alias that was expanded) speaks for itself. */
static int trace_counts(const struct notice *n, const struct log_record *x)
{
    ph_str action = x->f[LOG_ACTION];

    if (x->index >= n->m->rcpt_count)
        return x->index == LOG_NO_INDEX;
    return ph_str_eq(action, PH_STR("failed")) || ph_str_eq(action, PH_STR("delayed")) || ph_str_eq(action, PH_STR("expanded")) ||
           n->m->rcpt[x->index].state == PH_STATE_DELIVERED;
}

/* The records are all there is to tell: when they cannot be read, it is told later. */
static int choose_trace(struct notice *n)
{
    struct log_record *all;
    size_t count = 0;
    int rc = log_read(n->b, n->s, PH_STR("trace"), n->m->queue_id, &all, &count);

    if (rc < 0)
        return rc;
    n->list = ph_alloc_array(n->s, count + 1, sizeof *n->list);
    for (size_t i = 0; i < count; i++)
        if (trace_counts(n, &all[i]))
            n->list[n->n++] = all[i];
    return 0;
}

/* ---- the returned message ---- */

/* Whole lines only: a header block that was too long ends at a line. */
static ph_str whole_lines(ph_str text)
{
    ptrdiff_t end = ph_str_rfind(text, '\n');

    return ph_str_first(text, (size_t)(end + 1));
}

static ph_str read_content(struct notice *n, uint64_t bytes)
{
    char *p = ph_alloc(n->s, (size_t)bytes + 1);
    size_t got = 0;

    while (got < bytes) {
        int64_t rc = ph_message_read(n->m, got, p + got, (size_t)bytes - got);

        if (rc <= 0)
            break;                 /* the best possible notice goes out even so */
        got += (size_t)rc;
    }
    return (ph_str){ p, got };
}

static void attach_original(struct notice *n, struct report *r)
{
    uint64_t whole = ph_message_bytes(n->m), limit = (uint64_t)n->b->p.size_limit;
    uint64_t header = n->m->header_bytes < limit ? n->m->header_bytes : limit;
    int full = r->full && whole <= limit && !ph_str_eq_nocase(n->m->dsn_ret, PH_STR("HDRS"));
    ph_str text = n->m->fd >= 0 ? read_content(n, full ? whole : header) : (ph_str){ NULL, 0 };

    r->original_is_full = full && text.n == whole;
    r->original = r->original_is_full ? text : whole_lines(ph_str_first(text, (size_t)header));
}

/* ---- sending ---- */

static const char *const words[] = {
    [NOTICE_FAILURE] = "non-delivery notification", [NOTICE_DELAY] = "delay notification",
    [NOTICE_SUCCESS] = "delivery status notification", [NOTICE_VERIFY] = "delivery status notification",
};

/* The text of the notice, and its commit. */
static int finish_one(struct notice *n, struct ph_submission *sub, struct report *r)
{
    struct ph_buf out;
    int rc;

    r->id = sub->id;
    r->now = ph_wall_us() / 1000000;
    attach_original(n, r);
    ph_buf_init(&out, n->s, r->original.n + NOTICE_EXTRA);
    if ((rc = report_format(r, &out)) >= 0)
        rc = ph_submission_finish(sub, n->s, r->to, r->postmaster ? "NEVER" : "", ph_buf_view(&out));
    ph_stream_close(sub->io);
    return rc;
}

static const char *audience(const struct report *r)
{
    return r->postmaster ? "postmaster" : "sender";
}

/* `sender` of the notice: empty for one to the sender.  The line that links the
 * two ids comes before all lines about the new one. */
static int send_report(struct notice *n, ph_str sender, struct report *r)
{
    ph_str class = r->postmaster ? PH_STR("notify") : PH_STR("bounce"), to = ph_address_external(n->s, r->to);
    struct ph_submission sub;
    int rc = ph_submission_begin(n->s, sender, is_listed(n->b->p.filter_classes, class) ? "bounce map filter" : "bounce map", r->utf8, &sub);

    if (rc >= 0) {
        ph_log("%.*s: %s %s: %.*s", PH_FMT(n->m->queue_id), audience(r), words[n->kind], PH_FMT(sub.id));
        rc = finish_one(n, &sub, r);
    }
    if (rc < 0 && rc != PH_CANCEL)
        ph_log("%.*s: %s notification failed to %.*s: %s", PH_FMT(n->m->queue_id), audience(r), PH_FMT(to), ph_error());
    return rc;
}

/* One notice; more than one only when so many recipients failed that it would
 * grow beyond all bounds. */
static int send_one(struct notice *n, ph_str to, ph_str sender, int postmaster, int full)
{
    int rc = 0;

    for (size_t at = 0; rc >= 0 && at < n->n; at += NOTICE_RCPTS) {
        struct report r = { .b = n->b, .s = n->s, .m = n->m, .list = n->list + at, .kind = n->kind,
                            .n = n->n - at < NOTICE_RCPTS ? n->n - at : NOTICE_RCPTS, .postmaster = postmaster,
                            .utf8 = n->b->p.smtputf8 && (n->m->facts & PH_FACT_SMTPUTF8), .full = full, .to = to };

        rc = send_report(n, sender, &r);
        if (rc == PH_PERM && r.full) {         /* too large for cleanup: better a small notice than none */
            r.full = 0;
            rc = send_report(n, sender, &r);
        }
    }
    return rc;
}

static ph_str qualified(struct notice *n, ph_str address, ph_str domain)
{
    if (ph_str_rfind(address, '@') >= 0)
        return address;
    return ph_str_printf(n->s, "%.*s@%.*s", PH_FMT(address), PH_FMT(domain));
}

/* This very machine's, so that others in one domain do not take it for theirs. */
static ph_str double_sender(struct notice *n)
{
    return qualified(n, n->b->p.double_sender, n->b->p.myhostname);
}

static int tell_postmaster(struct notice *n, ph_str who, int full)
{
    return send_one(n, qualified(n, who, n->b->p.myorigin), double_sender(n), 1, full);
}

static int is_ours(struct notice *n)
{
    return ph_str_eq_nocase(n->m->sender, double_sender(n));
}

/* Nobody is left to hear that a notice to the postmaster failed. */
static int discard(struct notice *n)
{
    ph_log_warn("%.*s: undeliverable postmaster notification discarded", PH_FMT(n->m->queue_id));
    return 0;
}

/* To the sender, who chooses the recipients that he hears of, and a copy to the
 * postmaster, who hears of all. */
static int send_both(struct notice *n, int full, const char *class, ph_str postmaster)
{
    int rc = 0;

    choose(n, 0);
    if (n->n && n->m->sender.n)
        rc = send_one(n, n->m->sender, PH_STR(""), 0, full);
    if (rc < 0 || !has_class(n->b, class))
        return rc;
    choose(n, 1);
    /* A copy that fails is no reason to tell the sender twice. */
    return tell_postmaster(n, postmaster, 0) == PH_CANCEL ? PH_CANCEL : 0;
}

static int send_failure(struct notice *n)
{
    struct bounce_params *p = &n->b->p;

    if (is_ours(n))
        return discard(n);
    if (n->m->sender.n)
        return send_both(n, 1, "bounce", p->bounce_recipient);
    if (!has_class(n->b, "2bounce") && !has_class(n->b, "bounce"))
        return 0;
    choose(n, 1);
    return tell_postmaster(n, p->double_recipient, 1);
}

int notice_send(struct bounce *b, struct ph_scope *s, int kind, const struct ph_message *m)
{
    struct notice n = { .b = b, .s = s, .m = m, .kind = kind };

    if (NOTICE_IS_TRACE(kind)) {
        int rc = choose_trace(&n);

        return rc == 0 && n.n && m->sender.n ? send_one(&n, m->sender, PH_STR(""), 0, 0) : rc;
    }
    n.room = m->rcpt_count + 1u;
    n.list = ph_alloc_array(s, n.room, sizeof *n.list);
    n.deferred = index_log(&n, PH_STR("defer"));
    if (kind == NOTICE_FAILURE)
        n.bounced = index_log(&n, PH_STR("bounce"));
    if (kind == NOTICE_FAILURE)
        return send_failure(&n);
    return is_ours(&n) ? 0 : send_both(&n, 0, "delay", b->p.delay_recipient);
}
