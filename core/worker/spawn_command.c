/* spawn_command: a command as the worker sees it (spawn.h).  Its three
 * descriptors are watched by callbacks; who waits, waits on one condition. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <posthorn/buf.h>
#include <posthorn/error.h>
#include "core/run/loop.h"
#include "core/worker/spawner.h"

#define READ_PIECE  16384
#define DRAIN_MAX   (1u << 20)     /* what an ended command may have left in its pipe, at most */
#define START_MS    30000

/* One per process: places of the spawner that are taken. */
static struct {
    uint32_t n;
    struct ph_scope *scope;
    struct ph_cond *room;
} running;

struct ph_command {
    int has_place;
    struct ph_scope *scope;
    struct ph_cond *changed;
    int lifeline, in, out;         /* -1: closed, or not ours */
    struct ph_watch of_lifeline, of_in, of_out;
    struct ph_buf output;
    int cut, ended, lost, closing;
    struct spawner_reply end;
};

static void close_watched(int *fd, struct ph_watch *w)
{
    if (*fd < 0)
        return;
    ph_watch_stop(w);
    close(*fd);
    *fd = -1;
}

static int take_place(struct ph_command *c)
{
    int rc = 0;

    if (!running.room) {
        running.scope = ph_scope_new(NULL);
        running.room = ph_cond_new(running.scope);
    }
    while (rc >= 0 && running.n >= SPAWNER_COMMANDS)
        rc = ph_cond_wait(running.room, PH_FOREVER);
    if (rc < 0)
        return rc;
    running.n++;
    c->has_place = 1;
    return 0;
}

static void leave_place(struct ph_command *c)
{
    if (!c->has_place)
        return;
    c->has_place = 0;
    running.n--;
    ph_cond_signal(running.room);
}

/* Also kills the command when it still runs: its lifeline closes. */
static void let_go(void *arg)
{
    struct ph_command *c = arg;

    close_watched(&c->lifeline, &c->of_lifeline);
    close_watched(&c->in, &c->of_in);
    close_watched(&c->out, &c->of_out);
    ph_buf_fini(&c->output);
    leave_place(c);
}

/* Keep what there is room for: bytes read, 0 at the end, -1 nothing there. */
static ssize_t read_output(struct ph_command *c)
{
    char piece[READ_PIECE];
    ssize_t n = read(c->out, piece, sizeof piece);

    if (n <= 0)
        return n < 0 && (errno == EAGAIN || errno == EINTR) ? -1 : 0;
    size_t room = c->output.max - c->output.n, keep = (size_t)n < room ? (size_t)n : room;
    ph_buf_put(&c->output, piece, keep);
    c->cut |= keep < (size_t)n;
    return n;
}

static void on_output(struct ph_watch *w, int ready PH_UNUSED)
{
    struct ph_command *c = w->arg;

    if (read_output(c) == 0)
        close_watched(&c->out, &c->of_out);
}

static void drain(struct ph_command *c)
{
    ssize_t n = 1;

    for (size_t total = 0; c->out >= 0 && n > 0 && total < DRAIN_MAX; total += (size_t)(n > 0 ? n : 0))
        n = read_output(c);
    close_watched(&c->out, &c->of_out);
}

static void on_lifeline(struct ph_watch *w, int ready PH_UNUSED)
{
    struct ph_command *c = w->arg;
    int none;
    ssize_t n = ph_spawner_recv(c->lifeline, &c->end, sizeof c->end, &none, MSG_DONTWAIT);

    if (none >= 0)
        close(none);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n == (ssize_t)sizeof c->end && c->end.what == SPAWNER_ENDED)
        c->ended = 1;
    else
        c->lost = 1;
    close_watched(&c->lifeline, &c->of_lifeline);
    close_watched(&c->in, &c->of_in);
    drain(c);
    leave_place(c);
    ph_cond_broadcast(c->changed);
    if (c->lost)
        ph_spawner_lost();
}

static void on_room(struct ph_watch *w, int ready PH_UNUSED)
{
    struct ph_command *c = w->arg;

    ph_watch_stop(w);
    ph_cond_broadcast(c->changed);
}

/* ---- start ---- */

static uint32_t put_words(struct ph_buf *b, const char *const *words)
{
    uint32_t n = 0;

    for (; words && words[n]; n++)
        ph_buf_put(b, words[n], strlen(words[n]) + 1);
    return n;
}

static int put_request(struct ph_buf *b, const struct ph_command_spec *spec, struct spawner_request *r)
{
    *r = (struct spawner_request){ .op = SPAWNER_OP_COMMAND, .uid = spec->identity->uid, .gid = spec->identity->gid,
                                   .umask = spec->umask, .time_limit_ms = spec->time_limit_ms };
    r->argc = put_words(b, spec->argv);
    r->envc = put_words(b, spec->env);
    if (spec->directory) {
        r->flags |= SPAWNER_HAS_DIRECTORY;
        ph_buf_put(b, spec->directory, strlen(spec->directory) + 1);
    }
    if (spec->chroot) {
        r->flags |= SPAWNER_HAS_CHROOT;
        ph_buf_put(b, spec->chroot, strlen(spec->chroot) + 1);
    }
    if (b->full || r->argc + r->envc > SPAWNER_WORDS_MAX)
        return ph_fail(PH_TEMP, "the arguments of the command are larger than %u bytes", SPAWNER_STRINGS_MAX);
    return r->argc ? 0 : ph_fail(PH_CONF, "a command without a name");
}

/* The ends that are the spawner's: closed here once they are sent. */
struct ends {
    int fd[SPAWNER_FDS_MAX];
    int made[SPAWNER_FDS_MAX];     /* 1: ours to close */
};

static void close_ends(void *arg)
{
    struct ends *e = arg;

    for (size_t i = 0; i < SPAWNER_FDS_MAX; i++)
        if (e->made[i])
            close(e->fd[i]);
    memset(e->made, 0, sizeof e->made);
}

static void set_end(struct ends *e, size_t i, int fd, int made)
{
    e->fd[i] = fd;
    e->made[i] = made;
}

static int make_ends(struct ph_command *c, const struct ph_command_spec *spec, struct ends *e)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return ph_fail_errno(PH_TEMP, errno, "socketpair");
    c->lifeline = pair[0];
    set_end(e, 0, pair[1], 1);
    set_end(e, 1, spec->stdin_fd, 0);
    set_end(e, 2, spec->stdout_fd, 0);
    if (spec->stdin_fd <= 0) {
        if (pipe2(pair, O_CLOEXEC) < 0)
            return ph_fail_errno(PH_TEMP, errno, "pipe");
        c->in = pair[1];
        set_end(e, 1, pair[0], 1);
        set_end(e, 3, pair[1], 0);
        fcntl(c->in, F_SETFL, O_NONBLOCK);
    }
    if (spec->stdout_fd <= 0) {
        if (pipe2(pair, O_CLOEXEC) < 0)
            return ph_fail_errno(PH_TEMP, errno, "pipe");
        c->out = pair[0];
        set_end(e, 2, pair[1], 1);
        fcntl(c->out, F_SETFL, O_NONBLOCK);
    }
    return 0;
}

static int watch(struct ph_command *c)
{
    int rc;

    c->of_lifeline = (struct ph_watch){ .fn = on_lifeline, .arg = c };
    c->of_out = (struct ph_watch){ .fn = on_output, .arg = c };
    c->of_in = (struct ph_watch){ .fn = on_room, .arg = c };
    if (c->out >= 0 && (rc = ph_watch_start(&c->of_out, c->out, PH_READ)) < 0)
        return rc;
    return ph_watch_start(&c->of_lifeline, c->lifeline, PH_READ);
}

static int ask(struct ph_command *c, const struct ph_command_spec *spec)
{
    PH_SCOPED(s, c->scope);
    struct ends *e = ph_new(s, struct ends);
    struct spawner_request r;
    struct spawner_reply reply;
    struct ph_buf b;
    int rc;

    ph_defer(s, close_ends, e);
    ph_buf_init(&b, s, SPAWNER_STRINGS_MAX);
    if ((rc = put_request(&b, spec, &r)) < 0 || (rc = make_ends(c, spec, e)) < 0)
        return rc;
    if (c->in >= 0)
        r.flags |= SPAWNER_HAS_INPUT;
    if ((rc = ph_spawner_send(&r, b.p, b.n, e->fd, c->in >= 0 ? 4 : 3)) < 0)
        return rc;
    close_ends(e);
    rc = ph_spawner_reply(c->lifeline, &reply, ph_in_ms(START_MS));
    ph_fd_forget(c->lifeline);
    if (rc < 0)
        return rc == PH_TIMEOUT ? ph_fail(PH_TEMP, "the spawner does not answer") : rc;
    return reply.what == SPAWNER_STARTED ? 0 : ph_spawner_refused(&reply, ph_str_printf(s, "command %s", spec->argv[0]).p);
}

int ph_command_start(struct ph_scope *s, const struct ph_command_spec *spec, struct ph_command **out)
{
    struct ph_scope *own = ph_scope_new(s);
    struct ph_command *c = ph_new(own, struct ph_command);
    int rc;

    c->scope = own;
    c->changed = ph_cond_new(own);
    c->lifeline = c->in = c->out = -1;
    ph_buf_init(&c->output, NULL, spec->output_max);
    ph_defer(own, let_go, c);
    if ((rc = take_place(c)) < 0 || (rc = ask(c, spec)) < 0 || (rc = watch(c)) < 0) {
        ph_scope_free(own);
        return rc;
    }
    *out = c;
    return 0;
}

/* ---- life ---- */

int ph_command_write(struct ph_command *c, const void *p, size_t n)
{
    const char *at = p;
    int rc;

    while (n) {
        if (c->in < 0)
            return ph_fail(PH_EOF, "the command reads no more");
        ssize_t done = write(c->in, at, n);

        if (done > 0) {
            at += done;
            n -= (size_t)done;
            continue;
        }
        if (done < 0 && errno == EPIPE)
            close_watched(&c->in, &c->of_in);
        else if (done < 0 && errno == EINTR)
            continue;
        else if (done < 0 && errno != EAGAIN)
            return ph_fail_errno(PH_TEMP, errno, "write to the command");
        else if ((rc = ph_watch_start(&c->of_in, c->in, PH_WRITE)) < 0 || (rc = ph_cond_wait(c->changed, PH_FOREVER)) < 0)
            return rc;
    }
    return 0;
}

int ph_command_close(struct ph_command *c)
{
    char word = SPAWNER_INPUT_DONE;

    close_watched(&c->in, &c->of_in);
    if (c->closing || c->lifeline < 0)
        return 0;
    c->closing = 1;
    /* Nothing else is ever sent on it: there is room.  A command that has ended
     * already needs no word. */
    if (send(c->lifeline, &word, 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1 && errno != EPIPE && errno != ECONNRESET)
        return ph_fail_errno(PH_TEMP, errno, "end of the command's input");
    return 0;
}

int ph_command_wait(struct ph_command *c, struct ph_command_result *r)
{
    struct ph_command_result all = { .size = sizeof all };
    uint32_t size = r->size < sizeof all ? r->size : (uint32_t)sizeof all;
    int rc = ph_command_close(c);

    while (rc >= 0 && !c->ended && !c->lost)
        rc = ph_cond_wait(c->changed, PH_FOREVER);
    if (rc < 0)
        return rc;
    if (!c->ended)
        return ph_fail(PH_TEMP, "the helper that runs commands ended");
    all.status = c->end.status;
    all.signal = c->end.signal;
    all.timed_out = c->end.timed_out;
    all.output_cut = (uint32_t)c->cut;
    all.output = ph_buf_view(&c->output);
    memcpy(r, &all, size);
    r->size = size;
    return 0;
}

void ph_command_kill(struct ph_command *c)
{
    c->closing = 1;                /* no more words on it */
    if (c->lifeline >= 0)
        shutdown(c->lifeline, SHUT_WR);
}
