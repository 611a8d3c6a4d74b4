if HAVE_PGSQL
plugin_LTLIBRARIES += plugins/table/pgsql/table_pgsql.la
plugins_table_pgsql_table_pgsql_la_SOURCES = plugins/table/pgsql/pgsql.c plugins/table/pgsql/wire.c plugins/table/pgsql/pgsql.h $(SQL_SOURCES)
plugins_table_pgsql_table_pgsql_la_CPPFLAGS = $(AM_CPPFLAGS) $(PGSQL_CFLAGS)
plugins_table_pgsql_table_pgsql_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_table_pgsql_table_pgsql_la_LIBADD = $(PLUGIN_LIBADD) $(PGSQL_LIBS)
endif
dist_man_MANS += plugins/table/pgsql/pgsql_table.5
