/* story: see story.h. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "core/base/crc32c.h"
#include "core/queue/hub.h"
#include "plugins/service/bounce/bounce.h"
#include "story.h"

#define SMALL 40                   /* lines: into a slot, in one write */
#define LARGE 1500                 /* comes in pieces, and is used again */
#define HUGE  5000                 /* beyond PH_SLOT_MAX: given up when it is not committed */

static unsigned number;

static struct letter next(unsigned lines, unsigned words)
{
    number++;
    return (struct letter){ .n = number, .lines = lines, .words = words ? words : number };
}

/* A story that cannot be told is no recording: the test fails, and says where. */
#define must(ok) must_at(ok, __LINE__)
static void must_at(int ok, int line)
{
    if (ok)
        return;
    say("story.c:%d: %s", line, ph_error());
    _exit(92);
}

static struct ph_qmsg *accept_one(unsigned lines, unsigned words, unsigned *n)
{
    struct letter l = next(lines, words);
    struct ph_qmsg *m = letter_submit(&l);

    must(m != NULL);
    if (n)
        *n = l.n;
    return m;
}

static void mark(struct ph_qmsg *m, unsigned n, uint32_t r, char state)
{
    say("marking %u %u %c", n, r, state);
    must(ph_queue_mark(world_queue, m, r, state) == 0);
}

static void deliver(struct ph_qmsg *m, unsigned n)
{
    must(ph_queue_load(world_queue, m) == 0);
    say("ending %u", n);
    mark(m, n, 0, PH_STATE_DELIVERED);
    mark(m, n, 1, PH_STATE_DELIVERED);
    must(ph_queue_remove(world_queue, m) == 0);
}

static void accept_and_deliver(unsigned times, unsigned lines, unsigned words)
{
    while (times-- > 0) {
        unsigned n;
        struct ph_qmsg *m = accept_one(lines, words, &n);

        deliver(m, n);
    }
}

/* New slots in each directory: all of them are synced. */
static void sync_pool(void)
{
    for (int i = 0; i < PH_POOL_DIRS; i++)
        must(ph_slot_make(world_queue, 1) == 0);
}

/* ---- reception ---- */

static void fresh(void)
{
    must(world_open() == 0);
    accept_one(SMALL, 0, NULL);
    accept_one(0, 0, NULL);
    accept_one(3 * SMALL, 0, NULL);
}

/* Letters that differ in every sector, then letters that differ in their first
 * lines only: these are the mixtures that nothing but the checksum tells apart. */
static void reuse(void)
{
    must(world_open() == 0);
    accept_and_deliver(10, SMALL, 0);
    accept_one(SMALL, 0, NULL);
    accept_and_deliver(10, SMALL, 7);
    accept_one(SMALL, 7, NULL);
    accept_and_deliver(6, 2 * SMALL, 7);
}

/* One that is longer than what a slot keeps by itself, in a slot that held such a one. */
static void accept_one_over_large(void)
{
    struct ph_qmsg *m;
    unsigned n, tries = 0;

    while ((m = accept_one(HUGE, 0, &n))->slot->large_bytes == 0) {
        deliver(m, n);
        must(++tries < 8);
    }
}

static void grow(void)
{
    static const unsigned lines[] = { 400, 900, LARGE, 3000, HUGE, SMALL, 400, SMALL };

    must(world_open() == 0);
    accept_and_deliver(4, SMALL, 0);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        accept_and_deliver(1, lines[i], 0);
    accept_one(LARGE, 0, NULL);
    accept_one(900, 0, NULL);
    accept_one_over_large();
}

/* The client goes away, or a filter says no, after content was written. */
static void give_up(unsigned lines)
{
    PH_SCOPED(s, NULL);
    struct letter l = next(lines, 0);

    must(letter_begin(s, PH_INTAKE_NET, &l, lines * 2 / 3) != NULL);
    say("refused %u", l.n);
}

static void abandon(void)
{
    must(world_open() == 0);
    accept_and_deliver(8, SMALL, 0);
    for (int i = 0; i < 3; i++) {
        give_up(LARGE);                /* its slot serves the next */
        accept_one(SMALL, 0, NULL);
        give_up(LARGE);
        accept_and_deliver(1, SMALL, 0);
    }
    give_up(2 * HUGE);                 /* its slot is given up */
    accept_one(SMALL, 0, NULL);
    accept_one(LARGE, 0, NULL);
}

/* The disk says no to a commit: what was refused may be there all the same, when the
 * power goes before the wipe of its record is on disk.  Nothing else suffers. */
static void broken(void)
{
    must(world_open() == 0);
    accept_and_deliver(8, SMALL, 0);
    for (int i = 0; i < 2; i++) {
        PH_SCOPED(s, NULL);
        struct letter l = next(i ? LARGE : SMALL, 0);
        struct ph_intake *q = letter_begin(s, PH_INTAKE_NET, &l, l.lines + 2);

        must(q != NULL);
        say("breaking %u", l.n);
        must(letter_end(q, &l) < 0);
        accept_one(SMALL, 0, NULL);
    }
    accept_and_deliver(2, SMALL, 0);
}

/* What intake does at the end, when qmgr goes in the middle of it. */
static void commit_by_hand(struct ph_lease *lease, const struct letter *l)
{
    PH_SCOPED(s, NULL);
    struct ph_record r = { .version = PH_RECORD_VERSION, .inode = lease->inode, .arrival_us = ph_wall_us(), .rcpt_count = LETTER_RCPTS };
    unsigned char head[PH_RECORD_BYTES];
    char line[LETTER_LINE + 1];
    struct ph_buf all, env, list;

    ph_buf_init(&all, s, 1u << 20);
    ph_buf_init(&env, s, PH_ENVELOPE_MAX);
    ph_buf_init(&list, s, PH_RCPTS_BYTES);
    for (unsigned i = 0; i < l->lines + 2; i++)
        ph_buf_put(&all, line, letter_line(l, i, line));
    ph_record_put_attr(&env, "sender", PH_STR("s@example.com"));
    ph_record_put_rcpt(&list, PH_STR("one@example.org"), PH_STR(""), PH_STR(""), PH_STR(""));
    ph_record_put_rcpt(&list, PH_STR("two@example.org"), PH_STR(""), PH_STR(""), PH_STR(""));
    r.header_bytes = LETTER_LINE;
    r.body_bytes = all.n - LETTER_LINE - 2;
    r.envelope_bytes = env.n;
    r.rcpt_bytes = list.n;
    ph_id_format(r.id, r.arrival_us, r.inode, 1);
    ph_record_layout(&r);
    ph_buf_str(&all, ph_buf_view(&env));
    ph_buf_str(&all, ph_buf_view(&list));
    r.crc = ph_record_checksum(ph_crc32c(0, all.p, all.n), &r);
    ph_record_encode(&r, head);
    ph_buf_put(&all, "\0\0\0\0\0\0\0\0PP", PH_MARKS_HEAD + LETTER_RCPTS);
    say("begun %u %s", l->n, r.id);
    must(pwrite(lease->fd, all.p, all.n, PH_RECORD_BYTES) == (ssize_t)all.n);
    must(pwrite(lease->fd, head, sizeof head, 0) == (ssize_t)sizeof head && fdatasync(lease->fd) == 0);
    ph_lease_commit_end(lease, (ph_str){ (const char *)head, sizeof head }, ph_buf_view(&env), ph_buf_view(&list));
    say("accepted %u", l->n);
}

static struct ph_lease *commit_begin(void)
{
    struct ph_lease *l;

    must(ph_hub_take(PH_INTAKE_NET, &l) == 0);
    ph_lease_commit_begin(l);
    return l;
}

/* Leases that outlive their giver: one is committed before that is noticed, one when
 * the next qmgr knows of it, one may not be any more. */
static void outlive(void)
{
    PH_SCOPED(s, NULL);
    struct letter alone = next(SMALL, 0), known = next(SMALL, 0), late = next(LARGE, 0);

    must(world_open() == 0);
    accept_and_deliver(8, SMALL, 0);
    struct ph_lease *one = commit_begin(), *two = commit_begin();
    struct ph_intake *q = letter_begin(s, PH_INTAKE_NET, &late, LARGE * 2 / 3);

    must(q != NULL);
    world_close();
    commit_by_hand(one, &alone);
    while (ph_lease_is_good(two))
        must(ph_sleep_until(ph_in_ms(5)) == 0);
    must(world_open() == 0);
    while (!ph_lease_is_good(two))
        must(ph_sleep_until(ph_in_ms(5)) == 0);
    commit_by_hand(two, &known);
    must(letter_end(q, &late) < 0);
    accept_one(SMALL, 0, NULL);
}

/* ---- moves ---- */

static void defer(void)
{
    struct ph_qmsg *m[4];
    unsigned n[4];

    must(world_open() == 0);
    accept_and_deliver(8, SMALL, 0);
    for (int i = 0; i < 4; i++)
        m[i] = accept_one(SMALL, 0, &n[i]);
    for (int i = 0; i < 4; i++) {
        if (i % 2 == 0)
            mark(m[i], n[i], 0, PH_STATE_DELIVERED);
        must(ph_queue_defer(world_queue, m[i], ph_wall_us() + 1000000) == 0);
        if (i == 1)
            sync_pool();
    }
    must(ph_queue_defer(world_queue, m[0], ph_wall_us() + 9000000) == 0);
    accept_and_deliver(4, SMALL, 0);   /* others in the slots of before */
    deliver(m[1], n[1]);
    must(ph_queue_defer(world_queue, accept_one(LARGE, 0, NULL), ph_wall_us()) == 0);
    sync_pool();
    deliver(m[2], n[2]);
}

/* What one owner renamed, and did not live to sync, the next one must. */
static void inherit(void)
{
    struct ph_qmsg *m;

    must(world_open() == 0);
    for (int i = 0; i < 3; i++) {
        m = accept_one(SMALL, 0, NULL);
        must(ph_queue_defer(world_queue, m, ph_wall_us() + 1000000) == 0);
    }
    world_close();
    must(world_open() == 0);
    sync_pool();
    accept_one(SMALL, 0, NULL);
}

static void hold(void)
{
    struct ph_qmsg *a, *b;
    struct letter l;

    must(world_open() == 0);
    accept_and_deliver(6, SMALL, 0);
    a = accept_one(SMALL, 0, NULL);
    b = accept_one(SMALL, 0, NULL);
    l = next(SMALL, 0);
    l.hold = 1;
    letter_submit(&l);
    must(ph_queue_hold(world_queue, a) == 0);
    must(ph_queue_hold(world_queue, b) == 0);
    sync_pool();
    must(ph_queue_release(world_queue, a) == 0);
    sync_pool();
    must(ph_queue_defer(world_queue, a, ph_wall_us() + 1000000) == 0);
}

/* The administrator deletes. */
static void discard(void)
{
    struct ph_qmsg *m[3];
    unsigned n[3];

    must(world_open() == 0);
    for (int i = 0; i < 3; i++)
        m[i] = accept_one(SMALL, 0, &n[i]);
    must(ph_queue_defer(world_queue, m[1], ph_wall_us()) == 0);
    must(ph_queue_hold(world_queue, m[2]) == 0);
    for (int i = 0; i < 3; i++) {
        say("ending %u", n[i]);
        must(ph_queue_remove(world_queue, m[i]) == 0);
        accept_one(SMALL, 0, NULL);
    }
}

/* ---- notices ---- */

static struct bounce *logs(struct ph_scope *s)
{
    struct bounce *b = ph_new(s, struct bounce);

    b->service = ph_new(s, struct ph_service);
    b->service->queue_dir_fd = world_queue->dir_fd;
    return b;
}

static void log_failure(struct ph_scope *s, const struct ph_qmsg *m, const char *kind)
{
    struct log_record r = { .index = 0 };

    r.f[LOG_INDEX] = PH_STR("0");
    r.f[LOG_RECIPIENT] = PH_STR("one@example.org");
    r.f[LOG_DSN] = PH_STR("5.1.1");
    r.f[LOG_TEXT] = PH_STR("user unknown");
    must(log_append(logs(s), ph_cstr(kind), ph_cstr(m->id), &r, 1) == 0);
}

/* As core/sched/finish.c does: marks, notice, marks, log.  It is finished when the
 * last one is told. */
static void tell_sender(struct ph_scope *s, struct ph_qmsg *m, unsigned n, const char *failed)
{
    must(ph_queue_sync(world_queue, m) == 0);
    for (uint32_t r = 0; r < LETTER_RCPTS; r++)
        say("synced %u %u %c", n, r, (int)ph_qmsg_state(m, r));
    accept_one(SMALL, 0, NULL);
    say("notice %u", n);
    if (m->pending == 0)
        say("ending %u", n);
    for (; *failed; failed++)
        mark(m, n, (uint32_t)(*failed - '0'), PH_STATE_TOLD);
    must(ph_queue_sync(world_queue, m) == 0);
    for (uint32_t r = 0; r < LETTER_RCPTS; r++)
        say("synced %u %u %c", n, r, (int)ph_qmsg_state(m, r));
    must(log_remove_many(logs(s), s, &(ph_str){ "bounce", 6 }, 1, &(ph_str){ m->id, strlen(m->id) }, 1) == 0);
}

static void bounce(void)
{
    must(world_open() == 0);
    accept_and_deliver(8, SMALL, 7);
    for (int i = 0; i < 3; i++) {
        PH_SCOPED(s, NULL);
        unsigned n;
        struct ph_qmsg *m = accept_one(SMALL, 7, &n);

        log_failure(s, m, "bounce");
        mark(m, n, 0, PH_STATE_FAILED);
        if (i == 1)
            must(ph_queue_defer(world_queue, m, ph_wall_us()) == 0);
        else
            mark(m, n, 1, PH_STATE_DELIVERED);
        tell_sender(s, m, n, "0");
        if (i == 1)
            continue;                  /* one of its recipients is tried again */
        must(ph_queue_remove(world_queue, m) == 0);
    }
    accept_and_deliver(4, SMALL, 7);
}

/* A warning, a forced end, and all of it returned; out of deferred. */
static void expire(void)
{
    PH_SCOPED(s, NULL);
    struct ph_qmsg *m;
    unsigned n;

    must(world_open() == 0);
    accept_and_deliver(6, SMALL, 0);
    m = accept_one(SMALL, 0, &n);
    log_failure(s, m, "defer");
    must(ph_queue_defer(world_queue, m, ph_wall_us()) == 0);
    accept_one(SMALL, 0, NULL);        /* the warning */
    must(ph_queue_mark_warned(world_queue, m) == 0);
    sync_pool();
    must(ph_queue_mark_expired(world_queue, m) == 0 && ph_queue_sync(world_queue, m) == 0);
    log_failure(s, m, "bounce");
    mark(m, n, 0, PH_STATE_FAILED);
    mark(m, n, 1, PH_STATE_FAILED);
    tell_sender(s, m, n, "01");
    must(ph_queue_remove(world_queue, m) == 0);
    accept_and_deliver(2, SMALL, 0);
}

/* ---- maildrop ---- */

static void drop(void)
{
    must(world_open() == 0);
    accept_and_deliver(6, SMALL, 0);
    for (int i = 0; i < 3; i++) {
        struct letter l = next(i == 1 ? LARGE : SMALL, 0);

        must(drop_post(&l) == 0);
        if (i != 1)
            drop_pickup();
    }
}

static void requeue(void)
{
    struct ph_qmsg *m[2];
    unsigned n[2];

    must(world_open() == 0);
    accept_and_deliver(6, SMALL, 0);
    for (int i = 0; i < 2; i++)
        m[i] = accept_one(SMALL, 0, &n[i]);
    must(ph_queue_defer(world_queue, m[1], ph_wall_us()) == 0);
    for (int i = 0; i < 2; i++) {
        say("requeue %u", n[i]);
        must(ph_queue_requeue(world_queue, m[i]) == 0);
        sync_pool();
        drop_pickup();
    }
}

/* ---- a start with a large pool ---- */

#define CROWD 2000

static void crowd_before(void)
{
    must(world_open() == 0);
    for (unsigned i = 0; i < CROWD; i += 16)
        must(ph_slot_make(world_queue, 16) == 0);
    for (unsigned i = 0; i < 60; i++) {
        unsigned n;
        struct ph_qmsg *m = accept_one(i % 10 == 9 ? LARGE : SMALL, i % 2 ? 7 : 0, &n);

        if (i % 3 == 0)
            deliver(m, n);
        else if (i % 3 == 1)
            must(ph_queue_defer(world_queue, m, ph_wall_us()) == 0);
    }
}

static void crowd(void)
{
    number = 1000;
    must(world_open() == 0);
    accept_and_deliver(6, SMALL, 7);
    accept_one(SMALL, 7, NULL);
}

const struct story stories[] = {
    { "fresh", NULL, fresh, 3 },       { "reuse", NULL, reuse, 6 },     { "grow", NULL, grow, 4 },
    { "abandon", NULL, abandon, 4 },   { "outlive", NULL, outlive, 4 },
#ifdef __x86_64__                      /* where trace.c can make calls fail */
    { "broken", NULL, broken, 4 },
#endif
    { "defer", NULL, defer, 5 },
    { "inherit", NULL, inherit, 2 },   { "hold", NULL, hold, 4 },         { "discard", NULL, discard, 2 }, { "bounce", NULL, bounce, 5 },
    { "expire", NULL, expire, 4 },     { "drop", NULL, drop, 3 },       { "requeue", NULL, requeue, 3 },
    { "crowd", crowd_before, crowd, 1 },
};
const unsigned story_count = sizeof stories / sizeof *stories;
