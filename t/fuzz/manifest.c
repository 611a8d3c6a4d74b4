/* Manifests: NAME.yaml beside an object, of ours or of a vendor. */
#include <string.h>
#include <posthorn/error.h>
#include "core/plugin/internal.h"
#include "core/plugin/registry.h"
#include "yaml_text.h"
#include "fuzz.h"

static void put(struct ph_buf *b, const char *key, ph_str value)
{
    ph_buf_printf(b, "%s: ", key);
    put_text(b, value);
    ph_buf_putc(b, '\n');
}

static ph_str print(struct ph_scope *s, const struct manifest *m)
{
    struct ph_buf b;

    ph_buf_init(&b, s, 1u << 24);
    if (m->masked) {
        ph_buf_puts(&b, "masked: true\n");
        return ph_buf_view(&b);
    }
    put(&b, "kind", ph_cstr(ph_kind_name(m->kind)));
    put(&b, "name", m->name);
    put(&b, "object", m->object);
    put(&b, "package", m->package);
    put(&b, "needs", m->needs);
    put(&b, "uses", m->uses);
    ph_buf_puts(&b, "provides: [");
    for (size_t i = 0; i < m->provides_count; i++) {
        put_text(&b, m->provides[i]);
        ph_buf_puts(&b, ", ");
    }
    ph_buf_puts(&b, "]\n");
    return ph_buf_view(&b);
}

/* A name goes into a symbol and a file name: no path, no blank. */
static void is_word(ph_str name)
{
    FUZZ_CHECK(name.n >= 1 && name.n <= 64, "%zu bytes", name.n);
    for (size_t i = 0; i < name.n; i++)
        FUZZ_CHECK(ph_is_alnum(name.p[i]) || name.p[i] == '_' || name.p[i] == '-', "%.*s", PH_FMT(name));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    PH_SCOPED(s, NULL);
    ph_str in = { (const char *)data, size };
    struct manifest m, again;
    int rc = ph_manifest_parse(s, "x.yaml", in, &m);

    fuzz_saw_number(rc);
    if (rc < 0) {
        FUZZ_CHECK(rc == PH_CONF, "%d", rc);
        has_place(in, "x.yaml");
        return 0;
    }
    if (!m.masked) {
        FUZZ_CHECK(ph_kind_by_name(ph_cstr(ph_kind_name(m.kind))) == m.kind && m.kind, "kind %u", m.kind);
        FUZZ_CHECK(m.object.n, "an object");
        is_word(m.name);
    }
    ph_str text = print(s, &m);
    fuzz_saw(text);
    FUZZ_CHECK(ph_manifest_parse(s, "x.yaml", text, &again) == 0, "%s: %.*s", ph_error(), PH_FMT(text));
    FUZZ_SAME(print(s, &again), text, "printed and read");
    return 0;
}
