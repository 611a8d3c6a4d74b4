/* postfix tasks: the live tasks of running services.  The workers list them in the
 * log when they get a signal (core/worker/sight.c); we send it and follow the log. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/buf.h>
#include <posthorn/clock.h>
#include "core/cmd/cmd.h"
#include "core/cmd/postfix.h"

#define ANSWER_MS   3000
#define WORKERS_MAX 4096
#define TEXT_MAX    (64u << 20)

struct worker {
    pid_t pid;
    char name[64];                 /* of the service */
    int done;
    struct ph_buf lines;           /* what it has listed so far */
};

struct tasks {
    struct postfix *p;
    struct worker *worker;
    size_t count, open;
    int stacks, log;               /* log: descriptor, or -1 */
    struct ph_buf text;            /* of the log, what is not shown yet */
};

/* What follows "-n" in the command line of a worker: 1, or 0 when it is none. */
static int service_of(pid_t pid, char *name, size_t size)
{
    char path[64], text[4096];
    ssize_t n;

    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    for (ph_str rest = { text, n > 0 ? (size_t)n : 0 }; rest.n;)
        if (ph_str_eq(ph_str_cut(&rest, 0), PH_STR("-n"))) {
            ph_str word = ph_str_cut(&rest, 0);

            return word.n && snprintf(name, size, "%.*s", PH_FMT(word)) < (int)size;
        }
    return 0;
}

static pid_t parent_of(pid_t pid)
{
    char path[64], text[512];
    int parent = 0;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = 0;
    const char *after = strrchr(text, ')');
    return after && sscanf(after, ") %*c %d", &parent) == 1 ? parent : 0;
}

static void add_worker(struct tasks *t, pid_t pid, const char *service)
{
    struct worker *w = &t->worker[t->count];

    if (t->count == WORKERS_MAX || !service_of(pid, w->name, sizeof w->name) || (service && strcmp(service, w->name) != 0))
        return;
    w->pid = pid;
    t->count++;
}

static void find_workers(struct tasks *t, pid_t master, const char *service)
{
    DIR *d = opendir("/proc");

    for (struct dirent *e; d && (e = readdir(d));) {
        pid_t pid = isdigit((unsigned char)e->d_name[0]) ? (pid_t)atoi(e->d_name) : 0;

        if (pid > 0 && parent_of(pid) == master)
            add_worker(t, pid, service);
    }
    if (d)
        closedir(d);
}

static int open_log(struct tasks *t)
{
    const char *file = ph_cstr_dup(t->p->scope, ph_conf_value(t->p->conf, t->p->scope, "maillog_file"));
    struct stat st;

    if (!file[0] || strncmp(file, "/dev/", 5) == 0)
        return -1;
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        ph_cmd_fatal("tasks: %s: %s", file, fd < 0 ? strerror(errno) : "not a file");
    lseek(fd, 0, SEEK_END);
    return fd;
}

/* One line per task; of a stack one line per call. */
static void show(const struct worker *w)
{
    ph_str mark = PH_STR(", stack ");

    printf("%s[%d]\n", w->name, (int)w->pid);
    for (ph_str rest = ph_buf_view(&w->lines); rest.n;) {
        ph_str line = ph_str_cut(&rest, '\n'), place;
        const char *stack = memmem(line.p, line.n, mark.p, mark.n);

        printf("  %.*s\n", PH_FMT(ph_str_first(line, stack ? (size_t)(stack - line.p) : line.n)));
        if (!stack)
            continue;
        for (ph_str places = ph_str_from(line, (size_t)(stack - line.p) + mark.n); (place = ph_str_word(&places)).n;)
            printf("      %.*s\n", PH_FMT(place));
    }
}

/* "... postfix/smtpd[123]: task ..." */
static void take_line(struct tasks *t, ph_str line)
{
    const char *open = memchr(line.p, '[', line.n), *text = open ? memmem(open, line.n - (size_t)(open - line.p), "]: ", 3) : NULL;
    int pid = text ? atoi(open + 1) : 0;

    for (size_t i = 0; i < t->count; i++) {
        struct worker *w = &t->worker[i];
        ph_str said = text ? ph_str_from(line, (size_t)(text + 3 - line.p)) : line;

        if (w->pid != pid || w->done)
            continue;
        int last = ph_str_starts(said, PH_STR("tasks: ")) || ph_str_starts(said, PH_STR("warning: no listing"));
        if (last || ph_str_starts(said, PH_STR("task ")))
            ph_buf_printf(&w->lines, "%.*s\n", PH_FMT(said));
        if (last) {
            w->done = 1;
            t->open--;
            show(w);
        }
    }
}

static void read_log(struct tasks *t)
{
    char chunk[65536];
    const char *end;
    ssize_t n;

    while ((n = read(t->log, chunk, sizeof chunk)) > 0) {
        ph_buf_put(&t->text, chunk, (size_t)n);
        while ((end = memchr(t->text.p, '\n', t->text.n))) {
            take_line(t, (ph_str){ t->text.p, (size_t)(end - t->text.p) });
            ph_buf_shift(&t->text, (size_t)(end - t->text.p) + 1);
        }
    }
}

/* Whoever is silent does not turn: what the kernel knows of it is shown. */
static void show_silent(const struct worker *w)
{
    char path[64], where[128] = "";

    snprintf(path, sizeof path, "/proc/%d/wchan", (int)w->pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, where, sizeof where - 1);
    if (fd >= 0)
        close(fd);
    where[n > 0 ? n : 0] = 0;
    ph_cmd_warn("%s[%d] does not answer: something holds its loop, or the log is slow%s%s", w->name, (int)w->pid,
                where[0] && strcmp(where, "0") != 0 ? "; in the kernel: " : "", strcmp(where, "0") != 0 ? where : "");
}

static int ask(struct tasks *t)
{
    int rc = 0;

    for (size_t i = 0; i < t->count; i++) {
        struct worker *w = &t->worker[i];

        ph_buf_init(&w->lines, NULL, TEXT_MAX);
        if (kill(w->pid, t->stacks ? SIGUSR2 : SIGUSR1) == 0)
            t->open++;
        else
            w->done = 1;           /* it has ended meanwhile */
    }
    if (t->log < 0) {
        ph_cmd_info("%zu workers list their tasks in the log (maillog_file names no file that can be followed)", t->count);
        return 0;
    }
    for (int64_t end = ph_in_ms(ANSWER_MS); t->open && ph_now_ms() < end; poll(NULL, 0, t->open ? 20 : 0))
        read_log(t);
    for (size_t i = 0; i < t->count; i++)
        if (!t->worker[i].done) {
            show_silent(&t->worker[i]);
            rc = 1;
        }
    return rc;
}

int postfix_tasks(struct postfix *p)
{
    struct tasks t = { .p = p };
    pid_t master = postfix_master_pid(p, NULL);
    int i = 0;

    if (p->argc > i && strcmp(p->argv[i], "--debug") == 0)
        t.stacks = ++i;
    if (p->argc > i + 1 || (p->argc > i && p->argv[i][0] == '-'))
        ph_cmd_fatal("usage: postfix tasks [--debug] [service]");
    const char *service = p->argc > i ? p->argv[i] : NULL;
    if (!master)
        ph_cmd_fatal("the Postfix mail system is not running");
    t.worker = ph_alloc(p->scope, WORKERS_MAX * sizeof *t.worker);
    ph_buf_init(&t.text, NULL, TEXT_MAX);
    find_workers(&t, master, service);
    if (t.count == 0)
        ph_cmd_fatal("tasks: no worker of %s runs now%s", service ? service : "any service", service ? " (the name is that of master.yaml)" : "");
    t.log = open_log(&t);
    int rc = ask(&t);
    for (size_t n = 0; n < t.count; n++)
        ph_buf_fini(&t.worker[n].lines);
    ph_buf_fini(&t.text);
    if (t.log >= 0)
        close(t.log);
    return rc;
}
