/* table/regexp: POSIX regular expressions.  Reference: regexp_table(5). */
#include <regex.h>
#include "pattern.h"

static void free_prog(void *arg)
{
    regfree(arg);
}

/* Flags toggle: i case (off at first), x extended (on), m multi-line (off). */
static int option(char letter)
{
    return letter == 'i' ? REG_ICASE : letter == 'x' ? REG_EXTENDED : letter == 'm' ? REG_NEWLINE : 0;
}

static enum pattern_flag flag(char letter)
{
    return option(letter) ? PATTERN_FLAG_KNOWN : PATTERN_FLAG_UNKNOWN;
}

static int compile(struct ph_scope *s, ph_str pattern, ph_str flags, void **prog, unsigned *groups)
{
    regex_t *re = ph_new(s, regex_t);
    char why[256];
    int cflags = REG_EXTENDED | REG_ICASE, rc;

    for (size_t i = 0; i < flags.n; i++)
        cflags ^= option(flags.p[i]);
    if ((rc = regcomp(re, ph_cstr_dup(s, pattern), cflags)) != 0) {
        regerror(rc, re, why, sizeof why);
        return ph_fail(PH_CONF, "%s", why);
    }
    ph_defer(s, free_prog, re);
    *prog = re;
    *groups = (unsigned)re->re_nsub;
    return 0;
}

static int match(void *prog, ph_str subject, struct pattern_span *span, unsigned count)
{
    regmatch_t m[PATTERN_GROUPS];

    m[0] = (regmatch_t){ .rm_so = 0, .rm_eo = (regoff_t)subject.n };
    int rc = regexec(prog, subject.p ? subject.p : "", count, m, REG_STARTEND);
    if (rc == REG_NOMATCH)
        return PH_NONE;
    if (rc != 0)
        return ph_fail(PH_TEMP, "the match ran out of memory");
    for (unsigned i = 0; i < count; i++)
        span[i] = (struct pattern_span){ m[i].rm_so, m[i].rm_eo };
    return PH_FOUND;
}

static const struct pattern_engine engine = { .has_second = 1, .flag = flag, .compile = compile, .match = match };

static int32_t regexp_open(struct ph_table *t, ph_str spec)
{
    return pattern_open(t, spec, &engine);
}

/* regexec is told where the key ends, but the sanitizers' one looks for a NUL. */
static int32_t regexp_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val)
{
    return pattern_lookup(t, ph_str_dup(out, key), out, val);
}

PH_PLUGIN_TABLE(regexp, PH_IS(.summary = "POSIX regular expressions", .exec = PH_PURE, .concurrency = PH_MANY_CALLS),
    .is = PH_TABLE_PATTERN,
    .open = regexp_open,
    .lookup = regexp_lookup);
