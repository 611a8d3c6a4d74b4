plugin_LTLIBRARIES += plugins/table/hash/table_hash.la
plugins_table_hash_table_hash_la_SOURCES = plugins/table/hash/hash.c plugins/table/hash/bdb.c plugins/table/hash/bdb.h
plugins_table_hash_table_hash_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_table_hash_table_hash_la_LIBADD = $(PLUGIN_LIBADD) $(DB_LIBS)
plugin_LTLIBRARIES += plugins/table/hash/table_btree.la
plugins_table_hash_table_btree_la_SOURCES = plugins/table/hash/btree.c plugins/table/hash/bdb.c plugins/table/hash/bdb.h
plugins_table_hash_table_btree_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_table_hash_table_btree_la_LIBADD = $(PLUGIN_LIBADD) $(DB_LIBS)
