/* manifest: NAME.yaml beside an object: what it holds, without loading it. */
#include <posthorn/error.h>
#include <posthorn/table.h>
#include "core/conf/yaml.h"
#include "core/plugin/internal.h"
#include "core/plugin/registry.h"

static const char *const keys[] = {
    "format", "kind", "name", "object", "package", "summary", "abi", "revision", "exec", "needs", "uses", "provides",
    "parameters", "masked", "is",
};

static int is_known(ph_str key)
{
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (ph_str_eq(key, ph_cstr(keys[i])))
            return 1;
    return 0;
}

static int text_of(const struct ph_yaml *root, const char *key, ph_str *value)
{
    const struct ph_yaml *n = ph_yaml_member(root, key);

    return n ? ph_yaml_text(n, value) : 0;
}

/* A name goes into a symbol and a file name. */
static int is_word(ph_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!ph_is_alnum(s.p[i]) && s.p[i] != '_' && s.p[i] != '-')
            return 0;
    return s.n >= 1 && s.n <= 64;
}

/* The value of the word in a list of names, 0: it is none. */
struct word { const char *name; uint32_t value; };
static const struct word classes[] = { { "pure", PH_PURE }, { "coroutine", PH_COROUTINE }, { "blocking", PH_BLOCKING } };
static const struct word natures[] = { { "pattern", PH_TABLE_PATTERN }, { "indexed", PH_TABLE_INDEXED }, { "nofold", PH_TABLE_NOFOLD }, { "insecure", PH_TABLE_INSECURE } };

/* What this release does not know says nothing. */
static uint32_t values_of(ph_str list, const struct word *words, size_t n)
{
    uint32_t value = 0;

    for (ph_str w; (w = ph_str_word(&list)).n; )
        for (size_t i = 0; i < n; i++)
            if (ph_str_eq(w, ph_cstr(words[i].name)))
                value |= words[i].value;
    return value;
}

static int read_nature(const struct ph_yaml *root, struct manifest *m)
{
    ph_str exec = PH_STR(""), is = PH_STR("");
    int rc = text_of(root, "exec", &exec);

    if (rc < 0 || (rc = text_of(root, "is", &is)) < 0)
        return rc;
    m->exec = values_of(exec, classes, sizeof classes / sizeof *classes);
    m->is = values_of(is, natures, sizeof natures / sizeof *natures);
    return 0;
}

static int read_provides(struct ph_scope *s, const struct ph_yaml *root, struct manifest *m)
{
    const struct ph_yaml *n = ph_yaml_member(root, "provides");
    const ph_str *list;

    if (!n)
        return 0;
    int rc = ph_yaml_texts(s, n, &list, &m->provides_count);
    m->provides = (ph_str *)(uintptr_t)list;
    return rc;
}

int ph_manifest_parse(struct ph_scope *s, const char *file, ph_str text, struct manifest *m)
{
    struct ph_yaml *root;
    ph_str kind = PH_STR("");
    int rc = ph_yaml_parse(s, file, text, &root);

    *m = (struct manifest){ .file = file };
    if (rc < 0)
        return rc;
    if (root->kind != PH_YAML_MAPPING)
        return ph_yaml_fail(root->place, "a manifest is a mapping, not %s", ph_yaml_kind(root));
    for (const struct ph_yaml *n = root->first; n; n = n->next)
        if (!is_known(n->key))
            return ph_yaml_unknown_key(n, keys, sizeof keys / sizeof *keys);
    const struct ph_yaml *masked = ph_yaml_member(root, "masked");
    if ((masked && (rc = ph_yaml_bool(masked, &m->masked)) < 0) || m->masked)
        return rc;
    if ((rc = text_of(root, "kind", &kind)) < 0 || (rc = text_of(root, "name", &m->name)) < 0 ||
        (rc = text_of(root, "object", &m->object)) < 0 || (rc = text_of(root, "package", &m->package)) < 0 ||
        (rc = text_of(root, "needs", &m->needs)) < 0 || (rc = text_of(root, "uses", &m->uses)) < 0 ||
        (rc = read_nature(root, m)) < 0 || (rc = read_provides(s, root, m)) < 0)
        return rc;
    if (!(m->kind = ph_kind_by_name(kind)))
        return ph_yaml_fail(root->place, "kind \"%.*s\" is none of service, table, transport, filter, policy, screen, sasl", PH_FMT(kind));
    if (!is_word(m->name) || m->object.n == 0)
        return ph_yaml_fail(root->place, "a manifest needs name (letters, digits, _ and -) and object");
    return 0;
}

void ph_manifest_keep(struct ph_scope *s, const struct manifest *from, struct manifest *m)
{
    *m = *from;
    ph_str *const texts[] = { &m->name, &m->object, &m->package, &m->needs, &m->uses };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        *texts[i] = ph_str_dup(s, *texts[i]);
    m->provides = ph_alloc_array(s, from->provides_count, sizeof *m->provides);
    for (size_t i = 0; i < from->provides_count; i++)
        m->provides[i] = ph_str_dup(s, from->provides[i]);
    m->file = ph_cstr_dup(s, ph_cstr(from->file));
}
