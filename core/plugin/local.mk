noinst_LTLIBRARIES += core/plugin/libplugin.la
core_plugin_libplugin_la_SOURCES = core/plugin/registry.c core/plugin/registry.h core/plugin/internal.h core/plugin/manifest.c \
	core/plugin/path.c core/plugin/elf.c core/plugin/loader.c core/plugin/negotiate.c core/plugin/tables.c core/plugin/tables.h \
	core/plugin/lookup.c core/plugin/match.c core/plugin/restriction.c core/plugin/source.c

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
