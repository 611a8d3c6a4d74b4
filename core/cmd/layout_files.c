/* layout_files: what packages of others installed: the entries of
 * $meta_directory/postfix-files and postfix-files.d/, a line each:
 *
 *     path:type:owner:group:mode:flags      # group "-": any
 *
 * type d directory, f file (h and l, links, are passed over); flags c create a
 * missing directory, o obsolete: to be removed by hand; the others (u r p 1)
 * change nothing here.  $name is a parameter. */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/error.h>
#include <posthorn/source.h>
#include "core/cmd/cmd.h"
#include "core/cmd/layout.h"

#define FIELDS 6

struct entry {
    const char *path;
    char type;
    ph_str flags;
    uid_t uid;
    gid_t gid;                     /* -1: any */
    mode_t mode;
};

static int has_flag(const struct entry *e, char flag)
{
    return ph_str_find(e->flags, flag) >= 0;
}

/* Whoever may write a directory above it could lead us elsewhere. */
static int check_above(const char *path)
{
    char real[PATH_MAX], above[PATH_MAX];
    struct stat st;

    snprintf(above, sizeof above, "%s", path);
    *strrchr(above, '/') = 0;
    if (!realpath(above[0] ? above : "/", real))
        return ph_fail_errno(PH_TEMP, errno, "%s", path);
    for (char *at = real; at; at = strchr(at + 1, '/')) {
        char *end = strchr(at + 1, '/');

        if (end)
            *end = 0;
        if (stat(real, &st) < 0 || st.st_uid != 0 || (st.st_mode & 022 && !(st.st_mode & S_ISVTX)))
            return ph_fail(PH_TEMP, "%s: %s is not root's alone: left as it is", path, real);
        if (end)
            *end = '/';
    }
    return 0;
}

static int parse_owner(struct layout *l, ph_str owner, ph_str group, struct entry *e)
{
    const struct passwd *pw = getpwnam(ph_cstr_dup(l->scope, owner));
    const struct group *gr = ph_str_eq(group, PH_STR("-")) ? NULL : getgrnam(ph_cstr_dup(l->scope, group));

    if (!pw)
        return ph_fail(PH_CONF, "no account \"%.*s\"", PH_FMT(owner));
    if (!gr && !ph_str_eq(group, PH_STR("-")))
        return ph_fail(PH_CONF, "no group \"%.*s\"", PH_FMT(group));
    e->uid = pw->pw_uid;
    e->gid = gr ? gr->gr_gid : (gid_t)-1;
    return 0;
}

static int parse(struct layout *l, ph_str line, struct entry *e)
{
    ph_str field[FIELDS];
    char *end;
    int rc;

    for (size_t i = 0; i < FIELDS; i++) {
        ph_str text = i + 1 < FIELDS ? ph_str_cut(&line, ':') : line;

        if ((rc = ph_conf_expand_as(l->conf, l->scope, PH_STR("postfix-files"), ph_str_trim(text), &field[i])) < 0)
            return rc;
    }
    e->path = ph_str_printf(l->scope, "%s%.*s", l->destdir, PH_FMT(field[0])).p;
    e->type = field[1].n == 1 ? field[1].p[0] : 0;
    e->mode = (mode_t)strtoul(ph_cstr_dup(l->scope, field[4]), &end, 8);
    e->flags = field[5];
    if (field[0].n == 0 || field[0].p[0] != '/' || !e->type || !strchr("dfhl", e->type) || *end || field[4].n == 0 || e->mode > 07777)
        return ph_fail(PH_CONF, "not path:type:owner:group:mode:flags");
    return parse_owner(l, field[2], field[3], e);
}

static int apply_open(const struct entry *e, int fd, int made)
{
    struct stat st;

    if (fstat(fd, &st) < 0 || (e->type == 'd' ? !S_ISDIR(st.st_mode) : !S_ISREG(st.st_mode)))
        return ph_fail(PH_TEMP, "%s: not a %s", e->path, e->type == 'd' ? "directory" : "regular file");
    if (st.st_uid == e->uid && (e->gid == (gid_t)-1 || st.st_gid == e->gid) && (st.st_mode & 07777) == e->mode && !made)
        return 0;
    if (fchown(fd, e->uid, e->gid) < 0 || fchmod(fd, e->mode) < 0)
        return ph_fail_errno(PH_TEMP, errno, "%s", e->path);
    printf("%s: %sowner %u, mode %04o\n", e->path, made ? "made, " : "", (unsigned)e->uid, (unsigned)e->mode);
    return 0;
}

static int apply(const struct entry *e)
{
    int made = 0, rc;

    if (e->type == 'h' || e->type == 'l')
        return 0;
    if (has_flag(e, 'o')) {
        if (access(e->path, F_OK) == 0)
            ph_cmd_warn("%s is obsolete: remove it", e->path);
        return 0;
    }
    if ((rc = check_above(e->path)) < 0)
        return rc;
    if (e->type == 'd' && has_flag(e, 'c'))
        made = mkdir(e->path, 0700) == 0;
    int fd = open(e->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return ph_fail_errno(PH_TEMP, errno, "%s", e->path);
    rc = apply_open(e, fd, made);
    close(fd);
    return rc;
}

/* How many entries could not be carried out; each was said. */
static unsigned apply_list(struct layout *l, const char *path)
{
    struct ph_source src;
    uint32_t number;
    ph_str line;
    struct stat st;
    unsigned faults = 0;

    if (stat(path, &st) < 0 || st.st_uid != 0 || st.st_mode & 022) {
        ph_cmd_warn("%s: passed over: not root's, or others may write it", path);
        return 1;
    }
    if (ph_source_open(l->scope, path, &src) < 0) {
        ph_cmd_warn("%s", ph_error());
        return 1;
    }
    while (ph_source_next(&src, &line, &number)) {
        struct entry e = { .path = path };

        if (parse(l, line, &e) == 0 && apply(&e) == 0)
            continue;
        ph_cmd_warn("%s:%u: %s", path, number, ph_error());
        faults++;
    }
    return faults;
}

static unsigned apply_glob(struct layout *l, const char *name)
{
    const char *pattern = ph_str_printf(l->scope, "%s%.*s/%s", l->destdir, PH_FMT(ph_conf_value(l->conf, l->scope, "meta_directory")), name).p;
    unsigned faults = 0;
    glob_t g;

    if (glob(pattern, 0, NULL, &g) != 0)
        return 0;
    for (size_t i = 0; i < g.gl_pathc; i++)
        faults += apply_list(l, g.gl_pathv[i]);
    globfree(&g);
    return faults;
}

int layout_repair_files(struct layout *l)
{
    unsigned faults = apply_glob(l, "postfix-files");

    faults += apply_glob(l, "postfix-files.d/*");
    return faults ? ph_fail(PH_TEMP, "%u entries", faults) : 0;
}
