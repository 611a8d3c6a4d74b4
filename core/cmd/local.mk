# Make fragment of core/cmd (included by Makefile.am; paths are from the top).
