# Make fragment of plugins/transport/discard (included by Makefile.am; paths are from the top).
