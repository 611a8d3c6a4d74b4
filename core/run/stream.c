/* stream: buffers, lines and writes over any layer.  See posthorn/stream.h.
 *
 * Buffers exist only while there is something in them or about to be: a
 * session that waits for its peer holds neither. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "core/run/loop.h"
#include "core/run/stream_in.h"
#include "core/run/switch.h"

#define SIZE_LEAST 512u
#define OUT_LEAST  512u             /* of the output buffer, which grows to the size */

int ph_stream_fds_add(struct ph_stream_fds *l, int fd, unsigned max)
{
    if (l->n >= max)
        return ph_fail(PH_PERM, "more than %u descriptors wait on one stream", max);
    if (l->n == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 4;
        if (!(l->fd = reallocarray(l->fd, l->cap, sizeof *l->fd)))
            ph_die("out of memory");
    }
    l->fd[l->n++] = fd;
    return 0;
}

int ph_stream_fds_shift(struct ph_stream_fds *l)
{
    if (l->n == 0)
        return -1;
    int fd = l->fd[0];

    memmove(l->fd, l->fd + 1, --l->n * sizeof *l->fd);
    return fd;
}

void ph_stream_fds_close(struct ph_stream_fds *l)
{
    for (unsigned i = 0; i < l->n; i++)
        ph_stream_close_taken(l->fd[i]);
    free(l->fd);
    *l = (struct ph_stream_fds){ 0 };
}

void ph_stream_fds_sent(struct ph_stream_fds *l)
{
    while (l->n)
        close(l->fd[--l->n]);
}

/* Most buffers live from an arrival to the next wait, so a few of the usual
 * sizes pass from stream to stream. */
#define ORDINARY_BYTES 16384u
#define BULK_BYTES     65536u
#define SPARE_MAX      8u
struct spare {
    char *p[SPARE_MAX];
    unsigned n;
};
static _Thread_local __attribute__((tls_model("initial-exec"))) struct spare ordinary, bulky PH_UNUSED;

static struct spare *spare_of(size_t size)
{
#ifdef WITH_ASAN                   /* it shall see who looks at a buffer that is gone */
    return size ? NULL : &ordinary;
#else
    return size == ORDINARY_BYTES ? &ordinary : size == BULK_BYTES ? &bulky : NULL;
#endif
}

char *ph_stream_buffer(size_t size)
{
    struct spare *spare = spare_of(size);
    char *p = spare && spare->n ? spare->p[--spare->n] : malloc(size);

    if (!p)
        ph_die("out of memory (%zu bytes)", size);
    return p;
}

void ph_stream_buffer_free(char *p, size_t size)
{
    struct spare *spare = spare_of(size);

    if (p && spare && spare->n < (size == BULK_BYTES ? SPARE_MAX / 2 : SPARE_MAX))
        spare->p[spare->n++] = p;
    else
        free(p);
}

static void stream_end(void *arg)
{
    ph_stream_close(arg);
}

struct ph_stream *ph_stream_make(struct ph_scope *s, const struct ph_stream_ops *ops, void *layer, int fd, size_t size)
{
    struct ph_stream *io = ph_new(s, struct ph_stream);

    io->ops = ops;
    io->layer = layer;
    io->fd = fd;
    io->size = size < SIZE_LEAST ? SIZE_LEAST : size;
    io->deadline = PH_FOREVER;
    ph_defer(s, stream_end, io);
    return io;
}

void ph_stream_close(struct ph_stream *io)
{
    if (!io->ops)
        return;
    io->ops->close(io);
    io->ops = NULL;
    io->fd = -1;
    ph_stream_buffer_free(io->in, io->in_cap);
    free(io->out);
    io->in = io->out = NULL;
    io->in_at = io->in_end = io->out_n = io->out_cap = 0;
    ph_stream_fds_close(&io->fds_in);
    ph_stream_fds_close(&io->fds_out);
}

int ph_stream_fileno(const struct ph_stream *io) { return io->fd; }
size_t ph_stream_pending(const struct ph_stream *io) { return io->in_end - io->in_at; }

void ph_stream_deadline(struct ph_stream *io, int64_t deadline)
{
    io->deadline = deadline;
    io->pace_ms = 0;
}

void ph_stream_pace(struct ph_stream *io, int64_t ms, size_t bytes)
{
    ph_stream_deadline(io, ph_in_ms(ms));
    io->pace_ms = ms;
    io->pace_bytes = bytes;
    io->paced = 0;
}

/* So many bytes left: time for the next. */
static void keep_pace(struct ph_stream *io, size_t n)
{
    if (!io->pace_ms || (io->paced += n) < io->pace_bytes)
        return;
    io->paced = 0;
    io->deadline = ph_in_ms(io->pace_ms);
}

size_t ph_stream_discard(struct ph_stream *io)
{
    size_t n = ph_stream_pending(io);

    io->in_at = io->in_end = 0;
    io->in_long = 0;
    return n;
}

static int is_open(struct ph_stream *io)
{
    return io->ops ? 0 : ph_fail(PH_EOF, "stream is closed");
}

static void drop_in(struct ph_stream *io)
{
    ph_stream_buffer_free(io->in, io->in_cap);
    io->in = NULL;
    io->in_at = io->in_end = 0;
}

/* The start of a line that came behind a large piece: a peer that ends it late, or
 * never, holds an ordinary buffer.  What is as long as that is no line and not kept. */
static void shrink_in(struct ph_stream *io)
{
    size_t n = ph_stream_pending(io);

    if (io->in_cap <= io->size || n >= io->size)
        return;
    char *p = ph_stream_buffer(io->size);
    memcpy(p, io->in + io->in_at, n);
    drop_in(io);
    io->in = p;
    io->in_cap = io->size;
    io->in_end = n;
}

static void drop_idle(struct ph_stream *io)
{
    if (io->in && io->in_at == io->in_end)
        drop_in(io);
    else if (io->in)
        shrink_in(io);
    if (io->out && io->out_n == 0 && !io->sending) {   /* another task may be sending from it */
        free(io->out);
        io->out = NULL;
        io->out_cap = 0;
    }
}

/* Room behind what is there: its size; 0: the buffer is full.  A peer that sent as
 * much as was asked for has more to send. */
static size_t room_in(struct ph_stream *io)
{
    if (!io->in) {
        io->in_cap = io->bulk ? BULK_BYTES : io->size;
        io->in = ph_stream_buffer(io->in_cap);
        io->in_at = io->in_end = 0;
    }
    if (io->in_at && io->in_end == io->in_cap) {
        memmove(io->in, io->in + io->in_at, io->in_end - io->in_at);
        io->in_end -= io->in_at;
        io->in_at = 0;
    }
    return io->in_cap - io->in_end;
}

/* One read behind what is there: bytes, 0: none now, or negative. */
static int64_t read_in(struct ph_stream *io)
{
    if (io->in && io->in_at == io->in_end)
        drop_in(io);
    if (!io->in && io->ops->take)
        return io->ops->take(io);
    size_t room = room_in(io);
    if (room == 0)
        return ph_fail(PH_PERM, "input does not fit the buffer");
    int64_t got = io->ops->read(io, io->in + io->in_end, room);
    if (got > 0) {
        io->in_end += (size_t)got;
        io->bulk = io->fd >= 0 && io->size == ORDINARY_BYTES && ((size_t)got == room || (size_t)got > io->size);
    }
    return got;
}

/* Read more behind what is there: 1, or negative (PH_PERM when the buffer is full). */
static int fill(struct ph_stream *io)
{
    int rc = is_open(io);

    if (rc < 0 || (rc = ph_yield_fair()) < 0)
        return rc;
    for (;;) {
        int64_t got = read_in(io);
        if (got != 0)
            return got < 0 ? (int)got : 1;
        drop_idle(io);
        if ((rc = io->ops->wait(io, PH_READ, io->deadline)) < 0)
            return rc;
        if ((rc = is_open(io)) < 0)
            return rc;
    }
}

void ph_stream_skip(struct ph_stream *io, size_t n)
{
    ph_assert(n <= ph_stream_pending(io));
    io->in_at += n;
    if (io->in_at == io->in_end)
        io->in_at = io->in_end = 0;
}

int ph_stream_peek(struct ph_stream *io, ph_str *view)
{
    int rc = ph_stream_pending(io) ? 1 : fill(io);

    if (rc > 0)
        *view = (ph_str){ io->in + io->in_at, ph_stream_pending(io) };
    return rc;
}

/* What was read and not consumed begins there; without a buffer nowhere. */
static char *unread(const struct ph_stream *io)
{
    return io->in ? io->in + io->in_at : NULL;
}

/* Of an overlong line up to its LF, but at most twice the limit: a peer that
 * never ends it must not keep us here. */
static int discard_line(struct ph_stream *io, size_t limit, ph_str *line)
{
    size_t most = 2 * limit;

    io->in_long = 1;
    for (;;) {
        size_t n = ph_stream_pending(io);
        char *at = unread(io), *lf = n ? memchr(at, '\n', n < most ? n : most) : NULL;

        if (lf || n >= most) {
            io->in_long = !lf;
            ph_stream_skip(io, lf ? (size_t)(lf - at) + 1 : most);
            *line = PH_STR("");
            return PH_LINE_LONG;
        }
        most -= n;
        io->in_at = io->in_end = 0;
        int rc = fill(io);
        if (rc < 0)
            return rc;
    }
}

int ph_stream_line(struct ph_stream *io, size_t limit, ph_str *line)
{
    size_t seen = 0;

    if (limit == 0 || limit > io->size - 2)
        limit = io->size - 2;
    if (io->in_long)
        return discard_line(io, limit, line);
    for (;;) {
        char *at = unread(io), *lf = NULL;
        size_t n = ph_stream_pending(io);

        if (n > seen)
            lf = memchr(at + seen, '\n', n - seen);
        if (lf) {
            size_t end = (size_t)(lf - at), len = end;
            int crlf = len && at[len - 1] == '\r';

            len -= (size_t)crlf;
            if (len > limit)
                return discard_line(io, limit, line);
            *line = (ph_str){ at, len };
            /* Not ph_stream_skip: the view must stay where it is. */
            io->in_at += end + 1;
            return crlf ? PH_LINE_CRLF : PH_LINE_LF;
        }
        if (n > limit + 1)
            return discard_line(io, limit, line);
        seen = n;
        int rc = fill(io);
        if (rc < 0)
            return rc;
    }
}

/* From the layer straight to the caller: big reads skip the buffer. */
static int64_t read_direct(struct ph_stream *io, void *p, size_t n)
{
    int rc = is_open(io);

    while (rc == 0) {
        int64_t got = io->ops->read(io, p, n);

        if (got != 0)
            return got;
        if ((rc = io->ops->wait(io, PH_READ, io->deadline)) == 0)
            rc = is_open(io);
    }
    return rc;
}

int ph_stream_read(struct ph_stream *io, void *p, size_t n)
{
    char *to = p;

    while (n) {
        size_t have = ph_stream_pending(io);

        if (have == 0 && n >= io->size) {
            int64_t got = read_direct(io, to, n);

            if (got < 0)
                return (int)got;
            to += got;
            n -= (size_t)got;
            continue;
        }
        if (have == 0) {
            int rc = fill(io);

            if (rc < 0)
                return rc;
            continue;
        }
        size_t take = have < n ? have : n;
        memcpy(to, io->in + io->in_at, take);
        ph_stream_skip(io, take);
        to += take;
        n -= take;
    }
    return 0;
}

/* Send all of iov; a failure stays with the stream. */
static int send_all(struct ph_stream *io, struct iovec *iov, int count)
{
    int rc = is_open(io);

    io->sending = 1;
    while (rc == 0 && count) {
        if (iov->iov_len == 0) {
            iov++, count--;
            continue;
        }
        int64_t done = io->ops->write(io, iov, count);
        if (done == 0) {
            if ((rc = io->ops->wait(io, PH_WRITE, io->deadline)) == 0)
                rc = is_open(io);
            continue;
        }
        if (done < 0)
            rc = (int)done;
        if (done > 0)
            keep_pace(io, (size_t)done);
        for (size_t left = done > 0 ? (size_t)done : 0; left; ) {
            size_t take = left < iov->iov_len ? left : iov->iov_len;

            iov->iov_base = (char *)iov->iov_base + take;
            iov->iov_len -= take;
            left -= take;
            if (iov->iov_len == 0)
                iov++, count--;
        }
    }
    io->sending = 0;
    if (rc < 0)
        io->error = rc;
    return rc;
}

static int earlier_error(struct ph_stream *io)
{
    return io->error ? ph_fail(io->error, "an earlier write failed") : 0;
}

int ph_stream_flush(struct ph_stream *io)
{
    struct iovec iov = { io->out, io->out_n };
    int rc = earlier_error(io);

    if (rc < 0 || io->out_n == 0)
        return rc;
    io->out_n = 0;
    return send_all(io, &iov, 1);
}

int ph_stream_flush_last(struct ph_stream *io)
{
    io->is_last = 1;
    int rc = ph_stream_flush(io);
    io->is_last = 0;
    return rc;
}

/* A few words that wait to be sent do not hold a whole buffer. */
static void grow_out(struct ph_stream *io, size_t want)
{
    size_t cap = io->out_cap ? io->out_cap : OUT_LEAST;

    if (want <= io->out_cap)
        return;
    while (cap < want)
        cap *= 2;
    if (cap > io->size)
        cap = io->size;
    if (!(io->out = realloc(io->out, cap)))
        ph_die("out of memory (%zu bytes)", cap);
    io->out_cap = cap;
}

int ph_stream_write(struct ph_stream *io, const void *p, size_t n)
{
    int rc = earlier_error(io);

    if (rc < 0 || n == 0)
        return rc;
    if (n > io->size - io->out_n) {
        struct iovec iov[2] = { { io->out, io->out_n }, { (void *)(uintptr_t)p, n } };

        io->out_n = 0;
        return send_all(io, iov, 2);
    }
    grow_out(io, io->out_n + n);
    memcpy(io->out + io->out_n, p, n);
    io->out_n += n;
    return 0;
}

char *ph_stream_room(struct ph_stream *io, size_t n)
{
    if (io->error || !io->ops || n > io->size - io->out_n)
        return NULL;
    grow_out(io, io->out_n + n);
    io->out_n += n;
    return io->out + io->out_n - n;
}

/* What fits is copied; else all of it leaves in one call with what waits already. */
int ph_stream_gather(struct ph_stream *io, const ph_str *part, unsigned count)
{
    struct iovec iov[1 + PH_STREAM_PARTS] = { { io->out, io->out_n } };
    size_t sum = 0;
    int rc = earlier_error(io);

    ph_assert(count <= PH_STREAM_PARTS);
    for (unsigned i = 0; i < count; i++) {
        iov[1 + i] = (struct iovec){ (void *)(uintptr_t)part[i].p, part[i].n };
        sum += part[i].n;
    }
    if (rc == 0 && sum > io->size - io->out_n) {
        io->out_n = 0;
        return send_all(io, iov, (int)count + 1);
    }
    for (unsigned i = 0; rc == 0 && i < count; i++)
        rc = ph_stream_write(io, part[i].p, part[i].n);
    return rc;
}

int ph_stream_str(struct ph_stream *io, ph_str s)
{
    return ph_stream_write(io, s.p, s.n);
}

int ph_stream_printf(struct ph_stream *io, const char *fmt, ...)
{
    char small[512], *text = small;
    va_list ap;

    va_start(ap, fmt);
    int n = ph_vformat(small, sizeof small, fmt, ap);
    va_end(ap);
    if (n >= (int)sizeof small) {
        va_start(ap, fmt);
        if (vasprintf(&text, fmt, ap) < 0)
            ph_die("out of memory");
        va_end(ap);
    }
    int rc = n < 0 ? ph_fail(PH_PERM, "bad format") : ph_stream_write(io, text, (size_t)n);
    if (text != small)
        free(text);
    return rc;
}

int ph_stream_is_stale(struct ph_stream *io)
{
    return !io->ops || io->error || ph_stream_pending(io) || io->ops->is_stale(io);
}

int ph_stream_send_fd(struct ph_stream *io, int fd)
{
    int rc = earlier_error(io);

    if (rc < 0)
        return rc;
    /* One piece of data carries a bounded number; what is buffered leaves first. */
    if (io->fds_out.n >= PH_STREAM_FDS_OUT && (rc = ph_stream_flush(io)) < 0)
        return rc;
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0)
        return ph_fail_errno(PH_TEMP, errno, "no descriptor is left to pass one on");
    if ((rc = ph_stream_fds_add(&io->fds_out, copy, PH_STREAM_FDS_OUT)) < 0)
        close(copy);
    return rc;
}

int ph_stream_take_fd(struct ph_stream *io)
{
    return ph_stream_fds_shift(&io->fds_in);
}
