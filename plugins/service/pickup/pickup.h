/* pickup: submitted mail from maildrop/ into the queue.
 *
 * pickup.c  the service: when to look, which files, several at a time
 * file.c    one file: what may be opened, what becomes of it
 * submit.c  its message through cleanup */
#ifndef PICKUP_H
#define PICKUP_H

#include <sys/types.h>
#include <posthorn/client.h>
#include <posthorn/maildrop.h>
#include <posthorn/map.h>
#include <posthorn/plugin.h>
#include <posthorn/submission.h>

#define NAME_BYTES   64                /* of a file name in maildrop, with its NUL */
#define BATCH        256               /* names read at once */
#define AT_ONCE      8                 /* files under way */

struct pickup_params {
    ph_str myhostname, mail_name, overrides;
};

struct pickup {
    struct pickup_params p;
    const char *cleanup_flags;         /* what receive_override_options leaves */
    int maildrop, corrupt;             /* directories; corrupt may be -1 */
    int running, again;                /* a pass is under way; another was asked for */
    int stop;                          /* this pass cannot go on: cleanup does not answer */
    struct ph_map *taken;              /* "inode name" of files in the queue whose removal failed */
};

/* A connection to cleanup, used for one message after the other. */
struct feed {
    struct ph_scope *scope;            /* the connection's; NULL io: not connected */
    struct ph_stream *io;
    int own;                           /* what cleanup refused for now was about that message alone */
};

/* What the message is about, for its log line and trace header. */
struct origin {
    uid_t uid;
    const char *name;                  /* of the file */
};

/* file.c: one name of maildrop.  0: done with it, or nothing to do now (a message
 * that cleanup will not have yet waits for the next pass);
 * PH_TEMP: cleanup fails, the others will not fare better; PH_CANCEL.  Yields. */
int pickup_file(struct pickup *k, struct feed *f, struct ph_scope *step, const char *name) PH_YIELDS;

/* submit.c: a file in the form of posthorn/maildrop.h, or one that was put back
 * from the queue.  0: cleanup has it; PH_PERM: the file or the message is bad,
 * with text; PH_TEMP; PH_CANCEL.  Yields. */
int submit_maildrop(struct pickup *k, struct feed *f, struct ph_scope *step, int fd, const struct origin *o) PH_YIELDS;
int submit_requeued(const struct pickup *k, struct feed *f, struct ph_scope *step, int fd, const struct origin *o) PH_YIELDS;

#endif
