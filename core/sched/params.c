/* params: parameters of the queue manager and the limits of each transport. */
#include "core/conf/conf.h"
#include "core/ipc/message.h"
#include "core/sched/qmgr_priv.h"

#define NUMBER_MAX  100000000      /* more than any of these can mean */

#define P struct qmgr_params

const struct ph_param ph_qmgr_rows[] = {
    PH_P_INT(P, active_limit, "qmgr_message_active_limit", "20000", 1, 0,
             "Messages in the active queue; more wait on disk."),
    PH_P_INT(P, recipient_limit, "qmgr_message_recipient_limit", "20000", 1, 0,
             "Recipients in memory as far as new messages go; dead destinations that are remembered."),
    PH_P_INT(P, recipient_minimum, "qmgr_message_recipient_minimum", "10", 1, 0,
             "Recipients that each message may have in memory."),
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
    PH_P_BOOL(P, confirm_delay_cleared, "confirm_delay_cleared", "no",
              "Tell a sender who was warned of a delay when the message was delivered."),
    PH_P_STR(P, defer_transports, "defer_transports", "",
             "Transports whose mail is held back until it is flushed."),
    PH_P_STR1(P, double_bounce, "double_bounce_sender", "double-bounce", "Sender of notices to the postmaster about undeliverable notices."),
    PH_P_TIME(P, clog_warn_time, "qmgr_clog_warn_time", "300s", "s", 0, 0,
              "How often to warn of a destination that fills the active queue; 0: never."),
    PH_P_BOOL(P, helpful_warnings, "helpful_warnings", "yes", "Warn of what works but is likely not meant."),
    PH_P_TIME(P, ipc_timeout, "qmgr_ipc_timeout", "60s", "s", 1, 0, "How long a transport may take to greet us."),
    PH_P_TIME(P, daemon_timeout, "qmgr_daemon_timeout", "1000s", "s", 1, 0,
              "A queue manager that does nothing for so long ends, and is started again."),
    PH_P_INT(P, probe_limit, "address_verify_pending_request_limit", "5000", 1, 0,
             "Address probes in the active queue; more are answered with a temporary failure."),
    PH_P_BOOL(P, feedback_debug, "destination_concurrency_feedback_debug", "no",
              "Log each change of the concurrency window of a destination."),
    /* What holds for a transport that has no value of its own. */
    PH_P_INT(P, each[KNOB_RECIPIENTS], "default_destination_recipient_limit", "50", 0, 0,
             "Recipients of one delivery request; 0: no limit."),
    PH_P_INT(P, each[KNOB_CONCURRENCY], "default_destination_concurrency_limit", "20", 0, 0,
             "Requests under way to one destination; 0: no limit."),
    PH_P_INT(P, each[KNOB_INITIAL], "initial_destination_concurrency", "5", 1, 0,
             "The same for a destination of which nothing is known yet."),
    PH_P_INT(P, each[KNOB_COHORTS], "default_destination_concurrency_failed_cohort_limit", "1", 0, 0,
             "Windows that fail as a whole until a destination is left alone; 0: never."),
    PH_P_STR1(P, positive, "default_destination_concurrency_positive_feedback", "1",
              "What a good delivery adds to the window: a number of 0..1, alone or /concurrency or /sqrt_concurrency."),
    PH_P_STR1(P, negative, "default_destination_concurrency_negative_feedback", "1",
              "What a failed one takes from it."),
    PH_P_TIME(P, each[KNOB_RATE], "default_destination_rate_delay", "0s", "s", 0, 0,
              "How long a destination rests after a delivery; then it gets one at a time."),
    PH_P_TIME(P, each[KNOB_TRANSPORT_RATE], "default_transport_rate_delay", "0s", "s", 0, 0,
              "Time between starts of deliveries of a whole transport."),
    PH_P_INT(P, each[KNOB_SLOT_COST], "default_delivery_slot_cost", "5", 0, 0,
             "A small message may pass a large one for each so many of its requests; 0: never."),
    PH_P_INT(P, each[KNOB_SLOT_LOAN], "default_delivery_slot_loan", "3", 0, 0, "Slots granted in advance."),
    PH_P_INT(P, each[KNOB_SLOT_DISCOUNT], "default_delivery_slot_discount", "50", 0, 100,
             "Percent of the slots that are granted in advance."),
    PH_P_INT(P, each[KNOB_MINIMUM_SLOTS], "default_minimum_delivery_slots", "3", 0, 0,
             "A message that can never earn so many slots is not passed."),
    PH_P_INT(P, each[KNOB_POOL], "default_recipient_limit", "20000", 0, 0, "Recipients in memory for one transport."),
    PH_P_INT(P, each[KNOB_EXTRA], "default_extra_recipient_limit", "1000", 0, 0,
             "More of them, for messages that passed another."),
    PH_P_INT(P, each[KNOB_REFILL], "default_recipient_refill_limit", "100", 1, 0,
             "A message is read on when so many recipients have room."),
    PH_P_TIME(P, each[KNOB_REFILL_DELAY], "default_recipient_refill_delay", "5s", "s", 1, 0,
              "Or when any had room for so long."),
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

/* TRANSPORT_<name>; what is not set there refers to the default_ form. */
static const struct { const char *name; int is_time; } knobs[KNOBS] = {
    [KNOB_RECIPIENTS] = { "destination_recipient_limit", 0 },
    [KNOB_CONCURRENCY] = { "destination_concurrency_limit", 0 },
    [KNOB_INITIAL] = { "initial_destination_concurrency", 0 },
    [KNOB_COHORTS] = { "destination_concurrency_failed_cohort_limit", 0 },
    [KNOB_RATE] = { "destination_rate_delay", 1 },
    [KNOB_TRANSPORT_RATE] = { "transport_rate_delay", 1 },
    [KNOB_SLOT_COST] = { "delivery_slot_cost", 0 },
    [KNOB_SLOT_LOAN] = { "delivery_slot_loan", 0 },
    [KNOB_SLOT_DISCOUNT] = { "delivery_slot_discount", 0 },
    [KNOB_MINIMUM_SLOTS] = { "minimum_delivery_slots", 0 },
    [KNOB_POOL] = { "recipient_limit", 0 },
    [KNOB_EXTRA] = { "extra_recipient_limit", 0 },
    [KNOB_REFILL] = { "recipient_refill_limit", 0 },
    [KNOB_REFILL_DELAY] = { "recipient_refill_delay", 1 },
};

static int64_t get_knob(struct qmgr *q, struct ph_scope *s, ph_str transport, enum knob k)
{
    ph_str name = ph_str_printf(s, "%.*s_%s", PH_FMT(transport), knobs[k].name);
    int64_t n = q->p.each[k];
    int rc = knobs[k].is_time ? ph_conf_get_time(q->conf, name.p, 's', &n) : ph_conf_get_i64(q->conf, name.p, &n);

    if (rc < 0 || n < 0) {
        ph_log_warn("%s: %s: using %lld", name.p, rc < 0 ? ph_error() : "must not be negative", (long long)q->p.each[k]);
        n = q->p.each[k];
    }
    return n > NUMBER_MAX ? NUMBER_MAX : n;
}

static struct ph_feedback get_feedback(struct qmgr *q, struct ph_scope *s, ph_str transport, const char *what,
                                       ph_str otherwise)
{
    ph_str name = ph_str_printf(s, "%.*s_%s", PH_FMT(transport), what), v;
    struct ph_feedback f = { 1, PH_FEEDBACK_CONST };

    if (ph_conf_get(q->conf, s, name.p, &v) != PH_FOUND || !v.n)
        v = otherwise;
    if (!ph_feedback_parse(ph_str_trim(v), &f))
        ph_log_warn("%s: bad value \"%.*s\", using 1", name.p, PH_FMT(v));
    return f;
}

/* What works, but not as it is likely meant. */
static void correct(struct qmgr *q, ph_str transport, struct ph_sched_limits *l)
{
    if (!l->recipients || l->recipients > PH_DELIVERY_RCPTS)
        l->recipients = PH_DELIVERY_RCPTS;     /* a request must fit a frame */
    if (!l->initial)
        l->initial = 1;
    if (l->slot_discount > 100)
        l->slot_discount = 100;
    if (l->slot_cost == 1) {
        ph_log_warn("%.*s_delivery_slot_cost: 1 would let small messages stop large ones for ever, using 2",
                    PH_FMT(transport));
        l->slot_cost = 2;
    }
    if (l->rate_ms && l->failed_cohorts > 0 && l->failed_cohorts < 10 && q->p.helpful_warnings)
        ph_log_warn("%.*s_destination_rate_delay is set, and one error in a row will suspend a destination: "
                    "set %.*s_destination_concurrency_failed_cohort_limit to 10 or more", PH_FMT(transport),
                    PH_FMT(transport));
}

void ph_qmgr_limits(void *arg, ph_str transport, struct ph_sched_limits *out)
{
    struct qmgr *q = arg;
    PH_SCOPED(s, NULL);
    int64_t processes = 100, n[KNOBS];

    if (ph_conf_get_i64(q->conf, "default_process_limit", &processes) != PH_FOUND || processes < 1)
        processes = 100;
    for (unsigned k = 0; k < KNOBS; k++)
        n[k] = get_knob(q, s, transport, (enum knob)k);
    *out = (struct ph_sched_limits){
        .recipients = (uint32_t)n[KNOB_RECIPIENTS], .concurrency = (uint32_t)n[KNOB_CONCURRENCY],
        .initial = (uint32_t)n[KNOB_INITIAL], .in_flight = (uint32_t)processes,
        .failed_cohorts = (double)n[KNOB_COHORTS], .dead_ms = q->p.retry.minimal_backoff * 1000,
        .positive = get_feedback(q, s, transport, "destination_concurrency_positive_feedback", q->p.positive),
        .negative = get_feedback(q, s, transport, "destination_concurrency_negative_feedback", q->p.negative),
        .rate_ms = n[KNOB_RATE] * 1000, .transport_rate_ms = n[KNOB_TRANSPORT_RATE] * 1000,
        .slot_cost = (uint32_t)n[KNOB_SLOT_COST], .slot_loan = (uint32_t)n[KNOB_SLOT_LOAN],
        .slot_discount = (uint32_t)n[KNOB_SLOT_DISCOUNT], .minimum_slots = (uint32_t)n[KNOB_MINIMUM_SLOTS],
        .recipient_limit = (uint32_t)n[KNOB_POOL], .extra_recipient_limit = (uint32_t)n[KNOB_EXTRA],
        .refill_limit = (uint32_t)n[KNOB_REFILL], .refill_ms = n[KNOB_REFILL_DELAY] * 1000,
    };
    correct(q, transport, out);
}
