/* world: see world.h. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "core/conf/conf.h"
#include "core/run/loop.h"
#include "t/lib/queue_pair.h"
#include "world.h"

char crash_top[64];
int crash_words = -1;
struct ph_queue *world_queue;
static struct ph_scope *scope;     /* of the queue that is open */
static struct ph_group *servers;
static struct ph_cond *came;

/* Who removes it waits for the end of a pipe that nobody writes to and all others hold. */
static void remove_at_end(const char *path, const int pipe_fd[2])
{
    char none;

    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    close(pipe_fd[1]);
    while (read(pipe_fd[0], &none, 1) < 0 && errno == EINTR)
        ;
    execl("/bin/rm", "rm", "-rf", path, (char *)NULL);
    _exit(1);
}

void crash_place(char *path, size_t size, const char *name)
{
    int p[2];
    pid_t pid;

    snprintf(path, size, "%s/%s.XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", name);
    fflush(stdout);
    if (!mkdtemp(path) || pipe2(p, O_CLOEXEC) < 0 || (pid = fork()) < 0)
        exit(99);
    if (pid == 0)
        remove_at_end(path, p);
    close(p[0]);
}

void say(const char *fmt, ...)
{
    char line[160];
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(line, sizeof line - 1, fmt, ap);
    va_end(ap);
    line[n++] = '\n';
    if (crash_words >= 0 && write(crash_words, line, (size_t)n) != n)
        _exit(98);
}

static void arrived(void *arg PH_UNUSED, struct ph_qmsg *m PH_UNUSED)
{
    ph_cond_broadcast(came);
}

static int has_room(void *arg PH_UNUSED, uint32_t rcpts PH_UNUSED)
{
    return 1;
}

static const struct ph_queue_events events = { arrived, has_room };

static int dial(struct ph_scope *s, struct ph_stream **io)
{
    return world_queue ? queue_pair(world_queue, servers, s, io) : ph_fail(PH_TEMP, "qmgr is not there");
}

struct ph_conf *world_conf(struct ph_scope *s)
{
    struct ph_conf *c;

    if (ph_conf_parse(s, crash_top, "test", ph_str_printf(s, "queue_directory = %s\n", crash_top), &c) < 0)
        _exit(97);
    return c;
}

int world_open(void)
{
    struct ph_queue *q;
    int rc;

    scope = ph_scope_new(NULL);
    came = ph_cond_new(scope);
    servers = ph_group_new(scope);
    ph_hub_dial_with(dial);
    if ((rc = ph_queue_open(scope, world_conf(scope), &events, NULL, &q)) < 0 || (rc = ph_queue_recover(q)) < 0)
        return rc;
    world_queue = q;
    return ph_queue_start(q, servers);
}

void world_close(void)
{
    ph_group_cancel(servers);
    ph_group_wait(servers, PH_FOREVER);
    world_queue = NULL;
    ph_scope_free(scope);
    scope = NULL;
}

/* ---- letters ---- */

size_t letter_line(const struct letter *l, unsigned i, char out[LETTER_LINE + 1])
{
    if (i == 0)
        snprintf(out, LETTER_LINE + 1, "Subject: crash %010u %010u %010u%15s\r\n", l->n, l->lines, l->words, "");
    else if (i == 1)
        memcpy(out, "\r\n", 3);
    else
        snprintf(out, LETTER_LINE + 1, "%010u %010u %040u\r\n", l->words, i, l->words + i);
    return strlen(out);
}

int letter_know(int64_t (*read)(void *, uint64_t, void *, size_t), void *arg, uint64_t bytes, struct letter *l)
{
    char line[LETTER_LINE + 1], got[LETTER_LINE + 1] = "";
    struct letter is = { .n = 0 };
    uint64_t at = 0;

    if (read(arg, 0, got, LETTER_LINE) != LETTER_LINE ||
        sscanf(got, "Subject: crash %10u %10u %10u", &is.n, &is.lines, &is.words) != 3 ||
        bytes != (uint64_t)LETTER_LINE * (is.lines + 1) + 2)
        return 0;
    for (unsigned i = 0; i < is.lines + 2; i++) {
        size_t n = letter_line(&is, i, line);

        for (size_t have = 0; have < n; ) {        /* a read may end early: see ph_message_read */
            int64_t some = read(arg, at + have, got + have, n - have);

            if (some <= 0)
                return 0;
            have += (size_t)some;
        }
        if (memcmp(line, got, n) != 0)
            return 0;
        at += n;
    }
    *l = is;
    return 1;
}

static int64_t read_message(void *arg, uint64_t at, void *p, size_t n)
{
    return ph_message_read(arg, at, p, n);
}

int letter_of(const struct ph_message *m, struct letter *l)
{
    return letter_know(read_message, (void *)(uintptr_t)m, ph_message_bytes(m), l);
}

struct ph_intake *letter_begin(struct ph_scope *s, uint32_t who, const struct letter *l, unsigned lines)
{
    char line[LETTER_LINE + 1];
    struct ph_intake *q;

    if (ph_intake_begin(s, who, &q) < 0)
        return NULL;
    say("begun %u %.*s", l->n, PH_FMT(ph_intake_id(q)));
    for (unsigned i = 0; i < lines; i++) {
        size_t n = letter_line(l, i, line);
        int rc = i == 1 ? ph_intake_body(q) : ph_intake_write(q, (ph_str){ line, n });

        if (rc < 0)
            break;                 /* its commit fails too */
    }
    return q;
}

int letter_end(struct ph_intake *q, const struct letter *l)
{
    int rc;

    ph_intake_sender(q, PH_STR("s@example.com"));
    ph_intake_recipient(q, PH_STR("one@example.org"), PH_STR(""), PH_STR(""), PH_STR(""));
    ph_intake_recipient(q, PH_STR("two@example.org"), PH_STR(""), PH_STR(""), PH_STR(""));
    if (l->hold)
        ph_intake_hold(q);
    rc = ph_intake_commit(q);
    say("%s %u", rc == 0 ? "accepted" : "refused", l->n);
    return rc;
}

struct ph_qmsg *letter_submit(const struct letter *l)
{
    PH_SCOPED(s, NULL);
    struct ph_intake *q = letter_begin(s, PH_INTAKE_NET, l, l->lines + 2);
    int64_t until = ph_in_ms(5000);
    struct ph_qmsg *m;
    ph_str id;

    if (!q)
        return NULL;
    id = ph_str_dup(s, ph_intake_id(q));
    if (letter_end(q, l) < 0)
        return NULL;
    while (!(m = ph_queue_in_memory(world_queue, id)) && !l->hold && ph_cond_wait(came, until) == 0)
        ;
    return m;
}
