/* pattern_read: the lines of a regexp or pcre file.  A rule that has an error is
 * left out with a warning that says which and why, an `if` too: what stands up to
 * its endif then holds without a condition, and the endif is told as well. */
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <posthorn/source.h>
#include "rules.h"

#define DEPTH_MAX 100

/* One file being read. */
struct reader {
    struct ph_table *t;
    struct rules *rs;
    uint32_t line;
    int open[DEPTH_MAX], depth;    /* the `if` rules whose endif has not come */
};

static void warn(const struct reader *r, const char *fmt, ...) PH_PRINTF(2, 3);
static void warn(const struct reader *r, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    ph_log_warn("%s map %s, line %u: %s", r->rs->type, r->rs->path, r->line, text);
}

static struct rule *add(struct ph_table *t, struct rules *rs)
{
    if (rs->n == rs->cap) {
        int cap = rs->cap ? rs->cap * 2 : 16;
        struct rule *more = ph_alloc_array(t->scope, (size_t)cap, sizeof *more);

        for (int i = 0; i < rs->n; i++)
            more[i] = rs->rule[i];
        rs->rule = more;
        rs->cap = cap;
    }
    return &rs->rule[rs->n++];
}

/* ---- patterns ---- */

/* "!/pattern/flags": cut it off *line, and the blanks behind it.  1, or 0 after a warning. */
static int take_pattern(const struct reader *r, ph_str *line, struct pattern_text *p)
{
    ph_str at = ph_str_trim(*line);
    int two = r->rs->engine->has_second;
    size_t n = 1;

    for (p->negative = 0; at.n && at.p[0] == '!'; at = ph_str_trim(ph_str_from(at, 1)))
        p->negative = !p->negative;
    if (at.n == 0) {
        warn(r, "no regexp: skipping this rule");
        return 0;
    }
    for (; n < at.n; n++)
        if (at.p[n] == '\\' && (!two || n + 1 < at.n))
            n++;
        else if (at.p[n] == at.p[0])
            break;
    if (n >= at.n) {
        warn(r, "no closing regexp delimiter \"%c\": %s this rule", at.p[0], two ? "skipping" : "ignoring");
        return 0;
    }
    p->text = ph_str_first(ph_str_from(at, 1), n - 1);
    at = ph_str_from(at, n + 1);
    for (n = 0; n < at.n && !ph_is_space(at.p[n]) && !(two && at.p[n] == '!'); )
        n++;
    p->flags = ph_str_first(at, n);
    *line = ph_str_trim(ph_str_from(at, n));
    return 1;
}

static int compile(const struct reader *r, const struct pattern_text *p, void **prog, unsigned *groups)
{
    if (r->rs->engine->compile(r->t->scope, p->text, p->flags, prog, groups) == 0)
        return 1;
    warn(r, "%s", ph_error());
    return 0;
}

/* The flags are looked at first: what follows them could be anything. */
static int check_flags(const struct reader *r, const struct pattern_text *p)
{
    for (size_t i = 0; i < p->flags.n; i++) {
        enum pattern_flag known = r->rs->engine->flag(p->flags.p[i]);

        if (known == PATTERN_FLAG_UNKNOWN) {
            warn(r, "unknown regexp option \"%c\": skipping this rule", p->flags.p[i]);
            return 0;
        }
        if (known == PATTERN_FLAG_OBSOLETE)
            warn(r, "ignoring obsolete regexp option \"%c\"", p->flags.p[i]);
    }
    return 1;
}

static void note_pattern(struct rules *rs, const struct pattern_text *p, struct rule *rule)
{
    if (ph_str_find(p->flags, 'x') < 0)        /* another syntax */
        need_find(p->text, rs->engine->is_perl, &rule->need);
    rs->needs += rule->need.count > 0;
    rs->slow += rs->engine->is_slow && rs->engine->is_slow(rule->prog);
}

/* ---- results ---- */

int rules_reference(ph_str text, ph_str *name, size_t *used, const char **why)
{
    char open = text.n ? text.p[0] : 0, close = open == '{' ? '}' : open == '(' ? ')' : 0;
    size_t n = 0, depth = 0;

    *why = "empty macro name";
    if (close) {
        for (; n < text.n; n++)
            if (text.p[n] == open)
                depth++;
            else if (text.p[n] == close && --depth == 0)
                break;
        if (n == text.n) {
            *why = "truncated macro reference";
            return 0;
        }
        *name = ph_str_first(ph_str_from(text, 1), n - 1);
        *used = n + 1;
    } else {
        while (n < text.n && (ph_is_alnum(text.p[n]) || text.p[n] == '_'))
            n++;
        *name = ph_str_first(text, n);
        *used = n;
    }
    return name->n > 0;
}

int rules_group(ph_str name, unsigned *n)
{
    uint64_t v = 0;

    for (size_t i = 0; i < name.n; i++)
        if (!ph_is_digit(name.p[i]))
            return 0;
    *n = ph_str_u64(name, &v) && v < UINT_MAX ? (unsigned)v : UINT_MAX;
    return name.n > 0;
}

/* One reference: 1 with its group; after a warning 0, or -1 when what follows it cannot
 * be read either. */
static int check_reference(const struct reader *r, ph_str value, size_t at, unsigned *group, size_t *used)
{
    ph_str name;
    const char *why;

    if (!rules_reference(ph_str_from(value, at), &name, used, &why)) {
        ph_log_warn("%s: \"%.*s\"", why, PH_FMT(value));
        return -1;
    }
    if (!rules_group(name, group))
        warn(r, "non-numeric replacement index \"%.*s\"", PH_FMT(name));
    else if (*group == 0)
        warn(r, r->rs->engine->has_second ? "out-of-range replacement index \"0\"" : "out of range replacement index \"0\"");
    else
        return 1;
    return 0;
}

/* All of them: 1 with the highest group (0: none), or 0 after a warning. */
static int check_value(const struct reader *r, struct rule *rule, unsigned *highest)
{
    ph_str v = rule->value;
    int rc = 1, all_good = 1;

    *highest = 0;
    for (size_t i = 0; i < v.n && rc >= 0; i++) {
        unsigned group = 0;
        size_t used = 1;

        if (v.p[i] != '$')
            continue;
        rule->has_dollar = 1;
        if (i + 1 == v.n || v.p[i + 1] != '$') {
            rc = check_reference(r, v, i + 1, &group, &used);
            all_good &= rc == 1;
            if (group > *highest)
                *highest = group;
        }
        i += used;
    }
    if (!all_good)
        warn(r, "bad replacement syntax: skipping this rule");
    return all_good;
}

/* Whether this rule may name groups at all: 1, or 0 after a warning. */
static int may_name_groups(const struct reader *r, int negative)
{
    if (r->t->flags & (PH_TABLE_SECURE | PH_TABLE_LITERAL))
        warn(r, "$number is not allowed here, an answer of this table gives rights or is a route: skipping this rule");
    else if (negative)
        warn(r, "$number found in negative match replacement text: skipping this rule");
    else
        return 1;
    return 0;
}

/* ---- lines ---- */

static void read_rule(struct reader *r, ph_str line)
{
    struct rule rule = { .line = r->line };
    struct pattern_text first, second = { 0 };
    unsigned highest, unused;
    int two = 0;

    if (!take_pattern(r, &line, &first) || !check_flags(r, &first))
        return;
    if (r->rs->engine->has_second && line.n && line.p[0] == '!' && line.p == first.flags.p + first.flags.n) {
        two = 1;
        if (!take_pattern(r, &line, &second) || !check_flags(r, &second))
            return;
    }
    if (line.n == 0)
        warn(r, "no replacement text: using empty string");
    rule.value = ph_str_dup(r->t->scope, line);
    rule.negative = first.negative;
    rule.second_negative = second.negative;
    if (!check_value(r, &rule, &highest) || (highest && !may_name_groups(r, rule.negative)))
        return;
    if (!compile(r, &first, &rule.prog, &rule.groups) || (two && !compile(r, &second, &rule.second, &unused)))
        return;
    if (highest > rule.groups) {
        warn(r, "out of range replacement index \"%d\": skipping this rule", highest == UINT_MAX ? -1 : (int)highest);
        return;
    }
    note_pattern(r->rs, &first, &rule);
    *add(r->t, r->rs) = rule;
}

static void read_if(struct reader *r, ph_str line)
{
    struct rule rule = { .skip_to = -1, .line = r->line };
    struct pattern_text p;

    if (r->depth == DEPTH_MAX) {
        warn(r, "IF nested more than %d deep: skipping this rule", DEPTH_MAX);
        return;
    }
    if (!take_pattern(r, &line, &p) || !check_flags(r, &p))
        return;
    if (line.n) {
        warn(r, "ignoring extra text after IF statement: \"%.*s\"", PH_FMT(line));
        warn(r, "do not prepend whitespace to statements between IF and ENDIF");
    }
    if (!compile(r, &p, &rule.prog, &rule.groups))
        return;
    rule.negative = p.negative;
    note_pattern(r->rs, &p, &rule);
    r->open[r->depth++] = r->rs->n;
    *add(r->t, r->rs) = rule;
}

static void read_endif(struct reader *r, ph_str rest)
{
    if (r->depth == 0) {
        warn(r, "ignoring ENDIF without matching IF");
        return;
    }
    if (ph_str_trim(rest).n)
        warn(r, "ignoring extra text after ENDIF");
    r->rs->rule[r->open[--r->depth]].skip_to = r->rs->n;
}

static void read_line(struct reader *r, ph_str line)
{
    ph_str at = ph_str_trim(line), word = at;
    size_t n = 0;

    while (n < at.n && ph_is_alnum(at.p[n]))
        n++;
    word.n = n;
    if (at.n == 0)
        return;
    if (n == 0)
        read_rule(r, at);
    else if (ph_str_eq_nocase(word, PH_STR("if")))
        read_if(r, ph_str_from(at, n));
    else if (ph_str_eq_nocase(word, PH_STR("endif")))
        read_endif(r, ph_str_from(at, n));
    else
        warn(r, "ignoring unrecognized request");
}

int rules_read(struct ph_table *t, ph_str spec, struct rules *rs)
{
    struct reader r = { .t = t, .rs = rs };
    struct ph_source src;
    ph_str line;
    int rc = ph_table_source(t, spec, &src);

    if (rc < 0)
        return rc == PH_CONF ? ph_wrap(rc, "%s map", rs->type) : rc;
    rs->path = src.path;
    while (ph_source_next(&src, &line, &r.line))
        read_line(&r, line);
    while (r.depth) {
        struct rule *rule = &rs->rule[r.open[--r.depth]];

        r.line = rule->line;
        warn(&r, "IF has no matching ENDIF");
        rule->skip_to = rs->n;
    }
    return 0;
}
