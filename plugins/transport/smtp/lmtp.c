/* transport/lmtp: the plugin.  Reference: lmtp(8). */
#include "smtp.h"

static int32_t lmtp_open(struct ph_transport *t)
{
    return smtp_setup(t, 1);
}

PH_PLUGIN_TRANSPORT(lmtp, PH_IS(.summary = "delivers over LMTP, to mail stores and filters", .exec = PH_COROUTINE,
                                .concurrency = PH_MANY_CALLS, .params = lmtp_rows, .param_count = LMTP_ROWS),
    .needs = "network",
    .uses = "rewrite",
    .open = lmtp_open,
    .deliver = smtp_deliver,
    .probes = 1);
