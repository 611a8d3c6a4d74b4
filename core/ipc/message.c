/* message: see message.h. */
#include <limits.h>
#include <unistd.h>
#include <posthorn/dsn.h>
#include <posthorn/error.h>
#include "core/ipc/message.h"

/* The members that are numbers and those that are text, each by its name. */
struct member {
    const char *name;
    size_t offset;
};

#define ROW(type, m) { #m, offsetof(type, m) }

static const struct member numbers[] = {
    ROW(struct ph_message, header_offset), ROW(struct ph_message, header_bytes),
    ROW(struct ph_message, body_offset), ROW(struct ph_message, body_bytes),
    ROW(struct ph_message, longest_line),
};

static const struct member texts[] = {
    ROW(struct ph_message, queue_id), ROW(struct ph_message, sender),
    ROW(struct ph_message, envelope_id), ROW(struct ph_message, dsn_ret),
    ROW(struct ph_message, client_name), ROW(struct ph_message, client_address),
    ROW(struct ph_message, client_port), ROW(struct ph_message, client_helo),
    ROW(struct ph_message, client_protocol), ROW(struct ph_message, sasl_method),
    ROW(struct ph_message, sasl_username), ROW(struct ph_message, sasl_sender),
    ROW(struct ph_message, full_name), ROW(struct ph_message, rewrite_context),
    ROW(struct ph_message, trace_flags),
};

#define COUNT(a) (sizeof(a) / sizeof *(a))

static void *member(void *base, const struct member *m)
{
    return (char *)base + m->offset;
}

void ph_message_put(struct ph_frame *f, const struct ph_message *m)
{
    for (size_t i = 0; i < COUNT(numbers); i++)
        ph_frame_u64(f, numbers[i].name, *(const uint64_t *)((const char *)m + numbers[i].offset));
    for (size_t i = 0; i < COUNT(texts); i++) {
        const ph_str *v = (const ph_str *)(const void *)((const char *)m + texts[i].offset);

        if (v->n)
            ph_frame_str(f, texts[i].name, *v);
    }
    ph_frame_u64(f, "facts", m->facts);
    ph_frame_i64(f, "arrival", m->arrival_us);
    if (m->fd >= 0)
        ph_frame_fd(f, m->fd);
}

/* Extents that cannot overflow in sums later on. */
static int extent_is_sane(uint64_t offset, uint64_t bytes)
{
    return offset <= INT64_MAX / 4 && bytes <= INT64_MAX / 4;
}

static void close_fd(void *arg)
{
    struct ph_message *m = arg;

    ph_stream_close_taken(m->fd);
}

int ph_message_get(struct ph_scope *s, struct ph_frame *f, struct ph_message **out)
{
    struct ph_message *m = ph_new(s, struct ph_message);
    uint64_t facts;

    m->fd = -1;
    for (size_t i = 0; i < COUNT(numbers); i++)
        if (ph_frame_get_u64(f, numbers[i].name, member(m, &numbers[i])) != PH_FOUND)
            return ph_fail(PH_PERM, "message without %s", numbers[i].name);
    for (size_t i = 0; i < COUNT(texts); i++)
        *(ph_str *)member(m, &texts[i]) = ph_frame_value(f, texts[i].name);
    if (ph_frame_get_u64(f, "facts", &facts) != PH_FOUND || facts > UINT32_MAX ||
        ph_frame_get_time(f, "arrival", &m->arrival_us) != PH_FOUND || !m->queue_id.n ||
        !extent_is_sane(m->header_offset, m->header_bytes) || !extent_is_sane(m->body_offset, m->body_bytes))
        return ph_fail(PH_PERM, "message with bad facts, extents or times");
    m->facts = (uint32_t)facts;
    m->fd = ph_frame_take_fd(f, 0);
    ph_defer(s, close_fd, m);
    *out = m;
    return 0;
}

void ph_recipient_put(struct ph_frame *f, const struct ph_recipient *r)
{
    ph_frame_u64(f, "rcpt", r->index);
    ph_frame_str(f, "address", r->address);
    if (r->original.n)
        ph_frame_str(f, "original", r->original);
    if (r->dsn_orcpt.n)
        ph_frame_str(f, "orcpt", r->dsn_orcpt);
    if (r->dsn_notify.n)
        ph_frame_str(f, "notify", r->dsn_notify);
}

static uint32_t count_recipients(const struct ph_frame *f)
{
    uint32_t n = 0;
    size_t at = 0;

    for (ph_str name, value; ph_frame_next(f, &at, &name, &value); )
        if (ph_str_eq(name, PH_STR("rcpt")))
            n++;
    return n;
}

/* Set the member of r that `name` says; other names are not ours. */
static void recipient_member(struct ph_recipient *r, ph_str name, ph_str value)
{
    if (ph_str_eq(name, PH_STR("address")))
        r->address = value;
    else if (ph_str_eq(name, PH_STR("original")))
        r->original = value;
    else if (ph_str_eq(name, PH_STR("orcpt")))
        r->dsn_orcpt = value;
    else if (ph_str_eq(name, PH_STR("notify")))
        r->dsn_notify = value;
}

int ph_recipients_get(struct ph_scope *s, const struct ph_frame *f,
                      struct ph_recipient **list, uint32_t *n)
{
    uint32_t count = count_recipients(f), i = 0;
    struct ph_recipient *r = ph_alloc_array(s, count ? count : 1, sizeof *r);
    size_t at = 0;

    for (ph_str name, value; ph_frame_next(f, &at, &name, &value); ) {
        uint64_t index;

        if (ph_str_eq(name, PH_STR("rcpt"))) {
            if (!ph_str_u64(value, &index) || index > UINT32_MAX)
                return ph_fail(PH_PERM, "recipient without a number");
            r[i++].index = (uint32_t)index;
        } else if (i) {
            recipient_member(&r[i - 1], name, value);
        }
    }
    *list = r;
    *n = count;
    return 0;
}

/* ---- outcomes ---- */

static const char *const status_names[] = {
    [PH_RCPT_SENT] = "sent", [PH_RCPT_BOUNCED] = "bounced", [PH_RCPT_DEFERRED] = "deferred",
};

static const struct member outcome_texts[] = {
    ROW(struct ph_outcome, dsn), ROW(struct ph_outcome, text), ROW(struct ph_outcome, relay),
    ROW(struct ph_outcome, action), ROW(struct ph_outcome, diagnostic_type),
    ROW(struct ph_outcome, diagnostic), ROW(struct ph_outcome, remote_mta_type),
    ROW(struct ph_outcome, remote_mta), ROW(struct ph_outcome, recipient), ROW(struct ph_outcome, original),
};

static void put_words(struct ph_frame *f, const struct ph_outcome *o)
{
    ph_frame_cstr(f, "status", status_names[o->status]);
    for (size_t i = 0; i < COUNT(outcome_texts); i++) {
        const ph_str *v = (const ph_str *)(const void *)((const char *)o + outcome_texts[i].offset);

        if (v->n)
            ph_frame_str(f, outcome_texts[i].name, *v);
    }
    if (o->dead_site)
        ph_frame_cstr(f, "dead", "1");
    if (o->next_reports)
        ph_frame_cstr(f, "next_reports", "1");
}

/* An alias of thousands whose members fail must not break a frame's limit: the
 * first hundred are told. */
#define ALSO_MAX 100u

void ph_outcome_put(struct ph_frame *f, uint32_t index, const struct ph_outcome *o)
{
    uint32_t n = 0;

    ph_frame_u64(f, "rcpt", index);
    put_words(f, o);
    for (const struct ph_outcome *more = o->also; more && n < ALSO_MAX; more = more->also, n++) {
        ph_frame_cstr(f, "also", "1");
        put_words(f, more);
    }
}

static void outcome_member(struct ph_outcome *o, ph_str name, ph_str value)
{
    if (ph_str_eq(name, PH_STR("dead")))
        o->dead_site = 1;
    if (ph_str_eq(name, PH_STR("next_reports")))
        o->next_reports = 1;
    for (uint32_t k = PH_RCPT_SENT; k <= PH_RCPT_DEFERRED; k++)
        if (ph_str_eq(name, PH_STR("status")) && ph_str_eq(value, ph_cstr(status_names[k])))
            o->status = k;
    for (size_t i = 0; i < COUNT(outcome_texts); i++)
        if (ph_str_eq(name, ph_cstr(outcome_texts[i].name)))
            *(ph_str *)member(o, &outcome_texts[i]) = value;
}

/* A further outcome of the same recipient. */
static struct ph_outcome *add_also(struct ph_scope *s, struct ph_outcome *last)
{
    struct ph_outcome *o = ph_new(s, struct ph_outcome);

    o->size = sizeof *o;
    last->also = o;
    return o;
}

static int outcome_is_whole(const struct ph_outcome *o)
{
    char c = ph_dsn_class(o->dsn);

    return (o->status == PH_RCPT_SENT && c == '2') || (o->status == PH_RCPT_DEFERRED && c == '4') ||
           (o->status == PH_RCPT_BOUNCED && (c == '5' || c == '4'));
}

int ph_outcomes_get(struct ph_scope *s, const struct ph_frame *f,
                    struct ph_outcome **list, uint32_t **index, uint32_t *n)
{
    uint32_t count = count_recipients(f), k = 0;
    struct ph_outcome *o = ph_alloc_array(s, count + 1u, sizeof *o), *last = o;
    uint32_t *which = ph_alloc_array(s, count + 1u, sizeof *which);
    size_t at = 0;

    for (ph_str name, value; ph_frame_next(f, &at, &name, &value); ) {
        uint64_t number;

        if (ph_str_eq(name, PH_STR("rcpt"))) {
            if (!ph_str_u64(value, &number) || number > UINT32_MAX)
                return ph_fail(PH_PERM, "outcome without a number");
            last = &o[k];
            last->size = sizeof *o;
            which[k++] = (uint32_t)number;
        } else if (k && ph_str_eq(name, PH_STR("also"))) {
            last = add_also(s, last);
        } else if (k) {
            outcome_member(last, name, value);
        }
    }
    for (uint32_t i = 0; i < count; i++)
        for (const struct ph_outcome *each = &o[i]; each; each = each->also)
            if (!outcome_is_whole(each))
                return ph_fail(PH_PERM, "outcome with bad status or code");
    *list = o;
    *index = which;
    *n = count;
    return 0;
}
