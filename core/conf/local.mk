noinst_LTLIBRARIES += core/conf/libconf.la
core_conf_libconf_la_SOURCES =
