/* need: what is said about a pattern holds for every key that matches it: random
 * patterns and keys of pieces, beside the C library's and PCRE's own matching; and
 * that it does say something of ordinary ones. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include "t/unit/tap.h"
#include "plugins/table/pattern/need.h"

#define ROUNDS 60000

static const char *const pieces[] = {
    "ab", "ba", "A", "b", "xyz", "example", "\\.", "com", ".", "*", "+", "?", "{2}", "{0,1}", "{0}", "^", "$", "(", ")", "(ab", "b)?", ")*", "|", "[ab]", "[^a]", "[]x]", "[[:alpha:]b]",
    "[a\\]", "\\w", "\\d", "\\(", "\\b", "\\]", "@", "-", "(?:ab)", "(?i)", "(?x) a b", "(?#ab)", "\\Qab", "\\x61", "\\141", "(?=ab)", "(?!ab)", "(?<n>a)", "\\1", "a|b", "()", "\\\\", "\\<", "\\'", " ", "#",
};
static const char *const words[] = { "ab", "ba", "A", "b", "xyz", "Example", ".", "com", "x", "@", "-", "(", "]", "\\", " ", "a", "#", "aa", "bb", "1" };

static void make(char *out, size_t size, const char *const *from, size_t count, int n)
{
    out[0] = 0;
    for (int i = rand() % n; i >= 0; i--)
        if (strlen(out) + 16 < size)
            strcat(out, from[(size_t)rand() % count]);
}

/* 1 when it matches, 0, or -1: not a pattern. */
static int posix_matches(const char *pattern, const char *key)
{
    regex_t re;

    if (regcomp(&re, pattern, REG_EXTENDED | REG_ICASE) != 0)
        return -1;
    int rc = regexec(&re, key, 0, NULL, 0);
    regfree(&re);
    return rc == 0;
}

static int perl_matches(const char *pattern, const char *key)
{
    PCRE2_SIZE where;
    int code;
    pcre2_code *c = pcre2_compile((PCRE2_SPTR)pattern, strlen(pattern), PCRE2_CASELESS | PCRE2_DOTALL, &code, &where, NULL);

    if (!c)
        return -1;
    pcre2_match_data *d = pcre2_match_data_create_from_pattern(c, NULL);
    int rc = pcre2_match(c, (PCRE2_SPTR)key, strlen(key), 0, 0, d, NULL);
    pcre2_match_data_free(d);
    pcre2_code_free(c);
    return rc >= 0;
}

static void random_ones(int is_perl)
{
    int matched = 0, known = 0, wrong = 0;
    struct have have;
    struct need need;
    char pattern[128], key[128];

    srand(1);
    for (int i = 0; i < ROUNDS && !wrong; i++) {
        make(pattern, sizeof pattern, pieces, sizeof pieces / sizeof *pieces, 6);
        make(key, sizeof key, words, sizeof words / sizeof *words, 6);
        int rc = is_perl ? perl_matches(pattern, key) : posix_matches(pattern, key);
        if (rc < 1)
            continue;
        need_find(ph_cstr(pattern), is_perl, &need);
        have_fill(&have, ph_cstr(key));
        matched++;
        known += need.count > 0;
        wrong = !have_all(&have, &need);
    }
    ok(!wrong, "%s: what matches has what is needed%s%s%s%s", is_perl ? "Perl" : "POSIX", wrong ? ": /" : "", wrong ? pattern : "", wrong ? "/ " : "", wrong ? key : "");
    ok(matched > 1000 && known > 100, "of %d matches %d had needs", matched, known);
}

static void ordinary_ones(void)
{
    static const struct { const char *pattern, *key; int perl, may; } cases[] = {
        { "^user1@example\\.com$", "user2@example.com", 0, 0 }, { "^user1@example\\.com$", "USER1@Example.com", 0, 1 }, { "^(.*)-outgoing@(.*)$", "list@x.test", 0, 0 },
        { "^(.*)-outgoing@(.*)$", "list-outgoing@x.test", 0, 1 }, { "viagra|cialis", "hello", 0, 1 }, { "ab?c", "xx", 0, 1 }, { "(?x) a b c", "abc", 1, 1 }, { "spam(mer)?s\\d+", "ham", 1, 0 },
        { "", "", 0, 1 }, { ".", "", 0, 1 }, { "\\Qa|b", "a|b", 1, 1 },
    };
    struct have have;
    struct need need;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        need_find(ph_cstr(cases[i].pattern), cases[i].perl, &need);
        have_fill(&have, ph_cstr(cases[i].key));
        is_int(have_all(&have, &need), cases[i].may, "/%s/ and \"%s\"", cases[i].pattern, cases[i].key);
    }
}

int main(void)
{
    ordinary_ones();
    random_ones(0);
    random_ones(1);
    return done_testing();
}
