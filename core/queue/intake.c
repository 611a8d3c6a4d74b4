/* Writing a new message: see posthorn/intake.h.
 *
 * A small message stays in memory until commit and costs one write and one
 * sync.  A larger one goes to its slot as it comes; before the first of it the
 * old record is wiped, so what stands there meanwhile is no message, and the
 * record goes last. */
#include <stdlib.h>
#include <string.h>
#include <posthorn/disk.h>
#include <posthorn/intake.h>
#include "core/base/crc32c.h"
#include "core/queue/facts.h"
#include "core/queue/hub.h"

#define PIECE   (128u << 10)       /* content kept in memory: each trip to the disk pool costs two wake-ups */
#define ORDINARY 8000u             /* of it, asked for at once: most messages grow to that */

/* What an unfinished slot shows instead of a record. */
static const char wipe[PH_RECORD_BYTES];

struct ph_intake {
    struct ph_lease *lease;            /* NULL: ended */
    struct ph_record record;
    struct ph_buf content, envelope, rcpts;
    uint64_t written;                  /* content bytes in the file already */
    uint32_t crc;                      /* of the content so far */
    uint64_t limit;                    /* of content, 0: none */
    struct ph_facts facts;
    uint32_t told_facts, attrs;
    int in_body, failed, has_sender;
};

static void intake_end(void *arg)
{
    struct ph_intake *q = arg;

    if (q->lease && (q->failed || q->written > PH_SLOT_MAX))
        ph_lease_spoil(q->lease);
    else if (q->lease)
        ph_lease_return(q->lease);
    ph_buf_fini(&q->content);
    ph_buf_fini(&q->envelope);
    ph_buf_fini(&q->rcpts);
}

int ph_intake_begin(struct ph_scope *s, uint32_t who, struct ph_intake **out)
{
    struct ph_intake *q = ph_new(s, struct ph_intake);
    struct ph_lease *l;
    int rc = ph_hub_take(who, &l);

    if (rc < 0)
        return rc;
    q->lease = l;
    q->limit = ph_hub_settings(l)->size_limit;
    q->record.version = PH_RECORD_VERSION;
    q->record.inode = l->inode;
    q->record.arrival_us = ph_wall_us();
    ph_id_format(q->record.id, q->record.arrival_us, l->inode, ph_hub_settings(l)->long_ids);
    ph_buf_init(&q->content, NULL, PIECE + 4);
    ph_buf_init(&q->envelope, NULL, PH_ENVELOPE_MAX);
    ph_buf_init(&q->rcpts, NULL, PH_RCPTS_BYTES);
    ph_defer(s, intake_end, q);
    *out = q;
    return 0;
}

ph_str ph_intake_id(const struct ph_intake *q)
{
    return ph_cstr(q->record.id);
}

uint64_t ph_intake_bytes(const struct ph_intake *q)
{
    return q->written + q->content.n;
}

/* Nothing may be done with it any more but end it. */
static int spoil(struct ph_intake *q, int rc)
{
    q->failed = 1;
    return ph_wrap(rc, "queue file %s", q->record.id);
}

/* Content in memory to the file.  The first time the old record is wiped with
 * it: a slot that is given up later must not show its last message. */
static int spill(struct ph_intake *q)
{
    struct iovec v[2] = { { (void *)(uintptr_t)wipe, sizeof wipe }, { q->content.p, q->content.n } };
    int first = q->written == 0;
    int rc = ph_pwritev_all(q->lease->fd, first ? v : v + 1, first ? 2 : 1,
                            first ? 0 : (int64_t)(PH_RECORD_BYTES + q->written));

    if (rc < 0)
        return spoil(q, rc);
    q->written += q->content.n;
    ph_buf_reset(&q->content);
    return 0;
}

static int append(struct ph_intake *q, ph_str bytes)
{
    int rc;

    if (q->content.cap == 0)
        ph_buf_room(&q->content, ORDINARY);
    while (bytes.n > 0) {
        ph_str part = ph_str_first(bytes, PIECE - q->content.n);

        ph_buf_str(&q->content, part);
        q->crc = ph_crc32c(q->crc, part.p, part.n);    /* while it is at hand */
        bytes = ph_str_from(bytes, part.n);
        if (q->content.n == PIECE && (rc = spill(q)) < 0)
            return rc;
    }
    return 0;
}

/* Whether n more bytes may come: 0, PH_TEMP, PH_PERM. */
static int check_room(struct ph_intake *q, size_t n)
{
    uint64_t have = ph_intake_bytes(q);

    if (q->failed)
        return ph_fail(PH_TEMP, "queue file %s: failed before", q->record.id);
    if ((q->limit > 0 && (n > q->limit || have > q->limit - n)) || n > PH_CONTENT_MAX - have) {
        q->failed = 1;
        return ph_fail(PH_PERM, "message size exceeds the limit");
    }
    return 0;
}

int ph_intake_write(struct ph_intake *q, ph_str bytes)
{
    int rc = check_room(q, bytes.n);

    if (rc < 0)
        return rc;
    ph_facts_scan(&q->facts, bytes);
    return append(q, bytes);
}

int ph_intake_write_plain(struct ph_intake *q, ph_str bytes)
{
    const uint32_t strays = PH_FACT_BARE_CR | PH_FACT_BARE_LF;
    struct ph_facts f = q->facts;
    int rc = check_room(q, bytes.n);

    if (rc < 0)
        return rc;
    f.bits &= ~strays;
    ph_facts_scan(&f, bytes);
    if (f.cr || f.bits & strays)
        return PH_NONE;
    f.bits |= q->facts.bits;
    q->facts = f;
    return append(q, bytes);
}

int ph_intake_body(struct ph_intake *q)
{
    int rc;

    if (q->in_body)
        return 0;
    /* A last header line without an end gets one. */
    if (!ph_facts_at_line_start(&q->facts) && (rc = ph_intake_write(q, PH_STR("\r\n"))) < 0)
        return rc;
    if (q->written == 0 && q->facts.bits & PH_FACT_8BIT && ph_str_is_utf8(ph_buf_view(&q->content)))
        q->told_facts |= PH_FACT_UTF8_HEADER;
    q->record.header_bytes = ph_intake_bytes(q);
    q->in_body = 1;
    return append(q, PH_STR("\r\n"));
}

void ph_intake_sender(struct ph_intake *q, ph_str internal)
{
    if (!q->has_sender)
        q->has_sender = ph_record_put_attr(&q->envelope, "sender", internal) == 0 ? 1 : -1;
}

typedef int put_rcpt_fn(struct ph_buf *b, ph_str address, ph_str original, ph_str orcpt, ph_str notify);

static int add_rcpt(struct ph_intake *q, put_rcpt_fn *put, ph_str address, ph_str original, ph_str dsn_orcpt, ph_str dsn_notify)
{
    int rc;

    if (q->record.rcpt_count >= PH_RCPTS_MAX)
        return ph_fail(PH_PERM, "too many recipients");
    if ((rc = put(&q->rcpts, address, original, dsn_orcpt, dsn_notify)) == 0)
        q->record.rcpt_count++;
    return rc;
}

int ph_intake_recipient(struct ph_intake *q, ph_str address, ph_str original, ph_str dsn_orcpt, ph_str dsn_notify)
{
    return add_rcpt(q, ph_record_put_rcpt, address, original, dsn_orcpt, dsn_notify);
}

int ph_intake_expanded(struct ph_intake *q, ph_str address, ph_str original, ph_str dsn_orcpt, ph_str dsn_notify)
{
    return add_rcpt(q, ph_record_put_expanded, address, original, dsn_orcpt, dsn_notify);
}

void ph_intake_forget_recipients(struct ph_intake *q)
{
    ph_buf_reset(&q->rcpts);
    q->record.rcpt_count = 0;
}

uint32_t ph_intake_recipients(const struct ph_intake *q)
{
    return q->record.rcpt_count;
}

int ph_intake_attr(struct ph_intake *q, const char *name, ph_str value)
{
    if (++q->attrs >= PH_ATTRS_MAX)
        return ph_fail(PH_PERM, "too many attributes");
    return value.n ? ph_record_put_attr(&q->envelope, name, value) : 0;
}

void ph_intake_facts(struct ph_intake *q, uint32_t facts)
{
    q->told_facts |= facts;
}

void ph_intake_hold(struct ph_intake *q)
{
    q->record.flags |= PH_RECORD_HOLD;
}

/* Lengths, facts and checksum of what is there now. */
static void seal(struct ph_intake *q, unsigned char out[PH_RECORD_BYTES])
{
    struct ph_record *r = &q->record;
    uint32_t crc;

    r->facts = q->facts.bits | q->told_facts;
    r->longest_line = q->facts.longest;
    r->body_bytes = ph_intake_bytes(q) - r->header_bytes - 2;
    r->envelope_bytes = q->envelope.n;
    r->rcpt_bytes = q->rcpts.n;
    ph_record_layout(r);
    crc = ph_crc32c(q->crc, q->envelope.p, q->envelope.n);
    crc = ph_crc32c(crc, q->rcpts.p, q->rcpts.n);
    r->crc = ph_record_checksum(crc, r);
    ph_record_encode(r, out);
}

static char *fresh_marks(uint32_t rcpts)
{
    char *marks = calloc(1, PH_MARKS_HEAD + (size_t)rcpts);

    if (!marks)
        ph_die("out of memory");
    memset(marks + PH_MARKS_HEAD, PH_STATE_PENDING, rcpts);
    return marks;
}

/* The writes of a commit.  With everything in memory it is one, record first in
 * the file but valid only with all that follows; else the record goes last. */
static int put_to_disk(struct ph_intake *q, unsigned char record[PH_RECORD_BYTES])
{
    char *marks = fresh_marks(q->record.rcpt_count);
    struct iovec v[5] = {
        { record, PH_RECORD_BYTES },
        { q->content.p, q->content.n }, { q->envelope.p, q->envelope.n }, { q->rcpts.p, q->rcpts.n },
        { marks, PH_MARKS_HEAD + q->record.rcpt_count },
    };
    int rc;

    if (q->written == 0) {
        rc = ph_pwritev_sync(q->lease->fd, v, 5, 0);
    } else if ((rc = ph_pwritev_all(q->lease->fd, v + 1, 4, (int64_t)(PH_RECORD_BYTES + q->written))) == 0) {
        rc = ph_pwritev_sync(q->lease->fd, v, 1, 0);
    }
    free(marks);
    if (rc < 0) {
        /* Written and not synced it would read as complete, and be delivered
         * although the client heard 4xx.  The error of the commit is the one told. */
        PH_SCOPED(s, NULL);
        ph_str why = ph_str_dup(s, ph_cstr(ph_error()));
        struct iovec none = { (void *)(uintptr_t)wipe, sizeof wipe };

        ph_pwritev_all(q->lease->fd, &none, 1, 0);
        return ph_fail(rc, "%s", why.p);
    }
    return 0;
}

static int finish_content(struct ph_intake *q)
{
    int rc = ph_intake_body(q);

    if (rc < 0 || ph_facts_at_line_start(&q->facts))
        return rc;
    q->told_facts |= PH_FACT_NO_FINAL_EOL;
    ph_facts_scan(&q->facts, PH_STR("\r\n"));
    return append(q, PH_STR("\r\n"));
}

int ph_intake_commit(struct ph_intake *q)
{
    unsigned char record[PH_RECORD_BYTES];
    struct ph_lease *l = q->lease;
    int rc;

    if (q->failed || q->has_sender < 0 || q->record.rcpt_count == 0)
        return spoil(q, ph_fail(PH_TEMP, "not complete"));
    ph_intake_sender(q, PH_STR(""));
    if ((rc = finish_content(q)) < 0)
        return rc;
    if (!ph_lease_is_good(l))
        return spoil(q, ph_fail(PH_TEMP, "the queue manager was restarted"));
    seal(q, record);
    ph_lease_commit_begin(l);
    if ((rc = put_to_disk(q, record)) < 0)
        return spoil(q, rc);
    /* From here on the mail is ours; qmgr would find it anyway. */
    q->lease = NULL;
    ph_lease_commit_end(l, (ph_str){ (const char *)record, sizeof record }, ph_buf_view(&q->envelope),
                        ph_buf_view(&q->rcpts));
    return 0;
}
