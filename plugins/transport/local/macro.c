/* macro: see macro.h. */
#include <posthorn/buf.h>
#include <posthorn/error.h>
#include "macro.h"

#define EXPANSION_MAX 65536u
#define DEPTH_MAX 20

ph_str local_macro_clean(struct ph_scope *s, ph_str v, ph_str filter)
{
    struct ph_buf b;

    ph_buf_init(&b, s, v.n + 1);
    for (size_t i = 0; i < v.n; i++)
        ph_buf_putc(&b, filter.n == 0 || ph_str_find(filter, v.p[i]) >= 0 ? v.p[i] : '_');
    return ph_buf_view(&b);
}

struct expansion {
    struct ph_scope *scope;
    const struct local_macros *m;
    struct ph_buf out;
};

static int expand(struct expansion *e, ph_str text, int depth);

static int is_name(char c) { return ph_is_alnum(c) || c == '_'; }

static ph_str take_name(ph_str *rest)
{
    size_t n = 0;

    while (n < rest->n && is_name(rest->p[n]))
        n++;
    ph_str name = ph_str_first(*rest, n);
    *rest = ph_str_from(*rest, n);
    return name;
}

/* Index behind the bracket that closes the one before `text`, or 0. */
static size_t find_close(ph_str text, char open, char close)
{
    int depth = 1;

    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == open)
            depth++;
        else if (text.p[i] == close && --depth == 0)
            return i + 1;
    }
    return 0;
}

static int put_value(struct expansion *e, ph_str name, ph_str *value)
{
    int rc = name.n ? e->m->value(e->m->arg, name, value) : PH_NONE;

    return rc == PH_FOUND ? 0 : ph_fail(PH_CONF, "unknown macro name \"%.*s\"", PH_FMT(name));
}

/* "{text}" off the front of *rest: 1, or 0 when it is none. */
static int take_braced(ph_str *rest, ph_str *inside)
{
    ph_str t = ph_str_trim(*rest);

    if (t.n == 0 || t.p[0] != '{')
        return 0;
    t = ph_str_from(t, 1);
    size_t end = find_close(t, '{', '}');
    if (!end)
        return 0;
    *inside = ph_str_first(t, end - 1);
    *rest = ph_str_trim(ph_str_from(t, end));
    return 1;
}

/* Behind the name of ${name?...} or ${name:...}. */
static int conditional(struct expansion *e, ph_str value, ph_str rest, int depth)
{
    int wanted = rest.p[0] == '?' ? value.n > 0 : value.n == 0;
    ph_str text = ph_str_from(rest, 1), yes, other = { "", 0 };

    rest = text;
    if (take_braced(&rest, &yes) && (rest.n == 0 || rest.p[0] == ':')) {
        if (rest.n) {
            rest = ph_str_from(rest, 1);
            if (!take_braced(&rest, &other) || rest.n)
                return ph_fail(PH_CONF, "\"%.*s\": expected {text}:{text}", PH_FMT(text));
        }
    } else {
        yes = text;
    }
    return expand(e, wanted ? yes : other, depth + 1);
}

static int bracketed(struct expansion *e, ph_str inside, int depth)
{
    ph_str rest = ph_str_trim(inside), name = take_name(&rest), value;
    int rc = put_value(e, name, &value);

    rest = ph_str_trim(rest);
    if (rc < 0)
        return rc;
    if (rest.n && (rest.p[0] == '?' || rest.p[0] == ':'))
        return conditional(e, value, rest, depth);
    if (rest.n)
        return ph_fail(PH_CONF, "\"${%.*s}\": bad syntax", PH_FMT(inside));
    ph_buf_str(&e->out, local_macro_clean(e->scope, value, e->m->filter));
    return 0;
}

/* Behind a '$'. */
static int reference(struct expansion *e, ph_str *rest, int depth)
{
    char c = rest->n ? rest->p[0] : 0;
    ph_str value;

    if (c == '$') {
        *rest = ph_str_from(*rest, 1);
        ph_buf_putc(&e->out, '$');
        return 0;
    }
    if (c == '{' || c == '(') {
        ph_str inside = ph_str_from(*rest, 1);
        size_t end = find_close(inside, c, c == '{' ? '}' : ')');

        if (!end)
            return ph_fail(PH_CONF, "\"$%.*s\": not closed", PH_FMT(*rest));
        *rest = ph_str_from(inside, end);
        return bracketed(e, ph_str_first(inside, end - 1), depth);
    }
    int rc = put_value(e, take_name(rest), &value);
    if (rc == 0)
        ph_buf_str(&e->out, local_macro_clean(e->scope, value, e->m->filter));
    return rc;
}

static int expand(struct expansion *e, ph_str text, int depth)
{
    int rc = depth > DEPTH_MAX ? ph_fail(PH_CONF, "${...} nested more than %d deep", DEPTH_MAX) : 0;

    while (rc == 0 && text.n) {
        ptrdiff_t dollar = ph_str_find(text, '$');

        ph_buf_str(&e->out, dollar < 0 ? text : ph_str_first(text, (size_t)dollar));
        if (dollar < 0)
            break;
        text = ph_str_from(text, (size_t)dollar + 1);
        rc = reference(e, &text, depth);
    }
    return rc;
}

int local_macro_expand(struct ph_scope *s, ph_str text, const struct local_macros *m, ph_str *out)
{
    struct expansion e = { .scope = s, .m = m };

    ph_buf_init(&e.out, s, EXPANSION_MAX);
    int rc = expand(&e, text, 0);
    if (rc == 0 && e.out.full)
        rc = ph_fail(PH_CONF, "the expansion is longer than %u bytes", EXPANSION_MAX);
    if (rc == 0)
        *out = ph_buf_view(&e.out);
    return rc;
}
