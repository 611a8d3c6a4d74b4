/* frame: named attributes over a stream.  See posthorn/frame.h.
 *
 * Reading trusts nothing: the length is checked before anything is allocated, and
 * memory follows what comes, not what the length says; every name and value length
 * is checked against what is left, names byte by byte. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <posthorn/clock.h>
#include <posthorn/error.h>
#include <posthorn/frame.h>

#define HEAD_BYTES 8u
#define NAME_MAX_BYTES 63u
#define ATTRS_MAX 65535u
#define BODY_FIRST 16384u          /* memory for a body that is said to come */
#define BODY_GROWS 8u              /* then for so many times what has come; what was outgrown stays in the scope */

struct attr {
    ph_str name, value;
};

struct ph_frame {
    struct ph_scope *scope;
    struct attr *attr;
    uint32_t n, cap;
    int fd[PH_FRAME_FDS];          /* -1 when taken */
    uint32_t fds;
    int overfull;                  /* more attributes than the wire form can say */
};

static void put32(unsigned char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (unsigned char)(v >> 8 * i);
}

static uint32_t get32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

struct ph_frame *ph_frame_new(struct ph_scope *s)
{
    struct ph_frame *f = ph_new(s, struct ph_frame);

    f->scope = s;
    return f;
}

static void add(struct ph_frame *f, ph_str name, ph_str value)
{
    /* How many there are is often a peer's doing: no reason to die. */
    if (f->n == ATTRS_MAX) {
        f->overfull = 1;
        return;
    }
    if (f->n == f->cap) {
        uint32_t cap = f->cap ? f->cap * 2 : 24;
        struct attr *more = ph_alloc_array(f->scope, cap, sizeof *more);

        if (f->n)
            memcpy(more, f->attr, f->n * sizeof *more);
        f->attr = more;
        f->cap = cap;
    }
    f->attr[f->n++] = (struct attr){ name, value };
}

void ph_frame_str(struct ph_frame *f, const char *name, ph_str value)
{
    add(f, ph_cstr(name), value);
}

void ph_frame_cstr(struct ph_frame *f, const char *name, const char *value)
{
    add(f, ph_cstr(name), ph_cstr(value));
}

void ph_frame_u64(struct ph_frame *f, const char *name, uint64_t value)
{
    char text[24], *end = text + sizeof text, *p = end;

    do {
        *--p = (char)('0' + value % 10);
    } while (value /= 10);
    add(f, ph_cstr(name), ph_str_dup(f->scope, (ph_str){ p, (size_t)(end - p) }));
}

void ph_frame_i64(struct ph_frame *f, const char *name, int64_t value)
{
    if (value >= 0)
        ph_frame_u64(f, name, (uint64_t)value);
    else
        add(f, ph_cstr(name), ph_str_printf(f->scope, "%lld", (long long)value));
}

void ph_frame_fd(struct ph_frame *f, int fd)
{
    ph_assert(f->fds < PH_FRAME_FDS);
    f->fd[f->fds++] = fd;
}

static void encode(const struct ph_frame *f, uint32_t total, unsigned char *to)
{
    put32(to, total);
    to[4] = (unsigned char)f->fds;
    to[5] = 0;
    to[6] = (unsigned char)(f->n & 0xff);
    to[7] = (unsigned char)(f->n >> 8);
    to += HEAD_BYTES;
    for (uint32_t i = 0; i < f->n; i++) {
        const struct attr *a = &f->attr[i];

        *to++ = (unsigned char)a->name.n;
        memcpy(to, a->name.p, a->name.n);
        put32(to + a->name.n, (uint32_t)a->value.n);
        to += a->name.n + 4;
        if (a->value.n)
            memcpy(to, a->value.p, a->value.n);
        to += a->value.n;
    }
}

/* One that does not fit the stream's buffer is made apart. */
static int send_large(struct ph_stream *io, const struct ph_frame *f, uint32_t total)
{
    size_t n = (size_t)total + 4;
    unsigned char *mem = malloc(n);

    if (!mem)
        ph_die("out of memory (%zu bytes)", n);
    encode(f, total, mem);
    int rc = ph_stream_write(io, mem, n);
    free(mem);
    return rc;
}

int ph_frame_send(struct ph_stream *io, const struct ph_frame *f)
{
    uint64_t total = HEAD_BYTES - 4;
    char *room;
    int rc = 0;

    for (uint32_t i = 0; i < f->n; i++) {
        ph_assert(f->attr[i].name.n >= 1 && f->attr[i].name.n <= NAME_MAX_BYTES);
        total += 1 + f->attr[i].name.n + 4 + f->attr[i].value.n;
    }
    if (f->overfull)
        return ph_fail(PH_PERM, "frame of more than %u attributes", ATTRS_MAX);
    if (total > UINT32_MAX - 4)
        return ph_fail(PH_PERM, "frame of %llu bytes", (unsigned long long)total);
    for (uint32_t i = 0; rc == 0 && i < f->fds; i++)
        rc = ph_stream_send_fd(io, f->fd[i]);
    if (rc < 0)
        return rc;
    if (!(room = ph_stream_room(io, (size_t)total + 4)))
        return send_large(io, f, (uint32_t)total);
    encode(f, (uint32_t)total, (unsigned char *)room);
    return 0;
}

static int valid_name(ph_str name)
{
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];

        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '_')
            return 0;
    }
    return name.n >= 1 && name.n <= NAME_MAX_BYTES;
}

#define ATTR_LEAST 6u              /* bytes of the smallest */

/* The attributes of a whole body: 0, or PH_PERM. */
static int parse(struct ph_frame *f, ph_str body, uint32_t count)
{
    if (count > body.n / ATTR_LEAST)
        return ph_fail(PH_PERM, "frame is cut short");
    f->attr = count ? ph_alloc_array(f->scope, count, sizeof *f->attr) : NULL;
    f->cap = count;
    for (uint32_t i = 0; i < count; i++) {
        size_t n = body.n ? (unsigned char)body.p[0] : 0;

        if (n == 0 || body.n < 1 + n + 4)
            return ph_fail(PH_PERM, "frame is cut short");
        ph_str name = ph_str_first(ph_str_from(body, 1), n);
        if (!valid_name(name))
            return ph_fail(PH_PERM, "frame with a bad attribute name");
        uint32_t len = get32((const unsigned char *)body.p + 1 + n);
        body = ph_str_from(body, 1 + n + 4);
        if (len > body.n)
            return ph_fail(PH_PERM, "frame is cut short");
        add(f, name, ph_str_first(body, len));
        body = ph_str_from(body, len);
    }
    return body.n ? ph_fail(PH_PERM, "frame with %zu bytes too many", body.n) : 0;
}

static void close_untaken(void *arg)
{
    struct ph_frame *f = arg;

    for (uint32_t i = 0; i < f->fds; i++)
        if (f->fd[i] >= 0)
            ph_stream_close_taken(f->fd[i]);
}

static int take_fds(struct ph_stream *io, struct ph_frame *f, uint32_t count)
{
    if (count > PH_FRAME_FDS)
        return ph_fail(PH_PERM, "frame with %u descriptors", count);
    if (count)
        ph_defer(f->scope, close_untaken, f);
    while (f->fds < count) {
        int fd = ph_stream_take_fd(io);

        if (fd < 0)
            return ph_fail(PH_PERM, "frame without its descriptors");
        f->fd[f->fds++] = fd;
    }
    return 0;
}

/* The length is a claim, and eight bytes long: a peer that makes it and then waits
 * must not hold megabytes of ours. */
static int read_body(struct ph_stream *io, struct ph_scope *s, size_t n, ph_str *body)
{
    size_t have = 0;
    char *p;
    int rc;

    do {
        size_t room = have ? have * BODY_GROWS : BODY_FIRST;
        char *more = ph_alloc(s, room < n ? room : n);

        if (have)
            memcpy(more, p, have);
        p = more;
        room = (room < n ? room : n) - have;
        rc = ph_stream_read(io, p + have, room);
        have += room;
    } while (rc >= 0 && have < n);
    if (rc >= 0)
        *body = (ph_str){ p, n };
    return rc == PH_EOF ? ph_fail(PH_PERM, "frame is cut short") : rc;
}

int ph_frame_recv(struct ph_stream *io, struct ph_scope *s, size_t max, struct ph_frame **out)
{
    unsigned char head[HEAD_BYTES];
    ph_str body;
    int rc = ph_stream_peek(io, &body);

    if (rc < 0)
        return rc;                 /* PH_EOF here is a clean end */
    if ((rc = ph_stream_read(io, head, sizeof head)) < 0)
        return rc == PH_EOF ? ph_fail(PH_PERM, "frame is cut short") : rc;
    uint32_t total = get32(head);
    if (total < HEAD_BYTES - 4 || total > (max ? max : PH_FRAME_MAX) || head[5] != 0)
        return ph_fail(PH_PERM, "frame with a bad length (%u bytes)", total);
    if ((rc = read_body(io, s, total - (HEAD_BYTES - 4), &body)) < 0)
        return rc;
    struct ph_frame *f = ph_frame_new(s);
    if ((rc = take_fds(io, f, head[4])) < 0 ||
        (rc = parse(f, body, (uint32_t)head[6] | (uint32_t)head[7] << 8)) < 0)
        return rc;
    *out = f;
    return 1;
}

int ph_frame_get(const struct ph_frame *f, const char *name, ph_str *value)
{
    size_t n = strlen(name);

    for (uint32_t i = 0; i < f->n; i++)
        if (f->attr[i].name.n == n && memcmp(f->attr[i].name.p, name, n) == 0) {
            *value = f->attr[i].value;
            return PH_FOUND;
        }
    return PH_NONE;
}

int ph_frame_get_u64(const struct ph_frame *f, const char *name, uint64_t *value)
{
    ph_str text;

    if (ph_frame_get(f, name, &text) != PH_FOUND)
        return PH_NONE;
    return ph_str_u64(text, value) ? PH_FOUND : ph_fail(PH_PERM, "attribute %s is no number", name);
}

int ph_frame_get_i64(const struct ph_frame *f, const char *name, int64_t *value)
{
    ph_str text;

    if (ph_frame_get(f, name, &text) != PH_FOUND)
        return PH_NONE;
    return ph_str_i64(text, value) ? PH_FOUND : ph_fail(PH_PERM, "attribute %s is no number", name);
}

int ph_frame_get_time(const struct ph_frame *f, const char *name, int64_t *us)
{
    int64_t t;
    int rc = ph_frame_get_i64(f, name, &t);

    if (rc != PH_FOUND)
        return rc;
    if (t < 0 || t > PH_WALL_MAX_US)
        return ph_fail(PH_PERM, "attribute %s is a time out of range", name);
    *us = t;
    return PH_FOUND;
}

ph_str ph_frame_value(const struct ph_frame *f, const char *name)
{
    ph_str value = PH_STR("");

    ph_frame_get(f, name, &value);
    return value;
}

int ph_frame_next(const struct ph_frame *f, size_t *at, ph_str *name, ph_str *value)
{
    if (*at >= f->n)
        return 0;
    *name = f->attr[*at].name;
    *value = f->attr[(*at)++].value;
    return 1;
}

int ph_frame_take_fd(struct ph_frame *f, unsigned i)
{
    if (i >= f->fds)
        return -1;
    int fd = f->fd[i];

    f->fd[i] = -1;
    return fd;
}
