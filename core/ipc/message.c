/* message: see message.h. */
#include <limits.h>
#include <unistd.h>
#include <posthorn/dsn.h>
#include <posthorn/error.h>
#include "core/base/rows.h"
#include "core/ipc/message.h"

/* The members that are numbers and those that are text, each by its name. */
#define NUMBER(m) PH_ROW(struct ph_message, m)
#define TEXT(m)   PH_ROW(struct ph_message, m)

enum { NUMBERS = 5, FACTS = NUMBERS, ARRIVAL, TEXTS, COUNT = TEXTS + 15 };

static const struct ph_row members[COUNT] = {
    NUMBER(header_offset), NUMBER(header_bytes), NUMBER(body_offset), NUMBER(body_bytes), NUMBER(longest_line),
    [FACTS] = NUMBER(facts), [ARRIVAL] = { PH_STR_INIT("arrival"), offsetof(struct ph_message, arrival_us) },
    [TEXTS] = TEXT(queue_id), TEXT(sender), TEXT(envelope_id), TEXT(dsn_ret), TEXT(client_name), TEXT(client_address),
    TEXT(client_port), TEXT(client_helo), TEXT(client_protocol), TEXT(sasl_method), TEXT(sasl_username),
    TEXT(sasl_sender), TEXT(full_name), TEXT(rewrite_context), TEXT(trace_flags),
};

static void *member(void *base, const struct ph_row *m)
{
    return (char *)base + m->offset;
}

void ph_message_put(struct ph_frame *f, const struct ph_message *m)
{
    for (size_t i = 0; i < NUMBERS; i++)
        ph_frame_u64(f, members[i].name.p, *(const uint64_t *)((const char *)m + members[i].offset));
    ph_frame_u64(f, "facts", m->facts);
    ph_frame_i64(f, "arrival", m->arrival_us);
    for (size_t i = TEXTS; i < COUNT; i++) {
        const ph_str *v = (const ph_str *)(const void *)((const char *)m + members[i].offset);

        if (v->n)
            ph_frame_str(f, members[i].name.p, *v);
    }
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

/* The first of each name counts; what follows "rcpt" is the recipients'.  The
 * numbers that were there, a bit each, or PH_PERM. */
static int read_members(const struct ph_frame *f, struct ph_message *m, uint64_t numbers[TEXTS])
{
    uint32_t seen = 0;
    size_t at = 0, next = 0;

    for (ph_str name, value; ph_frame_next(f, &at, &name, &value) && !ph_str_eq(name, PH_STR("rcpt")); ) {
        size_t i = ph_row_find(members, COUNT, &next, name);

        if (i == COUNT || (seen & 1u << i))
            continue;
        seen |= 1u << i;
        if (i >= TEXTS)
            *(ph_str *)member(m, &members[i]) = value;
        else if (!ph_str_u64(value, &numbers[i]))
            return ph_fail(PH_PERM, "message: %s is no number", members[i].name.p);
    }
    return (int)(seen & ((1u << TEXTS) - 1));
}

int ph_message_get(struct ph_scope *s, struct ph_frame *f, struct ph_message **out)
{
    struct ph_message *m = ph_new(s, struct ph_message);
    uint64_t numbers[TEXTS];

    m->fd = -1;
    int there = read_members(f, m, numbers);
    if (there < 0)
        return there;
    if (there != (1 << TEXTS) - 1)
        return ph_fail(PH_PERM, "message without extents, facts or time");
    for (size_t i = 0; i < NUMBERS; i++)
        *(uint64_t *)member(m, &members[i]) = numbers[i];
    if (numbers[FACTS] > UINT32_MAX || numbers[ARRIVAL] > PH_WALL_MAX_US || !m->queue_id.n ||
        !extent_is_sane(m->header_offset, m->header_bytes) || !extent_is_sane(m->body_offset, m->body_bytes))
        return ph_fail(PH_PERM, "message with bad facts, extents or times");
    m->facts = (uint32_t)numbers[FACTS];
    m->arrival_us = (int64_t)numbers[ARRIVAL];
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

/* In the order in which they are put. */
enum { STATUS, OUTCOME_TEXTS, DEAD = OUTCOME_TEXTS + 10, NEXT_REPORTS, OUTCOME_COUNT };
#define SAID(m) PH_ROW(struct ph_outcome, m)
static const struct ph_row outcome_members[OUTCOME_COUNT] = {
    [STATUS] = SAID(status), [OUTCOME_TEXTS] = SAID(dsn), SAID(text), SAID(relay), SAID(action), SAID(diagnostic_type),
    SAID(diagnostic), SAID(remote_mta_type), SAID(remote_mta), SAID(recipient), SAID(original),
    [DEAD] = { PH_STR_INIT("dead"), offsetof(struct ph_outcome, dead_site) }, [NEXT_REPORTS] = SAID(next_reports),
};

static void put_words(struct ph_frame *f, const struct ph_outcome *o)
{
    ph_frame_cstr(f, "status", status_names[o->status]);
    for (size_t i = OUTCOME_TEXTS; i < DEAD; i++) {
        const ph_str *v = (const ph_str *)(const void *)((const char *)o + outcome_members[i].offset);

        if (v->n)
            ph_frame_str(f, outcome_members[i].name.p, *v);
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

static void outcome_member(struct ph_outcome *o, size_t *next, ph_str name, ph_str value)
{
    size_t i = ph_row_find(outcome_members, OUTCOME_COUNT, next, name);

    if (i == STATUS) {
        for (uint32_t k = PH_RCPT_SENT; k <= PH_RCPT_DEFERRED; k++)
            if (ph_str_eq(value, ph_cstr(status_names[k])))
                o->status = k;
    } else if (i < DEAD) {
        *(ph_str *)member(o, &outcome_members[i]) = value;
    } else if (i < OUTCOME_COUNT) {
        *(uint32_t *)member(o, &outcome_members[i]) = 1;
    }
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
    size_t at = 0, next = 0;

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
            outcome_member(last, &next, name, value);
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
