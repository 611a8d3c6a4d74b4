/* mailbox: writing one message into a maildir or an mbox.  These run in the
 * disk pool: they do not yield, log or touch tasks. */
#ifndef VIRTUAL_MAILBOX_H
#define VIRTUAL_MAILBOX_H

#include <posthorn/message.h>

struct mailbox_job {
    const struct ph_message *message;
    const char *path;              /* absolute; a maildir's ends in '/' */
    ph_str prefix;                 /* From_ line (mbox) and the headers put in front, LF ends */
    uint64_t limit;                /* bytes of the message or of the mbox; 0: none */
    int64_t stale_seconds;         /* age at which a dotlock is removed */
    uint32_t use_fcntl, use_flock, use_dotlock;
    uint64_t written;              /* bytes, for tests */
    const char *dsn;               /* set on failure: the code that fits the cause */
};

/* 0 delivered and on stable storage; MAILBOX_BUSY: locked by another, nothing
 * done, try again later; PH_TEMP or PH_PERM with text and job->dsn. */
#define MAILBOX_BUSY 1
int maildir_deliver(void *job);
int mbox_deliver(void *job);

/* Write prefix and content to fd at its offset, CRLF turned into LF, with
 * `>` before "From " at the start of a line when quote_from.  0, or negative
 * with text and job->dsn. */
int mailbox_copy(struct mailbox_job *job, int fd, int quote_from);
/* The negative code and job->dsn for an errno of a write. */
int mailbox_write_failed(struct mailbox_job *job, int err);

#endif
