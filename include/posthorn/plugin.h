/* posthorn/plugin.h: what every plugin has, whatever its kind.
 *
 * A plugin is one shared object KIND_NAME.so with one export,
 * KIND_NAME_LTX_ph_plugin, a const descriptor made by the kind's macro
 * (PH_PLUGIN_TABLE(name, ...)).  It calls the ph_* names of <posthorn/...>,
 * nothing else of ours.  It is loaded after a check of its path, never
 * unloaded. */
#ifndef POSTHORN_PLUGIN_H
#define POSTHORN_PLUGIN_H

#include <posthorn/buf.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include <posthorn/param.h>
#include <posthorn/scope.h>

PH_BEGIN

#define PH_ABI 1                    /* of libposthorn: changes when a struct breaks */

#define PH_KIND_SERVICE   1
#define PH_KIND_TABLE     2
#define PH_KIND_TRANSPORT 3
#define PH_KIND_FILTER    4
#define PH_KIND_POLICY    5
#define PH_KIND_SCREEN    6
#define PH_KIND_SASL      7

/* Execution class. */
#define PH_PURE      1              /* bounded CPU and local files; runs through ph_foreign */
#define PH_COROUTINE 2              /* waits only through ph_ calls */
#define PH_BLOCKING  3              /* may do anything: served out of process */

#define PH_ONE_CALL   0             /* concurrency: one call per instance at a time */
#define PH_MANY_CALLS 1

/* First member of every descriptor.  `size` is the whole descriptor's; members
 * of the kinds are only appended and core reads a missing one as zero. */
struct ph_plugin {
    uint32_t size;
    uint16_t abi;                   /* PH_ABI */
    uint16_t kind;                  /* PH_KIND_* */
    uint16_t revision;              /* of the kind, when this was compiled */
    uint16_t exec;                  /* PH_PURE ... */
    uint16_t concurrency;           /* PH_ONE_CALL ... */
    uint16_t param_stride;          /* sizeof(struct ph_param) */
    uint32_t stack_bytes;           /* need on a task stack; 0: ordinary */
    uint32_t param_count;
    const char *name;
    const char *summary;            /* one line, for listings and the manifest */
    const char *package;            /* distribution package, or NULL */
    const struct ph_param *params;
    const void *reserved[4];
};

#define PH_PLUGIN_HEAD(kind_, rev_, type_, name_) \
    .size = sizeof(type_), .abi = PH_ABI, .kind = (kind_), .revision = (rev_), \
    .param_stride = sizeof(struct ph_param), .name = #name_

/* PH_PLUGIN_KIND(name, PH_IS(...), ...): The first argument is PH_IS(...) with the members of struct ph_plugin. */
#define PH_IS(...) (__VA_ARGS__)
#define PH_UNWRAP_(...) __VA_ARGS__
#define PH_FIRST_(first, ...) PH_UNWRAP_ first
#define PH_REST_(first, ...) __VA_ARGS__

PH_END
#endif
