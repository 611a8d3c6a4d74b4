if HAVE_CDB
plugin_LTLIBRARIES += plugins/table/cdb/table_cdb.la
plugins_table_cdb_table_cdb_la_SOURCES = plugins/table/cdb/cdb.c plugins/table/cdb/making.c plugins/table/cdb/cdb_table.h \
	plugins/table/common/rebuild.c plugins/table/common/rebuild.h
plugins_table_cdb_table_cdb_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_table_cdb_table_cdb_la_LIBADD = $(PLUGIN_LIBADD) $(CDB_LIBS)
endif
dist_man_MANS += plugins/table/cdb/cdb_table.5
