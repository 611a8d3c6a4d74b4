/* t/unit/mail.c: addresses, headers, dates, status codes. */
#include "tap.h"
#include <posthorn/address.h>
#include <posthorn/date.h>
#include <posthorn/dsn.h>
#include <posthorn/error.h>
#include <posthorn/header.h>

static const struct { const char *in; int strict; const char *want, *rest; } paths[] = {
    { "<a@b.c>", 1, "a@b.c", "" }, { "<>", 1, "", "" }, { "<a@b.c> SIZE=1 X=2", 1, "a@b.c", "SIZE=1 X=2" },
    { "<\"john doe\"@x>", 1, "john doe@x", "" }, { "<\"a\\\"b\\\\c\"@x>", 1, "a\"b\\c@x", "" }, { "<@r1,@r2:a@b>", 1, "a@b", "" },
    { "<postmaster>", 1, "postmaster", "" }, { "<a@[192.0.2.1]>", 1, "a@[192.0.2.1]", "" }, { "<a@[IPv6:2001:db8::1]>", 1, "a@[IPv6:2001:db8::1]", "" },
    { "a@b", 0, "a@b", "" }, { " <a@b> ", 0, "a@b", "" }, { "< a@b >", 0, "a@b", "" }, { "a@b SIZE=3", 0, "a@b", "SIZE=3" },
    { "<@x>", 1, NULL, "" }, { "<@x>", 0, "@x", "" }, { "<\"\"@x>", 1, "@x", "" },
    { "a@b", 1, NULL, "" }, { " <a@b>", 1, NULL, "" }, { "<a@b", 1, NULL, "" }, { "<a b@c>", 1, NULL, "" }, { "<a@b>x", 1, NULL, "" },
    { "<a@b@c>", 1, NULL, "" }, { "<\"a@b>", 1, NULL, "" }, { "<a@[1.2.3.4]x>", 1, NULL, "" }, { "<a@[1.2.3.4>", 1, NULL, "" }, { "", 0, NULL, "" },
    { "<a\r\nb@c>", 0, NULL, "" }, { "<a@b\x01>", 0, NULL, "" }, { "<\"u@other\"@here>", 1, "u@other@here", "" }, { "<a(c)@b>", 0, NULL, "" },
    { "<\"a@b:c\">", 0, NULL, "" }, { "<\"a@b\">", 0, "a@b", "" }, { "<a@[[1.2.3.4]>", 0, NULL, "" },
    { "<\"a\tb\"@c>", 0, NULL, "" }, { "<\"a\x0b" "b\"@c>", 0, NULL, "" }, { "<\"a\\\x7f\"@c>", 0, NULL, "" }, { "<\"a\rb\"@c>", 0, NULL, "" },
};

static void test_paths(struct ph_scope *s)
{
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        ph_str a = PH_STR("?"), rest = PH_STR("");
        int rc = ph_address_parse_path(s, ph_cstr(paths[i].in), paths[i].strict, &a, &rest);

        if (!paths[i].want)
            is_int(rc, 0, "%s is refused", paths[i].in);
        else
            ok(rc == 1 && ph_str_eq(a, ph_cstr(paths[i].want)) && ph_str_eq(rest, ph_cstr(paths[i].rest)), "%s (%.*s)", paths[i].in, PH_FMT(a));
    }
}

static void test_forms(struct ph_scope *s)
{
    static const char *const internal[] = { "a@b", "john doe@x", "a..b@x", ".a@x", "a\"q@x", "u@other@here", "", "plain", "f\xc3\xbc@x" };
    static const char *const external[] = { "a@b", "\"john doe\"@x", "\"a..b\"@x", "\".a\"@x", "\"a\\\"q\"@x", "\"u@other\"@here", "", "plain", "f\xc3\xbc@x" };
    ph_str back, user, ext;
    char d;

    for (size_t i = 0; i < sizeof internal / sizeof *internal; i++) {
        is_bytes(ph_address_external(s, ph_cstr(internal[i])), external[i], "external form of %s", internal[i]);
        ok(ph_address_internal(s, ph_cstr(external[i]), &back) && ph_str_eq(back, ph_cstr(internal[i])), "and back");
    }
    ph_address_extension(PH_STR("user+a-b"), PH_STR("+-"), &user, &ext, &d);
    ok(ph_str_eq(user, PH_STR("user")) && ph_str_eq(ext, PH_STR("a-b")) && d == '+', "the first delimiter splits");
    ph_address_extension(PH_STR("+user"), PH_STR("+"), &user, &ext, &d);
    ok(d == 0 && ph_str_eq(user, PH_STR("+user")), "not at the start");
    ph_address_extension(PH_STR("list-request"), PH_STR("-"), &user, &ext, &d);
    ok(d == 0, "list-request stays whole");
    ph_address_extension(PH_STR("mailer-daemon"), PH_STR("-"), &user, &ext, &d);
    ok(d == 0, "mailer-daemon stays whole");
}

static const struct { const char *in, *want; int end; } lists[] = {
    { "a@b, c@d", "a@b|c@d|", 0 }, { "Joe <a@b>, \"X, Y\" <c@d>", "a@b|c@d|", 0 }, { "(c (nested)) a@b (x)", "a@b|", 0 },
    { "Group: a@b, c@d;, e@f", "a@b|c@d|e@f|", 0 }, { "undisclosed-recipients:;", "", 0 }, { "<@r:a@b>", "a@b|", 0 }, { "<>", "|", 0 },
    { "\"john doe\"@x", "john doe@x|", 0 }, { "a @ b . c", "a@b.c|", 0 }, { "user", "user|", 0 }, { ",,a@b,,", "a@b|", 0 },
    { "a@b,\r\n\tc@d", "a@b|c@d|", 0 }, { "Joe <a@b", "", PH_PERM }, { "(unended a@b", "", PH_PERM }, { "a@b, \"x", "a@b|", PH_PERM },
    { "a@[IPv6:2001:db8::1], <b@[IPv6:::1]>", "a@[IPv6:2001:db8::1]|b@[IPv6:::1]|", 0 }, { "a@[192.0.2.1]", "a@[192.0.2.1]|", 0 },
    { "Joe <@[IPv6:::2],@r:a@b>", "a@b|", 0 }, { "a@\"b c\"", "", PH_PERM }, { "<a@b;c>", "", PH_PERM }, { "\"a@b c\"", "", PH_PERM },
    { "<a@b> c@d", "a@b|", 0 }, { "<a@b> <c@d>", "a@b|c@d|", 0 }, { "A <a@b> B <c@d>, e", "a@b|c@d|e|", 0 }, { "a@b:25", "", PH_PERM }, { "@r:a@b", "a@b|", 0 },
    { "a@[1.2.3.4]x", "", PH_PERM }, { "\"u@other\"@here", "u@other@here|", 0 }, { "<r:a@b>", "r:a@b|", 0 }, { "Joe @[home: x] <a@b>", "a@b|", 0 },
};

static void test_lists(struct ph_scope *s)
{
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        struct ph_buf b;
        size_t at = 0;
        ph_str a;
        int rc;

        ph_buf_init(&b, s, 1000);
        while ((rc = ph_address_next(s, ph_cstr(lists[i].in), &at, &a)) == 1)
            ph_buf_printf(&b, "%.*s|", PH_FMT(a));
        ok(rc == lists[i].end && ph_str_eq(ph_buf_view(&b), ph_cstr(lists[i].want)), "list %s: %s", lists[i].in, b.p);
    }
}

/* What stood in quotes still does. */
static void test_external_lists(struct ph_scope *s)
{
    static const struct { const char *in, *want; } cases[] = {
        { "a@b, (c) jo(x)e <x!y>", "a@b|x!y|" }, { "\"a!b\"", "\"a!b\"|" }, { "\"a@b\"", "\"a@b\"|" }, { "\"a@ b\" , c", "\"a@ b\"|c|" },
        { "\"joe\" . x@d", "\"joe\".x@d|" }, { "a\\!b@c", "a\\!b@c|" }, { "\"\\a\\\"\\\\\"@c", "\"a\\\"\\\\\"@c|" },
        { "Joe <@r:\"u@o\"@h>", "\"u@o\"@h|" }, { "u@[1.2.3.4]", "u@[1.2.3.4]|" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ph_buf b;
        size_t at = 0, from, to;
        ph_str a;

        ph_buf_init(&b, s, 1000);
        while (ph_address_next_external(s, ph_cstr(cases[i].in), &at, &a, &from, &to) == 1)
            ph_buf_printf(&b, "%.*s|", PH_FMT(a));
        is_bytes(ph_buf_view(&b), cases[i].want, "in external form: %s", cases[i].in);
    }
    is_bytes(ph_address_bare(s, PH_STR("\"a\\\"b@ \"@c")), "a\"b@ @c", "quotes are undone");
}

/* Words side by side are addresses. */
static void test_written_lists(struct ph_scope *s)
{
    static const struct { const char *in, *want; int rc; } cases[] = {
        { "a@b c@d", "a@b|c@d|", 0 }, { "a b", "a|b|", 0 }, { "a @ b . c d", "a@b.c|d|", 0 }, { "<a@b> <c@d>", "a@b|c@d|", 0 }, { "<a@b>c, d", "a@b|c|d|", 0 },
        { "Joe <a@b> Doe <c@d> e;", "a@b|c@d|e|", 0 }, { "<a b@c>", "ab@c|", 0 }, { "a (b) c (d)", "a|c|", 0 }, { "\"a b\" c", "\"a b\"|c|", 0 }, { "\"a\" . b@c", "\"a\".b@c|", 0 },
        { "g: a b;, c", "a|b|c|", 0 }, { "a\\ b@c", "a\\ b@c|", 0 }, { "", "", 0 }, { "<>", "", 0 }, { ", ;", "", 0 }, { "a, b@c:25", "a|", PH_PERM }, { "a b, \"c", "a|b|", PH_PERM },
        { "<a> (c", "a|", PH_PERM },
    };

    ph_str plain;

    ok(ph_address_plain(s, PH_STR("\"a b\"@c"), &plain) && ph_str_eq(plain, PH_STR("a b@c")), "an address in internal form");
    ok(!ph_address_plain(s, PH_STR("y\"@z, \"/a"), &plain), "which must not have another domain");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ph_buf b;
        ph_str *list;
        size_t n;

        ph_buf_init(&b, s, 1000);
        is_int(ph_address_all(s, ph_cstr(cases[i].in), &list, &n), cases[i].rc, "as people write it: %s", cases[i].in);
        for (size_t k = 0; k < n; k++)
            ph_buf_printf(&b, "%.*s|", PH_FMT(list[k]));
        is_bytes(ph_buf_view(&b), cases[i].want, "... its addresses");
    }
}

/* A long line of words costs its length: read anew for each, these would take minutes. */
static void test_long_lists(struct ph_scope *s)
{
    static const char *const words[] = { "a ", "a@b.c\n", "<a> ", "a; ", "\"a b\" (c) ", "a . b ", "u@[192.0.2.1] " };
    enum { COUNT = 100000 };

    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        struct ph_scope *own = ph_scope_new(s);
        struct ph_buf b;
        ph_str *list;
        size_t n;

        ph_buf_init(&b, own, COUNT * strlen(words[i]));
        for (int k = 0; k < COUNT; k++)
            ph_buf_puts(&b, words[i]);
        size_t before = ph_scope_bytes(own);
        is_int(ph_address_all(own, ph_buf_view(&b), &list, &n), 0, "a long line of words: %.5s", words[i]);
        is_int((long)n, COUNT, "... has as many addresses");
        size_t used = ph_scope_bytes(own) - before;
        ok(used < COUNT * 100, "memory is that of the results: %zu bytes", used);
        ph_scope_free(own);
    }
}

static void test_names(void)
{
    static const char *const good[] = { "a", "a.b", "example.com", "x-y.z", "1.2" }, *const bad[] = { "", ".", "a.", "a..b", "-a", "a-", "a b", "a/b" };
    static const char *const lit[] = { "[192.0.2.1]", "[IPv6:::1]", "[IPv6:2001:db8::1]", "[::ffff:1.2.3.4]" },
                      *const badlit[] = { "[]", "[1.2.3]", "[1.2.3.256]", "[IPv6:1::2::3]", "[IPv6:1:2:3:4:5:6:7:8:9]", "192.0.2.1", "[1.2.3.4.5]", "[IPv6:1:]" };

    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        ok(ph_hostname_valid(ph_cstr(good[i])), "host name %s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ok(!ph_hostname_valid(ph_cstr(bad[i])), "no host name: \"%s\"", bad[i]);
    for (size_t i = 0; i < sizeof lit / sizeof *lit; i++)
        ok(ph_domain_literal_valid(ph_cstr(lit[i])), "literal %s", lit[i]);
    for (size_t i = 0; i < sizeof badlit / sizeof *badlit; i++)
        ok(!ph_domain_literal_valid(ph_cstr(badlit[i])), "no literal: %s", badlit[i]);
}

static void test_headers(struct ph_scope *s)
{
    ph_str block = PH_STR("From: a\r\nTo : b,\r\n\tc\r\nSubject:\r\n\r\nbody: x\r\n");
    struct ph_header h;
    size_t at = 0;

    ok(ph_header_next(block, &at, &h) == 1 && ph_str_eq(h.name, PH_STR("From")) && ph_str_eq(h.value, PH_STR("a")), "first header");
    ok(ph_header_next(block, &at, &h) == 1 && ph_str_eq(h.name, PH_STR("To")) && ph_str_eq(h.raw, PH_STR("To : b,\r\n\tc\r\n")), "blanks before the colon, folding");
    is_bytes(ph_header_unfold(s, h.value), "b,\tc", "unfolded");
    ok(ph_header_next(block, &at, &h) == 1 && h.value.n == 0, "an empty value");
    is_int(ph_header_next(block, &at, &h), 0, "the empty line ends them");
    ok(ph_header_find(block, PH_STR("SUBJECT"), &h) && !ph_header_find(block, PH_STR("body"), &h), "find by name");
    at = 0;
    is_int(ph_header_next(PH_STR("no header here\r\n"), &at, &h), PH_PERM, "a line that is no header");
}

static void test_dsn(struct ph_scope *s)
{
    ph_str code, text, out;
    unsigned c;
    int more;

    ok(ph_dsn_parse(PH_STR("4.7.1  try later"), &code, &text) && ph_str_eq(code, PH_STR("4.7.1")) && ph_str_eq(text, PH_STR("try later")), "code and text");
    ok(!ph_dsn_parse(PH_STR("3.1.1 x"), &code, &text) && !ph_dsn_parse(PH_STR("5.1 x"), &code, &text) &&
       !ph_dsn_parse(PH_STR("5.1.1x"), &code, &text) && !ph_dsn_parse(PH_STR("5.1234.1 x"), &code, &text), "what is no code");
    ok(ph_reply_parse(PH_STR("250-SIZE 5"), &c, &more, &text) && c == 250 && more && ph_str_eq(text, PH_STR("SIZE 5")), "a reply line with more");
    ok(ph_reply_parse(PH_STR("354"), &c, &more, &text) && c == 354 && !more && text.n == 0, "a bare code");
    ok(!ph_reply_parse(PH_STR("25"), &c, &more, &text) && !ph_reply_parse(PH_STR("250x"), &c, &more, &text) && !ph_reply_parse(PH_STR("650 x"), &c, &more, &text), "what is no reply");
    ok(ph_xtext_decode(s, PH_STR("a+2Bb+3Dc"), &out) && ph_str_eq(out, PH_STR("a+b=c")), "xtext decodes");
    ok(!ph_xtext_decode(s, PH_STR("a+2"), &out) && !ph_xtext_decode(s, PH_STR("a=b"), &out) && !ph_xtext_decode(s, PH_STR("a+2b"), &out), "bad xtext");
    is_bytes(ph_xtext_encode(s, PH_STR("a+b=c d")), "a+2Bb+3Dc+20d", "xtext encodes");
    setenv("TZ", "UTC", 1);
    is_bytes(ph_date_format(s, 1762067897, 1), "Sun, 02 Nov 2025 07:18:17 +0000 (UTC)", "a date");
}

int main(void)
{
    struct ph_scope *s = ph_scope_new(NULL);

    test_paths(s);
    test_forms(s);
    test_lists(s);
    test_external_lists(s);
    test_written_lists(s);
    test_long_lists(s);
    test_names();
    test_headers(s);
    test_dsn(s);
    ph_scope_free(s);
    return done_testing();
}
