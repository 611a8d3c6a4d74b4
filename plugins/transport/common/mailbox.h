/* mailbox: writing one message into a maildir or an mbox; shared by the agents
 * that do (virtual, local), whose objects each hold a copy.
 *
 * prefix.c   what stands before the message; parameters of locks; the tries
 * copy.c     the content      maildir.c, mbox.c   where it goes */
#ifndef TRANSPORT_MAILBOX_H
#define TRANSPORT_MAILBOX_H

#include <posthorn/spawn.h>
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

struct mailbox_job {
    const struct ph_message *message;
    struct mailbox_turns *turns;   /* of the agent */
    struct ph_files *files;        /* the owner's hands and his uid: mailbox_open */
    uint32_t uid;
    uint32_t may_be_own;           /* 1: no helper when the owner is this process's user */
    uint32_t is_file;              /* 1: no mailbox but a file that somebody named: may be a
                                      symbolic link, a device; a lock file may be impossible */
    uint32_t any_owner;            /* 1: the file may be another's */
    uint32_t no_lock_file;         /* out: 1: the lock file could not be made (is_file) */
    const char *path;              /* absolute; a maildir's ends in '/' */
    ph_str prefix;                 /* From_ line (mbox) and the headers put in front, LF ends */
    uint64_t limit;                /* bytes of the message or of the mbox; 0: none */
    const struct mailbox_locks *locks; /* mbox only */
    uint32_t busy;                 /* out: 1: locked by another, nothing done: try again later */
    const char *dsn;               /* set on failure: the code that fits the cause */
};

/* Deliveries of this process to one mbox take turns: a lock file is no queue, and
 * who finds one waits for deliver_lock_delay. */
struct mailbox_turns;
struct mailbox_turns *mailbox_turns_new(struct ph_scope *s);

/* Whose rights it is written with: 0; PH_CONF, PH_TEMP.  `s` lives as long as the
 * job.  Yields. */
int mailbox_open(struct ph_scope *s, struct mailbox_job *job, const struct ph_identity *id) PH_YIELDS;
/* The whole delivery: 0 and it is on stable storage; PH_TEMP, PH_PERM with text
 * and job->dsn; PH_CANCEL.  A mailbox that is locked is tried again, as often as
 * its locks say.  Yields. */
int mailbox_deliver(struct mailbox_job *job, int maildir) PH_YIELDS;

/* Prefix and content given to `put` in pieces, CRLF turned into LF, with `>` before
 * "From " at the start of a line when quote_from.  0, or what put or the reading
 * answered.  In a task (then it may yield) or in the disk pool. */
int mailbox_copy_to(const struct ph_message *m, ph_str prefix, int quote_from,
                    int (*put)(void *arg, const char *p, size_t n), void *arg) PH_YIELDS;

/* ---- between the files of this folder ---- */

/* 0 and it is on stable storage, or negative with job->dsn. */
int maildir_deliver(struct mailbox_job *job) PH_YIELDS;

/* ... and these run in the disk pool, too. */

/* 0, or negative, perhaps with job->busy. */
int mbox_deliver(void *job);
/* Remove a file of ours; the error told before stays the one that is told. */
void mailbox_unlink(struct mailbox_job *job, const char *path);
/* Prefix and content to fd at its offset.  0, or negative with text and job->dsn. */
int mailbox_copy(struct mailbox_job *job, int fd, int quote_from);
/* The negative code and job->dsn for an errno of a write. */
int mailbox_write_failed(struct mailbox_job *job, int err);
/* 1 when the errno says that what the owner did to his files is his to mend. */
int mailbox_is_his(int err);
/* Code and job->dsn for a failed call on a name (rc, err of it): "what: why". */
int mailbox_files_failed(struct mailbox_job *job, int rc, int err, const char *fmt, ...) PH_PRINTF(4, 5);

#endif
