/* verbs: the table of commands, RFC 5321 4.1, the way to them, and the small ones. */
#include <string.h>
#include <posthorn/address.h>
#include <posthorn/error.h>
#include "smtpd.h"

#define JUNK       1u              /* without effect on mail: limited */
#define MUST_END   2u              /* nothing may be pipelined behind it, RFC 2920 3.1 */
#define ANY_ORDER  4u              /* its own syntax says where it ends: pipelining cannot be judged */
#define SECRET     8u              /* not in HELP */

static int do_rset(struct session *s, ph_str args)
{
    if (args.n)
        return reply(s, "501 5.5.4 Syntax: RSET");
    transaction_reset(s);
    return reply(s, "250 2.0.0 Ok");
}

static int do_noop(struct session *s, ph_str args PH_UNUSED)
{
    return reply(s, "250 2.0.0 Ok");
}

/* "address" or "address SMTPUTF8": 1 and the address; 0: bad. */
static int vrfy_address(struct session *s, struct ph_scope *t, ph_str args, ph_str *given, ph_str *address)
{
    ph_str rest;

    if (!ph_address_parse_path(t, args, 0, address, &rest) || address->n == 0)
        return 0;
    *given = ph_str_trim(ph_str_first(args, args.n - rest.n));
    int utf8 = asks_utf8(s, rest);
    (void)ph_str_word(&rest);
    return (utf8 || rest.p == NULL || ph_str_trim(ph_str_from(args, given->n)).n == 0) && rest.n == 0 && is_domain_allowed(*address, utf8);
}

/* RFC 5321 3.5.3: 252, we do not promise to deliver.  The transaction does not
 * feel it. */
static int do_vrfy(struct session *s, ph_str args)
{
    PH_SCOPED(t, s->scope);
    ph_str address, given, text;

    if (s->c->p.no_vrfy)
        return reply(s, "502 5.5.1 VRFY command is disabled");
    if (args.n == 0)
        return reply(s, "501 5.5.4 Syntax: VRFY address%s", s->c->p.utf8 ? " [SMTPUTF8]" : "");
    if (!vrfy_address(s, t, args, &given, &address))
        return bad_address(s, "VRFY", args, "501 5.1.3 Bad recipient address syntax");
    int rc = restrict_stage(s, PH_STAGE_VRFY, "VRFY", address, &text);
    if (rc == PH_FOUND)
        return reject(s, "VRFY", text, address);
    return rc < 0 ? rc : reply(s, "252 2.0.0 %.*s", PH_FMT(given));
}

static int do_help(struct session *s, ph_str args PH_UNUSED)
{
    return reply_lines(s, s->c->help);
}

static int do_quit(struct session *s, ph_str args PH_UNUSED)
{
    int rc = reply(s, "221 2.0.0 Bye");

    s->quit = 1;
    return rc;
}

static int do_starttls(struct session *s, ph_str args PH_UNUSED)
{
    return reply(s, "502 5.5.1 Error: command not implemented");
}

static int do_auth(struct session *s, ph_str args PH_UNUSED)
{
    return reply(s, "503 5.5.1 Error: authentication not enabled");
}

static const struct verb {
    const char *name, *shown;      /* as in the disconnect line */
    uint32_t is;
    int (*run)(struct session *s, ph_str args);
} verbs[CMD_UNKNOWN] = {
    [CMD_HELO] = { "HELO", "helo", JUNK | MUST_END, do_helo },
    [CMD_EHLO] = { "EHLO", "ehlo", JUNK | MUST_END, do_ehlo },
    [CMD_XCLIENT] = { "XCLIENT", "xclient", SECRET, do_xclient },
    [CMD_XFORWARD] = { "XFORWARD", "xforward", SECRET, do_xforward },
    [CMD_STARTTLS] = { "STARTTLS", "starttls", SECRET, do_starttls },
    [CMD_AUTH] = { "AUTH", "auth", SECRET, do_auth },
    [CMD_MAIL] = { "MAIL", "mail", 0, do_mail },
    [CMD_RCPT] = { "RCPT", "rcpt", 0, do_rcpt },
    [CMD_DATA] = { "DATA", "data", MUST_END, do_data },
    [CMD_BDAT] = { "BDAT", "bdat", ANY_ORDER, do_bdat },
    [CMD_RSET] = { "RSET", "rset", JUNK, do_rset },
    [CMD_NOOP] = { "NOOP", "noop", JUNK | MUST_END, do_noop },
    [CMD_VRFY] = { "VRFY", "vrfy", JUNK | MUST_END, do_vrfy },
    [CMD_ETRN] = { "ETRN", "etrn", JUNK, do_etrn },
    [CMD_QUIT] = { "QUIT", "quit", 0, do_quit },
    [CMD_HELP] = { "HELP", "help", 0, do_help },
};

/* The number of a command; CMD_UNKNOWN. */
static int find_verb(ph_str word)
{
    int i = 0;

    while (i < CMD_UNKNOWN && (word.n == 0 || ph_upper(word.p[0]) != verbs[i].name[0] || !ph_str_eq_nocase(word, ph_cstr(verbs[i].name))))
        i++;
    return i;
}

static void put_count(struct ph_buf *b, const char *name, uint32_t ok, uint32_t total)
{
    if (ok == total && total)
        ph_buf_printf(b, " %s=%u", name, ok);
    else
        ph_buf_printf(b, " %s=%u/%u", name, ok, total);
}

void verb_counts(const struct session *s, struct ph_buf *b)
{
    uint32_t ok = 0, total = 0;

    for (int i = 0; i < CMDS; i++) {
        ok += s->ok[i];
        total += s->total[i];
        if (s->total[i])
            put_count(b, i == CMD_UNKNOWN ? "unknown" : verbs[i].shown, s->ok[i], s->total[i]);
    }
    put_count(b, "commands", ok, total);
}

/* Sorted, and without a word about what we are. */
ph_str verb_help(struct ph_scope *s)
{
    struct ph_buf b;
    const char *last = "";

    ph_buf_init(&b, s, 512);
    ph_buf_puts(&b, "214 2.0.0 Commands:");
    for (;;) {
        const char *next = NULL;

        for (int i = 0; i < CMD_UNKNOWN; i++)
            if (!(verbs[i].is & SECRET) && strcmp(verbs[i].name, last) > 0 && (!next || strcmp(verbs[i].name, next) < 0))
                next = verbs[i].name;
        if (!next)
            break;
        ph_buf_printf(&b, " %s", next);
        last = next;
    }
    ph_buf_puts(&b, "\r\n");
    return ph_buf_view(&b);
}

/* 1 yes, 0 no, negative: the list could not be looked at, and the session ends. */
static int is_listed(struct session *s, struct ph_match *m, ph_str word)
{
    int rc = m ? ph_match(m, word, PH_STR("")) : PH_NONE;

    if (rc >= 0 || rc == PH_CANCEL)
        return rc < 0 ? rc : rc == PH_FOUND;
    ph_log_warn("%.*s: %s", PH_FMT(s->name_addr), ph_error());
    rc = session_data_error(s);
    return rc < 0 ? rc : PH_TEMP;
}

/* A header, an HTTP request, a byte that starts no command: this is no mail
 * client, and somebody may be speaking through it. */
static int unknown(struct session *s, ph_str word, ph_str line)
{
    PH_SCOPED(t, s->scope);
    int foreign = word.p[word.n - 1] == ':' ? 1 : is_listed(s, s->c->forbidden, word);

    if (foreign < 0)
        return s->quit ? 0 : foreign;
    if (!foreign)
        return reply(s, "500 5.5.2 Error: command not recognized");
    ph_log_warn("non-SMTP command from %.*s: %.*s", PH_FMT(s->name_addr), PH_FMT(escaped(t, line, 100)));
    int rc = reply(s, "221 2.7.0 Error: I can break rules, too. Goodbye.");
    s->bad = s->quit = 1;
    return rc;
}

static void count_junk(struct session *s)
{
    if (s->junk++ > s->c->p.junk_limit)
        s->errors++;
}

/* RFC 2920 3.1: a client that sends on before it has our answer may be a worm,
 * or two clients in one.  1: refused. */
static int check_pipelining(struct session *s, const struct verb *v)
{
    ph_str more;

    if (v->is & ANY_ORDER || (!(v->is & MUST_END) && s->esmtp))
        return 0;
    if (ph_stream_pending(s->io) == 0 || ph_stream_peek(s->io, &more) < 0)
        return 0;
    PH_SCOPED(t, s->scope);
    if (!s->bad_pipelining)
        ph_log("improper command pipelining after %s from %.*s: %.*s", v->name, PH_FMT(s->name_addr), PH_FMT(escaped(t, more, 100)));
    s->bad_pipelining = 1;
    if (!s->c->p.forbid_pipelining)
        return 0;
    int rc = reply(s, "554 5.5.0 Error: SMTP protocol synchronization");
    s->quit = 1;
    return rc < 0 ? rc : 1;
}

static int run(struct session *s, int index, ph_str word, ph_str args, ph_str line)
{
    const struct verb *v = &verbs[index];
    int rc;

    s->where = index == CMD_UNKNOWN ? "UNKNOWN" : v->name;
    if (s->denied.n && index != CMD_QUIT)
        return reply(s, "503 5.7.0 Error: access denied for %.*s", PH_FMT(s->name_addr));
    if (index == CMD_UNKNOWN)
        return unknown(s, word, line);
    if ((rc = check_pipelining(s, v)) != 0)
        return rc < 0 ? rc : 0;
    if (v->is & JUNK)
        count_junk(s);
    return v->run(s, args);
}

/* smtpd_command_filter: 0, with *line perhaps replaced; negative: the session ends. */
static int filter(struct session *s, struct ph_scope *t, ph_str *line)
{
    ph_str now;

    if (!s->c->command_filter)
        return 0;
    int rc = ph_maps_find(s->c->command_filter, *line, t, &now);
    if (rc == PH_FOUND) {
        ph_log("%.*s: replacing command \"%.*s\" with \"%.*s\"", PH_FMT(s->name_addr), PH_FMT(escaped(t, *line, 100)), PH_FMT(escaped(t, now, 100)));
        *line = now;
    }
    if (rc >= 0 || rc == PH_CANCEL)
        return rc < 0 ? rc : 0;
    ph_log_warn("%.*s: %s", PH_FMT(s->name_addr), ph_error());
    rc = session_data_error(s);
    return rc < 0 ? rc : PH_TEMP;
}

static int malformed(struct session *s, int index, ph_str word, ph_str args)
{
    s->where = "UNKNOWN";
    if (index == CMD_BDAT)
        return bdat_malformed(s, args);
    return reply(s, "500 5.5.2 Error: bad %ssyntax", word.n ? "UTF-8 " : "");
}

int verb_run(struct session *s, ph_str line)
{
    /* The view is void once we yield: keep the line. */
    PH_SCOPED(t, s->scope);
    ph_str rest = ph_str_dup(t, line);
    int rc;

    s->facts.recipient = PH_STR("");

    while (rest.n && ph_is_space(rest.p[0]))
        rest = ph_str_from(rest, 1);
    if ((rc = filter(s, t, &rest)) < 0)
        return s->quit ? 0 : rc;
    ph_str all = rest, word = ph_str_word(&rest);
    while (rest.n && ph_is_space(rest.p[rest.n - 1]))
        rest.n--;
    int index = find_verb(word);
    if (word.n == 0 || (s->c->p.utf8 && !ph_str_is_utf8(all)))
        return malformed(s, index, word, rest);
    if ((rc = is_listed(s, s->c->noop_commands, word)) != 0) {
        if (rc < 0)
            return s->quit ? 0 : rc;
        count_junk(s);
        return reply(s, "250 2.0.0 Ok");
    }
    s->total[index]++;
    rc = run(s, index, word, rest, all);
    if (rc >= 0 && (!s->bad || s->forgiven) && index != CMD_XCLIENT)
        s->ok[index]++;
    return rc;
}
