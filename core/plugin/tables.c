/* tables: see tables.h. */
#include <posthorn/error.h>
#include <posthorn/task.h>
#include "core/plugin/registry.h"
#include "core/plugin/tables.h"

int ph_table_is_pattern(const struct ph_table *t)
{
    return (t->ops->is & PH_TABLE_PATTERN) != 0;
}

static int split(struct ph_conf *c, struct ph_scope *s, ph_str text, ph_str *type, ph_str *name)
{
    ptrdiff_t colon = ph_str_find(text, ':');

    if (colon > 0 && text.p[0] != '/' && text.p[0] != '{') {
        *type = ph_str_first(text, (size_t)colon);
        *name = ph_str_from(text, (size_t)colon + 1);
        return 0;
    }
    *name = text;
    int rc = c ? ph_conf_get(c, s, "default_database_type", type) : PH_NONE;
    return rc == PH_FOUND ? 0 : rc < 0 ? rc : ph_fail(PH_CONF, "\"%.*s\": a table is written type:name", PH_FMT(text));
}

struct open_call { struct ph_table *t; ph_str name; };

static int call_open(void *arg)
{
    struct open_call *c = arg;

    return c->t->ops->open(c->t, c->name);
}

int ph_table_open(struct ph_conf *c, struct ph_scope *s, ph_str text, uint32_t flags, struct ph_table **out)
{
    const struct ph_plugin *desc;
    ph_str type, name;
    int rc = split(c, s, ph_str_trim(text), &type, &name);

    if (rc < 0 || (rc = ph_plugin_find(PH_KIND_TABLE, type, &desc)) < 0)
        return rc;
    const struct ph_table_plugin *ops = (const struct ph_table_plugin *)(const void *)desc;
    if (!ops->open || !ops->lookup)
        return ph_fail(PH_CONF, "table type \"%.*s\" cannot be opened", PH_FMT(type));
    if (desc->exec == PH_BLOCKING && ph_in_task())
        return ph_fail(PH_CONF, "table type \"%.*s\" may block and needs proxymap, which is not built yet", PH_FMT(type));
    if (flags & PH_TABLE_SECURE && ops->is & PH_TABLE_INSECURE)
        return ph_fail(PH_CONF, "table type \"%.*s\" must not be used where an answer gives rights", PH_FMT(type));
    struct ph_scope *own = ph_scope_new(s);
    struct ph_table *t = ph_new(own, struct ph_table);
    *t = (struct ph_table){ .scope = own, .ops = ops, .type = ph_str_dup(own, type), .name = ph_str_dup(own, name), .flags = flags, .conf = c };
    struct open_call call = { t, t->name };
    rc = desc->exec == PH_COROUTINE ? call_open(&call) : ph_foreign(call_open, &call);
    if (rc < 0) {
        rc = ph_wrap(rc, "%.*s:%.*s", PH_FMT(type), PH_FMT(name));
        ph_scope_free(own);
        return rc;
    }
    *out = t;
    return 0;
}

struct lookup_call { struct ph_table *t; ph_str key; struct ph_scope *out; ph_str val; };

static int call_lookup(void *arg)
{
    struct lookup_call *c = arg;

    return c->t->ops->lookup(c->t, c->key, c->out, &c->val);
}

int ph_table_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val)
{
    int fold = t->flags & PH_TABLE_FOLD && !(t->ops->is & (PH_TABLE_PATTERN | PH_TABLE_NOFOLD));
    struct lookup_call c = { t, fold ? ph_str_lower(out, key) : key, out, PH_STR("") };
    int rc = t->ops->plugin.exec == PH_COROUTINE ? call_lookup(&c) : ph_foreign(call_lookup, &c);

    if (rc == PH_FOUND)
        *val = c.val;
    else if (rc >= 0 && rc != PH_NONE)
        rc = ph_fail(PH_TEMP, "the plugin answered %d", rc);
    return rc < 0 ? ph_wrap(rc, "table %.*s:%.*s: lookup of \"%.*s\"", PH_FMT(t->type), PH_FMT(t->name), PH_FMT(ph_str_first(key, 200))) : rc;
}
