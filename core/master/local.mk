daemon_PROGRAMS += core/master/master
core_master_master_SOURCES = core/master/main.c core/master/master.h core/master/config.c core/master/service.c core/master/child.c \
	core/master/control.c core/master/reach.c core/master/socket.c core/master/words.c
core_master_master_LDADD = core/libposthorn.la
