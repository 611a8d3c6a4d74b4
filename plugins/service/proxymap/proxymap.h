/* proxymap: tables for other processes.  See README.md. */
#ifndef PROXYMAP_H
#define PROXYMAP_H

#include <posthorn/map.h>
#include <posthorn/service.h>
#include <posthorn/table.h>

/* Which tables may be asked for: "type:name" to something. */
struct approved {
    struct ph_map *proxied;        /* with proxy: in the parameter that lists them */
    struct ph_map *named;          /* of a type that may block, anywhere in the configuration */
};

struct entry;

struct pool {
    struct ph_scope *scope;
    struct ph_conf *conf;
    int writes;                    /* proxywrite */
    const char *parameter;         /* whose tables are approved */
    struct approved approved;
    struct ph_map *entries;        /* "flags type:name" to struct entry */
    struct ph_map *denied;         /* names that the log has */
};

/* A table, opened once for all clients that want it so. */
struct entry {
    ph_str name;                   /* "type:name" */
    uint32_t flags;
    struct ph_table *table;        /* NULL: it could not be opened: */
    int rc;
    const char *why;
    int64_t next_try_ms;
    const char *last_words;        /* of a process that hangs in it */
    const void *walker;            /* whose walk is under way */
};

/* approve.c: scan the configuration: 0, or negative. */
int approve(struct pool *p);

/* tables.c: the table (on p's scope), opened when it is asked for the first time, or was
 * not to be had a moment ago.  Never NULL; its table may be. */
struct entry *entry_get(struct pool *p, ph_str type_name, uint32_t flags) PH_YIELDS;
/* Open what clients will ask for, before the seal. */
void entries_open(struct pool *p) PH_YIELDS;
/* A call of that table begins that may not take longer; it has ended. */
void watch_begin(const struct entry *e, int64_t ms);
void watch_end(void);
/* A process that hangs in a call ends: 0, or PH_TEMP. */
int watch_open(void);

#endif
