/* What access tables say and are asked: actions, enhanced codes, replies, the
 * keys of a look-up.  First byte of the input: which of them. */
#include <stdlib.h>
#include <string.h>
#include <posthorn/buf.h>
#include <posthorn/dsn.h>
#include <posthorn/error.h>
#include <posthorn/header.h>
#include "plugins/policy/basic/basic.h"
#include "plugins/service/smtpd/smtpd.h"
#include "fuzz.h"

/* --- actions --- */

static unsigned decisions;
static const char unset[] = "?";

void log_decision(struct session *s PH_UNUSED, const char *keyword, const char *where, ph_str text, ph_str rcpt PH_UNUSED)
{
    FUZZ_CHECK(keyword[0] && where[0], "%.*s", PH_FMT(text));
    decisions++;
}

static const struct subject subjects[] = {
    { "Client host", PH_STR_INIT("mx.example[192.0.2.1]") }, { "Sender address", PH_STR_INIT("a@b.test") },
    { "Recipient address", PH_STR_INIT("c@d.test") }, { "Helo command", PH_STR_INIT("mx") },
};

/* "NNN" of class 4 or 5 stands in front: no other reply may come of a refusal. */
static void refuses(ph_str text)
{
    unsigned code;
    ph_str rest;
    int more;

    FUZZ_CHECK(ph_reply_parse(ph_str_first(text, 4), &code, &more, &rest) && !more && code >= 400, "a refusal that is none: %.*s", PH_FMT(text));
}

/* With a subject the words are whole: the enhanced code is of the reply's class. */
static void is_complete(struct ph_scope *s, ph_str text, const struct subject *sub)
{
    ph_str code, words, about = ph_str_printf(s, "<%.*s>: %s rejected: ", PH_FMT(sub->name), sub->class_);

    FUZZ_CHECK(ph_dsn_parse(ph_str_from(text, 4), &code, &words) && code.p[0] == text.p[0], "no enhanced code: %.*s", PH_FMT(text));
    FUZZ_CHECK(ph_str_starts(words, about), "it does not say about what: %.*s", PH_FMT(text));
}

static void outcome(struct ph_scope *s, struct session *x, const struct subject *sub, ph_str action, enum verdict v, ph_str text)
{
    int refused = v == V_REJECT || v == V_DEFER_IF_PERMIT || v == V_DEFER_IF_REJECT;
    struct ph_header h;
    size_t at = 0;
    int rc;

    FUZZ_CHECK((refused || v == V_RULES) == (text.p != unset), "verdict %d, %.*s", v, PH_FMT(text));
    FUZZ_CHECK(text.n <= action.n + 300, "%zu bytes of %zu", text.n, action.n);
    if (refused)
        refuses(text);
    if (refused && sub)
        is_complete(s, text, sub);
    while ((rc = ph_header_next(x->t.prepend, &at, &h)) == 1)
        ;
    FUZZ_CHECK(rc == 0 && at == x->t.prepend.n, "headers would end: %.*s", PH_FMT(x->t.prepend));
    FUZZ_CHECK(!x->t.prepend.n || ph_str_ends(x->t.prepend, PH_STR("\r\n")), "%.*s", PH_FMT(x->t.prepend));
    FUZZ_CHECK(x->t.open || (!x->t.hold && !x->t.discard && !x->t.redirect.n && !x->t.bcc && !x->t.prepend.n), "no message, and it is changed");
    fuzz_saw(text);
    fuzz_saw_number((int64_t)v * 8 + x->t.hold * 4 + x->t.discard * 2);
}

static void action(struct ph_scope *s, ph_str in)
{
    unsigned how = fuzz_choice(&in, 8), stage = fuzz_choice(&in, 9);
    const struct subject *sub = how & 4 ? NULL : &subjects[how & 3];
    struct smtpd_conf *c = ph_new(s, struct smtpd_conf);
    struct session *x = ph_new(s, struct session);
    ph_str text = ph_cstr(unset);

    c->p.map_reject_code = how & 1 ? 450 : 554;
    c->p.map_defer_code = 451;
    x->c = c;
    x->scope = x->t.scope = s;
    x->t.open = stage >= PH_STAGE_RCPT;
    x->facts.stage = stage;
    for (ph_str one; in.n && x->t.bcc_count < 5; outcome(s, x, sub, one, action_parse(x, s, sub, "RCPT", PH_STR("r@x"), one, &text), text)) {
        one = ph_str_cut(&in, '\x01');
        text = ph_cstr(unset);
    }
}

/* --- codes and replies --- */

static void codes(struct ph_scope *s, ph_str in)
{
    ph_str code, text, back;
    unsigned number;
    int more;

    if (ph_dsn_parse(in, &code, &text)) {
        FUZZ_CHECK(code.n >= 5 && code.n <= 9 && ph_dsn_class(code) == in.p[0], "%.*s", PH_FMT(code));
        FUZZ_CHECK(ph_dsn_parse(ph_str_printf(s, "%.*s x", PH_FMT(code)), &back, &text) && ph_str_eq(back, code), "%.*s", PH_FMT(code));
        fuzz_saw(code);
    }
    if (ph_reply_parse(in, &number, &more, &text)) {
        FUZZ_CHECK(number >= 100 && number <= 599, "%u", number);
        FUZZ_CHECK(text.n + 3 + (in.n > 3) == in.n, "nothing is lost");
        fuzz_saw_number(number * 2 + (unsigned)more);
    }
    FUZZ_CHECK(ph_xtext_decode(s, ph_xtext_encode(s, in), &back), "what is encoded can be decoded");
    FUZZ_SAME(back, in, "xtext there and back");
    if (ph_xtext_decode(s, in, &back)) {
        FUZZ_CHECK(back.n <= in.n && ph_xtext_decode(s, ph_xtext_encode(s, back), &text), "%.*s", PH_FMT(in));
        FUZZ_SAME(text, back, "xtext there and back");
    }
    fuzz_saw_number(ph_notify_flags(in));
}

/* --- keys: every look-up is noted, none is answered --- */

static struct ph_buf asked;
static unsigned asked_count;

static int note(ph_str key, int whole)
{
    FUZZ_CHECK(key.n, "an empty key");
    asked_count++;
    ph_buf_putc(&asked, whole ? '=' : '-');
    ph_buf_str(&asked, key);
    ph_buf_putc(&asked, '\n');
    return PH_NONE;
}

int ph_maps_find(struct ph_maps *m PH_UNUSED, ph_str key, struct ph_scope *out PH_UNUSED, ph_str *val PH_UNUSED) { return note(key, 1); }
int ph_maps_find_part(struct ph_maps *m PH_UNUSED, ph_str key, struct ph_scope *out PH_UNUSED, ph_str *val PH_UNUSED) { return note(key, 0); }

static void keys(struct ph_scope *s, ph_str in)
{
    static const char *const names[] = { "check_client_access", "check_reverse_client_hostname_access", "check_helo_access",
                                         "check_etrn_access", "check_sender_access", "check_recipient_access" };
    struct basic b = { .p = { .delimiter = PH_STR("+-"), .null_key = PH_STR("<>") } };
    struct ph_policy policy = { .scope = s, .self = &b };
    struct ph_restriction r = { .policy = &policy, .name = names[fuzz_choice(&in, 6)] };
    struct ph_policy_facts f = { .size = sizeof f, .has_sender = 1, .has_recipient = 1, .has_helo = 1 };
    ph_str action_text, all = in;

    b.parents = (int)fuzz_choice(&in, 2);
    f.client_address = PH_STR("2001:db8::192.0.2.1");
    f.client_name = f.reverse_name = f.helo = f.etrn_domain = f.sender = f.recipient = in;
    ph_buf_init(&asked, s, 1u << 22);
    asked_count = 0;
    FUZZ_CHECK(check_access(&r, &f, s, &action_text) == PH_NONE, "nobody answered");
    FUZZ_CHECK(asked_count <= in.n * 2 + 20, "%u look-ups", asked_count);
    if (ph_str_starts(ph_cstr(r.name), PH_STR("check_client")) && in.n)
        FUZZ_CHECK(ph_str_starts(ph_str_from(ph_buf_view(&asked), 1), in), "the whole name first");
    fuzz_saw(ph_buf_view(&asked));
    fuzz_saw(all);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const modes[])(struct ph_scope *, ph_str) = { action, codes, keys };
    PH_SCOPED(s, NULL);
    ph_str in = { (const char *)data, size };

    fuzz_quiet();
    modes[fuzz_choice(&in, 3)](s, in);
    return 0;
}
