noinst_LTLIBRARIES += core/plugin/libplugin.la
core_plugin_libplugin_la_SOURCES = core/plugin/registry.c core/plugin/registry.h core/plugin/internal.h core/plugin/manifest.c \
	core/plugin/path.c core/plugin/elf.c core/plugin/loader.c core/plugin/negotiate.c core/plugin/tables.c core/plugin/tables_text.c core/plugin/tables.h core/plugin/remote.c \
	core/plugin/reopen.c core/plugin/reopen.h core/plugin/lookup.c core/plugin/match.c core/plugin/restriction.c core/plugin/why.c core/plugin/fold.c core/plugin/fold_table.h \
	core/plugin/address_map.c core/plugin/address_map.h core/plugin/address_expand.c core/plugin/own_address.c \
	core/plugin/inline.c core/plugin/inline.h
EXTRA_DIST += core/plugin/fold_table.py

# NAME.yaml of each plugin, from the built object.
noinst_PROGRAMS += core/plugin/mkmanifest
core_plugin_mkmanifest_SOURCES = core/plugin/mkmanifest.c
core_plugin_mkmanifest_LDADD = core/libposthorn.la
SUFFIXES = .la .yaml
.la.yaml:
	$(AM_V_GEN)ASAN_OPTIONS=detect_leaks=0 core/plugin/mkmanifest $< > $@.tmp && mv $@.tmp $@
manifest_DATA += $(plugin_LTLIBRARIES:.la=.yaml)
$(plugin_LTLIBRARIES:.la=.yaml): core/plugin/mkmanifest
CLEANFILES += $(plugin_LTLIBRARIES:.la=.yaml)

# The loader's test, and the objects that it is to refuse (and a few it is not).
check_PROGRAMS += t/unit/plugin.t
t_unit_plugin_t_SOURCES = t/unit/plugin.c
t_unit_plugin_t_LDADD = core/libposthorn.la
EXTRA_t_unit_plugin_t_DEPENDENCIES = $(TEST_OBJECTS)
TEST_CASES = good blocking noentry undefined private gone abi kind tiny old
TEST_OBJECTS = $(TEST_CASES:%=t/plugin/bad/table_%.so) t/plugin/bad/table_cxx.so
OBJECT_CPPFLAGS = $(DEFS) $(DEFAULT_INCLUDES) $(INCLUDES) $(AM_CPPFLAGS) $(CPPFLAGS)
t/plugin/bad/libphgone.so: Makefile
	$(AM_V_CCLD)$(MKDIR_P) t/plugin/bad && echo 'int ph_gone(void); int ph_gone(void) { return 1; }' | \
	  $(CC) -shared -fPIC -Wl,-soname,libphgone.so -o $@ -x c -
$(TEST_CASES:%=t/plugin/bad/table_%.so): t/plugin/bad/table_%.so: t/plugin/objects/table.c core/libposthorn.la t/plugin/bad/libphgone.so
	$(AM_V_CCLD)$(CC) $(OBJECT_CPPFLAGS) -DCASE_$* -DCASE_SYMBOL=table_$*_LTX_ph_plugin '-DCASE_NAME="$*"' $(AM_CFLAGS) $(CFLAGS) \
	  -fPIC -shared -o $@ $(top_srcdir)/t/plugin/objects/table.c core/.libs/libposthorn.so $(if $(filter gone,$*),t/plugin/bad/libphgone.so)
t/plugin/bad/table_cxx.so: t/plugin/objects/cxx.cc core/libposthorn.la
	$(AM_V_CCLD)$(MKDIR_P) t/plugin/bad && $(CXX) -std=c++11 -Wall -Wextra -pedantic -Werror $(OBJECT_CPPFLAGS) \
	  -fPIC -shared -o $@ $(top_srcdir)/t/plugin/objects/cxx.cc core/.libs/libposthorn.so
CLEANFILES += $(TEST_OBJECTS) t/plugin/bad/libphgone.so
EXTRA_DIST += t/plugin/objects/table.c t/plugin/objects/cxx.cc

# The same objects without dlopen: fuzz and sanitizer builds link them so.
if STATIC_PLUGINS
check_PROGRAMS += t/unit/static_plugins.t
t_unit_static_plugins_t_SOURCES = t/unit/static_plugins.c
t_unit_static_plugins_t_LDADD = core/libposthorn.la
t_unit_static_plugins_t_LDFLAGS = $(AM_LDFLAGS) -static $(plugin_LTLIBRARIES:%=-dlpreopen %)
t_unit_static_plugins_t_DEPENDENCIES = core/libposthorn.la $(plugin_LTLIBRARIES)
endif
EXTRA_DIST += t/unit/static_plugins.c

check_PROGRAMS += t/unit/lookup.t
t_unit_lookup_t_SOURCES = t/unit/lookup.c
t_unit_lookup_t_LDADD = core/libposthorn.la
EXTRA_t_unit_lookup_t_DEPENDENCIES = $(plugin_LTLIBRARIES)

check_PROGRAMS += t/unit/why.t
t_unit_why_t_SOURCES = t/unit/why.c
t_unit_why_t_LDADD = core/libposthorn.la
EXTRA_t_unit_why_t_DEPENDENCIES = $(plugin_LTLIBRARIES)

check_PROGRAMS += t/unit/address_map.t
t_unit_address_map_t_SOURCES = t/unit/address_map.c
t_unit_address_map_t_LDADD = core/libposthorn.la
EXTRA_t_unit_address_map_t_DEPENDENCIES = $(plugin_LTLIBRARIES)
