/* Tables of the loader's test, one object per case: the build defines CASE_x
 * and names the plugin x.  All but `good`, `old` and `new` are to be refused. */
#include <posthorn/table.h>

static int32_t case_open(struct ph_table *t PH_UNUSED, ph_str spec PH_UNUSED)
{
    return 0;
}

static int32_t case_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val)
{
    if (ph_str_eq(key, PH_STR("none")))
        return PH_NONE;
    if (ph_str_eq(key, PH_STR("zero")))
        return 0;                  /* never an answer */
    *val = ph_str_printf(out, "%.*s of %.*s", PH_FMT(key), PH_FMT(t->name));
    return PH_FOUND;
}

#define ENTRY(name_, ...) \
    PH_PLUGIN_TABLE(name_, PH_IS(.summary = "for a test", .exec = PH_PURE), .open = case_open, .lookup = case_lookup, __VA_ARGS__)

#if defined CASE_good
ENTRY(good, .is = PH_TABLE_NOFOLD);
#elif defined CASE_blocking
PH_PLUGIN_TABLE(blocking, PH_IS(.summary = "for a test", .exec = PH_BLOCKING), .open = case_open, .lookup = case_lookup);
#elif defined CASE_noentry
ENTRY(another, .is = 0);
#elif defined CASE_undefined
int ph_no_such_call(void);
static int32_t bad_changed(struct ph_table *t PH_UNUSED) { return ph_no_such_call(); }
ENTRY(undefined, .changed = bad_changed);
#elif defined CASE_private
int ph_registry_open(struct ph_conf *conf);
static int32_t bad_changed(struct ph_table *t) { return ph_registry_open(t->conf); }
ENTRY(private, .changed = bad_changed);
#elif defined CASE_gone
int ph_gone(void);
static int32_t bad_changed(struct ph_table *t PH_UNUSED) { return ph_gone(); }
ENTRY(gone, .changed = bad_changed);
#else
/* Descriptors that no macro of ours makes. */
extern PH_EXPORT const struct ph_table_plugin CASE_SYMBOL;
#if defined CASE_abi
#define HEAD .size = sizeof(struct ph_table_plugin), .abi = 99, .kind = PH_KIND_TABLE
#elif defined CASE_kind
#define HEAD .size = sizeof(struct ph_table_plugin), .abi = PH_ABI, .kind = PH_KIND_POLICY
#elif defined CASE_tiny
#define HEAD .size = 8, .abi = PH_ABI, .kind = PH_KIND_TABLE
#elif defined CASE_old
/* As an older header made it: nothing behind lookup (what stands there is not
 * to be read). */
#define HEAD .size = offsetof(struct ph_table_plugin, update), .abi = PH_ABI, .kind = PH_KIND_TABLE
#endif
const struct ph_table_plugin CASE_SYMBOL = {
    .plugin = { HEAD, .revision = PH_TABLE_REVISION, .exec = PH_PURE, .param_stride = sizeof(struct ph_param), .name = CASE_NAME },
    .open = case_open, .lookup = case_lookup,
    .update = (int32_t (*)(struct ph_table *, ph_str, ph_str))(uintptr_t)1,
};
#endif
