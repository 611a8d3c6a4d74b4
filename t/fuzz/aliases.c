/* What local(8) reads: lists of destinations, lines of .forward and :include:
 * files, $name in forward_path, whose users write them.  First byte of the
 * input: which of them. */
#include <string.h>
#include <posthorn/address.h>
#include <posthorn/buf.h>
#include <posthorn/error.h>
#include <posthorn/header.h>
#include <posthorn/alias.h>
#include "plugins/transport/local/loop.h"
#include "plugins/transport/local/macro.h"
#include "fuzz.h"

/* --- destinations --- */

static ph_str quoted(struct ph_scope *s, const char *before, ph_str text)
{
    struct ph_buf b;

    ph_buf_init(&b, s, 2 * text.n + 20);
    ph_buf_puts(&b, "\"");
    ph_buf_puts(&b, before);
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '"' || text.p[i] == '\\' || text.p[i] == '(' || text.p[i] == ')')
            ph_buf_putc(&b, '\\');
        ph_buf_putc(&b, text.p[i]);
    }
    ph_buf_puts(&b, "\"");
    return ph_buf_view(&b);
}

/* The way to write a destination that leaves no doubt. */
static ph_str written(struct ph_scope *s, const struct ph_alias_item *d)
{
    switch (d->kind) {
    case PH_ALIAS_COMMAND: return quoted(s, "|", d->text);
    case PH_ALIAS_FILE:    return quoted(s, "", d->text);
    case PH_ALIAS_INCLUDE: return quoted(s, ":include:", d->text);
    case PH_ALIAS_MAILBOX: return ph_str_printf(s, "\\<%.*s>", PH_FMT(ph_address_external(s, d->text)));
    default:            return ph_str_printf(s, "<%.*s>", PH_FMT(ph_address_external(s, d->text)));
    }
}

static void means(struct ph_scope *s, const struct ph_alias_item *d)
{
    struct ph_alias_item again;
    struct ph_alias_walk w = { 0 };
    ph_str text = written(s, d);

    FUZZ_CHECK(d->kind >= PH_ALIAS_ADDRESS && d->kind <= PH_ALIAS_INCLUDE && d->text.n, "kind %u", d->kind);
    FUZZ_CHECK(!memchr(d->text.p, 0, d->text.n) && !memchr(d->text.p, '\n', d->text.n), "%.*s", PH_FMT(d->text));
    FUZZ_CHECK(d->kind != PH_ALIAS_FILE || d->text.p[0] == '/' || ph_str_starts(d->text, PH_STR("~/")), "%.*s", PH_FMT(d->text));
    FUZZ_CHECK(ph_alias_next(s, text, &w, &again) == 1, "%.*s: %s", PH_FMT(text), ph_error());
    FUZZ_CHECK(again.kind == d->kind, "%.*s: kind %u was %u", PH_FMT(text), again.kind, d->kind);
    FUZZ_SAME(again.text, d->text, "written and read");
    FUZZ_CHECK(ph_alias_next(s, text, &w, &again) == 0, "and more: %.*s", PH_FMT(text));
    fuzz_saw_number(d->kind);
    fuzz_saw(d->text);
}

/* The list written anew is the same list. */
static void list_means(struct ph_scope *s, ph_str text, const struct ph_buf *seen)
{
    struct ph_alias_item d;
    struct ph_alias_walk w = { 0 };
    struct ph_buf b;
    int rc;

    ph_buf_init(&b, s, 1u << 20);
    while ((rc = ph_alias_next(s, text, &w, &d)) == 1)
        ph_buf_printf(&b, "%u %.*s\n", d.kind, PH_FMT(d.text));
    FUZZ_CHECK(rc == 0, "%.*s: %s", PH_FMT(text), ph_error());
    FUZZ_SAME(ph_buf_view(&b), ph_buf_view(seen), "a list, written and read");
}

/* Each destination of one list; how many. */
static size_t list(struct ph_scope *s, ph_str in)
{
    struct ph_alias_item d;
    struct ph_alias_walk w = { 0 };
    struct ph_buf seen, text;
    size_t was = 0, n = 0;
    int rc;

    ph_buf_init(&seen, s, 1u << 20);
    ph_buf_init(&text, s, 1u << 20);
    while ((rc = ph_alias_next(s, in, &w, &d)) != 0) {
        FUZZ_CHECK(w.at > was && w.at <= in.n, "at %zu after %zu", w.at, was);
        was = w.at;
        fuzz_saw_number(rc);
        if (rc == 1) {
            FUZZ_CHECK(d.text.n <= in.n, "longer than the list");
            means(s, &d);
            ph_buf_printf(&seen, "%u %.*s\n", d.kind, PH_FMT(d.text));
            ph_buf_printf(&text, "%s%.*s", n++ ? ", " : "", PH_FMT(written(s, &d)));
        } else
            FUZZ_CHECK(rc == PH_PERM && ph_error()[0], "%d", rc);
    }
    FUZZ_CHECK(w.at >= in.n, "%zu of %zu", w.at, in.n);
    list_means(s, ph_buf_view(&text), &seen);
    return n;
}

static void lists(struct ph_scope *s, ph_str in)
{
    list(s, in);
}

/* Without quotes, comments, angles and groups a comma separates whatever stands on both sides. */
static void joined(struct ph_scope *s, ph_str in)
{
    ph_str left, right = in;
    size_t n;

    left = ph_str_cut(&right, ',');
    for (size_t i = 0; i < in.n; i++)
        if (strchr("\"\\()<>:;[]@", in.p[i]))
            return;
    n = list(s, left) + list(s, right);
    FUZZ_CHECK(list(s, in) == n, "%zu", n);
}

static void file(struct ph_scope *s, ph_str in)
{
    size_t at = 0, was = 0;
    ph_str line;

    for (; ph_alias_line(in, &at, &line); was = at) {
        FUZZ_CHECK(at > was && at <= in.n, "at %zu after %zu", at, was);
        FUZZ_CHECK(line.n && line.p[0] != '#' && !memchr(line.p, '\n', line.n), "%.*s", PH_FMT(line));
        FUZZ_SAME(ph_str_trim(line), line, "trimmed");
        list(s, line);
    }
    FUZZ_CHECK(at == in.n, "%zu of %zu", at, in.n);
}

/* --- $name --- */

static int value(void *arg, ph_str name, ph_str *out)
{
    if (ph_str_eq(name, PH_STR("user")))
        *out = *(const ph_str *)arg;
    else if (ph_str_eq(name, PH_STR("home")))
        *out = PH_STR("/home/x");
    else if (ph_str_eq(name, PH_STR("extension")))
        *out = PH_STR("");
    else
        return PH_NONE;
    return PH_FOUND;
}

static void macros(struct ph_scope *s, ph_str in)
{
    static const char hostile[] = "../$home;`x`\n";
    ph_str user = ph_cstr(hostile), out = PH_STR("?"), rest;
    struct local_macros m = { .value = value, .arg = &user, .filter = PH_STR("abcdefghijklmnopqrstuvwxyz0123456789/") };
    int rc = local_macro_expand(s, in, &m, &out);

    fuzz_saw_number(rc);
    if (rc < 0) {
        FUZZ_CHECK(rc == PH_CONF && ph_error()[0], "%d", rc);
        FUZZ_SAME(out, PH_STR("?"), "no answer, no change");
        return;
    }
    FUZZ_CHECK(out.n <= 65536, "%zu bytes", out.n);
    fuzz_saw(out);
    for (rest = out; rest.n; rest = ph_str_from(rest, 1))
        FUZZ_CHECK(memchr(in.p, rest.p[0], in.n) || rest.p[0] == '_' || ph_str_find(m.filter, rest.p[0]) >= 0, "byte %02x came from a value", (unsigned char)rest.p[0]);
    if (ph_str_find(in, '$') < 0)
        FUZZ_SAME(out, in, "text stays");
}

/* --- Delivered-To --- */

static int finds(struct ph_scope *s, ph_str in, size_t piece)
{
    struct local_loop l;

    local_loop_init(&l, s, PH_STR("a@b.test"));
    for (size_t i = 0; i < in.n; i += piece)
        local_loop_feed(&l, ph_str_first(ph_str_from(in, i), piece));
    local_loop_end(&l);
    return (int)l.found;
}

static void loop(struct ph_scope *s, ph_str in)
{
    size_t piece = 1 + fuzz_choice(&in, 9), at = 0;
    int found = finds(s, in, in.n ? in.n : 1), want = 0, rc;
    struct ph_header h;

    FUZZ_CHECK(finds(s, in, piece) == found, "pieces of %zu", piece);
    fuzz_saw_number(found);
    while ((rc = ph_header_next(in, &at, &h)) == 1) {
        ph_str v = ph_str_trim(ph_header_unfold(s, h.value));

        if (v.n >= 2 && v.p[0] == '<' && v.p[v.n - 1] == '>')
            v = ph_str_first(ph_str_from(v, 1), v.n - 2);
        want |= ph_str_eq_nocase(h.name, PH_STR("Delivered-To")) && ph_str_eq_nocase(v, PH_STR("a@b.test"));
    }
    if (rc == 0 && at == in.n)
        FUZZ_CHECK(found == want, "found %d", found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const modes[])(struct ph_scope *, ph_str) = { lists, joined, file, macros, loop };
    PH_SCOPED(s, NULL);
    ph_str in = { (const char *)data, size };

    fuzz_quiet();
    modes[fuzz_choice(&in, 5)](s, in);
    return 0;
}
