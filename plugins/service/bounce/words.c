/* words: the logs of many messages at once, for listings and deletions: one job of
 * the disk pool for all of them. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <posthorn/disk.h>
#include "bounce.h"

#define BYTES_MAX (256u << 10)     /* of logs read in one request */

struct words {
    int dir_fd;
    const char **path;
    size_t n;
    struct ph_scope *s;            /* ours alone: it is used in a pool thread */
    struct log_words *out;
    size_t done;
};

static void words_end(void *arg)
{
    struct words *w = arg;

    ph_scope_free(w->s);
}

/* In the disk pool.  A log that cannot be read has no words: a listing without them
 * is better than none. */
static int read_words(void *arg)
{
    struct words *w = arg;
    size_t bytes = 0;

    for (; w->done < w->n && bytes < BYTES_MAX; w->done++) {
        struct log_words *out = &w->out[w->done];
        struct ph_buf text;

        ph_buf_init(&text, NULL, LOG_MAX);
        if (log_slurp(w->dir_fd, w->path[w->done], &text) == 0 && text.n) {
            log_parse(w->s, ph_buf_view(&text), &out->list, &out->n);
            out->n = log_keep_last(out->list, out->n, w->s);
            bytes += text.n;
        }
        ph_buf_fini(&text);
    }
    return 0;
}

size_t log_read_many(struct bounce *b, struct ph_scope *s, ph_str kind, const ph_str *id, size_t n, struct log_words **out)
{
    struct words *w = ph_new(s, struct words);

    w->dir_fd = b->service->queue_dir_fd;
    w->n = n;
    w->path = ph_alloc_array(s, n, sizeof *w->path);
    w->out = ph_alloc_array(s, n, sizeof *w->out);
    w->s = ph_scope_new(NULL);
    ph_defer(s, words_end, w);
    for (size_t i = 0; i < n; i++)
        w->path[i] = log_path(b, s, kind, id[i]).p;
    ph_disk(read_words, w);
    *out = w->out;
    return w->done;
}

#define WORTH_A_LOOK 8u            /* looking into a directory costs as much as some removals */

struct removal {
    int dir_fd;
    const char **path;
    size_t n;
};

/* 1: nothing is in the directory `path` begins with, so far as can be seen. */
static int is_empty_dir(int dir_fd, const char *path, size_t n)
{
    char name[256];
    const struct dirent *e = NULL;

    if (n >= sizeof name)
        return 0;
    memcpy(name, path, n);
    name[n] = 0;
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);

    if (!d) {
        int empty = fd < 0 && errno == ENOENT;

        if (fd >= 0)
            close(fd);
        return empty;
    }
    do {
        errno = 0;
        e = readdir(d);
    } while (e && (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0));
    int empty = !e && errno == 0;

    closedir(d);
    return empty;
}

/* In the disk pool.  All of them are tried; the trouble is that of the last.  Those of a
 * batch mostly share their directory, and most directories but those of deferrals are
 * empty: then none is tried (nobody writes logs of messages that are being deleted). */
static int run_removal(void *arg)
{
    const struct removal *r = arg;
    const char *looked = "";
    size_t bytes = 0;
    int empty = 0, rc = 0;

    for (size_t i = 0; i < r->n; i++) {
        const char *path = r->path[i];
        size_t n = (size_t)(strrchr(path, '/') - path);

        if (r->n >= WORTH_A_LOOK && (n != bytes || memcmp(path, looked, n) != 0)) {
            empty = is_empty_dir(r->dir_fd, path, n);
            looked = path;
            bytes = n;
        }
        if (!empty && unlinkat(r->dir_fd, path, 0) < 0 && errno != ENOENT)
            rc = ph_fail_errno(PH_TEMP, errno, "remove %s", path);
    }
    return rc;
}

int log_remove_many(struct bounce *b, struct ph_scope *s, const ph_str *kind, size_t kinds, const ph_str *id, size_t n)
{
    struct removal r = { b->service->queue_dir_fd, ph_alloc_array(s, kinds * n, sizeof *r.path), 0 };

    for (size_t k = 0; k < kinds; k++)
        for (size_t i = 0; i < n; i++)
            r.path[r.n++] = log_path(b, s, kind[k], id[i]).p;
    return ph_disk(run_removal, &r);
}
