/* service_args: what stands behind a program of a service: its settings and its
 * arguments, as keys of their own or word for word (raw_arguments). */
#include <posthorn/buf.h>
#include "core/conf/internal.h"
#include "core/conf/service.h"

/* A value of main.cf; a list is joined with ", ". */
static int setting_value(const struct ph_master_reading *r, const struct ph_yaml *n, ph_str *value)
{
    const ph_str *items;
    struct ph_buf all;
    size_t count;
    int rc;

    if (n->kind == PH_YAML_SCALAR) {
        *value = n->text;
        return 0;
    }
    if (n->kind == PH_YAML_MAPPING)
        return ph_yaml_fail(n->place, "the value of %.*s must be text or a list", PH_FMT(n->key));
    if ((rc = ph_yaml_texts(r->scope, n, &items, &count)) < 0)
        return rc;
    ph_buf_init(&all, r->scope, PH_CONF_VALUE_MAX);
    for (size_t i = 0; i < count; i++) {
        ph_buf_puts(&all, i ? ", " : "");
        ph_buf_str(&all, items[i]);
    }
    *value = ph_buf_view(&all);
    return all.full ? ph_yaml_fail(n->place, "the value of %.*s is too long", PH_FMT(n->key)) : 0;
}

int ph_service_read_settings(const struct ph_master_reading *r, const struct ph_yaml *n, struct ph_service_def *d, void *member)
{
    struct ph_setting *list = ph_alloc_array(r->scope, n->count + 1, sizeof *list);
    size_t used = 0;
    int rc;

    if (n->kind != PH_YAML_MAPPING)
        return ph_yaml_fail(n->place, "settings must be a mapping of name: value, not %s", ph_yaml_kind(n));
    for (const struct ph_yaml *i = n->first; i; i = i->next, used++) {
        list[used] = (struct ph_setting){ .name = i->key, .place = i->place };
        for (size_t k = 0; k < i->key.n; k++)
            if (!ph_is_alnum(i->key.p[k]) && i->key.p[k] != '_')
                return ph_yaml_fail(i->key_place, "bad parameter name \"%.*s\"", PH_FMT(i->key));
        if (i->key.n == 0)
            return ph_yaml_fail(i->key_place, "empty parameter name");
        if ((rc = setting_value(r, i, &list[used].value)) < 0)
            return rc;
    }
    *(const struct ph_setting **)member = list;
    d->settings_count = used;
    return 0;
}

int ph_service_read_args(const struct ph_master_reading *r, const struct ph_yaml *n, struct ph_service_def *d, void *member)
{
    return ph_yaml_texts(r->scope, n, member, &d->args_count);
}

/* "name=value" or "{ name = value }", as behind -o in master.cf. */
static int raw_setting(const struct ph_yaml *n, ph_str text, struct ph_service_def *d, struct ph_setting *list)
{
    ph_str value = text;
    ph_str name = ph_str_trim(ph_str_cut(&value, '='));

    if (name.n == 0 || ph_str_find(text, '=') < 0)
        return ph_yaml_fail(n->place, "-o %.*s: it must be name=value", PH_FMT(text));
    for (size_t i = 0; i < name.n; i++)
        if (!ph_is_alnum(name.p[i]) && name.p[i] != '_')
            return ph_yaml_fail(n->place, "bad parameter name \"%.*s\"", PH_FMT(name));
    size_t at = 0;

    while (at < d->settings_count && !ph_str_eq(list[at].name, name))
        at++;
    list[at] = (struct ph_setting){ .name = name, .value = ph_str_trim(value), .place = n->place };
    d->settings_count += at == d->settings_count;
    return 0;
}

/* The words behind a program in master.cf: options, of which -o holds a setting
 * (the last one of a name counts), then arguments. */
int ph_service_read_raw(const struct ph_master_reading *r, const struct ph_yaml *n, struct ph_service_def *d, void *member)
{
    int rc = ph_yaml_texts(r->scope, n, member, &d->raw_count);
    size_t i = 0;

    if (rc < 0)
        return rc;
    struct ph_setting *list = ph_alloc_array(r->scope, d->raw_count + 1, sizeof *list);

    d->settings_count = 0;         /* of a settings: beside it, which check_service refuses */
    for (int ended = 0; !ended && i < d->raw_count && d->raw[i].n > 1 && d->raw[i].p[0] == '-'; i++) {
        ended = ph_str_eq(d->raw[i], PH_STR("--"));
        if (ph_str_eq(d->raw[i], PH_STR("-o"))) {
            if (++i == d->raw_count)
                return ph_yaml_fail(n->place, "-o lacks its name=value");
            if ((rc = raw_setting(n, d->raw[i], d, list)) < 0)
                return rc;
        }
    }
    d->settings = list;
    d->args = d->raw + i;
    d->args_count = d->raw_count - i;
    return 0;
}
