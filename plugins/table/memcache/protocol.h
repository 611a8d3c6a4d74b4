/* protocol: memcached's text protocol, one command and its answer.
 *
 *     get KEY                            VALUE KEY FLAGS BYTES, data, END      END
 *     set|add KEY FLAGS EXPIRY BYTES, data   STORED   NOT_STORED
 *     delete KEY                         DELETED      NOT_FOUND
 *
 * Lines end with CR LF.  https://github.com/memcached/memcached/blob/master/doc/protocol.txt */
#ifndef MEMCACHE_PROTOCOL_H
#define MEMCACHE_PROTOCOL_H

#include <posthorn/stream.h>

#define MEMCACHE_KEY_MAX 250

enum memcache_verb { MEMCACHE_GET, MEMCACHE_SET, MEMCACHE_ADD, MEMCACHE_DELETE };

struct memcache_command {
    enum memcache_verb verb;
    ph_str key;                    /* 1 to MEMCACHE_KEY_MAX bytes, no blank or control character */
    ph_str val;                    /* of set and add */
    int64_t flags, expiry;
    int64_t line_max, data_max;    /* bytes of an answer's line, and of the data of a get */
};

/* PH_FOUND: there (*val on out), stored, deleted; PH_NONE: not there, not stored as it
 * (add) was there; negative: PH_EOF, PH_TIMEOUT, PH_CANCEL, and PH_TEMP for what else
 * the server says. */
int memcache_run(struct ph_stream *io, const struct memcache_command *c, struct ph_scope *out, ph_str *val) PH_YIELDS;

#endif
