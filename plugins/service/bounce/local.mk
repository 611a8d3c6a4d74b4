# Make fragment of plugins/service/bounce (included by Makefile.am; paths are from the top).
BOUNCE_SOURCES = plugins/service/bounce/bounce.h plugins/service/bounce/bounce.c plugins/service/bounce/log.c \
	plugins/service/bounce/notice.c plugins/service/bounce/report.c plugins/service/bounce/sweep.c plugins/service/bounce/words.c

# The plugin's own code; the test stands in for cleanup and for the message file.
check_PROGRAMS += t/plugin/bounce.t
t_plugin_bounce_t_SOURCES = t/plugin/bounce.c $(BOUNCE_SOURCES)
t_plugin_bounce_t_CFLAGS = $(AM_CFLAGS)
t_plugin_bounce_t_LDADD = core/libposthorn.la

plugin_LTLIBRARIES += plugins/service/bounce/service_bounce.la
plugins_service_bounce_service_bounce_la_SOURCES = $(BOUNCE_SOURCES)
plugins_service_bounce_service_bounce_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_service_bounce_service_bounce_la_LIBADD = $(PLUGIN_LIBADD)
dist_man_MANS += plugins/service/bounce/bounce.8 plugins/service/bounce/bounce.5
