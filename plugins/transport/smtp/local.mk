# Make fragment of plugins/transport/smtp (included by Makefile.am; paths are from the top).
# Two plugins of one code: smtp and lmtp.
SMTP_CLIENT = plugins/transport/smtp/smtp.h plugins/transport/smtp/params.c plugins/transport/smtp/setup.c \
	plugins/transport/smtp/deliver.c plugins/transport/smtp/target.c plugins/transport/smtp/hosts.c \
	plugins/transport/smtp/session.c plugins/transport/smtp/ehlo.c plugins/transport/smtp/reply.c \
	plugins/transport/smtp/transact.c plugins/transport/smtp/command.c plugins/transport/smtp/finish.c \
	plugins/transport/smtp/content.c plugins/transport/smtp/prefix.c plugins/transport/smtp/generic.c plugins/transport/smtp/pool.c \
	plugins/transport/smtp/verdict.c plugins/transport/smtp/downgrade.c

# The plugins' own code against scripted servers; the rig stands in for DNS,
# connections and the message.
check_LTLIBRARIES += t/plugin/libsmtprig.la
t_plugin_libsmtprig_la_SOURCES = t/plugin/smtp_rig.c t/plugin/smtp_rig.h $(SMTP_CLIENT) \
	plugins/transport/smtp/smtp.c plugins/transport/smtp/lmtp.c
t_plugin_libsmtprig_la_CFLAGS = $(AM_CFLAGS)
SMTP_RIG = t/plugin/libsmtprig.la core/libposthorn.la
check_PROGRAMS += t/plugin/smtp.t t/plugin/smtp_content.t t/plugin/smtp_session.t t/plugin/lmtp.t t/plugin/smtp_target.t t/plugin/smtp_matrix.t t/plugin/smtp_options.t
t_plugin_smtp_options_t_SOURCES = t/plugin/smtp_options.c
t_plugin_smtp_options_t_LDADD = $(SMTP_RIG)
t_plugin_smtp_matrix_t_SOURCES = t/plugin/smtp_matrix.c
t_plugin_smtp_matrix_t_LDADD = $(SMTP_RIG)
t_plugin_smtp_target_t_SOURCES = t/plugin/smtp_target.c
t_plugin_smtp_target_t_LDADD = $(SMTP_RIG)
t_plugin_lmtp_t_SOURCES = t/plugin/lmtp.c
t_plugin_lmtp_t_LDADD = $(SMTP_RIG)
t_plugin_smtp_t_SOURCES = t/plugin/smtp.c
t_plugin_smtp_t_LDADD = $(SMTP_RIG)
t_plugin_smtp_content_t_SOURCES = t/plugin/smtp_content.c
t_plugin_smtp_content_t_LDADD = $(SMTP_RIG)
t_plugin_smtp_session_t_SOURCES = t/plugin/smtp_session.c
t_plugin_smtp_session_t_LDADD = $(SMTP_RIG)
dist_man_MANS += plugins/transport/smtp/smtp.8 plugins/transport/smtp/lmtp.8 plugins/transport/smtp/generic.5

plugin_LTLIBRARIES += plugins/transport/smtp/transport_smtp.la plugins/transport/smtp/transport_lmtp.la
plugins_transport_smtp_transport_smtp_la_SOURCES = $(SMTP_CLIENT) plugins/transport/smtp/smtp.c
plugins_transport_smtp_transport_smtp_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_transport_smtp_transport_smtp_la_LIBADD = $(PLUGIN_LIBADD)
plugins_transport_smtp_transport_lmtp_la_SOURCES = $(SMTP_CLIENT) plugins/transport/smtp/lmtp.c
plugins_transport_smtp_transport_lmtp_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_transport_smtp_transport_lmtp_la_LIBADD = $(PLUGIN_LIBADD)
