/* posthorn/map.h: hash map from bytes to a pointer.  Keys are copied; values
 * are the caller's.  Keyed hash (a random key per process), so peers cannot
 * choose collisions.  No call yields. */
#ifndef POSTHORN_MAP_H
#define POSTHORN_MAP_H

#include <posthorn/scope.h>

PH_BEGIN

struct ph_map;

/* A map that is freed with the scope; with s == NULL the caller frees it. */
struct ph_map *ph_map_new(struct ph_scope *s);
void ph_map_free(struct ph_map *m);
size_t ph_map_count(const struct ph_map *m);
/* The value, or NULL. */
void *ph_map_get(const struct ph_map *m, ph_str key);
/* Set (value must not be NULL); returns the value that was there, or NULL. */
void *ph_map_set(struct ph_map *m, ph_str key, void *value);
/* Remove; returns the value that was there, or NULL. */
void *ph_map_del(struct ph_map *m, ph_str key);
/* Walk in no order: start with *at = 0; 1 and *key, *value set, or 0 at the
 * end.  Only ph_map_del of the key just returned is allowed during a walk. */
int ph_map_next(const struct ph_map *m, size_t *at, ph_str *key, void **value);

PH_END
#endif
