/* verbs: the table of commands, RFC 5321 4.1, and the small ones. */
#include <string.h>
#include <posthorn/address.h>
#include <posthorn/error.h>
#include "smtpd.h"

#define JUNK       1u              /* without effect on mail: limited */
#define MUST_END   2u              /* nothing may be pipelined behind it, RFC 2920 3.1 */

static int keyword_hidden(const struct session *s, const char *word)
{
    ph_str list = s->c->p.discard_ehlo, w;

    while ((w = ph_str_list(&list)).n)
        if (ph_str_eq_nocase(w, ph_cstr(word)))
            return 1;
    return 0;
}

static int take_helo(struct session *s, ph_str args, const char *verb, uint32_t stage)
{
    ph_str text;

    if (args.n == 0)
        return reply(s, "501 Syntax: %s hostname", verb) < 0 ? PH_EOF : PH_NONE;
    transaction_reset(s);
    s->helo = clean_helo(s->scope, args);
    if (s->c->p.delay_reject)
        return 0;
    int rc = restrict_stage(s, stage, verb, PH_STR(""), &text);
    if (rc != PH_FOUND)
        return rc < 0 ? rc : 0;
    rc = reject(s, verb, text, PH_STR(""));
    s->helo = PH_STR("");
    return rc < 0 ? rc : PH_NONE;
}

static int do_helo(struct session *s, ph_str args)
{
    int rc = take_helo(s, args, "HELO", PH_STAGE_HELO);

    return rc != 0 ? rc < 0 ? rc : 0 : reply(s, "250 %.*s", PH_FMT(s->c->p.myhostname));
}

static int do_ehlo(struct session *s, ph_str args)
{
    struct { const char *name, *text; } words[] = {
        { "PIPELINING", "PIPELINING" }, { "SIZE", "SIZE" }, { "VRFY", "VRFY" }, { "ENHANCEDSTATUSCODES", "ENHANCEDSTATUSCODES" }, { "8BITMIME", "8BITMIME" },
    };
    int rc = take_helo(s, args, "EHLO", PH_STAGE_HELO), count = 0;
    const char *lines[8];

    if (rc != 0)
        return rc < 0 ? rc : 0;
    s->esmtp = 1;
    if (s->c->p.size_limit)
        words[1].text = ph_str_printf(s->scope, "SIZE %lld", (long long)s->c->p.size_limit).p;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!keyword_hidden(s, words[i].name) && !(strcmp(words[i].name, "VRFY") == 0 && s->c->p.no_vrfy))
            lines[count++] = words[i].text;
    rc = reply(s, "250%c%.*s", count ? '-' : ' ', PH_FMT(s->c->p.myhostname));
    for (int i = 0; rc >= 0 && i < count; i++)
        rc = reply(s, "250%c%s", i + 1 < count ? '-' : ' ', lines[i]);
    return rc;
}

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

/* RFC 5321 3.5.3: 252, we do not promise to deliver. */
static int do_vrfy(struct session *s, ph_str args)
{
    PH_SCOPED(t, s->scope);
    ph_str address, rest, text;

    if (s->c->p.no_vrfy)
        return reply(s, "502 5.5.1 VRFY command is disabled");
    if (args.n == 0)
        return reply(s, "501 5.5.4 Syntax: VRFY address");
    if (!ph_address_parse_path(t, args, 0, &address, &rest) || address.n == 0 || rest.n)
        return reply(s, "501 5.1.3 Bad recipient address syntax");
    int rc = restrict_stage(s, PH_STAGE_VRFY, "VRFY", address, &text);
    if (rc == PH_FOUND)
        return reject(s, "VRFY", text, address);
    return rc < 0 ? rc : reply(s, "252 2.0.0 %.*s", PH_FMT(ph_address_external(t, address)));
}

static int do_help(struct session *s, ph_str args PH_UNUSED)
{
    return reply(s, "214 2.0.0 Commands: DATA EHLO HELO HELP MAIL NOOP QUIT RCPT RSET VRFY");
}

static int do_quit(struct session *s, ph_str args PH_UNUSED)
{
    int rc = reply(s, "221 2.0.0 Bye");

    s->quit = 1;
    return rc;
}

static const struct verb {
    const char *name;
    int index;
    uint32_t is;
    int (*run)(struct session *s, ph_str args);
} verbs[] = {
    { "HELO", CMD_HELO, JUNK | MUST_END, do_helo }, { "EHLO", CMD_EHLO, JUNK | MUST_END, do_ehlo }, { "MAIL", CMD_MAIL, 0, do_mail },
    { "RCPT", CMD_RCPT, 0, do_rcpt }, { "DATA", CMD_DATA, MUST_END, do_data }, { "RSET", CMD_RSET, JUNK, do_rset },
    { "NOOP", CMD_NOOP, JUNK | MUST_END, do_noop }, { "VRFY", CMD_VRFY, JUNK | MUST_END, do_vrfy }, { "QUIT", CMD_QUIT, 0, do_quit },
    { "HELP", CMD_HELP, 0, do_help },
};

static const struct verb *find_verb(ph_str word)
{
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (ph_str_eq_nocase(word, ph_cstr(verbs[i].name)))
            return &verbs[i];
    return NULL;
}

static int in_list(ph_str list, ph_str word)
{
    for (ph_str w; (w = ph_str_list(&list)).n; )
        if (ph_str_eq_nocase(w, word))
            return 1;
    return 0;
}

/* A header, an HTTP request, a byte that starts no command: this is no mail
 * client, and somebody may be speaking through it. */
static int is_foreign(const struct session *s, ph_str word)
{
    if (!ph_is_alpha(word.p[0]) || word.p[word.n - 1] == ':')
        return s->c->p.forbidden.n > 0;
    return in_list(s->c->p.forbidden, word);
}

static int unknown(struct session *s, ph_str word, ph_str line)
{
    int rc;

    s->where = "UNKNOWN";
    if (is_foreign(s, word)) {
        ph_log_warn("non-SMTP command from %.*s: %.*s", PH_FMT(s->name_addr), PH_FMT(ph_str_first(line, 100)));
        rc = reply(s, "221 2.7.0 Error: I can break rules, too. Goodbye.");
        s->quit = 1;
        return rc;
    }
    return reply(s, "500 5.5.2 Error: command not recognized");
}

/* RFC 2920 3.1: a client that sends on before it has our answer may be a
 * worm, or two clients in one. */
static int check_pipelining(struct session *s, const struct verb *v)
{
    ph_str more;

    if (!(v->is & MUST_END) && s->esmtp)
        return 0;
    if (ph_stream_pending(s->io) == 0)
        return 0;
    if (ph_stream_peek(s->io, &more) < 0)
        return 0;
    if (!s->bad_pipelining)
        ph_log("improper command pipelining after %s from %.*s: %.*s", v->name, PH_FMT(s->name_addr), PH_FMT(ph_str_first(more, 100)));
    s->bad_pipelining = 1;
    if (!s->c->p.forbid_pipelining || ph_match(s->c->pipelining_exclusions, s->name, s->peer->address) == PH_FOUND)
        return 0;
    int rc = reply(s, "554 5.5.0 Error: SMTP protocol synchronization");
    s->quit = 1;
    return rc < 0 ? rc : 1;
}

static int run(struct session *s, const struct verb *v, ph_str args)
{
    int64_t errors = s->errors;

    s->where = v->name;
    s->total[v->index]++;
    int rc = check_pipelining(s, v);
    if (rc != 0)
        return rc < 0 ? rc : 0;
    if (v->is & JUNK && s->junk++ > s->c->p.junk_limit)
        s->errors++;
    rc = v->run(s, args);
    if (rc >= 0 && (s->errors <= errors || s->errors == 0))
        s->ok[v->index]++;
    return rc;
}

int verb_run(struct session *s, ph_str line)
{
    /* The view is void once we yield: keep the line. */
    PH_SCOPED(t, s->scope);
    ph_str rest = ph_str_dup(t, line), all = rest, word = ph_str_word(&rest);

    while (rest.n && ph_is_space(rest.p[rest.n - 1]))
        rest.n--;
    if (word.n == 0)
        return reply(s, "500 5.5.2 Error: bad syntax");
    const struct verb *v = find_verb(word);
    if (v)
        return run(s, v, rest);
    s->total[CMD_UNKNOWN]++;
    if (in_list(s->c->p.noop_commands, word)) {
        if (s->junk++ > s->c->p.junk_limit)
            s->errors++;
        return reply(s, "250 2.0.0 Ok");
    }
    return unknown(s, word, all);
}
