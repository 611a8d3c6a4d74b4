# Make fragment of plugins/transport/local (included by Makefile.am; paths are from the top).
LOCAL_PURE = plugins/transport/local/macro.h plugins/transport/local/macro.c \
	plugins/transport/local/loop.h plugins/transport/local/loop.c
LOCAL_SOURCES = plugins/transport/local/local.h plugins/transport/local/local.c plugins/transport/local/params.c \
	plugins/transport/local/name.c plugins/transport/local/alias.c plugins/transport/local/member.c plugins/transport/local/forward.c \
	plugins/transport/local/include.c plugins/transport/local/read.c plugins/transport/local/mailbox.c plugins/transport/local/command.c \
	plugins/transport/local/submit.c plugins/transport/local/user.c plugins/transport/local/rights.c $(LOCAL_PURE)

plugin_LTLIBRARIES += plugins/transport/local/transport_local.la
plugins_transport_local_transport_local_la_SOURCES = $(LOCAL_SOURCES) $(MAILBOX_SOURCES) $(EXIT_SOURCES) $(STATUS_SOURCES)
plugins_transport_local_transport_local_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_transport_local_transport_local_la_LIBADD = $(PLUGIN_LIBADD)

check_PROGRAMS += t/plugin/local.t
t_plugin_local_t_SOURCES = t/plugin/local.c $(LOCAL_PURE) $(EXIT_SOURCES)
t_plugin_local_t_CFLAGS = $(AM_CFLAGS)
t_plugin_local_t_LDADD = core/libposthorn.la
dist_man_MANS += plugins/transport/local/local.8 plugins/transport/local/aliases.5
