/* t/unit/plugin.c: the loader: good objects, bad ones with their true cause,
 * manifests, messages.  Run alone: make t/unit/plugin.t && prove -v t/unit/plugin.t */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/lookup.h>
#include "core/conf/conf.h"
#include "core/plugin/registry.h"
#include "core/plugin/tables.h"
#include "core/run/loop.h"
#include "t/unit/tap.h"

static struct ph_scope *scope;
static struct ph_conf *conf;
static char tmp[64];

static const char *path(const char *name)
{
    return ph_str_printf(scope, "%s/%s", tmp, name).p;
}

static void put_file(const char *name, const char *text, size_t n, unsigned mode)
{
    int fd = open(path(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

    if (fd < 0 || write(fd, text, n) != (ssize_t)n || fchmod(fd, mode) < 0 || close(fd) < 0)
        ph_die("%s: %s", path(name), strerror(errno));
}

static void put_text(const char *name, const char *text)
{
    put_file(name, text, strlen(text), 0600);
}

/* The built object t/plugin/bad/NAME.so (in the build directory) into ours. */
static void copy_object(const char *name, const char *to, unsigned mode)
{
    static char mem[16 << 20];
    int fd = open(ph_str_printf(scope, "%s/t/plugin/bad/%s.so", build_dir(), name).p, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, mem, sizeof mem);

    if (n <= 0)
        ph_die("t/plugin/bad/%s.so: %s", name, strerror(errno));
    close(fd);
    put_file(to, mem, (size_t)n, mode);
}

static void manifest(const char *file, const char *name, const char *object)
{
    put_text(file, ph_str_printf(scope, "format: 1\nkind: table\nname: %s\nobject: %s\n", name, object).p);
}

/* Install the object of that name, mode 0755, with its manifest. */
static void install(const char *name)
{
    const char *so = ph_str_printf(scope, "table_%s.so", name).p;

    copy_object(ph_str_printf(scope, "table_%s", name).p, so, 0755);
    manifest(ph_str_printf(scope, "plugins.d/%s.yaml", name).p, name, path(so));
}

static void reread(void)
{
    if (ph_registry_open(conf) < 0)
        ph_die("%s", ph_error());
}

/* A table of that type is refused, with these words. */
static void refused(const char *type, const char *words, const char *sentence)
{
    const struct ph_plugin *desc;
    int rc = ph_plugin_find(PH_KIND_TABLE, ph_cstr(type), &desc);

    ok(rc == PH_CONF && strstr(ph_error(), words), "%s", sentence);
    printf("# %s\n", rc < 0 ? ph_error() : "(loaded)");
}

static void test_bad_objects(void)
{
    static const struct { const char *name, *words, *sentence; } cases[] = {
        { "undefined", "undefined symbol: ph_no_such_call", "a missing symbol is named" },
        { "noentry", "does not export table_noentry_LTX_ph_plugin", "an object without the entry is no plugin of that name" },
        { "abi", "built for plugin ABI 99, this is ABI 1", "another ABI is told, and what to do" },
        { "gone", "libphgone.so", "an absent dependency is named" },
        { "private", "POSTHORN_PRIVATE", "a private symbol is refused before anything of the object runs" },
        { "kind", "is a policy plugin, wanted a table plugin", "another kind is refused" },
        { "tiny", "descriptor of 8 bytes makes no sense", "a descriptor smaller than its head is refused" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        install(cases[i].name);
    reread();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused(cases[i].name, cases[i].words, cases[i].sentence);
}

static void test_paths(void)
{
    copy_object("table_good", "w.so", 0757);
    copy_object("table_good", "g.so", 0775);
    mkdir(path("open"), 0700);
    copy_object("table_good", "open/t.so", 0755);
    chmod(path("open"), 0777);
    put_text("text.so", "this is no object");
    manifest("plugins.d/w.yaml", "w", path("w.so"));
    manifest("plugins.d/g.yaml", "g", path("g.so"));
    manifest("plugins.d/d.yaml", "d", path("open/t.so"));
    manifest("plugins.d/m.yaml", "m", path("missing.so"));
    manifest("plugins.d/x.yaml", "x", path("text.so"));
    manifest("plugins.d/dir.yaml", "dir", path("open"));
    reread();
    refused("w", "w.so: writable by everybody", "an object that everybody may write is not loaded");
    refused("g", "g.so: writable by its group", "nor one that its group may write");
    refused("d", "/open: writable by everybody", "a directory on its way that everybody may write is named");
    refused("m", "missing.so: No such file or directory", "a missing file is named");
    refused("x", "text.so: not a shared object", "a file of text is no shared object");
    refused("dir", "writable by everybody", "a directory is no object");
    chmod(path("open"), 0700);
    refused("dir", "/open: not a regular file", "nor when nobody may write it");
}

static void is_lookup(struct ph_table *t, const char *key, const char *want, const char *sentence)
{
    ph_str val = PH_STR("");
    int rc = ph_table_lookup(t, ph_cstr(key), scope, &val);

    ok(rc == PH_FOUND && ph_str_eq(val, ph_cstr(want)), "%s", sentence);
    if (rc != PH_FOUND)
        printf("# %d %s\n", rc, ph_error());
}

static void test_good(void)
{
    struct ph_table *t;
    ph_str val;

    install("good");
    install("old");
    copy_object("table_cxx", "table_cxx.so", 0755);
    manifest("plugins.d/cxx.yaml", "cxx", path("table_cxx.so"));
    reread();
    if (!ok(ph_table_open(conf, scope, PH_STR("good:name"), 0, &t) == 0, "a good object loads beside the bad ones"))
        printf("# %s\n", ph_error());
    is_lookup(t, "key", "key of name", "and answers");
    is_int(ph_table_lookup(t, PH_STR("none"), scope, &val), PH_NONE, "no such key is said as such");
    is_int(ph_table_lookup(t, PH_STR("zero"), scope, &val), PH_TEMP, "0 from a plugin is a failure, not an answer");
    is_int(ph_table_open(conf, scope, PH_STR("good:name"), PH_TABLE_CREATE, &t), PH_CONF, "a table without update cannot be built");
    ok(ph_table_open(conf, scope, PH_STR("old:name"), 0, &t) == 0 && t->ops->update == NULL, "members behind an older descriptor's end read as zero");
    is_lookup(t, "key", "key of name", "and it works");
    ok(ph_table_open(conf, scope, PH_STR("cxx:name"), 0, &t) == 0, "an object in C++11 loads");
    is_lookup(t, "key", "C++ key", "and answers");
    ph_conf_set(conf, "default_database_type", PH_STR("good"));
    ok(ph_table_open(conf, scope, PH_STR("/some/file"), 0, &t) == 0, "without a type the default one serves");
    is_lookup(t, "key", "key of /some/file", "with the whole text as its name");
}

static int blocking_in_task(void *arg PH_UNUSED)
{
    struct ph_table *t;

    is_int(ph_table_open(conf, scope, PH_STR("blocking:x"), 0, &t), PH_CONF, "a table whose manifest hides that it may block is refused in a service");
    ok(strstr(ph_error(), "its manifest does not say so") != NULL, "with words: %s", ph_error());
    return 0;
}

/* As a client of the pool, of which nothing runs here. */
static int pool_in_task(void *arg PH_UNUSED)
{
    struct ph_table *t;
    ph_str val;

    ph_tables_by_pool(NULL, NULL);
    is_int(ph_table_open(conf, scope, PH_STR("blocking:x"), 0, &t), PH_CONF, "without a pool a blocking table is an error");
    ok(strstr(ph_error(), "may block, so that a service reads it through proxymap(8), which master.yaml does not declare") != NULL, "with words: %s", ph_error());
    ok(ph_table_open(conf, scope, PH_STR("proxy:good:name"), 0, &t) == 0 && !ph_remote_is(t), "without a pool proxy: is the table itself");
    ph_tables_by_pool("proxymap", "proxywrite");
    ok(ph_table_open(conf, scope, PH_STR("blocking:x"), 0, &t) == 0 && ph_remote_is(t), "a blocking table is the pool's");
    is_int(ph_table_lookup(t, PH_STR("key"), scope, &val), PH_TEMP, "a pool that is not there is a failure");
    ok(!ph_table_is_pattern(t), "and says nothing of what it is");
    ok(ph_table_open(conf, scope, PH_STR("good:name"), 0, &t) == 0 && !ph_remote_is(t), "any other table is opened here");
    ok(ph_table_open(conf, scope, PH_STR("proxy:good:name"), 0, &t) == 0 && ph_remote_is(t), "behind proxy: it is the pool's");
    ok(ph_table_open(conf, scope, PH_STR("proxy:good:name"), PH_TABLE_SECURE, &t) == 0 && !ph_remote_is(t), "but not where an answer gives rights");
    ok(ph_table_open(conf, scope, PH_STR("proxy:blocking:x"), PH_TABLE_SECURE, &t) == 0 && ph_remote_is(t), "unless it may block");
    is_int(ph_table_open(conf, scope, PH_STR("proxy:good:name"), PH_TABLE_CREATE, &t), PH_CONF, "nothing is built there");
    is_int(ph_table_open(conf, scope, PH_STR("proxy:nosuch:x"), 0, &t), PH_CONF, "an unknown type is an error at once");
    ok(strstr(ph_error(), "unsupported dictionary type: nosuch") != NULL, "with words: %s", ph_error());
    put_text("plugins.d/blocking.yaml", ph_str_printf(scope, "format: 1\nkind: table\nname: blocking\nobject: %s\nexec: blocking\nis: nofold pattern\n", path("table_blocking.so")).p);
    reread();
    ok(ph_table_open(conf, scope, PH_STR("blocking:y"), 0, &t) == 0 && ph_table_is_pattern(t), "its manifest says what kind of table it is");
    ph_tables_here();
    ok(ph_table_open(conf, scope, PH_STR("blocking:x"), 0, &t) == 0 && !ph_remote_is(t), "the pool opens it");
    is_lookup(t, "key", "key of x", "and reads it");
    return 0;
}

static void test_blocking(void)
{
    struct ph_table *t;

    install("blocking");
    reread();
    is_int(ph_table_open(conf, scope, PH_STR("blocking:x"), 0, &t), 0, "a command opens a blocking table directly");
    ph_run_main(blocking_in_task, NULL);
    put_text("plugins.d/blocking.yaml", ph_str_printf(scope, "format: 1\nkind: table\nname: blocking\nobject: %s\nexec: blocking\n", path("table_blocking.so")).p);
    reread();
    is_int(ph_table_open(conf, scope, PH_STR("blocking:x"), 0, &t), 0, "a command opens it, whatever its manifest says");
    ph_run_main(pool_in_task, NULL);
}

static void test_messages(void)
{
    put_text("plugin-packages.yaml", "table:\n  ldap: posthorn-ldap\n  nis: \"-\"\n");
    reread();
    refused("gooood", "unsupported dictionary type: gooood", "an unknown type is told");
    refused("goood", "did you mean \"good\"?", "a misspelt one with what it may have meant");
    refused("ldap", "install the package posthorn-ldap", "one of another package with the package");
    refused("nis", "not built yet", "one that does not exist yet is told as such");
}

static void test_manifests(void)
{
    struct ph_table *t;

    manifest("plugins.d/rival.yaml", "good", path("table_good.so"));
    reread();
    refused("good", "claimed twice, by ", "two vendors for one type are refused");
    ok(strstr(ph_error(), "plugins.d/good.yaml") && strstr(ph_error(), "plugins.d/rival.yaml"), "naming both files");
    put_text("plugins.d/rival.yaml", "format: 1\nmasked: true\n");
    reread();
    is_int(ph_table_open(conf, scope, PH_STR("good:x"), 0, &t), 0, "masking one settles it");
    put_text("plugins.d/rival.yaml", "format: 1\nkind: tabel\nname: x\nobject: y\n");
    reread();
    is_int(ph_table_open(conf, scope, PH_STR("good:x"), 0, &t), 0, "a bad manifest does not harm the others");
    put_text("plugins.d/rival.yaml", "format: 1\nmasked: true\n");

    mkdir(path("vendor"), 0700);
    mkdir(path("vendor/plugins.d"), 0700);
    manifest("vendor/plugins.d/good.yaml", "good", path("missing.so"));
    manifest("vendor/plugins.d/vend.yaml", "vend", path("missing.so"));
    ph_registry_data_dir(path("vendor"));
    reread();
    is_int(ph_table_open(conf, scope, PH_STR("good:x"), 0, &t), 0, "the administrator's manifest replaces the vendor's of the same file name");
    refused("vend", "missing.so", "the vendor's others count");
    ph_registry_data_dir(tmp);
}

/* What a service does with a table that is not there: it lives, look-ups fail,
 * and once the cause is gone they work. */
static void test_soft(void)
{
    struct ph_maps *m;
    ph_str val;

    is_int(ph_maps_open(conf, scope, "test_maps", PH_STR("nosuch:x, good:n"), 0, &m), 0, "a list with an unknown type opens");
    is_int(ph_maps_find(m, PH_STR("key"), scope, &val), PH_TEMP, "and each look-up that comes to it fails");
    ok(strstr(ph_error(), "unsupported dictionary type: nosuch") != NULL, "with the cause: %s", ph_error());
    is_int(ph_maps_open(conf, scope, "test_maps", PH_STR("good:n, nosuch:x"), 0, &m), 0, "behind a table that answers");
    is_int(ph_maps_find(m, PH_STR("key"), scope, &val), PH_FOUND, "it is not asked");
    is_int(ph_maps_find(m, PH_STR("none"), scope, &val), PH_TEMP, "and \"not found\" in the first is not the end");
}

int main(void)
{
    scope = ph_scope_new(NULL);
    strcpy(tmp, "/tmp/posthorn-plugin-XXXXXX");
    if (!mkdtemp(tmp))
        ph_die("mkdtemp: %s", strerror(errno));
    mkdir(path("plugins.d"), 0700);
    if (ph_conf_parse(scope, tmp, "main.cf", PH_STR(""), &conf) < 0)
        ph_die("%s", ph_error());
    ph_registry_data_dir(tmp);
    test_bad_objects();
    test_paths();
    test_good();
    test_blocking();
    test_messages();
    test_manifests();
    test_soft();
    ph_scope_free(scope);
    if (system(ph_str_printf(scope = ph_scope_new(NULL), "rm -rf %s", tmp).p) != 0)
        printf("# left behind: %s\n", tmp);
    ph_scope_free(scope);
    return done_testing();
}
