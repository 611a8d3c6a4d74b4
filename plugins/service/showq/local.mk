# Make fragment of plugins/service/showq (included by Makefile.am; paths are from the top).
