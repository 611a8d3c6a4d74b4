/* posthorn/scope.h: who owns memory.  A scope is an arena plus a list of
 * defers.  Scopes nest as the mail does (worker > session > transaction >
 * step); what allocates takes a scope.  Popping a scope frees its children,
 * runs its defers backwards and frees its memory.
 *
 * Allocation never returns NULL: when memory ends the process ends, and the
 * queue survives that.  A scope belongs to one task at a time and is not
 * locked.  Under AddressSanitizer every allocation is its own. */
#ifndef POSTHORN_SCOPE_H
#define POSTHORN_SCOPE_H

#include <stdarg.h>
#include <posthorn/str.h>

PH_BEGIN

struct ph_scope;
struct ph_defer;

/* A new scope inside parent (NULL: on its own).  It ends with ph_scope_free or
 * with its parent.  NULL parent: the caller must free it. */
struct ph_scope *ph_scope_new(struct ph_scope *parent);
/* End a scope; NULL is allowed.  Defers must not add to the scope they end. */
void ph_scope_free(struct ph_scope *s);
/* Free everything in it and run its defers, but keep the scope (and its first
 * block) for the next round. */
void ph_scope_reset(struct ph_scope *s);
/* Bytes handed out and not yet freed, children included: for limits and tests. */
size_t ph_scope_bytes(const struct ph_scope *s);

/* n zeroed bytes, aligned for anything, valid until the scope ends. */
void *ph_alloc(struct ph_scope *s, size_t n);
/* Zeroed array; count * size is checked (overflow ends the process). */
void *ph_alloc_array(struct ph_scope *s, size_t count, size_t size);
#define ph_new(s, type) ((type *)ph_alloc((s), sizeof(type)))

/* Copies, NUL-terminated behind their last byte. */
ph_str ph_str_dup(struct ph_scope *s, ph_str v);
char *ph_cstr_dup(struct ph_scope *s, ph_str v);   /* a NUL inside v ends the C string early */
ph_str ph_str_lower(struct ph_scope *s, ph_str v); /* ASCII letters folded */
ph_str ph_str_printf(struct ph_scope *s, const char *fmt, ...) PH_PRINTF(2, 3);
ph_str ph_str_vprintf(struct ph_scope *s, const char *fmt, va_list ap) PH_PRINTF(2, 0);

/* Run fn(arg) when the scope ends.  The handle may be disarmed once. */
struct ph_defer *ph_defer(struct ph_scope *s, void (*fn)(void *), void *arg);
void ph_disarm(struct ph_defer *d);
/* Run it now and disarm it. */
void ph_defer_run(struct ph_defer *d);
/* Close the descriptor when the scope ends. */
struct ph_defer *ph_defer_close(struct ph_scope *s, int fd);

/* PH_SCOPED(name, parent): a scope that ends with the C block it stands in. */
void ph_scope_cleanup(struct ph_scope **s);
#define PH_SCOPED(name, parent) \
    struct ph_scope *name __attribute__((cleanup(ph_scope_cleanup))) = ph_scope_new(parent)

PH_END
#endif
