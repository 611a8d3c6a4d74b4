/* postmap_build: a table from its source file: `key value` (postmap) or
 * `name: value, value` (postalias). */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/clock.h>
#include <posthorn/error.h>
#include "core/cmd/postmap.h"

struct build {
    struct postmap *p;
    struct ph_table *table;
    struct ph_source src;
};

static void add_entry(struct build *b, struct ph_scope *s, ph_str key, ph_str value)
{
    struct postmap *p = b->p;

    key = postmap_key(p, s, key);
    int rc = ph_table_update(b->table, key, value);
    if (rc == PH_NONE && !p->quiet)
        ph_cmd_warn("%.*s: duplicate entry: \"%.*s\"", PH_FMT(postmap_shown_duplicate(s, b->table)), PH_FMT(key));
    if (rc < 0)
        ph_cmd_fatal("%s", ph_error());
}

static void map_line(struct build *b, struct ph_scope *s, ph_str line, uint32_t number)
{
    ph_str key, value;
    int rc = ph_source_pair(line, &key, &value);

    if (rc == PH_SOURCE_UNBALANCED)
        ph_cmd_warn("%s, line %u: unbalanced '\"' in '%.*s' -- ignoring this line", b->src.path, number, PH_FMT(line));
    else if (rc == PH_SOURCE_NO_VALUE)
        ph_cmd_warn("%s, line %u: expected format: key whitespace value", b->src.path, number);
    if (rc != PH_SOURCE_PAIR)
        return;
    if (key.p[key.n - 1] == ':')
        ph_cmd_warn("%s, line %u: record is in \"key: value\" format; is this an alias file?", b->src.path, number);
    if (b->p->files && postmap_read_files(s, value, &value) < 0) {
        ph_cmd_warn("%s, line %u: %s: skipping this entry", b->src.path, number, ph_error());
        return;
    }
    add_entry(b, s, key, b->p->files ? postmap_encode(s, value) : value);
}

static void alias_line(struct build *b, struct ph_scope *s, ph_str line, uint32_t number)
{
    ph_str name, value;

    switch (postalias_parse(s, line, &name, &value)) {
    case POSTALIAS_NO_PAIR: ph_cmd_warn("%s, line %u: need name:value pair", b->src.path, number); break;
    case POSTALIAS_NOT_LOCAL: ph_cmd_warn("%s, line %u: name must be local", b->src.path, number); break;
    default: add_entry(b, s, name, value);
    }
}

static void add_mark(struct build *b, const char *name, ph_str value)
{
    if (ph_table_update(b->table, ph_cstr(name), value) < 0)
        ph_cmd_fatal("%s", ph_error());
}

/* "@" tells readers that the table is whole; the others are what NIS wants of a map,
 * in its form. */
static void add_marks(struct build *b, struct ph_scope *s)
{
    add_mark(b, "@", PH_STR("@"));
    b->table->flags = (b->table->flags & ~(PH_TABLE_WITH_NUL | PH_TABLE_KEEP)) | PH_TABLE_NO_NUL;
    add_mark(b, "YP_LAST_MODIFIED", ph_str_printf(s, "%010lld", (long long)(ph_wall_us() / 1000000)));
    add_mark(b, "YP_MASTER_NAME", ph_conf_value(b->p->conf, s, "myhostname"));
}

static void fill(struct build *b)
{
    PH_SCOPED(s, b->p->scope);
    uint32_t number;
    ph_str line;

    while (ph_source_next(&b->src, &line, &number)) {
        if (line.n == 0 && b->p->is_alias)
            continue;
        if (!b->p->any_bytes && !ph_str_is_utf8(line))
            ph_cmd_warn("%s, line %u: non-UTF-8 input \"%.*s\" -- ignoring this line", b->src.path, number, PH_FMT(ph_source_shown(s, line)));
        else if (b->p->is_alias)
            alias_line(b, s, line, number);
        else
            map_line(b, s, line, number);
        ph_scope_reset(s);
    }
    if (b->p->is_alias)
        add_marks(b, s);
}

/* So that a table in a user's directory is his and nobody can make us write elsewhere. */
void postmap_become(const struct postmap *p, const char *what, const char *path, const struct stat *owner)
{
    struct stat dir;
    char parent[4096];

    if (geteuid() != 0 || p->keep_root)
        return;
    if (owner->st_uid != 0) {
        if (setgroups(0, NULL) < 0 || setegid(owner->st_gid) < 0 || seteuid(owner->st_uid) < 0)
            ph_cmd_fatal("become the owner of %s: %s", path, strerror(errno));
        return;
    }
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;
    if (n + 3 < sizeof parent) {
        memcpy(parent, path, n);
        memcpy(parent + n, "/.", 3);
        if (stat(n || slash ? parent : ".", &dir) == 0 && dir.st_uid != 0)
            ph_cmd_warn("%s %s is owned by root and its directory is not: who owns the directory can replace the table", what, path);
    }
}

void postmap_become_self(void)
{
    if (getuid() == 0 && geteuid() != 0 && (seteuid(0) < 0 || setegid(getgid()) < 0))
        ph_cmd_fatal("become root again: %s", strerror(errno));
}

/* The file of a table, on s; NULL: of this type none is built. */
static const char *table_file(const struct postmap *p, struct ph_scope *s, const char *table)
{
    static const struct { ph_str type; const char *suffix; } files[] = {
        { PH_STR("hash"), ".db" }, { PH_STR("btree"), ".db" }, { PH_STR("cdb"), ".cdb" }, { PH_STR("lmdb"), ".lmdb" },
    };
    ph_str type = postmap_type(p, s, table);

    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (ph_str_eq(type, files[i].type))
            return ph_str_printf(s, "%s%s", postmap_path(table), files[i].suffix).p;
    return NULL;
}

void postmap_find_owner(struct postmap *p, const char *table, struct stat *owner)
{
    PH_SCOPED(s, p->scope);
    const char *file = table_file(p, s, table), *slash = file ? strrchr(file, '/') : NULL;

    if (file && lstat(file, owner) == 0)
        return;
    if (!file || errno != ENOENT || stat(slash ? ph_str_printf(s, "%.*s/.", (int)(slash - file), file).p : ".", owner) < 0)
        *owner = (struct stat){ .st_uid = geteuid(), .st_gid = getegid() };
}

/* Ended in the middle we would leave a file behind. */
static void hold_signals(int how, sigset_t *old)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigprocmask(how, how == SIG_BLOCK ? &set : old, how == SIG_BLOCK ? old : NULL);
}

static void read_source(struct build *b, struct ph_scope *s, const char *path, int fd)
{
    if (ph_source_fd(s, fd, path, &b->src) < 0)
        ph_cmd_fatal("%s", ph_error());
}

/* Of a type that nobody knows: packages of others bring some. */
static void cannot_build(const struct postmap *p, const char *table) PH_NORETURN;
static void cannot_build(const struct postmap *p, const char *table)
{
    static const char unknown[] = "unsupported dictionary type: ";
    const char *cause = postmap_cause(p, table), *type = cause + sizeof unknown - 1;

    if (strncmp(cause, unknown, sizeof unknown - 1) == 0 && !strpbrk(type, ": "))
        ph_cmd_fatal("%s. Is the posthorn-%s package installed?", cause, type);
    ph_cmd_fatal("%s", cause);
}

void postmap_build(struct postmap *p, const char *table)
{
    PH_SCOPED(s, p->scope);
    struct build b = { .p = p };
    const char *path = postmap_path(table);
    uint32_t flags = PH_TABLE_CREATE | (p->mode == 'i' ? PH_TABLE_WRITE : 0) | (p->replace ? 0 : PH_TABLE_KEEP) | p->nul;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st, owner;
    sigset_t old;

    if (strncmp(table, "proxy:", 6) == 0)
        ph_cmd_fatal(p->mode == 'i' ? "unsupported dictionary type: proxy does not support bulk-mode creation." : "can't create maps via the proxy service");
    if (fd < 0 && (p->mode != 'i' || errno != ENOENT))
        ph_cmd_fatal("open %s: %s", path, strerror(errno));
    if (fd >= 0 && (fstat(fd, &st) < 0 || (S_ISDIR(st.st_mode) && p->mode != 'i')))
        ph_cmd_fatal("open %s: not a file", path);
    if (fd >= 0)
        owner = st;
    else
        postmap_find_owner(p, table, &owner);
    postmap_become(p, fd >= 0 ? "source file" : "table", path, &owner);
    umask(fd < 0 || p->open_mode ? 022 : 022 | (~st.st_mode & 077));
    read_source(&b, s, p->mode == 'i' ? "stdin" : path, p->mode == 'i' ? STDIN_FILENO : fd);
    if (fd >= 0)
        close(fd);
    hold_signals(SIG_BLOCK, &old);
    if (ph_table_open(p->conf, s, ph_cstr(table), flags, &b.table) < 0)
        cannot_build(p, table);
    if (p->mode != 'i' && !(b.table->ops->is & PH_TABLE_INDEXED))
        ph_cmd_fatal("unsupported dictionary type: %.*s does not support bulk-mode creation.", PH_FMT(b.table->type));
    fill(&b);
    if (ph_table_commit(b.table) < 0)
        ph_cmd_fatal("%s", ph_error());
    hold_signals(SIG_SETMASK, &old);
    postmap_become_self();
}
