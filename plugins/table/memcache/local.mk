plugin_LTLIBRARIES += plugins/table/memcache/table_memcache.la
plugins_table_memcache_table_memcache_la_SOURCES = plugins/table/memcache/memcache.c plugins/table/memcache/protocol.c plugins/table/memcache/protocol.h \
	plugins/table/common/client.c plugins/table/common/template.c plugins/table/common/client.h plugins/table/socket/link.c plugins/table/socket/link.h
plugins_table_memcache_table_memcache_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_table_memcache_table_memcache_la_LIBADD = $(PLUGIN_LIBADD)
dist_man_MANS += plugins/table/memcache/memcache_table.5
