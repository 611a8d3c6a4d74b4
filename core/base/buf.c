/* buf: bytes that grow up to a maximum.  See posthorn/buf.h. */
#include <stdlib.h>
#include <string.h>
#include <posthorn/buf.h>
#include <posthorn/error.h>
#include "core/base/arena.h"

static char nothing[1];            /* p of an empty buffer: never written but by NUL */

void ph_buf_init(struct ph_buf *b, struct ph_scope *s, size_t max)
{
    *b = (struct ph_buf){ .p = nothing, .max = max < SIZE_MAX ? max : SIZE_MAX - 1, .scope = s };
}

void ph_buf_fixed(struct ph_buf *b, char *mem, size_t size)
{
    ph_assert(size >= 1);
    *b = (struct ph_buf){ .p = mem, .cap = size - 1, .max = size - 1, .fixed = 1 };
    mem[0] = 0;
}

void ph_buf_fini(struct ph_buf *b)
{
    if (!b->scope && !b->fixed && b->p != nothing)
        free(b->p);
    *b = (struct ph_buf){ .p = nothing };
}

void ph_buf_reset(struct ph_buf *b)
{
    ph_buf_truncate(b, 0);
    b->full = 0;
}

void ph_buf_truncate(struct ph_buf *b, size_t n)
{
    if (n < b->n) {
        b->n = n;
        b->p[n] = 0;
    }
}

static void grow(struct ph_buf *b, size_t want)
{
    size_t cap = b->cap < 64 ? 64 : b->cap;

    while (cap < want)
        cap = cap > b->max / 2 ? b->max : cap * 2;
    if (cap > b->max)
        cap = b->max;
    if (b->scope && b->p != nothing && ph_scope_extend(b->scope, b->p, b->cap + 1, cap + 1)) {
        b->cap = cap;
        return;
    }
    char *p = b->scope ? ph_alloc(b->scope, cap + 1) : malloc(cap + 1);
    if (!p)
        ph_die("out of memory (%zu bytes)", cap + 1);
    memcpy(p, b->p, b->n + 1);
    if (!b->scope && b->p != nothing)
        free(b->p);
    b->p = p;
    b->cap = cap;
}

char *ph_buf_room(struct ph_buf *b, size_t n)
{
    if (n > b->max - b->n) {
        b->full = 1;
        return NULL;
    }
    if (n > b->cap - b->n || b->p == nothing)
        grow(b, b->n + n);
    return b->p + b->n;
}

void ph_buf_added(struct ph_buf *b, size_t n)
{
    ph_assert(n <= b->cap - b->n);
    if (n) {
        b->n += n;
        b->p[b->n] = 0;
    }
}

int ph_buf_put(struct ph_buf *b, const void *p, size_t n)
{
    char *at = n > b->cap - b->n ? ph_buf_room(b, n) : b->p + b->n;

    if (!at)
        return 0;
    if (n) {
        memmove(at, p, n);
        b->n += n;
        b->p[b->n] = 0;
    }
    return 1;
}

int ph_buf_putc(struct ph_buf *b, char c)
{
    if (b->n == b->cap)
        return ph_buf_put(b, &c, 1);
    b->p[b->n++] = c;
    b->p[b->n] = 0;
    return 1;
}

int ph_buf_puts(struct ph_buf *b, const char *s) { return ph_buf_put(b, s, strlen(s)); }
int ph_buf_str(struct ph_buf *b, ph_str s) { return ph_buf_put(b, s.p, s.n); }

int ph_buf_vprintf(struct ph_buf *b, const char *fmt, va_list ap)
{
    char none[1], *at = b->p == nothing ? none : b->p + b->n;
    size_t room = b->cap - b->n;
    va_list again;

    va_copy(again, ap);
    int n = ph_vformat(at, room + 1, fmt, again);
    va_end(again);
    if (n < 0 || (size_t)n > room) {
        *at = 0;                   /* what did not fit is not there */
        if (n < 0 || !(at = ph_buf_room(b, (size_t)n)))
            return 0;
        ph_vformat(at, (size_t)n + 1, fmt, ap);
    }
    ph_buf_added(b, (size_t)n);
    return 1;
}

int ph_buf_printf(struct ph_buf *b, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    int r = ph_buf_vprintf(b, fmt, ap);
    va_end(ap);
    return r;
}

void ph_buf_shift(struct ph_buf *b, size_t n)
{
    if (n >= b->n) {
        ph_buf_truncate(b, 0);
        return;
    }
    if (n) {
        memmove(b->p, b->p + n, b->n - n + 1);
        b->n -= n;
    }
}

ph_str ph_buf_view(const struct ph_buf *b)
{
    return (ph_str){ b->p, b->n };
}
