# Make fragment of t/model (included by t/local.mk; paths are from the top).
# The real smtpd and cleanup; the test stands in for client, policy and queue.
check_PROGRAMS += t/model/smtpd.t
t_model_smtpd_t_SOURCES = t/model/smtpd.c t/model/session.c t/model/acceptor.c t/model/reference.c t/model/alphabet.c t/model/model.h \
	$(SMTPD_SOURCES) $(CLEANUP_SOURCES)
t_model_smtpd_t_CFLAGS = $(AM_CFLAGS)
t_model_smtpd_t_LDADD = core/libposthorn.la

# The real smtp and lmtp; the test stands in for servers, queue file and DNS.
check_PROGRAMS += t/model/smtp.t
t_model_smtp_t_SOURCES = t/model/smtp.c t/model/client_reference.c t/model/client_server.c t/model/client.h
t_model_smtp_t_LDADD = $(SMTP_RIG)

# Some minutes on one core.
modeltest: check-programs
	t/model/smtpd.t --deep
	t/model/smtp.t --deep
.PHONY: modeltest
EXTRA_DIST += t/model/README.md
