# Make fragment of plugins/transport/pipe (included by Makefile.am; paths are from the top).
PIPE_SOURCES = plugins/transport/pipe/pipe.h plugins/transport/pipe/pipe.c plugins/transport/pipe/attr.c \
	plugins/transport/pipe/argv.c plugins/transport/pipe/content.c $(EXIT_SOURCES) $(STATUS_SOURCES)

plugin_LTLIBRARIES += plugins/transport/pipe/transport_pipe.la
plugins_transport_pipe_transport_pipe_la_SOURCES = $(PIPE_SOURCES)
plugins_transport_pipe_transport_pipe_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_transport_pipe_transport_pipe_la_LIBADD = $(PLUGIN_LIBADD)

check_PROGRAMS += t/plugin/pipe.t
t_plugin_pipe_t_SOURCES = t/plugin/pipe.c $(PIPE_SOURCES)
t_plugin_pipe_t_CFLAGS = $(AM_CFLAGS)
t_plugin_pipe_t_LDADD = core/libposthorn.la
dist_man_MANS += plugins/transport/pipe/pipe.8
