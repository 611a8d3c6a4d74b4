/* table/pcre: Perl-compatible regular expressions (PCRE2).  Patterns are
 * compiled, and where the system allows it translated to machine code, when
 * the table is opened: before the seal.  Reference: pcre_table(5). */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include "pattern.h"

struct prog {
    pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *context;
};

static void free_prog(void *arg)
{
    struct prog *p = arg;

    pcre2_match_data_free(p->data);
    pcre2_match_context_free(p->context);
    pcre2_code_free(p->code);
}

/* Flags toggle; i (caseless) and s (dot matches all) are on at first. */
static uint32_t option(char letter)
{
    switch (letter) {
    case 'i': return PCRE2_CASELESS;
    case 'm': return PCRE2_MULTILINE;
    case 's': return PCRE2_DOTALL;
    case 'x': return PCRE2_EXTENDED;
    case 'A': return PCRE2_ANCHORED;
    case 'E': return PCRE2_DOLLAR_ENDONLY;
    case 'U': return PCRE2_UNGREEDY;
    default: return 0;
    }
}

static enum pattern_flag flag(char letter)
{
    return letter == 'X' ? PATTERN_FLAG_OBSOLETE : option(letter) ? PATTERN_FLAG_KNOWN : PATTERN_FLAG_UNKNOWN;
}

static int compile(struct ph_scope *s, ph_str pattern, ph_str flags, void **out, unsigned *groups)
{
    struct prog *p = ph_new(s, struct prog);
    PCRE2_UCHAR why[256];
    PCRE2_SIZE where;
    uint32_t options = PCRE2_CASELESS | PCRE2_DOTALL, count;
    int code;

    for (size_t i = 0; i < flags.n; i++)
        options ^= option(flags.p[i]);
    p->code = pcre2_compile((PCRE2_SPTR)pattern.p, pattern.n, options, &code, &where, NULL);
    if (!p->code) {
        pcre2_get_error_message(code, why, sizeof why);
        return ph_fail(PH_CONF, "error in regex at offset %zu: %s", (size_t)where, (const char *)why);
    }
    p->data = pcre2_match_data_create_from_pattern(p->code, NULL);
    p->context = pcre2_match_context_create(NULL);
    ph_defer(s, free_prog, p);
    if (!p->data || !p->context)
        ph_die("out of memory");
    pcre2_set_match_limit(p->context, 1000000);
    /* Without memory that may be executed the interpreter serves, only slower. */
    pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE);
    pcre2_pattern_info(p->code, PCRE2_INFO_CAPTURECOUNT, &count);
    *out = p;
    *groups = count;
    return 0;
}

static int match(void *arg, ph_str subject, struct pattern_span *span, unsigned count)
{
    struct prog *p = arg;
    int rc = pcre2_match(p->code, (PCRE2_SPTR)(subject.p ? subject.p : ""), subject.n, 0, 0, p->data, p->context);

    if (rc == PCRE2_ERROR_NOMATCH)
        return PH_NONE;
    if (rc < 0)
        return ph_fail(PH_TEMP, "the match went over its limit (PCRE2 error %d)", rc);
    const PCRE2_SIZE *v = pcre2_get_ovector_pointer(p->data);
    uint32_t pairs = pcre2_get_ovector_count(p->data);
    for (unsigned i = 0; i < count; i++)
        span[i] = i < pairs && i < (unsigned)rc && v[2 * i] != PCRE2_UNSET
                      ? (struct pattern_span){ (ptrdiff_t)v[2 * i], (ptrdiff_t)v[2 * i + 1] } : (struct pattern_span){ -1, -1 };
    return PH_FOUND;
}

static int is_slow(const void *arg)
{
    const struct prog *p = arg;
    size_t bytes = 0;

    return pcre2_pattern_info(p->code, PCRE2_INFO_JITSIZE, &bytes) != 0 || bytes == 0;
}

static const struct pattern_engine engine = { .is_perl = 1, .flag = flag, .compile = compile, .is_slow = is_slow, .match = match };

static int32_t pcre_open(struct ph_table *t, ph_str spec)
{
    return pattern_open(t, spec, &engine);
}

PH_PLUGIN_TABLE(pcre, PH_IS(.summary = "Perl-compatible regular expressions", .exec = PH_PURE, .concurrency = PH_ONE_CALL),
    .is = PH_TABLE_PATTERN,
    .open = pcre_open,
    .lookup = pattern_lookup);
