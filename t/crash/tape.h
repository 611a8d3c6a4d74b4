/* t/crash/tape.h: the recording: what a process did to a queue directory, call by
 * call, and what it promised meanwhile. */
#ifndef T_CRASH_TAPE_H
#define T_CRASH_TAPE_H

#include <stdint.h>
#include <sys/types.h>
#include <posthorn/map.h>

#define TAPE_PATH 96               /* below the top, with its NUL */
#define TAPE_NONE (-1)             /* what a path holds: nothing, */
#define TAPE_DIR  (-2)             /* a directory, else the number of a file */

enum tape_kind {
    TAPE_WRITE,                    /* data of a file */
    TAPE_SIZE, TAPE_MODE,          /* metadata of a file: n */
    TAPE_NAME,                     /* metadata of directories: mkdir, create, unlink, rename */
    TAPE_SYNC,                     /* a file, or a directory */
    TAPE_WORD                      /* to the outside: what the oracle holds it to */
};

struct tape_edit {
    int path, holds;               /* from now on */
};

struct tape_op {
    enum tape_kind kind;
    int file;                      /* but for NAME, WORD; SYNC of a directory: -1 */
    int path;                      /* SYNC of a directory */
    int all;                       /* SYNC: fsync, not fdatasync */
    uint64_t offset, n;
    unsigned char *data;           /* WRITE; WORD: text */
    struct tape_edit edit[2];
    int edits;
};

struct tape_path {
    char name[TAPE_PATH];
    int parent;                    /* path of its directory; -1: the top itself, which is path 0, "" */
    int first, now;                /* what it holds at the beginning; so far */
};

struct tape_file {
    ino_t inode;
    uint64_t size;                 /* so far */
    mode_t mode, first_mode;
    uint64_t first_size;           /* at the beginning */
    unsigned char *first;
    int banked;
};

/* Every file that was ever there has a second name in the bank, its number: so its
 * inode lives, with its number, which stands in the queue ids. */
struct tape {
    struct ph_scope *scope;        /* of all of this */
    char top[64], bank[64];
    ino_t words;                   /* the pipe */
    struct tape_op *op;
    int ops, op_room;
    struct tape_path *path;
    int paths, path_room;
    struct tape_file *file;
    int files, file_room;
    struct ph_map *by_name, *by_inode;
    int broken;                    /* "breaking N" was said: the next sync of a file fails */
};

/* Begin: what is there is durable.  words: the reading end of the pipe. */
struct tape *tape_new(struct ph_scope *s, const char *top, const char *bank, int words);
/* A call of pid begins, and ended with `result`.  What writes in a way that is not
 * modelled ends the test. */
void tape_enter(struct tape *t, pid_t pid, uint64_t nr, const uint64_t args[6]);
void tape_leave(struct tape *t, pid_t pid, uint64_t nr, const uint64_t args[6], int64_t result);
/* Nothing more comes: all files are put into the bank. */
void tape_end(struct tape *t);

/* Its number by the name below the top, or -1. */
int tape_find_path(const struct tape *t, const char *name);
int tape_find_file(const struct tape *t, ino_t inode);
/* "write 12 256+4096" */
void tape_describe(const struct tape *t, int op, char *out, size_t size);

#endif
