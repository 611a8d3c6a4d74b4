/* oracle: see oracle.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "oracle.h"

#define WINDOW_TEXT(name, text) text,
const char *const window_text[ORACLE_WINDOWS] = { WINDOWS(WINDOW_TEXT) };

#define IDS 3                      /* of one letter: it may be submitted again */

struct promise {
    unsigned n;
    char id[IDS][PH_ID_MAX + 1];
    int ids, accepted, refused, dropped, requeue, ending, notice, breaking;
    struct { char sure, maybe[12]; } rcpt[LETTER_RCPTS];
    int times, in_maildrop;        /* in the life that is judged */
};

struct oracle {
    struct ph_scope *scope;
    struct promise *p;
    int n, room;
};

struct oracle *oracle_new(struct ph_scope *s)
{
    struct oracle *o = ph_alloc(s, sizeof *o);

    *o = (struct oracle){ .scope = s };
    return o;
}

static struct promise *find(const struct oracle *o, unsigned n)
{
    for (int i = o->n; i-- > 0; )
        if (o->p[i].n == n)
            return &o->p[i];
    return NULL;
}

static struct promise *promise(struct oracle *o, unsigned n)
{
    struct promise *p = find(o, n);

    if (p)
        return p;
    if (o->n == o->room) {
        struct promise *more = ph_alloc_array(o->scope, (size_t)(o->room = o->room ? o->room * 2 : 64), sizeof *more);

        if (o->n)
            memcpy(more, o->p, (size_t)o->n * sizeof *more);
        o->p = more;
    }
    p = &o->p[o->n++];
    memset(p, 0, sizeof *p);
    p->n = n;
    for (int r = 0; r < LETTER_RCPTS; r++)
        p->rcpt[r].sure = PH_STATE_PENDING;
    return p;
}

static void hear_mark(struct promise *p, int sure, const char *rest)
{
    unsigned r = 0;
    char state = 0;

    if (sscanf(rest, "%u %c", &r, &state) != 2 || r >= LETTER_RCPTS)
        exit(94);
    if (!sure) {
        p->rcpt[r].maybe[strlen(p->rcpt[r].maybe)] = state;
        return;
    }
    p->rcpt[r].sure = state;
    memset(p->rcpt[r].maybe, 0, sizeof p->rcpt[r].maybe);
}

void oracle_hear(struct oracle *o, const char *word)
{
    char what[20] = "", rest[64] = "";
    unsigned n = 0;
    struct promise *p;

    if (sscanf(word, "%19s %u %63[^\n]", what, &n, rest) < 2)
        return;                    /* "end" */
    p = promise(o, n);
    if (strcmp(what, "begun") == 0 && p->ids < IDS)
        snprintf(p->id[p->ids++], sizeof p->id[0], "%.30s", rest);
    else if (strcmp(what, "marking") == 0 || strcmp(what, "synced") == 0)
        hear_mark(p, what[0] == 's', rest);
    p->accepted |= strcmp(what, "accepted") == 0;
    p->refused |= strcmp(what, "refused") == 0;
    p->dropped |= strcmp(what, "dropped") == 0;
    p->requeue |= strcmp(what, "requeue") == 0;
    p->ending |= strcmp(what, "ending") == 0;
    p->breaking |= strcmp(what, "breaking") == 0;
    p->notice |= strcmp(what, "notice") == 0;
}

/* ---- judgement ---- */

static int has_id(const struct promise *p, const char *id)
{
    for (int i = 0; i < p->ids; i++)
        if (strcmp(p->id[i], id) == 0)
            return 1;
    return 0;
}

/* One that nobody acknowledged may stand behind marks of the letter before: all its
 * other bytes may be alike.  Its client sends it again; but a notice would be a lie. */
static int judge_states(const struct promise *p, const struct life_found *f, unsigned w[ORACLE_WINDOWS], char *why, size_t size)
{
    for (int r = 0; r < LETTER_RCPTS; r++) {
        char is = f->state[r];
        const char *maybe = p->rcpt[r].maybe;

        if (!p->accepted && is != PH_STATE_FAILED) {
            w[WINDOW_OLD_MARK] += is != PH_STATE_PENDING;
            continue;
        }
        if (is != p->rcpt[r].sure && !strchr(maybe, is))
            return snprintf(why, size, "letter %u: recipient %d is %c, was %c on disk", p->n, r, is, p->rcpt[r].sure);
        w[WINDOW_AGAIN] += is == PH_STATE_PENDING && strchr(maybe, PH_STATE_DELIVERED);
        w[WINDOW_NOTICE] += is == PH_STATE_FAILED && p->notice;
    }
    return 0;
}

/* A file of maildrop that has another name in the queue: pickup puts it aside. */
static int is_elsewhere(const struct life *l, const struct life_found *f)
{
    for (unsigned i = 0; i < l->n; i++)
        if (&l->found[i] != f && l->found[i].inode == f->inode)
            return 1;
    return 0;
}

static int judge_found(struct oracle *o, const struct life *l, const struct life_found *f, unsigned w[ORACLE_WINDOWS],
                       char *why, size_t size)
{
    struct promise *p = f->whole ? find(o, f->letter.n) : NULL;

    if (!f->whole)
        return snprintf(why, size, "%s in %d is not whole", f->id, f->where);
    if (!p)
        return snprintf(why, size, "letter %u comes from nowhere", f->letter.n);
    w[WINDOW_BROKEN] += p->refused && p->breaking;
    if (p->refused && !p->breaking)
        return snprintf(why, size, "letter %u was refused and is there", p->n);
    if (f->where == LIFE_MAILDROP && is_elsewhere(l, f))
        return 0;
    p->times++;
    if (f->where == LIFE_MAILDROP) {
        p->in_maildrop++;
        return 0;
    }
    if (!has_id(p, f->id))
        return snprintf(why, size, "letter %u has the queue id %s, which nobody gave it", p->n, f->id);
    w[WINDOW_UNANSWERED] += !p->accepted;
    w[WINDOW_FINISHED] += p->ending != 0;
    return judge_states(p, f, w, why, size);
}

static int judge_promise(const struct promise *p, unsigned w[ORACLE_WINDOWS], char *why, size_t size)
{
    int twice = p->dropped || p->requeue;      /* both files live for a moment */

    if ((p->accepted || p->dropped) && !p->ending && p->times == 0)
        return snprintf(why, size, "letter %u was accepted and is lost", p->n);
    if (p->times > 1 + twice || (p->times == 2 && !p->in_maildrop && !p->requeue))
        return snprintf(why, size, "letter %u is there %d times", p->n, p->times);
    w[WINDOW_DROP] += p->times == 2;
    return 0;
}

/* Only what was being written may be damaged. */
static int judge_corrupt(const struct life *l, const struct disk *d, unsigned w[ORACLE_WINDOWS], char *why, size_t size)
{
    for (unsigned i = 0; i < l->corrupts; i++) {
        int f = tape_find_file(d->tape, l->corrupt[i]);

        if (f < 0 || !disk_is_writing(d, f))
            return snprintf(why, size, "file %d is in corrupt, and nobody was writing to it", f);
        w[WINDOW_CORRUPT]++;
    }
    return 0;
}

int oracle_judge(struct oracle *o, const struct life *l, const struct disk *d, unsigned w[ORACLE_WINDOWS], char *why, size_t size)
{
    if (l->trouble[0])
        return snprintf(why, size, "%s", l->trouble) > 0;
    for (int i = 0; i < o->n; i++)
        o->p[i].times = o->p[i].in_maildrop = 0;
    for (unsigned i = 0; i < l->n; i++)
        if (judge_found(o, l, &l->found[i], w, why, size))
            return 1;
    for (int i = 0; i < o->n; i++)
        if (judge_promise(&o->p[i], w, why, size))
            return 1;
    w[WINDOW_LOG] += l->logs;
    return judge_corrupt(l, d, w, why, size) > 0;
}
