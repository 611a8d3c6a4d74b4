/* bounce_expand: values into the text of a bounce template. */
#include <posthorn/bounce_template.h>
#include <posthorn/error.h>
#include "core/conf/internal.h"

#define TEXT_BYTES 4000000u        /* of an expanded template */

/* Times that may be asked for in a unit, and the units. */
static const struct { const char *name; char unit; } times[] = {
    { "delay_warning_time", 'h' }, { "maximal_queue_lifetime", 'd' },
};
static const struct { const char *name; int64_t seconds; } units[] = {
    { "seconds", 1 }, { "minutes", 60 }, { "hours", 3600 }, { "days", 86400 }, { "weeks", 604800 },
};

/* "delay_warning_time_hours": PH_FOUND and *value, PH_NONE, PH_CONF. */
static int get_time(struct ph_scope *s, struct ph_conf *c, ph_str name, ph_str *value)
{
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        ph_str base = ph_cstr(times[i].name), unit = ph_str_from(name, base.n + 1);
        int64_t seconds;

        if (name.n <= base.n || !ph_str_starts(name, base) || name.p[base.n] != '_')
            continue;
        for (size_t k = 0; k < sizeof units / sizeof *units; k++)
            if (ph_str_eq(unit, ph_cstr(units[k].name))) {
                int rc = ph_conf_get_time(c, times[i].name, times[i].unit, &seconds);

                if (rc < 0)
                    return rc;
                *value = ph_str_printf(s, "%lld", (long long)(seconds / units[k].seconds));
                return PH_FOUND;
            }
    }
    return PH_NONE;
}

/* Our own name as people write it. */
static void to_unicode(struct ph_scope *s, struct ph_conf *c, ph_str name, ph_str *value)
{
    int32_t smtputf8 = 0;
    ph_str text;

    if ((ph_str_eq(name, PH_STR("myhostname")) || ph_str_eq(name, PH_STR("mydomain"))) && ph_conf_idn &&
        ph_conf_get_bool(c, "smtputf8_enable", &smtputf8) >= 0 && smtputf8 && ph_conf_idn(s, *value, 0, &text) == 0)
        *value = text;
}

static int get_value(struct ph_scope *s, struct ph_conf *c, const struct ph_bounce_template *t, ph_str name, ph_str *value)
{
    int rc = get_time(s, c, name, value);

    if (rc == PH_NONE && (rc = ph_conf_get(c, s, ph_cstr_dup(s, name), value)) == PH_FOUND)
        to_unicode(s, c, name, value);
    if (rc == PH_NONE)
        return ph_fail(PH_CONF, "%s_template: $%.*s is not defined", t->name, PH_FMT(ph_str_first(name, 60)));
    return rc < 0 ? rc : 0;
}

/* The name behind a dollar sign; *text stands behind it then.  Empty: none. */
static ph_str take_name(ph_str *text)
{
    char close = !text->n ? 0 : text->p[0] == '{' ? '}' : text->p[0] == '(' ? ')' : 0;
    ph_str rest = close ? ph_str_from(*text, 1) : *text;
    size_t n = 0;

    while (n < rest.n && (ph_is_alnum(rest.p[n]) || rest.p[n] == '_'))
        n++;
    if (n == 0 || (close && (n == rest.n || rest.p[n] != close)))
        return (ph_str){ "", 0 };
    *text = ph_str_from(rest, n + (close ? 1 : 0));
    return ph_str_first(rest, n);
}

int ph_bounce_template_expand(struct ph_scope *s, struct ph_conf *c, const struct ph_bounce_template *t, ph_str *out)
{
    ph_str text = t->body, value;
    struct ph_buf b;
    int rc;

    ph_buf_init(&b, s, TEXT_BYTES);
    for (ptrdiff_t at; (at = ph_str_find(text, '$')) >= 0; ) {
        ph_buf_str(&b, ph_str_first(text, (size_t)at));
        text = ph_str_from(text, (size_t)at + 1);
        if (ph_str_starts(text, PH_STR("$"))) {
            ph_buf_putc(&b, '$');
            text = ph_str_from(text, 1);
            continue;
        }
        ph_str name = take_name(&text);

        if (!name.n)
            return ph_fail(PH_CONF, "%s_template: no name behind $ (a dollar sign is $$)", t->name);
        if ((rc = get_value(s, c, t, name, &value)) < 0)
            return rc;
        ph_buf_str(&b, value);
    }
    ph_buf_str(&b, text);
    if (b.full)
        return ph_fail(PH_CONF, "%s_template: the text is too long", t->name);
    *out = ph_buf_view(&b);
    return 0;
}
