/* t/crash/queue.c: kill -9 at system calls of the queue, and errors injected
 * into them; the oracle: nothing lost after the answer, nothing done again that
 * is known to be done, nothing twice, nothing that was refused.
 *
 * A child plays qmgr and a receiver in one process (disk_threads 0: every system
 * call in one thread) and says on a pipe what it promised.  The parent stops it
 * at the Nth call by ptrace, kills it (or makes the call fail), and another
 * child opens the queue as the next qmgr would and lists what is there. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>
#include <posthorn/intake.h>
#include "core/conf/conf.h"
#include "core/queue/hub.h"
#include "core/queue/store.h"
#include "core/run/loop.h"
#include "tap.h"

#define MESSAGES 12
#define KILLS    70                /* points of a run that are tried */
#define FAILURES 25

/* ---- the child: a scenario ---- */

static char top[32];
static int words = -1;             /* where the child says what it promised */
static struct ph_queue *queue;
static struct ph_group *servers;
static struct ph_qmsg *last;       /* that arrived */
static struct ph_cond *came;

static void say(const char *what, const char *id)
{
    char line[100];
    int n = snprintf(line, sizeof line, "%s %s\n", what, id);

    if (write(words, line, (size_t)n) != n)
        _exit(98);
}

static void arrived(void *arg PH_UNUSED, struct ph_qmsg *m)
{
    last = m;
    ph_cond_broadcast(came);
}

static int has_room(void *arg PH_UNUSED)
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

    if (ph_conf_parse(s, top, "test", ph_str_printf(s, "queue_directory = %s\n", top), &c) < 0)
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
        if (ph_queue_mark(queue, m, 0, PH_STATE_FAILED) == 0 && ph_queue_sync(queue, m) == 0)
            ph_queue_mark(queue, m, 0, PH_STATE_TOLD);
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

static int scenario(void *arg PH_UNUSED)
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

struct found {
    char id[PH_ID_MAX + 1];
    int times, pending, first;         /* first: state of recipient one */
};

static void tell(struct ph_qmsg *m, const char *where)
{
    char text[100];
    int rc = ph_queue_load(queue, m);

    if (rc != 0) {
        say("bad", where);
        return;
    }
    snprintf(text, sizeof text, "%s %u %c", m->id, m->pending, (int)m->rcpt[0].state);
    say("found", text);
}

static int survey(void *arg PH_UNUSED)
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

/* ---- the parent ---- */

struct promise {
    char id[PH_ID_MAX + 1];
    int accepted, refused, marking, marked, ending;
};

struct history {
    struct promise p[MESSAGES * 2];
    int n, whole;
    struct found f[64];
    int found, corrupt, bad;
};

static struct promise *promise(struct history *h, const char *id)
{
    for (int i = 0; i < h->n; i++)
        if (strcmp(h->p[i].id, id) == 0)
            return &h->p[i];
    snprintf(h->p[h->n].id, sizeof h->p[0].id, "%s", id);
    return &h->p[h->n++];
}

static void note(struct history *h, const char *what, const char *id, unsigned pending, char first)
{
    if (strcmp(what, "end") == 0) {
        h->whole = 1;
    } else if (strcmp(what, "corrupt") == 0) {
        h->corrupt++;
    } else if (strcmp(what, "bad") == 0) {
        h->bad++;
    } else if (strcmp(what, "found") == 0) {
        for (int i = 0; i < h->found; i++)
            if (strcmp(h->f[i].id, id) == 0) {
                h->f[i].times++;
                return;
            }
        struct found *f = &h->f[h->found++];

        snprintf(f->id, sizeof f->id, "%s", id);
        *f = (struct found){ .times = 1, .pending = (int)pending, .first = first };
        snprintf(f->id, sizeof f->id, "%s", id);
    } else {
        struct promise *p = promise(h, id);

        p->accepted |= strcmp(what, "accepted") == 0;
        p->refused |= strcmp(what, "refused") == 0;
        p->marking |= strcmp(what, "marking") == 0;
        p->marked |= strcmp(what, "marked") == 0;
        p->ending |= strcmp(what, "ending") == 0;
    }
}

static void listen_to(struct history *h, int fd)
{
    FILE *in = fdopen(fd, "r");
    char line[200], what[20], id[PH_ID_MAX + 1];

    while (in && fgets(line, sizeof line, in)) {
        unsigned pending = 0;
        char first = 0;

        if (sscanf(line, "%19s %31s %u %c", what, id, &pending, &first) >= 2)
            note(h, what, id, pending, first);
    }
    if (in)
        fclose(in);
}

static const struct found *find(const struct history *h, const char *id)
{
    for (int i = 0; i < h->found; i++)
        if (strcmp(h->f[i].id, id) == 0)
            return &h->f[i];
    return NULL;
}

/* What must hold, whatever happened.  `killed`: the process ended there; else a
 * call failed and it went on. */
static int judge(const struct history *h, int killed, char *why, size_t size)
{
    for (int i = 0; i < h->n; i++) {
        const struct promise *p = &h->p[i];
        const struct found *f = find(h, p->id);

        if (p->accepted && !p->ending && !f)
            return snprintf(why, size, "%s was accepted and is lost", p->id);
        if (p->refused && f)
            return snprintf(why, size, "%s was refused and is there", p->id);
        if (f && f->times > 1)
            return snprintf(why, size, "%s is there %d times", p->id, f->times);
        if (f && !p->marking && !p->ending && f->pending != 2)
            return snprintf(why, size, "%s has marks that nobody made", p->id);
        if (f && p->marked && f->first != PH_STATE_DELIVERED)
            return snprintf(why, size, "%s lost its mark: it would be delivered again", p->id);
    }
    for (int i = 0; i < h->found; i++) {
        int known = 0;

        for (int k = 0; k < h->n; k++)
            known |= strcmp(h->p[k].id, h->f[i].id) == 0;
        if (!known)
            return snprintf(why, size, "%s comes from nowhere", h->f[i].id);
    }
    /* Only a write cut in two by the kill may leave something damaged. */
    if (h->bad || h->corrupt > (killed ? 1 : 0))
        return snprintf(why, size, "%d damaged, %d unreadable", h->corrupt, h->bad);
    return 0;
}

static pid_t start(int (*fn)(void *), int traced, int *out)
{
    int p[2];
    pid_t pid;

    fflush(stdout);
    if (pipe2(p, O_CLOEXEC) < 0 || (pid = fork()) < 0)
        exit(99);
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY);

        close(p[0]);
        words = p[1];
        dup2(null, 2);                 /* warnings of injected errors */
        if (traced && (ptrace(PTRACE_TRACEME, 0, 0, 0) < 0 || raise(SIGSTOP) != 0))
            _exit(95);
        _exit(ph_run_main(fn, NULL) < 0 ? 94 : 0);
    }
    close(p[1]);
    *out = p[0];
    return pid;
}

/* Calls that write: where injected errors matter. */
static int is_write(uint64_t nr)
{
    switch (nr) {
    case SYS_pwritev: case SYS_pwrite64: case SYS_fdatasync: case SYS_fsync: case SYS_renameat2:
    case SYS_openat: case SYS_unlinkat: case SYS_utimensat:
        return 1;
    default:
        return 0;
    }
}

#ifdef __x86_64__
static void make_fail(pid_t pid, int err, int *state)
{
    struct user_regs_struct r;

    if (ptrace(PTRACE_GETREGS, pid, 0, &r) < 0)
        exit(99);
    if (*state == 0) {
        r.orig_rax = (unsigned long long)-1;       /* no such call: the kernel does nothing */
        *state = 1;
    } else {
        r.rax = (unsigned long long)-(long long)err;
        *state = 2;
    }
    if (ptrace(PTRACE_SETREGS, pid, 0, &r) < 0)
        exit(99);
}
#define CAN_INJECT 1
#else
static void make_fail(pid_t pid PH_UNUSED, int err PH_UNUSED, int *state) { *state = 2; }
#define CAN_INJECT 0
#endif

/* Run the traced child: at its `at`th call (writing call, when err) kill it, or
 * make that call fail with err.  How many calls there were. */
static long drive(pid_t pid, long at, int err)
{
    long count = 0;
    int status, entering = 1, state = 0;

    waitpid(pid, &status, 0);
    ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
    ptrace(PTRACE_SYSCALL, pid, 0, 0);
    while (waitpid(pid, &status, 0) == pid && !WIFEXITED(status) && !WIFSIGNALED(status)) {
        struct __ptrace_syscall_info info = { 0 };
        int sig = 0;

        if (WSTOPSIG(status) != (SIGTRAP | 0x80)) {
            sig = WSTOPSIG(status);
        } else if (state == 1) {
            make_fail(pid, err, &state);
            entering = 1;
        } else if (entering) {
            ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info);
            count += err ? is_write(info.entry.nr) : 1;
            if (count == at && !err) {
                kill(pid, SIGKILL);
            } else if (count == at && state == 0 && is_write(info.entry.nr)) {
                make_fail(pid, err, &state);
            }
            entering = 0;
        } else {
            entering = 1;
        }
        ptrace(PTRACE_SYSCALL, pid, 0, sig);
    }
    return count;
}

static void fresh_dir(void)
{
    char cmd[100];

    snprintf(cmd, sizeof cmd, "rm -rf %s && mkdir %s", top, top);
    if (system(cmd) != 0)
        exit(99);
}

static long one_run(struct history *h, long at, int err)
{
    pid_t pid;
    long calls;
    int out, status;

    memset(h, 0, sizeof *h);
    fresh_dir();
    pid = start(scenario, 1, &out);
    calls = drive(pid, at, err);
    listen_to(h, out);
    pid = start(survey, 0, &out);
    h->whole = 0;
    listen_to(h, out);
    waitpid(pid, &status, 0);
    if (!h->whole)
        h->bad++;
    return calls;
}

static void sample(long calls, int err, const char *what)
{
    struct history *h = calloc(1, sizeof *h);
    long points = err ? FAILURES : KILLS, step = calls / points > 0 ? calls / points : 1;
    int tried = 0, bad = 0, refused = 0;
    char why[200];

    for (long at = 1; at <= calls && h; at += step) {
        one_run(h, at, err);
        tried++;
        for (int i = 0; i < h->n; i++)
            refused += h->p[i].refused;
        if (judge(h, !err, why, sizeof why) != 0 && ++bad < 10)
            printf("# %s at call %ld: %s\n", what, at, why);
    }
    if (err)
        ok(refused > 0, "%s: some of it is refused (%d)", what, refused);
    is_int(bad, 0, "%s at %d of %ld calls: nothing lost, nothing twice", what, tried, calls);
    free(h);
}

int main(void)
{
    struct history *h = calloc(1, sizeof *h);
    char why[200] = "";
    long calls, writes;

    snprintf(top, sizeof top, "/tmp/crash.XXXXXX");
    if (!h || !mkdtemp(top))
        exit(99);
    calls = one_run(h, -1, 0);
    writes = one_run(h, -1, EIO);
    is_int(h->n, MESSAGES, "undisturbed: all messages are begun");
    is_int(judge(h, 0, why, sizeof why), 0, "and every promise is kept %s", why);
    is_int(h->found, MESSAGES / 6 * 3, "what was not ended is there");
    sample(calls, 0, "kill -9");
    if (CAN_INJECT) {
        sample(writes, EIO, "EIO");
        sample(writes, ENOSPC, "ENOSPC");
        sample(writes, EMFILE, "EMFILE");
    }
    fresh_dir();
    rmdir(top);
    free(h);
    return done_testing();
}
