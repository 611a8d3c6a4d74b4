/* registry: which plugins there are, and loading them.
 *
 * Manifests (NAME.yaml) say what an object holds, so that nothing is loaded to
 * learn it: vendors' in PH_DATA_DIR/plugins.d, the administrator's in
 * CONFIG_DIRECTORY/plugins.d (a file of the same name replaces the vendor's;
 * `masked: true` removes it).
 *
 * registry.c manifests, look-up, messages   manifest.c  one manifest
 * loader.c   libltdl with our own dlopen    elf.c       which symbol versions an object needs
 * path.c     ownership of every component   negotiate.c sizes and revisions
 * tables.c   opening and asking tables      remote.c   tables that the proxymap pool has
 * lookup.c, match.c, restriction.c  the public calls
 * why.c      what look-ups tell who asks     inline.c    services in this process (inline.h)
 * fold.c     folding of keys */
#ifndef CORE_PLUGIN_REGISTRY_H
#define CORE_PLUGIN_REGISTRY_H

#include <posthorn/plugin.h>

/* Read the manifests (again).  conf says plugin_directory and where main.cf
 * stands.  0, or PH_CONF with file:line:column; PH_TEMP.  Blocking I/O; call it
 * before the seal.  Later finds use what was read. */
int ph_registry_open(struct ph_conf *conf);
/* Where vendors' manifests and plugin-packages.yaml stand instead of PH_DATA_DIR:
 * for tests.  The string must live for ever. */
void ph_registry_data_dir(const char *dir);
/* The plugin of that kind and name, loaded and checked: 0 and *desc (never
 * freed; of the kind's full size, missing members zero); PH_CONF with the true
 * cause and what to do. */
int ph_plugin_find(uint32_t kind, ph_str name, const struct ph_plugin **desc);
/* PH_FOUND when there is a manifest for it, PH_NONE. */
int ph_plugin_exists(uint32_t kind, ph_str name);
/* Walk the names of that kind in no order: start with *at = 0; 1 and *name, 0 at the end. */
int ph_plugin_next(uint32_t kind, size_t *at, ph_str *name);
/* What its manifest says it needs, and which services it uses (lists of words,
 * service.h and transport.h); empty when unknown. */
ph_str ph_plugin_needs(uint32_t kind, ph_str name);
ph_str ph_plugin_uses(uint32_t kind, ph_str name);
/* PH_PURE ... as its manifest says, 0 when that is silent; and what kind of table it is
 * (PH_TABLE_PATTERN ...).  Neither loads it. */
uint32_t ph_plugin_exec(uint32_t kind, ph_str name);
uint32_t ph_plugin_is(uint32_t kind, ph_str name);
/* The plugin of that kind that provides `what` (a restriction name): PH_FOUND
 * and its name; PH_NONE. */
int ph_plugin_provider(uint32_t kind, ph_str what, ph_str *name);
/* PH_CONF: "unsupported KIND type NAME", with the package to install or what it may have meant. */
int ph_plugin_missing(uint32_t kind, ph_str name);
/* PH_CONF: no plugin of that kind provides `what` ("smtpd restriction"), with the same help. */
int ph_plugin_not_provided(uint32_t kind, const char *what, ph_str name);
/* Preloaded objects (lt_preloaded_symbols of the program) come before files. */
void ph_plugin_preload(const void *symbols);

const char *ph_kind_name(uint32_t kind);          /* "table"; "?" */
uint32_t ph_kind_by_name(ph_str name);            /* 0 unknown */

#endif
