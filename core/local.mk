# libposthorn.so: the core once.  Names of include/posthorn are its ABI (node
# POSTHORN_1); everything else ph_* is for our own programs (POSTHORN_PRIVATE).
CORE_LIBS = core/worker/libworker.la core/plugin/libplugin.la core/sched/libsched.la core/queue/libqueue.la \
	core/mail/libmail.la core/ipc/libipc.la core/conf/libconf.la core/net/libnet.la \
	core/run/librun.la core/base/libbase.la
lib_LTLIBRARIES += core/libposthorn.la
core_libposthorn_la_SOURCES =
core_libposthorn_la_LIBADD = $(CORE_LIBS) $(YAML_LIBS) $(UNBOUND_LIBS) $(IDN2_LIBS) $(SECCOMP_LIBS) $(LTDL_LIBS)
# It calls itself without detours, but for the functions in core/seams: tests put theirs in place of those.
core_libposthorn_la_LDFLAGS = $(AM_LDFLAGS) -version-info 1:0:0 -Wl,-z,defs -Wl,-Bsymbolic-functions -Wl,--dynamic-list=$(srcdir)/core/seams \
	-Wl,--version-script=core/posthorn.map
core_libposthorn_la_DEPENDENCIES = core/posthorn.map core/seams $(CORE_LIBS)

core/posthorn.map: $(srcdir)/core/mkmap.pl $(phinclude_HEADERS)
	$(AM_V_GEN)$(MKDIR_P) core && $(PERL) $(srcdir)/core/mkmap.pl $(srcdir)/include/posthorn > $@.tmp && mv $@.tmp $@
EXTRA_DIST += core/mkmap.pl core/seams
CLEANFILES += core/posthorn.map
