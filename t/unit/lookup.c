/* t/unit/lookup.c: lists of tables, partial keys of addresses, lists that are
 * matched.  The tables are the built plugins.
 * Run alone: make t/unit/lookup.t && prove -v t/unit/lookup.t */
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/fold.h>
#include <posthorn/lookup.h>
#include <posthorn/source.h>
#include "core/conf/conf.h"
#include "core/plugin/registry.h"
#include "t/unit/tap.h"

static struct ph_scope *scope;
static struct ph_conf *conf;
static char dir[] = "/tmp/posthorn-lookup-XXXXXX";

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

static struct ph_maps *maps(const char *list)
{
    struct ph_maps *m;

    if (ph_maps_open(conf, scope, "test_maps", ph_cstr(list), PH_MAPS_FOLD, &m) < 0)
        ph_die("%s", ph_error());
    return m;
}

static void test_address(void)
{
    static const struct { const char *name, *list, *address; int local; const char *want, *ext; } cases[] = {
        { "the whole address first", "inline:{joe+x@d.test=1, joe@d.test=2}", "joe+x@d.test", 0, "1", "" },
        { "then without extension", "inline:{joe@d.test=2, @d.test=3}", "joe+x@d.test", 0, "2", "+x" },
        { "case does not matter", "inline:{joe@d.test=2}", "JOE+X@D.Test", 0, "2", "+X" },
        { "user+extension alone when the domain is local", "inline:{joe+x=3, joe=4}", "joe+x@d.test", 1, "3", "" },
        { "user alone", "inline:{joe=4, @d.test=5}", "joe+x@d.test", 1, "4", "+x" },
        { "but not for other domains", "inline:{joe=4}", "joe+x@d.test", 0, NULL, "" },
        { "the domain last", "inline:{@d.test=5}", "joe+x@d.test", 0, "5", "" },
        { "not the parent domain", "inline:{@test=5}", "joe@d.test", 0, NULL, "" },
        { "tables in turn for one key before the next key", "inline:{@d.test=5}, inline:{joe@d.test=2}", "joe@d.test", 0, "2", "" },
        { "pattern tables see whole addresses only", "regexp:{ {/^joe@/ part} }, inline:{joe@d.test=2}", "joe+x@d.test", 0, "2", "+x" },
        { "the quoted form is asked", "inline:{ {\"a b\"@d.test=6} }", "a b@d.test", 0, "6", "" },
        { "then the bare one", "regexp:{ {/^a b@/ 7} }", "a b@d.test", 0, "7", "" },
        { "an address without domain", "inline:{joe=8}", "joe", 0, "8", "" },
        { "an empty list finds nothing", "", "joe@d.test", 1, NULL, "" },
        { "an empty address neither", "static:x", "", 1, NULL, "" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ph_str val = PH_STR(""), ext = PH_STR("?");
        int rc = ph_maps_find_address(maps(cases[i].list), ph_cstr(cases[i].address), PH_STR("+-"), cases[i].local, scope, &val, &ext);

        is_int(rc, cases[i].want ? PH_FOUND : PH_NONE, "%s", cases[i].name);
        if (rc == PH_FOUND && cases[i].want) {
            is_bytes(val, cases[i].want, "%s: value", cases[i].name);
            is_bytes(ext, cases[i].ext, "%s: extension", cases[i].name);
        }
    }
}

static void test_failures(void)
{
    ph_str val, ext;

    is_int(ph_maps_find_address(maps("fail:x, static:y"), PH_STR("a@b.test"), PH_STR(""), 0, scope, &val, &ext), PH_TEMP,
           "a failing table stops the search");
    is_int(ph_maps_find_address(maps("inline:{c=d}, fail:x"), PH_STR("a@b.test"), PH_STR(""), 0, scope, &val, &ext), PH_TEMP,
           "and is never \"not found\"");
    is_int(ph_maps_find(maps("inline:{a=b}, fail:x"), PH_STR("a"), scope, &val), PH_FOUND, "what is found before it is found");
    is_int(ph_maps_find_part(maps("regexp:{ {/./ x} }"), PH_STR("a"), scope, &val), PH_NONE, "a part is no question for a pattern");
    val = PH_STR("a default");
    is_int(ph_maps_find(maps("inline:{b=c}"), PH_STR("a"), scope, &val), PH_NONE, "what is not there");
    is_bytes(val, "a default", "leaves alone what the caller had");
    is_int(ph_maps_is_empty(maps("")), 1, "an empty list says so");
    is_int(ph_maps_is_empty(maps("static:x")), 0, "another does not");
    struct ph_maps *m;
    struct ph_buf many;
    ph_buf_init(&many, scope, 65536);
    for (int i = 0; i < 101; i++)
        ph_buf_puts(&many, "static:x ");
    is_int(ph_maps_open(conf, scope, "test_maps", ph_buf_view(&many), 0, &m), PH_CONF, "101 tables are too many");
}

#define D PH_MATCH_DOMAIN
#define P (PH_MATCH_DOMAIN | PH_MATCH_PARENT)
#define A PH_MATCH_ADDRESS

static void test_match(void)
{
    put_text("list", "# a file\nfile.test, .sub.test\n!no.test\n10.2.0.0/16\n");
    put_text("again", ph_str_printf(scope, "%s/again\n", dir).p);
    static const struct { const char *name, *list; uint32_t how; const char *host, *address; int want; } cases[] = {
        { "a name matches itself", "a.test b.test", D, "b.test", "", PH_FOUND },
        { "whatever its case", "A.test", D, "a.TEST", "", PH_FOUND },
        { "no subdomain", "a.test", D, "x.a.test", "", PH_NONE },
        { "with a dot subdomains only", ".a.test", D, "x.a.test", "", PH_FOUND },
        { "and not itself", ".a.test", D, "a.test", "", PH_NONE },
        { "parents match subdomains when asked to", "a.test", P, "y.x.a.test", "", PH_FOUND },
        { "where they do, a dot in front says nothing", ".a.test", P, "x.a.test", "", PH_NONE },
        { "at a dot only", "a.test", P, "xa.test", "", PH_NONE },
        { "strings are exact", "a.test", PH_MATCH_STRING, "x.a.test", "", PH_NONE },
        { "the first that matches decides", "!x.a.test, .a.test", D, "x.a.test", "", PH_NONE },
        { "the others go on", "!x.a.test, .a.test", D, "y.a.test", "", PH_FOUND },
        { "two negations cancel", "!!a.test", D, "a.test", "", PH_FOUND },
        { "a network", "10.0.0.0/8", A, "", "10.1.2.3", PH_FOUND },
        { "and not another", "10.0.0.0/8", A, "", "11.1.2.3", PH_NONE },
        { "behind a comment nothing is listed", "10.0.0.0/8 # 11.1.2.3, 12.0.0.0/8", A, "", "11.1.2.3", PH_NONE },
        { "a single address", "192.0.2.7", A, "", "192.0.2.7", PH_FOUND },
        { "IPv6 in brackets", "[2001:db8::]/32 [::1]/128", A, "", "2001:db8::5", PH_FOUND },
        { "IPv4 is not in ::/0", "[::]/0", A, "", "192.0.2.7", PH_NONE },
        { "an exception within a network", "!10.0.0.1, 10.0.0.0/8", A, "", "10.0.0.1", PH_NONE },
        { "names and networks in one list", "a.test 10.0.0.0/8", D | A, "a.test", "192.0.2.1", PH_FOUND },
        { "a file", "@list", D | A, "file.test", "", PH_FOUND },
        { "its networks", "@list", D | A, "", "10.2.3.4", PH_FOUND },
        { "its negations", "@list .test", D | A, "no.test", "", PH_NONE },
        { "a negated file", "!@list .test", D | A, "x.sub.test", "", PH_NONE },
        { "a table: the key counts", "inline:{a.test=no}", D, "a.test", "", PH_FOUND },
        { "a table's parents with their dot", "inline:{.a.test=x}", D, "y.a.test", "", PH_FOUND },
        { "or without when parents count", "inline:{a.test=x}", P, "y.a.test", "", PH_FOUND },
        { "addresses in cidr tables", "cidr:{ {10.0.0.0/8 x} }", A, "", "10.1.1.1", PH_FOUND },
        { "an empty list matches nothing", "", D, "a.test", "", PH_NONE },
        { "a failing table is neither yes nor no", "fail:x, a.test", D, "a.test", "", PH_TEMP },
        { "unless something before it decides", "a.test, fail:x", D, "a.test", "", PH_FOUND },
        { "host bits in a network are neither", "10.0.0.1/8 11.0.0.0/8", A, "", "11.0.0.1", PH_TEMP },
        { "a mask that is too long", "10.0.0.0/33 10.0.0.1", A, "", "10.0.0.1", PH_TEMP },
        { "no mask behind the slash", "10.0.0.0/ 10.0.0.1", A, "", "10.0.0.1", PH_TEMP },
        { "an octet that is none", "10.0.0.256/8 10.0.0.1", A, "", "10.0.0.1", PH_TEMP },
        { "or begins with 0", "010.0.0.0/8 10.0.0.1", A, "", "10.0.0.1", PH_TEMP },
        { "without a mask it is a name", "10.0.0.256 01.2.3.4 10.0.0 10.0.0.1", A, "", "10.0.0.1", PH_FOUND },
        { "and so is what has other letters", "10.0.0.0/8x localhost 10.0.0.1", A, "", "10.0.0.1", PH_FOUND },
        { "which is no network", "10.0.0.0/8x", A, "", "10.0.0.1", PH_NONE },
        { "nothing behind \"!\"", "! 10.0.0.1", A, "", "10.0.0.1", PH_TEMP },
        { "an address with a port is no network", "10.0.0.1:25 10.0.0.2", A, "", "10.0.0.2", PH_TEMP },
        { "a missing file is neither", "@nofile a.test", D, "a.test", "", PH_TEMP },
        { "a file that names itself ends", "@again a.test", D, "a.test", "", PH_TEMP },
        { "an unknown type is neither", "nosuch:x", D, "a.test", "", PH_TEMP },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ph_match *m;
        struct ph_buf list;

        ph_buf_init(&list, scope, 65536);
        for (const char *p = cases[i].list; *p; p++)
            if (*p == '@')
                ph_buf_printf(&list, "%s/", dir);
            else
                ph_buf_putc(&list, *p);
        if (ph_match_open(conf, scope, "test_list", ph_buf_view(&list), cases[i].how, &m) < 0)
            ph_die("%s", ph_error());
        is_int(ph_match(m, ph_cstr(cases[i].host), ph_cstr(cases[i].address)), cases[i].want, "%s", cases[i].name);
    }
}

/* Logical lines, cut at every place where a file may end. */
static void test_source(void)
{
    const char text[] = "# c\na 1\n  2\n\n# between\n\t3\r\nb\n\"c \\\" d\"  e f \n";
    struct ph_source src;
    ph_str line, key, value;
    uint32_t number;

    put_text("src", text);
    if (ph_source_open(scope, ph_str_printf(scope, "%s/src", dir).p, &src) < 0)
        ph_die("%s", ph_error());
    ok(ph_source_next(&src, &line, &number) && number == 2, "a line begins on line 2");
    ok(ph_source_pair(line, &key, &value) == PH_SOURCE_PAIR, "it is a pair");
    is_bytes(key, "a", "its key");
    is_bytes(value, "1  2\t3", "its value goes on over comments and empty lines");
    ok(ph_source_next(&src, &line, &number) && number == 7 && ph_source_pair(line, &key, &value) != PH_SOURCE_PAIR, "a key alone is no pair");
    ok(ph_source_next(&src, &line, &number) && ph_source_pair(line, &key, &value) == PH_SOURCE_PAIR, "a quoted key");
    is_bytes(key, "\"c \\\" d\"", "keeps its quotes");
    is_bytes(value, "e f", "and the value is behind it");
    ok(!ph_source_next(&src, &line, &number), "the end");
    for (size_t n = 0; n <= sizeof text - 1; n++) {
        char part[sizeof text];
        int lines = 0;

        memcpy(part, text, n);
        part[n] = 0;
        put_text("src", part);
        if (ph_source_open(scope, ph_str_printf(scope, "%s/src", dir).p, &src) < 0)
            ph_die("%s", ph_error());
        while (ph_source_next(&src, &line, &number))
            lines++;
        if (lines > 3 || (n > 4 && lines < 1))
            is_int(lines, 3, "cut at %zu", n);
    }
}

static void test_fold(void)
{
    static const struct { const char *name, *in, *want; } cases[] = {
        { "ASCII", "Joe@EXAMPLE.Com", "joe@example.com" }, { "nothing", "", "" }, { "Latin", "\u00c4\u00d6x\u0178", "\u00e4\u00f6x\u00ff" },
        { "a sharp s is two", "stra\u00dfe", "strasse" }, { "a capital one too", "\u1e9e", "ss" }, { "Greek, with the final sigma", "\u03a3\u03c2", "\u03c3\u03c3" },
        { "one that becomes three", "\u0390", "\u03b9\u0308\u0301" }, { "Cyrillic", "\u0410\u042f", "\u0430\u044f" }, { "every other", "\u0100\u0101\u0102", "\u0101\u0101\u0103" },
        { "beyond 16 bits", "\U00010400", "\U00010428" }, { "the Kelvin sign", "\u212a", "k" }, { "what has no case", "\u4e2d", "\u4e2d" }, { "no UTF-8: ASCII alone", "A\xff\xc3\x84", "a\xff\xc3\x84" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ph_str once = ph_key_fold(scope, ph_cstr(cases[i].in));

        is_bytes(once, cases[i].want, "folding: %s", cases[i].name);
        is_bytes(ph_key_fold(scope, once), cases[i].want, "and again");
    }
}

int main(void)
{
    umask(022);
    scope = ph_scope_new(NULL);
    if (!mkdtemp(dir) || mkdir(ph_str_printf(scope, "%s/plugins.d", dir).p, 0700) < 0 || ph_conf_parse(scope, dir, "main.cf", PH_STR(""), &conf) < 0)
        ph_die("%s", dir);
    install("inline", "inline");
    install("static", "static");
    install("cidr", "cidr");
    install("fail", "fail");
    install("pattern", "regexp");
    ph_registry_data_dir(dir);
    if (ph_registry_open(conf) < 0)
        ph_die("%s", ph_error());
    test_address();
    test_failures();
    test_match();
    test_source();
    test_fold();
    const char *clean = ph_str_printf(scope, "rm -rf %s", dir).p;
    if (system(clean) != 0)
        printf("# left behind: %s\n", dir);
    ph_scope_free(scope);
    return done_testing();
}
