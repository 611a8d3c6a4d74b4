if HAVE_MYSQL
plugin_LTLIBRARIES += plugins/table/mysql/table_mysql.la
plugins_table_mysql_table_mysql_la_SOURCES = plugins/table/mysql/mysql.c plugins/table/mysql/wire.c plugins/table/mysql/mysql.h $(SQL_SOURCES)
plugins_table_mysql_table_mysql_la_CPPFLAGS = $(AM_CPPFLAGS) $(MYSQL_CFLAGS)
plugins_table_mysql_table_mysql_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_table_mysql_table_mysql_la_LIBADD = $(PLUGIN_LIBADD) $(MYSQL_LIBS)
endif
dist_man_MANS += plugins/table/mysql/mysql_table.5
