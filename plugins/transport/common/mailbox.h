/* mailbox: writing one message into a maildir or an mbox; shared by the agents
 * that do (virtual, local), whose objects each hold a copy.
 *
 * prefix.c   what stands before the message; parameters of locks
 * copy.c     the content      maildir.c, mbox.c   where it goes */
#ifndef TRANSPORT_MAILBOX_H
#define TRANSPORT_MAILBOX_H

#include <posthorn/transport.h>

struct mailbox_locks {
    uint32_t use_fcntl, use_flock, use_dotlock;
    int64_t attempts, delay_s, stale_s; /* tries, time between two, age at which a dotlock is removed */
};

/* "fcntl, dotlock" of the parameter `what`: 0, or PH_CONF. */
int mailbox_parse_locks(const char *what, ph_str list, struct mailbox_locks *l);
/* Return-Path, X-Original-To and Delivered-To (each unless empty); for an mbox the
 * From_ line first.  Addresses in internal form; LF line ends. */
ph_str mailbox_prefix(struct ph_scope *s, ph_str sender, ph_str original, ph_str delivered_to, int mbox);

/* What is done in the disk pool: no yielding, logging or tasks. */
struct mailbox_job {
    const struct ph_message *message;
    const char *path;              /* absolute; a maildir's ends in '/' */
    ph_str prefix;                 /* From_ line (mbox) and the headers put in front, LF ends */
    uint64_t limit;                /* bytes of the message or of the mbox; 0: none */
    const struct mailbox_locks *locks; /* mbox only */
    uint64_t written;              /* bytes, for tests */
    const char *dsn;               /* set on failure: the code that fits the cause */
};

/* 0 delivered and on stable storage; MAILBOX_BUSY: locked by another, nothing
 * done, try again later; PH_TEMP or PH_PERM with text and job->dsn. */
#define MAILBOX_BUSY 1
int maildir_deliver(void *job);
int mbox_deliver(void *job);
/* The whole delivery from a task: a mailbox that is locked is tried again, as
 * often as its locks say.  0, PH_TEMP, PH_PERM, PH_CANCEL.  Yields. */
int mailbox_deliver(struct mailbox_job *job, int maildir) PH_YIELDS;

/* Write prefix and content to fd at its offset, CRLF turned into LF, with
 * `>` before "From " at the start of a line when quote_from.  0, or negative
 * with text and job->dsn. */
int mailbox_copy(struct mailbox_job *job, int fd, int quote_from);
/* The negative code and job->dsn for an errno of a write. */
int mailbox_write_failed(struct mailbox_job *job, int err);

#endif
