/* setgid: see setgid.h. */
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <posthorn/error.h>
#include "core/cmd/setgid.h"
#include "core/conf/conf.h"

void ph_setgid_clean_environment(void)
{
    const char *keep = getenv("MAIL_CONFIG");
    char *dir = keep ? strdup(keep) : NULL;

    if (clearenv() != 0 || (keep && (!dir || setenv("MAIL_CONFIG", dir, 1) != 0)))
        ph_die("out of memory");
    free(dir);
}

static int list_has(ph_str list, ph_str word)
{
    ph_str item;

    while ((item = ph_str_token(&list, ", \t\r\n")).n)
        if (ph_str_eq(item, word))
            return 1;
    return 0;
}

int ph_setgid_check_config_dir(const char *dir)
{
    static const char *const lists[] = { "alternate_config_directories", "multi_instance_directories" };
    PH_SCOPED(s, NULL);
    struct ph_conf *c;
    ph_str value;
    int rc;

    if (strcmp(dir, PH_CONF_DIR) == 0)
        return 0;
    if ((rc = ph_conf_open(s, PH_CONF_DIR, &c)) < 0)
        return PH_PERM;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if (ph_conf_raw_set(c, ph_cstr(lists[i]), &value, NULL) == PH_FOUND && list_has(value, ph_cstr(dir)))
            return 0;
    return ph_fail(PH_PERM, "unauthorized configuration directory name: %s", dir);
}

ph_str ph_setgid_login(struct ph_scope *s, uid_t uid)
{
    const struct passwd *pw = getpwuid(uid);

    return ph_str_dup(s, ph_cstr(pw ? pw->pw_name : "unknown"));
}
