/* registry: the manifests of this installation.  See registry.h. */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/error.h>
#include <posthorn/map.h>
#include "core/conf/conf.h"
#include "core/conf/yaml.h"
#include "core/plugin/internal.h"
#include "core/plugin/registry.h"

#define MANIFEST_MAX (256u << 10)

struct entry {
    struct manifest m;
    const char *rival;             /* another manifest for the same kind and name */
    const struct ph_plugin *desc;  /* once loaded */
};

/* One per process: objects are loaded once and never unloaded. */
static struct {
    struct ph_scope *scope;
    struct ph_map *by_name;        /* "kind/name" to entry */
    struct ph_map *loaded;         /* object path to descriptor: survives a re-read */
    ph_str directory;
    const char *data_dir;          /* of the distribution */
} reg = { .data_dir = PH_DATA_DIR };

void ph_registry_data_dir(const char *dir)
{
    reg.data_dir = dir;
}

static int read_file(struct ph_scope *s, const char *path, ph_str *text)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return ph_fail_errno(PH_TEMP, errno, "%s", path);
    if (fstat(fd, &st) < 0 || st.st_size > (off_t)MANIFEST_MAX) {
        close(fd);
        return ph_fail(PH_CONF, "%s: larger than %u bytes", path, MANIFEST_MAX);
    }
    char *p = ph_alloc(s, (size_t)st.st_size + 1);
    ssize_t n = read(fd, p, (size_t)st.st_size);
    int err = errno;

    close(fd);                     /* not with the scope: that one never ends */
    if (n < 0)
        return ph_fail_errno(PH_TEMP, err, "%s", path);
    *text = (ph_str){ p, (size_t)n };
    return 0;
}

static ph_str key_of(struct ph_scope *s, uint32_t kind, ph_str name)
{
    return ph_str_printf(s, "%s/%.*s", ph_kind_name(kind), PH_FMT(name));
}

/* Of the text only what is asked for later stays: each worker has all of them. */
static int add_manifest(const char *path)
{
    PH_SCOPED(s, NULL);
    struct manifest m;
    ph_str text;
    int rc = ph_path_check(path);

    if (rc < 0 || (rc = read_file(s, path, &text)) < 0 || (rc = ph_manifest_parse(s, path, text, &m)) < 0)
        return rc;
    if (m.masked)
        return 0;
    struct entry *e = ph_new(reg.scope, struct entry);
    ph_manifest_keep(reg.scope, &m, &e->m);
    struct entry *old = ph_map_set(reg.by_name, key_of(reg.scope, e->m.kind, e->m.name), e);
    if (old)
        e->rival = old->m.file;
    return 0;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* Files of dir whose name is not also in `over` (NULL: all).  A bad one is said
 * and left out: the other plugins work. */
static void add_directory(const char *dir, const char *over)
{
    PH_SCOPED(s, NULL);
    glob_t g;

    if (glob(ph_str_printf(s, "%s/*.yaml", dir).p, 0, NULL, &g) != 0)
        return;
    for (size_t i = 0; i < g.gl_pathc; i++) {
        if (over && access(ph_str_printf(s, "%s/%s", over, base_name(g.gl_pathv[i])).p, F_OK) == 0)
            continue;
        if (add_manifest(g.gl_pathv[i]) < 0)
            ph_log_error("plugin manifest left out: %s", ph_error());
    }
    globfree(&g);
}

int ph_registry_open(struct ph_conf *conf)
{
    ph_scope_free(reg.scope);
    reg.scope = ph_scope_new(NULL);
    reg.by_name = ph_map_new(reg.scope);
    if (!reg.loaded)
        reg.loaded = ph_map_new(NULL);
    int rc = ph_conf_get(conf, reg.scope, "plugin_directory", &reg.directory);
    if (rc < 0)
        return rc;
    if (rc == PH_NONE || reg.directory.n == 0)
        reg.directory = PH_STR(PH_PLUGIN_DIR);
    const char *own = ph_str_printf(reg.scope, "%s/plugins.d", ph_conf_dir(conf)).p;
    const char *vendors = ph_str_printf(reg.scope, "%s/plugins.d", reg.data_dir).p;
    if (strcmp(vendors, own) != 0)
        add_directory(vendors, own);
    add_directory(own, NULL);
    return 0;
}

static struct entry *find(uint32_t kind, ph_str name)
{
    PH_SCOPED(s, NULL);

    return reg.by_name ? ph_map_get(reg.by_name, key_of(s, kind, name)) : NULL;
}

int ph_plugin_exists(uint32_t kind, ph_str name)
{
    return find(kind, name) ? PH_FOUND : PH_NONE;
}

int ph_plugin_next(uint32_t kind, size_t *at, ph_str *name)
{
    ph_str key;
    void *value;

    while (reg.by_name && ph_map_next(reg.by_name, at, &key, &value))
        if (((struct entry *)value)->m.kind == kind) {
            *name = ((struct entry *)value)->m.name;
            return 1;
        }
    return 0;
}

ph_str ph_plugin_needs(uint32_t kind, ph_str name)
{
    const struct entry *e = find(kind, name);

    return e ? e->m.needs : PH_STR("");
}

ph_str ph_plugin_uses(uint32_t kind, ph_str name)
{
    const struct entry *e = find(kind, name);

    return e ? e->m.uses : PH_STR("");
}

uint32_t ph_plugin_exec(uint32_t kind, ph_str name)
{
    const struct entry *e = find(kind, name);

    return e ? e->m.exec : 0;
}

uint32_t ph_plugin_is(uint32_t kind, ph_str name)
{
    const struct entry *e = find(kind, name);

    return e ? e->m.is : 0;
}

int ph_plugin_provider(uint32_t kind, ph_str what, ph_str *name)
{
    size_t at = 0;
    ph_str key;
    void *value;

    while (reg.by_name && ph_map_next(reg.by_name, &at, &key, &value)) {
        struct entry *e = value;

        if (e->m.kind != kind)
            continue;
        for (size_t i = 0; i < e->m.provides_count; i++)
            if (ph_str_eq(e->m.provides[i], what)) {
                *name = e->m.name;
                return PH_FOUND;
            }
    }
    return PH_NONE;
}

/* The package that is known to hold it, from the distribution's list; "-" for
 * what does not exist yet, "- words" for what will not. */
static int package_of(struct ph_scope *s, const char *kind, ph_str name, ph_str *package)
{
    const char *file = ph_str_printf(s, "%s/plugin-packages.yaml", reg.data_dir).p;
    struct ph_yaml *root;
    ph_str text;

    if (read_file(s, file, &text) < 0 || ph_yaml_parse(s, file, text, &root) < 0 || !root || root->kind != PH_YAML_MAPPING)
        return 0;
    const struct ph_yaml *k = ph_yaml_member(root, kind);
    const struct ph_yaml *n = k && k->kind == PH_YAML_MAPPING ? ph_yaml_member(k, ph_cstr_dup(s, name)) : NULL;
    return n && ph_yaml_text(n, package) == 0;
}

/* `what` names it; and what to do; `section` is that of the list of packages. */
static int missing(struct ph_scope *s, ph_str what, const char *section, ph_str name, const char *const *names, size_t n)
{
    ph_str package;

    if (package_of(s, section, name, &package)) {
        if (ph_str_eq(package, PH_STR("-")))
            return ph_fail(PH_CONF, "%.*s: it is not built yet", PH_FMT(what));
        if (ph_str_starts(package, PH_STR("- ")))
            return ph_fail(PH_CONF, "%.*s: %.*s", PH_FMT(what), PH_FMT(ph_str_from(package, 2)));
        return ph_fail(PH_CONF, "%.*s: install the package %.*s", PH_FMT(what), PH_FMT(package));
    }
    const char *near = ph_nearest(name, names, n);
    return ph_fail(PH_CONF, "%.*s%s%s%s", PH_FMT(what), near ? ": did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

int ph_plugin_missing(uint32_t kind, ph_str name)
{
    PH_SCOPED(s, NULL);
    ph_str key;
    size_t at = 0, n = 0, count = reg.by_name ? ph_map_count(reg.by_name) : 0;
    const char **names = ph_alloc_array(s, count + 1, sizeof *names);
    void *value;

    while (reg.by_name && ph_map_next(reg.by_name, &at, &key, &value))
        if (((struct entry *)value)->m.kind == kind)
            names[n++] = ph_cstr_dup(s, ((struct entry *)value)->m.name);
    /* Of tables in the words that scripts look for. */
    ph_str what = kind == PH_KIND_TABLE ? ph_str_printf(s, "unsupported dictionary type: %.*s", PH_FMT(name))
                                        : ph_str_printf(s, "unsupported %s type \"%.*s\"", ph_kind_name(kind), PH_FMT(name));
    return missing(s, what, ph_kind_name(kind), name, names, n);
}

#define PROVIDED_MAX 1000u

int ph_plugin_not_provided(uint32_t kind, const char *what, ph_str name)
{
    PH_SCOPED(s, NULL);
    ph_str key;
    size_t at = 0, n = 0;
    const char **names = ph_alloc_array(s, PROVIDED_MAX, sizeof *names);
    void *value;

    while (reg.by_name && ph_map_next(reg.by_name, &at, &key, &value)) {
        const struct manifest *m = &((struct entry *)value)->m;

        for (size_t i = 0; m->kind == kind && i < m->provides_count && n < PROVIDED_MAX; i++)
            names[n++] = ph_cstr_dup(s, m->provides[i]);
    }
    return missing(s, ph_str_printf(s, "unknown %s: \"%.*s\"", what, PH_FMT(name)), "restriction", name, names, n);
}

static int load(struct entry *e)
{
    PH_SCOPED(s, NULL);
    const char *stem = ph_str_printf(s, "%s_%.*s", ph_kind_name(e->m.kind), PH_FMT(e->m.name)).p;
    const char *object = e->m.object.p[0] == '/' ? ph_cstr_dup(s, e->m.object)
                         : ph_str_printf(s, "%.*s/%.*s", PH_FMT(reg.directory), PH_FMT(e->m.object)).p;
    const struct ph_plugin *raw, *desc = ph_map_get(reg.loaded, ph_cstr(object));
    int rc = 0;

    if (desc && (desc->kind != e->m.kind || !ph_str_eq(ph_cstr(desc->name), e->m.name)))
        desc = NULL;               /* two manifests name one object: it is one of them */
    if (!desc && ph_object_load(stem, NULL, &raw) < 0)
        if ((rc = ph_path_check(object)) < 0 || (rc = ph_elf_check(object)) < 0 || (rc = ph_object_load(stem, object, &raw)) < 0)
            return rc;
    if (!desc) {
        if ((rc = ph_plugin_negotiate(object, e->m.kind, e->m.name, raw, &desc)) < 0)
            return rc;
        if (desc->param_count)
            ph_conf_register(desc->params, desc->param_count, desc->param_stride);
        ph_map_set(reg.loaded, ph_cstr(object), (void *)(uintptr_t)desc);
    }
    e->desc = desc;
    return 0;
}

int ph_plugin_find(uint32_t kind, ph_str name, const struct ph_plugin **desc)
{
    struct entry *e = find(kind, name);

    if (!e)
        return ph_plugin_missing(kind, name);
    if (e->rival)
        return ph_fail(PH_CONF, "%s type \"%.*s\" is claimed twice, by %s and %s: mask one of them", ph_kind_name(kind), PH_FMT(name), e->m.file, e->rival);
    int rc = e->desc ? 0 : load(e);
    if (rc < 0)
        return ph_wrap(rc, "%s type \"%.*s\"", ph_kind_name(kind), PH_FMT(name));
    *desc = e->desc;
    return 0;
}
