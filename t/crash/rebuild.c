/* rebuild: see rebuild.h. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "rebuild.h"

struct now {
    unsigned char *image;          /* what the file holds; NULL: not known */
    uint64_t size;
    mode_t mode;
    unsigned version;              /* of disk_file.image, 0: another */
};

struct rebuild {
    const struct disk *disk;
    const struct tape *tape;
    struct ph_scope *scope;
    struct now *now;
    unsigned char *seen;           /* per path: it is there as it should be */
};

static void must(int ok, const char *what)
{
    if (ok)
        return;
    printf("Bail out! rebuilding: %s\n", what);
    exit(95);
}

struct rebuild *rebuild_new(struct ph_scope *s, const struct disk *d)
{
    struct rebuild *r = ph_alloc(s, sizeof *r);

    *r = (struct rebuild){ .disk = d, .tape = d->tape, .scope = s };
    r->now = ph_alloc_array(s, (size_t)d->tape->files + 1, sizeof *r->now);
    memset(r->now, 0, ((size_t)d->tape->files + 1) * sizeof *r->now);
    r->seen = ph_alloc(s, (size_t)d->tape->paths + 1);
    return r;
}

void rebuild_touched(struct rebuild *r, ino_t inode)
{
    int f = tape_find_file(r->tape, inode);

    must(f >= 0, "a file that nobody recorded");
    r->now[f].size = UINT64_MAX;
    r->now[f].version = 0;
}

/* ---- files ---- */

static void put(int fd, const unsigned char *image, uint64_t from, uint64_t to)
{
    must(pwrite(fd, image + from, to - from, (off_t)from) == (ssize_t)(to - from), "write");
}

/* Runs of sectors that differ; all of them when it is not known what is there. */
static void put_difference(int fd, struct now *now, const unsigned char *image, uint64_t size)
{
    int blind = now->size == UINT64_MAX;
    uint64_t known = blind ? 0 : now->size < size ? now->size : size;

    for (uint64_t at = 0, next; at < known; at = next) {
        next = at + SECTOR < known ? at + SECTOR : known;
        if (memcmp(now->image + at, image + at, next - at) != 0)
            put(fd, image, at, next);
    }
    if (known < size)
        put(fd, image, known, size);
}

static void make_file(struct rebuild *r, int f, const struct outcome_file *want)
{
    const struct disk_file *d = &r->disk->file[f];
    struct now *now = &r->now[f];
    char path[100];
    int fd;

    if (now->image && now->version && now->version == d->version + 1 && want->image == d->image && now->size == want->size &&
        now->mode == want->mode)
        return;
    if (!now->image) {
        now->image = ph_alloc(r->scope, d->room + 1);
        now->size = UINT64_MAX;
    }
    snprintf(path, sizeof path, "%s/%d", r->tape->bank, f);
    must((fd = open(path, O_RDWR | O_CLOEXEC)) >= 0, path);
    put_difference(fd, now, want->image, want->size);
    must(ftruncate(fd, (off_t)want->size) == 0, "size");
    must(fchmod(fd, want->mode) == 0, "mode");
    close(fd);
    memcpy(now->image, want->image, want->size);
    now->size = want->size;
    now->mode = want->mode;
    now->version = want->image == d->image ? d->version + 1 : 0;
}

/* ---- names ---- */

static void remove_tree(const char *path)
{
    DIR *d = opendir(path);
    char sub[300];

    for (const struct dirent *e; d && (e = readdir(d)); ) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        snprintf(sub, sizeof sub, "%.200s/%.90s", path, e->d_name);
        if (e->d_type == DT_DIR)
            remove_tree(sub);
        else
            must(unlink(sub) == 0, sub);
    }
    if (d)
        closedir(d);
    must(rmdir(path) == 0, path);
}

/* Take away what should not be there. */
static void clear(struct rebuild *r, const struct outcome *o, const char *name)
{
    char whole[200], sub[TAPE_PATH];
    DIR *d;

    snprintf(whole, sizeof whole, "%s/%s", r->tape->top, name);
    must((d = opendir(whole)) != NULL, whole);
    for (const struct dirent *e; (e = readdir(d)); ) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        snprintf(sub, sizeof sub, "%.40s%s%.50s", name, name[0] ? "/" : "", e->d_name);
        snprintf(whole, sizeof whole, "%s/%s", r->tape->top, sub);
        int path = tape_find_path(r->tape, sub), holds = path < 0 ? TAPE_NONE : o->holds[path];

        if (e->d_type == DT_DIR ? holds == TAPE_DIR : holds >= 0 && r->tape->file[holds].inode == e->d_ino)
            r->seen[path] = 1;
        if (e->d_type == DT_DIR && holds == TAPE_DIR)
            clear(r, o, sub);
        else if (e->d_type == DT_DIR)
            remove_tree(whole);
        else if (path < 0 || !r->seen[path])
            must(unlink(whole) == 0, whole);
    }
    closedir(d);
}

static void make_names(struct rebuild *r, const struct outcome *o)
{
    char from[100], to[200];

    for (int i = 1; i < r->tape->paths; i++) {
        if (r->seen[i] || o->holds[i] == TAPE_NONE)
            continue;
        snprintf(to, sizeof to, "%s/%s", r->tape->top, r->tape->path[i].name);
        snprintf(from, sizeof from, "%s/%d", r->tape->bank, o->holds[i]);
        must(o->holds[i] == TAPE_DIR ? mkdir(to, 0700) == 0 : link(from, to) == 0, to);
    }
}

void rebuild_make(struct rebuild *r, const struct outcome *o)
{
    for (int f = 0; f < r->tape->files; f++)
        if (o->file[f].named)
            make_file(r, f, &o->file[f]);
    memset(r->seen, 0, (size_t)r->tape->paths + 1);
    clear(r, o, "");
    make_names(r, o);
}
