# Restrictions of smtpd.
plugin_LTLIBRARIES += plugins/policy/basic/policy_basic.la
plugins_policy_basic_policy_basic_la_SOURCES = plugins/policy/basic/basic.c plugins/policy/basic/basic.h plugins/policy/basic/address.c \
	plugins/policy/basic/access.c plugins/policy/basic/client.c
plugins_policy_basic_policy_basic_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_policy_basic_policy_basic_la_LIBADD = $(PLUGIN_LIBADD)
dist_man_MANS += plugins/policy/basic/access.5
