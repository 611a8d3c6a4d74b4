# Make fragment of core/cmd (included by Makefile.am; paths are from the top).
COMMON = core/cmd/cmd.c core/cmd/cmd.h

sbin_PROGRAMS += core/cmd/postconf
core_cmd_postconf_SOURCES = $(COMMON) core/cmd/postconf.c core/cmd/postconf.h core/cmd/postconf_main.c core/cmd/postconf_check.c \
	core/cmd/postconf_options.c core/cmd/postconf_edit.c core/cmd/postconf_lists.c core/cmd/postconf_services.c core/cmd/postconf_import.c \
	core/cmd/mastercf.c core/cmd/mastercf.h core/cmd/mastercf_yaml.c core/cmd/yaml_text.c core/cmd/yaml_text.h core/cmd/edit_file.c core/cmd/edit_file.h \
	core/cmd/postconf_bounce.c core/cmd/postconf_master.c
core_cmd_postconf_LDADD = core/libposthorn.la

# Set-gid, or run by every user for every message: static, without plugins, YAML
# and DNS.
SMALL_LIBS = core/mail/libmail.la core/conf/libmaincf.la core/ipc/libipc.la core/run/librun.la core/base/libbase.la

sbin_PROGRAMS += core/cmd/postdrop
core_cmd_postdrop_SOURCES = $(COMMON) core/cmd/postdrop.c core/cmd/postdrop.h core/cmd/postdrop_file.c \
	core/cmd/setgid.c core/cmd/setgid.h core/cmd/usermap.c core/cmd/usermap.h
core_cmd_postdrop_LDADD = $(SMALL_LIBS)

sbin_PROGRAMS += core/cmd/sendmail
core_cmd_sendmail_SOURCES = $(COMMON) core/cmd/sendmail.c core/cmd/sendmail.h core/cmd/sendmail_options.c \
	core/cmd/sendmail_deliver.c core/cmd/sendmail_smtp.c core/cmd/submit.c core/cmd/submit.h
core_cmd_sendmail_LDADD = $(SMALL_LIBS)

# The same program under its other names; programs look for it in lib too.  The hook is a
# make of its own behind the programs: a dependency on them would install the library once
# more while plugins are linked to it.
install-exec-hook: install-sendmail-names
install-sendmail-names:
	$(MKDIR_P) $(DESTDIR)$(bindir)
	for name in mailq newaliases; do \
	  rm -f $(DESTDIR)$(bindir)/$$name && $(LN_S) $(sbindir)/sendmail $(DESTDIR)$(bindir)/$$name || exit 1; done
	$(MKDIR_P) $(DESTDIR)$(prefix)/lib
	rm -f $(DESTDIR)$(prefix)/lib/sendmail && $(LN_S) $(sbindir)/sendmail $(DESTDIR)$(prefix)/lib/sendmail
# Their manual page is that of sendmail; worker's is that of master.
install-data-hook: install-manual-names
install-manual-names:
	for link in man1/mailq.1:sendmail.1 man1/newaliases.1:sendmail.1 man8/worker.8:master.8; do \
	  page=$(DESTDIR)$(mandir)/$${link%%:*}; rm -f $$page && $(LN_S) $${link##*:} $$page || exit 1; done
uninstall-hook: uninstall-sendmail-names
uninstall-sendmail-names:
	rm -f $(DESTDIR)$(bindir)/mailq $(DESTDIR)$(bindir)/newaliases $(DESTDIR)$(prefix)/lib/sendmail
	cd $(DESTDIR)$(mandir) && rm -f man1/mailq.1 man1/newaliases.1 man8/worker.8
.PHONY: install-sendmail-names uninstall-sendmail-names install-manual-names

sbin_PROGRAMS += core/cmd/postlog
core_cmd_postlog_SOURCES = $(COMMON) core/cmd/postlog.c core/cmd/setgid.c core/cmd/setgid.h
core_cmd_postlog_LDADD = $(SMALL_LIBS)
dist_man_MANS += man/postconf.1 man/master.yaml.5 man/sendmail.1 man/postdrop.1 man/postlog.1

sbin_PROGRAMS += core/cmd/postqueue
core_cmd_postqueue_SOURCES = $(COMMON) core/cmd/postqueue.c core/cmd/postqueue.h core/cmd/postqueue_direct.c \
	core/cmd/postqueue_maildrop.c \
	core/cmd/listing.c core/cmd/listing.h \
	core/cmd/queue_client.c core/cmd/queue_client.h core/cmd/setgid.c core/cmd/setgid.h \
	core/cmd/usermap.c core/cmd/usermap.h
core_cmd_postqueue_LDADD = core/queue/libqueue.la $(SMALL_LIBS)

sbin_PROGRAMS += core/cmd/postkick core/cmd/postlock
core_cmd_postkick_SOURCES = $(COMMON) core/cmd/postkick.c core/cmd/queue_client.c core/cmd/queue_client.h
core_cmd_postkick_LDADD = $(SMALL_LIBS)
core_cmd_postlock_SOURCES = $(COMMON) core/cmd/postlock.c
core_cmd_postlock_LDADD = $(SMALL_LIBS)

sbin_PROGRAMS += core/cmd/postcat core/cmd/postsuper
core_cmd_postcat_SOURCES = $(COMMON) core/cmd/postcat.c core/cmd/postcat.h core/cmd/postcat_show.c \
	core/cmd/postcat_maildrop.c core/cmd/queue_client.c core/cmd/queue_client.h
core_cmd_postcat_LDADD = core/libposthorn.la
core_cmd_postsuper_SOURCES = $(COMMON) core/cmd/postsuper.c core/cmd/postsuper.h core/cmd/postsuper_store.c core/cmd/postsuper_tree.c \
	core/cmd/queue_client.c core/cmd/queue_client.h
core_cmd_postsuper_LDADD = core/libposthorn.la

sbin_PROGRAMS += core/cmd/postfix
core_cmd_postfix_SOURCES = $(COMMON) core/cmd/edit_file.c core/cmd/edit_file.h core/cmd/postfix.c core/cmd/postfix.h core/cmd/postfix_init.c core/cmd/postfix_check.c core/cmd/postfix_names.c \
	core/cmd/postfix_permissions.c core/cmd/layout.c core/cmd/layout.h \
	core/cmd/layout_files.c core/cmd/postfix_upgrade.c \
	core/cmd/postfix_logrotate.c core/cmd/postfix_tasks.c core/cmd/postfix_instances.c
core_cmd_postfix_LDADD = core/libposthorn.la
dist_man_MANS += man/postqueue.1 man/postcat.1 man/postsuper.1 man/postkick.1 man/postlock.1 man/postfix.1 man/master.8 man/posthorn.7

# Two programs of the same sources: the name says which source format.
POSTMAP_SOURCES = $(COMMON) core/cmd/postmap.c core/cmd/postmap.h core/cmd/postmap_build.c core/cmd/postalias.c \
	core/cmd/postmap_message.c core/cmd/postmap_files.c
sbin_PROGRAMS += core/cmd/postmap core/cmd/postalias
core_cmd_postmap_SOURCES = $(POSTMAP_SOURCES)
core_cmd_postmap_LDADD = core/libposthorn.la
core_cmd_postalias_SOURCES = $(POSTMAP_SOURCES)
core_cmd_postalias_LDADD = core/libposthorn.la
dist_man_MANS += man/postmap.1 man/postalias.1

sbin_PROGRAMS += core/cmd/postwhy
core_cmd_postwhy_SOURCES = $(COMMON) core/cmd/postwhy.c core/cmd/postwhy.h core/cmd/postwhy_engine.h core/cmd/postwhy_engine.c core/cmd/postwhy_generic.c core/cmd/postwhy_alias.c core/cmd/postwhy_session.c \
	core/cmd/postwhy_report.c core/cmd/postwhy_text.c core/cmd/postwhy_json.c core/cmd/postwhy_diff.c
core_cmd_postwhy_LDADD = core/libposthorn.la
dist_man_MANS += man/postwhy.1
