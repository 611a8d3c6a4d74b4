/* spawner: the process beside a worker that becomes other users (spawn.h).
 *
 * spawner.c          its life: fork, loop, children that end, time limits
 * spawner_request.c  what a worker may ask: decoded and judged
 * spawner_child.c    from fork to the identity, and on to exec
 * spawner_files.c    the child that opens and names files
 * spawn.c, identity.c  the worker's side: sending; accounts
 * spawn_command.c, spawn_files.c  the worker's side of <posthorn/spawn.h>
 *
 * Every request is one datagram on the worker's socket and brings its
 * descriptors, the first of them a socket of its own, on which the answers
 * come.  That socket is also the lifeline: when the worker's end of it closes
 * (given up, or the worker died), the command is killed and the files child ends.
 * So nothing is left behind, and the spawner never waits for the worker. */
#ifndef CORE_WORKER_SPAWNER_H
#define CORE_WORKER_SPAWNER_H

#include <sys/types.h>
#include <posthorn/spawn.h>

#define SPAWNER_PATH_MAX    4096u

/* What the spawner grants.  With own_only the lists are void. */
struct spawner_policy {
    int own_only;                  /* an ordinary user's: uid and gid below, no other */
    uint32_t own_uid, own_gid;
    uint32_t bad_uid[4], bad_gid[4]; /* refused besides 0 and -1 */
    uint32_t bad_uids, bad_gids;
    /* What the plugin said of itself (ph_spawn_limit). */
    int limited;
    int no_files, no_commands;
    uint32_t only_uid, only_gid, least_uid; /* 0: any */
    char command[SPAWNER_PATH_MAX], below[SPAWNER_PATH_MAX]; /* "": any */
};

struct spawner_options {
    struct spawner_policy policy;
    char *title;                   /* memory of the command line, to write the name over; or NULL */
    size_t title_size;
    const char *name;              /* of the service */
};

/* Fork it; its socket becomes this process's (for spawn.h).  0, PH_TEMP.
 * The process must have one thread. */
int ph_spawner_start(const struct spawner_options *o);
/* 1 when this process has one. */
int ph_spawner_exists(void);
/* Its socket, or -1: for tests of what a broken worker may send. */
int ph_spawner_fd(void);
/* What the worker runs when the spawner was lost (NULL: nothing). */
void ph_spawner_on_loss(void (*fn)(void *), void *arg);

/* ---- wire ---- */

#define SPAWNER_REQUEST_MAX (100u << 10)
#define SPAWNER_STRINGS_MAX (96u << 10)
#define SPAWNER_WORDS_MAX   4096u  /* argv and env together */
#define SPAWNER_COMMANDS    128u   /* that a worker has at once */
#define SPAWNER_PLACES      192u   /* some that were given up may still be ending */
#define SPAWNER_FILES       64u    /* twice what a worker keeps: old ones may still be ending */

#define SPAWNER_OP_FILES    1u
#define SPAWNER_OP_COMMAND  2u
#define SPAWNER_OP_LIMIT    3u

#define SPAWNER_HAS_DIRECTORY 1u
#define SPAWNER_HAS_CHROOT    2u
#define SPAWNER_HAS_INPUT     4u   /* the last descriptor: the pipe's other end, held until 'I' */

/* Then argc + envc NUL-terminated strings, directory, chroot.  Descriptors:
 * lifeline; for a command also stdin, stdout, and the one of HAS_INPUT. */
struct spawner_request {
    uint32_t op, flags;
    uint32_t uid, gid;
    uint32_t umask, argc, envc, reserved;
    int64_t time_limit_ms;
};

#define SPAWNER_LIMIT_FILES    1u
#define SPAWNER_LIMIT_COMMANDS 2u

/* Then command and directory, each NUL-terminated.  No descriptors, no answer, and
 * only once: a spawner that does not understand it ends. */
struct spawner_limits {
    uint32_t op, flags;
    uint32_t uid, gid, least_uid, reserved;
};

#define SPAWNER_STARTED 1u
#define SPAWNER_REFUSED 2u
#define SPAWNER_ENDED   3u

struct spawner_reply {
    uint32_t what;
    int32_t status, signal;        /* refused: status 1, it may work later */
    uint32_t timed_out;
    char text[160];                /* why refused */
};

/* The worker's word on a lifeline. */
#define SPAWNER_INPUT_DONE 'I'

#define FILES_OP_OPEN    1u
#define FILES_OP_STAT    2u
#define FILES_OP_ACCESS  3u
#define FILES_OP_MKDIR   4u
#define FILES_OP_RENAME  5u
#define FILES_OP_LINK    6u
#define FILES_OP_UNLINK  7u

/* Then path and second path (may be empty), each NUL-terminated. */
struct files_request {
    uint32_t op, mode;
    int32_t flags;                 /* O_*, or PH_FILES_* */
    uint32_t reserved;
};
struct files_reply {
    int32_t err, reserved;         /* errno, 0: done.  A descriptor comes with FILES_OP_OPEN, and that of
                                      the new name's directory with FILES_OP_RENAME and PH_FILES_SYNC */
    struct ph_file_stat st;        /* after such a rename: of that directory */
};
/* A flag of FILES_OP_RENAME beside PH_FILES_SYNC: the descriptor is known already, only the
 * directory's state comes. */
#define FILES_DIR_KNOWN 0x100u

/* ---- between the files of the spawner ---- */

#define SPAWNER_FDS_MAX 4u

/* A decoded request; views into its datagram. */
struct spawner_job {
    struct spawner_request r;
    char **argv, **env;            /* heap, one block */
    const char *directory, *chroot;
    int fd[SPAWNER_FDS_MAX];
    uint32_t fds;
    pid_t spawner;
};

/* 0; -1 with why in text: then nothing of it may be done.  Frees nothing; the
 * descriptors stay the caller's. */
int ph_spawner_decode(struct spawner_job *j, char *p, size_t n, char *text, size_t size);
void ph_spawner_job_free(struct spawner_job *j);
/* Take the plugin's limits into the policy: 0, or -1. */
int ph_spawner_take_limits(struct spawner_policy *p, const char *mem, size_t n);
/* Whether the limits grant this job: 0; -1 with why. */
int ph_spawner_judge_job(const struct spawner_policy *p, const struct spawner_job *j, char *text, size_t size);
/* 1 when the path is in the directory `below` ("": anything is), without "..". */
int ph_spawner_is_below(const char *below, const char *path);
/* 0; -1 with why. */
int ph_spawner_judge(const struct spawner_policy *p, uint32_t uid, uint32_t gid, char *text, size_t size);

/* In a fresh child. */
void ph_spawner_exec(const struct spawner_policy *p, const struct spawner_job *j) PH_NORETURN;
void ph_spawner_files(const struct spawner_policy *p, const struct spawner_job *j) PH_NORETURN;
/* One file operation with the rights of this process: 0, or -1 with errno; *fd
 * when a file was opened. */
int ph_files_perform(const struct files_request *r, const char *a, const char *b, struct ph_file_stat *st, int *fd);
/* Only descriptor `keep` and the three standard ones stay open. */
void ph_spawner_close_all(int keep);
/* 0; -1 with errno: the child must end. */
int ph_spawner_become(const struct spawner_policy *p, uint32_t uid, uint32_t gid);

/* ---- the worker's side ---- */

/* spawn_dirs.c: directories in which names are made again and again: their descriptors
 * are kept for some seconds, and one sync serves all who wait for one.  Tasks only. */
struct shared_dir;
/* The one that had this path a moment ago, for its user until left; or NULL. */
struct shared_dir *ph_shared_dir_find(const char *path);
/* Take fd, of the directory with these numbers, as the one with this path. */
struct shared_dir *ph_shared_dir_add(const char *path, uint64_t device, uint64_t inode, int fd);
int ph_shared_dir_is(const struct shared_dir *d, uint64_t device, uint64_t inode);
void ph_shared_dir_leave(struct shared_dir *d);
/* What was done in it before the call is on stable storage: 0, or the errno.  Yields. */
int ph_shared_dir_sync(struct shared_dir *d) PH_YIELDS;

/* ---- spawn.c ---- */

/* Send a request with its descriptors: 0; PH_TEMP (no spawner; lost), PH_CANCEL. */
int ph_spawner_send(const struct spawner_request *r, const char *strings, size_t n, const int *fd, uint32_t fds) PH_YIELDS;
/* The next reply on a lifeline: 0; PH_TEMP when it closed; PH_CANCEL, PH_TIMEOUT. */
int ph_spawner_reply(int lifeline, struct spawner_reply *r, int64_t deadline) PH_YIELDS;
void ph_spawner_attach(int fd, const struct spawner_policy *p);
/* What it was started with; NULL: there is none. */
const struct spawner_policy *ph_spawner_policy(void);
void ph_spawner_lost(void);
/* The negative code for a refusal, with its text behind `what`. */
int ph_spawner_refused(const struct spawner_reply *r, const char *what);
/* One datagram with at most one descriptor behind it (-1: none): bytes, 0 at
 * the end, -1 with errno. */
ssize_t ph_spawner_recv(int fd, void *p, size_t n, int *got, int flags);

#endif
