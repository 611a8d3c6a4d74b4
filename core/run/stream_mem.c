/* stream_mem: the layer between two tasks of one process: as a connected
 * socket pair would be, without the kernel. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "core/run/stream_in.h"

/* One direction. */
struct ring {
    char *data;                    /* heap, NULL while empty */
    size_t size, at, n;
    int writer_gone, reader_gone;
    struct ph_stream_fds fds;
    struct ph_cond *readable, *writable;
};

/* Both directions live until both ends are closed. */
struct pair {
    struct ph_scope *scope;
    struct ring ring[2];
    int open;                      /* ends */
};

struct end {
    struct pair *pair;
    struct ring *in, *out;
};

/* Descriptors that came; then how many bytes are there, 0: none now, or the end. */
static int64_t take_ready(struct ph_stream *io, struct ring *r)
{
    int fd;

    while ((fd = ph_stream_fds_shift(&r->fds)) >= 0) {
        int rc = ph_stream_fds_add(&io->fds_in, fd, PH_STREAM_FDS);

        if (rc < 0) {
            close(fd);
            return rc;
        }
    }
    if (r->n == 0)
        return r->writer_gone ? ph_fail(PH_EOF, "connection closed by the peer") : 0;
    return (int64_t)r->n;
}

static int64_t mem_read(struct ph_stream *io, void *p, size_t n)
{
    struct ring *r = ((struct end *)io->layer)->in;
    int64_t ready = take_ready(io, r);

    if (ready <= 0)
        return ready;
    size_t take = r->n < n ? r->n : n;
    memcpy(p, r->data + r->at, take);
    r->at += take;
    r->n -= take;
    if (r->n == 0) {
        ph_stream_buffer_free(r->data, r->size);
        r->data = NULL;
        r->at = 0;
    }
    ph_cond_signal(r->writable);
    return (int64_t)take;
}

/* What the writer put becomes our buffer; he gets another. */
static int64_t mem_take(struct ph_stream *io)
{
    struct ring *r = ((struct end *)io->layer)->in;
    int64_t n = take_ready(io, r);

    if (n <= 0)
        return n;
    io->in = r->data;
    io->in_cap = r->size;
    io->in_at = r->at;
    io->in_end = r->at + r->n;
    r->data = NULL;
    r->at = r->n = 0;
    ph_cond_signal(r->writable);
    return n;
}

/* The content is kept at the front: what is read leaves a gap that the next
 * write closes when it needs the room. */
static size_t ring_put(struct ring *r, const char *p, size_t n)
{
    size_t room = r->size - r->n, take = n < room ? n : room;

    if (take == 0)
        return 0;
    if (!r->data)
        r->data = ph_stream_buffer(r->size);
    if (r->at + r->n + take > r->size) {
        memmove(r->data, r->data + r->at, r->n);
        r->at = 0;
    }
    memcpy(r->data + r->at + r->n, p, take);
    r->n += take;
    return take;
}

static int64_t mem_write(struct ph_stream *io, const struct iovec *iov, int count)
{
    struct end *e = io->layer;
    struct ring *r = e->out;
    int64_t sum = 0;
    int fd, rc;

    if (r->reader_gone)
        return ph_fail(PH_EOF, "connection lost: the peer has closed");
    if (r->n == r->size)
        return 0;
    while ((fd = ph_stream_fds_shift(&io->fds_out)) >= 0)
        if ((rc = ph_stream_fds_add(&r->fds, fd, PH_STREAM_FDS)) < 0) {
            close(fd);
            return rc;
        }
    for (int i = 0; i < count; i++) {
        size_t took = ring_put(r, iov[i].iov_base, iov[i].iov_len);

        sum += (int64_t)took;
        if (took < iov[i].iov_len)
            break;
    }
    ph_cond_signal(r->readable);
    return sum;
}

static int mem_wait(struct ph_stream *io, int what, int64_t deadline)
{
    struct end *e = io->layer;

    if (what == PH_READ)
        return e->in->n || e->in->writer_gone ? 0 : ph_cond_wait(e->in->readable, deadline);
    return e->out->n < e->out->size || e->out->reader_gone ? 0 : ph_cond_wait(e->out->writable, deadline);
}

static int mem_is_stale(struct ph_stream *io)
{
    struct end *e = io->layer;

    return e->in->n != 0 || e->in->writer_gone || e->out->reader_gone;
}

static void mem_close(struct ph_stream *io)
{
    struct end *e = io->layer;
    struct pair *p = e->pair;

    e->out->writer_gone = 1;
    e->in->reader_gone = 1;
    ph_cond_broadcast(e->out->readable);
    ph_cond_broadcast(e->in->writable);
    if (--p->open == 0) {
        for (int i = 0; i < 2; i++) {
            ph_stream_buffer_free(p->ring[i].data, p->ring[i].size);
            ph_stream_fds_close(&p->ring[i].fds);
        }
        ph_scope_free(p->scope);
    }
}

static const struct ph_stream_ops mem_ops = {
    .read = mem_read, .take = mem_take, .write = mem_write, .wait = mem_wait, .is_stale = mem_is_stale, .close = mem_close,
};

static struct ph_stream *make_end(struct ph_scope *s, struct pair *p, int i, size_t size)
{
    struct end *e = ph_new(s, struct end);

    *e = (struct end){ .pair = p, .in = &p->ring[i], .out = &p->ring[!i] };
    return ph_stream_make(s, &mem_ops, e, -1, size);
}

void ph_stream_pair(struct ph_scope *sa, struct ph_scope *sb, size_t size, struct ph_stream **a, struct ph_stream **b)
{
    struct ph_scope *scope = ph_scope_new(NULL);
    struct pair *p = ph_new(scope, struct pair);

    p->scope = scope;
    p->open = 2;
    for (int i = 0; i < 2; i++) {
        p->ring[i].readable = ph_cond_new(scope);
        p->ring[i].writable = ph_cond_new(scope);
    }
    *a = make_end(sa, p, 0, size ? size : 16384);
    *b = make_end(sb, p, 1, size ? size : 16384);
    p->ring[0].size = p->ring[1].size = (*a)->size;    /* a ring's buffer becomes a stream's */
}
