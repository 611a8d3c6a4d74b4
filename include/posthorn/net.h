/* posthorn/net.h: addresses and outgoing connections. */
#ifndef POSTHORN_NET_H
#define POSTHORN_NET_H

#include <posthorn/stream.h>

PH_BEGIN

/* An IP address, as a value. */
struct ph_ip {
    uint32_t family;           /* 4 or 6; 0: none */
    uint8_t bytes[16];         /* network order; IPv4 in the first four */
};

/* "192.0.2.1", "2001:db8::1", "IPv6:2001:db8::1", each also in [].  1, or 0. */
int ph_ip_parse(ph_str text, struct ph_ip *ip);
/* Text form on the scope (RFC 5952 for IPv6). */
ph_str ph_ip_format(struct ph_scope *s, const struct ph_ip *ip);
/* 1 when the first `bits` bits are equal and the families are. */
int ph_ip_in_net(const struct ph_ip *ip, const struct ph_ip *net, unsigned bits);
/* 127.0.0.0/8, ::1 */
int ph_ip_is_loopback(const struct ph_ip *ip);
/* Is it one of these n?  (family 0 is none.) */
int ph_ip_is_among(const struct ph_ip *ip, const struct ph_ip *list, size_t n);
/* "10.0.0.0/8", "[2001:db8::]/32"; without /n all bits.  1, or 0 (bad syntax,
 * or host bits set: then *ip holds the address masked). */
int ph_net_parse(ph_str text, struct ph_ip *ip, unsigned *bits);

/* The addresses of inet_interfaces and proxy_interfaces, by number or by name, before
 * the seal: 0 and *list with *n of them on s; PH_TEMP. */
struct ph_conf;
int ph_own_addresses(struct ph_conf *c, struct ph_scope *s, struct ph_ip **list, size_t *n);
/* Those that inet_interfaces names, or none when it says "all" or "loopback-only": the same. */
int ph_own_interfaces(struct ph_conf *c, struct ph_scope *s, struct ph_ip **list, size_t *n);

/* "host", "[host]", "host:port", "[v6]:port", "inet:host:port" split; port is
 * empty when absent; *literal 1 when it stood in [].  1, or 0: bad syntax. */
int ph_hostport_parse(ph_str text, ph_str *host, ph_str *port, int *literal);
/* Port by number or service name: 1..65535, or 0 unknown. */
unsigned ph_port_parse(ph_str text);

/* Connect to one address: 0 and a stream on the scope; PH_TEMP with
 * strerror text; PH_TIMEOUT; PH_CONF: not from the address `bind`.  bind may be
 * NULL.  Yields. */
int ph_dial_ip(struct ph_scope *s, const struct ph_ip *ip, unsigned port, const struct ph_ip *bind,
               int64_t deadline, struct ph_stream **io) PH_YIELDS;
/* Before the seal: there will be connections to this TCP port.  In a worker that
 * else may make none the seal leaves the port open. */
void ph_dial_later(unsigned port);
/* Connect to a UNIX socket.  Yields. */
int ph_dial_unix(struct ph_scope *s, const char *path, int64_t deadline,
                 struct ph_stream **io) PH_YIELDS;

PH_END
#endif
