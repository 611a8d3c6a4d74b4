/* The commit record: encode, decode, parse.  qmgr parses here what receivers
 * wrote: every number is hostile until it is checked. */
#include <string.h>
#include <posthorn/clock.h>
#include "core/base/crc32c.h"
#include "core/queue/record.h"

static const char magic[8] = { 'P', 'H', 'Q', '\r', '\n', '\x1a', '\n', 0 };

/* Where the fields stand. */
enum {
    AT_MAGIC = 0, AT_VERSION = 8, AT_BYTES = 12, AT_CRC = 16, AT_FLAGS = 20, AT_FACTS = 24, AT_RCPTS = 28,
    AT_HEADER = 32, AT_BODY = 48, AT_ENVELOPE = 64, AT_RCPT = 80, AT_MARKS = 96, AT_TOTAL = 104,
    AT_LONGEST = 112, AT_INODE = 120, AT_ARRIVAL = 128, AT_ID = 136
};

static void put32(unsigned char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (unsigned char)(v >> (8 * i));
}

static void put64(unsigned char *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (unsigned char)(v >> (8 * i));
}

static uint32_t get32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t get64(const unsigned char *p)
{
    return get32(p) | (uint64_t)get32(p + 4) << 32;
}

void ph_record_layout(struct ph_record *r)
{
    r->header_offset = PH_RECORD_BYTES;
    r->body_offset = r->header_offset + r->header_bytes + 2;
    r->envelope_offset = r->body_offset + r->body_bytes;
    r->rcpt_offset = r->envelope_offset + r->envelope_bytes;
    r->marks_offset = r->rcpt_offset + r->rcpt_bytes;
    r->total = r->marks_offset + PH_MARKS_HEAD + r->rcpt_count;
}

void ph_record_encode(const struct ph_record *r, unsigned char out[PH_RECORD_BYTES])
{
    memset(out, 0, PH_RECORD_BYTES);
    memcpy(out + AT_MAGIC, magic, sizeof magic);
    put32(out + AT_VERSION, r->version);
    put32(out + AT_BYTES, PH_RECORD_BYTES);
    put32(out + AT_CRC, r->crc);
    put32(out + AT_FLAGS, r->flags);
    put32(out + AT_FACTS, r->facts);
    put32(out + AT_RCPTS, r->rcpt_count);
    put64(out + AT_HEADER, r->header_offset);
    put64(out + AT_HEADER + 8, r->header_bytes);
    put64(out + AT_BODY, r->body_offset);
    put64(out + AT_BODY + 8, r->body_bytes);
    put64(out + AT_ENVELOPE, r->envelope_offset);
    put64(out + AT_ENVELOPE + 8, r->envelope_bytes);
    put64(out + AT_RCPT, r->rcpt_offset);
    put64(out + AT_RCPT + 8, r->rcpt_bytes);
    put64(out + AT_MARKS, r->marks_offset);
    put64(out + AT_TOTAL, r->total);
    put64(out + AT_LONGEST, r->longest_line);
    put64(out + AT_INODE, r->inode);
    put64(out + AT_ARRIVAL, (uint64_t)r->arrival_us);
    memcpy(out + AT_ID, r->id, strnlen(r->id, PH_ID_MAX));
}

static void read_fields(const unsigned char *p, struct ph_record *r)
{
    r->version = get32(p + AT_VERSION);
    r->crc = get32(p + AT_CRC);
    r->flags = get32(p + AT_FLAGS);
    r->facts = get32(p + AT_FACTS);
    r->rcpt_count = get32(p + AT_RCPTS);
    r->header_offset = get64(p + AT_HEADER);
    r->header_bytes = get64(p + AT_HEADER + 8);
    r->body_offset = get64(p + AT_BODY);
    r->body_bytes = get64(p + AT_BODY + 8);
    r->envelope_offset = get64(p + AT_ENVELOPE);
    r->envelope_bytes = get64(p + AT_ENVELOPE + 8);
    r->rcpt_offset = get64(p + AT_RCPT);
    r->rcpt_bytes = get64(p + AT_RCPT + 8);
    r->marks_offset = get64(p + AT_MARKS);
    r->total = get64(p + AT_TOTAL);
    r->longest_line = get64(p + AT_LONGEST);
    r->inode = get64(p + AT_INODE);
    r->arrival_us = (int64_t)get64(p + AT_ARRIVAL);
    memcpy(r->id, p + AT_ID, PH_ID_MAX);
    r->id[PH_ID_MAX] = 0;
}

/* The offsets must be those that the lengths give: there is one way to lay a
 * message out, so nothing can overlap or point outside. */
static int check_extents(const struct ph_record *r, uint64_t file_bytes)
{
    struct ph_record want = *r;

    if (r->header_bytes > PH_CONTENT_MAX || r->body_bytes > PH_CONTENT_MAX ||
        r->envelope_bytes > PH_ENVELOPE_MAX || r->rcpt_bytes > PH_RCPTS_BYTES || r->rcpt_count > PH_RCPTS_MAX)
        return ph_fail(PH_PERM, "a length in the record is out of range");
    ph_record_layout(&want);
    if (want.header_offset != r->header_offset || want.body_offset != r->body_offset ||
        want.envelope_offset != r->envelope_offset || want.rcpt_offset != r->rcpt_offset ||
        want.marks_offset != r->marks_offset || want.total != r->total)
        return ph_fail(PH_PERM, "the extents in the record do not fit together");
    if (r->total > file_bytes)
        return ph_fail(PH_PERM, "the file is shorter than its record says");
    return 0;
}

int ph_record_decode(const void *p, size_t n, uint64_t file_bytes, struct ph_record *out)
{
    const unsigned char *b = p;
    unsigned char again[PH_RECORD_BYTES];
    struct ph_record r;
    uint64_t inode;
    int rc;

    if (n < PH_RECORD_BYTES || memcmp(b, magic, sizeof magic) != 0)
        return PH_NONE;
    read_fields(b, &r);
    if (r.version != PH_RECORD_VERSION || get32(b + AT_BYTES) != PH_RECORD_BYTES)
        return ph_fail(PH_PERM, "record of format version %u, this program knows %d", r.version,
                       PH_RECORD_VERSION);
    if ((rc = check_extents(&r, file_bytes)) < 0)
        return rc;
    if (!ph_id_parse(ph_cstr(r.id), &inode))
        return ph_fail(PH_PERM, "the record does not hold a queue id");
    if (r.arrival_us < 0 || r.arrival_us > PH_WALL_MAX_US)
        return ph_fail(PH_PERM, "the arrival time in the record is out of range");
    /* No byte may say something that no field holds: the checksum is taken over
     * the fields. */
    ph_record_encode(&r, again);
    if (memcmp(again, b, PH_RECORD_BYTES) != 0)
        return ph_fail(PH_PERM, "stray bytes in the record");
    *out = r;
    return 0;
}

uint32_t ph_record_checksum(uint32_t crc, const struct ph_record *r)
{
    static const char fresh[PH_MARKS_HEAD];
    unsigned char bytes[PH_RECORD_BYTES];
    char states[64];

    crc = ph_crc32c(crc, fresh, sizeof fresh);
    memset(states, PH_STATE_PENDING, sizeof states);
    for (uint32_t left = r->rcpt_count; left > 0;) {
        uint32_t n = left < sizeof states ? left : (uint32_t)sizeof states;

        crc = ph_crc32c(crc, states, n);
        left -= n;
    }
    ph_record_encode(r, bytes);
    memset(bytes + AT_CRC, 0, 4);
    return ph_crc32c(crc, bytes, sizeof bytes);
}
