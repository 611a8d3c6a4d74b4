# Make fragment of plugins/service/spawn (included by Makefile.am; paths are from the top).
plugin_LTLIBRARIES += plugins/service/spawn/service_spawn.la
plugins_service_spawn_service_spawn_la_SOURCES = plugins/service/spawn/spawn.c
plugins_service_spawn_service_spawn_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_service_spawn_service_spawn_la_LIBADD = $(PLUGIN_LIBADD)
dist_man_MANS += plugins/service/spawn/spawn.8
