/* t/faults/memory.c: the Nth allocation of a service fails.  With ASan,
 * which is preloaded before us, its own allocator is found first and none fails. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "inject.h"

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);

static int fails(const char *what)
{
    struct control *c = inject_shared ? &inject_shared->control : NULL;
    struct frames f;

    if (!c || inject_inside || c->mode < MODE_COUNT_MEMORY || strncmp(c->service, inject_service(), INJECT_NAME) != 0)
        return 0;
    if (c->hits && c->struck_pid != getpid())
        return 0;                  /* who is started in its place has memory */
    __atomic_fetch_add(&c->memory_met, 1, __ATOMIC_SEQ_CST);
    if (c->mode != MODE_NO_MEMORY || __atomic_fetch_sub(&c->memory_skip, 1, __ATOMIC_SEQ_CST) > 0 ||
        __atomic_fetch_sub(&c->memory_count, 1, __ATOMIC_SEQ_CST) <= 0)
        return 0;
    if (c->hits == 0) {
        inject_frames(&f);
        inject_struck("memory", what, &f);
    }
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t n)
{
    return fails("malloc") ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    return fails("calloc") ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    return fails("realloc") ? NULL : __libc_realloc(p, n);
}

void *reallocarray(void *p, size_t n, size_t size)
{
    size_t all;

    if (__builtin_mul_overflow(n, size, &all)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(p, all);
}

/* libc's own strdup and asprintf call malloc by name and so come here too. */
