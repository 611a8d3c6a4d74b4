# Make fragment of plugins/transport/smtp (included by Makefile.am; paths are from the top).
SMTP_SOURCES = plugins/transport/smtp/smtp.c plugins/transport/smtp/smtp.h plugins/transport/smtp/params.c \
	plugins/transport/smtp/target.c plugins/transport/smtp/session.c plugins/transport/smtp/reply.c \
	plugins/transport/smtp/transact.c plugins/transport/smtp/content.c plugins/transport/smtp/pool.c \
	plugins/transport/smtp/verdict.c plugins/transport/smtp/downgrade.c

# The plugin's own code against scripted servers; the test stands in for DNS,
# connections and the message.
check_PROGRAMS += t/plugin/smtp.t
t_plugin_smtp_t_SOURCES = t/plugin/smtp.c $(SMTP_SOURCES)
t_plugin_smtp_t_CFLAGS = $(AM_CFLAGS)
t_plugin_smtp_t_LDADD = core/libposthorn.la
dist_man_MANS += plugins/transport/smtp/smtp.8

plugin_LTLIBRARIES += plugins/transport/smtp/transport_smtp.la
plugins_transport_smtp_transport_smtp_la_SOURCES = $(SMTP_SOURCES)
plugins_transport_smtp_transport_smtp_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_transport_smtp_transport_smtp_la_LIBADD = $(PLUGIN_LIBADD)
