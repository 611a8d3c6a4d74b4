/* t/plugin/smtp_rig.h: what the tests of the SMTP and LMTP client share.
 *
 * The servers are tasks on the other end of memory streams; the name server is
 * a table of records.  A case says what the servers do, and which outcomes and
 * log lines must come of it. */
#ifndef T_PLUGIN_SMTP_RIG_H
#define T_PLUGIN_SMTP_RIG_H

#include "plugins/transport/smtp/smtp.h"
#include "core/run/loop.h"

/* A script: one step per line.
 *   >text   send text CRLF (\r and \n inside are as in C)
 *   <text   read a line, which must start with text
 *   =text   read a line, which must be text
 *   .       read up to the final dot and keep it
 *   +text   send without CRLF
 *   ~N      wait N milliseconds
 *   rN      read N bytes
 *   bN      read N bytes of content and keep them
 *   zzz     sleep until the client leaves
 *   (end)   hang up */
#define GREET   ">220 mx ESMTP\n<EHLO me.test\n"
#define EHLO    GREET ">250-mx\n>250-PIPELINING\n>250-SIZE 1000000\n>250 8BITMIME\n"
#define PLAIN   GREET ">250 mx\n"
#define ACCEPT  "<MAIL FROM:<s@x.test>\n<RCPT TO:<a@x.test>\n<DATA\n>250 2.1.0 ok\n>250 2.1.5 ok\n>354 go\n.\n>250 2.0.0 Ok: queued as 1\n"
#define QUIT    "<QUIT\n"
#define REFUSE  "refuse"

#define R1 " relay=10.0.0.1[10.0.0.1]:25"
#define R2 " relay=10.0.0.2[10.0.0.2]:25"
#define SENT1 "a sent" R1 " dsn=2.0.0 (250 2.0.0 Ok: queued as 1)\n"

struct server { const char *ip; const char *script; };   /* address, or path of a socket */

struct test {
    const char *name;
    const char *nexthop;
    uint32_t rcpts;                /* a, b, c ... @x.test */
    struct server servers[6];      /* in order of connections per address */
    const char *outcomes;          /* one line per recipient */
    const char *log;               /* or NULL: not looked at */
    void (*setup)(struct smtp *self, struct ph_delivery *d);
};

/* What was seen since rig_forget. */
struct rig {
    char outcomes[16384], log[16384], complaints[4096], content[65536];
    char details[4096];            /* "a action=relayed remote=dns;mx" ... per outcome */
    char queries[4096];            /* "MX mx.test" ... */
    char binds[256];               /* source addresses asked for */
    unsigned connects, wanted;
    unsigned said[26];             /* outcomes of each recipient, by its index */
    struct ph_group *servers;      /* those that still run */
};
extern struct rig rig;
/* Records: "name TYPE value", one per line; value NXDOMAIN, NODATA, TEMP, BAD
 * for failures.  What is not there does not exist. */
extern const char *rig_zone;
/* A table of lines "key=value", for the members of struct smtp; FAIL as a value fails. */
#define RIG_GENERIC(text) ((struct ph_address_map *)(uintptr_t)(const void *)(text))
#define RIG_TABLE(text) ((struct ph_maps *)(uintptr_t)(const void *)(text))
/* Not NULL: every address has a server, and this is what it does; it runs in a task
 * of rig.servers and closes the stream. */
extern void (*rig_serve)(struct ph_stream *io);
/* Answer of ph_dial_ip while a source address is given: 0, or PH_CONF. */
extern int rig_bind_fails;
/* Not NULL: connects instead of the scripted servers. */
extern int (*rig_dial)(struct ph_scope *s, ph_str where, struct ph_stream **io);

void rig_forget(const struct server *s);
/* The machine has this address alone. */
void we_are(struct smtp *self, const char *ip);
void rig_agent(struct smtp *self, struct ph_scope *s);
struct ph_delivery *rig_delivery(struct ph_scope *s, const char *nexthop, uint32_t rcpts, const char *text);
int rig_deliver(struct smtp *self, struct ph_delivery *d);
void rig_start(struct ph_scope *s);
/* Run one case: 1 when all was as it says. */
int rig_case(const struct test *t, int lmtp);
void rig_explain(const struct test *t);

#endif
