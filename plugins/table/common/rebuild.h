/* rebuild: files of indexed tables: built beside the old one, which they replace
 * when they are whole and on stable storage.  Readers see the old one or the new
 * one; writers exclude each other.  Blocking I/O; no call yields. */
#ifndef TABLE_REBUILD_H
#define TABLE_REBUILD_H

#include <sys/stat.h>
#include <posthorn/table.h>

struct rebuild {
    const char *path, *tmp;        /* tmp: what is being built, or NULL */
    const char *dir;               /* where both stand */
    struct stat st;                /* of path when it was opened or locked */
    int locked_fd;                 /* of path, or -1 */
};

/* Names: spec with the suffix; what is left behind goes when t's scope ends.  0, or
 * PH_CONF. */
int rebuild_init(struct ph_table *t, struct rebuild *r, ph_str spec, const char *suffix);
/* Lock the table against other writers, when it is there: 0 (locked_fd says), PH_TEMP. */
int rebuild_lock(struct rebuild *r);
/* The same, and choose the name of the new file. */
int rebuild_begin(struct ph_table *t, struct rebuild *r);
/* Make the new file, empty: nobody put one there before us.  0, PH_TEMP. */
int rebuild_create(const struct rebuild *r);
/* The bytes of the locked one become the new file, with its group and mode as below. */
int rebuild_copy_old(struct rebuild *r);
/* The new file gets the group and the mode of the locked one, if that is ours, and as
 * far as we may: no owner changes.  What is read from a source (t without PH_TABLE_WRITE)
 * is not opened to more than the source was.  0, PH_TEMP. */
int rebuild_like_old(const struct ph_table *t, const struct rebuild *r);
/* Whether entries that are stored with a NUL behind them, or without it, are meant (-n, -N). */
static inline int rebuild_takes(const struct ph_table *t, int with_nul)
{
    return !(t->flags & (with_nul ? PH_TABLE_NO_NUL : PH_TABLE_WITH_NUL));
}
/* The new file is whole: 0 when it is on stable storage and has the name; PH_TEMP. */
int rebuild_commit(struct rebuild *r);
/* Look at the file that a reader opens: 0, PH_TEMP ("open database ...").  Warns when
 * the source (spec) is newer: somebody edited it and forgot postmap. */
int rebuild_look(struct ph_table *t, struct rebuild *r, ph_str spec);
/* PH_FOUND when path is another file than the one looked at, or was written to. */
int rebuild_changed(const struct rebuild *r);

#endif
