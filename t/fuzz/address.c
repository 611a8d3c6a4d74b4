/* Addresses: SMTP paths, the two forms, header lists, names; text of peers.
 * First byte of the input: which of them (see modes). */
#include <string.h>
#include <posthorn/address.h>
#include <posthorn/error.h>
#include "fuzz.h"

/* What is written in external form must read as what it was. */
static void round_trip(struct ph_scope *s, ph_str internal)
{
    ph_str external = ph_address_external(s, internal), back, rest, path;

    FUZZ_CHECK(external.n <= internal.n * 2 + 4, "%zu bytes of %zu", external.n, internal.n);
    FUZZ_CHECK(ph_address_internal(s, external, &back) == 1, "external form of %.*s is refused: %.*s", PH_FMT(internal), PH_FMT(external));
    FUZZ_SAME(back, internal, "internal(external(x)) is x");
    FUZZ_SAME(ph_address_external(s, back), external, "one external form");
    path = ph_str_printf(s, "<%.*s> SIZE=1", PH_FMT(external));
    FUZZ_CHECK(ph_address_parse_path(s, path, 0, &back, &rest) == 1, "as a path: %.*s", PH_FMT(path));
    FUZZ_SAME(back, internal, "path(external(x)) is x");
    FUZZ_SAME(rest, PH_STR("SIZE=1"), "what follows a path");
}

/* No line end and no NUL gets out of a parser: an address goes into commands. */
static void clean(ph_str a)
{
    FUZZ_CHECK(!a.n || (!memchr(a.p, '\n', a.n) && !memchr(a.p, '\r', a.n) && !memchr(a.p, 0, a.n)), "%.*s", PH_FMT(a));
}

static void path(struct ph_scope *s, ph_str in)
{
    ph_str strict_a = PH_STR("?"), strict_rest = PH_STR("?"), a = PH_STR("?"), rest = PH_STR("?");
    int strict = ph_address_parse_path(s, in, 1, &strict_a, &strict_rest), rc = ph_address_parse_path(s, in, 0, &a, &rest);

    fuzz_saw_number(strict * 2 + rc);
    if (strict) {
        FUZZ_CHECK(rc == 1, "the strict form is one of the others");
        FUZZ_SAME(a, strict_a, "strict or not, the same address");
        FUZZ_SAME(rest, strict_rest, "and the same rest");
    } else {
        FUZZ_SAME(strict_a, PH_STR("?"), "no answer, no change");
    }
    if (!rc) {
        FUZZ_SAME(a, PH_STR("?"), "no answer, no change");
        return;
    }
    FUZZ_CHECK(a.n + rest.n <= in.n, "longer than the input");
    fuzz_saw(a);
    fuzz_saw(rest);
    clean(a);
    round_trip(s, a);
}

static void internal(struct ph_scope *s, ph_str in)
{
    ph_str a = PH_STR("?");
    int rc = ph_address_internal(s, in, &a);

    fuzz_saw_number(rc);
    fuzz_saw(a);
    if (!rc)
        return;
    FUZZ_CHECK(a.n <= in.n, "longer than the input");
    clean(a);
    round_trip(s, a);
}

/* The external walk reads the same addresses, and then some: a quoted "@" is no domain's there. */
static void same_in_quotes(struct ph_scope *s, ph_str in, size_t start, size_t end, ph_str internal)
{
    size_t from, to;
    ph_str external;

    FUZZ_CHECK(ph_address_next_external(s, in, &start, &external, &from, &to) == 1 && start == end, "the same place");
    FUZZ_CHECK(from <= to && to <= end, "where it stands");
    FUZZ_SAME(ph_address_bare(s, external), internal, "the same address");
}

static void list(struct ph_scope *s, ph_str in)
{
    size_t at = 0, was = 0;
    ph_str a;
    int rc;

    for (; (rc = ph_address_next(s, in, &at, &a)) > 0; was = at) {
        FUZZ_CHECK(at > was && at <= in.n, "the walk goes on: %zu, %zu", was, at);
        FUZZ_CHECK(a.n <= in.n, "longer than the input");
        fuzz_saw(a);
        clean(a);
        round_trip(s, a);
        same_in_quotes(s, in, was, at, a);
    }
    fuzz_saw_number(rc);
    FUZZ_CHECK(rc == 0 || (rc == PH_PERM && strstr(ph_error(), "byte")), "%d %s", rc, ph_error());
    FUZZ_CHECK(at <= in.n, "position %zu of %zu", at, in.n);
}

static void parts(struct ph_scope *s PH_UNUSED, ph_str in)
{
    ph_str local, domain, user, ext, delimiters = PH_STR("+-=_");
    char d;

    delimiters.n = fuzz_choice(&in, 5);
    ph_address_split(in, &local, &domain);
    FUZZ_CHECK(local.n + domain.n + (ph_str_find(in, '@') >= 0) == in.n, "nothing is lost");
    FUZZ_CHECK(ph_str_find(domain, '@') < 0, "the last @ splits");
    ph_address_extension(local, delimiters, &user, &ext, &d);
    FUZZ_CHECK(user.p == local.p && user.n + ext.n + (d != 0) == local.n, "user, delimiter and extension are the local part");
    FUZZ_CHECK(!d || local.p[user.n] == d, "the delimiter stands between them");
    FUZZ_CHECK(!d || ph_str_find(delimiters, d) >= 0, "and is one of the set");
    fuzz_saw(user);
    FUZZ_CHECK(!ph_hostname_valid(in) || (in.n <= 255 && ph_str_is_ascii(in)), "host name");
    FUZZ_CHECK(!ph_hostname_valid(in) || !ph_domain_literal_valid(in), "a name or a literal");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const modes[])(struct ph_scope *, ph_str) = { path, internal, list, parts };
    PH_SCOPED(s, NULL);
    ph_str in = { (const char *)data, size };

    modes[fuzz_choice(&in, 4)](s, in);
    return 0;
}
