/* posthorn/table.h: plugin kind "table": key to value, `type:name`.
 *
 *     PH_PLUGIN_TABLE(static, PH_IS(.summary = "one value for every key", .exec = PH_PURE),
 *                     .open = static_open, .lookup = static_lookup);
 *
 * A table is opened in each process that uses it, before the seal, with what
 * it needs already at hand afterwards; of files it says in open which it opens again
 * (ph_reopen_later), of servers which ports (ph_dial_later).  A failed lookup is
 * PH_TEMP, never "not found". */
#ifndef POSTHORN_TABLE_H
#define POSTHORN_TABLE_H

#include <posthorn/plugin.h>

PH_BEGIN

#define PH_TABLE_REVISION 1

/* Table flags, set by core before open. */
#define PH_TABLE_FOLD      1u   /* keys are folded to lower case by core (fixed tables) */
#define PH_TABLE_WRITE     2u   /* update, remove wanted, in place */
#define PH_TABLE_CREATE    4u   /* built anew beside the old one, visible at commit: postmap;
                                   with PH_TABLE_WRITE it starts with what the old one has */
#define PH_TABLE_SECURE    8u   /* used where an answer gives rights (aliases, uid maps) */
#define PH_TABLE_NO_NUL    16u  /* stored without the NUL that usually ends keys and values */
#define PH_TABLE_WITH_NUL  32u  /* with it, where the type's usual form has none */
#define PH_TABLE_KEEP      64u  /* an update of a key that is there changes nothing and says PH_NONE */
#define PH_TABLE_ANY_BYTES 128u /* keys and values need not be UTF-8, letters are those of ASCII; also when
                                   smtputf8_enable is no */
#define PH_TABLE_LITERAL   256u /* no parts of the key in answers ($1): they are routes */

/* What a table is, stated in the descriptor. */
#define PH_TABLE_PATTERN   1u   /* key is matched whole, no partial keys (regexp, pcre, cidr) */
#define PH_TABLE_INDEXED   2u   /* postmap builds it from a source file */
#define PH_TABLE_NOFOLD    4u   /* never fold the key (static, pattern tables do it themselves) */
#define PH_TABLE_INSECURE  8u   /* must not serve PH_TABLE_SECURE uses (regexp $n, tcp, ...) */

struct ph_table;

struct ph_table_plugin {
    struct ph_plugin plugin;
    uint32_t is;                /* PH_TABLE_PATTERN ... */
    uint32_t pad;
    /* Open `spec`, the text after "type:".  0, or negative with text. */
    int32_t (*open)(struct ph_table *t, ph_str spec);
    /* PH_FOUND and *val (on `out`), PH_NONE, negative: could not look. */
    int32_t (*lookup)(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val);
    /* PH_FOUND: replaced or new; PH_NONE: kept (PH_TABLE_KEEP); negative. */
    int32_t (*update)(struct ph_table *t, ph_str key, ph_str val);
    /* PH_FOUND removed, PH_NONE was not there. */
    int32_t (*remove)(struct ph_table *t, ph_str key);
    /* Walk: first != 0 starts.  PH_FOUND, PH_NONE at the end. */
    int32_t (*sequence)(struct ph_table *t, int32_t first, struct ph_scope *out,
                        ph_str *key, ph_str *val);
    /* After PH_TABLE_CREATE and all updates: make it visible, atomically. */
    int32_t (*commit)(struct ph_table *t);
    /* PH_FOUND when the source changed on disk since open, else PH_NONE. */
    int32_t (*changed)(struct ph_table *t);
};

struct ph_table {
    struct ph_scope *scope;     /* lives as long as the table; defers close it */
    void *self;                 /* the plugin's own */
    const struct ph_table_plugin *ops;
    ph_str type, name;          /* "hash", "/etc/postfix/virtual" */
    uint32_t flags;             /* PH_TABLE_FOLD ... */
    struct ph_conf *conf;       /* parameters; may be NULL in tests */
    uint32_t is;                /* the descriptor's PH_TABLE_PATTERN ...; open may say
                                   more of this one table (what stands on others) */
    uint32_t pad;
};

/* Open "type:name" (without type: $default_database_type): 0 and *t on s; PH_CONF, PH_TEMP.
 * What this process may not open itself (it may block, or stands behind proxy:) is asked
 * for in the proxymap(8) pool, whose trouble only shows when it is looked up. */
int ph_table_open(struct ph_conf *c, struct ph_scope *s, ph_str type_name, uint32_t flags, struct ph_table **t) PH_YIELDS;
/* PH_FOUND when tables of that type may block (its manifest says so); PH_NONE. */
int ph_table_type_blocks(ph_str type);
/* For tables that stand on others (pipemap, debug); such a plugin is
 * PH_COROUTINE, and never folds (PH_TABLE_NOFOLD): those below do.
 * Open one with t's flags: 0 and *inner, which lives as long as t; PH_CONF (also
 * what t's flags forbid), PH_TEMP. */
int ph_table_inner(struct ph_table *t, ph_str type_name, struct ph_table **inner) PH_YIELDS;
/* Fold as the table wants and ask: PH_FOUND with *val on out, PH_NONE, negative
 * with the table named in the text.  A plugin's broken answer reads as failure, and so
 * does a value that is no UTF-8; a key that is none is not found; both are warned of.
 * Once a second it looks whether the table was rebuilt, and then reads the new one. */
int ph_table_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val) PH_YIELDS;
/* For tables opened with PH_TABLE_WRITE or PH_TABLE_CREATE, and walks; answers
 * as of the plugin's calls.  PH_CONF: this type cannot do that. */
int ph_table_update(struct ph_table *t, ph_str key, ph_str val) PH_YIELDS;
int ph_table_remove(struct ph_table *t, ph_str key) PH_YIELDS;
int ph_table_next(struct ph_table *t, int first, struct ph_scope *out, ph_str *key, ph_str *val) PH_YIELDS;
int ph_table_commit(struct ph_table *t) PH_YIELDS;
/* The key as t's flags want it: as it is, or (PH_TABLE_FOLD) in lower case, on s. */
ph_str ph_table_key(const struct ph_table *t, struct ph_scope *s, ph_str key);

/* In open, before it can fail: the file at this path will be opened again, when it was
 * replaced, or is not there yet.  The seal leaves files in its directory (and below)
 * readable, for the owner's and groups' rights that the process has; not what lies in
 * the root directory, with a warning.  A path that does not begin with / is nothing. */
void ph_reopen_later(const char *path);

/* What the proxymap(8) pool answers (`status`). */
#define PH_REMOTE_OK      0u
#define PH_REMOTE_NONE    1u    /* no such key */
#define PH_REMOTE_RETRY   2u
#define PH_REMOTE_BAD     3u    /* no request that it knows */
#define PH_REMOTE_DENY    4u    /* the configuration does not name that table, or it may not be changed */
#define PH_REMOTE_CONFIG  5u    /* it cannot be opened as it is written */
/* In open: the source file of a table that is read whole (posthorn/source.h), or lines
 * in braces; as above, it may come later.  0, or negative with text. */
struct ph_source;
int ph_table_source(struct ph_table *t, ph_str name, struct ph_source *src);

#define PH_PLUGIN_TABLE(name_, ...) \
    PH_ENTRY_(struct ph_table_plugin, table_##name_##_LTX_ph_plugin, PH_KIND_TABLE, PH_TABLE_REVISION, name_, __VA_ARGS__)
PH_END
#endif
