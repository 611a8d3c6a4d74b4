/* postmap: between its files. */
#ifndef CORE_CMD_POSTMAP_H
#define CORE_CMD_POSTMAP_H

#include <sys/stat.h>
#include <posthorn/source.h>
#include "core/cmd/cmd.h"
#include "core/plugin/tables.h"

struct postmap {
    struct ph_scope *scope, *step;  /* step: of one key */
    struct ph_conf *conf;
    const char *dir;
    int is_alias;                  /* postalias: `name: value, value` */
    int mode;                      /* q d s i, or 0: build */
    const char *key;               /* of -q and -d */
    int no_fold, keep_root, open_mode, quiet, replace, any_bytes, json;
    uint32_t nul;                  /* PH_TABLE_NO_NUL (-n), PH_TABLE_WITH_NUL (-N), or as the type has it */
    int headers, body, mime, check_bytes;   /* -h -b -m -U */
    int files;                     /* -F */
    char **names;                  /* of -q */
    struct ph_table **tables;      /* NULL: not opened yet */
    int table_count;
};

/* Build "type:file" from file, or (-i) add standard input to it; fatal on failure. */
void postmap_build(struct postmap *p, const char *table);
/* The type of a table that is named with one, or the default's, on s. */
ph_str postmap_type(const struct postmap *p, struct ph_scope *s, const char *table);
/* As root, without -o: who owns the table's file, or its directory where there is none
 * yet; and work with his rights, until postmap_become_self. */
void postmap_find_owner(struct postmap *p, const char *table, struct stat *owner);
void postmap_become(const struct postmap *p, const char *what, const char *path, const struct stat *owner);
void postmap_become_self(void);
/* postmap_message.c: a message on standard input to fn, key by key, which says 1
 * for a hit: 1 when there was one. */
int postmap_message(struct postmap *p, int (*fn)(struct postmap *p, ph_str key));
/* postmap_files.c: content of the files, on s: 0, PH_CONF; as base64; and back: 1, 0
 * when it is not base64. */
int postmap_read_files(struct ph_scope *s, ph_str list, ph_str *value);
ph_str postmap_encode(struct ph_scope *s, ph_str in);
int postmap_decode(struct ph_scope *s, ph_str in, ph_str *out);
/* The text behind "type:", as the table will see it. */
const char *postmap_path(const char *table);
/* A key as it is stored, on s. */
ph_str postmap_key(const struct postmap *p, struct ph_scope *s, ph_str key);
/* The table in messages about a duplicate: "x.db", on s. */
ph_str postmap_shown_duplicate(struct ph_scope *s, const struct ph_table *t);
/* Why a table could not be opened: without its name in front, which is said already. */
const char *postmap_cause(const struct postmap *p, const char *table);

/* postalias.c: an alias as it is stored, on s. */
enum postalias { POSTALIAS_PAIR, POSTALIAS_NO_PAIR, POSTALIAS_NOT_LOCAL };
int postalias_parse(struct ph_scope *s, ph_str line, ph_str *name, ph_str *value);

#endif
