/* loop: looks for Delivered-To: ADDRESS in a message's headers, as they come in
 * pieces.  Any split gives the same answer; memory is bounded.  Pure. */
#ifndef LOCAL_LOOP_H
#define LOCAL_LOOP_H

#include <posthorn/buf.h>

struct local_loop {
    ph_str want;                   /* external form */
    struct ph_buf value;           /* of the Delivered-To being gathered */
    uint32_t state;                /* private */
    uint32_t matched;              /* bytes of the header's name seen */
    uint32_t found;                /* 1: there is one (any case) */
    uint32_t pad;
};

/* 0.  `want` must live as long as *l. */
int local_loop_init(struct local_loop *l, struct ph_scope *s, ph_str want);
void local_loop_feed(struct local_loop *l, ph_str bytes);
/* No more headers. */
void local_loop_end(struct local_loop *l);

#endif
