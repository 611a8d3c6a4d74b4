/* identity: who is who (spawn.h), and what commands get of our environment. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <posthorn/disk.h>
#include <posthorn/error.h>
#include "core/worker/spawner.h"

#define ACCOUNT_BUFFER 65536
#define ENV_MAX        64u

struct account {
    const char *user, *group;      /* names; user NULL: by uid */
    uid_t uid;
    gid_t gid;
    char *name;                    /* heap */
    char *mem;                     /* ACCOUNT_BUFFER bytes */
};

static int failed_lookup(int err, const char *what)
{
    return err == 0 || err == ENOENT || err == ESRCH ? PH_NONE : ph_fail_errno(PH_TEMP, err, "account database: %s", what);
}

static int find_user(struct account *a)
{
    struct passwd pw, *found = NULL;
    int err = a->user ? getpwnam_r(a->user, &pw, a->mem, ACCOUNT_BUFFER, &found) : getpwuid_r(a->uid, &pw, a->mem, ACCOUNT_BUFFER, &found);

    if (!found)
        return failed_lookup(err, "user");
    a->uid = pw.pw_uid;
    a->gid = pw.pw_gid;
    free(a->name);
    return (a->name = strdup(pw.pw_name)) ? PH_FOUND : ph_fail(PH_TEMP, "out of memory");
}

static int find_group(struct account *a)
{
    struct group gr, *found = NULL;
    int err = getgrnam_r(a->group, &gr, a->mem, ACCOUNT_BUFFER, &found);

    if (!found)
        return failed_lookup(err, "group");
    a->gid = gr.gr_gid;
    return PH_FOUND;
}

static int number(const char *s, uint32_t *id)
{
    uint64_t n;

    if (!ph_str_u64(ph_cstr(s), &n) || n >= UINT32_MAX)
        return 0;
    *id = (uint32_t)n;
    return 1;
}

/* In the disk pool: the databases may be far away. */
static int look_up(void *arg)
{
    struct account *a = arg;
    int rc = find_user(a);

    if (rc == PH_NONE && a->user && number(a->user, &a->uid)) {
        const char *text = a->user;

        a->user = NULL;
        rc = find_user(a);
        a->user = text;
        /* A number needs no account when the group is said. */
        if (rc == PH_NONE && a->group)
            rc = PH_FOUND;
    }
    if (rc != PH_FOUND || !a->group)
        return rc;
    rc = find_group(a);
    return rc == PH_NONE && number(a->group, &a->gid) ? PH_FOUND : rc;
}

static int identify(struct ph_scope *s, struct account *a, struct ph_identity *id)
{
    if (!(a->mem = malloc(ACCOUNT_BUFFER)))
        return ph_fail(PH_TEMP, "out of memory");
    int rc = ph_disk(look_up, a);
    if (rc == PH_FOUND)
        *id = (struct ph_identity){ .size = sizeof *id, .uid = a->uid, .gid = a->gid, .user = ph_str_dup(s, ph_cstr(a->name ? a->name : "")) };
    free(a->mem);
    free(a->name);
    return rc;
}

int ph_identity_parse(struct ph_scope *s, ph_str text, struct ph_identity *id)
{
    ph_str user = ph_str_cut(&text, ':');
    struct account a = { .user = ph_cstr_dup(s, user), .group = text.p && text.n ? ph_cstr_dup(s, text) : NULL };

    return user.n == 0 ? PH_NONE : identify(s, &a, id);
}

int ph_identity_of_uid(struct ph_scope *s, uint32_t uid, struct ph_identity *id)
{
    struct account a = { .uid = uid };

    return identify(s, &a, id);
}

int ph_identity_is_own(const struct ph_identity *id)
{
    return id->uid == geteuid() && id->gid == getegid();
}

int ph_identity_check(const struct ph_identity *id)
{
    const struct spawner_policy *p = ph_spawner_policy();
    char why[160];

    if (!p)
        return ph_fail(PH_TEMP, "there is no helper that works with the rights of others");
    return ph_spawner_judge(p, id->uid, id->gid, why, sizeof why) < 0 ? ph_fail(PH_CONF, "%s", why) : 0;
}

const char *const *ph_command_environment(struct ph_conf *c, struct ph_scope *s)
{
    const char **env = ph_alloc_array(s, ENV_MAX + 1, sizeof *env);
    ph_str list = ph_conf_value(c, s, "export_environment");
    size_t n = 0;

    env[n++] = "PATH=/usr/bin:/bin";
    for (ph_str w; n < ENV_MAX && (w = ph_str_list(&list)).n; ) {
        const char *text = ph_cstr_dup(s, w), *value = strchr(text, '=') ? NULL : getenv(text);

        if (strchr(text, '='))
            env[n++] = text;
        else if (value || strcmp(text, "MAIL_CONFIG") == 0)
            env[n++] = ph_str_printf(s, "%s=%s", text, value ? value : ph_conf_dir(c)).p;
    }
    return env;
}
