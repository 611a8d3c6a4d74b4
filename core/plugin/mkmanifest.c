/* mkmanifest: writes NAME.yaml from a built plugin, at build time.
 *   mkmanifest path/to/table_static.la > table_static.yaml */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <posthorn/error.h>
#include <posthorn/policy.h>
#include <posthorn/service.h>
#include <posthorn/table.h>
#include <posthorn/transport.h>
#include "core/plugin/internal.h"
#include "core/plugin/registry.h"

static void put_quoted(const char *s)
{
    putchar('"');
    for (; s && *s; s++) {
        if (*s == '"' || *s == '\\')
            putchar('\\');
        if ((unsigned char)*s >= 0x20)
            putchar(*s);
    }
    putchar('"');
}

static void put_params(const struct ph_plugin *d)
{
    static const char *const types[] = { "?", "string", "raw", "integer", "boolean", "time" };

    if (d->param_count)
        puts("parameters:");
    for (uint32_t i = 0; i < d->param_count; i++) {
        const struct ph_param *p = (const struct ph_param *)(const void *)((const char *)d->params + (size_t)i * d->param_stride);

        if (!p->name || !p->def || !p->doc)
            ph_die("parameter row %u of %s has no name, default or text: a wrong count of rows?", i, d->name);
        printf("  - {name: ");
        put_quoted(p->name);
        printf(", type: %s, default: ", p->type <= PH_TYPE_TIME ? types[p->type] : "?");
        put_quoted(p->def);
        printf(", doc: ");
        put_quoted(p->doc);
        puts("}");
    }
}

static void put_provides(const struct ph_plugin *d)
{
    const struct ph_policy_plugin *p = (const struct ph_policy_plugin *)(const void *)d;

    if (d->kind != PH_KIND_POLICY)
        return;
    puts("provides:");
    for (uint32_t i = 0; i < p->name_count; i++)
        printf("  - %s\n", ((const struct ph_policy_name *)(const void *)((const char *)p->names + (size_t)i * p->name_stride))->name);
}

static void put_words(const char *key, const char *words)
{
    if (!words || !*words)
        return;
    printf("%s: ", key);
    put_quoted(words);
    putchar('\n');
}

/* Who starts it, and who may connect to it, is decided before it is loaded. */
static void put_needs(const struct ph_plugin *d)
{
    const struct ph_service_plugin *v = (const struct ph_service_plugin *)(const void *)d;
    const struct ph_transport_plugin *t = (const struct ph_transport_plugin *)(const void *)d;
    const char *needs = d->kind == PH_KIND_SERVICE ? v->needs : d->kind == PH_KIND_TRANSPORT ? t->needs : NULL;
    const char *uses = d->kind == PH_KIND_SERVICE ? v->uses :
                       d->kind == PH_KIND_TRANSPORT && d->size > offsetof(struct ph_transport_plugin, uses) ? t->uses : NULL;

    put_words("needs", needs);
    put_words("uses", uses);
}

/* What a table is, for who asks it from another process and does not load it. */
static void put_is(const struct ph_plugin *d)
{
    static const char *const natures[] = { "pattern", "indexed", "nofold", "insecure" };
    const struct ph_table_plugin *t = (const struct ph_table_plugin *)(const void *)d;
    const char *before = "is: \"";

    for (uint32_t i = 0; d->kind == PH_KIND_TABLE && i < sizeof natures / sizeof *natures; i++)
        if (t->is & 1u << i) {
            printf("%s%s", before, natures[i]);
            before = " ";
        }
    if (*before == ' ')
        puts("\"");
}

static void put_manifest(const struct ph_plugin *d, const char *stem)
{
    static const char *const classes[] = { "?", "pure", "coroutine", "blocking" };

    printf("# Made from the object by the build.\nformat: 1\nkind: %s\nname: %s\nobject: %s.so\nabi: %u\nrevision: %u\nexec: %s\nsummary: ",
           ph_kind_name(d->kind), d->name, stem, d->abi, d->revision, d->exec <= PH_BLOCKING ? classes[d->exec] : "?");
    put_quoted(d->summary);
    putchar('\n');
    if (d->package)
        printf("package: %s\n", d->package);
    put_is(d);
    put_needs(d);
    put_provides(d);
    put_params(d);
}

int main(int argc, char **argv)
{
    char path[PATH_MAX], object[PATH_MAX + 160], stem[128];
    const struct ph_plugin *raw;

    if (argc != 2 || !realpath(argv[1], path)) {
        fprintf(stderr, "usage: mkmanifest PLUGIN.la\n");
        return 2;
    }
    char *slash = strrchr(path, '/'), *dot = strrchr(path, '.');
    if (!slash || !dot || dot < slash)
        return 2;
    *slash = *dot = 0;
    snprintf(stem, sizeof stem, "%s", slash + 1);
    snprintf(object, sizeof object, "%s/.libs/%s.so", path, stem);
    if (ph_object_load(stem, object, &raw) < 0) {
        fprintf(stderr, "mkmanifest: %s\n", ph_error());
        return 1;
    }
    put_manifest(raw, stem);
    return 0;
}
