plugin_LTLIBRARIES += plugins/table/texthash/table_texthash.la
plugins_table_texthash_table_texthash_la_SOURCES = plugins/table/texthash/texthash.c plugins/table/common/entries.c plugins/table/common/entries.h
plugins_table_texthash_table_texthash_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_table_texthash_table_texthash_la_LIBADD = $(PLUGIN_LIBADD)
dist_man_MANS += plugins/table/texthash/texthash_table.5
