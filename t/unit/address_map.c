/* t/unit/address_map.c: one address through tables: results, rounds, expansions; and
 * other addresses in a header's value.  The tables are the built plugins; the rewrite
 * service is stood in for.
 * Run alone: make t/unit/address_map.t && prove -v t/unit/address_map.t */
#include <limits.h>
#include <sys/stat.h>
#include <posthorn/address.h>
#include <posthorn/address_map.h>
#include <posthorn/client.h>
#include <posthorn/error.h>
#include <posthorn/header.h>
#include <posthorn/net.h>
#include "core/conf/conf.h"
#include "core/plugin/registry.h"
#include "t/unit/tap.h"

static struct ph_scope *scope;
static char dir[] = "/tmp/posthorn-address-map-XXXXXX";

static struct {
    int calls, addresses, fails, few;
} rewrite;

/* Appends the origin, and takes off a last dot; nothing is left of "@". */
int ph_service_call(struct ph_scope *s, const char *name, const struct ph_frame *request, struct ph_frame **reply)
{
    struct ph_frame *f = ph_frame_new(s);
    ph_str what, value;
    size_t at = 0;

    if (rewrite.fails)
        return ph_fail(PH_PERM, "rewrite is not there");
    rewrite.calls += strcmp(name, "rewrite") == 0;
    ph_frame_cstr(f, "status", "ok");
    while (ph_frame_next(request, &at, &what, &value)) {
        if (!ph_str_eq(what, PH_STR("address")) || (rewrite.few && rewrite.addresses))
            continue;
        rewrite.addresses++;
        if (ph_str_find(value, '@') < 0)
            value = ph_str_printf(s, "%.*s@%s.test", PH_FMT(value), ph_str_eq(ph_frame_value(request, "context"), PH_STR("local")) ? "origin" : "remote");
        if (ph_str_eq(value, PH_STR("@")))
            value = PH_STR("");
        ph_frame_str(f, "address", ph_str_ends(value, PH_STR(".")) ? ph_str_first(value, value.n - 1) : value);
    }
    *reply = f;
    return 0;
}

static void put_text(const char *name, const char *text)
{
    const char *path = ph_str_printf(scope, "%s/%s", dir, name).p;
    FILE *f = fopen(path, "w");

    if (!f || fputs(text, f) < 0 || fclose(f) != 0)
        ph_die("%s", path);
}

static void install(const char *folder, const char *name)
{
    char real[PATH_MAX];

    if (!realpath(ph_str_printf(scope, "%s/plugins/table/%s/.libs/table_%s.so", build_dir(), folder, name).p, real))
        ph_die("table_%s.so is not built", name);
    put_text(ph_str_printf(scope, "plugins.d/%s.yaml", name).p,
             ph_str_printf(scope, "format: 1\nkind: table\nname: %s\nobject: %s\n", name, real).p);
}

static struct ph_address_rules *rules(const char *more)
{
    struct ph_conf *c;
    struct ph_address_rules *r;

    if (ph_conf_parse(scope, dir, "main.cf", ph_str_printf(scope, "myhostname = mx.test\nmyorigin = origin.test\nmydestination = here.test\n"
            "inet_interfaces = 192.0.2.1\nrecipient_delimiter = +\nsmtputf8_enable = yes\n%s\n", more), &c) < 0 || ph_address_rules_open(c, scope, &r) < 0)
        ph_die("%s", ph_error());
    return r;
}

static struct ph_address_map *map(const char *more, const char *list, const char *feature)
{
    struct ph_address_map *m;

    if (ph_address_map_open(rules(more), "test_maps", ph_cstr(list), feature, &m) < 0)
        ph_die("%s", ph_error());
    return m;
}

/* ---- one look-up ---- */

static void test_one(void)
{
    static const struct { const char *name, *list, *address, *want; } cases[] = {
        { "the whole address", "inline:{joe+x@d.test=a@x.test, joe@d.test=b@x.test}", "joe+x@d.test", "a@x.test" },
        { "without its extension, which goes on", "inline:{joe@d.test=b@x.test}", "joe+x@d.test", "b+x@x.test" },
        { "the key's case does not matter", "inline:{joe@d.test=b@x.test}", "JOE@D.test", "b@x.test" },
        { "a user of mydestination", "inline:{joe=b@x.test}", "joe@here.test", "b@x.test" },
        { "of myorigin", "inline:{joe=b@x.test}", "joe@ORIGIN.test", "b@x.test" },
        { "of one of our addresses", "inline:{joe=b@x.test}", "joe@[192.0.2.1]", "b@x.test" },
        { "not of another's", "inline:{joe=b@x.test}", "joe@[192.0.2.2]", NULL },
        { "not of others", "inline:{joe=b@x.test}", "joe@d.test", NULL },
        { "user and extension", "inline:{joe+x=b@x.test, joe=c@x.test}", "joe+x@here.test", "b@x.test" },
        { "the domain", "inline:{@d.test=b@x.test}", "joe+x@d.test", "b@x.test" },
        { "@other keeps the user", "inline:{@d.test=@x.test}", "joe+x@d.test", "joe+x@x.test" },
        { "a quoted one too", "inline:{@d.test=@x.test}", "a b@d.test", "a b@x.test" },
        { "a result that is not complete", "inline:{joe@d.test=bob}", "joe+x@d.test", "bob+x@origin.test" },
        { "a domain with a last dot", "inline:{joe@d.test=bob@x.test.}", "joe@d.test", "bob@x.test" },
        { "a result in quotes", "inline:{ {joe@d.test=\"a b\"@x.test} }", "joe@d.test", "a b@x.test" },
        { "a result with a name and brackets", "inline:{ {joe@d.test=Joe <b@x.test>} }", "joe@d.test", "b@x.test" },
        { "of several the first", "inline:{ {joe@d.test=a@x.test, b@x.test} }", "joe@d.test", "a@x.test" },
        { "blanks separate, too", "inline:{ {joe@d.test=a@x.test b@x.test} }", "joe@d.test", "a@x.test" },
        { "but not around dots and at", "inline:{ {joe@d.test=a . b @ x . test} }", "joe@d.test", "a.b@x.test" },
        { "the null address is no key", "static:x@y.test", "", NULL },
        { "UTF-8", "inline:{j\303\266@d.test=b@x.test}", "J\303\226@d.test", "b@x.test" },
        { "other bytes are no key", "static:x@y.test", "j\366@\366.test", NULL },
        { "but what is without them is", "inline:{@d.test=b@x.test}", "j\366@d.test", "b@x.test" },
        { "no tables", "", "joe@d.test", NULL },
        { "a table that fails", "fail:x", "joe@d.test", "TEMP" },
        { "one behind what is found", "inline:{joe@d.test=b@x.test}, fail:x", "joe@d.test", "b@x.test" },
        { "a value without an address", "inline:{ {joe@d.test=,} }", "joe@d.test", "TEMP" },
        { "a value that is none", "inline:{ {joe@d.test=a@x.test <} }", "joe@d.test", "TEMP" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ph_str out = PH_STR("");
        int rc = ph_address_map_one(map("", cases[i].list, "canonical"), scope, ph_cstr(cases[i].address), &out);
        int want = !cases[i].want ? PH_NONE : strcmp(cases[i].want, "TEMP") == 0 ? PH_TEMP : PH_FOUND;

        is_int(rc, want, "%s", cases[i].name);
        if (want == PH_FOUND)
            is_bytes(out, cases[i].want, "%s: the result", cases[i].name);
    }
}

static void test_extensions(void)
{
    ph_str out = PH_STR("");
    const char *list = "inline:{ {joe@d.test=a@x.test, \"b c\"@x.test}, {@e.test=@x.test} }";
    struct ph_expand_limits l = { .size = sizeof l, .results = 10, .depth = 10, .bytes = 100 };
    ph_str *all;
    size_t n = 0;

    ph_address_map_one(map("propagate_unmatched_extensions = virtual", list, "canonical"), scope, PH_STR("joe+x@d.test"), &out);
    is_bytes(out, "a@x.test", "an extension is dropped when the feature is not named");
    ph_address_map_one(map("", list, NULL), scope, PH_STR("joe+x@d.test"), &out);
    is_bytes(out, "a@x.test", "or has no name");
    ph_address_map_one(map("propagate_unmatched_extensions =", "inline:{joe@d.test=@x.test}", "canonical"), scope, PH_STR("joe+x@d.test"), &out);
    is_bytes(out, "joe@x.test", "@other keeps what the key had");
    ph_address_map_one(map("propagate_unmatched_extensions =", list, "canonical"), scope, PH_STR("joe+x@e.test"), &out);
    is_bytes(out, "joe+x@x.test", "what @domain keeps has it in any case");
    is_int(ph_address_map_expand(map("", list, "virtual"), scope, PH_STR("joe+x@d.test"), &l, &all, &n), PH_FOUND, "several results");
    ok(n == 2 && ph_str_eq(all[0], PH_STR("a+x@x.test")) && ph_str_eq(all[1], PH_STR("b c+x@x.test")), "each has it");
    is_int(ph_address_map_one(map("recipient_delimiter =", list, "canonical"), scope, PH_STR("joe+x@d.test"), &out), PH_NONE, "without a delimiter there is none");
}

/* ---- canonical ---- */

static void test_settle(void)
{
    static const struct { const char *name, *list, *address, *want; } cases[] = {
        { "once", "inline:{a@d.test=b@d.test}", "a@d.test", "b@d.test" },
        { "again", "inline:{a@d.test=b@d.test, b@d.test=c@d.test}", "a@d.test", "c@d.test" },
        { "itself ends it", "inline:{a@d.test=a@d.test}", "a@d.test", NULL },
        { "in another spelling", "inline:{a@d.test=A@d.test}", "a@d.test", "A@d.test" },
        { "nothing there", "inline:{a@d.test=b@d.test}", "c@d.test", NULL },
        { "a circle", "inline:{a@d.test=b@d.test, b@d.test=a@d.test}", "a@d.test", "TEMP" },
        { "nine steps", "regexp:{ {/^(.{1,9})@d/ ${1}x@d.test} }", "x@d.test", "xxxxxxxxxx@d.test" },
        { "ten are too many", "regexp:{ {/^(.{1,10})@d/ ${1}x@d.test} }", "x@d.test", "TEMP" },
        { "failure on the way", "inline:{a@d.test=b@d.test}, fail:x", "a@d.test", "TEMP" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ph_str out = PH_STR("");
        int rc = ph_address_map_settle(map("", cases[i].list, "canonical"), scope, ph_cstr(cases[i].address), &out);
        int want = !cases[i].want ? PH_NONE : strcmp(cases[i].want, "TEMP") == 0 ? PH_TEMP : PH_FOUND;

        is_int(rc, want, "rounds: %s", cases[i].name);
        if (want == PH_FOUND)
            is_bytes(out, cases[i].want, "rounds: %s: the result", cases[i].name);
    }
}

/* ---- aliases ---- */

/* An inline table whose one key has n members. */
static const char *wide(int n)
{
    struct ph_buf b;

    ph_buf_init(&b, scope, 1u << 20);
    ph_buf_puts(&b, "inline:{ {all@d.test=");
    for (int i = 0; i < n; i++)
        ph_buf_printf(&b, "%sm%d@x.test", i ? "," : "", i);
    ph_buf_puts(&b, "} }");
    return b.p;
}

static void test_expand(void)
{
    const struct { const char *name, *list, *address, *want; } cases[] = {
        { "a list", "inline:{ {a@d.test=b@x.test, c@x.test} }", "a@d.test", "b@x.test c@x.test" },
        { "lists in lists", "inline:{ {a@d.test=b@d.test, c@x.test}, {b@d.test=d@x.test, e@x.test} }", "a@d.test", "d@x.test c@x.test e@x.test" },
        { "behind a bracket a list goes on without a comma", "inline:{ {a@d.test=B <b@x.test> c@x.test (d) e@x.test, <f@x.test><g@x.test> h@x.test} }", "a@d.test", "b@x.test c@x.test e@x.test f@x.test g@x.test h@x.test" },
        { "a member of itself stays", "inline:{ {a@d.test=a@d.test, b@d.test}, {b@d.test=c@x.test} }", "a@d.test", "a@d.test c@x.test" },
        { "itself alone is nothing", "inline:{a@d.test=a@d.test}", "a@d.test", NULL },
        { "nothing there", "inline:{a@d.test=b@x.test}", "b@x.test", NULL },
        { "with an extension", "inline:{ {a@d.test=a@d.test, b@x.test} }", "a+e@d.test", "a+e@d.test b+e@x.test" },
        { "@other", "inline:{ {@d.test=@x.test} }", "u+e@d.test", "u+e@x.test" },
        { "@other with an extension that is handed on", "inline:{ {u@d.test=@x.test} }", "u+e@d.test", "u+e@x.test" },
        { "the same twice", "inline:{ {a@d.test=b@x.test, b@x.test} }", "a@d.test", "b@x.test b@x.test" },
        { "a circle", "inline:{a@d.test=b@d.test, b@d.test=a@d.test}", "a@d.test", "PERM" },
        { "a circle that grows", "inline:{ {a@d.test=b@d.test, c@x.test}, {b@d.test=a@d.test} }", "a@d.test", "PERM" },
        { "two circles that share members", "inline:{ {a@d.test=b@d.test, b@d.test}, {b@d.test=a@d.test, a@d.test} }", "a@d.test", "PERM" },
        { "an address that grows", "regexp:{ {/^(.*)@d/ ${1}xxxxxxxx@d.test} }", "a@d.test", "PERM" },
        { "failure behind a part", "inline:{ {a@d.test=b@x.test, c@x.test}, {b@x.test=b@x.test} }, fail:x", "a@d.test", "TEMP" },
        { "as many as are allowed", wide(1000), "all@d.test", "1000" },
        { "one more", wide(1001), "all@d.test", "PERM" },
    };
    struct ph_expand_limits l = { .size = sizeof l, .results = 1000, .depth = 1000, .bytes = 1000 };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ph_str *list = NULL;
        struct ph_buf got;
        size_t n = 0;
        int rc = ph_address_map_expand(map("", cases[i].list, "virtual"), scope, ph_cstr(cases[i].address), &l, &list, &n);
        int want = !cases[i].want ? PH_NONE : strcmp(cases[i].want, "TEMP") == 0 ? PH_TEMP : strcmp(cases[i].want, "PERM") == 0 ? PH_PERM : PH_FOUND;

        is_int(rc, want, "aliases: %s", cases[i].name);
        if (want != PH_FOUND)
            continue;
        ph_buf_init(&got, scope, 1u << 20);
        if (ph_is_digit(cases[i].want[0]))
            ph_buf_printf(&got, "%zu", n);
        for (size_t k = 0; !ph_is_digit(cases[i].want[0]) && k < n; k++)
            ph_buf_printf(&got, "%s%.*s", k ? " " : "", PH_FMT(list[k]));
        is_str(got, cases[i].want, "aliases: %s: the results", cases[i].name);
    }
}

static void test_limits(void)
{
    struct ph_address_map *chain = map("", "inline:{a@d.test=b@d.test, b@d.test=c@d.test, c@d.test=d@d.test}", "virtual");
    struct ph_expand_limits l = { .size = sizeof l, .results = 1, .depth = 4, .bytes = 8 };
    ph_str *list;
    size_t n;

    is_int(ph_address_map_expand(chain, scope, PH_STR("a@d.test"), &l, &list, &n), PH_FOUND, "exactly at each limit");
    l.depth = 3;
    is_int(ph_address_map_expand(chain, scope, PH_STR("a@d.test"), &l, &list, &n), PH_PERM, "one deeper");
    ok(strstr(ph_error(), "virtual_alias_recursion_limit") != NULL, "the words name the limit: %s", ph_error());
    l.depth = 4;
    l.bytes = 7;
    is_int(ph_address_map_expand(chain, scope, PH_STR("a@d.test"), &l, &list, &n), PH_PERM, "one byte longer");
    ok(strstr(ph_error(), "virtual_alias_address_length_limit") != NULL, "the words name the limit: %s", ph_error());
}

/* "@" among the results is none; those behind what is looked at are too many all the same. */
static void test_nothing(void)
{
    struct ph_address_map *m = map("", "inline:{ {a@d.test=b@x.test, @, c@x.test}, {b@d.test=b@x.test, @, @, c@x.test} }", "virtual");
    struct ph_expand_limits l = { .size = sizeof l, .results = 2, .depth = 4, .bytes = 100 };
    ph_str *list;
    size_t n = 0;

    is_int(ph_address_map_expand(m, scope, PH_STR("a@d.test"), &l, &list, &n), PH_FOUND, "\"@\" between two results");
    ok(n == 2 && ph_str_eq(list[0], PH_STR("b@x.test")) && ph_str_eq(list[1], PH_STR("c@x.test")), "is left out");
    is_int(ph_address_map_expand(m, scope, PH_STR("b@d.test"), &l, &list, &n), PH_PERM, "results that were not looked at are no others");
}

/* Depth is that of first results; others, and aliases that name themselves, begin anew. */
static void test_depth(void)
{
    const struct { const char *name, *list, *address; uint32_t depth; int want; } cases[] = {
        { "one that has no alias is a level too", "inline:{a@d.test=b@x.test}", "a@d.test", 1, PH_PERM },
        { "an alias of itself is none", "inline:{a@d.test=a@d.test}", "a@d.test", 1, PH_NONE },
        { "itself first", "inline:{ {a@d.test=a@d.test, b@x.test} }", "a@d.test", 1, PH_FOUND },
        { "itself second", "inline:{ {a@d.test=b@x.test, a@d.test} }", "a@d.test", 1, PH_PERM },
        { "to one that names itself", "inline:{ {a@d.test=b@d.test}, {b@d.test=b@d.test, c@x.test} }", "a@d.test", 2, PH_FOUND },
        { "to one that is known to name itself", "inline:{ {a@d.test=a@d.test, b@d.test}, {b@d.test=a@d.test} }", "a@d.test", 1, PH_FOUND },
        { "second results count from nothing", "inline:{ {a@d.test=x@x.test, b@d.test}, {b@d.test=x@x.test, c@d.test}, {c@d.test=x@x.test, e@d.test} }", "a@d.test", 2, PH_FOUND },
        { "first ones do not", "inline:{ {a@d.test=b@d.test, x@x.test}, {b@d.test=c@d.test, x@x.test} }", "a@d.test", 2, PH_PERM },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ph_expand_limits l = { .size = sizeof l, .results = 1000, .depth = cases[i].depth, .bytes = 1000 };
        ph_str *list;
        size_t n;

        is_int(ph_address_map_expand(map("", cases[i].list, "virtual"), scope, ph_cstr(cases[i].address), &l, &list, &n), cases[i].want, "depth: %s", cases[i].name);
    }
}

/* ---- standard form ---- */

static void test_complete(void)
{
    struct ph_address_rules *r = rules("append_dot_mydomain = yes"), *plain = rules("append_dot_mydomain = no");
    ph_str list[2500];

    ok(ph_address_is_whole(r, PH_STR("a@b.test")) && ph_address_is_whole(r, PH_STR("a@[x]")), "whole addresses");
    ok(!ph_address_is_whole(r, PH_STR("a")) && !ph_address_is_whole(r, PH_STR("a@b")) && !ph_address_is_whole(r, PH_STR("a@b.test.")) &&
       !ph_address_is_whole(r, PH_STR("@r:a@b.test")) && !ph_address_is_whole(r, PH_STR("a@")) && !ph_address_is_whole(r, PH_STR("@b.test")) && !ph_address_is_whole(r, PH_STR("\"a@b.test\"")), "others");
    ok(ph_address_is_whole(plain, PH_STR("a@b")), "a host alone is whole where no domain is appended");
    for (size_t i = 0; i < 2500; i++)
        list[i] = i % 2 ? ph_str_printf(scope, "u%zu", i) : i % 4 ? PH_STR("w@b.test") : PH_STR("");
    rewrite.calls = rewrite.addresses = 0;
    is_int(ph_address_complete(r, scope, "local", list, 2500), 0, "many addresses");
    is_int(rewrite.calls, 2, "in few requests");
    is_int(rewrite.addresses, 1250, "of those alone that are not whole");
    ok(ph_str_eq(list[2499], PH_STR("u2499@origin.test")) && ph_str_eq(list[2], PH_STR("w@b.test")) && list[4].n == 0, "each in its place");
    list[0] = PH_STR("u");
    ph_address_complete(r, scope, "remote", list, 1);
    is_bytes(list[0], "u@remote.test", "in the context that is asked for");
    rewrite.calls = 0;
    is_int(ph_address_complete(r, scope, "local", list, 2500), 0, "whole ones");
    is_int(rewrite.calls, 0, "ask nobody");
    list[0] = list[1] = PH_STR("u");
    rewrite.few = rewrite.addresses = 1;
    is_int(ph_address_complete(r, scope, "local", list, 2), PH_TEMP, "an answer that says too little");
    rewrite.few = 0;
    rewrite.fails = 1;
    is_int(ph_address_complete(r, scope, "local", list, 2), PH_TEMP, "no answer, whatever it is called");
    rewrite.fails = 0;
}

static void test_own(void)
{
    struct ph_conf *c;
    struct ph_ip *list;
    size_t n;

    ph_conf_parse(scope, dir, "main.cf", PH_STR("inet_interfaces = loopback-only\nproxy_interfaces = 192.0.2.7, [2001:db8::1]\n"), &c);
    is_int(ph_own_addresses(c, scope, &list, &n), 0, "our addresses");
    ok(n >= 3 && list[0].bytes[0] == 127, "loopback");
    ok(n >= 3 && ph_str_eq(ph_ip_format(scope, &list[n - 2]), PH_STR("192.0.2.7")) && ph_str_eq(ph_ip_format(scope, &list[n - 1]), PH_STR("2001:db8::1")),
       "and those of a proxy");
    is_int(ph_own_interfaces(c, scope, &list, &n) == 0 && n == 0, 1, "loopback-only names no interface");
    ph_conf_parse(scope, dir, "main.cf", PH_STR("inet_interfaces = 192.0.2.1, localhost\nproxy_interfaces = 192.0.2.7\n"), &c);
    is_int(ph_own_interfaces(c, scope, &list, &n), 0, "interfaces by number and by name");
    ok(n >= 2 && ph_str_eq(ph_ip_format(scope, &list[0]), PH_STR("192.0.2.1")) && ph_ip_is_loopback(&list[1]), "are found");
    ph_conf_parse(scope, dir, "main.cf", PH_STR("inet_interfaces = nobody.invalid\n"), &c);
    is_int(ph_own_interfaces(c, scope, &list, &n), PH_TEMP, "one that does not exist is a failure");
}

/* ---- values of headers ---- */

/* Each address gets "N:" in front of its user, N its number. */
static void test_values(void)
{
    static const struct { const char *name, *in, *out; } cases[] = {
        { "alone", "a@b.test", "0-a@b.test" },
        { "a list", "a@b.test, c@d.test,e", "0-a@b.test, 1-c@d.test,2-e" },
        { "a name", "\"A, B\" <a@b.test> (c)", "\"A, B\" <0-a@b.test> (c)" },
        { "an encoded one", "=?utf-8?q?J=C3=B6?= <a@b.test>", "=?utf-8?q?J=C3=B6?= <0-a@b.test>" },
        { "comments", "(x@y.test) a@b.test (z (n@n.test))", "(x@y.test) 0-a@b.test (z (n@n.test))" },
        { "a comment inside goes with its address", "a (x) @ b.test", "0-a@b.test" },
        { "folding", "A <a@b.test>,\r\n\tB <c@d.test>\r\n ,\r\n e@f.test", "A <0-a@b.test>,\r\n\tB <1-c@d.test>\r\n ,\r\n 2-e@f.test" },
        { "a group", "G: a@b.test, C <c@d.test>;, e@f.test", "G: 0-a@b.test, C <1-c@d.test>;, 2-e@f.test" },
        { "an empty group", "undisclosed-recipients:;", NULL },
        { "a route stays", "<@r.test,@s.test:a@b.test>", "<@r.test,@s.test:0-a@b.test>" },
        { "quotes", "\"a b\"@c.test", "\"0-a b\"@c.test" },
        { "quotes that are not needed", "\"a\"@c.test", "0-a@c.test" },
        { "blanks around dot and at", "a . b @ c . test", "0-a.b@c.test" },
        { "words are no address", "John Doe", NULL },
        { "nor before one that is", "John Doe, a@b.test", "John Doe, 0-a@b.test" },
        { "a literal", "a@[192.0.2.1]", "0-a@[192.0.2.1]" },
        { "the empty address", "<>", NULL },
        { "empty members", ", ,a@b.test,,", ", ,0-a@b.test,," },
        { "nothing", "", NULL },
        { "UTF-8", "J\303\266 <j\303\266@b.test>", "J\303\266 <0-j\303\266@b.test>" },
        { "bad syntax", "a@b.test, <c@d.test", "PERM" },
        { "an open comment", "a@b.test (c", "PERM" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ph_str in = ph_cstr(cases[i].in);
        struct ph_address_place *list = NULL;
        struct ph_buf out;
        size_t n = 0;
        int rc = ph_address_places(scope, in, 1000, &list, &n), bad = cases[i].out && strcmp(cases[i].out, "PERM") == 0;

        is_int(rc, bad ? PH_PERM : 0, "value: %s", cases[i].name);
        if (bad)
            continue;
        ph_buf_init(&out, scope, 1000);
        is_int(ph_address_replace(in, list, n, scope, &out), 0, "value: %s: nothing changes by itself", cases[i].name);
        for (size_t k = 0; k < n; k++)
            list[k].other = ph_str_printf(scope, "%zu-%.*s", k, PH_FMT(list[k].address));
        is_int(ph_address_replace(in, list, n, scope, &out), cases[i].out != NULL, "value: %s: changes", cases[i].name);
        is_str(out, cases[i].out ? cases[i].out : "", "value: %s: the addresses alone", cases[i].name);
    }
}

static void test_tokens(void)
{
    struct ph_address_place *list;
    struct ph_buf b;
    size_t n;

    ph_buf_init(&b, scope, 100000);
    for (int i = 0; i < 1000; i++)
        ph_buf_printf(&b, "u%d@x.test, ", i);                 /* six tokens each: u @ x . test , */
    is_int(ph_address_places(scope, ph_buf_view(&b), 6000, &list, &n), 0, "as many tokens as are allowed");
    is_int(n, 1000, "all addresses");
    is_int(ph_address_places(scope, ph_buf_view(&b), 599, &list, &n), 1, "more");
    is_int(n, 99, "the addresses before, whole ones");
    is_int(ph_address_places(scope, PH_STR("\"a b c d e f g h\" (i j (k) l m) <n@[192.0.2.1]>"), 7, &list, &n), 0, "strings, comments and literals are one each");
    is_int(ph_address_places(scope, PH_STR("a b c d e f g h i j k l"), 3, &list, &n), 1, "words");
    is_int(n, 0, "without a comma there is none");
}

static void test_names(void)
{
    is_int(ph_header_addresses(PH_STR("FROM")), PH_HEADER_SENDER, "From:");
    is_int(ph_header_addresses(PH_STR("Resent-Reply-To")), PH_HEADER_RECIPIENT, "Resent-Reply-To:");
    is_int(ph_header_addresses(PH_STR("resent-cc")), PH_HEADER_RECIPIENT, "Resent-Cc:");
    is_int(ph_header_addresses(PH_STR("Mail-Followup-To")), PH_HEADER_SENDER, "Mail-Followup-To:");
    is_int(ph_header_addresses(PH_STR("Resent-Errors-To")), 0, "Resent-Errors-To: is none");
    is_int(ph_header_addresses(PH_STR("Subject")), 0, "Subject:");
    is_int(ph_header_addresses(PH_STR("Delivered-To")), 0, "Delivered-To:");
}

int main(void)
{
    umask(022);
    scope = ph_scope_new(NULL);
    if (!mkdtemp(dir) || mkdir(ph_str_printf(scope, "%s/plugins.d", dir).p, 0700) < 0)
        ph_die("%s", dir);
    install("inline", "inline");
    install("static", "static");
    install("fail", "fail");
    install("pattern", "regexp");
    ph_registry_data_dir(dir);
    struct ph_conf *conf;
    if (ph_conf_parse(scope, dir, "main.cf", PH_STR("smtputf8_enable = yes\n"), &conf) < 0 || ph_registry_open(conf) < 0)
        ph_die("%s", ph_error());
    test_one();
    test_extensions();
    test_settle();
    test_expand();
    test_limits();
    test_nothing();
    test_depth();
    test_complete();
    test_own();
    test_values();
    test_tokens();
    test_names();
    const char *clean = ph_str_printf(scope, "rm -rf %s", dir).p;
    if (system(clean) != 0)
        printf("# left behind: %s\n", dir);
    ph_scope_free(scope);
    return done_testing();
}
