# Make fragment of sdk (included by Makefile.am; paths are from the top).
