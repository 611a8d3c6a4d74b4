/* What lies in the queue's directories: message files, files of maildrop, bounce
 * logs.  First byte: which (see modes).
 *
 *   0  a message file as it is
 *   1  a good one, changed: a digit for recipients, one for what is done about
 *      the checksum (see enum crc), one for the number of changes, each two bytes of
 *      offset and one of value; the rest is its text
 *   2  a file of maildrop; the digit behind it says how it is read: in pieces of so many bytes
 *   3  a bounce log as it is
 *   4  records that are written and torn: each up to a byte 1; its fields end with a
 *      byte 2; its first byte says how much of its end is missing */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <posthorn/error.h>
#include <posthorn/maildrop.h>
#include "core/base/crc32c.h"
#include "core/queue/queue.h"
#include "core/queue/record.h"
#include "core/run/log.h"
#include "plugins/service/bounce/bounce.h"
#include "message_file.h"

/* ---- the format, read a second time: only what the description in record.h says ---- */

static uint64_t number(const unsigned char *p, int bytes)
{
    uint64_t v = 0;

    while (bytes--)
        v = v << 8 | p[bytes];
    return v;
}

static uint32_t crc_slowly(uint32_t crc, const unsigned char *p, size_t n)
{
    crc = ~crc;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int k = 0; k < 8; k++)
            crc = crc & 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
    }
    return ~crc;
}

enum { AT_CRC = 16, AT_RCPTS = 28, AT_MARKS = 96, AT_TOTAL = 104 };

/* The checksum that the file's bytes have; 0 when its extents are not in it. */
static int checksum(const unsigned char *p, size_t n, uint32_t *crc)
{
    unsigned char record[PH_RECORD_BYTES];

    if (n < PH_RECORD_BYTES)
        return 0;
    uint64_t marks = number(p + AT_MARKS, 8), total = number(p + AT_TOTAL, 8), rcpts = number(p + AT_RCPTS, 4);
    if (total > n || marks > total || total - marks != PH_MARKS_HEAD + rcpts || marks < PH_RECORD_BYTES)
        return 0;
    *crc = crc_slowly(0, p + PH_RECORD_BYTES, (size_t)marks - PH_RECORD_BYTES);
    for (int i = 0; i < PH_MARKS_HEAD; i++)
        *crc = crc_slowly(*crc, (const unsigned char *)"", 1);
    while (rcpts--)
        *crc = crc_slowly(*crc, (const unsigned char *)"P", 1);
    memcpy(record, p, sizeof record);
    memset(record + AT_CRC, 0, 4);
    *crc = crc_slowly(*crc, record, sizeof record);
    return 1;
}

/* ---- a message file ---- */

static int file = -1;

static void write_file(ph_str in)
{
    static const struct ph_log_options log = { .file = "/dev/null", .service = "fuzz", .host = "mx.test" };

    if (file < 0) {
        file = memfd_create("message", MFD_CLOEXEC);
        ph_log_open(&log);
    }
    FUZZ_CHECK(file >= 0 && ftruncate(file, 0) == 0 && (in.n == 0 || pwrite(file, in.p, in.n, 0) == (ssize_t)in.n), "a memory file");
}

static void clean(ph_str v)
{
    FUZZ_CHECK(!v.n || (!memchr(v.p, '\n', v.n) && !memchr(v.p, '\r', v.n) && !memchr(v.p, 0, v.n)), "%.*s", PH_FMT(v));
    fuzz_saw(v);
}

static void check_rcpts(const struct ph_message *m)
{
    for (uint32_t i = 0; i < m->rcpt_count; i++) {
        uint32_t state = m->rcpt[i].state;

        clean(m->rcpt[i].address);
        clean(m->rcpt[i].original);
        clean(m->rcpt[i].dsn_orcpt);
        clean(m->rcpt[i].dsn_notify);
        FUZZ_CHECK(state == PH_STATE_PENDING || state == PH_STATE_DELIVERED || state == PH_STATE_FAILED || state == PH_STATE_TOLD, "%u", state);
        fuzz_saw_number(state);
    }
}

/* Content comes from where the record says, whatever the size of the reads. */
static void check_content(const struct ph_message *m, ph_str in, size_t piece)
{
    char part[4096];
    uint64_t at = 0;
    int64_t got;

    FUZZ_CHECK(m->header_offset + ph_message_bytes(m) <= in.n && m->body_offset == m->header_offset + m->header_bytes + 2, "content within the file");
    while ((got = ph_message_read(m, at, part, piece)) > 0) {
        FUZZ_CHECK((size_t)got <= piece && memcmp(part, in.p + m->header_offset + at, (size_t)got) == 0, "other bytes at %llu", (unsigned long long)at);
        at += (uint64_t)got;
    }
    FUZZ_CHECK(got == 0 && at == ph_message_bytes(m), "%lld at %llu", (long long)got, (unsigned long long)at);
}

static void check_message(const struct ph_message *m, ph_str in)
{
    clean(m->sender);
    clean(m->client_name);
    clean(m->envelope_id);
    clean(m->queue_id);
    check_rcpts(m);
    check_content(m, in, 4096);
    check_content(m, in, 1000);
    fuzz_saw_number((int64_t)m->header_bytes);
    fuzz_saw_number((int64_t)m->body_bytes);
}

/* Reading few recipients and reading all must agree on everything else. */
static void compare_few(const struct ph_record *all, ph_str sender)
{
    PH_SCOPED(s, NULL);
    PH_SCOPED(brief, NULL);
    struct ph_message m;
    struct ph_loaded l;
    unsigned char a[PH_RECORD_BYTES], b[PH_RECORD_BYTES];
    int rc = ph_record_load_upto(s, brief, file, 0, &m, &l);

    FUZZ_CHECK(rc == 0, "few recipients %d, all 0", rc);
    ph_record_encode(all, a);
    ph_record_encode(&l.record, b);
    FUZZ_CHECK(memcmp(a, b, sizeof a) == 0, "the same record");
    ph_scope_reset(brief);         /* what m has must live on s */
    FUZZ_SAME(m.sender, sender, "the same sender");
    FUZZ_CHECK(l.marks.n == PH_MARKS_HEAD + (size_t)all->rcpt_count && (m.rcpt == NULL || all->rcpt_count == 0), "states without recipients");
}

static void judge(ph_str in)
{
    PH_SCOPED(s, NULL);
    struct ph_message *open = NULL, *verified = NULL, m;
    struct ph_loaded l = { .skipped = 0 };
    uint32_t crc = 0, marks;

    write_file(in);
    int rc = ph_record_load(s, s, file, &m, &l), opened = ph_message_open(s, file, PH_STR(""), &open);
    int whole = checksum((const unsigned char *)in.p, in.n, &crc) && crc == number((const unsigned char *)in.p + AT_CRC, 4);
    int good = ph_message_verify(s, file, PH_STR("4XyZ0123456789z"), &verified, &marks);
    fuzz_saw_number(rc * 10 + good);
    FUZZ_CHECK(rc == 0 || rc == PH_NONE || (rc == PH_PERM && ph_error()[0]), "%d", rc);
    FUZZ_CHECK((rc == 0) == (opened == 0), "load %d, open %d", rc, opened);
    FUZZ_CHECK(good != 0 || whole, "a message whose checksum does not cover it");
    FUZZ_CHECK(rc != 0 || !whole || good == 0, "a whole message is refused: %s", ph_error());
    if (rc == 0)
        check_message(open, in);
    if (rc == 0)
        compare_few(&l.record, open->sender);
    if (good == 0)
        FUZZ_SAME(verified->queue_id, PH_STR("4XyZ0123456789z"), "a message is named by who asks");
}

/* ---- a good file, changed ---- */

enum crc { CRC_LEFT, CRC_RIGHT, CRC_RIGHT_TOO_LONG, CRC_LEFT_CUT, CRCS };

static void seal(unsigned char *p, size_t n)
{
    uint32_t crc = 0;

    if (checksum(p, n, &crc))
        for (int i = 0; i < 4; i++)
            p[AT_CRC + i] = (unsigned char)(crc >> 8 * i);
}

static void changed(ph_str in)
{
    PH_SCOPED(s, NULL);
    unsigned rcpts = (fuzz_byte(&in) - '0') % 40, how = (fuzz_byte(&in) - '0') % CRCS, changes = (fuzz_byte(&in) - '0') % 10;
    ph_str patch = ph_str_first(in, changes * 3u), good = fuzz_message_file(s, rcpts, ph_str_from(in, patch.n));
    size_t more = how == CRC_RIGHT_TOO_LONG ? 100 : 0;
    unsigned char *p = ph_alloc(s, good.n + more);

    memcpy(p, good.p, good.n);
    if (how == CRC_LEFT || how == CRC_LEFT_CUT)
        seal(p, good.n);
    while (patch.n >= 3) {
        size_t at = fuzz_byte(&patch);

        at = (at << 8 | fuzz_byte(&patch)) % good.n;
        p[at] = (unsigned char)fuzz_byte(&patch);
    }
    if (how == CRC_RIGHT || how == CRC_RIGHT_TOO_LONG)
        seal(p, good.n + more);
    judge((ph_str){ (const char *)p, how == CRC_LEFT_CUT ? good.n * 3 / 4 : good.n + more });
}

static void as_it_is(ph_str in)
{
    judge(in);
}

/* ---- maildrop ---- */

struct source {
    ph_str rest;
    size_t piece;
};

static int64_t read_piece(void *arg, char *p, size_t n)
{
    struct source *x = arg;
    size_t take = x->piece && x->piece < n ? x->piece : n;

    if (take > x->rest.n)
        take = x->rest.n;
    if (take)
        memcpy(p, x->rest.p, take);
    x->rest = ph_str_from(x->rest, take);
    return (int64_t)take;
}

/* The whole of it: the envelope's answer times 100 plus the content's; the envelope
 * as text and the content as it would go on, wire-ready. */
static int read_drop(struct ph_scope *s, ph_str in, size_t piece, struct ph_buf *envelope, struct ph_buf *content)
{
    struct source x = { in, piece };
    struct ph_maildrop_source r;
    struct ph_maildrop m;
    uint32_t state = 0;
    ph_str bytes;
    int rc, end = 0;

    ph_buf_init(envelope, s, 1 << 20);
    ph_buf_init(content, s, 1 << 20);
    ph_maildrop_source_init(&r, s, read_piece, &x);
    if ((rc = ph_maildrop_envelope(&r, s, &m)) < 0)
        return rc * 100;
    FUZZ_CHECK(ph_maildrop_put(envelope, &m) == 0, "what was read can be written: %s", ph_error());
    while ((end = ph_maildrop_content(&r, &bytes)) == PH_FOUND) {
        FUZZ_CHECK(bytes.n >= 1 && bytes.n <= PH_MAILDROP_CHUNK, "%zu", bytes.n);
        char *room = ph_buf_room(content, 2 * bytes.n + 2);
        ph_buf_added(content, ph_maildrop_wire(&state, bytes, room));
    }
    ph_buf_added(content, ph_maildrop_wire_finish(&state, ph_buf_room(content, 2)));
    return end;
}

static void maildrop(ph_str in)
{
    PH_SCOPED(s, NULL);
    struct ph_buf envelope, content, e, c;
    size_t piece = 1 + (fuzz_byte(&in) - '0') % 30;
    int rc = read_drop(s, in, 0, &envelope, &content), again = read_drop(s, in, piece, &e, &c);

    fuzz_saw_number(rc);
    FUZZ_CHECK(rc == again, "%d, in pieces of %zu %d", rc, piece, again);
    FUZZ_SAME(ph_buf_view(&e), ph_buf_view(&envelope), "pieces make no difference to the envelope");
    FUZZ_SAME(ph_buf_view(&c), ph_buf_view(&content), "nor to the content");
    fuzz_saw(ph_buf_view(&content));
    for (size_t i = 0; i < content.n; i++) {
        FUZZ_CHECK(content.p[i] != '\n' || (i && content.p[i - 1] == '\r'), "a bare LF");
        FUZZ_CHECK(content.p[i] != '\r' || (i + 1 < content.n && content.p[i + 1] == '\n'), "a bare CR");
    }
    if (envelope.n == 0)
        return;
    read_drop(s, ph_buf_view(&envelope), 0, &e, &c);
    FUZZ_SAME(ph_buf_view(&e), ph_buf_view(&envelope), "written, read, written");
}

/* ---- bounce logs ---- */

static void same_record(const struct log_record *a, const struct log_record *b)
{
    for (int i = 0; i < LOG_FIELDS; i++)
        FUZZ_SAME(a->f[i], b->f[i], log_names[i]);
    FUZZ_CHECK(a->index == b->index, "%u, %u", a->index, b->index);
}

/* A record that was read is written and read again as the same. */
static void round_trip(struct ph_scope *s, const struct log_record *r)
{
    struct log_record *again;
    struct ph_buf text;
    size_t n;

    ph_buf_init(&text, s, 1 << 20);
    log_format(&text, r);
    log_parse(s, ph_buf_view(&text), &again, &n);
    FUZZ_CHECK(n == 1, "%zu records of one:\n%s", n, text.p);
    same_record(r, &again[0]);
    for (int i = 0; i < LOG_FIELDS; i++)
        fuzz_saw(r->f[i]);
}

/* Ends of lines "sum=..." before which stand lines that have this sum, whichever
 * of the places where a record can begin they begin at. */
static size_t good_sums(struct ph_scope *s, ph_str text)
{
    size_t count = 0;

    for (size_t at = 0; at + 21 <= text.n; at++) {
        int good = 0;

        if (!ph_str_starts(ph_str_from(text, at), PH_STR("sum=")))
            continue;
        for (size_t start = 0; start <= at && !good; start++)
            if (start == 0 || ph_str_starts(ph_str_from(text, start), PH_STR("index=")) || ph_str_ends(ph_str_first(text, start), PH_STR("\n\n")))
                good = ph_str_starts(ph_str_from(text, at), ph_str_printf(s, "sum=%016llx\n", (unsigned long long)ph_str_hash(ph_str_first(ph_str_from(text, start), at - start))));
        count += (size_t)good;
    }
    return count;
}

static void log_as_it_is(ph_str in)
{
    PH_SCOPED(s, NULL);
    struct log_record *list;
    size_t n;

    log_parse(s, in, &list, &n);
    fuzz_saw_number((int64_t)n);
    FUZZ_CHECK(n <= good_sums(s, in), "%zu records, but not as many sums that are right", n);
    for (size_t i = 0; i < n && i < 50; i++)
        round_trip(s, &list[i]);
}

static void write_record(struct ph_scope *s, ph_str in, struct log_record *r, struct ph_buf *text, int *torn)
{
    size_t missing = fuzz_byte(&in), before = text->n;

    *r = (struct log_record){ .index = fuzz_byte(&in) };
    r->f[LOG_INDEX] = ph_str_printf(s, "%u", r->index);
    for (int i = LOG_RECIPIENT; i < LOG_FIELDS && in.n; i++)
        r->f[i] = ph_str_cut(&in, 2);
    log_format(text, r);
    *torn = missing > 0 && missing < 100;
    if (*torn)
        ph_buf_truncate(text, missing < text->n - before ? text->n - missing : before);
}

/* Whatever is torn, the whole ones are found, in their order, and nothing else. */
static void log_torn(ph_str in)
{
    PH_SCOPED(s, NULL);
    struct log_record want[32], *list;
    struct ph_buf text;
    size_t n, wanted = 0;
    int torn;

    ph_buf_init(&text, s, 1 << 20);
    for (int i = 0; i < 32 && in.n; i++) {
        write_record(s, ph_str_cut(&in, 1), &want[wanted], &text, &torn);
        wanted += !torn;
    }
    log_parse(s, ph_buf_view(&text), &list, &n);
    FUZZ_CHECK(n == wanted, "%zu records, %zu were written:\n%s", n, wanted, text.p);
    for (size_t i = 0; i < n; i++) {
        same_record(&want[i], &list[i]);
        round_trip(s, &list[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const modes[])(ph_str) = { as_it_is, changed, maildrop, log_as_it_is, log_torn };
    ph_str in = { (const char *)data, size };

    modes[(fuzz_byte(&in) - '0') % (sizeof modes / sizeof *modes)](in);
    return 0;
}
