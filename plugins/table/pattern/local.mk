plugin_LTLIBRARIES += plugins/table/pattern/table_regexp.la
plugins_table_pattern_table_regexp_la_SOURCES = plugins/table/pattern/regexp.c plugins/table/pattern/pattern.c plugins/table/pattern/pattern.h
plugins_table_pattern_table_regexp_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_table_pattern_table_regexp_la_LIBADD = $(PLUGIN_LIBADD)
plugin_LTLIBRARIES += plugins/table/pattern/table_pcre.la
plugins_table_pattern_table_pcre_la_SOURCES = plugins/table/pattern/pcre.c plugins/table/pattern/pattern.c plugins/table/pattern/pattern.h
plugins_table_pattern_table_pcre_la_LDFLAGS = $(PLUGIN_LDFLAGS)
plugins_table_pattern_table_pcre_la_LIBADD = $(PLUGIN_LIBADD) $(PCRE2_LIBS)
