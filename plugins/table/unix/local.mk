plugin_LTLIBRARIES += plugins/table/unix/table_unix.la
plugins_table_unix_table_unix_la_SOURCES = plugins/table/unix/unix.c
plugins_table_unix_table_unix_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_table_unix_table_unix_la_LIBADD = $(PLUGIN_LIBADD)
dist_man_MANS += plugins/table/unix/unix_table.5
