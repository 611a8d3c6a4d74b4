/* client: who is it?  The name counts only when it leads back to the address. */
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <posthorn/address.h>
#include <posthorn/disk.h>
#include <posthorn/dns.h>
#include <posthorn/error.h>
#include "smtpd.h"

/* Loopback names stand in /etc/hosts, which DNS does not know. */
struct local_name { struct ph_ip ip; char name[NI_MAXHOST]; };

static int look_local(void *arg)
{
    struct local_name *l = arg;
    struct sockaddr_in in = { .sin_family = AF_INET };
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
    int v4 = l->ip.family == 4;

    memcpy(&in.sin_addr, l->ip.bytes, 4);
    memcpy(&in6.sin6_addr, l->ip.bytes, 16);
    const struct sockaddr *sa = v4 ? (const struct sockaddr *)&in : (const struct sockaddr *)&in6;
    if (getnameinfo(sa, v4 ? sizeof in : sizeof in6, l->name, sizeof l->name, NULL, 0, NI_NAMEREQD) != 0)
        l->name[0] = 0;
    return 0;
}

static void identify_local(struct session *s, const struct ph_ip *ip)
{
    struct smtpd_conf *c = s->c;
    const char *known = ph_map_get(c->names, s->w.addr);

    if (!known) {
        struct local_name *l = ph_new(s->scope, struct local_name);

        l->ip = *ip;
        ph_disk(look_local, l);
        known = ph_cstr_dup(c->scope, ph_cstr(l->name[0] ? l->name : "unknown"));
        ph_map_set(c->names, s->w.addr, (void *)(uintptr_t)known);
    }
    s->w.name = s->w.reverse = ph_cstr(known);
    s->w.name_status = s->w.reverse_status = strcmp(known, "unknown") == 0 ? "PERM" : "OK";
}

static int has_address(const struct ph_dns_answer *a, const struct ph_ip *ip)
{
    for (uint32_t i = 0; i < a->count; i++)
        if (a->ip && memcmp(&a->ip[i], ip, sizeof *ip) == 0)
            return 1;
    return 0;
}

/* 1, 0, or negative and logged: the list could not be looked at. */
static int client_in(struct session *s, struct ph_match *m)
{
    int rc = m ? ph_match(m, s->w.name, s->w.addr) : PH_NONE;

    if (rc < 0)
        ph_log_warn("%.*s: %s", PH_FMT(s->name_addr), ph_error());
    return rc < 0 ? rc : rc == PH_FOUND;
}

/* PTR, then the name's addresses of the same family. */
static void identify_dns(struct session *s, const struct ph_ip *ip)
{
    struct ph_dns_answer ptr, back;
    int rc = ph_dns_find_ptr(s->scope, ip, &ptr);
    struct ph_ip numeric;

    if (rc != PH_FOUND || ptr.count == 0) {
        s->w.name_status = s->w.reverse_status = rc < 0 ? "TEMP" : "PERM";
        return;
    }
    ph_str name = ptr.text[0];
    if (!ph_hostname_valid(name) || ph_ip_parse(name, &numeric)) {
        ph_log_warn("numeric or malformed host name for address %.*s", PH_FMT(s->w.addr));
        return;
    }
    s->w.reverse = name;
    s->w.reverse_status = "OK";
    rc = ip->family == 4 ? ph_dns_find_a(s->scope, name, &back) : ph_dns_find_aaaa(s->scope, name, &back);
    if (rc == PH_FOUND && has_address(&back, ip)) {
        s->w.name = name;
        s->w.name_status = "OK";
        return;
    }
    s->w.name_status = rc == PH_FOUND ? "FORGED" : rc < 0 ? "TEMP" : "PERM";
    ph_log_warn("hostname %.*s does not resolve to address %.*s%s%s", PH_FMT(name), PH_FMT(s->w.addr), rc == PH_FOUND ? "" : ": ",
                rc == PH_FOUND ? "" : rc < 0 ? ph_error() : "host not found");
}

/* Whoever connected us has looked it up. */
static void identify_told(struct session *s, ph_str name)
{
    s->w.name = s->w.reverse = name;
    s->w.name_status = s->w.reverse_status = ph_str_eq(name, PH_STR("unknown")) ? "PERM" : "OK";
}

void client_identify(struct session *s)
{
    struct ph_ip ip = { 0 };

    s->w = (struct who){
        .name = PH_STR("unknown"), .reverse = PH_STR("unknown"), .name_status = "PERM", .reverse_status = "PERM", .addr = s->peer->address,
        .port = s->peer->port, .server_addr = s->peer->server_address, .server_port = s->peer->server_port,
    };
    if (s->peer->name.n) {
        identify_told(s, s->peer->name);
    } else if (!ph_ip_parse(s->w.addr, &ip)) {
        s->w.name = s->w.reverse = PH_STR("localhost");
        s->w.name_status = s->w.reverse_status = "OK";
    } else if (s->c->p.peername && ph_ip_is_loopback(&ip)) {
        identify_local(s, &ip);
    } else if (s->c->p.peername) {
        identify_dns(s, &ip);
    }
    client_name(s);
}

/* check_address_map: 1 when one of the tables has the address, 0, or negative and logged. */
static int has_client(struct session *s, struct ph_maps *m)
{
    PH_SCOPED(t, NULL);
    ph_str val;
    int rc = m ? ph_maps_find(m, s->w.addr, t, &val) : PH_NONE;

    if (rc < 0)
        ph_log_warn("%.*s: local_header_rewrite_clients: %s", PH_FMT(s->name_addr), ph_error());
    return rc < 0 ? rc : rc == PH_FOUND;
}

int client_is_local(struct session *s)
{
    struct smtpd_conf *c = s->c;
    struct ph_ip ip = { 0 };
    int rc = 0;

    ph_ip_parse(s->w.addr, &ip);
    if (c->rewrite_own && (ip.family == 0 || ph_ip_is_among(&ip, c->own, c->own_count)))
        return 1;
    if (c->rewrite_networks)
        rc = client_in(s, c->mynetworks);
    return rc != 0 ? rc : has_client(s, c->rewrite_maps);
}

void client_name(struct session *s)
{
    const struct smtpd_conf *c = s->c;
    struct ph_scope *scope = s->who_scope ? s->who_scope : s->scope;

    s->name_addr = c->p.port_logging ? ph_str_printf(scope, "%.*s[%.*s]:%.*s", PH_FMT(s->w.name), PH_FMT(s->w.addr), PH_FMT(s->w.port))
                                     : ph_str_printf(scope, "%.*s[%.*s]", PH_FMT(s->w.name), PH_FMT(s->w.addr));
}

void client_settle(struct session *s)
{
    const struct smtpd_conf *c = s->c;

    if (!s->who_scope)                         /* XFORWARD is allowed to the connection */
        s->may_xforward = client_in(s, c->xforward_hosts);
    s->may_xclient = client_in(s, c->xclient_hosts);
    if ((s->cannot_hide = ehlo_hide(s)) < 0)
        ph_log_warn("%.*s: %s", PH_FMT(s->name_addr), ph_error());
    /* An exclusion that cannot be looked at excludes nobody. */
    s->bare_mode = c->bare_mode != PH_BARE_NO && client_in(s, c->bare_exclusions) > 0 ? PH_BARE_NO : c->bare_mode;
}
