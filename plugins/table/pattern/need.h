/* need: what a key must hold for a pattern to match: a text that stands in every
 * match, by the trigrams of it.  A key without them need not be shown to the engine:
 * of a thousand patterns most are about other keys. */
#ifndef PATTERN_NEED_H
#define PATTERN_NEED_H

#include <posthorn/str.h>

#define NEED_GRAMS 6

struct need { uint16_t gram[NEED_GRAMS]; uint32_t count; };    /* count 0: nothing is known */
struct have { uint64_t bit[1024]; };                           /* of 65536 */

/* From a pattern in extended POSIX syntax, or Perl's.  What it does not understand
 * for certain gives nothing. */
void need_find(ph_str pattern, int is_perl, struct need *n);
/* The grams of a key. */
void have_fill(struct have *h, ph_str key);
/* 0: the pattern cannot match. */
int have_all(const struct have *h, const struct need *n);

#endif
