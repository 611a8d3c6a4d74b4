/* facts.h: see facts.c. */
#ifndef CORE_QUEUE_FACTS_H
#define CORE_QUEUE_FACTS_H

#include <posthorn/message.h>

struct ph_facts {
    uint32_t bits;                 /* PH_FACT_* */
    int cr;                        /* the last byte was a CR */
    uint64_t line, longest;        /* bytes of the current line, of the longest */
};

void ph_facts_scan(struct ph_facts *f, ph_str bytes);
/* 1 when the content so far is empty or ends with a line end. */
static inline int ph_facts_at_line_start(const struct ph_facts *f) { return f->line == 0; }

#endif
