/* rewrite: addresses in headers: completed, canonical, masqueraded.
 *
 * Only the bytes of an address that becomes another are replaced: names, comments,
 * folding, and each header in which nothing changes, stay as they came, for signatures
 * of others cover them.
 *
 * A header is kept back only when an address in it may change, and with it those that
 * follow, up to a bound; then rewrite is asked once for all of them. */
#include <string.h>
#include <posthorn/address.h>
#include <posthorn/error.h>
#include <posthorn/header.h>
#include <posthorn/log.h>
#include <posthorn/task.h>
#include "cleanup.h"

#define HELD_BYTES     (256u << 10)
#define HELD_ADDRESSES 1000u
#define BREATH         64u         /* addresses between two turns of the others */

struct held {
    struct held *next;
    ph_str raw;
    size_t name_n;
    ph_str value;                  /* of raw: behind the colon, without the last line end */
    uint32_t class;                /* CLASS_HEADER_*; 0: it goes as it is */
    struct ph_address_place *place;
    size_t n;
};

/* "Name :" leaves as "Name:": readers disagree about what the blank means. */
static int put_start(struct message *m, ph_str raw, size_t name_n, size_t to)
{
    if (raw.p[name_n] == ':')
        return ph_intake_write(m->intake, ph_str_first(raw, to));
    int rc = ph_intake_write(m->intake, ph_str_first(raw, name_n));
    size_t colon = (size_t)ph_str_find(raw, ':');

    return rc < 0 ? rc : ph_intake_write(m->intake, ph_str_from(ph_str_first(raw, to), colon));
}

static int put_raw(struct message *m, ph_str raw, size_t name_n)
{
    cleanup_detect(m, raw);
    return put_start(m, raw, name_n, raw.n);
}

/* ---- may anything change? ---- */

/* What stands between angle brackets, or alone: 1 when it surely stays. */
static int stays(const struct message *m, ph_str text)
{
    for (size_t i = 0; i < text.n; i++)
        if (ph_is_space(text.p[i]))
            return 0;
    return text.n == 0 || ph_address_is_whole(m->p->rules, text);
}

/* 1 when every address of the value is seen to be whole at first sight: ordinary
 * headers cost no more than this. */
static int all_stay(const struct message *m, ph_str v)
{
    size_t start = 0, end = v.n, at = 0;
    int angle = 0;

    for (; at <= v.n; at++) {
        char c = at < v.n ? v.p[at] : ',';

        if (c == '"') {
            if (end < at && !angle)
                return 0;          /* words behind a comment */
            at = ph_address_behind(v, at) - 1;
        } else if (c == '(') {
            end = at < end ? at : end;
            at = ph_address_behind(v, at) - 1;
        } else if (c == '<') {
            ptrdiff_t close = ph_str_find(ph_str_from(v, at), '>');

            if (angle || close < 0 || !stays(m, ph_str_first(ph_str_from(v, at + 1), (size_t)close - 1)))
                return 0;
            at += (size_t)close;
            angle = 1;
        } else if (c == ',' || c == ';') {
            end = at < end ? at : end;
            if (!angle && !stays(m, ph_str_trim(ph_str_first(ph_str_from(v, start), end - start))))
                return 0;
            start = at + 1;
            end = v.n;
            angle = 0;
        } else if (c == ':' && !angle) {
            start = at + 1;
            end = v.n;
        } else if (c == '\\' || c == '[' || (end < at && !angle && !ph_is_space(c))) {
            return 0;              /* words behind a comment, too */
        }
    }
    return 1;
}

/* ---- keeping back ---- */

static ph_str value_of(ph_str raw)
{
    ph_str v = ph_str_from(raw, (size_t)ph_str_find(raw, ':') + 1);

    if (v.n && v.p[v.n - 1] == '\n')
        v.n--;
    if (v.n && v.p[v.n - 1] == '\r')
        v.n--;
    return v;
}

static struct held *keep(struct message *m, ph_str raw, size_t name_n)
{
    if (!m->held_scope)
        m->held_scope = ph_scope_new(m->scope);
    struct held *h = ph_new(m->held_scope, struct held);

    h->raw = ph_str_dup(m->held_scope, raw);
    h->name_n = name_n;
    return h;
}

/* 1 when one of its addresses may become another; then they are known. */
static int examine(struct message *m, struct held *h, uint32_t class)
{
    int mapped = m->maps && (m->p->mapped & class), rc, any = 0;

    h->value = value_of(h->raw);
    rc = ph_address_places(m->held_scope, h->value, (size_t)m->p->header_tokens, &h->place, &h->n);
    if (rc < 0)
        return 0;                  /* what cannot be read stays */
    if (rc > 0)
        ph_log_warn("%.*s: header %.*s: has more than header_address_token_limit tokens: the rest stays as it is", PH_FMT(m->id),
                    PH_FMT(ph_str_first(h->raw, h->name_n < 60 ? h->name_n : 60)));
    for (size_t i = 0; !mapped && i < h->n; i++)
        any |= !ph_address_is_whole(m->p->rules, h->place[i].external);
    if (!(mapped ? h->n > 0 : any))
        return 0;
    h->class = class;
    m->held_addresses += h->n;
    return 1;
}

static void append(struct message *m, struct held *h)
{
    if (!m->held)
        m->held_last = &m->held;
    *m->held_last = h;
    m->held_last = &h->next;
    m->held_bytes += h->raw.n;
}

static uint32_t class_of(ph_str name)
{
    uint32_t what = ph_header_addresses(name);

    return what == PH_HEADER_SENDER ? CLASS_HEADER_SENDER : what == PH_HEADER_RECIPIENT ? CLASS_HEADER_RECIPIENT : 0;
}

int cleanup_put_header(struct message *m, ph_str raw, ph_str name)
{
    uint32_t class = m->rewrites ? class_of(name) : 0;

    if (class && !(m->maps && (m->p->mapped & class)) && all_stay(m, value_of(raw)))
        class = 0;
    if (!class && !m->held)
        return put_raw(m, raw, name.n);
    struct held *h = keep(m, raw, name.n);
    if (!(class && examine(m, h, class)) && !m->held) {
        int rc = put_raw(m, raw, name.n);

        ph_scope_reset(m->held_scope);
        return rc;
    }
    append(m, h);
    return m->held_bytes > HELD_BYTES || m->held_addresses > HELD_ADDRESSES ? cleanup_put_held(m) : 0;
}

/* ---- what they become ---- */

static int map_header(struct message *m, struct held *h, const ph_str *complete, size_t *count)
{
    int rc;

    for (size_t i = 0; i < h->n; i++) {
        ph_str a = complete[i];

        if (++*count % BREATH == 0 && ph_in_task() && (rc = ph_yield()) < 0)
            return rc;
        if (m->maps && (rc = cleanup_map(m->p, m->held_scope, h->class, &a)) < 0)
            return rc;
        h->place[i].other = a;
    }
    return 0;
}

static int map_held(struct message *m)
{
    ph_str *list = ph_alloc_array(m->held_scope, m->held_addresses, sizeof *list);
    size_t n = 0, count = 0;
    int rc;

    for (const struct held *h = m->held; h; h = h->next)
        for (size_t i = 0; h->class && i < h->n; i++)
            list[n++] = h->place[i].external;
    if ((rc = ph_address_complete(m->p->rules, m->held_scope, m->local ? "local" : "remote", list, n)) < 0)
        return rc;
    for (struct held *h = m->held; rc == 0 && h; h = h->next)
        if (h->class) {
            rc = map_header(m, h, list, &count);
            list += h->n;
        }
    return rc;
}

static int put_changed(struct message *m, const struct held *h)
{
    size_t start = (size_t)(h->value.p - h->raw.p), bytes = h->value.n;
    struct ph_buf b;

    for (size_t i = 0; i < h->n; i++)
        bytes += 2 * h->place[i].other.n + 4;
    ph_buf_init(&b, m->held_scope, bytes);
    if (!ph_address_replace(h->value, h->place, h->n, m->held_scope, &b))
        return put_raw(m, h->raw, h->name_n);
    cleanup_detect(m, ph_buf_view(&b));
    int rc = put_start(m, h->raw, h->name_n, start);

    if (rc == 0)
        rc = ph_intake_write(m->intake, ph_buf_view(&b));
    return rc < 0 ? rc : ph_intake_write(m->intake, ph_str_from(h->raw, start + h->value.n));
}

int cleanup_put_held(struct message *m)
{
    if (!m->held)
        return 0;
    int rc = map_held(m);

    if (rc < 0)
        rc = cleanup_refuse(m, rc);
    for (const struct held *h = m->held; rc == 0 && m->error == CLEAN_OK && h; h = h->next)
        rc = h->class ? put_changed(m, h) : put_raw(m, h->raw, h->name_n);
    m->held = NULL;
    m->held_bytes = m->held_addresses = 0;
    ph_scope_reset(m->held_scope);
    return rc;
}
