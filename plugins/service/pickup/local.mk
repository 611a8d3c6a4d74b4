# Make fragment of plugins/service/pickup (included by Makefile.am; paths are from the top).
PICKUP_SOURCES = plugins/service/pickup/pickup.c plugins/service/pickup/pickup.h plugins/service/pickup/file.c \
	plugins/service/pickup/submit.c

# With a cleanup of its own, so it holds the service's objects itself.
check_PROGRAMS += t/unit/pickup.t
t_unit_pickup_t_SOURCES = t/unit/pickup.c $(PICKUP_SOURCES)
t_unit_pickup_t_CFLAGS = $(AM_CFLAGS)
t_unit_pickup_t_LDADD = core/libposthorn.la
dist_man_MANS += plugins/service/pickup/pickup.8

plugin_LTLIBRARIES += plugins/service/pickup/service_pickup.la
plugins_service_pickup_service_pickup_la_SOURCES = $(PICKUP_SOURCES)
plugins_service_pickup_service_pickup_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_service_pickup_service_pickup_la_LIBADD = $(PLUGIN_LIBADD)
