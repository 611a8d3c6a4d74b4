/* posthorn/stream.h: buffered byte streams: sockets, memory pairs, and layers
 * on top.  Protocol code cannot tell them apart.
 *
 * Reads: a view given by _line, _peek is valid until the next call that reads
 * from this stream (what other streams do meanwhile does not touch it).  Writes are buffered; nothing is sent
 * before the buffer is full or ph_stream_flush.  Errors: PH_EOF the peer left,
 * PH_TIMEOUT, PH_CANCEL, PH_TEMP other; a write error stays with the stream.
 * One task reads and one task (the same or another) writes. */
#ifndef POSTHORN_STREAM_H
#define POSTHORN_STREAM_H

#include <posthorn/task.h>

PH_BEGIN

struct ph_stream;

/* Over a connected non-blocking socket or pipe; takes fd, closes it with the
 * scope (or ph_stream_close).  size: bytes of each buffer (0: 4096; buffers
 * are allocated on first use and given back when idle and empty; with 16384, input
 * that comes in large pieces is read in up to 64 KB). */
struct ph_stream *ph_stream_fd(struct ph_scope *s, int fd, size_t size);
/* Two ends of a memory stream, as a connected socket pair would be: what one
 * writes and flushes the other reads, `size` bytes at most under way (0: 16384);
 * descriptors pass too.  Each end lives on its own scope. */
void ph_stream_pair(struct ph_scope *sa, struct ph_scope *sb, size_t size,
                    struct ph_stream **a, struct ph_stream **b);
/* Send what is buffered is the caller's duty: close drops it.  Idempotent. */
void ph_stream_close(struct ph_stream *io);
/* The descriptor below, or -1 for memory. */
int ph_stream_fileno(const struct ph_stream *io);
/* Absolute deadline for each later wait of this stream (with the task's own,
 * the earlier counts). */
void ph_stream_deadline(struct ph_stream *io, int64_t deadline);
/* The same, ms from now, and anew whenever `bytes` more have left: a large write
 * may take long as long as the peer takes it at that pace.  Until the next deadline. */
void ph_stream_pace(struct ph_stream *io, int64_t ms, size_t bytes);

/* What one line was. */
#define PH_LINE_CRLF 1     /* ended by CR LF */
#define PH_LINE_LF   2     /* ended by a bare LF */
#define PH_LINE_LONG 3     /* longer than the buffer or the limit: *line is empty, and of the
                              line at most twice the limit was discarded.  When it was longer
                              still the next call meets the rest, as PH_LINE_LONG again: so
                              who counts these ends a line that has no end */
/* Next line without its end; at most `limit` bytes before the end (0: the
 * buffer's size, which also bounds limit).  Bytes after the last LF before EOF
 * are an answer PH_EOF.  Yields. */
int ph_stream_line(struct ph_stream *io, size_t limit, ph_str *line) PH_YIELDS;
/* At least one byte of what is buffered, reading when nothing is; does not
 * consume: 1, or negative.  Yields. */
int ph_stream_peek(struct ph_stream *io, ph_str *view) PH_YIELDS;
/* Consume n of the bytes peeked. */
void ph_stream_skip(struct ph_stream *io, size_t n);
/* Exactly n bytes: 0, or negative (PH_EOF also when cut short).  Yields. */
int ph_stream_read(struct ph_stream *io, void *p, size_t n) PH_YIELDS;
/* Bytes that can be read without waiting (in the buffer; the socket is not asked). */
size_t ph_stream_pending(const struct ph_stream *io);
/* Throw away what was read and not consumed (STARTTLS); returns how many. */
size_t ph_stream_discard(struct ph_stream *io);

/* Append to the output buffer, sending when it is full: 0, or negative. */
int ph_stream_write(struct ph_stream *io, const void *p, size_t n) PH_YIELDS;
int ph_stream_str(struct ph_stream *io, ph_str s) PH_YIELDS;
/* Room for n bytes that the caller fills at once, before anything else is called;
 * they count as written.  NULL: they do not fit the buffer (or the stream failed):
 * write says what is the matter. */
char *ph_stream_room(struct ph_stream *io, size_t n);
/* As so many calls of write, but what does not fit the buffer leaves together,
 * with what waits in it. */
#define PH_STREAM_PARTS 4
int ph_stream_gather(struct ph_stream *io, const ph_str *part, unsigned count) PH_YIELDS;
int ph_stream_printf(struct ph_stream *io, const char *fmt, ...) PH_YIELDS PH_PRINTF(2, 3);
/* Send what is buffered: 0, or negative. */
int ph_stream_flush(struct ph_stream *io) PH_YIELDS;
/* The same, for the last words before the stream is closed at once: they may leave
 * in one packet with the end of the connection. */
int ph_stream_flush_last(struct ph_stream *io) PH_YIELDS;
/* 1 when the peer has closed or data waits to be read, without waiting: an
 * idle cached connection for which this is 1 must not be reused. */
int ph_stream_is_stale(struct ph_stream *io);

/* Descriptors, on UNIX sockets and memory streams.  A sent descriptor is
 * duplicated (the caller keeps his) and leaves with the next byte written;
 * received ones wait in order beside the bytes (at most 64; more closes the
 * stream).  take: the descriptor (caller closes), or -1 when none came. */
int ph_stream_send_fd(struct ph_stream *io, int fd);
int ph_stream_take_fd(struct ph_stream *io);
/* Close a descriptor that was taken (at most once; -1 is nothing): what others
 * sent may be a socket that lingers, and close() would wait for it. */
void ph_stream_close_taken(int fd);

PH_END
#endif
