/* need: see need.h.
 *
 * Letters are folded on both sides, whatever the pattern's flags.  A run of plain
 * characters outside of groups, none of them optional, stands in every match; of
 * several the longest is taken.  An alternative at the top, or anything that changes
 * how the pattern is to be read, and nothing is known. */
#include <string.h>
#include "need.h"

#define RUN_MAX 64

struct reader {
    ph_str pattern;
    size_t at;
    int is_perl;
    char run[RUN_MAX], best[RUN_MAX];
    size_t run_n, best_n;
};

static unsigned gram2(const char *p)
{
    return ((unsigned)(unsigned char)p[0] * 2654435761u + (unsigned)(unsigned char)p[1] * 40503u) >> 3 & 0xffff;
}

static unsigned gram3(const char *p)
{
    return (gram2(p) * 31u + (unsigned)(unsigned char)p[2] * 7919u + 1u) & 0xffff;
}

static void end_run(struct reader *r)
{
    if (r->run_n > r->best_n) {
        memcpy(r->best, r->run, r->run_n);
        r->best_n = r->run_n;
    }
    r->run_n = 0;
}

static void add(struct reader *r, char c)
{
    if (r->run_n == RUN_MAX)
        end_run(r);
    r->run[r->run_n++] = ph_lower(c);
}

/* The last character may be missing. */
static void drop_last(struct reader *r)
{
    r->run_n -= r->run_n > 0;
    end_run(r);
}

static int next_is(const struct reader *r, char c)
{
    return r->at < r->pattern.n && r->pattern.p[r->at] == c;
}

/* Behind a '['.  1, or 0: no end. */
static int skip_class(struct reader *r)
{
    const ph_str p = r->pattern;

    if (next_is(r, '^'))
        r->at++;
    if (next_is(r, ']'))
        r->at++;
    while (r->at < p.n && p.p[r->at] != ']') {
        char c = p.p[r->at++];

        if (c == '\\' && r->is_perl) {
            r->at++;
        } else if (c == '[' && r->at < p.n && memchr(":.=", p.p[r->at], 3)) {
            char end[2] = { p.p[r->at++], ']' };
            ptrdiff_t found = ph_str_search(ph_str_from(p, r->at), (ph_str){ end, 2 });

            if (found < 0)
                return 0;
            r->at += (size_t)found + 2;
        }
    }
    return r->at++ < p.n;
}

/* Behind a '(': 0 when it changes how the rest is to be read: settings (?i), comments
 * (?#), verbs (*X). */
static int is_plain_group(const struct reader *r)
{
    const ph_str p = r->pattern;

    if (!r->is_perl || (!next_is(r, '*') && !next_is(r, '?')))
        return 1;
    return p.p[r->at] == '?' && r->at + 1 < p.n && memchr(":=!<>|P", p.p[r->at + 1], 7) != NULL;
}

/* Behind a '(': to behind its ')'.  1, or 0: it is not for us. */
static int skip_group(struct reader *r)
{
    const ph_str p = r->pattern;
    int depth = 1;

    if (!is_plain_group(r))
        return 0;
    while (depth && r->at < p.n) {
        char c = p.p[r->at++];

        depth += (c == '(') - (c == ')');
        r->at += c == '\\';
        if ((c == '(' && !is_plain_group(r)) || (c == '[' && !skip_class(r)))
            return 0;
    }
    return depth == 0;
}

static int read_escape(struct reader *r)
{
    if (r->at >= r->pattern.n)
        return 0;
    char c = r->pattern.p[r->at++];

    /* GNU's \< \> \' \` are places between characters. */
    if (!ph_is_alnum(c) && (r->is_perl || !memchr("<>'`", c, 4))) {
        add(r, c);
        return 1;
    }
    end_run(r);
    return memchr("dDwWsSbB", c, 8) != NULL;
}

/* {m,n} behind a character. */
static int skip_count(struct reader *r)
{
    ptrdiff_t end = ph_str_find(ph_str_from(r->pattern, r->at), '}');

    drop_last(r);
    r->at += (size_t)(end + 1);
    return end > 0;
}

static int read_one(struct reader *r)
{
    char c = r->pattern.p[r->at++];

    switch (c) {
    case '|': return 0;
    case '\\': return read_escape(r);
    case '{': return skip_count(r);
    case '*': case '?': case '+': drop_last(r); return 1;      /* x+{0}: also what comes at least once */
    case '.': case '^': case '$': case ')': end_run(r); return c != ')';
    case '[': end_run(r); return skip_class(r);
    case '(': end_run(r); return skip_group(r);
    default: add(r, c); return 1;
    }
}

void need_find(ph_str pattern, int is_perl, struct need *n)
{
    struct reader r = { .pattern = pattern, .is_perl = is_perl };

    n->count = 0;
    if (ph_str_search(pattern, PH_STR("\\Q")) >= 0)
        return;
    while (r.at < pattern.n)
        if (!read_one(&r))
            return;
    end_run(&r);
    if (r.best_n == 2)
        n->gram[n->count++] = (uint16_t)gram2(r.best);
    for (size_t i = 0; i + 3 <= r.best_n && n->count < NEED_GRAMS; i++)
        n->gram[n->count++] = (uint16_t)gram3(r.best + i);
}

static void set(struct have *h, unsigned gram)
{
    h->bit[gram >> 6] |= (uint64_t)1 << (gram & 63);
}

void have_fill(struct have *h, ph_str key)
{
    char last[3] = { 0, 0, 0 };

    memset(h, 0, sizeof *h);
    for (size_t i = 0; i < key.n; i++) {
        last[0] = last[1];
        last[1] = last[2];
        last[2] = ph_lower(key.p[i]);
        if (i >= 1)
            set(h, gram2(last + 1));
        if (i >= 2)
            set(h, gram3(last));
    }
}

int have_all(const struct have *h, const struct need *n)
{
    for (uint32_t i = 0; i < n->count; i++)
        if (!(h->bit[n->gram[i] >> 6] >> (n->gram[i] & 63) & 1))
            return 0;
    return 1;
}
