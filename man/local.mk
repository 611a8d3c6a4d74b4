# Make fragment of man (included by Makefile.am; paths are from the top).
