/* etrn: ETRN, RFC 1985: the client asks us to deliver what waits for a domain.
 * There is no service yet that could, so a domain that may be asked for gets
 * the reply of a failure. */
#include <posthorn/address.h>
#include <posthorn/error.h>
#include "smtpd.h"

/* "@domain" and "#queue" are RFC 1985 5.2 forms of a name. */
static int parse(ph_str args, ph_str *domain)
{
    *domain = args;
    if (args.n && (args.p[0] == '@' || args.p[0] == '#'))
        *domain = ph_str_from(args, 1);
    return ph_hostname_valid(*domain) || ph_domain_literal_valid(*domain);
}

static int not_offered(struct session *s, ph_str domain)
{
    ph_log_warn("reject: ETRN %.*s... from %.*s", PH_FMT(ph_str_first(domain, 100)), PH_FMT(s->name_addr));
    return reply(s, "459 <%.*s>: service unavailable", PH_FMT(ph_str_first(domain, 200)));
}

int do_etrn(struct session *s, ph_str args)
{
    ph_str domain, text;
    int rc;

    if (s->c->p.helo_required && s->helo.n == 0)
        return reply(s, "503 Error: send HELO/EHLO first");
    if (s->t.open)
        return reply(s, "503 Error: MAIL transaction in progress");
    if (args.n == 0 || ph_str_find(args, ' ') >= 0)
        return reply(s, "500 Syntax: ETRN domain");
    if (!parse(args, &domain))
        return reply(s, "501 Error: invalid parameter syntax");
    s->facts.etrn_domain = domain;
    rc = restrict_stage(s, PH_STAGE_ETRN, "ETRN", PH_STR(""), &text);
    s->facts.etrn_domain = PH_STR("");
    if (rc == PH_FOUND)
        return reject(s, "ETRN", text, PH_STR(""));
    if (rc < 0)
        return rc;
    rc = s->c->flush_domains ? ph_match(s->c->flush_domains, domain, PH_STR("")) : PH_NONE;
    if (rc == PH_NONE)
        return not_offered(s, domain);
    ph_log_warn("ETRN %.*s from %.*s: %s", PH_FMT(domain), PH_FMT(s->name_addr), rc < 0 ? ph_error() : "the flush service is not built yet");
    return reply(s, "458 Unable to queue messages");
}
