/* logfile: maillog_file and what goes with it.  See conf.h. */
#include <posthorn/error.h>
#include "core/conf/conf.h"

/* "0600", "0640", "0644", without or with more leading zeros. */
static int read_mode(ph_str text, int *mode)
{
    while (text.n && text.p[0] == '0')
        text = ph_str_from(text, 1);
    *mode = ph_str_eq(text, PH_STR("600")) ? 0600 : ph_str_eq(text, PH_STR("640")) ? 0640
            : ph_str_eq(text, PH_STR("644")) ? 0644 : 0;
    return *mode ? 0 : ph_fail(PH_CONF, "maillog_file_permissions: use 0600, 0640 or 0644");
}

int ph_conf_log_file(struct ph_conf *c, struct ph_scope *s, const char **file, int *mode)
{
    ph_str path, prefixes, permissions, prefix;
    int rc;

    if ((rc = ph_conf_get(c, s, "maillog_file", &path)) < 0 || (rc = ph_conf_get(c, s, "maillog_file_prefixes", &prefixes)) < 0 ||
        (rc = ph_conf_get(c, s, "maillog_file_permissions", &permissions)) < 0 || (rc = read_mode(permissions, mode)) < 0)
        return rc;
    *file = ph_cstr_dup(s, path);
    if (path.n == 0)
        return 0;
    while ((prefix = ph_str_list(&prefixes)).n)
        if (ph_str_starts(path, prefix))
            return 0;
    return ph_fail(PH_CONF, "maillog_file value '%s' does not match any prefix in maillog_file_prefixes", *file);
}
