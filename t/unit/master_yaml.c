/* t/unit/master_yaml.c: master.yaml.  Run alone: make t/unit/master_yaml.t && prove -v t/unit/master_yaml.t */
#include "tap.h"
#include <posthorn/error.h>
#include "core/conf/master.h"

static struct ph_scope *scope;

static const char good[] =
    "# what runs\n"
    "format: 1\n"
    "plugins:\n"
    "  directory: $plugin_directory\n"
    "  include: [plugins.d/*.yaml]\n"
    "services:\n"
    "  - {name: smtp, plugin: smtpd, listen: \"inet::25\", sessions: 500, filters: [], settings: {smtpd_tls_security_level: may}}\n"
    "  - {name: cleanup, plugin: cleanup, listen: unix, private: true, place: inline}\n"
    "  - {name: qmgr, builtin: qmgr, listen: unix, private: no, processes: 1, wakeup: 300s}\n"
    "  - name: smtp\n"
    "    transport: smtp\n"
    "    listen: unix\n"
    "    settings:\n"
    "      syslog_name: postfix/relay\n"
    "      disable_dns_lookups: no\n"
    "      mynetworks: [127.0.0.0/8, 10.0.0.0/8]\n"
    "    args: [\"a b\", '', '{c']\n"
    "  - name: sub\n"
    "    plugin: smtpd\n"
    "    listen: ['inet:[::1]:587', inet:$host:submission, unix:sub-x]\n"
    "    processes: unlimited\n"
    "    sessions: default\n"
    "    max_use: unlimited\n"
    "    max_idle: 5m\n"
    "    throttle: 60\n"
    "    sandbox: off\n"
    "    wakeup: {every: 1h, on_demand: yes}\n"
    "  - {name: pickup, plugin: pickup, listen: unix, private: false, wakeup: 60s?, enabled: false, comment: \"not now\"}\n";

static void test_good(void)
{
    const struct ph_master_def *m = NULL;
    struct ph_conf *c;

    ph_conf_parse(scope, "/x", "main.cf", PH_STR("host = 127.0.0.1\n"), &c);
    if (!ok(ph_master_parse(scope, c, "master.yaml", ph_cstr(good), &m) == 0, "a good file")) {
        printf("# %s\n", ph_error());
        return;
    }
    is_int(m->services_count, 6, "six services");
    is_bytes(m->plugin_directory, "$plugin_directory", "the directory is not expanded");
    ok(m->plugin_include_count == 1 && ph_str_eq(m->plugin_include[0], PH_STR("plugins.d/*.yaml")), "the include");
    const struct ph_service_def *d = &m->services[0];

    ok(d->kind == PH_DEF_PLUGIN && ph_str_eq(d->code, PH_STR("smtpd")) && d->sessions == 500, "smtp: code and sessions");
    ok(d->listen_count == 1 && d->listen[0].kind == PH_LISTEN_INET && d->listen[0].host.n == 0, "smtp: all interfaces");
    is_bytes(d->listen[0].port, "25", "smtp: the port is text");
    ok(d->processes == PH_DEF_DEFAULT && d->private_ == PH_DEF_DEFAULT && d->enabled == 1, "smtp: what is not given is the default");
    is_bytes(d->settings[0].name, "smtpd_tls_security_level", "smtp: a setting");
    is_int(d->settings[0].place.line, 7, "smtp: the setting's line");
    d = &m->services[1];
    ok(d->private_ == 1 && d->place == PH_PLACE_INLINE, "cleanup: private and inline");
    is_bytes(d->listen[0].name, "cleanup", "cleanup: socket of its own name");
    d = &m->services[2];
    ok(d->kind == PH_DEF_BUILTIN && d->private_ == 0 && d->processes == 1 && d->wakeup_s == 300 && !d->wakeup_on_demand, "qmgr");
    d = &m->services[3];
    ok(d->kind == PH_DEF_TRANSPORT && d->settings_count == 3, "smtp/unix: same name, other type");
    is_bytes(d->settings[1].value, "no", "a setting that looks like a boolean stays text");
    is_bytes(d->settings[2].value, "127.0.0.0/8, 10.0.0.0/8", "a list is joined");
    ok(d->args_count == 3 && ph_str_eq(d->args[0], PH_STR("a b")) && d->args[1].n == 0 && ph_str_eq(d->args[2], PH_STR("{c")),
       "arguments are exact");
    d = &m->services[4];
    is_bytes(d->listen[0].host, "::1", "IPv6 without brackets");
    is_bytes(d->listen[1].host, "127.0.0.1", "$host is expanded");
    is_bytes(d->listen[1].port, "submission", "port by name");
    is_bytes(d->listen[2].name, "sub-x", "a named socket");
    ok(d->processes == PH_DEF_UNLIMITED && d->sessions == PH_DEF_DEFAULT && d->max_use == PH_DEF_UNLIMITED, "unlimited and default");
    ok(d->max_idle_s == 300 && d->throttle_s == 60 && d->sandbox == 0, "times and sandbox: off");
    ok(d->wakeup_s == 3600 && d->wakeup_on_demand == 1, "wakeup as a mapping");
    d = &m->services[5];
    ok(!d->enabled && d->wakeup_s == 60 && d->wakeup_on_demand, "a disabled service is kept");
    is_bytes(d->comment, "not now", "its comment");
    ok(ph_master_find(m, PH_STR("smtp")) == &m->services[0], "find by name");
    ok(ph_master_find_unix(m, PH_STR("smtp")) == &m->services[3], "find the UNIX one");
    ok(ph_master_find(m, PH_STR("pickup")) == NULL, "a disabled one is not found");
    ok(!strcmp(ph_service_def_type(&m->services[0]), "inet") && !strcmp(ph_service_def_type(&m->services[3]), "unix"), "types");
}

static void test_of_master_cf(void)
{
    const struct ph_master_def *m = NULL;
    const struct ph_service_def *d;
    ph_str text = ph_cstr("format: 1\nservices:\n"
        "  - {name: '127.0.0.1:25', plugin: smtpd, listen: 'inet:127.0.0.1:25', raw_arguments: [-v, -o, a=1, -o, ' b = x y ', -o, a=2, --, -o, c=3]}\n"
        "  - {name: tlsmgr, program: tlsmgr, listen: unix, wakeup: '1000s?'}\n"
        "  - {name: smtpd, program: smtpd, listen: pass, wakeup: 'none?', enabled: no}\n"
        "  - {name: post, program: ../x, listen: unix-dgram, wakeup: 'default?'}\n"
        "  - {name: bounce, plugin: bounce, listen: unix}\n"
        "  - {name: trace, plugin: bounce, listen: unix}\n");

    is_int(ph_master_parse(scope, NULL, "m", text, &m), 0, "a file as import makes it: %s", ph_error());
    d = &m->services[0];
    ok(d->settings_count == 2 && ph_str_eq(d->settings[0].value, PH_STR("2")) && ph_str_eq(d->settings[1].name, PH_STR("b")) &&
       ph_str_eq(d->settings[1].value, PH_STR("x y")), "settings among raw arguments: the last of a name counts");
    ok(d->args_count == 2 && ph_str_eq(d->args[1], PH_STR("c=3")) && d->raw_count == 10, "options end with --");
    ok(m->services[1].listed && !m->services[1].enabled && m->services[1].wakeup_on_demand, "a program is shown and never run");
    ok(!m->services[2].listed && m->services[2].wakeup_s == PH_DEF_UNLIMITED && m->services[2].wakeup_on_demand, "none?");
    is_bytes(ph_cstr(ph_service_def_type(&m->services[2])), "pass", "an old type");
    ok(m->services[3].wakeup_s == PH_DEF_DEFAULT && m->services[3].wakeup_on_demand, "default?");
    is_bytes(ph_cstr(ph_service_def_type(&m->services[3])), "unix-dgram", "another");
    is_int(ph_service_wakeup_s(&m->services[4]), 3600, "bounce wakes up by itself");
    is_int(ph_service_wakeup_s(&m->services[5]), 0, "its other names do not");
    is_int(ph_service_wakeup_s(&m->services[1]), 1000, "what the file says");
}

#define S "format: 1\nservices:\n  - "
static const struct { const char *text, *want; } bad[] = {
    { "", "m:1:1: the file is empty" },
    { "a: [b\n", "m:2:1: while parsing a flow sequence, did not find expected ',' or ']'" },
    { "services: []", "m:1:1: the key \"format\" is missing (format: 1)" },
    { "format: 2\nservices: []", "m:1:9: this release reads format 1 only" },
    { "format: 1\n", "m:1:1: the key \"services\" is missing" },
    { "format: 1\nservice: []", "m:2:1: unknown key \"service\" (did you mean \"services\"?)" },
    { "format: 1\nservices: []\nformat: 1", "m:3:1: \"format\" is given twice (first in line 1)" },
    { "format: 1\nservices: []\n---\nformat: 1", "m:3:1: a second document begins" },
    { "format: 1\nservices: {}", "m:2:11: services must be a list, not a mapping" },
    { "format: 1\nplugins: {directori: x}\nservices: []", "m:2:11: unknown key \"directori\" (did you mean \"directory\"?)" },
    { S "smtp", "m:3:5: a service must be a mapping, not text" },
    { S "{plugin: x}", "m:3:5: the service lacks a name" },
    { S "{name: x}", "m:3:5: service x lacks plugin, builtin or transport" },
    { S "{name: x, plugin: y, transport: z}", "m:3:26: only one of plugin, builtin, transport and program can be given" },
    { S "{name: x, plugin: y, listen: pass}", "m:3:34: service x: listeners of type pass are not in this release yet" },
    { S "{name: 'x:1', plugin: y, listen: unix}", "m:3:12: bad service name \"x:1\": only that of an inet service can be host:port" },
    { S "{name: x, program: 'a b'}", "m:3:24: a program's name has no blanks" },
    { S "{name: x, plugin: y, raw_arguments: [-o]}", "m:3:41: -o lacks its name=value" },
    { S "{name: x, plugin: y, raw_arguments: [-o, a-b=c]}", "m:3:41: bad parameter name \"a-b\"" },
    { S "{name: x, plugin: y, raw_arguments: [a], args: [b]}", "m:3:26: service x: raw_arguments excludes settings and args" },
    { S "{name: x, plugin: y, settings: {a: b, c: d, e: f}, raw_arguments: [-o, z=1]}", "m:3:56: service x: raw_arguments excludes settings and args" },
    { S "{name: x/y, plugin: y}", "m:3:12: bad service name \"x/y\": letters, digits, _ - and . make a name" },
    { S "{name: ../x, plugin: y}", "m:3:12: bad service name \"../x\": letters, digits, _ - and . make a name" },
    { S "{name: x, plugin: ../y}", "m:3:23: bad plugin name \"../y\"" },
    { S "{name: x, plugin: y, procesess: 1}", "m:3:26: unknown key \"procesess\" (did you mean \"processes\"?)" },
    { S "{name: x, plugin: y, qqq: 1}", "m:3:26: unknown key \"qqq\"" },
    { S "{name: x, plugin: y, processes: -1}", "m:3:37: processes must not be negative" },
    { S "{name: x, plugin: y, processes: 0}", "m:3:37: processes must be at least 1 (no limit is written \"unlimited\")" },
    { S "{name: x, plugin: y, sessions: ten}", "m:3:36: sessions must be a number, \"default\" or \"unlimited\", not \"ten\"" },
    { S "{name: x, plugin: y, sessions: 99999999999}", "m:3:36: sessions must not exceed 1000000" },
    { S "{name: x, plugin: y, enabled: maybe}", "m:3:35: enabled must be true or false, not \"maybe\"" },
    { S "{name: x, plugin: y, wakeup: soon}", "m:3:34: wakeup must be a time like 30s, 5m or 1h, not \"soon\"" },
    { S "{name: x, plugin: y, wakeup: {on_demand: yes}}", "m:3:34: wakeup lacks the key \"every\"" },
    { S "{name: x, plugin: y, place: outside}", "m:3:33: place must be inline or process, not \"outside\"" },
    { S "{name: x, plugin: y, listen: tcp}", "m:3:34: listen must be unix, unix:NAME, inet:HOST:PORT or inet::PORT, not \"tcp\"" },
    { S "{name: x, plugin: y, listen: 'inet::0'}", "m:3:34: port 0 is out of range" },
    { S "{name: x, plugin: y, listen: 'inet::1:25'}", "m:3:34: an IPv6 address needs brackets: inet:[:1]:25" },
    { S "{name: x, plugin: y, listen: 'unix:../z'}", "m:3:34: bad socket name \"../z\"" },
    { S "{name: x, plugin: y, listen: [[unix]]}", "m:3:35: listen must be text or a list of texts, not a list" },
    { S "{name: x, plugin: y, listen: 'inet::25', private: true}", "m:3:55: service x: an inet listener cannot be private" },
    { S "{name: x, plugin: y, listen: 'inet::25', place: inline}", "m:3:53: service x: an inet service cannot be placed inline" },
    { S "{name: x, plugin: y, settings: [a]}", "m:3:36: settings must be a mapping of name: value, not a list" },
    { S "{name: x, plugin: y, settings: {a-b: c}}", "m:3:37: bad parameter name \"a-b\"" },
    { S "{name: x, plugin: y, settings: {a: {b: c}}}", "m:3:40: the value of a must be text or a list" },
    { S "{name: x, plugin: y, settings: {a: b, a: c}}", "m:3:43: \"a\" is given twice (first in line 3)" },
    { S "{name: x, plugin: y, args: \"a\\0b\"}", "m:3:32: the text holds a NUL byte" },
    { S "{name: &n x, plugin: y}", "m:3:12: anchors (&name) are not allowed" },
    { S "{name: !t x, plugin: y}", "m:3:12: tags (!name) are not allowed" },
    { S "{name: *n , plugin: y}", "m:3:12: aliases (*name) are not allowed" },
    { S "{name: x, plugin: y}\n  - {name: x, plugin: z}", "m:4:12: service x (unix) is given twice (first in line 3)" },
    { S "{name: x, plugin: y, listen: 'inet::25'}\n  - {name: z, plugin: y, listen: 'inet::25'}",
      "m:4:34: service z listens where x does (line 3)" },
    { S "{name: x, plugin: y, listen: [unix, unix]}", "m:3:41: service x listens where x does (line 3)" },
};

static void test_bad(void)
{
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const struct ph_master_def *m = NULL;

        is_int(ph_master_parse(scope, NULL, "m", ph_cstr(bad[i].text), &m), PH_CONF, "refused, case %zu", i);
        is_bytes(ph_cstr(ph_error()), bad[i].want, "says where and what");
        ok(m == NULL, "and gives nothing");
    }
}

/* Every beginning of a good file is answered, one way or the other. */
static void test_cut(void)
{
    size_t fine = 0;

    for (size_t n = 0; n <= sizeof good - 1; n++) {
        struct ph_scope *s = ph_scope_new(NULL);
        const struct ph_master_def *m = NULL;

        if (ph_master_parse(s, NULL, "m", (ph_str){ good, n }, &m) == 0)
            fine += m->services_count > 0;
        ph_scope_free(s);
    }
    ok(fine > 0 && fine < sizeof good, "cut at every byte: %zu were whole", fine);
    char deep[200];

    memset(deep, '[', sizeof deep - 1);
    deep[sizeof deep - 1] = 0;
    const struct ph_master_def *m = NULL;

    is_int(ph_master_parse(scope, NULL, "m", ph_cstr(deep), &m), PH_CONF, "deep nesting is refused");
}

int main(void)
{
    scope = ph_scope_new(NULL);
    test_good();
    test_of_master_cf();
    test_bad();
    test_cut();
    ph_scope_free(scope);
    return done_testing();
}
