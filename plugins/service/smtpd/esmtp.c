/* esmtp: the parameters of MAIL and RCPT: RFC 1870 SIZE, 6152 BODY, 6531
 * SMTPUTF8, 3461 RET, ENVID, NOTIFY, ORCPT, 4954 AUTH, 6533 ORCPT of type utf-8. */
#include <posthorn/address.h>
#include <posthorn/dsn.h>
#include <posthorn/error.h>
#include "smtpd.h"

#define ENVID_MAX 100u             /* RFC 3461 4.4 */
#define ORCPT_MAX 1000u

#define NO_DSN    "501 5.7.1 DSN support is disabled"

static struct refusal refuse(const char *text)
{
    return (struct refusal){ .text = text };
}

static const struct refusal fine = { 0 };

static struct refusal unsupported(struct session *s, ph_str word)
{
    return refuse(ph_str_printf(transaction_scope(s), "555 5.5.4 Unsupported option: %.*s", PH_FMT(ph_str_first(word, 200))).p);
}

/* No byte that could end a line, or a string, anywhere behind us. */
static int is_printable(ph_str v, int also_tab, int also_utf8)
{
    for (size_t i = 0; i < v.n; i++)
        if (!ph_is_print(v.p[i]) && !(also_tab && v.p[i] == '\t') && !(also_utf8 && (unsigned char)v.p[i] >= 0x80))
            return 0;
    return !also_utf8 || ph_str_is_utf8(v);
}

/* ---- MAIL ---- */

static struct refusal take_size(struct session *s, ph_str value, struct mail_args *a)
{
    uint64_t n;

    for (size_t i = 0; i < value.n; i++)
        if (!ph_is_digit(value.p[i]))
            return refuse("501 5.5.4 Bad message size syntax");
    if (value.n == 0)
        return refuse("501 5.5.4 Bad message size syntax");
    if (!ph_str_u64(value, &n))
        return (struct refusal){ "552 5.3.4 Message size exceeds file system imposed limit", 1 };
    if (s->c->p.size_limit && n > (uint64_t)s->c->p.size_limit)
        return (struct refusal){ "552 5.3.4 Message size exceeds fixed limit", 1 };
    a->size = n;
    return fine;
}

static struct refusal take_ret(struct session *s, ph_str value, struct mail_args *a)
{
    if (s->hidden & KEY_DSN)
        return refuse(NO_DSN);
    if (a->ret || (!ph_str_eq_nocase(value, PH_STR("FULL")) && !ph_str_eq_nocase(value, PH_STR("HDRS"))))
        return refuse("501 5.5.4 Bad RET parameter syntax");
    a->ret = ph_str_eq_nocase(value, PH_STR("FULL")) ? "FULL" : "HDRS";
    return fine;
}

static struct refusal take_envid(struct session *s, ph_str value, struct mail_args *a)
{
    if (s->hidden & KEY_DSN)
        return refuse(NO_DSN);
    if (a->envid.n || value.n == 0 || value.n > ENVID_MAX || !ph_xtext_decode(transaction_scope(s), value, &a->envid) || !is_printable(a->envid, 1, 0))
        return refuse("501 5.5.4 Bad ENVID parameter syntax");
    return fine;
}

/* Accepted from anybody: it is for the log and for policy. */
static struct refusal take_auth(struct session *s, ph_str value, struct mail_args *a)
{
    if (a->auth.n)
        return refuse("503 5.5.4 Error: multiple AUTH= options");
    if (!is_printable(value, 0, 0))
        return refuse("501 5.5.4 Bad AUTH parameter syntax");
    if (!ph_str_eq(value, PH_STR("<>")))
        a->auth = ph_str_dup(transaction_scope(s), value);
    return fine;
}

static struct refusal mail_arg(struct session *s, ph_str word, struct mail_args *a)
{
    static const struct { const char *name; struct refusal (*take)(struct session *, ph_str, struct mail_args *); } valued[] = {
        { "SIZE", take_size }, { "RET", take_ret }, { "ENVID", take_envid }, { "AUTH", take_auth },
    };
    ph_str value = word, name = ph_str_cut(&value, '=');

    if (ph_str_eq_nocase(word, PH_STR("BODY=8BITMIME")) || ph_str_eq_nocase(word, PH_STR("BODY=7BIT"))) {
        a->body = ph_str_eq_nocase(value, PH_STR("7BIT")) ? "7BIT" : "8BITMIME";
        return fine;
    }
    if (asks_utf8(s, word)) {
        a->utf8 = 1;
        return fine;
    }
    for (size_t i = 0; name.n < word.n && i < sizeof valued / sizeof *valued; i++)
        if (ph_str_eq_nocase(name, ph_cstr(valued[i].name)))
            return valued[i].take(s, value, a);
    return unsupported(s, word);
}

struct refusal mail_args_parse(struct session *s, ph_str rest, struct mail_args *a)
{
    struct refusal r = fine;

    for (ph_str word; !r.text && (word = ph_str_word(&rest)).n; )
        r = mail_arg(s, word, a);
    return r;
}

int asks_utf8(const struct session *s, ph_str words)
{
    if (!s->c->p.utf8 || s->hidden & KEY_SMTPUTF8)
        return 0;
    for (ph_str word; (word = ph_str_word(&words)).n; )
        if (ph_str_eq_nocase(word, PH_STR("SMTPUTF8")))
            return 1;
    return 0;
}

int is_domain_allowed(ph_str address, int utf8)
{
    ph_str local, domain;

    ph_address_split(address, &local, &domain);
    return utf8 ? ph_str_is_utf8(address) : ph_str_is_ascii(domain);
}

/* ---- RCPT ---- */

static struct refusal take_notify(struct session *s, ph_str value, struct rcpt_args *a)
{
    static const char *const names[8] = {
        NULL, "SUCCESS", "FAILURE", "SUCCESS,FAILURE", "DELAY", "SUCCESS,DELAY", "FAILURE,DELAY", "SUCCESS,FAILURE,DELAY",
    };
    const char *const bad = "501 5.5.4 Error: Bad NOTIFY parameter syntax";
    unsigned bits = 0;

    if (s->hidden & KEY_DSN)
        return refuse(NO_DSN);
    if (a->notify || value.n == 0)
        return refuse(bad);
    if (ph_str_eq_nocase(value, PH_STR("NEVER"))) {
        a->notify = "NEVER";
        return fine;
    }
    while (value.n) {
        int last = ph_str_find(value, ',') < 0;
        ph_str word = ph_str_cut(&value, ',');
        unsigned bit = ph_str_eq_nocase(word, PH_STR("SUCCESS")) ? 1 : ph_str_eq_nocase(word, PH_STR("FAILURE")) ? 2 :
                       ph_str_eq_nocase(word, PH_STR("DELAY")) ? 4 : 0;
        if (!bit || (!last && value.n == 0))
            return refuse(bad);
        bits |= bit;
    }
    a->notify = names[bits];
    return fine;
}

/* One character as UTF-8; 0 when there is no such character. */
static int put_utf8(struct ph_buf *b, uint32_t c)
{
    if (c < 0x20 || c == 0x7f || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return 0;
    if (c < 0x80) {
        ph_buf_putc(b, (char)c);
    } else if (c < 0x800) {
        ph_buf_putc(b, (char)(0xc0 | c >> 6));
        ph_buf_putc(b, (char)(0x80 | (c & 63)));
    } else if (c < 0x10000) {
        ph_buf_putc(b, (char)(0xe0 | c >> 12));
        ph_buf_putc(b, (char)(0x80 | (c >> 6 & 63)));
        ph_buf_putc(b, (char)(0x80 | (c & 63)));
    } else {
        ph_buf_putc(b, (char)(0xf0 | c >> 18));
        ph_buf_putc(b, (char)(0x80 | (c >> 12 & 63)));
        ph_buf_putc(b, (char)(0x80 | (c >> 6 & 63)));
        ph_buf_putc(b, (char)(0x80 | (c & 63)));
    }
    return 1;
}

/* "{E4}" behind a backslash and x: bytes used, or 0. */
static size_t take_code(ph_str in, uint32_t *c)
{
    size_t i = 1;

    *c = 0;
    if (in.n < 3 || in.p[0] != '{')
        return 0;
    for (; i < in.n && i < 8 && in.p[i] != '}'; i++) {
        char x = ph_lower(in.p[i]);

        if (!ph_is_digit(x) && (x < 'a' || x > 'f'))
            return 0;
        *c = *c * 16 + (uint32_t)(ph_is_digit(x) ? x - '0' : x - 'a' + 10);
    }
    return i > 1 && i < in.n && in.p[i] == '}' ? i + 1 : 0;
}

/* RFC 6533 3: \x{E4} for what is not there as itself; xtext is tolerated. */
static int decode_utf8(struct ph_scope *s, ph_str in, ph_str *out)
{
    struct ph_buf b;
    uint32_t c;

    ph_buf_init(&b, s, in.n + 4);
    while (in.n) {
        size_t used = 1;

        if (in.p[0] == '\\') {
            used = in.n > 2 && in.p[1] == 'x' ? take_code(ph_str_from(in, 2), &c) : 0;
            if (!used || !put_utf8(&b, c))
                return 0;
            used += 2;
        } else if (in.p[0] == '+') {
            ph_str one;

            if (!ph_xtext_decode(s, ph_str_first(in, 3), &one))
                return 0;
            ph_buf_str(&b, one);
            used = 3;
        } else if (in.p[0] == '=') {
            return 0;
        } else {
            ph_buf_putc(&b, in.p[0]);
        }
        in = ph_str_from(in, used);
    }
    *out = ph_buf_view(&b);
    return 1;
}

static struct refusal take_orcpt(struct session *s, ph_str value, struct rcpt_args *a)
{
    const char *const bad = "501 5.5.4 Error: Bad ORCPT parameter syntax";
    ph_str type, decoded, whole = value;
    int good, utf8;

    if (s->hidden & KEY_DSN)
        return refuse(NO_DSN);
    if (a->orcpt.n || ph_str_find(value, ';') <= 0 || value.n > ORCPT_MAX)
        return refuse(bad);
    type = ph_str_cut(&value, ';');
    utf8 = ph_str_eq_nocase(type, PH_STR("utf-8"));
    good = utf8 ? decode_utf8(transaction_scope(s), value, &decoded) : ph_xtext_decode(transaction_scope(s), value, &decoded);
    if (!good || !is_printable(type, 0, 0) || !is_printable(decoded, 0, utf8))
        return refuse(bad);
    a->orcpt = decoded.n ? ph_str_printf(transaction_scope(s), "%.*s;%.*s", PH_FMT(type), PH_FMT(decoded)) : ph_str_dup(transaction_scope(s), whole);
    return fine;
}

void rcpt_args_written(struct session *s, ph_str written, ph_str address, struct rcpt_args *a)
{
    written = ph_str_trim(written);
    if (written.n > 1 && written.p[0] == '<' && written.p[written.n - 1] == '>')
        written = ph_str_first(ph_str_from(written, 1), written.n - 2);
    if (a->orcpt.n || ph_str_eq(written, address) || written.n > ORCPT_MAX || !is_printable(written, 0, 1))
        return;
    a->orcpt = ph_str_printf(transaction_scope(s), "%s;%.*s", ph_dsn_address_type(written), PH_FMT(written));
}

struct refusal rcpt_args_parse(struct session *s, ph_str rest, struct rcpt_args *a)
{
    struct refusal r = fine;

    for (ph_str word; !r.text && (word = ph_str_word(&rest)).n; ) {
        ph_str value = word, name = ph_str_cut(&value, '=');

        if (name.n < word.n && ph_str_eq_nocase(name, PH_STR("NOTIFY")))
            r = take_notify(s, value, a);
        else if (name.n < word.n && ph_str_eq_nocase(name, PH_STR("ORCPT")))
            r = take_orcpt(s, value, a);
        else
            r = unsupported(s, word);
    }
    return r;
}
