/* t/crash/power.c: loss of power, replayed (POWER.md): stories are recorded; behind
 * each call of a recording some outcomes that the model allows are made into a
 * queue directory, opened by the real code, and held against the oracle.
 *
 *     POSTHORN_SEED=N  POSTHORN_OUTCOMES=N   how many (make powertest SEED= OUTCOMES=)
 *     POSTHORN_OUTCOME=story:call:model:which  one again, as a failure names it */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "core/base/crc32c.h"
#include "core/run/loop.h"
#include "oracle.h"
#include "story.h"
#include "tap.h"
#include "trace.h"

#define OUTCOMES 500               /* by default */
#define FULL     10000             /* from here on each window must have been seen too: some are rare */
#define ROUNDS   8                 /* more of them, while something did not happen yet */

static const char *const model_names[MODELS] = { "journal", "loose" };

/* What is broken on purpose: the oracle must see it. */
enum damage { WHOLE, NO_COMMIT_SYNC, NO_SLOT_NAMES, NO_TOP_DIRS, NO_MARK_SYNC, NO_MOVE_SYNC, NO_DROP_SYNC, NO_DROP_NAME, FORGED };
static const struct { enum damage damage; const char *story; const char *text; } damages[] = {
    { NO_COMMIT_SYNC, "reuse", "content is not synced before the answer" },
    { NO_COMMIT_SYNC, "outlive", "content is not synced by a lease that outlives its giver" },
    { NO_SLOT_NAMES, "fresh", "directories of the pool are not synced" },
    { NO_TOP_DIRS, "fresh", "the directories above are not synced" },
    { NO_MARK_SYNC, "bounce", "failed and told marks are not synced" },
    { NO_MOVE_SYNC, "defer", "a directory of the pool is synced before the one its message went to" },
    { NO_DROP_SYNC, "drop", "the file in maildrop is not synced" },
    { NO_DROP_NAME, "drop", "its name is not synced" },
    { FORGED, "reuse", "torn messages have a checksum that fits" },
};

struct recording {
    const struct story *story;
    struct tape *tape;
    char *words;                   /* said before the recording began */
};

struct replay {
    const struct recording *rec;
    struct ph_scope *scope;
    struct disk *disk;
    struct outcome *outcome;
    struct rebuild *rebuild;
    struct oracle *oracle;
    enum damage damage;
    double each, due[MODELS];      /* outcomes per call and stake, and owed */
    unsigned made, counted, prefixes, bad;
};

static char place[32];
static uint64_t seed = 1;
static unsigned outcomes = OUTCOMES;
static struct { const char *story; int at, model; unsigned which; char how; } only;
static unsigned kinds[DISK_KINDS], windows[ORACLE_WINDOWS], found, lives;

/* ---- recording ---- */

static int run_story(void *arg)
{
    ((void (*)(void))(uintptr_t)arg)();
    return 0;
}

static int main_of(void *arg)
{
    int rc = run_story(*(void **)arg);

    say("end 0");
    _exit(rc);
}

static pid_t start(void (*fn)(void), int traced, int *out)
{
    void *arg = (void *)(uintptr_t)fn;
    int p[2];
    pid_t pid;

    fflush(stdout);
    if (pipe(p) < 0 || (pid = fork()) < 0)
        exit(99);
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY);

        close(p[0]);
        crash_words = p[1];
        dup2(null, 2);
        if (traced && (ptrace(PTRACE_TRACEME, 0, 0, 0) < 0 || raise(SIGSTOP) != 0))
            _exit(95);
        _exit(ph_run_main(main_of, &arg) < 0 ? 94 : 0);
    }
    close(p[1]);
    *out = p[0];
    return pid;
}

/* Everything it said, as lines. */
static char *hear_all(struct ph_scope *s, int fd, int *whole)
{
    struct ph_buf b;
    char part[4096];
    ssize_t n;

    ph_buf_init(&b, s, 4u << 20);
    while ((n = read(fd, part, sizeof part)) > 0)
        ph_buf_put(&b, part, (size_t)n);
    close(fd);
    *whole = b.n >= 6 && strcmp(b.p + b.n - 6, "end 0\n") == 0;
    return b.p ? b.p : "";
}

static void make_place(const struct story *story, char bank[64])
{
    char dir[80];

    snprintf(dir, sizeof dir, "%s/%s", place, story->name);
    snprintf(crash_top, sizeof crash_top, "%.50s/q", dir);
    snprintf(bank, 64, "%.50s/bank", dir);
    if (mkdir(dir, 0700) < 0 || mkdir(crash_top, 0700) < 0 || mkdir(bank, 0700) < 0)
        exit(99);
    for (int i = 0; i < 2; i++) {       /* bounce's, made by the master at a start */
        snprintf(dir, sizeof dir, "%s/%s", crash_top, i ? "bounce" : "defer");
        if (mkdir(dir, 0700) < 0)
            exit(99);
    }
}

static int record(struct ph_scope *s, const struct story *story, struct recording *r)
{
    struct trace trace = { .what = TRACE_KILL, .at = -1 };
    char bank[64];
    int out, status, whole = 1, ended;
    pid_t pid;

    *r = (struct recording){ .story = story, .words = "" };
    make_place(story, bank);
    if (story->before) {
        pid = start(story->before, 0, &out);
        r->words = hear_all(s, out, &whole);
        waitpid(pid, &status, 0);
    }
    pid = start(story->run, 1, &out);
    trace.tape = r->tape = tape_new(s, crash_top, bank, out);
    trace_run(pid, &trace);
    tape_end(r->tape);
    const char *said = hear_all(s, out, &ended);

    if (!ended)
        printf("# it ends with: %.300s\n", said + (strlen(said) > 300 ? strlen(said) - 300 : 0));
    return ok(whole && ended, "%s: recorded, %d writes, syncs, changes of names and words", story->name, r->tape->ops);
}

/* ---- damage ---- */

static int is_below(const struct tape *t, int path, const char *dir)
{
    return strncmp(t->path[path].name, dir, strlen(dir)) == 0;
}

static int is_damaged(const struct tape *t, int i, enum damage damage, uint64_t last)
{
    const struct tape_op *op = &t->op[i];

    if (op->kind != TAPE_SYNC)
        return 0;
    switch (damage) {
    case NO_COMMIT_SYNC: return op->file >= 0 && last > 1 && last != PH_SLOT_BYTES;
    case NO_MARK_SYNC: return op->file >= 0 && last == 1;
    case NO_DROP_SYNC: return op->file >= 0 && op->all;
    case NO_SLOT_NAMES: return op->file < 0 && is_below(t, op->path, "pool/");
    case NO_TOP_DIRS: return op->file < 0 && !strchr(t->path[op->path].name, '/') && !is_below(t, op->path, "maildrop");
    case NO_MOVE_SYNC: return op->file < 0 && is_below(t, op->path, "deferred/");
    case NO_DROP_NAME: return op->file < 0 && is_below(t, op->path, "maildrop");
    default: return 0;
    }
}

/* A copy of the recording in which some syncs were never made. */
static struct tape *damaged(struct ph_scope *s, const struct tape *t, enum damage damage, int *n)
{
    struct tape *bad = ph_alloc(s, sizeof *bad);
    uint64_t last = 0;

    *bad = *t;
    *n = damage == FORGED;
    bad->op = ph_alloc_array(s, (size_t)t->ops, sizeof *bad->op);
    memcpy(bad->op, t->op, (size_t)t->ops * sizeof *bad->op);
    for (int i = 0; i < t->ops; i++) {
        if (t->op[i].kind == TAPE_WRITE)
            last = t->op[i].n;
        if (is_damaged(t, i, damage, last)) {
            bad->op[i] = (struct tape_op){ .kind = TAPE_WORD, .data = (unsigned char *)(uintptr_t)"" };
            ++*n;
        }
    }
    return bad;
}

/* What nobody can do by losing power: a mixture that verifies. */
static void forge(struct replay *r)
{
    struct ph_record rec;

    for (int f = 0; f < r->disk->tape->files; f++) {
        struct outcome_file *is = &r->outcome->file[f];

        if (!is->named || is->image == r->disk->file[f].image ||
            ph_record_decode(is->image, is->size, is->size, &rec) != 0)
            continue;
        rec.crc = ph_record_checksum(ph_crc32c(0, is->image + PH_RECORD_BYTES, rec.marks_offset - PH_RECORD_BYTES), &rec);
        ph_record_encode(&rec, is->image);
    }
}

/* ---- replay ---- */

static void say_failed(struct replay *r, int model, const struct chance *c, unsigned which, const char *why)
{
    char text[200];

    if (r->bad++ >= 5)
        return;
    tape_describe(r->disk->tape, r->disk->at - 1, text, sizeof text);
    printf("# OUTCOME=%s:%d:%s:%c%u SEED=%llu, behind %s: %s\n", r->rec->story->name, r->disk->at, model_names[model],
           c->drawn ? 'd' : 'c', which, (unsigned long long)seed, text, why);
}

static void show(const struct replay *r, const struct life *l)
{
    const struct tape *t = r->disk->tape;
    char text[200];

    for (int i = r->disk->at > 30 ? r->disk->at - 30 : 0; i < r->disk->at; i++) {
        tape_describe(t, i, text, sizeof text);
        printf("# %d %s\n", i + 1, text);
    }
    for (int i = 0; i < t->paths; i++)
        if (r->outcome->holds[i] >= 0)
            printf("# there: %s = file %d, %llu bytes\n", t->path[i].name, r->outcome->holds[i],
                   (unsigned long long)r->outcome->file[r->outcome->holds[i]].size);
    for (unsigned i = 0; i < l->n; i++)
        printf("# found: letter %u as %s in %d, whole %d, %c%c\n", l->found[i].letter.n, l->found[i].id, l->found[i].where,
               l->found[i].whole, l->found[i].state[0], l->found[i].state[1]);
}

static void live(struct replay *r, int model, const struct chance *c, unsigned which)
{
    PH_SCOPED(s, NULL);
    unsigned w[ORACLE_WINDOWS] = { 0 };
    char why[200];
    struct life l;

    if (r->damage == FORGED)
        forge(r);
    rebuild_make(r->rebuild, r->outcome);
    life_live(s, &l);
    for (unsigned i = 0; i < l.n; i++)
        rebuild_touched(r->rebuild, l.found[i].inode);
    r->made++;
    if (oracle_judge(r->oracle, &l, r->disk, w, why, sizeof why)) {
        if (r->damage == WHOLE || only.story)
            say_failed(r, model, c, which, why);
        r->bad++;
    }
    if (only.story)
        show(r, &l);
    if (r->damage != WHOLE)
        return;
    for (int i = 0; i < DISK_KINDS; i++)
        kinds[i] += r->outcome->kinds[i];
    for (int i = 0; i < ORACLE_WINDOWS; i++)
        windows[i] += w[i] > 0;
    found += l.n;
    lives++;
}

/* By lot: all and nothing in their turns, each with its odds; as it was some calls
 * ago; writes cut in two. */
static void draw(struct replay *r, int model, unsigned which, struct chance *c)
{
    static const unsigned odds[8][2] = { { 0, 0 }, { 16, 16 }, { 16, 0 }, { 0, 16 }, { 8, 8 }, { 14, 8 }, { 2, 14 }, { 8, 2 } };
    uint64_t x = (seed * 1000003 + (uint64_t)r->disk->at) * 1000003 + which * 2 + (unsigned)model;

    *c = (struct chance){ .drawn = 1, .state = x };
    x = chance_draw(c);
    memcpy(c->odds, odds[(x >> 20) % 8], sizeof c->odds);
    if ((x >> 30) % 4 == 0)
        c->cut = r->disk->at - (int)((x >> 40) % 8 * (1 + (x >> 50) % 4));
    else if ((x >> 30) % 4 == 1)
        c->torn = (1 + (int)((x >> 40) % 8)) << (x >> 50) % 2 * 4;
    disk_lose(r->disk, model, c, r->outcome);
}

static void count(struct replay *r, int model)
{
    struct chance c = { .drawn = 0 };
    unsigned which = 0;

    do {
        c.at = 0;
        disk_lose(r->disk, model, &c, r->outcome);
        if (!only.story || which == only.which)
            live(r, model, &c, which);
        which++;
    } while (chance_next(&c));
    r->counted++;
}

static void lose_power(struct replay *r, int model)
{
    struct chance c = { .drawn = 0 };
    unsigned n, total;

    if (only.story && (only.at != r->disk->at || only.model != model))
        return;
    r->due[model] += r->each * disk_stake(r->disk);
    if (r->due[model] < 1 && !only.story)
        return;
    r->prefixes++;
    disk_lose(r->disk, model, &c, r->outcome);
    total = chance_total(&c);
    if (only.story ? only.how == 'c' : total <= r->due[model]) {
        r->due[model] -= total;
        count(r, model);
        return;
    }
    n = only.story ? only.which + 1 : (unsigned)r->due[model];
    for (unsigned i = only.story ? only.which : 0; i < n; i++) {
        draw(r, model, i, &c);
        live(r, model, &c, i);
    }
    r->due[model] -= n;
}

static void hear_first(struct oracle *o, const char *words)
{
    char line[200];

    for (const char *end; (end = strchr(words, '\n')); words = end + 1) {
        snprintf(line, sizeof line, "%.*s", (int)(end - words), words);
        oracle_hear(o, line);
    }
}

static double stakes(struct ph_scope *s, const struct tape *t)
{
    struct disk *d = disk_new(s, t);
    double all = 0;

    while (d->at < t->ops) {
        disk_advance(d);
        all += disk_stake(d);
    }
    return all;
}

/* The whole recording, `budget` outcomes; broken ones end with the first that is
 * seen. */
static void replay(struct replay *r, const struct recording *rec, const struct tape *t, enum damage damage, double budget)
{
    PH_SCOPED(s, NULL);

    *r = (struct replay){ .rec = rec, .scope = s, .damage = damage, .each = budget / MODELS / stakes(s, t) };
    snprintf(crash_top, sizeof crash_top, "%s", t->top);
    r->disk = disk_new(s, t);
    r->outcome = outcome_new(s, r->disk);
    r->rebuild = rebuild_new(s, r->disk);
    r->oracle = oracle_new(s);
    hear_first(r->oracle, rec->words);
    for (int i = 0; i < t->ops && (damage == WHOLE || !r->bad); i++) {
        disk_advance(r->disk);
        if (t->op[i].kind == TAPE_WORD)
            oracle_hear(r->oracle, (const char *)t->op[i].data);
        for (int model = 0; model < MODELS; model++)
            lose_power(r, model);
    }
}

static void try_damages(const struct recording *rec)
{
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        PH_SCOPED(s, NULL);
        struct replay r = { .bad = 0 };
        struct tape *t;
        int n;

        if (strcmp(damages[i].story, rec->story->name) != 0)
            continue;
        t = damaged(s, rec->tape, damages[i].damage, &n);
        for (double budget = 100; budget <= 10000 && !r.bad; budget *= 10)
            replay(&r, rec, t, damages[i].damage, budget);
        ok(n > 0 && r.bad > 0, "broken on purpose: %s: seen after %u outcomes", damages[i].text, r.made);
    }
}

static void replay_round(const struct recording *rec, int first)
{
    unsigned weights = 0;

    for (unsigned i = 0; i < story_count; i++)
        weights += stories[i].weight;
    for (unsigned i = 0; i < story_count; i++) {
        struct replay r;

        if (!rec[i].tape)
            continue;
        replay(&r, &rec[i], rec[i].tape, WHOLE, (double)outcomes * rec[i].story->weight / weights);
        ok(r.bad == 0 && r.made > 0, "%s: %u outcomes of %u losses of power, %u of them in full", rec[i].story->name, r.made,
           r.prefixes, r.counted);
        if (first && !only.story)
            try_damages(&rec[i]);
    }
}

static int is_missing(void)
{
    int missing = 0;

    for (int i = 0; i < DISK_KINDS; i++)
        missing += kinds[i] == 0;
    for (int i = 0; i < ORACLE_WINDOWS && outcomes >= FULL; i++)
        missing += windows[i] == 0 && (i != WINDOW_BROKEN || TRACE_CAN_FAIL);
    return missing > 0;
}

/* A short run may miss what is rare: then it is not as short. */
static int replay_all(void *arg)
{
    replay_round(arg, 1);
    for (int i = 0; i < ROUNDS && !only.story && is_missing(); i++) {
        seed++;
        replay_round(arg, 0);
    }
    return 0;
}

/* ---- the whole ---- */

static void tell_counts(void)
{
    printf("# %u outcomes, seed %llu: %u messages found whole\n# what happened to the disk:\n", lives, (unsigned long long)seed, found);
    for (int i = 0; i < DISK_KINDS; i++)
        printf("# %8u %s\n", kinds[i], kind_text[i]);
    printf("# what came of it:\n");
    for (int i = 0; i < ORACLE_WINDOWS; i++)
        printf("# %8u %s\n", windows[i], window_text[i]);
    for (int i = 0; i < DISK_KINDS; i++)
        ok(kinds[i] > 0, "it happened: %s", kind_text[i]);
    for (int i = 0; i < ORACLE_WINDOWS && outcomes >= FULL; i++)
        ok((i == WINDOW_BROKEN && !TRACE_CAN_FAIL) || windows[i] > 0, "it was seen: %s", window_text[i]);
}

static void read_options(void)
{
    static char one[200];
    const char *e;
    char *field[4];

    if ((e = getenv("POSTHORN_SEED")) && *e)
        seed = strtoull(e, NULL, 10);
    if ((e = getenv("POSTHORN_OUTCOMES")) && *e)
        outcomes = (unsigned)strtoul(e, NULL, 10);
    if (!(e = getenv("POSTHORN_OUTCOME")) || !*e)
        return;
    snprintf(one, sizeof one, "%s", e);
    for (int i = 0; i < 4; i++)
        if (!(field[i] = strtok(i ? NULL : one, ":")))
            exit(2);
    only.story = field[0];
    only.at = atoi(field[1]);
    only.model = strcmp(field[2], model_names[MODEL_LOOSE]) == 0 ? MODEL_LOOSE : MODEL_JOURNAL;
    only.how = field[3][0];
    only.which = (unsigned)strtoul(field[3] + 1, NULL, 10);
}

int main(void)
{
    struct ph_scope *s = ph_scope_new(NULL);
    struct recording *rec = ph_alloc_array(s, story_count, sizeof *rec);
    int null = open("/dev/null", O_WRONLY);

    read_options();
    crash_place(place, sizeof place, "power");
    for (unsigned i = 0; i < story_count; i++) {
        rec[i] = (struct recording){ .story = &stories[i] };
        if (!only.story || strcmp(only.story, stories[i].name) == 0)
            record(s, &stories[i], &rec[i]);
    }
    if (!only.story)
        dup2(null, 2);             /* what a start says of what it finds */
    if (ph_run_main(replay_all, rec) < 0)
        exit(99);
    if (!only.story)
        tell_counts();
    ph_scope_free(s);
    return done_testing();
}
