/* posthorn/wire.h: line ends and dots on the wire, RFC 5321 2.3.8, 4.5.2.
 * Incremental: any split of the input gives the same result.  Pure. */
#ifndef POSTHORN_WIRE_H
#define POSTHORN_WIRE_H

#include <posthorn/str.h>

PH_BEGIN

/* What to do with a line end that is not CR LF inside DATA
 * (smtpd_forbid_bare_newline). */
#define PH_BARE_NO        0    /* accept LF as a line end, but never for the final dot
                                  unless it is <LF>.<LF> as of old; CRs before a
                                  line end belong to it, however many */
#define PH_BARE_NORMALIZE 1    /* bare LF becomes CRLF; end of data only <CRLF>.<CRLF> */
#define PH_BARE_REJECT    2    /* note it; the caller rejects */

struct ph_dot_decoder {
    uint32_t state;            /* private */
    uint32_t bare;             /* PH_BARE_* */
    uint32_t saw_bare_lf, saw_bare_cr; /* 1 once seen */
    uint32_t done;             /* 1: the end of data was consumed */
    uint32_t held;             /* private */
};

void ph_dot_decode_init(struct ph_dot_decoder *d, uint32_t bare);
/* Decode from `in` into out (room for 2 * in.n + 66 bytes): *written content bytes, wire-ready
 * (CRLF, dots unstuffed); returns bytes of `in` consumed: all of it, or up to
 * and with the end of data (then d->done). */
size_t ph_dot_decode(struct ph_dot_decoder *d, ph_str in, char *out, size_t *written);
/* How many bytes of `in` from its start on are content as they stand: they count as
 * decoded, and need not be copied.  0: fewer than `least` (and not all of them), or none;
 * then ph_dot_decode must have the next. */
size_t ph_dot_pass(struct ph_dot_decoder *d, ph_str in, size_t least);

/* The same without dots and without an end: what BDAT brings, RFC 3030. */
struct ph_eol_decoder {
    uint32_t state;            /* private */
    uint32_t saw_bare_lf, saw_bare_cr; /* 1 once seen */
    uint32_t pad;
};
#define PH_EOL_DECODER_INIT { 0, 0, 0, 0 }
/* All of `in` into out (room for 2 * in.n + 1 bytes); a CR at its end is held
 * until it is known what follows.  Returns bytes written. */
size_t ph_eol_decode(struct ph_eol_decoder *d, ph_str in, char *out);
size_t ph_eol_pass(struct ph_eol_decoder *d, ph_str in, size_t least);     /* as ph_dot_pass */
/* There is no more: what was held, and the end of a last line that has none
 * (room for 3 bytes).  Returns bytes written; the decoder is as new. */
size_t ph_eol_decode_end(struct ph_eol_decoder *d, char *out);

/* Index of the first CR without LF behind it or LF without CR before it; in.n when
 * there is none.  Of a CR at the end nobody knows: it counts as one. */
size_t ph_find_stray(ph_str in);

struct ph_dot_encoder { uint32_t state; };
#define PH_DOT_ENCODER_INIT { 0 }
/* Stuff dots of wire-ready content; out has room for 2 * in.n.  Returns bytes written. */
size_t ph_dot_encode(struct ph_dot_encoder *e, ph_str in, char *out);

PH_END
#endif
