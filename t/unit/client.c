/* Templates of tables with a database behind them: every letter, in a question and in
 * an answer; keys that lack a part are not asked for; quotes of SQL. */
#include "tap.h"
#include <posthorn/error.h>
#include <posthorn/scope.h>
#include "plugins/table/common/sql.h"

static const struct { const char *template, *key, *want; } questions[] = {
    { "",                 "a@b",           "" },
    { "x",                "a@b",           "x" },
    { "%%",               "a@b",           "%" },
    { "%%s",              "a@b",           "%s" },
    { "%s",               "a@b",           "a@b" },
    { "%s",               "bare",          "bare" },
    { "%s%s",             "a@b",           "a@ba@b" },
    { "<%s>",             "<>",            "<<>>" },
    { "%u",               "a+x@b",         "a+x" },
    { "%u",               "bare",          "bare" },
    { "%u",               "@b",            NULL },
    { "%u",               "a@b@c",         "a@b" },
    { "%u",               "\"a@b\"@c",     "\"a@b\"" },
    { "%d",               "a@b.c",         "b.c" },
    { "%d",               "a@b@c",         "c" },
    { "%d",               "@b",            "b" },
    { "%d",               "bare",          NULL },
    { "%d",               "a@",            NULL },
    { "%1",               "a@x.y.z",       "z" },
    { "%2",               "a@x.y.z",       "y" },
    { "%3",               "a@x.y.z",       "x" },
    { "%4",               "a@x.y.z",       NULL },
    { "%9 %8 %7",         "k@a.b.c.d.e.f.g.h.i", "a b c" },
    { "%1",               "bare.test",     NULL },
    { "%1",               "a@x.",          NULL },
    { "%2",               "a@x.",          "x" },
    { "%2",               "a@x..z",        NULL },
    { "%S %U %D",         "a@b",           "a@b a b" },
    { "%S",               "%s%u",          "%s%u" },
    { "%u@%d",            "a@b",           "a@b" },
    { "$1 %u $$ %%",      "a@b",           "$1 a $$ %" },
};

/* %s as SQL, where it stands. */
static const struct { const char *template, *key, *want; } quoted[] = {
    { "'%s'",             "a@b",           "'a@b'" },
    { "'%s'",             "o'neil",        "'o''neil'" },
    { "'%s'",             "''",            "''''''" },
    { "'%s'",             "a\\",           "'a\\'" },
    { "'%s'",             "a\"b",          "'a\"b'" },
    { "'%s'",             "a\001b",        "'a\001b'" },
    { "'it''s %s'",       "o'n",           "'it''s o''n'" },
    { "'\"' || '%s'",     "o'n",           "'\"' || 'o''n'" },
    { "\"%s\"",           "col",           "\"col\"" },
    { "\"%s\"",           "o'n",           "\"o'n\"" },
    { "\"%s\"",           "a\"b",          NULL },
    { "\"%s\"",           "a\\b",          NULL },
    { "\"%s\"",           "a\tb",          NULL },
    { "%s",               "word_1.x",      "word_1.x" },
    { "%s",               "1 or 1",        NULL },
    { "%s",               "a-b",           NULL },
    { "%s",               "a'b",           NULL },
    { "%s",               "\xc3\xa9",      NULL },
    { "'%s' and n = %u",  "5@x",           "'5@x' and n = 5" },
    { "'%s' and n = %u",  "5;@x",          NULL },
    { "/* it's */ n = %s", "1 or 1",       NULL },
    { "/* it's */ n = %s", "1",            "/* it's */ n = 1" },
    { "[it's] = %s",      "1 or 1",        NULL },
    { "[%s]",             "a-b",           NULL },
    { "`it's` = '%s'",    "o'n",           "`it's` = 'o''n'" },
    { "-- %s",            "a\nb",          NULL },
    { "'\\' || '%s'",     "o'n",           "'\\' || 'o''n'" },
};

/* Values of one key, joined. */
static const struct { const char *format, *key, *values[4], *want; } answers[] = {
    { "%s",               "a@b",   { "v" },               "v" },
    { "%s",               "a@b",   { "v", "w" },          "v,w" },
    { "%s",               "a@b",   { "", "v", "", },      "v" },
    { "%s",               "a@b",   { "" },                "" },
    { "%s",               "a@b",   { "u, v", "w" },       "u, v,w" },
    { "smtp:[%s]",        "a@b",   { "h", "i" },          "smtp:[h],smtp:[i]" },
    { "%u at %d",         "a@b",   { "u@v" },             "u at v" },
    { "%u",               "a@b",   { "bare" },            "bare" },
    { "%d",               "a@b",   { "bare", "u@v" },     "v" },
    { "%u",               "a@b",   { "@v" },              "" },
    { "%S %U %D",         "a@b",   { "v" },               "a@b a b" },
    { "%s %D",            "bare",  { "v" },               "" },
    { "%2.%1 %s",         "a@x.y", { "v" },               "x.y v" },
    { "%3 %s",            "a@x.y", { "v" },               "" },
    { "%1",               "a@x.y", { "u@v.w" },           "y" },
    { "100%%",            "a@b",   { "v" },               "100%" },
    { "%s",               "a@b",   { "%s%d" },            "%s%d" },
};

static int quote(void *arg PH_UNUSED, ph_str in, struct ph_buf *out)
{
    return sql_quote(sql_place(ph_buf_view(out), SQL_SQLITE), in, out);
}

static void check(const char *template, const char *key, client_quote *how, const char *want)
{
    PH_SCOPED(s, NULL);
    struct ph_buf b;

    ph_buf_init(&b, s, CLIENT_ANSWER_MAX);
    is_int(client_check_template("t", ph_cstr(template)), 0, "%s is a template", template);
    int rc = client_expand(ph_cstr(template), ph_cstr(key), how, NULL, &b);
    if (how == client_quote_nothing)
        is_int(client_has_parts(ph_cstr(template), ph_cstr(key)), rc, "  known before");
    if (!want)
        is_int(rc, 0, "%s of %s: not asked for", template, key);
    else if (ok(rc == 1, "%s of %s", template, key))
        is_str(b, want, "  is %s", want);
}

static struct ph_table table = { .type = PH_STR_INIT("sqlite") };      /* for what is said */

static void check_answer(size_t i)
{
    PH_SCOPED(s, NULL);
    struct client c = { .table = &table, .result_format = ph_cstr(answers[i].format) };
    struct ph_buf b;
    int64_t count = 0;

    ph_buf_init(&b, s, CLIENT_ANSWER_MAX);
    for (size_t v = 0; v < 4 && answers[i].values[v]; v++)
        is_int(client_add(&c, ph_cstr(answers[i].key), ph_cstr(answers[i].values[v]), &b, &count), 0, "%s of %s: %s", answers[i].format, answers[i].key, answers[i].values[v]);
    is_str(b, answers[i].want, "  comes to \"%s\"", answers[i].want);
}

static void check_limits(void)
{
    PH_SCOPED(s, NULL);
    struct client c = { .table = &table, .result_format = PH_STR("%d"), .expansion_limit = 2 };
    struct ph_buf b;
    int64_t count = 0;

    ph_buf_init(&b, s, CLIENT_ANSWER_MAX);
    is_int(client_add(&c, PH_STR("k"), PH_STR("a@b"), &b, &count), 0, "expansion_limit: one value");
    is_int(client_add(&c, PH_STR("k"), PH_STR("bare"), &b, &count), 0, "one that result_format has no use for does not count");
    is_int(client_add(&c, PH_STR("k"), PH_STR(""), &b, &count), 0, "nor an empty one");
    is_int(client_add(&c, PH_STR("k"), PH_STR("a@c"), &b, &count), 0, "two");
    is_str(b, "b,c", "both are there");
    is_int(client_add(&c, PH_STR("k"), PH_STR("a@d"), &b, &count), PH_TEMP, "three are too many");
    ph_buf_init(&b, s, 8);
    count = 0;
    c = (struct client){ .result_format = PH_STR("%s") };
    is_int(client_add(&c, PH_STR("k"), PH_STR("123456"), &b, &count), 0, "what fits");
    is_int(client_add(&c, PH_STR("k"), PH_STR("123456"), &b, &count), PH_TEMP, "what is too long is a failure, and not cut");
}

static void check_wrong_templates(void)
{
    static const char *const wrong[] = { "%", "a%", "%x", "%0", "% s", "%%%", "%\xc3\xa9", "'%q'" };

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        is_int(client_check_template("query", ph_cstr(wrong[i])), PH_CONF, "%s is no template", wrong[i]);
    is_int(client_check_template("query", (ph_str){ "%\0", 2 }), PH_CONF, "a NUL is no letter");
}

int main(void)
{
    for (size_t i = 0; i < sizeof questions / sizeof *questions; i++)
        check(questions[i].template, questions[i].key, client_quote_nothing, questions[i].want);
    for (size_t i = 0; i < sizeof quoted / sizeof *quoted; i++)
        check(quoted[i].template, quoted[i].key, quote, quoted[i].want);
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++)
        check_answer(i);
    check_limits();
    check_wrong_templates();
    struct client any = { .domains = NULL };
    is_int(client_wants(&any, PH_STR("a@b")), PH_FOUND, "a key is asked for");
    is_int(client_wants(&any, PH_STR("")), PH_NONE, "an empty one is not");
    is_int(client_wants(&any, (ph_str){ "a\0b", 3 }), PH_NONE, "nor one with a NUL");
    return done_testing();
}
