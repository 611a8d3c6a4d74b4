/* words: what workers write to descriptor 2, where only last words go (a broken
 * invariant, the end of memory, a sanitizer's report): into the log, line by
 * line.  A worker may be hostile: its lines are bounded, and so is their number. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "core/master/master.h"

#define LINES_MAX 200u             /* of one worker; a sanitizer's report is about as long */

static void log_line(struct child *c)
{
    if (c->words_n == 0)
        return;
    if (c->words_lines < LINES_MAX)
        ph_log_warn("%s pid %d: %.*s", c->service->name, (int)c->pid, (int)c->words_n, c->words);
    else if (c->words_lines == LINES_MAX)
        ph_log_warn("%s pid %d: (it says more than is shown here)", c->service->name, (int)c->pid);
    c->words_lines += c->words_lines <= LINES_MAX;
    c->words_n = 0;
}

static void take(struct child *c, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '\n' || c->words_n == sizeof c->words)
            log_line(c);
        if (p[i] != '\n')
            c->words[c->words_n++] = p[i];
    }
}

/* A piece of what is there: 1; -1 nothing now; 0 the end. */
static int read_some(struct child *c)
{
    char piece[4096];
    ssize_t n = read(c->words_fd, piece, sizeof piece);

    if (n > 0)
        take(c, piece, (size_t)n);
    return n > 0 ? 1 : n < 0 && (errno == EAGAIN || errno == EINTR) ? -1 : 0;
}

/* One piece per turn: a worker that writes without end keeps nobody waiting. */
static void hear_words(struct ph_watch *w, int ready PH_UNUSED)
{
    struct child *c = w->arg;

    if (read_some(c) == 0)
        ph_watch_stop(&c->words_watch);
}

int words_pipe(int p[2])
{
    /* Nor does a worker wait for us: what does not fit is lost. */
    return pipe2(p, O_CLOEXEC | O_NONBLOCK) < 0 ? ph_fail_errno(PH_TEMP, errno, "pipe") : 0;
}

int words_watch(struct child *c, int fd)
{
    c->words_fd = fd;
    c->words_watch.fn = hear_words;
    c->words_watch.arg = c;
    return ph_watch_start(&c->words_watch, fd, PH_READ);
}

void words_say(struct child *c)
{
    for (unsigned i = 0; i < 64 && read_some(c) == 1; i++)
        ;
    log_line(c);
}

void words_end(struct child *c)
{
    ph_watch_stop(&c->words_watch);
    close(c->words_fd);
}
