/* service/smtpd: one session from greeting to end.  Reference: smtpd(8). */
#include <string.h>
#include <posthorn/error.h>
#include "smtpd.h"

static int bare_mode(struct smtpd_conf *c)
{
    static const struct { const char *name; uint32_t mode; } modes[] = {
        { "normalize", PH_BARE_NORMALIZE }, { "yes", PH_BARE_NORMALIZE }, { "note", PH_BARE_NORMALIZE }, { "reject", PH_BARE_REJECT }, { "no", PH_BARE_NO },
    };

    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (ph_str_eq_nocase(c->p.bare_newline, ph_cstr(modes[i].name))) {
            c->bare_mode = modes[i].mode;
            return 0;
        }
    return ph_fail(PH_CONF, "smtpd_forbid_bare_newline = %.*s: use normalize, note, reject or no", PH_FMT(c->p.bare_newline));
}

static int open_lists(struct smtpd_conf *c)
{
    const uint32_t both = PH_MATCH_ADDRESS | PH_MATCH_DOMAIN;
    int rc;

    if ((rc = ph_match_open(c->conf, c->scope, "mynetworks", c->p.mynetworks, PH_MATCH_ADDRESS, &c->mynetworks)) < 0 ||
        (rc = ph_match_open(c->conf, c->scope, "smtpd_forbid_bare_newline_exclusions", c->p.bare_exclusions, both, &c->bare_exclusions)) < 0 ||
        (rc = ph_match_open(c->conf, c->scope, "smtpd_forbid_unauth_pipelining_exclusions", c->p.pipelining_exclusions, both, &c->pipelining_exclusions)) < 0)
        return rc;
    return 0;
}

static int smtpd_open(struct ph_service *v)
{
    struct smtpd_conf *c = ph_new(v->scope, struct smtpd_conf);
    int rc = ph_params_load(v->conf, v->scope, smtpd_rows, SMTPD_ROWS, sizeof *smtpd_rows, &c->p);

    if (rc < 0)
        return rc;
    c->scope = v->scope;
    c->conf = v->conf;
    c->queue_dir_fd = v->queue_dir_fd;
    c->names = ph_map_new(v->scope);
    v->self = c;
    if ((rc = bare_mode(c)) < 0 || (rc = open_lists(c)) < 0 || (rc = client_own_addresses(c)) < 0)
        return rc;
    return restrict_open(c);
}

static const struct { const char *name; int index; } shown[] = {
    { "helo", CMD_HELO }, { "ehlo", CMD_EHLO }, { "mail", CMD_MAIL }, { "rcpt", CMD_RCPT }, { "data", CMD_DATA }, { "rset", CMD_RSET },
    { "noop", CMD_NOOP }, { "vrfy", CMD_VRFY }, { "quit", CMD_QUIT }, { "help", CMD_HELP }, { "unknown", CMD_UNKNOWN },
};

static void put_count(struct ph_buf *b, const char *name, uint32_t ok, uint32_t total)
{
    if (ok == total && total)
        ph_buf_printf(b, " %s=%u", name, ok);
    else
        ph_buf_printf(b, " %s=%u/%u", name, ok, total);
}

static void log_disconnect(struct session *s)
{
    uint32_t ok = 0, total = 0;
    struct ph_buf b;

    ph_buf_init(&b, s->scope, 1024);
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        uint32_t n = s->ok[shown[i].index], of = s->total[shown[i].index];

        ok += n;
        total += of;
        if (of)
            put_count(&b, shown[i].name, n, of);
    }
    put_count(&b, "commands", ok, total);
    ph_log("disconnect from %.*s%.*s", PH_FMT(s->name_addr), PH_FMT(ph_buf_view(&b)));
}

/* "ID: REASON after WHERE from NAMADDR" */
static void log_abnormal(struct session *s, const char *reason)
{
    ph_log("%.*s: %s after %s from %.*s", PH_FMT(s->t.queue_id.n ? s->t.queue_id : PH_STR("NOQUEUE")), reason, s->where, PH_FMT(s->name_addr));
}

static int check_limits(struct session *s)
{
    if (s->errors < s->c->p.hard_limit)
        return 0;
    log_abnormal(s, "too many errors");
    int rc = reply(s, "421 4.7.0 %.*s Error: too many errors", PH_FMT(s->c->p.myhostname));
    return rc < 0 ? rc : ph_stream_flush(s->io);
}

static int too_long(struct session *s)
{
    ph_log_warn("%.*s: request longer than %lld", PH_FMT(s->name_addr), (long long)s->c->p.line_limit);
    s->where = "UNKNOWN";
    return reply(s, "500 5.5.2 %.*s Error: command too long", PH_FMT(s->c->p.myhostname));
}

static int bare_command(struct session *s)
{
    int rc = reply(s, "%lld 5.5.2 %.*s Error: bare <LF> received", (long long)s->c->p.bare_code, PH_FMT(s->c->p.myhostname));

    s->quit = 1;
    return rc;
}

/* Commands until QUIT or the end: 0, or what ended the session. */
static int converse(struct session *s)
{
    ph_str line;
    int rc = 0;

    while (rc >= 0 && !s->quit) {
        if ((rc = check_limits(s)) < 0 || s->quit)
            break;
        /* RFC 2920 3.2: replies leave together while commands wait. */
        if (!ph_stream_pending(s->io) && (rc = ph_stream_flush(s->io)) < 0)
            break;
        ph_stream_deadline(s->io, ph_in_ms(s->c->p.timeout * 1000));
        if ((rc = ph_stream_line(s->io, (size_t)s->c->p.line_limit, &line)) < 0)
            break;
        if (rc == PH_LINE_LONG)
            rc = too_long(s);
        else if (rc == PH_LINE_LF && s->bare_mode == PH_BARE_REJECT)
            rc = bare_command(s);
        else
            rc = verb_run(s, line);
    }
    return rc < 0 ? rc : ph_stream_flush(s->io);
}

/* Who speaks before the greeting is no mail client. */
static int spoke_early(struct session *s)
{
    if (!ph_stream_is_stale(s->io) || !s->c->p.forbid_pipelining ||
        ph_match(s->c->pipelining_exclusions, s->name, s->peer->address) == PH_FOUND)
        return 0;
    ph_log("improper command pipelining after CONNECT from %.*s", PH_FMT(s->name_addr));
    s->quit = 1;
    int rc = reply(s, "554 5.5.0 Error: SMTP protocol synchronization");
    return rc < 0 ? rc : ph_stream_flush(s->io);
}

static int greet(struct session *s)
{
    ph_str text;
    int rc = spoke_early(s);

    if (rc < 0 || s->quit)
        return rc;
    if (!s->c->p.delay_reject) {
        rc = restrict_stage(s, PH_STAGE_CONNECT, "CONNECT", PH_STR(""), &text);
        if (rc == PH_FOUND) {
            s->quit = 1;
            rc = reject(s, "CONNECT", text, PH_STR(""));
            return rc < 0 ? rc : ph_stream_flush(s->io);
        }
        if (rc < 0)
            return rc;
    }
    rc = reply(s, "220 %.*s", PH_FMT(s->c->p.banner));
    return rc < 0 ? rc : ph_stream_flush(s->io);
}

static void say_timeout(struct session *s)
{
    log_abnormal(s, "timeout");
    if (reply(s, "421 4.4.2 %.*s Error: timeout exceeded", PH_FMT(s->c->p.myhostname)) >= 0)
        (void)!ph_stream_flush(s->io);
}

static int smtpd_serve(struct ph_service *v, struct ph_scope *scope, struct ph_stream *io, const struct ph_peer *peer)
{
    struct session *s = ph_new(scope, struct session);

    s->c = v->self;
    s->scope = scope;
    s->io = io;
    s->peer = peer;
    s->where = "CONNECT";
    s->t.scope = ph_scope_new(scope);
    client_identify(s);
    ph_log("connect from %.*s", PH_FMT(s->name_addr));
    int rc = greet(s);
    if (rc >= 0 && !s->quit)
        rc = converse(s);
    if (rc == PH_TIMEOUT)
        say_timeout(s);
    else if (rc < 0 && rc != PH_CANCEL && strcmp(s->where, "END-OF-MESSAGE") != 0)
        log_abnormal(s, "lost connection");
    else if (rc == PH_CANCEL)
        log_abnormal(s, "service stopped");
    log_disconnect(s);
    intake_release(s, 0);
    return rc == PH_CANCEL ? rc : 0;
}

PH_PLUGIN_SERVICE(smtpd, PH_IS(.summary = "SMTP server", .exec = PH_COROUTINE, .concurrency = PH_MANY_CALLS, .params = smtpd_rows,
                               .param_count = SMTPD_ROWS),
    .needs = "network queue private",
    .uses = "cleanup rewrite",
    .open = smtpd_open,
    .serve = smtpd_serve);
