plugin_LTLIBRARIES += plugins/transport/error/transport_error.la
plugins_transport_error_transport_error_la_SOURCES = plugins/transport/error/error.c
plugins_transport_error_transport_error_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_transport_error_transport_error_la_LIBADD = $(PLUGIN_LIBADD)
dist_man_MANS += plugins/transport/error/error.8
