# main.cf alone (postdrop, postqueue and sendmail link no more than this), and
# with master.yaml and libidn2.
noinst_LTLIBRARIES += core/conf/libmaincf.la core/conf/libconf.la
core_conf_libmaincf_la_SOURCES = core/conf/conf.c core/conf/conf.h core/conf/internal.h core/conf/reader.c \
	core/conf/expand.c core/conf/value.c core/conf/check.c core/conf/shared.c core/conf/known.c core/conf/names.c core/conf/used.c core/conf/source.c core/conf/logfile.c
nodist_core_conf_libmaincf_la_SOURCES = core/conf/known_table.h
core_conf_libconf_la_SOURCES = core/conf/accounts.c core/conf/accounts.h core/conf/bounce_expand.c core/conf/bounce_template.c \
	core/conf/idn.c core/conf/master.c core/conf/master.h \
	core/conf/service.c core/conf/service_args.c core/conf/service.h core/conf/snapshot.c core/conf/snapshot.h core/conf/yaml.c core/conf/yaml.h
core_conf_libconf_la_LIBADD = core/conf/libmaincf.la

# The sources say which parameters are used; so the table is made anew each time,
# but only a different one replaces the old.
KNOWN_SOURCES = $(wildcard $(srcdir)/core/*/*.c $(srcdir)/plugins/*/*/*.c $(srcdir)/plugins/*/*.c)
core/conf/known.stamp: core/conf/known.pl core/conf/params.tsv core/conf/deprecated.tsv $(KNOWN_SOURCES)
	$(AM_V_GEN)$(MKDIR_P) core/conf && \
	$(PERL) $(srcdir)/core/conf/known.pl $(srcdir)/core/conf/params.tsv $(srcdir)/core/conf/deprecated.tsv $(KNOWN_SOURCES) > $@.tmp && \
	{ cmp -s $@.tmp core/conf/known_table.h || cp $@.tmp core/conf/known_table.h; } && mv $@.tmp $@
core/conf/known_table.h: core/conf/known.stamp
	@test -f $@ || cp core/conf/known.stamp $@
core/conf/known.lo: core/conf/known_table.h
EXTRA_DIST += core/conf/known.pl core/conf/params.tsv core/conf/deprecated.tsv
CLEANFILES += core/conf/known.stamp core/conf/known_table.h

# postconf(5): all parameters, from the same table, the rows and the pages of the rest.
MANUAL_PAGES = $(wildcard $(srcdir)/man/*.[1578] $(srcdir)/core/*/*.[1578] $(srcdir)/plugins/*/*/*.[1578])
core/conf/postconf.5: core/conf/manual.pl core/conf/docs.tsv core/conf/known.stamp $(MANUAL_PAGES)
	$(AM_V_GEN)$(PERL) $(srcdir)/core/conf/manual.pl $(PACKAGE_VERSION) $(srcdir)/core/conf/params.tsv $(srcdir)/core/conf/deprecated.tsv \
	  $(srcdir)/core/conf/docs.tsv core/conf/known_table.h $(KNOWN_SOURCES) $(MANUAL_PAGES) > $@.tmp && mv $@.tmp $@
nodist_man_MANS = core/conf/postconf.5
dist_man_MANS += man/main.cf.5
EXTRA_DIST += core/conf/manual.pl core/conf/docs.tsv
CLEANFILES += core/conf/postconf.5

check_PROGRAMS += t/unit/conf.t
t_unit_conf_t_SOURCES = t/unit/conf.c
t_unit_conf_t_LDADD = core/libposthorn.la
check_PROGRAMS += t/unit/master_yaml.t
t_unit_master_yaml_t_SOURCES = t/unit/master_yaml.c
t_unit_master_yaml_t_LDADD = core/libposthorn.la
check_PROGRAMS += t/unit/bounce_template.t
t_unit_bounce_template_t_SOURCES = t/unit/bounce_template.c
t_unit_bounce_template_t_LDADD = core/libposthorn.la
