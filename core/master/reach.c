/* reach: which workers touch the network, and which services those may connect
 * to.  What a plugin needs and uses stands in its manifest: the master loads none.
 *
 * With two accounts (core/conf/accounts.h) workers of the network account find
 * sockets in net/ only, and a service has one there when
 *   - it is qmgr: receivers get their leases from it, agents report to it;
 *   - a service that touches the network uses it, or what runs inline there does;
 *   - its own plugin says "from-network" (posthorn/service.h).
 * Who owns and may enter the directories: README.md. */
#include <string.h>
#include <posthorn/error.h>
#include "core/master/master.h"
#include "core/plugin/registry.h"

#define DEPTH_MAX 5                /* of services inline in services: what the worker allows */

static int has_word(ph_str list, ph_str word)
{
    ph_str w;

    while ((w = ph_str_word(&list)).n)
        if (ph_str_eq(w, word))
            return 1;
    return 0;
}

/* As the worker chooses (core/worker/setup.c): a service, or else a transport of that name. */
static uint32_t kind_of(const struct ph_service_def *d)
{
    return d->kind != PH_DEF_TRANSPORT && ph_plugin_exists(PH_KIND_SERVICE, d->code) == PH_FOUND ? PH_KIND_SERVICE : PH_KIND_TRANSPORT;
}

/* WORD@NAME holds for the service of that name only. */
static int needs(const struct ph_service_def *d, ph_str word)
{
    ph_str list = d->kind == PH_DEF_BUILTIN ? PH_STR("") : ph_plugin_needs(kind_of(d), d->code), w;

    while ((w = ph_str_word(&list)).n)
        if (ph_str_eq(ph_str_cut(&w, '@'), word) && (w.n == 0 || ph_str_eq(w, d->name)))
            return 1;
    return 0;
}

static ph_str uses_of(const struct ph_service_def *d)
{
    return d->kind == PH_DEF_BUILTIN ? PH_STR("") : ph_plugin_uses(kind_of(d), d->code);
}

int config_is_network(const struct ph_service_def *d)
{
    return strcmp(ph_service_def_type(d), "inet") == 0 || needs(d, PH_STR("network"));
}

int config_reads_secrets(const struct ph_service_def *d)
{
    return needs(d, PH_STR("tables"));
}

int config_is_reachable(const struct config *c, const struct ph_service_def *d)
{
    return d->kind == PH_DEF_BUILTIN ? c->accounts.two : has_word(c->reachable, d->name);
}

static void add(struct config *c, ph_str name)
{
    if (!has_word(c->reachable, name))
        c->reachable = ph_str_printf(c->scope, "%.*s %.*s", PH_FMT(c->reachable), PH_FMT(name));
}

static void add_used(struct config *c, ph_str uses, int depth)
{
    ph_str word;

    while (depth < DEPTH_MAX && (word = ph_str_word(&uses)).n) {
        const struct ph_service_def *d = ph_master_find_unix(c->def, word);

        if (!d || d->kind == PH_DEF_BUILTIN)
            continue;
        if (d->place == PH_PLACE_INLINE)
            add_used(c, uses_of(d), depth + 1);
        add(c, d->name);           /* one that is inline has a socket too, for others */
    }
}

int config_find_reachable(struct config *c)
{
    int rc = c->accounts.two ? ph_registry_open(c->conf) : 0;

    c->reachable = PH_STR("");
    for (size_t i = 0; rc == 0 && c->accounts.two && i < c->def->services_count; i++) {
        const struct ph_service_def *d = &c->def->services[i];

        if (!d->enabled)
            continue;
        if (config_is_network(d))
            add_used(c, uses_of(d), 0);
        if (needs(d, PH_STR("from-network")))
            add(c, d->name);
    }
    return rc;
}
