/* master.yaml: YAML to a tree, a tree to services.  First byte of the input: a
 * tree only, or the whole file (with main.cf behind $name, or without). */
#include <string.h>
#include <posthorn/error.h>
#include "core/conf/master.h"
#include "core/conf/yaml.h"
#include "yaml_text.h"
#include "fuzz.h"

/* --- the tree --- */

static size_t check_tree(const struct ph_yaml *n, int depth)
{
    size_t count = 0, all = 1;

    FUZZ_CHECK(depth <= PH_YAML_DEPTH + 1 && n->place.line >= 1 && n->place.column >= 1, "depth %d", depth);
    FUZZ_CHECK(n->kind >= PH_YAML_SCALAR && n->kind <= PH_YAML_MAPPING, "kind %u", n->kind);
    if (n->kind == PH_YAML_SCALAR)
        FUZZ_CHECK(n->text.p && ph_str_find(n->text, 0) < 0 && n->text.p[n->text.n] == 0, "%.*s", PH_FMT(n->text));
    for (const struct ph_yaml *i = n->first; i; i = i->next, count++) {
        FUZZ_CHECK((i->key.p != NULL) == (n->kind == PH_YAML_MAPPING), "members have keys");
        if (i->key.p)
            FUZZ_CHECK(ph_str_eq(ph_yaml_member(n, i->key.p)->key, i->key) && ph_yaml_member(n, i->key.p) == i, "a key is given twice: %.*s", PH_FMT(i->key));
        all += check_tree(i, depth + 1);
    }
    FUZZ_CHECK(count == n->count && (!count || n->kind != PH_YAML_SCALAR), "%zu of %zu", count, n->count);
    return all;
}

static void put_tree(struct ph_buf *b, const struct ph_yaml *n)
{
    if (n->kind == PH_YAML_SCALAR) {
        put_text(b, n->text);
        return;
    }
    ph_buf_putc(b, n->kind == PH_YAML_MAPPING ? '{' : '[');
    for (const struct ph_yaml *i = n->first; i; i = i->next) {
        if (n->kind == PH_YAML_MAPPING) {
            /* "? " since a key of more than 1024 bytes must say that it is one. */
            ph_buf_puts(b, "? ");
            put_text(b, i->key);
            ph_buf_puts(b, ": ");
        }
        put_tree(b, i);
        ph_buf_puts(b, i->next ? ", " : "");
    }
    ph_buf_putc(b, n->kind == PH_YAML_MAPPING ? '}' : ']');
}

static ph_str print_tree(struct ph_scope *s, const struct ph_yaml *n)
{
    struct ph_buf b;

    ph_buf_init(&b, s, 1u << 24);
    put_tree(&b, n);
    FUZZ_CHECK(!b.full, "%zu bytes", b.n);
    return ph_buf_view(&b);
}

static void tree(struct ph_scope *s, ph_str in)
{
    struct ph_yaml *root = NULL, *again;
    int rc = ph_yaml_parse(s, "x.yaml", in, &root);

    fuzz_saw_number(rc);
    if (rc < 0) {
        FUZZ_CHECK(rc == PH_CONF && !root, "%d", rc);
        has_place(in, "x.yaml");
        return;
    }
    FUZZ_CHECK(check_tree(root, 0) <= in.n + 1, "more values than bytes");
    ph_str text = print_tree(s, root);
    fuzz_saw(text);
    FUZZ_CHECK(ph_yaml_parse(s, "x.yaml", text, &again) == 0, "%s: %.*s", ph_error(), PH_FMT(text));
    FUZZ_SAME(print_tree(s, again), text, "printed and read");
}

/* --- the services --- */

#define YEAR (366LL * 86400)       /* no time is longer */

static void put_texts(struct ph_buf *b, const char *key, const ph_str *list, size_t n)
{
    if (!n)
        return;
    ph_buf_printf(b, ", %s: [", key);
    for (size_t i = 0; i < n; i++) {
        put_text(b, list[i]);
        ph_buf_puts(b, ", ");
    }
    ph_buf_puts(b, "]");
}

static void put_bool(struct ph_buf *b, const char *key, int32_t v)
{
    if (v != PH_DEF_DEFAULT)
        ph_buf_printf(b, ", %s: %s", key, v ? "on" : "off");
}

static void put_count(struct ph_buf *b, const char *key, int64_t v)
{
    if (v == PH_DEF_UNLIMITED)
        ph_buf_printf(b, ", %s: unlimited", key);
    else if (v != PH_DEF_DEFAULT)
        ph_buf_printf(b, ", %s: %lld", key, (long long)v);
}

static void put_time(struct ph_buf *b, const char *key, int64_t v)
{
    if (v != PH_DEF_DEFAULT)
        ph_buf_printf(b, ", %s: %llds", key, (long long)v);
}

static void put_listen(struct ph_buf *b, struct ph_scope *s, const struct ph_service_def *d)
{
    if (!d->listen_count)
        return;
    ph_buf_puts(b, ", listen: [");
    for (uint32_t i = 0; i < d->listen_count; i++) {
        const struct ph_listen_def *l = &d->listen[i];

        put_text(b, l->kind == PH_LISTEN_UNIX ? ph_str_printf(s, "unix:%.*s", PH_FMT(l->name))
                    : l->kind == PH_LISTEN_INET ? ph_str_printf(s, "inet:[%.*s]:%.*s", PH_FMT(l->host), PH_FMT(l->port))
                    : ph_cstr(l->kind == PH_LISTEN_DGRAM ? "unix-dgram" : l->kind == PH_LISTEN_FIFO ? "fifo" : "pass"));
        ph_buf_puts(b, ", ");
    }
    ph_buf_puts(b, "]");
}

static void put_settings(struct ph_buf *b, const struct ph_service_def *d)
{
    if (!d->settings_count)
        return;
    ph_buf_puts(b, ", settings: {");
    for (size_t i = 0; i < d->settings_count; i++) {
        ph_buf_puts(b, "? ");
        put_text(b, d->settings[i].name);
        ph_buf_puts(b, ": ");
        put_text(b, d->settings[i].value);
        ph_buf_puts(b, ", ");
    }
    ph_buf_puts(b, "}");
}

static void put_wakeup(struct ph_buf *b, const struct ph_service_def *d)
{
    const char *mark = d->wakeup_on_demand ? "?" : "";

    if (d->wakeup_s == PH_DEF_UNLIMITED)
        ph_buf_printf(b, ", wakeup: none%s", mark);
    else if (d->wakeup_s == PH_DEF_DEFAULT)
        ph_buf_printf(b, ", wakeup: default%s", mark);
    else
        ph_buf_printf(b, ", wakeup: {on_demand: %s, every: %lld}", d->wakeup_on_demand ? "y" : "n", (long long)d->wakeup_s);
}

static void put_service(struct ph_buf *b, struct ph_scope *s, const struct ph_service_def *d)
{
    static const char *const kinds[] = { "?", "plugin", "builtin", "transport", "program" };

    FUZZ_CHECK(d->kind >= PH_DEF_PLUGIN && d->kind <= PH_DEF_PROGRAM && d->name.n && d->code.n, "kind %u", d->kind);
    FUZZ_CHECK(d->enabled == (d->listed && d->kind != PH_DEF_PROGRAM), "what we do not have is not run");
    FUZZ_CHECK(d->processes <= 1000000 && d->sessions <= 1000000 && d->max_use <= 1000000, "a count");
    FUZZ_CHECK(d->wakeup_s <= YEAR && d->max_idle_s <= YEAR && d->throttle_s <= YEAR, "a time");
    ph_buf_puts(b, "  - {name: ");
    put_text(b, d->name);
    ph_buf_printf(b, ", %s: ", kinds[d->kind]);
    put_text(b, d->code);
    put_listen(b, s, d);
    put_bool(b, "enabled", d->listed);
    put_bool(b, "private", d->private_);
    put_bool(b, "unprivileged", d->unprivileged);
    put_bool(b, "chroot", d->chroot);
    put_bool(b, "sandbox", d->sandbox);
    if (d->place != PH_DEF_DEFAULT)
        ph_buf_printf(b, ", place: %s", d->place == PH_PLACE_INLINE ? "inline" : "process");
    put_count(b, "processes", d->processes);
    put_count(b, "sessions", d->sessions);
    put_count(b, "max_use", d->max_use);
    put_time(b, "max_idle", d->max_idle_s);
    put_time(b, "throttle", d->throttle_s);
    put_wakeup(b, d);
    if (d->raw) {
        put_texts(b, "raw_arguments", d->raw, d->raw_count);
    } else {
        put_settings(b, d);
        put_texts(b, "args", d->args, d->args_count);
    }
    put_texts(b, "filters", d->filters, d->filters_count);
    ph_buf_puts(b, ", comment: ");
    put_text(b, d->comment);
    ph_buf_puts(b, "}\n");
}

static ph_str print(struct ph_scope *s, const struct ph_master_def *m)
{
    struct ph_buf b;

    ph_buf_init(&b, s, 1u << 24);
    ph_buf_puts(&b, "format: 1\nplugins: {directory: ");
    put_text(&b, m->plugin_directory);
    put_texts(&b, "include", m->plugin_include, m->plugin_include_count);
    ph_buf_printf(&b, "}\nservices:%s\n", m->services_count ? "" : " []");
    for (size_t i = 0; i < m->services_count; i++)
        put_service(&b, s, &m->services[i]);
    FUZZ_CHECK(!b.full, "%zu bytes", b.n);
    return ph_buf_view(&b);
}

static void file(struct ph_scope *s, ph_str in, struct ph_conf *c)
{
    const struct ph_master_def *m = NULL, *again;
    int rc = ph_master_parse(s, c, "master.yaml", in, &m);

    fuzz_saw_number(rc);
    if (rc < 0) {
        FUZZ_CHECK(rc == PH_CONF && !m, "%d", rc);
        has_place(in, "master.yaml");
        return;
    }
    FUZZ_CHECK(m->services_count <= PH_MASTER_SERVICES_MAX, "%zu", m->services_count);
    ph_str text = print(s, m);
    fuzz_saw(text);
    FUZZ_CHECK(ph_master_parse(s, NULL, "master.yaml", text, &again) == 0, "%s: %.*s", ph_error(), PH_FMT(text));
    FUZZ_SAME(print(s, again), text, "printed and read");
    for (size_t i = 0; i < m->services_count; i++)
        if (m->services[i].enabled)
            FUZZ_CHECK(ph_str_eq(ph_master_find(m, m->services[i].name)->name, m->services[i].name), "found by name");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    PH_SCOPED(s, NULL);
    ph_str in = { (const char *)data, size };
    unsigned mode = fuzz_choice(&in, 3);
    struct ph_conf *c = NULL;

    fuzz_quiet();
    if (mode == 2)
        ph_conf_parse(s, "/x", "main.cf", PH_STR("host = 127.0.0.1\nport = 25\nodd = [a:b]\"\\\n"), &c);
    if (mode == 0)
        tree(s, in);
    else
        file(s, in, c);
    return 0;
}
