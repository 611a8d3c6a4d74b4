/* t/model/client.h: what the parts of the exhaustive check of the smtp and lmtp
 * transports share.
 *
 * client_reference.c  what RFC and specification say of a delivery, given what the servers answer
 * client_server.c     servers that answer as told, and complain about a client that does not keep to the protocol
 * smtp.c              all sequences of answers */
#ifndef T_MODEL_CLIENT_H
#define T_MODEL_CLIENT_H

#include <stdint.h>
#include "t/plugin/smtp_rig.h"

/* One answer.  CUT is what the stage expects, behind a line that is no reply and in two lines. */
enum answer { YES, LATER, NO, CLOSING, LOST, GARBAGE, ODD, CUT, ANSWERS };

#define CLIENT_DEPTH 16u
#define RCPTS        2

struct scenario {
    const char *name;
    int lmtp, pipelining, chunking, size;
    int hosts;                     /* the second one takes everything */
    int deliveries;                /* the second one over the session of the first, when it was kept */
    unsigned skip;                 /* so many first answers are YES */
    unsigned answers;              /* the first so many of enum answer are tried */
    unsigned shallow, deep;        /* how many answers vary */
};

/* What became of one recipient. */
struct fate {
    char status;                   /* 's' sent, 'b' bounced, 'd' deferred */
    int dead;                      /* the site is to blame */
    const char *dsn;
};

struct client_model {
    const struct scenario *c;
    const uint8_t *answer;         /* those of the first host; what is behind them is YES */
    unsigned count, used;
    struct fate fate[2][RCPTS];    /* of each delivery */
    unsigned connects;
    /* the session */
    int live, features, needs_reset, last_use, broken;
    unsigned uses;
    /* the delivery */
    int host, sessions, worked, tried;
    int is_open[RCPTS], accepted[RCPTS];
    struct fate why[RCPTS];
};
void client_model_run(struct client_model *m, const struct scenario *c, const uint8_t *answer, unsigned count);

/* ---- the servers ---- */

void servers_start(const struct scenario *c, const uint8_t *answer, unsigned count);
int servers_dial(struct ph_scope *s, ph_str where, struct ph_stream **io);
/* Answers given by the first host; connections; recipient i of the delivery under way was taken so often. */
unsigned servers_used(void);
unsigned servers_connects(void);
unsigned servers_taken(int i);
void servers_forget_taken(void);
/* What a client did that it must not, or NULL. */
const char *servers_complaint(void);

/* What is sent. */
extern const char client_message[];

#endif
