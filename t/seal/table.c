/* t/seal/table.c: a table that does what the local part of its key says (`act=arg@...`), in
 * whatever process opened it; the answer is an access(5) action with errno. */
#include <posthorn/address.h>
#include <posthorn/table.h>
#include "acts.h"

static int act_open(struct ph_table *t PH_UNUSED, ph_str spec PH_UNUSED)
{
    return 0;
}

static int act_lookup(struct ph_table *t PH_UNUSED, ph_str key, struct ph_scope *out, ph_str *val)
{
    ph_str local, domain;

    ph_address_split(key, &local, &domain);
    if (!domain.n || ph_str_find(local, '=') < 0)
        return PH_NONE;
    ph_str act = ph_str_cut(&local, '=');
    *val = ph_str_printf(out, "REJECT said %d", act_try(act, ph_cstr_dup(out, local)));
    return PH_FOUND;
}

PH_PLUGIN_TABLE(act_table,
    PH_IS(.summary = "attempts what its key says", .exec = PH_PURE),
    .open = act_open,
    .lookup = act_lookup);
