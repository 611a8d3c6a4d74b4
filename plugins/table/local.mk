# One folder per table type; hash and btree share one, regexp and pcre too.
include plugins/table/static/local.mk
include plugins/table/inline/local.mk
include plugins/table/texthash/local.mk
include plugins/table/cidr/local.mk
include plugins/table/fail/local.mk
include plugins/table/pattern/local.mk
include plugins/table/hash/local.mk
include plugins/table/unix/local.mk
include plugins/table/environ/local.mk
include plugins/table/internal/local.mk
include plugins/table/combined/local.mk
include plugins/table/debug/local.mk
include plugins/table/socket/local.mk
include plugins/table/redis/local.mk
include plugins/table/memcache/local.mk
# What needs a client library is built where that library is.
include plugins/table/cdb/local.mk
include plugins/table/ldap/local.mk
include plugins/table/lmdb/local.mk
include plugins/table/sqlite/local.mk
# SQL servers: hosts, quoting.
SQL_SOURCES = plugins/table/common/sql.c plugins/table/common/sql_place.c plugins/table/common/client.c plugins/table/common/template.c \
	plugins/table/common/sql.h plugins/table/common/client.h
check_PROGRAMS += t/unit/sql_place.t t/unit/client.t
t_unit_client_t_SOURCES = t/unit/client.c plugins/table/common/sql_place.c plugins/table/common/client.c plugins/table/common/template.c
t_unit_client_t_CFLAGS = $(AM_CFLAGS)
t_unit_client_t_LDADD = core/libposthorn.la
t_unit_sql_place_t_SOURCES = t/unit/sql_place.c plugins/table/common/sql_place.c
t_unit_sql_place_t_CFLAGS = $(AM_CFLAGS)
t_unit_sql_place_t_LDADD = core/libposthorn.la
include plugins/table/pgsql/local.mk
include plugins/table/mysql/local.mk
