/* core/cmd/layout.h: who owns what: directories of the queue and data, programs
 * and configuration.  One table serves `postfix init` and `start` (make what is
 * missing), `check` (say what deviates) and `set-permissions` (repair).
 *
 * Run by an ordinary user everything is his, and groups do not matter.
 *
 * As root nothing here follows a link, or changes a file that has another name,
 * below a directory that is not root's: its owner could have put it there. */
#ifndef CORE_CMD_LAYOUT_H
#define CORE_CMD_LAYOUT_H

#include "core/conf/accounts.h"

struct layout {
    struct ph_scope *scope;
    struct ph_conf *conf;
    const char *destdir;           /* in front of every path; "" */
    struct ph_accounts accounts;
    int as_root;
    int shallow;                   /* 1: check does not look at each file of the queue */
    unsigned found;                /* deviations that layout_check said */
};

/* destdir: put in front of every path, "" for none.  0; PH_CONF with text:
 * accounts that cannot be used. */
int layout_open(struct layout *l, struct ph_scope *s, struct ph_conf *c, const char *destdir);
/* Make the directories that are missing: 0; PH_TEMP.  What is there stays as it is. */
int layout_make(struct layout *l);
/* Say each deviation as a warning: how many there were. */
unsigned layout_check(struct layout *l);
/* Make what is missing, and give everything the owner, group and mode of the
 * table; says what it changed.  0; PH_TEMP: something could not be done (said). */
int layout_repair(struct layout *l);
/* layout_files.c: the same for what packages of others list in
 * $meta_directory/postfix-files and postfix-files.d. */
int layout_repair_files(struct layout *l);

#endif
