/* known: which parameters exist: the table made from params.tsv, and the rows
 * that the modules of this process registered (they win: the row stands beside
 * the code that uses it). */
#include <stdlib.h>
#include <string.h>
#include "config.h"
#include "core/conf/internal.h"
#include "core/conf/known_table.h"

#define KNOWN_COUNT (sizeof known_rows / sizeof *known_rows)
#define TEMPLATE_COUNT (sizeof template_rows / sizeof *template_rows)
#define REGISTERED_MAX 256

static struct group {
    const struct ph_param *rows;
    size_t count, stride;
} groups[REGISTERED_MAX];
static size_t group_count;

void ph_conf_register(const struct ph_param *rows, size_t count, size_t stride)
{
    for (size_t i = 0; i < group_count; i++)
        if (groups[i].rows == rows)
            return;
    ph_assert(group_count < REGISTERED_MAX);
    /* Names and defaults stand at the start of a row in every age of it. */
    ph_assert(stride >= offsetof(struct ph_param, min));
    groups[group_count++] = (struct group){ rows, count, stride };
}

const struct ph_param *ph_registered_find(ph_str name)
{
    for (size_t g = 0; g < group_count; g++)
        for (size_t i = 0; i < groups[g].count; i++) {
            const void *at = (const char *)groups[g].rows + i * groups[g].stride;
            const struct ph_param *row = at;

            if (ph_str_eq(ph_cstr(row->name), name))
                return row;
        }
    return NULL;
}

static int compare_known(const void *key, const void *row)
{
    return ph_str_cmp(*(const ph_str *)key, ph_cstr(((const struct ph_known *)row)->name));
}

const struct ph_known *ph_known_find(ph_str name)
{
    return bsearch(&name, known_rows, KNOWN_COUNT, sizeof *known_rows, compare_known);
}

/* The longest suffix wins: smtp_destination_recipient_limit is of
 * *_destination_recipient_limit, not of *_recipient_limit. */
const struct ph_known *ph_known_template(ph_str name)
{
    const struct ph_known *best = NULL;

    for (size_t i = 0; i < TEMPLATE_COUNT; i++) {
        ph_str suffix = ph_cstr(template_rows[i].name);

        if (name.n > suffix.n && ph_str_ends(name, suffix) && (!best || suffix.n > strlen(best->name)))
            best = &template_rows[i];
    }
    return best;
}

const char *ph_known_instead(ph_str name)
{
    for (size_t i = 0; i < sizeof deprecated_rows / sizeof *deprecated_rows; i++)
        if (ph_str_eq(name, ph_cstr(deprecated_rows[i].name)))
            return deprecated_rows[i].instead;
    return NULL;
}

size_t ph_known_count(void)
{
    return KNOWN_COUNT;
}

const struct ph_known *ph_known_at(size_t i)
{
    return &known_rows[i];
}
