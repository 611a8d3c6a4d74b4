/* table/texthash: a text file read into memory, `texthash:/etc/postfix/x`.
 * Reference: texthash_table(5). */
#include <errno.h>
#include <sys/stat.h>
#include <posthorn/source.h>
#include "plugins/table/common/entries.h"

struct texthash {
    struct entries entries;
    struct stat st;                /* of the file when it was read */
    const char *path;
};

/* 1, or 0 after a warning. */
static int pair(const struct ph_table *t, const struct ph_source *src, uint32_t number, ph_str line, ph_str *key, ph_str *value)
{
    const char *path = src->path;

    if (!(t->flags & PH_TABLE_ANY_BYTES) && !ph_str_is_utf8(line)) {
        PH_SCOPED(s, NULL);
        ph_log_warn("%s, line %u: non-UTF-8 input \"%.*s\" -- ignoring this line", path, number, PH_FMT(ph_source_shown(s, line)));
        return 0;
    }
    int rc = ph_source_pair(line, key, value);

    if (rc == PH_SOURCE_UNBALANCED)
        ph_log_warn("%s, line %u: unbalanced '\"' in '%.*s' -- ignoring this line", path, number, PH_FMT(line));
    else if (rc == PH_SOURCE_NO_VALUE)
        ph_log_warn("%s, line %u: expected format: key whitespace value -- ignoring this line", path, number);
    else if (key->p[key->n - 1] == ':')
        ph_log_warn("%s, line %u: record is in \"key: value\" format; is this an alias file?", path, number);
    return rc == PH_SOURCE_PAIR;
}

static int32_t texthash_open(struct ph_table *t, ph_str spec)
{
    struct texthash *self = ph_new(t->scope, struct texthash);
    struct ph_source src;
    ph_str line, key, value;
    uint32_t number;

    self->path = ph_cstr_dup(t->scope, spec);
    entries_init(&self->entries, t->scope);
    self->entries.path = self->path;
    ph_reopen_later(self->path);
    if (stat(self->path, &self->st) < 0)
        return ph_fail_errno(PH_TEMP, errno, "open database %s", self->path);
    int rc = ph_source_open(t->scope, self->path, &src);
    if (rc < 0)
        return rc;
    while (ph_source_next(&src, &line, &number)) {
        int is_new;

        if (!pair(t, &src, number, line, &key, &value))
            continue;
        struct entry *e = entries_add(&self->entries, entries_key(t->scope, t, key), &is_new);
        if (is_new) {              /* the first counts, as in what postmap builds */
            e->value = value;
            e->line = number;
        } else {
            ph_log_warn("%s, line %u: duplicate entry: \"%.*s\"", self->path, number, PH_FMT(key));
        }
    }
    t->self = self;
    return 0;
}

static int32_t texthash_lookup(struct ph_table *t, ph_str key, struct ph_scope *out, ph_str *val)
{
    const struct texthash *self = t->self;

    return entries_lookup(&self->entries, key, out, val);
}

static int32_t texthash_sequence(struct ph_table *t, int32_t first, struct ph_scope *out, ph_str *key, ph_str *val)
{
    struct texthash *self = t->self;

    return entries_next(&self->entries, first, out, key, val);
}

static int32_t texthash_changed(struct ph_table *t)
{
    struct texthash *self = t->self;
    struct stat now;

    return stat(self->path, &now) < 0 || now.st_ino != self->st.st_ino || now.st_size != self->st.st_size ||
                   now.st_mtim.tv_sec != self->st.st_mtim.tv_sec || now.st_mtim.tv_nsec != self->st.st_mtim.tv_nsec ? PH_FOUND : PH_NONE;
}

PH_PLUGIN_TABLE(texthash, PH_IS(.summary = "a text file read into memory", .exec = PH_PURE, .concurrency = PH_MANY_CALLS),
    .open = texthash_open,
    .lookup = texthash_lookup,
    .sequence = texthash_sequence,
    .changed = texthash_changed);
