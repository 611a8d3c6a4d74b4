# Make fragment of plugins/transport/smtp (included by Makefile.am; paths are from the top).
