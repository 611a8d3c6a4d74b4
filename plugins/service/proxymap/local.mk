# Make fragment of plugins/service/proxymap (included by Makefile.am; paths are from the top).
plugin_LTLIBRARIES += plugins/service/proxymap/service_proxymap.la
plugins_service_proxymap_service_proxymap_la_SOURCES = plugins/service/proxymap/service.c plugins/service/proxymap/proxymap.h \
	plugins/service/proxymap/approve.c plugins/service/proxymap/tables.c
plugins_service_proxymap_service_proxymap_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_service_proxymap_service_proxymap_la_LIBADD = $(PLUGIN_LIBADD)
dist_man_MANS += plugins/service/proxymap/proxymap.8
EXTRA_DIST += plugins/service/proxymap/README.md
