/* layout: see layout.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "core/cmd/cmd.h"
#include "core/cmd/layout.h"

#define DEPTH_MAX 8                /* of directories below one of ours */

enum owner { ROOT, MAIL };
enum group { ANY, SETGID, NETWORK };

#define MAKE  1u                   /* a directory that is made when it is missing */
#define OWN   2u                   /* whatever stands below has the same owner: repaired too */
#define DEEP  4u                   /* the same, only looked at */
#define FILES 8u                   /* the files in it, but no directories, only looked at */
#define SAFE  16u                  /* of the mode counts only that nobody else may write */
#define MAYBE 32u                  /* no fault when it is missing */

static const struct row {
    const char *base, *name;       /* parameter that names a directory; what in it, "": itself */
    enum owner owner;
    enum group group;
    mode_t mode;
    unsigned flags;
} rows[] = {
    { "queue_directory",   "",            ROOT, ANY,     0755,  MAKE },
    { "queue_directory",   "pid",         ROOT, ANY,     0755,  MAKE },
    { "queue_directory",   "pool",        MAIL, ANY,     0700,  MAKE | OWN },
    { "queue_directory",   "incoming",    MAIL, ANY,     0700,  MAKE | OWN },
    { "queue_directory",   "active",      MAIL, ANY,     0700,  MAKE | OWN },
    { "queue_directory",   "deferred",    MAIL, ANY,     0700,  MAKE | OWN },
    { "queue_directory",   "hold",        MAIL, ANY,     0700,  MAKE | OWN },
    { "queue_directory",   "corrupt",     MAIL, ANY,     0700,  MAKE | OWN },
    { "queue_directory",   "bounce",      MAIL, ANY,     0700,  MAKE | OWN },
    { "queue_directory",   "defer",       MAIL, ANY,     0700,  MAKE | OWN },
    { "queue_directory",   "trace",       MAIL, ANY,     0700,  MAKE | OWN },
    { "queue_directory",   "flush",       MAIL, ANY,     0700,  MAKE | OWN },
    { "queue_directory",   "private",     MAIL, ANY,     0700,  MAKE },
    { "queue_directory",   "net",         MAIL, NETWORK, 0710,  MAKE },
    { "queue_directory",   "public",      MAIL, SETGID,  0710,  MAKE },
    { "queue_directory",   "maildrop",    MAIL, SETGID,  0730,  MAKE },
    { "data_directory",    "",            MAIL, ANY,     0700,  MAKE | DEEP },
    { "config_directory",  "",            ROOT, ANY,     0755,  SAFE | FILES },
    { "config_directory",  "main.cf",     ROOT, ANY,     0644,  SAFE },
    { "config_directory",  "master.yaml", ROOT, ANY,     0644,  SAFE },
    { "config_directory",  "plugins.d",   ROOT, ANY,     0755,  SAFE | FILES | MAYBE },
    { "daemon_directory",  "",            ROOT, ANY,     0755,  SAFE | DEEP },
    { "plugin_directory",  "",            ROOT, ANY,     0755,  SAFE | DEEP },
    { "command_directory", "postdrop",    ROOT, SETGID,  02755, 0 },
    { "command_directory", "postqueue",   ROOT, SETGID,  02755, 0 },
    { "command_directory", "postlog",     ROOT, SETGID,  02755, 0 },
};
#define ROWS (sizeof rows / sizeof *rows)

/* A file that is open (directories for reading, files too). */
struct item {
    int fd;
    const char *path;
    struct stat st;
};

/* ---- what is wanted ---- */

static uid_t wanted_uid(const struct layout *l, const struct row *r)
{
    return !l->as_root ? geteuid() : r->owner == MAIL ? l->accounts.mail_uid : 0;
}

static const char *owner_name(const struct layout *l, const struct row *r)
{
    return !l->as_root ? "you" : r->owner == MAIL ? l->accounts.mail_owner : "root";
}

static int has_group(const struct layout *l, const struct row *r)
{
    return (r->group == SETGID && l->accounts.has_setgid) || (r->group == NETWORK && l->accounts.two);
}

static gid_t wanted_gid(const struct layout *l, const struct row *r)
{
    return r->group == SETGID ? l->accounts.setgid_gid : l->accounts.network_gid;
}

static const char *group_name(const struct layout *l, const struct row *r)
{
    return r->group == NETWORK ? "of network_owner" : ph_cstr_dup(l->scope, ph_conf_value(l->conf, l->scope, "setgid_group"));
}

/* Without its group a directory is its owner's alone. */
static mode_t wanted_mode(const struct layout *l, const struct row *r)
{
    return r->group == ANY || has_group(l, r) ? r->mode : r->mode & ~070u;
}

/* Rows that mean something here: net/ only with a network account, set-gid
 * programs only with their group, other people's programs only for root. */
static int applies(const struct layout *l, const struct row *r)
{
    if (r->group == NETWORK || r->mode & S_ISGID)
        return l->as_root && has_group(l, r);
    return l->as_root || !(r->flags & SAFE);
}

/* ---- finding ---- */

static const char *path_of(const struct layout *l, const struct row *r)
{
    ph_str base = ph_conf_value(l->conf, l->scope, r->base);

    return ph_str_printf(l->scope, "%s%.*s%s%s", l->destdir, PH_FMT(base), r->name[0] ? "/" : "", r->name).p;
}

/* What the row names: 0; PH_NONE: it is missing; PH_TEMP.  Its base may be a link
 * that root made, what stands in it may not. */
static int find(const struct layout *l, const struct row *r, struct item *it)
{
    int nofollow = r->name[0] ? O_NOFOLLOW : 0;

    it->path = path_of(l, r);
    it->fd = open(it->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | nofollow);
    if (it->fd < 0)
        return errno == ENOENT ? PH_NONE : ph_fail_errno(PH_TEMP, errno, "%s", it->path);
    if (fstat(it->fd, &it->st) < 0 || (r->flags & MAKE && !S_ISDIR(it->st.st_mode))) {
        close(it->fd);
        return ph_fail(PH_TEMP, "%s: not a directory", it->path);
    }
    return 0;
}

/* ---- making and repairing ---- */

/* The mode is set last: chown takes set-gid away. */
static int give(const struct layout *l, const struct row *r, struct item *it)
{
    mode_t mode = wanted_mode(l, r), now = it->st.st_mode & 07777;
    uid_t uid = wanted_uid(l, r);
    gid_t gid = has_group(l, r) ? wanted_gid(l, r) : (gid_t)-1;

    if (r->flags & SAFE)
        mode = now & ~022u;
    if (l->as_root && (it->st.st_uid != uid || (gid != (gid_t)-1 && it->st.st_gid != gid)) && fchown(it->fd, uid, gid) < 0)
        return ph_fail_errno(PH_TEMP, errno, "change owner of %s", it->path);
    if (fchmod(it->fd, mode) < 0)
        return ph_fail_errno(PH_TEMP, errno, "change mode of %s", it->path);
    return 0;
}

/* Directories above a base: they are nobody's business but root's. */
static void make_parents(const char *path)
{
    char part[PATH_MAX];

    snprintf(part, sizeof part, "%s", path);
    for (char *at = part + 1; (at = strchr(at, '/')); at++) {
        *at = 0;
        if (mkdir(part, 0755) == 0 && chmod(part, 0755) == 0)
            printf("%s: made\n", part);
        *at = '/';
    }
}

static int make(const struct layout *l, const struct row *r)
{
    const char *path = path_of(l, r);
    struct item it;

    if (!r->name[0])
        make_parents(path);
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return ph_fail_errno(PH_TEMP, errno, "make directory %s", path);
    int rc = find(l, r, &it);
    if (rc != 0)
        return rc == PH_NONE ? ph_fail(PH_TEMP, "%s: gone", path) : rc;
    /* A group that nobody asks for is the owner's. */
    if (l->as_root && r->owner == MAIL && fchown(it.fd, (uid_t)-1, l->accounts.mail_gid) < 0)
        rc = ph_fail_errno(PH_TEMP, errno, "change owner of %s", path);
    if (rc == 0)
        rc = give(l, r, &it);
    close(it.fd);
    return rc;
}

int layout_make(struct layout *l)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < ROWS; i++) {
        struct item it;

        if (!(rows[i].flags & MAKE) || !applies(l, &rows[i]))
            continue;
        if ((rc = find(l, &rows[i], &it)) == 0)
            close(it.fd);
        else if (rc == PH_NONE)
            rc = make(l, &rows[i]);
    }
    return rc;
}

/* ---- walking ---- */

struct walk {
    struct layout *l;
    const struct row *r;
    void (*each)(struct walk *w, int dir, const char *name, const char *path, const struct stat *st);
    int files_only;
    unsigned faults;
};

static void walk(struct walk *w, int dir, const char *at, int depth)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);

    for (const struct dirent *e; d && (e = readdir(d)); ) {
        PH_SCOPED(s, w->l->scope);
        const char *path = ph_str_printf(s, "%s/%s", at, e->d_name).p;
        struct stat st;

        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (S_ISREG(st.st_mode) || (S_ISDIR(st.st_mode) && !w->files_only))
            w->each(w, fd, e->d_name, path, &st);
        int sub = S_ISDIR(st.st_mode) && !w->files_only && depth < DEPTH_MAX ? openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
        if (sub >= 0) {
            walk(w, sub, path, depth + 1);
            close(sub);
        }
    }
    if (d)
        closedir(d);
    else if (fd >= 0)
        close(fd);
}

/* ---- check ---- */

static void fault(struct layout *l, const char *fmt, ...) PH_PRINTF(2, 3);
static void fault(struct layout *l, const char *fmt, ...)
{
    PH_SCOPED(s, l->scope);
    va_list ap;

    va_start(ap, fmt);
    ph_cmd_warn("%s", ph_str_vprintf(s, fmt, ap).p);
    va_end(ap);
    l->found++;
}

static void check_owner(struct layout *l, const struct row *r, const char *path, const struct stat *st)
{
    if (st->st_uid != wanted_uid(l, r))
        fault(l, "not owned by %s: %s", owner_name(l, r), path);
    if (st->st_mode & 022 && (r->flags & SAFE || st->st_mode & 022 & ~wanted_mode(l, r)))
        fault(l, "group or other writable: %s", path);
}

static void check_below(struct walk *w, int dir PH_UNUSED, const char *name PH_UNUSED, const char *path, const struct stat *st)
{
    if (st->st_uid != wanted_uid(w->l, w->r))
        fault(w->l, "not owned by %s: %s", owner_name(w->l, w->r), path);
    if (st->st_mode & 022)
        fault(w->l, "group or other writable: %s", path);
}

static void check_mode(struct layout *l, const struct row *r, const struct item *it)
{
    mode_t want = wanted_mode(l, r), is = it->st.st_mode & 07777;

    if (has_group(l, r) && it->st.st_gid != wanted_gid(l, r))
        fault(l, "not owned by group %s: %s", group_name(l, r), it->path);
    if (r->mode & S_ISGID && (is & 02111) != 02111)
        fault(l, "not set-gid or not owner+group+world executable: %s", it->path);
    else if (l->as_root && !(r->flags & SAFE) && (is & 0777) != (want & 0777))
        fault(l, "mode %03o, not %03o: %s", (unsigned)is, (unsigned)want, it->path);
}

static void check_row(struct layout *l, const struct row *r)
{
    struct walk w = { .l = l, .r = r, .each = check_below, .files_only = (r->flags & FILES) != 0 };
    struct item it;
    int rc = find(l, r, &it);

    if (rc == PH_NONE && r->flags & MAYBE)
        return;
    if (rc != 0) {
        fault(l, "%s", rc == PH_NONE ? ph_str_printf(l->scope, "missing: %s", it.path).p : ph_error());
        return;
    }
    check_owner(l, r, it.path, &it.st);
    check_mode(l, r, &it);
    if (r->flags & (OWN | DEEP | FILES) && !l->shallow)
        walk(&w, it.fd, it.path, 0);
    close(it.fd);
}

unsigned layout_check(struct layout *l)
{
    l->found = 0;
    for (uint32_t i = 0; i < l->accounts.note_count; i++)
        ph_cmd_warn("%s", l->accounts.note[i]);
    for (size_t i = 0; i < ROWS; i++)
        if (applies(l, &rows[i]))
            check_row(l, &rows[i]);
    return l->found;
}

/* ---- repair ---- */

static void repair_below(struct walk *w, int dir, const char *name, const char *path, const struct stat *st)
{
    uid_t uid = wanted_uid(w->l, w->r);
    struct stat is;

    if (st->st_uid == uid && !(st->st_mode & 022))
        return;
    /* Opened, so that what is judged is what is changed. */
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &is) < 0 || is.st_ino != st->st_ino || is.st_dev != st->st_dev) {
        ph_cmd_warn("%s: not repaired: %s", path, fd < 0 ? strerror(errno) : "it changed meanwhile");
        w->faults++;
    } else if (S_ISREG(is.st_mode) && is.st_nlink != 1) {
        ph_cmd_warn("%s: not repaired: the file has another name somewhere", path);
        w->faults++;
    } else if (fchown(fd, uid, (gid_t)-1) < 0 || fchmod(fd, is.st_mode & 07777 & ~022u) < 0) {
        ph_cmd_warn("%s: not repaired: %s", path, strerror(errno));
        w->faults++;
    } else {
        printf("%s: owner %s\n", path, owner_name(w->l, w->r));
    }
    if (fd >= 0)
        close(fd);
}

/* 1 when give would change something. */
static int deviates(const struct layout *l, const struct row *r, const struct item *it)
{
    mode_t is = it->st.st_mode & 07777;

    return it->st.st_uid != wanted_uid(l, r) || (has_group(l, r) && it->st.st_gid != wanted_gid(l, r)) ||
           (r->flags & SAFE ? (is & 022) != 0 : is != wanted_mode(l, r));
}

static int repair_found(struct layout *l, const struct row *r, struct item *it)
{
    struct walk w = { .l = l, .r = r, .each = repair_below };
    int rc = 0;

    if (S_ISREG(it->st.st_mode) && it->st.st_nlink != 1 && it->st.st_uid != 0)
        return ph_fail(PH_TEMP, "%s: not repaired: the file has another name somewhere", it->path);
    if (deviates(l, r, it)) {
        if ((rc = give(l, r, it)) < 0)
            return rc;
        printf("%s: owner %s%s%s, mode %04o\n", it->path, owner_name(l, r), has_group(l, r) ? ", group " : "",
               has_group(l, r) ? group_name(l, r) : "", (unsigned)(r->flags & SAFE ? it->st.st_mode & 07777 & ~022u : wanted_mode(l, r)));
    }
    if (r->flags & OWN)
        walk(&w, it->fd, it->path, 0);
    return w.faults ? ph_fail(PH_TEMP, "%s: %u files not repaired", it->path, w.faults) : 0;
}

static int repair_row(struct layout *l, const struct row *r)
{
    struct item it;
    int rc = find(l, r, &it);

    if (rc == PH_NONE && r->flags & MAKE) {
        if ((rc = make(l, r)) == 0)
            printf("%s: made\n", it.path);
        return rc;
    }
    if (rc == PH_NONE)
        return r->flags & MAYBE ? 0 : ph_fail(PH_TEMP, "missing: %s", it.path);
    if (rc == 0) {
        rc = repair_found(l, r, &it);
        close(it.fd);
    }
    return rc;
}

int layout_repair(struct layout *l)
{
    int worst = 0;

    for (size_t i = 0; i < ROWS; i++) {
        if (!applies(l, &rows[i]) || repair_row(l, &rows[i]) == 0)
            continue;
        ph_cmd_warn("%s", ph_error());
        worst = PH_TEMP;
    }
    return worst;
}

int layout_open(struct layout *l, struct ph_scope *s, struct ph_conf *c, const char *destdir)
{
    *l = (struct layout){ .scope = s, .conf = c, .as_root = geteuid() == 0, .destdir = destdir };
    return l->as_root ? ph_accounts_read(c, s, &l->accounts) : 0;
}
