/* dns.h: inside of look-ups, and what a program sets up.  What callers see is
 * <posthorn/dns.h>.
 *
 * dns.c        the questions callers ask
 * dns_ctx.c    libunbound: contexts, queries under way, resolv.conf
 * dns_event.c  libunbound's descriptors and timers on our loop
 * dns_wire.c   answers on the wire; trusts nothing in them
 * host.c       names through nsswitch
 * idn.c        names beyond ASCII (libidn2) */
#ifndef CORE_NET_DNS_H
#define CORE_NET_DNS_H

#include <posthorn/dns.h>

#define PH_DNS_A     1
#define PH_DNS_CNAME 5
#define PH_DNS_PTR   12
#define PH_DNS_MX    15
#define PH_DNS_TXT   16
#define PH_DNS_AAAA  28

#define PH_DNS_RECORDS_MAX 100u    /* of one answer; more are left out */
#define PH_DNS_CHAIN_MAX   16      /* CNAMEs in a row */
#define PH_DNS_NAME_MAX    255u    /* characters of a name */
#define PH_DNS_TEXT_MAX    16384u  /* bytes of one TXT record */

/* Choose the servers: "host", "host@port", "host:port", "[v6]:port", separated
 * by comma or blanks; empty: those of resolv.conf, followed when it changes.
 * Without this call the first query acts as if it were empty.  0, or PH_CONF.
 * Inside the loop, before the seal; queries under way keep their old servers. */
int ph_dns_open(ph_str servers);
/* Ask once for what the libraries load lazily (before the seal).  Never fails:
 * an answer is not needed. */
void ph_dns_warmup(void) PH_YIELDS;
/* Take it all down, in the loop, when no query is under way. */
void ph_dns_close(void);

/* One query: 0 and the packet on s, *secure, *rcode; PH_TEMP, PH_CANCEL.  Yields. */
int ph_dns_query(struct ph_scope *s, ph_str name, int type, ph_str *packet, int *rcode, uint32_t *secure) PH_YIELDS;

/* 1 when the text is a name DNS can be asked for: labels of 1..63 printable
 * bytes without backslash, 253 in all; one dot may end it. */
int ph_dns_name_ok(ph_str name);
/* Take the answer to (name, type) out of a packet: PH_FOUND, PH_NONE, PH_TEMP
 * (the server failed), PH_PERM (malformed); *a is filled as posthorn/dns.h says. */
int ph_dns_parse(struct ph_scope *s, ph_str packet, ph_str name, int type, struct ph_dns_answer *a);

struct ub_event_base;
/* The event base of this thread's loop, for ub_ctx_create_ub_event. */
struct ub_event_base *ph_dns_event_base(void);

#endif
