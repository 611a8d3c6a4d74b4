# Make fragment of plugins/service/showq (included by Makefile.am; paths are from the top).
SHOWQ_SOURCES = plugins/service/showq/showq.c plugins/service/showq/showq.h plugins/service/showq/maildrop.c
plugin_LTLIBRARIES += plugins/service/showq/service_showq.la
plugins_service_showq_service_showq_la_SOURCES = $(SHOWQ_SOURCES)
plugins_service_showq_service_showq_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_service_showq_service_showq_la_LIBADD = $(PLUGIN_LIBADD)
dist_man_MANS += plugins/service/showq/showq.8

check_PROGRAMS += t/plugin/showq.t
t_plugin_showq_t_SOURCES = t/plugin/showq.c $(SHOWQ_SOURCES) core/cmd/listing.c
t_plugin_showq_t_CFLAGS = $(AM_CFLAGS)
t_plugin_showq_t_LDADD = core/libposthorn.la
