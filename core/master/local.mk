# Make fragment of core/master (included by Makefile.am; paths are from the top).
