/* record: the format of a message file.
 *
 *     0                the commit record, PH_RECORD_BYTES
 *     header_offset    headers, each line with CRLF
 *                      CR LF, the empty line
 *     body_offset      body
 *     envelope_offset  attributes: u8 length of name, name, u32 length, value
 *     rcpt_offset      recipients: items u8 type, u16 length, value; the item
 *                      'R' (address) ends one, 'O' 'C' 'N' before it describe it,
 *                      'X' says that it is an alias that was expanded
 *     marks_offset     8 bytes for the message, one state byte per recipient
 *     total            end; what follows is a note (note.h), or left from an older message
 *
 * Numbers are little-endian.  The checksum is CRC32C over bytes
 * PH_RECORD_BYTES..total, the marks taken as new, and then the record with its
 * checksum field taken as zero: every byte of the message, so that no mixture of
 * an old and a new message in one slot is valid. */
#ifndef CORE_QUEUE_RECORD_H
#define CORE_QUEUE_RECORD_H

#include <posthorn/buf.h>
#include <posthorn/error.h>
#include <posthorn/message.h>
#include "core/queue/id.h"

#define PH_RECORD_BYTES   256
#define PH_RECORD_VERSION 1
#define PH_MARKS_HEAD     8            /* bytes before the state bytes */
#define PH_MARK_AT_WARNED  0           /* 'W' when the delay warning was sent */
#define PH_MARK_AT_EXPIRED 1           /* 'E' when forced to expire */
#define PH_RECORD_HOLD    1u           /* flag: put on hold when received */

/* Limits: what breaks them is refused when written and damaged when read. */
#define PH_CONTENT_MAX    ((uint64_t)1 << 40)
#define PH_ENVELOPE_MAX   (256u << 10) /* bytes of attributes */
#define PH_ATTRS_MAX      100
#define PH_VALUE_MAX      (32u << 10)  /* bytes of one attribute */
#define PH_RCPTS_MAX      (1u << 20)   /* recipients */
#define PH_RCPTS_BYTES    (128u << 20)
#define PH_ADDRESS_MAX    4096         /* bytes of one item of a recipient */

struct ph_record {
    uint32_t version, crc, flags, facts, rcpt_count;
    uint64_t header_offset, header_bytes, body_offset, body_bytes;
    uint64_t envelope_offset, envelope_bytes, rcpt_offset, rcpt_bytes, marks_offset, total;
    uint64_t longest_line, inode;
    int64_t arrival_us;
    char id[PH_ID_MAX + 1];
};

/* Fill the offsets and total from the lengths and rcpt_count. */
void ph_record_layout(struct ph_record *r);
void ph_record_encode(const struct ph_record *r, unsigned char out[PH_RECORD_BYTES]);
/* 0; PH_NONE: no record there (a new or unfinished slot); PH_PERM with text: one
 * that is not believable.  Checks syntax and extents, not the checksum, and that
 * total fits file_bytes. */
int ph_record_decode(const void *p, size_t n, uint64_t file_bytes, struct ph_record *r);

/* Checksum: start with ph_crc32c(0, ...) over content, envelope and recipients
 * in order, then this over the marks and the record (whose crc is ignored). */
uint32_t ph_record_checksum(uint32_t crc, const struct ph_record *r);

/* Append one attribute: 0; PH_PERM: a bad name, NUL or line end in it, or a limit. */
int ph_record_put_attr(struct ph_buf *b, const char *name, ph_str value);
/* Append one recipient: 0, or PH_PERM. */
int ph_record_put_rcpt(struct ph_buf *b, ph_str address, ph_str original, ph_str orcpt, ph_str notify);
/* The same for an alias whose members follow (posthorn/intake.h). */
int ph_record_put_expanded(struct ph_buf *b, ph_str address, ph_str original, ph_str orcpt, ph_str notify);

/* Parse the two sections and the marks into *m (views into the given bytes,
 * which must live on s; recipients are allocated there).  The record must have
 * been decoded.  0, or PH_PERM.  Unknown attributes and items are skipped;
 * *skipped counts them. */
int ph_record_parse(struct ph_scope *s, const struct ph_record *r, ph_str envelope, ph_str rcpts,
                    ph_str marks, struct ph_message *m, uint32_t *skipped);
/* The same without recipients: out.rcpt is NULL.  head: the first PH_MARKS_HEAD marks. */
int ph_record_parse_envelope(struct ph_scope *s, const struct ph_record *r, ph_str envelope, ph_str head,
                             struct ph_message *m, uint32_t *skipped);
/* One recipient from the start of *rest, without its state: 0, or PH_PERM: damaged,
 * or more bytes are needed. */
int ph_record_next_rcpt(ph_str *rest, struct ph_message_rcpt *r, uint32_t *skipped);
/* What a mark says: PH_STATE_*. */
uint32_t ph_record_state(char mark);
/* Walk the attributes: start with *rest = the section; 1, 0 at the end, PH_PERM. */
int ph_record_next_attr(ph_str *rest, ph_str *name, ph_str *value);

/* Read record, envelope, recipients and marks of a file into *m (without host).
 * What *m looks at lives on s; l->head on `brief`, which may be the same or end
 * sooner.  0, PH_NONE, PH_PERM, PH_TEMP; yields only when they are large. */
struct ph_loaded {
    struct ph_record record;
    uint32_t skipped;
    const char *head;              /* the first head_bytes of the file */
    size_t head_bytes;
    uint64_t file_bytes;           /* of the file */
    ph_str marks;                  /* of the message, then of each recipient; on s */
};
int ph_record_load(struct ph_scope *s, struct ph_scope *brief, int fd, struct ph_message *m,
                   struct ph_loaded *l) PH_YIELDS;
/* The same, but recipients only when there are at most `max`; else m->rcpt is
 * NULL and their states stand in l->marks. */
int ph_record_load_upto(struct ph_scope *s, struct ph_scope *brief, int fd, uint32_t max, struct ph_message *m,
                        struct ph_loaded *l) PH_YIELDS;
/* Every byte against the checksum: 0, PH_PERM, PH_TEMP.  Blocks: call it in the
 * disk pool (ph_record_check does). */
int ph_record_verify(int fd, const struct ph_record *r);
int ph_record_check(int fd, const struct ph_record *r) PH_YIELDS;

#endif
