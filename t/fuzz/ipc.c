/* What private services read from their peers: frames, and the requests in them.
 *
 * Input: a digit for who reads (see enum who), one for how it comes (see enum pace),
 * then what the peer sends.  For the frame reader these are its bytes, a digit before
 * them says how many descriptors come beside.  For services
 * it is text, of which frames are made: each up to a byte 1, attributes "name=value"
 * end with a byte 2.  A piece that begins with a byte 3 is sent as it stands, without
 * frame; one that begins with a byte 4 is a frame that has a message file beside it.
 * showq reads answers: those of bounce begin with a byte 5, all others are qmgr's. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/error.h>
#include <posthorn/frame.h>
#include "message_file.h"
#include "world.h"

extern const struct ph_service_plugin service_cleanup_LTX_ph_plugin, service_rewrite_LTX_ph_plugin, service_bounce_LTX_ph_plugin,
    service_showq_LTX_ph_plugin;

#define MAIN_CF "myhostname = mx.test\nmydomain = test\ncompatibility_level = 3.11\nmydestination = here.test, $myhostname\n" \
                "inet_interfaces = 127.0.0.1\nrecipient_delimiter = +\nrelay_domains = relay.test\nnotify_classes = bounce, 2bounce, delay\n" \
                "transport_maps = inline:{{t.test=smtp:[h]:26}, {bad.test=:}, {.sub.test=error:no}}\nrelocated_maps = inline:{moved@here.test=x@y}\n" \
                "always_bcc = b@here.test\nalways_add_missing_headers = yes\nheader_size_limit = 500\nhash_queue_names = defer\n" \
                "bounce_size_limit = 200\nrelayhost = [r.test]\nvirtual_alias_domains = alias.test\nvirtual_mailbox_domains = box.test\n"

enum who { FRAMES, CLEANUP, REWRITE, BOUNCE, SHOWQ, WHOS };
enum pace { AT_ONCE, BYTES, PIECES, PACES };

static struct {
    ph_str in;                     /* not sent yet */
    enum pace pace;
    size_t sent;
    unsigned frames, replies, said_ok;
    struct ph_stream *io;
    size_t heap, heap_most;
} run;

/* ---- places ---- */

static int queue_fd = -1, message_fd = -1;
static char queue_path[64];
static const char *const places[] = { "bounce", "defer", "trace", "maildrop" };

static void empty(int fd, int depth)
{
    DIR *d = fdopendir(fd);

    for (struct dirent *e; (e = readdir(d)) != NULL; )
        if (e->d_name[0] != '.' && unlinkat(dirfd(d), e->d_name, 0) < 0 && depth)
            empty(openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC), depth - 1);
    closedir(d);
}

/* Nothing was written but logs. */
static void check_files(void)
{
    DIR *top = fdopendir(openat(queue_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    size_t n = 0;

    for (struct dirent *e; (e = readdir(top)) != NULL; n += e->d_name[0] != '.')
        ;
    closedir(top);
    FUZZ_CHECK(n == sizeof places / sizeof *places, "%zu names in the queue's directory", n);
    FUZZ_CHECK(unlinkat(queue_fd, "maildrop", AT_REMOVEDIR) == 0 && mkdirat(queue_fd, "maildrop", 0700) == 0, "a file in maildrop");
}

static void forget_files(void)
{
    for (size_t i = 0; i < 3; i++)
        empty(openat(queue_fd, places[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC), 1);
}

static void remove_all(void)
{
    char command[100];

    snprintf(command, sizeof command, "rm -rf %s", queue_path);
    if (system(command) != 0)
        fprintf(stderr, "%s stays\n", queue_path);
}

static void make_places(void)
{
    PH_SCOPED(s, NULL);
    ph_str file = fuzz_message_file(s, 3, PH_STR("Subject: x\r\nMessage-Id: <a@b>\r\n\r\nbody\r\n"));

    snprintf(queue_path, sizeof queue_path, "%s/posthorn-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    FUZZ_CHECK(mkdtemp(queue_path), "%s", queue_path);
    atexit(remove_all);
    queue_fd = open(queue_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        mkdirat(queue_fd, places[i], 0700);
    message_fd = memfd_create("message", MFD_CLOEXEC);
    FUZZ_CHECK(queue_fd >= 0 && write(message_fd, file.p, file.n) == (ssize_t)file.n, "a message file");
}

/* Recipients 0 and 2 failed, 1 waits: there is something to tell. */
static void mark_message(void)
{
    static const char states[] = "FPF";
    struct stat st;

    FUZZ_CHECK(fstat(message_fd, &st) == 0 && pwrite(message_fd, states, 3, st.st_size - 3) == 3, "marks");
}

/* ---- the peer ---- */

static int send_bytes(ph_str bytes)
{
    size_t piece = run.pace == BYTES ? 1 : run.pace == PIECES ? 5 : bytes.n;
    int rc = 0;

    run.sent += bytes.n;
    while (rc >= 0 && bytes.n) {
        ph_str part = ph_str_first(bytes, piece);

        bytes = ph_str_from(bytes, part.n);
        if ((rc = ph_stream_str(run.io, part)) >= 0 && run.pace != AT_ONCE && (rc = ph_stream_flush(run.io)) >= 0)
            rc = ph_yield();
    }
    return rc;
}

/* Names of a length that a frame can have; what they are made of is the reader's concern. */
static struct ph_frame *make_frame(struct ph_scope *s, ph_str text)
{
    struct ph_frame *f = ph_frame_new(s);

    for (int i = 0; text.n && i < 1000; i++) {
        ph_str value = ph_str_cut(&text, 2);
        const char *name = ph_cstr_dup(s, ph_str_first(ph_str_cut(&value, '='), 63));

        ph_frame_str(f, name[0] ? name : "x", value);
    }
    return f;
}

static int send_piece(ph_str text)
{
    PH_SCOPED(s, NULL);
    int kind = text.n && text.p[0] >= 3 && text.p[0] <= 5 ? text.p[0] : 0;

    text = ph_str_from(text, kind ? 1 : 0);
    if (kind == 3)
        return send_bytes(text);
    struct ph_frame *f = make_frame(s, text);
    if (kind == 4)
        ph_frame_fd(f, message_fd);
    run.frames++;
    run.sent += text.n;
    int rc = ph_frame_send(run.io, f);
    return rc >= 0 && run.pace != AT_ONCE ? ph_stream_flush(run.io) : rc;
}

static void weigh(void)
{
    size_t now = world_heap();

    if (now > run.heap_most)
        run.heap_most = now;
}

/* A peer that broke the rules is left at once: of the answers before that it may
 * have got a part. */
static int is_cut_off(int rc)
{
    ph_str rest;

    return rc == PH_PERM && !world_is_serving() && world.ended == PH_PERM && ph_stream_peek(run.io, &rest) == PH_EOF;
}

/* Answers of a service are frames, whatever it was asked. */
static void reader(void *arg PH_UNUSED)
{
    for (int rc = 1; rc > 0; ) {
        PH_SCOPED(s, NULL);
        struct ph_frame *f;

        if ((rc = ph_frame_recv(run.io, s, 0, &f)) <= 0) {
            FUZZ_CHECK(rc == PH_EOF || rc == PH_CANCEL || is_cut_off(rc), "an answer that is no frame: %s", ph_error());
            break;
        }
        run.replies++;
        run.said_ok += ph_str_starts(ph_frame_value(f, "reply"), PH_STR("2"));
        ph_str name, value;
        for (size_t at = 0; ph_frame_next(f, &at, &name, &value); ) {
            fuzz_saw(name);
            if (!ph_str_eq(name, PH_STR("time")))
                fuzz_saw(value);
        }
    }
}

/* ---- the frame reader ---- */

static void drain(struct ph_stream *io, ph_str *seen, struct ph_scope *s, int *end)
{
    struct ph_buf b;
    struct ph_frame *f;
    int rc;

    ph_buf_init(&b, s, 1 << 20);
    while ((rc = ph_frame_recv(io, s, 100000, &f)) > 0) {
        ph_str name, value;

        for (size_t at = 0; ph_frame_next(f, &at, &name, &value); ) {
            FUZZ_CHECK(name.n >= 1 && name.n <= 63, "%zu", name.n);
            ph_buf_printf(&b, "%.*s=%zu ", PH_FMT(name), value.n);
            ph_buf_str(&b, value);
        }
        ph_buf_putc(&b, '\n');
    }
    *seen = ph_buf_view(&b);
    *end = rc;
}

struct reading {
    struct ph_stream *io;
    struct ph_scope *s;
    ph_str seen;
    int end;
};

static void read_frames(void *arg)
{
    struct reading *r = arg;

    drain(r->io, &r->seen, r->s, &r->end);
    ph_stream_close(r->io);
}

static void feed(struct ph_scope *s, struct ph_group *g, ph_str in, unsigned fds, enum pace pace, struct reading *r)
{
    PH_SCOPED(mine, s);

    *r = (struct reading){ .s = s };
    ph_stream_pair(mine, s, 0, &run.io, &r->io);
    run.pace = pace;
    ph_spawn(g, "frames", read_frames, r);
    for (int rc = 0; fds-- && rc >= 0; )
        rc = ph_stream_send_fd(run.io, message_fd);
    send_bytes(in);
    ph_stream_flush(run.io);
    world_settle();
    ph_stream_close(run.io);
    world_settle();
}

/* However the bytes are cut, the same frames.  So many descriptors stand beside them. */
static void frames(struct ph_scope *s, struct ph_group *g, enum pace pace)
{
    struct reading whole, cut;
    unsigned fds = world_choice(&run.in, 20);

    feed(s, g, run.in, fds, AT_ONCE, &whole);
    feed(s, g, run.in, fds, pace == AT_ONCE ? BYTES : pace, &cut);
    FUZZ_SAME(cut.seen, whole.seen, "pieces make no difference");
    FUZZ_CHECK(whole.end == PH_EOF || whole.end == PH_PERM, "%d", whole.end);
    FUZZ_CHECK(cut.end == whole.end, "%d in pieces, %d", cut.end, whole.end);
    fuzz_saw(whole.seen);
}

/* ---- services ---- */

static int fake_serve(struct ph_service *v, struct ph_scope *session, struct ph_stream *io, const struct ph_peer *peer PH_UNUSED)
{
    struct ph_frame *f;
    int is_bounce = strcmp(v->name, "bounce") == 0, rc = ph_frame_recv(io, session, 0, &f);

    for (ph_str rest = run.in; rc >= 0 && rest.n; ) {
        ph_str text = ph_str_cut(&rest, 1);

        if (is_bounce != (text.n && text.p[0] == 5))
            continue;
        if ((rc = ph_frame_send(io, make_frame(session, ph_str_from(text, is_bounce)))) >= 0)
            rc = ph_stream_flush(io);
        if (is_bounce)
            break;
    }
    return rc;
}

static const struct ph_service_plugin fake_qmgr = { .plugin = { .name = "qmgr" }, .serve = fake_serve };
static const struct ph_service_plugin fake_bounce = { .plugin = { .name = "bounce" }, .serve = fake_serve };

static struct world_service *asked[WHOS], *with_all[3], *with_fakes[2], fakes[2];

static void open_all(void)
{
    make_places();
    asked[CLEANUP] = world_open(&service_cleanup_LTX_ph_plugin, MAIN_CF);
    asked[REWRITE] = world_open(&service_rewrite_LTX_ph_plugin, MAIN_CF);
    asked[BOUNCE] = world_open(&service_bounce_LTX_ph_plugin, MAIN_CF);
    asked[BOUNCE]->v.queue_dir_fd = queue_fd;
    asked[SHOWQ] = world_open(&service_showq_LTX_ph_plugin, MAIN_CF);
    memcpy(with_all, asked + CLEANUP, sizeof with_all);
    fakes[0] = (struct world_service){ .ops = &fake_qmgr, .v = { .name = "qmgr" } };
    fakes[1] = (struct world_service){ .ops = &fake_bounce, .v = { .name = "bounce" } };
    with_fakes[0] = &fakes[0];
    with_fakes[1] = &fakes[1];
}

static void talk(struct ph_scope *s, struct ph_group *g, enum who who)
{
    const struct ph_peer peer = { .size = sizeof peer, .inline_ = 1 };
    ph_str rest = who == SHOWQ ? PH_STR("") : run.in;

    world_serve(s, asked[who], &peer, 0, &run.io);
    ph_spawn(g, "reader", reader, NULL);
    for (int rc = 0; rc >= 0 && rest.n && world_is_serving(); weigh())
        rc = send_piece(ph_str_cut(&rest, 1));
    ph_stream_flush(run.io);
    ph_sleep_until(ph_in_ms(10000));
    weigh();
    ph_stream_close(run.io);
    ph_sleep_until(ph_in_ms(10000));
    FUZZ_CHECK(!world_is_serving(), "the session lives on after the peer has left");
}

static void check(enum who who)
{
    fuzz_saw_number(run.replies);
    fuzz_saw_number(world.committed);
    FUZZ_CHECK(who == SHOWQ || run.replies <= run.frames + run.sent / 8, "%u answers to %u requests", run.replies, run.frames);
    FUZZ_CHECK(who != CLEANUP || run.said_ok == world.committed, "%u messages, 250 was said of %u", world.committed, run.said_ok);
    FUZZ_CHECK(run.heap_most - run.heap <= (3u << 15) + 60 * (run.sent + run.in.n), "%zu bytes of memory", run.heap_most - run.heap);
    for (unsigned i = 0; i < world.committed && i < 64; i++)
        FUZZ_CHECK(world.message[i].rcpt_count > 0, "a message for nobody");
}

struct choice { enum who who; enum pace pace; };

static void job(void *arg)
{
    struct choice *c = arg;
    PH_SCOPED(s, NULL);
    struct ph_group *g = ph_group_new(s);

    if (c->who == FRAMES) {
        frames(s, g, c->pace);
        return;
    }
    run.pace = c->pace;
    run.heap = run.heap_most = world_heap();
    talk(s, g, c->who);
    ph_group_cancel(g);
    ph_group_wait(g, PH_FOREVER);
    check(c->who);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    PH_SCOPED(s, NULL);
    ph_str in = { (const char *)data, size };
    struct choice c;

    if (!asked[CLEANUP])
        open_all();
    memset(&run, 0, sizeof run);
    c.who = world_choice(&in, WHOS);
    c.pace = world_choice(&in, PACES);
    run.in = ph_str_dup(s, in);
    if (c.who == SHOWQ)
        world_set(with_fakes, 2);
    else
        world_set(with_all, 3);
    if (c.who == BOUNCE)
        mark_message();
    world_run(s, job, &c);
    if (c.who == BOUNCE) {
        check_files();
        forget_files();
    }
    return 0;
}
