/* core/cmd/edit_file.h: changing a configuration file: all of the change is seen,
 * or none, and two who edit at once wait for each other.
 *
 * The new text goes to PATH.tmp under flock (the name and the lock that Postfix's
 * own tools use), is synced, and takes the name of the old by rename; then the
 * directory is synced.  Owner and mode stay.  A symbolic link stays: the file
 * that it leads to is edited.  Whatever fails is fatal and leaves the old file. */
#ifndef CORE_CMD_EDIT_FILE_H
#define CORE_CMD_EDIT_FILE_H

#include <posthorn/scope.h>

struct edit_file {
    const char *path, *fresh;      /* the file itself, and what will replace it */
    const char *shown;             /* the name that the caller gave, for messages */
    int fd;                        /* of fresh, locked */
    ph_str text;                   /* what the file holds */
};

/* Lock and read a file of at most max bytes; it must exist.  Memory on s. */
void edit_file_open(struct edit_file *e, struct ph_scope *s, const char *path, size_t max);
/* Put the text in its place and release the lock. */
void edit_file_commit(struct edit_file *e, ph_str text);
/* Leave the file as it is and release the lock. */
void edit_file_abandon(struct edit_file *e);

#endif
