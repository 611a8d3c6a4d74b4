/* t/unit/queue.c: the store and the receivers' side, joined by a memory stream:
 * leases, commits, reuse, adoption, recovery, moves. */
#include <errno.h>
#include <fcntl.h>
#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <posthorn/intake.h>
#include "core/base/crc32c.h"
#include "core/conf/conf.h"
#include "core/queue/hub.h"
#include "core/queue/store.h"
#include "core/run/loop.h"
#include "tap.h"

/* The owner in these tests: keeps what arrived. */
struct owner {
    struct ph_scope *scope;
    struct ph_queue *queue;
    struct ph_group *group;
    struct ph_list arrived;
    int count, room;
    struct ph_cond *came;
};

static struct owner *the_owner;    /* the dial function has no argument */
static char top[64];
static int dials;

static void arrived(void *arg, struct ph_qmsg *m)
{
    struct owner *o = arg;

    ph_list_push(&o->arrived, &m->node);
    o->count++;
    ph_cond_broadcast(o->came);
}

static int has_room(void *arg, uint32_t rcpts PH_UNUSED)
{
    return ((struct owner *)arg)->room;
}

static const struct ph_queue_events events = { arrived, has_room };

static struct ph_conf *conf_of(struct ph_scope *s)
{
    struct ph_conf *c;
    ph_str text = ph_str_printf(s, "queue_directory = %s\nmessage_size_limit = 1000000\n", top);

    if (ph_conf_parse(s, top, "test", text, &c) < 0) {
        printf("# %s\n", ph_error());
        exit(99);
    }
    return c;
}

/* Open, recover, start: as qmgr does. */
static struct owner *owner_new(void)
{
    struct ph_scope *s = ph_scope_new(NULL);
    struct owner *o = ph_new(s, struct owner);
    int rc;

    o->scope = s;
    o->room = 1;
    o->came = ph_cond_new(s);
    ph_list_init(&o->arrived);
    if ((rc = ph_queue_open(s, conf_of(s), &events, o, &o->queue)) < 0) {
        printf("# open: %s\n", ph_error());
        exit(99);
    }
    o->group = ph_group_new(s);
    if (ph_queue_recover(o->queue) < 0 || ph_queue_start(o->queue, o->group) < 0)
        exit(99);
    the_owner = o;
    return o;
}

static void owner_free(struct owner *o)
{
    the_owner = NULL;
    ph_group_cancel(o->group);
    ph_group_wait(o->group, PH_FOREVER);
    ph_scope_free(o->scope);
}

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
        ph_queue_serve_intake(the_owner->queue, s, v->io, hello);
    ph_stream_close(v->io);
    ph_scope_free(s);
}

static int dial(struct ph_scope *s, struct ph_stream **io)
{
    struct ph_scope *far = ph_scope_new(NULL);
    struct server *v = ph_new(far, struct server);

    if (!the_owner) {
        ph_scope_free(far);
        return ph_fail(PH_TEMP, "no owner");
    }
    dials++;
    v->scope = far;
    ph_stream_pair(s, far, 0, io, &v->io);
    return ph_spawn(the_owner->group, "server", serve, v);
}

/* Wait until n messages arrived in all. */
static int wait_count(struct owner *o, int n)
{
    int64_t until = ph_in_ms(5000);

    while (o->count < n && ph_cond_wait(o->came, until) == 0)
        ;
    return o->count;
}

static struct ph_qmsg *next_message(struct owner *o)
{
    struct ph_list *n;

    wait_count(o, o->count + (ph_list_is_empty(&o->arrived) ? 1 : 0));
    n = ph_list_shift(&o->arrived);
    return n ? ph_list_of(n, struct ph_qmsg, node) : NULL;
}

static int submit(const char *headers, size_t body, int hold, char id[PH_ID_MAX + 1])
{
    PH_SCOPED(s, NULL);
    struct ph_intake *q;
    char line[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n";
    int rc = ph_intake_begin(s, PH_INTAKE_NET, &q);

    if (rc < 0)
        return rc;
    snprintf(id, PH_ID_MAX + 1, "%.*s", PH_FMT(ph_intake_id(q)));
    if ((rc = ph_intake_write(q, ph_cstr(headers))) < 0 || (rc = ph_intake_body(q)) < 0)
        return rc;
    for (size_t done = 0; done < body && rc == 0; done += 64)
        rc = ph_intake_write(q, ph_cstr(line));
    ph_intake_sender(q, PH_STR("me@example.com"));
    ph_intake_recipient(q, PH_STR("one@example.org"), PH_STR(""), PH_STR(""), PH_STR(""));
    ph_intake_recipient(q, PH_STR("two@example.org"), PH_STR("2@example.org"), PH_STR(""), PH_STR("NEVER"));
    ph_intake_attr(q, "client_name", PH_STR("host.example"));
    if (hold)
        ph_intake_hold(q);
    return rc < 0 ? rc : ph_intake_commit(q);
}

static int exists(const char *fmt, const char *id)
{
    char path[200], rel[100];
    struct stat st;

    snprintf(rel, sizeof rel, fmt, id);
    snprintf(path, sizeof path, "%s/%s", top, rel);
    return stat(path, &st) == 0;
}

static int count_files(const char *dir)
{
    char path[200];
    DIR *d;
    struct dirent *e;
    int n = 0;

    snprintf(path, sizeof path, "%s/%s", top, dir);
    if (!(d = opendir(path)))
        return -1;
    while ((e = readdir(d)) != NULL)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static void finish(struct owner *o, struct ph_qmsg *m)
{
    for (uint32_t i = 0; i < m->rcpt_count; i++)
        ph_queue_mark(o->queue, m, i, PH_STATE_DELIVERED);
    is_int(ph_queue_remove(o->queue, m), 0, "removed");
}

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

/* Another description of the same file, as an agent that keeps its lock has one. */
static int is_locked(struct owner *o, const struct ph_qmsg *m)
{
    char path[PH_PATH];

    ph_qmsg_path(path, m);
    int fd = openat(o->queue->dir_fd, path, O_RDWR | O_CLOEXEC), rc = ph_lock_is_held(fd, F_WRLCK);

    close(fd);
    return rc;
}

/* A descriptor that is lent stays open for the next message of its slot. */
static void test_lent(struct owner *o)
{
    const char *smtp = "smtp", *lmtp = "lmtp";
    struct ph_queue *q = o->queue;
    char id[PH_ID_MAX + 1];
    int kept, other_kept;

    is_int(submit("A: lent\r\n", 64, 0, id), 0, "a message to lend");
    struct ph_qmsg *m = next_message(o);
    ok(!is_locked(o, m), "the lease of a message that was taken holds no lock");
    int fd = ph_queue_lend_reader(q, m, smtp, &kept), copy = dup(fd);
    ok(fd > 2 && kept && is_locked(o, m), "a reader is lent, with its lock");
    int other = ph_queue_lend_reader(q, m, smtp, &other_kept);
    ok(other > 2 && other != fd && !other_kept, "a second one at the same time is another");
    close(other);
    ph_lock_take(copy, F_UNLCK);
    ok(!is_locked(o, m), "the borrower gives the lock up");
    ph_queue_reader_back(q, m, 1);
    ok(ph_queue_lend_reader(q, m, smtp, &kept) == fd && kept && is_locked(o, m), "the next one of the same service is the same, locked again");
    ph_queue_reader_back(q, m, 0);
    ok(m->slot->reader_fd < 0 && is_locked(o, m), "what was not given back is let go, and the borrower's lock stays");
    close(copy);
    ok(!is_locked(o, m), "until he ends");
    fd = ph_queue_lend_reader(q, m, smtp, &kept);
    copy = dup(fd);
    ph_lock_take(copy, F_UNLCK);
    ph_queue_reader_back(q, m, 1);
    ok(ph_queue_lend_reader(q, m, lmtp, &kept) > 2 && kept, "another service gets one of its own");
    ph_lock_take(copy, F_RDLCK);
    ph_lock_take(m->slot->reader_fd, F_UNLCK);
    ok(is_locked(o, m), "whose lock the first one cannot touch");
    close(copy);
    ph_queue_reader_back(q, m, 1);
    finish(o, m);
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
    ok(!exists("%s", slot), "a slot that grew is unlinked");
    is_int(submit("Subject: too large\r\n", 1000064, 0, id), PH_PERM, "the size limit holds");
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

/* A client that speaks the protocol itself. */
struct raw {
    struct ph_scope *scope;
    struct ph_stream *io;
    char slot[PH_SLOT_NAME];
    uint64_t inode;
    int fd;
};

static void raw_connect(struct raw *r)
{
    PH_SCOPED(s, NULL);
    struct ph_frame *f = ph_frame_new(s);
    struct ph_frame *want = ph_frame_new(s), *got;

    r->scope = ph_scope_new(NULL);
    if (dial(r->scope, &r->io) < 0)
        exit(99);
    ph_frame_cstr(f, "op", "hello");
    ph_frame_cstr(f, "role", "intake");
    ph_frame_send(r->io, f);
    ph_frame_cstr(want, "op", "lease");
    ph_frame_u64(want, "who", 0);
    ph_frame_u64(want, "count", 1);
    ph_frame_send(r->io, want);
    ph_stream_flush(r->io);
    r->fd = -1;
    while (r->fd < 0 && ph_frame_recv(r->io, s, 0, &got) > 0)
        if (ph_str_eq(ph_frame_value(got, "op"), PH_STR("lease"))) {
            r->fd = ph_frame_take_fd(got, 0);
            snprintf(r->slot, sizeof r->slot, "%.*s", PH_FMT(ph_frame_value(got, "slot")));
            ph_frame_get_u64(got, "inode", &r->inode);
        }
}

static void raw_close(struct raw *r)
{
    ph_stream_close(r->io);
    ph_scope_free(r->scope);
}

/* A complete message; `wrong` breaks one thing. */
enum { RIGHT, WRONG_CRC, WRONG_INODE, DONE, HELD };
static ph_str file_bytes(struct ph_scope *s, uint64_t inode, int wrong, struct ph_record *r, int serial)
{
    struct ph_buf b, out;
    unsigned char head[PH_RECORD_BYTES];

    memset(r, 0, sizeof *r);
    r->version = PH_RECORD_VERSION;
    r->arrival_us = ph_wall_us() + serial;
    r->inode = inode;
    r->rcpt_count = 1;
    r->header_bytes = 6;
    r->flags = wrong == HELD ? PH_RECORD_HOLD : 0;
    ph_id_format(r->id, r->arrival_us, wrong == WRONG_INODE ? inode + 1 : inode, 1);
    ph_buf_init(&b, s, 10000);
    ph_buf_puts(&b, "A: b\r\n\r\n");
    r->envelope_bytes = b.n;
    ph_record_put_attr(&b, "sender", PH_STR("x@y.example"));
    r->envelope_bytes = b.n - r->envelope_bytes;
    r->rcpt_bytes = b.n;
    ph_record_put_rcpt(&b, PH_STR("r@z.example"), PH_STR(""), PH_STR(""), PH_STR(""));
    r->rcpt_bytes = b.n - r->rcpt_bytes;
    ph_record_layout(r);
    r->crc = ph_record_checksum(ph_crc32c(0, b.p, b.n), r) ^ (wrong == WRONG_CRC);
    ph_record_encode(r, head);
    ph_buf_init(&out, s, 20000);
    ph_buf_put(&out, head, sizeof head);
    ph_buf_str(&out, ph_buf_view(&b));
    ph_buf_put(&out, "\0\0\0\0\0\0\0\0", 8);
    ph_buf_putc(&out, wrong == DONE ? 'D' : 'P');
    return ph_buf_view(&out);
}

/* The lease outlives the worker that took it: a program it started still holds
 * the descriptor, and may be writing. */
static void test_orphan(struct owner *o)
{
    PH_SCOPED(s, NULL);
    struct ph_record rec;
    struct raw r;
    ph_str bytes;
    struct ph_qmsg *m;
    int before = o->count, gate[2], status;
    pid_t child;
    char path[200];

    raw_connect(&r);
    ok(r.fd > 2, "a lease comes with a descriptor");
    ok(read(r.fd, path, 1) < 0, "that cannot be read");
    bytes = file_bytes(s, r.inode, RIGHT, &rec, 0);
    if (pwrite(r.fd, bytes.p, bytes.n, 0) != (ssize_t)bytes.n || pipe(gate) < 0)
        exit(99);
    fflush(stdout);
    if ((child = fork()) == 0) {
        dup2(gate[0], 0);
        close(gate[1]);
        if (fcntl(r.fd, F_DUPFD, 10) < 0)            /* not dup2: r.fd may have that number, and closes at exec */
            _exit(1);
        execl("/bin/cat", "cat", (char *)NULL);      /* holds the copy until its input ends */
        _exit(1);
    }
    close(gate[0]);
    close(r.fd);
    raw_close(&r);
    /* Other leases come and go meanwhile; this slot is not among them. */
    for (int i = 0; i < 50; i++) {
        struct raw other;

        raw_connect(&other);
        if (strcmp(other.slot, r.slot) == 0)
            ok(0, "a slot that a living process holds was leased again");
        close(other.fd);
        raw_close(&other);
    }
    snprintf(path, sizeof path, "pool/%s", r.slot);
    ok(exists("%s", path), "its slot stays");
    is_int(o->count, before, "nothing is adopted while the lease lives");
    close(gate[1]);
    waitpid(child, &status, 0);
    is_int(wait_count(o, before + 1), before + 1, "when its last holder ends it is adopted");
    m = next_message(o);
    is_bytes(ph_cstr(m->id), rec.id, "under the id in the file");
    is_int(ph_queue_load(o->queue, m), 0, "and is loaded from it");
    is_bytes(ph_qmsg_rcpt(m, 0)->address, "r@z.example", "with its recipient");
    finish(o, m);
}

/* What qmgr is told must be about the peer's own slots. */
static void test_lies(struct owner *o)
{
    PH_SCOPED(s, NULL);
    struct ph_record rec;
    struct raw r;
    ph_str bytes;
    struct ph_frame *f = ph_frame_new(s);
    int before = o->count, corrupt = count_files("corrupt");
    int64_t until = ph_in_ms(5000);

    raw_connect(&r);
    bytes = file_bytes(s, r.inode, WRONG_INODE, &rec, 0);
    if (pwrite(r.fd, bytes.p, bytes.n, 0) != (ssize_t)bytes.n)
        exit(99);
    close(r.fd);
    ph_frame_cstr(f, "op", "commit");
    ph_frame_cstr(f, "slot", r.slot);
    ph_frame_str(f, "record", ph_str_first(bytes, PH_RECORD_BYTES));
    ph_frame_send(r.io, f);
    ph_stream_flush(r.io);
    while (count_files("corrupt") == corrupt && ph_now_ms() < until)
        ph_sleep_until(ph_in_ms(10));
    is_int(count_files("corrupt"), corrupt + 1, "an id that is not of the file's inode goes to corrupt");
    is_int(o->count, before, "and nothing arrives");
    raw_close(&r);
}

/* hold and drop a slot by its name, with a descriptor (or -1): 1 when the owner
 * listens on, 0 when it hung up. */
static int claim(struct raw *r, const char *slot, int fd)
{
    PH_SCOPED(s, NULL);
    struct ph_frame *hold = ph_frame_new(s), *drop = ph_frame_new(s), *lease = ph_frame_new(s), *got;

    ph_frame_cstr(hold, "op", "hold");
    ph_frame_cstr(hold, "slot", slot);
    if (fd >= 0)
        ph_frame_fd(hold, fd);
    ph_frame_cstr(drop, "op", "drop");
    ph_frame_cstr(drop, "slot", slot);
    ph_frame_cstr(lease, "op", "lease");
    ph_frame_u64(lease, "who", 0);
    ph_frame_u64(lease, "count", 1);
    ph_frame_send(r->io, hold);
    ph_frame_send(r->io, drop);
    ph_frame_send(r->io, lease);
    ph_stream_flush(r->io);
    return ph_frame_recv(r->io, s, 0, &got) > 0;
}

/* A slot that somebody is still writing belongs to who shows its lease. */
static void test_claims(struct owner *o)
{
    struct raw r, thief, other;
    int before = o->count;

    raw_connect(&r);
    raw_close(&r);                 /* the descriptor, and so the lease, lives */
    raw_connect(&thief);
    is_int(claim(&thief, r.slot, -1), 0, "who names the slot of another is hung up on");
    ok(exists("pool/%s", r.slot), "and cannot drop it");
    raw_close(&thief);
    raw_connect(&other);
    is_int(claim(&other, r.slot, other.fd), 0, "showing the lease of another slot does not help");
    ok(exists("pool/%s", r.slot), "it is still there");
    close(thief.fd);
    close(other.fd);
    raw_close(&other);
    raw_connect(&other);
    is_int(claim(&other, r.slot, r.fd), 1, "its lease does");
    ok(!exists("pool/%s", r.slot), "and it is dropped");
    close(r.fd);
    close(other.fd);
    raw_close(&other);
    is_int(o->count, before, "nothing arrived");
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
    test_lent(o);
    test_large(o);
    test_abort(o);
    test_hold_wish(o);
    test_defer(o);
    test_both_names(o);
    test_corrupt(o);
    test_orphan(o);
    test_lies(o);
    test_claims(o);
    test_restart(&o);
    requeue_reads_back(o);
    is_int(ph_queue_count(o->queue), 2, "two messages are left");
    finish_all(o);
    owner_free(o);
    test_recovery();
    return 0;
}

/* No file may grow while this lasts: as on a full disk. */
static void fill_disk(int full)
{
    struct rlimit r;

    fflush(stdout);
    signal(SIGXFSZ, full ? SIG_IGN : SIG_DFL);
    getrlimit(RLIMIT_FSIZE, &r);
    r.rlim_cur = full ? 0 : r.rlim_max;
    setrlimit(RLIMIT_FSIZE, &r);
}

/* Slots cannot be made and somebody waits for them: it is tried again after a
 * while, not without a pause; on simulated time that would never end. */
static int no_slots(void *arg PH_UNUSED)
{
    PH_SCOPED(s, NULL);
    struct owner *o = owner_new();
    struct ph_stream *io;
    struct ph_frame *f = ph_frame_new(s);

    ph_sleep_until(ph_in_ms(100));
    ph_frame_cstr(f, "role", "intake");
    ok(dial(s, &io) == 0 && ph_frame_send(io, f) == 0, "a receiver");
    f = ph_frame_new(s);
    ph_frame_cstr(f, "op", "lease");
    ph_frame_u64(f, "who", PH_INTAKE_NET);
    ph_frame_u64(f, "count", 1000);
    fill_disk(1);
    int sent = ph_frame_send(io, f) == 0 && ph_stream_flush(io) == 0;
    ph_sleep_until(ph_in_ms(5000));
    fill_disk(0);
    ok(sent && o->queue->space_low, "wants more slots than there are: none can be made, and time goes on");
    ph_sleep_until(ph_in_ms(5000));
    ok(!o->queue->space_low, "when there is room they are made again");
    ph_stream_close(io);
    owner_free(o);
    return 0;
}

/* Locks every fresh slot as nobody does: their descriptors in fd, how many. */
static int lock_fresh(struct owner *o, int *fd, int max)
{
    int n = 0;

    for (struct ph_list *i = o->queue->fresh.next; i != &o->queue->fresh && n < max; i = i->next) {
        char path[PH_PATH];

        ph_queue_path(path, PH_PLACE_SLOT, ph_list_of(i, struct ph_slot, node)->name);
        fd[n] = openat(o->queue->dir_fd, path, O_RDWR | O_CLOEXEC);
        if (fd[n] >= 0 && ph_lock_take(fd[n], F_WRLCK) == 0)
            n++;
    }
    return n;
}

/* Leases of one answer that are the files which the answer names. */
static int count_true(struct ph_frame *f)
{
    size_t at = 0;
    unsigned i = 0;
    int good = 0;

    for (ph_str key, value; ph_frame_next(f, &at, &key, &value); ) {
        struct stat st;
        uint64_t inode;
        int fd;

        if (!ph_str_eq(key, PH_STR("inode")))
            continue;
        fd = ph_frame_take_fd(f, i++);
        good += ph_str_u64(value, &inode) && fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_ino == inode;
        close(fd);
    }
    return good;
}

static int locked_slots(void *arg PH_UNUSED)
{
    PH_SCOPED(s, NULL);
    struct owner *o = owner_new();
    int fd[200], locked, leases = 0, good = 0;
    struct ph_stream *io;
    struct ph_frame *f = ph_frame_new(s);

    while (o->queue->fresh_count < 32)
        ph_yield();
    locked = lock_fresh(o, fd, 200);
    ok(locked >= 32, "%d fresh slots are locked by a stranger", locked);
    ph_frame_cstr(f, "role", "intake");
    ok(dial(s, &io) == 0 && ph_frame_send(io, f) == 0, "a receiver");
    f = ph_frame_new(s);
    ph_frame_cstr(f, "op", "lease");
    ph_frame_u64(f, "who", PH_INTAKE_NET);
    ph_frame_u64(f, "count", 4);
    ph_frame_send(io, f);
    ph_stream_flush(io);
    while (leases < 4 && ph_frame_recv(io, s, 0, &f) > 0)
        if (ph_frame_value(f, "slot").n) {
            int n = 0;
            size_t at = 0;

            for (ph_str key, value; ph_frame_next(f, &at, &key, &value); )
                n += ph_str_eq(key, PH_STR("slot"));
            leases += n;
            good += count_true(f);
        }
    is_int(good, 4, "others are made and lent, and each descriptor is the slot that was named");
    while (locked > 0)
        close(fd[--locked]);
    ph_stream_close(io);
    owner_free(o);
    return 0;
}

static void simulated(void)
{
    alarm(60);
    ph_clock_simulate(1000);
    if (ph_run_main(no_slots, NULL) < 0)
        printf("# %s\n", ph_error());
    ph_clock_simulate(0);
    alarm(0);
}

int main(void)
{
    char cmd[100];

    snprintf(top, sizeof top, "/tmp/queue.XXXXXX");
    if (!mkdtemp(top))
        exit(99);
    if (ph_run_main(run, NULL) < 0)
        printf("# %s\n", ph_error());
    if (ph_run_main(locked_slots, NULL) < 0)
        printf("# %s\n", ph_error());
    simulated();
    snprintf(cmd, sizeof cmd, "rm -rf %s", top);
    if (system(cmd) != 0)
        exit(99);
    return done_testing();
}
