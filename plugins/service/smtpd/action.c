/* action: what the right-hand side of an access table means, access(5). */
#include <string.h>
#include <posthorn/address.h>
#include <posthorn/dsn.h>
#include <posthorn/error.h>
#include <posthorn/header.h>
#include "smtpd.h"

/* What a table says of another kind of address is put right. */
static ph_str fix_address_code(struct ph_scope *out, const struct subject *sub, ph_str dsn)
{
    int is_sender = strcmp(sub->class_, "Sender address") == 0, is_rcpt = strcmp(sub->class_, "Recipient address") == 0;
    ph_str right = ph_dsn_of_address(out, dsn, is_sender ? 1 : is_rcpt ? 0 : -1);

    if (!ph_str_eq(right, dsn))
        ph_log("mapping DSN status %.*s into %s status %.*s", PH_FMT(dsn), sub->class_, PH_FMT(right));
    return right;
}

/* "450", "4.7.1": from a text that may start with either.  The enhanced code
 * follows the class of the reply; the rest of the text stays. */
static ph_str complete(struct ph_scope *out, const struct subject *sub, unsigned code, const char *dsn, ph_str text, const char *fallback)
{
    ph_str given, rest;

    if (ph_dsn_parse(text, &given, &rest)) {
        text = rest;
        if (sub)
            given = fix_address_code(out, sub, given);
        dsn = ph_str_printf(out, "%u%.*s", code / 100, PH_FMT(ph_str_from(given, 1))).p;
    }
    if (text.n == 0)
        text = ph_cstr(fallback);
    if (!sub)
        return ph_str_printf(out, "%u %s %.*s", code, dsn, PH_FMT(text));
    return ph_str_printf(out, "%u %s <%.*s>: %s rejected: %.*s", code, dsn, PH_FMT(ph_str_first(sub->name, 200)), sub->class_, PH_FMT(text));
}

/* "4NN" or "5NN": the code; else 0. */
static unsigned refusal_code(ph_str word)
{
    uint64_t code;

    return word.n == 3 && ph_str_u64(word, &code) && code >= 400 && code <= 599 ? (unsigned)code : 0;
}

/* Code and words of a reply that is given whole, one blank between. */
static ph_str given_reply(struct ph_scope *out, ph_str code, ph_str text)
{
    return ph_str_printf(out, "%.*s%s%.*s", PH_FMT(code), text.n ? " " : "", PH_FMT(text));
}

/* "4NN text", "5NN text": V_REJECT; all digits otherwise: V_OK, in a table without text
 * those too (access(5): an all-numerical result). */
static enum verdict numeric(struct ph_scope *out, const struct subject *sub, ph_str word, ph_str text, ph_str *reply_text)
{
    unsigned code = sub && text.n == 0 ? 0 : refusal_code(word);

    if (!code)
        return text.n == 0 ? V_OK : V_FAIL;
    *reply_text = sub ? complete(out, sub, code, code < 500 ? "4.7.1" : "5.7.1", text, "Access denied") : given_reply(out, word, text);
    return V_REJECT;
}

/* DEFER_IF_PERMIT, DEFER_IF_REJECT: words, or of a policy a whole reply that defers. */
static ph_str deferral(struct ph_scope *out, const struct subject *sub, ph_str text)
{
    ph_str rest = text, word = ph_str_word(&rest);

    if (!sub && refusal_code(word))
        return given_reply(out, word, rest);
    return complete(out, sub, 450, "4.7.1", text, "Service unavailable");
}

static int all_digits(ph_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!ph_is_digit(s.p[i]))
            return 0;
    return s.n > 0;
}

/* PREPEND: a header above ours; it must be one, or it would end the headers. */
static enum verdict prepend(struct session *s, ph_str text)
{
    struct ph_header h;
    size_t at = 0;

    if (s->facts.stage == PH_STAGE_EOD) {
        ph_log_warn("PREPEND %.*s: the content was passed on already; ignored", PH_FMT(text));
        return V_DUNNO;
    }
    if (ph_str_find(text, '\r') >= 0 || ph_str_find(text, '\n') >= 0 || ph_header_next(text, &at, &h) != 1 || text.p[h.name.n] != ':') {
        ph_log_warn("PREPEND %.*s: not a header; ignored", PH_FMT(text));
        return V_DUNNO;
    }
    s->t.prepend = ph_str_printf(transaction_scope(s), "%.*s%.*s\r\n", PH_FMT(s->t.prepend), PH_FMT(text));
    return V_DUNNO;
}

/* The words of HOLD and DISCARD (triggers is the action) name their subject;
 * those of WARN and INFO stand alone. */
static void say(struct session *s, const char *keyword, const struct subject *sub, const char *where, ph_str rcpt, ph_str text, const char *triggers)
{
    PH_SCOPED(t, s->scope);

    if (triggers && sub && text.n)
        text = ph_str_printf(t, "<%.*s>: %s %.*s", PH_FMT(sub->name), sub->class_, PH_FMT(text));
    else if (triggers && sub)
        text = ph_str_printf(t, "<%.*s>: %s triggers %s action", PH_FMT(sub->name), sub->class_, triggers);
    else if (triggers && text.n == 0)
        text = ph_str_printf(t, "triggers %s action", triggers);
    log_decision(s, keyword, where, text, rcpt);
}

#define BCC_MAX 100u

/* REDIRECT: to this address and to nobody else; the last one counts.  BCC: to
 * this address too. */
static enum verdict send_to(struct session *s, ph_str word, const struct subject *sub, const char *where, ph_str rcpt, ph_str text)
{
    PH_SCOPED(t, s->scope);
    int redirect = ph_str_eq_nocase(word, PH_STR("REDIRECT"));
    ph_str address, rest;

    if (ph_str_find(text, '@') < 0 || !ph_address_parse_path(transaction_scope(s), text, 0, &address, &rest) || rest.n) {
        ph_log_warn("access action %.*s %.*s: no address; ignored", PH_FMT(word), PH_FMT(ph_str_first(text, 200)));
        return V_DUNNO;
    }
    log_decision(s, redirect ? "redirect" : "bcc", where,
                 sub ? ph_str_printf(t, "<%.*s>: %s triggers %s %.*s", PH_FMT(sub->name), sub->class_, redirect ? "REDIRECT" : "BCC", PH_FMT(text)) : text, rcpt);
    if (redirect) {
        s->t.redirect = address;
    } else if (s->t.bcc_count++ < BCC_MAX) {
        struct extra *e = ph_new(transaction_scope(s), struct extra);

        e->address = address;
        e->next = s->t.bcc;
        s->t.bcc = e;
    }
    return V_DUNNO;
}

/* Actions on the whole message. */
static int is_about_message(ph_str word)
{
    static const char *const words[] = { "PREPEND", "HOLD", "DISCARD", "FILTER", "REDIRECT", "BCC" };

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (ph_str_eq_nocase(word, ph_cstr(words[i])))
            return 1;
    return 0;
}

/* VRFY and ETRN carry none and leave the one under way alone; before MAIL there is none. */
static int may_change_message(const struct session *s)
{
    return s->t.open && s->facts.stage != PH_STAGE_VRFY && s->facts.stage != PH_STAGE_ETRN;
}

enum verdict action_parse(struct session *s, struct ph_scope *out, const struct subject *sub, const char *where, ph_str rcpt, ph_str action, ph_str *text)
{
    const struct smtpd_params *p = &s->c->p;
    ph_str rest = ph_str_trim(action), whole = rest, word = ph_str_word(&rest);

    if (word.n == 0 || ph_str_eq_nocase(word, PH_STR("OK")) || ph_str_eq_nocase(word, PH_STR("RELAY")))
        return V_OK;
    if (ph_str_eq_nocase(word, PH_STR("DUNNO")))
        return V_DUNNO;
    if (all_digits(word)) {
        enum verdict v = numeric(out, sub, word, rest, text);

        if (v == V_FAIL)
            ph_log_warn("unknown smtpd restriction: \"%.*s\"", PH_FMT(word));
        return v;
    }
    if (ph_str_eq_nocase(word, PH_STR("REJECT"))) {
        *text = complete(out, sub, (unsigned)p->map_reject_code, p->map_reject_code < 500 ? "4.7.1" : "5.7.1", rest, "Access denied");
        return V_REJECT;
    }
    if (ph_str_eq_nocase(word, PH_STR("DEFER"))) {
        *text = complete(out, sub, (unsigned)p->map_defer_code, "4.7.1", rest, "Access denied");
        return V_REJECT;
    }
    if (ph_str_eq_nocase(word, PH_STR("DEFER_IF_PERMIT")) || ph_str_eq_nocase(word, PH_STR("DEFER_IF_REJECT"))) {
        *text = deferral(out, sub, rest);
        return ph_str_eq_nocase(word, PH_STR("DEFER_IF_PERMIT")) ? V_DEFER_IF_PERMIT : V_DEFER_IF_REJECT;
    }
    if (ph_str_eq_nocase(word, PH_STR("WARN")) || ph_str_eq_nocase(word, PH_STR("INFO"))) {
        say(s, ph_str_eq_nocase(word, PH_STR("WARN")) ? "warn" : "info", sub, where, rcpt, rest, NULL);
        return V_DUNNO;
    }
    if (is_about_message(word) && !may_change_message(s)) {
        ph_log_warn("access action %.*s is ignored: there is no message to apply it to", PH_FMT(word));
        return V_DUNNO;
    }
    if (ph_str_eq_nocase(word, PH_STR("PREPEND")))
        return prepend(s, rest);
    if (ph_str_eq_nocase(word, PH_STR("HOLD")) || ph_str_eq_nocase(word, PH_STR("DISCARD"))) {
        int hold = ph_str_eq_nocase(word, PH_STR("HOLD"));

        say(s, hold ? "hold" : "discard", sub, where, rcpt, rest, hold ? "HOLD" : "DISCARD");
        s->t.hold |= hold;
        s->t.discard |= !hold;
        return hold ? V_DUNNO : V_OK;
    }
    if (ph_str_eq_nocase(word, PH_STR("REDIRECT")) || ph_str_eq_nocase(word, PH_STR("BCC")))
        return send_to(s, word, sub, where, rcpt, rest);
    if (ph_str_eq_nocase(word, PH_STR("FILTER"))) {
        ph_log_warn("access action %.*s is not built yet", PH_FMT(word));
        return V_FAIL;
    }
    *text = ph_str_dup(out, whole);
    return V_RULES;
}
