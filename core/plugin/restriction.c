/* restriction: the names that policies provide, for smtpd.  See posthorn/policy.h. */
#include <posthorn/error.h>
#include <posthorn/policy.h>
#include <posthorn/task.h>
#include "core/plugin/registry.h"

/* A policy is opened once for each configuration that uses it. */
struct opened {
    struct opened *next;
    struct ph_policy policy;
};
static struct opened *all;

static int find_plugin(ph_str name, const struct ph_policy_plugin **ops, const struct ph_policy_name **row)
{
    const struct ph_plugin *desc;
    ph_str plugin;

    if (ph_plugin_provider(PH_KIND_POLICY, name, &plugin) != PH_FOUND)
        return ph_plugin_not_provided(PH_KIND_POLICY, "smtpd restriction", name);
    int rc = ph_plugin_find(PH_KIND_POLICY, plugin, &desc);
    if (rc < 0)
        return rc;
    *ops = (const struct ph_policy_plugin *)(const void *)desc;
    for (uint32_t i = 0; i < (*ops)->name_count; i++) {
        *row = (const struct ph_policy_name *)(const void *)((const char *)(*ops)->names + (size_t)i * (*ops)->name_stride);
        if (ph_str_eq(ph_cstr((*row)->name), name))
            return 0;
    }
    return ph_fail(PH_CONF, "policy \"%.*s\" does not provide %.*s, as its manifest says", PH_FMT(plugin), PH_FMT(name));
}

static int open_policy(struct ph_conf *c, struct ph_scope *s, const struct ph_policy_plugin *ops, struct ph_policy **out)
{
    for (struct opened *o = all; o; o = o->next)
        if (o->policy.ops == ops && o->policy.conf == c) {
            *out = &o->policy;
            return 0;
        }
    struct opened *o = ph_new(s, struct opened);
    o->policy = (struct ph_policy){ .scope = s, .ops = ops, .conf = c };
    int rc = ops->open ? ops->open(&o->policy) : 0;
    if (rc < 0)
        return rc;
    o->next = all;
    all = o;
    *out = &o->policy;
    return 0;
}

int ph_restriction_has_argument(ph_str name)
{
    const struct ph_policy_plugin *ops;
    const struct ph_policy_name *row;
    int rc = find_plugin(name, &ops, &row);

    return rc < 0 ? rc : row->argument ? PH_FOUND : PH_NONE;
}

int ph_restriction_open(struct ph_conf *c, struct ph_scope *s, ph_str name, ph_str argument, struct ph_restriction **out)
{
    const struct ph_policy_plugin *ops;
    const struct ph_policy_name *row;
    struct ph_restriction *r = ph_new(s, struct ph_restriction);
    int rc = find_plugin(name, &ops, &row);

    if (rc < 0)
        return rc;
    if (row->argument && argument.n == 0)
        return ph_fail(PH_CONF, "restriction %s needs an argument: %s", row->name, row->argument);
    if ((rc = open_policy(c, s, ops, &r->policy)) < 0)
        return ph_wrap(rc, "restriction %s", row->name);
    r->name = row->name;
    r->argument = ph_str_dup(s, argument);
    if (ops->prepare && (rc = ops->prepare(r)) < 0)
        return ph_wrap(rc, "restriction %s", row->name);
    *out = r;
    return 0;
}

int ph_restriction_check(struct ph_restriction *r, const struct ph_policy_facts *f, struct ph_scope *out, ph_str *action)
{
    int rc = r->policy->ops->check(r, f, out, action);

    if (rc == 0)
        rc = ph_fail(PH_TEMP, "the plugin gave no answer");
    return rc < 0 ? ph_wrap(rc, "restriction %s", r->name) : rc;
}
