/* t/fuzz/judge.h: a strict reading of what an SMTP client sent, beside the
 * replies that came back: which reply belongs to which command, and how many
 * messages were handed over.  Knows nothing of the server's code. */
#ifndef T_FUZZ_JUDGE_H
#define T_FUZZ_JUDGE_H

#include "fuzz.h"

struct judge {
    ph_str sent, got;              /* all bytes of the client, of the server */
    int loose;                     /* <LF>.<LF> ends data too */
    int footers;                   /* text may follow refusals */
    int closed;                    /* the server hung up first */
    size_t line_max;               /* longer lines are answered once for each twice this many bytes */
    /* found */
    unsigned accepted;             /* messages answered with 2xx at their end */
    unsigned rcpts[64];            /* recipients accepted, of each of these */
    unsigned replies, commands;
};

/* Breaks a property when a reply is not well-formed, or is not the answer to
 * the command at its place. */
void judge_session(struct judge *j);

#endif
