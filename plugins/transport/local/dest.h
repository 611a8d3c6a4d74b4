/* dest: what an alias, a line of .forward or a line of an :include: file names
 * (aliases(5)): addresses, files, commands, files of more.  Pure: any bytes in,
 * nothing but the answers out. */
#ifndef LOCAL_DEST_H
#define LOCAL_DEST_H

#include <posthorn/scope.h>

#define LOCAL_ADDRESS 1            /* user, user@example.com: internal form */
#define LOCAL_MAILBOX 2            /* \user: the user's mailbox, without aliases and .forward */
#define LOCAL_COMMAND 3            /* |command arguments: without the bar */
#define LOCAL_FILE    4            /* /file/name, ~/file/name */
#define LOCAL_INCLUDE 5            /* :include:/file/name: the path */

struct local_dest {
    uint32_t kind;                 /* LOCAL_* above */
    uint32_t pad;
    ph_str text;                   /* unquoted, on the scope, without NUL inside */
};

/* Next destination of a comma-separated list.  Start with *at = 0.  1 and *d; 0
 * at the end; PH_PERM for one that cannot be read: *at stands behind it, and
 * the next call goes on with the next. */
int local_dest_next(struct ph_scope *s, ph_str list, size_t *at, struct local_dest *d);
/* Next line of a file that is such a list: empty ones and those that begin with
 * # are passed over.  1 and *line, or 0. */
int local_dest_line(ph_str file, size_t *at, ph_str *line);

#endif
