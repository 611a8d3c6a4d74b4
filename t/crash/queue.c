/* t/crash/queue.c: the queue under kill -9 and failing calls at sampled points of
 * its work; the oracle: nothing lost after the answer, nothing
 * done again that is known to be done, nothing twice, nothing that was refused.
 *
 * A child (scenario.c) says on a pipe what it promised.  The tracer stops it at
 * its Nth call; then another child opens the queue as the next qmgr would and
 * lists what is there. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>
#include <posthorn/message.h>
#include "core/run/loop.h"
#include "scenario.h"
#include "trace.h"
#include "world.h"
#include "tap.h"

#define KILLS    90                /* points of a run that are tried */
#define FAILURES 25

struct found {
    char id[PH_ID_MAX + 1];
    int times, pending, first;         /* first: state of recipient one */
};

struct promise {
    char id[PH_ID_MAX + 1];
    int accepted, refused, marking, marked, synced, ending;
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
        p->synced |= strcmp(what, "synced") == 0;
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

/* What must hold, whatever happened (TRACE_*). */
static int judge(const struct history *h, int what, char *why, size_t size)
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
        if (f && p->synced && f->first == PH_STATE_PENDING)
            return snprintf(why, size, "%s lost a mark that was synced: a notice may be out", p->id);
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
    /* Only a write cut in two may leave something damaged; what was accepted is
     * never that. */
    if (h->bad || h->corrupt > (what == TRACE_FAIL ? 0 : 1))
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
        crash_words = p[1];
        dup2(null, 2);                 /* warnings of injected errors */
        if (traced && (ptrace(PTRACE_TRACEME, 0, 0, 0) < 0 || raise(SIGSTOP) != 0))
            _exit(95);
        _exit(ph_run_main(fn, NULL) < 0 ? 94 : 0);
    }
    close(p[1]);
    *out = p[0];
    return pid;
}

static void fresh_dir(void)
{
    char cmd[200];

    snprintf(cmd, sizeof cmd, "rm -rf %s && mkdir %s", crash_top, crash_top);
    if (system(cmd) != 0)
        exit(99);
}

static long one_run(struct history *h, struct trace *t)
{
    pid_t pid;
    long calls;
    int out, status;

    memset(h, 0, sizeof *h);
    fresh_dir();
    pid = start(crash_scenario, 1, &out);
    calls = trace_run(pid, t);
    listen_to(h, out);
    pid = start(crash_survey, 0, &out);
    h->whole = 0;
    listen_to(h, out);
    waitpid(pid, &status, 0);
    if (!h->whole)
        h->bad++;
    return calls;
}

static void sample(long calls, int what, int err, long points, const char *name)
{
    struct history *h = calloc(1, sizeof *h);
    long step = calls / points > 0 ? calls / points : 1;
    int tried = 0, bad = 0, refused = 0;
    char why[200];

    for (long at = 1; at <= calls && h; at += step) {
        struct trace t = { .what = what, .at = at, .err = err };

        one_run(h, &t);
        tried++;
        for (int i = 0; i < h->n; i++)
            refused += h->p[i].refused;
        if (judge(h, what, why, sizeof why) != 0 && ++bad < 10)
            printf("# %s at call %ld: %s\n", name, at, why);
    }
    if (what == TRACE_FAIL)
        ok(refused > 0, "%s: some of it is refused (%d)", name, refused);
    is_int(bad, 0, "%s at %d of %ld calls: nothing lost, nothing twice", name, tried, calls);
    free(h);
}

int main(void)
{
    struct history *h = calloc(1, sizeof *h);
    struct trace whole = { .what = TRACE_KILL, .at = -1 }, writing = { .what = TRACE_FAIL, .at = -1, .err = EIO };
    char why[200] = "";
    long calls, writes;

    /* Nothing here depends on the disk, and memory has no queue. */
    crash_place(crash_top, sizeof crash_top, "crash");
    if (!h)
        exit(99);
    calls = one_run(h, &whole);
    writes = one_run(h, &writing);
    is_int(h->n, MESSAGES, "undisturbed: all messages are begun");
    is_int(judge(h, TRACE_FAIL, why, sizeof why), 0, "and every promise is kept %s", why);
    is_int(h->found, MESSAGES / 6 * 3, "what was not ended is there");
    sample(calls, TRACE_KILL, 0, KILLS, "kill -9");
    if (TRACE_CAN_FAIL) {
        sample(writes, TRACE_FAIL, EIO, FAILURES, "EIO");
        sample(writes, TRACE_FAIL, ENOSPC, FAILURES, "ENOSPC");
        sample(writes, TRACE_FAIL, EMFILE, FAILURES, "EMFILE");
    }
    free(h);
    return done_testing();
}
