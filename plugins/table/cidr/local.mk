plugin_LTLIBRARIES += plugins/table/cidr/table_cidr.la
plugins_table_cidr_table_cidr_la_SOURCES = plugins/table/cidr/cidr.c
plugins_table_cidr_table_cidr_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_table_cidr_table_cidr_la_LIBADD = $(PLUGIN_LIBADD)
dist_man_MANS += plugins/table/cidr/cidr_table.5
