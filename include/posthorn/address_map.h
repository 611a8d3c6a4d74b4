/* posthorn/address_map.h: tables that turn an address into others (canonical_maps,
 * virtual_alias_maps, smtp_generic_maps, the *_bcc_maps), the same way for all who use
 * them: canonical(5), virtual(5), generic(5).
 *
 * Addresses are in internal form (address.h) where nothing else is said; results of
 * tables stand in external form.  What a result leaves open is completed by the rewrite
 * service, which the caller names in its `uses`; it is asked only for what is not whole.
 * An error is never "not found". */
#ifndef POSTHORN_ADDRESS_MAP_H
#define POSTHORN_ADDRESS_MAP_H

#include <posthorn/param.h>

PH_BEGIN

struct ph_address_rules;
struct ph_address_map;

/* What all maps of a program share, read once: myorigin, mydestination, our own
 * addresses, recipient_delimiter, propagate_unmatched_extensions, append_dot_mydomain.
 * 0 and *r on s, or PH_CONF. */
int ph_address_rules_open(struct ph_conf *c, struct ph_scope *s, struct ph_address_rules **r);
/* The tables of the parameter `what`.  `feature`: its word in
 * propagate_unmatched_extensions ("canonical"), or NULL: an extension that was not part
 * of the key is dropped.  0 and *m, which lives as long as the rules and is NULL for an
 * empty list; PH_CONF, PH_TEMP.  Before the seal. */
int ph_address_map_open(struct ph_address_rules *r, const char *what, ph_str list, const char *feature,
                        struct ph_address_map **m);

/* 1 when rewrite would give it back as it is: local part, "@", a domain that is complete.
 * External form: an "@" in quotes is none. */
int ph_address_is_whole(const struct ph_address_rules *r, ph_str external);
/* Standard form of n addresses, in the context "local" or "remote" of rewrite: in
 * external form before, in internal form after, on s.  Empty ones stay.  Few requests,
 * none when all are whole.  0; PH_TEMP, PH_CANCEL: the list is void.  Yields. */
int ph_address_complete(const struct ph_address_rules *r, struct ph_scope *s, const char *context, ph_str *list,
                        size_t n) PH_YIELDS;

/* Ask the tables alone: user+ext@domain, user@domain, user+ext and user (when the domain
 * is myorigin, in mydestination or one of our addresses), @domain.  PH_FOUND, *value as
 * it stands there and *ext, what of the address is to be put behind each user of it;
 * PH_NONE; PH_TEMP, PH_CANCEL.  m may be NULL.  Yields. */
int ph_address_map_find(struct ph_address_map *m, ph_str address, struct ph_scope *out, ph_str *value,
                        ph_str *ext) PH_YIELDS;
/* One look-up, one result in standard form ("@other" keeps the user,
 * as far as the key had it or its extension is handed on): PH_FOUND, PH_NONE,
 * negative.  A value with several addresses gives a warning, and its first.  Yields. */
int ph_address_map_one(struct ph_address_map *m, struct ph_scope *s, ph_str address, ph_str *out) PH_YIELDS;
/* The result is looked up in turn, until there is none or it is itself.  PH_FOUND, *out
 * is another address; PH_NONE: it stays; PH_TEMP too after ten rounds.  Yields. */
int ph_address_map_settle(struct ph_address_map *m, struct ph_scope *s, ph_str address, ph_str *out) PH_YIELDS;

/* Bounds of an expansion: how many results, how deep, how long each of them (bytes). */
struct ph_expand_limits {
    uint32_t size;                 /* of this structure */
    uint32_t results, depth, bytes;
};
/* Each result, and each of theirs, until no table has them; one that is the address it
 * was found for stays as it is.  A first result takes its address's place, one level
 * deeper; the others begin anew behind all that wait.  PH_FOUND and *list (on s, the same
 * one perhaps more than once); PH_NONE: it stands for itself; PH_PERM: a limit is
 * exceeded (so does a loop), with the words why; PH_TEMP, PH_CANCEL.  Yields. */
int ph_address_map_expand(struct ph_address_map *m, struct ph_scope *s, ph_str address,
                          const struct ph_expand_limits *limits, ph_str **list, size_t *n) PH_YIELDS;

PH_END
#endif
