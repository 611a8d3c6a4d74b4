/* posthorn/spawn.h: work that is done with somebody else's rights: files and
 * commands of recipients.  For transports and services whose `needs` has "spawn".
 *
 * The worker itself stays what it is: sealed, with the rights of the mail
 * system.  Beside it runs its spawner, forked before the rights were dropped;
 * it has no plugin and no mail in memory.  Its children take the identity asked
 * for, and do nothing but what is said here.
 *
 * Started as root: any identity but those of root, of mail_owner and of
 * setgid_group.  Started by an ordinary user: his own identity only, by the same
 * calls; every other is refused (PH_CONF).
 *
 * All text is what the caller says: nothing here is ever given to a shell. */
#ifndef POSTHORN_SPAWN_H
#define POSTHORN_SPAWN_H

#include <posthorn/param.h>
#include <posthorn/task.h>

PH_BEGIN

/* Who.  Children have no supplementary groups.  `user` is for words in logs and
 * errors ("" : the number is said); it gives no rights. */
struct ph_identity {
    uint32_t size;
    uint32_t uid, gid;
    uint32_t reserved;
    ph_str user;
};

/* "user", "user:group", names or numbers; a user's own group when none is said
 * (a number without account needs one).  PH_FOUND and *id (on s); PH_NONE: no such
 * user or group; PH_TEMP: could not look.  Asks the system's account databases. */
int ph_identity_parse(struct ph_scope *s, ph_str text, struct ph_identity *id);
/* The account with this uid: as above. */
int ph_identity_of_uid(struct ph_scope *s, uint32_t uid, struct ph_identity *id);
/* 0 when this worker's spawner would take this identity on; PH_CONF with the reason
 * why not; PH_TEMP: there is none.  For a clear word at start. */
int ph_identity_check(const struct ph_identity *id);
/* 1: this process has that identity (its own files need no helper). */
int ph_identity_is_own(const struct ph_identity *id);

/* What this worker will ever ask for.  A plugin says it once, in open; from then on
 * the spawner refuses everything else, also when the worker was broken into. */
struct ph_spawn_limits {
    uint32_t size;
    uint32_t files, commands;      /* 1: it works with files, starts commands */
    uint32_t uid, gid;             /* not 0: this one only */
    uint32_t least_uid;            /* no uid below */
    const char *command;           /* argv[0] of every command; NULL: any */
    const char *below;             /* all names of files are below this directory; NULL: any */
};
/* 0 (what is said later counts for nothing); PH_CONF: a text is too long; PH_TEMP: no
 * spawner. */
int ph_spawn_limit(const struct ph_spawn_limits *l);

/* ---- files ----
 *
 * Names are opened, made and removed by a child with the identity; content is
 * written and synced by the caller through the descriptor he got.  The child is
 * kept for the next caller with the same uid and gid (at most 32; idle ones end).
 *
 * A mailbox in a spool directory that belongs to a group (2775 root:mail) is made
 * with the identity (recipient's uid, that group's gid).
 *
 * Paths are absolute and shorter than 4096 bytes.  Each call may be made by a
 * task (Yields, through the disk pool) or in a function that runs in the disk
 * pool (then it blocks that thread).  Answers: 0; PH_TEMP with text, and in
 * *err (when given) the errno of the call, or 0 when the child itself was lost. */
struct ph_files;

/* 0 and *f, valid until the scope ends; PH_CONF: this identity is refused (text
 * says why); PH_TEMP: no spawner, or too many identities at once.  Tasks only. */
int ph_files_open(struct ph_scope *s, const struct ph_identity *id, struct ph_files **f) PH_YIELDS;

/* The same calls made by this very process, with its rights and within its seal
 * (virtual_mailbox_base when `needs` has "mailbox"): no helper, nothing to wait
 * for but the disk.  Valid for ever. */
struct ph_files *ph_files_here(void);

/* open(2); O_CLOEXEC, O_NOCTTY and O_NONBLOCK are added (a FIFO cannot stop us).
 * The caller closes *fd. */
int ph_files_fd(struct ph_files *f, const char *path, int32_t flags, uint32_t mode, int32_t *fd, int32_t *err) PH_YIELDS;

struct ph_file_stat {
    uint32_t size;
    uint32_t mode;                 /* st_mode: type and rights */
    uint32_t uid, gid;
    uint64_t device, inode, nlink;
    int64_t bytes, mtime_s;
};
#define PH_FILES_NOFOLLOW  1u      /* stat: of the symbolic link itself */
#define PH_FILES_NOREPLACE 2u      /* rename: never over another file (EEXIST) */
#define PH_FILES_SYNC      4u      /* rename: and the new name is on stable storage (one sync
                                      serves all who made names in that directory meanwhile);
                                      when only that failed (EIO), the name is there all the
                                      same.  Tasks only */
/* *st is filled up to its size member, which the caller sets. */
int ph_files_stat(struct ph_files *f, const char *path, uint32_t flags, struct ph_file_stat *st, int32_t *err) PH_YIELDS;
/* access(2) with the child's rights; mode is R_OK, W_OK, X_OK or F_OK. */
int ph_files_access(struct ph_files *f, const char *path, uint32_t mode, int32_t *err) PH_YIELDS;
int ph_files_mkdir(struct ph_files *f, const char *path, uint32_t mode, int32_t *err) PH_YIELDS;
int ph_files_rename(struct ph_files *f, const char *from, const char *to, uint32_t flags, int32_t *err) PH_YIELDS;
int ph_files_link(struct ph_files *f, const char *from, const char *to, int32_t *err) PH_YIELDS;
int ph_files_unlink(struct ph_files *f, const char *path, int32_t *err) PH_YIELDS;
/* fsync of a directory, so that names in it are stable. */
int ph_files_sync_dir(struct ph_files *f, const char *path, int32_t *err) PH_YIELDS;

/* ---- commands ----
 *
 * A command gets its own session and process group, default signals, no other
 * descriptors than 0, 1, 2, and exactly the environment said.  What stops it from
 * being executed (no such file, no right to the directory) reads like a failed
 * command: one line of output and exit status 75 (EX_TEMPFAIL).
 *
 * It never sees the end of a message that is not the end: when the worker dies
 * while it writes, the spawner kills the command and only then closes its input. */
struct ph_command;

struct ph_command_spec {
    uint32_t size;
    uint32_t umask;                /* of the command, 0 means 077 */
    const struct ph_identity *identity;
    const char *const *argv;       /* NULL-terminated; argv[0] without a slash is looked for in the PATH of env */
    const char *const *env;        /* "NAME=value", NULL-terminated; NULL: none */
    const char *directory;         /* NULL: "/".  Entered with the command's rights */
    const char *chroot;            /* NULL: none.  Before the directory */
    int64_t time_limit_ms;         /* then the process group is killed; 0: none */
    uint32_t output_max;           /* bytes of stdout and stderr kept; the rest is read and dropped */
    int32_t stdin_fd;              /* > 0: the command's stdin (stays the caller's); 0: a pipe, for ph_command_write */
    int32_t stdout_fd;             /* > 0: its stdout and stderr; 0: captured */
};

struct ph_command_result {
    uint32_t size;
    int32_t status;                /* exit status, or -1 */
    int32_t signal;                /* that killed it, or 0 */
    uint32_t timed_out;            /* 1: by us, at the time limit */
    uint32_t output_cut;           /* 1: there was more than output_max */
    ph_str output;                 /* on the scope of the command */
};

/* What commands of this system get: a fixed PATH and what export_environment names.
 * NULL-terminated, on s. */
const char *const *ph_command_environment(struct ph_conf *c, struct ph_scope *s);

/* Start it (of more than 128 at once the next waits): 0 and *c; PH_CONF: identity
 * or arguments refused; PH_TEMP: no spawner, or the arguments together are larger
 * than 96 KiB; PH_CANCEL, PH_TIMEOUT.  When the scope ends before the command did, it is killed. */
int ph_command_start(struct ph_scope *s, const struct ph_command_spec *spec, struct ph_command **c) PH_YIELDS;
/* To its stdin: 0; PH_EOF: it does not read (any more), which is no failure by
 * itself; PH_CANCEL, PH_TEMP. */
int ph_command_write(struct ph_command *c, const void *p, size_t n) PH_YIELDS;
/* The input was whole: the command sees its end.  Idempotent.  0, PH_TEMP. */
int ph_command_close(struct ph_command *c) PH_YIELDS;
/* Until it ends (closes its input first, when that was not done).  Output that
 * its own background processes write later is not waited for.  0 and *r, filled
 * up to its size member, which the caller sets; PH_TEMP: the spawner was lost and
 * nobody knows; PH_CANCEL. */
int ph_command_wait(struct ph_command *c, struct ph_command_result *r) PH_YIELDS;
/* Kill its process group; ph_command_wait tells when it is gone. */
void ph_command_kill(struct ph_command *c);

PH_END
#endif
