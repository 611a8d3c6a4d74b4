plugin_LTLIBRARIES += plugins/service/smtpd/service_smtpd.la
plugins_service_smtpd_service_smtpd_la_SOURCES = plugins/service/smtpd/smtpd.h plugins/service/smtpd/service.c plugins/service/smtpd/params.c \
	plugins/service/smtpd/verbs.c plugins/service/smtpd/mail.c plugins/service/smtpd/data.c plugins/service/smtpd/intake.c \
	plugins/service/smtpd/client.c plugins/service/smtpd/reply.c plugins/service/smtpd/restrict.c plugins/service/smtpd/action.c
plugins_service_smtpd_service_smtpd_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_service_smtpd_service_smtpd_la_LIBADD = $(PLUGIN_LIBADD)
