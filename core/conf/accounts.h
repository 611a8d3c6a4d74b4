/* core/conf/accounts.h: the accounts that main.cf names, and whether they are
 * apart from each other as the walls between processes need (the spec's rule:
 * no account of the mail system has rights of root, and none is another).
 *
 *   mail_owner      owns the queue: qmgr, bounce, and what touches no network
 *   network_owner   workers that touch the network; no such account: mail_owner
 *   setgid_group    of postdrop and postqueue, which every user may run
 *   default_privs   deliveries without a user of their own */
#ifndef CORE_CONF_ACCOUNTS_H
#define CORE_CONF_ACCOUNTS_H

#include <sys/types.h>
#include "core/conf/conf.h"

struct ph_accounts {
    const char *mail_owner, *network_owner;  /* equal: one account for both */
    uid_t mail_uid, network_uid;
    gid_t mail_gid, network_gid, setgid_gid; /* setgid_gid: mail_gid when there is no such group */
    int32_t two;                   /* 1: network_owner is an account of its own */
    int32_t has_setgid;            /* 1: setgid_group exists */
    const char *note[4];           /* what is less than it could be, to be said aloud */
    uint32_t note_count;
};

/* For programs that run as root.  0 and *a (strings on s); PH_CONF: an account
 * that must not be used so.  Does not look further than passwd and group. */
int ph_accounts_read(struct ph_conf *c, struct ph_scope *s, struct ph_accounts *a);

#endif
