# Plugins that attempt what the seal forbids: t/system/sealed.t.  One object for each
# descriptor: what it says it needs is what it is allowed.
noinst_HEADERS += t/seal/acts.h
if !STATIC_PLUGINS
SEAL_FLAGS = $(PLUGIN_LDFLAGS) -rpath /nowhere
check_LTLIBRARIES += t/seal/service_act_none.la t/seal/service_act_net.la t/seal/service_act_bounce.la t/seal/transport_act_transport.la t/seal/table_act_table.la
t_seal_service_act_none_la_SOURCES = t/seal/service.c t/seal/acts.c
t_seal_service_act_none_la_CPPFLAGS = $(AM_CPPFLAGS) -DNAME=act_none -DNEEDS='""'
t_seal_service_act_none_la_LDFLAGS = $(SEAL_FLAGS)
t_seal_service_act_none_la_LIBADD = $(PLUGIN_LIBADD)
t_seal_service_act_net_la_SOURCES = t/seal/service.c t/seal/acts.c
t_seal_service_act_net_la_CPPFLAGS = $(AM_CPPFLAGS) -DNAME=act_net -DNEEDS='"network"'
t_seal_service_act_net_la_LDFLAGS = $(SEAL_FLAGS)
t_seal_service_act_net_la_LIBADD = $(PLUGIN_LIBADD)
t_seal_service_act_bounce_la_SOURCES = t/seal/service.c t/seal/acts.c
t_seal_service_act_bounce_la_CPPFLAGS = $(AM_CPPFLAGS) -DNAME=act_bounce -DNEEDS='"bounce maildrop"'
t_seal_service_act_bounce_la_LDFLAGS = $(SEAL_FLAGS)
t_seal_service_act_bounce_la_LIBADD = $(PLUGIN_LIBADD)
t_seal_transport_act_transport_la_SOURCES = t/seal/transport.c t/seal/acts.c
t_seal_transport_act_transport_la_LDFLAGS = $(SEAL_FLAGS)
t_seal_transport_act_transport_la_LIBADD = $(PLUGIN_LIBADD)
t_seal_table_act_table_la_SOURCES = t/seal/table.c t/seal/acts.c
t_seal_table_act_table_la_LDFLAGS = $(SEAL_FLAGS)
t_seal_table_act_table_la_LIBADD = $(PLUGIN_LIBADD)
endif
EXTRA_DIST += t/seal/README.md
