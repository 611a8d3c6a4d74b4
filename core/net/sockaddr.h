/* sockaddr: between struct ph_ip and what the kernel wants. */
#ifndef CORE_NET_SOCKADDR_H
#define CORE_NET_SOCKADDR_H

#include <sys/socket.h>
#include <posthorn/net.h>

/* Fill *sa; returns its length. */
socklen_t ph_sockaddr_from_ip(struct sockaddr_storage *sa, const struct ph_ip *ip, unsigned port);
/* 1 and *ip, *port (port may be NULL), or 0: another family.  An IPv4 address
 * mapped into IPv6 comes out as IPv4. */
int ph_sockaddr_to_ip(const struct sockaddr *sa, struct ph_ip *ip, unsigned *port);

#endif
