plugin_LTLIBRARIES += plugins/transport/discard/transport_discard.la
plugins_transport_discard_transport_discard_la_SOURCES = plugins/transport/discard/discard.c
plugins_transport_discard_transport_discard_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_transport_discard_transport_discard_la_LIBADD = $(PLUGIN_LIBADD)
dist_man_MANS += plugins/transport/discard/discard.8
