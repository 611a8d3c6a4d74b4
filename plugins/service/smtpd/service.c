/* service/smtpd: what is read once: parameters, lists, tables.  Reference: smtpd(8). */
#include <posthorn/error.h>
#include <posthorn/net.h>
#include <posthorn/submission.h>
#include "smtpd.h"

static int open_bare_mode(struct smtpd_conf *c)
{
    static const struct { const char *name; uint32_t mode; int note; } modes[] = {
        { "normalize", PH_BARE_NORMALIZE, 0 }, { "yes", PH_BARE_NORMALIZE, 0 }, { "note", PH_BARE_NORMALIZE, 1 },
        { "reject", PH_BARE_REJECT, 0 }, { "no", PH_BARE_NO, 0 },
    };

    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (ph_str_eq_nocase(c->p.bare_newline, ph_cstr(modes[i].name))) {
            c->bare_mode = modes[i].mode;
            c->note_bare = modes[i].note;
            return 0;
        }
    return ph_fail(PH_CONF, "smtpd_forbid_bare_newline = %.*s: use normalize, note, reject or no", PH_FMT(c->p.bare_newline));
}

static int is_named(ph_str list, const char *name)
{
    for (ph_str word; (word = ph_str_list(&list)).n; )
        if (ph_str_eq(word, ph_cstr(name)))
            return 1;
    return 0;
}

static int open_lists(struct smtpd_conf *c)
{
    const uint32_t hosts = PH_MATCH_ADDRESS | PH_MATCH_DOMAIN;
    const struct { const char *name; ph_str list; uint32_t how; struct ph_match **m; } lists[] = {
        { "mynetworks", c->p.mynetworks, hosts | (is_named(c->p.parent_matches, "mynetworks") ? PH_MATCH_PARENT : 0), &c->mynetworks },
        { "smtpd_forbid_bare_newline_exclusions", c->p.bare_exclusions, hosts, &c->bare_exclusions },
        { "smtpd_authorized_xclient_hosts", c->p.xclient_hosts, hosts, &c->xclient_hosts },
        { "smtpd_authorized_xforward_hosts", c->p.xforward_hosts, hosts, &c->xforward_hosts },
        { "smtpd_forbidden_commands", c->p.forbidden, PH_MATCH_STRING, &c->forbidden },
        { "smtpd_noop_commands", c->p.noop_commands, PH_MATCH_STRING, &c->noop_commands },
        { "fast_flush_domains", c->p.flush_domains, PH_MATCH_DOMAIN | (is_named(c->p.parent_matches, "fast_flush_domains") ? PH_MATCH_PARENT : 0),
          &c->flush_domains },
        { "smtpd_log_access_permit_actions", c->p.permit_actions, PH_MATCH_STRING, &c->permit_actions },
    };
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < sizeof lists / sizeof *lists; i++)
        if (lists[i].list.n)
            rc = ph_match_open(c->conf, c->scope, lists[i].name, lists[i].list, lists[i].how, lists[i].m);
    return rc;
}

static int open_maps(struct smtpd_conf *c)
{
    int rc = 0;

    if (c->p.discard_ehlo_maps.n)
        rc = ph_maps_open(c->conf, c->scope, "smtpd_discard_ehlo_keyword_address_maps", c->p.discard_ehlo_maps, PH_MAPS_FOLD, &c->discard_ehlo_maps);
    if (rc == 0 && c->p.command_filter.n)
        rc = ph_maps_open(c->conf, c->scope, "smtpd_command_filter", c->p.command_filter, 0, &c->command_filter);
    return rc;
}

/* local_header_rewrite_clients: each of its words lets some in. */
static int open_rewrite_clients(struct smtpd_conf *c)
{
    ph_str list = c->p.rewrite_clients, word;
    struct ph_buf tables;

    ph_buf_init(&tables, c->scope, list.n + 1);
    while ((word = ph_str_list(&list)).n)
        if (ph_str_eq_nocase(word, PH_STR("permit_inet_interfaces")))
            c->rewrite_own = 1;
        else if (ph_str_eq_nocase(word, PH_STR("permit_mynetworks")))
            c->rewrite_networks = 1;
        else if (ph_str_eq_nocase(word, PH_STR("check_address_map")) && (word = ph_str_list(&list)).n)
            ph_buf_printf(&tables, "%.*s ", PH_FMT(word));
        else if (ph_str_find(word, ':') > 0)
            ph_buf_printf(&tables, "%.*s ", PH_FMT(word));
        else if (ph_str_eq_nocase(word, PH_STR("permit_sasl_authenticated")) || ph_str_eq_nocase(word, PH_STR("permit_tls_clientcerts")) ||
                 ph_str_eq_nocase(word, PH_STR("permit_tls_all_clientcerts")))
            ph_log_warn("local_header_rewrite_clients: %.*s has no effect: it is not built yet", PH_FMT(word));
        else
            return ph_fail(PH_CONF, "local_header_rewrite_clients: unknown word \"%.*s\"", PH_FMT(word));
    return tables.n ? ph_maps_open(c->conf, c->scope, "local_header_rewrite_clients", ph_buf_view(&tables), PH_MAPS_FOLD, &c->rewrite_maps) : 0;
}

static int smtpd_open(struct ph_service *v)
{
    struct smtpd_conf *c = ph_new(v->scope, struct smtpd_conf);
    int rc = ph_params_load(v->conf, v->scope, smtpd_rows, SMTPD_ROWS, sizeof *smtpd_rows, &c->p);

    if (rc < 0)
        return rc;
    c->scope = v->scope;
    c->conf = v->conf;
    c->queue_dir_fd = v->queue_dir_fd;
    c->names = ph_map_new(v->scope);
    c->help = verb_help(v->scope);
    c->verify_sender = ph_str_find(c->p.verify_sender, '@') >= 0 || c->p.verify_sender.n == 0
                           ? c->p.verify_sender
                           : ph_str_printf(v->scope, "%.*s@%.*s", PH_FMT(c->p.verify_sender), PH_FMT(c->p.myorigin));
    v->self = c;
    if ((rc = open_rewrite_clients(c)) < 0 || (rc = open_bare_mode(c)) < 0 || (rc = open_lists(c)) < 0 || (rc = open_maps(c)) < 0 || (rc = ph_receive_overrides(c->p.overrides, &c->cleanup_flags, &c->check_unlisted)) < 0 || (rc = ehlo_open(c)) < 0 || (rc = footer_open(c)) < 0 ||
        (rc = ph_own_addresses(c->conf, c->scope, &c->own, &c->own_count)) < 0 || (rc = ph_transcript_setup(v->conf, v->scope, "SMTP server", &c->transcripts)) < 0)
        return rc;
    return restrict_open(c);
}

static int smtpd_serve(struct ph_service *v, struct ph_scope *scope, struct ph_stream *io, const struct ph_peer *peer)
{
    return session_run(session_new(v->self, scope, io, peer));
}

PH_PLUGIN_SERVICE(smtpd, PH_IS(.summary = "SMTP server", .exec = PH_COROUTINE, .concurrency = PH_MANY_CALLS, .params = smtpd_rows,
                               .param_count = SMTPD_ROWS),
    .needs = "network queue private",
    .uses = "cleanup rewrite",
    .open = smtpd_open,
    .serve = smtpd_serve);
