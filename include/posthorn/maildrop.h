/* posthorn/maildrop.h: a message on its way from sendmail to pickup: what
 * sendmail writes to postdrop, postdrop into maildrop/, and pickup reads.
 *
 *     posthorn-maildrop 1
 *     time 1763985600            seconds, when postdrop took it
 *     sender alice               internal form; may be empty
 *     trace record               a report is wanted: record (of the first
 *                                delivery), verify (instead of a delivery)
 *     rcpt bob@example.com       one or more
 *     notify SUCCESS,FAILURE     of the recipient before
 *     orcpt rfc822;bob@x         of the recipient before
 *     ...
 *     (empty line)
 *     data 512                   then 512 bytes, any number of times
 *     end
 *
 * Lines end with LF; values hold no control bytes, so nothing in an address can
 * look like another line.  The content is what the user wrote, with his line
 * ends.  A file without its last line is not whole.  All of it is bounded and
 * believed by nobody: postdrop writes what it understood, pickup reads again. */
#ifndef POSTHORN_MAILDROP_H
#define POSTHORN_MAILDROP_H

#include <posthorn/buf.h>

PH_BEGIN

#define PH_MAILDROP_LINE   4096u       /* bytes of a line of the envelope */
#define PH_MAILDROP_RCPTS  100000u
#define PH_MAILDROP_CHUNK  16384u      /* bytes of one "data" */

struct ph_maildrop_rcpt {
    ph_str address;                    /* internal form */
    ph_str notify, orcpt;              /* RFC 3461, or empty */
};

struct ph_maildrop {
    uint32_t size;
    int32_t has_sender;
    int64_t time_s;                    /* 0: not said */
    ph_str sender, full_name;
    ph_str body;                       /* "7BIT", "8BITMIME" or empty */
    ph_str envelope_id, ret;           /* RFC 3461: ENVID; FULL or HDRS */
    ph_str context;                    /* "local" or "remote"; empty: local */
    int32_t smtputf8;
    uint32_t rcpt_count;
    const struct ph_maildrop_rcpt *rcpt;
    ph_str trace;                      /* "record", "verify" or empty */
};

/* Where the bytes come from: fill at most n bytes; how many, 0 at the end, or
 * negative.  May yield when the caller may. */
struct ph_maildrop_source {
    int64_t (*read)(void *arg, char *p, size_t n);
    void *arg;
    char *buf;                         /* private from here on */
    size_t start, end;
    uint64_t left;                     /* bytes of the chunk under way */
    int32_t ended, pad;
};

void ph_maildrop_source_init(struct ph_maildrop_source *r, struct ph_scope *s,
                             int64_t (*read)(void *, char *, size_t), void *arg);
/* The envelope: 0 and *m on s; PH_EOF when the input ends in it (nothing at all
 * too); PH_PERM with text for what breaks the form; PH_CONF for one in order that
 * has no sender or no recipient; what read answered. */
int ph_maildrop_envelope(struct ph_maildrop_source *r, struct ph_scope *s, struct ph_maildrop *m);
/* Then the content: PH_FOUND and *bytes (at least one; void after the next
 * call), PH_NONE after "end" (nothing may follow it), PH_EOF when it is cut
 * short, PH_PERM, what read answered. */
int ph_maildrop_content(struct ph_maildrop_source *r, ph_str *bytes);

/* The envelope as text, up to and with the empty line: 0; PH_PERM naming the
 * value that cannot be written (a control byte, too long, too many). */
int ph_maildrop_put(struct ph_buf *out, const struct ph_maildrop *m);
/* "data N" before N bytes (N >= 1), and "end". */
void ph_maildrop_put_chunk(struct ph_buf *out, size_t n);
void ph_maildrop_put_end(struct ph_buf *out);

/* The user's bytes to wire-ready ones: CR LF and LF become CR LF, another CR a
 * blank.  Any split of the input gives the same; out has room for 2 * in.n + 2.
 * Begin with *state = 0.  finish: what is still owed (a CR at the very end, and
 * the line end of a last line that had none; 2 bytes at most). */
size_t ph_maildrop_wire(uint32_t *state, ph_str in, char *out);
size_t ph_maildrop_wire_finish(uint32_t *state, char *out);

PH_END
#endif
