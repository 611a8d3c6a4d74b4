if HAVE_LMDB
plugin_LTLIBRARIES += plugins/table/lmdb/table_lmdb.la
plugins_table_lmdb_table_lmdb_la_SOURCES = plugins/table/lmdb/lmdb.c plugins/table/lmdb/lmdb_write.c plugins/table/lmdb/lmdb.h \
	plugins/table/common/rebuild.c plugins/table/common/rebuild.h
plugins_table_lmdb_table_lmdb_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_table_lmdb_table_lmdb_la_LIBADD = $(PLUGIN_LIBADD) $(LMDB_LIBS)
endif
dist_man_MANS += plugins/table/lmdb/lmdb_table.5
