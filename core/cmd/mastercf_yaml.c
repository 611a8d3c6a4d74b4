/* mastercf_yaml: a line of master.cf as keys of master.yaml.  See mastercf.h.
 *
 * What runs: programs of ours by the key that names them; the rest as `program:`,
 * which keeps the line and is not run.  A limit is of all clients at once, and
 * one worker holds many, so limit N is one worker with N sessions; the limit 1
 * of a service of which there must be one process is that. */
#include <string.h>
#include <posthorn/error.h>
#include "core/cmd/mastercf.h"
#include "core/plugin/registry.h"

#define VALUE_MAX (2u * PH_CONF_VALUE_MAX)

static int is_plain(ph_str text)
{
    if (text.n == 0 || (!ph_is_alnum(text.p[0]) && !strchr("_/$.", text.p[0])))
        return 0;
    for (size_t i = 0; i < text.n; i++)
        if (!ph_is_alnum(text.p[i]) && !strchr("_/$.+-=@%", text.p[i]))
            return 0;
    return 1;
}

int mastercf_scalar(struct ph_scope *s, ph_str text, ph_str *yaml)
{
    struct ph_buf b;

    if (!ph_str_is_utf8(text))
        return ph_fail(PH_CONF, "not UTF-8, which YAML must be: \"%.*s\"", PH_FMT(text));
    if (is_plain(text)) {
        *yaml = text;
        return 0;
    }
    ph_buf_init(&b, s, VALUE_MAX * 4);
    ph_buf_putc(&b, '"');
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];

        if (c == '"' || c == '\\')
            ph_buf_printf(&b, "\\%c", c);
        else if (c < ' ' || c == 0x7f)
            ph_buf_printf(&b, "\\x%02X", c);
        else
            ph_buf_putc(&b, (char)c);
    }
    ph_buf_putc(&b, '"');
    *yaml = ph_buf_view(&b);
    return b.full ? ph_fail(PH_CONF, "text longer than %u bytes", VALUE_MAX) : 0;
}

static void put_key(struct mastercf_yaml *y, const char *key, ph_str value)
{
    ph_assert(y->count < MASTERCF_KEYS);
    y->keys[y->count++] = (struct mastercf_key){ ph_cstr(key), value };
}

/* Programs that have another name here, or are no service. */
static const struct { const char *program, *key, *name; } ours[] = {
    { "qmgr", "builtin", "qmgr" }, { "nqmgr", "builtin", "qmgr" }, { "trivial-rewrite", "plugin", "rewrite" },
    { "smtp", "transport", "smtp" }, { "lmtp", "transport", "lmtp" }, { "local", "transport", "local" },
    { "virtual", "transport", "virtual" }, { "pipe", "transport", "pipe" }, { "error", "transport", "error" },
    { "discard", "transport", "discard" },
};

/* Their old socket type, which later releases no longer have. */
static ph_str type_of(const struct mastercf *m)
{
    static const char *const once[] = { "pickup", "qmgr", "nqmgr", "tlsmgr" };

    for (size_t i = 0; ph_str_eq(m->field[MCF_TYPE], PH_STR("fifo")) && i < sizeof once / sizeof *once; i++)
        if (ph_str_eq(m->words[0], ph_cstr(once[i])))
            return PH_STR("unix");
    return m->field[MCF_TYPE];
}

static int put_program(struct ph_scope *s, const struct mastercf *m, struct mastercf_yaml *y)
{
    ph_str program = m->words[0], type = type_of(m), text;
    int rc;

    if (ph_str_eq(type, PH_STR("inet")) || ph_str_eq(type, PH_STR("unix"))) {
        for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
            if (ph_str_eq(program, ph_cstr(ours[i].program))) {
                put_key(y, ours[i].key, ph_cstr(ours[i].name));
                return 0;
            }
        if (is_plain(program) && ph_plugin_exists(PH_KIND_SERVICE, program) == PH_FOUND) {
            put_key(y, "plugin", program);
            return 0;
        }
    }
    if ((rc = mastercf_scalar(s, program, &text)) == 0)
        put_key(y, "program", text);
    return rc;
}

static int put_listen(struct ph_scope *s, const struct mastercf *m, struct mastercf_yaml *y)
{
    ph_str name = m->field[MCF_SERVICE], type = type_of(m), text;
    int rc = 0;

    if (ph_str_eq(type, PH_STR("inet")))
        rc = mastercf_scalar(s, ph_str_printf(s, ph_str_rfind(name, ':') < 0 ? "inet::%.*s" : "inet:%.*s", PH_FMT(name)), &text);
    else
        text = type;
    if (rc == 0)
        put_key(y, "listen", text);
    return rc;
}

static void put_flag(struct mastercf_yaml *y, const char *key, ph_str value)
{
    if (!ph_str_eq(value, PH_STR("-")))
        put_key(y, key, ph_str_eq(value, PH_STR("y")) ? PH_STR("true") : PH_STR("false"));
}

static void put_wakeup(struct ph_scope *s, const struct mastercf *m, struct mastercf_yaml *y)
{
    ph_str text = m->field[MCF_WAKEUP], mark = ph_str_ends(text, PH_STR("?")) ? PH_STR("?") : PH_STR("");
    uint64_t n = 0;

    text.n -= mark.n;
    if (ph_str_eq(text, PH_STR("-"))) {
        if (mark.n)
            put_key(y, "wakeup", PH_STR("default?"));
    } else if (ph_str_u64(text, &n) && n == 0)
        put_key(y, "wakeup", mark.n ? PH_STR("none?") : PH_STR("none"));
    else
        put_key(y, "wakeup", ph_str_printf(s, "%llus%.*s", (unsigned long long)n, PH_FMT(mark)));
}

/* There must be one process of it, whatever it serves at once. */
static int is_single(ph_str program)
{
    static const char *const single[] = { "qmgr", "nqmgr", "pickup", "tlsmgr", "verify", "anvil", "scache", "postlogd", "postscreen" };

    for (size_t i = 0; i < sizeof single / sizeof *single; i++)
        if (ph_str_eq(program, ph_cstr(single[i])))
            return 1;
    return 0;
}

static void put_limit(struct ph_scope *s, const struct mastercf *m, struct mastercf_yaml *y)
{
    ph_str text = m->field[MCF_LIMIT];
    uint64_t n = 0;

    if (ph_str_eq(text, PH_STR("-")))
        return;
    if (ph_str_u64(text, &n) && n == 0) {
        put_key(y, "sessions", PH_STR("unlimited"));
        return;
    }
    put_key(y, "processes", PH_STR("1"));
    if (n != 1 || !is_single(m->words[0]))
        put_key(y, "sessions", ph_str_printf(s, "%llu", (unsigned long long)n));
}

/* Options that are no settings, or settings given twice: the words as they stand. */
static int is_raw(const struct mastercf *m)
{
    for (size_t i = 1; i < m->options; i += 2) {
        ph_str name = i + 1 < m->options ? m->words[i + 1] : PH_STR(""), other;

        if (!ph_str_eq(m->words[i], PH_STR("-o")))
            return 1;
        name = ph_str_cut(&name, '=');
        for (size_t k = 2; k < i; k += 2) {
            other = m->words[k];
            if (ph_str_eq(ph_str_cut(&other, '='), name))
                return 1;
        }
    }
    return m->options < m->count && m->words[m->options].n > 0 && m->words[m->options].p[0] == '-';
}

static int words_list(struct ph_scope *s, const struct mastercf *m, size_t from, ph_str *list)
{
    struct ph_buf b;
    ph_str word;
    int rc;

    ph_buf_init(&b, s, VALUE_MAX);
    ph_buf_putc(&b, '[');
    for (size_t i = from; i < m->count; i++) {
        if ((rc = mastercf_scalar(s, m->words[i], &word)) < 0)
            return rc;
        ph_buf_puts(&b, i > from ? ", " : "");
        ph_buf_str(&b, word);
    }
    ph_buf_putc(&b, ']');
    *list = ph_buf_view(&b);
    return b.full ? ph_fail(PH_CONF, "arguments longer than %u bytes", VALUE_MAX) : 0;
}

static int put_settings(struct ph_scope *s, const struct mastercf *m, struct mastercf_yaml *y)
{
    int rc = 0;

    y->settings = ph_alloc_array(s, m->options + 1, sizeof *y->settings);
    for (size_t i = 2; rc == 0 && i < m->options; i += 2) {
        ph_str value = m->words[i], name = ph_str_cut(&value, '=');

        y->settings[y->settings_count].key = name;
        rc = mastercf_scalar(s, value, &y->settings[y->settings_count++].value);
    }
    return rc;
}

static int put_words(struct ph_scope *s, const struct mastercf *m, struct mastercf_yaml *y)
{
    int raw = is_raw(m), rc = raw ? 0 : put_settings(s, m, y);
    size_t from = raw ? 1 : m->options;
    ph_str list;

    if (rc == 0 && from < m->count && (rc = words_list(s, m, from, &list)) == 0)
        put_key(y, raw ? "raw_arguments" : "args", list);
    return rc;
}

int mastercf_keys(struct ph_scope *s, const struct mastercf *m, struct mastercf_yaml *y)
{
    ph_str name, private_ = m->field[MCF_PRIVATE];
    int rc;

    *y = (struct mastercf_yaml){ .count = 0 };
    if ((rc = mastercf_scalar(s, m->field[MCF_SERVICE], &name)) < 0)
        return rc;
    put_key(y, "name", name);
    if ((rc = put_program(s, m, y)) < 0 || (rc = put_listen(s, m, y)) < 0)
        return rc;
    if (!m->enabled)
        put_key(y, "enabled", PH_STR("false"));
    if (!ph_str_eq(type_of(m), PH_STR("inet")) || ph_str_eq(private_, PH_STR("y")))
        put_flag(y, "private", private_);
    put_flag(y, "unprivileged", m->field[MCF_UNPRIVILEGED]);
    put_flag(y, "chroot", m->field[MCF_CHROOT]);
    put_wakeup(s, m, y);
    put_limit(s, m, y);
    return put_words(s, m, y);
}

/* Inside their clients these cost no process border; master.cf has no word for it. */
static int goes_inline(const struct mastercf_yaml *y)
{
    return ph_str_eq(y->keys[1].key, PH_STR("plugin")) && !ph_str_starts(y->keys[2].value, PH_STR("inet")) &&
           (ph_str_eq(y->keys[1].value, PH_STR("cleanup")) || ph_str_eq(y->keys[1].value, PH_STR("rewrite")));
}

static void put_one_line(struct ph_buf *out, const struct mastercf_yaml *y)
{
    for (size_t i = 0; i < y->count; i++)
        ph_buf_printf(out, "%s%.*s: %.*s", i ? ", " : "{", PH_FMT(y->keys[i].key), PH_FMT(y->keys[i].value));
    ph_buf_puts(out, goes_inline(y) ? ", place: inline" : "");
    for (size_t i = 0; i < y->settings_count; i++)
        ph_buf_printf(out, "%s%.*s: %.*s", i ? ", " : ", settings: {", PH_FMT(y->settings[i].key), PH_FMT(y->settings[i].value));
    ph_buf_puts(out, y->settings_count ? "}}" : "}");
}

void mastercf_put_item(struct ph_buf *out, const struct mastercf_yaml *y, unsigned indent, int one_line)
{
    if (one_line || y->settings_count < 2) {
        put_one_line(out, y);
        return;
    }
    for (size_t i = 0; i < y->count; i++)
        ph_buf_printf(out, "%*s%.*s: %.*s\n", i ? (int)indent : 0, "", PH_FMT(y->keys[i].key), PH_FMT(y->keys[i].value));
    if (goes_inline(y))
        ph_buf_printf(out, "%*splace: inline\n", (int)indent, "");
    ph_buf_printf(out, "%*ssettings:", (int)indent, "");
    for (size_t i = 0; i < y->settings_count; i++)
        ph_buf_printf(out, "\n%*s%.*s: %.*s", (int)indent + 2, "", PH_FMT(y->settings[i].key), PH_FMT(y->settings[i].value));
}
