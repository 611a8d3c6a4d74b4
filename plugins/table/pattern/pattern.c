/* pattern: `/pattern/flags result`, `!/pattern/flags result`, `if /pattern/` ...
 * `endif`; $1 or ${1} or $(1) in results.  The first rule that matches answers. */
#include <posthorn/source.h>
#include "pattern.h"

#define DEPTH_MAX 100

struct rule {
    void *prog;
    unsigned groups;
    int negative, skip_to;         /* skip_to: of an `if`, the rule behind its endif; 0: ordinary */
    ph_str value;
    int has_groups;                /* value names $1 ... */
    uint32_t line;
};

struct rules {
    const struct pattern_engine *engine;
    struct rule *rule;
    int n, cap;
    const char *path;
};

static struct rule *add(struct ph_table *t, struct rules *r)
{
    if (r->n == r->cap) {
        int cap = r->cap ? r->cap * 2 : 16;
        struct rule *more = ph_alloc_array(t->scope, (size_t)cap, sizeof *more);

        for (int i = 0; i < r->n; i++)
            more[i] = r->rule[i];
        r->rule = more;
        r->cap = cap;
    }
    return &r->rule[r->n++];
}

/* "!/pattern/flags": cut it off *line.  0, or PH_CONF. */
static int take_pattern(ph_str *line, int *negative, ph_str *pattern, ph_str *flags)
{
    ph_str at = ph_str_trim(*line);
    size_t n = 1;

    for (*negative = 0; at.n && at.p[0] == '!'; at = ph_str_trim(ph_str_from(at, 1)))
        *negative = !*negative;
    if (at.n < 2 || ph_is_alnum(at.p[0]) || ph_is_space(at.p[0]) || at.p[0] == '\\')
        return ph_fail(PH_CONF, "expected /pattern/flags result");
    for (; n < at.n && at.p[n] != at.p[0]; n++)
        if (at.p[n] == '\\')
            n++;
    if (n >= at.n)
        return ph_fail(PH_CONF, "no closing delimiter \"%c\"", at.p[0]);
    *pattern = ph_str_first(ph_str_from(at, 1), n - 1);
    at = ph_str_from(at, n + 1);
    for (n = 0; n < at.n && !ph_is_space(at.p[n]); )
        n++;
    *flags = ph_str_first(at, n);
    *line = ph_str_trim(ph_str_from(at, n));
    return 0;
}

/* The group number of a reference behind '$': 1, *n and *used bytes; 0: none. */
static int group_ref(ph_str s, unsigned *n, size_t *used)
{
    char close = s.n && s.p[0] == '{' ? '}' : s.n && s.p[0] == '(' ? ')' : 0;
    size_t at = close != 0, start = at;

    *n = 0;
    while (at < s.n && ph_is_digit(s.p[at]) && at - start < 2)
        *n = *n * 10 + (unsigned)(s.p[at++] - '0');
    if (at == start || (close && (at >= s.n || s.p[at++] != close)))
        return 0;
    *used = at;
    return 1;
}

/* Each reference must be to a group that is there. */
static int check_value(struct rule *r, int negative, uint32_t is_secure)
{
    for (size_t i = 0; i < r->value.n; i++) {
        unsigned n;
        size_t used;

        if (r->value.p[i] != '$')
            continue;
        if (i + 1 < r->value.n && r->value.p[i + 1] == '$') {
            r->has_groups = 1;     /* $$ becomes $ */
            i++;
            continue;
        }
        if (!group_ref(ph_str_from(r->value, i + 1), &n, &used))
            return ph_fail(PH_CONF, "\"$\" is followed by no group number; write $$ for a dollar sign");
        if (is_secure)
            return ph_fail(PH_CONF, "$number is not allowed here: an answer of this table gives rights");
        if (negative || n == 0 || n > r->groups)
            return ph_fail(PH_CONF, "$%u: the pattern has %u groups%s", n, r->groups, negative ? ", and a negated one has none" : "");
        r->has_groups = 1;
        i += used;
    }
    return 0;
}

static int read_rule(struct ph_table *t, struct rules *rs, ph_str line, int *open, int *depth)
{
    ph_str first = line, rest, pattern, flags;
    int negative, rc;

    rest = ph_str_trim(line);
    first = ph_str_word(&rest);
    if (ph_str_eq_nocase(first, PH_STR("endif"))) {
        if (*depth == 0)
            return ph_fail(PH_CONF, "endif without if");
        rs->rule[open[--*depth]].skip_to = rs->n;
        return 0;
    }
    int is_if = ph_str_eq_nocase(first, PH_STR("if"));
    if (is_if)
        line = rest;
    if (is_if && *depth == DEPTH_MAX)
        return ph_fail(PH_CONF, "if nested more than %d deep", DEPTH_MAX);
    if ((rc = take_pattern(&line, &negative, &pattern, &flags)) < 0)
        return rc;
    struct rule *r = add(t, rs);
    r->negative = negative;
    if ((rc = rs->engine->compile(t->scope, pattern, flags, &r->prog, &r->groups)) < 0)
        return rc;
    if (is_if) {
        r->skip_to = -1;
        open[(*depth)++] = rs->n - 1;
        return line.n ? ph_fail(PH_CONF, "text behind the pattern of if") : 0;
    }
    if (line.n == 0)
        return ph_fail(PH_CONF, "no result behind the pattern");
    r->value = ph_str_dup(t->scope, line);
    return check_value(r, negative, t->flags & PH_TABLE_SECURE);
}

int pattern_open(struct ph_table *t, ph_str spec, const struct pattern_engine *e)
{
    struct rules *rs = ph_new(t->scope, struct rules);
    int open[DEPTH_MAX], depth = 0, rc;
    struct ph_source src;
    uint32_t number;
    ph_str line;

    rs->engine = e;
    if ((rc = ph_source_open(t->scope, ph_cstr_dup(t->scope, spec), &src)) < 0)
        return rc;
    rs->path = src.path;
    while (ph_source_next(&src, &line, &number)) {
        int before = rs->n;

        if ((rc = read_rule(t, rs, line, open, &depth)) < 0)
            return ph_wrap(rc, "%s:%u", src.path, number);
        if (rs->n > before)
            rs->rule[before].line = number;
    }
    if (depth)
        return ph_fail(PH_CONF, "%s: if without endif", src.path);
    t->self = rs;
    return 0;
}

static ph_str substitute(const struct rule *r, ph_str key, const struct pattern_span *span, struct ph_scope *out)
{
    struct ph_buf b;

    ph_buf_init(&b, out, 1u << 20);
    for (size_t i = 0; i < r->value.n; i++) {
        unsigned n;
        size_t used;

        if (r->value.p[i] != '$') {
            ph_buf_putc(&b, r->value.p[i]);
        } else if (i + 1 < r->value.n && r->value.p[i + 1] == '$') {
            ph_buf_putc(&b, '$');
            i++;
        } else if (group_ref(ph_str_from(r->value, i + 1), &n, &used)) {
            if (n < PATTERN_GROUPS && span[n].start >= 0)
                ph_buf_put(&b, key.p + span[n].start, (size_t)(span[n].end - span[n].start));
            i += used;
        }
    }
    return ph_buf_view(&b);
}

int pattern_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val)
{
    struct rules *rs = t->self;
    struct pattern_span span[PATTERN_GROUPS];

    for (int i = 0; i < rs->n; ) {
        const struct rule *r = &rs->rule[i];
        int rc = rs->engine->match(r->prog, key, span, PATTERN_GROUPS);

        if (rc < 0)
            return ph_wrap(rc, "%s:%u", rs->path, r->line);
        int hit = (rc == PH_FOUND) != (r->negative != 0);
        if (hit && !r->skip_to) {
            *val = r->has_groups ? substitute(r, key, span, out) : ph_str_dup(out, r->value);
            return PH_FOUND;
        }
        i = !hit && r->skip_to ? r->skip_to : i + 1;
    }
    return PH_NONE;
}
