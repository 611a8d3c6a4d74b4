/* scope: arena plus defers.  See posthorn/scope.h.
 *
 * A scope is a chain of blocks, the newest first, and a list of children.  The
 * struct itself stands in its first block, so that a scope costs one malloc.
 * Under ASan each allocation is a block of its own, so that an overrun and a
 * use after the end are seen. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <posthorn/error.h>
#include <posthorn/scope.h>
#include "core/base/arena.h"

#if defined(__SANITIZE_ADDRESS__)
#define ONE_BY_ONE 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ONE_BY_ONE 1
#endif
#endif
#ifndef ONE_BY_ONE
#define ONE_BY_ONE 0
#endif

#define FIRST_BYTES 496u           /* with malloc's own words: one 512 class */
#define SECOND_BYTES 1008u         /* the next one; then each is twice as large, up to BLOCK_BYTES: */
#define BLOCK_BYTES 4080u          /* thousands of sessions that wait hold scopes with little in them */
#define ALIGN 16u

struct block {
    struct block *next;
    size_t used, cap;              /* of data */
    _Alignas(ALIGN) char data[];
};

struct ph_defer {
    struct ph_defer *next;
    void (*fn)(void *);
    void *arg;
    struct ph_scope *owner;
};

struct ph_scope {
    struct ph_scope *parent, *child, *next, *prev;
    struct block *blocks;          /* newest first; the last one holds this struct */
    struct ph_defer *defers;       /* newest first */
    size_t bytes;
    size_t next_block;             /* size of the next block */
};

static struct block *block_new(size_t cap)
{
    size_t total;

    if (__builtin_add_overflow(cap, sizeof(struct block), &total))
        ph_die("scope: size overflow");
    struct block *b = malloc(total);
    if (!b)
        ph_die("out of memory (%zu bytes)", total);
    b->next = NULL;
    b->used = 0;
    b->cap = cap;
    return b;
}

static size_t round_up(size_t n)
{
    if (n > SIZE_MAX - ALIGN)
        ph_die("scope: size overflow");
    return (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

struct ph_scope *ph_scope_new(struct ph_scope *parent)
{
    struct block *b = block_new(ONE_BY_ONE ? round_up(sizeof(struct ph_scope)) : FIRST_BYTES - sizeof(struct block));
    struct ph_scope *s = (struct ph_scope *)(void *)b->data;

    memset(s, 0, sizeof *s);
    b->used = round_up(sizeof *s);
    s->blocks = b;
    s->next_block = SECOND_BYTES;
    if ((s->parent = parent)) {
        s->next = parent->child;
        if (s->next)
            s->next->prev = s;
        parent->child = s;
    }
    return s;
}

static void run_defers(struct ph_scope *s)
{
    while (s->defers) {
        struct ph_defer *d = s->defers;

        s->defers = d->next;
        if (d->fn)
            d->fn(d->arg);
    }
}

/* Children end before our own defers: they may use what we own. */
static void end_content(struct ph_scope *s)
{
    while (s->child)
        ph_scope_free(s->child);
    run_defers(s);
    while (s->child)               /* a defer may have needed a scope of its own */
        ph_scope_free(s->child);
}

static void unlink_scope(struct ph_scope *s)
{
    if (s->next)
        s->next->prev = s->prev;
    if (s->prev)
        s->prev->next = s->next;
    else if (s->parent)
        s->parent->child = s->next;
}

void ph_scope_free(struct ph_scope *s)
{
    if (!s)
        return;
    end_content(s);
    unlink_scope(s);
    for (struct block *b = s->blocks, *next; b; b = next) {
        next = b->next;            /* the last one holds *s */
        free(b);
    }
}

void ph_scope_reset(struct ph_scope *s)
{
    end_content(s);
    while (s->blocks->next) {
        struct block *b = s->blocks;

        s->blocks = b->next;
        free(b);
    }
    s->blocks->used = round_up(sizeof *s);
    s->bytes = 0;
    s->next_block = SECOND_BYTES;
}

size_t ph_scope_bytes(const struct ph_scope *s)
{
    size_t sum = s->bytes;

    for (const struct ph_scope *c = s->child; c; c = c->next)
        sum += ph_scope_bytes(c);
    return sum;
}

/* A large piece gets a block behind the newest one, which stays in use. */
static void *alloc_apart(struct ph_scope *s, size_t n)
{
    struct block *b = block_new(n);

    b->used = n;
    b->next = s->blocks->next;
    if (!b->next) {                /* keep the first block, which holds *s, last */
        b->next = s->blocks;
        s->blocks = b;
    } else {
        s->blocks->next = b;
    }
    return b->data;
}

static int has_room(const struct block *b, size_t n)
{
    return b->cap - b->used >= n;
}

/* The newest block, the one before it when that is a large piece, or a new one. */
static struct block *block_with(struct ph_scope *s, size_t want)
{
    struct block *b = s->blocks;

    if (has_room(b, want))
        return b;
    if (b->next && has_room(b->next, want))
        return b->next;
    size_t size = s->next_block - sizeof *b;
    b = block_new(size < want ? want : size);
    b->next = s->blocks;
    s->blocks = b;
    s->next_block = s->next_block * 2 + ALIGN > BLOCK_BYTES ? BLOCK_BYTES : s->next_block * 2 + ALIGN;
    return b;
}

void *ph_alloc(struct ph_scope *s, size_t n)
{
    size_t want = round_up(n ? n : 1);
    struct block *b = s->blocks;
    void *p;

    s->bytes += want;
    if (ONE_BY_ONE || want > BLOCK_BYTES / 4) {
        p = alloc_apart(s, ONE_BY_ONE ? (n ? n : 1) : want);
    } else {
        b = block_with(s, want);
        p = b->data + b->used;
        b->used += want;
    }
    return memset(p, 0, n ? n : 1);
}

int ph_scope_extend(struct ph_scope *s, void *p, size_t have, size_t want)
{
    struct block *b = s->blocks;
    size_t old = round_up(have), new = round_up(want);

    for (int i = 0; !ONE_BY_ONE && b && i < 2; i++, b = b->next)
        if ((char *)p >= b->data && (char *)p + old == b->data + b->used && has_room(b, new - old)) {
            b->used += new - old;
            s->bytes += new - old;
            return 1;
        }
    return 0;
}

void *ph_alloc_array(struct ph_scope *s, size_t count, size_t size)
{
    size_t total;

    if (__builtin_mul_overflow(count, size, &total))
        ph_die("scope: array of %zu * %zu bytes", count, size);
    return ph_alloc(s, total);
}

char *ph_cstr_dup(struct ph_scope *s, ph_str v)
{
    if (v.n == SIZE_MAX)
        ph_die("scope: size overflow");
    char *p = ph_alloc(s, v.n + 1);

    if (v.n)
        memcpy(p, v.p, v.n);
    return p;
}

ph_str ph_str_dup(struct ph_scope *s, ph_str v)
{
    return (ph_str){ ph_cstr_dup(s, v), v.n };
}

ph_str ph_str_lower(struct ph_scope *s, ph_str v)
{
    char *p = ph_cstr_dup(s, v);

    for (size_t i = 0; i < v.n; i++)
        p[i] = ph_lower(p[i]);
    return (ph_str){ p, v.n };
}

ph_str ph_str_vprintf(struct ph_scope *s, const char *fmt, va_list ap)
{
    char small[256] PH_UNFILLED;               /* most texts are short: formatted once */
    va_list again;

    va_copy(again, ap);
    int n = ph_vformat(small, sizeof small, fmt, again);
    va_end(again);
    if (n < 0)
        ph_die("bad format: %s", fmt);
    char *p = ph_alloc(s, (size_t)n + 1);
    if ((size_t)n < sizeof small)
        memcpy(p, small, (size_t)n);
    else
        ph_vformat(p, (size_t)n + 1, fmt, ap);
    return (ph_str){ p, (size_t)n };
}

ph_str ph_str_printf(struct ph_scope *s, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    ph_str r = ph_str_vprintf(s, fmt, ap);
    va_end(ap);
    return r;
}

struct ph_defer *ph_defer(struct ph_scope *s, void (*fn)(void *), void *arg)
{
    struct ph_defer *d = ph_new(s, struct ph_defer);

    d->fn = fn;
    d->arg = arg;
    d->owner = s;
    d->next = s->defers;
    s->defers = d;
    return d;
}

/* Unlinked too, so that a long-lived scope does not walk dead defers. */
void ph_disarm(struct ph_defer *d)
{
    if (!d || !d->fn)
        return;
    d->fn = NULL;
    for (struct ph_defer **at = &d->owner->defers; *at; at = &(*at)->next)
        if (*at == d) {
            *at = d->next;
            return;
        }
}

void ph_defer_run(struct ph_defer *d)
{
    void (*fn)(void *) = d ? d->fn : NULL;

    if (fn) {
        ph_disarm(d);
        fn(d->arg);
    }
}

static void close_fd(void *arg)
{
    close((int)(intptr_t)arg);
}

struct ph_defer *ph_defer_close(struct ph_scope *s, int fd)
{
    return ph_defer(s, close_fd, (void *)(intptr_t)fd);
}

void ph_scope_cleanup(struct ph_scope **s)
{
    ph_scope_free(*s);
}
