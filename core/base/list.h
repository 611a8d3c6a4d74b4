/* list: doubly linked, intrusive, circular with a head.  A node that is in no
 * list points at itself, so removing it twice does nothing. */
#ifndef CORE_BASE_LIST_H
#define CORE_BASE_LIST_H

#include <stddef.h>

struct ph_list {
    struct ph_list *next, *prev;
};

#define PH_LIST_INIT(head) { &(head), &(head) }
/* The struct of type that holds `node` as member. */
#define ph_list_of(node, type, member) ((type *)(void *)((char *)(node) - offsetof(type, member)))

static inline void ph_list_init(struct ph_list *l) { l->next = l->prev = l; }
static inline int ph_list_is_empty(const struct ph_list *l) { return l->next == l; }

static inline void ph_list_insert(struct ph_list *before, struct ph_list *node)
{
    node->next = before;
    node->prev = before->prev;
    before->prev->next = node;
    before->prev = node;
}

/* At the end; at the front. */
static inline void ph_list_push(struct ph_list *head, struct ph_list *node) { ph_list_insert(head, node); }
static inline void ph_list_unshift(struct ph_list *head, struct ph_list *node) { ph_list_insert(head->next, node); }

static inline void ph_list_remove(struct ph_list *node)
{
    node->next->prev = node->prev;
    node->prev->next = node->next;
    ph_list_init(node);
}

/* First node, removed; NULL when empty. */
static inline struct ph_list *ph_list_shift(struct ph_list *head)
{
    struct ph_list *node = head->next;

    if (node == head)
        return NULL;
    ph_list_remove(node);
    return node;
}

#endif
