/* listen: listening sockets.  Used by the master before it starts workers. */
#ifndef CORE_NET_LISTEN_H
#define CORE_NET_LISTEN_H

#include <sys/types.h>
#include <posthorn/net.h>

#define PH_LISTEN_MAX 64

struct ph_listeners {
    int fd[PH_LISTEN_MAX];
    unsigned n;
};

/* Listen on "host:port", "[v6]:port", ":port" or "port" (and "inet:" in front).
 * Without host: the addresses of `interfaces` (inet_interfaces: all,
 * loopback-only, or addresses), of the families in `protocols` (inet_protocols:
 * all, ipv4, ipv6).  A family that this machine does not have is left out with
 * a warning when another is there.  0 and the descriptors (close-on-exec,
 * non-blocking) added to *l; PH_CONF bad text; PH_TEMP with the address that
 * failed, and nothing was added. */
int ph_listen_inet(ph_str spec, ph_str interfaces, ph_str protocols, int backlog, struct ph_listeners *l);
/* Listen on a UNIX socket, replacing one that is there.  0 and *fd, or PH_TEMP. */
int ph_listen_unix(const char *path, mode_t mode, int backlog, int *fd);

#endif
