# Make fragment of plugins/service/cleanup (included by Makefile.am; paths are from the top).
CLEANUP_SOURCES = plugins/service/cleanup/service.c plugins/service/cleanup/cleanup.h plugins/service/cleanup/content.c \
	plugins/service/cleanup/headers.c plugins/service/cleanup/envelope.c plugins/service/cleanup/setup.c \
	plugins/service/cleanup/mapping.c plugins/service/cleanup/rewrite.c plugins/service/cleanup/probe.c

plugin_LTLIBRARIES += plugins/service/cleanup/service_cleanup.la
plugins_service_cleanup_service_cleanup_la_SOURCES = $(CLEANUP_SOURCES)
plugins_service_cleanup_service_cleanup_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_service_cleanup_service_cleanup_la_LIBADD = $(PLUGIN_LIBADD)

# The test stands in for the queue and for rewrite.
check_PROGRAMS += t/plugin/cleanup.t
t_plugin_cleanup_t_SOURCES = t/plugin/cleanup.c $(CLEANUP_SOURCES)
t_plugin_cleanup_t_CFLAGS = $(AM_CFLAGS)
t_plugin_cleanup_t_LDADD = core/libposthorn.la
EXTRA_t_plugin_cleanup_t_DEPENDENCIES = $(plugin_LTLIBRARIES)
dist_man_MANS += plugins/service/cleanup/cleanup.8 plugins/service/cleanup/canonical.5 plugins/service/cleanup/virtual.5
