/* template: questions and answers of tables with a database.  See client.h. */
#include <string.h>
#include "client.h"

int client_check_template(const char *what, ph_str template)
{
    for (size_t i = 0; i < template.n; i++) {
        if (template.p[i] != '%')
            continue;
        if (++i >= template.n || template.p[i] == 0 || !strchr("%sudSUD123456789", template.p[i]))
            return ph_fail(PH_CONF, "%s: \"%.*s\" is none of %%%% %%s %%u %%d %%S %%U %%D %%1 to %%9", what, PH_FMT(ph_str_first(ph_str_from(template, i - 1), 2)));
    }
    return 0;
}

/* The n-th label of the domain, from the right: 1, or 0. */
static int label(ph_str domain, int n, ph_str *part)
{
    for (; n > 1; n--) {
        ptrdiff_t dot = ph_str_rfind(domain, '.');

        if (dot < 0)
            return 0;
        domain = ph_str_first(domain, (size_t)dot);
    }
    *part = ph_str_from(domain, (size_t)(ph_str_rfind(domain, '.') + 1));
    return part->n > 0;
}

/* What the letter stands for in the text: 1, or 0: it has no such part. */
static int part_of(ph_str text, char letter, ph_str *part)
{
    ptrdiff_t at = ph_str_rfind(text, '@');

    switch (letter) {
    case 's':
        *part = text;
        return text.n > 0;
    case 'u':
        *part = at < 0 ? text : ph_str_first(text, (size_t)at);
        return part->n > 0;
    case 'd':
        *part = ph_str_from(text, (size_t)(at + 1));
        return at >= 0 && part->n > 0;
    default:
        return at >= 0 && label(ph_str_from(text, (size_t)(at + 1)), letter - '0', part);
    }
}

int client_has_parts(ph_str template, ph_str key)
{
    ph_str part;

    for (size_t i = 0; i < template.n; i++)
        if (template.p[i] == '%' && template.p[++i] != '%' && !part_of(key, ph_lower(template.p[i]), &part))
            return 0;
    return 1;
}

int client_quote_nothing(void *arg PH_UNUSED, ph_str in, struct ph_buf *out)
{
    return ph_buf_str(out, in);
}

/* Small letters look at `value`, capitals and digits at `key`. */
static int expand(ph_str template, ph_str value, ph_str key, client_quote *quote, void *arg, struct ph_buf *out)
{
    ph_str part;

    for (size_t i = 0; i < template.n; i++) {
        char c = template.p[i];

        if (c != '%' || (c = template.p[++i]) == '%')
            ph_buf_putc(out, c);
        else if (!part_of(c >= 'a' ? value : key, ph_lower(c), &part) || !quote(arg, part, out))
            return 0;
    }
    return !out->full;
}

int client_expand(ph_str template, ph_str key, client_quote *quote, void *arg, struct ph_buf *out)
{
    return expand(template, key, key, quote, arg, out);
}

int client_add(const struct client *c, ph_str key, ph_str value, struct ph_buf *answer, int64_t *count)
{
    size_t before = answer->n;

    if (value.n == 0) {
        if (value.p)               /* without: there is no value at all */
            ph_log_warn("table \"%.*s:%.*s\": empty lookup result for: \"%.*s\" -- ignored", PH_FMT(c->table->type), PH_FMT(c->name), PH_FMT(key));
        return 0;
    }
    if (*count > 0)
        ph_buf_putc(answer, ',');
    if (!expand(c->result_format, value, key, client_quote_nothing, NULL, answer)) {
        if (answer->full)
            return ph_fail(PH_TEMP, "the answer has more than %u bytes", CLIENT_ANSWER_MAX);
        ph_buf_truncate(answer, before);       /* it lacks a part that result_format names */
        return 0;
    }
    if (++*count > c->expansion_limit && c->expansion_limit > 0)
        return ph_fail(PH_TEMP, "more than %lld values: expansion_limit", (long long)c->expansion_limit);
    return 0;
}

int client_answer(const struct ph_buf *answer, ph_str *val)
{
    if (answer->n == 0)
        return PH_NONE;
    *val = ph_buf_view(answer);
    return PH_FOUND;
}
