/* posthorn/source.h: source files of tables: logical lines with their numbers.
 *
 * A line that starts with a blank continues the one before; empty lines and
 * lines whose first non-blank is # are passed over, also between continuations.  A
 * first line that starts with a blank is left out with a warning; what stands behind
 * a NUL is not there: such a line may be empty. */
#ifndef POSTHORN_SOURCE_H
#define POSTHORN_SOURCE_H

#include <posthorn/scope.h>

PH_BEGIN

#define PH_SOURCE_MAX (1u << 30)   /* bytes of a file */

struct ph_source {
    ph_str text, rest;
    uint32_t line;                 /* of rest's first line, from 1 */
    uint32_t pad;
    struct ph_scope *scope;
    const char *path;
};

/* Read the whole file: 0, or PH_TEMP with path and cause.  Blocking I/O.  A path
 * that starts with { is no file but the lines themselves: "{ {line}, {line} }"; what
 * is wrong with the braces is PH_CONF. */
int ph_source_open(struct ph_scope *s, const char *path, struct ph_source *src);
/* The same from a descriptor, read to its end; path names it in messages. */
int ph_source_fd(struct ph_scope *s, int fd, const char *path, struct ph_source *src);
/* Next logical line, without its line ends (a CR in front of one is a blank of the
 * line, and stays): 1 with *line (on the source's
 * scope when it was continued) and its first line's number; 0 at the end. */
int ph_source_next(struct ph_source *src, ph_str *line, uint32_t *number);
/* key and value of such a line: split at the first blanks outside "..." (quotes
 * and backslashes stay in the key); trailing blanks of value are dropped. */
#define PH_SOURCE_PAIR       1
#define PH_SOURCE_NO_VALUE   0
#define PH_SOURCE_UNBALANCED (-1)  /* a quote is not closed */
int ph_source_pair(ph_str line, ph_str *key, ph_str *value);

/* The text between the braces that text begins and ends with, without blanks around
 * it: 0, or PH_CONF telling what is wrong with them. */
int ph_source_braces(ph_str text, ph_str *inside);

/* A line (or key) for a warning, on s: each byte that is neither printable nor of
 * valid UTF-8 as "?". */
ph_str ph_source_shown(struct ph_scope *s, ph_str text);

PH_END
#endif
