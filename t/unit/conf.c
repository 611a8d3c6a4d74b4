/* t/unit/conf.c: main.cf.  Run alone: make t/unit/conf.t && prove -v t/unit/conf.t */
#include <stdlib.h>
#include <unistd.h>
#include "tap.h"
#include <posthorn/error.h>
#include "core/conf/conf.h"

static struct ph_scope *scope;

static struct ph_conf *parse(const char *text)
{
    struct ph_conf *c = NULL;
    int rc = ph_conf_parse(scope, "/etc/x", "main.cf", ph_cstr(text), &c);

    if (rc < 0)
        printf("# %s\n", ph_error());
    return rc < 0 ? NULL : c;
}

static ph_str raw(struct ph_conf *c, const char *name)
{
    ph_str v = { "(unset)", 7 };

    if (c)
        ph_conf_raw_set(c, ph_cstr(name), &v, NULL);
    return v;
}

static void test_lines(void)
{
    static const char text[] = "a = 1\n# note\n  2\n\n   3\nb =\n   c\n   # not data\n d\ne = f # g\nh=i\n \nj = k";
    struct ph_conf *c = parse(text);
    ph_str w;
    size_t at = 0;

    is_bytes(raw(c, "a"), "1  2   3", "continuation keeps its leading blanks");
    is_bytes(raw(c, "b"), "c d", "comments between continuations are ignored");
    is_bytes(raw(c, "e"), "f # g", "# behind text is text");
    is_bytes(raw(c, "h"), "i", "no blanks around =");
    is_bytes(raw(c, "j"), "k", "the last line lacks its newline");
    is_int(ph_conf_warning(c, &at, &w), 0, "no warning");

    c = parse("  junk = 1\np = 1\np = 2\nq = 1\nq = 1\nr =\nv = x\r\nw = 1\r\n 2\r\n");
    is_bytes(raw(c, "junk"), "(unset)", "a first line with white space is skipped");
    is_bytes(raw(c, "p"), "2", "the last entry wins");
    is_bytes(raw(c, "r"), "", "an empty value is set");
    is_bytes(raw(c, "v"), "x", "CR at the end of a line disappears");
    is_bytes(raw(c, "w"), "1 2", "CR disappears in front of a continuation");
    at = 0;
    is_int(ph_conf_warning(c, &at, &w), 1, "the skipped line is told");
    is_int(ph_conf_warning(c, &at, &w), 1, "the overridden entry is told");
    is_bytes(w, "main.cf, line 3: overriding earlier entry: p=1", "with its place");
    is_int(ph_conf_warning(c, &at, &w), 0, "equal entries are not");
}

static void test_line_errors(void)
{
    static const struct { const char *text, *want; } cases[] = {
        { "name", "main.cf, line 1: missing '=' after attribute name: \"name\"" },
        { "a = 1\n\nname two = x\n", "main.cf, line 3: missing '=' after attribute name: \"name two = x\"" },
        { "= x", "main.cf, line 1: missing attribute name: \"= x\"" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ph_conf *c;

        is_int(ph_conf_parse(scope, NULL, "main.cf", ph_cstr(cases[i].text), &c), PH_CONF, "refused: case %zu", i);
        is_bytes(ph_cstr(ph_error()), cases[i].want, "says where");
    }
}

static void test_expand(void)
{
    static const struct { const char *in, *want; } cases[] = {
        { "plain", "plain" },
        { "$x/$n", "yes/10" },
        { "${x}a$(n)", "yesa10" },
        { "$$x", "$x" },
        { "$u", "" }, { "${e}", "" },
        { "${x?A}${e?B}", "A" },
        { "${x:A}${e:B}${u:C}", "BC" },
        { "${x??b}", "?b" },
        { "${x?a:b}", "a:b" },
        { "${x?{a}:{b}}", "a" }, { "${e?{a}:{b}}", "b" },
        { "${e?{a}:b c}", "b c" },
        { "${ x ? {a } : { b} }", "a " },
        { "${x?${u:deep}}", "deep" },
        { "${{$n} > {9} ? {big} : {small}}", "big" },
        { "${{$n} > {9x} ? {big} : {small}}", "small" },
        { "${{a} == {a}}", "true" }, { "${{a} == {b}}", "" },
        { "${{ 10} > {9}}", "" },
        { "${{3.9} <level {3.10} ? {lt} : {ge}}", "lt" },
        { "${{3.11} >=level {3.11}}", "true" },
        { "${{00012} == {12}}", "true" },
        { "${{99999999999999999999} > {9}}", "true" },
        { "a${x?{b}}c", "abc" },
        { "${domain_to_ascii{ b\xc3\xbc" "cher.example }}", "xn--bcher-kva.example" },
        { "${domain_to_utf8{xn--bcher-kva.example}}", "b\xc3\xbc" "cher.example" },
        { "$mail_name", "Posthorn" },
        { "$config_directory", "/etc/x" },
        { "${stress?{1}:{20}}", "20" },
        { "$smtp_destination_recipient_limit", "50" },
        { "$own_destination_recipient_limit", "50" },
    };
    struct ph_conf *c = parse("x = yes\nn = 10\ne =\n");

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ph_str v = { "(failed)", 8 };

        if (ph_conf_expand(c, scope, ph_cstr(cases[i].in), &v) < 0)
            printf("# %s\n", ph_error());
        is_bytes(v, cases[i].want, "%s", cases[i].in);
    }
}

static void test_expand_errors(void)
{
    static const struct { const char *in, *want; } cases[] = {
        { "cost $ 5", "main.cf:4:11: v: empty name behind '$' (write $$ for a dollar): \"cost $ 5\"" },
        { "end$", "main.cf:4:9: v: empty name behind '$' (write $$ for a dollar): \"end$\"" },
        { "${x", "main.cf:4:6: v: truncated reference, missing bracket: \"{x\"" },
        { "${x?{a} b}", "main.cf:4:13: v: unexpected text behind '}': \"x?{a} b\"" },
        { "${x-y}", "main.cf:4:8: v: bad parameter name: \"x-y\"" },
        { "${}", "main.cf:4:7: v: empty name: \"\"" },
        { "one\n two ${x-y}", "main.cf:5:9: v: bad parameter name: \"x-y\"" },
        { "${{a} = {b}}", "main.cf:4:11: v: expected == != < <= > or >=: \"{a} = {b}\"" },
        { "${nofn{a}}", "main.cf:4:7: v: no such function: \"nofn\"" },
        { "${{a} <level {3}}", "main.cf:4:8: v: not a compatibility level: \"a} <level {3\"" },
        { "$a", "main.cf:2:5: a: more than 100 nested references: \"$b\"" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ph_conf *c = parse(ph_str_printf(scope, "x = yes\na = $b\nb = $a\nv = %s\n", cases[i].in).p);
        ph_str v;

        is_int(ph_conf_get(c, scope, "v", &v), PH_CONF, "refused: expression %zu", i);
        is_bytes(ph_cstr(ph_error()), cases[i].want, "says where");
    }
    /* Each level doubles the work; nothing is ever put out. */
    struct ph_buf text;

    ph_buf_init(&text, scope, 65536);
    for (int i = 0; i < 60; i++)
        ph_buf_printf(&text, "a%d = $a%d$a%d\n", i, i + 1, i + 1);
    struct ph_conf *c = parse(text.p);
    ph_str v;

    is_int(ph_conf_get(c, scope, "a0", &v), PH_CONF, "work without end is refused");
    ok(strstr(ph_error(), "too many references") != NULL, "and says so");
    ph_buf_reset(&text);
    ph_buf_puts(&text, "v = ");
    for (int i = 0; i < 500; i++)
        ph_buf_puts(&text, "${x:");
    for (int i = 0; i < 500; i++)
        ph_buf_putc(&text, '}');
    is_int(ph_conf_get(parse(text.p), scope, "v", &v), PH_CONF, "deep nesting in one value is refused");
}

static void test_classes(void)
{
    static const struct { const char *text; char unit; int64_t want; } times[] = {
        { "3", 'd', 259200 }, { "3h", 'd', 10800 }, { "2w", 'd', 1209600 }, { "5days", 'd', 432000 }, { "3", 's', 3 },
        { "0", 's', 0 }, { "3m", 's', 180 }, { "+5s", 'd', 5 }, { "2147483647", 's', 2147483647 },
        { "3M", 's', -1 }, { "2147483648", 's', -1 }, { "3551w", 's', -1 }, { "+", 's', -1 }, { "+-5", 's', -1 },
        { "-1", 's', -1 }, { "1.5d", 's', -1 }, { "1y", 's', -1 }, { "", 's', -1 }, { "d", 's', -1 },
        { "9223372036854775807w", 's', -1 }, { "99999999999999999999", 's', -1 },
    };

    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        int64_t v = -1;

        ph_value_time(ph_cstr(times[i].text), times[i].unit, &v);
        is_int(v, times[i].want, "time \"%s\", unit %c", times[i].text, times[i].unit);
    }
    int32_t b = -1;
    int64_t n = 77;

    ok(ph_value_bool(PH_STR("YES"), &b) && b == 1, "yes in any case");
    ok(ph_value_bool(PH_STR("no"), &b) && b == 0, "no");
    ok(!ph_value_bool(PH_STR("true"), &b) && !ph_value_bool(PH_STR(""), &b), "true and nothing are neither");
    ok(ph_value_int(PH_STR("-5"), &n) && n == -5, "a sign");
    ok(ph_value_int(PH_STR("+5"), &n) && n == 5, "a plus sign");
    ok(!ph_value_int(PH_STR("5x"), &n) && !ph_value_int(PH_STR("+-5"), &n) && n == 5, "not the whole string");
}

struct rows {
    ph_str banner, raw_text;
    int64_t limit, wait;
    int32_t flag;
};

static const struct ph_param rows[] = {
    PH_P_STR1(struct rows, banner, "t_banner", "$x ESMTP", "A text."),
    PH_P_RAW(struct rows, raw_text, "t_raw", "$client", "A raw text."),
    PH_P_INT(struct rows, limit, "t_limit", "${stress?{1}:{20}}", 1, 100, "A number."),
    PH_P_TIME(struct rows, wait, "t_wait", "${stress?{10}:{300}}s", "s", 1, 0, "A time."),
    PH_P_BOOL(struct rows, flag, "t_flag", "no", "A switch."),
};
#define ROWS (sizeof rows / sizeof *rows)

static void test_rows(void)
{
    static const struct { const char *line, *want; } bad[] = {
        { "t_limit = x", "main.cf:1:11: bad numerical configuration: t_limit = x" },
        { "t_limit = 0", "main.cf:1:11: value out of range: t_limit = 0 (allowed: 1 to 100)" },
        { "t_limit = 101", "main.cf:1:11: value out of range: t_limit = 101 (allowed: 1 to 100)" },
        { "t_wait = 0", "main.cf:1:10: value out of range: t_wait = 0 (the least is 1)" },
        { "t_wait = 3y", "main.cf:1:10: bad time value or unit: t_wait = 3y" },
        { "t_flag = true", "main.cf:1:10: bad boolean configuration: t_flag = true (yes or no)" },
        { "t_banner =", "main.cf:1:10: bad length of t_banner =  (the least is 1)" },
    };
    struct rows r;
    struct ph_conf *c = parse("x = host\n");

    is_int(ph_params_load(c, scope, rows, ROWS, sizeof *rows, &r), 0, "defaults load");
    is_bytes(r.banner, "host ESMTP", "a default is expanded");
    is_bytes(r.raw_text, "$client", "a raw one is not");
    ok(r.limit == 20 && r.wait == 300 && r.flag == 0, "numbers of expressions");

    struct ph_setting over[] = { { PH_STR_INIT("stress"), PH_STR_INIT("yes"), { "master.yaml", 7, 3 } },
                                 { PH_STR_INIT("t_flag"), PH_STR_INIT("YES"), { "master.yaml", 8, 3 } } };
    struct ph_conf *service;

    is_int(ph_conf_service(scope, c, over, 2, &service), 0, "settings of a service");
    is_int(ph_params_load(service, scope, rows, ROWS, sizeof *rows, &r), 0, "load with it");
    ok(r.limit == 1 && r.wait == 10 && r.flag == 1, "an override changes what refers to it");
    ph_conf_set(service, "t_limit", PH_STR("many"));
    is_int(ph_params_load(service, scope, rows, ROWS, sizeof *rows, &r), PH_CONF, "a bad value");
    ok(r.limit == 1, "leaves the structure as it was");

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        is_int(ph_params_load(parse(bad[i].line), scope, rows, ROWS, sizeof *rows, &r), PH_CONF, "%s", bad[i].line);
        is_bytes(ph_cstr(ph_error()), bad[i].want, "says where");
    }
    ph_conf_register(rows, ROWS, sizeof *rows);
    ph_str v;

    is_int(ph_conf_get(c, scope, "t_banner", &v), PH_FOUND, "a registered row is known by name");
    is_bytes(v, "host ESMTP", "with its default");
}

static void test_by_name(void)
{
    struct ph_conf *c = parse("queue_run_delay = 5m\nsmtp_destination_recipient_limit = 7\nhome = $nobody_knows_it\n");
    int64_t n = 0;
    int32_t b = 0;
    ph_str v;

    ok(ph_conf_get_time(c, "queue_run_delay", 0, &n) == PH_FOUND && n == 300, "a time of main.cf");
    ok(ph_conf_get_time(c, "maximal_queue_lifetime", 0, &n) == PH_FOUND && n == 5 * 86400, "a default time");
    ok(ph_conf_get_i64(c, "smtp_destination_recipient_limit", &n) == PH_FOUND && n == 7, "a template that is set");
    ok(ph_conf_get_i64(c, "x-y_destination_recipient_limit", &n) == PH_FOUND && n == 50, "a template's default");
    ok(ph_conf_get_bool(c, "biff", &b) == PH_FOUND && b == 1, "a default switch");
    is_int(ph_conf_get(c, scope, "no_such_name", &v), PH_NONE, "an unknown name");
    is_int(ph_conf_get(c, scope, "home", &v), PH_FOUND, "a name of the administrator");
    is_int(v.n, 0, "an unknown reference is empty");
    is_int(ph_conf_override(c, "{ home = two words }"), 0, "option -o with braces");
    is_bytes(raw(c, "home"), "two words", "is trimmed");
    is_int(ph_conf_override(c, "home="), 0, "option -o with nothing");
    is_bytes(raw(c, "home"), "", "sets it empty");
    is_int(ph_conf_override(c, "home"), PH_CONF, "option -o without =");
    ph_conf_identity(c, "smtpd", "smtp");
    ph_conf_set(c, "process_name", PH_STR("lie"));
    ok(ph_conf_get(c, scope, "process_name", &v) == PH_FOUND && ph_str_eq(v, PH_STR("smtpd")), "process_name is not settable");
    is_bytes(ph_conf_value(c, scope, "mail_owner"), "postfix", "ph_conf_value");
}

static void test_host_names(void)
{
    struct ph_conf *c = parse("myhostname = mail.example.org\n");
    ph_str v;

    ok(ph_conf_get(c, scope, "mydomain", &v) == PH_FOUND && ph_str_eq(v, PH_STR("example.org")), "mydomain of myhostname");
    ok(ph_conf_get(c, scope, "myorigin", &v) == PH_FOUND && ph_str_eq(v, PH_STR("mail.example.org")), "myorigin");
    c = parse("myhostname = mail\n");
    ok(ph_conf_get(c, scope, "mydomain", &v) == PH_FOUND && ph_str_eq(v, PH_STR("localdomain")), "no dot: localdomain");
    c = parse("mydomain = example.net\n");
    ok(ph_conf_get(c, scope, "myhostname", &v) == PH_FOUND && ph_str_find(v, '.') > 0, "the default has a dot");
    c = parse("myhostname = mail.$mydomain\n");
    ok(ph_conf_get(c, scope, "myhostname", &v) == PH_FOUND && ph_str_starts(v, PH_STR("mail.")), "the circle ends");
    c = parse("mynetworks_style = host\ninet_interfaces = loopback-only\ninet_protocols = ipv4\n");
    ok(ph_conf_get(c, scope, "mynetworks", &v) == PH_FOUND, "mynetworks is found out");
    is_bytes(v, "127.0.0.1/32", "host style on loopback");
    c = parse("mynetworks_style = subnet\ninet_interfaces = 127.0.0.1\n");
    ok(ph_conf_get(c, scope, "mynetworks", &v) == PH_FOUND, "mynetworks of a listed address");
    is_bytes(v, "127.0.0.0/8", "subnet style");
    c = parse("inet_interfaces = $mynetworks\n");
    is_int(ph_conf_get(c, scope, "inet_interfaces", &v), PH_CONF, "a circle through what mynetworks is made from ends");
    is_bytes(ph_cstr(ph_error()), "main.cf:1:20: inet_interfaces: the default of mynetworks comes from mynetworks_style, inet_interfaces and "
             "inet_protocols: none of these can refer to it: \"mynetworks\"", "and is told");
    c = parse("a = $mynetworks\nmynetworks_style = all\n");
    is_int(ph_conf_get(c, scope, "a", &v), PH_CONF, "what mynetworks is made from is wrong");
    is_bytes(ph_cstr(ph_error()), "main.cf:2:20: bad value of mynetworks_style: all (host, subnet or class)", "and is told with its place");
}

static void test_forms(void)
{
    static const struct { const char *name, *good, *bad; } cases[] = {   /* each a list, separated by ';' */
        { "myhostname", "a;a-b;_a;a._b;1.a;A.B;xn--a.b;", "a-;a.-b;a.b-;1.2;a.1;1;a.;.a;a..b;.;a b;[1.2.3.4];a/b;a:b;a@b" },
        { "mydomain", "a;a.b", "a.;a b" }, { "inet_protocols", "all;ipv4, ipv6;all ipv4;", "ipv5;IPv4;ipv4:ipv6" },
        { "mynetworks_style", "host;class;subnet", "Host;net" }, { "compatibility_level", "0;3.6;+3. 6", "x;3.;3.1024;-3" },
        { "mine", "$;${", "" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int bad = 0; bad < 2; bad++)
            for (ph_str rest = ph_cstr(bad ? cases[i].bad : cases[i].good); rest.n; ) {
                ph_str value = ph_str_cut(&rest, ';'), text = ph_str_printf(scope, "%s = %.*s\n", cases[i].name, PH_FMT(value));
                int rc = ph_conf_check(parse(text.p), ph_cstr(cases[i].name));

                is_int(rc, bad ? PH_CONF : 0, "%s = %.*s is %s", cases[i].name, PH_FMT(value), bad ? "refused" : "taken");
            }
}

/* Postfix asks whether the text is empty, not what it expands to. */
static void test_conditions(void)
{
    static const struct { const char *in, *want; } cases[] = {
        { "a = ${r?yes}\nr = $e\ne =\n", "yes" }, { "a = ${r:no}\nr = $e\ne =\n", "" }, { "a = ${e?yes}${e:no}\ne =\n", "no" },
        { "a = ${a?b}\n", "b" }, { "a = ${{$r} == {} ? {empty}}\nr = $e\n", "empty" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ph_str v;

        ok(ph_conf_get(parse(cases[i].in), scope, "a", &v) == PH_FOUND, "condition %zu is read", i);
        is_bytes(v, cases[i].want, "condition %zu", i);
    }
}

static void test_check_names(void)
{
    struct ph_conf *c = parse("mydestinatoin = a\nmine = 1\nmyorigin = $mine\nyours = 2\nusers_hosts = db\n"
                              "virtual_mailbox_maps = mysql:users\nown = 3\n");
    const struct ph_setting setting = { .name = PH_STR("smtpd_banner"), .value = PH_STR("$own") };
    struct ph_conf *service;
    ph_str w[4];
    size_t at = 0, n = 0;

    is_int(ph_conf_service(scope, c, &setting, 1, &service), 0, "a service with a setting");
    ph_conf_note_uses(service);
    ph_conf_note_uses(c);
    ph_conf_check_names(c, NULL);
    while (n < 4 && ph_conf_warning(c, &at, &w[n]))
        n += ph_str_search(w[n], PH_STR("unused parameter")) > 0;
    is_int(n, 2, "two names are unused");
    is_bytes(w[0], "main.cf: unused parameter: mydestinatoin=a (did you mean mydestination?)", "a misspelling");
    is_bytes(w[1], "main.cf: unused parameter: yours=2", "a name nobody refers to");
    is_int(ph_conf_name_kind(c, PH_STR("nosuch")), PH_NAME_UNKNOWN, "kind: unknown");
    is_int(ph_conf_name_kind(c, PH_STR("mine")), PH_NAME_USER, "kind: user");
    is_int(ph_conf_name_kind(c, PH_STR("myhostname")), PH_NAME_KNOWN, "kind: known");
}

static void test_file(void)
{
    char dir[] = "/tmp/posthorn-conf-XXXXXX";
    struct ph_conf *c = NULL;

    ok(mkdtemp(dir) != NULL, "a directory");
    is_int(ph_conf_open(scope, dir, &c), PH_TEMP, "no main.cf in it");
    ok(strstr(ph_error(), "main.cf") != NULL, "says which file");
    const char *path = ph_str_printf(scope, "%s/main.cf", dir).p;
    FILE *f = fopen(path, "w");

    if (f) {
        fputs("myhostname = h.example\n", f);
        fclose(f);
    }
    setenv("MAIL_CONFIG", dir, 1);
    is_int(ph_conf_open(scope, NULL, &c), 0, "opened by MAIL_CONFIG");
    is_bytes(ph_cstr(c ? ph_conf_dir(c) : ""), dir, "its directory");
    is_bytes(raw(c, "myhostname"), "h.example", "its text");
    unlink(path);
    rmdir(dir);
}

/* Whatever the bytes, reading ends with an answer. */
static void test_splits(void)
{
    static const char text[] = "a = ${x?{b}:{c}}\n d\n#e\nf = ${{a} == {b} ? {c}:{d}}\n\rg = \n";
    int answered = 0;
    ph_str v;

    for (size_t n = 0; n <= sizeof text - 1; n++) {
        struct ph_conf *c = NULL;

        if (ph_conf_parse(scope, NULL, "x", (ph_str){ text, n }, &c) == 0) {
            ph_conf_get(c, scope, "a", &v);
            ph_conf_get(c, scope, "f", &v);
        }
        answered++;
    }
    is_int(answered, sizeof text, "every beginning of a file is answered");
}

int main(void)
{
    scope = ph_scope_new(NULL);
    test_lines();
    test_line_errors();
    test_expand();
    test_expand_errors();
    test_classes();
    test_rows();
    test_by_name();
    test_host_names();
    test_conditions();
    test_forms();
    test_check_names();
    test_file();
    test_splits();
    ph_scope_free(scope);
    return done_testing();
}
