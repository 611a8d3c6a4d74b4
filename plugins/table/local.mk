# Make fragment of plugins/table (included by Makefile.am; paths are from the top).
