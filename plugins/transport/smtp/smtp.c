/* transport/smtp: the plugin.  Reference: smtp(8). */
#include "smtp.h"

static int32_t smtp_open(struct ph_transport *t)
{
    return smtp_setup(t, 0);
}

PH_PLUGIN_TRANSPORT(smtp, PH_IS(.summary = "delivers over SMTP", .exec = PH_COROUTINE, .concurrency = PH_MANY_CALLS,
                                .params = smtp_rows, .param_count = SMTP_ROWS),
    .needs = "network",
    .uses = "rewrite",
    .open = smtp_open,
    .deliver = smtp_deliver,
    .probes = 1);
