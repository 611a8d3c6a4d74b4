/* queue_world: the store and the receivers' side in one process, joined by a memory
 * stream, and messages that go from one to the other. */
#ifndef T_QUEUE_WORLD_H
#define T_QUEUE_WORLD_H

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/intake.h>
#include "core/base/crc32c.h"
#include "core/conf/conf.h"
#include "core/queue/store.h"
#include "core/run/loop.h"
#include "t/lib/queue_pair.h"
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

static int dial(struct ph_scope *s, struct ph_stream **io)
{
    if (!the_owner)
        return ph_fail(PH_TEMP, "no owner");
    dials++;
    return queue_pair(the_owner->queue, the_owner->group, s, io);
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

/* In a directory of their own, one after the other. */
static void queue_world(int (*const run[])(void *), size_t n)
{
    char cmd[100];

    snprintf(top, sizeof top, "/tmp/queue.XXXXXX");
    if (!mkdtemp(top))
        exit(99);
    for (size_t i = 0; i < n; i++)
        if (ph_run_main(run[i], NULL) < 0)
            ok(0, "it runs: %s", ph_error());
    snprintf(cmd, sizeof cmd, "rm -rf %s", top);
    if (system(cmd) != 0)
        exit(99);
}

#endif
