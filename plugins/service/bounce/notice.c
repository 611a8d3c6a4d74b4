/* notice: who is told what.
 *
 * failure: the sender; the postmaster a copy when notify_classes has "bounce".
 * The null sender is never answered: the postmaster is told when the class
 * "2bounce" (or "bounce") is on, else nobody.  What failed to reach the
 * postmaster is dropped and logged, or it would go round for ever. */
#include <posthorn/address.h>
#include <posthorn/clock.h>
#include <posthorn/map.h>
#include "bounce.h"

#define NOTICE_EXTRA (8u << 20)    /* bytes of a notice beside the returned message */

struct notice {
    struct bounce *b;
    struct ph_scope *s;
    const struct ph_message *m;
    int kind;
    struct log_record *list;       /* who is reported */
    size_t n;
};

static int has_class(struct bounce *b, ph_str name)
{
    ph_str classes = b->p.notify_classes;

    for (ph_str w; (w = ph_str_list(&classes)).n; )
        if (ph_str_eq_nocase(w, name))
            return 1;
    return 0;
}

static int wants(ph_str notify, int kind)
{
    static const ph_str words[] = {
        [NOTICE_FAILURE] = PH_STR_INIT("FAILURE"), [NOTICE_DELAY] = PH_STR_INIT("DELAY"),
        [NOTICE_SUCCESS] = PH_STR_INIT("SUCCESS"),
    };

    if (!notify.n)
        return kind != NOTICE_SUCCESS;
    for (ph_str w; (w = ph_str_list(&notify)).n; )
        if (ph_str_eq_nocase(w, words[kind]))
            return 1;
    return 0;
}

/* ---- what is known of each recipient ---- */

static struct ph_map *index_records(struct ph_scope *s, struct log_record *list, size_t n, struct ph_map *map)
{
    for (size_t i = 0; i < n; i++)
        ph_map_set(map, ph_str_printf(s, "%u", list[i].index), &list[i]);
    return map;
}

/* Records by recipient: of the defer log, and above them (for failures) those
 * of the bounce log.  A log that cannot be read is no reason for silence. */
static struct ph_map *read_records(struct notice *n)
{
    struct ph_map *map = ph_map_new(n->s);
    static const ph_str order[][2] = {
        [NOTICE_FAILURE] = { PH_STR_INIT("defer"), PH_STR_INIT("bounce") },
        [NOTICE_DELAY] = { PH_STR_INIT("defer"), { NULL, 0 } },
        [NOTICE_SUCCESS] = { PH_STR_INIT("trace"), { NULL, 0 } },
    };

    for (int i = 0; i < 2 && order[n->kind][i].n; i++) {
        struct log_record *list;
        size_t count;

        if (log_read(n->b, n->s, order[n->kind][i], n->m->queue_id, &list, &count) < 0)
            ph_log_warn("%.*s: %s", PH_FMT(n->m->queue_id), ph_error());
        else
            index_records(n->s, list, count, map);
    }
    return map;
}

/* The recipient's state byte decides who is reported; the record gives words. */
static struct log_record describe(struct notice *n, uint32_t index, const struct ph_map *records)
{
    const struct ph_message_rcpt *r = &n->m->rcpt[index];
    static const struct log_record unknown = {
        .f = { [LOG_DSN] = PH_STR_INIT("5.0.0"),
               [LOG_TEXT] = PH_STR_INIT("delivery failed; the reason was not recorded") }
    };
    const struct log_record *found = ph_map_get(records, ph_str_printf(n->s, "%u", index));
    struct log_record x = found && ph_str_eq(found->f[LOG_RECIPIENT], r->address) ? *found : unknown;

    x.index = index;
    x.f[LOG_RECIPIENT] = r->address;
    x.f[LOG_ORIGINAL] = r->original;
    x.f[LOG_ORCPT] = r->dsn_orcpt;
    if (n->kind != NOTICE_FAILURE && !found)
        x.f[LOG_DSN] = n->kind == NOTICE_DELAY ? PH_STR("4.0.0") : PH_STR("2.0.0");
    return x;
}

static void choose(struct notice *n)
{
    static const char state[] = {
        [NOTICE_FAILURE] = PH_STATE_FAILED, [NOTICE_DELAY] = PH_STATE_PENDING, [NOTICE_SUCCESS] = PH_STATE_DELIVERED,
    };
    const struct ph_map *records = read_records(n);

    n->list = ph_alloc_array(n->s, n->m->rcpt_count + 1, sizeof *n->list);
    for (uint32_t i = 0; i < n->m->rcpt_count; i++) {
        const struct ph_message_rcpt *r = &n->m->rcpt[i];

        if (r->state == (uint32_t)state[n->kind] && wants(r->dsn_notify, n->kind))
            n->list[n->n++] = describe(n, i, records);
    }
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
    [NOTICE_SUCCESS] = "delivery status notification",
};

/* `sender` of the notice: empty for one to the sender. */
static int send_one(struct notice *n, ph_str to, ph_str sender, int postmaster, int full)
{
    struct report r = { .b = n->b, .s = n->s, .m = n->m, .list = n->list, .n = n->n, .kind = n->kind,
                        .postmaster = postmaster, .full = full, .to = to };
    struct submission sub;
    struct ph_buf out;
    int rc = submit_begin(n->s, sender, n->m->facts, &sub);

    if (rc < 0)
        return rc;
    ph_log("%.*s: %s %s: %.*s", PH_FMT(n->m->queue_id), postmaster ? "postmaster" : "sender", words[n->kind], PH_FMT(sub.id));
    r.id = sub.id;
    r.now = ph_wall_us() / 1000000;
    attach_original(n, &r);
    ph_buf_init(&out, n->s, r.original.n + NOTICE_EXTRA);
    if ((rc = report_format(&r, &out)) >= 0)
        rc = submit_finish(&sub, n->s, to, ph_buf_view(&out));
    ph_stream_close(sub.io);
    return rc;
}

static ph_str qualified(struct notice *n, ph_str address)
{
    if (ph_str_rfind(address, '@') >= 0)
        return address;
    return ph_str_printf(n->s, "%.*s@%.*s", PH_FMT(address), PH_FMT(n->b->p.myorigin));
}

static int tell_postmaster(struct notice *n, ph_str who, int full)
{
    return send_one(n, qualified(n, who), qualified(n, n->b->p.double_sender), 1, full);
}

static int send_failure(struct notice *n)
{
    struct bounce_params *p = &n->b->p;
    int rc;

    if (ph_str_eq_nocase(n->m->sender, qualified(n, p->double_sender))) {
        ph_log_warn("%.*s: undeliverable postmaster notification discarded", PH_FMT(n->m->queue_id));
        return 0;
    }
    if (!n->m->sender.n)
        return has_class(n->b, PH_STR("2bounce")) || has_class(n->b, PH_STR("bounce"))
                   ? tell_postmaster(n, p->double_recipient, 1) : 0;
    if ((rc = send_one(n, n->m->sender, PH_STR(""), 0, 1)) >= 0 && has_class(n->b, PH_STR("bounce")))
        rc = tell_postmaster(n, p->bounce_recipient, 0);
    return rc;
}

static int send_delay(struct notice *n)
{
    int rc = n->m->sender.n ? send_one(n, n->m->sender, PH_STR(""), 0, 0) : 0;

    if (rc >= 0 && has_class(n->b, PH_STR("delay")))
        rc = tell_postmaster(n, n->b->p.delay_recipient, 0);
    return rc;
}

int notice_send(struct bounce *b, struct ph_scope *s, int kind, const struct ph_message *m)
{
    struct notice n = { .b = b, .s = s, .m = m, .kind = kind };

    choose(&n);
    if (!n.n)
        return 0;                  /* nobody wants to hear of it */
    if (kind == NOTICE_FAILURE)
        return send_failure(&n);
    if (kind == NOTICE_DELAY)
        return send_delay(&n);
    return m->sender.n ? send_one(&n, m->sender, PH_STR(""), 0, 0) : 0;
}
