/* link: connections of a table to its server, kept between look-ups.
 *
 * Several tasks ask at once, each on a connection of its own; who comes when all
 * LINKS_MAX are taken waits in line.  All calls yield but link_init and link_drop. */
#ifndef LINK_H
#define LINK_H

#include <posthorn/net.h>
#include <posthorn/table.h>

#define LINKS_MAX 20               /* open connections of one table in one process */
#define LINK_MS   100000           /* for one question: to connect, ask and be answered */

struct link {
    struct link *next;
    struct ph_scope *scope;
    struct ph_stream *io;
    int64_t born_ms, used_ms;
    int is_kept;                   /* it has served before: its end may be old news */
};

struct links {
    struct ph_scope *scope;
    ph_str host;                   /* or empty: path */
    unsigned port;
    const char *path;
    int64_t idle_ms, life_ms;      /* after which one is not used again; 0: for ever */
    struct link *idle;
    unsigned open;
    struct ph_cond *freed;
};

/* The server is host and port: 0, or PH_CONF.  To be called by a table's open:
 * the seal leaves that port open. */
int link_inet(struct links *l, struct ph_scope *s, ph_str host, ph_str port);
/* The server is a UNIX socket. */
int link_unix(struct links *l, struct ph_scope *s, ph_str path);
/* The server as settings name it: unix:/path, inet:host:port, host:port or, with that
 * port, host. */
int link_server(struct links *l, struct ph_scope *s, ph_str text, const char *port);
/* One that nobody uses: 0 and *out with its deadline set; PH_TEMP, PH_TIMEOUT, PH_CANCEL. */
int link_take(struct links *l, int64_t deadline, struct link **out) PH_YIELDS;
/* Back, to be used again.  Only when the whole answer was read. */
void link_keep(struct links *l, struct link *k);
/* Close it. */
void link_drop(struct links *l, struct link *k);

#endif
