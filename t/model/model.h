/* t/model/model.h: what the parts of the exhaustive check of smtpd share.
 *
 * alphabet.c   the commands     reference.c  what RFC and specification say of them
 * acceptor.c   queue and policy that do as they are told, around the real cleanup
 * session.c    one session of the real smtpd, judged after each command
 * smtpd.c      all sequences */
#ifndef T_MODEL_MODEL_H
#define T_MODEL_MODEL_H

#include <stddef.h>
#include <stdint.h>
#include "plugins/service/smtpd/smtpd.h"

#define SIZE_LIMIT  3000u          /* message_size_limit */
#define RCPT_LIMIT  3u             /* smtpd_recipient_limit */
#define EOD_BYTES   97u            /* a message of exactly this size is refused after its end */
#define HOP_LIMIT   2              /* hopcount_limit */
#define DEPTH_MAX   12u
#define TEXT_BYTES  8192u          /* of the replies in one session */
#define MESSAGE_BYTES 8192u        /* of one message, with room for what is too much */
#define BLOCK_BYTES 65536u         /* of one session's commands */

/* ---- the alphabet ---- */

enum act {
    A_HELO, A_EHLO, A_MAIL, A_RCPT, A_DATA, A_BDAT, A_RSET, A_QUIT, A_VRFY, A_XCLIENT, A_XFORWARD,
    A_JUNK,                        /* nothing but a reply, and it counts as junk */
    A_OTHER,                       /* nothing but a reply */
    A_CLOSE                        /* a reply, and the session ends */
};

struct symbol {
    const char *name;
    enum act act;
    const char *wire;              /* the command, with CRLF, and the chunk of BDAT */
    const char *reply;             /* when it is not refused for its place; NULL: as usual */
    const char *who;               /* sender, recipient or name */
    const char *content;           /* of DATA without dots, of BDAT */
    uint32_t is;
    size_t wire_n, content_n;      /* filled in by alphabet_open */
};

/* What is special about one. */
#define IS_EARLY     1u            /* refused for its syntax, before policy or a limit is asked */
#define IS_LAST      2u            /* BDAT ... LAST */
#define IS_NULL      4u            /* BDAT 0 */
#define IS_PICKY     8u            /* this sender's content is refused at DATA and the first BDAT */
#define IS_CORE     16u            /* one of the deep alphabet */
#define IS_NO_SLOT  32u            /* when a queue file is wanted for it there is none */
#define IS_MUST_END 64u            /* nothing may be pipelined behind it */
#define IS_LATE    128u            /* MAIL: what delay_reject puts off until RCPT */
#define IS_FREE    256u            /* whatever is pipelined behind it, the rule has no opinion */
#define IS_LOST    512u            /* the client goes away in the middle of the content */
#define IS_DISK   1024u            /* this content cannot be written or not be synced */
#define IS_DEAD   2048u            /* this content ends cleanup */
#define IS_HOPS   4096u            /* this content was here before */

extern struct symbol alphabet[];
extern const size_t alphabet_count;
void alphabet_open(void);
/* -1: there is none of that name. */
int alphabet_find(ph_str name);

/* ---- configurations ---- */

struct config {
    const char *name, *text;
    int delay_reject, late_open, helo_required, enforce, is_full, trusted;
    int64_t hard_limit, junk_limit, overshoot;
};

/* ---- the reference model ---- */

struct model {
    const struct config *c;
    const char *helo;              /* NULL before it */
    int esmtp, mail, intake, closed;
    int bad_helo, bad_sender, picky;
    int forward;                   /* XFORWARD said where the mail comes from */
    uint32_t rcpts, over;
    enum chunks chunks;
    const char *sender;
    int dead, no_disk, hops;       /* what the content met */
    int64_t errors, junk;
    const char *farewell;          /* said without being asked, and the session ends */
    unsigned commits;
    size_t content_n, last_n;
    char to[200];                  /* accepted recipients, each once, with a blank behind */
    char first[100];               /* the first of them */
    char content[MESSAGE_BYTES];
    /* the last message that was committed */
    const char *last_client;
    char last_sender[100], last_to[200], last_content[MESSAGE_BYTES];
};

void model_start(struct model *m, const struct config *c);
/* The reply to a command: code and enhanced code, and the state after it.
 * "354": the content follows.  more: something is pipelined behind it. */
const char *model_command(struct model *m, const struct symbol *y, int more);
/* The reply to the content of DATA. */
const char *model_content(struct model *m, const struct symbol *y);

/* ---- the acceptor ---- */

struct acceptor {
    unsigned begun, open, commits; /* messages at the queue: ever, now, committed */
    int fail_begin;                /* the next one gets no slot */
    int early;                     /* smtpd wants it at MAIL, not at RCPT */
    const char *why;               /* something went wrong that never may */
    /* the last that was committed */
    char id[24], client[100], sender[100], to[200], content[MESSAGE_BYTES];
    size_t n;
    struct ph_cond *changed;
};
extern struct acceptor acceptor;
int acceptor_open(struct ph_scope *s, struct ph_conf *conf);
/* Wait until so many messages are open there; 0, or it never came to that. */
int acceptor_settle(unsigned open) PH_YIELDS;

/* ---- a session ---- */

enum how { LOCK_STEP, BYTE_WISE, ONE_BLOCK };

struct run {
    struct smtpd_conf *c;
    const struct config *config;
    enum how how;
    int verbose;
    int more;                      /* in one block: a command stands behind the end of the session */
    uint8_t seq[DEPTH_MAX];
    unsigned head;                 /* in one block: so many first commands come one by one */
    unsigned depth, used;          /* used: commands that were sent before the end */
    /* inside */
    struct session *s;
    struct model m;
    unsigned next, judged, commits_before;
    const struct symbol *content;  /* whose content is to be sent */
    const char *feed;
    size_t feed_n;
    int finished, lost;            /* all was sent; the client went away in the middle of it */
    const char *want[4 * DEPTH_MAX + 8];
    unsigned want_n;
    char got[TEXT_BYTES], block[BLOCK_BYTES];
    size_t got_n;
    char wrong[600];               /* the first difference */
};
/* Is something sent together with the i-th command, behind it? */
int run_more(const struct run *r, unsigned i);
/* 0, or a difference was found (r->wrong). */
int run_session(struct run *r) PH_YIELDS;

#endif
