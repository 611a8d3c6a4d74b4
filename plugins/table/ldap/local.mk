if HAVE_LDAP
plugin_LTLIBRARIES += plugins/table/ldap/table_ldap.la
plugins_table_ldap_table_ldap_la_SOURCES = plugins/table/ldap/ldap.c plugins/table/ldap/session.c plugins/table/ldap/walk.c plugins/table/ldap/ldap_table.h \
	plugins/table/common/client.c plugins/table/common/template.c plugins/table/common/client.h
plugins_table_ldap_table_ldap_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_table_ldap_table_ldap_la_LIBADD = $(PLUGIN_LIBADD) $(LDAP_LIBS) -llber
endif
dist_man_MANS += plugins/table/ldap/ldap_table.5
