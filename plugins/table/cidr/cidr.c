/* table/cidr: networks in the order they are written: `192.0.2.0/24 value`,
 * `!net value`, `if net` ... `endif`.  A line with an error is left out with a
 * warning, an `if` too: what follows it then holds without it.  Reference: cidr_table(5). */
#include <posthorn/net.h>
#include <posthorn/source.h>
#include <posthorn/table.h>
#include <posthorn/why.h>

struct rule {
    struct ph_ip net;
    uint32_t bits;
    int32_t negative;
    uint32_t skip_to;              /* `if`: the rule behind its endif; 0: an ordinary rule */
    uint32_t line, pad;
    ph_str value;
};

struct cidr {
    struct rule *rule;
    uint32_t n, cap;
    const char *path;
};

#define DEPTH_MAX 100

static struct rule *add(struct ph_table *t, struct cidr *c)
{
    if (c->n == c->cap) {
        uint32_t cap = c->cap ? c->cap * 2 : 16;
        struct rule *more = ph_alloc_array(t->scope, cap, sizeof *more);

        for (uint32_t i = 0; i < c->n; i++)
            more[i] = c->rule[i];
        c->rule = more;
        c->cap = cap;
    }
    return &c->rule[c->n++];
}

/* An address and nothing else: no brackets, no tag. */
static int read_address(ph_str text, struct ph_ip *ip)
{
    return text.n && (ph_is_alnum(text.p[0]) || text.p[0] == ':') && !ph_str_starts_nocase(text, PH_STR("ipv6:")) && ph_ip_parse(text, ip);
}

/* Brackets around the address or all of it: 0 with *text as it is without them. */
static int brackets_off(struct ph_table *t, ph_str *text)
{
    ptrdiff_t end = ph_str_find(*text, ']');

    if (text->n == 0 || text->p[0] != '[')
        return 0;
    if (end < 0)
        return ph_fail(PH_CONF, "missing ']' character after \"%.*s\"", PH_FMT(*text));
    ph_str inside = ph_str_first(ph_str_from(*text, 1), (size_t)end - 1), behind = ph_str_from(*text, (size_t)end + 1);

    if (behind.n && behind.p[0] != '/')
        return ph_fail(PH_CONF, "garbage after \"[%.*s]\"", PH_FMT(inside));
    *text = ph_str_printf(t->scope, "%.*s%.*s", PH_FMT(inside), PH_FMT(behind));
    return 0;
}

/* "192.0.2.0/24": 0, or PH_CONF. */
static int read_masked(struct ph_table *t, struct rule *r, ph_str text)
{
    ptrdiff_t slash = ph_str_find(text, '/');
    unsigned bits = 0;
    uint64_t n;

    if (slash >= 0 && !ph_str_u64(ph_str_from(text, (size_t)slash + 1), &n))
        return ph_fail(PH_CONF, "bad mask value in \"%.*s\"", PH_FMT(text));
    if (!read_address(slash < 0 ? text : ph_str_first(text, (size_t)slash), &r->net))
        return slash < 0 ? ph_fail(PH_CONF, "bad address pattern: \"%.*s\"", PH_FMT(text)) : ph_fail(PH_CONF, "bad network value in \"%.*s\"", PH_FMT(text));
    if (slash >= 0 && n > (r->net.family == 4 ? 32 : 128))
        return ph_fail(PH_CONF, "bad mask length in \"%.*s\"", PH_FMT(text));
    if (!ph_net_parse(text, &r->net, &bits))
        return ph_fail(PH_CONF, "non-null host address bits in \"%.*s\", perhaps you should use \"%.*s/%u\" instead",
                       PH_FMT(text), PH_FMT(ph_ip_format(t->scope, &r->net)), bits);
    r->bits = bits;
    return 0;
}

/* "!192.0.2.0/24" at the beginning of *text, the word or (of an `if`) all of it: 0, or PH_CONF. */
static int read_net(struct ph_table *t, struct rule *r, ph_str *text, int all)
{
    ph_str at = ph_str_trim(*text);

    for (; at.n && at.p[0] == '!'; at = ph_str_trim(ph_str_from(at, 1)))
        r->negative = !r->negative;
    ph_str net = all ? at : ph_str_word(&at);
    *text = at;
    if (net.n == 0)
        return ph_fail(PH_CONF, "no address pattern");
    int rc = brackets_off(t, &net);
    return rc < 0 ? rc : read_masked(t, r, net);
}

/* The `if` rules whose endif has not come. */
struct nest { uint32_t rule[DEPTH_MAX], depth; };

static int read_if(struct ph_table *t, struct cidr *c, ph_str net, uint32_t number, struct nest *nest)
{
    struct rule r = { .skip_to = UINT32_MAX, .line = number };

    if (nest->depth == DEPTH_MAX)
        return ph_fail(PH_CONF, "IF nested more than %d deep", DEPTH_MAX);
    int rc = read_net(t, &r, &net, 1);
    if (rc < 0)
        return rc;
    nest->rule[nest->depth++] = c->n;
    *add(t, c) = r;
    return 0;
}

static int read_endif(struct cidr *c, ph_str rest, struct nest *nest)
{
    if (rest.n)
        return ph_fail(PH_CONF, "garbage after ENDIF");
    if (nest->depth == 0)
        return ph_fail(PH_CONF, "ENDIF without IF");
    c->rule[nest->rule[--nest->depth]].skip_to = c->n;
    return 0;
}

static int read_line(struct ph_table *t, struct cidr *c, ph_str line, uint32_t number, struct nest *nest)
{
    struct rule r = { .line = number };
    ph_str rest = ph_str_trim(line), word = rest;

    for (word.n = 0; word.n < rest.n && ph_is_alnum(rest.p[word.n]); )
        word.n++;
    if (ph_str_eq_nocase(word, PH_STR("endif")))
        return read_endif(c, ph_str_trim(ph_str_from(rest, word.n)), nest);
    if (ph_str_eq_nocase(word, PH_STR("if")))
        return read_if(t, c, ph_str_from(rest, word.n), number, nest);
    int rc = read_net(t, &r, &rest, 0);
    if (rc < 0)
        return rc;
    if (rest.n == 0)
        return ph_fail(PH_CONF, "no lookup result");
    r.value = ph_str_dup(t->scope, rest);
    *add(t, c) = r;
    return 0;
}

static int32_t cidr_open(struct ph_table *t, ph_str spec)
{
    struct cidr *c = ph_new(t->scope, struct cidr);
    struct nest nest = { .depth = 0 };
    struct ph_source src;
    uint32_t number;
    ph_str line;
    int rc = ph_table_source(t, spec, &src);

    if (rc < 0)
        return rc == PH_CONF ? ph_wrap(rc, "cidr map") : rc;
    c->path = src.path;
    while (ph_source_next(&src, &line, &number))
        if (read_line(t, c, line, number, &nest) < 0)
            ph_log_warn("cidr map %s, line %u: %s: skipping this rule", src.path, number, ph_error());
    while (nest.depth) {
        struct rule *r = &c->rule[nest.rule[--nest.depth]];

        ph_log_warn("cidr map %s, line %u: IF has no matching ENDIF", src.path, r->line);
        r->skip_to = c->n;
    }
    t->self = c;
    return 0;
}

static int32_t cidr_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val)
{
    struct cidr *c = t->self;
    struct ph_ip ip;

    if (!read_address(key, &ip))
        return PH_NONE;
    for (uint32_t i = 0; i < c->n; ) {
        const struct rule *r = &c->rule[i];
        /* An address of the other family matches neither a network nor its opposite. */
        int hit = ip.family == r->net.family && ph_ip_in_net(&ip, &r->net, r->bits) != r->negative;

        if (hit && !r->skip_to) {
            ph_why_at(c->path, r->line);
            *val = ph_str_dup(out, r->value);
            return PH_FOUND;
        }
        i = !hit && r->skip_to ? r->skip_to : i + 1;
    }
    return PH_NONE;
}

PH_PLUGIN_TABLE(cidr, PH_IS(.summary = "networks, the first that holds the address", .exec = PH_PURE, .concurrency = PH_MANY_CALLS),
    .is = PH_TABLE_PATTERN,
    .open = cidr_open,
    .lookup = cidr_lookup);
