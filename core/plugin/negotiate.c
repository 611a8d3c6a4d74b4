/* negotiate: does the object fit this core?  Each kind evolves alone: members
 * are appended, so an older plugin's missing ones read as zero and a newer
 * one's further members are not looked at. */
#include <string.h>
#include <posthorn/error.h>
#include <posthorn/policy.h>
#include <posthorn/service.h>
#include <posthorn/table.h>
#include <posthorn/transport.h>
#include "core/plugin/internal.h"
#include "core/plugin/registry.h"

#define DESCRIPTOR_MAX 65536u

static const struct { const char *name; uint32_t kind; size_t size; } kinds[] = {
    { "service", PH_KIND_SERVICE, sizeof(struct ph_service_plugin) }, { "table", PH_KIND_TABLE, sizeof(struct ph_table_plugin) },
    { "transport", PH_KIND_TRANSPORT, sizeof(struct ph_transport_plugin) }, { "filter", PH_KIND_FILTER, 0 },
    { "policy", PH_KIND_POLICY, sizeof(struct ph_policy_plugin) }, { "screen", PH_KIND_SCREEN, 0 }, { "sasl", PH_KIND_SASL, 0 },
};

const char *ph_kind_name(uint32_t kind)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].kind == kind)
            return kinds[i].name;
    return "?";
}

uint32_t ph_kind_by_name(ph_str name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (ph_str_eq(name, ph_cstr(kinds[i].name)))
            return kinds[i].kind;
    return 0;
}

static size_t size_of(uint32_t kind)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].kind == kind)
            return kinds[i].size;
    return 0;
}

int ph_plugin_negotiate(const char *file, uint32_t kind, ph_str name, const struct ph_plugin *raw, const struct ph_plugin **desc)
{
    static struct ph_scope *forever;
    size_t full = size_of(kind);

    if (raw->abi != PH_ABI)
        return ph_fail(PH_CONF, "%s: built for plugin ABI %u, this is ABI %u: rebuild it or install the matching package", file, raw->abi, PH_ABI);
    if (raw->size < sizeof *raw || raw->size > DESCRIPTOR_MAX)
        return ph_fail(PH_CONF, "%s: descriptor of %u bytes makes no sense", file, raw->size);
    if (raw->kind != kind || full == 0)
        return ph_fail(PH_CONF, "%s: is a %s plugin, wanted a %s plugin", file, ph_kind_name(raw->kind), ph_kind_name(kind));
    if (!raw->name || !ph_str_eq(ph_cstr(raw->name), name))
        return ph_fail(PH_CONF, "%s: calls itself \"%s\", its manifest says \"%.*s\"", file, raw->name ? raw->name : "", PH_FMT(name));
    if (raw->param_count && (raw->param_stride < sizeof(struct ph_param) || !raw->params))
        return ph_fail(PH_CONF, "%s: parameter rows of %u bytes are too short", file, raw->param_stride);
    if (!forever)
        forever = ph_scope_new(NULL);
    struct ph_plugin *copy = ph_alloc(forever, full);
    memcpy(copy, raw, raw->size < full ? raw->size : full);
    *desc = copy;
    return 0;
}
