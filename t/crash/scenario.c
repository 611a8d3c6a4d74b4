/* t/crash/scenario.c: the child of the crash tests: qmgr and a receiver in one
 * process, disk_threads 0, so that every system call is made by one thread; and
 * the next qmgr, which lists what is there. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <posthorn/intake.h>
#include "core/conf/conf.h"
#include "core/queue/hub.h"
#include "core/queue/store.h"
#include "core/run/loop.h"
#include "scenario.h"

char crash_top[32];
int crash_words = -1;
static struct ph_queue *queue;
static struct ph_group *servers;
static struct ph_qmsg *last;       /* that arrived */
static struct ph_cond *came;

static void say(const char *what, const char *id)
{
    char line[100];
    int n = snprintf(line, sizeof line, "%s %s\n", what, id);

    if (write(crash_words, line, (size_t)n) != n)
        _exit(98);
}

static void arrived(void *arg PH_UNUSED, struct ph_qmsg *m)
{
    last = m;
    ph_cond_broadcast(came);
}

static int has_room(void *arg PH_UNUSED, uint32_t rcpts PH_UNUSED)
{
    return 1;
}

static const struct ph_queue_events events = { arrived, has_room };

struct server {
    struct ph_scope *scope;
    struct ph_stream *io;
};

static void serve(void *arg)
{
    struct server *v = arg;
    struct ph_scope *s = v->scope;
    struct ph_frame *hello;

    if (ph_frame_recv(v->io, s, 0, &hello) > 0)
        ph_queue_serve_intake(queue, s, v->io, hello);
    ph_stream_close(v->io);
    ph_scope_free(s);
}

static int dial(struct ph_scope *s, struct ph_stream **io)
{
    struct ph_scope *far = ph_scope_new(NULL);
    struct server *v = ph_new(far, struct server);

    v->scope = far;
    ph_stream_pair(s, far, 0, io, &v->io);
    return ph_spawn(servers, "server", serve, v);
}

static struct ph_conf *conf_of(struct ph_scope *s)
{
    struct ph_conf *c;

    if (ph_conf_parse(s, crash_top, "test", ph_str_printf(s, "queue_directory = %s\n", crash_top), &c) < 0)
        _exit(97);
    return c;
}

/* Message i: every fourth is larger than memory, and is written in pieces. */
static int submit(int i)
{
    PH_SCOPED(s, NULL);
    struct ph_intake *q;
    char id[PH_ID_MAX + 1];
    int rc = ph_intake_begin(s, PH_INTAKE_NET, &q);

    if (rc < 0)
        return rc;
    snprintf(id, sizeof id, "%.*s", PH_FMT(ph_intake_id(q)));
    say("begun", id);
    rc = ph_intake_write(q, PH_STR("Subject: crash\r\n"));
    for (int k = 0; k < (i % 4 == 3 ? 4000 : 40) && rc == 0; k++)
        rc = ph_intake_write(q, PH_STR("0123456789012345678901234567890123456789\r\n"));
    ph_intake_sender(q, PH_STR("s@example.com"));
    ph_intake_recipient(q, PH_STR("one@example.org"), PH_STR(""), PH_STR(""), PH_STR(""));
    ph_intake_recipient(q, PH_STR("two@example.org"), PH_STR(""), PH_STR(""), PH_STR(""));
    if (rc == 0)
        rc = ph_intake_commit(q);
    say(rc == 0 ? "accepted" : "refused", id);
    return rc;
}

static struct ph_qmsg *wait_arrival(void)
{
    int64_t until = ph_in_ms(5000);

    while (!last && ph_cond_wait(came, until) == 0)
        ;
    return last;
}

/* What qmgr does with message i.  "ending" is said before an end begins: from
 * there on the message may be there or not. */
static void treat(int i, struct ph_qmsg *m)
{
    char id[PH_ID_MAX + 1];
    int fd;

    memcpy(id, m->id, sizeof id);
    switch (i % 6) {
    case 0:                            /* delivered */
        if ((fd = ph_queue_open_reader(queue, m)) > 2)
            close(fd);
        say("ending", id);
        if (ph_queue_mark(queue, m, 0, PH_STATE_DELIVERED) == 0 && ph_queue_mark(queue, m, 1, PH_STATE_DELIVERED) == 0)
            ph_queue_remove(queue, m);
        return;
    case 1:                            /* one of two delivered, deferred, tried again, put off */
        say("marking", id);
        if (ph_queue_mark(queue, m, 0, PH_STATE_DELIVERED) == 0)
            say("marked", id);
        ph_queue_defer(queue, m, ph_wall_us() + 1000000);
        ph_queue_defer(queue, m, ph_wall_us() + 9000000);
        return;
    case 2:                            /* held, released */
        if (ph_queue_hold(queue, m) == 0)
            ph_queue_release(queue, m);
        return;
    case 3:                            /* bounced: the notice would go out between */
        say("marking", id);
        if (ph_queue_mark(queue, m, 0, PH_STATE_FAILED) == 0 && ph_queue_sync(queue, m) == 0) {
            say("synced", id);
            ph_queue_mark(queue, m, 0, PH_STATE_TOLD);
        }
        ph_queue_sync(queue, m);
        return;
    case 4:                            /* deferred, then done */
        if (ph_queue_defer(queue, m, ph_wall_us()) < 0)
            return;
        say("ending", id);
        ph_queue_mark(queue, m, 0, PH_STATE_DELIVERED);
        ph_queue_mark(queue, m, 1, PH_STATE_DELIVERED);
        ph_queue_remove(queue, m);
        return;
    default:                           /* the administrator deletes it */
        say("ending", id);
        ph_queue_remove(queue, m);
    }
}

int crash_scenario(void *arg PH_UNUSED)
{
    struct ph_scope *s = ph_scope_new(NULL);

    came = ph_cond_new(s);
    servers = ph_group_new(s);
    ph_hub_dial_with(dial);
    if (ph_queue_open(s, conf_of(s), &events, NULL, &queue) < 0 || ph_queue_recover(queue) < 0 ||
        ph_queue_start(queue, servers) < 0)
        return 0;                      /* a failure injected here ends it: nothing was promised */
    for (int i = 0; i < MESSAGES; i++) {
        last = NULL;
        if (submit(i) == 0 && wait_arrival())
            treat(i, last);
    }
    say("end", "-");
    _exit(0);
}

/* ---- the next qmgr: what is there ---- */

static void tell(struct ph_qmsg *m, const char *where)
{
    char text[100];
    int rc = ph_queue_load(queue, m);

    if (rc != 0) {
        say("bad", where);
        return;
    }
    snprintf(text, sizeof text, "%s %u %c", m->id, m->pending, (int)ph_qmsg_state(m, 0));
    say("found", text);
}

int crash_survey(void *arg PH_UNUSED)
{
    struct ph_scope *s = ph_scope_new(NULL);
    static const unsigned places[] = { PH_PLACE_DEFERRED, PH_PLACE_HOLD, PH_PLACE_CORRUPT };
    struct ph_qmsg *m;
    size_t at = 0;

    came = ph_cond_new(s);
    if (ph_queue_open(s, conf_of(s), &events, NULL, &queue) < 0 || ph_queue_recover(queue) < 0)
        _exit(96);
    while ((m = ph_queue_next(queue, &at)) != NULL)
        tell(m, "pool");
    for (size_t i = 0; i < 3; i++) {
        struct ph_walk *w = ph_walk_new(s, queue, places[i], 0);

        while (ph_walk_next(w, &m) == PH_FOUND)
            if (places[i] == PH_PLACE_CORRUPT)
                say("corrupt", m->id);
            else
                tell(m, ph_place_name(places[i]));
    }
    if (!ph_list_is_empty(&queue->limbo))
        say("bad", "limbo");
    say("end", "-");
    _exit(0);
}
