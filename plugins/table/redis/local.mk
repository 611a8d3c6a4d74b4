plugin_LTLIBRARIES += plugins/table/redis/table_redis.la
plugins_table_redis_table_redis_la_SOURCES = plugins/table/redis/redis.c plugins/table/redis/resp.c plugins/table/redis/resp.h \
	plugins/table/common/client.c plugins/table/common/template.c plugins/table/common/client.h plugins/table/socket/link.c plugins/table/socket/link.h
plugins_table_redis_table_redis_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_table_redis_table_redis_la_LIBADD = $(PLUGIN_LIBADD)
dist_man_MANS += plugins/table/redis/redis_table.5
