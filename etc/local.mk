# Make fragment of etc (included by Makefile.am; paths are from the top).
