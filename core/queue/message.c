/* A message from its file: record, envelope and recipients are read at once,
 * content when it is asked for.  Agents, bounce, pickup and commands come here;
 * the store loads through the same code. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/disk.h>
#include <posthorn/log.h>
#include "core/base/crc32c.h"
#include "core/queue/queue.h"
#include "core/queue/record.h"

#define HEAD_BYTES  (16u << 10)    /* read at once: an ordinary message whole */
#define IN_PLACE    (64u << 10)    /* larger reads go to the disk pool */
#define CHECK_BYTES (64u << 10)

/* What ph_message.host points at: the bytes read when it was opened.  They are a
 * copy: a slot may be written again only after its reader's lock is gone. */
struct head {
    const char *p;
    size_t n;
};

static int64_t read_some(int fd, void *p, size_t n, uint64_t offset)
{
    size_t done = 0;
    ssize_t got;

    if (n > IN_PLACE)
        return ph_pread_all(fd, p, n, (int64_t)offset);
    while (done < n) {
        if ((got = pread(fd, (char *)p + done, n - done, (off_t)(offset + done))) == 0)
            break;
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return ph_fail_errno(PH_TEMP, errno, "read");
        done += (size_t)got;
    }
    return (int64_t)done;
}

/* n bytes at offset: from the bytes already read when they hold them (copied
 * when those end sooner), else in one more read. */
static int read_part(struct ph_scope *s, int copy, int fd, const struct ph_loaded *l, uint64_t offset, size_t n,
                     ph_str *part)
{
    int64_t got;
    char *p;

    if (offset + n <= l->head_bytes) {
        *part = (ph_str){ l->head + offset, n };
        if (copy)
            *part = ph_str_dup(s, *part);
        return 0;
    }
    p = ph_alloc(s, n);
    if ((got = read_some(fd, p, n, offset)) < 0)
        return (int)got;
    if ((uint64_t)got < n)
        return ph_fail(PH_PERM, "the file is shorter than its record says");
    *part = (ph_str){ p, n };
    return 0;
}

static int load_all(struct ph_scope *s, int copy, int fd, struct ph_message *m, struct ph_loaded *l)
{
    const struct ph_record *r = &l->record;
    ph_str tail, envelope, rcpts;
    int rc = read_part(s, copy, fd, l, r->envelope_offset, (size_t)(r->total - r->envelope_offset), &tail);

    if (rc < 0)
        return rc;
    envelope = ph_str_first(tail, (size_t)r->envelope_bytes);
    rcpts = ph_str_first(ph_str_from(tail, envelope.n), (size_t)r->rcpt_bytes);
    l->marks = ph_str_from(tail, envelope.n + rcpts.n);
    return ph_record_parse(s, r, envelope, rcpts, l->marks, m, &l->skipped);
}

static int load_envelope(struct ph_scope *s, int copy, int fd, struct ph_message *m, struct ph_loaded *l)
{
    const struct ph_record *r = &l->record;
    ph_str envelope;
    int rc = read_part(s, copy, fd, l, r->envelope_offset, (size_t)r->envelope_bytes, &envelope);

    if (rc < 0 || (rc = read_part(s, copy, fd, l, r->marks_offset, (size_t)(r->total - r->marks_offset), &l->marks)) < 0)
        return rc;
    return ph_record_parse_envelope(s, r, envelope, l->marks, m, &l->skipped);
}

int ph_record_load_upto(struct ph_scope *s, struct ph_scope *brief, int fd, uint32_t max, struct ph_message *m,
                        struct ph_loaded *l)
{
    char *head = ph_alloc(brief, HEAD_BYTES);
    struct stat st;
    int64_t got;
    int rc;

    if (fstat(fd, &st) < 0)
        return ph_fail_errno(PH_TEMP, errno, "fstat");
    /* No more than there is: a read that meets the end would be followed by another. */
    if ((got = read_some(fd, head, st.st_size < (off_t)HEAD_BYTES ? (size_t)st.st_size : HEAD_BYTES, 0)) < 0)
        return (int)got;
    l->head = head;
    l->head_bytes = (size_t)got;
    l->file_bytes = (uint64_t)st.st_size;
    l->skipped = 0;
    if ((rc = ph_record_decode(head, l->head_bytes, (uint64_t)st.st_size, &l->record)) != 0)
        return rc;
    return l->record.rcpt_count <= max ? load_all(s, s != brief, fd, m, l) : load_envelope(s, s != brief, fd, m, l);
}

int ph_record_load(struct ph_scope *s, struct ph_scope *brief, int fd, struct ph_message *m,
                   struct ph_loaded *l)
{
    return ph_record_load_upto(s, brief, fd, UINT32_MAX, m, l);
}

int ph_record_verify(int fd, const struct ph_record *r)
{
    PH_SCOPED(s, NULL);
    char *chunk = ph_alloc(s, CHECK_BYTES);
    uint64_t at = PH_RECORD_BYTES;
    uint32_t crc = 0;

    while (at < r->marks_offset) {
        size_t want = r->marks_offset - at < CHECK_BYTES ? (size_t)(r->marks_offset - at) : CHECK_BYTES;
        int64_t got = ph_pread_all(fd, chunk, want, (int64_t)at);

        if (got < 0)
            return (int)got;
        if (got == 0)
            return ph_fail(PH_PERM, "the file is shorter than its record says");
        crc = ph_crc32c(crc, chunk, (size_t)got);
        at += (uint64_t)got;
    }
    if (ph_record_checksum(crc, r) != r->crc)
        return ph_fail(PH_PERM, "checksum mismatch");
    return 0;
}

struct check {
    int fd;
    const struct ph_record *record;
};

static int run_check(void *arg)
{
    const struct check *c = arg;

    return ph_record_verify(c->fd, c->record);
}

int ph_record_check(int fd, const struct ph_record *r)
{
    struct check c = { fd, r };

    return ph_disk(run_check, &c);
}

static int open_message(struct ph_scope *s, int fd, ph_str id, int check, struct ph_message **out,
                        uint32_t *marks)
{
    struct ph_message *m = ph_new(s, struct ph_message);
    struct head *h = ph_new(s, struct head);
    struct ph_loaded l;
    int rc = ph_record_load(s, s, fd, m, &l);

    if (rc == 0 && check)
        rc = ph_record_check(fd, &l.record);
    if (rc == PH_NONE)
        return ph_fail(PH_PERM, "not a message file");
    if (rc < 0)
        return rc;
    if (l.skipped > 0)
        ph_log_warn("%s: %u unknown records in the message file skipped", l.record.id, l.skipped);
    h->p = l.head;
    h->n = l.head_bytes;
    m->host = h;
    m->fd = fd;
    if (id.n > 0)
        m->queue_id = ph_str_dup(s, id);
    if (marks)
        *marks = (m->warned ? PH_MARK_WARNED : 0) |
                 (l.marks.p[PH_MARK_AT_EXPIRED] == 'E' ? PH_MARK_EXPIRED : 0) |
                 (l.record.flags & PH_RECORD_HOLD ? PH_MARK_HOLD : 0);
    *out = m;
    return 0;
}

int ph_message_open(struct ph_scope *s, int fd, ph_str id, struct ph_message **m)
{
    return open_message(s, fd, id, 0, m, NULL);
}

int ph_message_verify(struct ph_scope *s, int fd, ph_str id, struct ph_message **m, uint32_t *marks)
{
    return open_message(s, fd, id, 1, m, marks);
}

uint32_t ph_trace_flags(ph_str words)
{
    static const struct { const char *word; uint32_t flag; } known[] = {
        { "verify", PH_TRACE_VERIFY }, { "record", PH_TRACE_RECORD }, { "probe", PH_TRACE_PROBE },
    };
    uint32_t flags = 0;

    for (ph_str w; (w = ph_str_list(&words)).n; )
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            if (ph_str_eq(w, ph_cstr(known[i].word)))
                flags |= known[i].flag;
    return flags;
}

uint64_t ph_message_bytes(const struct ph_message *m)
{
    return m->header_bytes + 2 + m->body_bytes;
}

int64_t ph_message_read(const struct ph_message *m, uint64_t offset, void *p, size_t n)
{
    uint64_t all = ph_message_bytes(m), at = m->header_offset + offset;
    const struct head *h = m->host;
    int64_t got;

    if (offset >= all || n == 0)
        return 0;
    if (n > all - offset)
        n = (size_t)(all - offset);
    if (h && at < h->n) {
        if (n > h->n - at)
            n = (size_t)(h->n - at);
        memcpy(p, h->p + at, n);
        return (int64_t)n;
    }
    if ((got = read_some(m->fd, p, n, at)) == 0)
        return ph_fail(PH_TEMP, "%.*s: the message file is cut short", PH_FMT(m->queue_id));
    return got;
}
