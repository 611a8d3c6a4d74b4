/* retry: when a deferred message is tried again, and the index of those that
 * wait.  Pure; times are seconds of the wall clock, passed in.
 *
 * The time on disk (the file's mtime) is the durable one; the index is rebuilt
 * from it at start.  A message costs about 40 bytes, at most twice that while
 * the index drains: its id is kept as the numbers it was made of. */
#ifndef CORE_SCHED_RETRY_H
#define CORE_SCHED_RETRY_H

#include <posthorn/scope.h>

struct ph_retry_rules {
    int64_t minimal_backoff, maximal_backoff;   /* seconds */
    int64_t maximal_lifetime, bounce_lifetime;
};

/* now + clamp(age, minimal, maximal): the gap roughly doubles each time. */
int64_t ph_retry_next(const struct ph_retry_rules *r, int64_t arrival, int64_t now);
/* 1 when a round that ends now is the last: the age reached the lifetime
 * (bounce_lifetime for the null sender). */
int ph_retry_is_expired(const struct ph_retry_rules *r, int64_t arrival, int has_sender, int64_t now);

struct ph_retry;

struct ph_retry *ph_retry_new(struct ph_scope *s);
/* Wait until `when` (0 .. 2^32 - 1); an id that waits already gets the new time. */
void ph_retry_add(struct ph_retry *r, ph_str id, int64_t when);
/* 1 and *when when it waits; else 0. */
int ph_retry_find(const struct ph_retry *r, ph_str id, int64_t *when);
/* 1 when it was there. */
int ph_retry_remove(struct ph_retry *r, ph_str id);
/* The first whose time is at most `now`: 1 with its id on the scope (it leaves
 * the index) and whether it was flushed, or 0.  Of those with the same time the
 * oldest mail comes first, as far as ids tell.  The wish of a flush is used up:
 * an id that is added again waits like any other. */
int ph_retry_take(struct ph_retry *r, int64_t now, struct ph_scope *s, ph_str *id, int *flushed);
/* Make all of them due by an explicit wish; or one: 1 when it was there. */
void ph_retry_flush(struct ph_retry *r, int64_t now);
int ph_retry_flush_one(struct ph_retry *r, ph_str id, int64_t now);
/* Time of the first, or INT64_MAX. */
int64_t ph_retry_first(const struct ph_retry *r);
size_t ph_retry_count(const struct ph_retry *r);

#endif
