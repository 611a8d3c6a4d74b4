/* dns_wire: answers as they stand on the wire, RFC 1035 4.1.  The packet is
 * hostile: every offset is checked, names may jump backwards only, records
 * and CNAME chains are bounded. */
#include <string.h>
#include <posthorn/error.h>
#include "core/net/dns.h"

#define HEADER 12u

struct reader {
    const uint8_t *p;
    size_t n, at;
    int bad;
};

/* A record of the answer section. */
struct record {
    char owner[PH_DNS_NAME_MAX + 1];
    unsigned type, class_;
    size_t data, size;             /* of its data in the packet */
};

static unsigned get16(struct reader *r)
{
    if (r->n - r->at < 2) {
        r->bad = 1;
        return 0;
    }
    unsigned v = (unsigned)r->p[r->at] << 8 | r->p[r->at + 1];

    r->at += 2;
    return v;
}

static void pass(struct reader *r, size_t n)
{
    if (r->n - r->at < n)
        r->bad = 1;
    else
        r->at += n;
}

static int is_label_byte(uint8_t c)
{
    return c > ' ' && c < 0x7f && c != '.' && c != '\\';
}

/* One label at *at into text: 1, 0 the name ends here, -1 bad. */
static int label(const struct reader *r, size_t *at, char *text, size_t *len)
{
    size_t n = r->p[*at];

    if (n == 0)
        return 0;
    if (n > 63 || r->n - *at - 1 < n || *len + n + 1 > PH_DNS_NAME_MAX)
        return -1;
    if (*len)
        text[(*len)++] = '.';
    for (size_t i = 0; i < n; i++) {
        uint8_t c = r->p[*at + 1 + i];

        /* What cannot be written without escapes is no name of ours. */
        text[(*len)++] = is_label_byte(c) ? (char)c : '?';
    }
    *at += n + 1;
    return 1;
}

/* A name, compressed or not, as text without the last dot.  A pointer must
 * point before itself and before each earlier one, so the walk ends. */
static void get_name(struct reader *r, char text[PH_DNS_NAME_MAX + 1])
{
    size_t at = r->at, len = 0, before = r->at;
    int jumped = 0, rc = 1;

    while (rc > 0) {
        if (at >= r->n) {
            rc = -1;
        } else if ((r->p[at] & 0xc0) == 0xc0) {
            if (r->n - at < 2) {
                rc = -1;
                break;
            }
            size_t to = (size_t)(r->p[at] & 0x3f) << 8 | r->p[at + 1];

            if (!jumped)
                r->at = at + 2;
            jumped = 1;
            if (to >= before || to < HEADER)
                rc = -1;
            before = at = to;
        } else {
            rc = label(r, &at, text, &len);
            if (rc == 0 && !jumped)
                r->at = at + 1;
        }
    }
    if (rc < 0)
        r->bad = 1;
    text[rc < 0 ? 0 : len] = 0;
}

static int get_record(struct reader *r, struct record *rec)
{
    get_name(r, rec->owner);
    rec->type = get16(r);
    rec->class_ = get16(r);
    pass(r, 4);
    rec->size = get16(r);
    rec->data = r->at;
    pass(r, rec->size);
    return !r->bad;
}

int ph_dns_name_ok(ph_str name)
{
    size_t len = 0;

    if (name.n && name.p[name.n - 1] == '.')
        name.n--;
    if (name.n == 0 || name.n > 253)
        return 0;
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] == '.') {
            if (len == 0)
                return 0;
            len = 0;
        } else if (!is_label_byte((uint8_t)name.p[i]) || ++len > 63) {
            return 0;
        }
    }
    return len > 0;
}

/* A name that a host can have: RFC 1123 with underscores, not all numeric. */
static int is_host(const char *name)
{
    int alpha = 0;

    if (!ph_dns_name_ok(ph_cstr(name)))
        return 0;
    for (const char *p = name; *p; p++) {
        if (!ph_is_alnum(*p) && *p != '-' && *p != '_' && *p != '.')
            return 0;
        alpha |= ph_is_alpha(*p) || *p == '_';
    }
    return alpha;
}

static int same_name(const char *a, ph_str b)
{
    if (b.n && b.p[b.n - 1] == '.')
        b.n--;
    return ph_str_eq_nocase(ph_cstr(a), b);
}

/* What parsing gathers. */
struct answer {
    struct ph_scope *s;
    struct ph_dns_answer *a;
    int type, bad;                 /* records that were passed over */
};

static struct reader at_data(const struct reader *r, const struct record *rec)
{
    return (struct reader){ .p = r->p, .n = rec->data + rec->size, .at = rec->data };
}

static int take_mx(struct answer *x, struct reader d)
{
    char host[PH_DNS_NAME_MAX + 1];
    unsigned preference = get16(&d);

    if (!d.bad)
        get_name(&d, host);
    /* An empty host is the null MX, RFC 7505. */
    if (d.bad || d.at != d.n || (host[0] && !is_host(host)))
        return 0;
    x->a->mx[x->a->count] = (struct ph_dns_mx){ .host = ph_str_dup(x->s, ph_cstr(host)), .preference = preference };
    return 1;
}

static int take_ip(struct answer *x, struct reader d)
{
    struct ph_ip ip = { .family = x->type == PH_DNS_A ? 4 : 6 };

    if (d.n - d.at != (ip.family == 4 ? 4u : 16u))
        return 0;
    memcpy(ip.bytes, d.p + d.at, d.n - d.at);
    x->a->ip[x->a->count] = ip;
    return 1;
}

static int take_ptr(struct answer *x, struct reader d)
{
    char host[PH_DNS_NAME_MAX + 1];

    get_name(&d, host);
    if (d.bad || d.at != d.n || !is_host(host))
        return 0;
    x->a->text[x->a->count] = ph_str_dup(x->s, ph_cstr(host));
    return 1;
}

/* The strings of one record joined, RFC 7208 3.3. */
static int take_txt(struct answer *x, struct reader d)
{
    size_t size = d.n - d.at;
    char *text = ph_alloc(x->s, size + 1);
    size_t len = 0;

    if (size > PH_DNS_TEXT_MAX)
        return 0;
    while (d.at < d.n) {
        size_t n = d.p[d.at++];

        if (d.n - d.at < n)
            return 0;
        memcpy(text + len, d.p + d.at, n);
        len += n;
        d.at += n;
    }
    x->a->text[x->a->count] = (ph_str){ text, len };
    return 1;
}

static void take(struct answer *x, const struct reader *r, const struct record *rec)
{
    struct reader d = at_data(r, rec);
    int good;

    if (x->a->count == PH_DNS_RECORDS_MAX)
        return;
    switch (x->type) {
    case PH_DNS_MX:  good = take_mx(x, d); break;
    case PH_DNS_PTR: good = take_ptr(x, d); break;
    case PH_DNS_TXT: good = take_txt(x, d); break;
    default:         good = take_ip(x, d); break;
    }
    if (good)
        x->a->count++;
    else
        x->bad = 1;
}

/* Walk the answer section once: follow CNAMEs from *name, take what it owns.
 * 1 when the name moved (the walk must start again), 0, or PH_PERM. */
static int walk(struct answer *x, struct reader r, unsigned count, ph_str *name)
{
    struct record rec;

    for (unsigned i = 0; i < count; i++) {
        if (!get_record(&r, &rec))
            return ph_fail(PH_PERM, "malformed record");
        if (rec.class_ != 1 || !same_name(rec.owner, *name))
            continue;
        if (rec.type == (unsigned)x->type) {
            take(x, &r, &rec);
        } else if (rec.type == PH_DNS_CNAME && x->a->count == 0) {
            struct reader d = at_data(&r, &rec);

            get_name(&d, rec.owner);
            if (d.bad || d.at != d.n)
                return ph_fail(PH_PERM, "malformed CNAME");
            *name = ph_str_dup(x->s, ph_cstr(rec.owner));
            return 1;
        }
    }
    return 0;
}

static void make_room(struct answer *x)
{
    struct ph_dns_answer *a = x->a;

    if (x->type == PH_DNS_MX)
        a->mx = ph_alloc_array(x->s, PH_DNS_RECORDS_MAX, sizeof *a->mx);
    else if (x->type == PH_DNS_A || x->type == PH_DNS_AAAA)
        a->ip = ph_alloc_array(x->s, PH_DNS_RECORDS_MAX, sizeof *a->ip);
    else
        a->text = ph_alloc_array(x->s, PH_DNS_RECORDS_MAX, sizeof *a->text);
}

/* What was taken before the packet turned out to be malformed is no answer. */
static int bad(struct ph_dns_answer *a, const char *what)
{
    a->why = PH_DNS_BAD;
    a->count = 0;
    return ph_fail(PH_PERM, "%s", what);
}

int ph_dns_parse(struct ph_scope *s, ph_str packet, ph_str name, int type, struct ph_dns_answer *a)
{
    struct reader r = { .p = (const uint8_t *)packet.p, .n = packet.n, .at = 2 };
    struct answer x = { .s = s, .a = a, .type = type };
    char skipped[PH_DNS_NAME_MAX + 1];
    int rc = 1;

    if (packet.n < HEADER)
        return bad(a, "answer is shorter than its header");
    unsigned flags = get16(&r), questions = get16(&r), answers = get16(&r), rcode = flags & 15;
    pass(&r, 4);
    for (unsigned i = 0; i < questions && !r.bad; i++) {
        get_name(&r, skipped);
        pass(&r, 4);
    }
    if (r.bad)
        return bad(a, "malformed question");
    if (rcode != 0 && rcode != 3) {
        a->why = PH_DNS_TEMP;
        return ph_fail(PH_TEMP, "the name server answered with code %u", rcode);
    }
    make_room(&x);
    ph_str at = name;
    for (int links = 0; rc == 1; links++) {
        if (links > PH_DNS_CHAIN_MAX)
            return bad(a, "too many CNAME records in a row");
        if ((rc = walk(&x, r, answers, &at)) < 0)
            return bad(a, ph_error());
    }
    a->canonical = at;
    if (a->count)
        return PH_FOUND;
    if (x.bad)
        return bad(a, "no record of the answer is valid");
    a->why = rcode == 3 ? PH_DNS_NXDOMAIN : PH_DNS_NODATA;
    return PH_NONE;
}
