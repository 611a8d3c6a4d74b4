/* value: the classes of values: text to numbers, times, yes and no, within the
 * bounds of the row; and filling a structure from rows. */
#include <stdio.h>
#include <string.h>
#include "core/conf/internal.h"

int ph_value_bool(ph_str text, int32_t *value)
{
    int yes = ph_str_eq_nocase(text, PH_STR("yes"));

    if (!yes && !ph_str_eq_nocase(text, PH_STR("no")))
        return 0;
    *value = yes;
    return 1;
}

int ph_value_int(ph_str text, int64_t *value)
{
    if (text.n > 1 && text.p[0] == '+' && ph_is_digit(text.p[1]))
        text = ph_str_from(text, 1);
    return ph_str_i64(text, value);
}

static int64_t unit_seconds(char unit)
{
    switch (unit) {
    case 's': return 1;
    case 'm': return 60;
    case 'h': return 3600;
    case 'd': return 86400;
    case 'w': return 7 * 86400;
    default: return 0;
    }
}

/* Only the first byte behind the digits counts: "5days" is 5d. */
int ph_value_time(ph_str text, char unit, int64_t *seconds)
{
    size_t digits = 0;
    int64_t n, each, product;

    if (text.n > 1 && text.p[0] == '+' && ph_is_digit(text.p[1]))
        text = ph_str_from(text, 1);
    while (digits < text.n && ph_is_digit(text.p[digits]))
        digits++;
    each = unit_seconds(digits < text.n ? text.p[digits] : unit);
    if (!ph_str_i64(ph_str_first(text, digits), &n) || each == 0)
        return 0;
    if (__builtin_mul_overflow(n, each, &product) || product > INT32_MAX)
        return 0;
    *seconds = product;
    return 1;
}

/* One number of a level: blanks and a '+' before it are no mistake. */
static int parse_level_part(ph_str text, int64_t *part)
{
    while (text.n && ph_is_space(text.p[0]))
        text = ph_str_from(text, 1);
    return text.n && text.p[0] != '-' && ph_value_int(text, part);
}

/* "major[.minor[.patch]]" to three numbers. */
static int parse_level(ph_str text, int64_t part[3])
{
    for (int i = 0; i < 3; i++)
        part[i] = 0;
    for (int i = 0; i < 3; i++) {
        ptrdiff_t dot = ph_str_find(text, '.');

        if (!parse_level_part(dot < 0 ? text : ph_str_first(text, (size_t)dot), &part[i]) || (i > 0 && part[i] > 1023))
            return 0;
        if (dot < 0)
            return 1;
        text = ph_str_from(text, (size_t)dot + 1);
    }
    return 0;
}

int ph_value_level(ph_str a, ph_str b, int *order)
{
    int64_t left[3], right[3];

    if (!parse_level(a, left) || !parse_level(b, right))
        return 0;
    *order = 0;
    for (int i = 0; i < 3 && *order == 0; i++)
        *order = left[i] < right[i] ? -1 : left[i] > right[i];
    return 1;
}

/* The unit of a bare number: the row's, else the letter its default ends with. */
char ph_value_unit(const char *unit, const char *def)
{
    size_t n = def ? strlen(def) : 0;

    if (unit && unit[0])
        return ph_lower(unit[0]);
    return n && unit_seconds(def[n - 1]) && (n == 1 || !ph_is_alpha(def[n - 2])) ? def[n - 1] : 's';
}

/* Where a value stands, for messages. */
struct place_text {
    char text[320];
};

static const char *describe(const struct entry *e, const char *name, struct place_text *mem)
{
    struct ph_place at = e ? ph_entry_place(e, 0) : (struct ph_place){ NULL, 0, 0 };

    if (at.file)
        snprintf(mem->text, sizeof mem->text, "%s:%u:%u", at.file, at.line, at.column);
    else
        snprintf(mem->text, sizeof mem->text, e ? "value of %s" : "default of %s", name);
    return mem->text;
}

static int fail_bound(const struct ph_param *row, const struct entry *e, ph_str text)
{
    struct place_text at;
    const char *what = row->type == PH_TYPE_STR || row->type == PH_TYPE_RAW ? "bad length of" : "value out of range:";

    if (row->max > row->min)
        return ph_fail(PH_CONF, "%s: %s %s = %.*s (allowed: %lld to %lld)", describe(e, row->name, &at), what,
                       row->name, PH_FMT(text), (long long)row->min, (long long)row->max);
    return ph_fail(PH_CONF, "%s: %s %s = %.*s (the least is %lld)", describe(e, row->name, &at), what, row->name,
                   PH_FMT(text), (long long)row->min);
}

union value {
    ph_str text;
    int64_t number;
    int32_t flag;
};

/* min == 0 and max == 0 is no bound at all; max == 0 no upper bound. */
static int in_bounds(const struct ph_param *row, int64_t n)
{
    if (row->min == 0 && row->max == 0)
        return 1;
    return n >= row->min && (row->max == 0 || n <= row->max);
}

/* The expanded text of a row as its type. */
static int convert(const struct ph_param *row, const struct entry *e, ph_str text, union value *v)
{
    struct place_text at;

    switch (row->type) {
    case PH_TYPE_STR:
    case PH_TYPE_RAW:
        v->text = text;
        return in_bounds(row, (int64_t)text.n) ? 0 : fail_bound(row, e, text);
    case PH_TYPE_INT:
        if (!ph_value_int(text, &v->number))
            return ph_fail(PH_CONF, "%s: bad numerical configuration: %s = %.*s", describe(e, row->name, &at),
                           row->name, PH_FMT(text));
        return in_bounds(row, v->number) ? 0 : fail_bound(row, e, text);
    case PH_TYPE_BOOL:
        if (!ph_value_bool(text, &v->flag))
            return ph_fail(PH_CONF, "%s: bad boolean configuration: %s = %.*s (yes or no)",
                           describe(e, row->name, &at), row->name, PH_FMT(text));
        return 0;
    case PH_TYPE_TIME:
        if (!ph_value_time(text, ph_value_unit(row->unit, row->def), &v->number))
            return ph_fail(PH_CONF, "%s: bad time value or unit: %s = %.*s", describe(e, row->name, &at), row->name,
                           PH_FMT(text));
        return in_bounds(row, v->number) ? 0 : fail_bound(row, e, text);
    default:
        return ph_fail(PH_CONF, "parameter %s: unknown type %u", row->name, row->type);
    }
}

/* The value of one row: what is set, else the default of the row itself. */
static int load_row(struct ph_conf *c, struct ph_scope *s, const struct ph_param *row, union value *v)
{
    const struct entry *e = ph_conf_find(c, ph_cstr(row->name));
    const struct ph_known *k = e ? NULL : ph_known_find(ph_cstr(row->name));
    ph_str text = e ? e->value : ph_cstr(row->def);
    int rc;

    if (k && k->computed && (rc = ph_conf_computed(c, s, ph_cstr(row->name), &text)) < 0)
        return rc;
    if (row->type == PH_TYPE_RAW)
        text = ph_str_dup(s, text);
    else if ((rc = ph_conf_expand_at(c, s, ph_cstr(row->name), text, e, &text)) < 0)
        return rc;
    return convert(row, e, text, v);
}

static void store(const struct ph_param *row, void *out, const union value *v)
{
    char *member = (char *)out + row->offset;

    if (row->type == PH_TYPE_STR || row->type == PH_TYPE_RAW)
        memcpy(member, &v->text, sizeof v->text);
    else if (row->type == PH_TYPE_BOOL)
        memcpy(member, &v->flag, sizeof v->flag);
    else
        memcpy(member, &v->number, sizeof v->number);
}

/* Rows of a plugin may be of another age: a member it lacks reads as zero. */
static struct ph_param row_at(const struct ph_param *rows, size_t i, size_t stride)
{
    struct ph_param row = { 0 };

    memcpy(&row, (const char *)rows + i * stride, stride < sizeof row ? stride : sizeof row);
    return row;
}

int ph_params_load(struct ph_conf *c, struct ph_scope *s, const struct ph_param *rows,
                   size_t count, size_t stride, void *out)
{
    PH_SCOPED(step, NULL);
    union value *values = ph_alloc_array(step, count + 1, sizeof *values);
    int rc;

    for (size_t i = 0; i < count; i++) {
        struct ph_param row = row_at(rows, i, stride);

        if ((rc = load_row(c, s, &row, &values[i])) < 0)
            return rc;
    }
    for (size_t i = 0; i < count; i++) {
        struct ph_param row = row_at(rows, i, stride);

        store(&row, out, &values[i]);
    }
    return 0;
}

/* One parameter by name, with the bounds and type that its row states. */
static int get_one(struct ph_conf *c, struct ph_scope *s, const char *name, uint32_t type, const char *unit,
                   union value *v)
{
    const struct ph_param *known = ph_registered_find(ph_cstr(name));
    const struct ph_known *k = ph_known_find(ph_cstr(name));
    struct ph_param row = { .name = name, .def = "", .unit = unit, .type = type };
    const struct entry *e;
    ph_str text;
    int rc;

    if (!k)
        k = ph_known_template(ph_cstr(name));
    if (known && known->type == type)
        row = (struct ph_param){ name, known->def, NULL, unit ? unit : known->unit, type, 0, known->min, known->max };
    else if (k && k->type == type)
        row = (struct ph_param){ name, k->def, NULL, unit, type, 0, k->min, k->max };
    if ((rc = ph_conf_text(c, s, ph_cstr(name), &text, &e)) != PH_FOUND)
        return rc;
    if ((k && k->type == PH_TYPE_RAW) || (known && known->type == PH_TYPE_RAW))
        text = ph_str_dup(s, text);
    else if ((rc = ph_conf_expand_at(c, s, ph_cstr(name), text, e, &text)) < 0)
        return rc;
    return (rc = convert(&row, e, text, v)) < 0 ? rc : PH_FOUND;
}

int ph_conf_get(struct ph_conf *c, struct ph_scope *s, const char *name, ph_str *value)
{
    union value v;
    int rc = get_one(c, s, name, PH_TYPE_STR, NULL, &v);

    if (rc == PH_FOUND)
        *value = v.text;
    return rc;
}

int ph_conf_get_i64(struct ph_conf *c, const char *name, int64_t *value)
{
    PH_SCOPED(step, NULL);
    union value v;
    int rc = get_one(c, step, name, PH_TYPE_INT, NULL, &v);

    if (rc == PH_FOUND)
        *value = v.number;
    return rc;
}

int ph_conf_get_time(struct ph_conf *c, const char *name, char unit, int64_t *seconds)
{
    PH_SCOPED(step, NULL);
    char text[2] = { unit, 0 };
    union value v;
    int rc = get_one(c, step, name, PH_TYPE_TIME, unit ? text : NULL, &v);

    if (rc == PH_FOUND)
        *seconds = v.number;
    return rc;
}

int ph_conf_get_bool(struct ph_conf *c, const char *name, int32_t *value)
{
    PH_SCOPED(step, NULL);
    union value v;
    int rc = get_one(c, step, name, PH_TYPE_BOOL, NULL, &v);

    if (rc == PH_FOUND)
        *value = v.flag;
    return rc;
}

int ph_conf_check(struct ph_conf *c, ph_str name)
{
    PH_SCOPED(s, NULL);
    const struct ph_known *k = ph_known_find(name);
    const struct entry *e = ph_conf_find(c, name);
    struct place_text at;
    union value v;

    if (!k)
        k = ph_known_template(name);
    uint32_t type = k ? k->type : PH_TYPE_STR;
    int rc = get_one(c, s, ph_cstr_dup(s, name), type, NULL, &v);

    /* What users call their own is of no harm where nothing reads it. */
    if (rc < 0)
        return ph_conf_name_kind(c, name) == PH_NAME_USER ? 0 : rc;
    if (rc == PH_FOUND && type == PH_TYPE_STR && (rc = ph_conf_check_form(name, v.text)) < 0)
        return ph_wrap(rc, "%s", describe(e, ph_cstr_dup(s, name), &at));
    return 0;
}
