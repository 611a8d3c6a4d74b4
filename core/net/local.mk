noinst_LTLIBRARIES += core/net/libnet.la
core_net_libnet_la_SOURCES = core/net/ip.c core/net/sockaddr.c core/net/sockaddr.h core/net/dial.c core/net/listen.c core/net/listen.h
