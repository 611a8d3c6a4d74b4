/* access: check_client_access and its kin: which keys a table is asked for, access(5). */
#include <string.h>
#include <posthorn/address.h>
#include "basic.h"

static int ask(struct ph_maps *m, ph_str key, int whole, struct ph_scope *out, ph_str *val)
{
    return key.n == 0 ? PH_NONE : whole ? ph_maps_find(m, key, out, val) : ph_maps_find_part(m, key, out, val);
}

/* Parents of a name: ".example.com" or "example.com". */
static int ask_parents(const struct basic *b, struct ph_maps *m, ph_str name, struct ph_scope *out, ph_str *val)
{
    int rc = PH_NONE;

    while (rc == PH_NONE) {
        ptrdiff_t dot = name.n > 1 ? ph_str_find(ph_str_from(name, 1), '.') : -1;

        if (dot < 0)
            break;
        name = ph_str_from(name, (size_t)dot + (b->parents ? 2 : 1));
        rc = ask(m, name, 0, out, val);
    }
    return rc;
}

static int ask_name(const struct basic *b, struct ph_maps *m, ph_str name, struct ph_scope *out, ph_str *val)
{
    int rc = ask(m, name, 1, out, val);

    return rc == PH_NONE ? ask_parents(b, m, name, out, val) : rc;
}

/* The address, then cut at its last '.' or ':' again and again. */
static int ask_address(struct ph_maps *m, ph_str address, struct ph_scope *out, ph_str *val)
{
    int rc = ask(m, address, 1, out, val);

    while (rc == PH_NONE && address.n) {
        while (address.n && address.p[address.n - 1] != '.' && address.p[address.n - 1] != ':')
            address.n--;
        while (address.n && (address.p[address.n - 1] == '.' || address.p[address.n - 1] == ':'))
            address.n--;
        rc = ask(m, address, 0, out, val);
    }
    return rc;
}

static int ask_client(const struct basic *b, struct ph_maps *m, ph_str name, ph_str address, struct ph_scope *out, ph_str *val)
{
    int rc = ph_str_eq(name, PH_STR("unknown")) ? ask(m, name, 1, out, val) : ask_name(b, m, name, out, val);

    return rc == PH_NONE ? ask_address(m, address, out, val) : rc;
}

/* As it would be resolved: with a domain, and without the dot behind it that would lead
 * past a rule for the domain. */
static ph_str complete(const struct basic *b, struct ph_scope *out, ph_str address)
{
    ptrdiff_t at = ph_str_rfind(address, '@');

    if (at < 0)
        return ph_str_printf(out, "%.*s@%.*s", PH_FMT(address), PH_FMT(b->p.origin));
    return address.n > (size_t)at + 2 && address.p[address.n - 1] == '.' ? ph_str_first(address, address.n - 1) : address;
}

/* user+ext@dom, user@dom, dom, its parents, user+ext@, user@. */
static int ask_mail(const struct basic *b, struct ph_maps *m, ph_str address, struct ph_scope *out, ph_str *val)
{
    ph_str local, domain, user, ext;
    char delimiter;

    if (address.n == 0)
        return ask(m, b->p.null_key, 1, out, val);
    address = complete(b, out, address);
    ph_str external = ph_address_external(out, address);
    int rc = ask(m, external, 1, out, val);
    if (rc == PH_NONE && !ph_str_eq(external, address))
        rc = ask(m, address, 1, out, val);
    ph_address_split(address, &local, &domain);
    ph_address_extension(local, b->p.delimiter, &user, &ext, &delimiter);
    if (rc == PH_NONE && delimiter)
        rc = ask(m, ph_str_printf(out, "%.*s@%.*s", PH_FMT(user), PH_FMT(domain)), 0, out, val);
    if (rc == PH_NONE)
        rc = ask(m, domain, 0, out, val);
    if (rc == PH_NONE)
        rc = ask_parents(b, m, domain, out, val);
    if (rc == PH_NONE)
        rc = ask(m, ph_str_printf(out, "%.*s@", PH_FMT(local)), 0, out, val);
    if (rc == PH_NONE && delimiter)
        rc = ask(m, ph_str_printf(out, "%.*s@", PH_FMT(user)), 0, out, val);
    return rc;
}

int check_access(struct ph_restriction *r, const struct ph_policy_facts *f, struct ph_scope *out, ph_str *action)
{
    struct basic *b = r->policy->self;
    struct ph_maps *m = r->self;

    if (strcmp(r->name, "check_client_access") == 0)
        return ask_client(b, m, f->client_name, f->client_address, out, action);
    if (strcmp(r->name, "check_reverse_client_hostname_access") == 0)
        return ask_client(b, m, f->reverse_name, f->client_address, out, action);
    if (strcmp(r->name, "check_helo_access") == 0)
        return f->has_helo ? ask_name(b, m, f->helo, out, action) : PH_NONE;
    if (strcmp(r->name, "check_etrn_access") == 0)
        return ask_name(b, m, f->etrn_domain, out, action);
    if (strcmp(r->name, "check_sender_access") == 0)
        return f->has_sender ? ask_mail(b, m, f->sender, out, action) : PH_NONE;
    return f->has_recipient ? ask_mail(b, m, f->recipient, out, action) : PH_NONE;
}
