/* postmap: between its files. */
#ifndef CORE_CMD_POSTMAP_H
#define CORE_CMD_POSTMAP_H

#include <posthorn/source.h>
#include "core/cmd/cmd.h"
#include "core/plugin/tables.h"

struct postmap {
    struct ph_scope *scope;
    struct ph_conf *conf;
    const char *dir;
    int is_alias;                  /* postalias: `name: value, value` */
    int mode;                      /* q d s i, or 0: build */
    const char *key;               /* of -q and -d */
    int no_fold, no_nul, keep_root, open_mode, quiet, replace, any_bytes, json;
};

/* Build "type:file" from file, or (-i) add standard input to it; fatal on failure. */
void postmap_build(struct postmap *p, const char *table);
/* The text behind "type:", as the table will see it. */
const char *postmap_path(const char *table);

#endif
