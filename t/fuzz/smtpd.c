/* Sessions of the SMTP server: the plugin itself with cleanup, rewrite and the
 * basic restrictions behind it, over a memory stream.
 *
 * Input: a digit for the configuration (see configs), one for how the client
 * sends (see enum pace), a letter for what goes wrong (see prepare), then the
 * client's bytes.  Byte 0xff is not sent: the client waits until the server has
 * nothing to do.  Byte 0xfe is not sent either: the byte behind it is, whatever it is. */
#include <stdio.h>
#include <stdlib.h>
#include <posthorn/buf.h>
#include <posthorn/dns.h>
#include <posthorn/error.h>
#include "plugins/service/smtpd/smtpd.h"
#include "judge.h"
#include "world.h"

extern const struct ph_service_plugin service_smtpd_LTX_ph_plugin, service_cleanup_LTX_ph_plugin, service_rewrite_LTX_ph_plugin;

#define BASE "myhostname = mx.test\nmydomain = test\ncompatibility_level = 3.11\nmydestination = here.test, $myhostname\ninet_interfaces = 127.0.0.1\n" \
             "local_recipient_maps = inline:{a=x,b=x,postmaster=x}\nmynetworks = 10.0.0.0/8\nnotify_classes =\nalias_maps =\n" \
             "relay_domains = relay.test\nrecipient_delimiter = +\n"

static struct config {
    const char *text, *client;     /* main.cf; the client's address */
    int loose, footers, discards;
    struct world_service *list[3];
    struct smtpd_conf *conf;
} configs[] = {
    { BASE "smtpd_forbid_bare_newline = normalize\nsmtpd_forbid_bare_newline_exclusions =\n", "10.0.0.1", 0, 0, 0, { 0 }, NULL },
    { BASE "smtpd_forbid_bare_newline = reject\nsmtpd_forbid_bare_newline_exclusions =\nsmtpd_helo_required = yes\nsmtpd_delay_reject = no\n"
           "strict_rfc821_envelopes = yes\nsmtpd_error_sleep_time = 0\nsmtpd_per_request_deadline = yes\nline_length_limit = 512\n"
           "smtpd_client_restrictions = check_client_access inline:{192.0.2.66=REJECT}, permit\nstrict_smtputf8 = yes\n", "192.0.2.1", 0, 0, 0, { 0 }, NULL },
    { BASE "smtpd_forbid_bare_newline = no\nsmtpd_forbid_unauth_pipelining = no\nmessage_size_limit = 2000\nsmtpd_junk_command_limit = 2\n"
           "smtpd_recipient_limit = 3\nsmtpd_recipient_overshoot_limit = 2\nsmtpd_hard_error_limit = 1000\nallow_min_user = yes\n", "10.0.0.1", 1, 0, 0, { 0 }, NULL },
    { BASE "smtpd_forbid_bare_newline = note\nsmtpd_forbid_bare_newline_exclusions =\nsmtpd_authorized_xclient_hosts = 10.0.0.0/8\n"
           "smtpd_authorized_xforward_hosts = 10.0.0.0/8\nsoft_bounce = yes\nsmtpd_noop_commands = frob\n"
           "smtpd_recipient_restrictions = check_helo_access inline:{{bad.test=521 out}}, check_sender_access inline:{{h@x.test=HOLD}, {d@x.test=DISCARD}, "
           "{r@x.test=REDIRECT z@x.test}, {p@x.test=PREPEND X-Y: z}, {q@x.test=BCC y@x.test}, {e@x.test=REJECT 5.1.1 no \r}}, "
           "check_recipient_access inline:{{t@x.test=DEFER_IF_PERMIT}, {o@x.test=OK}, {4@x.test=450 4.7.1 later}}, reject_non_fqdn_recipient\n"
           "smtpd_data_restrictions = check_sender_access inline:{{n@x.test=REJECT at data}}\n"
           "smtpd_end_of_data_restrictions = check_sender_access inline:{{m@x.test=REJECT at the end}}\n"
           "smtpd_etrn_restrictions = permit_mynetworks, reject\n", "10.0.0.1", 0, 0, 1, { 0 }, NULL },
    { BASE "smtpd_reject_footer = \\c; see $server_name\\nfor $client_address at $localtime\nsmtpd_client_restrictions = check_client_access "
           "inline:{192.0.2.66=REJECT}\nsmtpd_delay_reject = no\nsmtpd_discard_ehlo_keywords = chunking, pipelining\ndisable_vrfy_command = yes\n"
           "smtputf8_enable = no\nsmtpd_hard_error_limit = 3\nsmtpd_delay_open_until_valid_rcpt = no\n", "192.0.2.66", 0, 1, 0, { 0 }, NULL },
    { BASE "smtpd_forbid_bare_newline_exclusions =\nsmtpd_hide_client_session = yes\nsmtpd_client_port_logging = yes\nalways_add_missing_headers = yes\n"
           "header_size_limit = 200\nhopcount_limit = 2\nduplicate_filter_limit = 2\nalways_bcc = y@here.test\n", "2001:db8::1", 0, 0, 0, { 0 }, NULL },
};
#define CONFIGS (sizeof configs / sizeof *configs)

/* After each line; at marks; each byte alone; in pieces of 7 with a yield between. */
enum pace { PACE_LINES, PACE_MARKS, PACE_BYTES, PACE_PIECES, PACES };

/* ---- names: none are known ---- */

static int no_such_name(struct ph_dns_answer *a)
{
    *a = (struct ph_dns_answer){ .why = PH_DNS_NXDOMAIN };
    return PH_NONE;
}

int ph_dns_find_ptr(struct ph_scope *s PH_UNUSED, const struct ph_ip *ip PH_UNUSED, struct ph_dns_answer *a) { return no_such_name(a); }
int ph_dns_find_a(struct ph_scope *s PH_UNUSED, ph_str host PH_UNUSED, struct ph_dns_answer *a) { return no_such_name(a); }
int ph_dns_find_aaaa(struct ph_scope *s PH_UNUSED, ph_str host PH_UNUSED, struct ph_dns_answer *a) { return no_such_name(a); }
int ph_dns_find_mx(struct ph_scope *s PH_UNUSED, ph_str domain PH_UNUSED, struct ph_dns_answer *a) { return no_such_name(a); }

/* ---- one session ---- */

struct talk {
    struct config *c;
    ph_str in;
    enum pace pace;
    int deaf;                      /* the client takes no replies */
    int closed;                    /* the server hung up first */
    struct ph_scope *s;
    struct ph_stream *io;
    struct ph_buf sent, got;
    size_t heap, heap_most;
};

static void reader(void *arg)
{
    struct talk *t = arg;
    ph_str view;

    while (ph_stream_peek(t->io, &view) > 0) {
        ph_buf_str(&t->got, view);
        ph_stream_skip(t->io, view.n);
    }
    FUZZ_CHECK(!t->got.full, "more than %zu bytes of replies", t->got.n);
}

/* What the server holds, while it waits for us. */
static void weigh(struct talk *t)
{
    size_t now = world_heap();

    if (now > t->heap_most)
        t->heap_most = now;
}

static void pause_here(struct talk *t)
{
    if (ph_stream_flush(t->io) < 0)
        return;
    world_settle();
    weigh(t);
}

static int send_byte(struct talk *t, char c)
{
    ph_buf_putc(&t->sent, c);
    int rc = ph_stream_write(t->io, &c, 1);

    if (rc >= 0 && (t->pace == PACE_BYTES || (t->pace == PACE_PIECES && t->sent.n % 7 == 0)) && (rc = ph_stream_flush(t->io)) >= 0)
        rc = ph_yield();
    if (rc >= 0 && t->pace == PACE_LINES && c == '\n')
        pause_here(t);
    return rc;
}

static void client(struct talk *t)
{
    int rc = 0;

    for (ph_str in = t->in; rc >= 0 && in.n && world_is_serving(); ) {
        unsigned c = fuzz_byte(&in);

        if (c == 0xff)
            pause_here(t);
        else
            rc = send_byte(t, (char)(c == 0xfe ? fuzz_byte(&in) : c));
    }
    pause_here(t);
}

static void hang_up(struct talk *t)
{
    size_t before;

    do {                           /* delayed replies come, one a second */
        before = t->got.n;
        ph_sleep_until(ph_in_ms(5000));
    } while (t->got.n > before);
    weigh(t);
    t->closed = !world_is_serving();
    ph_stream_close(t->io);
    ph_sleep_until(ph_in_ms(10000));
    FUZZ_CHECK(!world_is_serving(), "the session lives on after the client has left");
}

/* Connections to cleanup are kept for the next session; here each ends alone. */
static void forget_idle(struct smtpd_conf *c)
{
    while (c->idle_intake) {
        struct intake *in = c->idle_intake;

        c->idle_intake = in->next;
        ph_scope_free(in->scope);
    }
    c->idle_count = 0;
    c->space_until_ms = 0;
}

static void session(void *arg)
{
    struct talk *t = arg;
    PH_SCOPED(s, NULL);
    struct ph_group *g = ph_group_new(s);
    const struct ph_peer peer = { .size = sizeof peer, .address = ph_cstr(t->c->client), .port = PH_STR("1234"),
                                  .server_address = PH_STR("10.0.0.2"), .server_port = PH_STR("25") };

    t->s = s;
    t->heap = t->heap_most = world_heap();
    world_serve(s, t->c->list[0], &peer, t->deaf ? 512 : 0, &t->io);
    if (!t->deaf)
        FUZZ_CHECK(ph_spawn(g, "reader", reader, t) == 0, "%s", ph_error());
    world_settle();
    client(t);
    hang_up(t);
    ph_group_cancel(g);
    ph_group_wait(g, PH_FOREVER);
    forget_idle(t->c->conf);
}

/* ---- what must be true ---- */

/* What is queued is wire-ready: a line end is CR LF, and nothing else is one. */
static void check_content(ph_str x)
{
    for (size_t i = 0; i < x.n; i++) {
        FUZZ_CHECK(x.p[i] != '\n' || (i && x.p[i - 1] == '\r'), "a bare LF at %zu of %.*s", i, PH_FMT(x));
        FUZZ_CHECK(x.p[i] != '\r' || (i + 1 < x.n && x.p[i + 1] == '\n'), "a bare CR at %zu of %.*s", i, PH_FMT(x));
    }
    FUZZ_CHECK(ph_str_search(x, PH_STR("Received: ")) >= 0, "a trace: %.*s", PH_FMT(x));
}

static void check_messages(struct talk *t, const struct judge *j)
{
    for (unsigned i = 0; i < world.committed && i < 64; i++) {
        const struct world_message *m = &world.message[i];

        check_content(m->content);
        FUZZ_CHECK(m->rcpt_count > 0, "a message for nobody");
        fuzz_saw(m->sender);
        fuzz_saw(m->rcpts);
        fuzz_saw(m->content);
        /* always_bcc and BCC add one each. */
        FUZZ_CHECK(t->deaf || t->c->discards || m->rcpt_count <= j->rcpts[i] + 1, "%u recipients, %u were accepted", m->rcpt_count, j->rcpts[i]);
    }
}

static void check(struct talk *t)
{
    struct judge j = { .sent = ph_buf_view(&t->sent), .got = ph_buf_view(&t->got), .loose = t->c->loose, .footers = t->c->footers, .closed = t->closed,
                       .line_max = 2 * (size_t)t->c->conf->p.line_limit };

    if (getenv("FUZZ_SHOW"))
        fprintf(stderr, "client:\n%.*s\nserver%s:\n%.*s\n%u messages\n", PH_FMT(j.sent), t->closed ? " (hung up)" : "", PH_FMT(j.got), world.committed);
    fuzz_saw(j.got);
    fuzz_saw_number(world.committed);
    if (!t->deaf)
        judge_session(&j);
    FUZZ_CHECK(t->deaf || world.committed <= j.accepted, "%u messages in the queue, %u were handed over", world.committed, j.accepted);
    FUZZ_CHECK(t->deaf || t->c->discards || world.committed == j.accepted, "%u messages in the queue, 250 was said of %u", world.committed, j.accepted);
    check_messages(t, &j);
    /* Buffers and the envelope; the content stands here in memory, so it counts. */
    size_t allowed = (512u << 10) + 40 * t->sent.n;
    FUZZ_CHECK(t->heap_most - t->heap <= allowed, "%zu bytes of memory after %zu bytes", t->heap_most - t->heap, t->sent.n);
}

static void open_all(void)
{
    for (size_t i = 0; i < CONFIGS; i++) {
        struct config *c = &configs[i];

        c->list[0] = world_open(&service_smtpd_LTX_ph_plugin, c->text);
        c->list[1] = world_open(&service_cleanup_LTX_ph_plugin, c->text);
        c->list[2] = world_open(&service_rewrite_LTX_ph_plugin, c->text);
        c->conf = c->list[0]->v.self;
    }
}

/* 'b' no slot for the first message, 'c' its commit fails, 'd' the client is deaf. */
static void job(void *arg)
{
    struct talk *t = arg;
    unsigned how = fuzz_byte(&t->in);

    world.fail_begin = how == 'b';
    world.fail_commit = how == 'c';
    t->deaf = how == 'd';
    session(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    PH_SCOPED(s, NULL);
    struct talk t = { .in = { (const char *)data, size } };

    if (!configs[0].conf)
        open_all();
    t.c = &configs[world_choice(&t.in, CONFIGS)];
    t.pace = world_choice(&t.in, PACES);
    ph_buf_init(&t.sent, s, size + 1);
    ph_buf_init(&t.got, s, 1 << 20);
    world_set(t.c->list, 3);
    world_run(s, job, &t);
    check(&t);
    return 0;
}
