/* ehlo: what a server offers, RFC 5321 4.1.1.1, and what of it is believed. */
#include "smtp.h"

static int is_in(ph_str list, ph_str word)
{
    for (ph_str w; (w = ph_str_list(&list)).n;)
        if (ph_str_eq_nocase(w, word))
            return 1;
    return 0;
}

int smtp_ehlo_forget(struct smtp_session *s)
{
    const struct smtp *a = s->agent;

    s->disbelieved = a->p.discard_keywords;
    if (!a->discard_maps || s->host.path.n)
        return 0;
    int rc = ph_maps_find(a->discard_maps, ph_ip_format(s->scope, &s->host.ip), s->scope, &s->disbelieved);
    if (rc == PH_NONE)
        s->disbelieved = a->p.discard_keywords;
    return rc < 0 ? rc : 0;
}

static const struct { const char *word; uint32_t feature; } known[] = {
    { "PIPELINING", SMTP_HAS_PIPELINING }, { "SIZE", SMTP_HAS_SIZE }, { "8BITMIME", SMTP_HAS_8BITMIME }, { "DSN", SMTP_HAS_DSN },
    { "SMTPUTF8", SMTP_HAS_SMTPUTF8 }, { "AUTH", SMTP_HAS_AUTH }, { "XFORWARD", SMTP_HAS_XFORWARD },
    { "CHUNKING", SMTP_HAS_CHUNKING },
};

void smtp_ehlo_log(struct smtp_session *s)
{
    char words[200] = "";
    struct ph_buf b;

    if (!s->discarded || is_in(s->disbelieved, PH_STR("silent-discard")))
        return;
    ph_buf_fixed(&b, words, sizeof words);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (s->discarded & known[i].feature)
            ph_buf_printf(&b, " %s", known[i].word);
    ph_log("discarding EHLO keywords:%s", b.p);
    s->discarded = 0;
}

static void note_xforward(struct smtp_session *s, ph_str words)
{
    static const char *const names[] = SMTP_XFORWARD_NAMES;

    for (ph_str w; (w = ph_str_word(&words)).n;)
        for (uint32_t i = 0; i < SMTP_XFORWARD_COUNT; i++)
            if (ph_str_eq_nocase(w, ph_cstr(names[i])))
                s->xforward |= 1u << i;
}

void smtp_ehlo_keyword(struct smtp_session *s, ph_str text)
{
    ph_str word = ph_str_word(&text);
    uint32_t feature = 0;

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (ph_str_eq_nocase(word, ph_cstr(known[i].word)))
            feature = known[i].feature;
    if (ph_str_starts_nocase(word, PH_STR("AUTH=")))
        feature = SMTP_HAS_AUTH;
    if (feature && s->disbelieved.n && is_in(s->disbelieved, feature == SMTP_HAS_AUTH ? PH_STR("AUTH") : word)) {
        s->discarded |= feature;
        return;
    }
    s->features |= feature;
    if (feature == SMTP_HAS_SIZE && !ph_str_u64(ph_str_trim(text), &s->size_limit))
        s->size_limit = 0;
    if (feature == SMTP_HAS_XFORWARD)
        note_xforward(s, text);
}
