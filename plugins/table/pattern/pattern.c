/* pattern: `/pattern/flags result`, `!/pattern/flags result`, `if /pattern/` ...
 * `endif`; $1 or ${1} or $(1) in results.  The first rule that matches answers.
 * A line with an error is left out with a warning; the block of such an `if`
 * never applies. */
#include <posthorn/source.h>
#include <posthorn/why.h>
#include "need.h"
#include "pattern.h"

#define DEPTH_MAX 100
#define NEEDS_MIN 8                /* fewer rules are asked sooner than the key is looked at */

struct rule {
    struct need need;              /* what a key must hold for the engine to be asked */
    void *prog;                    /* NULL: an `if` that could not be read: never */
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
    int needs;                     /* rules that need something */
    int slow;                      /* patterns that are interpreted */
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
    if (at.n < 2 || ph_is_alnum(at.p[0]) || at.p[0] == '\\')
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

/* The `if` lines whose endif has not come. */
struct nest { int rule[DEPTH_MAX], depth; };

/* Pattern and flags of *line into *r. */
static int read_pattern(struct ph_table *t, struct rules *rs, ph_str *line, struct rule *r)
{
    ph_str pattern, flags;
    int rc = take_pattern(line, &r->negative, &pattern, &flags);

    if (rc < 0 || (rc = rs->engine->compile(t->scope, pattern, flags, &r->prog, &r->groups)) < 0)
        return rc;
    if (ph_str_find(flags, 'x') < 0)           /* another syntax */
        need_find(pattern, rs->engine->is_perl, &r->need);
    rs->needs += r->need.count > 0;
    rs->slow += rs->engine->is_slow && rs->engine->is_slow(r->prog);
    return 0;
}

static int read_if(struct ph_table *t, struct rules *rs, ph_str line, uint32_t number, struct nest *nest)
{
    struct rule r = { .skip_to = -1, .line = number };

    if (nest->depth == DEPTH_MAX)
        return ph_fail(PH_CONF, "if nested more than %d deep", DEPTH_MAX);
    int rc = read_pattern(t, rs, &line, &r);
    if (rc == 0 && line.n)
        ph_log_warn("%s, line %u: text behind the pattern of if is ignored", rs->path, number);
    nest->rule[nest->depth++] = rs->n;
    *add(t, rs) = r;
    return rc;
}

static int read_line(struct ph_table *t, struct rules *rs, ph_str line, uint32_t number, struct nest *nest)
{
    struct rule r = { .line = number };
    ph_str rest = ph_str_trim(line), first = ph_str_word(&rest);

    if (ph_str_eq_nocase(first, PH_STR("endif"))) {
        if (rest.n)
            ph_log_warn("%s, line %u: text behind endif is ignored", rs->path, number);
        if (nest->depth == 0)
            return ph_fail(PH_CONF, "endif without if");
        rs->rule[nest->rule[--nest->depth]].skip_to = rs->n;
        return 0;
    }
    if (first.n >= 2 && ph_str_eq_nocase(ph_str_first(first, 2), PH_STR("if")) && (first.n == 2 || !ph_is_alnum(first.p[2])))
        return read_if(t, rs, ph_str_from(ph_str_trim(line), 2), number, nest);
    int rc = read_pattern(t, rs, &line, &r);
    if (rc < 0)
        return rc;
    if (line.n == 0)
        ph_log_warn("%s, line %u: no result behind the pattern: using the empty text", rs->path, number);
    r.value = ph_str_dup(t->scope, line);
    if ((rc = check_value(&r, r.negative, t->flags & (PH_TABLE_SECURE | PH_TABLE_LITERAL))) == 0)
        *add(t, rs) = r;
    return rc;
}

int32_t pattern_open(struct ph_table *t, ph_str spec, const struct pattern_engine *e)
{
    struct rules *rs = ph_new(t->scope, struct rules);
    struct nest nest = { .depth = 0 };
    struct ph_source src;
    uint32_t number;
    ph_str line;
    int rc = ph_table_source(t, spec, &src);

    if (rc < 0)
        return rc;
    rs->engine = e;
    rs->path = src.path;
    while (ph_source_next(&src, &line, &number))
        if (read_line(t, rs, line, number, &nest) < 0)
            ph_log_warn("%s map %s, line %u: %s: skipping this rule", t->ops->plugin.name, src.path, number, ph_error());
    if (rs->slow)
        ph_log("%s map %s: %d of %d patterns are interpreted, which is slower: the system gives no memory that may be executed",
               t->ops->plugin.name, src.path, rs->slow, rs->n);
    while (nest.depth) {
        ph_log_warn("%s map %s, line %u: if without endif", t->ops->plugin.name, src.path, rs->rule[nest.rule[--nest.depth]].line);
        rs->rule[nest.rule[nest.depth]].skip_to = rs->n;
    }
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

int32_t pattern_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val)
{
    struct rules *rs = t->self;
    struct pattern_span span[PATTERN_GROUPS];
    struct have have;
    int look = rs->needs >= NEEDS_MIN;

    if (look)
        have_fill(&have, key);
    for (int i = 0; i < rs->n; ) {
        const struct rule *r = &rs->rule[i];
        int ask = r->prog && (!look || have_all(&have, &r->need));
        int rc = ask ? rs->engine->match(r->prog, key, span, PATTERN_GROUPS) : PH_NONE;

        if (rc < 0)
            return ph_wrap(rc, "%s, line %u", rs->path, r->line);
        int hit = r->prog && (rc == PH_FOUND) != (r->negative != 0);
        if (hit && !r->skip_to) {
            ph_why_at(rs->path, r->line);
            *val = r->has_groups ? substitute(r, key, span, out) : ph_str_dup(out, r->value);
            return PH_FOUND;
        }
        i = !hit && r->skip_to ? r->skip_to : i + 1;
    }
    return PH_NONE;
}
