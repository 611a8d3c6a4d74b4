/* params: parameters of the queue manager and the limits of each transport. */
#include "core/conf/conf.h"
#include "core/sched/qmgr_priv.h"

#define REQUEST_MAX 1000u          /* recipients of one request: it must fit a frame */

#define P struct qmgr_params

const struct ph_param ph_qmgr_rows[] = {
    PH_P_INT(P, active_limit, "qmgr_message_active_limit", "20000", 1, 0,
             "Messages in the active queue; more wait on disk."),
    PH_P_INT(P, recipient_limit, "qmgr_message_recipient_limit", "20000", 1, 0,
             "Dead destinations that are remembered."),
    PH_P_TIME(P, queue_run_delay, "queue_run_delay", "300s", "s", 1, 0,
              "How often deferred mail is looked through for what is due."),
    PH_P_TIME(P, transport_retry_time, "transport_retry_time", "60s", "s", 1, 0,
              "How long a transport that cannot be reached is left alone."),
    PH_P_TIME(P, retry.minimal_backoff, "minimal_backoff_time", "300s", "s", 1, 0,
              "Least time between two attempts; how long a dead destination is left alone."),
    PH_P_TIME(P, retry.maximal_backoff, "maximal_backoff_time", "4000s", "s", 1, 0,
              "Greatest time between two attempts."),
    PH_P_TIME(P, retry.maximal_lifetime, "maximal_queue_lifetime", "5d", "d", 0, 0,
              "Age at which mail is returned to its sender; 0: after one attempt."),
    PH_P_TIME(P, retry.bounce_lifetime, "bounce_queue_lifetime", "5d", "d", 0, 0,
              "The same for mail from the null sender."),
    PH_P_TIME(P, delay_warning_time, "delay_warning_time", "0h", "h", 0, 0,
              "Age at which the sender is warned of the delay; 0: never."),
    PH_P_STR(P, defer_transports, "defer_transports", "", "Transports whose mail is held back."),
};
const size_t ph_qmgr_rows_count = sizeof ph_qmgr_rows / sizeof *ph_qmgr_rows;

#undef P

/* 1 when any of the parameters has a value. */
static int any_is_set(struct ph_conf *c, const char *const *names)
{
    PH_SCOPED(s, NULL);
    ph_str v;

    for (; *names; names++)
        if (ph_conf_get(c, s, *names, &v) == PH_FOUND && ph_str_trim(v).n)
            return 1;
    return 0;
}

/* Which answers of rewrite may be kept for a whole domain. */
static void load_dependence(struct ph_conf *c, struct qmgr_params *p)
{
    static const char *const sender[] = {
        "sender_dependent_relayhost_maps", "sender_dependent_default_transport_maps", NULL
    };
    static const char *const address[] = { "transport_maps", "relocated_maps", NULL };

    p->sender_counts = any_is_set(c, sender);
    p->address_counts = any_is_set(c, address);
}

int ph_qmgr_params_load(struct ph_conf *c, struct ph_scope *s, struct qmgr_params *p)
{
    struct qmgr_params out = { .active_limit = 0 };
    int rc = ph_params_load(c, s, ph_qmgr_rows, ph_qmgr_rows_count, sizeof *ph_qmgr_rows, &out);

    if (rc < 0)
        return rc;
    out.queue_directory = ph_conf_value(c, s, "queue_directory");
    out.mail_owner = ph_conf_value(c, s, "mail_owner");
    out.recipient_delimiter = ph_conf_value(c, s, "recipient_delimiter");
    if (ph_conf_get_i64(c, "delay_logging_resolution_limit", &out.decimals) != PH_FOUND)
        out.decimals = 2;
    if (ph_conf_get_bool(c, "soft_bounce", &out.soft_bounce) != PH_FOUND)
        out.soft_bounce = 0;
    load_dependence(c, &out);
    *p = out;
    return 0;
}

/* ---- limits of one transport ---- */

/* TRANSPORT_<what>, else default_<what>. */
static int get_override(struct ph_conf *c, struct ph_scope *s, ph_str transport, const char *prefix,
                        const char *what, ph_str *v)
{
    ph_str name = ph_str_printf(s, "%.*s_%s", PH_FMT(transport), what);

    if (ph_conf_get(c, s, name.p, v) == PH_FOUND)
        return 1;
    return ph_conf_get(c, s, ph_str_printf(s, "%s_%s", prefix, what).p, v) == PH_FOUND;
}

static uint32_t get_number(struct ph_conf *c, struct ph_scope *s, ph_str transport, const char *prefix,
                           const char *what, uint32_t least, uint32_t otherwise)
{
    uint64_t n;
    ph_str v;

    if (!get_override(c, s, transport, prefix, what, &v))
        return otherwise;
    if (!ph_str_u64(ph_str_trim(v), &n) || n < least || n > 1000000) {
        ph_log_warn("%.*s_%s: bad number \"%.*s\", using %u", PH_FMT(transport), what, PH_FMT(v), otherwise);
        return otherwise;
    }
    return (uint32_t)n;
}

static struct ph_feedback get_feedback(struct ph_conf *c, struct ph_scope *s, ph_str transport, const char *what)
{
    struct ph_feedback f = { 1, PH_FEEDBACK_CONST };
    ph_str v;

    if (get_override(c, s, transport, "default", what, &v) && !ph_feedback_parse(ph_str_trim(v), &f))
        ph_log_warn("%.*s_%s: bad value \"%.*s\", using 1", PH_FMT(transport), what, PH_FMT(v));
    return f;
}

void ph_qmgr_limits(void *arg, ph_str transport, struct ph_sched_limits *out)
{
    struct qmgr *q = arg;
    struct ph_conf *c = q->conf;
    PH_SCOPED(s, NULL);
    int64_t processes = 100;

    if (ph_conf_get_i64(c, "default_process_limit", &processes) != PH_FOUND || processes < 1)
        processes = 100;
    *out = (struct ph_sched_limits){
        .recipients = get_number(c, s, transport, "default", "destination_recipient_limit", 0, 50),
        .concurrency = get_number(c, s, transport, "default", "destination_concurrency_limit", 0, 20),
        .initial = get_number(c, s, transport, "", "initial_destination_concurrency", 1, 0),
        .in_flight = (uint32_t)processes,
        .failed_cohorts = get_number(c, s, transport, "default", "destination_concurrency_failed_cohort_limit", 0, 1),
        .positive = get_feedback(c, s, transport, "destination_concurrency_positive_feedback"),
        .negative = get_feedback(c, s, transport, "destination_concurrency_negative_feedback"),
        .dead_ms = q->p.retry.minimal_backoff * 1000,
    };
    if (!out->recipients || out->recipients > REQUEST_MAX)
        out->recipients = REQUEST_MAX;
    if (!out->initial)
        out->initial = get_number(c, s, PH_STR("initial"), "initial", "destination_concurrency", 1, 5);
}
