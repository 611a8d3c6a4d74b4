# Make fragment of plugins/service/rewrite (included by Makefile.am; paths are from the top).
