# Make fragment of plugins/service/smtpd (included by Makefile.am; paths are from the top).
