/* What tables are made of: aliases as postalias stores them, settings and templates of
 * tables with a database, quoted keys, rules of patterns, and what patterns need.
 * First byte of the input: which of them. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <posthorn/buf.h>
#include <posthorn/error.h>
#include <posthorn/source.h>
#include "core/cmd/postmap.h"
#include "plugins/table/common/sql.h"
#include "plugins/table/pattern/need.h"
#include "plugins/table/pattern/pattern.h"
#include "fuzz.h"

/* --- postalias: what it wrote it reads as the same --- */

static int has_control(ph_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] == '\n' || s.p[i] == 0)
            return 1;
    return 0;
}

static void alias(struct ph_scope *s, ph_str in)
{
    ph_str name = PH_STR("?"), value = PH_STR("?"), again_name, again;

    if (has_control(in))               /* a line of a source has neither */
        return;
    int rc = postalias_parse(s, in, &name, &value);
    fuzz_saw_number(rc);
    if (rc != POSTALIAS_PAIR) {
        FUZZ_CHECK(rc == POSTALIAS_NO_PAIR || rc == POSTALIAS_NOT_LOCAL, "%d", rc);
        FUZZ_SAME(value, PH_STR("?"), "no answer, no change");
        return;
    }
    fuzz_saw(name);
    fuzz_saw(value);
    FUZZ_CHECK(value.n <= in.n * 4 + 2, "%zu bytes of %zu", value.n, in.n);
    /* Behind a backslash that stands last is nothing: a blank, as with Postfix. */
    if (!(value = ph_str_trim(value)).n)
        return;
    FUZZ_CHECK(postalias_parse(s, ph_str_printf(s, "x: %.*s", PH_FMT(value)), &again_name, &again) == POSTALIAS_PAIR, "%.*s", PH_FMT(value));
    FUZZ_SAME(ph_str_trim(again), value, "a stored value, read again");
}

/* --- a file of settings, and its templates --- */

static const char *as_file(struct ph_scope *s, ph_str text)
{
    int fd = memfd_create("x", MFD_CLOEXEC);

    FUZZ_CHECK(fd >= 0 && write(fd, text.p ? text.p : "", text.n) == (ssize_t)text.n, "memfd");
    ph_defer_close(s, fd);
    return ph_str_printf(s, "/proc/self/fd/%d", fd).p;
}

/* The last line that sets the name counts. */
static void find_again(struct ph_scope *s, ph_str text, struct client *c, const char *name)
{
    struct ph_source src = { .text = text, .rest = text, .line = 1, .scope = s, .path = "x" };
    ph_str line, left, want = PH_STR("default");
    uint32_t number;

    while (ph_source_next(&src, &line, &number)) {
        left = ph_str_trim(ph_str_cut(&line, '='));
        if (ph_str_eq(left, ph_cstr(name)))
            want = ph_str_trim(line);
    }
    FUZZ_SAME(client_get(c, name, "default"), want, name);
}

static int quote(void *arg PH_UNUSED, ph_str in, struct ph_buf *out)
{
    return sql_quote(sql_place(ph_buf_view(out), SQL_SQLITE), in, out);
}

static void expand(struct ph_scope *s, struct client *c, ph_str query, ph_str key)
{
    struct ph_buf answer, sql;
    int64_t count = 0;

    ph_buf_init(&sql, s, CLIENT_ANSWER_MAX);
    ph_buf_init(&answer, s, CLIENT_ANSWER_MAX);
    int rc = client_expand(query, key, quote, NULL, &sql);
    FUZZ_CHECK(rc == 0 || client_has_parts(query, key), "%.*s: a part that it has not", PH_FMT(query));
    FUZZ_CHECK(rc == 0 || !sql.full, "cut");
    fuzz_saw_number(rc);
    if (rc)
        fuzz_saw(ph_buf_view(&sql));
    for (int i = 0; i < 3; i++) {
        size_t before = answer.n;
        int64_t count_before = count;

        rc = client_add(c, key, i == 1 ? PH_STR("") : key, &answer, &count);
        FUZZ_CHECK(rc == 0 || (rc == PH_TEMP && ph_error()[0]), "%d", rc);
        FUZZ_CHECK(rc < 0 || count - count_before == (answer.n > before) || answer.n == before, "%lld values", (long long)count);
        FUZZ_CHECK(i != 1 || rc < 0 || answer.n == before, "an empty value is none");
    }
    fuzz_saw(ph_buf_view(&answer));
}

static void settings(struct ph_scope *s, ph_str in)
{
    static const char *const names[] = { "query", "result_format", "domain", "hosts", "a", "expansion_limit" };
    ph_str key = ph_str_cut(&in, '\n'), query;
    struct ph_table t = { .scope = s, .name = PH_STR("x"), .type = PH_STR("x") };
    struct client c;
    int rc = client_open(&t, ph_cstr(as_file(s, in)), &c);

    fuzz_saw_number(rc);
    if (rc < 0) {
        FUZZ_CHECK(ph_error()[0], "words");
        return;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        find_again(s, in, &c, names[i]);
    rc = client_get_query(&c, &query);
    FUZZ_CHECK(rc == 0 || (rc == PH_CONF && ph_error()[0]), "%d", rc);
    if (rc == 0 && client_wants(&c, key) == PH_FOUND)
        expand(s, &c, query, key);
}

/* --- a key in quotes is the same key, for who reads SQL --- */

static void quoted(struct ph_scope *s, ph_str in)
{
    static const char *const templates[] = { "'%s'", "\"%s\"", "%s", "x'%s", "''%s", "'a''%s'" };
    const char *template = templates[fuzz_choice(&in, 6)];
    struct ph_buf b, back;
    char place = template[0] == '%' || strcmp(template, "''%s") == 0 ? 0 : template[0] == '"' ? '"' : '\'';

    ph_buf_init(&b, s, CLIENT_ANSWER_MAX);
    ph_buf_init(&back, s, CLIENT_ANSWER_MAX);
    if (!in.n || !client_expand(ph_cstr(template), in, quote, NULL, &b)) {
        FUZZ_CHECK(!in.n || place != '\'' || ph_str_find(in, 0) >= 0, "what can always be quoted was not");
        return;
    }
    /* The text behind the first mark of the template, up to where it ends. */
    ph_str text = ph_str_from(ph_buf_view(&b), (size_t)(strchr(template, '%') - template));
    for (; text.n; text = ph_str_from(text, 1)) {
        if (place && text.p[0] == place) {
            if (!(text.n > 1 && text.p[1] == place && place == '\''))
                break;
            text = ph_str_from(text, 1);
        }
        ph_buf_putc(&back, text.p[0]);
    }
    FUZZ_SAME(ph_buf_view(&back), in, "a key as SQL reads it");
    FUZZ_CHECK(text.n <= 1, "something stands behind the quote: %.*s", PH_FMT(text));
    for (unsigned dialect = 0; dialect < 16; dialect++)
        fuzz_saw_number(sql_place(in, dialect));
}

/* --- rules: filtered by what patterns need, or not, they answer the same --- */

static int compile(struct ph_scope *s, ph_str pattern, ph_str flags, void **prog, unsigned *groups)
{
    ph_str *p = ph_new(s, ph_str);

    if (ph_str_find(flags, '&') >= 0)
        return ph_fail(PH_CONF, "flag");
    *p = ph_str_dup(s, pattern);
    *prog = p;
    *groups = 2;
    return 0;
}

static enum pattern_flag flag(char letter)
{
    return letter == '?' ? PATTERN_FLAG_UNKNOWN : letter == 'X' ? PATTERN_FLAG_OBSOLETE : PATTERN_FLAG_KNOWN;
}

/* A pattern of letters and dots is a text; others match what begins like them.  Groups:
 * the first byte and the last. */
static int match(void *prog, ph_str subject, struct pattern_span *span, unsigned count)
{
    const ph_str *p = prog;
    ptrdiff_t at = 0;

    for (size_t i = 0; i < p->n; i++)
        if (!ph_is_alnum(p->p[i]))
            return PH_NONE;
    if (p->n && (at = ph_str_search(subject, *p)) < 0)
        return PH_NONE;
    for (unsigned i = 0; i < count; i++)
        span[i] = (struct pattern_span){ -1, -1 };
    if (count)
        span[0] = (struct pattern_span){ at, at + (ptrdiff_t)p->n };
    if (count > 1 && subject.n)
        span[1] = (struct pattern_span){ 0, 1 };
    return PH_FOUND;
}

static const struct pattern_engine engine = { .is_perl = 1, .has_second = 1, .flag = flag, .compile = compile, .match = match };
static const struct ph_table_plugin ops = { .plugin = { .name = "x" } };

static struct ph_table *open_rules(struct ph_scope *s, ph_str text, uint32_t flags)
{
    struct ph_table *t = ph_new(s, struct ph_table);

    *t = (struct ph_table){ .scope = s, .ops = &ops, .flags = flags };
    FUZZ_CHECK(pattern_open(t, ph_cstr(as_file(s, text)), &engine) == 0, "%s", ph_error());
    return t;
}

static void rules(struct ph_scope *s, ph_str in)
{
    uint32_t flags = fuzz_choice(&in, 2) ? PH_TABLE_SECURE : 0;
    ph_str key = ph_str_cut(&in, '\n'), one = PH_STR("?"), other = PH_STR("?");
    /* Enough rules, which never match, for the filter to be worth its while. */
    ph_str more = ph_str_printf(s, "%.*s\n#\n/zqzq1/ x\n/zqzq2/ x\n/zqzq3/ x\n/zqzq4/ x\n/zqzq5/ x\n/zqzq6/ x\n/zqzq7/ x\n/zqzq8/ x\n", PH_FMT(in));

    if (ph_str_search(key, PH_STR("zqzq")) >= 0 || ph_str_find(in, 0) >= 0)
        return;
    int rc = pattern_lookup(open_rules(s, in, flags), key, s, &one);
    int rc_other = pattern_lookup(open_rules(s, more, flags), key, s, &other);
    FUZZ_CHECK(rc == PH_FOUND || rc == PH_NONE, "%d %s", rc, ph_error());
    FUZZ_CHECK(rc == rc_other, "%d alone, %d among others", rc, rc_other);
    FUZZ_SAME(other, one, "alone and among others");
    FUZZ_CHECK(rc != PH_FOUND || !flags || !key.n || ph_str_find(one, '$') < 0 || ph_str_search(in, PH_STR("$$")) >= 0, "%.*s", PH_FMT(one));
    fuzz_saw_number(rc);
    fuzz_saw(one);
}

/* --- what a pattern needs every match has --- */

static void needs(struct ph_scope *s PH_UNUSED, ph_str in)
{
    ph_str pattern = ph_str_first(ph_str_cut(&in, '\n'), 60), key = in;
    PCRE2_SIZE where;
    struct need need;
    struct have have;
    int code;

    need_find(pattern, 1, &need);
    have_fill(&have, key);
    fuzz_saw_number(need.count);
    pcre2_code *c = pcre2_compile((PCRE2_SPTR)(pattern.p ? pattern.p : ""), pattern.n, PCRE2_CASELESS | PCRE2_DOTALL, &code, &where, NULL);
    if (!c)
        return;
    pcre2_match_data *d = pcre2_match_data_create_from_pattern(c, NULL);
    pcre2_match_context *x = pcre2_match_context_create(NULL);
    pcre2_set_match_limit(x, 2000);
    int rc = pcre2_match(c, (PCRE2_SPTR)(key.p ? key.p : ""), key.n, 0, 0, d, x);
    FUZZ_CHECK(rc < 0 || have_all(&have, &need), "/%.*s/ matches \"%.*s\"", PH_FMT(pattern), PH_FMT(key));
    pcre2_match_context_free(x);
    pcre2_match_data_free(d);
    pcre2_code_free(c);
    /* In the other syntax it only must not read where nothing is. */
    need_find(pattern, 0, &need);
    fuzz_saw_number(need.count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const modes[])(struct ph_scope *, ph_str) = { alias, settings, quoted, rules, needs };
    PH_SCOPED(s, NULL);
    ph_str in = { (const char *)data, size };

    fuzz_quiet();
    modes[fuzz_choice(&in, 5)](s, in);
    return 0;
}
