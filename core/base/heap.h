/* heap: binary heap of pointers, the smallest on top; each item knows its place
 * so that it can be moved or removed.  No call yields. */
#ifndef CORE_BASE_HEAP_H
#define CORE_BASE_HEAP_H

#include <stddef.h>

struct ph_heap {
    void **at;
    size_t n, cap;
    /* < 0 when a goes first. */
    int (*cmp)(const void *a, const void *b);
    /* Told each new index of an item (1-based; 0 when it leaves). */
    void (*place)(void *item, size_t index);
};

#define PH_HEAP_INIT(cmp_, place_) { .cmp = (cmp_), .place = (place_) }

void ph_heap_fini(struct ph_heap *h);
void ph_heap_push(struct ph_heap *h, void *item);
void *ph_heap_top(const struct ph_heap *h);       /* NULL when empty */
void *ph_heap_pop(struct ph_heap *h);
void ph_heap_remove(struct ph_heap *h, size_t index);
/* The item at index changed its order. */
void ph_heap_update(struct ph_heap *h, size_t index);

#endif
