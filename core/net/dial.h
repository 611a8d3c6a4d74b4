/* dial: what tables said they will connect to.  See ph_dial_later. */
#ifndef CORE_NET_DIAL_H
#define CORE_NET_DIAL_H

#include <posthorn/net.h>

#define PH_DIAL_PORTS 64

/* The ports, for the seal: how many, and *ports (the process's own). */
size_t ph_dial_ports(const unsigned **ports);

#endif
