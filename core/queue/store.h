/* store.h: what the files of the owner's side share.  Not for other folders. */
#ifndef CORE_QUEUE_STORE_H
#define CORE_QUEUE_STORE_H

#include <posthorn/map.h>
#include "core/queue/queue.h"
#include "core/queue/record.h"

#define PH_SLOT_BYTES   (16u << 10)    /* written once when a slot is made */
#define PH_SLOT_MAX     (256u << 10)   /* a file that grew beyond has grown large: */
#define PH_SLOT_LARGEST (4u << 20)     /* used again up to this size, */
#define PH_POOL_LARGE   (64u << 20)    /* and while all of them together have at most so much */
#define PH_SLOT_NAME    40             /* "h/NAME" with its NUL */
#define PH_POOL_DIRS    16
#define PH_PATH         96             /* below queue_directory, with its NUL */

struct ph_queue_params {
    ph_str queue_directory;
    int64_t queue_minfree, message_size_limit, in_flow_delay;
    int32_t enable_long_queue_ids;
};

/* A slot of the pool.  It belongs to one worker from its first lease on, since a
 * leased descriptor cannot be revoked; without that worker it is unlinked. */
#define PH_SLOT_FRESH   0              /* made ahead, never leased */
#define PH_SLOT_LEASED  1              /* a receiver writes */
#define PH_SLOT_MESSAGE 2              /* holds a message of the queue */
#define PH_SLOT_FREE    3              /* its message is gone; for its worker again */
#define PH_SLOT_LIMBO   4              /* leased, and the connection is gone */
struct ph_slot {
    struct ph_list node;               /* in fresh, limbo, or its worker's leased, free or kept */
    char name[PH_SLOT_NAME];           /* "h/NAME" below pool */
    uint32_t state;
    uint32_t spoilt;                   /* never lease it again */
    int fd;                            /* read-write, kept from message to message; or -1 */
    /* Descriptors that are lent are kept too, and lent again to the same only: who has
     * one shares its lock and its flags.  -1: none. */
    int lease_fd;                      /* write-only, of its worker */
    int reader_fd;                     /* read-only, of the agents of reader_of */
    const void *reader_of;
    uint32_t reader_out;               /* 1: an agent has it */
    uint64_t inode;
    uint64_t large_bytes;              /* of its file, when it has grown large; counted for the pool */
    int64_t since_ms;                  /* free since */
    struct ph_worker *worker;          /* NULL when it ended */
};

/* One connection of a worker that receives mail. */
struct ph_worker {
    struct ph_list node;
    struct ph_queue *queue;
    struct ph_stream *io;
    struct ph_list leased, free, messages;
    struct ph_cond *wake;              /* its writer */
    uint32_t want[3];                  /* leases asked for, per PH_INTAKE_* */
    uint32_t lent;                     /* how many are leased to it */
    uint32_t refused;                  /* it was told that there are none */
    uint32_t told;                     /* it was told the settings */
    int gone;                          /* reading ended with this code (< 0) */
    char name[64];                     /* "smtpd[123]" */
};

struct ph_queue {
    struct ph_scope *scope;
    struct ph_queue_params params;
    const struct ph_queue_events *ev;
    void *arg;
    int dir_fd, lock_fd;
    int read_only, lend_fails;
    struct ph_map *by_id;              /* messages in memory */
    struct ph_map *slots;              /* by name */
    struct ph_map *dirty;              /* directories that renames went to, by path */
    struct ph_list fresh, limbo, workers, open;
    size_t fresh_count, open_count, open_max;
    uint64_t large_bytes;              /* of slots that have grown large and are used again */
    uint64_t slot_serial;
    uint32_t space_low;                /* below queue_minfree, or slots cannot be made */
    struct ph_cond *make;              /* wakes the maker of slots */
    struct ph_cond *order;             /* moves and pool syncs wait here for each other */
    int moving, pool_syncing, settling, maker_runs;
    struct ph_cond *limbo_wake;
    struct ph_group *group;
};

/* dirs.c */
/* Path below queue_directory of a message, or of a place ("deferred/A/ID"). */
void ph_queue_path(char out[PH_PATH], unsigned place, const char *name);
void ph_qmsg_path(char out[PH_PATH], const struct ph_qmsg *m);
/* Open the file of a message, never a link: a descriptor, or -1 with errno.  Reading leaves no
 * trace in the inode: a deferred file's mtime lies ahead, so each read would else set atime. */
int ph_queue_open_file(int dir_fd, const char *path, int flags);
/* Make missing directories: 0, PH_TEMP. */
int ph_dirs_make(struct ph_queue *q);
/* The owner is new: any directory may hold renames that the one before did not live
 * to sync, so all are dirty. */
void ph_dirs_inherit(struct ph_queue *q);
/* Rename below queue_directory, never over another file (but one that has both
 * names loses the old one); mtime_us >= 0 is set first.  The target's directory becomes dirty.  0; PH_NONE: from is gone;
 * PH_TEMP.  Yields. */
int ph_dirs_move(struct ph_queue *q, const char *from, const char *to, int64_t mtime_us) PH_YIELDS;
/* Sync directories that renames went to: 0, PH_TEMP.  Yields. */
int ph_dirs_settle(struct ph_queue *q) PH_YIELDS;
/* Sync pool/h, after all targets of earlier moves: a name must not vanish from
 * the disk before its new one is there.  Yields. */
int ph_dirs_sync_pool(struct ph_queue *q, const char *dir) PH_YIELDS;
/* 0 (also when it was not there), PH_TEMP.  Yields. */
int ph_dirs_unlink(struct ph_queue *q, const char *path) PH_YIELDS;

/* slot.c */
/* OFD locks: > 0 when another description's lock is in the way of that type. */
int ph_lock_is_held(int fd, short type);
/* Take one without waiting: 0, PH_TEMP. */
int ph_lock_take(int fd, short type);
struct ph_slot *ph_slot_add(struct ph_queue *q, const char *name, uint64_t inode, uint32_t state);
void ph_slot_free(struct ph_queue *q, struct ph_slot *slot);         /* memory only */
int ph_slot_unlink(struct ph_queue *q, struct ph_slot *slot) PH_YIELDS;   /* and memory */
/* Make `count` slots and put them on fresh: 0, PH_TEMP.  Yields. */
int ph_slot_make(struct ph_queue *q, unsigned count) PH_YIELDS;
/* slot->lease_fd is open and has the write lock: 0; PH_NONE: somebody still holds
 * the slot; PH_TEMP. */
int ph_slot_lease(struct ph_queue *q, struct ph_slot *slot);
/* Close what was lent and kept: the locks then are the borrower's alone. */
void ph_slot_lease_close(struct ph_queue *q, struct ph_slot *slot);
void ph_slot_reader_close(struct ph_queue *q, struct ph_slot *slot);
/* The background task: slots ahead, space, settling, free slots that are old. */
void ph_slot_maker(void *queue) PH_YIELDS;
/* Whether it can serve again after a message of so many bytes: its worker lives, it was
 * not spoilt, and the pool has room for its file. */
int ph_slot_can_serve(const struct ph_slot *slot, uint64_t bytes);
/* A message of so many bytes left its slot: to its worker's free list (reusable: it can
 * serve again), or unlinked.  Yields when it is unlinked. */
int ph_slot_release(struct ph_queue *q, struct ph_slot *slot, int reusable, uint64_t bytes) PH_YIELDS;

/* note.c */
/* The note of the file that was loaded: PH_FOUND and *note on s; PH_NONE.  Blocks. */
int ph_note_load(struct ph_scope *s, int fd, const struct ph_loaded *l, const struct ph_note **note);

/* store.c */
struct ph_qmsg *ph_qmsg_new(struct ph_queue *q, ph_str id, unsigned place);
/* Take what a record says of m (m->message is filled, its recipients writable). */
struct ph_portion *ph_portion_new(struct ph_qmsg *m, struct ph_scope *s, struct ph_message_rcpt *rcpt, uint32_t first,
                                  uint32_t n);
void ph_qmsg_loaded(struct ph_qmsg *m, struct ph_scope *s, const struct ph_message *msg,
                    const struct ph_loaded *l);
/* Open (or reuse) the read-write descriptor of m: 0, PH_NONE, PH_TEMP. */
int ph_qmsg_fd(struct ph_qmsg *m);
void ph_qmsg_fd_close(struct ph_qmsg *m);

/* recover.c */
/* A slot nobody holds: adopt, remove or corrupt what is in it.  Yields. */
int ph_adopt_slot(struct ph_queue *q, struct ph_slot *slot) PH_YIELDS;
/* The background task over limbo. */
void ph_limbo_watch(void *queue) PH_YIELDS;

#endif
