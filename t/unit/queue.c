/* t/unit/queue.c: the store and the receivers' side: commits, reuse, moves, restart,
 * recovery (leases: lease.c). */
#include "queue_world.h"

static void test_small(struct owner *o)
{
    PH_SCOPED(s, NULL);
    char id[PH_ID_MAX + 1], text[200];
    struct ph_qmsg *m;
    struct ph_message *msg;
    int fd;
    char slot[PH_SLOT_NAME];

    is_int(submit("Subject: small\r\n", 128, 0, id), 0, "a small message is accepted");
    m = next_message(o);
    ok(m && m->loaded, "it arrives with its envelope");
    is_bytes(ph_cstr(m->id), id, "under the id that reception gave");
    is_bytes(m->message.sender, "me@example.com", "sender");
    is_bytes(m->message.client_name, "host.example", "attribute");
    is_int(m->rcpt_count, 2, "recipients");
    is_bytes(ph_qmsg_rcpt(m, 1)->dsn_notify, "NEVER", "NOTIFY of the second");
    is_int(m->message.longest_line, 62, "longest line");
    fd = ph_queue_open_reader(o->queue, m);
    ok(fd > 2, "a reader gets a descriptor");
    is_int(ph_message_open(s, fd, ph_cstr(id), &msg), 0, "and opens the message");
    is_int(ph_message_bytes(msg), 146, "size of content");
    is_int(ph_message_read(msg, 0, text, sizeof text), 146, "content is read");
    is_bytes(((ph_str){ text, 18 }), "Subject: small\r\n\r\n", "as it was written");
    ok(write(fd, "x", 1) < 0, "the reader cannot write");
    snprintf(slot, sizeof slot, "%s", m->slot->name);
    finish(o, m);
    /* While the reader holds its lock the slot is not used again. */
    for (int i = 0; i < 80; i++) {
        submit("A: b\r\n", 64, 0, id);
        m = next_message(o);
        if (strcmp(m->slot->name, slot) == 0)
            break;
        for (uint32_t k = 0; k < 2; k++)
            ph_queue_mark(o->queue, m, k, PH_STATE_DELIVERED);
        ph_queue_remove(o->queue, m);
        m = NULL;
    }
    ok(m == NULL, "a slot that is read is not written again");
    close(fd);
    for (int i = 0; i < 200; i++) {
        submit("A: b\r\n", 64, 0, id);
        m = next_message(o);
        for (uint32_t k = 0; k < 2; k++)
            ph_queue_mark(o->queue, m, k, PH_STATE_DELIVERED);
        ph_queue_remove(o->queue, m);
    }
    ok(ph_map_count(o->queue->slots) < 100, "others are: %zu slots for 280 messages", ph_map_count(o->queue->slots));
}

static void test_large(struct owner *o)
{
    PH_SCOPED(s, NULL);
    char id[PH_ID_MAX + 1], slot[PH_PATH];
    struct ph_qmsg *m;
    struct ph_message *msg;
    char *all = ph_alloc(s, 400000);
    uint64_t at = 0;
    int64_t n;
    int fd;

    is_int(submit("Subject: large\r\n", 300032, 0, id), 0, "a large message is accepted");
    m = next_message(o);
    fd = ph_queue_open_reader(o->queue, m);
    is_int(ph_message_verify(s, fd, ph_cstr(id), &msg, NULL), 0, "its checksum holds");
    while ((n = ph_message_read(msg, at, all + at, 400000 - at)) > 0)
        at += (uint64_t)n;
    is_int(at, 300032 + 18, "all of it is read");
    is_bytes(((ph_str){ all + at - 6, 6 }), "abcd\r\n", "to its end");
    close(fd);
    ph_qmsg_path(slot, m);
    ok(exists("%s", slot), "it is in its slot");
    finish(o, m);
    ok(exists("%s", slot), "its slot stays");
    is_int(o->queue->large_bytes > 300032 && o->queue->large_bytes < 302000, 1, "and is counted by its size");
    is_int(submit("Subject: too large\r\n", 1000064, 0, id), PH_PERM, "the size limit holds");
}

/* Messages at once in slots of their own, then all of them gone; how many slots stay. */
static int deliver_large(struct owner *o, unsigned count, size_t bytes)
{
    struct ph_qmsg *m[80];
    char path[80][PH_PATH], id[PH_ID_MAX + 1];
    int stay = 0;

    for (unsigned i = 0; i < count; i++) {
        if (submit("Subject: large\r\n", bytes, 0, id) < 0 || !(m[i] = next_message(o)))
            return -1;
        ph_qmsg_path(path[i], m[i]);
    }
    for (unsigned i = 0; i < count; i++)
        finish(o, m[i]);
    for (unsigned i = 0; i < count; i++)
        stay += exists("%s", path[i]);
    return stay;
}

/* Files that have grown serve again, but without mail in them they keep only so much of the disk. */
static void test_large_pool(struct owner *o)
{
    struct ph_qmsg *m;
    char id[PH_ID_MAX + 1];
    const unsigned most = PH_POOL_LARGE / 990000u;

    int stay = deliver_large(o, 80, 990016);
    ok(stay >= (int)most - 1 && stay <= (int)most, "of 80 slots of 1 MB %d stay, as many as 64 MiB have room for", stay);
    ok(o->queue->large_bytes <= PH_POOL_LARGE, "as they are counted");
    int64_t counted = (int64_t)o->queue->large_bytes;
    stay = deliver_large(o, 40, 990016);
    ok(stay >= 20 && stay <= 40, "%d of 40 messages come into these (the others had leases before)", stay);
    is_int(o->queue->large_bytes, counted, "and count once");
    is_int(submit("Subject: small\r\n", 64, 0, id), 0, "also for a small message");
    m = next_message(o);
    ok(m->slot->large_bytes > 980000, "which comes into a large one");
    is_int(ph_queue_load(o->queue, m), 0, "loaded");
    is_int(ph_queue_defer(o->queue, m, ph_wall_us()), 0, "and is deferred with it");
    is_int(o->queue->large_bytes < (uint64_t)counted, 1, "so it counts no more");
    finish(o, m);
    /* A full disk: what nobody's mail is in goes at the next look. */
    o->queue->params.queue_minfree = INT64_MAX;
    int64_t until = ph_in_ms(10000);
    while (o->queue->large_bytes > PH_POOL_LARGE / 4 && ph_now_ms() < until)
        ph_sleep_until(ph_in_ms(50));
    ok(o->queue->large_bytes <= PH_POOL_LARGE / 4, "when space is short all that are not lent are given back");
    o->queue->params.queue_minfree = 0;
    until = ph_in_ms(10000);
    while (o->queue->space_low && ph_now_ms() < until)
        ph_sleep_until(ph_in_ms(50));
    ok(!o->queue->space_low, "and mail is taken again");
}

/* Two ways to the same content: the facts are the same, and what is not plain leaves no trace. */
static void test_plain(struct owner *o)
{
    PH_SCOPED(s, NULL);
    struct ph_intake *q;
    struct ph_qmsg *m;

    is_int(ph_intake_begin(s, PH_INTAKE_NET, &q), 0, "a message is begun");
    ph_intake_write(q, PH_STR("Stray: \r header\r\n"));
    ph_intake_body(q);
    is_int(ph_intake_write_plain(q, PH_STR("plain\r\n.dot\r\nand a line")), 0, "what is plain is taken");
    uint64_t have = ph_intake_bytes(q);
    is_int(ph_intake_write_plain(q, PH_STR(" with\nLF")), PH_NONE, "an LF is not");
    is_int(ph_intake_write_plain(q, PH_STR(" with\rCR")), PH_NONE, "nor a CR");
    is_int(ph_intake_write_plain(q, PH_STR(" with\r")), PH_NONE, "nor one that waits for its LF");
    is_int(ph_intake_write_plain(q, PH_STR("\n")), PH_NONE, "nor that");
    is_int(ph_intake_bytes(q), (long long)have, "nothing of it is there");
    is_int(ph_intake_write_plain(q, PH_STR(" that goes on\r\n")), 0, "the line goes on");
    ph_intake_recipient(q, PH_STR("one@example.org"), PH_STR(""), PH_STR(""), PH_STR(""));
    is_int(ph_intake_commit(q), 0, "committed");
    m = next_message(o);
    is_int(m->message.facts, PH_FACT_LEADING_DOT | PH_FACT_BARE_CR, "the facts are those of the content, and what was seen before stays");
    is_int(m->message.longest_line, 23, "the longest line is one of two pieces");
    finish(o, m);
}

static void test_abort(struct owner *o)
{
    int before = o->count;
    char id[PH_ID_MAX + 1];

    for (int i = 0; i < 3; i++) {
        PH_SCOPED(s, NULL);
        struct ph_intake *q;

        is_int(ph_intake_begin(s, PH_INTAKE_NET, &q), 0, "a message is begun");
        for (int k = 0; k < 20000; k++)
            ph_intake_write(q, PH_STR("8bitsof\n"));
    }
    is_int(submit("After: that\r\n", 64, 0, id), 0, "then one is accepted");
    is_int(wait_count(o, before + 1), before + 1, "and only that one arrives");
    finish(o, next_message(o));
}

static void test_hold_wish(struct owner *o)
{
    char id[PH_ID_MAX + 1];
    struct ph_qmsg *m;
    int in_memory, before = o->count;
    int64_t until = ph_in_ms(5000);

    is_int(submit("A: b\r\n", 64, 1, id), 0, "accepted on hold");
    while (!exists("hold/%s", id) && ph_now_ms() < until)
        ph_yield();
    ok(exists("hold/%s", id), "it is in hold");
    is_int(o->count, before, "and is not delivered");
    is_int(ph_queue_find(o->queue, ph_cstr(id), &m, &in_memory), PH_FOUND, "it is found");
    is_int(m->place, PH_PLACE_HOLD, "there");
    is_int(ph_queue_release(o->queue, m), 0, "released");
    is_int(m->place, PH_PLACE_DEFERRED, "to deferred");
    ok(!exists("hold/%s", id), "out of hold");
    is_int(ph_queue_load(o->queue, m), 0, "loaded");
    finish(o, m);
}

static int is_named(void *arg, ph_str id)
{
    return ph_str_eq(id, ph_cstr(arg));
}

/* What a listing shows of a deferred message that nobody has in his hands: its first
 * recipient is done, and it was not loaded. */
static void test_glance(struct owner *o, struct ph_scope *s, const char *id)
{
    struct ph_walk *w = ph_walk_new(s, o->queue, PH_PLACE_DEFERRED);
    const struct ph_glance *g;

    is_int(ph_walk_glance(w, 100, &g), PH_FOUND, "it can be looked at");
    is_bytes(g->id, id, "by its name");
    is_int(g->rc, 0, "whole");
    ok(ph_str_eq(g->message.rcpt[1].original, PH_STR("2@example.org")) && g->message.rcpt[0].state == PH_STATE_DELIVERED &&
       g->message.rcpt[1].state == PH_STATE_PENDING && !g->expired, "with its recipients and what became of them");
    is_int(ph_walk_glance(w, 100, &g), PH_NONE, "once");
    w = ph_walk_new(s, o->queue, PH_PLACE_DEFERRED);
    is_int(ph_walk_glance(w, 1, &g), PH_FOUND, "and when fewer recipients are wanted");
    ok(g->rc == PH_FOUND && !g->message.rcpt && g->message.rcpt_count == 2, "without them");
    is_int(ph_queue_count(o->queue), 0, "nobody has it in memory");
}

static void test_defer(struct owner *o)
{
    PH_SCOPED(s, NULL);
    char id[PH_ID_MAX + 1];
    struct ph_qmsg *m;
    struct ph_walk *w;
    int64_t next = 0, soon = ph_wall_us() + 3600 * INT64_C(1000000);
    int in_memory, fd;
    ph_str name;

    submit("A: b\r\n", 64, 0, id);
    m = next_message(o);
    is_int(ph_queue_mark(o->queue, m, 0, PH_STATE_DELIVERED), 0, "one recipient is done");
    is_int(ph_queue_mark_warned(o->queue, m), 0, "warned");
    is_int(ph_queue_sync(o->queue, m), 0, "synced");
    is_int(ph_queue_defer(o->queue, m, soon), 0, "deferred");
    is_int(m->place, PH_PLACE_DEFERRED, "in its place");
    ph_queue_forget(o->queue, m);
    w = ph_walk_new(s, o->queue, PH_PLACE_DEFERRED);
    is_int(ph_walk_time(w, &name, &next), PH_FOUND, "it is found");
    is_bytes(name, id, "by its name");
    is_int(next, soon, "with its time");
    is_int(ph_walk_time(w, &name, &next), PH_NONE, "once");
    w = ph_walk_new(s, o->queue, PH_PLACE_DEFERRED);
    ph_walk_pass(w, is_named, id);
    is_int(ph_walk_time(w, &name, &next), PH_NONE, "but not when it is known");
    test_glance(o, s, id);
    w = ph_walk_new(s, o->queue, PH_PLACE_DEFERRED);
    is_int(ph_walk_next(w, &m), PH_FOUND, "it can be taken");
    is_bytes(ph_cstr(m->id), id, "by its name");
    is_int(ph_walk_next(w, &m), PH_NONE, "once");
    is_int(ph_queue_find(o->queue, ph_cstr(id), &m, &in_memory), PH_FOUND, "it is in memory");
    is_int(in_memory, 1, "with a holder");

    fd = ph_queue_open_reader(o->queue, m);
    is_int(ph_queue_load(o->queue, m), PH_FOUND, "a message that is read is not started");
    close(fd);
    is_int(ph_queue_load(o->queue, m), 0, "later it is");
    is_int(ph_qmsg_state(m, 0), PH_STATE_DELIVERED, "the mark is there");
    is_int(m->pending, 1, "one is pending");
    is_int(m->warned, 1, "the warning is remembered");
    is_int(ph_queue_mark_expired(o->queue, m), 0, "forced to expire");
    ph_queue_unload(m);
    is_int(ph_queue_load(o->queue, m), 0, "loaded again");
    is_int(m->expired, 1, "and it is remembered");
    is_int(ph_queue_defer(o->queue, m, soon), 0, "deferred again");
    finish(o, m);
    is_int(ph_queue_find(o->queue, ph_cstr(id), &m, &in_memory), PH_NONE, "then it is gone");
    is_int(ph_queue_find(o->queue, PH_STR("../etc/passwd"), &m, &in_memory), PH_PERM, "a path is no id");
}

/* What a loss of power leaves of a rename where directories reach the disk one by
 * one: the file has both its names, and moves all the same. */
static void test_both_names(struct owner *o)
{
    char id[PH_ID_MAX + 1], pool[PH_PATH], deferred[PH_PATH];
    struct ph_qmsg *m;

    submit("A: b\r\n", 64, 0, id);
    m = next_message(o);
    is_int(ph_queue_load(o->queue, m), 0, "loaded");
    ph_qmsg_path(pool, m);
    ph_queue_path(deferred, PH_PLACE_DEFERRED, id);
    is_int(linkat(o->queue->dir_fd, pool, o->queue->dir_fd, deferred, 0), 0, "a message with two names");
    is_int(ph_queue_defer(o->queue, m, ph_wall_us()), 0, "is deferred");
    is_int(faccessat(o->queue->dir_fd, pool, F_OK, 0), -1, "its old name is gone");
    is_int(faccessat(o->queue->dir_fd, deferred, F_OK, 0), 0, "the new one is there");
    finish(o, m);
    is_int(faccessat(o->queue->dir_fd, deferred, F_OK, 0), -1, "until it is finished");
}

static void test_corrupt(struct owner *o)
{
    char id[PH_ID_MAX + 1], path[PH_PATH], full[200];
    struct ph_qmsg *m;
    int fd, before = count_files("corrupt");

    submit("A: b\r\n", 64, 0, id);
    m = next_message(o);
    ph_queue_defer(o->queue, m, ph_wall_us());
    ph_queue_unload(m);
    ph_qmsg_path(path, m);
    snprintf(full, sizeof full, "%s/%s", top, path);
    fd = open(full, O_WRONLY);
    if (fd < 0 || pwrite(fd, "?", 1, PH_RECORD_BYTES + 3) != 1)
        exit(99);
    close(fd);
    is_int(ph_queue_load(o->queue, m), PH_PERM, "a damaged file is not loaded");
    is_int(count_files("corrupt"), before + 1, "it is kept in corrupt");
    ok(exists("corrupt/%s", id), "under its name");
}

static void finish_all(struct owner *o)
{
    struct ph_qmsg *m;

    while ((m = ph_queue_next(o->queue, &(size_t){ 0 })) != NULL && ph_queue_load(o->queue, m) == 0)
        finish(o, m);
}

static void put_file(const char *dir, const char *name, int wrong, struct ph_record *r, int serial, int lock)
{
    PH_SCOPED(s, NULL);
    char path[300];
    struct stat st;
    int fd;
    ph_str bytes;

    snprintf(path, sizeof path, "%s/%s/%s", top, dir, name);
    if ((fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600)) < 0 || fstat(fd, &st) < 0)
        exit(99);
    bytes = file_bytes(s, st.st_ino, wrong, r, serial);
    if (pwrite(fd, bytes.p, bytes.n, 0) != (ssize_t)bytes.n || (lock && ph_lock_take(fd, F_WRLCK) < 0))
        exit(99);
    if (!lock)
        close(fd);
}

static void test_recovery(void)
{
    struct owner *o;
    struct ph_record good, done, held, wrong, locked, active;
    struct ph_qmsg *m;
    char path[200];
    int fd, corrupt = count_files("corrupt");
    int lock_fd;

    snprintf(path, sizeof path, "%s/pool/0/empty", top);
    fd = open(path, O_RDWR | O_CREAT, 0600);
    if (fd < 0 || ftruncate(fd, 16384) < 0)
        exit(99);
    close(fd);
    put_file("pool/1", "good", RIGHT, &good, 1, 0);
    put_file("pool/2", "done", DONE, &done, 2, 0);
    put_file("pool/3", "held", HELD, &held, 3, 0);
    put_file("pool/4", "badcrc", WRONG_CRC, &wrong, 4, 0);
    put_file("pool/5", "badinode", WRONG_INODE, &wrong, 5, 0);
    lock_fd = dup(0);              /* the number the locked one gets next */
    close(lock_fd);
    put_file("pool/6", "locked", RIGHT, &locked, 6, 1);
    put_file("active", "tmp", RIGHT, &active, 7, 0);
    char from[300], to[300];
    snprintf(from, sizeof from, "%s/active/tmp", top);
    snprintf(to, sizeof to, "%s/active/%s", top, active.id);
    if (rename(from, to) < 0)
        exit(99);

    o = owner_new();
    is_int(o->count, 2, "two messages are taken up at once");
    ok(ph_queue_in_memory(o->queue, ph_cstr(good.id)) != NULL, "the complete slot");
    ok((m = ph_queue_in_memory(o->queue, ph_cstr(active.id))) != NULL, "and the file in active");
    is_int(ph_queue_load(o->queue, m), 0, "which is loaded");
    ok(!exists("%s", "pool/0/empty"), "an unfinished slot is removed");
    ok(!exists("%s", "pool/2/done"), "a finished one too");
    ok(exists("hold/%s", held.id), "one that asked for hold is there");
    is_int(count_files("corrupt"), corrupt + 2, "two damaged ones are kept in corrupt");
    ok(exists("%s", "pool/6/locked"), "a leased one is left alone");
    close(lock_fd);
    is_int(wait_count(o, 3), 3, "until its lease ends");
    ok(ph_queue_in_memory(o->queue, ph_cstr(locked.id)) != NULL, "then it is taken up");
    finish_all(o);
    is_int(ph_queue_count(o->queue), 0, "all of them are removed");
    owner_free(o);
}

/* qmgr ends and comes back while the receiver lives: what was begun before
 * fails, what comes after is taken. */
static void test_restart(struct owner **o)
{
    PH_SCOPED(s, NULL);
    struct ph_intake *q;
    char id[PH_ID_MAX + 1], kept[PH_ID_MAX + 1];
    struct ph_scope *other = ph_scope_new(NULL);
    struct ph_queue *second;
    int was;

    is_int(ph_queue_open(other, conf_of(other), &events, NULL, &second), PH_TEMP, "the queue has one owner");
    ph_scope_free(other);
    is_int(submit("Kept: 1\r\n", 64, 0, kept), 0, "a message is accepted");
    wait_count(*o, (*o)->count + 1);
    is_int(ph_intake_begin(s, PH_INTAKE_NET, &q), 0, "another is begun");
    owner_free(*o);
    was = dials;
    *o = owner_new();
    while (dials == was)
        ph_yield();
    is_int((*o)->count, 1, "the accepted one is found again");
    ok(ph_queue_in_memory((*o)->queue, ph_cstr(kept)) != NULL, "under its id");
    ph_intake_recipient(q, PH_STR("a@b"), PH_STR(""), PH_STR(""), PH_STR(""));
    is_int(ph_intake_commit(q), PH_TEMP, "the one begun before is refused");
    is_int(submit("New: 1\r\n", 64, 0, id), 0, "a new one is accepted");
    is_int(wait_count(*o, 2), 2, "and arrives");
}

static int is_executable(int dir_fd, const char *id)
{
    char path[PH_PATH];
    struct stat st;

    snprintf(path, sizeof path, "maildrop/%s", id);
    return fstatat(dir_fd, path, &st, 0) == 0 && st.st_mode & S_IXUSR;
}

static int requeue_reads_back(struct owner *o)
{
    char id[PH_ID_MAX + 1];
    struct ph_qmsg *m;

    submit("Again: 1\r\n", 64, 0, id);
    m = next_message(o);
    while (m && strcmp(m->id, id) != 0)
        m = next_message(o);
    is_int(ph_queue_load(o->queue, m), 0, "loaded");
    is_int(ph_queue_requeue(o->queue, m), 0, "requeued");
    is_int(count_files("maildrop"), 1, "it is in maildrop");
    ok(is_executable(o->queue->dir_fd, id), "and is ready for pickup");
    ok(ph_queue_in_memory(o->queue, ph_cstr(id)) == NULL, "and not in the queue");
    return 0;
}

static int run(void *arg PH_UNUSED)
{
    struct owner *o = owner_new();

    ph_hub_dial_with(dial);
    test_small(o);
    test_large(o);
    test_large_pool(o);
    test_plain(o);
    test_abort(o);
    test_hold_wish(o);
    test_defer(o);
    test_both_names(o);
    test_corrupt(o);
    test_restart(&o);
    requeue_reads_back(o);
    is_int(ph_queue_count(o->queue), 2, "two messages are left");
    finish_all(o);
    owner_free(o);
    test_recovery();
    return 0;
}

static int started, settled;

static void settle_first(void *arg)
{
    started = 1;
    settled = ph_dirs_settle(arg) == 0;
}

/* Until one is seen under way: who makes slots settles, too, and may have done it. */
static void begin_settle(struct owner *o)
{
    do {
        started = settled = 0;
        ph_map_set(o->queue->dirty, PH_STR("hold"), o);
        ph_spawn(o->group, "first", settle_first, o->queue);
        while (!started || ph_map_count(o->queue->dirty) > 0)
            ph_yield();
    } while (settled);
}

/* Nobody takes a directory for clean that another is just syncing: the pool is
 * synced behind that, and would lose the old name before the new one is there. */
static int test_settle(void *arg PH_UNUSED)
{
    struct owner *o = owner_new();

    is_int(ph_disk_start(1), 0, "a disk pool");
    is_int(ph_dirs_settle(o->queue), 0, "directories are clean");
    begin_settle(o);
    ok(!settled, "one is being synced by another");
    int rc = ph_dirs_settle(o->queue);
    for (int turn = 0; turn < 3 && !settled; turn++)
        ph_yield();                /* both are woken, in either order */
    ok(rc == 0 && settled, "who comes second ends behind it");
    owner_free(o);
    return 0;
}

int main(void)
{
    queue_world((int (*const[])(void *)){ run, test_settle }, 2);
    return done_testing();
}
