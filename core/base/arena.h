/* arena.h: growing in place, for buffers on a scope. */
#ifndef CORE_BASE_ARENA_H
#define CORE_BASE_ARENA_H

#include <posthorn/scope.h>

/* 1 when p, the last piece taken from the scope, of `have` bytes, has `want`
 * bytes now (the new ones hold anything); 0 when it has not and nothing changed. */
int ph_scope_extend(struct ph_scope *s, void *p, size_t have, size_t want);

#endif
