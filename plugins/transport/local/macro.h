/* macro: $name in forward_path, luser_relay, command_execution_directory.
 *   $name $(name) ${name}   the value
 *   ${name?text} ${name:text}   text when the value is not empty, resp. empty
 *   ${name?{text}:{other}}
 *   $$                      a dollar sign
 * Bytes of a value that the filter does not hold become '_'; text around it stays.  Pure. */
#ifndef LOCAL_MACRO_H
#define LOCAL_MACRO_H

#include <posthorn/scope.h>

struct local_macros {
    /* PH_FOUND and *value (perhaps empty), or PH_NONE: there is no such name. */
    int (*value)(void *arg, ph_str name, ph_str *value);
    void *arg;
    ph_str filter;                 /* allowed bytes; empty: all */
};

/* 0 and *out on s, or PH_CONF: unknown name, bad syntax, too long. */
int local_macro_expand(struct ph_scope *s, ph_str text, const struct local_macros *m, ph_str *out);
/* The bytes of v that are not in the filter replaced by '_'. */
ph_str local_macro_clean(struct ph_scope *s, ph_str v, ph_str filter);

#endif
