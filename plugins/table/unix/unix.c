/* table/unix: the accounts of this machine: `unix:passwd.byname`,
 * `unix:group.byname`.  Reference: unix_table(5).
 *
 * An account database may be far away: look-ups run in the disk pool.  One that
 * cannot be asked is a failure, never "no such user". */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <posthorn/disk.h>
#include <posthorn/table.h>

#define NAME_BYTES  256u
#define ENTRY_BYTES (4u << 20)     /* of one account, with all members of a group */

struct query {
    const char *name;
    int group;
    struct passwd pw;
    struct group gr;
    char *mem;                     /* heap: pool threads own no scope */
    int found;
};

static int get(struct query *q, size_t size)
{
    struct passwd *pw = NULL;
    struct group *gr = NULL;
    int err;

    do
        err = q->group ? getgrnam_r(q->name, &q->gr, q->mem, size, &gr) : getpwnam_r(q->name, &q->pw, q->mem, size, &pw);
    while (err == EINTR);
    q->found = pw || gr;
    return q->found ? 0 : err;
}

/* In the disk pool: 0, or PH_TEMP. */
static int ask(void *arg)
{
    struct query *q = arg;
    int err = ERANGE;

    for (size_t size = 4096; err == ERANGE && size <= ENTRY_BYTES; size *= 4) {
        free(q->mem);
        if (!(q->mem = malloc(size)))
            return ph_fail(PH_TEMP, "out of memory");
        err = get(q, size);
    }
    return err ? ph_fail_errno(PH_TEMP, err, "%s", q->name) : 0;
}

/* What no account is called is not asked for. */
static int is_name(ph_str name)
{
    if (name.n == 0 || name.n > NAME_BYTES)
        return 0;
    for (size_t i = 0; i < name.n; i++)
        if ((unsigned char)name.p[i] <= 0x20 || name.p[i] == 0x7f || name.p[i] == ':' || name.p[i] == '/')
            return 0;
    return 1;
}

static ph_str passwd_line(struct ph_scope *s, const struct passwd *pw)
{
    return ph_str_printf(s, "%s:%s:%lu:%lu:%s:%s:%s", pw->pw_name, pw->pw_passwd, (unsigned long)pw->pw_uid, (unsigned long)pw->pw_gid,
                         pw->pw_gecos, pw->pw_dir, pw->pw_shell);
}

static ph_str group_line(struct ph_scope *s, const struct group *gr)
{
    struct ph_buf b;

    ph_buf_init(&b, s, ENTRY_BYTES);
    ph_buf_printf(&b, "%s:%s:%lu:", gr->gr_name, gr->gr_passwd, (unsigned long)gr->gr_gid);
    for (char **m = gr->gr_mem; *m; m++)
        ph_buf_printf(&b, "%s%s", m == gr->gr_mem ? "" : ",", *m);
    return ph_buf_view(&b);
}

static int32_t unix_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val)
{
    struct query q = { .name = ph_cstr_dup(out, key), .group = t->self != NULL };

    if (!is_name(key))
        return PH_NONE;
    int rc = ph_disk(ask, &q);
    if (rc == 0 && q.found)
        *val = q.group ? group_line(out, &q.gr) : passwd_line(out, &q.pw);
    free(q.mem);
    return rc < 0 ? rc : q.found ? PH_FOUND : PH_NONE;
}

static int32_t unix_open(struct ph_table *t, ph_str spec)
{
    PH_SCOPED(s, t->scope);
    ph_str val;

    if (ph_str_eq(spec, PH_STR("group.byname")))
        t->self = t;
    else if (!ph_str_eq(spec, PH_STR("passwd.byname")))
        return ph_fail(PH_CONF, "unknown table: unix:%.*s", PH_FMT(spec));
    /* What loads lazily loads now, before the seal. */
    unix_lookup(t, PH_STR("root"), s, &val);
    return 0;
}

PH_PLUGIN_TABLE(unix, PH_IS(.summary = "accounts and groups of this machine", .exec = PH_COROUTINE, .concurrency = PH_MANY_CALLS),
    .open = unix_open,
    .lookup = unix_lookup);
