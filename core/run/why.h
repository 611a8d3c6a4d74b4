/* why.h: hearing the steps that <posthorn/why.h> tells: for commands. */
#ifndef CORE_RUN_WHY_H
#define CORE_RUN_WHY_H

#include <posthorn/why.h>

struct ph_why_sink {
    void (*put)(struct ph_why_sink *w, const struct ph_why_step *step);
    void *arg;
    uint32_t depth;                /* of what is asked now */
    int no_lines;                  /* do not look for lines in the sources of indexes: it takes long */
    /* What the table that is asked says of its answer. */
    const char *file, *index;
    uint32_t line;
};

/* From now on the steps of this task, and of those that it starts, go to w (NULL: to
 * nobody): the sink before.  w must outlive them. */
struct ph_why_sink *ph_why_to(struct ph_why_sink *w);
/* Where they go; NULL. */
struct ph_why_sink *ph_why_here(void);

#endif
