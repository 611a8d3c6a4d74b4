/* agent_priv: the objects of the agent, shared by agent.c, outcome.c, pass.c and orphans.c. */
#ifndef CORE_WORKER_AGENT_PRIV_H
#define CORE_WORKER_AGENT_PRIV_H

#include <posthorn/net.h>
#include <posthorn/param.h>
#include "core/base/list.h"
#include "core/conf/conf.h"
#include "core/ipc/message.h"
#include "core/worker/agent.h"

struct agent_params {
    int32_t soft_bounce;
    int64_t decimals;
};

struct ph_agent {
    struct ph_transport *transport;
    struct ph_group *group;
    struct agent_params p;
    uint32_t sessions;
    size_t running, waiting_count, orphan_count;
    struct ph_list waiting;        /* requests beyond `sessions` */
    struct ph_list orphans;        /* finished, their connection lost */
    struct ph_list conns;
    int stopping;                  /* 1: say bye on every connection */
    int telling;                   /* 1: orphans_task lives */
};

/* A connection of qmgr; lives as long as its session. */
struct conn {
    struct ph_list node;           /* in agent.conns */
    int said_bye;
    struct ph_agent *agent;
    struct ph_stream *io;
    struct ph_cond *wake;
    struct ph_list done;           /* finished, to be answered */
    struct ph_list all;            /* every delivery that came this way */
    uint32_t open;                 /* how many: at most the window */
};

struct delivery {
    struct ph_list node, of_conn;
    struct ph_scope *scope;        /* everything of it, the request's frame too */
    struct ph_agent *agent;
    struct conn *conn;             /* NULL once the connection is lost */
    uint64_t number;
    unsigned refused;              /* times that qmgr hung up on its outcomes */
    struct ph_message *message;
    struct ph_delivery d;          /* what the plugin sees; host points back here */
    struct ph_outcome *outcome;    /* by position in d.rcpt */
};

/* Encode the outcomes into the stream's buffer: 0, or negative.  show: with the
 * message's descriptor, the proof that it was handed to us. */
int ph_agent_put_outcomes(struct ph_stream *io, struct delivery *v, int show) PH_YIELDS;
/* ph_delivered_member for what another agent said (pass.c): no line. */
void ph_agent_passed(struct ph_delivery *d, uint32_t i, const struct ph_recipient *member, const struct ph_outcome *o);
/* qmgr may use the slot again once it has the answer: let go of it before.  The
 * lock goes, the descriptor stays until the delivery ends. */
void ph_agent_drop_reader(struct delivery *v);
void ph_agent_delivery_free(struct delivery *v);
/* The delivery is over and nobody listens: keep its outcomes for the next qmgr. */
void ph_agent_orphan(struct delivery *v);

#endif
