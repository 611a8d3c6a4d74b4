/* idn: host names between UTF-8 and the form of the DNS, for the functions
 * ${domain_to_ascii{...}} and ${domain_to_utf8{...}}.  RFC 5891, by libidn2. */
#include <stdlib.h>
#include <idn2.h>
#include "core/conf/internal.h"

#define IDN_MAX 1024u

int ph_conf_idn(struct ph_scope *s, ph_str name, int to_ascii, ph_str *out)
{
    char *text = NULL;
    int rc;

    if (name.n > IDN_MAX)
        return ph_fail(PH_CONF, "domain name of %zu bytes", name.n);
    const char *in = ph_cstr_dup(s, name);

    rc = to_ascii ? idn2_to_ascii_8z(in, &text, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL)
                  : idn2_to_unicode_8z8z(in, &text, 0);
    if (rc != IDN2_OK)
        return ph_fail(PH_CONF, "%s: %s", in, idn2_strerror(rc));
    *out = ph_str_dup(s, ph_cstr(text));
    free(text);
    return 0;
}
