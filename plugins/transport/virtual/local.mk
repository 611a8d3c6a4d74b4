plugin_LTLIBRARIES += plugins/transport/virtual/transport_virtual.la
plugins_transport_virtual_transport_virtual_la_SOURCES = plugins/transport/virtual/virtual.c plugins/transport/virtual/copy.c \
	plugins/transport/virtual/maildir.c plugins/transport/virtual/mbox.c plugins/transport/virtual/mailbox.h
plugins_transport_virtual_transport_virtual_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_transport_virtual_transport_virtual_la_LIBADD = $(PLUGIN_LIBADD)
