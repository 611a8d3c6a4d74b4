/* core/cmd/postsuper.h: what the files of postsuper share. */
#ifndef CORE_CMD_POSTSUPER_H
#define CORE_CMD_POSTSUPER_H

#include "core/cmd/queue_client.h"

/* What is done to a message. */
enum verb { VERB_REQUEUE, VERB_DELETE, VERB_EXPIRE, VERB_HOLD, VERB_RELEASE, VERBS };

struct postsuper {
    struct ph_scope *scope;
    struct ph_conf *conf;
    const char *dir;
    ph_str *queues;                /* named on the command line */
    size_t queue_count;
    uint64_t done[VERBS];
    int asked[VERBS];
    int queue_dir;
    struct ph_stream *qmgr;        /* the running one, or NULL */
    struct ph_queue *store;        /* ours while none runs */
};

/* Is this queue among those named, or, when none is, those of the verb? */
int postsuper_selects(const struct postsuper *p, enum verb v, const char *queue);

/* postsuper_tree.c: misplaced files and old litter (-s, -p); what happens is logged. */
void postsuper_tree(struct postsuper *p, int structure, int purge);
/* Path of a log of bounce's about that message, below queue_directory. */
void postsuper_log_path(struct postsuper *p, const char *log, const char *id, char *path, size_t size);

/* The store, when qmgr does not run: become its owner.  0, PH_TEMP. */
int postsuper_store_open(struct postsuper *p) PH_YIELDS;
/* One message, or all selected: how many, or negative. */
int64_t postsuper_store_one(struct postsuper *p, enum verb v, ph_str id) PH_YIELDS;
int64_t postsuper_store_all(struct postsuper *p, enum verb v) PH_YIELDS;

#endif
