/* postconf_main: the parameters: all, those set, or those named. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <posthorn/error.h>
#include <posthorn/map.h>
#include "core/cmd/cmd.h"
#include "core/cmd/postconf.h"

/* What exists for each delivery service, by the name of the service. */
static const char *const per_transport[] = {
    "delivery_slot_cost", "delivery_slot_discount", "delivery_slot_loan",
    "destination_concurrency_failed_cohort_limit", "destination_concurrency_limit",
    "destination_concurrency_negative_feedback", "destination_concurrency_positive_feedback",
    "destination_rate_delay", "destination_recipient_limit", "extra_recipient_limit",
    "initial_destination_concurrency", "minimum_delivery_slots", "recipient_limit", "recipient_refill_delay",
    "recipient_refill_limit", "transport_rate_delay",
};

static int is_transport(const struct ph_service_def *d)
{
    static const char *const codes[] = { "local", "error", "virtual", "smtp", "lmtp", "pipe" };

    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (ph_str_eq(d->code, ph_cstr(codes[i])))
            return 1;
    return d->kind == PH_DEF_TRANSPORT && !ph_str_eq(d->code, PH_STR("discard"));
}

/* Names that the services make, as a set. */
struct ph_map *postconf_service_names(const struct postconf *p)
{
    struct ph_map *set = ph_map_new(p->scope);

    for (size_t i = 0; p->master && i < p->master->services_count; i++) {
        const struct ph_service_def *d = &p->master->services[i];
        if (!d->listed)
            continue;
        int spawns = ph_str_eq(d->code, PH_STR("pipe")) || ph_str_eq(d->code, PH_STR("spawn"));

        for (size_t k = 0; is_transport(d) && k < sizeof per_transport / sizeof *per_transport; k++)
            ph_map_set(set, ph_str_printf(p->scope, "%.*s_%s", PH_FMT(d->name), per_transport[k]), set);
        if (spawns)
            ph_map_set(set, ph_str_printf(p->scope, "%.*s_time_limit", PH_FMT(d->name)), set);
    }
    return set;
}

/* The class of a name, 0 for one that nothing knows or refers to. */
static unsigned class_of(const struct postconf *p, const struct ph_map *services, ph_str name)
{
    ph_str value;

    if (ph_map_get(services, name))
        return CLASS_SERVICE;
    if (ph_conf_is_listed(name))
        return CLASS_BUILTIN;
    if (!ph_conf_is_used(p->conf, name))
        return 0;
    /* What only a service sets is nothing of main.cf. */
    return ph_conf_raw_set(p->conf, name, &value, NULL) == PH_FOUND || ph_conf_raw_default(p->conf, p->scope, name, &value) == PH_FOUND ? CLASS_USER : 0;
}

static void print_one(const struct postconf *p, ph_str name)
{
    ph_str value;

    if (p->defaults || ph_conf_raw_set(p->conf, name, &value, NULL) != PH_FOUND) {
        int rc = ph_conf_raw_default(p->conf, p->scope, name, &value);

        if (rc == PH_CONF)
            ph_cmd_fatal("%s", ph_error());
        if (rc != PH_FOUND)
            return;
        if (p->defaults && ph_str_eq(name, PH_STR("config_directory")))
            value = PH_STR(PH_CONF_DIR);
        /* That of the host is made of what is set; it is shown as a name. */
        if (ph_str_eq(name, PH_STR("myhostname")) && ph_conf_expand_as(p->conf, p->scope, name, value, &value) < 0)
            ph_cmd_fatal("%s", ph_error());
    }
    postconf_print(p, name, postconf_text(p, p->conf, name, value));
}

static int compare(const void *a, const void *b)
{
    return ph_str_cmp(*(const ph_str *)a, *(const ph_str *)b);
}

/* All names that the options ask for, sorted, each once. */
static size_t choose_names(const struct postconf *p, const struct ph_map *services, ph_str **names)
{
    ph_str *known, *list, key;
    size_t count = ph_conf_names(p->conf, p->scope, p->only_set, &known), n = 0, at = 0, kept = 0;
    void *value;

    list = ph_alloc_array(p->scope, count + ph_map_count(services) + 2, sizeof *list);
    for (size_t i = 0; i < count; i++)
        if (class_of(p, services, known[i]) & p->classes)
            list[n++] = known[i];
    if (!p->only_set && (p->classes & CLASS_SERVICE))
        while (ph_map_next(services, &at, &key, &value))
            list[n++] = key;
    if (p->only_set && p->dir_chosen && (p->classes & CLASS_BUILTIN))
        list[n++] = PH_STR("config_directory");
    qsort(list, n, sizeof *list, compare);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || !ph_str_eq(list[kept - 1], list[i]))
            list[kept++] = list[i];
    *names = list;
    return kept;
}

void postconf_main(struct postconf *p, char **names)
{
    const struct ph_map *services = postconf_service_names(p);
    ph_str *chosen;
    size_t count;

    postconf_check_undefined(p);
    postconf_note_uses(p);
    postconf_check_tables(p);
    if (!*names) {
        count = choose_names(p, services, &chosen);
        for (size_t i = 0; i < count; i++)
            print_one(p, chosen[i]);
    }
    for (; *names; names++) {
        ph_str name = ph_cstr(*names), value;

        if (!class_of(p, services, name))
            ph_cmd_warn("%s: unknown parameter", *names);
        else if (!p->only_set || ph_conf_raw_set(p->conf, name, &value, NULL) == PH_FOUND || (p->dir_chosen && ph_str_eq(name, PH_STR("config_directory"))))
            print_one(p, name);
    }
    postconf_check_names(p, services);
    postconf_check_settings(p);
}
