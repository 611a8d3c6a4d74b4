/* session: one client from greeting to end, RFC 5321 3.1 to 3.8, 4.5.3.2; what
 * the log says of it. */
#include <string.h>
#include <posthorn/error.h>
#include "smtpd.h"

#define FLUSH_MS 10000             /* replies do not wait longer, whatever is pipelined */

/* ---- time ---- */

static int64_t timeout_ms(const struct session *s)
{
    return s->c->p.timeout * 1000;
}

void deadline_begin(struct session *s)
{
    s->deadline_ms = ph_in_ms(timeout_ms(s));
    ph_stream_deadline(s->io, s->deadline_ms);
}

void deadline_extend(struct session *s, size_t n)
{
    int64_t most = ph_in_ms(timeout_ms(s));

    s->deadline_ms += (int64_t)n * 1000 / s->c->p.data_rate;
    if (!s->c->p.per_request || s->deadline_ms > most)
        s->deadline_ms = most;
    ph_stream_deadline(s->io, s->deadline_ms);
}

void deadline_end(struct session *s)
{
    int64_t left = s->deadline_ms - ph_now_ms();

    s->left_ms = left > 0 ? left : 0;
}

/* ---- log ---- */

static void log_disconnect(struct session *s)
{
    struct ph_buf b;

    ph_buf_init(&b, s->scope, 1024);
    verb_counts(s, &b);
    ph_log("disconnect from %.*s%.*s%s", PH_FMT(s->name_addr), PH_FMT(ph_buf_view(&b)), s->saw_bare_lf ? " notes=bare_lf" : "");
}

/* "ID: REASON after WHERE from NAMADDR" */
static void log_abnormal(struct session *s, const char *reason)
{
    ph_log("%.*s: %s after %s from %.*s", PH_FMT(log_id(s)), reason, s->where, PH_FMT(s->name_addr));
}

int session_data_error(struct session *s)
{
    return reply(s, "421 4.3.0 %.*s Server local data error", PH_FMT(s->c->p.myhostname));
}

int session_unsure(struct session *s, const char *what)
{
    ph_log_warn("don't know %s %.*s", what, PH_FMT(s->name_addr));
    ph_log("%.*s: reject: %s from %.*s: 421 4.3.0 %.*s Server local data error", PH_FMT(log_id(s)), s->where, PH_FMT(s->name_addr),
           PH_FMT(s->c->p.myhostname));
    return session_data_error(s);
}

/* ---- commands ---- */

static int check_limits(struct session *s)
{
    if (s->errors < s->c->p.hard_limit)
        return 0;
    log_abnormal(s, "too many errors");
    return reply(s, "421 4.7.0 %.*s Error: too many errors", PH_FMT(s->c->p.myhostname));
}

static int too_long(struct session *s, ph_str line)
{
    PH_SCOPED(t, s->scope);
    ph_str args = ph_str_dup(t, line), verb = ph_str_word(&args);

    ph_log_warn("%.*s: request longer than %lld: %.*s...", PH_FMT(s->name_addr), (long long)s->c->p.line_limit, PH_FMT(escaped(t, line, 30)));
    s->where = "UNKNOWN";
    if (ph_str_eq_nocase(verb, PH_STR("BDAT")))
        return bdat_malformed(s, args);
    return reply(s, "500 5.5.2 %.*s Error: command too long", PH_FMT(s->c->p.myhostname));
}

static int bare_command(struct session *s)
{
    long long code = s->c->p.bare_code;
    int rc = reply(s, "%lld %c.5.2 %.*s Error: bare <LF> received", code, code < 500 ? '4' : '5', PH_FMT(s->c->p.myhostname));

    s->quit = 1;
    return rc;
}

/* What the postmaster may read of a command: what stands behind AUTH is a secret. */
static void remember(struct session *s, ph_str line)
{
    ph_str rest = line, verb = ph_str_word(&rest);

    if (!s->transcript)
        return;
    if (ph_str_eq_nocase(verb, PH_STR("AUTH")))
        line = ph_str_first(line, (size_t)(verb.p - line.p) + verb.n);
    ph_transcript_in(s->transcript, line);
}

/* One command; an answer that refuses it is an error of the client. */
static int command(struct session *s, int kind, ph_str line)
{
    int rc;

    s->bad = s->forgiven = s->by_policy = 0;
    remember(s, line);
    if (kind == PH_LINE_LF && s->bare_mode != PH_BARE_NO && s->c->note_bare)
        s->saw_bare_lf = 1;
    if (kind == PH_LINE_LONG || line.n > (size_t)s->c->p.line_limit)
        rc = too_long(s, line);
    else if (kind == PH_LINE_LF && s->bare_mode == PH_BARE_REJECT)
        rc = bare_command(s);
    else
        rc = verb_run(s, line);
    s->errors += s->bad && !s->forgiven;
    if (!s->bad && strcmp(s->where, "END-OF-MESSAGE") == 0)
        ph_transcript_reset(s->transcript);
    return rc;
}

/* A whole line is here: reading it will not wait. */
static int has_command(struct session *s)
{
    ph_str more;

    return ph_stream_pending(s->io) && ph_stream_peek(s->io, &more) > 0 && ph_str_find(more, '\n') >= 0;
}

/* RFC 2920 3.2: replies leave together while commands wait; but not too late, and
 * not when we are about to wait for the rest of one. */
static int send_replies(struct session *s)
{
    if (has_command(s) && ph_now_ms() - s->flushed_ms < FLUSH_MS)
        return 0;
    s->flushed_ms = ph_now_ms();
    return ph_stream_flush(s->io);
}

/* The next command line: what ph_stream_line answers.  Most sessions wait here, and
 * some for minutes. */
static int next_line(struct session *s, ph_str *line)
{
    deadline_begin(s);
    ph_task_private(1);
    /* Of a line that is too long the start is worth a look. */
    int kind = ph_stream_line(s->io, 2 * (size_t)s->c->p.line_limit, line);

    ph_task_private(0);
    deadline_end(s);
    return kind;
}

/* Commands until QUIT or the end: 0, or what ended the session. */
static int converse(struct session *s)
{
    ph_str line;
    int rc = 0, kind;

    while (rc >= 0 && !s->quit) {
        if ((rc = check_limits(s)) < 0 || s->quit || (rc = send_replies(s)) < 0)
            break;                 /* 421 was said: it ends the session */
        if ((kind = next_line(s, &line)) < 0)
            return kind;
        rc = command(s, kind, line);
    }
    /* Who says QUIT waits for the answer and the end.  Who is sent away may still be
     * sending: what he sends makes our end a reset, and what had not left is lost. */
    int is_over = strcmp(s->where, "QUIT") == 0 && !ph_stream_pending(s->io);

    is_over &= s->errors == 0;     /* else a transcript may be sent before the close, and the last reply waits for that */
    return rc < 0 ? rc : is_over ? ph_stream_flush_last(s->io) : ph_stream_flush(s->io);
}

/* Who speaks before the greeting is no mail client. */
static int check_early(struct session *s)
{
    PH_SCOPED(t, s->scope);
    ph_str text = PH_STR("");

    if (!ph_stream_is_stale(s->io) || ph_stream_peek(s->io, &text) < 0)
        return 0;                  /* who has left is met at the first command */
    ph_log("improper command pipelining after CONNECT from %.*s: %.*s", PH_FMT(s->name_addr), PH_FMT(escaped(t, text, 100)));
    s->bad_pipelining = 1;
    if (!s->c->p.forbid_pipelining)
        return 0;
    s->quit = 1;
    return reply(s, "554 5.5.0 Error: SMTP protocol synchronization");
}

int session_greet(struct session *s)
{
    ph_str text;

    if (!s->c->p.delay_reject) {
        int rc = restrict_stage(s, PH_STAGE_CONNECT, "CONNECT", PH_STR(""), &text);

        if (rc == PH_FOUND) {
            s->denied = ph_str_dup(s->scope, text);
            return reject(s, "CONNECT", s->denied, PH_STR(""));
        }
        if (rc < 0)
            return rc;
    }
    return reply(s, "220 %.*s", PH_FMT(s->c->p.banner));
}

static void say_timeout(struct session *s)
{
    log_abnormal(s, "timeout");
    s->left_ms = 1000;
    if (reply(s, "421 4.4.2 %.*s Error: timeout exceeded", PH_FMT(s->c->p.myhostname)) >= 0)
        (void)!ph_stream_flush(s->io);
}

/* The postmaster hears of errors of the classes in notify_classes. */
static void tell_postmaster(struct session *s, int rc)
{
    const char *reason = rc == PH_TIMEOUT ? "timeout" : rc < 0 ? "lost connection" : "";

    if (rc != PH_CANCEL && (rc = ph_transcript_send(s->transcript, reason)) < 0 && rc != PH_CANCEL)
        ph_log_warn("postmaster notice about %.*s: %s", PH_FMT(s->name_addr), ph_error());
}

/* How it ended, for the log; the client hears of a timeout. */
static void part(struct session *s, int rc)
{
    if (rc == PH_TEMP)             /* no peer's doing: memory or descriptors ended */
        ph_log_warn("session with %.*s: %s", PH_FMT(s->name_addr), ph_error());
    if (rc == PH_TIMEOUT)
        say_timeout(s);
    else if (rc == PH_CANCEL)
        log_abnormal(s, "service stopped");
    else if (rc < 0 && strcmp(s->where, "END-OF-MESSAGE") != 0)
        log_abnormal(s, "lost connection");
    log_disconnect(s);
    tell_postmaster(s, rc);
}

struct session *session_new(struct smtpd_conf *c, struct ph_scope *scope, struct ph_stream *io, const struct ph_peer *peer)
{
    struct session *s = ph_new(scope, struct session);

    s->c = c;
    s->scope = scope;
    s->io = io;
    s->peer = peer;
    return s;
}

int session_run(struct session *s)
{
    s->where = "CONNECT";
    s->left_ms = timeout_ms(s);
    client_identify(s);
    s->transcript = ph_transcript_new(s->scope, s->c->transcripts, PH_ERROR_POLICY | PH_ERROR_PROTOCOL | PH_ERROR_RESOURCE | PH_ERROR_SOFTWARE, s->name_addr);
    ph_log("connect from %.*s", PH_FMT(s->name_addr));
    client_settle(s);
    int rc = check_early(s);
    if (rc >= 0 && !s->quit)
        rc = session_greet(s);
    if (rc >= 0)
        rc = ph_stream_flush(s->io);
    s->flushed_ms = ph_now_ms();
    if (rc >= 0 && !s->quit)
        rc = converse(s);
    part(s, rc);
    intake_release(s, 0);
    return rc == PH_CANCEL ? rc : 0;
}
