# Make fragment of plugins/service/cleanup (included by Makefile.am; paths are from the top).
