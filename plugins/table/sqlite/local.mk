if HAVE_SQLITE
plugin_LTLIBRARIES += plugins/table/sqlite/table_sqlite.la
plugins_table_sqlite_table_sqlite_la_SOURCES = plugins/table/sqlite/sqlite.c plugins/table/common/client.c plugins/table/common/template.c \
	plugins/table/common/sql_place.c plugins/table/common/sql.h plugins/table/common/client.h
plugins_table_sqlite_table_sqlite_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_table_sqlite_table_sqlite_la_LIBADD = $(PLUGIN_LIBADD) $(SQLITE_LIBS)
endif
dist_man_MANS += plugins/table/sqlite/sqlite_table.5
