/* posthorn/alias.h: what an alias, a line of .forward or a line of an :include: file names
 * (aliases(5)): addresses, files, commands, files of more.  Pure: any bytes in,
 * nothing but the answers out. */
#ifndef POSTHORN_ALIAS_H
#define POSTHORN_ALIAS_H

#include <posthorn/address.h>

PH_BEGIN

#define PH_ALIAS_ADDRESS 1            /* user, user@example.com: internal form */
#define PH_ALIAS_MAILBOX 2            /* \user: the user's mailbox, without aliases and .forward */
#define PH_ALIAS_COMMAND 3            /* |command arguments: without the bar */
#define PH_ALIAS_FILE    4            /* /file/name, ~/file/name */
#define PH_ALIAS_INCLUDE 5            /* :include:/file/name: the path */

struct ph_alias_item {
    uint32_t kind;                 /* LOCAL_* above */
    uint32_t pad;
    ph_str text;                   /* unquoted, on the scope, without NUL inside */
};

/* How far a list was read; begin with zeros. */
struct ph_alias_walk {
    size_t at;                     /* bytes of the list that are done */
    size_t end, next;              /* of the item that `at` stands in, and of the one behind it; end 0: in none */
    struct ph_address_walk words;  /* of that item */
    size_t read;                   /* bytes that were looked at, some of them again */
};

/* Next destination of a comma-separated list.  1 and *d; 0 at the end; PH_PERM for one
 * that cannot be read: w->at stands behind it, and the next call goes on with the
 * next.  The time for all of them is that of the list's length. */
int ph_alias_next(struct ph_scope *s, ph_str list, struct ph_alias_walk *w, struct ph_alias_item *d);
/* Next line of a file that is such a list: empty ones and those that begin with
 * # are passed over.  1 and *line, or 0. */
int ph_alias_line(ph_str file, size_t *at, ph_str *line);

PH_END
#endif
