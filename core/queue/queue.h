/* queue: the promise.  The store as its one owner sees it: the qmgr service
 * while the system runs, postsuper and postcat while it does not.
 *
 * A message is one file.  It is born in a slot (pool/H/NAME) that a receiver
 * leased, stays there while it is delivered, and leaves by rename only when it
 * is deferred, held or found damaged.  Its name in life is the id in the
 * owner's memory, never the bytes of the file (a receiver wrote those).
 *
 * README.md beside this file has the state table, the crash table and the
 * format.  Files:
 *   id.c      queue ids                       record.c   the commit record, encode and parse
 *   verify.c  the checksum over every byte    message.c  a message from a descriptor (agents)
 *   dirs.c    directories, order of syncs     slot.c     the pool of slots
 *   lease.c   slots lent to receivers         intake.c   the receivers' side
 *   store.c   marks and moves                 recover.c  the scan at start
 *   portion.c recipients, some at a time    remove.c  the end of many at once
 *   walk.c    listing directories lazily       glance.c   what a listing shows of their files
 *   note.c    why a message is still there, in its file
 *
 * Calls marked PH_YIELDS go to the disk pool.  No statics: one struct ph_queue
 * per queue directory. */
#ifndef CORE_QUEUE_QUEUE_H
#define CORE_QUEUE_QUEUE_H

#include <posthorn/frame.h>
#include <posthorn/message.h>
#include <posthorn/param.h>
#include "core/base/list.h"
#include "core/queue/id.h"
#include "core/queue/note.h"

struct ph_queue;
struct ph_slot;

/* Where the file of a message is. */
#define PH_PLACE_SLOT     0   /* pool/H/NAME: new mail, shown as incoming or active */
#define PH_PLACE_INCOMING 1   /* only if someone put it there (an import) */
#define PH_PLACE_ACTIVE   2
#define PH_PLACE_DEFERRED 3   /* stays there while it is tried again */
#define PH_PLACE_HOLD     4
#define PH_PLACE_CORRUPT  5
#define PH_PLACES         6
const char *ph_place_name(unsigned place);        /* "pool", "incoming", ... */
int ph_place_find(ph_str name);                   /* or -1 */

/* A message the owner has in memory.  Made by the store; whoever gets one owns
 * it until ph_queue_remove, ph_queue_forget or another call that says so. */
struct ph_qmsg {
    struct ph_list node;             /* the holder's */
    void *holder;                    /* the holder's */
    char id[PH_ID_MAX + 1];          /* its name */
    uint32_t place;                  /* PH_PLACE_* */
    uint32_t loaded;                 /* 1: what stands below is there */
    uint32_t recovered;              /* 1: found on disk, so an agent of an earlier life may still
                                        deliver it (ph_queue_load looks), and there may be logs;
                                        its holder's to clear */
    int64_t next_us;                 /* deferred: time of the next attempt (mtime) */
    /* After load (or hot hand-off). */
    struct ph_message message;       /* fd is -1; views on scope; queue_id is id above; no rcpt */
    unsigned char *state;            /* of each recipient, with the store's own bit: ph_qmsg_state */
    struct ph_list portions;         /* recipients in memory: ph_qmsg_rcpt */
    uint32_t rcpt_count, pending;    /* pending: recipients whose state is pending */
    uint32_t failed;                 /* recipients whose state is failed */
    uint32_t warned;                 /* 1: the delay warning was sent */
    uint32_t expired;                /* 1: forced to expire by the administrator */
    uint32_t whole;                  /* 1: all recipients are in memory as long as it is loaded */
    struct ph_scope *scope;          /* of what is loaded; ends with unload */
    /* The store's. */
    struct ph_queue *queue;
    struct ph_slot *slot;
    struct ph_list open_node;        /* among those with a descriptor kept */
    int fd;                          /* read-write, -1 until needed */
    int dirty;                       /* marks written since the last sync */
    int unmarked;                    /* some state byte could not be written */
    int moving;                      /* the store itself is moving it: nobody finds it meanwhile */
    int sync_failed;                 /* never to be believed, or its slot used, again */
    uint64_t inode, rcpt_offset, rcpt_bytes, marks_offset, file_bytes;
    uint32_t record_crc;             /* of its record */
};

/* Some recipients of a message, in memory while anybody uses them. */
struct ph_portion {
    struct ph_list node;             /* in qmsg.portions */
    uint32_t first, n;               /* their numbers: first .. first + n - 1 */
    uint32_t users;
    struct ph_message_rcpt *rcpt;    /* of those that are open, the rest are empty; not their state */
    struct ph_scope *scope;
};
/* Where to read on; starts as zeros. */
struct ph_rcpt_cursor {
    uint32_t index;
    uint64_t offset;
};

/* What the owner is told.  Neither may yield. */
struct ph_queue_events {
    /* m belongs to the queue from now on and to you: handed over by a receiver,
     * adopted from one that ended, or found at start.  m->loaded is 0 when it was
     * found, adopted, or has_room said no. */
    void (*arrived)(void *arg, struct ph_qmsg *m);
    /* 1: take the envelope with the hand-off, with so many recipients; 0: leave it
     * in its slot, unread. */
    int (*has_room)(void *arg, uint32_t rcpts);
};

/* Open queue_directory and become its owner; makes missing directories.
 * PH_TEMP: another process owns it (text says so) or the directory is not
 * usable; PH_CONF.  Ends with the scope (descriptors, lock, memory; messages
 * still held are freed, their files stay). */
int ph_queue_open(struct ph_scope *s, struct ph_conf *c, const struct ph_queue_events *ev,
                  void *arg, struct ph_queue **q) PH_YIELDS;
/* The same for a program that only looks: no lock, nothing is changed (so load
 * answers PH_PERM for what is damaged and leaves it where it is). */
int ph_queue_open_read(struct ph_scope *s, struct ph_conf *c, struct ph_queue **q) PH_YIELDS;
/* Once after open: pool, incoming, active.  Complete messages go to arrived
 * (unless on hold), finished ones are removed, damaged ones go to corrupt with a
 * warning, unfinished slots are unlinked, those whose lease lives are watched
 * until it ends or its worker comes back.  deferred and hold are not read.
 * 0, or PH_TEMP.  Yields. */
int ph_queue_recover(struct ph_queue *q) PH_YIELDS;
/* Background work of the owner (slots ahead, leases without a connection):
 * starts tasks in g.  Call after recover. */
int ph_queue_start(struct ph_queue *q, struct ph_group *g);
/* Re-read parameters after a reload: 0, or PH_CONF and nothing changed. */
int ph_queue_reload(struct ph_queue *q, struct ph_conf *c);

/* A connection whose hello said role=intake: serve it until it ends, then adopt
 * what its worker left complete.  Answers why it ended. */
int ph_queue_serve_intake(struct ph_queue *q, struct ph_scope *session, struct ph_stream *io,
                          const struct ph_frame *hello) PH_YIELDS;

/* Read envelope and recipients.  0; PH_FOUND: an agent still delivers it
 * (m->recovered was set and a reader's lock is held): try later; PH_NONE: the file
 * is gone or was finished, m is freed; PH_PERM: damaged, moved to corrupt with a
 * warning, m is freed; PH_TEMP.  Yields. */
int ph_queue_load(struct ph_queue *q, struct ph_qmsg *m) PH_YIELDS;
/* The same; recipients only when there are at most `max`.  Else they are read in
 * portions. */
int ph_queue_load_upto(struct ph_queue *q, struct ph_qmsg *m, uint32_t max) PH_YIELDS;
/* The next `max` recipients from the cursor on that are not done; it moves: 0 and *p,
 * with one user; PH_NONE: no more; PH_PERM: damaged; PH_TEMP; PH_CANCEL.  m must
 * stay loaded meanwhile.  Recipients that were read whole are found too. */
int ph_queue_portion(struct ph_queue *q, struct ph_qmsg *m, struct ph_rcpt_cursor *at, uint32_t max,
                     struct ph_portion **p) PH_YIELDS;
/* n users less; the last one frees it. */
void ph_portion_drop(struct ph_portion *p, uint32_t n);
/* The portion that holds recipient i, or NULL. */
struct ph_portion *ph_qmsg_portion(struct ph_qmsg *m, uint32_t i);
/* Recipient i: it must be in memory. */
struct ph_message_rcpt *ph_qmsg_rcpt(struct ph_qmsg *m, uint32_t i);
/* Its state, PH_STATE_*: known of all; may be ahead of the file. */
static inline uint32_t ph_qmsg_state(const struct ph_qmsg *m, uint32_t i) { return m->state[i] & 0x7fu; }
/* Forget what load read (m stays). */
void ph_queue_unload(struct ph_qmsg *m);
/* A fresh read-only descriptor of m with a reader's lock on it, for an agent or
 * a program: the caller sends it and closes it.  The lock ends with the last
 * holder and keeps the slot from being used again.  PH_TEMP, PH_PERM (gone). */
int ph_queue_open_reader(struct ph_queue *q, struct ph_qmsg *m);
/* The same for an agent of `who`; *kept 1: it stays open for the next one of `who`, so
 * the caller closes nothing, and says when it is back: is_over 1 the agent has
 * given its lock up, 0 it may still work with it (and nobody else gets it then). */
int ph_queue_lend_reader(struct ph_queue *q, struct ph_qmsg *m, const void *who, int *kept);
void ph_queue_reader_back(struct ph_queue *q, struct ph_qmsg *m, int is_over);
/* 1 when fd is a read-only descriptor of m's file: who shows one was handed the
 * message, by us or by a qmgr before us (nobody else can open the file).  0, or
 * PH_TEMP when the files cannot be looked at now. */
int ph_queue_is_reader(const struct ph_queue *q, const struct ph_qmsg *m, int fd);

/* Write the state byte of recipient i (m is loaded) and count.  Does not sync
 * and does not yield.  0; PH_TEMP: the byte could not be written; the state in
 * memory holds and remove, defer and sync try again. */
int ph_queue_mark(struct ph_queue *q, struct ph_qmsg *m, uint32_t i, char state);
/* The delay warning is durable: never send it again. */
int ph_queue_mark_warned(struct ph_queue *q, struct ph_qmsg *m);
/* Forced to expire (postsuper -e). */
int ph_queue_mark_expired(struct ph_queue *q, struct ph_qmsg *m);
/* Why these recipients are deferred, for listings (note.h): m is loaded.  Does not sync
 * and does not yield; the log has the words too.  0 (also when there is no room for
 * it); PH_TEMP: the old note may stand there still. */
int ph_queue_note(struct ph_queue *q, struct ph_qmsg *m, const uint32_t *rcpt, const ph_str *text, uint32_t n);
/* The marks are on disk: before a notice is committed, and before a bounce log
 * is removed.  0; PH_TEMP (never retried by us; the slot will not be used again). */
int ph_queue_sync(struct ph_queue *q, struct ph_qmsg *m) PH_YIELDS;

/* All is done, or the administrator deletes it: m is freed, the file is gone or
 * its slot free.  PH_TEMP: it stays (m lives), try again. */
int ph_queue_remove(struct ph_queue *q, struct ph_qmsg *m) PH_YIELDS;
/* 1 when that would neither yield nor fail now: all is done and marked, and its slot
 * is used again. */
int ph_queue_remove_is_quick(const struct ph_qmsg *m);
/* The same for many that are not in slots.  How many stay (live): they are the first
 * of the array then, with the trouble of the last as text. */
unsigned ph_queue_remove_many(struct ph_queue *q, struct ph_qmsg **m, unsigned n) PH_YIELDS;
/* Next attempt at next_us (wall clock); moves it to deferred when it is not
 * there.  m lives.  0, PH_TEMP (it stays where it was: still in memory). */
int ph_queue_defer(struct ph_queue *q, struct ph_qmsg *m, int64_t next_us) PH_YIELDS;
/* To hold; from hold to deferred, due now; to maildrop (m is freed); to corrupt
 * (m is freed).  PH_TEMP: nothing happened and m lives.  Whoever then tells an
 * administrator settles before. */
int ph_queue_hold(struct ph_queue *q, struct ph_qmsg *m) PH_YIELDS;
int ph_queue_release(struct ph_queue *q, struct ph_qmsg *m) PH_YIELDS;
int ph_queue_requeue(struct ph_queue *q, struct ph_qmsg *m) PH_YIELDS;
int ph_queue_corrupt(struct ph_queue *q, struct ph_qmsg *m, const char *why) PH_YIELDS;
/* What was moved is on disk where it is now (else a warning: it will be later). */
void ph_queue_settle(struct ph_queue *q) PH_YIELDS;
/* Free m, keep the file (deferred or held mail that nobody works on). */
void ph_queue_forget(struct ph_queue *q, struct ph_qmsg *m);

/* The message of that id: in memory, or else in deferred, hold, incoming, active
 * or corrupt.  PH_FOUND; *in_memory 1: it has a holder already, do not forget it;
 * 0: *m is new, not loaded, and yours.  PH_NONE.  PH_PERM: not an id.  PH_TEMP: just
 * being moved. */
int ph_queue_find(struct ph_queue *q, ph_str id, struct ph_qmsg **m, int *in_memory) PH_YIELDS;
struct ph_qmsg *ph_queue_in_memory(struct ph_queue *q, ph_str id);
size_t ph_queue_count(const struct ph_queue *q);      /* messages in memory */
/* Walk those in memory, in no order: start with *at = 0; NULL at the end.  Only
 * the one just returned may be removed during a walk. */
struct ph_qmsg *ph_queue_next(const struct ph_queue *q, size_t *at);

/* Walk the files of one directory (deferred, hold, corrupt, incoming, active; with
 * ph_queue_open_read the pool too: slots that hold a record, finished or not), some
 * hundred names at a time, so that a million cost no memory.  A file that is there from
 * the beginning to the end is found once; one that comes or goes meanwhile, perhaps.
 * Ends with the scope.  Of the calls below one walk makes one kind. */
struct ph_walk;
struct ph_walk *ph_walk_new(struct ph_scope *s, struct ph_queue *q, unsigned place);
/* Names of which is_known says 1 are passed over: nothing is read about them. */
void ph_walk_pass(struct ph_walk *w, int (*is_known)(void *arg, ph_str id), void *arg);
/* PH_FOUND: *m is new, not loaded, and yours (forget it, or work on it); what is in
 * memory is skipped.  PH_NONE at the end; PH_TEMP (a directory could not be read),
 * PH_CANCEL.  Yields. */
int ph_walk_next(struct ph_walk *w, struct ph_qmsg **m) PH_YIELDS;
/* The same, but only the id (until the next call), also of what is in memory; and
 * the time of the next attempt of a deferred message. */
int ph_walk_name(struct ph_walk *w, ph_str *id) PH_YIELDS;
int ph_walk_time(struct ph_walk *w, ph_str *id, int64_t *next_us) PH_YIELDS;

/* glance.c: what a listing shows of a message that it does not take into its hands. */
struct ph_glance {
    ph_str id;
    int rc;                        /* 0; PH_FOUND: it has more recipients than were wanted; else
                                      the file could not be read, or is damaged */
    uint32_t expired;
    struct ph_message message;     /* with rcpt and their states, as the file has them; fd: none */
    const struct ph_note *note;    /* or NULL */
};
/* As ph_walk_name; *g until the next call.  Not checked against the checksum. */
int ph_walk_glance(struct ph_walk *w, uint32_t rcpts, const struct ph_glance **g) PH_YIELDS;

/* A message from its file, checking every byte against the checksum first
 * (ph_message_open of message.h does not).  `marks` (or NULL): PH_MARK_*. */
#define PH_MARK_WARNED  1u
#define PH_MARK_EXPIRED 2u
#define PH_MARK_HOLD    4u   /* reception asked for hold */
int ph_message_verify(struct ph_scope *s, int fd, ph_str id, struct ph_message **m,
                      uint32_t *marks) PH_YIELDS;

#endif
