/* feed: who enters the active queue next: new mail as it comes while there is
 * room, else unread in its slot until its turn; deferred mail when it is due.
 * New and deferred mail take turns, so that neither waits for the other. */
#include <stdlib.h>
#include <string.h>
#include <posthorn/address.h>
#include "core/sched/qmgr_priv.h"

#define FEEDERS   4
#define REINDEX_MS 5000           /* the deferred queue could not be read */
#define AGAIN_S   60               /* a message that could not be read or is still being delivered */

static int has_room(const struct qmgr *q)
{
    return q->active < (size_t)q->p.active_limit;
}

/* Deferred mail leaves a part of the active queue to new mail: a backlog to a
 * destination that does not answer would fill it, and everybody would wait. */
static int has_room_for_old(const struct qmgr *q)
{
    size_t limit = (size_t)q->p.active_limit;

    return has_room(q) && q->old < limit - limit / 4;
}

/* Recipients of a message that is taken or loaded whole. */
static uint32_t whole_max(const struct qmgr *q)
{
    uint32_t n = ph_sched_appetite(q->sched);

    return n < WHOLE_MAX ? n : WHOLE_MAX;
}

int ph_feed_has_room(void *arg, uint32_t rcpts)
{
    return has_room(arg) && rcpts <= whole_max(arg);
}

void ph_feed_wake(struct qmgr *q)
{
    if (q->feed_wake)
        ph_cond_signal(q->feed_wake);
}

void ph_feed_park(struct qmgr *q, struct ph_qmsg *m, int64_t when_s)
{
    ph_retry_add(q->retry, ph_cstr(m->id), when_s);
}

struct mail *ph_mail_of(struct qmgr *q, const struct ph_qmsg *m)
{
    return m->holder == q ? NULL : m->holder;
}

/* ---- into the active queue ---- */

static void log_active(const struct ph_qmsg *m)
{
    PH_SCOPED(s, NULL);
    ph_str from = ph_address_external(s, m->message.sender);

    ph_log("%s: from=<%.*s>, size=%llu, nrcpt=%u (queue active)", m->id, PH_FMT(from),
           (unsigned long long)ph_message_bytes(&m->message), m->rcpt_count);
}

/* Probes may not crowd out mail: those beyond the limit get an answer at once. */
static void count_probe(struct mail *mail)
{
    struct qmgr *q = mail->q;

    if (!(ph_trace_flags(mail->m->message.trace_flags) & PH_TRACE_PROBE))
        return;
    mail->is_probe = 1;
    mail->excess = ++q->probes > (size_t)q->p.probe_limit;
}

/* How a message enters. */
struct entry {
    int was_deferred;              /* 1: counted in q->old */
    int flushed;                   /* 1: somebody asked for it */
};

/* m is loaded and counted in q->active. */
static void activate(struct qmgr *q, struct ph_qmsg *m, struct entry how)
{
    struct mail *mail = calloc(1, sizeof *mail);

    if (!mail)
        ph_die("out of memory");
    mail->q = q;
    mail->m = m;
    mail->active_us = ph_wall_us();
    mail->flushed = how.flushed;
    mail->was_deferred = how.was_deferred;
    mail->unread = m->pending;
    mail->has_log = mail->is_old = m->place != PH_PLACE_SLOT || m->recovered;
    count_probe(mail);
    m->holder = mail;
    m->recovered = 0;
    log_active(m);
    if (m->pending && !m->expired)
        ph_resolve_mail(mail);
    else
        ph_finish_mail(mail);
}

void ph_mail_free(struct mail *mail)
{
    struct qmgr *q = mail->q;

    ph_batch_reserve(mail, 0);
    q->probes -= mail->is_probe ? 1u : 0u;
    q->old -= mail->was_deferred ? 1u : 0u;
    ph_bouncer_forget(mail);
    free(mail);
    q->active--;
    ph_feed_wake(q);
}

void ph_feed_arrived(void *arg, struct ph_qmsg *m)
{
    struct qmgr *q = arg;

    m->holder = NULL;
    ph_list_init(&m->node);
    if (m->loaded && has_room(q) && q->feed_wake) {
        q->active++;
        activate(q, m, (struct entry){ 0, 0 });
        return;
    }
    ph_queue_unload(m);
    ph_list_push(&q->unread, &m->node);
    ph_feed_wake(q);
}

/* The index passes over what is in memory, so what leaves it is put there. */
static void wait_again(struct qmgr *q, const struct ph_qmsg *m)
{
    int64_t when = m->next_us / 1000000;

    if (m->place != PH_PLACE_DEFERRED || ph_retry_find(q->retry, ph_cstr(m->id), &when))
        return;
    ph_retry_add(q->retry, ph_cstr(m->id), when);
    if (when <= q->scan_s)
        ph_feed_wake(q);
}

void ph_feed_return(struct qmgr *q, struct ph_qmsg *m, int in_memory)
{
    m->holder = NULL;
    if (m->loaded && !m->pending && m->place != PH_PLACE_HOLD && m->place != PH_PLACE_CORRUPT) {
        q->active++;
        activate(q, m, (struct entry){ 0, 0 });
    } else if (!in_memory) {
        wait_again(q, m);
        ph_queue_forget(q->queue, m);
    } else {
        ph_queue_unload(m);
        ph_list_push(&q->unread, &m->node);
        ph_feed_wake(q);
    }
}

/* ---- the feeders ---- */

static struct ph_qmsg *next_unread(struct qmgr *q)
{
    struct ph_list *n = ph_list_shift(&q->unread);

    return n ? ph_list_of(n, struct ph_qmsg, node) : NULL;
}

/* One that is found where the index said: 1 when it is ours now. */
static int take_found(struct qmgr *q, ph_str id, struct ph_qmsg *m, int in_memory)
{
    if (!in_memory) {
        if (m->place == PH_PLACE_DEFERRED)
            return 1;
        ph_queue_forget(q->queue, m);              /* somebody put it elsewhere */
        return 0;
    }
    if (!m->holder && ph_list_is_empty(&m->node))
        return 1;                                  /* parked in its slot */
    if (m->holder == q) {
        ph_retry_add(q->retry, id, q->scan_s + 1); /* somebody looks at it just now */
        q->parked = 1;
    } else if (ph_mail_of(q, m) && ph_mail_of(q, m)->stage == STAGE_STUCK) {
        ph_finish_mail(ph_mail_of(q, m));
    }
    return 0;
}

/* The next deferred message that is due, or NULL. */
static struct ph_qmsg *next_deferred(struct qmgr *q, int *flushed)
{
    PH_SCOPED(s, NULL);
    struct ph_qmsg *m;
    ph_str id;
    int in_memory;

    while (has_room_for_old(q) && ph_retry_take(q->retry, q->scan_s, s, &id, flushed)) {
        int rc = ph_queue_find(q->queue, id, &m, &in_memory);

        if (rc == PH_FOUND && take_found(q, id, m, in_memory))
            return m;
        if (rc < 0 && rc != PH_PERM) {             /* one that cannot be looked at stops no other */
            ph_retry_add(q->retry, id, q->scan_s + AGAIN_S);
            q->parked = 1;
        }
        if (rc == PH_CANCEL)
            return NULL;
    }
    return NULL;
}

/* With its place in the active queue; new and deferred mail in turn. */
static struct ph_qmsg *next_message(struct qmgr *q, struct entry *how)
{
    struct ph_qmsg *m = NULL;

    *how = (struct entry){ 0, 0 };
    if (!has_room(q))
        return NULL;
    q->turn = !q->turn;
    if (!q->turn)
        m = next_unread(q);
    if (!m && (m = next_deferred(q, &how->flushed)))
        how->was_deferred = 1;
    if (!m && q->turn)
        m = next_unread(q);
    q->active += m != NULL;
    q->old += how->was_deferred ? 1u : 0u;
    return m;
}

/* Keep it for later: a deferred file needs no memory meanwhile. */
static void later(struct qmgr *q, struct ph_qmsg *m)
{
    m->holder = NULL;
    q->parked = 1;
    ph_feed_park(q, m, ph_wall_s() + AGAIN_S);
    if (m->place == PH_PLACE_DEFERRED)
        ph_queue_forget(q->queue, m);
    else
        ph_queue_unload(m);
}

static void load_one(struct qmgr *q, struct ph_qmsg *m, struct entry how)
{
    char id[PH_ID_MAX + 1];

    memcpy(id, m->id, sizeof id);
    m->holder = q;
    int rc = ph_queue_load_upto(q->queue, m, whole_max(q));

    if (rc == 0) {
        activate(q, m, how);
        return;
    }
    q->active--;
    q->old -= how.was_deferred ? 1u : 0u;
    if (rc == PH_FOUND) {
        ph_log("%s: skipped, still being delivered", id);
        later(q, m);
    } else if (rc < 0 && rc != PH_PERM) {
        ph_log_warn("%s: %s", id, ph_error());
        later(q, m);
    }
}

static void feed_task(void *arg)
{
    struct qmgr *q = arg;
    struct entry how;

    for (;;) {
        struct ph_qmsg *m = next_message(q, &how);

        if (m)
            load_one(q, m, how);
        else if (ph_cond_wait(q->feed_wake, PH_FOREVER) < 0)
            return;
        if (ph_cancelled())
            return;
        if (m)
            ph_cond_signal(q->feed_wake);          /* there may be more: let another feeder look */
    }
}

int ph_feed_start(struct qmgr *q)
{
    int rc = 0;

    for (int i = 0; i < FEEDERS && rc >= 0; i++)
        rc = ph_spawn(q->group, "feed", feed_task, q);
    ph_feed_index(q);
    return rc;
}

/* ---- the index of deferred mail ---- */

/* What waits, or is in memory, needs no look at its file: only what came into the
 * directory otherwise does, and at the start everything. */
static int is_indexed(void *arg, ph_str id)
{
    struct qmgr *q = arg;
    int64_t when;

    return ph_queue_in_memory(q->queue, id) || ph_retry_find(q->retry, id, &when);
}

static int index_once(struct qmgr *q)
{
    PH_SCOPED(s, NULL);
    struct ph_walk *w = ph_walk_new(s, q->queue, PH_PLACE_DEFERRED);
    int64_t next_us;
    ph_str id;
    int rc;

    ph_walk_pass(w, is_indexed, q);
    while ((rc = ph_walk_time(w, &id, &next_us)) == PH_FOUND) {
        if (is_indexed(q, id))
            continue;                              /* meanwhile */
        ph_retry_add(q->retry, id, next_us / 1000000);
        if (next_us / 1000000 <= q->scan_s)
            ph_feed_wake(q);
    }
    return rc;
}

static void index_task(void *arg)
{
    struct qmgr *q = arg;
    int rc = 0;

    while (q->reindex && rc != PH_CANCEL) {
        q->reindex = 0;
        if ((rc = index_once(q)) >= 0 || rc == PH_CANCEL)
            continue;
        /* What was not seen would wait for the next start. */
        ph_log_warn("deferred queue: %s", ph_error());
        q->reindex = 1;
        rc = ph_sleep_until(ph_in_ms(REINDEX_MS));
    }
    q->indexing = 0;
}

void ph_feed_index(struct qmgr *q)
{
    q->reindex = 1;
    if (!q->indexing)
        q->indexing = ph_spawn(q->group, "index", index_task, q) >= 0;
}

/* Every queue_run_delay what is due meanwhile may enter. */
void ph_clock_task(void *arg)
{
    struct qmgr *q = arg;

    for (;;) {
        int64_t wait_s = q->parked && q->p.queue_run_delay > AGAIN_S ? AGAIN_S : q->p.queue_run_delay;
        int rc = ph_cond_wait(q->clock_wake, ph_in_ms(wait_s * 1000));

        if (rc == PH_CANCEL)
            return;
        q->parked = 0;
        q->scan_s = ph_wall_s();
        if (q->reindex && !q->indexing)                /* there was no memory for its task */
            ph_feed_index(q);
        ph_pump(q);
        ph_feed_wake(q);
    }
}
