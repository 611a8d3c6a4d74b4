# Make fragment of plugins/service/smtpd (included by Makefile.am; paths are from the top).
SMTPD_SOURCES = plugins/service/smtpd/smtpd.h plugins/service/smtpd/service.c plugins/service/smtpd/params.c \
	plugins/service/smtpd/verbs.c plugins/service/smtpd/mail.c plugins/service/smtpd/data.c plugins/service/smtpd/intake.c \
	plugins/service/smtpd/client.c plugins/service/smtpd/reply.c plugins/service/smtpd/restrict.c plugins/service/smtpd/action.c \
	plugins/service/smtpd/session.c plugins/service/smtpd/ehlo.c plugins/service/smtpd/esmtp.c plugins/service/smtpd/bdat.c \
	plugins/service/smtpd/content.c plugins/service/smtpd/received.c plugins/service/smtpd/xclient.c plugins/service/smtpd/etrn.c \
	plugins/service/smtpd/footer.c

plugin_LTLIBRARIES += plugins/service/smtpd/service_smtpd.la
plugins_service_smtpd_service_smtpd_la_SOURCES = $(SMTPD_SOURCES)
plugins_service_smtpd_service_smtpd_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_service_smtpd_service_smtpd_la_LIBADD = $(PLUGIN_LIBADD)
dist_man_MANS += plugins/service/smtpd/smtpd.8

# The test stands in for the DNS.
check_PROGRAMS += t/plugin/smtpd_client.t
t_plugin_smtpd_client_t_SOURCES = t/plugin/smtpd_client.c plugins/service/smtpd/client.c plugins/service/smtpd/smtpd.h
t_plugin_smtpd_client_t_CFLAGS = $(AM_CFLAGS)
t_plugin_smtpd_client_t_LDADD = core/libposthorn.la
