/* ehlo: HELO and EHLO, RFC 5321 4.1.1.1: what we offer, and what is hidden
 * (smtpd_discard_ehlo_keywords).  The reply that most clients get is made once. */
#include <string.h>
#include <posthorn/error.h>
#include "smtpd.h"

/* In the order of the reply. */
static const struct { const char *name; uint32_t bit; const char *args; } keywords[] = {
    { "PIPELINING", KEY_PIPELINING, "" }, { "SIZE", KEY_SIZE, "" }, { "VRFY", KEY_VRFY, "" }, { "ETRN", KEY_ETRN, "" },
    { "XCLIENT", KEY_XCLIENT, " NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT" },
    { "XFORWARD", KEY_XFORWARD, " NAME ADDR PROTO HELO SOURCE PORT IDENT" }, { "ENHANCEDSTATUSCODES", KEY_CODES, "" },
    { "8BITMIME", KEY_8BITMIME, "" }, { "DSN", KEY_DSN, "" }, { "SMTPUTF8", KEY_SMTPUTF8, "" }, { "CHUNKING", KEY_CHUNKING, "" },
};
/* Known names that are not offered (yet): hiding them is no error. */
static const struct { const char *name; uint32_t bit; } others[] = {
    { "STARTTLS", KEY_STARTTLS }, { "AUTH", KEY_AUTH }, { "XVERP", KEY_XVERP }, { "REQUIRETLS", KEY_REQUIRETLS }, { "silent-discard", KEY_SILENT },
};

static uint32_t bit_of(ph_str word)
{
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
        if (ph_str_eq_nocase(word, ph_cstr(keywords[i].name)))
            return keywords[i].bit;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (ph_str_eq_nocase(word, ph_cstr(others[i].name)))
            return others[i].bit;
    return 0;
}

static uint32_t parse_hidden(const char *what, ph_str list)
{
    uint32_t mask = 0;

    for (ph_str word; (word = ph_str_list(&list)).n; ) {
        uint32_t bit = bit_of(word);

        if (!bit)
            ph_log_warn("%s: unknown EHLO keyword \"%.*s\" is ignored", what, PH_FMT(word));
        mask |= bit;
    }
    return mask;
}

static int is_offered(const struct smtpd_conf *c, uint32_t bit, uint32_t allowed)
{
    if (bit & (KEY_XCLIENT | KEY_XFORWARD))
        return (allowed & bit) != 0;
    return !(bit == KEY_VRFY && c->p.no_vrfy) && !(bit == KEY_SMTPUTF8 && !c->p.utf8);
}

/* allowed: KEY_XCLIENT, KEY_XFORWARD for those who may. */
static ph_str make_reply(const struct smtpd_conf *c, struct ph_scope *s, uint32_t hidden, uint32_t allowed)
{
    struct ph_buf b;
    size_t last = 0;

    ph_buf_init(&b, s, 4096);
    ph_buf_printf(&b, "250-%.*s\r\n", PH_FMT(c->p.myhostname));
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++) {
        if (keywords[i].bit & hidden || !is_offered(c, keywords[i].bit, allowed))
            continue;
        last = b.n;
        ph_buf_printf(&b, "250-%s%s", keywords[i].name, keywords[i].args);
        if (keywords[i].bit == KEY_SIZE && c->p.size_limit)
            ph_buf_printf(&b, " %lld", (long long)c->p.size_limit);
        ph_buf_puts(&b, "\r\n");
    }
    b.p[last + 3] = ' ';
    return ph_buf_view(&b);
}

int ehlo_open(struct smtpd_conf *c)
{
    c->hidden = parse_hidden("smtpd_discard_ehlo_keywords", c->p.discard_ehlo);
    c->ehlo = make_reply(c, c->scope, c->hidden, 0);
    return 0;
}

int ehlo_hide(struct session *s)
{
    PH_SCOPED(t, s->scope);
    ph_str list;

    s->hidden = s->c->hidden;
    if (!s->c->discard_ehlo_maps)
        return 0;
    int rc = ph_maps_find(s->c->discard_ehlo_maps, s->w.addr, t, &list);
    if (rc == PH_FOUND)
        s->hidden = parse_hidden("smtpd_discard_ehlo_keyword_address_maps", list);
    return rc < 0 ? rc : 0;
}

static void log_hidden(struct session *s)
{
    PH_SCOPED(t, s->scope);
    struct ph_buf b;

    if (!s->hidden || s->hidden & KEY_SILENT)
        return;
    ph_buf_init(&b, t, 512);
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
        if (s->hidden & keywords[i].bit)
            ph_buf_printf(&b, " %s", keywords[i].name);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (s->hidden & others[i].bit)
            ph_buf_printf(&b, " %s", others[i].name);
    ph_log("discarding EHLO keywords:%.*s", PH_FMT(ph_buf_view(&b)));
}

/* Each room is twice the one before: what was given up is less than what is kept. */
static void helo_room(struct session *s, size_t n)
{
    uint32_t room = s->helo_room ? s->helo_room : 24;

    while (room < n)
        room *= 2;
    if (room > s->helo_room) {
        s->helo_text = ph_alloc(s->scope, room);
        s->helo_room = room;
    }
}

void helo_set(struct session *s, ph_str clean)
{
    clean = ph_str_first(clean, HELO_MAX);
    helo_room(s, clean.n);
    if (clean.n)
        memmove(s->helo_text, clean.p, clean.n);
    s->helo = (ph_str){ s->helo_text, clean.n };
    s->sticky_helo = PH_STR("");
}

/* The name before this one, with what its list raised. */
static void helo_restore(struct session *s, ph_str name, ph_str sticky)
{
    helo_set(s, name);
    if (sticky.n)
        memcpy(s->sticky_text, sticky.p, sticky.n);
    s->sticky_helo = (ph_str){ s->sticky_text, sticky.n };
}

/* smtpd_delay_reject = no.  The name is judged by itself; when it is refused
 * everything is as it was before, RFC 5321 4.1.4: the name and the transaction. */
static int judge_helo(struct session *s, struct ph_scope *t, ph_str clean, const char *verb)
{
    ph_str name = ph_str_dup(t, s->helo), sticky = ph_str_dup(t, s->sticky_helo), text;
    struct transaction under_way = s->t;

    s->t = (struct transaction){ .scope = t };
    helo_set(s, clean);
    int rc = restrict_stage(s, PH_STAGE_HELO, verb, PH_STR(""), &text);
    if (rc == PH_FOUND) {
        rc = reject(s, verb, text, PH_STR(""));
        rc = rc < 0 ? rc : PH_FOUND;
        helo_restore(s, name, sticky);
    }
    s->t = under_way;
    return rc;
}

/* 0: go on; PH_NONE: it was refused and answered; negative. */
static int take_helo(struct session *s, ph_str args, const char *verb)
{
    PH_SCOPED(t, s->scope);
    int rc;

    if (args.n == 0) {
        rc = reply(s, "501 Syntax: %s hostname", verb);
        return rc < 0 ? rc : PH_NONE;
    }
    ph_str clean = clean_helo(t, args);
    if (s->c->p.delay_reject)
        helo_set(s, clean);
    else if ((rc = judge_helo(s, t, clean, verb)) != PH_NONE)
        return rc < 0 ? rc : PH_NONE;
    transaction_reset(s);
    return 0;
}

int do_helo(struct session *s, ph_str args)
{
    int rc = take_helo(s, args, "HELO");

    return rc != 0 ? rc < 0 ? rc : 0 : reply(s, "250 %.*s", PH_FMT(s->c->p.myhostname));
}

int do_ehlo(struct session *s, ph_str args)
{
    uint32_t allowed = (s->may_xclient ? KEY_XCLIENT : 0) | (s->may_xforward ? KEY_XFORWARD : 0);
    int rc;

    /* What we cannot decide we do not guess. */
    if (s->cannot_hide < 0)
        return session_unsure(s, "what EHLO features to announce to");
    if (s->may_xclient < 0)
        return session_unsure(s, "if EHLO feature XCLIENT should be announced to");
    if (s->may_xforward < 0)
        return session_unsure(s, "if EHLO feature XFORWARD should be announced to");
    if ((rc = take_helo(s, args, "EHLO")) != 0)
        return rc < 0 ? rc : 0;
    s->esmtp = 1;
    log_hidden(s);
    if (s->hidden == s->c->hidden && !allowed)
        return reply_lines(s, s->c->ehlo);
    PH_SCOPED(t, s->scope);
    return reply_lines(s, make_reply(s->c, t, s->hidden, allowed));
}
