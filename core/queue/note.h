/* note: why a message is still there, behind its marks: the last reason of each
 * recipient that was deferred.  A listing then opens no second file for a message.
 *
 *     0    "PHN1"
 *     4    u32 CRC32C over what follows and the checksum of the message's record
 *     8    u32 bytes of all, these 16 included
 *     12   u32 recipients
 *     16   each: u32 number, u16 length, text
 *
 * These are words, and the log of bounce has them too: nothing is synced, and where a
 * note is missing, torn, or not this message's, the log is read instead.  Only qmgr
 * writes it, over the one before. */
#ifndef CORE_QUEUE_NOTE_H
#define CORE_QUEUE_NOTE_H

#include <posthorn/buf.h>
#include <posthorn/scope.h>

#define PH_NOTE_BYTES 2048u            /* one with more has no note */
#define PH_NOTE_RCPTS 16u              /* nor has a message with more recipients */

struct ph_note {
    uint32_t n;
    struct ph_note_reason {
        uint32_t index;                /* of the recipient */
        ph_str text;
    } at[PH_NOTE_RCPTS];
};

/* The text about that recipient, or NULL. */
const ph_str *ph_note_find(const struct ph_note *note, uint32_t index);
/* The last word about that recipient: 0, or PH_NONE: there is no room. */
int ph_note_set(struct ph_note *note, uint32_t index, ph_str text);
/* Append it; record_crc: ph_record.crc.  0; PH_NONE: it is too long, nothing was put. */
int ph_note_format(struct ph_buf *out, uint32_t record_crc, const struct ph_note *note);
/* Bytes of a file from the end of the message on: PH_FOUND and *note, views; PH_NONE. */
int ph_note_parse(ph_str bytes, uint32_t record_crc, struct ph_note *note);

#endif
