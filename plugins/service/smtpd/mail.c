/* mail: MAIL and RCPT, RFC 5321 4.1.1.2, 4.1.1.3. */
#include <sys/statvfs.h>
#include <posthorn/address.h>
#include <posthorn/error.h>
#include "smtpd.h"

void transaction_reset(struct session *s)
{
    struct ph_scope *scope = s->t.scope;

    intake_release(s, 0);
    ph_scope_reset(scope);
    s->t = (struct transaction){ .scope = scope };
}

/* "FROM:" or "TO:" in front, blanks behind the colon are tolerated: 1 and *rest. */
static int take_keyword(ph_str args, ph_str word, ph_str *rest)
{
    if (!ph_str_starts_nocase(args, word))
        return 0;
    *rest = ph_str_trim(ph_str_from(args, word.n));
    return 1;
}

static int too_little_space(const struct session *s)
{
    struct statvfs fs;
    uint64_t need = (uint64_t)s->c->p.size_limit + (uint64_t)s->c->p.size_limit / 2;

    if (need < (uint64_t)s->c->p.minfree)
        need = (uint64_t)s->c->p.minfree;
    if (s->c->queue_dir_fd < 0 || fstatvfs(s->c->queue_dir_fd, &fs) < 0)
        return 0;
    uint64_t have = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (have >= need)
        return 0;
    ph_log_warn("not enough free space in mail queue: %llu bytes < %llu", (unsigned long long)have, (unsigned long long)need);
    return 1;
}

/* One parameter of MAIL.  NULL, or the reply that refuses it. */
static const char *mail_param(struct session *s, ph_str word)
{
    ph_str value = word, name = ph_str_cut(&value, '=');
    uint64_t n;

    if (ph_str_eq_nocase(name, PH_STR("SIZE"))) {
        for (size_t i = 0; i < value.n; i++)
            if (!ph_is_digit(value.p[i]))
                return "501 5.5.4 Bad message size syntax";
        if (value.n == 0)
            return "501 5.5.4 Bad message size syntax";
        if (!ph_str_u64(value, &n))
            return "552 5.3.4 Message size exceeds file system imposed limit";
        if (s->c->p.size_limit && n > (uint64_t)s->c->p.size_limit)
            return "552 5.3.4 Message size exceeds fixed limit";
        s->t.size_said = n;
        return NULL;
    }
    if (ph_str_eq_nocase(word, PH_STR("BODY=8BITMIME")) || ph_str_eq_nocase(word, PH_STR("BODY=7BIT"))) {
        s->t.body_8bit = ph_str_eq_nocase(value, PH_STR("8BITMIME"));
        return NULL;
    }
    return ph_str_printf(s->t.scope, "555 5.5.4 Unsupported option: %.*s", PH_FMT(ph_str_first(word, 200))).p;
}

static int bad_syntax(struct session *s, const char *verb, ph_str text, const char *answer)
{
    ph_log_warn("Illegal address syntax from %.*s in %s command: %.*s", PH_FMT(s->name_addr), verb, PH_FMT(ph_str_first(text, 200)));
    return reply(s, "%s", answer);
}

/* Domains of an envelope need UTF-8 declared; we do not offer SMTPUTF8 yet. */
static int is_plain(ph_str address)
{
    return ph_str_is_ascii(address);
}

int do_mail(struct session *s, ph_str args)
{
    ph_str path, rest, address, word, text;
    const char *refused;

    if (s->c->p.helo_required && s->helo.n == 0)
        return reply(s, "503 5.5.1 Error: send HELO/EHLO first");
    if (s->t.open)
        return reply(s, "503 5.5.1 Error: nested MAIL command");
    if (!take_keyword(args, PH_STR("FROM:"), &path) || path.n == 0)
        return reply(s, "501 5.5.4 Syntax: MAIL FROM:<address>");
    if (!ph_address_parse_path(s->t.scope, path, s->c->p.strict_envelopes, &address, &rest))
        return bad_syntax(s, "MAIL", path, "501 5.1.7 Bad sender address syntax");
    if (!is_plain(address))
        return reply(s, "553 5.6.7 Must declare SMTPUTF8 to send unicode address");
    while ((word = ph_str_word(&rest)).n)
        if ((refused = mail_param(s, word)))
            return reject(s, "MAIL", ph_cstr(refused), PH_STR(""));
    if (too_little_space(s))
        return reply(s, "452 4.3.1 Insufficient system storage");
    s->t.sender = address;
    s->t.sender_shown = ph_address_external(s->t.scope, address);
    s->t.open = 1;
    s->instance = ph_str_printf(s->scope, "%llx.%llx", (unsigned long long)(uintptr_t)s, (unsigned long long)++s->serial);
    if (!s->c->p.delay_reject) {
        int rc = restrict_stage(s, PH_STAGE_MAIL, "MAIL", PH_STR(""), &text);

        if (rc == PH_FOUND) {
            rc = reject(s, "MAIL", text, PH_STR(""));
            transaction_reset(s);
            return rc;
        }
        if (rc < 0)
            return rc;
    }
    return reply(s, "250 2.1.0 Ok");
}

/* The client= line names the queue id from the first accepted recipient on. */
static int open_intake(struct session *s)
{
    int rc = intake_begin(s);

    if (rc == 0) {
        ph_log("%.*s: client=%.*s", PH_FMT(s->t.queue_id), PH_FMT(s->name_addr));
        return 0;
    }
    if (rc == PH_CANCEL)
        return rc;
    ph_log_warn("%s", ph_error());
    intake_release(s, 0);
    return PH_TEMP;
}

static int accept_rcpt(struct session *s, ph_str address)
{
    int rc = 0;

    if (!s->t.intake)
        rc = open_intake(s);
    if (rc == 0)
        rc = intake_rcpt(s, address, address);
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

static int too_many(struct session *s)
{
    int counts = s->t.rcpt_count + s->t.rcpt_refused >= (uint32_t)(s->c->p.rcpt_limit + s->c->p.overshoot);
    int64_t before = s->errors;
    int rc = reply(s, "452 4.5.3 Error: too many recipients");

    s->t.rcpt_refused++;
    if (!counts)
        s->errors = before;        /* a client that overshoots a little is not attacking */
    return rc;
}

int do_rcpt(struct session *s, ph_str args)
{
    ph_str path, rest, address, text;
    int rc;

    if (!s->t.open)
        return reply(s, "503 5.5.1 Error: need MAIL command");
    if (!take_keyword(args, PH_STR("TO:"), &path) || path.n == 0)
        return reply(s, "501 5.5.4 Syntax: RCPT TO:<address>");
    if (!ph_address_parse_path(s->t.scope, path, s->c->p.strict_envelopes, &address, &rest) || address.n == 0 ||
        (address.p[0] == '-' && !s->c->p.allow_min_user))
        return bad_syntax(s, "RCPT", path, "501 5.1.3 Bad recipient address syntax");
    if (!is_plain(address))
        return reply(s, "553 5.6.7 Must declare SMTPUTF8 to send unicode address");
    if (rest.n)
        return reply(s, "555 5.5.4 Unsupported option: %.*s", PH_FMT(ph_str_first(rest, 200)));
    if (s->t.rcpt_count >= (uint32_t)s->c->p.rcpt_limit)
        return too_many(s);
    /* RFC 5321 4.5.1: postmaster is always reachable. */
    if (ph_str_eq_nocase(address, PH_STR("postmaster")))
        return accept_rcpt(s, address);
    rc = restrict_stage(s, PH_STAGE_RCPT, "RCPT", address, &text);
    if (rc == PH_FOUND) {
        s->t.rcpt_refused++;
        return reject(s, "RCPT", text, address);
    }
    return rc < 0 ? rc : accept_rcpt(s, address);
}
