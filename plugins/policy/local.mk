# Make fragment of plugins/policy (included by Makefile.am; paths are from the top).
