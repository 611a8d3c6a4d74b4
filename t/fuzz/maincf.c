/* main.cf: logical lines, expansion, values; and the lines of table sources.
 * First byte of the input: which of them. */
#include <stdio.h>
#include <string.h>
#include <posthorn/buf.h>
#include <posthorn/error.h>
#include <posthorn/source.h>
#include "core/conf/conf.h"
#include "fuzz.h"

static size_t count_lines(ph_str in)
{
    size_t n = 1;

    for (size_t i = 0; i < in.n; i++)
        n += in.p[i] == '\n';
    return n;
}

/* "main.cf:LINE:COLUMN: words" or "main.cf, line LINE: words", the line one of the file. */
static void has_place(ph_str in, const char *text)
{
    unsigned line = 0, column = 0;
    int end = 0;

    if (sscanf(text, "main.cf, line %u: %n", &line, &end) == 1 && end)
        column = 1;
    else
        FUZZ_CHECK(sscanf(text, "main.cf:%u:%u: %n", &line, &column, &end) == 2, "no place: %s", text);
    FUZZ_CHECK(end && text[end], "no words: %s", text);
    FUZZ_CHECK(line >= 1 && line <= count_lines(in) && column >= 1 && column <= in.n + 1, "not in the file: %s", text);
}

/* Written by us and read again it says the same. */
static void reads_back(struct ph_scope *s, struct ph_conf *c, const ph_str *names, size_t n)
{
    struct ph_buf b;
    struct ph_conf *again;
    ph_str value, other, *others, warning;
    size_t at = 0;

    ph_buf_init(&b, s, PH_CONF_FILE_MAX);
    for (size_t i = 0; i < n; i++) {
        FUZZ_CHECK(ph_conf_raw_set(c, names[i], &value, NULL) == PH_FOUND, "%.*s is set", PH_FMT(names[i]));
        ph_buf_str(&b, names[i]);
        ph_buf_puts(&b, " = ");
        ph_buf_str(&b, value);
        ph_buf_putc(&b, '\n');
    }
    FUZZ_CHECK(ph_conf_parse(s, "/etc/x", "main.cf", ph_buf_view(&b), &again) == 0, "%s", ph_error());
    FUZZ_CHECK(ph_conf_names(again, s, 1, &others) == n, "as many names");
    for (size_t i = 0; i < n; i++) {
        ph_conf_raw_set(c, names[i], &value, NULL);
        FUZZ_CHECK(ph_conf_raw_set(again, names[i], &other, NULL) == PH_FOUND, "%.*s is lost", PH_FMT(names[i]));
        FUZZ_SAME(other, value, "raw value, written and read");
    }
    while (ph_conf_warning(again, &at, &warning))
        FUZZ_CHECK(ph_str_search(warning, PH_STR("NUL")) >= 0, "%.*s", PH_FMT(warning));
}

static ph_str with_crlf(struct ph_scope *s, ph_str in)
{
    struct ph_buf b;

    ph_buf_init(&b, s, 2 * in.n);
    for (size_t i = 0; i < in.n; i++) {
        if (in.p[i] == '\n')
            ph_buf_putc(&b, '\r');
        ph_buf_putc(&b, in.p[i]);
    }
    return ph_buf_view(&b);
}

/* Line ends of another system make no other file. */
static void line_ends(struct ph_scope *s, ph_str in, struct ph_conf *c, const ph_str *names, size_t n)
{
    struct ph_conf *other;
    ph_str value, same, *others;

    if (ph_str_find(in, '\r') >= 0)
        return;
    FUZZ_CHECK(ph_conf_parse(s, "/etc/x", "main.cf", with_crlf(s, in), &other) == 0, "%s", ph_error());
    FUZZ_CHECK(ph_conf_names(other, s, 1, &others) == n, "as many names");
    for (size_t i = 0; i < n; i++) {
        FUZZ_CHECK(ph_conf_raw_set(c, names[i], &value, NULL) == PH_FOUND && ph_conf_raw_set(other, names[i], &same, NULL) == PH_FOUND, "%.*s", PH_FMT(names[i]));
        FUZZ_SAME(same, value, "with CRLF");
    }
}

static void expand_one(struct ph_scope *s, ph_str in, struct ph_conf *c, ph_str name)
{
    ph_str raw, value = PH_STR("?"), again;
    struct ph_place place;
    int rc;

    FUZZ_CHECK(ph_conf_raw_set(c, name, &raw, &place) == PH_FOUND, "%.*s", PH_FMT(name));
    FUZZ_CHECK(place.line >= 1 && place.line <= count_lines(in) && place.column >= 1, "%u:%u", place.line, place.column);
    FUZZ_CHECK(ph_str_eq(ph_str_trim(raw), raw) && ph_str_find(raw, '\n') < 0, "a raw value is one line");
    rc = ph_conf_expand_as(c, s, name, raw, &value);
    fuzz_saw_number(rc);
    if (rc < 0) {
        FUZZ_CHECK(rc == PH_CONF && ph_error()[0], "%d %s", rc, ph_error());
        if (strncmp(ph_error(), "value of ", 9) && strncmp(ph_error(), "more than", 9))
            has_place(in, ph_error());
        FUZZ_SAME(value, PH_STR("?"), "no answer, no change");
    } else {
        FUZZ_CHECK(value.n <= PH_CONF_VALUE_MAX, "%zu bytes", value.n);
        FUZZ_CHECK(ph_conf_expand_as(c, s, name, raw, &again) == 0, "%s", ph_error());
        FUZZ_SAME(again, value, "the same again");
        if (ph_str_find(raw, '$') < 0)
            FUZZ_SAME(value, raw, "what refers to nothing stays");
        fuzz_saw(value);
    }
    rc = ph_conf_check(c, name);
    FUZZ_CHECK(rc == 0 || (rc == PH_CONF && ph_error()[0]), "%d %s", rc, ph_error());
    fuzz_saw_number(rc);
}

static void file(struct ph_scope *s, ph_str in)
{
    struct ph_conf *c = NULL;
    ph_str *names, warning;
    size_t n, at = 0;
    int rc = ph_conf_parse(s, "/etc/x", "main.cf", in, &c);

    fuzz_saw_number(rc);
    if (rc < 0) {
        FUZZ_CHECK(rc == PH_CONF && !c, "%d", rc);
        has_place(in, ph_error());
        return;
    }
    n = ph_conf_names(c, s, 1, &names);
    reads_back(s, c, names, n);
    line_ends(s, in, c, names, n);
    for (size_t i = 0; i < n && i < 30; i++)
        expand_one(s, in, c, names[i]);
    if (n < 10) {
        ph_conf_note_uses(c);
        ph_conf_check_names(c, NULL);
    }
    while (ph_conf_warning(c, &at, &warning)) {
        fuzz_saw(warning);
        FUZZ_CHECK(warning.n, "an empty warning");
    }
}

/* Options -o and text of programs over a small file. */
static void override(struct ph_scope *s, ph_str in)
{
    struct ph_conf *c;
    char *text = ph_cstr_dup(s, in);
    ph_str value;
    int rc;

    FUZZ_CHECK(ph_conf_parse(s, "/etc/x", "main.cf", PH_STR("a = 1\nb = $a$a\nc = ${a?{x}:{y}}\ne =\n"), &c) == 0, "%s", ph_error());
    rc = ph_conf_expand(c, s, in, &value);
    FUZZ_CHECK(rc == 0 || (rc == PH_CONF && ph_error()[0]), "%d", rc);
    fuzz_saw_number(rc);
    if (rc == 0)
        fuzz_saw(value);
    rc = ph_conf_override(c, text);
    FUZZ_CHECK(rc == 0 || (rc == PH_CONF && ph_error()[0]), "%d", rc);
    FUZZ_CHECK(rc == 0 || !strchr(text, '=') || strstr(ph_error(), "name"), "%s", ph_error());
    fuzz_saw_number(rc);
}

static void values(struct ph_scope *s, ph_str in)
{
    static const char units[] = { 's', 'm', 'h', 'd', 'w', 0, 'x' };
    char unit = units[fuzz_choice(&in, 7)];
    int64_t n = -7, again;
    int32_t flag = -7;
    int order = -7, back = -7;
    ph_str left, right = in;

    if (ph_value_int(in, &n))
        FUZZ_CHECK(ph_value_int(ph_str_printf(s, "%lld", (long long)n), &again) && again == n, "%lld", (long long)n);
    fuzz_saw_number(n);
    n = -7;
    if (ph_value_time(in, unit, &n)) {
        FUZZ_CHECK(n >= 0 && ph_value_time(ph_str_printf(s, "%llds", (long long)n), 'w', &again) && again == n, "%lld", (long long)n);
    } else
        FUZZ_CHECK(n == -7, "no answer, no change");
    fuzz_saw_number(n);
    FUZZ_CHECK(ph_value_bool(in, &flag) ? flag == 0 || flag == 1 : flag == -7, "%d", flag);
    left = ph_str_cut(&right, ' ');
    if (ph_value_level(left, right, &order)) {
        FUZZ_CHECK(ph_value_level(right, left, &back) && back == -order, "%d, %d", order, back);
        FUZZ_CHECK(ph_value_level(left, left, &back) && back == 0, "%d", back);
    }
    fuzz_saw_number(order);
}

/* Sources of tables: logical lines, and the two sides of one. */
static void source(struct ph_scope *s, ph_str in)
{
    struct ph_source src = { .text = in, .rest = in, .line = 1, .scope = s, .path = "x" };
    int inline_ = (int)fuzz_choice(&in, 2), rc;
    uint32_t number = 0, before = 0;
    ph_str line, key, value;

    src.text = src.rest = in;
    if (inline_) {
        ph_str text = ph_str_printf(s, "{ %.*s", PH_FMT(in));

        if ((rc = ph_source_open(s, text.p, &src)) < 0) {
            FUZZ_CHECK(rc == PH_CONF && ph_error()[0], "%d %s", rc, ph_error());
            return;
        }
    }
    while ((rc = ph_source_next(&src, &line, &number)) == 1) {
        FUZZ_CHECK(number > before && number <= count_lines(src.text), "line %u behind line %u", number, before);
        FUZZ_CHECK(ph_str_find(line, '\n') < 0 && ph_str_trim(line).n && ph_str_trim(line).p[0] != '#', "%.*s", PH_FMT(line));
        before = number;
        fuzz_saw(line);
        if (ph_source_pair(line, &key, &value) != PH_SOURCE_PAIR)
            continue;
        FUZZ_CHECK(key.n && value.n && key.p < value.p && key.n + value.n < line.n, "%.*s", PH_FMT(line));
        FUZZ_CHECK(!ph_is_space(key.p[0]) && ph_str_eq(ph_str_trim(value), value), "%.*s", PH_FMT(line));
        fuzz_saw(value);
    }
    FUZZ_CHECK(rc == 0 && src.rest.n == 0, "%d, %zu left", rc, src.rest.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const modes[])(struct ph_scope *, ph_str) = { file, override, values, source };
    PH_SCOPED(s, NULL);
    ph_str in = { (const char *)data, size };

    fuzz_quiet();
    modes[fuzz_choice(&in, 4)](s, in);
    return 0;
}
