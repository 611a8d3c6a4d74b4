/* posthorn/buf.h: a byte buffer that grows up to a maximum chosen at birth and
 * is always NUL-terminated.  No call yields. */
#ifndef POSTHORN_BUF_H
#define POSTHORN_BUF_H

#include <posthorn/scope.h>

PH_BEGIN

struct ph_buf {
    char *p;           /* never NULL after init; p[n] == 0 */
    size_t n;          /* bytes used, without the NUL */
    size_t cap;        /* bytes that fit now, without the NUL */
    size_t max;        /* n never exceeds this */
    int32_t full;      /* 1 once something did not fit; stays until reset */
    int32_t fixed;     /* 1: p is the caller's memory and does not grow */
    struct ph_scope *scope; /* growth frees with this scope; NULL: heap, ph_buf_fini */
};

/* Empty buffer on a scope (freed with it), or on the heap when s is NULL
 * (ph_buf_fini frees it).  max in bytes, without the NUL. */
void ph_buf_init(struct ph_buf *b, struct ph_scope *s, size_t max);
/* Buffer over `size` bytes of the caller's memory (size >= 1, NUL included). */
void ph_buf_fixed(struct ph_buf *b, char *mem, size_t size);
void ph_buf_fini(struct ph_buf *b);
/* Empty it, keep the memory, forget `full`. */
void ph_buf_reset(struct ph_buf *b);
void ph_buf_truncate(struct ph_buf *b, size_t n);

/* Append.  1 when all of it went in; 0 when it would exceed max: then nothing
 * is appended and b->full is set, so a chain of appends is checked once. */
int ph_buf_put(struct ph_buf *b, const void *p, size_t n);
int ph_buf_putc(struct ph_buf *b, char c);
int ph_buf_puts(struct ph_buf *b, const char *s);
int ph_buf_str(struct ph_buf *b, ph_str s);
int ph_buf_printf(struct ph_buf *b, const char *fmt, ...) PH_PRINTF(2, 3);
int ph_buf_vprintf(struct ph_buf *b, const char *fmt, va_list ap) PH_PRINTF(2, 0);
/* Room for n more bytes at the returned pointer (then ph_buf_added), or NULL. */
char *ph_buf_room(struct ph_buf *b, size_t n);
void ph_buf_added(struct ph_buf *b, size_t n);
/* Remove the first n bytes. */
void ph_buf_shift(struct ph_buf *b, size_t n);
/* View of the content: void after the next append. */
ph_str ph_buf_view(const struct ph_buf *b);

PH_END
#endif
