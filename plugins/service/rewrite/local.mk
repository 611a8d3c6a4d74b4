# Make fragment of plugins/service/rewrite (included by Makefile.am; paths are from the top).
REWRITE_SOURCES = plugins/service/rewrite/service.c plugins/service/rewrite/rewrite.h plugins/service/rewrite/setup.c \
	plugins/service/rewrite/text.h plugins/service/rewrite/text.c plugins/service/rewrite/complete.c \
	plugins/service/rewrite/apart.c plugins/service/rewrite/resolve.c

plugin_LTLIBRARIES += plugins/service/rewrite/service_rewrite.la
plugins_service_rewrite_service_rewrite_la_SOURCES = $(REWRITE_SOURCES)
plugins_service_rewrite_service_rewrite_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_service_rewrite_service_rewrite_la_LIBADD = $(PLUGIN_LIBADD)

check_PROGRAMS += t/plugin/rewrite.t
t_plugin_rewrite_t_SOURCES = t/plugin/rewrite.c $(REWRITE_SOURCES)
t_plugin_rewrite_t_CFLAGS = $(AM_CFLAGS) -DTEST_BUILD_DIR='"$(abs_top_builddir)"'
t_plugin_rewrite_t_LDADD = core/libposthorn.la
dist_man_MANS += plugins/service/rewrite/rewrite.8 plugins/service/rewrite/transport.5 plugins/service/rewrite/relocated.5
