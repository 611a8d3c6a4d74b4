# Make fragment of core/cmd (included by Makefile.am; paths are from the top).
COMMON = core/cmd/cmd.c core/cmd/cmd.h

sbin_PROGRAMS += core/cmd/postconf
core_cmd_postconf_SOURCES = $(COMMON) core/cmd/postconf.c core/cmd/postconf.h core/cmd/postconf_main.c \
	core/cmd/postconf_master.c
core_cmd_postconf_LDADD = core/libposthorn.la
