plugin_LTLIBRARIES += plugins/table/debug/table_debug.la
plugins_table_debug_table_debug_la_SOURCES = plugins/table/debug/debug.c
plugins_table_debug_table_debug_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_table_debug_table_debug_la_LIBADD = $(PLUGIN_LIBADD)
dist_man_MANS += plugins/table/debug/debug_table.5
