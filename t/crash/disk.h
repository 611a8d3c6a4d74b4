/* t/crash/disk.h: the model of stable storage (POWER.md): what a recording may have
 * left on disk when the power goes behind one of its calls. */
#ifndef T_CRASH_DISK_H
#define T_CRASH_DISK_H

#include "tape.h"

#define SECTOR 512

enum { MODEL_JOURNAL, MODEL_LOOSE, MODELS };

/* What the chances of an outcome are: every one is a sequence of small numbers,
 * counted through when they are few, else drawn. */
enum { CHANCE_DATA, CHANCE_META };
struct chance {
    int drawn;                     /* 1: by lot; 0: counted through */
    int cut;                       /* > 0: all before this call reached the disk, and nothing else */
    int torn;                      /* > 0: of the last write to each file so many sectors from its start on, the rest as before */
    uint64_t state;                /* of the lot */
    unsigned odds[2];              /* of 16, per CHANCE_*: 0 nothing reaches the disk, 16 all */
    unsigned digit[64], radix[64];
    int at, digits;
};
/* 0 .. n - 1, higher is later; `before`: what it is when there is a cut. */
unsigned chance(struct chance *c, unsigned n, int what, unsigned before);
/* A number by lot. */
uint64_t chance_draw(struct chance *c);
/* The next one in counting: 0 at the end. */
int chance_next(struct chance *c);
/* How many there are in all, after the first was made; many are 1000000. */
unsigned chance_total(const struct chance *c);

struct disk_file {
    unsigned char *image;          /* durable data, as long as the file ever gets */
    uint64_t room, size;           /* size, mode: durable in any case */
    mode_t mode;
    int *pending, n, space;        /* writes (ops) not durable */
    unsigned version;              /* of image: changes */
};

struct disk_meta {
    int op;
    unsigned char sure[2];         /* each of its edits, or the change, is durable (MODEL_LOOSE) */
};

/* How much reached the disk of what need not have. */
struct disk {
    const struct tape *tape;
    int at;                        /* ops that were made */
    struct disk_file *file;
    struct disk_meta *meta;
    int metas, barrier;            /* MODEL_JOURNAL: the first `barrier` are durable */
};

/* What may happen, counted: a test that never makes one of them proves little. */
#define KINDS(K) \
    K(TORN_REUSED, "a slot holds sectors of an old and of a new message") \
    K(TORN_FRESH, "a fresh slot holds some sectors of a message") \
    K(WIPE_LOST, "content of a large message stands behind the old record") \
    K(MARK_LOST, "a mark did not reach the disk") \
    K(MARK_KEPT, "a mark reached the disk unsynced") \
    K(GROWN_NO_DATA, "a file grew and its new end holds zeros") \
    K(DATA_NO_SIZE, "data was written and the file did not grow") \
    K(CREATE_LOST, "a file that was made has no name") \
    K(CREATE_KEPT, "a new name reached the disk unsynced") \
    K(RENAME_LOST, "a slot that was renamed away is back in the pool") \
    K(RENAME_KEPT, "a rename reached the disk unsynced") \
    K(RENAME_HALF, "a file has both its names: only the new directory was synced") \
    K(UNLINK_LOST, "a file that was removed is there") \
    K(UNLINK_KEPT, "a removal reached the disk unsynced") \
    K(DISORDER, "a later change of a directory is on disk, an earlier one is not")

#define KIND_NAME(name, text) KIND_##name,
enum kind { KINDS(KIND_NAME) DISK_KINDS };
extern const char *const kind_text[DISK_KINDS];

struct outcome {
    int *holds;                    /* per path: as tape_path.now */
    struct outcome_file {
        int named;                 /* it is somewhere: the rest counts */
        unsigned char *image;
        unsigned char *own;        /* memory for it */
        uint64_t size;
        mode_t mode;
    } *file;
    unsigned char kinds[DISK_KINDS];
};

struct disk *disk_new(struct ph_scope *s, const struct tape *t);
/* One call more. */
void disk_advance(struct disk *d);
struct outcome *outcome_new(struct ph_scope *s, const struct disk *d);
/* Power is lost now. */
void disk_lose(const struct disk *d, int model, struct chance *c, struct outcome *o);
/* How much there is to try here: more while content or renames are not durable. */
int disk_stake(const struct disk *d);
/* 1: content is being written to that file, not durable yet. */
int disk_is_writing(const struct disk *d, int file);

#endif
