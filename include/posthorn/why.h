/* posthorn/why.h: why an answer is what it is.  Who asks (postwhy(1)) hears each step:
 * which table was asked what, which item of a list decided, what a restriction said,
 * which parameter chose the next hop.  While nobody asks each call here is one test.
 *
 *     ph_why("relayhost", "next hop %.*s", PH_FMT(host));
 *
 * Core tells of tables and lists itself.  A table that knows where an answer stands
 * says so (ph_why_at, ph_why_index) before it returns PH_FOUND.  No call yields. */
#ifndef POSTHORN_WHY_H
#define POSTHORN_WHY_H

#include <posthorn/str.h>

PH_BEGIN

#define PH_WHY_LOOKUP 1            /* one question to one table */
#define PH_WHY_MATCH  2            /* a list: `table` is the item that decided, empty when none did */
#define PH_WHY_RULE   3            /* a restriction: `table` is its name and argument, `value` its verdict */
#define PH_WHY_NOTE   4            /* `value` says it */
#define PH_WHY_LOG    5            /* `value` is a line for the log, `remark` its severity ("warning: ", empty) */

/* One step.  Views hold for the call only; what is not known is empty. */
struct ph_why_step {
    uint32_t size, kind;           /* kind: PH_WHY_* */
    int32_t answer;                /* PH_FOUND, PH_NONE; negative: it could not be asked, `value` says why */
    uint32_t depth;                /* > 0: asked by a table that stands on others */
    const char *what;              /* the parameter or list; NULL */
    ph_str table, key, value;      /* table: "type:name" as it was written */
    ph_str file;                   /* where the answer stands, with `line` (0: not known) */
    ph_str remark;                 /* what should be known of it: "the source is newer than the index" */
    uint32_t line, pad;
};

/* 1 when the steps of this task are wanted. */
int ph_why_is_on(void);
/* A step that was taken. */
void ph_why_put(const struct ph_why_step *step);
/* PH_WHY_NOTE: `what` as above. */
void ph_why_note(const char *what, const char *fmt, ...) PH_PRINTF(2, 3);
/* The same; its arguments are only evaluated when somebody asks. */
#define ph_why(...) (ph_why_is_on() ? ph_why_note(__VA_ARGS__) : (void)0)

/* In a table's lookup: the answer stands in that line of that file.  The text stays
 * until the table ends.  A file that begins with { is rules in the name of the table (see
 * ph_source_open), of which it is the one of that number. */
void ph_why_at(const char *file, uint32_t line);
/* In the lookup of a table that postmap builds from the file that is its name: the
 * index that answered.  The line is then looked for in the source. */
void ph_why_index(const char *index);

PH_END
#endif
