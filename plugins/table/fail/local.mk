plugin_LTLIBRARIES += plugins/table/fail/table_fail.la
plugins_table_fail_table_fail_la_SOURCES = plugins/table/fail/fail.c
plugins_table_fail_table_fail_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_table_fail_table_fail_la_LIBADD = $(PLUGIN_LIBADD)
dist_man_MANS += plugins/table/fail/fail_table.5
