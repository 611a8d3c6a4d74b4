/* t/unit/pickup.c: the pickup service against a cleanup that is played here.
 * Run alone: make t/unit/pickup.t && prove -v t/unit/pickup.t */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tap.h"
#include <posthorn/client.h>
#include <posthorn/error.h>
#include <posthorn/maildrop.h>
#include <posthorn/message.h>
#include <posthorn/service.h>
#include "core/conf/conf.h"
#include "core/run/log.h"
#include "core/run/loop.h"

extern const struct ph_service_plugin service_pickup_LTX_ph_plugin;

static struct ph_scope *scope;
static struct ph_group *cleanups;
static char root[] = "/tmp/posthorn-pickup-XXXXXX";
static int root_fd;
static struct ph_buf seen;             /* what cleanup committed, one text per message */
static int committed, refuse_dial;
static const char *end_status = "ok";
static const char *refuse_one;         /* not yet: messages with these words */

/* One message as cleanup sees it. */
static int take_message(struct ph_stream *io, struct ph_scope *s)
{
    struct ph_buf text;
    struct ph_frame *f;
    uint64_t n;

    ph_buf_init(&text, s, 1 << 20);
    for (;;) {
        if (ph_frame_recv(io, s, 0, &f) < 0)
            return PH_EOF;
        ph_str op = ph_frame_value(f, "op");
        struct ph_frame *reply = ph_frame_new(s);

        if (ph_str_eq(op, PH_STR("begin"))) {
            ph_buf_printf(&text, "[%.*s:%.*s]", PH_FMT(ph_frame_value(f, "sender")), PH_FMT(ph_frame_value(f, "full_name")));
            ph_frame_cstr(reply, "status", "ok");
            ph_frame_cstr(reply, "queue_id", "4QID");
        } else if (ph_str_eq(op, PH_STR("rcpt"))) {
            ph_buf_printf(&text, "(%.*s %.*s)", PH_FMT(ph_frame_value(f, "address")), PH_FMT(ph_frame_value(f, "dsn_notify")));
            continue;
        } else if (ph_str_eq(op, PH_STR("content"))) {
            char piece[40000];

            if (ph_frame_get_u64(f, "bytes", &n) != PH_FOUND || n > sizeof piece || ph_stream_read(io, piece, (size_t)n) < 0)
                return PH_EOF;
            ph_buf_put(&text, piece, (size_t)n);
            continue;
        } else {
            ph_frame_cstr(reply, "status", end_status);
            ph_frame_cstr(reply, "reason", "because");
            if (refuse_one && ph_str_search(ph_buf_view(&text), ph_cstr(refuse_one)) >= 0) {
                reply = ph_frame_new(s);
                ph_frame_cstr(reply, "status", "temp");
                ph_frame_cstr(reply, "own", "1");
            } else
            if (!strcmp(end_status, "ok")) {
                committed++;
                ph_buf_str(&seen, ph_buf_view(&text));
                ph_buf_puts(&seen, "\n--\n");
            }
        }
        if (ph_frame_send(io, reply) < 0 || ph_stream_flush(io) < 0)
            return PH_EOF;
        if (!ph_str_eq(op, PH_STR("begin")))
            return 0;
    }
}

struct cleanup_end {
    struct ph_scope *scope;
    struct ph_stream *io;
};

static void play_cleanup(void *arg)
{
    struct cleanup_end *e = arg;

    while (take_message(e->io, e->scope) == 0)
        ;
    ph_scope_free(e->scope);
    free(e);
}

/* These stand in for the worker's. */
int ph_service_dial(struct ph_scope *s, const char *name, struct ph_stream **io)
{
    struct cleanup_end *e;

    if (refuse_dial || strcmp(name, "cleanup") != 0)
        return ph_fail(PH_TEMP, "connection refused");
    if (!(e = calloc(1, sizeof *e)))
        return PH_TEMP;
    e->scope = ph_scope_new(NULL);
    ph_stream_pair(s, e->scope, 0, io, &e->io);
    return ph_spawn(cleanups, "cleanup", play_cleanup, e);
}

int ph_message_open(struct ph_scope *s, int fd, ph_str id PH_UNUSED, struct ph_message **m)
{
    static const struct ph_message_rcpt rcpt[] = {
        { .address = PH_STR_INIT("done@x"), .state = PH_STATE_DELIVERED },
        { .address = PH_STR_INIT("left@x"), .original = PH_STR_INIT("alias@x"), .state = PH_STATE_PENDING },
    };
    char first;

    if (pread(fd, &first, 1, 0) != 1 || first != 'Q')
        return ph_fail(PH_PERM, "not a message");
    *m = ph_new(s, struct ph_message);
    **m = (struct ph_message){ .fd = fd, .sender = PH_STR_INIT("old@x"), .rcpt = rcpt, .rcpt_count = 2 };
    return 0;
}

int64_t ph_message_read(const struct ph_message *m, uint64_t offset, void *p, size_t n)
{
    return pread(m->fd, p, n, (off_t)offset);
}

static void drop(const char *name, const char *text, mode_t mode)
{
    int fd = openat(root_fd, ph_str_printf(scope, "maildrop/%s", name).p, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) || fchmod(fd, mode) < 0)
        printf("# cannot make %s\n", name);
    if (fd >= 0)
        close(fd);
}

static int exists(const char *path)
{
    struct stat st;

    return fstatat(root_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

#define ENVELOPE "posthorn-maildrop 1\ntime 17\nsender alice\nfull_name A L\nrcpt bob@x\nnotify NEVER\nrcpt carl\n\n"
static const char good[] = ENVELOPE "data 12\nSubject: x\n\ndata 9\nhi\r\n.\nendend\n";
static const char own[] = ENVELOPE "data 12\nSubject: x\n\ndata 12\nown trouble\nend\n";

static void test_good(struct ph_service *v)
{
    drop("AAA", good, 0744);
    ok(service_pickup_LTX_ph_plugin.wakeup(v) == 0, "a pass");
    is_int(committed, 1, "one message committed");
    ok(ph_str_starts(ph_buf_view(&seen), PH_STR("[alice:A L](bob@x NEVER)(carl )Received: by here.test (Posthorn, from userid ")),
       "envelope and trace header");
    ok(ph_str_search(ph_buf_view(&seen), PH_STR(")\r\n\tid 4QID; ")) > 0, "the queue id stands in Received:");
    ok(ph_str_ends(ph_buf_view(&seen), PH_STR("\r\nSubject: x\r\n\r\nhi\r\n.\r\nend\r\n\n--\n")), "content is wire-ready");
    ok(!exists("maildrop/AAA"), "the file is gone");
}

static void test_many(struct ph_service *v)
{
    committed = 0;
    for (int i = 0; i < 600; i++)
        drop(ph_str_printf(scope, "M%d", i).p, good, 0744);
    service_pickup_LTX_ph_plugin.wakeup(v);
    is_int(committed, 600, "more files than a batch holds");
}

static void test_refused(struct ph_service *v)
{
    committed = 0;
    ph_buf_reset(&seen);
    drop("cut", ENVELOPE "data 5\nhello", 0744);
    drop("junk", "hello", 0744);
    drop("half", good, 0600);
    drop(".hidden", good, 0744);
    drop("target", good, 0600);
    drop("linked", good, 0744);
    ok(symlinkat("target", root_fd, "maildrop/symlink") == 0 && mkfifoat(root_fd, "maildrop/fifo", 0744) == 0 &&
       linkat(root_fd, "maildrop/linked", root_fd, "outside", 0) == 0 && mkdirat(root_fd, "maildrop/directory", 0755) == 0,
       "a link, a FIFO, a second name, a directory");
    ok(service_pickup_LTX_ph_plugin.wakeup(v) == 0, "a pass over bad files");
    is_int(committed, 0, "none of them is sent");
    ok(exists("corrupt/cut"), "a cut file is put aside");
    ok(exists("corrupt/junk"), "junk is put aside");
    ok(exists("maildrop/half") && exists("maildrop/.hidden"), "a file that is being written waits");
    ok(exists("corrupt/symlink") && exists("maildrop/target"), "a link is put aside, not followed");
    ok(exists("corrupt/linked"), "a file with two names is put aside");
    ok(exists("corrupt/fifo") && !exists("maildrop/fifo"), "a FIFO is put aside");
    ok(!exists("maildrop/directory"), "a directory is put aside");
    unlinkat(root_fd, "maildrop/half", 0);
    unlinkat(root_fd, "maildrop/target", 0);
}

static void test_failures(struct ph_service *v)
{
    drop("W", good, 0744);
    refuse_dial = 1;
    service_pickup_LTX_ph_plugin.wakeup(v);
    ok(exists("maildrop/W"), "without cleanup the file waits");
    refuse_dial = 0;
    end_status = "temp";
    service_pickup_LTX_ph_plugin.wakeup(v);
    ok(exists("maildrop/W"), "a temporary failure leaves it");
    end_status = "perm";
    service_pickup_LTX_ph_plugin.wakeup(v);
    ok(exists("corrupt/W") && !exists("maildrop/W"), "a refused message is put aside");
    end_status = "ok";
    is_int(committed, 0, "nothing was committed");
    for (int i = 0; i < 20; i++) {
        char name[16];

        snprintf(name, sizeof name, "O%d", i);
        drop(name, good, 0744);
    }
    drop("OWN", own, 0744);
    refuse_one = "own trouble";
    service_pickup_LTX_ph_plugin.wakeup(v);
    ok(exists("maildrop/OWN"), "a failure that is a message's own leaves it");
    is_int(committed, 20, "and no other waits for it");
    refuse_one = NULL;
    service_pickup_LTX_ph_plugin.wakeup(v);
    ok(!exists("maildrop/OWN"), "until it has passed");
    committed = 0;
}

static void test_requeued(struct ph_service *v)
{
    ph_buf_reset(&seen);
    drop("4OLD", "Queued: yes\r\n\r\nbody\r\n", 0700);
    service_pickup_LTX_ph_plugin.wakeup(v);
    is_str(seen, "[old@x:](left@x )Queued: yes\r\n\r\nbody\r\n\n--\n", "a requeued message: who is left, content as it was");
    ok(!exists("maildrop/4OLD"), "its file is gone");
}

static int run(void *arg PH_UNUSED)
{
    struct ph_service v = { .scope = ph_scope_new(scope), .name = "pickup", .queue_dir_fd = root_fd };

    ph_conf_parse(v.scope, "/x", "main.cf", PH_STR("myhostname = here.test\n"), &v.conf);
    cleanups = ph_group_new(v.scope);
    ph_buf_init(&seen, v.scope, 1 << 20);
    if (!ok(service_pickup_LTX_ph_plugin.open(&v) == 0, "the service opens"))
        printf("# %s\n", ph_error());
    test_good(&v);
    test_many(&v);
    test_refused(&v);
    test_failures(&v);
    test_requeued(&v);
    ph_group_cancel(cleanups);
    ph_group_wait(cleanups, PH_FOREVER);
    ph_scope_free(v.scope);
    return 0;
}

static void remove_tree(int fd, const char *name)
{
    int sub = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    DIR *d = sub < 0 ? NULL : fdopendir(sub);

    for (const struct dirent *e; d && (e = readdir(d)); )
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") && unlinkat(dirfd(d), e->d_name, 0) < 0)
            remove_tree(dirfd(d), e->d_name);
    if (d)
        closedir(d);
    unlinkat(fd, name, AT_REMOVEDIR);
}

int main(void)
{
    struct ph_log_options log = { .file = "/dev/null", .service = "pickup" };

    scope = ph_scope_new(NULL);
    if (!mkdtemp(root) || (root_fd = open(root, O_RDONLY | O_DIRECTORY)) < 0 || mkdirat(root_fd, "maildrop", 0700) < 0 ||
        mkdirat(root_fd, "corrupt", 0700) < 0)
        return 1;
    ph_log_open(&log);
    is_int(ph_run_main(run, NULL), 0, "ran");
    remove_tree(AT_FDCWD, root);
    close(root_fd);
    ph_scope_free(scope);
    return done_testing();
}
