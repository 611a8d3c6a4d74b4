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

/* PH_PLUGIN_KIND(name, PH_IS(...), ...): the first argument is PH_IS(...) with
 * the members of struct ph_plugin, the others are members of the kind, each
 * written .member = value.  In C++11, which has no such initialisers, each
 * becomes an assignment that runs while the object is loaded. */
#define PH_IS(...) (__VA_ARGS__)
#define PH_UNWRAP_(...) __VA_ARGS__
#define PH_FIRST_(first, ...) PH_UNWRAP_ first
#define PH_REST_(first, ...) __VA_ARGS__

#ifdef __cppcheck__                 /* which does not expand PH_FIRST_ */
#define PH_ENTRY_(type_, symbol_, kind_, rev_, name_, ...) extern const type_ symbol_
#elif defined __cplusplus
#define PH_EACH_1_(o, a) o a;
#define PH_EACH_2_(o, a, ...) o a; PH_EACH_1_(o, __VA_ARGS__)
#define PH_EACH_3_(o, a, ...) o a; PH_EACH_2_(o, __VA_ARGS__)
#define PH_EACH_4_(o, a, ...) o a; PH_EACH_3_(o, __VA_ARGS__)
#define PH_EACH_5_(o, a, ...) o a; PH_EACH_4_(o, __VA_ARGS__)
#define PH_EACH_6_(o, a, ...) o a; PH_EACH_5_(o, __VA_ARGS__)
#define PH_EACH_7_(o, a, ...) o a; PH_EACH_6_(o, __VA_ARGS__)
#define PH_EACH_8_(o, a, ...) o a; PH_EACH_7_(o, __VA_ARGS__)
#define PH_EACH_9_(o, a, ...) o a; PH_EACH_8_(o, __VA_ARGS__)
#define PH_EACH_10_(o, a, ...) o a; PH_EACH_9_(o, __VA_ARGS__)
#define PH_EACH_11_(o, a, ...) o a; PH_EACH_10_(o, __VA_ARGS__)
#define PH_EACH_12_(o, a, ...) o a; PH_EACH_11_(o, __VA_ARGS__)
#define PH_EACH_13_(o, a, ...) o a; PH_EACH_12_(o, __VA_ARGS__)
#define PH_EACH_14_(o, a, ...) o a; PH_EACH_13_(o, __VA_ARGS__)
#define PH_EACH_15_(o, a, ...) o a; PH_EACH_14_(o, __VA_ARGS__)
#define PH_EACH_16_(o, a, ...) o a; PH_EACH_15_(o, __VA_ARGS__)
#define PH_EACH_17_(o, a, ...) o a; PH_EACH_16_(o, __VA_ARGS__)
#define PH_EACH_18_(o, a, ...) o a; PH_EACH_17_(o, __VA_ARGS__)
#define PH_EACH_19_(o, a, ...) o a; PH_EACH_18_(o, __VA_ARGS__)
#define PH_EACH_20_(o, a, ...) o a; PH_EACH_19_(o, __VA_ARGS__)
#define PH_COUNT__(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19, a20, n, ...) n
#define PH_COUNT_(...) PH_COUNT__(__VA_ARGS__, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#define PH_PASTE__(a, b, c) a##b##c
#define PH_PASTE_(a, b, c) PH_PASTE__(a, b, c)
#define PH_SET_ALL__(o, n, ...) PH_PASTE_(PH_EACH_, n, _)(o, __VA_ARGS__)
#define PH_SET_ALL_(o, ...) PH_SET_ALL__(o, PH_COUNT_(__VA_ARGS__), __VA_ARGS__)
#define PH_ENTRY_(type_, symbol_, kind_, rev_, name_, ...) \
    extern "C" { extern PH_EXPORT const type_ symbol_; } \
    const type_ symbol_ = []() -> type_ { \
        type_ d = {}; \
        d.plugin.size = sizeof(type_); \
        d.plugin.abi = PH_ABI; \
        d.plugin.kind = (kind_); \
        d.plugin.revision = (rev_); \
        d.plugin.param_stride = sizeof(struct ph_param); \
        d.plugin.name = #name_; \
        PH_SET_ALL_(d.plugin, PH_FIRST_(__VA_ARGS__)) \
        PH_SET_ALL_(d, PH_REST_(__VA_ARGS__)) \
        return d; \
    }();
#else
#define PH_PLUGIN_HEAD(kind_, rev_, type_, name_) \
    .size = sizeof(type_), .abi = PH_ABI, .kind = (kind_), .revision = (rev_), \
    .param_stride = sizeof(struct ph_param), .name = #name_
#define PH_ENTRY_(type_, symbol_, kind_, rev_, name_, ...) \
    extern PH_EXPORT const type_ symbol_; \
    const type_ symbol_ = { \
        .plugin = { PH_PLUGIN_HEAD(kind_, rev_, type_, name_), PH_FIRST_(__VA_ARGS__) }, \
        PH_REST_(__VA_ARGS__) }
#endif

PH_END
#endif
