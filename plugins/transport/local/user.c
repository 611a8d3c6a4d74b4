/* user: accounts of this machine.  An account database that cannot be asked is
 * never "no such user". */
#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <posthorn/disk.h>
#include <posthorn/error.h>
#include "local.h"

#define NAME_MAX_BYTES 256u
#define ENTRY_MAX (1u << 20)

struct query {
    const char *name;
    struct passwd pw;
    char *mem;                     /* of pw's strings; heap: pool threads own no scope */
    size_t size;
    int found;
};

static int ask(void *arg)
{
    struct query *q = arg;
    struct passwd *result = NULL;
    int err;

    for (q->size = 4096; ; q->size *= 4) {
        q->mem = malloc(q->size);
        if (!q->mem)
            return ph_fail(PH_TEMP, "user %s: out of memory", q->name);
        do
            err = getpwnam_r(q->name, &q->pw, q->mem, q->size, &result);
        while (err == EINTR);
        if (err != ERANGE || q->size > ENTRY_MAX)
            break;
        free(q->mem);
    }
    q->found = result != NULL;
    return !result && err ? ph_fail_errno(PH_TEMP, err, "look up user %s", q->name) : 0;
}

/* Names that no account has, but that a database might take for something else
 * (a number, a path, an empty name). */
static int is_name(ph_str name)
{
    if (name.n == 0 || name.n > NAME_MAX_BYTES || name.p[0] == '-' || name.p[0] == '.')
        return 0;
    for (size_t i = 0; i < name.n; i++)
        if ((unsigned char)name.p[i] <= 0x20 || name.p[i] == 0x7f || name.p[i] == ':' || name.p[i] == '/')
            return 0;
    return 1;
}

int local_user_find(struct ph_scope *s, ph_str name, struct local_user **out)
{
    struct query q = { .name = ph_cstr_dup(s, name) };

    if (!is_name(name))
        return PH_NONE;
    int rc = ph_disk(ask, &q);
    if (rc == 0 && q.found) {
        struct local_user *u = ph_new(s, struct local_user);

        *u = (struct local_user){ .name = ph_str_dup(s, ph_cstr(q.pw.pw_name)), .home = ph_str_dup(s, ph_cstr(q.pw.pw_dir)),
                                  .shell = ph_str_dup(s, ph_cstr(q.pw.pw_shell)), .uid = q.pw.pw_uid, .gid = q.pw.pw_gid };
        *out = u;
    }
    free(q.mem);
    return rc < 0 ? rc : q.found ? PH_FOUND : PH_NONE;
}
