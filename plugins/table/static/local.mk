plugin_LTLIBRARIES += plugins/table/static/table_static.la
plugins_table_static_table_static_la_SOURCES = plugins/table/static/static.c
plugins_table_static_table_static_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_table_static_table_static_la_LIBADD = $(PLUGIN_LIBADD)
dist_man_MANS += plugins/table/static/static_table.5
