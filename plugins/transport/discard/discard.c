/* transport/discard: says "sent" and delivers nothing; the text is the next
 * hop.  Reference: discard(8). */
#include <posthorn/transport.h>

static int discard_deliver(struct ph_transport *t PH_UNUSED, struct ph_delivery *d)
{
    struct ph_outcome o = {
        .size = sizeof o, .status = PH_RCPT_SENT, .dsn = PH_STR("2.0.0"), .relay = PH_STR("none"),
        .text = d->nexthop.n ? d->nexthop : PH_STR("discarded"),
    };

    ph_delivered_all(d, &o);
    return 0;
}

PH_PLUGIN_TRANSPORT(discard, PH_IS(.summary = "discards mail and reports success", .exec = PH_COROUTINE,
                                   .concurrency = PH_MANY_CALLS),
    .needs = "",
    .deliver = discard_deliver,
    .probes = 1);
