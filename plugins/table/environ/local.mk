plugin_LTLIBRARIES += plugins/table/environ/table_environ.la
plugins_table_environ_table_environ_la_SOURCES = plugins/table/environ/environ.c
plugins_table_environ_table_environ_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_table_environ_table_environ_la_LIBADD = $(PLUGIN_LIBADD)
dist_man_MANS += plugins/table/environ/environ_table.5
