/* stack: memory of tasks, each with a guard page below, used again.
 *
 * The task itself stands on the heap, so that a stack can be emptied: a task that
 * waits for long keeps the pages that it uses, or only a copy of what is on them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "core/run/inside.h"

#ifdef __has_include
#if __has_include("valgrind/valgrind.h")
#include <valgrind/valgrind.h>
#define WITH_VALGRIND 1
#endif
#endif

#ifdef WITH_ASAN
void __asan_unpoison_memory_region(void const volatile *p, size_t n);
#define STACK_BYTES (256u << 10)     /* ASan's red zones make frames large */
#else
#define STACK_BYTES (64u << 10)
#endif
#define KEEP_HOT  64u                /* free stacks that keep their pages */
#define KEEP_FREE 1024u              /* free stacks that keep their address space */

static size_t page(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static void unmap(struct ph_stack *s)
{
#ifdef WITH_VALGRIND
    VALGRIND_STACK_DEREGISTER(s->valgrind_id);
#endif
    munmap(s->base - page(), s->size + page());
    free(s);
}

static struct ph_stack *map(size_t size)
{
    size_t guard = page();
    char *p = mmap(NULL, size + guard, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED) {
        ph_fail_errno(PH_TEMP, errno, "stack of a task");
        return NULL;
    }
    if (mprotect(p, guard, PROT_NONE) < 0) {
        ph_fail_errno(PH_TEMP, errno, "guard page of a task");
        munmap(p, size + guard);
        return NULL;
    }
    struct ph_stack *s = calloc(1, sizeof *s);
    if (!s)
        ph_die("out of memory");
    s->base = p + guard;
    s->size = size;
#ifdef WITH_VALGRIND
    s->valgrind_id = VALGRIND_STACK_REGISTER(s->base, s->base + size);
#endif
    return s;
}

/* The usual size comes from the free list; a special one is mapped. */
struct ph_stack *ph_stack_take(struct ph_loop *l, size_t size)
{
    struct ph_stack *s = l->free_stacks;

    if (size && size != STACK_BYTES)
        return map((size + page() - 1) & ~(page() - 1));
    if (!s)
        return map(STACK_BYTES);
    l->free_stacks = s->next;
    l->free_count--;
    return s;
}

void ph_stack_give(struct ph_loop *l, struct ph_stack *s)
{
#ifdef WITH_ASAN
    __asan_unpoison_memory_region(s->base, s->size);   /* frames that never returned */
#endif
    if (s->size != STACK_BYTES || l->free_count >= KEEP_FREE) {
        unmap(s);
        return;
    }
    if (l->free_count >= KEEP_HOT)
        ph_stack_trim(s, s->base + s->size);
    s->next = l->free_stacks;
    l->free_stacks = s;
    l->free_count++;
}

/* A red zone below sp belongs to the function that stopped there. */
void ph_stack_trim(struct ph_stack *s, const void *sp)
{
    uintptr_t end = ((uintptr_t)sp - 256) & ~(uintptr_t)(page() - 1);

    if (end > (uintptr_t)s->base)
        madvise(s->base, end - (uintptr_t)s->base, MADV_DONTNEED);
}

/* More than half a page is not worth it. */
void ph_stack_put_away(struct ph_stack *s, const void *sp)
{
    size_t n = (size_t)(s->base + s->size - (const char *)sp);

    if (n > page() / 2 || !(s->away = malloc(n))) {
        ph_stack_trim(s, sp);
        return;
    }
    s->away_n = n;
    memcpy(s->away, sp, n);
    madvise(s->base, s->size, MADV_DONTNEED);
}

void ph_stack_bring_back(struct ph_stack *s)
{
    if (!s->away)
        return;
    memcpy(s->base + s->size - s->away_n, s->away, s->away_n);
    free(s->away);
    s->away = NULL;
}

void ph_stack_fini(struct ph_loop *l)
{
    while (l->free_stacks) {
        struct ph_stack *s = l->free_stacks;

        l->free_stacks = s->next;
        unmap(s);
    }
    l->free_count = 0;
}
