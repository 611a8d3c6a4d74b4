/* glance: what a listing shows of the messages in a directory, read in the disk
 * pool, some at a time.  Nobody takes them into his hands for it: deliveries,
 * moves and removals go on meanwhile, and what is shown was so when it was read. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include <posthorn/disk.h>
#include <posthorn/task.h>
#include "core/queue/walk.h"

#define BYTES_MAX (256u << 10)         /* of envelopes at a time, for each half */

/* A chunk of names is read in two halves at once.  Scopes of their own: they are
 * used in pool threads. */
struct half {
    struct ph_walk *walk;
    struct ph_scope *mail, *brief;     /* what the glances look at; what is needed while reading */
    unsigned at, end;                  /* names left */
};

struct glances {
    struct ph_group *group;            /* of the second half's task; NULL outside tasks */
    uint32_t rcpts;                    /* read no more of one message */
    struct half half[2];
    struct ph_glance at[WALK_CHUNK];
};

static void glances_end(void *arg)
{
    struct glances *g = arg;

    for (int i = 0; i < 2; i++) {
        ph_scope_free(g->half[i].mail);
        ph_scope_free(g->half[i].brief);
    }
}

static struct glances *glances_of(struct ph_walk *w, uint32_t rcpts)
{
    if (!w->glances) {
        struct glances *g = w->glances = ph_new(w->scope, struct glances);

        for (int i = 0; i < 2; i++)
            g->half[i] = (struct half){ w, ph_scope_new(NULL), ph_scope_new(NULL), 0, 0 };
        ph_defer(w->scope, glances_end, g);
        g->group = ph_in_task() ? ph_group_new(w->scope) : NULL;       /* joined before those scopes end */
    }
    w->glances->rcpts = rcpts;
    return w->glances;
}

/* Bytes that were kept of it. */
static size_t read_mail(struct half *h, int fd, struct ph_glance *out)
{
    struct ph_loaded l;

    ph_scope_reset(h->brief);
    if ((out->rc = ph_record_load_upto(h->mail, h->brief, fd, h->walk->glances->rcpts, &out->message, &l)) != 0)
        return 0;
    out->expired = l.marks.p[PH_MARK_AT_EXPIRED] == 'E';
    if (!out->message.rcpt)
        out->rc = PH_FOUND;
    else
        ph_note_load(h->mail, fd, &l, &out->note);
    return (size_t)(l.record.total - l.record.envelope_offset);
}

/* In the disk pool. */
static int read_half(void *arg)
{
    struct half *h = arg;
    struct ph_walk *w = h->walk;
    size_t bytes = 0;

    ph_scope_reset(h->mail);
    for (; h->at < h->end && bytes < BYTES_MAX; h->at++) {
        struct found *f = &w->found[h->at];
        struct ph_glance *g = &w->glances->at[h->at];
        int fd = ph_queue_open_file(dirfd(w->dir), f->name, O_RDONLY | O_NONBLOCK);

        f->is_gone = fd < 0 && errno == ENOENT;
        g->rc = PH_TEMP;
        g->note = NULL;
        if (fd < 0)
            continue;
        bytes += read_mail(h, fd, g);
        close(fd);
    }
    return 0;
}

static void run_half(void *half)
{
    ph_disk(read_half, half);
}

static int look(void *arg)
{
    struct ph_walk *w = arg;
    struct glances *g = w->glances;
    struct half *first = &g->half[0], *second = &g->half[1];
    unsigned middle = w->looked + (w->count - w->looked + 1) / 2;
    int rc = 0, both;

    first->at = w->looked;
    first->end = second->at = middle;
    second->end = w->count;
    both = g->group && middle < w->count && ph_spawn(g->group, "glance", run_half, second) == 0;
    run_half(first);
    if (both)
        rc = ph_group_wait(g->group, PH_FOREVER);
    /* What the first had no room for is read again, with what is behind it. */
    w->looked = both && first->at == middle ? second->at : first->at;
    return rc;
}

int ph_walk_glance(struct ph_walk *w, uint32_t rcpts, const struct ph_glance **out)
{
    struct glances *g = glances_of(w, rcpts);
    const struct found *f;
    int rc = ph_walk_found(w, look, &f);

    if (rc == PH_FOUND) {
        g->at[f - w->found].id = g->at[f - w->found].message.queue_id = ph_cstr(f->name);
        *out = &g->at[f - w->found];
    }
    return rc;
}
