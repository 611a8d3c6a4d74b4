/* judge: see judge.h.  RFC 5321 4.2 (replies), 4.1.1 (commands), 4.5.2 (end of
 * data), RFC 2034 (enhanced codes), RFC 2920 3.2 (one reply each, in order),
 * RFC 3030 (chunks). */
#include <string.h>
#include "judge.h"

struct reply {
    unsigned code;
    ph_str text;                   /* of the last line, behind the code */
    ph_str all;
};

/* ---- replies ---- */

static unsigned code_of(ph_str line)
{
    FUZZ_CHECK(line.n >= 4 && ph_is_digit(line.p[0]) && ph_is_digit(line.p[1]) && ph_is_digit(line.p[2]), "no code: %.*s", PH_FMT(line));
    FUZZ_CHECK(line.p[0] >= '2' && line.p[0] <= '5', "a code from 2xx to 5xx: %.*s", PH_FMT(line));
    FUZZ_CHECK(line.p[3] == ' ' || line.p[3] == '-', "a blank or minus behind the code: %.*s", PH_FMT(line));
    return (unsigned)((line.p[0] - '0') * 100 + (line.p[1] - '0') * 10 + (line.p[2] - '0'));
}

/* The next line, which must be one: CR LF, 512 bytes, no control bytes. */
static ph_str reply_line(ph_str *rest)
{
    ptrdiff_t lf = ph_str_find(*rest, '\n');

    FUZZ_CHECK(lf >= 0, "a reply without its end: %.*s", PH_FMT(*rest));
    ph_str line = ph_str_first(*rest, (size_t)lf + 1);
    *rest = ph_str_from(*rest, line.n);
    FUZZ_CHECK(line.n >= 2 && line.p[line.n - 2] == '\r' && line.n <= 512, "%zu bytes: %.*s", line.n, PH_FMT(line));
    line.n -= 2;
    for (size_t i = 0; i < line.n; i++)
        FUZZ_CHECK((unsigned char)line.p[i] >= 0x20 && line.p[i] != 0x7f, "byte %u in a reply", (unsigned char)line.p[i]);
    return line;
}

/* 1, or 0 when there is no more. */
static int next_reply(ph_str *rest, struct reply *r)
{
    ph_str start = *rest;
    int more = 1;

    if (rest->n == 0)
        return 0;
    for (int i = 0; more; i++) {
        ph_str line = reply_line(rest);
        unsigned code = code_of(line);

        FUZZ_CHECK(i == 0 || code == r->code, "one code in all lines: %.*s", PH_FMT(line));
        r->code = code;
        r->text = ph_str_from(line, 4);
        more = line.p[3] == '-';
    }
    r->all = ph_str_first(start, start.n - rest->n);
    return 1;
}

static int says(const struct reply *r, const char *words)
{
    return ph_str_search(r->all, ph_cstr(words)) >= 0;
}

/* ---- the client's side ---- */

struct reading {
    struct judge *j;
    ph_str got;                    /* replies not yet read */
    size_t at;                     /* bytes of the client read */
    int ended;                     /* the server said good-bye */
    unsigned rcpts;                /* accepted since MAIL */
};

static int is_good_bye(const struct reply *r)
{
    return r->code == 221 || r->code == 421 || r->code == 521 || says(r, "SMTP protocol synchronization") || says(r, "too many errors");
}

/* The reply of the server to what was just read.  0: there is none. */
static int take(struct reading *x, struct reply *r)
{
    if (!next_reply(&x->got, r))
        return 0;
    x->j->replies++;
    x->ended |= is_good_bye(r);
    return 1;
}

/* RFC 2034: a code of its class in each reply but those to the greeting, HELO and
 * EHLO, and to ETRN, whose replies are those of RFC 1985. */
static void check_enhanced(const struct reading *x, const struct reply *r, ph_str verb)
{
    static const char *const without[] = { "HELO", "EHLO", "ETRN" };

    if (r->code / 100 == 3 || r->code == 220 || x->j->footers)
        return;
    for (size_t i = 0; i < sizeof without / sizeof *without; i++)
        if (ph_str_eq_nocase(verb, ph_cstr(without[i])))
            return;
    ph_str t = r->text;
    FUZZ_CHECK(t.n >= 5 && (unsigned)(t.p[0] - '0') == r->code / 100 && t.p[1] == '.' && ph_is_digit(t.p[2]), "an enhanced code: %.*s", PH_FMT(r->all));
}

/* Answers that belong to one command only: a reply that slipped shows. */
static void check_place(const struct reply *r, ph_str verb, int is_end)
{
    static const struct { const char *text, *verb; } only[] = {
        { "354 ", "DATA" }, { "250 2.1.0 ", "MAIL" }, { "250 2.1.5 ", "RCPT" }, { "252 ", "VRFY" }, { "221 2.0.0 ", "QUIT" }, { "214 ", "HELP" },
    };

    for (size_t i = 0; i < sizeof only / sizeof *only; i++)
        if (ph_str_starts(r->all, ph_cstr(only[i].text)))
            FUZZ_CHECK(!is_end && ph_str_eq_nocase(verb, ph_cstr(only[i].verb)), "%.*s answers %.*s", PH_FMT(r->all), PH_FMT(verb));
    FUZZ_CHECK(is_end || !says(r, "queued as"), "%.*s answers %.*s", PH_FMT(r->all), PH_FMT(verb));
}

static void message_ends(struct reading *x, const struct reply *r)
{
    struct judge *j = x->j;

    if (r->code / 100 == 2) {
        FUZZ_CHECK(x->rcpts > 0, "a message without a recipient: %.*s", PH_FMT(r->all));
        if (j->accepted < sizeof j->rcpts / sizeof *j->rcpts)
            j->rcpts[j->accepted] = x->rcpts;
        j->accepted++;
    }
    x->rcpts = 0;
}

/* Bytes up to and with the end of data; 0: it is not there.  Strict: a dot alone
 * between two CR LF, the one behind DATA among them.  Loose, as of old: a dot
 * alone on a line however it ends. */
static size_t data_end(ph_str in, int loose)
{
    int start = 1;

    for (size_t i = 0; i < in.n; i++) {
        if (start && in.p[i] == '.') {
            size_t k = i + 1;

            while (loose && k < in.n && in.p[k] == '\r' && k - i <= 64)
                k++;
            if (!loose && k < in.n && in.p[k] == '\r')
                k++;
            if (k < in.n && in.p[k] == '\n' && (loose || k == i + 2))
                return k + 1;
        }
        start = in.p[i] == '\n' && (loose || (i && in.p[i - 1] == '\r'));
    }
    return 0;
}

static void data(struct reading *x)
{
    ph_str in = ph_str_from(x->j->sent, x->at);
    size_t n = data_end(in, x->j->loose);
    struct reply r;

    if (n == 0) {
        x->at = x->j->sent.n;      /* all that came is content */
        return;
    }
    x->at += n;
    FUZZ_CHECK(take(x, &r), "no reply to the end of data");
    check_enhanced(x, &r, PH_STR("."));
    check_place(&r, PH_STR("."), 1);
    message_ends(x, &r);
}

static int says_bytes(const struct reply *r, uint64_t n)
{
    PH_SCOPED(s, NULL);

    return says(r, ph_str_printf(s, "Ok: %llu bytes", (unsigned long long)n).p);
}

#define SWALLOW_MAX (10u << 20)    /* of a chunk that is refused; a server has to end somewhere */

struct chunk {
    uint64_t n;
    int valid, last;
};

static struct chunk parse_bdat(ph_str args)
{
    ph_str size = ph_str_word(&args), last = ph_str_word(&args);
    struct chunk k = { .last = last.n > 0 };

    k.valid = ph_str_u64(size, &k.n) && k.n <= INT64_MAX && (last.n == 0 || ph_str_eq_nocase(last, PH_STR("LAST"))) && ph_str_trim(args).n == 0;
    return k;
}

/* The bytes of a chunk are no commands, whatever is said of it: a server that does
 * not swallow them says good-bye. */
static void bdat(struct reading *x, ph_str args, struct reply *r, int has_reply)
{
    struct chunk k = parse_bdat(args);
    size_t left = x->j->sent.n - x->at;
    int whole = k.valid && k.n <= left;

    if (has_reply && !x->ended && says(r, "access denied for"))
        return;                    /* nothing is accepted in this session */
    x->at += whole ? (size_t)k.n : left;
    if (!has_reply) {
        FUZZ_CHECK(!whole, "no reply to a whole chunk of %llu", (unsigned long long)k.n);
        return;
    }
    check_enhanced(x, r, PH_STR("BDAT"));
    check_place(r, PH_STR("BDAT"), k.last);
    if (!whole && k.valid && k.n > SWALLOW_MAX)
        x->ended = 1;              /* refused, and the connection with it */
    FUZZ_CHECK(x->ended || whole, "a chunk that is not there was answered: %.*s", PH_FMT(r->all));
    if (whole && k.last)
        message_ends(x, r);
    FUZZ_CHECK(!whole || k.last || r->code != 250 || says_bytes(r, k.n), "%.*s", PH_FMT(r->all));
}

/* Of a line without end each piece is answered. */
static void long_line(struct reading *x, size_t n)
{
    struct reply r;

    for (size_t pieces = n / (2 * x->j->line_max); pieces && !x->ended; pieces--)
        FUZZ_CHECK(take(x, &r) && r.code != 250, "no reply to a piece of a long line");
}

static void note_rcpts(struct reading *x, const struct reply *r, ph_str verb)
{
    static const char *const resets[] = { "MAIL", "RSET", "HELO", "EHLO", "XCLIENT" };

    if (ph_str_eq_nocase(verb, PH_STR("RCPT")) && r->code == 250)
        x->rcpts++;
    for (size_t i = 0; i < sizeof resets / sizeof *resets; i++)
        if (ph_str_eq_nocase(verb, ph_cstr(resets[i])) && r->code / 100 == 2)
            x->rcpts = 0;
}

/* One command line and what follows it. */
static void command(struct reading *x, ph_str line)
{
    ph_str rest = line, verb;
    struct reply r;

    if (line.n > x->j->line_max)
        rest = PH_STR("");         /* not looked into */
    while (rest.n && ph_is_space(rest.p[0]))
        rest = ph_str_from(rest, 1);
    verb = ph_str_word(&rest);
    x->j->commands++;
    int has_reply = take(x, &r);
    /* Of the command line itself, not of the content of a chunk. */
    x->ended |= has_reply && (line.n == 0 || line.p[line.n - 1] != '\r') && says(&r, "Error: bare <LF> received");
    if (ph_str_eq_nocase(verb, PH_STR("BDAT"))) {
        bdat(x, rest, &r, has_reply);
        return;
    }
    FUZZ_CHECK(has_reply, "no reply to %.*s", PH_FMT(line));
    long_line(x, line.n);
    check_enhanced(x, &r, verb);
    check_place(&r, verb, 0);
    note_rcpts(x, &r, verb);
    if (r.code == 354)
        data(x);
}

void judge_session(struct judge *j)
{
    struct reading x = { .j = j, .got = j->got };
    struct reply r;

    FUZZ_CHECK(take(&x, &r), "no greeting");
    while (!x.ended && x.at < j->sent.n) {
        ph_str in = ph_str_from(j->sent, x.at);
        ptrdiff_t lf = ph_str_find(in, '\n');

        if (lf < 0)
            break;
        x.at += (size_t)lf + 1;
        command(&x, ph_str_first(in, (size_t)lf));
    }
    if (!x.ended && take(&x, &r))
        FUZZ_CHECK(r.code == 421, "a reply that nobody asked for: %.*s", PH_FMT(r.all));
    FUZZ_CHECK(x.ended == j->closed, "the server said good-bye: %d; it hung up: %d", x.ended, j->closed);
    FUZZ_CHECK(x.got.n == 0, "replies that nobody asked for: %.*s", PH_FMT(x.got));
}
