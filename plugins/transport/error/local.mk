# Make fragment of plugins/transport/error (included by Makefile.am; paths are from the top).
