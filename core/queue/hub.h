/* hub.h: a receiving process's one connection to qmgr, shared by its sessions.
 * Not for other folders. */
#ifndef CORE_QUEUE_HUB_H
#define CORE_QUEUE_HUB_H

#include <posthorn/stream.h>
#include "core/base/list.h"
#include "core/queue/store.h"

struct ph_hub;

/* A slot lent to this process: the descriptor is the lease. */
struct ph_lease {
    struct ph_list node;           /* ready, or busy (being committed) */
    struct ph_hub *hub;
    char slot[PH_SLOT_NAME];
    uint64_t inode;
    int fd;
    uint64_t life;                 /* connection that it belongs to */
};

/* What qmgr says of limits and ids. */
struct ph_intake_settings {
    uint64_t size_limit;           /* 0: none */
    int64_t flow_delay_ms;
    int long_ids;
};

/* A lease: 0; PH_TEMP when there is none in time.  Yields. */
int ph_hub_take(uint32_t who, struct ph_lease **lease) PH_YIELDS;
const struct ph_intake_settings *ph_hub_settings(const struct ph_lease *l);
/* 1 while qmgr knows this lease to be ours: a transaction may end well. */
int ph_lease_is_good(const struct ph_lease *l);
/* Unused, or used for less than a commit: may serve another message. */
void ph_lease_return(struct ph_lease *l);
/* Its slot must never be lent again. */
void ph_lease_spoil(struct ph_lease *l);
/* The commit begins: named to a qmgr that restarts meanwhile. */
void ph_lease_commit_begin(struct ph_lease *l);
/* It is on disk: gives the lock up and tells qmgr, without waiting.  Bytes are
 * copied. */
void ph_lease_commit_end(struct ph_lease *l, ph_str record, ph_str envelope, ph_str rcpts);

/* For tests: how to reach qmgr, instead of ph_service_dial("qmgr"). */
void ph_hub_dial_with(int (*dial)(struct ph_scope *s, struct ph_stream **io));

#endif
