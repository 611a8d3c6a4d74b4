/* expand: $name, ${name}, $(name), ${name?text}, ${name:text},
 * ${name?{a}:{b}}, ${{a} op {b} ? {c} : {d}} and ${function{argument}}.
 *
 * Values refer to values, so this descends; depth and the number of steps are
 * bounded (a=$b$b, b=$c$c ... would take for ever).  All text goes to one
 * buffer: what was only wanted to be looked at is cut off again. */
#include <string.h>
#include <posthorn/task.h>
#include "core/conf/internal.h"

struct expansion {
    struct ph_conf *conf;
    struct ph_scope *scope;
    struct ph_buf out;
    uint32_t depth, steps;
    int scanning;                  /* only looked through: what is not chosen is not evaluated */
};

/* Text that is being expanded, and where it stands. */
struct source {
    ph_str name;                   /* the parameter, for messages */
    ph_str text;                   /* all of it */
    const struct entry *entry;     /* NULL: a default, or text of a program */
};

static int expand_text(struct expansion *x, const struct source *src, ph_str text);

static int fail_in(const struct source *src, const char *at, const char *what, ph_str text)
{
    if (text.n > 60)
        text.n = 60;
    if (src->entry && src->entry->file)
        return ph_conf_fail_at(ph_entry_place(src->entry, (size_t)(at - src->text.p)), "%.*s: %s: \"%.*s\"",
                            PH_FMT(src->name), what, PH_FMT(text));
    if (src->name.n)
        return ph_fail(PH_CONF, "value of %.*s: %s: \"%.*s\"", PH_FMT(src->name), what, PH_FMT(text));
    return ph_fail(PH_CONF, "%s: \"%.*s\"", what, PH_FMT(text));
}

static int is_name(char c)
{
    return ph_is_alnum(c) || c == '_';
}

static void skip_space(ph_str *s)
{
    while (s->n && ph_is_space(s->p[0]))
        *s = ph_str_from(*s, 1);
}

static ph_str take_name(ph_str *s)
{
    size_t n = 0;

    while (n < s->n && is_name(s->p[n]))
        n++;
    ph_str name = ph_str_first(*s, n);

    *s = ph_str_from(*s, n);
    return name;
}

/* *s begins with `open`: what stands inside the balanced pair, *s what follows.
 * 1, or 0 when the end is missing. */
static int take_group(ph_str *s, char open, char close, ph_str *inside)
{
    size_t level = 0;

    for (size_t i = 0; i < s->n; i++) {
        if (s->p[i] == open)
            level++;
        else if (s->p[i] == close && --level == 0) {
            *inside = (ph_str){ s->p + 1, i - 1 };
            *s = ph_str_from(*s, i + 1);
            return 1;
        }
    }
    return 0;
}

static int put(struct expansion *x, const struct source *src, ph_str text)
{
    if (!ph_buf_str(&x->out, text))
        return fail_in(src, src->text.p, "the expanded value is too long", src->text);
    return 0;
}

static void note_undefined(struct ph_conf *c, ph_str name)
{
    if (c->undefined && !ph_map_set(c->undefined, name, c))
        ph_conf_warn(c, "%s/%s: undefined parameter: %.*s", c->dir, c->undefined_file, PH_FMT(name));
}

/* The value of a parameter, expanded; an unknown one is empty. */
static int expand_name(struct expansion *x, const struct source *src, ph_str name)
{
    struct source value = { .name = name };
    const char *circle = ph_conf_circle(x->conf, name);
    int rc;

    if (circle)
        return fail_in(src, name.p, circle, name);
    if ((rc = ph_conf_text(x->conf, x->scope, name, &value.text, &value.entry)) < 0)
        return rc;
    if (rc != PH_FOUND) {
        note_undefined(x->conf, name);
        return 0;
    }
    if (x->scanning)
        return 0;
    if (x->depth >= PH_CONF_DEPTH_MAX)
        return fail_in(src, src->text.p, "more than 100 nested references", src->text);
    return expand_text(x, &value, value.text);
}

/* Whether "${name?" holds: as in Postfix, what the text of the parameter expands to does not matter. */
static int test_name(struct expansion *x, const struct source *src, ph_str name, int *truth)
{
    const char *circle = ph_conf_circle(x->conf, name);
    const struct entry *e;
    ph_str text;
    int rc;

    if (circle)
        return fail_in(src, name.p, circle, name);
    if ((rc = ph_conf_text(x->conf, x->scope, name, &text, &e)) < 0)
        return rc;
    if (rc != PH_FOUND)
        note_undefined(x->conf, name);
    *truth = rc == PH_FOUND && text.n > 0;
    return 0;
}

/* Text that is not chosen: with ph_conf_check_undefined its names and its mistakes are
 * told, too, and it still adds nothing. */
static void scan(struct expansion *x, const struct source *src, ph_str text)
{
    size_t mark = x->out.n;
    int outer = x->scanning;

    if (!x->conf->undefined || text.n == 0)
        return;
    x->scanning = 1;
    if (expand_text(x, src, text) < 0)
        ph_conf_warn(x->conf, "%s", ph_error());
    x->scanning = outer;
    ph_buf_truncate(&x->out, mark);
}

static int choose(struct expansion *x, const struct source *src, ph_str chosen, ph_str other)
{
    scan(x, src, other);
    return expand_text(x, src, chosen);
}

/* "{a}:{b}", "{a}" or bare text behind the operator `op`, of which `truth`
 * selects one.  whole is the expression, for messages. */
static int expand_branches(struct expansion *x, const struct source *src, ph_str text, char op, int truth,
                           ph_str whole)
{
    ph_str rest = text, first, second = { "", 0 };

    skip_space(&rest);
    if (rest.n == 0 || rest.p[0] != '{')     /* bare text: everything in it is text */
        return truth == (op == '?') ? expand_text(x, src, text) : choose(x, src, PH_STR(""), text);
    if (!take_group(&rest, '{', '}', &first))
        return fail_in(src, rest.p, "missing '}'", rest);
    skip_space(&rest);
    if (rest.n && op == '?' && rest.p[0] == ':') {
        ph_str bare = ph_str_from(rest, 1);

        rest = bare;
        skip_space(&rest);
        if (rest.n && rest.p[0] == '{') {
            if (!take_group(&rest, '{', '}', &second))
                return fail_in(src, rest.p, "missing '}'", rest);
            skip_space(&rest);
        } else {
            second = bare;
            rest = ph_str_from(rest, rest.n);
        }
    }
    if (rest.n)
        return fail_in(src, rest.p, "unexpected text behind '}'", whole);
    return truth == (op == '?') ? choose(x, src, first, second) : choose(x, src, second, first);
}

static int all_digits(ph_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!ph_is_digit(s.p[i]))
            return 0;
    return s.n > 0;
}

/* Numbers of any length: without leading zeros the longer one is greater. */
static int compare(ph_str a, ph_str b)
{
    if (!all_digits(a) || !all_digits(b))
        return ph_str_cmp(a, b);
    while (a.n > 1 && a.p[0] == '0')
        a = ph_str_from(a, 1);
    while (b.n > 1 && b.p[0] == '0')
        b = ph_str_from(b, 1);
    return a.n != b.n ? (a.n < b.n ? -1 : 1) : ph_str_cmp(a, b);
}

static const struct {
    const char *text;
    int less, equal, greater;      /* what it answers */
} operators[] = {
    { "==", 0, 1, 0 }, { "!=", 1, 0, 1 }, { "<=", 1, 1, 0 }, { ">=", 0, 1, 1 }, { "<", 1, 0, 0 }, { ">", 0, 0, 1 },
};

/* Both operands expanded at the end of the buffer, compared, and cut off. */
static int relation(struct expansion *x, const struct source *src, ph_str left, ph_str right, size_t op,
                    int level, int *truth)
{
    size_t mark = x->out.n, middle;
    int rc, order;

    if ((rc = expand_text(x, src, left)) < 0)
        return rc;
    middle = x->out.n;
    if ((rc = expand_text(x, src, right)) < 0)
        return rc;
    ph_str a = { x->out.p + mark, middle - mark }, b = { x->out.p + middle, x->out.n - middle };

    if (!level || x->scanning)
        order = compare(a, b);
    else if (!ph_value_level(a, b, &order))
        return fail_in(src, left.p, "not a compatibility level", (ph_str){ left.p, (size_t)(right.p + right.n - left.p) });
    ph_buf_truncate(&x->out, mark);
    *truth = order < 0 ? operators[op].less : order == 0 ? operators[op].equal : operators[op].greater;
    return 0;
}

static int take_operator(ph_str *s, size_t *op, int *level)
{
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++)
        if (ph_str_starts(*s, ph_cstr(operators[i].text))) {
            *op = i;
            *s = ph_str_from(*s, strlen(operators[i].text));
            *level = ph_str_starts(*s, PH_STR("level"));
            if (*level)
                *s = ph_str_from(*s, 5);
            return 1;
        }
    return 0;
}

/* {a} op {b}, then nothing or branches. */
static int expand_relation(struct expansion *x, const struct source *src, ph_str text)
{
    ph_str rest = text, left, right;
    size_t op;
    int rc, level, truth;

    if (!take_group(&rest, '{', '}', &left))
        return fail_in(src, rest.p, "missing '}'", text);
    skip_space(&rest);
    if (!take_operator(&rest, &op, &level))
        return fail_in(src, rest.p, "expected == != < <= > or >=", text);
    skip_space(&rest);
    if (rest.n == 0 || rest.p[0] != '{' || !take_group(&rest, '{', '}', &right))
        return fail_in(src, rest.p, "expected {text} behind the operator", text);
    if ((rc = relation(x, src, left, right, op, level, &truth)) < 0)
        return rc;
    skip_space(&rest);
    if (rest.n == 0)
        return truth ? put(x, src, PH_STR("true")) : 0;
    if (rest.p[0] != '?' && rest.p[0] != ':')
        return fail_in(src, rest.p, "unexpected text behind '}'", text);
    return expand_branches(x, src, ph_str_from(rest, 1), rest.p[0], truth, text);
}

/* Host names between UTF-8 and the form of the DNS. */
static int expand_function(struct expansion *x, const struct source *src, ph_str name, ph_str argument)
{
    size_t mark = x->out.n;
    int to_ascii = ph_str_eq(name, PH_STR("domain_to_ascii"));
    ph_str result;
    int rc;

    if (!to_ascii && !ph_str_eq(name, PH_STR("domain_to_utf8")))
        return fail_in(src, name.p, "no such function", name);
    if (!ph_conf_idn)
        return fail_in(src, name.p, "this program cannot convert domain names", name);
    if ((rc = expand_text(x, src, ph_str_trim(argument))) < 0)
        return rc;
    if (x->scanning)
        return 0;
    if (ph_conf_idn(x->scope, (ph_str){ x->out.p + mark, x->out.n - mark }, to_ascii, &result) < 0)
        return fail_in(src, argument.p, "not a valid domain name", argument);
    ph_buf_truncate(&x->out, mark);
    return put(x, src, result);
}

/* What stands between the brackets of ${...} or $(...). */
static int expand_reference(struct expansion *x, const struct source *src, ph_str whole)
{
    ph_str rest = whole, name, inside;
    int rc, truth;

    skip_space(&rest);
    if (rest.n && rest.p[0] == '{')
        return expand_relation(x, src, rest);
    name = take_name(&rest);
    if (name.n == 0)
        return fail_in(src, whole.p, "empty name", whole);
    skip_space(&rest);
    if (rest.n == 0)
        return expand_name(x, src, name);
    if (rest.p[0] == '{') {
        if (!take_group(&rest, '{', '}', &inside) || ph_str_trim(rest).n)
            return fail_in(src, rest.p, "bad function call", whole);
        return expand_function(x, src, name, inside);
    }
    if (rest.p[0] != '?' && rest.p[0] != ':')
        return fail_in(src, rest.p, "bad parameter name", whole);
    if ((rc = test_name(x, src, name, &truth)) < 0)
        return rc;
    return expand_branches(x, src, ph_str_from(rest, 1), rest.p[0], truth, whole);
}

/* *rest stands behind a '$'. */
static int expand_dollar(struct expansion *x, const struct source *src, ph_str *rest)
{
    ph_str start = *rest, inside;

    if (++x->steps > PH_CONF_STEPS_MAX)
        return fail_in(src, src->text.p, "too many references", src->text);
    if (rest->n && rest->p[0] == '$') {
        *rest = ph_str_from(*rest, 1);
        return put(x, src, PH_STR("$"));
    }
    if (rest->n && (rest->p[0] == '{' || rest->p[0] == '(')) {
        char open = rest->p[0];

        if (!take_group(rest, open, open == '{' ? '}' : ')', &inside))
            return fail_in(src, start.p, "truncated reference, missing bracket", start);
        return expand_reference(x, src, inside);
    }
    inside = take_name(rest);
    if (inside.n == 0)
        return fail_in(src, start.p, "empty name behind '$' (write $$ for a dollar)", src->text);
    return expand_name(x, src, inside);
}

static int expand_text(struct expansion *x, const struct source *src, ph_str text)
{
    int rc = 0;

    if (x->depth >= PH_CONF_DEPTH_MAX)
        return fail_in(src, src->text.p, "more than 100 nested references", src->text);
    x->depth++;
    while (rc == 0 && text.n) {
        ptrdiff_t dollar = ph_str_find(text, '$');

        if (dollar < 0) {
            rc = put(x, src, text);
            break;
        }
        if ((rc = put(x, src, ph_str_first(text, (size_t)dollar))) == 0) {
            text = ph_str_from(text, (size_t)dollar + 1);
            rc = expand_dollar(x, src, &text);
        }
    }
    x->depth--;
    return rc;
}

struct call {
    struct expansion *x;
    const struct source *src;
};

static int call_expand(void *arg)
{
    const struct call *call = arg;

    return expand_text(call->x, call->src, call->src->text);
}

int ph_conf_expand_at(struct ph_conf *c, struct ph_scope *s, ph_str name, ph_str text,
                const struct entry *e, ph_str *value)
{
    struct source src = { .name = name, .text = text, .entry = e };
    struct expansion x = { .conf = c, .scope = s };
    int rc;

    if (ph_str_find(text, '$') < 0) {
        *value = ph_str_dup(s, text);
        return 0;
    }
    ph_buf_init(&x.out, s, PH_CONF_VALUE_MAX);
    /* 100 levels do not fit on the small stack of a task. */
    struct call call = { &x, &src };

    rc = ph_foreign(call_expand, &call);
    if (rc == 0)
        *value = ph_buf_view(&x.out);
    return rc;
}

int ph_conf_expand(struct ph_conf *c, struct ph_scope *s, ph_str text, ph_str *value)
{
    return ph_conf_expand_at(c, s, (ph_str){ "", 0 }, text, NULL, value);
}

int ph_conf_expand_as(struct ph_conf *c, struct ph_scope *s, ph_str name, ph_str text, ph_str *value)
{
    const struct ph_known *k = ph_known_find(name);
    const struct ph_param *row = ph_registered_find(name);

    if ((k && k->type == PH_TYPE_RAW) || (row && row->type == PH_TYPE_RAW)) {
        *value = text;
        return 0;
    }
    return ph_conf_expand_at(c, s, name, text, ph_conf_find(c, name), value);
}
