/* t/crash/world.h: qmgr and a receiver in one process, disk_threads 0, so that
 * every system call is made by one thread; and letters, whose every byte follows
 * from their numbers, so that a mixture of two is seen. */
#ifndef T_CRASH_WORLD_H
#define T_CRASH_WORLD_H

#include <posthorn/intake.h>
#include "core/queue/store.h"

extern char crash_top[64];         /* queue_directory */
extern int crash_words;            /* where a child says what it promised; -1: nowhere */
extern struct ph_queue *world_queue;

/* A new directory of that name and six characters, in memory where there is one; gone
 * when this process and its children have ended, however they ended. */
void crash_place(char *path, size_t size, const char *name);
/* One line to crash_words, in one write. */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
struct ph_conf *world_conf(struct ph_scope *s);
/* Open, recover and start the queue, and be reachable for the receiver: 0, or what failed. */
int world_open(void);
/* qmgr ends: connections are closed, its lock is gone. */
void world_close(void);

#define LETTER_LINE 64             /* all its lines have this length */
#define LETTER_RCPTS 2             /* one@example.org, two@example.org */

struct letter {
    unsigned n;                    /* its name: never given twice */
    unsigned lines;                /* of the body */
    unsigned words;                /* letters with the same words and lines differ in their first line only */
    unsigned hold;                 /* 1: reception puts it on hold; not in the text */
};
/* Line i of its text, 0 .. lines + 1: subject, empty line (2 bytes), body.  Length. */
size_t letter_line(const struct letter *l, unsigned i, char out[LETTER_LINE + 1]);
/* Which letter a text is, when it is whole: 1 and *l; 0.  read as ph_message_read does. */
int letter_know(int64_t (*read)(void *arg, uint64_t at, void *p, size_t n), void *arg, uint64_t bytes, struct letter *l);
int letter_of(const struct ph_message *m, struct letter *l);
/* The same for a file that postdrop made (life.c). */
int letter_of_drop(struct ph_scope *s, int fd, struct letter *l);

/* Begin, say "begun N ID", write up to so many lines: the transaction, or NULL. */
struct ph_intake *letter_begin(struct ph_scope *s, uint32_t who, const struct letter *l, unsigned lines);
/* Sender, recipients, commit; say accepted or refused: 0, or what failed. */
int letter_end(struct ph_intake *q, const struct letter *l);
/* Both; and wait for it to arrive: the message, or NULL. */
struct ph_qmsg *letter_submit(const struct letter *l);

#endif
