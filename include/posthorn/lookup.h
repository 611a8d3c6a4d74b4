/* posthorn/lookup.h: using tables: a parameter that lists maps
 * ("hash:/etc/x, static:y"), and lists that are matched (mynetworks,
 * relay_domains).  An error is never read as "not found". */
#ifndef POSTHORN_LOOKUP_H
#define POSTHORN_LOOKUP_H

#include <posthorn/param.h>

PH_BEGIN

struct ph_maps;
struct ph_match;

#define PH_MAPS_FOLD    1u     /* fold keys of fixed tables to lower case */
#define PH_MAPS_SECURE  8u     /* an answer gives rights: insecure types are refused */
#define PH_MAPS_LITERAL 16u    /* answers are what stands in the table: no $1 of the key */

/* Open every table of the list; `what` (the parameter) is named in errors.
 * 0 and *m on the scope, or PH_CONF (too many tables).  A table that cannot be
 * opened is an error in the log at once, and each look-up in it fails (PH_TEMP)
 * until it can.  An empty list is a valid map that finds nothing. */
int ph_maps_open(struct ph_conf *c, struct ph_scope *s, const char *what, ph_str list,
                 uint32_t flags, struct ph_maps **m);
/* 1 when the list is empty. */
int ph_maps_is_empty(const struct ph_maps *m);
/* The first table that has the key: PH_FOUND with *val on out, PH_NONE,
 * negative.  *type_name, when not NULL, says which table answered. */
int ph_maps_find(struct ph_maps *m, ph_str key, struct ph_scope *out, ph_str *val) PH_YIELDS;
/* The same for a part of a key (a parent domain): pattern tables are not asked,
 * they see whole keys only. */
int ph_maps_find_part(struct ph_maps *m, ph_str key, struct ph_scope *out, ph_str *val) PH_YIELDS;
/* Address look-up in the order of the field: user+ext@domain, user@domain,
 * user+ext, user (the last two only if the domain is local: `local` != 0),
 * @domain; pattern tables see only the whole address.  *ext: the unmatched
 * extension with its delimiter, empty when it was part of the key. */
int ph_maps_find_address(struct ph_maps *m, ph_str address, ph_str delimiters, int local,
                         struct ph_scope *out, ph_str *val, ph_str *ext) PH_YIELDS;
/* The first two of these keys alone: user+ext@domain, user@domain. */
int ph_maps_find_mailbox(struct ph_maps *m, ph_str address, ph_str delimiters, struct ph_scope *out, ph_str *val) PH_YIELDS;

/* Lists: "a.example, !b.example, /file, type:table, 10.0.0.0/8".  An item that
 * cannot be used is an error in the log, and a match that comes to it PH_TEMP.
 * `how`: */
#define PH_MATCH_DOMAIN  1u    /* host and domain names: exact, and subdomains when PH_MATCH_PARENT */
#define PH_MATCH_ADDRESS 2u    /* network addresses: a.b.c.d, a.b.c.d/n, [v6]/n */
#define PH_MATCH_STRING  4u    /* exact strings */
#define PH_MATCH_PARENT  8u    /* example.com matches sub.example.com (else .example.com does) */
int ph_match_open(struct ph_conf *c, struct ph_scope *s, const char *what, ph_str list,
                  uint32_t how, struct ph_match **m);
/* PH_FOUND, PH_NONE, negative.  name and address may be empty. */
int ph_match(struct ph_match *m, ph_str name, ph_str address) PH_YIELDS;

PH_END
#endif
