/* glance: what a listing shows of the messages in a directory, read in the disk
 * pool, some at a time.  Nobody takes them into his hands for it: deliveries,
 * moves and removals go on meanwhile, and what is shown was so when it was read. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include "core/queue/walk.h"

#define BYTES_MAX (256u << 10)         /* of envelopes at a time */

struct glances {
    struct ph_scope *mail, *brief;     /* what the glances look at; what is needed while reading */
    uint32_t rcpts;                    /* read no more of one message */
    struct ph_glance at[WALK_CHUNK];
};

static void glances_end(void *arg)
{
    struct glances *g = arg;

    ph_scope_free(g->mail);
    ph_scope_free(g->brief);
}

static struct glances *glances_of(struct ph_walk *w, uint32_t rcpts)
{
    if (!w->glances) {
        w->glances = ph_new(w->scope, struct glances);
        /* Used in pool threads: scopes of their own. */
        w->glances->mail = ph_scope_new(NULL);
        w->glances->brief = ph_scope_new(NULL);
        ph_defer(w->scope, glances_end, w->glances);
    }
    w->glances->rcpts = rcpts;
    return w->glances;
}

/* Bytes that were kept of it. */
static size_t read_mail(struct glances *g, int fd, struct ph_glance *out)
{
    struct ph_loaded l;

    ph_scope_reset(g->brief);
    if ((out->rc = ph_record_load_upto(g->mail, g->brief, fd, g->rcpts, &out->message, &l)) != 0)
        return 0;
    out->expired = l.marks.p[PH_MARK_AT_EXPIRED] == 'E';
    if (!out->message.rcpt)
        out->rc = PH_FOUND;
    return (size_t)(l.record.total - l.record.envelope_offset);
}

/* In the disk pool. */
static int read_glances(void *arg)
{
    struct ph_walk *w = arg;
    size_t bytes = 0;

    ph_scope_reset(w->glances->mail);
    for (; w->looked < w->count && bytes < BYTES_MAX; w->looked++) {
        struct found *f = &w->found[w->looked];
        struct ph_glance *g = &w->glances->at[w->looked];
        int fd = openat(dirfd(w->dir), f->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

        f->is_gone = fd < 0 && errno == ENOENT;
        g->rc = PH_TEMP;
        if (fd < 0)
            continue;
        bytes += read_mail(w->glances, fd, g);
        close(fd);
    }
    return 0;
}

int ph_walk_glance(struct ph_walk *w, uint32_t rcpts, const struct ph_glance **out)
{
    struct glances *g = glances_of(w, rcpts);
    const struct found *f;
    int rc = ph_walk_found(w, read_glances, &f);

    if (rc == PH_FOUND) {
        g->at[f - w->found].id = g->at[f - w->found].message.queue_id = ph_cstr(f->name);
        *out = &g->at[f - w->found];
    }
    return rc;
}
