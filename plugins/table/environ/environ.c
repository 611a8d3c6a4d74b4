/* table/environ: variables of the process, `environ:x` (the name is not used).
 * Writing changes this process alone.  Reference: environ_table(5). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <posthorn/table.h>

struct environ_table { size_t at; };               /* of the walk */

static int32_t environ_open(struct ph_table *t, ph_str spec)
{
    if (spec.n == 0)
        return ph_fail(PH_CONF, "a name must follow the colon");
    t->self = ph_new(t->scope, struct environ_table);
    return 0;
}

/* What no variable can be called is not one. */
static int is_name(ph_str key)
{
    return key.n && ph_str_find(key, '=') < 0 && ph_str_find(key, 0) < 0;
}

static int32_t environ_lookup(struct ph_table *t PH_UNUSED, ph_str key, struct ph_scope *out, ph_str *val)
{
    const char *v = is_name(key) ? getenv(ph_cstr_dup(out, key)) : NULL;

    if (!v)
        return PH_NONE;
    *val = ph_str_dup(out, ph_cstr(v));
    return PH_FOUND;
}

static int32_t environ_update(struct ph_table *t, ph_str key, ph_str val)
{
    PH_SCOPED(s, t->scope);

    if (!is_name(key))
        return ph_fail(PH_CONF, "\"%.*s\" cannot be the name of a variable", PH_FMT(key));
    return setenv(ph_cstr_dup(s, key), ph_cstr_dup(s, val), 1) == 0 ? PH_FOUND : ph_fail_errno(PH_TEMP, errno, "setenv");
}

static int32_t environ_remove(struct ph_table *t, ph_str key)
{
    PH_SCOPED(s, t->scope);
    const char *name = ph_cstr_dup(s, key);

    if (!is_name(key) || !getenv(name))
        return PH_NONE;
    return unsetenv(name) == 0 ? PH_FOUND : ph_fail_errno(PH_TEMP, errno, "unsetenv");
}

static int32_t environ_sequence(struct ph_table *t, int32_t first, struct ph_scope *out, ph_str *key, ph_str *val)
{
    struct environ_table *self = t->self;

    if (first)
        self->at = 0;
    while (environ && environ[self->at]) {
        ph_str v = ph_cstr(environ[self->at++]), k = ph_str_cut(&v, '=');

        if (k.n == 0)
            continue;
        *key = ph_str_dup(out, k);
        *val = ph_str_dup(out, v);
        return PH_FOUND;
    }
    return PH_NONE;
}

PH_PLUGIN_TABLE(environ, PH_IS(.summary = "variables of the process", .exec = PH_PURE, .concurrency = PH_MANY_CALLS),
    .open = environ_open,
    .lookup = environ_lookup,
    .update = environ_update,
    .remove = environ_remove,
    .sequence = environ_sequence);
