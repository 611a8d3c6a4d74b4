/* xclient: XCLIENT: another identity in place of the client's own; XFORWARD:
 * where a message came from before it came to the client.  Each only for those
 * that smtpd_authorized_xclient_hosts or smtpd_authorized_xforward_hosts names.
 *
 * All attributes of a command are read before any counts. */
#include <string.h>
#include <posthorn/address.h>
#include <posthorn/dsn.h>
#include <posthorn/error.h>
#include <posthorn/net.h>
#include "smtpd.h"

#define VALUE_MAX 255u
#define PROTO_MAX 64u

/* What an attribute may be set to. */
struct claim {
    struct who w;
    ph_str helo;
    int esmtp;
    struct forward f;
};

/* One attribute: 1, or 0 for bad syntax. */
typedef int (*set_fn)(struct ph_scope *s, struct claim *c, ph_str value);

static int is_unavailable(ph_str v)
{
    return ph_str_eq_nocase(v, PH_STR("[UNAVAILABLE]"));
}

static int is_temporary(ph_str v)
{
    return ph_str_eq_nocase(v, PH_STR("[TEMPUNAVAIL]"));
}

/* A name, or how its look-up failed. */
static int take_name(ph_str v, ph_str *name, const char **status)
{
    int failed = is_unavailable(v) || is_temporary(v);

    if (!failed && !ph_hostname_valid(v))
        return 0;
    *name = failed ? PH_STR("unknown") : v;
    *status = !failed ? "OK" : is_temporary(v) ? "TEMP" : "PERM";
    return 1;
}

/* An IPv4 address in IPv6's clothes is looked at as what it is. */
static void unmap(struct ph_ip *ip)
{
    static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

    if (ip->family != 6 || memcmp(ip->bytes, mapped, sizeof mapped) != 0)
        return;
    memmove(ip->bytes, ip->bytes + sizeof mapped, 4);
    ip->family = 4;
}

static int take_address(struct ph_scope *s, ph_str v, ph_str *address)
{
    struct ph_ip ip;
    int v6 = ph_str_starts_nocase(v, PH_STR("IPV6:"));

    if (is_unavailable(v)) {
        *address = PH_STR("unknown");
        return 1;
    }
    if (!ph_ip_parse(v6 ? ph_str_from(v, 5) : v, &ip) || (v6 && ip.family != 6))
        return 0;
    unmap(&ip);
    *address = ph_ip_format(s, &ip);
    return 1;
}

static int take_port(ph_str v, ph_str *port)
{
    uint64_t n;

    if (!is_unavailable(v) && (!ph_str_u64(v, &n) || n > 65535))
        return 0;
    *port = is_unavailable(v) ? PH_STR("unknown") : v;
    return 1;
}


/* A verified name is what the address leads to as well; REVERSE_NAME may say otherwise. */
static int set_name(struct ph_scope *s PH_UNUSED, struct claim *c, ph_str v)
{
    if (!take_name(v, &c->w.name, &c->w.name_status))
        return 0;
    return is_unavailable(v) || is_temporary(v) || take_name(v, &c->w.reverse, &c->w.reverse_status);
}

static int set_reverse(struct ph_scope *s PH_UNUSED, struct claim *c, ph_str v) { return take_name(v, &c->w.reverse, &c->w.reverse_status); }
static int set_addr(struct ph_scope *s, struct claim *c, ph_str v) { return take_address(s, v, &c->w.addr); }
static int set_port(struct ph_scope *s PH_UNUSED, struct claim *c, ph_str v) { return take_port(v, &c->w.port); }
static int set_dest(struct ph_scope *s, struct claim *c, ph_str v) { return take_address(s, v, &c->w.server_addr); }
static int set_dest_port(struct ph_scope *s PH_UNUSED, struct claim *c, ph_str v) { return take_port(v, &c->w.server_port); }

static int set_proto(struct ph_scope *s PH_UNUSED, struct claim *c, ph_str v)
{
    c->esmtp = ph_str_eq_nocase(v, PH_STR("ESMTP"));
    return c->esmtp || ph_str_eq_nocase(v, PH_STR("SMTP"));
}

static int set_helo(struct ph_scope *s, struct claim *c, ph_str v)
{
    c->helo = is_unavailable(v) ? PH_STR("") : clean_helo(s, v);
    return 1;
}

static int set_login(struct ph_scope *s PH_UNUSED, struct claim *c, ph_str v)
{
    int none = is_unavailable(v);

    c->w.sasl_user = none ? PH_STR("") : v;
    c->w.sasl_method = none ? PH_STR("") : PH_STR("XCLIENT");
    return 1;
}

/* XFORWARD: what is not available is not said. */
static ph_str said(ph_str v)
{
    return is_unavailable(v) || is_temporary(v) ? PH_STR("") : v;
}

static int fwd_name(struct ph_scope *s PH_UNUSED, struct claim *c, ph_str v)
{
    c->f.name = said(v);
    return c->f.name.n == 0 || ph_hostname_valid(v);
}

static int fwd_addr(struct ph_scope *s, struct claim *c, ph_str v)
{
    c->f.addr = PH_STR("");
    return is_unavailable(v) || take_address(s, v, &c->f.addr);
}

static int fwd_port(struct ph_scope *s PH_UNUSED, struct claim *c, ph_str v)
{
    c->f.port = PH_STR("");
    return is_unavailable(v) || take_port(v, &c->f.port);
}

static int fwd_proto(struct ph_scope *s, struct claim *c, ph_str v)
{
    c->f.proto = clean_helo(s, said(v));
    return v.n <= PROTO_MAX;
}

static int fwd_helo(struct ph_scope *s, struct claim *c, ph_str v)
{
    c->f.helo = clean_helo(s, said(v));
    return 1;
}

static int fwd_ident(struct ph_scope *s, struct claim *c, ph_str v)
{
    c->f.ident = clean_helo(s, said(v));
    return 1;
}

static int fwd_source(struct ph_scope *s PH_UNUSED, struct claim *c, ph_str v)
{
    c->f.is_local = ph_str_eq_nocase(v, PH_STR("LOCAL"));
    return c->f.is_local || ph_str_eq_nocase(v, PH_STR("REMOTE")) || is_unavailable(v);
}

struct attribute {
    const char *name;
    set_fn set;
};
static const struct attribute xclient[] = {
    { "NAME", set_name }, { "REVERSE_NAME", set_reverse }, { "ADDR", set_addr }, { "PORT", set_port }, { "PROTO", set_proto },
    { "HELO", set_helo }, { "LOGIN", set_login }, { "DESTADDR", set_dest }, { "DESTPORT", set_dest_port }, { NULL, NULL },
};
static const struct attribute xforward[] = {
    { "NAME", fwd_name }, { "ADDR", fwd_addr }, { "PORT", fwd_port }, { "PROTO", fwd_proto }, { "HELO", fwd_helo }, { "IDENT", fwd_ident },
    { "SOURCE", fwd_source }, { NULL, NULL },
};

static const struct attribute *find(const struct attribute *list, ph_str name)
{
    while (list->name && !ph_str_eq_nocase(name, ph_cstr(list->name)))
        list++;
    return list;
}

/* No byte that could end a log line or stand for something else in it. */
static int is_clean(ph_str v)
{
    for (size_t i = 0; i < v.n; i++)
        if ((unsigned char)v.p[i] < 0x20 || v.p[i] == 0x7f)
            return 0;
    return ph_str_is_utf8(v);
}

static ph_str bad(struct ph_scope *s, ph_str name, ph_str value)
{
    return ph_str_printf(s, "501 5.5.4 Bad %.*s syntax: %.*s", PH_FMT(name), PH_FMT(ph_str_first(value, 100)));
}

/* All "name=value": empty, or the reply that refuses them. */
static ph_str read_all(struct ph_scope *s, const char *verb, const struct attribute *list, ph_str args, struct claim *c)
{
    ph_str word, decoded;

    if (args.n == 0)
        return ph_str_printf(s, "501 5.5.4 Syntax: %s attribute=value...", verb);
    while ((word = ph_str_word(&args)).n) {
        ph_str value = word, name = ph_str_cut(&value, '=');

        if (value.n == 0)
            return PH_STR("501 5.5.4 Error: attribute=value expected");
        if (value.n > VALUE_MAX)
            return PH_STR("501 5.5.4 Error: attribute value too long");
        const struct attribute *a = find(list, name);
        if (!a->name)
            return ph_str_printf(s, "501 5.5.4 Bad %s attribute name: %.*s", verb, PH_FMT(ph_str_first(name, 100)));
        if (!ph_xtext_decode(s, value, &decoded) || !is_clean(decoded) || !a->set(s, c, decoded))
            return bad(s, ph_cstr(a->name), value);
    }
    return PH_STR("");
}

/* Everything that is kept of the claim, on a scope of its own. */
static void assume(struct session *s, const struct claim *c)
{
    struct ph_scope *scope = ph_scope_new(s->scope), *old = s->who_scope;
    struct who w = c->w;
    ph_str *const all[] = { &w.name, &w.reverse, &w.addr, &w.port, &w.server_addr, &w.server_port, &w.sasl_method, &w.sasl_user };

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        *all[i] = ph_str_dup(scope, *all[i]);
    s->w = w;
    s->who_scope = scope;
    helo_set(s, c->helo);
    s->esmtp = c->esmtp;
    s->denied = s->sticky_client = s->sticky_helo = PH_STR("");
    client_name(s);
    client_settle(s);
    ph_scope_free(old);
}

int do_xclient(struct session *s, ph_str args)
{
    PH_SCOPED(t, s->scope);
    struct claim c = { .w = s->w };

    if (s->may_xclient < 0)
        return session_unsure(s, "if command XCLIENT should be allowed from");
    if (!s->may_xclient)
        return reply(s, "550 5.7.0 Error: insufficient authorization");
    if (s->t.open)
        return reply(s, "503 5.5.1 Error: MAIL transaction in progress");
    /* As right after the connection; what came by earlier XCLIENTs stays. */
    c.w.sasl_user = c.w.sasl_method = PH_STR("");
    ph_str refusal = read_all(t, "XCLIENT", xclient, args, &c);
    if (refusal.n)
        return reply(s, "%.*s", PH_FMT(refusal));
    transaction_reset(s);
    assume(s, &c);
    return session_greet(s);
}

int do_xforward(struct session *s, ph_str args)
{
    PH_SCOPED(t, s->scope);
    struct claim c = { .helo = PH_STR("") };

    if (s->may_xforward < 0)
        return session_unsure(s, "if command XFORWARD should be allowed from");
    if (!s->may_xforward)
        return reply(s, "550 5.7.0 Error: insufficient authorization");
    if (s->t.open)
        return reply(s, "503 5.5.1 Error: MAIL transaction in progress");
    /* What the first one of a transaction does not say is not available. */
    if (s->t.forward)
        c.f = *s->t.forward;
    ph_str refusal = read_all(t, "XFORWARD", xforward, args, &c);
    if (refusal.n)
        return reply(s, "%.*s", PH_FMT(refusal));
    struct ph_scope *scope = transaction_scope(s);
    if (!s->t.forward)
        s->t.forward = ph_new(scope, struct forward);
    *s->t.forward = c.f;
    ph_str *const all[] = { &s->t.forward->name, &s->t.forward->addr, &s->t.forward->port, &s->t.forward->proto, &s->t.forward->helo, &s->t.forward->ident };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        *all[i] = ph_str_dup(scope, *all[i]);
    return reply(s, "250 2.0.0 Ok");
}
