# Fuzz targets: t/fuzz/NAME.c, seeds in t/fuzz/seeds/NAME, words in t/fuzz/NAME.dict.
# With --enable-fuzzing (./dev fuzz) t/fuzz/NAME.t is a libFuzzer program; otherwise it
# replays the seeds as a test.  README.md beside this says how to add one.
FUZZ_LENGTH = 4096
noinst_HEADERS += t/fuzz/fuzz.h
check_LTLIBRARIES += t/fuzz/libfuzz.la
t_fuzz_libfuzz_la_SOURCES = t/fuzz/check.c
t_fuzz_libfuzz_la_CPPFLAGS = $(AM_CPPFLAGS) $(FUZZ_CPPFLAGS) -DFUZZ_SEEDS='"$(abs_top_srcdir)/t/fuzz/seeds"'
if FUZZING
FUZZ_CPPFLAGS = -DPH_FUZZING
FUZZ_LDADD = t/fuzz/libfuzz.la core/libposthorn.la $(FUZZ_ENGINE)
else
t_fuzz_libfuzz_la_SOURCES += t/fuzz/replay.c
FUZZ_LDADD = t/fuzz/libfuzz.la core/libposthorn.la
endif

check_PROGRAMS += t/fuzz/address.t
EXTRA_DIST += t/fuzz/address.dict
t_fuzz_address_t_SOURCES = t/fuzz/address.c
t_fuzz_address_t_LDADD = $(FUZZ_LDADD)

check_PROGRAMS += t/fuzz/dns.t
EXTRA_DIST += t/fuzz/dns.dict
t_fuzz_dns_t_SOURCES = t/fuzz/dns.c
t_fuzz_dns_t_LDADD = $(FUZZ_LDADD) -lresolv

# Whole services: the plugins themselves in a small world (world.h).
noinst_HEADERS += t/fuzz/world.h t/fuzz/judge.h
FUZZ_WORLD = t/fuzz/world.c plugins/policy/basic/basic.c plugins/policy/basic/basic.h plugins/policy/basic/address.c \
	plugins/policy/basic/access.c plugins/policy/basic/client.c plugins/table/inline/inline.c plugins/table/common/entries.c plugins/table/static/static.c
check_PROGRAMS += t/fuzz/smtpd.t
EXTRA_DIST += t/fuzz/smtpd.dict
t_fuzz_smtpd_t_SOURCES = t/fuzz/smtpd.c t/fuzz/judge.c $(FUZZ_WORLD) $(CLEANUP_SOURCES) $(REWRITE_SOURCES) \
	$(plugins_service_smtpd_service_smtpd_la_SOURCES)
t_fuzz_smtpd_t_CFLAGS = $(AM_CFLAGS)
t_fuzz_smtpd_t_LDADD = $(FUZZ_LDADD)
check_PROGRAMS += t/fuzz/smtp.t
EXTRA_DIST += t/fuzz/smtp.dict
t_fuzz_smtp_t_SOURCES = t/fuzz/smtp.c $(t_plugin_libsmtprig_la_SOURCES)
t_fuzz_smtp_t_CFLAGS = $(AM_CFLAGS)
t_fuzz_smtp_t_LDADD = $(FUZZ_LDADD)

check_PROGRAMS += t/fuzz/queue.t
EXTRA_DIST += t/fuzz/queue.dict
t_fuzz_queue_t_SOURCES = t/fuzz/queue.c t/fuzz/message_file.c t/fuzz/message_file.h $(BOUNCE_SOURCES)
t_fuzz_queue_t_CFLAGS = $(AM_CFLAGS)
t_fuzz_queue_t_LDADD = $(FUZZ_LDADD)

check_PROGRAMS += t/fuzz/ipc.t
EXTRA_DIST += t/fuzz/ipc.dict
t_fuzz_ipc_t_SOURCES = t/fuzz/ipc.c t/fuzz/message_file.c t/fuzz/message_file.h $(FUZZ_WORLD) $(CLEANUP_SOURCES) $(REWRITE_SOURCES) \
	$(BOUNCE_SOURCES) $(SHOWQ_SOURCES)
t_fuzz_ipc_t_CFLAGS = $(AM_CFLAGS)
t_fuzz_ipc_t_LDADD = $(FUZZ_LDADD)

check_PROGRAMS += t/fuzz/qmgr.t
EXTRA_DIST += t/fuzz/qmgr.dict
t_fuzz_qmgr_t_SOURCES = t/fuzz/qmgr.c t/fuzz/message_file.c t/fuzz/message_file.h $(FUZZ_WORLD) $(CLEANUP_SOURCES) $(REWRITE_SOURCES) \
	$(BOUNCE_SOURCES)
t_fuzz_qmgr_t_CFLAGS = $(AM_CFLAGS)
t_fuzz_qmgr_t_LDADD = $(FUZZ_LDADD)

# Cleanup's and smtp's own sources; the target stands in for the queue and the tables.
check_PROGRAMS += t/fuzz/headers.t
EXTRA_DIST += t/fuzz/headers.dict
t_fuzz_headers_t_SOURCES = t/fuzz/headers.c plugins/service/cleanup/content.c plugins/service/cleanup/headers.c plugins/service/cleanup/rewrite.c plugins/service/cleanup/mapping.c \
	plugins/transport/smtp/generic.c
t_fuzz_headers_t_CFLAGS = $(AM_CFLAGS)
t_fuzz_headers_t_LDADD = $(FUZZ_LDADD)

check_PROGRAMS += t/fuzz/mime.t
EXTRA_DIST += t/fuzz/mime.dict
t_fuzz_mime_t_SOURCES = t/fuzz/mime.c $(SMTP_CLIENT)
t_fuzz_mime_t_CFLAGS = $(AM_CFLAGS)
t_fuzz_mime_t_LDADD = $(FUZZ_LDADD)

check_PROGRAMS += t/fuzz/maincf.t
EXTRA_DIST += t/fuzz/maincf.dict
t_fuzz_maincf_t_SOURCES = t/fuzz/maincf.c
t_fuzz_maincf_t_LDADD = $(FUZZ_LDADD)

check_PROGRAMS += t/fuzz/aliases.t
EXTRA_DIST += t/fuzz/aliases.dict
t_fuzz_aliases_t_SOURCES = t/fuzz/aliases.c $(LOCAL_PURE)
t_fuzz_aliases_t_CFLAGS = $(AM_CFLAGS)
t_fuzz_aliases_t_LDADD = $(FUZZ_LDADD)

check_PROGRAMS += t/fuzz/tables.t
EXTRA_DIST += t/fuzz/tables.dict
t_fuzz_tables_t_SOURCES = t/fuzz/tables.c core/cmd/postalias.c plugins/table/common/client.c plugins/table/common/template.c \
	plugins/table/common/sql_place.c plugins/table/pattern/pattern.c plugins/table/pattern/pattern_read.c plugins/table/pattern/need.c
t_fuzz_tables_t_CFLAGS = $(AM_CFLAGS)
t_fuzz_tables_t_LDADD = $(FUZZ_LDADD) $(PCRE2_LIBS)

# The target stands in for the connections (link.c).
check_PROGRAMS += t/fuzz/replies.t
EXTRA_DIST += t/fuzz/replies.dict
t_fuzz_replies_t_SOURCES = t/fuzz/replies.c plugins/table/socket/tcp.c plugins/table/socket/socketmap.c plugins/table/memcache/memcache.c \
	plugins/table/memcache/protocol.c plugins/table/redis/redis.c plugins/table/redis/resp.c plugins/table/common/client.c plugins/table/common/template.c
t_fuzz_replies_t_CFLAGS = $(AM_CFLAGS)
t_fuzz_replies_t_LDADD = $(FUZZ_LDADD)

# The target stands in for the tables and for the log of decisions.
check_PROGRAMS += t/fuzz/access.t
EXTRA_DIST += t/fuzz/access.dict
t_fuzz_access_t_SOURCES = t/fuzz/access.c plugins/service/smtpd/action.c plugins/policy/basic/access.c
t_fuzz_access_t_CFLAGS = $(AM_CFLAGS)
t_fuzz_access_t_LDADD = $(FUZZ_LDADD)

noinst_HEADERS += t/fuzz/yaml_text.h
check_PROGRAMS += t/fuzz/masteryaml.t t/fuzz/manifest.t
EXTRA_DIST += t/fuzz/masteryaml.dict t/fuzz/manifest.dict
t_fuzz_masteryaml_t_SOURCES = t/fuzz/masteryaml.c t/fuzz/yaml_text.c
t_fuzz_masteryaml_t_LDADD = $(FUZZ_LDADD)
t_fuzz_manifest_t_SOURCES = t/fuzz/manifest.c t/fuzz/yaml_text.c
t_fuzz_manifest_t_LDADD = $(FUZZ_LDADD)

# make fuzz-NAME [TIME=seconds of CPU].  A build that cannot do it asks `dev` for one that can.
TIME = 60
if FUZZING
fuzz-%: t/fuzz/%.t
	@$(srcdir)/t/fuzz/run $* $(TIME) $(or $(FUZZ_LENGTH_$*),$(FUZZ_LENGTH))
else
fuzz-%:
	@env -u MAKEFLAGS -u MAKELEVEL $(srcdir)/dev fuzz $* $(TIME)
endif
EXTRA_DIST += t/fuzz/README.md t/fuzz/run t/fuzz/seeds
