/* tables_text: keys and values as text: folding, UTF-8, and what a table is called in
 * messages.  See tables.h. */
#include <posthorn/error.h>
#include <posthorn/fold.h>
#include <posthorn/source.h>
#include "core/plugin/tables.h"

/* At most 200 bytes of a key in a message. */
#define KEY_FMT(k) PH_FMT(ph_str_first((k), 200))

/* The file that a table of this type is, as messages have always named it. */
static const char *suffix_of(const struct ph_table *t)
{
    if (ph_str_eq(t->type, PH_STR("hash")) || ph_str_eq(t->type, PH_STR("btree")))
        return ".db";
    return ph_str_eq(t->type, PH_STR("cdb")) ? ".cdb" : "";
}

ph_str ph_table_file(struct ph_scope *s, const struct ph_table *t)
{
    return ph_str_printf(s, "%.*s%s", PH_FMT(t->name), suffix_of(t));
}

ph_str ph_table_shown(struct ph_scope *s, const struct ph_table *t)
{
    return ph_str_printf(s, "%.*s:%.*s", PH_FMT(t->type), PH_FMT(ph_table_file(s, t)));
}

ph_str ph_table_key(const struct ph_table *t, struct ph_scope *s, ph_str key)
{
    if (!(t->flags & PH_TABLE_FOLD))
        return key;
    return t->flags & PH_TABLE_ANY_BYTES ? ph_str_lower(s, key) : ph_key_fold(s, key);
}

int ph_table_takes_key(const struct ph_table *t, ph_str key)
{
    if (t->flags & PH_TABLE_ANY_BYTES || ph_str_is_utf8(key))
        return 1;
    PH_SCOPED(s, t->scope);
    ph_log_warn("%.*s: non-UTF-8 key \"%.*s\": malformed UTF-8 or invalid codepoint", PH_FMT(ph_table_shown(s, t)), KEY_FMT(ph_source_shown(s, key)));
    return 0;
}

int ph_table_takes_value(const struct ph_table *t, ph_str key, ph_str val)
{
    if (t->flags & PH_TABLE_ANY_BYTES || ph_str_is_utf8(val))
        return PH_FOUND;
    PH_SCOPED(s, t->scope);
    ph_log_warn("%.*s: key \"%.*s\": non-UTF-8 value \"%.*s\": malformed UTF-8 or invalid codepoint", PH_FMT(ph_table_shown(s, t)), KEY_FMT(key),
                KEY_FMT(ph_source_shown(s, val)));
    return ph_fail(PH_TEMP, "the value is no UTF-8");
}
