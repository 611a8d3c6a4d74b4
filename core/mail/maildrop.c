/* maildrop: the form of submitted messages.  See posthorn/maildrop.h. */
#include <string.h>
#include <posthorn/error.h>
#include <posthorn/maildrop.h>

#define FIRST_LINE   "posthorn-maildrop 1"
#define SOURCE_BYTES 32768u         /* holds a line or a chunk and more */

void ph_maildrop_source_init(struct ph_maildrop_source *r, struct ph_scope *s,
                             int64_t (*read)(void *, char *, size_t), void *arg)
{
    *r = (struct ph_maildrop_source){ .read = read, .arg = arg, .buf = ph_alloc(s, SOURCE_BYTES) };
}

/* More bytes into the buffer: 0, PH_EOF, or what read answered. */
static int fill(struct ph_maildrop_source *r)
{
    if (r->start > 0) {
        memmove(r->buf, r->buf + r->start, r->end - r->start);
        r->end -= r->start;
        r->start = 0;
    }
    int64_t n = r->read(r->arg, r->buf + r->end, SOURCE_BYTES - r->end);

    if (n < 0)
        return (int)n;
    if (n == 0)
        return PH_EOF;
    r->end += (size_t)n;
    return 0;
}

/* The next line without its LF; valid until the next call. */
static int next_line(struct ph_maildrop_source *r, ph_str *line)
{
    for (;;) {
        ph_str have = { r->buf + r->start, r->end - r->start };
        ptrdiff_t lf = ph_str_find(have, '\n');
        int rc;

        if (lf > (ptrdiff_t)PH_MAILDROP_LINE || (lf < 0 && have.n > PH_MAILDROP_LINE))
            return ph_fail(PH_PERM, "malformed input: line longer than %u bytes", PH_MAILDROP_LINE);
        if (lf >= 0) {
            *line = ph_str_first(have, (size_t)lf);
            r->start += (size_t)lf + 1;
            return 0;
        }
        if ((rc = fill(r)) < 0)
            return rc;
    }
}

static int is_clean(ph_str value)
{
    for (size_t i = 0; i < value.n; i++)
        if ((unsigned char)value.p[i] < 0x20 || value.p[i] == 0x7f)
            return 0;
    return 1;
}

/* RFC 3461 4.1: NEVER, or a list of the others. */
static int valid_notify(ph_str text)
{
    ph_str rest = text;

    if (ph_str_eq(text, PH_STR("NEVER")))
        return 1;
    while (rest.n) {
        ph_str word = ph_str_cut(&rest, ',');

        if (!ph_str_eq(word, PH_STR("SUCCESS")) && !ph_str_eq(word, PH_STR("FAILURE")) &&
            !ph_str_eq(word, PH_STR("DELAY")))
            return 0;
    }
    return text.n > 0 && text.p[text.n - 1] != ',';
}

struct reading {
    struct ph_scope *scope;
    struct ph_maildrop *m;
    struct ph_maildrop_rcpt *list;     /* grows by doubling */
    uint32_t room;
};

static int add_rcpt(struct reading *e, ph_str value)
{
    struct ph_maildrop *m = e->m;

    if (m->rcpt_count == PH_MAILDROP_RCPTS)
        return ph_fail(PH_PERM, "more than %u recipients", PH_MAILDROP_RCPTS);
    if (m->rcpt_count == e->room) {
        uint32_t room = e->room ? e->room * 2 : 8;
        struct ph_maildrop_rcpt *more = ph_alloc_array(e->scope, room, sizeof *more);

        if (m->rcpt_count)
            memcpy(more, e->list, m->rcpt_count * sizeof *more);
        e->list = more;
        e->room = room;
        m->rcpt = more;
    }
    e->list[m->rcpt_count++] = (struct ph_maildrop_rcpt){ .address = ph_str_dup(e->scope, value) };
    return 0;
}

static int set_once(struct reading *e, ph_str *member, ph_str value, int valid, const char *name)
{
    if (member->p)
        return ph_fail(PH_PERM, "malformed input: %s twice", name);
    if (!valid)
        return ph_fail(PH_PERM, "malformed input: bad %s \"%.*s\"", name, PH_FMT(value));
    *member = ph_str_dup(e->scope, value);
    return 0;
}

static int one_of(ph_str value, const char *a, const char *b)
{
    return ph_str_eq(value, ph_cstr(a)) || ph_str_eq(value, ph_cstr(b));
}

/* What belongs to the recipient before it. */
static int rcpt_detail(struct reading *e, ph_str name, ph_str value)
{
    struct ph_maildrop_rcpt *r = e->m->rcpt_count ? &e->list[e->m->rcpt_count - 1] : NULL;

    if (!r)
        return ph_fail(PH_PERM, "malformed input: %.*s before any recipient", PH_FMT(name));
    if (ph_str_eq(name, PH_STR("notify")))
        return set_once(e, &r->notify, value, valid_notify(value), "notify");
    return set_once(e, &r->orcpt, value, ph_str_find(value, ';') > 0, "orcpt");
}

static int take_line(struct reading *e, ph_str name, ph_str value)
{
    struct ph_maildrop *m = e->m;

    if (!is_clean(value))
        return ph_fail(PH_PERM, "malformed input: control byte in %.*s", PH_FMT(name));
    if (ph_str_eq(name, PH_STR("rcpt")))
        return add_rcpt(e, value);
    if (ph_str_eq(name, PH_STR("notify")) || ph_str_eq(name, PH_STR("orcpt")))
        return rcpt_detail(e, name, value);
    if (ph_str_eq(name, PH_STR("sender"))) {
        m->has_sender = 1;
        return set_once(e, &m->sender, value, 1, "sender");
    }
    if (ph_str_eq(name, PH_STR("full_name")))
        return set_once(e, &m->full_name, value, 1, "full_name");
    if (ph_str_eq(name, PH_STR("body")))
        return set_once(e, &m->body, value, one_of(value, "7BIT", "8BITMIME"), "body");
    if (ph_str_eq(name, PH_STR("envelope_id")))
        return set_once(e, &m->envelope_id, value, value.n <= 100, "envelope_id");
    if (ph_str_eq(name, PH_STR("ret")))
        return set_once(e, &m->ret, value, one_of(value, "FULL", "HDRS"), "ret");
    if (ph_str_eq(name, PH_STR("context")))
        return set_once(e, &m->context, value, one_of(value, "local", "remote"), "context");
    /* Only what a user may ask for: other values belong to the system's own mail. */
    if (ph_str_eq(name, PH_STR("trace")))
        return set_once(e, &m->trace, value, one_of(value, "record", "verify"), "trace");
    if (ph_str_eq(name, PH_STR("time")) && ph_str_i64(value, &m->time_s) && m->time_s >= 0)
        return 0;
    if (ph_str_eq(name, PH_STR("smtputf8")) && ph_str_eq(value, PH_STR("1"))) {
        m->smtputf8 = 1;
        return 0;
    }
    return ph_fail(PH_PERM, "malformed input: unexpected line \"%.*s\"", PH_FMT(name));
}

int ph_maildrop_envelope(struct ph_maildrop_source *r, struct ph_scope *s, struct ph_maildrop *out)
{
    struct ph_maildrop m = { .size = sizeof m };
    struct reading e = { .scope = s, .m = &m };
    ph_str line;
    int rc = next_line(r, &line);

    if (rc < 0)
        return rc;
    if (!ph_str_eq(line, PH_STR(FIRST_LINE)))
        return ph_fail(PH_PERM, "malformed input: not a message for maildrop");
    while ((rc = next_line(r, &line)) == 0 && line.n) {
        ph_str name = ph_str_cut(&line, ' ');

        if ((rc = take_line(&e, name, line)) < 0)
            return rc;
    }
    if (rc < 0)
        return rc;
    if (!m.has_sender)
        return ph_fail(PH_CONF, "no sender in the envelope");
    if (!m.rcpt_count)
        return ph_fail(PH_CONF, "no recipient in the envelope");
    *out = m;
    return 0;
}

/* A "data N" line opens a chunk, "end" ends all. */
static int next_chunk(struct ph_maildrop_source *r)
{
    ph_str line;
    int rc = next_line(r, &line);

    if (rc < 0)
        return rc;
    if (ph_str_eq(line, PH_STR("end"))) {
        r->ended = 1;
        if (r->start == r->end && (rc = fill(r)) < 0)
            return rc == PH_EOF ? 0 : rc;
        return ph_fail(PH_PERM, "malformed input: text behind the end");
    }
    if (!ph_str_starts(line, PH_STR("data ")) || !ph_str_u64(ph_str_from(line, 5), &r->left) || r->left == 0 ||
        r->left > PH_MAILDROP_CHUNK)
        return ph_fail(PH_PERM, "malformed input: data or end expected");
    return 0;
}

int ph_maildrop_content(struct ph_maildrop_source *r, ph_str *bytes)
{
    int rc;

    if (r->ended)
        return PH_NONE;
    if (r->left == 0 && (rc = next_chunk(r)) < 0)
        return rc;
    if (r->ended)
        return PH_NONE;
    if (r->start == r->end && (rc = fill(r)) < 0)
        return rc;
    size_t n = r->end - r->start;

    if (n > r->left)
        n = (size_t)r->left;
    *bytes = (ph_str){ r->buf + r->start, n };
    r->start += n;
    r->left -= n;
    return PH_FOUND;
}

static int put_line(struct ph_buf *out, const char *name, ph_str value)
{
    if (!is_clean(value) || value.n + strlen(name) + 1 > PH_MAILDROP_LINE)
        return ph_fail(PH_PERM, "bad %s: a control byte, or too long", name);
    ph_buf_printf(out, "%s ", name);
    ph_buf_str(out, value);
    ph_buf_putc(out, '\n');
    return 0;
}

static int put_optional(struct ph_buf *out, const char *name, ph_str value)
{
    return value.n ? put_line(out, name, value) : 0;
}

int ph_maildrop_put(struct ph_buf *out, const struct ph_maildrop *m)
{
    int rc;

    ph_buf_puts(out, FIRST_LINE "\n");
    if (m->time_s > 0)
        ph_buf_printf(out, "time %lld\n", (long long)m->time_s);
    if (m->smtputf8)
        ph_buf_puts(out, "smtputf8 1\n");
    if ((rc = put_line(out, "sender", m->sender)) < 0 || (rc = put_optional(out, "full_name", m->full_name)) < 0 ||
        (rc = put_optional(out, "body", m->body)) < 0 ||
        (rc = put_optional(out, "envelope_id", m->envelope_id)) < 0 || (rc = put_optional(out, "ret", m->ret)) < 0 ||
        (rc = put_optional(out, "context", m->context)) < 0 || (rc = put_optional(out, "trace", m->trace)) < 0)
        return rc;
    for (uint32_t i = 0; i < m->rcpt_count; i++)
        if ((rc = put_line(out, "rcpt", m->rcpt[i].address)) < 0 ||
            (rc = put_optional(out, "notify", m->rcpt[i].notify)) < 0 ||
            (rc = put_optional(out, "orcpt", m->rcpt[i].orcpt)) < 0)
            return rc;
    ph_buf_putc(out, '\n');
    return out->full ? ph_fail(PH_PERM, "the envelope is too large") : 0;
}

void ph_maildrop_put_chunk(struct ph_buf *out, size_t n)
{
    ph_buf_printf(out, "data %zu\n", n);
}

void ph_maildrop_put_end(struct ph_buf *out)
{
    ph_buf_puts(out, "end\n");
}

/* state: bit 0 a CR is held back, bit 1 the line under way has bytes. */
#define HELD_CR 1u
#define IN_LINE 2u

size_t ph_maildrop_wire(uint32_t *state, ph_str in, char *out)
{
    size_t n = 0;

    for (size_t i = 0; i < in.n; i++) {
        char c = in.p[i];

        if ((*state & HELD_CR) && c != '\n') {
            out[n++] = ' ';
            *state = IN_LINE;
        }
        if (c == '\n') {
            out[n++] = '\r';
            out[n++] = '\n';
            *state = 0;
        } else if (c == '\r')
            *state |= HELD_CR;
        else {
            out[n++] = c;
            *state = IN_LINE;
        }
    }
    return n;
}

size_t ph_maildrop_wire_finish(uint32_t *state, char *out)
{
    if (*state == 0)
        return 0;
    *state = 0;
    memcpy(out, "\r\n", 2);
    return 2;
}
