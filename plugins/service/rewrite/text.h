/* text: an address while it is taken apart: its bytes without quotes, each
 * marked when it stood in quotes, behind a backslash or in a literal [...]:
 * such a byte is no routing operator.  Changed in place. */
#ifndef REWRITE_TEXT_H
#define REWRITE_TEXT_H

#include <posthorn/scope.h>

struct text {
    struct ph_scope *s;
    uint16_t *c;                   /* n units with room for more; QUOTED is the mark */
    size_t n, room;
};

/* room: what may be appended without another allocation. */
void text_of_external(struct text *t, struct ph_scope *s, ph_str external, size_t room);
/* An internal form does not say what was quoted.  Either the operators in it
 * are seen wherever they are (dequoted), or those are not that are in a local
 * part which has to be quoted. */
void text_of_internal(struct text *t, struct ph_scope *s, ph_str internal, int dequoted, size_t room);

/* Index of the first (last) unquoted c, or -1. */
ptrdiff_t text_find(const struct text *t, char c);
ptrdiff_t text_rfind(const struct text *t, char c);
/* The unquoted byte at i, or 0. */
char text_at(const struct text *t, size_t i);
/* The byte at i, quoted or not. */
char text_byte(const struct text *t, size_t i);

void text_drop_first(struct text *t, size_t n);
/* One dot at the end, unless a dot or "@" stands before it: 1 when it went. */
int text_drop_dot(struct text *t);
void text_append(struct text *t, ph_str more);
/* The unquoted operator at `at` turns: site!user and user%site become user@site. */
void text_turn_bang(struct text *t, size_t at);
void text_turn_percent(struct text *t, size_t at);

/* Bytes [from, to) on the scope, without marks. */
ph_str text_bytes(const struct text *t, size_t from, size_t to);
/* The whole: quoted where RFC 5321 wants it, or the marks of operators would be
 * lost; the local part ends at the last unquoted '@'. */
ph_str text_external(const struct text *t);

#endif
