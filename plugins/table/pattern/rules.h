/* rules: what a regexp or pcre file holds: between pattern_read.c and pattern.c. */
#ifndef PATTERN_RULES_H
#define PATTERN_RULES_H

#include "need.h"
#include "pattern.h"

/* A pattern as it is written: `!/text/flags`. */
struct pattern_text { int negative; ph_str text, flags; };

struct rule {
    struct need need;              /* what a key must hold for the engine to be asked */
    void *prog, *second;           /* second: /one/!/another/, which must hold too; or NULL */
    unsigned groups;               /* of prog */
    int negative, second_negative;
    int skip_to;                   /* of an `if`, the rule behind its endif; 0: ordinary */
    ph_str value;
    int has_dollar;                /* value names groups, or holds $$ */
    uint32_t line;
};

struct rules {
    const struct pattern_engine *engine;
    const char *type;              /* for warnings */
    const char *path;
    struct rule *rule;
    int n, cap;
    int needs;                     /* rules that need something */
    int slow;                      /* patterns that are interpreted */
};

/* Read t's source into rs: 0, or as ph_source_open.  What is wrong with a rule is
 * told with its line, and the rule is left out. */
int rules_read(struct ph_table *t, ph_str spec, struct rules *rs);

/* The reference that stands behind a "$": 1 with its name and the bytes it takes; 0
 * when there is none, *why telling what is wrong. */
int rules_reference(ph_str text, ph_str *name, size_t *used, const char **why);
/* The name as a group number: 1 with *n (beyond any group when it is too large), or 0. */
int rules_group(ph_str name, unsigned *n);

#endif
