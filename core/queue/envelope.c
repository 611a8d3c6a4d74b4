/* The envelope of a message file: attributes and recipients, written by
 * receivers and parsed by qmgr (from the hand-off or the file), agents and
 * commands.  Lengths are checked against what is left before anything is read. */
#include "core/base/rows.h"
#include "core/queue/record.h"

/* NUL and line ends in an envelope are how one line is made to look like two. */
static int is_clean(ph_str v)
{
    for (size_t i = 0; i < v.n; i++)
        if (v.p[i] == 0 || v.p[i] == '\n' || v.p[i] == '\r')
            return 0;
    return 1;
}

static int is_attr_name(ph_str n)
{
    if (n.n == 0 || n.n > 63)
        return 0;
    for (size_t i = 0; i < n.n; i++)
        if (!(n.p[i] >= 'a' && n.p[i] <= 'z') && !ph_is_digit(n.p[i]) && n.p[i] != '_')
            return 0;
    return 1;
}

int ph_record_put_attr(struct ph_buf *b, const char *name, ph_str value)
{
    ph_str n = ph_cstr(name);
    unsigned char len[4];

    if (!is_attr_name(n))
        return ph_fail(PH_PERM, "bad attribute name \"%s\"", name);
    if (value.n > PH_VALUE_MAX || !is_clean(value))
        return ph_fail(PH_PERM, "bad value of attribute %s", name);
    for (int i = 0; i < 4; i++)
        len[i] = (unsigned char)(value.n >> (8 * i));
    ph_buf_putc(b, (char)n.n);
    ph_buf_str(b, n);
    ph_buf_put(b, len, sizeof len);
    ph_buf_str(b, value);
    return b->full ? ph_fail(PH_PERM, "too many attributes") : 0;
}

static void put_item(struct ph_buf *b, char type, ph_str v)
{
    ph_buf_putc(b, type);
    ph_buf_putc(b, (char)(v.n & 0xff));
    ph_buf_putc(b, (char)(v.n >> 8));
    ph_buf_str(b, v);
}

static int put_rcpt(struct ph_buf *b, ph_str address, ph_str original, ph_str orcpt, ph_str notify, ph_str expanded)
{
    const struct { char type; ph_str v; } item[] = {
        { 'X', expanded }, { 'O', original }, { 'C', orcpt }, { 'N', notify }, { 'R', address } };
    size_t was = b->n;

    for (size_t i = 0; i < sizeof item / sizeof *item; i++) {
        if (item[i].v.n > PH_ADDRESS_MAX || !is_clean(item[i].v)) {
            ph_buf_truncate(b, was);
            return ph_fail(PH_PERM, "bad recipient address");
        }
        if (item[i].v.n > 0 || item[i].type == 'R')
            put_item(b, item[i].type, item[i].v);
    }
    if (!b->full)
        return 0;
    ph_buf_truncate(b, was);
    return ph_fail(PH_PERM, "too many recipients");
}

int ph_record_put_rcpt(struct ph_buf *b, ph_str address, ph_str original, ph_str orcpt, ph_str notify)
{
    return put_rcpt(b, address, original, orcpt, notify, PH_STR(""));
}

int ph_record_put_expanded(struct ph_buf *b, ph_str address, ph_str original, ph_str orcpt, ph_str notify)
{
    return put_rcpt(b, address, original, orcpt, notify, PH_STR("1"));
}

/* Take n bytes off the front: 1, or 0 when there are fewer. */
static int take(ph_str *rest, size_t n, ph_str *out)
{
    if (n > rest->n)
        return 0;
    *out = ph_str_first(*rest, n);
    *rest = ph_str_from(*rest, n);
    return 1;
}

int ph_record_next_attr(ph_str *rest, ph_str *name, ph_str *value)
{
    ph_str len;
    size_t n = 0;

    if (rest->n == 0)
        return 0;
    if (!take(rest, 1, &len) || !take(rest, (unsigned char)len.p[0], name) || !is_attr_name(*name) ||
        !take(rest, 4, &len))
        return ph_fail(PH_PERM, "damaged attribute");
    for (int i = 3; i >= 0; i--)
        n = n << 8 | (unsigned char)len.p[i];
    if (n > PH_VALUE_MAX || !take(rest, n, value) || !is_clean(*value))
        return ph_fail(PH_PERM, "damaged value of attribute %.*s", PH_FMT(*name));
    return 1;
}

/* Attributes that every reader knows: the members of struct ph_message, about in
 * the order in which they are written. */
#define ATTR(member) PH_ROW(struct ph_message, member)
static const struct ph_row known[] = {
    ATTR(sender), ATTR(envelope_id), ATTR(dsn_ret), ATTR(client_name), ATTR(client_address),
    ATTR(client_port), ATTR(client_helo), ATTR(client_protocol), ATTR(sasl_method), ATTR(sasl_username),
    ATTR(sasl_sender), ATTR(full_name), ATTR(rewrite_context), ATTR(trace_flags),
};
#define KNOWN (sizeof known / sizeof *known)

static int parse_attrs(ph_str rest, struct ph_message *m, uint32_t *skipped)
{
    ph_str name, value;
    int rc, count = 0, sender = 0;
    size_t next = 0;

    while ((rc = ph_record_next_attr(&rest, &name, &value)) > 0) {
        if (++count > PH_ATTRS_MAX)
            return ph_fail(PH_PERM, "too many attributes");
        size_t i = ph_row_find(known, KNOWN, &next, name);

        if (i < KNOWN)
            *(ph_str *)(void *)((char *)m + known[i].offset) = value;
        else
            ++*skipped;
        sender |= i == 0;
    }
    return rc < 0 || sender ? rc : ph_fail(PH_PERM, "no sender in the envelope");
}

static int next_item(ph_str *rest, char *type, ph_str *value)
{
    ph_str head;

    if (!take(rest, 3, &head))
        return 0;
    *type = head.p[0];
    return take(rest, (size_t)(unsigned char)head.p[1] | (size_t)(unsigned char)head.p[2] << 8, value) &&
           value->n <= PH_ADDRESS_MAX && is_clean(*value) && *type != 0;
}

/* One recipient: items up to its address. */
int ph_record_next_rcpt(ph_str *rest, struct ph_message_rcpt *r, uint32_t *skipped)
{
    char type;
    ph_str v;

    while (next_item(rest, &type, &v))
        switch (type) {
        case 'O': r->original = v; break;
        case 'C': r->dsn_orcpt = v; break;
        case 'N': r->dsn_notify = v; break;
        case 'X': r->expanded = 1; break;
        case 'R': r->address = v; return 0;
        default: ++*skipped;
        }
    return ph_fail(PH_PERM, "damaged recipient");
}

uint32_t ph_record_state(char mark)
{
    switch (mark) {
    case PH_STATE_DELIVERED: case PH_STATE_FAILED: case PH_STATE_TOLD:
        return (unsigned char)mark;
    default:                       /* anything else: not known to be done */
        return PH_STATE_PENDING;
    }
}

int ph_record_parse_envelope(struct ph_scope *s, const struct ph_record *r, ph_str envelope, ph_str head,
                             struct ph_message *m, uint32_t *skipped)
{
    struct ph_message out = { .fd = -1 };
    int rc = parse_attrs(envelope, &out, skipped);

    if (rc < 0)
        return rc;
    out.facts = r->facts;
    out.header_offset = r->header_offset;
    out.header_bytes = r->header_bytes;
    out.body_offset = r->body_offset;
    out.body_bytes = r->body_bytes;
    out.longest_line = r->longest_line;
    out.arrival_us = r->arrival_us;
    out.queue_id = ph_str_dup(s, ph_cstr(r->id));
    out.rcpt_count = r->rcpt_count;
    out.warned = head.p[PH_MARK_AT_WARNED] == 'W';
    *m = out;
    return 0;
}

int ph_record_parse(struct ph_scope *s, const struct ph_record *r, ph_str envelope, ph_str rcpts,
                    ph_str marks, struct ph_message *m, uint32_t *skipped)
{
    struct ph_message out;
    struct ph_message_rcpt *rcpt;
    int rc;

    /* The smallest recipient takes 3 bytes: a count beyond that is a lie, and
     * must not become an allocation. */
    if (r->rcpt_count > rcpts.n / 3 || marks.n != PH_MARKS_HEAD + (size_t)r->rcpt_count)
        return ph_fail(PH_PERM, "the record counts more recipients than there are");
    if ((rc = ph_record_parse_envelope(s, r, envelope, marks, &out, skipped)) < 0)
        return rc;
    rcpt = ph_alloc_array(s, r->rcpt_count, sizeof *rcpt);
    for (uint32_t i = 0; i < r->rcpt_count; i++) {
        if ((rc = ph_record_next_rcpt(&rcpts, &rcpt[i], skipped)) < 0)
            return rc;
        rcpt[i].state = ph_record_state(marks.p[PH_MARKS_HEAD + i]);
    }
    if (rcpts.n > 0)
        return ph_fail(PH_PERM, "the record counts fewer recipients than there are");
    out.rcpt = rcpt;
    *m = out;
    return 0;
}
