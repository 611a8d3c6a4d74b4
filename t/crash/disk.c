/* disk: see disk.h. */
#include <stdlib.h>
#include <string.h>
#include "core/queue/store.h"
#include "disk.h"

#define KIND_TEXT(name, text) text,
const char *const kind_text[DISK_KINDS] = { KINDS(KIND_TEXT) };

/* ---- chances ---- */

uint64_t chance_draw(struct chance *c)
{
    uint64_t x = c->state += 0x9e3779b97f4a7c15u;

    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

unsigned chance(struct chance *c, unsigned n, int what, unsigned before)
{
    uint64_t x;

    if (n <= 1)
        return 0;
    if (!c->drawn) {
        int i = c->at++;

        if (i >= 64)
            return 0;
        if (i >= c->digits) {
            c->digits = i + 1;
            c->digit[i] = 0;
        }
        c->radix[i] = n;
        return c->digit[i];
    }
    if (c->cut > 0)
        return before;
    x = chance_draw(c);
    if (n > 2 && c->odds[what] % 16 && x >> 63)        /* half of the time any of them */
        return (unsigned)(x % n);
    return (x >> 32) % 16 < c->odds[what] ? n - 1 : 0;
}

/* The digits behind the one that moves depend on it: they begin anew. */
int chance_next(struct chance *c)
{
    int i = c->at < 64 ? c->at : 64;

    c->at = 0;
    while (i-- > 0)
        if (++c->digit[i] < c->radix[i]) {
            c->digits = i + 1;
            return 1;
        }
    return 0;
}

unsigned chance_total(const struct chance *c)
{
    uint64_t n = 1;

    if (c->at > 64)
        return 1000000;
    for (int i = 0; i < c->at; i++)
        if ((n *= c->radix[i]) > 1000000)
            return 1000000;
    return (unsigned)n;
}

/* ---- what is durable ---- */

struct disk *disk_new(struct ph_scope *s, const struct tape *t)
{
    struct disk *d = ph_alloc(s, sizeof *d);

    memset(d, 0, sizeof *d);
    d->tape = t;
    d->file = ph_alloc_array(s, (size_t)t->files + 1, sizeof *d->file);
    d->meta = ph_alloc_array(s, (size_t)t->ops + 1, sizeof *d->meta);
    for (int f = 0; f < t->files; f++) {
        const struct tape_file *is = &t->file[f];
        uint64_t room = is->first_size > is->size ? is->first_size : is->size;

        d->file[f] = (struct disk_file){ .room = room, .size = is->first_size, .mode = is->first_mode };
        d->file[f].image = ph_alloc(s, room + 1);
        memset(d->file[f].image, 0, room + 1);
        if (is->first_size)
            memcpy(d->file[f].image, is->first, is->first_size);
    }
    for (int i = 0; i < t->ops; i++)
        if (t->op[i].kind == TAPE_WRITE)
            d->file[t->op[i].file].space++;
    for (int f = 0; f < t->files; f++)
        d->file[f].pending = ph_alloc_array(s, (size_t)d->file[f].space + 1, sizeof(int));
    return d;
}

static void apply(unsigned char *image, const struct tape_op *w, uint64_t from, uint64_t to)
{
    uint64_t a = w->offset > from ? w->offset : from, b = w->offset + w->n < to ? w->offset + w->n : to;

    if (a < b)
        memcpy(image + a, w->data + (a - w->offset), b - a);
}

/* Ops before it are durable in a journal. */
static void journal_to(struct disk *d, int meta)
{
    if (meta + 1 > d->barrier)
        d->barrier = meta + 1;
}

/* The data, and what is needed to find it; fsync: all that the inode says.  That a
 * journal takes the name along is what a postdrop without access to its directory
 * lives on. */
static void sync_file(struct disk *d, const struct tape_op *op)
{
    struct disk_file *f = &d->file[op->file];

    for (int i = 0; i < f->n; i++)
        apply(f->image, &d->tape->op[f->pending[i]], 0, f->room);
    f->version += f->n > 0;
    f->n = 0;
    for (int i = 0; i < d->metas; i++) {
        const struct tape_op *m = &d->tape->op[d->meta[i].op];

        if (m->kind == TAPE_NAME) {
            for (int k = 0; k < m->edits && op->all; k++)
                if (m->edit[k].holds == op->file)
                    journal_to(d, i);
        } else if (m->file == op->file && (m->kind == TAPE_SIZE || op->all)) {
            d->meta[i].sure[0] = 1;
            if (m->kind == TAPE_SIZE)
                f->size = m->n;
            else
                f->mode = (mode_t)m->n;
            journal_to(d, i);
        }
    }
}

static void sync_dir(struct disk *d, int path)
{
    for (int i = 0; i < d->metas; i++) {
        const struct tape_op *m = &d->tape->op[d->meta[i].op];

        for (int k = 0; m->kind == TAPE_NAME && k < m->edits; k++)
            if (d->tape->path[m->edit[k].path].parent == path) {
                d->meta[i].sure[k] = 1;
                journal_to(d, i);
            }
    }
}

void disk_advance(struct disk *d)
{
    const struct tape_op *op = &d->tape->op[d->at];

    switch (op->kind) {
    case TAPE_WRITE:
        d->file[op->file].pending[d->file[op->file].n++] = d->at;
        break;
    case TAPE_SIZE: case TAPE_MODE: case TAPE_NAME:
        d->meta[d->metas++] = (struct disk_meta){ .op = d->at };
        break;
    case TAPE_SYNC:
        if (op->file >= 0)
            sync_file(d, op);
        else
            sync_dir(d, op->path);
        break;
    case TAPE_WORD:
        break;
    }
    d->at++;
}

int disk_is_writing(const struct disk *d, int file)
{
    const struct disk_file *f = &d->file[file];

    for (int i = 0; i < f->n; i++)
        if (d->tape->op[f->pending[i]].n > 1)
            return 1;
    return 0;
}

int disk_stake(const struct disk *d)
{
    int stake = 1;

    for (int i = 0; i < d->metas; i++)
        if (d->tape->op[d->meta[i].op].edits == 2 && !(d->meta[i].sure[0] && d->meta[i].sure[1]))
            stake = 3;
    for (int f = 0; f < d->tape->files; f++)
        for (int i = 0; i < d->file[f].n; i++) {
            const struct tape_op *w = &d->tape->op[d->file[f].pending[i]];

            /* A slot that is made is not worth much: zeros. */
            if (w->n > 1 && !(w->n == PH_SLOT_BYTES && w->data[0] == 0))
                return 8;
        }
    return stake;
}

/* ---- an outcome ---- */

struct outcome *outcome_new(struct ph_scope *s, const struct disk *d)
{
    struct outcome *o = ph_alloc(s, sizeof *o);

    memset(o, 0, sizeof *o);
    o->holds = ph_alloc_array(s, (size_t)d->tape->paths + 1, sizeof(int));
    o->file = ph_alloc_array(s, (size_t)d->tape->files + 1, sizeof *o->file);
    memset(o->file, 0, ((size_t)d->tape->files + 1) * sizeof *o->file);
    for (int f = 0; f < d->tape->files; f++)
        if (d->file[f].space)
            o->file[f].own = ph_alloc(s, d->file[f].room + 1);
    return o;
}

static void name_kind(struct outcome *o, const struct tape_op *op, int kept, int sure)
{
    if (op->edits == 2 || op->edit[0].holds >= 0 || op->edit[0].holds == TAPE_NONE) {
        static const enum kind lost[] = { KIND_RENAME_LOST, KIND_CREATE_LOST, KIND_UNLINK_LOST };
        static const enum kind is[] = { KIND_RENAME_KEPT, KIND_CREATE_KEPT, KIND_UNLINK_KEPT };
        int which = op->edits == 2 ? 0 : op->edit[0].holds >= 0 ? 1 : 2;

        if (!kept || !sure)
            o->kinds[kept ? is[which] : lost[which]] = 1;
    }
}

/* Metadata: the journal keeps an order; without one each change stands for itself,
 * and the two halves of a rename part when only one directory was synced. */
static void lose_meta(const struct disk *d, int model, struct chance *c, struct outcome *o)
{
    int end = d->metas, lost = 0, before = 0;

    for (int i = d->barrier; i < d->metas; i++)
        before += d->meta[i].op < c->cut;
    if (model == MODEL_JOURNAL)
        end = d->barrier + (int)chance(c, (unsigned)(d->metas - d->barrier) + 1, CHANCE_META, (unsigned)before);
    for (int i = 0; i < d->metas; i++) {
        const struct disk_meta *m = &d->meta[i];
        const struct tape_op *op = &d->tape->op[m->op];
        int all = m->sure[0] && (op->edits < 2 || m->sure[1]);
        int kept = model == MODEL_JOURNAL ? i < end : all ? 1 : (int)chance(c, 2, CHANCE_META, m->op < c->cut);
        int sure = model == MODEL_JOURNAL ? i < d->barrier : all;

        if (op->kind == TAPE_NAME) {
            for (int k = 0; k < op->edits; k++)
                if (kept || (model == MODEL_LOOSE && m->sure[k]))
                    o->holds[op->edit[k].path] = op->edit[k].holds;
            name_kind(o, op, kept, sure);
            o->kinds[KIND_RENAME_HALF] |= !kept && op->edits == 2 && model == MODEL_LOOSE && m->sure[1];
            o->kinds[KIND_DISORDER] |= kept && lost;
            lost |= !kept;
        } else if (kept || sure) {
            if (op->kind == TAPE_SIZE)
                o->file[op->file].size = op->n > o->file[op->file].size ? op->n : o->file[op->file].size;
            else
                o->file[op->file].mode = (mode_t)op->n;
        }
    }
}

/* What stands below a directory that is not there is not there. */
static void cut_off(const struct tape *t, struct outcome *o)
{
    for (int i = 1; i < t->paths; i++)
        if (o->holds[t->path[i].parent] != TAPE_DIR)
            o->holds[i] = TAPE_NONE;
}

static int touches(const struct tape_op *w, uint64_t at)
{
    return w->offset < at + SECTOR && w->offset + w->n > at;
}

static void mark_kind(struct outcome *o, const struct disk *d, const struct disk_file *f, uint64_t at, unsigned first)
{
    unsigned seen = 0;

    for (int i = 0; i < f->n; i++) {
        const struct tape_op *w = &d->tape->op[f->pending[i]];

        if (touches(w, at) && seen++ >= first) {
            o->kinds[KIND_MARK_LOST] |= w->n == 1;
        } else if (touches(w, at)) {
            o->kinds[KIND_MARK_KEPT] |= w->n == 1;
        }
    }
}

/* One sector: the file's writes reach it in order, and some of them do. */
static int lose_sector(const struct disk *d, const struct disk_file *f, uint64_t at, struct chance *c, struct outcome *o,
                       unsigned char *image)
{
    unsigned n = 0, kept, seen = 0, before = 0;

    for (int i = 0; i < f->n; i++)
        if (touches(&d->tape->op[f->pending[i]], at)) {
            n++;
            before += f->pending[i] < c->cut;
        }
    kept = c->torn > 0 && n > 0 ? n - (at / SECTOR >= (uint64_t)c->torn) : chance(c, n + 1, CHANCE_DATA, before);
    for (int i = 0; i < f->n && seen < kept; i++)
        if (touches(&d->tape->op[f->pending[i]], at)) {
            apply(image, &d->tape->op[f->pending[i]], at, at + SECTOR);
            seen++;
        }
    mark_kind(o, d, f, at, kept);
    return n == 0 ? 0 : kept == n ? 1 : -1;
}

static int has_record(const unsigned char *image, uint64_t size)
{
    struct ph_record r;

    return size >= PH_RECORD_BYTES && ph_record_decode(image, size, UINT64_MAX, &r) == 0;
}

static int is_wiping(const struct disk *d, const struct disk_file *f)
{
    for (int i = 0; i < f->n; i++) {
        const struct tape_op *w = &d->tape->op[f->pending[i]];

        if (w->offset == 0 && w->n > PH_RECORD_BYTES && w->data[0] == 0)
            return 1;
    }
    return 0;
}

static void data_kinds(const struct disk *d, int file, int kept, int lost, uint64_t end_kept, uint64_t end_lost, struct outcome *o)
{
    const struct disk_file *f = &d->file[file];
    const struct outcome_file *is = &o->file[file];

    if (!disk_is_writing(d, file))
        return;
    if (kept && lost) {
        int had = has_record(f->image, f->size);

        o->kinds[KIND_TORN_REUSED] |= had && memcmp(is->image, f->image, f->room) != 0;
        o->kinds[KIND_TORN_FRESH] |= !had;
        o->kinds[KIND_WIPE_LOST] |= had && has_record(is->image, is->size) && is_wiping(d, f) && memcmp(is->image, f->image, f->room) != 0;
    }
    o->kinds[KIND_GROWN_NO_DATA] |= is->size > f->size && end_lost > f->size && end_lost <= is->size;
    o->kinds[KIND_DATA_NO_SIZE] |= end_kept > is->size;
}

static void lose_data(const struct disk *d, int file, struct chance *c, struct outcome *o)
{
    const struct disk_file *f = &d->file[file];
    struct outcome_file *is = &o->file[file];
    int kept = 0, lost = 0;
    uint64_t end_kept = 0, end_lost = 0;

    is->image = f->image;
    if (f->n == 0)
        return;
    is->image = is->own;
    memcpy(is->own, f->image, f->room);
    for (uint64_t at = 0; at < f->room; at += SECTOR) {
        int was = lose_sector(d, f, at, c, o, is->own);

        kept += was > 0;
        lost += was < 0;
        end_kept = was > 0 ? at + 1 : end_kept;
        end_lost = was < 0 ? at + 1 : end_lost;
    }
    data_kinds(d, file, kept, lost, end_kept, end_lost, o);
}

void disk_lose(const struct disk *d, int model, struct chance *c, struct outcome *o)
{
    const struct tape *t = d->tape;

    memset(o->kinds, 0, sizeof o->kinds);
    for (int i = 0; i < t->paths; i++)
        o->holds[i] = t->path[i].first;
    for (int f = 0; f < t->files; f++) {
        o->file[f].size = d->file[f].size;
        o->file[f].mode = d->file[f].mode;
        o->file[f].named = 0;
    }
    lose_meta(d, model, c, o);
    cut_off(t, o);
    for (int i = 0; i < t->paths; i++)
        if (o->holds[i] >= 0)
            o->file[o->holds[i]].named = 1;
    /* Also those without a name: so the number of chances is the same in each outcome. */
    for (int f = 0; f < t->files; f++)
        lose_data(d, f, c, o);
}
