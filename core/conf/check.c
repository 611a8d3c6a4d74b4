/* check: values of a form of their own, that no class and no bound can say. */
#include <string.h>
#include "core/conf/internal.h"

/* RFC 1123 2.1, and '_', which Postfix takes, too; an address is no name. */
static int is_label(ph_str label)
{
    for (size_t i = 0; i < label.n; i++)
        if (!ph_is_alnum(label.p[i]) && !strchr("-_", label.p[i]))
            return 0;
    return label.n > 0 && label.n < 64 && label.p[0] != '-' && label.p[label.n - 1] != '-';
}

static int is_number(ph_str label)
{
    for (size_t i = 0; i < label.n; i++)
        if (!ph_is_digit(label.p[i]))
            return 0;
    return 1;
}

static int is_host_name(ph_str name)
{
    ph_str rest = name, label = name;

    if (name.n > 255 || ph_str_ends(name, PH_STR(".")))
        return 0;
    while (rest.n)
        if (!is_label(label = ph_str_cut(&rest, '.')))
            return 0;
    return name.n == 0 || !is_number(label);
}

/* Words of a list that are not among those of `known`: the first, or empty. */
static ph_str unknown_word(ph_str list, const char *known)
{
    ph_str word;

    while ((word = ph_str_token(&list, ", \t\r\n")).n) {
        ph_str rest = ph_cstr(known), one;

        while ((one = ph_str_word(&rest)).n && !ph_str_eq(one, word))
            ;
        if (!one.n)
            return word;
    }
    return (ph_str){ "", 0 };
}

int ph_conf_check_form(ph_str name, ph_str value)
{
    static const struct { const char *name, *words; } lists[] = { { "inet_protocols", "all ipv4 ipv6" }, { "mynetworks_style", "class host subnet" } };
    int order;

    if (ph_str_eq(name, PH_STR("compatibility_level")) && !ph_value_level(value, PH_STR("0"), &order))
        return ph_fail(PH_CONF, "malformed compatibility level syntax: \"%.*s\"", PH_FMT(value));
    if ((ph_str_eq(name, PH_STR("myhostname")) || ph_str_eq(name, PH_STR("mydomain"))) && !is_host_name(value))
        return ph_fail(PH_CONF, "parameter %.*s: bad parameter value: %.*s", PH_FMT(name), PH_FMT(value));
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        ph_str word = ph_str_eq(name, ph_cstr(lists[i].name)) ? unknown_word(value, lists[i].words) : PH_STR("");

        if (word.n)
            return ph_fail(PH_CONF, "unknown %s value \"%.*s\" in \"%.*s\"", lists[i].name, PH_FMT(word), PH_FMT(value));
    }
    return 0;
}
