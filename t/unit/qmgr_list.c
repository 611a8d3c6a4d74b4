/* t/unit/qmgr_list.c: messages of many recipients in the queue manager: read in
 * portions, each recipient once, in little memory; listed, deleted, deferred,
 * settled late, and forced to expire. */
#include "qmgr_stage.h"
#include "core/sched/control.h"

const char *const stage_settings = "qmgr_message_recipient_limit = 300\ndefault_recipient_limit = 400\n"
                                   "default_extra_recipient_limit = 100\ninitial_destination_concurrency = 2\n"
                                   "default_destination_concurrency_limit = 4\nqmgr_message_active_limit = 10\n";

#define MANY 3000u

static unsigned char seen[MANY];
static uint32_t texts_most, rcpts_most;

/* Recipients whose text is in memory. */
static uint32_t texts(void)
{
    uint32_t n = 0;
    size_t at = 0;

    for (struct ph_qmsg *m; (m = ph_queue_next(qmgr()->queue, &at)); )
        for (struct ph_list *i = m->loaded ? m->portions.next : &m->portions; i != &m->portions; i = i->next)
            n += ph_list_of(i, struct ph_portion, node)->n;
    return n;
}

static void look(const struct ph_delivery *d)
{
    struct ph_sched_stats st;

    for (uint32_t i = 0; i < d->rcpt_count; i++)
        seen[d->rcpt[i].index]++;
    ph_sched_stats(qmgr()->sched, &st);
    texts_most = texts() > texts_most ? texts() : texts_most;
    rcpts_most = st.recipients > rcpts_most ? (uint32_t)st.recipients : rcpts_most;
}

static int is_each(unsigned char times, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (seen[i] != times)
            return 0;
    return 1;
}

/* n recipients; every `other`th is at the second domain. */
static int submit_many(uint32_t n, const char *domain, uint32_t other, const char *second, int hold, char id[64])
{
    PH_SCOPED(s, NULL);
    struct ph_intake *q;
    int rc = ph_intake_begin(s, PH_INTAKE_NET, &q);

    if (rc < 0 || (rc = ph_intake_write(q, PH_STR("Subject: t\r\n"))) < 0 || (rc = ph_intake_body(q)) < 0)
        return rc;
    ph_intake_sender(q, PH_STR("list@example.org"));
    for (uint32_t i = 0; i < n; i++)
        ph_intake_recipient(q, ph_str_printf(s, "user-number-%u@%s", i, other && i % other == 0 ? second : domain),
                            PH_STR(""), PH_STR(""), PH_STR(""));
    if (hold)
        ph_intake_hold(q);
    snprintf(id, 64, "%.*s", PH_FMT(ph_intake_id(q)));
    memset(seen, 0, sizeof seen);
    texts_most = rcpts_most = 0;
    return ph_intake_commit(q);
}

static int is_gone(const char *id)
{
    struct ph_qmsg *m;
    int in_memory, rc = ph_queue_find(qmgr()->queue, ph_cstr(id), &m, &in_memory);

    if (rc == PH_FOUND && !in_memory)
        ph_queue_forget(qmgr()->queue, m);
    return rc == PH_NONE;
}

static void test_delivery(void)
{
    char id[64];
    struct ph_sched_stats st;

    is_int(submit_many(MANY, "ok.example", 0, "", 0, id), 0, "a message for 3,000 is accepted");
    until(is_each(1, MANY) && is_gone(id));
    ok(is_gone(id), "and delivered");
    ok(log_says("warning: mail for ok.example is using up ", ""), "what fills a fifth of the active queue is warned of");
    ok(is_each(1, MANY), "to each recipient once");
    ok(rcpts_most <= 400 + 10, "no more than recipient_limit were with the scheduler (%u)", rcpts_most);
    ok(texts_most <= 400 + 10 + 200, "and few more in memory (%u)", texts_most);
    ok(texts_most >= 100, "but some");
    until(qmgr()->active == 0);
    ph_sched_stats(qmgr()->sched, &st);
    is_int(st.recipients + st.messages + texts(), 0, "nothing is left in memory");
}

/* 1,000 of them fail, most of those without an attempt. */
static void test_deferral(void)
{
    char id[64];
    struct ph_qmsg *m;
    int in_memory;

    forget_stubs();
    submit_many(MANY, "ok.example", 3, "dead.example", 0, id);
    until(ph_retry_count(qmgr()->retry) == 1);
    is_int(ph_retry_count(qmgr()->retry), 1, "a third is at a dead site: deferred");
    is_int(stub.defers, 1000, "with a record for each");
    is_int(ph_queue_find(qmgr()->queue, ph_cstr(id), &m, &in_memory), PH_FOUND, "it is there");
    is_int(ph_queue_load(qmgr()->queue, m), 0, "and can be read");
    is_int(m->pending, 1000, "those that failed are pending, the others are not");
    ph_queue_forget(qmgr()->queue, m);
    forget_stubs();
    memset(seen, 0, sizeof seen);
    ph_retry_flush(qmgr()->retry, ph_wall_s());
    ph_sched_forget(qmgr()->sched);
    qmgr()->scan_s = ph_wall_s();
    ph_feed_wake(qmgr());
    until(stub.defers == 1000 && ph_retry_count(qmgr()->retry) == 1);
    is_int(stub.defers, 1000, "the next attempt is about them only");
    ok(!seen[1] && !seen[2] && seen[0] <= 1, "nobody is tried who was delivered");
}

/* In the way it was left: expired by force, with the words it has. */
static void test_expiry(struct ph_stream *io, struct ph_scope *s)
{
    struct ph_frame *f;

    forget_stubs();
    is_int(list(s, io, &f), 1, "it is listed, in one frame");
    is_bytes(ph_frame_value(f, "address"), "user-number-0@dead.example", "from its first recipient on");
    char *id = ph_cstr_dup(s, ph_frame_value(f, "queue_id"));

    is_bytes(ph_frame_value(control(s, io, "expire", id), "status"), "ok", "expire");
    control(s, io, "flush", id);
    until(is_gone(id));
    ok(is_gone(id), "it is returned and removed");
    is_int(stub.notices, 1, "with one notice");
    is_int(stub.defers, 1000, "our stand-in of bounce has no words of them, so we said some");
    is_bytes(ph_cstr(stub.text), "message is administratively expired", "these");
}

static void test_held_expiry(struct ph_stream *io, struct ph_scope *s)
{
    char id[64];

    forget_stubs();
    submit_many(300, "ok.example", 0, "", 1, id);
    until(!is_gone(id));
    control(s, io, "expire", id);
    control(s, io, "release", id);
    until(is_gone(id));
    ok(is_gone(id) && is_each(0, 300), "held mail that expires is returned untried when it is released");
    is_int(stub.defers, 300, "with our words for each recipient");
}

static uint32_t count_listed(struct ph_scope *s, struct ph_stream *io)
{
    uint32_t n = 0;

    for (struct ph_frame *f = control(s, io, "list", NULL); f && !ph_frame_value(f, "end").n; ) {
        size_t at = 0;

        for (ph_str key, value; ph_frame_next(f, &at, &key, &value); )
            n += ph_str_eq(key, PH_STR("address")) ? 1u : 0u;
        f = NULL;
        ph_frame_recv(io, s, 0, &f);
    }
    return n;
}

/* Under way, most of it unread: listed whole, then deleted. */
static void test_delete(struct ph_stream *io, struct ph_scope *s)
{
    char id[64];

    forget_stubs();
    world.is_open = 0;
    submit_many(MANY, "block-many.example", 0, "", 0, id);
    until(world.blocked == 2);
    is_int(world.blocked, 2, "its window is full");
    is_int(count_listed(s, io), MANY, "all recipients are listed, read or not");
    is_bytes(ph_frame_value(control(s, io, "delete", id), "status"), "ok", "delete");
    world.is_open = 1;
    ph_cond_broadcast(world.go);
    until(qmgr()->active == 0 && is_gone(id));
    ok(is_gone(id), "it goes when what is under way has ended");
    ok(is_each(0, 100) || seen[0] == 1, "those had their delivery");
    uint32_t tried = 0;
    for (uint32_t i = 0; i < MANY; i++)
        tried += seen[i];
    is_int(tried, 100, "and nobody else");
}

/* rewrite fails while the list is under way: what has no route is deferred. */
static void test_rewrite_fails(void)
{
    char id[64];
    uint32_t tried = 0;

    forget_stubs();
    world.is_open = 0;
    submit_many(1000, "block-fails.example", 0, "", 0, id);
    until(world.blocked == 2);
    stub.rewrite_down = 1;
    ph_resolve_forget(qmgr());
    world.is_open = 1;
    ph_cond_broadcast(world.go);
    until(ph_retry_count(qmgr()->retry) == 1);
    for (uint32_t i = 0; i < 1000; i++)
        tried += seen[i];
    ok(tried >= 300 && tried < 1000, "what was resolved is delivered (%u)", tried);
    is_int(stub.defers, 1000 - tried, "the rest is deferred");
    stub.rewrite_down = 0;
    ph_retry_flush(qmgr()->retry, ph_wall_s());
    qmgr()->scan_s = ph_wall_s();
    ph_feed_wake(qmgr());
    until(is_gone(id));
    ok(is_gone(id) && is_each(1, 1000), "and delivered later, each once");
}

static void break_connection(struct listener *smtp)
{
    until(world.blocked == 2);
    ph_group_cancel(smtp->sessions);
    ph_group_wait(smtp->sessions, PH_FOREVER);
}

/* The connection to the agents breaks; they report by queue id on a message of
 * which the rest is still under way. */
static void test_survivor_active(struct listener *smtp)
{
    char id[64];

    forget_stubs();
    world.is_open = 0;
    submit_many(500, "block-active.example", 0, "", 0, id);
    break_connection(smtp);
    until(stub.defers >= 100 && world.blocked == 4);
    is_int(stub.defers, 100, "what was under way is deferred, the next are under way");
    world.is_open = 1;
    ph_cond_broadcast(world.go);
    until(ph_agent_busy(smtp->agent) == 0 && is_gone(id));
    ok(is_gone(id) && is_each(1, 500), "the outcomes were told: everybody had one delivery");
}

/* The same on a message that waits on disk. */
static void test_survivor_idle(struct listener *smtp)
{
    char id[64];
    struct ph_qmsg *m;
    int in_memory = 1;

    forget_stubs();
    ph_sched_forget(qmgr()->sched);
    world.is_open = 0;
    submit_many(120, "block-idle.example", 6, "dead.example", 0, id);
    until(stub.defers == 20);
    break_connection(smtp);
    until(ph_retry_count(qmgr()->retry) == 1);
    is_int(stub.defers, 120, "all are deferred");
    world.is_open = 1;
    ph_cond_broadcast(world.go);
    until(ph_agent_busy(smtp->agent) == 0);
    is_int(ph_queue_find(qmgr()->queue, ph_cstr(id), &m, &in_memory), PH_FOUND, "it is on disk");
    is_int(in_memory, 0, "and with nobody");
    is_int(ph_queue_load(qmgr()->queue, m), 0, "it can be read");
    is_int(m->pending, 20, "those that were told are marked");
    ph_queue_forget(qmgr()->queue, m);
    is_int(ph_retry_count(qmgr()->retry), 1, "it waits for its next attempt");
}

static int corrupt_one(const char *path)
{
    static char bytes[65536];
    FILE *f = fopen(path, "r+");
    size_t n = f ? fread(bytes, 1, sizeof bytes, f) : 0;
    char *at = memmem(bytes, n, "user-number-600@", 16);
    int rc = at && fseek(f, at - 2 - bytes, SEEK_SET) == 0 && fputc(0xff, f) != EOF && fputc(0xff, f) != EOF;

    return f && fclose(f) == 0 && rc;
}

/* A list that does not parse in the middle: who stands before is served, the
 * message is kept for a human. */
static void test_damaged(struct ph_stream *io, struct ph_scope *s)
{
    char path[200], said[128], id[64];
    int found = 0;

    delete_all(s, io);
    forget_stubs();
    submit_many(1000, "dead.example", 0, "", 0, id);
    until(stub.defers == 1000 && qmgr()->active == 0);
    for (int i = 0; i < 16 && !found; i++) {
        snprintf(path, sizeof path, "%s/deferred/%X/%s", dir, (unsigned)i, id);
        found = corrupt_one(path);
    }
    ok(found, "a recipient of it is overwritten on disk");
    ph_retry_flush(qmgr()->retry, ph_wall_s());
    qmgr()->scan_s = ph_wall_s();
    ph_feed_wake(qmgr());
    snprintf(path, sizeof path, "%s/corrupt/%s", dir, id);
    until(access(path, F_OK) == 0);
    is_int(access(path, F_OK), 0, "it is moved to corrupt");
    snprintf(said, sizeof said, "%s: reading recipients: damaged recipient", id);
    ok(log_says(said, ""), "with a warning");
    until(qmgr()->active == 0);
    is_int(qmgr()->active, 0, "and nobody works on it");
}

static void flush_all(void)
{
    ph_sched_forget(qmgr()->sched);
    ph_retry_flush(qmgr()->retry, ph_wall_s());
    qmgr()->scan_s = ph_wall_s();
    ph_feed_wake(qmgr());
}

/* Deferred mail becomes active and deferred again while the listing is made: it
 * is in one queue or the other, and each message is listed once. */
static void test_moving(struct ph_stream *io, struct ph_scope *s)
{
    enum { MESSAGES = 10, ROUNDS = 40 };
    struct ph_frame *f;
    char id[64];
    int complete = 0;

    delete_all(s, io);
    forget_stubs();
    for (int i = 0; i < MESSAGES; i++)
        submit_many(1, "dead.example", 0, "", 0, id);
    for (int i = 0; i < ROUNDS; i++) {
        until(ph_retry_count(qmgr()->retry) == MESSAGES && qmgr()->active == 0);
        flush_all();
        complete += list(s, io, &f) == MESSAGES;
    }
    is_int(complete, ROUNDS, "each listing holds each message once");
    ok(stub.defers > MESSAGES * ROUNDS / 2, "while they moved: %d deferrals", stub.defers);
    delete_all(s, io);
}

/* The index passes over what somebody has in hand: he puts it there when he gives it back. */
static void test_in_hand(struct ph_stream *io, struct ph_scope *s)
{
    struct ph_qmsg *m;
    char id[64];
    int in_memory = 1;
    int64_t when;

    delete_all(s, io);
    forget_stubs();
    submit_many(1, "dead.example", 0, "", 0, id);
    until(ph_retry_count(qmgr()->retry) == 1 && qmgr()->active == 0);
    ok(ph_control_take(qmgr(), ph_cstr(id), &m, &in_memory) == PH_FOUND && !in_memory, "a deferred message in somebody's hands");
    ph_retry_remove(qmgr()->retry, ph_cstr(id));
    ph_feed_index(qmgr());
    until(!qmgr()->indexing);
    ok(!ph_retry_find(qmgr()->retry, ph_cstr(id), &when), "the index passes over it");
    ph_feed_return(qmgr(), m, in_memory);
    ok(ph_retry_find(qmgr()->retry, ph_cstr(id), &when), "given back it waits for its next attempt");
    delete_all(s, io);
}

static void cases(struct listener *smtp)
{
    PH_SCOPED(s, NULL);
    struct ph_stream *io = control_dial(s);

    world.look = look;
    test_delivery();
    test_deferral();
    test_expiry(io, s);
    test_held_expiry(io, s);
    test_delete(io, s);
    test_rewrite_fails();
    test_survivor_active(smtp);
    test_survivor_idle(smtp);
    test_damaged(io, s);
    test_moving(io, s);
    test_in_hand(io, s);
}
