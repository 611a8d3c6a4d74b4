/* postconf_services: -e, -X and -# with -M, -F and -P: lines of master.cf in and out,
 * keys of master.yaml between.  Only what an edit changes is written anew; the
 * new file is read and checked whole before it takes the place of the old. */
#include <string.h>
#include <posthorn/error.h>
#include "core/cmd/cmd.h"
#include "core/cmd/edit_file.h"
#include "core/cmd/mastercf.h"
#include "core/cmd/postconf.h"
#include "core/cmd/yaml_text.h"
#include "core/plugin/registry.h"

#define ADDED_MAX 64u

struct line {
    struct mastercf was, is;
    int removed;
};

struct services {
    struct postconf *p;
    struct edit_file file;
    const struct ph_master_def *master;
    struct line *lines;            /* of the services, then those added */
    size_t count, old_count;
};

static PH_NORETURN void give_up(struct services *v)
{
    edit_file_abandon(&v->file);
    ph_cmd_fatal("%s", ph_error());
}

static void load(struct services *v)
{
    struct ph_scope *s = v->p->scope;

    edit_file_open(&v->file, s, ph_str_printf(s, "%s/master.yaml", v->p->dir).p, PH_MASTER_FILE_MAX);
    if (ph_registry_open(v->p->conf) < 0 || ph_master_parse(s, v->p->conf, v->file.shown, v->file.text, &v->master) < 0)
        give_up(v);
    v->count = v->old_count = v->master->services_count;
    v->lines = ph_alloc_array(s, v->count + ADDED_MAX, sizeof *v->lines);
    for (size_t i = 0; i < v->count; i++) {
        mastercf_of(s, &v->master->services[i], NULL, NULL, &v->lines[i].was);
        v->lines[i].is = v->lines[i].was;
    }
}

static int is_named(const struct line *l, const struct postconf_pattern *want, int enabled)
{
    return !l->removed && l->is.enabled == enabled && postconf_pattern_matches(want, l->is.field[MCF_SERVICE], l->is.field[MCF_TYPE]);
}

/* --- what is asked, as lines --- */

static void remove_line(struct line *l)
{
    l->removed = 1;
    l->is.enabled = 0;
}

/* The line that a new one replaces: the first of those asked for and of those that have its name
 * already, all others of them go; else one of that name that is disabled; NULL: it is new. */
static struct line *find_replaced(struct services *v, const struct postconf_pattern *want, const struct mastercf *m)
{
    const struct postconf_pattern own = { m->field[MCF_SERVICE], m->field[MCF_TYPE], PH_STR("") };
    struct line *first = NULL;

    for (size_t i = 0; i < v->count; i++) {
        struct line *l = &v->lines[i];

        if (!is_named(l, want, 1) && !is_named(l, &own, 1))
            continue;
        if (first)
            remove_line(l);
        else
            first = l;
    }
    for (size_t i = 0; !first && i < v->count; i++)
        if (is_named(&v->lines[i], &own, 0))
            first = &v->lines[i];
    return first;
}

static void put_line(struct services *v, const char *arg, const struct postconf_pattern *want, ph_str text)
{
    ph_str rest = text;
    struct mastercf m;
    struct line *l;
    int words = 0;

    while (words < MASTERCF_FIELDS && ph_str_word(&rest).n)
        words++;
    if (words < MASTERCF_FIELDS)
        ph_cmd_fatal("bad field count: \"%s\"", arg);
    if (mastercf_parse(v->p->scope, text, &m) < 0)
        ph_cmd_fatal("%s", ph_error());
    if (!(l = find_replaced(v, want, &m))) {
        if (v->count == v->old_count + ADDED_MAX)
            ph_cmd_fatal("more than %u new services at once", ADDED_MAX);
        l = &v->lines[v->count++];
    }
    l->is = m;
}

static void edit_line(struct services *v, int edit, const char *arg)
{
    struct postconf_pattern want;
    ph_str name = ph_str_trim(ph_cstr(arg)), text = { "", 0 };

    if (edit == 'e')
        postconf_split(arg, &name, &text);
    if (postconf_parse_pattern(name, &want) != 2)
        ph_cmd_fatal("-Me, -MX or -M# requires service_name/type");
    if (edit == 'e') {
        put_line(v, arg, &want, text);
        return;
    }
    for (size_t i = 0; i < v->count; i++)
        if (is_named(&v->lines[i], &want, 1)) {
            remove_line(&v->lines[i]);
            v->lines[i].removed = edit == 'X';
        }
}

static int has_blank(ph_str text)
{
    for (size_t i = 0; i < text.n; i++)
        if (ph_is_space(text.p[i]))
            return 1;
    return 0;
}

static void set_field(struct services *v, struct mastercf *m, int field, ph_str value)
{
    struct mastercf command;

    if (field == MCF_COMMAND) {
        if (mastercf_parse_command(v->p->scope, value, &command) < 0)
            ph_cmd_fatal("%s", ph_error());
        m->words = command.words;
        m->count = command.count;
        m->options = command.options;
    } else
        m->field[field] = value;
}

static size_t edit_field(struct services *v, const struct postconf_pattern *want, ph_str value)
{
    size_t found = 0;

    if (ph_str_eq(want->part, PH_STR("*")))
        ph_cmd_fatal("-Fe does not accept wild-card field name");
    int field = postconf_field_number(want->part);

    if (field != MCF_COMMAND && has_blank(value))
        ph_cmd_fatal("-Fe does not accept whitespace in non-command field");
    if (mastercf_check_field((enum mastercf_field)field, value, value) < 0)
        ph_cmd_fatal("%s", ph_error());
    for (size_t i = 0; i < v->count; i++)
        if (is_named(&v->lines[i], want, 1)) {
            set_field(v, &v->lines[i].is, field, value);
            found++;
        }
    return found;
}

static size_t edit_setting(struct services *v, int edit, const struct postconf_pattern *want, ph_str value)
{
    size_t found = 0;

    if (ph_str_eq(want->part, PH_STR("*")))
        ph_cmd_fatal("-Pe does not accept wild-card parameter name");
    if (has_blank(value))
        ph_cmd_fatal("-Pe does not accept whitespace in parameter value");
    for (size_t i = 0; i < v->count; i++)
        if (is_named(&v->lines[i], want, 1)) {
            mastercf_set(v->p->scope, &v->lines[i].is, want->part, edit == 'e' ? value : (ph_str){ NULL, 0 });
            found++;
        }
    return found;
}

static void edit_part(struct services *v, int mode, int edit, const char *arg)
{
    ph_str name = ph_str_trim(ph_cstr(arg)), value = { "", 0 };

    if (edit == 'e')
        postconf_split(arg, &name, &value);
    struct postconf_pattern want;

    if (postconf_parse_pattern(name, &want) != 3)
        ph_cmd_fatal(mode == 'F' ? "-Fe or -FX requires service_name/type/field_name" : "-Pe or -PX requires service_name/type/parameter");
    size_t found = mode == 'F' ? edit_field(v, &want, value) : edit_setting(v, edit, &want, value);

    if (found == 0)
        ph_cmd_warn("unmatched service_name/type: \"%s\"", arg);
}

/* --- lines to text --- */

enum { PROGRAM = MASTERCF_FIELDS, ARGUMENTS, ENABLED };
#define BIT(n) (1u << (n))

/* The fields that a key comes from. */
static const struct { const char *key; unsigned fields; } key_fields[] = {
    { "name", BIT(MCF_SERVICE) }, { "listen", BIT(MCF_SERVICE) | BIT(MCF_TYPE) }, { "private", BIT(MCF_PRIVATE) | BIT(MCF_TYPE) },
    { "unprivileged", BIT(MCF_UNPRIVILEGED) }, { "chroot", BIT(MCF_CHROOT) }, { "wakeup", BIT(MCF_WAKEUP) },
    { "processes", BIT(MCF_LIMIT) }, { "sessions", BIT(MCF_LIMIT) }, { "plugin", BIT(PROGRAM) }, { "builtin", BIT(PROGRAM) },
    { "transport", BIT(PROGRAM) }, { "program", BIT(PROGRAM) }, { "args", BIT(ARGUMENTS) }, { "raw_arguments", BIT(ARGUMENTS) },
    { "enabled", BIT(ENABLED) },
};

static unsigned changed_fields(const struct mastercf *a, const struct mastercf *b)
{
    unsigned bits = 0;

    for (int i = 0; i < MCF_COMMAND; i++)
        bits |= ph_str_eq(a->field[i], b->field[i]) ? 0 : BIT(i);
    if (!ph_str_eq(a->words[0], b->words[0]) || (bits & BIT(MCF_TYPE)))
        bits |= BIT(PROGRAM);
    int same = a->count == b->count && a->options == b->options;

    for (size_t i = 1; same && i < a->count; i++)
        same = ph_str_eq(a->words[i], b->words[i]);
    return bits | (same ? 0 : BIT(ARGUMENTS)) | (a->enabled == b->enabled ? 0 : BIT(ENABLED));
}

static const struct mastercf_key *find_key(const struct mastercf_key *keys, size_t count, ph_str name)
{
    for (size_t i = 0; i < count; i++)
        if (ph_str_eq(keys[i].key, name))
            return &keys[i];
    return NULL;
}

static int write_settings(struct yaml_text *t, size_t item, const struct mastercf_yaml *was, const struct mastercf_yaml *is)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < was->settings_count; i++)
        if (!find_key(is->settings, is->settings_count, was->settings[i].key))
            rc = yaml_text_delete(t, item, "settings", was->settings[i].key);
    for (size_t i = 0; rc == 0 && i < is->settings_count; i++) {
        const struct mastercf_key *old = find_key(was->settings, was->settings_count, is->settings[i].key);

        if (!old || !ph_str_eq(old->value, is->settings[i].value))
            rc = yaml_text_set(t, item, "settings", is->settings[i].key, is->settings[i].value);
    }
    return rc;
}

static int write_line(struct services *v, struct yaml_text *t, size_t item)
{
    const struct line *l = &v->lines[item];
    unsigned bits = changed_fields(&l->was, &l->is);
    struct mastercf_yaml was, is;
    int rc;

    if (!bits || l->removed)
        return 0;
    if ((rc = mastercf_keys(v->p->scope, &l->was, &was)) < 0 || (rc = mastercf_keys(v->p->scope, &l->is, &is)) < 0)
        return rc;
    for (size_t i = 0; rc == 0 && i < sizeof key_fields / sizeof *key_fields; i++) {
        ph_str key = ph_cstr(key_fields[i].key);
        const struct mastercf_key *new = find_key(is.keys, is.count, key), *old = find_key(was.keys, was.count, key);
        int same = key_fields[i].fields == BIT(ARGUMENTS) && new && old && ph_str_eq(new->value, old->value);

        if ((key_fields[i].fields & bits) && !same)
            rc = new ? yaml_text_set(t, item, NULL, key, new->value) : yaml_text_delete(t, item, NULL, key);
    }
    return rc == 0 && (bits & BIT(ARGUMENTS)) ? write_settings(t, item, &was, &is) : rc;
}

static void put_item(struct ph_buf *out, const void *arg, unsigned indent, int one_line)
{
    mastercf_put_item(out, arg, indent, one_line);
}

static int write_all(struct services *v, struct yaml_text *t)
{
    struct mastercf_yaml y;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < v->old_count; i++)
        rc = write_line(v, t, i);
    for (size_t i = v->old_count; rc == 0 && i < v->count; i++)
        if (!v->lines[i].removed && (rc = mastercf_keys(v->p->scope, &v->lines[i].is, &y)) == 0)
            rc = yaml_text_append(t, put_item, &y);
    for (size_t i = v->old_count; rc == 0 && i > 0; i--)
        if (v->lines[i - 1].removed)
            rc = yaml_text_delete_item(t, i - 1);
    return rc;
}

void postconf_edit_services(struct postconf *p, int mode, int edit, char **args)
{
    struct services v = { .p = p };
    const struct ph_master_def *checked;

    for (char **a = args; *a; a++)
        postconf_check_edit(*a, "-Me, -Fe, -Pe, -X, or -# accept");
    load(&v);
    struct yaml_text t = { p->scope, v.file.shown, v.file.text };

    for (; *args; args++)
        if (mode == 'M')
            edit_line(&v, edit, *args);
        else
            edit_part(&v, mode, edit, *args);
    if (write_all(&v, &t) < 0 || ph_master_parse(p->scope, p->conf, v.file.shown, t.text, &checked) < 0)
        give_up(&v);
    edit_file_commit(&v.file, t.text);
}
