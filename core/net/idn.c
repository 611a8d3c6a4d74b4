/* idn: domain names in the form of the DNS.  See posthorn/dns.h. */
#include <stdlib.h>
#include <idn2.h>
#include <posthorn/error.h>
#include "core/net/dns.h"

#define IDN_MAX 1024u

struct conversion {
    const char *in;
    char *out;
};

static int convert(void *arg)
{
    struct conversion *c = arg;

    return idn2_to_ascii_8z(c->in, &c->out, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
}

int ph_domain_ascii(struct ph_scope *s, ph_str domain, ph_str *out)
{
    struct conversion c = { 0 };

    if (ph_str_is_ascii(domain)) {
        *out = domain;
        return 0;
    }
    if (domain.n > IDN_MAX || !ph_str_is_utf8(domain))
        return ph_fail(PH_PERM, "not a domain name");
    c.in = ph_cstr_dup(s, domain);
    int rc = ph_foreign(convert, &c);
    if (rc != IDN2_OK)
        return ph_fail(PH_PERM, "not a domain name: %s", idn2_strerror(rc));
    *out = ph_str_dup(s, ph_cstr(c.out));
    free(c.out);
    return 0;
}
