/* pickup: the service.  A pass reads maildrop from one end to the other; a word
 * that comes during a pass means one more pass, since the new file may be behind
 * it.  Words: the master's wake-up, and postdrop connecting to our socket. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <posthorn/disk.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include <posthorn/service.h>
#include <posthorn/task.h>
#include "pickup.h"

#define STALE_SECONDS 86400            /* a half-written file this old has no writer */

static const struct ph_param rows[] = {
    PH_P_STR1(struct pickup_params, myhostname, "myhostname", "", "The name of this host, in Received:."),
    PH_P_STR1(struct pickup_params, mail_name, "mail_name", "Posthorn", "The name of the mail system, in Received:."),
    PH_P_STR(struct pickup_params, overrides, "receive_override_options", "", "What is left out for this service: no_address_mappings, no_header_body_checks, no_milters."),
};

/* Reading the directory, in the disk pool. */
struct listing {
    int directory;
    DIR *at;
    char (*names)[NAME_BYTES];
    size_t count;
    int too_long;                      /* names that cannot be ours */
};

/* postdrop that was killed leaves its half file behind. */
static void remove_stale(int directory, const char *name)
{
    struct stat st;

    if (fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
        st.st_mtime < time(NULL) - STALE_SECONDS)
        unlinkat(directory, name, 0);
}

static int open_listing(struct listing *l)
{
    int fd = openat(l->directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return ph_fail_errno(PH_TEMP, errno, "open maildrop");
    if (!(l->at = fdopendir(fd))) {
        int err = errno;

        close(fd);
        return ph_fail_errno(PH_TEMP, err, "read maildrop");
    }
    return 0;
}

static int read_names(void *arg)
{
    struct listing *l = arg;
    const struct dirent *d;
    int rc;

    l->count = 0;
    if (!l->at && (rc = open_listing(l)) < 0)
        return rc;
    while (l->count < BATCH && (errno = 0, d = readdir(l->at))) {
        size_t n = strlen(d->d_name);

        if (!strncmp(d->d_name, ".bad-", 5) || !strcmp(d->d_name, ".") || !strcmp(d->d_name, ".."))
            continue;
        if (d->d_name[0] == '.')
            remove_stale(l->directory, d->d_name);
        else if (n >= NAME_BYTES)
            l->too_long++;
        else
            memcpy(l->names[l->count++], d->d_name, n + 1);
    }
    return l->count < BATCH && errno ? ph_fail_errno(PH_TEMP, errno, "read maildrop") : 0;
}

static void end_listing(void *arg)
{
    struct listing *l = arg;

    if (l->at)
        closedir(l->at);
}

/* Some tasks share the names of one batch. */
struct batch {
    struct pickup *k;
    const struct listing *l;
    size_t next;
    int rc;                            /* the worst answer */
};

static void work(void *arg)
{
    struct batch *b = arg;
    PH_SCOPED(connection, NULL);
    PH_SCOPED(step, NULL);
    struct feed feed = { .scope = connection };

    while (b->next < b->l->count && !b->k->stop && !ph_cancelled()) {
        int rc = pickup_file(b->k, &feed, step, b->l->names[b->next++]);

        if (rc < 0)
            b->rc = rc;
        if (rc == PH_TEMP && !b->k->stop) {
            /* Said once a pass: the rest of maildrop would say the same. */
            b->k->stop = 1;
            ph_log_warn("maildrop waits: %s", ph_error());
        }
        ph_scope_reset(step);
    }
}

static int do_batch(struct pickup *k, const struct listing *l)
{
    struct batch b = { .k = k, .l = l };
    PH_SCOPED(scope, NULL);
    struct ph_group *g = ph_group_new(scope);
    int rc = 0;

    for (size_t i = 0; i < AT_ONCE && i < l->count && rc == 0; i++)
        rc = ph_spawn(g, "pickup", work, &b);
    if (ph_group_count(g) == 0)
        return rc;
    rc = ph_group_wait(g, PH_FOREVER);
    return rc < 0 ? rc : b.rc;
}

static int one_pass(struct pickup *k)
{
    PH_SCOPED(scope, NULL);
    struct listing l = { .directory = k->maildrop };
    int rc;

    l.names = ph_alloc_array(scope, BATCH, NAME_BYTES);
    ph_defer(scope, end_listing, &l);
    k->stop = 0;
    do {
        if ((rc = ph_disk(read_names, &l)) < 0 || (rc = do_batch(k, &l)) < 0)
            return rc;
    } while (l.count == BATCH && !k->stop);
    if (l.too_long)
        ph_log_warn("maildrop holds %d files that are not ours (long names)", l.too_long);
    return 0;
}

/* Never two passes at once: both would take the same files. */
static int look(struct pickup *k)
{
    int rc = 0;

    k->again = 1;
    if (k->running)
        return 0;
    k->running = 1;
    while (k->again && rc >= 0) {
        k->again = 0;
        k->stop = 0;
        if ((rc = one_pass(k)) < 0 && rc != PH_CANCEL && !k->stop)
            ph_log_warn("maildrop: %s", ph_error());   /* what stopped a pass was said */
    }
    k->running = 0;
    return rc == PH_CANCEL ? rc : 0;
}

static int32_t pickup_open(struct ph_service *v)
{
    struct pickup *k = ph_new(v->scope, struct pickup);
    int rc = ph_params_load(v->conf, v->scope, rows, sizeof rows / sizeof *rows, sizeof *rows, &k->p);

    int unknown;

    if (rc < 0 || (rc = ph_receive_overrides(k->p.overrides, &k->cleanup_flags, &unknown)) < 0)
        return rc;
    k->maildrop = openat(v->queue_dir_fd, "maildrop", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (k->maildrop < 0)
        return ph_fail_errno(PH_CONF, errno, "open directory maildrop");
    ph_defer_close(v->scope, k->maildrop);
    /* Where it may not be used (the directory is qmgr's), bad files stay in
     * maildrop under another name. */
    k->corrupt = openat(v->queue_dir_fd, "corrupt", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (k->corrupt >= 0)
        ph_defer_close(v->scope, k->corrupt);
    k->taken = ph_map_new(v->scope);
    v->self = k;
    return 0;
}

static int32_t pickup_wakeup(struct ph_service *v)
{
    return look(v->self);
}

/* postdrop has made a file: connecting says it all. */
static int32_t pickup_serve(struct ph_service *v, struct ph_scope *session PH_UNUSED, struct ph_stream *io,
                            const struct ph_peer *peer PH_UNUSED)
{
    ph_stream_close(io);
    return look(v->self);
}

PH_PLUGIN_SERVICE(pickup,
    PH_IS(.summary = "takes submitted mail from maildrop into the queue",
          .exec = PH_COROUTINE, .params = rows, .param_count = sizeof rows / sizeof *rows),
    .needs = "maildrop",
    .uses = "cleanup",
    .open = pickup_open,
    .serve = pickup_serve,
    .wakeup = pickup_wakeup);
