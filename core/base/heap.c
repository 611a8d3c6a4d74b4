/* heap: see heap.h. */
#include <stdlib.h>
#include <posthorn/error.h>
#include "core/base/heap.h"

void ph_heap_fini(struct ph_heap *h)
{
    free(h->at);
    h->at = NULL;
    h->n = h->cap = 0;
}

static void put(struct ph_heap *h, size_t i, void *item)
{
    h->at[i - 1] = item;
    h->place(item, i);
}

static void sift_up(struct ph_heap *h, size_t i)
{
    void *item = h->at[i - 1];

    for (; i > 1 && h->cmp(item, h->at[i / 2 - 1]) < 0; i /= 2)
        put(h, i, h->at[i / 2 - 1]);
    put(h, i, item);
}

static void sift_down(struct ph_heap *h, size_t i)
{
    void *item = h->at[i - 1];

    for (size_t c; (c = 2 * i) <= h->n; i = c) {
        if (c < h->n && h->cmp(h->at[c], h->at[c - 1]) < 0)
            c++;
        if (h->cmp(h->at[c - 1], item) >= 0)
            break;
        put(h, i, h->at[c - 1]);
    }
    put(h, i, item);
}

void ph_heap_push(struct ph_heap *h, void *item)
{
    if (h->n == h->cap) {
        h->cap = h->cap ? h->cap * 2 : 4;
        if (!(h->at = reallocarray(h->at, h->cap, sizeof *h->at)))
            ph_die("out of memory");
    }
    h->at[h->n++] = item;
    sift_up(h, h->n);
}

void *ph_heap_top(const struct ph_heap *h)
{
    return h->n ? h->at[0] : NULL;
}

void ph_heap_update(struct ph_heap *h, size_t index)
{
    ph_assert(index >= 1 && index <= h->n);
    if (index > 1 && h->cmp(h->at[index - 1], h->at[index / 2 - 1]) < 0)
        sift_up(h, index);
    else
        sift_down(h, index);
}

void ph_heap_remove(struct ph_heap *h, size_t index)
{
    ph_assert(index >= 1 && index <= h->n);
    void *gone = h->at[index - 1], *last = h->at[--h->n];

    if (gone != last) {
        h->at[index - 1] = last;
        ph_heap_update(h, index);
    }
    h->place(gone, 0);
}

void *ph_heap_pop(struct ph_heap *h)
{
    void *top = ph_heap_top(h);

    if (top)
        ph_heap_remove(h, 1);
    return top;
}
