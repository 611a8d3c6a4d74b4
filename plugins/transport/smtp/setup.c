/* setup: one configured instance of the client. */
#include <sys/random.h>
#include "smtp.h"

/* --- our own addresses --- */

/* The only address of that family that inet_interfaces names is also where
 * mail leaves from; family 0 when there is none, several, or only loopback. */
static struct ph_ip only_address(const struct ph_ip *list, size_t count, uint32_t family)
{
    struct ph_ip found = { 0 };
    size_t n = 0;

    for (size_t i = 0; i < count; i++)
        if (list[i].family == family && n++ == 0 && !ph_ip_is_loopback(&list[i]))
            found = list[i];
    return n == 1 ? found : (struct ph_ip){ 0 };
}

static int find_ours(struct smtp *self, const struct ph_transport *t)
{
    const struct smtp_params *p = &self->p;
    const char *prefix = self->lmtp ? "lmtp" : "smtp";
    struct ph_ip *named;
    size_t n;
    int rc;

    if (p->bind_address.n && (!ph_ip_parse(p->bind_address, &self->bind4) || self->bind4.family != 4))
        return ph_fail(PH_CONF, "%s_bind_address: \"%.*s\" is no IPv4 address", prefix, PH_FMT(p->bind_address));
    if (p->bind_address6.n && (!ph_ip_parse(p->bind_address6, &self->bind6) || self->bind6.family != 6))
        return ph_fail(PH_CONF, "%s_bind_address6: \"%.*s\" is no IPv6 address", prefix, PH_FMT(p->bind_address6));
    if ((rc = ph_own_interfaces(t->conf, t->scope, &named, &n)) < 0)
        return rc;
    if (!self->bind4.family)
        self->bind4 = only_address(named, n, 4);
    if (!self->bind6.family)
        self->bind6 = only_address(named, n, 6);
    return ph_own_addresses(t->conf, t->scope, &self->ours, &self->our_count);
}

/* --- the rest --- */

static int read_protocols(struct smtp *self, ph_str list)
{
    ph_str all_of_it = list;

    for (ph_str w; (w = ph_str_list(&list)).n;) {
        int all = ph_str_eq_nocase(w, PH_STR("all"));

        self->use_ipv4 |= all || ph_str_eq_nocase(w, PH_STR("ipv4"));
        self->use_ipv6 |= all || ph_str_eq_nocase(w, PH_STR("ipv6"));
    }
    if (!self->use_ipv4 && !self->use_ipv6)
        return ph_fail(PH_CONF, "inet_protocols: \"%.*s\" names no protocol (all, ipv4, ipv6)", PH_FMT(all_of_it));
    return 0;
}

static int read_flags(struct smtp *self, const char *const *args)
{
    static const struct { char letter; uint32_t flag; } known[] = {
        { 'D', SMTP_FLAG_DELIVERED_TO }, { 'O', SMTP_FLAG_ORIGINAL_TO }, { 'R', SMTP_FLAG_RETURN_PATH }, { 'X', SMTP_FLAG_FINAL },
    };

    for (; args && *args; args++) {
        ph_str letters = ph_cstr(*args), name = ph_str_cut(&letters, '=');

        if (!ph_str_eq(name, PH_STR("flags")))
            return ph_fail(PH_CONF, "unknown argument \"%s\" (flags=DORX)", *args);
        for (size_t i = 0; i < letters.n; i++) {
            size_t k = 0;

            while (k < sizeof known / sizeof *known && known[k].letter != letters.p[i])
                k++;
            if (k == sizeof known / sizeof *known)
                return ph_fail(PH_CONF, "unknown flag \"%c\" in \"%s\" (flags=DORX)", letters.p[i], *args);
            self->flags |= known[k].flag;
        }
    }
    return 0;
}

/* NULL when the list is empty, so that ordinary mail asks nobody. */
static int open_maps(struct ph_transport *t, const char *what, ph_str list, uint32_t flags, struct ph_maps **out)
{
    int rc = ph_maps_open(t->conf, t->scope, what, list, flags, out);

    if (rc == 0 && ph_maps_is_empty(*out))
        *out = NULL;
    return rc;
}

/* Without generic maps nobody is asked to complete an address. */
static int open_generic(struct smtp *self, struct ph_transport *t)
{
    const char *what = self->lmtp ? "lmtp_generic_maps" : "smtp_generic_maps";
    struct ph_address_rules *rules;
    int rc;

    if ((rc = ph_conf_get_i64(t->conf, "header_address_token_limit", &self->header_tokens)) < 0)
        return rc;
    if (self->p.generic_maps.n && ((rc = ph_address_rules_open(t->conf, t->scope, &rules)) < 0 ||
                                   (rc = ph_address_map_open(rules, what, self->p.generic_maps, "generic", &self->generic)) < 0))
        return rc;
    if (!self->generic)
        t->unused = "rewrite";
    return 0;
}

static int open_tables(struct smtp *self, struct ph_transport *t)
{
    const struct smtp_params *p = &self->p;
    int l = self->lmtp, rc;

    if ((rc = open_maps(t, l ? "lmtp_reply_filter" : "smtp_reply_filter", p->reply_filter, 0, &self->reply_filter)) < 0 ||
        (rc = open_maps(t, l ? "lmtp_delivery_status_filter" : "smtp_delivery_status_filter", p->status_filter, 0, &self->status_filter)) < 0 ||
        (rc = open_maps(t, l ? "lmtp_discard_lhlo_keyword_address_maps" : "smtp_discard_ehlo_keyword_address_maps",
                        p->discard_keyword_maps, 0, &self->discard_maps)) < 0)
        return rc;
    if ((rc = open_generic(self, t)) < 0)
        return rc;
    return open_maps(t, l ? "lmtp_pix_workaround_maps" : "smtp_pix_workaround_maps", p->pix_maps, 0, &self->pix_maps);
}

/* What is not built yet must not be quietly left out. */
static int refuse_unbuilt(const struct smtp *self, struct ph_transport *t)
{
    const char *level_name = self->lmtp ? "lmtp_tls_security_level" : "smtp_tls_security_level";
    const char *sasl_name = self->lmtp ? "lmtp_sasl_auth_enable" : "smtp_sasl_auth_enable";
    ph_str level = ph_conf_value(t->conf, t->scope, level_name);

    if (level.n && !ph_str_eq(level, PH_STR("none")) && !ph_str_eq(level, PH_STR("may")))
        return ph_fail(PH_CONF, "%s = %.*s: TLS is not built yet, mail would leave unprotected", level_name, PH_FMT(level));
    if (ph_str_eq(ph_conf_value(t->conf, t->scope, sasl_name), PH_STR("yes")))
        return ph_fail(PH_CONF, "%s = yes: SASL is not built yet", sasl_name);
    if (ph_str_eq_nocase(self->p.dns_support, PH_STR("dnssec")))
        return ph_fail(PH_CONF, "%s_dns_support_level = dnssec: it is not built yet", self->lmtp ? "lmtp" : "smtp");
    return 0;
}

int smtp_setup(struct ph_transport *t, int lmtp)
{
    struct smtp *self = ph_new(t->scope, struct smtp);
    int rc;

    self->scope = t->scope;
    self->lmtp = lmtp;
    if ((rc = ph_params_load(t->conf, t->scope, lmtp ? lmtp_rows : smtp_rows, lmtp ? LMTP_ROWS : SMTP_ROWS, sizeof *smtp_rows, &self->p)) < 0 ||
        (rc = refuse_unbuilt(self, t)) < 0 || (rc = read_flags(self, t->args)) < 0 ||
        (rc = read_protocols(self, ph_conf_value(t->conf, t->scope, "inet_protocols"))) < 0 || (rc = find_ours(self, t)) < 0 ||
        (rc = open_tables(self, t)) < 0)
        return rc;
    if (!(self->port = ph_port_parse(self->p.tcp_port)))
        return ph_fail(PH_CONF, "%s_tcp_port: \"%.*s\" is no port", lmtp ? "lmtp" : "smtp", PH_FMT(self->p.tcp_port));
    if (getrandom(&self->random, sizeof self->random, GRND_NONBLOCK) < 0)
        self->random = (uint64_t)ph_wall_us();
    self->relayhost = ph_conf_value(t->conf, t->scope, "relayhost");
    self->hostname = ph_conf_value(t->conf, t->scope, "myhostname");
    self->queue_directory = ph_conf_value(t->conf, t->scope, "queue_directory");
    if (lmtp && self->p.assume_final) {
        ph_log_warn("lmtp_assume_final is obsolete: give the service the argument flags=X");
        self->flags |= SMTP_FLAG_FINAL;
    }
    smtp_pool_init(self);
    t->self = self;
    return 0;
}
