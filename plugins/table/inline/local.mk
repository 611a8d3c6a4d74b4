plugin_LTLIBRARIES += plugins/table/inline/table_inline.la
plugins_table_inline_table_inline_la_SOURCES = plugins/table/inline/inline.c plugins/table/common/entries.c plugins/table/common/entries.h
plugins_table_inline_table_inline_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_table_inline_table_inline_la_LIBADD = $(PLUGIN_LIBADD)
dist_man_MANS += plugins/table/inline/inline_table.5
