/* refill: how many recipients may be in memory.
 *
 * A message has at least recipient_minimum.  A new one may have what is left of
 * the limit of all; one that is read on may have
 *     recipient_minimum + for each of its jobs, slots of the job - its recipients
 * where the slots of a transport are given to one job at a time: the first whose
 * message is not wholly read.  A job that passed another gets half of what is left
 * with the extra pool.  So there are never more in memory than
 *     max(limit, minimum * messages + for each transport, limit + extra).
 *
 * A message is read on when a job of it has room for refill_limit, when there was
 * any room for refill_ms, and at once when nothing of it is left in memory. */
#include "core/sched/priv.h"

#define READ_MAX 5000              /* in one go */
#define REFILL_MS 5000             /* for a message that has no job */

void ph_sched_recipients(struct ph_sched *s, uint32_t minimum, uint32_t limit)
{
    s->recipient_minimum = minimum ? minimum : 1;
    s->recipient_limit = limit;
}

uint32_t ph_sched_appetite(const struct ph_sched *s)
{
    size_t left = s->stats.recipients < s->recipient_limit ? s->recipient_limit - s->stats.recipients : 0;
    uint32_t n = left > READ_MAX ? READ_MAX : (uint32_t)left;

    return n > s->recipient_minimum ? n : s->recipient_minimum;
}

void ph_sched_reserve(struct ph_sched *s, uint32_t was, uint32_t is)
{
    s->stats.recipients = s->stats.recipients - was + is;
}

void ph_sched_take_in(struct job *j, uint32_t n)
{
    j->rcpts += n;
    j->t->rcpts += n;
    j->msg->rcpts += n;
    j->msg->sched->stats.recipients += n;
}

void ph_sched_let_go(struct job *j, uint32_t n)
{
    j->rcpts -= n;
    j->t->rcpts -= n;
    j->msg->rcpts -= n;
    j->msg->sched->stats.recipients -= n;
}

/* Room of one job; negative when it has more than its slots. */
static int64_t room(const struct job *j)
{
    const struct transport *t = j->t;
    int64_t left = (int64_t)t->limits.recipient_limit - t->rcpts;

    if (t->readers.next == &j->reader)
        return left;
    if (j->level && !ph_list_is_empty(&j->reader) && left + t->limits.extra_recipient_limit > 0)
        return (left + t->limits.extra_recipient_limit) / 2 - (int64_t)j->rcpts;
    return -(int64_t)j->rcpts;
}

static int64_t allowance(const struct ph_sched_msg *m)
{
    int64_t n = m->sched->recipient_minimum;

    for (const struct ph_list *i = m->jobs.next; i != &m->jobs; i = i->next)
        n += room(ph_list_of(i, struct job, node));
    return n;
}

static int has_room_for_batch(const struct ph_sched_msg *m)
{
    for (const struct ph_list *i = m->jobs.next; i != &m->jobs; i = i->next) {
        const struct job *j = ph_list_of(i, struct job, node);

        if (room(j) >= j->t->limits.refill_limit)
            return allowance(m) > 0;
    }
    return 0;
}

static int64_t refill_ms(const struct ph_sched_msg *m)
{
    int64_t least = REFILL_MS;

    for (const struct ph_list *i = m->jobs.next; i != &m->jobs; i = i->next) {
        const struct job *j = ph_list_of(i, struct job, node);

        if (j->t->limits.refill_ms < least)
            least = j->t->limits.refill_ms;
    }
    return least > 0 ? least : 1;
}

static void wait_for_room(struct ph_sched_msg *m, int64_t since)
{
    const ph_str none = { NULL, 0 };

    ph_sched_timed_begin(&m->hunger, none, none, since + refill_ms(m));
}

static void is_hungry(struct ph_sched_msg *m)
{
    ph_sched_timed_drop(&m->hunger);
    ph_list_push(&m->sched->hungry, &m->hungry);
}

static void place_readers(struct ph_sched_msg *m)
{
    for (struct ph_list *i = m->jobs.next; i != &m->jobs; i = i->next) {
        struct job *j = ph_list_of(i, struct job, node);

        if (!m->unread)
            ph_list_remove(&j->reader);
        else if (ph_list_is_empty(&j->reader))
            ph_list_push(&j->t->readers, &j->reader);
    }
}

void ph_sched_read_end(struct ph_sched_msg *m)
{
    m->unread = 0;
    place_readers(m);
    ph_list_remove(&m->hungry);
    ph_sched_timed_drop(&m->hunger);
}

void ph_sched_read_on(struct ph_sched_msg *m, int64_t now)
{
    if (m->reading || !ph_list_is_empty(&m->hungry))
        return;
    if (!m->unread) {
        ph_sched_read_end(m);
        return;
    }
    place_readers(m);
    if (!m->rcpts || has_room_for_batch(m))
        is_hungry(m);
    else if (!m->hunger.index)
        wait_for_room(m, now);
}

void ph_sched_hunger_over(struct ph_sched_msg *m)
{
    if (allowance(m) > 0)
        is_hungry(m);
    else
        wait_for_room(m, m->hunger.until);
}

void ph_sched_unread(struct ph_sched_msg *m, uint32_t n)
{
    ph_assert(m->sched->open == m);
    m->unread = n;
}

/* How many it may have now; what has nothing in memory always may. */
static uint32_t portion(const struct ph_sched_msg *m)
{
    int64_t n = allowance(m), least = m->rcpts ? 0 : m->sched->recipient_minimum;

    n = n < least ? least : n > READ_MAX ? READ_MAX : n;
    return n > m->unread ? m->unread : (uint32_t)n;
}

int ph_sched_hungry(struct ph_sched *s, int64_t now, struct ph_sched_msg **out, void **user, uint32_t *n)
{
    ph_sched_timers_run(s, now);
    for (struct ph_list *i; (i = ph_list_shift(&s->hungry)); ) {
        struct ph_sched_msg *m = ph_list_of(i, struct ph_sched_msg, hungry);

        if (!(m->reading = portion(m))) {
            wait_for_room(m, now);                 /* others took the room meanwhile */
            continue;
        }
        s->stats.recipients += m->reading;
        *out = m;
        *user = m->user;
        *n = m->reading;
        return 1;
    }
    return 0;
}
