/* table/cidr: networks in the order they are written: `192.0.2.0/24 value`,
 * `!net value`, `if net` ... `endif`.  Reference: man/cidr_table.5. */
#include <posthorn/net.h>
#include <posthorn/source.h>
#include <posthorn/table.h>

struct rule {
    struct ph_ip net;
    uint32_t bits;
    int32_t negative;
    uint32_t skip_to;              /* `if`: the rule behind its endif; 0: an ordinary rule */
    ph_str value;
};

struct cidr {
    struct rule *rule;
    uint32_t n, cap;
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
static int read_net(struct rule *r, ph_str text)
{
    unsigned bits = 0;

    while (text.n && text.p[0] == '!') {
        r->negative = !r->negative;
        text = ph_str_trim(ph_str_from(text, 1));
    }
    r->net.family = 0;
    if (!ph_net_parse(text, &r->net, &bits))
        return ph_fail(PH_CONF, r->net.family ? "%.*s has host bits set behind the network part" : "%.*s is no network address", PH_FMT(text));
    r->bits = bits;
    return 0;
}

static int read_line(struct ph_table *t, struct cidr *c, ph_str line, uint32_t *open, uint32_t *depth)
{
    ph_str key, value;
    int has_value = ph_source_pair(line, &key, &value), rc;

    if (ph_str_eq_nocase(key, PH_STR("endif"))) {
        if (*depth == 0)
            return ph_fail(PH_CONF, "endif without if");
        c->rule[open[--*depth]].skip_to = c->n;
        return 0;
    }
    int is_if = ph_str_eq_nocase(key, PH_STR("if"));
    if (!has_value)
        return ph_fail(PH_CONF, "expected: network value");
    if (is_if && *depth == DEPTH_MAX)
        return ph_fail(PH_CONF, "if nested more than %d deep", DEPTH_MAX);
    struct rule *r = add(t, c);
    if ((rc = read_net(r, is_if ? value : key)) < 0)
        return rc;
    if (is_if) {
        open[(*depth)++] = c->n - 1;
        r->skip_to = UINT32_MAX;
    } else {
        r->value = ph_str_dup(t->scope, value);
    }
    return 0;
}

static int32_t cidr_open(struct ph_table *t, ph_str spec)
{
    struct cidr *c = ph_new(t->scope, struct cidr);
    uint32_t open[DEPTH_MAX], depth = 0, number;
    struct ph_source src;
    ph_str line;
    int rc = ph_source_open(t->scope, ph_cstr_dup(t->scope, spec), &src);

    if (rc < 0)
        return rc;
    while (ph_source_next(&src, &line, &number))
        if ((rc = read_line(t, c, line, open, &depth)) < 0)
            return ph_wrap(rc, "%s:%u", src.path, number);
    if (depth)
        return ph_fail(PH_CONF, "%s: if without endif", src.path);
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
        int hit = ph_ip_in_net(&ip, &r->net, r->bits) != r->negative;

        if (hit && !r->skip_to) {
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
