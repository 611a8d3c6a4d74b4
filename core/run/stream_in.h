/* stream_in.h: inside of streams: buffers above, a layer below.
 *
 * stream.c       buffers, lines, writes (knows no descriptor)
 * stream_fd.c    the layer over sockets and pipes
 * stream_mem.c   the layer between two tasks of one process
 * A further layer (TLS) is another ops table over a lower stream. */
#ifndef CORE_RUN_STREAM_IN_H
#define CORE_RUN_STREAM_IN_H

#include <sys/uio.h>
#include <posthorn/stream.h>

#define PH_STREAM_FDS 64           /* received descriptors that may wait */
#define PH_STREAM_FDS_OUT 16       /* sent with one piece of data */
#define PH_STREAM_FDS_EVER 253     /* the kernel's limit for one piece (SCM_MAX_FD) */

struct ph_stream_ops {
    /* Bytes moved (> 0), 0 when it would block, or negative with text. */
    int64_t (*read)(struct ph_stream *io, void *p, size_t n);
    int64_t (*write)(struct ph_stream *io, const struct iovec *iov, int count);
    /* As read, but what is there becomes the stream's input buffer (it has none), without
     * a copy.  May be NULL. */
    int64_t (*take)(struct ph_stream *io);
    /* Until read or write may move something: 0, or negative.  Yields. */
    int (*wait)(struct ph_stream *io, int what, int64_t deadline) PH_YIELDS;
    int (*is_stale)(struct ph_stream *io);
    void (*close)(struct ph_stream *io);
};

struct ph_stream_fds {
    int *fd;                       /* heap, made when the first one comes */
    unsigned n, cap;
};

struct ph_stream {
    const struct ph_stream_ops *ops;   /* NULL: closed */
    void *layer;
    int fd;                        /* -1 when there is none */
    int family;                    /* AF_*, 0: no socket */
    int drained;                   /* TCP: there was nothing left to read; until the next wait */
    int is_last;                   /* what is sent now may leave with the end of the connection */
    size_t size;                   /* of each buffer ... */
    int bulk;                      /* ... but for input that comes in large pieces */
    char *in, *out;                /* heap, NULL while not needed */
    size_t in_cap, in_at, in_end, out_n, out_cap;
    int sending;                   /* `out` is being sent from */
    int in_long;                   /* the rest of an overlong line is still to come */
    int64_t deadline, pace_ms;     /* pace_ms: a new deadline after each ... */
    size_t pace_bytes, paced;      /* ... pace_bytes sent, of which some are */
    int error;                     /* a failed write stays */
    struct ph_stream_fds fds_in, fds_out;
};

/* An open stream on the scope, closed with it. */
struct ph_stream *ph_stream_make(struct ph_scope *s, const struct ph_stream_ops *ops, void *layer, int fd, size_t size);
/* ph_stream_fd for who knows the family of the socket, which must be non-blocking. */
struct ph_stream *ph_stream_socket(struct ph_scope *s, int fd, int family, size_t size);
/* Memory for a buffer of that size, and back: a few of the usual size are kept. */
char *ph_stream_buffer(size_t size);
void ph_stream_buffer_free(char *p, size_t size);
/* Queue a descriptor (owned by the list then): 0, or PH_PERM when there are too many. */
int ph_stream_fds_add(struct ph_stream_fds *l, int fd, unsigned max);
/* The oldest, or -1. */
int ph_stream_fds_shift(struct ph_stream_fds *l);
void ph_stream_fds_close(struct ph_stream_fds *l);
/* Close our copies of what has left (so no close is the last); the list stays for more. */
void ph_stream_fds_sent(struct ph_stream_fds *l);

#endif
