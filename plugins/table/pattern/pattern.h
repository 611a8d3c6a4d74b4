/* pattern: rule files of regexp and pcre tables, over either engine. */
#ifndef PATTERN_H
#define PATTERN_H

#include <posthorn/table.h>

#define PATTERN_GROUPS 100         /* $1 .. $99; 0 is the whole match */

struct pattern_span { ptrdiff_t start, end; };     /* -1: not set */

struct pattern_engine {
    int is_perl;                   /* whose syntax it is */
    /* Compile: 0 and *prog (freed with s) and the number of groups; PH_CONF. */
    int (*compile)(struct ph_scope *s, ph_str pattern, ph_str flags, void **prog, unsigned *groups);
    /* 1 when the pattern could not be made machine code, and is slow; may be NULL. */
    int (*is_slow)(const void *prog);
    /* PH_FOUND and the spans, PH_NONE, negative: could not match (limit). */
    int (*match)(void *prog, ph_str subject, struct pattern_span *span, unsigned count);
};

/* Bodies of the plugin's calls. */
int pattern_open(struct ph_table *t, ph_str spec, const struct pattern_engine *e);
int pattern_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val);

#endif
