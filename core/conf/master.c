/* master: master.yaml to the services it describes, and what must hold between
 * services.  The keys of one service are in service.c. */
#include <string.h>
#include "core/conf/internal.h"
#include "core/conf/service.h"

static int same_endpoint(const struct ph_service_def *a, const struct ph_listen_def *x,
                         const struct ph_service_def *b, const struct ph_listen_def *y)
{
    if (x->kind != y->kind)
        return 0;
    if (x->kind == PH_LISTEN_UNIX)
        return ph_str_eq(x->name, y->name) && (a->private_ == 0) == (b->private_ == 0);
    return ph_str_eq(x->host, y->host) && ph_str_eq(x->port, y->port);
}

/* Two services must differ in name or type, and never share an endpoint. */
static int check_pair(const struct ph_service_def *a, const struct ph_service_def *b)
{
    if (a != b && ph_str_eq(a->name, b->name) && !strcmp(ph_service_def_type(a), ph_service_def_type(b)))
        return ph_yaml_fail(b->place_in_file, "service %.*s (%s) is given twice (first in line %u)", PH_FMT(b->name),
                            ph_service_def_type(b), a->place_in_file.line);
    for (uint32_t i = 0; i < a->listen_count; i++)
        for (uint32_t k = a == b ? i + 1 : 0; k < b->listen_count; k++)
            if (same_endpoint(a, &a->listen[i], b, &b->listen[k]))
                return ph_yaml_fail(b->listen[k].place, "service %.*s listens where %.*s does (line %u)",
                                    PH_FMT(b->name), PH_FMT(a->name), a->listen[i].place.line);
    return 0;
}

static int check_pairs(const struct ph_master_def *m)
{
    int rc = 0;

    for (size_t i = 0; i < m->services_count; i++)
        for (size_t k = 0; k <= i && rc == 0; k++)
            if (m->services[i].enabled && m->services[k].enabled)
                rc = check_pair(&m->services[k], &m->services[i]);
    return rc;
}

static int read_services(const struct ph_master_reading *r, const struct ph_yaml *n, struct ph_master_def *m)
{
    struct ph_service_def *list;
    size_t used = 0;
    int rc = 0;

    if (n->kind != PH_YAML_SEQUENCE)
        return ph_yaml_fail(n->place, "services must be a list, not %s", ph_yaml_kind(n));
    if (n->count > PH_MASTER_SERVICES_MAX)
        return ph_yaml_fail(n->place, "more than %u services", PH_MASTER_SERVICES_MAX);
    list = ph_alloc_array(r->scope, n->count + 1, sizeof *list);
    for (const struct ph_yaml *i = n->first; rc == 0 && i; i = i->next)
        rc = ph_service_read(r, i, &list[used++]);
    m->services = list;
    m->services_count = used;
    return rc < 0 ? rc : check_pairs(m);
}

static int read_plugins(const struct ph_master_reading *r, const struct ph_yaml *n, struct ph_master_def *m)
{
    static const char *const known[] = { "directory", "include" };
    int rc = 0;

    if (n->kind != PH_YAML_MAPPING)
        return ph_yaml_fail(n->place, "plugins must be a mapping, not %s", ph_yaml_kind(n));
    for (const struct ph_yaml *i = n->first; rc == 0 && i; i = i->next)
        if (ph_str_eq(i->key, PH_STR("directory")))
            rc = ph_yaml_text(i, &m->plugin_directory);
        else if (ph_str_eq(i->key, PH_STR("include")))
            rc = ph_yaml_texts(r->scope, i, &m->plugin_include, &m->plugin_include_count);
        else
            rc = ph_yaml_unknown_key(i, known, 2);
    return rc;
}

static int read_format(const struct ph_yaml *root)
{
    const struct ph_yaml *n = ph_yaml_member(root, "format");

    if (!n)
        return ph_yaml_fail(root->place, "the key \"format\" is missing (format: 1)");
    if (n->kind != PH_YAML_SCALAR || !ph_str_eq(n->text, PH_STR("1")))
        return ph_yaml_fail(n->place, "this release reads format 1 only");
    return 0;
}

int ph_master_parse(struct ph_scope *s, struct ph_conf *conf, const char *file, ph_str text,
                    const struct ph_master_def **master)
{
    static const char *const known[] = { "format", "plugins", "services" };
    const struct ph_master_reading r = { s, conf };
    struct ph_master_def *m = ph_new(s, struct ph_master_def);
    struct ph_yaml *root;
    int rc = ph_yaml_parse(s, file, text, &root);

    if (rc < 0)
        return rc;
    if (root->kind != PH_YAML_MAPPING)
        return ph_yaml_fail(root->place, "the file must be a mapping (format, plugins, services)");
    if ((rc = read_format(root)) < 0)
        return rc;
    m->file = root->place.file;
    for (const struct ph_yaml *i = root->first; rc == 0 && i; i = i->next)
        if (ph_str_eq(i->key, PH_STR("services")))
            rc = read_services(&r, i, m);
        else if (ph_str_eq(i->key, PH_STR("plugins")))
            rc = read_plugins(&r, i, m);
        else if (!ph_str_eq(i->key, PH_STR("format")))
            rc = ph_yaml_unknown_key(i, known, 3);
    if (rc == 0 && !ph_yaml_member(root, "services"))
        rc = ph_yaml_fail(root->place, "the key \"services\" is missing");
    if (rc == 0)
        *master = m;
    return rc;
}

int ph_master_open(struct ph_scope *s, struct ph_conf *conf, const char *dir, const struct ph_master_def **master)
{
    PH_SCOPED(step, NULL);
    ph_str path = ph_str_printf(step, "%s/master.yaml", ph_conf_choose_dir(dir)), text;
    int rc = ph_conf_read_file(step, path.p, PH_MASTER_FILE_MAX, &text);

    return rc < 0 ? rc : ph_master_parse(s, conf, path.p, text, master);
}

const struct ph_service_def *ph_master_find(const struct ph_master_def *m, ph_str name)
{
    for (size_t i = 0; i < m->services_count; i++)
        if (m->services[i].enabled && ph_str_eq(m->services[i].name, name))
            return &m->services[i];
    return NULL;
}

const struct ph_service_def *ph_master_find_unix(const struct ph_master_def *m, ph_str name)
{
    for (size_t i = 0; i < m->services_count; i++)
        if (m->services[i].enabled && ph_str_eq(m->services[i].name, name) && !ph_service_has_listener(&m->services[i], PH_LISTEN_INET))
            return &m->services[i];
    return NULL;
}
