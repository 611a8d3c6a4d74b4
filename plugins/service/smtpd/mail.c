/* mail: MAIL and RCPT, RFC 5321 4.1.1.2, 4.1.1.3. */
#include <sys/statvfs.h>
#include <posthorn/address.h>
#include <posthorn/client.h>
#include <posthorn/error.h>
#include <posthorn/net.h>
#include <posthorn/why.h>
#include "smtpd.h"

#define SPACE_MS 1000              /* the filesystem is asked once a second, not once a message */

void transaction_reset(struct session *s)
{
    intake_release(s, 0);
    ph_scope_free(s->t.scope);
    s->t = (struct transaction){ .scope = NULL };
    s->facts.recipient = s->facts.sender = PH_STR("");
    s->chunks = CHUNKS_NONE;
}

/* "FROM:" or "TO:" in front, blanks behind the colon are tolerated: 1 and *rest. */
static int take_keyword(ph_str args, ph_str word, ph_str *rest)
{
    if (!ph_str_starts_nocase(args, word))
        return 0;
    *rest = ph_str_trim(ph_str_from(args, word.n));
    return 1;
}

/* 0: not known. */
static uint64_t free_space(struct smtpd_conf *c)
{
    struct statvfs fs;

    if (ph_now_ms() < c->space_until_ms)
        return c->space;
    c->space = c->queue_dir_fd >= 0 && fstatvfs(c->queue_dir_fd, &fs) == 0 ? (uint64_t)fs.f_bavail * fs.f_frsize + 1 : 0;
    c->space_until_ms = ph_in_ms(SPACE_MS);
    return c->space;
}

static int too_little_space(const struct session *s)
{
    uint64_t need = (uint64_t)s->c->p.size_limit + (uint64_t)s->c->p.size_limit / 2, have = free_space(s->c);

    if (need < (uint64_t)s->c->p.minfree)
        need = (uint64_t)s->c->p.minfree;
    if (have == 0 || have > need)
        return 0;
    ph_log_warn("not enough free space in mail queue: %llu bytes < %llu", (unsigned long long)have - 1, (unsigned long long)need);
    return 1;
}

int bad_address(struct session *s, const char *verb, ph_str text, const char *answer)
{
    ph_log_warn("Illegal address syntax from %.*s in %s command: %.*s", PH_FMT(s->name_addr), verb, PH_FMT(ph_str_first(text, 200)));
    return reply(s, "%s", answer);
}

/* RFC 6531 3.4: who does not say SMTPUTF8 may be older than it; strict_smtputf8
 * makes no allowance. */
static int must_declare(const struct session *s, ph_str address)
{
    return s->c->p.strict_utf8 && !s->t.args.utf8 && !ph_str_is_ascii(address);
}

static int say_declare(struct session *s)
{
    return reply(s, "553 5.6.7 Must declare SMTPUTF8 to send unicode address");
}

static int refused(struct session *s, const char *verb, struct refusal r)
{
    return r.logged ? reject(s, verb, ph_cstr(r.text), PH_STR("")) : reply(s, "%s", r.text);
}

/* The client= line: who, and with XFORWARD who before him. */
static void log_client(struct session *s)
{
    const struct forward *x = s->t.forward;
    const struct { const char *name; ph_str value; } known[] = {
        { "sasl_method", s->w.sasl_method }, { "sasl_username", s->w.sasl_user }, { "sasl_sender", s->t.args.auth },
        { "orig_queue_id", x ? x->ident : PH_STR("") },
    };
    PH_SCOPED(t, s->scope);
    struct ph_buf b;

    ph_buf_init(&b, t, 2048);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].value.n)
            ph_buf_printf(&b, ", %s=%.*s", known[i].name, PH_FMT(ph_str_first(known[i].value, 255)));
    if (x && x->addr.n)
        ph_buf_printf(&b, ", orig_client=%.*s[%.*s]", PH_FMT(x->name.n ? x->name : PH_STR("unknown")), PH_FMT(x->addr));
    ph_log("%.*s: client=%.*s%.*s", PH_FMT(s->t.queue_id), PH_FMT(s->name_addr), PH_FMT(ph_buf_view(&b)));
}

/* The client= line names the queue id from here on. */
static int open_intake(struct session *s)
{
    int rc = intake_begin(s);

    if (rc == 0) {
        log_client(s);
        return 0;
    }
    if (rc == PH_CANCEL)
        return rc;
    ph_log_warn("%s", ph_error());
    intake_release(s, 0);
    return PH_TEMP;
}

/* The transaction begins, for the checks and the log; what XFORWARD said stays. */
static void begin(struct session *s, ph_str sender)
{
    s->t.sender = sender;
    s->t.sender_shown = ph_address_external(transaction_scope(s), sender);
    ph_transcript_sender(s->transcript, sender);
    s->t.open = 1;
    s->t.instance = ph_str_printf(transaction_scope(s), "%llx.%llx", (unsigned long long)(uintptr_t)s, (unsigned long long)++s->serial);
}

/* It did not: only what XFORWARD said is kept. */
static void withdraw(struct session *s)
{
    struct ph_scope *scope = transaction_scope(s);
    struct forward *x = s->t.forward;

    intake_release(s, 0);
    s->t = (struct transaction){ .scope = scope, .forward = x };
    if (!x)
        ph_scope_reset(scope);
}

/* Whether headers are completed as ours was not to be found out: the client tries again. */
static int say_unsure(struct session *s)
{
    withdraw(s);
    return reject(s, "MAIL", PH_STR("451 4.3.0 Temporary lookup error"), PH_STR(""));
}

/* 0: accepted; PH_NONE: refused and answered. */
static int check_sender(struct session *s)
{
    ph_str text;
    int rc = s->c->p.delay_reject ? PH_NONE : restrict_stage(s, PH_STAGE_MAIL, "MAIL", PH_STR(""), &text);

    if (rc == PH_FOUND)
        rc = reject(s, "MAIL", text, PH_STR(""));
    else if (rc < 0)
        return rc;
    else if (must_declare(s, s->t.sender))
        rc = say_declare(s);
    else if (too_little_space(s))
        rc = reply(s, "452 4.3.1 Insufficient system storage");
    else if ((s->is_local = client_is_local(s)) < 0)
        rc = say_unsure(s);
    else if (s->c->p.late_open || (rc = open_intake(s)) == 0)
        return 0;
    else if (rc != PH_CANCEL)
        rc = reply(s, "451 4.3.0 Error: queue file write error");
    return rc < 0 ? rc : PH_NONE;
}

/* Ends in a number: an address for some, a name for nobody. */
static int is_number(ph_str domain)
{
    return domain.n && ph_is_digit(domain.p[domain.n - 1]);
}

/* 1 when it needs no look by rewrite: nothing to turn, complete, or swallow. */
static int is_plain(ph_str address)
{
    ph_str local, domain;

    ph_address_split(address, &local, &domain);
    return local.n && ph_hostname_valid(domain) && !is_number(domain) && ph_str_find(local, '@') < 0 && ph_str_find(local, '%') < 0 &&
           ph_str_find(local, '!') < 0 && local.p[0] != '-';
}

/* 1 when rewrite says that nothing can be sent there.  What it cannot say now is
 * the business of restrictions. */
static int is_unusable(struct session *s, ph_str address)
{
    PH_SCOPED(t, transaction_scope(s));
    struct ph_frame *ask, *got;

    if (address.n == 0 || is_plain(address))
        return 0;
    ask = ph_frame_new(t);
    ph_frame_cstr(ask, "op", "resolve");
    ph_frame_cstr(ask, "context", "local");
    ph_frame_str(ask, "address", address);          /* resolve takes the internal form */
    return ph_service_call(t, "rewrite", ask, &got) >= 0 && ph_frame_value(got, "error").n > 0;
}

static int take_sender(struct session *s, ph_str path)
{
    ph_str address, rest;

    if (!ph_address_parse_path(transaction_scope(s), path, s->c->p.strict_envelopes, &address, &rest) || !is_domain_allowed(address, asks_utf8(s, rest)) ||
        is_unusable(s, address))
        return bad_address(s, "MAIL", path, "501 5.1.7 Bad sender address syntax");
    begin(s, address);
    struct refusal r = mail_args_parse(s, rest, &s->t.args);
    if (r.text)
        return refused(s, "MAIL", r);
    int rc = check_sender(s);
    return rc != 0 ? rc < 0 ? rc : 0 : reply(s, "250 2.1.0 Ok");
}

int do_mail(struct session *s, ph_str args)
{
    ph_str path;

    if (s->c->p.helo_required && s->helo.n == 0)
        return reply(s, "503 5.5.1 Error: send HELO/EHLO first");
    if (s->t.open)
        return reply(s, "503 5.5.1 Error: nested MAIL command");
    if (s->chunks != CHUNKS_NONE)
        return reply(s, "503 5.5.1 Error: MAIL after BDAT");
    if (!take_keyword(args, PH_STR("FROM:"), &path) || path.n == 0)
        return reply(s, "501 5.5.4 Syntax: MAIL FROM:<address>");
    int rc = take_sender(s, path);
    if (rc >= 0 && s->bad)
        withdraw(s);
    return rc;
}

static int accept_rcpt(struct session *s, ph_str address, const struct rcpt_args *a)
{
    int rc = 0;

    if (!s->t.intake)
        rc = open_intake(s);
    if (rc == 0)
        rc = intake_rcpt(s, address, address, a);
    if (rc == PH_CANCEL)
        return rc;
    if (rc < 0) {
        s->t.rcpt_refused++;
        return reply(s, "451 4.3.0 Error: queue file write error");
    }
    if (s->t.rcpt_count++ == 0)
        s->t.first_rcpt = address;
    return reply(s, "250 2.1.5 Ok");
}

/* A client that overshoots a little is not attacking. */
static int too_many(struct session *s)
{
    s->t.rcpt_refused++;
    s->forgiven = s->t.rcpt_over++ < (uint32_t)s->c->p.overshoot;
    return reply(s, "452 4.5.3 Error: too many recipients");
}

/* RFC 5321 4.5.1: postmaster is always reachable.  So is the sender of our
 * address probes, or two sites that probe each other would lock up. */
static int is_always_reachable(const struct session *s, ph_str address)
{
    return ph_str_eq_nocase(address, PH_STR("postmaster")) || (s->c->verify_sender.n && ph_str_eq_nocase(address, s->c->verify_sender));
}

static int take_rcpt(struct session *s, ph_str address, ph_str written, ph_str rest)
{
    struct rcpt_args a = { 0 };
    struct refusal r = rcpt_args_parse(s, rest, &a);
    ph_str text;

    if (r.text)
        return refused(s, "RCPT", r);
    rcpt_args_written(s, written, address, &a);
    if (s->t.rcpt_count >= (uint32_t)s->c->p.rcpt_limit)
        return too_many(s);
    if (is_always_reachable(s, address)) {
        ph_why(NULL, "always accepted, whatever the restrictions say");
        return accept_rcpt(s, address, &a);
    }
    int rc = restrict_stage(s, PH_STAGE_RCPT, "RCPT", address, &text);
    if (rc < 0)
        return rc;
    if (rc == PH_NONE && !must_declare(s, address))
        return accept_rcpt(s, address, &a);
    s->t.rcpt_refused++;
    return rc == PH_FOUND ? reject(s, "RCPT", text, address) : say_declare(s);
}

int do_rcpt(struct session *s, ph_str args)
{
    ph_str path, rest, address;

    if (!s->t.open)
        return reply(s, "503 5.5.1 Error: need MAIL command");
    if (s->chunks != CHUNKS_NONE)
        return reply(s, "503 5.5.1 Error: RCPT after BDAT");
    if (!take_keyword(args, PH_STR("TO:"), &path) || path.n == 0)
        return reply(s, "501 5.5.4 Syntax: RCPT TO:<address>");
    if (!ph_address_parse_path(transaction_scope(s), path, s->c->p.strict_envelopes, &address, &rest) || address.n == 0 ||
        (address.p[0] == '-' && !s->c->p.allow_min_user) || !is_domain_allowed(address, s->t.args.utf8) ||
        is_unusable(s, address))
        return bad_address(s, "RCPT", path, "501 5.1.3 Bad recipient address syntax");
    return take_rcpt(s, address, ph_str_first(path, path.n - rest.n), rest);
}
