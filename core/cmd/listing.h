/* core/cmd/listing.h: a queue listing on stdout, in the two forms that scripts
 * read: lines for people (-p), JSON lines (-j). */
#ifndef CORE_CMD_LISTING_H
#define CORE_CMD_LISTING_H

#include <posthorn/buf.h>
#include <posthorn/frame.h>

struct listing {
    int json, long_ids, ascii;     /* ascii: no UTF-8 in JSON */
    ph_str null_sender;            /* how people read <>: MAILER-DAEMON */
    struct ph_scope *scope;        /* of the message under way */
    struct ph_str reason;          /* shown last */
    int had_reason, in_message, in_list;
    uint64_t messages, bytes;
    int broken;                    /* errno of the output, once it failed */
};

/* Feed what showq sends: each frame but the first and the last. */
void ph_listing_frame(struct listing *l, const struct ph_frame *f);
/* After the last one. */
void ph_listing_end(struct listing *l);

/* A JSON string with its quotes; what is not UTF-8 becomes '?'. */
void ph_listing_json(struct ph_buf *out, ph_str v, int ascii);

#endif
