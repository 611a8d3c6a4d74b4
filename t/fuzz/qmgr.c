/* qmgr among hostile clients: receivers that lie about their slots, commands,
 * agents that report.  The service itself, over a queue in memory, with rewrite
 * and bounce beside it.
 *
 * Input: text of frames as in ipc.c: pieces end with a byte 1, attributes "name=value"
 * with a byte 2.  The first byte of a piece may say more:
 *   3  bytes as they stand, without frame
 *   4  a new connection; the frame is its hello.  The others stay
 *   5  a frame that shows the last descriptor that came
 *   6  a digit n: write a message into slot n as a receiver does; the rest is its text
 *   7  end the connection
 * A value "$nX" stands for what belongs to slot n, in the order they were lent: s its
 * name, r the record written, e and p envelope and recipients, i the queue id. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/error.h>
#include <posthorn/frame.h>
#include "core/conf/conf.h"
#include "core/queue/record.h"
#include "core/run/log.h"
#include "core/run/loop.h"
#include "core/sched/qmgr_priv.h"
#include "message_file.h"
#include "world.h"

extern const struct ph_service_plugin service_cleanup_LTX_ph_plugin, service_rewrite_LTX_ph_plugin, service_bounce_LTX_ph_plugin;

#define BASE "myhostname = mx.test\nmydomain = test\ncompatibility_level = 3.11\nmydestination = here.test\ninet_interfaces = 127.0.0.1\nrelayhost = [r.test]\n"

#define SLOTS 10
#define CONNS 3

struct slot {
    ph_str name, file;             /* file: written, or empty */
    uint64_t inode;
    int fd, whole;
};

static struct {
    struct ph_scope *s;
    ph_str in;
    struct slot slot[SLOTS];
    unsigned slots;
    struct ph_stream *io, *all[CONNS]; /* the last connection; all of them */
    struct ph_group *readers;
    int shown, gentle;             /* gentle: nothing in the input may remove mail */
    size_t heap, heap_most, sent;
    unsigned conns;
} run;

/* ---- the queue's place ---- */

static char queue_path[64];
static struct ph_conf *conf;
static struct world_service *beside[3], qmgr;

static void empty(int fd)
{
    DIR *d = fd < 0 ? NULL : fdopendir(fd);

    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d)) != NULL; )
        if (e->d_name[0] != '.' && unlinkat(dirfd(d), e->d_name, 0) < 0)
            empty(openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    closedir(d);
}

static void remove_all(void)
{
    char command[100];

    snprintf(command, sizeof command, "rm -rf %s", queue_path);
    if (system(command) != 0)
        fprintf(stderr, "%s stays\n", queue_path);
}

static void open_all(void)
{
    struct ph_scope *s = ph_scope_new(NULL);

    snprintf(queue_path, sizeof queue_path, "%s/posthorn-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    FUZZ_CHECK(mkdtemp(queue_path), "%s", queue_path);
    atexit(remove_all);
    ph_str text = ph_str_printf(s, BASE "queue_directory = %s\n", queue_path);
    beside[0] = world_open(&service_cleanup_LTX_ph_plugin, text.p);
    beside[1] = world_open(&service_rewrite_LTX_ph_plugin, text.p);
    beside[2] = world_open(&service_bounce_LTX_ph_plugin, text.p);
    beside[2]->v.queue_dir_fd = open(queue_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < 3; i++)
        mkdirat(beside[2]->v.queue_dir_fd, (const char *const[]){ "bounce", "defer", "trace" }[i], 0700);
    FUZZ_CHECK(ph_conf_parse(s, "/nowhere", "main.cf", text, &conf) == 0, "%s", ph_error());
}

/* ---- a receiver ---- */

static void write_message(ph_str text)
{
    unsigned n = (fuzz_byte(&text) - '0') % SLOTS;
    struct slot *x = &run.slot[n];

    if (n >= run.slots || x->fd < 0)
        return;
    x->file = fuzz_message_for(run.s, 2, text, x->inode);
    x->whole = pwrite(x->fd, x->file.p, x->file.n, 0) == (ssize_t)x->file.n;
}

static ph_str part_of(const struct slot *x, char what)
{
    struct ph_record r;

    if (what == 's')
        return x->name;
    if (x->file.n == 0 || ph_record_decode(x->file.p, x->file.n, x->file.n, &r) != 0)
        return PH_STR("");
    switch (what) {
    case 'r': return ph_str_first(x->file, PH_RECORD_BYTES);
    case 'e': return ph_str_first(ph_str_from(x->file, r.envelope_offset), (size_t)r.envelope_bytes);
    case 'p': return ph_str_first(ph_str_from(x->file, r.rcpt_offset), (size_t)r.rcpt_bytes);
    case 'i': return ph_str_dup(run.s, ph_cstr(r.id));
    default:  return PH_STR("");
    }
}

static ph_str value_of(ph_str v)
{
    unsigned n = v.n == 3 && v.p[0] == '$' ? (unsigned)(v.p[1] - '0') : SLOTS;

    return n < run.slots ? part_of(&run.slot[n], v.p[2]) : v;
}

static struct ph_frame *make_frame(struct ph_scope *s, ph_str text)
{
    struct ph_frame *f = ph_frame_new(s);

    for (int i = 0; text.n && i < 1000; i++) {
        ph_str value = ph_str_cut(&text, 2);
        const char *name = ph_cstr_dup(s, ph_str_first(ph_str_cut(&value, '='), 63));

        ph_frame_str(f, name[0] ? name : "x", value_of(value));
    }
    return f;
}

/* ---- what qmgr says ---- */

static void take_leases(struct ph_frame *f)
{
    ph_str name, value;
    struct slot *last = NULL;      /* NULL: more than are kept */
    unsigned i = 0;

    for (size_t at = 0; ph_frame_next(f, &at, &name, &value); )
        if (ph_str_eq(name, PH_STR("slot"))) {
            int fd = ph_frame_take_fd(f, i++);

            FUZZ_CHECK(fd >= 0, "a lease without its descriptor");
            last = run.slots < SLOTS ? &run.slot[run.slots++] : NULL;
            if (last)
                *last = (struct slot){ .name = ph_str_dup(run.s, value), .fd = fd };
            else
                close(fd);
        } else if (ph_str_eq(name, PH_STR("inode")) && last) {
            ph_str_u64(value, &last->inode);
        }
}

static void reader(void *arg)
{
    struct ph_stream *io = arg;

    for (int rc = 1; rc > 0; ) {
        PH_SCOPED(s, NULL);
        struct ph_frame *f;

        if ((rc = ph_frame_recv(io, s, 0, &f)) <= 0) {
            FUZZ_CHECK(rc == PH_EOF || rc == PH_CANCEL, "an answer that is no frame: %s", ph_error());
            return;
        }
        if (ph_str_eq(ph_frame_value(f, "op"), PH_STR("lease"))) {
            take_leases(f);
            continue;
        }
        int fd = ph_frame_take_fd(f, 0);
        if (fd >= 0 && run.shown >= 0)
            close(run.shown);
        run.shown = fd >= 0 ? fd : run.shown;
        fuzz_saw(ph_frame_value(f, "status"));
        fuzz_saw(ph_frame_value(f, "queue"));
    }
}

/* ---- the clients ---- */

static void hang_up(void)
{
    if (!run.io)
        return;
    ph_stream_close(run.io);
    run.io = NULL;
}

static void connect_again(void)
{
    static const struct ph_peer peer = { .size = sizeof peer, .inline_ = 1 };

    world_serve(run.s, &qmgr, &peer, 0, &run.io);
    run.all[run.conns++] = run.io;
    ph_spawn(run.readers, "reader", reader, run.io);
}

static void one_piece(ph_str text)
{
    PH_SCOPED(s, NULL);
    int kind = text.n && text.p[0] >= 3 && text.p[0] <= 7 ? text.p[0] : 0;

    text = ph_str_from(text, kind ? 1 : 0);
    run.sent += text.n;
    if (kind == 6)
        write_message(text);
    else if (kind == 7)
        hang_up();
    if (kind >= 6 || (kind == 4 && run.conns == CONNS))
        return;
    if (kind == 4)
        connect_again();
    if (!run.io)
        return;
    if (kind == 3) {
        ph_stream_str(run.io, text);
    } else {
        struct ph_frame *f = make_frame(s, text);

        if (kind == 5 && run.shown >= 0)
            ph_frame_fd(f, run.shown);
        ph_frame_send(run.io, f);
    }
    ph_stream_flush(run.io);
}

static void weigh(void)
{
    size_t now = world_heap();

    if (now > run.heap_most)
        run.heap_most = now;
}

static void clients(void)
{
    for (ph_str rest = run.in; rest.n; weigh()) {
        one_piece(ph_str_cut(&rest, 1));
        world_settle();
    }
}

/* A receiver that ends leaves whole messages behind; they are mail. */
static void check_mail(struct qmgr *q)
{
    for (unsigned i = 0; i < run.slots; i++) {
        ph_str id = part_of(&run.slot[i], 'i');
        struct ph_qmsg *m;
        int in_memory = 0;

        if (!run.gentle || !run.slot[i].whole || !id.n)
            continue;
        int rc = ph_queue_find(q->queue, id, &m, &in_memory);
        FUZZ_CHECK(rc == PH_FOUND || rc == PH_TEMP, "a whole message %.*s is lost: %d", PH_FMT(id), rc);
        if (rc == PH_FOUND && !in_memory)
            ph_queue_forget(q->queue, m);
    }
}

static void close_all(void)
{
    for (unsigned i = 0; i < run.slots; i++)
        if (run.slot[i].fd >= 0)
            close(run.slot[i].fd);
    if (run.shown >= 0)
        close(run.shown);
    run.shown = -1;
}

static void job(void *arg PH_UNUSED)
{
    PH_SCOPED(s, NULL);
    struct ph_group *g = ph_group_new(s);

    run.readers = ph_group_new(s);
    run.heap = run.heap_most = world_heap();
    qmgr = (struct world_service){ .ops = &ph_qmgr_service, .v = { .scope = s, .ops = &ph_qmgr_service, .conf = conf, .name = "qmgr", .queue_dir_fd = -1 } };
    FUZZ_CHECK(ph_qmgr_service.open(&qmgr.v) >= 0 && ph_qmgr_start(&qmgr.v, g) >= 0, "%s", ph_error());
    world_settle();
    clients();
    for (unsigned i = 0; i < run.conns; i++)
        ph_stream_close(run.all[i]);
    ph_sleep_until(ph_in_ms(100));
    close_all();                   /* the leases end with their descriptors */
    ph_group_cancel(run.readers);
    ph_group_wait(run.readers, PH_FOREVER);
    ph_sleep_until(ph_in_ms(3000));
    weigh();
    check_mail(qmgr.v.self);
    ph_group_cancel(g);
    ph_group_wait(g, PH_FOREVER);
}

static int removes(ph_str in)
{
    static const char *const words[] = { "delete", "drop", "requeue", "expire", "outcome", "hold" };

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (ph_str_search(in, ph_cstr(words[i])) >= 0)
            return 1;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    PH_SCOPED(s, NULL);

    if (!conf)
        open_all();
    memset(&run, 0, sizeof run);
    run.s = s;
    run.in = (ph_str){ (const char *)data, size };
    run.gentle = !removes(run.in);
    run.shown = -1;
    for (int i = 0; i < SLOTS; i++)
        run.slot[i].fd = -1;
    world_set(beside, 3);
    world_run(s, job, NULL);
    empty(open(queue_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    FUZZ_CHECK(run.heap_most - run.heap <= (3u << 16) + 100 * run.sent, "%zu bytes of memory", run.heap_most - run.heap);
    return 0;
}
