/* t/unit/outcome.c: the log line of a delivery; messages, recipients and
 * outcomes in frames. */
#include "tap.h"
#include <unistd.h>
#include "core/ipc/delivery_line.h"
#include "core/ipc/message.h"

static const struct { int64_t us; int decimals; const char *want; } delays[] = {
    { 0, 2, "0" }, { 9999, 2, "0" }, { 10000, 2, "0.01" }, { 50000, 2, "0.05" }, { 126000, 2, "0.13" },
    { 100000, 2, "0.1" }, { 999999, 2, "1" }, { 1000000, 2, "1" }, { 1260000, 2, "1.3" }, { 9960000, 2, "10" },
    { 12600000, 2, "13" }, { 99400000, 2, "99" }, { 123456789, 2, "123" }, { 126000, 0, "0" }, { 1600000, 0, "2" },
    { 123, 6, "0.00012" }, { 1234567, 6, "1.2" }, { -5, 2, "0" },
};

static void test_delays(void)
{
    for (size_t i = 0; i < sizeof delays / sizeof *delays; i++) {
        char mem[32];
        struct ph_buf out;

        ph_buf_fixed(&out, mem, sizeof mem);
        ph_delay_format(&out, delays[i].us, delays[i].decimals);
        is_str(out, delays[i].want, "%lld us with %d decimals", (long long)delays[i].us, delays[i].decimals);
    }
}

static void test_line(void)
{
    PH_SCOPED(s, NULL);
    struct ph_buf out;
    struct ph_delivery_line l = {
        .queue_id = PH_STR("4Bq2"), .to = PH_STR("john doe@example.org"), .original = PH_STR("john doe@example.org"),
        .dsn = PH_STR("2.0.0"), .status = PH_STR("sent"), .text = PH_STR("250 ok"), .conn_use = 1,
        .arrival_us = 1000000, .active_us = 1020000, .setup_us = 1120000, .connected_us = 2350000,
        .done_us = 3000000, .decimals = 2,
    };

    ph_buf_init(&out, s, 1000);
    ph_delivery_line_format(s, &out, &l);
    is_str(out, "4Bq2: to=<\"john doe\"@example.org>, relay=none, delay=2, delays=0.02/0.1/1.2/0.65, dsn=2.0.0, status=sent (250 ok)",
           "a line without relay, original and reuse");
    l.original = PH_STR("alias@x");
    l.relay = PH_STR("mx[192.0.2.1]:25");
    l.conn_use = 3;
    ph_buf_reset(&out);
    ph_delivery_line_format(s, &out, &l);
    is_str(out, "4Bq2: to=<\"john doe\"@example.org>, orig_to=<alias@x>, relay=mx[192.0.2.1]:25, conn_use=3, delay=2, "
           "delays=0.02/0.1/1.2/0.65, dsn=2.0.0, status=sent (250 ok)", "and with them");
}

static void test_message(void)
{
    PH_SCOPED(s, NULL);
    struct ph_frame *f = ph_frame_new(s);
    struct ph_message in = { .fd = -1, .facts = PH_FACT_8BIT, .header_offset = 4096, .header_bytes = 20, .body_offset = 4118,
                             .body_bytes = 9, .longest_line = 70, .queue_id = PH_STR("4Bq2"), .arrival_us = 77 }, *out;
    struct ph_recipient *list;
    uint32_t n;

    ph_message_put(f, &in);
    ph_recipient_put(f, &(struct ph_recipient){ .address = PH_STR("a@x"), .index = 7, .dsn_notify = PH_STR("NEVER") });
    ph_recipient_put(f, &(struct ph_recipient){ .address = PH_STR("b@x"), .index = 9, .original = PH_STR("c@x") });
    is_int(ph_message_get(s, f, &out), 0, "a message travels");
    ok(out->facts == in.facts && out->body_offset == 4118 && out->arrival_us == 77 && out->sender.n == 0 && out->fd == -1,
       "with its members");
    is_int(ph_recipients_get(s, f, &list, &n), 0, "its recipients too");
    ok(n == 2 && list[0].index == 7 && ph_str_eq(list[0].dsn_notify, PH_STR("NEVER")) && list[1].index == 9 &&
       ph_str_eq(list[1].original, PH_STR("c@x")) && list[1].dsn_notify.n == 0, "in order, each with its own members");
    in.body_bytes = UINT64_MAX - 5;
    f = ph_frame_new(s);
    ph_message_put(f, &in);
    is_int(ph_message_get(s, f, &out), PH_PERM, "absurd extents are refused");
    is_int(ph_message_get(s, ph_frame_new(s), &out), PH_PERM, "as is an empty frame");
    f = ph_frame_new(s);
    ph_frame_cstr(f, "rcpt", "x");
    is_int(ph_recipients_get(s, f, &list, &n), PH_PERM, "and a recipient without a number");
}

static void test_outcomes(void)
{
    static const struct { const char *status, *dsn; int want; } cases[] = {
        { "sent", "2.0.0", 0 }, { "sent", "5.0.0", PH_PERM }, { "bounced", "5.1.1", 0 }, { "bounced", "2.0.0", PH_PERM },
        { "deferred", "4.4.1", 0 }, { "deferred", "", PH_PERM }, { "eaten", "4.0.0", PH_PERM }, { "", "2.0.0", PH_PERM },
    };
    PH_SCOPED(s, NULL);
    struct ph_frame *f = ph_frame_new(s);
    struct ph_outcome *o, in = { .size = sizeof in, .status = PH_RCPT_DEFERRED, .dsn = PH_STR("4.4.1"), .text = PH_STR("why"),
                                 .diagnostic = PH_STR("451 x"), .dead_site = 1 };
    uint32_t *index, n;

    ph_outcome_put(f, 12, &in);
    is_int(ph_outcomes_get(s, f, &o, &index, &n), 0, "an outcome travels");
    ok(n == 1 && index[0] == 12 && o->status == PH_RCPT_DEFERRED && o->dead_site == 1 && ph_str_eq(o->diagnostic, in.diagnostic),
       "with its members");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        f = ph_frame_new(s);
        ph_frame_u64(f, "rcpt", 0);
        ph_frame_cstr(f, "status", cases[i].status);
        ph_frame_cstr(f, "dsn", cases[i].dsn);
        is_int(ph_outcomes_get(s, f, &o, &index, &n), cases[i].want, "status \"%s\" with code \"%s\"", cases[i].status, cases[i].dsn);
    }
}

/* A recipient that stands for an alias: each member that failed has its record. */
static void test_members(void)
{
    PH_SCOPED(s, NULL);
    struct ph_frame *f = ph_frame_new(s);
    struct ph_outcome third = { .size = sizeof third, .status = PH_RCPT_BOUNCED, .dsn = PH_STR("5.2.2"), .recipient = PH_STR("c@x") },
        second = { .size = sizeof second, .status = PH_RCPT_BOUNCED, .dsn = PH_STR("5.3.0"), .recipient = PH_STR("b@x"), .also = &third },
        first = { .size = sizeof first, .status = PH_RCPT_BOUNCED, .dsn = PH_STR("5.1.1"), .recipient = PH_STR("a@x"),
                  .original = PH_STR("list@x"), .also = &second },
        other = { .size = sizeof other, .status = PH_RCPT_SENT, .dsn = PH_STR("2.0.0") }, *o;
    uint32_t *index, n;

    ph_outcome_put(f, 3, &first);
    ph_outcome_put(f, 4, &other);
    is_int(ph_outcomes_get(s, f, &o, &index, &n), 0, "outcomes of members travel");
    ok(n == 2 && index[0] == 3 && index[1] == 4 && o[1].status == PH_RCPT_SENT && !o[1].also, "as one recipient each");
    ok(ph_str_eq(o[0].recipient, PH_STR("a@x")) && ph_str_eq(o[0].original, PH_STR("list@x")) && o[0].also &&
       ph_str_eq(o[0].also->recipient, PH_STR("b@x")) && ph_str_eq(o[0].also->dsn, PH_STR("5.3.0")) && o[0].also->also &&
       ph_str_eq(o[0].also->also->recipient, PH_STR("c@x")) && !o[0].also->also->also, "each with its own words");
    third.dsn = PH_STR("2.0.0");
    f = ph_frame_new(s);
    ph_outcome_put(f, 3, &first);
    is_int(ph_outcomes_get(s, f, &o, &index, &n), PH_PERM, "a member's code must fit its status too");
}

int main(void)
{
    test_members();
    test_delays();
    test_line();
    test_message();
    test_outcomes();
    return done_testing();
}
