/* t/unit/static_plugins.c: every plugin preloaded into the program: found by its
 * bare name, negotiated, opened; no file is looked at.  Built when configured
 * with --with-static-plugins. */
#include <ltdl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "core/conf/conf.h"
#include "core/plugin/registry.h"
#include "core/plugin/tables.h"
#include "t/unit/tap.h"

extern const lt_dlsymlist lt__PROGRAM__LTX_preloaded_symbols[];

static struct ph_scope *scope;
static struct ph_conf *conf;

static void put_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    if (!f || fputs(text, f) < 0 || fclose(f) != 0)
        ph_die("%s", path);
}

/* KIND_NAME of each object linked in, from the list that libtool made. */
static size_t write_manifests(const char *dir, ph_str *stems, size_t max)
{
    size_t n = 0;

    for (const lt_dlsymlist *s = lt__PROGRAM__LTX_preloaded_symbols; s->name; s++) {
        ph_str stem = ph_cstr(s->name);

        if (s->address || !ph_str_ends(stem, PH_STR(".a")) || n == max)
            continue;
        stem = stems[n++] = ph_str_dup(scope, ph_str_first(stem, stem.n - 2));
        ph_str name = stem, kind = ph_str_cut(&name, '_');
        put_text(ph_str_printf(scope, "%s/plugins.d/%.*s.yaml", dir, PH_FMT(stem)).p,
                 ph_str_printf(scope, "format: 1\nkind: %.*s\nname: %.*s\nobject: /no/such/file.so\n", PH_FMT(kind), PH_FMT(name)).p);
    }
    return n;
}

int main(void)
{
    char dir[] = "/tmp/posthorn-static-XXXXXX";
    ph_str stems[100], val;
    const struct ph_plugin *desc;
    struct ph_table *t;

    umask(022);
    scope = ph_scope_new(NULL);
    if (!mkdtemp(dir) || mkdir(ph_str_printf(scope, "%s/plugins.d", dir).p, 0700) < 0 ||
        ph_conf_parse(scope, dir, "main.cf", PH_STR(""), &conf) < 0)
        ph_die("%s", dir);
    ph_plugin_preload(lt__PROGRAM__LTX_preloaded_symbols);
    ph_registry_data_dir(dir);
    size_t n = write_manifests(dir, stems, sizeof stems / sizeof *stems);
    ok(n >= 15, "%zu plugins are linked in", n);
    if (ph_registry_open(conf) < 0)
        ph_die("%s", ph_error());
    for (size_t i = 0; i < n; i++) {
        ph_str name = stems[i], kind = ph_str_cut(&name, '_');
        int rc = ph_plugin_find(ph_kind_by_name(kind), name, &desc);

        if (!ok(rc == 0 && ph_str_eq(ph_cstr(desc->name), name), "%.*s", PH_FMT(stems[i])))
            printf("# %s\n", ph_error());
    }
    ok(ph_table_open(conf, scope, PH_STR("inline:{a=b}"), 0, &t) == 0 && ph_table_lookup(t, PH_STR("a"), scope, &val) == PH_FOUND, "a table of them answers");
    put_text(ph_str_printf(scope, "%s/plugins.d/other.yaml", dir).p, "format: 1\nkind: table\nname: other\nobject: /no/such/file.so\n");
    if (ph_registry_open(conf) < 0)
        ph_die("%s", ph_error());
    ok(ph_plugin_find(PH_KIND_TABLE, PH_STR("other"), &desc) == PH_CONF && strstr(ph_error(), "/no/such/file.so: No such file or directory"),
       "one that is not linked in is looked for as a file");
    if (system(ph_str_printf(scope, "rm -rf %s", dir).p) != 0)
        printf("# left behind: %s\n", dir);
    ph_scope_free(scope);
    return done_testing();
}
