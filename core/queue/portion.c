/* portion: the recipients of a message, some at a time, so that a message of a
 * million costs one byte for each (its state) and what is worked on.
 *
 * Recipients stand in the file one behind the other (record.h), so a reader goes
 * from one cursor to the next.  Those that are done are passed over. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include <posthorn/disk.h>
#include <posthorn/error.h>
#include "core/queue/record.h"
#include "core/queue/store.h"

#define CHUNK_BYTES (32u << 10)    /* hundreds of ordinary recipients */
#define LARGE_BYTES (320u << 10)   /* any one recipient, with items that we do not know */
#define SPAN        4u             /* numbers that a portion may span for each recipient in it */

struct ph_portion *ph_portion_new(struct ph_qmsg *m, struct ph_scope *s, struct ph_message_rcpt *rcpt, uint32_t first,
                                  uint32_t n)
{
    struct ph_portion *p = ph_new(s, struct ph_portion);

    *p = (struct ph_portion){ .first = first, .n = n, .users = 1, .rcpt = rcpt, .scope = s };
    ph_list_unshift(&m->portions, &p->node);
    return p;
}

void ph_portion_drop(struct ph_portion *p, uint32_t n)
{
    ph_assert(p->users >= n);
    if (p->users -= n)
        return;
    ph_list_remove(&p->node);
    ph_scope_free(p->scope);
}

/* What is asked for once is asked for again: it moves to the front. */
struct ph_portion *ph_qmsg_portion(struct ph_qmsg *m, uint32_t i)
{
    for (struct ph_list *n = m->portions.next; n != &m->portions; n = n->next) {
        struct ph_portion *p = ph_list_of(n, struct ph_portion, node);

        if (i >= p->first && i - p->first < p->n) {
            ph_list_remove(n);
            ph_list_unshift(&m->portions, n);
            return p;
        }
    }
    return NULL;
}

struct ph_message_rcpt *ph_qmsg_rcpt(struct ph_qmsg *m, uint32_t i)
{
    struct ph_portion *p = ph_qmsg_portion(m, i);

    ph_assert(p);
    return &p->rcpt[i - p->first];
}

/* ---- reading ---- */

/* A walk through the recipients' section in chunks. */
struct walk {
    struct ph_qmsg *m;
    int fd;                        /* our own: that of m may be closed for others while we wait */
    struct ph_rcpt_cursor at;
    struct ph_scope *s;            /* of the chunk */
    ph_str rest;
    uint32_t skipped;
};

static int read_chunk(struct walk *w, size_t bytes)
{
    struct ph_qmsg *m = w->m;
    uint64_t left = m->rcpt_bytes - w->at.offset;
    int64_t got;

    if (bytes > left)
        bytes = (size_t)left;
    ph_scope_reset(w->s);
    char *p = ph_alloc(w->s, bytes + 1);

    if ((got = ph_pread_all(w->fd, p, bytes, (int64_t)(m->rcpt_offset + w->at.offset))) < 0)
        return ph_wrap((int)got, "%s", m->id);
    if ((size_t)got < bytes)
        return ph_fail(PH_PERM, "the file is shorter than its record says");
    w->rest = (ph_str){ p, bytes };
    return 0;
}

/* The next recipient, views into the chunk. */
static int next(struct walk *w, struct ph_message_rcpt *r)
{
    static const size_t sizes[] = { 0, CHUNK_BYTES, LARGE_BYTES };
    int rc = PH_PERM;

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes && rc == PH_PERM; i++) {
        if (sizes[i] && (rc = read_chunk(w, sizes[i])) < 0)
            return rc;
        ph_str rest = w->rest;
        uint32_t skipped = 0;

        *r = (struct ph_message_rcpt){ .address = { NULL, 0 } };
        if ((rc = ph_record_next_rcpt(&rest, r, &skipped)) == 0) {
            w->at.offset += w->rest.n - rest.n;
            w->at.index++;
            w->rest = rest;
        }
    }
    return rc;
}

static void copy(struct ph_scope *s, struct ph_message_rcpt *to, const struct ph_message_rcpt *from)
{
    to->address = ph_str_dup(s, from->address);
    to->expanded = from->expanded;
    if (from->original.n)
        to->original = ph_str_dup(s, from->original);
    if (from->dsn_orcpt.n)
        to->dsn_orcpt = ph_str_dup(s, from->dsn_orcpt);
    if (from->dsn_notify.n)
        to->dsn_notify = ph_str_dup(s, from->dsn_notify);
}

/* Something is still to be done or said about it. */
static int is_open(const struct ph_qmsg *m, uint32_t i)
{
    return ph_qmsg_state(m, i) == PH_STATE_PENDING || ph_qmsg_state(m, i) == PH_STATE_FAILED;
}

/* Numbers from `first` on that hold up to max open ones. */
static uint32_t span_of(const struct ph_qmsg *m, uint32_t first, uint32_t max)
{
    uint32_t i = first, found = 0;
    uint64_t end = first + (uint64_t)max * SPAN;

    for (; i < m->rcpt_count && i < end && found < max; i++)
        found += is_open(m, i) ? 1u : 0u;
    return i - first;
}

/* Pass over what is done; then its number is at w->at.index. */
static int find_open(struct walk *w)
{
    struct ph_message_rcpt r;
    int rc = 0;

    while (rc == 0 && w->at.index < w->m->rcpt_count && !is_open(w->m, w->at.index))
        rc = next(w, &r);
    return rc < 0 ? rc : w->at.index < w->m->rcpt_count ? 0 : PH_NONE;
}

/* Nobody but the end of the list may be at its last byte. */
static int check_end(const struct walk *w)
{
    if ((w->at.index == w->m->rcpt_count) == (w->at.offset == w->m->rcpt_bytes))
        return 0;
    return ph_fail(PH_PERM, "the record does not count the recipients that there are");
}

static int fill(struct walk *w, struct ph_scope *s, struct ph_message_rcpt *list, uint32_t n)
{
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < n; i++) {
        int wanted = is_open(w->m, w->at.index);
        struct ph_message_rcpt r;

        if ((rc = next(w, &r)) == 0 && wanted)
            copy(s, &list[i], &r);
    }
    return rc < 0 ? rc : check_end(w);
}

static int read_portion(struct walk *w, uint32_t max, struct ph_portion **p)
{
    int rc = find_open(w);

    if (rc != 0)
        return rc;
    uint32_t first = w->at.index, n = span_of(w->m, first, max ? max : 1);
    struct ph_scope *s = ph_scope_new(NULL);
    struct ph_message_rcpt *list = ph_alloc_array(s, n, sizeof *list);

    if ((rc = fill(w, s, list, n)) < 0) {
        ph_scope_free(s);
        return rc;
    }
    *p = ph_portion_new(w->m, s, list, first, n);
    return 0;
}

/* Read whole when it was loaded: the one portion of all. */
static int whole_portion(struct ph_qmsg *m, struct ph_rcpt_cursor *at, struct ph_portion **p)
{
    if (at->index >= m->rcpt_count)
        return PH_NONE;
    *p = ph_qmsg_portion(m, at->index);
    (*p)->users++;
    at->index = (*p)->first + (*p)->n;
    return 0;
}

int ph_queue_portion(struct ph_queue *q PH_UNUSED, struct ph_qmsg *m, struct ph_rcpt_cursor *at, uint32_t max,
                     struct ph_portion **p)
{
    PH_SCOPED(s, NULL);
    struct walk w = { .m = m, .at = *at, .s = s };
    int rc;

    ph_assert(m->loaded);
    if (m->whole)
        return whole_portion(m, at, p);
    if ((rc = ph_qmsg_fd(m)) != 0)
        return rc < 0 ? rc : ph_fail(PH_TEMP, "%s: the message file is gone", m->id);
    if ((w.fd = fcntl(m->fd, F_DUPFD_CLOEXEC, 0)) < 0)
        return ph_fail_errno(PH_TEMP, errno, "%s: read recipients", m->id);
    if ((rc = read_portion(&w, max, p)) == 0 || rc == PH_NONE)
        *at = w.at;
    close(w.fd);
    return rc;
}
