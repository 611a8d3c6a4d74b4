/* mastercf: lines of master.cf.  See mastercf.h. */
#include <string.h>
#include <posthorn/error.h>
#include "core/cmd/mastercf.h"

#define FOLD_COLUMN 79u                /* parameters have 80; scripts know both */
#define INDENT "\n    "

const char *const mastercf_field_names[MASTERCF_FIELDS] = {
    "service", "type", "private", "unprivileged", "chroot", "wakeup", "process_limit", "command",
};
static const size_t columns_of[MASTERCF_FIELDS] = { 0, 11, 17, 25, 33, 41, 49, 57 };

static int is_number(ph_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!ph_is_digit(s.p[i]))
            return 0;
    return s.n > 0;
}

static int is_valid(enum mastercf_field f, ph_str v)
{
    static const char *const types[] = { "inet", "unix", "unix-dgram", "fifo", "pass" };

    switch (f) {
    case MCF_TYPE:
        for (size_t i = 0; i < sizeof types / sizeof *types; i++)
            if (ph_str_eq(v, ph_cstr(types[i])))
                return 1;
        return 0;
    case MCF_PRIVATE: case MCF_UNPRIVILEGED: case MCF_CHROOT:
        return v.n == 1 && strchr("yn-", v.p[0]) != NULL;
    case MCF_WAKEUP:
        v.n -= ph_str_ends(v, PH_STR("?"));
        return ph_str_eq(v, PH_STR("-")) || is_number(v);
    case MCF_LIMIT:
        return ph_str_eq(v, PH_STR("-")) || is_number(v);
    default:
        return v.n > 0;
    }
}

int mastercf_check_field(enum mastercf_field f, ph_str value, ph_str line)
{
    if (is_valid(f, value))
        return 0;
    return ph_fail(PH_CONF, "invalid %s field \"%.*s\" in \"%.*s\"", mastercf_field_names[f], PH_FMT(value), PH_FMT(line));
}

/* The next word: up to a blank, or what stands in braces (without them and the blanks at
 * their inside).  1; 0 at the end; PH_CONF. */
static int next_word(ph_str *rest, ph_str *word)
{
    size_t depth = 0;

    *rest = ph_str_trim(*rest);
    if (rest->n == 0)
        return 0;
    if (rest->p[0] != '{') {
        *word = ph_str_word(rest);
        return 1;
    }
    for (size_t i = 0; i < rest->n; i++) {
        depth += rest->p[i] == '{';
        if (rest->p[i] != '}' || --depth)
            continue;
        *word = ph_str_trim((ph_str){ rest->p + 1, i - 1 });
        *rest = ph_str_from(*rest, i + 1);
        if (rest->n && !ph_is_space(rest->p[0]))
            return ph_fail(PH_CONF, "syntax error after '}' in \"{%.*s}%.*s\"", PH_FMT(*word), PH_FMT(*rest));
        return 1;
    }
    return ph_fail(PH_CONF, "missing '}' in \"%.*s\"", PH_FMT(*rest));
}

/* "name = value" without blanks around the sign. */
static int normal_setting(struct ph_scope *s, ph_str *word)
{
    ph_str value = *word, name = ph_str_trim(ph_str_cut(&value, '='));

    if (ph_str_find(*word, '=') < 0 || name.n == 0)
        return ph_fail(PH_CONF, "invalid \"-o %.*s\" option value: missing %s", PH_FMT(*word),
                       name.n ? "'=' after attribute name" : "attribute name");
    value = ph_str_trim(value);
    *word = ph_str_printf(s, "%.*s=%.*s", PH_FMT(name), PH_FMT(value));
    return 0;
}

/* Letters behind the '-' that take no value and stand before an 'o': "-vo". */
static size_t flags_before_o(ph_str word)
{
    size_t n = 1;

    while (n < word.n && strchr("vD", word.p[n]))
        n++;
    return n < word.n && word.p[n] == 'o' ? n : 0;
}

/* Options come first; -oNAME=VALUE becomes two words, -voNAME=VALUE three. */
static int take_option(struct ph_scope *s, struct mastercf *m, ph_str *rest, ph_str word)
{
    size_t o = flags_before_o(word);
    int rc;

    if (o != 1)
        m->words[m->count++] = o ? ph_str_first(word, o) : word;
    if (!o)
        return 0;
    m->words[m->count++] = PH_STR("-o");
    word = ph_str_from(word, o + 1);
    if (word.n && word.p[0] == '{')    /* "-o{ name = value }" */
        *rest = (ph_str){ word.p, (size_t)(rest->p + rest->n - word.p) };
    if ((word.n == 0 || word.p[0] == '{') && (rc = next_word(rest, &word)) <= 0)
        return rc < 0 ? rc : ph_fail(PH_CONF, "-o lacks its name=value");
    rc = normal_setting(s, &word);
    m->words[m->count++] = word;
    return rc;
}

int mastercf_parse_command(struct ph_scope *s, ph_str text, struct mastercf *m)
{
    ph_str rest = text, word;
    int rc, in_options = 1;

    m->words = ph_alloc_array(s, text.n + 3, sizeof *m->words);
    m->count = m->options = 0;
    while ((rc = next_word(&rest, &word)) > 0) {
        in_options = in_options && (m->count == 0 || (word.n > 1 && word.p[0] == '-'));
        if (!in_options || m->count == 0)
            m->words[m->count++] = word;
        else if ((rc = take_option(s, m, &rest, word)) < 0)
            return rc;
        if (in_options)
            m->options = m->count;
        in_options = in_options && !ph_str_eq(word, PH_STR("--"));
    }
    return rc;
}

int mastercf_parse(struct ph_scope *s, ph_str line, struct mastercf *m)
{
    ph_str rest = ph_str_trim(ph_str_dup(s, line)), all = rest;
    int rc;

    *m = (struct mastercf){ .enabled = 1 };
    for (int i = 0; i < MCF_COMMAND; i++)
        m->field[i] = ph_str_word(&rest);
    if (ph_str_trim(rest).n == 0)
        return ph_fail(PH_CONF, "bad field count: \"%.*s\"", PH_FMT(all));
    for (int i = 0; i < MCF_COMMAND; i++)
        if ((rc = mastercf_check_field((enum mastercf_field)i, m->field[i], all)) < 0)
            return rc;
    return mastercf_parse_command(s, rest, m);
}

static ph_str flag(int32_t value)
{
    return value == PH_DEF_DEFAULT ? PH_STR("-") : value ? PH_STR("y") : PH_STR("n");
}

static ph_str wakeup(struct ph_scope *s, const struct ph_service_def *d)
{
    const char *mark = d->wakeup_on_demand ? "?" : "";

    if (d->wakeup_s == PH_DEF_DEFAULT)
        return ph_str_printf(s, "-%s", mark);
    return ph_str_printf(s, "%lld%s", (long long)d->wakeup_s, mark);
}

/* The old word for what limits the clients at once. */
static ph_str limit(struct ph_scope *s, const struct ph_service_def *d)
{
    int64_t n = d->sessions;

    if (n == PH_DEF_DEFAULT)
        n = d->processes;
    else if (n > 0 && d->processes > 0)
        n *= d->processes;
    return n == PH_DEF_DEFAULT ? PH_STR("-") : ph_str_printf(s, "%lld", (long long)n);
}

static ph_str as_it_stands(void *arg PH_UNUSED, const struct ph_setting *s)
{
    return s->value;
}

/* The setting that holds for a -o word of raw_arguments. */
static const struct ph_setting *setting_of(const struct ph_service_def *d, ph_str word)
{
    ph_str name = ph_str_trim(ph_str_cut(&word, '='));

    for (size_t i = 0; i < d->settings_count; i++)
        if (ph_str_eq(d->settings[i].name, name))
            return &d->settings[i];
    return NULL;
}

static void raw_words(struct ph_scope *s, const struct ph_service_def *d, ph_str (*value)(void *, const struct ph_setting *), void *arg,
                      struct mastercf *m)
{
    size_t options = d->raw_count - d->args_count;

    for (size_t i = 0; i < d->raw_count; i++) {
        int is_value = i < options && i > 0 && ph_str_eq(d->raw[i - 1], PH_STR("-o"));
        ph_str word = d->raw[i], text = word, name = ph_str_trim(ph_str_cut(&text, '='));
        const struct ph_setting *set = is_value ? setting_of(d, word) : NULL;

        if (is_value)
            text = set && ph_str_eq(set->value, ph_str_trim(text)) ? value(arg, set) : ph_str_trim(text);
        m->words[m->count++] = is_value ? ph_str_printf(s, "%.*s=%.*s", PH_FMT(name), PH_FMT(text)) : word;
    }
    m->options = 1 + options;
}

void mastercf_of(struct ph_scope *s, const struct ph_service_def *d, ph_str (*value)(void *, const struct ph_setting *), void *arg,
                 struct mastercf *m)
{
    int inet = strcmp(ph_service_def_type(d), "inet") == 0;

    *m = (struct mastercf){ .enabled = d->listed };
    m->field[MCF_SERVICE] = d->name;
    m->field[MCF_TYPE] = ph_cstr(ph_service_def_type(d));
    m->field[MCF_PRIVATE] = inet && d->private_ == PH_DEF_DEFAULT ? PH_STR("n") : flag(d->private_);
    m->field[MCF_UNPRIVILEGED] = flag(d->unprivileged);
    m->field[MCF_CHROOT] = flag(d->chroot);
    m->field[MCF_WAKEUP] = wakeup(s, d);
    m->field[MCF_LIMIT] = limit(s, d);
    m->words = ph_alloc_array(s, 1 + d->raw_count + 2 * d->settings_count + d->args_count, sizeof *m->words);
    m->words[m->count++] = d->kind == PH_DEF_PLUGIN && ph_str_eq(d->code, PH_STR("rewrite")) ? PH_STR("trivial-rewrite") : d->code;
    value = value ? value : as_it_stands;
    if (d->raw) {
        raw_words(s, d, value, arg, m);
        return;
    }
    for (size_t i = 0; i < d->settings_count; i++) {
        ph_str text = value(arg, &d->settings[i]);

        m->words[m->count++] = PH_STR("-o");
        m->words[m->count++] = ph_str_printf(s, "%.*s=%.*s", PH_FMT(d->settings[i].name), PH_FMT(text));
    }
    m->options = m->count;
    for (size_t i = 0; i < d->args_count; i++)
        m->words[m->count++] = d->args[i];
}

/* A word as it must be written to be read as that word. */
static ph_str protect(struct ph_scope *s, ph_str word)
{
    int wraps = word.n == 0 || word.p[0] == '{';

    for (size_t i = 0; i < word.n; i++)
        wraps |= ph_is_space(word.p[i]);
    return wraps ? ph_str_printf(s, "{%.*s}", PH_FMT(word)) : word;
}

ph_str mastercf_command(struct ph_scope *s, const struct mastercf *m)
{
    struct ph_buf out;

    ph_buf_init(&out, s, PH_CONF_FILE_MAX);
    for (size_t i = 0; i < m->count; i++) {
        ph_buf_puts(&out, i ? " " : "");
        ph_buf_str(&out, protect(s, m->words[i]));
    }
    return ph_buf_view(&out);
}

void mastercf_put_folded(struct ph_buf *out, struct ph_scope *s, const struct mastercf *m)
{
    size_t start = out->n;             /* of the line under way */
    int alone = 0;                     /* it holds a -o, and nothing else shall */

    ph_buf_str(out, protect(s, m->words[0]));
    start = (size_t)(ph_str_rfind((ph_str){ out->p, start }, '\n') + 1);
    for (size_t i = 1; i < m->count; i++) {
        int option = i + 1 < m->options && ph_str_eq(m->words[i], PH_STR("-o"));
        ph_str word = protect(s, m->words[i]);

        if (option) {
            word = protect(s, m->words[++i]);
            word = ph_str_printf(s, "-o %.*s", PH_FMT(word));
        }
        if (option || alone || out->n - start + 1 + word.n > FOLD_COLUMN) {
            ph_buf_puts(out, INDENT);
            start = out->n - 4;
        } else
            ph_buf_putc(out, ' ');
        ph_buf_str(out, word);
        alone = option;
    }
}

void mastercf_put(struct ph_buf *out, const struct mastercf *m, int columns, int fold)
{
    PH_SCOPED(s, NULL);
    size_t start = out->n;

    for (int i = 0; i < MCF_COMMAND; i++) {
        ph_buf_str(out, m->field[i]);
        ph_buf_putc(out, ' ');
        while (columns && out->n - start < columns_of[i + 1])
            ph_buf_putc(out, ' ');
    }
    if (fold)
        mastercf_put_folded(out, s, m);
    else
        ph_buf_str(out, mastercf_command(s, m));
}

static void put_setting(struct ph_scope *s, ph_str *words, size_t *n, ph_str name, ph_str value)
{
    words[(*n)++] = PH_STR("-o");
    words[(*n)++] = ph_str_printf(s, "%.*s=%.*s", PH_FMT(name), PH_FMT(value));
}

void mastercf_set(struct ph_scope *s, struct mastercf *m, ph_str name, ph_str value)
{
    ph_str *words = ph_alloc_array(s, m->count + 2, sizeof *words);
    size_t n = 0;
    int done = 0;

    for (size_t i = 0; i < m->count; i++) {
        int option = i + 1 < m->options && ph_str_eq(m->words[i], PH_STR("-o"));
        ph_str rest = option ? m->words[i + 1] : name;

        if (i == m->options && value.p && !done) {
            put_setting(s, words, &n, name, value);
            done = 1;
        }
        if (option && ph_str_eq(ph_str_cut(&rest, '='), name)) {
            i++;
            if (value.p) {
                put_setting(s, words, &n, name, value);
                done = 1;
            }
            continue;
        }
        words[n++] = m->words[i];
        if (option)
            words[n++] = m->words[++i];
    }
    if (value.p && !done)              /* there are options only */
        put_setting(s, words, &n, name, value);
    m->options = m->options + n - m->count;
    m->words = words;
    m->count = n;
}
