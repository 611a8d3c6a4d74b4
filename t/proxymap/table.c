/* t/proxymap/table.c: a table that may block, and does what files in its directory say:
 *
 *   hang    a look-up does not end while that file is there, whatever the deadline
 *   late    it takes 1.2 s and fails
 *   fail    it fails at once
 *   crash   the process ends by SIGSEGV
 *
 * What a file holds is the start of the keys that it is for; an empty one is for all.  Keys
 * that begin with "no" are not there.  Each look-up is a line in the file `asked`. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <posthorn/table.h>

struct slow { const char *dir; int asked_fd; };

static int32_t slow_open(struct ph_table *t, ph_str spec)
{
    struct slow *self = ph_new(t->scope, struct slow);

    t->self = self;
    self->dir = ph_cstr_dup(t->scope, spec);
    ph_reopen_later(ph_str_printf(t->scope, "%s/asked", self->dir).p);
    self->asked_fd = open(ph_str_printf(t->scope, "%s/asked", self->dir).p, O_RDWR | O_APPEND | O_CLOEXEC);
    if (self->asked_fd < 0 && errno == EACCES)      /* behind the seal nothing more is opened to be written to */
        self->asked_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (self->asked_fd < 0)
        return ph_fail_errno(PH_TEMP, errno, "%s/asked", self->dir);
    ph_defer_close(t->scope, self->asked_fd);
    return 0;
}

static int is_wanted(const struct slow *self, struct ph_scope *s, const char *what, ph_str key)
{
    char text[200];
    int fd = open(ph_str_printf(s, "%s/%s", self->dir, what).p, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text);

    if (fd >= 0)
        close(fd);
    return n >= 0 && ph_str_starts(key, (ph_str){ text, (size_t)n });
}

static void pause_ms(long ms)
{
    const struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

    nanosleep(&t, NULL);
}

static int32_t slow_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val)
{
    const struct slow *self = t->self;
    ph_str line = ph_str_printf(out, "%d %.*s\n", (int)getpid(), PH_FMT(key));

    if (write(self->asked_fd, line.p, line.n) < 0)
        return ph_fail_errno(PH_TEMP, errno, "asked");
    if (is_wanted(self, out, "crash", key))
        raise(SIGSEGV);
    while (is_wanted(self, out, "hang", key))
        pause_ms(20);
    if (is_wanted(self, out, "late", key)) {
        pause_ms(1200);
        return ph_fail(PH_TEMP, "late");
    }
    if (is_wanted(self, out, "fail", key))
        return ph_fail(PH_TEMP, "it fails");
    if (ph_str_starts(key, PH_STR("no")))
        return PH_NONE;
    *val = t->flags & PH_TABLE_SECURE ? PH_STR("secure") : ph_str_printf(out, "%.*s of %.*s", PH_FMT(key), PH_FMT(t->name));
    return PH_FOUND;
}

PH_PLUGIN_TABLE(slow, PH_IS(.summary = "for a test", .exec = PH_BLOCKING, .concurrency = PH_ONE_CALL),
    .open = slow_open,
    .lookup = slow_lookup);
