# Shared by the agents that write mailboxes; each object holds its own copy.
MAILBOX_SOURCES = plugins/transport/common/prefix.c plugins/transport/common/copy.c plugins/transport/common/maildir.c \
	plugins/transport/common/mbox.c plugins/transport/common/mailbox.h
STATUS_SOURCES = plugins/transport/common/status.h plugins/transport/common/status.c
EXIT_SOURCES = plugins/transport/common/exit.h plugins/transport/common/exit.c

plugin_LTLIBRARIES += plugins/transport/virtual/transport_virtual.la
plugins_transport_virtual_transport_virtual_la_SOURCES = plugins/transport/virtual/virtual.c $(MAILBOX_SOURCES) $(STATUS_SOURCES)
plugins_transport_virtual_transport_virtual_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_transport_virtual_transport_virtual_la_LIBADD = $(PLUGIN_LIBADD)

check_PROGRAMS += t/plugin/virtual.t
t_plugin_virtual_t_SOURCES = t/plugin/virtual.c $(plugins_transport_virtual_transport_virtual_la_SOURCES) \
	plugins/transport/error/error.c plugins/transport/discard/discard.c
t_plugin_virtual_t_CFLAGS = $(AM_CFLAGS)
t_plugin_virtual_t_LDADD = core/libposthorn.la
EXTRA_t_plugin_virtual_t_DEPENDENCIES = $(plugin_LTLIBRARIES)
dist_man_MANS += plugins/transport/virtual/virtual.8
