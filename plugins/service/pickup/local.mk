# Make fragment of plugins/service/pickup (included by Makefile.am; paths are from the top).
