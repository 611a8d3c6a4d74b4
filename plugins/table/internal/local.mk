plugin_LTLIBRARIES += plugins/table/internal/table_internal.la
plugins_table_internal_table_internal_la_SOURCES = plugins/table/internal/internal.c
plugins_table_internal_table_internal_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_table_internal_table_internal_la_LIBADD = $(PLUGIN_LIBADD)
dist_man_MANS += plugins/table/internal/internal_table.5
