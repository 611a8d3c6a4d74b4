# Plugins for t/system/proxymap.t and its kin: a table that hangs, fails and crashes as it is told
# to, and a service that uses tables.
if !STATIC_PLUGINS
check_LTLIBRARIES += t/proxymap/table_slow.la t/proxymap/service_asks.la
t_proxymap_table_slow_la_SOURCES = t/proxymap/table.c
t_proxymap_table_slow_la_LDFLAGS = $(PLUGIN_LDFLAGS) -rpath /nowhere
t_proxymap_table_slow_la_LIBADD = $(PLUGIN_LIBADD)
t_proxymap_service_asks_la_SOURCES = t/proxymap/service.c
t_proxymap_service_asks_la_LDFLAGS = $(PLUGIN_LDFLAGS) -rpath /nowhere
t_proxymap_service_asks_la_LIBADD = $(PLUGIN_LIBADD)
endif
