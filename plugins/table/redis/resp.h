/* resp: Redis' protocol (RESP, version 2): commands out, replies in.
 *
 *     *2 $3 GET $3 key        +OK   -ERR words   :7   $5 value   $-1   *2 $1 a $1 b
 *
 * each part ended by CR LF.  Lengths stand in front, so any byte of a key or value is
 * itself.  What a server says against the rules is PH_TEMP. */
#ifndef RESP_H
#define RESP_H

#include <posthorn/stream.h>

#define RESP_STATUS '+'
#define RESP_ERROR  '-'
#define RESP_NUMBER ':'
#define RESP_TEXT   '$'
#define RESP_LIST   '*'
#define RESP_NIL    '_'            /* a text or a list that does not exist */

struct resp {
    char kind;
    ph_str text;                   /* on the scope; of a number, its digits */
    size_t count;                  /* of a list: so many replies follow */
};

/* One command, not flushed: 0, or negative. */
int resp_send(struct ph_stream *io, const ph_str *word, size_t count) PH_YIELDS;
/* One reply, the items of a list being replies of their own.  *left: bytes that may
 * still come; each reply takes some of them.  0, or negative. */
int resp_read(struct ph_stream *io, struct ph_scope *s, size_t *left, struct resp *r) PH_YIELDS;
/* PH_TEMP: that was no reply to what was asked. */
int resp_malformed(const struct resp *r);

#endif
