/* transport/error: gives every recipient the same answer, the text of the next
 * hop.  Under the service name "retry" the answer is a deferral.
 * Reference: error(8). */
#include <string.h>
#include <posthorn/dsn.h>
#include <posthorn/transport.h>

struct error_agent {
    uint32_t status;
    const char *dsn;               /* when the text states none */
    char class_;
};

static int error_open(struct ph_transport *t)
{
    struct error_agent *self = ph_new(t->scope, struct error_agent);
    int retry = strcmp(t->service, "retry") == 0;

    self->status = retry ? PH_RCPT_DEFERRED : PH_RCPT_BOUNCED;
    self->dsn = retry ? "4.0.0" : "5.0.0";
    self->class_ = retry ? '4' : '5';
    t->self = self;
    return 0;
}

/* A code of the wrong class would say one thing and do another: ours counts. */
static int error_deliver(struct ph_transport *t, struct ph_delivery *d)
{
    struct error_agent *self = t->self;
    ph_str text = d->nexthop, code, rest;
    struct ph_outcome o = { .size = sizeof o, .status = self->status, .dsn = ph_cstr(self->dsn), .relay = PH_STR("none") };

    if (ph_dsn_parse(text, &code, &rest)) {
        text = rest;
        if (ph_dsn_class(code) == self->class_)
            o.dsn = code;
    }
    o.text = text.n ? text : PH_STR("Address is undeliverable");
    ph_delivered_all(d, &o);
    return 0;
}

PH_PLUGIN_TRANSPORT(error, PH_IS(.summary = "answers every recipient with the text of the next hop (also retry)",
                                 .exec = PH_COROUTINE, .concurrency = PH_MANY_CALLS),
    .needs = "",
    .open = error_open,
    .deliver = error_deliver,
    .probes = 1);
