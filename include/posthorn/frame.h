/* posthorn/frame.h: what private services say to each other: frames of named
 * attributes over a stream, descriptors beside them.  The peer is hostile: a
 * frame that breaks a limit or the syntax is PH_PERM, and the connection must
 * be closed by the caller; nothing else is touched.  A length that is claimed takes
 * 16 KiB at most; from there memory grows with what has come.
 *
 * Wire form: u32 little-endian length of what follows (at most the limit), u8
 * number of descriptors, u8 0, u16 number of attributes; each attribute: u8
 * length of name (1..63), name [a-z0-9_], u32 length of value, value. */
#ifndef POSTHORN_FRAME_H
#define POSTHORN_FRAME_H

#include <posthorn/stream.h>

PH_BEGIN

#define PH_FRAME_MAX (1u << 20)   /* bytes, unless the reader says less */
#define PH_FRAME_FDS 16

struct ph_frame;

/* Building.  The frame copies nothing until it is sent: views must live until
 * then.  Repeated names are allowed and keep their order. */
struct ph_frame *ph_frame_new(struct ph_scope *s);
void ph_frame_str(struct ph_frame *f, const char *name, ph_str value);
void ph_frame_cstr(struct ph_frame *f, const char *name, const char *value);
void ph_frame_u64(struct ph_frame *f, const char *name, uint64_t value);
void ph_frame_i64(struct ph_frame *f, const char *name, int64_t value);
/* Send this descriptor with the frame; the caller keeps it and must keep it
 * open until ph_frame_send returns. */
void ph_frame_fd(struct ph_frame *f, int fd);
/* Encode into the stream's buffer: 0, or negative.  Flush is the caller's. */
int ph_frame_send(struct ph_stream *io, const struct ph_frame *f) PH_YIELDS;

/* Reading.  1 and *f on the scope (descriptors close with the scope unless
 * taken); PH_EOF at a clean end; PH_PERM for a bad frame.  max 0: PH_FRAME_MAX. */
int ph_frame_recv(struct ph_stream *io, struct ph_scope *s, size_t max,
                  struct ph_frame **f) PH_YIELDS;
/* First attribute of that name.  PH_FOUND or PH_NONE; the number forms answer
 * PH_PERM when the value is no number.  Views live as long as the frame. */
int ph_frame_get(const struct ph_frame *f, const char *name, ph_str *value);
int ph_frame_get_u64(const struct ph_frame *f, const char *name, uint64_t *value);
int ph_frame_get_i64(const struct ph_frame *f, const char *name, int64_t *value);
/* A time in microseconds since 1970, up to PH_WALL_MAX_US; PH_PERM for others. */
int ph_frame_get_time(const struct ph_frame *f, const char *name, int64_t *us);
/* The value or an empty view (a missing and an empty one look alike). */
ph_str ph_frame_value(const struct ph_frame *f, const char *name);
/* Walk all attributes in order: start with *at = 0; 1, or 0 at the end. */
int ph_frame_next(const struct ph_frame *f, size_t *at, ph_str *name, ph_str *value);
/* The i-th descriptor; the caller owns it now.  -1 when there is none. */
int ph_frame_take_fd(struct ph_frame *f, unsigned i);

PH_END
#endif
