/* status: see status.h. */
#include <posthorn/dsn.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "plugins/transport/common/status.h"

static uint32_t status_of(ph_str code)
{
    char class = ph_dsn_class(code);

    return class == '2' ? PH_RCPT_SENT : class == '4' ? PH_RCPT_DEFERRED : PH_RCPT_BOUNCED;
}

void transport_filter(struct ph_maps *m, const char *parameter, struct ph_scope *s, struct ph_outcome *o)
{
    ph_str val, code, text;

    if (!m || ph_maps_is_empty(m))
        return;
    ph_str key = ph_str_printf(s, "%.*s %.*s", PH_FMT(o->dsn), PH_FMT(o->text));
    int rc = ph_maps_find(m, key, s, &val);
    if (rc < 0 && rc != PH_CANCEL)
        ph_log_warn("%s: %s", parameter, ph_error());
    if (rc != PH_FOUND)
        return;
    if (!ph_dsn_parse(val, &code, &text) || text.n == 0 || (status_of(code) == PH_RCPT_SENT) != (o->status == PH_RCPT_SENT)) {
        ph_log_warn("%s: \"%.*s\" for \"%.*s\" cannot be used", parameter, PH_FMT(val), PH_FMT(key));
        return;
    }
    o->dsn = code;
    o->text = text;
    o->status = status_of(code);
}
