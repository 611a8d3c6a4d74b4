/* t/crash/oracle.h: what was promised so far, and whether what the next life found
 * keeps it. */
#ifndef T_CRASH_ORACLE_H
#define T_CRASH_ORACLE_H

#include "life.h"
#include "rebuild.h"

/* What may happen twice, or be looked at by a person: counted, and named as the
 * crash table of core/queue does. */
#define WINDOWS(W) \
    W(AGAIN, "delivered again: a mark was written and not synced") \
    W(FINISHED, "a finished message is tried again") \
    W(NOTICE, "a second notice") \
    W(DROP, "submitted once more from maildrop") \
    W(UNANSWERED, "there, although no answer was heard") \
    W(BROKEN, "refused because its sync failed, and there") \
    W(OLD_MARK, "there, not acknowledged, with a mark of the message before") \
    W(CORRUPT, "torn by the loss of power, moved to corrupt") \
    W(LOG, "a log is left for the sweep")

#define WINDOW_NAME(name, text) WINDOW_##name,
enum window { WINDOWS(WINDOW_NAME) ORACLE_WINDOWS };
extern const char *const window_text[ORACLE_WINDOWS];

struct oracle;
struct oracle *oracle_new(struct ph_scope *s);
/* Words, each with the number of a letter:
 *     begun N ID, accepted N, refused N      a transaction
 *     posting N, dropped N                   postdrop works, has it
 *     marking N R S, synced N R S            recipient R becomes S; is so on disk
 *     notice N                               its notice was committed
 *     requeue N                              goes back to maildrop from here on
 *     breaking N                             its sync will fail
 *     ending N                               from here on it may be there or not */
void oracle_hear(struct oracle *o, const char *word);
/* 0; or 1 and why.  Adds to windows[]. */
int oracle_judge(struct oracle *o, const struct life *l, const struct disk *d, unsigned windows[ORACLE_WINDOWS],
                 char *why, size_t size);

#endif
