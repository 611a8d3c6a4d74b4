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
include plugins/table/combined/local.mk
include plugins/table/debug/local.mk
include plugins/table/socket/local.mk
include plugins/table/redis/local.mk
include plugins/table/memcache/local.mk
# What needs a client library is built where that library is.
include plugins/table/cdb/local.mk
include plugins/table/lmdb/local.mk
include plugins/table/sqlite/local.mk
