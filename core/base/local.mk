noinst_LTLIBRARIES += core/base/libbase.la
core_base_libbase_la_SOURCES = core/base/str.c core/base/format.c core/base/scope.c core/base/buf.c core/base/error.c \
	core/base/map.c core/base/heap.c core/base/heap.h core/base/list.h core/base/crc32c.c core/base/crc32c.h \
	core/base/arena.h core/base/scan.h core/base/errtext.h core/base/rows.h core/base/hash.c core/base/hash.h
