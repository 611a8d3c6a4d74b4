/* pool: sessions kept a while for the next delivery to the same next hop.
 * One task ends those nobody wanted; it lives only while there are some. */
#include "smtp.h"

#define MAX_IDLE 100u

void smtp_pool_init(struct smtp *self)
{
    self->group = ph_group_new(self->scope);
}

static struct smtp_session *unlink_at(struct smtp *self, struct smtp_session **at)
{
    struct smtp_session *s = *at;

    *at = s->next;
    s->next = NULL;
    self->idle_count--;
    return s;
}

/* Data or a hang-up on an idle session: 421, a reset, or worse. */
struct smtp_session *smtp_pool_take(struct smtp *self, ph_str key)
{
    struct smtp_session **at = &self->idle;
    int64_t now = ph_now_ms();

    while (*at) {
        if (!ph_str_eq((*at)->key, key)) {
            at = &(*at)->next;
            continue;
        }
        struct smtp_session *s = unlink_at(self, at);
        if (s->idle_until > now && !ph_stream_is_stale(s->io))
            return s;
        smtp_session_drop(s);
    }
    return NULL;
}

static int64_t first_to_end(const struct smtp *self)
{
    int64_t first = PH_FOREVER;

    for (const struct smtp_session *s = self->idle; s; s = s->next)
        if (s->idle_until < first)
            first = s->idle_until;
    return first;
}

/* smtp_session_end yields and the list may change under us: start afresh after
 * each. */
static struct smtp_session *take_over_age(struct smtp *self, int all)
{
    for (struct smtp_session **at = &self->idle; *at; at = &(*at)->next)
        if (all || (*at)->idle_until <= ph_now_ms())
            return unlink_at(self, at);
    return NULL;
}

static void reap(void *arg)
{
    struct smtp *self = arg;
    struct smtp_session *s;
    int stop = 0;

    while (self->idle && !stop) {
        stop = ph_sleep_until(first_to_end(self)) < 0;
        while ((s = take_over_age(self, stop)))
            smtp_session_end(s);
    }
    self->reaping = 0;
}

static int may_keep(const struct smtp *self, const struct smtp_session *s)
{
    const struct smtp_params *p = &self->p;

    return !s->broken && !s->last_use && !s->quit_sent && !ph_cancelled() && self->idle_count < MAX_IDLE &&
           ph_now_ms() - s->born < p->reuse_time_limit * 1000 &&
           (p->reuse_count_limit == 0 || s->uses <= p->reuse_count_limit);
}

void smtp_pool_give(struct smtp *self, struct smtp_session *s, int wanted)
{
    if (!wanted || !may_keep(self, s)) {
        smtp_session_end(s);
        return;
    }
    s->idle_until = ph_in_ms(self->p.cache_time_limit * 1000);
    s->next = self->idle;
    self->idle = s;
    self->idle_count++;
    if (!self->reaping && ph_spawn(self->group, "idle sessions", reap, self) == 0)
        self->reaping = 1;
}
