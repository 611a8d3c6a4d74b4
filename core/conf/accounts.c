/* accounts: see accounts.h. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <posthorn/error.h>
#include "core/conf/accounts.h"

static int name_of(struct ph_conf *c, struct ph_scope *s, const char *parameter, const char **name)
{
    ph_str value;
    int rc = ph_conf_get(c, s, parameter, &value);

    *name = rc == PH_FOUND ? ph_cstr_dup(s, value) : "";
    return rc < 0 ? rc : 0;
}

static void note(struct ph_accounts *a, struct ph_scope *s, const char *fmt, ...) PH_PRINTF(3, 4);
static void note(struct ph_accounts *a, struct ph_scope *s, const char *fmt, ...)
{
    va_list ap;

    ph_assert(a->note_count < sizeof a->note / sizeof *a->note);
    va_start(ap, fmt);
    a->note[a->note_count++] = ph_str_vprintf(s, fmt, ap).p;
    va_end(ap);
}

/* A user without rights of root whose uid is his alone. */
static int read_user(const char *parameter, const char *name, uid_t *uid, gid_t *gid)
{
    errno = 0;
    const struct passwd *pw = getpwnam(name);

    if (!pw && errno != 0 && errno != ENOENT)
        return ph_fail_errno(PH_TEMP, errno, "%s: look up \"%s\"", parameter, name);
    if (!pw)
        return PH_NONE;
    *uid = pw->pw_uid;
    *gid = pw->pw_gid;
    if (*uid == 0 || *gid == 0)
        return ph_fail(PH_CONF, "parameter %s: \"%s\" has the rights of root; name an account of its own", parameter, name);
    pw = getpwuid(*uid);
    if (pw && strcmp(pw->pw_name, name) != 0)
        return ph_fail(PH_CONF, "parameter %s: \"%s\" has the user id of \"%s\"; name an account of its own", parameter, name, pw->pw_name);
    return PH_FOUND;
}

static int read_mail_owner(struct ph_conf *c, struct ph_scope *s, struct ph_accounts *a)
{
    int rc = name_of(c, s, "mail_owner", &a->mail_owner);

    if (rc == 0)
        rc = read_user("mail_owner", a->mail_owner, &a->mail_uid, &a->mail_gid);
    return rc == PH_NONE ? ph_fail(PH_CONF, "parameter mail_owner: unknown user name value: no account \"%s\"", a->mail_owner) : rc;
}

static void use_one_account(struct ph_accounts *a, struct ph_scope *s, const char *name)
{
    const char *why = !name[0] ? "is not set" : strcmp(name, a->mail_owner) == 0 ? "is mail_owner itself"
                                              : ph_str_printf(s, "\"%s\" does not exist", name).p;

    note(a, s, "network_owner %s: workers that touch the network run as mail_owner \"%s\", and Landlock alone stands between them and the queue",
         why, a->mail_owner);
    a->network_owner = a->mail_owner;
    a->network_uid = a->mail_uid;
    a->network_gid = a->mail_gid;
}

static int read_network_owner(struct ph_conf *c, struct ph_scope *s, struct ph_accounts *a)
{
    const char *name;
    int rc = name_of(c, s, "network_owner", &name);

    if (rc == 0)
        rc = name[0] ? read_user("network_owner", name, &a->network_uid, &a->network_gid) : PH_NONE;
    if (rc < 0)
        return rc;
    a->two = rc == PH_FOUND && a->network_uid != a->mail_uid;
    if (!a->two)
        use_one_account(a, s, name);
    else if (a->network_gid == a->mail_gid)
        return ph_fail(PH_CONF, "parameter network_owner: \"%s\" has the group of mail_owner \"%s\"; give it one of its own", name, a->mail_owner);
    else
        a->network_owner = name;
    return 0;
}

static int read_setgid_group(struct ph_conf *c, struct ph_scope *s, struct ph_accounts *a)
{
    const char *name;
    int rc = name_of(c, s, "setgid_group", &name);

    if (rc < 0)
        return rc;
    const struct group *gr = getgrnam(name);
    if (!gr) {
        note(a, s, "setgid_group \"%s\" does not exist: only root and mail_owner \"%s\" can submit mail and see the queue with the commands",
             name, a->mail_owner);
        a->setgid_gid = a->mail_gid;
        return 0;
    }
    a->setgid_gid = gr->gr_gid;
    a->has_setgid = 1;
    if (a->setgid_gid == 0)
        return ph_fail(PH_CONF, "parameter setgid_group: \"%s\" has the rights of root; name a group of its own", name);
    if ((gr = getgrgid(a->setgid_gid)) && strcmp(gr->gr_name, name) != 0)
        return ph_fail(PH_CONF, "parameter setgid_group: \"%s\" has the group id of \"%s\"; name a group of its own", name, gr->gr_name);
    if (a->setgid_gid == a->mail_gid || (a->two && a->setgid_gid == a->network_gid))
        return ph_fail(PH_CONF, "parameter setgid_group: \"%s\" is the group of \"%s\", whose rights no user may have", name,
                       a->setgid_gid == a->mail_gid ? a->mail_owner : a->network_owner);
    return 0;
}

/* Who runs a command out of an alias must not own the queue. */
static int check_default_privs(struct ph_conf *c, struct ph_scope *s, struct ph_accounts *a)
{
    const char *name;
    int rc = name_of(c, s, "default_privs", &name);

    if (rc < 0)
        return rc;
    const struct passwd *pw = getpwnam(name);
    if (!pw)
        return ph_fail(PH_CONF, "parameter default_privs: unknown user name value: no account \"%s\"", name);
    if (pw->pw_uid == 0 || pw->pw_gid == 0)
        return ph_fail(PH_CONF, "parameter default_privs: \"%s\" has the rights of root", name);
    if (strcmp(name, "nobody") == 0 && strcmp(a->mail_owner, name) == 0) {
        note(a, s, "mail_owner is \"nobody\", whom other programs use too: make an account \"postfix\" for more than a trial");
        return 0;
    }
    if (pw->pw_uid == a->mail_uid || pw->pw_gid == a->mail_gid)
        return ph_fail(PH_CONF, "parameter default_privs: \"%s\" and mail_owner \"%s\" share a user or group id", name, a->mail_owner);
    if (a->two && (pw->pw_uid == a->network_uid || pw->pw_gid == a->network_gid))
        return ph_fail(PH_CONF, "parameter default_privs: \"%s\" and network_owner \"%s\" share a user or group id", name, a->network_owner);
    if (a->has_setgid && pw->pw_gid == a->setgid_gid)
        return ph_fail(PH_CONF, "parameter default_privs: \"%s\" has setgid_group as its group", name);
    return 0;
}

int ph_accounts_read(struct ph_conf *c, struct ph_scope *s, struct ph_accounts *out)
{
    struct ph_accounts a = { .note_count = 0 };
    int rc;

    if ((rc = read_mail_owner(c, s, &a)) < 0 || (rc = read_network_owner(c, s, &a)) < 0 ||
        (rc = read_setgid_group(c, s, &a)) < 0 || (rc = check_default_privs(c, s, &a)) < 0)
        return rc;
    *out = a;
    return 0;
}
