/* life: see life.h. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/disk.h>
#include <posthorn/maildrop.h>
#include "life.h"

static void arrived(void *arg PH_UNUSED, struct ph_qmsg *m PH_UNUSED) { }

static int has_room(void *arg PH_UNUSED, uint32_t rcpts PH_UNUSED)
{
    return 0;
}

static const struct ph_queue_events events = { arrived, has_room };

__attribute__((format(printf, 2, 3)))
static void trouble(struct life *l, const char *fmt, ...)
{
    va_list ap;

    if (l->trouble[0])
        return;
    va_start(ap, fmt);
    vsnprintf(l->trouble, sizeof l->trouble, fmt, ap);
    va_end(ap);
}

static struct life_found *add(struct life *l)
{
    if (l->n == l->room) {
        unsigned room = l->room ? l->room * 2 : 64;
        struct life_found *more = ph_alloc_array(l->scope, room, sizeof *more);

        if (l->n)
            memcpy(more, l->found, l->n * sizeof *more);
        l->found = more;
        l->room = room;
    }
    memset(&l->found[l->n], 0, sizeof l->found[0]);
    return &l->found[l->n++];
}

/* Who is pending gets it, who failed is told, and it goes. */
static void deliver(struct life *l, struct ph_queue *q, struct ph_qmsg *m)
{
    PH_SCOPED(s, NULL);
    struct life_found *f;
    struct ph_message *read;
    int rc = ph_queue_load(q, m), fd;

    if (rc == PH_NONE)
        return;                        /* finished: it goes silently */
    if (rc == PH_PERM)
        return;                        /* it is in corrupt now: seen there */
    if (rc != 0) {
        trouble(l, "a message does not load");
        ph_queue_forget(q, m);
        return;
    }
    if (m->pending == 0 && m->failed == 0) {   /* as qmgr does */
        if (ph_queue_remove(q, m) < 0)
            trouble(l, "a finished message cannot be removed");
        return;
    }
    f = add(l);
    f->where = (int)m->place;
    f->inode = m->inode;
    memcpy(f->id, m->id, sizeof f->id);
    for (uint32_t i = 0; i < LETTER_RCPTS && i < m->rcpt_count; i++)
        f->state[i] = (char)ph_qmsg_state(m, i);
    if ((fd = ph_queue_open_reader(q, m)) > 2) {
        f->whole = m->rcpt_count == LETTER_RCPTS && ph_message_verify(s, fd, ph_cstr(m->id), &read, NULL) == 0 &&
                   letter_of(read, &f->letter);
        close(fd);
    }
    for (uint32_t i = 0; i < m->rcpt_count; i++)
        ph_queue_mark(q, m, i, ph_qmsg_state(m, i) == PH_STATE_FAILED ? PH_STATE_TOLD : PH_STATE_DELIVERED);
    if (ph_queue_remove(q, m) < 0) {
        trouble(l, "a message cannot be removed");
        ph_queue_forget(q, m);
    }
}

static void deliver_all(struct life *l, struct ph_queue *q)
{
    static const unsigned places[] = { PH_PLACE_DEFERRED, PH_PLACE_HOLD };
    struct ph_qmsg *m;

    for (size_t at = 0; (m = ph_queue_next(q, &at)) != NULL; at = 0)
        deliver(l, q, m);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        PH_SCOPED(s, NULL);
        struct ph_walk *w = ph_walk_new(s, q, places[i]);

        while (ph_walk_next(w, &m) == PH_FOUND)
            deliver(l, q, m);
    }
}

/* ---- maildrop ---- */

static int64_t read_fd(void *arg, char *p, size_t n)
{
    return read(*(int *)arg, p, n);
}

static int64_t read_text(void *arg, uint64_t at, void *p, size_t n)
{
    ph_str text = ph_str_first(ph_str_from(*(ph_str *)arg, (size_t)at), n);

    memcpy(p, text.p, text.n);
    return (int64_t)text.n;
}

int letter_of_drop(struct ph_scope *s, int fd, struct letter *l)
{
    struct ph_maildrop_source source;
    struct ph_maildrop m;
    struct ph_buf text;
    uint32_t state = 0;
    ph_str bytes;
    char *wire = ph_alloc(s, 2 * PH_MAILDROP_CHUNK + 2);
    int rc;

    ph_buf_init(&text, s, 1u << 20);
    ph_maildrop_source_init(&source, s, read_fd, &fd);
    if (ph_maildrop_envelope(&source, s, &m) != 0)
        return 0;
    while ((rc = ph_maildrop_content(&source, &bytes)) == PH_FOUND)
        ph_buf_put(&text, wire, ph_maildrop_wire(&state, bytes, wire));
    bytes = ph_buf_view(&text);
    return rc == PH_NONE && m.rcpt_count == LETTER_RCPTS && letter_know(read_text, &bytes, bytes.n, l);
}

/* As pickup does: dots and files that are not ready are passed. */
static void look_at_drop(struct life *l, int dir, const char *name)
{
    PH_SCOPED(s, NULL);
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    struct ph_message *m;
    struct life_found *f;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0) {
        trouble(l, "maildrop/%s cannot be read", name);
    } else if (name[0] != '.' && st.st_mode & S_IXUSR) {
        f = add(l);
        f->where = LIFE_MAILDROP;
        f->inode = st.st_ino;
        f->whole = letter_of_drop(s, fd, &f->letter) ||
                   (ph_message_verify(s, fd, ph_cstr(name), &m, NULL) == 0 && letter_of(m, &f->letter));
    }
    if (fd >= 0)
        close(fd);
}

/* ---- what is left ---- */

static void look_at(struct life *l, int dir, const char *path, const char *name)
{
    struct stat st;

    if (strncmp(path, "maildrop", 8) == 0) {
        look_at_drop(l, dir, name);
    } else if (strncmp(path, "corrupt", 7) == 0) {
        ino_t *more = ph_alloc_array(l->scope, l->corrupts + 1, sizeof *more);

        if (l->corrupts)
            memcpy(more, l->corrupt, l->corrupts * sizeof *more);
        l->corrupt = more;
        l->corrupt[l->corrupts++] = fstatat(dir, name, &st, 0) == 0 ? st.st_ino : 0;
    } else if (strcmp(path, "bounce") == 0 || strcmp(path, "defer") == 0) {
        l->logs++;
    } else {
        trouble(l, "%s/%s is left behind", path, name);
    }
}

static void look_below(struct life *l, int at, const char *path)
{
    int fd = openat(at, path[0] ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);

    if (!d) {
        trouble(l, "no directory %s", path);
        return;
    }
    for (const struct dirent *e; (e = readdir(d)); ) {
        char sub[PH_PATH];

        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (e->d_type != DT_DIR) {
            look_at(l, fd, path, e->d_name);
            continue;
        }
        snprintf(sub, sizeof sub, "%.40s%s%.50s", path, path[0] ? "/" : "", e->d_name);
        look_below(l, at, sub);
    }
    closedir(d);
}

void life_live(struct ph_scope *s, struct life *l)
{
    PH_SCOPED(life, NULL);
    struct ph_queue *q;

    memset(l, 0, sizeof *l);
    l->scope = s;
    if (ph_queue_open(life, world_conf(life), &events, NULL, &q) < 0 || ph_queue_recover(q) < 0) {
        trouble(l, "the queue does not open");
        return;
    }
    deliver_all(l, q);
    if (!ph_list_is_empty(&q->limbo))
        trouble(l, "a slot in limbo");
    look_below(l, q->dir_fd, "");
}
