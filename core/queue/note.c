/* note: see note.h. */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "core/base/crc32c.h"
#include "core/queue/store.h"

#define HEAD_BYTES 16u
#define ITEM_BYTES 6u                  /* before the text of one */

static const char magic[4] = { 'P', 'H', 'N', '1' };

static void put(unsigned char *p, uint32_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        p[i] = (unsigned char)(v >> (8 * i));
}

static uint32_t get(const char *p, int bytes)
{
    uint32_t v = 0;

    for (int i = 0; i < bytes; i++)
        v |= (uint32_t)(unsigned char)p[i] << (8 * i);
    return v;
}

/* Bound to the message: a slot may hold the note of one before at the same place. */
static uint32_t checksum(const char *from, size_t n, uint32_t record_crc)
{
    unsigned char mine[4];

    put(mine, record_crc, 4);
    return ph_crc32c(ph_crc32c(0, from, n), mine, sizeof mine);
}

const ph_str *ph_note_find(const struct ph_note *note, uint32_t index)
{
    for (uint32_t i = 0; i < note->n; i++)
        if (note->at[i].index == index)
            return &note->at[i].text;
    return NULL;
}

int ph_note_set(struct ph_note *note, uint32_t index, ph_str text)
{
    uint32_t i = 0;

    while (i < note->n && note->at[i].index != index)
        i++;
    if (i == PH_NOTE_RCPTS)
        return PH_NONE;
    note->at[i] = (struct ph_note_reason){ index, text };
    note->n += i == note->n;
    return 0;
}

int ph_note_format(struct ph_buf *out, uint32_t record_crc, const struct ph_note *note)
{
    unsigned char bytes[PH_NOTE_BYTES];
    size_t n = HEAD_BYTES;

    for (uint32_t i = 0; i < note->n; i++) {
        ph_str text = note->at[i].text;

        if (text.n > PH_NOTE_BYTES || n + ITEM_BYTES + text.n > PH_NOTE_BYTES)
            return PH_NONE;
        put(bytes + n, note->at[i].index, 4);
        put(bytes + n + 4, (uint32_t)text.n, 2);
        if (text.n)
            memcpy(bytes + n + ITEM_BYTES, text.p, text.n);
        n += ITEM_BYTES + text.n;
    }
    memcpy(bytes, magic, sizeof magic);
    put(bytes + 8, (uint32_t)n, 4);
    put(bytes + 12, note->n, 4);
    put(bytes + 4, checksum((const char *)bytes + 8, n - 8, record_crc), 4);
    ph_buf_put(out, (const char *)bytes, n);
    return 0;
}

/* What the checksum says to be ours is still counted byte by byte: a receiver can
 * write to its slots. */
int ph_note_parse(ph_str b, uint32_t record_crc, struct ph_note *note)
{
    uint32_t count;

    if (b.n < HEAD_BYTES || memcmp(b.p, magic, sizeof magic) != 0 || get(b.p + 8, 4) > b.n || get(b.p + 8, 4) < HEAD_BYTES)
        return PH_NONE;
    b = ph_str_first(b, get(b.p + 8, 4));
    if ((count = get(b.p + 12, 4)) > PH_NOTE_RCPTS || get(b.p + 4, 4) != checksum(b.p + 8, b.n - 8, record_crc))
        return PH_NONE;
    b = ph_str_from(b, HEAD_BYTES);
    for (note->n = 0; note->n < count; note->n++) {
        if (b.n < ITEM_BYTES || get(b.p + 4, 2) > b.n - ITEM_BYTES)
            return PH_NONE;
        note->at[note->n] = (struct ph_note_reason){ get(b.p, 4), { b.p + ITEM_BYTES, get(b.p + 4, 2) } };
        b = ph_str_from(b, ITEM_BYTES + note->at[note->n].text.n);
    }
    return b.n ? PH_NONE : PH_FOUND;
}

/* ---- in the file of a message ---- */

int ph_note_load(struct ph_scope *s, int fd, const struct ph_loaded *l, const struct ph_note **out)
{
    struct ph_note note, *mine;
    char bytes[PH_NOTE_BYTES];
    ph_str tail = { l->head + l->record.total, 0 };
    ssize_t n;

    if (l->file_bytes <= l->record.total)
        return PH_NONE;
    if (l->head_bytes >= l->file_bytes || l->head_bytes >= l->record.total + PH_NOTE_BYTES) {
        tail.n = l->head_bytes - (size_t)l->record.total;
    } else {
        if ((n = pread(fd, bytes, sizeof bytes, (off_t)l->record.total)) < 0)
            return PH_NONE;
        tail = (ph_str){ bytes, (size_t)n };
    }
    if (ph_note_parse(tail, l->record.crc, &note) != PH_FOUND)
        return PH_NONE;
    mine = ph_new(s, struct ph_note);
    *mine = note;
    for (uint32_t i = 0; i < note.n; i++)
        mine->at[i].text = ph_str_dup(s, note.at[i].text);
    *out = mine;
    return PH_FOUND;
}

/* Reasons that the note before gives of recipients that are still pending. */
static int keep_old(struct ph_qmsg *m, ph_str bytes, struct ph_note *note)
{
    struct ph_note old;
    int rc = 0;

    if (ph_note_parse(bytes, m->record_crc, &old) != PH_FOUND)
        return 0;
    for (uint32_t i = 0; i < old.n && rc == 0; i++)
        if (old.at[i].index < m->rcpt_count && ph_qmsg_state(m, old.at[i].index) == PH_STATE_PENDING &&
            !ph_note_find(note, old.at[i].index))
            rc = ph_note_set(note, old.at[i].index, old.at[i].text);
    return rc;
}

static int write_note(struct ph_qmsg *m, ph_str bytes)
{
    ssize_t n;

    while ((n = pwrite(m->fd, bytes.p, bytes.n, (off_t)m->file_bytes)) < 0 && errno == EINTR)
        ;
    return n == (ssize_t)bytes.n ? 0 : ph_fail_errno(PH_TEMP, n < 0 ? errno : ENOSPC, "%s: note in message file", m->id);
}

int ph_queue_note(struct ph_queue *q PH_UNUSED, struct ph_qmsg *m, const uint32_t *rcpt, const ph_str *text, uint32_t n)
{
    PH_SCOPED(s, NULL);
    struct ph_note note = { 0 };
    char old[PH_NOTE_BYTES];
    struct ph_buf out;
    ssize_t got = 0;
    int rc = 0;

    ph_assert(m->loaded);
    if (m->rcpt_count > PH_NOTE_RCPTS)
        return 0;
    if ((rc = ph_qmsg_fd(m)) != 0)
        return rc < 0 ? rc : 0;        /* gone: there is nobody to write about */
    for (uint32_t i = 0; i < n && rc == 0; i++)
        rc = ph_note_set(&note, rcpt[i], text[i]);
    if (m->rcpt_count > 1 && (got = pread(m->fd, old, sizeof old, (off_t)m->file_bytes)) > 0 && rc == 0)
        rc = keep_old(m, (ph_str){ old, (size_t)got }, &note);
    ph_buf_init(&out, s, PH_NOTE_BYTES);
    /* What does not fit must not leave an older word behind. */
    if (rc != 0 || ph_note_format(&out, m->record_crc, &note) != 0)
        ph_buf_put(&out, (const char[4]){ 0 }, 4);
    return write_note(m, ph_buf_view(&out));
}
