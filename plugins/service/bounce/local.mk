# Make fragment of plugins/service/bounce (included by Makefile.am; paths are from the top).
