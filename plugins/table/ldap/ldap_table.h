/* ldap: what the parts of the table share.
 *
 *     ldap.c      settings, look-ups
 *     session.c   the connection: addresses, TLS, bind
 *     walk.c      searches, and what entries come to
 */
#ifndef LDAP_TABLE_H
#define LDAP_TABLE_H

#include <sys/time.h>
#include <ldap.h>
#include "plugins/table/common/client.h"

struct session {
    LDAP *ld;                      /* or NULL */
    const char *uris;              /* separated by blanks */
    const char *bind_dn, *bind_pw, *authz_id;
    const char *ca_file, *ca_dir, *cert, *key, *ciphers;   /* each may be NULL */
    int64_t timeout_s, size_limit, deref, version;
    int binds, is_external, starts_tls, chases, checks_cert;   /* is_external: SASL EXTERNAL, as authz_id */
};

/* Names, ended by NULL, of the attributes. */
struct attributes { char **result, **leaf, **terminal, **special, **all; };

struct ldap_table {
    struct client client;
    struct session session;
    struct attributes attr;
    ph_str base, filter;           /* templates */
    int scope, base_is_fixed;
    int64_t recursion_limit;
};

/* One look-up. */
struct walk {
    struct ldap_table *table;
    ph_str key;
    struct ph_scope *out;
    struct ph_buf answer;
    int64_t count;
    unsigned searches;
    int is_lost;                   /* the connection may be at fault: a new one may answer */
};

/* Connected, secured and bound: 0, or PH_TEMP.  One that is open stays. */
int session_open(struct session *s);
void session_close(struct session *s);
/* PH_TEMP with the words of an LDAP error. */
int session_failed(const struct session *s, const char *what, int err);

/* Search and add what is found to the answer: 0, or PH_TEMP. */
int walk_search(struct walk *w, const char *base, const char *filter);

#endif
