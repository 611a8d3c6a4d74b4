/* pattern: rule files of regexp and pcre tables, over either engine.
 *
 * A pattern is compiled in open, and nowhere else: before the seal, on the large stack,
 * once in a process.  pcre asks for machine code at the same time, since memory that
 * may be executed is what a stricter seal (ours or systemd's) would no longer give; and
 * that it is refused is no error of PCRE's, so the table says it (is_slow).  What is
 * made before the seal serves behind it: t/system/table_reopen.t looks. */
#ifndef PATTERN_H
#define PATTERN_H

#include <posthorn/table.h>

#define PATTERN_GROUPS 100         /* $1 .. $99; 0 is the whole match */

struct pattern_span { ptrdiff_t start, end; };     /* -1: not set */

enum pattern_flag { PATTERN_FLAG_UNKNOWN, PATTERN_FLAG_KNOWN, PATTERN_FLAG_OBSOLETE };   /* obsolete: without effect */

struct pattern_engine {
    int is_perl;                   /* whose syntax it is */
    int has_second;                /* /one/!/another/ is known */
    enum pattern_flag (*flag)(char letter);
    /* Compile, the flags being known ones: 0 and *prog (freed with s) and the number of groups; PH_CONF. */
    int (*compile)(struct ph_scope *s, ph_str pattern, ph_str flags, void **prog, unsigned *groups);
    /* 1 when the pattern could not be made machine code, and is slow; may be NULL. */
    int (*is_slow)(const void *prog);
    /* PH_FOUND and count spans (it may be 0), PH_NONE, negative: could not match (limit). */
    int (*match)(void *prog, ph_str subject, struct pattern_span *span, unsigned count);
};

/* The body of open; and the plugin's lookup. */
int32_t pattern_open(struct ph_table *t, ph_str spec, const struct pattern_engine *e);
int32_t pattern_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val);

#endif
