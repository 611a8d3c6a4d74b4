/* posthorn/abi.h: the rules every name a plugin sees obeys.
 *
 * Structures that cross the border use fixed-width integers and (pointer,
 * length) strings: no bool, enum, long, time_t, bit-fields.  Descriptors start
 * with their own size; members are only appended.  The headers compile as
 * C17 and C++11. */
#ifndef POSTHORN_ABI_H
#define POSTHORN_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define PH_BEGIN extern "C" {
#define PH_END   }
#else
#define PH_BEGIN
#define PH_END
#endif

#define PH_EXPORT        __attribute__((visibility("default")))
#define PH_UNUSED        __attribute__((unused))
#define PH_PRINTF(f, a)  __attribute__((format(printf, f, a)))
#define PH_MUST_USE      __attribute__((warn_unused_result))
#define PH_NORETURN      __attribute__((noreturn))

/* For scratch that is written before it is read: where the compiler fills all that
 * is on the stack with zeros it would cost more than what is done there. */
#if defined(__has_attribute)
#if __has_attribute(uninitialized)
#define PH_UNFILLED      __attribute__((uninitialized))
#endif
#endif
#ifndef PH_UNFILLED
#define PH_UNFILLED
#endif

/* Marks a call that may switch tasks.  After it errno is stale, statics may
 * have changed and a line peeked from a stream is void. */
#define PH_YIELDS

/* What a call answers.  0 or more is an answer, below 0 is what the mail
 * system must do about it.  A lookup never answers 0: a forgotten result must
 * read as "could not look", not as "no such user". */
#define PH_FOUND    1      /* lookup: there is an answer */
#define PH_NONE     2      /* lookup: definitely no such key */

#define PH_TEMP    (-1)    /* may work later: retry, defer, 4xx */
#define PH_PERM    (-2)    /* will not work: give up, bounce, 5xx */
#define PH_CONF    (-3)    /* our configuration is wrong: log, treat as temporary for mail */
#define PH_CANCEL  (-4)    /* the task was cancelled: stop quietly */
#define PH_EOF     (-5)    /* the peer left */
#define PH_TIMEOUT (-6)    /* a deadline passed: temporary, with its own words in logs */

#endif
