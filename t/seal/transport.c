/* t/seal/transport.c: a transport that does what the recipient's local part says,
 * `act=arg`, and reports errno as the words of the delivery. */
#include <posthorn/address.h>
#include <posthorn/transport.h>
#include "acts.h"

static int32_t act_deliver(struct ph_transport *t PH_UNUSED, struct ph_delivery *d)
{
    for (uint32_t i = 0; i < d->rcpt_count; i++) {
        ph_str local, domain;

        ph_address_split(d->rcpt[i].address, &local, &domain);
        ph_str act = ph_str_cut(&local, '=');
        int said = act_try(act, ph_cstr_dup(d->scope, local));
        ph_delivered(d, i, &(struct ph_outcome){ .size = sizeof(struct ph_outcome), .status = PH_RCPT_SENT, .dsn = PH_STR("2.0.0"),
            .text = ph_str_printf(d->scope, "said %d", said) });
    }
    return 0;
}

PH_PLUGIN_TRANSPORT(act_transport,
    PH_IS(.summary = "attempts what the recipient says", .exec = PH_COROUTINE, .concurrency = PH_MANY_CALLS),
    .needs = "network",
    .deliver = act_deliver);
