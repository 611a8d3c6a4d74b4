/* postsuper on the store itself, while no qmgr runs.  Its lock keeps one from
 * starting meanwhile. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "core/cmd/postsuper.h"
#include "core/queue/queue.h"

static void arrived(void *arg PH_UNUSED, struct ph_qmsg *m PH_UNUSED)
{
    /* It is in memory, where it is found. */
}

static int has_room(void *arg PH_UNUSED, uint32_t rcpts PH_UNUSED)
{
    return 0;
}

static const struct ph_queue_events events = { arrived, has_room };

int postsuper_store_open(struct postsuper *p)
{
    int rc = ph_queue_open(p->scope, p->conf, &events, NULL, &p->store);

    return rc < 0 ? rc : ph_queue_recover(p->store);
}

/* Logs of bounce about a message that is gone. */
static void remove_logs(struct postsuper *p, const char *id)
{
    static const char *const logs[] = { "bounce", "defer", "trace" };
    char path[128];

    for (size_t i = 0; i < sizeof logs / sizeof *logs; i++) {
        postsuper_log_path(p, logs[i], id, path, sizeof path);
        unlinkat(p->queue_dir, path, 0);
    }
}

static int expire(struct ph_queue *q, struct ph_qmsg *m)
{
    int rc = ph_queue_load(q, m);

    /* PH_PERM and PH_NONE: m is gone. */
    if (rc != 0)
        return rc == PH_FOUND ? ph_fail(PH_TEMP, "%s is being delivered", m->id) : rc;
    if ((rc = ph_queue_mark_expired(q, m)) == 0)
        rc = ph_queue_sync(q, m);
    if (rc == 0)
        ph_queue_forget(q, m);
    return rc;
}

/* 0: done and m freed; PH_NONE: nothing to do. */
static int change(struct postsuper *p, enum verb v, struct ph_qmsg *m)
{
    struct ph_queue *q = p->store;
    char id[PH_ID_MAX + 1];
    int rc;

    memcpy(id, m->id, sizeof id);
    switch (v) {
    case VERB_DELETE:
        remove_logs(p, id);
        return ph_queue_remove(q, m);
    case VERB_REQUEUE:
        if ((rc = ph_queue_requeue(q, m)) == 0)
            remove_logs(p, id);
        return rc;
    case VERB_EXPIRE:
        return expire(q, m);
    case VERB_HOLD:
        if ((rc = ph_queue_hold(q, m)) == 0)
            ph_queue_forget(q, m);
        return rc;
    default:
        if (m->place != PH_PLACE_HOLD)
            return PH_NONE;
        if ((rc = ph_queue_release(q, m)) == 0)
            ph_queue_forget(q, m);
        return rc;
    }
}

static const char *queue_of(const struct ph_qmsg *m)
{
    return m->place == PH_PLACE_SLOT ? "incoming" : ph_place_name(m->place);
}

/* 0 or more, or negative: before it is said, it is on disk. */
static int64_t settled(struct postsuper *p, int64_t n)
{
    if (n > 0)
        ph_queue_settle(p->store);
    return n;
}

int64_t postsuper_store_one(struct postsuper *p, enum verb v, ph_str id)
{
    struct ph_qmsg *m;
    int in_memory, rc = ph_queue_find(p->store, id, &m, &in_memory);

    if (rc != PH_FOUND)
        return rc < 0 ? rc : 0;
    rc = postsuper_selects(p, v, queue_of(m)) && !(v == VERB_HOLD && m->place == PH_PLACE_HOLD) ? change(p, v, m) : PH_NONE;
    return settled(p, rc < 0 ? rc : rc == 0);
}

static int64_t change_in_memory(struct postsuper *p, enum verb v)
{
    int64_t n = 0;
    size_t at = 0;

    for (struct ph_qmsg *m; (m = ph_queue_next(p->store, &at)) != NULL;) {
        if (!postsuper_selects(p, v, queue_of(m)))
            continue;
        if (change(p, v, m) == 0)
            n++;
    }
    return n;
}

static int64_t change_place(struct postsuper *p, enum verb v, unsigned place)
{
    PH_SCOPED(s, NULL);
    struct ph_walk *w = ph_walk_new(s, p->store, place);
    struct ph_qmsg *m;
    int64_t n = 0;
    int rc;

    while ((rc = ph_walk_next(w, &m)) == PH_FOUND) {
        int one = change(p, v, m);

        if (one < 0)
            ph_log_warn("%s", ph_error());
        n += one == 0;
    }
    return rc < 0 ? rc : n;
}

int64_t postsuper_store_all(struct postsuper *p, enum verb v)
{
    int64_t n = change_in_memory(p, v);

    for (unsigned place = PH_PLACE_DEFERRED; n >= 0 && place <= PH_PLACE_HOLD; place++)
        if (postsuper_selects(p, v, ph_place_name(place)) && !(v == VERB_HOLD && place == PH_PLACE_HOLD)) {
            int64_t more = change_place(p, v, place);

            n = more < 0 ? more : n + more;
        }
    return settled(p, n);
}
