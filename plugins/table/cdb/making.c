/* making: see cdb_table.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>
#include "cdb_table.h"

#define UNIT 8u                    /* records begin at multiples of it: 32 bits reach 32 GB */
#define FILE_MAX_BYTES UINT32_MAX  /* positions in the file have 32 bits */
#define FIRST_SLOTS 1024u

struct record {
    uint32_t hash, key_n, val_n;
    uint32_t gone;                 /* removed, or replaced by a later one */
};

void making_begin(struct making *m)
{
    ph_buf_init(&m->records, NULL, FILE_MAX_BYTES);
    m->slots = FIRST_SLOTS;
    if (!(m->slot = calloc(m->slots, sizeof *m->slot)))
        ph_die("out of memory");
}

void making_end(struct making *m)
{
    if (m->slot)
        ph_buf_fini(&m->records);
    free(m->slot);
}

static struct record *record_at(const struct making *m, uint32_t slot)
{
    return (struct record *)(void *)(m->records.p + (size_t)(slot - 1) * UNIT);
}

static ph_str key_of(const struct record *r)
{
    return (ph_str){ (const char *)(r + 1), r->key_n };
}

static ph_str value_of(const struct record *r)
{
    return (ph_str){ (const char *)(r + 1) + r->key_n, r->val_n };
}

static size_t size_of(const struct record *r)
{
    return (sizeof *r + r->key_n + r->val_n + UNIT - 1) / UNIT * UNIT;
}

/* The slot that has the key, or the free one where it belongs. */
static uint32_t *slot_of(const struct making *m, uint32_t hash, ph_str key)
{
    size_t i = hash & (m->slots - 1);

    for (; m->slot[i]; i = (i + 1) & (m->slots - 1)) {
        const struct record *r = record_at(m, m->slot[i]);

        if (r->hash == hash && ph_str_eq(key_of(r), key))
            break;
    }
    return &m->slot[i];
}

static uint32_t hash_of(ph_str key)
{
    uint64_t h = ph_str_hash(key);

    return (uint32_t)(h ^ h >> 32);
}

static void grow(struct making *m)
{
    uint32_t *old = m->slot;
    size_t count = m->slots;

    m->slots *= 2;
    if (!(m->slot = calloc(m->slots, sizeof *m->slot)))
        ph_die("out of memory");
    for (size_t i = 0; i < count; i++) {
        if (!old[i])
            continue;
        size_t to = record_at(m, old[i])->hash & (m->slots - 1);

        while (m->slot[to])
            to = (to + 1) & (m->slots - 1);
        m->slot[to] = old[i];
    }
    free(old);
}

static int append(struct making *m, const struct record *r, ph_str key, ph_str val, uint32_t *slot)
{
    char *p = ph_buf_room(&m->records, size_of(r));

    if (!p)
        return ph_fail(PH_TEMP, "a cdb file has at most 4 GB");
    *slot = (uint32_t)(m->records.n / UNIT) + 1;
    memcpy(p, r, sizeof *r);
    memcpy(p + sizeof *r, key.p ? key.p : "", key.n);
    memcpy(p + sizeof *r + key.n, val.p ? val.p : "", val.n);
    ph_buf_added(&m->records, size_of(r));
    return PH_FOUND;
}

int making_put(struct making *m, ph_str key, ph_str val, uint32_t keep)
{
    struct record r = { .hash = hash_of(key), .key_n = (uint32_t)key.n, .val_n = (uint32_t)val.n };
    uint32_t *slot;

    if (key.n >= FILE_MAX_BYTES || val.n >= FILE_MAX_BYTES)
        return ph_fail(PH_TEMP, "a cdb file has at most 4 GB");
    if ((m->used + 1) * 4 > m->slots * 3)
        grow(m);
    slot = slot_of(m, r.hash, key);
    if (*slot) {
        struct record *old = record_at(m, *slot);

        if (keep && !old->gone)
            return PH_NONE;
        old->gone = 1;
    } else {
        m->used++;
    }
    return append(m, &r, key, val, slot);
}

int making_remove(struct making *m, ph_str key)
{
    uint32_t slot = *slot_of(m, hash_of(key), key);
    struct record *r = slot ? record_at(m, slot) : NULL;

    if (!r || r->gone)
        return PH_NONE;
    r->gone = 1;
    return PH_FOUND;
}

int making_find(const struct making *m, ph_str key, struct ph_scope *out, ph_str *val)
{
    uint32_t slot = *slot_of(m, hash_of(key), key);
    const struct record *r = slot ? record_at(m, slot) : NULL;

    if (!r || r->gone)
        return PH_NONE;
    *val = ph_str_dup(out, value_of(r));
    return PH_FOUND;
}

static ph_str without_nul(const char *p, unsigned n)
{
    return (ph_str){ p, n - (n > 0 && p[n - 1] == 0) };
}

int making_load(struct making *m, struct cdb *old)
{
    unsigned at;
    int rc;

    cdb_seqinit(&at, old);
    while ((rc = cdb_seqnext(&at, old)) > 0) {
        const char *k = cdb_getkey(old), *v = cdb_getdata(old);

        if (!k || !v || making_put(m, without_nul(k, cdb_keylen(old)), without_nul(v, cdb_datalen(old)), 1) < 0)
            return ph_fail_errno(PH_TEMP, errno, "read the old table");
    }
    return rc < 0 ? ph_fail_errno(PH_TEMP, errno, "read the old table") : 0;
}

/* A NUL goes with key and value: the byte behind each is one while it is written. */
static int add(struct cdb_make *out, const struct record *r, unsigned nul, struct ph_buf *copy)
{
    ph_str key = key_of(r), val = value_of(r);

    if (!nul)
        return cdb_make_add(out, key.p, (unsigned)key.n, val.p, (unsigned)val.n);
    ph_buf_reset(copy);
    if (!ph_buf_str(copy, key) || !ph_buf_putc(copy, 0) || !ph_buf_str(copy, val) || !ph_buf_putc(copy, 0))
        return -1;
    return cdb_make_add(out, copy->p, (unsigned)key.n + 1, copy->p + key.n + 1, (unsigned)val.n + 1);
}

int making_write(struct making *m, const char *path, uint32_t with_nul)
{
    int rc = 0, fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    struct cdb_make out;
    struct ph_buf copy;

    if (fd < 0)
        return ph_fail_errno(PH_TEMP, errno, "create %s", path);
    ph_buf_init(&copy, NULL, FILE_MAX_BYTES);
    errno = 0;
    rc = cdb_make_start(&out, fd);
    for (size_t at = 0; rc >= 0 && at < m->records.n; ) {
        const struct record *r = (const struct record *)(const void *)(m->records.p + at);

        at += size_of(r);
        if (!r->gone)
            rc = add(&out, r, with_nul != 0, &copy);
    }
    /* It frees what it has whatever comes of it. */
    if (cdb_make_finish(&out) < 0)
        rc = -1;
    if (rc < 0)
        ph_fail_errno(PH_TEMP, errno ? errno : EFBIG, "write %s", path);
    ph_buf_fini(&copy);
    if (close(fd) < 0 && rc >= 0)
        return ph_fail_errno(PH_TEMP, errno, "write %s", path);
    return rc < 0 ? PH_TEMP : 0;
}
