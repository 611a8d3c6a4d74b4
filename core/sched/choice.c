/* choice: which messages a request of an administrator means.  See control.h.
 *
 * What is in memory when it begins is remembered by id (no more than that many), so
 * that the walk through the directories does not give it again; what is on disk is
 * found by the walk, whether or not somebody has taken it into memory meanwhile. */
#include <string.h>
#include "core/sched/control.h"

#define GLANCE_RCPTS 100u          /* of a message that a listing reads without taking it */

static const char *queue_of(struct qmgr *q, const struct ph_qmsg *m)
{
    const struct mail *mail = ph_mail_of(q, m);

    if (mail)
        return mail->wish == WISH_HOLD ? "hold" : "active";        /* it is as good as there */
    return m->place == PH_PLACE_SLOT ? "incoming" : ph_place_name(m->place);
}

/* 1 when the request names this queue, or none. */
static int wants_queue(const struct control *c, const char *name)
{
    int any = 0;
    size_t at = 0;

    for (ph_str key, value; ph_frame_next(c->f, &at, &key, &value); )
        if (ph_str_eq(key, PH_STR("queue"))) {
            if (ph_str_eq(value, ph_cstr(name)))
                return 1;
            any = 1;
        }
    return !any && strcmp(name, "corrupt") != 0;
}

static void choice_end(void *arg)
{
    struct choice *h = arg;

    ph_list_remove(&h->node);
}

int ph_control_wants(const struct control *c, const struct ph_qmsg *m)
{
    return wants_queue(c, queue_of(c->q, m));
}

struct choice *ph_control_choose(struct control *c)
{
    struct choice *h = ph_new(c->s, struct choice);
    struct qmgr *q = c->q;
    size_t at = 0;

    *h = (struct choice){ .c = c, .memory = ph_retry_new(c->s), .place = PH_PLACE_SLOT,
                          .step = ph_scope_new(c->s), .walk_scope = ph_scope_new(c->s) };
    ph_list_init(&h->node);
    ph_list_push(&q->choices, &h->node);
    ph_defer(c->s, choice_end, h);
    for (const struct ph_qmsg *m; (m = ph_queue_next(q->queue, &at)); )
        if (ph_control_wants(c, m))
            ph_retry_add(h->memory, ph_cstr(m->id), ph_mail_of(q, m) ? CHOICE_ACTIVE : CHOICE_REST);
    return h;
}

void ph_control_released(struct qmgr *q, ph_str id)
{
    for (struct ph_list *n = q->choices.next; n != &q->choices; n = n->next) {
        struct choice *h = ph_list_of(n, struct choice, node);
        int64_t step;

        /* Who has it in hand releases it himself. */
        if (wants_queue(h->c, "hold") && !ph_str_eq(h->id, id) && !ph_retry_find(h->memory, id, &step))
            ph_retry_add(h->memory, id, CHOICE_REST);
    }
}

/* One that was in memory: 1, or 0. */
static int next_in_memory(struct choice *h)
{
    int flushed;

    h->walk = NULL;
    h->glance = NULL;
    ph_scope_reset(h->step);
    if (!ph_retry_take(h->memory, CHOICE_REST, h->step, &h->id, &flushed))
        return 0;
    ph_retry_add(h->memory, h->id, CHOICE_GIVEN);
    return 1;
}

static int is_given(void *arg, ph_str id)
{
    const struct choice *h = arg;
    int64_t step;

    return ph_retry_find(h->memory, id, &step);
}

/* The next directory: 1, or 0. */
static int open_walk(struct choice *h)
{
    while (++h->place < PH_PLACES)
        if (wants_queue(h->c, ph_place_name(h->place))) {
            ph_scope_reset(h->walk_scope);
            h->walk = ph_walk_new(h->walk_scope, h->c->q->queue, h->place);
            ph_walk_pass(h->walk, is_given, h);
            return 1;
        }
    return 0;
}

static int step_walk(struct choice *h, int glances)
{
    int rc;

    h->glance = NULL;
    if (!glances)
        return ph_walk_name(h->walk, &h->id);
    if ((rc = ph_walk_glance(h->walk, GLANCE_RCPTS, &h->glance)) == PH_FOUND)
        h->id = h->glance->id;
    return rc;
}

/* Who took it into memory since the walk read its name may have another view of it. */
static int is_meant(struct choice *h)
{
    const struct ph_qmsg *m = ph_queue_in_memory(h->c->q->queue, h->id);

    if (is_given(h, h->id))
        return 0;                  /* released meanwhile: it comes at the end */
    if (m)
        h->glance = NULL;
    return !m || ph_control_wants(h->c, m);
}

int ph_control_next(struct choice *h, int glances)
{
    int rc;

    for (;;) {
        if (h->walk) {
            if ((rc = step_walk(h, glances)) < 0)
                return rc;
            if (rc == PH_FOUND && is_meant(h))
                return PH_FOUND;
            if (rc == PH_FOUND)
                continue;
        }
        /* Before each directory: those that were in memory, or were released meanwhile. */
        if (next_in_memory(h))
            return PH_FOUND;
        if (!open_walk(h))
            return PH_NONE;
    }
}
