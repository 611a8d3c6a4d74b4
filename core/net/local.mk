noinst_LTLIBRARIES += core/net/libnet.la
core_net_libnet_la_SOURCES = core/net/ip.c core/net/sockaddr.c core/net/sockaddr.h core/net/dial.c core/net/dial.h core/net/listen.c core/net/listen.h \
	core/net/dns.h core/net/dns.c core/net/dns_ctx.c core/net/dns_event.c core/net/dns_wire.c core/net/host.c core/net/idn.c

check_PROGRAMS += t/unit/net.t t/unit/dns.t
t_unit_net_t_SOURCES = t/unit/net.c
t_unit_net_t_LDADD = core/libposthorn.la
t_unit_dns_t_SOURCES = t/unit/dns.c
t_unit_dns_t_LDADD = core/libposthorn.la
