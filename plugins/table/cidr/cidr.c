/* table/cidr: networks in the order they are written: `192.0.2.0/24 value`,
 * `!net value`, `if net` ... `endif`.  A line with an error is left out with a
 * warning; the block of such an `if` never applies.  Reference: cidr_table(5). */
#include <posthorn/net.h>
#include <posthorn/source.h>
#include <posthorn/table.h>
#include <posthorn/why.h>

struct rule {
    struct ph_ip net;
    uint32_t bits;
    int32_t negative;
    uint32_t skip_to;              /* `if`: the rule behind its endif; 0: an ordinary rule */
    uint32_t never;                /* an `if` that could not be read */
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

/* "!192.0.2.0/24": 0, or PH_CONF. */
static int read_net(struct ph_table *t, struct rule *r, ph_str text)
{
    unsigned bits = 0;

    for (; text.n && text.p[0] == '!'; text = ph_str_trim(ph_str_from(text, 1)))
        r->negative = !r->negative;
    if (!ph_net_parse(text, &r->net, &bits))
        return r->net.family ? ph_fail(PH_CONF, "non-null host address bits in \"%.*s\", perhaps you should use \"%.*s/%u\" instead",
                                       PH_FMT(text), PH_FMT(ph_ip_format(t->scope, &r->net)), bits)
                             : ph_fail(PH_CONF, "bad address pattern: \"%.*s\"", PH_FMT(text));
    r->bits = bits;
    return 0;
}

/* The `if` lines whose endif has not come. */
struct nest { uint32_t rule[DEPTH_MAX], depth; };

static int read_if(struct ph_table *t, struct cidr *c, ph_str net, struct nest *nest)
{
    struct rule r = { .skip_to = UINT32_MAX };

    if (nest->depth == DEPTH_MAX)
        return ph_fail(PH_CONF, "if nested more than %d deep", DEPTH_MAX);
    int rc = read_net(t, &r, net);
    r.never = rc < 0;
    nest->rule[nest->depth++] = c->n;
    *add(t, c) = r;
    return rc;
}

static int read_line(struct ph_table *t, struct cidr *c, ph_str line, uint32_t number, struct nest *nest)
{
    struct rule r = { .skip_to = 0, .line = number };
    ph_str rest = ph_str_trim(line), first = ph_str_word(&rest);

    if (ph_str_eq_nocase(first, PH_STR("endif"))) {
        if (rest.n)
            return ph_fail(PH_CONF, "text behind endif");
        if (nest->depth == 0)
            return ph_fail(PH_CONF, "endif without if");
        c->rule[nest->rule[--nest->depth]].skip_to = c->n;
        return 0;
    }
    if (ph_str_eq_nocase(first, PH_STR("if")))
        return read_if(t, c, rest, nest);
    if (ph_str_eq(first, PH_STR("!")))     /* blanks between it and the network */
        r.negative = 1, first = ph_str_word(&rest);
    int rc = read_net(t, &r, first);
    if (rc < 0)
        return rc;
    if (rest.n == 0)
        return ph_fail(PH_CONF, "no result behind the network");
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
        return rc;
    c->path = src.path;
    while (ph_source_next(&src, &line, &number))
        if (read_line(t, c, line, number, &nest) < 0)
            ph_log_warn("cidr map %s, line %u: %s: skipping this rule", src.path, number, ph_error());
    while (nest.depth) {
        ph_log_warn("cidr map %s: if without endif", src.path);
        c->rule[nest.rule[--nest.depth]].skip_to = c->n;
    }
    t->self = c;
    return 0;
}

static int32_t cidr_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val)
{
    struct cidr *c = t->self;
    struct ph_ip ip;

    if (!ph_ip_parse(key, &ip))
        return PH_NONE;
    for (uint32_t i = 0; i < c->n; ) {
        const struct rule *r = &c->rule[i];
        /* An address of the other family matches neither a network nor its opposite. */
        int hit = !r->never && ip.family == r->net.family && ph_ip_in_net(&ip, &r->net, r->bits) != r->negative;

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
