# Make fragment of plugins/transport/virtual (included by Makefile.am; paths are from the top).
