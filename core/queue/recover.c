/* Recovery: what a start finds in the pool, and what a worker leaves behind when
 * its connection ends.  A slot is looked at only when nobody holds its lease.
 *
 *   no record                        unfinished: unlinked
 *   a record that does not verify    to corrupt, with a warning
 *   all recipients done              finished: unlinked
 *   else                             a message of the queue (or on hold) */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/disk.h>
#include <posthorn/log.h>
#include "core/queue/store.h"

#define LIMBO_MS 100
#define TROUBLE_MS 2000            /* each look says it in the log */

/* The name under which a damaged file is kept: its id if that is believable and
 * free, else that of its slot. */
static int slot_to_corrupt(struct ph_queue *q, struct ph_slot *slot, const char *why)
{
    char from[PH_PATH], to[PH_PATH];
    int rc;

    ph_queue_path(from, PH_PLACE_SLOT, slot->name);
    ph_queue_path(to, PH_PLACE_CORRUPT, strchr(slot->name, '/') + 1);
    ph_log_warn("%s: damaged message file moved to corrupt: %s", from, why);
    if ((rc = ph_dirs_move(q, from, to, -1)) < 0)
        return rc;
    ph_slot_free(q, slot);
    return 0;
}

/* The id of a file is believed only when it can be this file's and no other
 * has it: a receiver wrote it. */
static const char *id_trouble(struct ph_queue *q, const struct ph_record *r, uint64_t inode)
{
    uint64_t said;

    if (r->inode != inode || !ph_id_parse(ph_cstr(r->id), &said) || said != inode)
        return "its queue id is not that of this file";
    if (ph_queue_in_memory(q, ph_cstr(r->id)))
        return "another message has its queue id";
    return NULL;
}

static int adopt_message(struct ph_queue *q, struct ph_slot *slot, const struct ph_loaded *l)
{
    struct ph_qmsg *m = ph_qmsg_new(q, ph_cstr(l->record.id), PH_PLACE_SLOT);
    int rc;

    m->slot = slot;
    m->recovered = 1;
    ph_list_remove(&slot->node);
    slot->state = PH_SLOT_MESSAGE;
    if (!(l->record.flags & PH_RECORD_HOLD)) {
        q->ev->arrived(q->arg, m);
        return 0;
    }
    m->moving = 1;
    if ((rc = ph_queue_hold(q, m)) == 0)
        ph_log("%s: placed on hold", m->id);
    ph_queue_forget(q, m);
    return rc;
}

static int read_slot(struct ph_queue *q, struct ph_slot *slot, struct ph_scope *s,
                     struct ph_message *msg, struct ph_loaded *l)
{
    char path[PH_PATH];
    int fd, rc;

    ph_queue_path(path, PH_PLACE_SLOT, slot->name);
    if ((fd = openat(q->dir_fd, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW)) < 0)
        return ph_fail_errno(PH_TEMP, errno, "open %s", path);
    if ((rc = ph_record_load(s, s, fd, msg, l)) == 0)
        rc = ph_record_check(fd, &l->record);
    close(fd);
    return rc;
}

static int has_work(const struct ph_message *m)
{
    for (uint32_t i = 0; i < m->rcpt_count; i++)
        if (m->rcpt[i].state == PH_STATE_PENDING || m->rcpt[i].state == PH_STATE_FAILED)
            return 1;
    return 0;
}

int ph_adopt_slot(struct ph_queue *q, struct ph_slot *slot)
{
    PH_SCOPED(s, NULL);
    struct ph_message msg;
    struct ph_loaded l;
    const char *why;
    int rc = read_slot(q, slot, s, &msg, &l);

    if (rc == PH_NONE)
        return ph_slot_unlink(q, slot);
    if (rc == PH_PERM)
        return slot_to_corrupt(q, slot, ph_str_dup(s, ph_cstr(ph_error())).p);
    if (rc < 0)
        return rc;
    if (!has_work(&msg))
        return ph_slot_unlink(q, slot);
    if ((why = id_trouble(q, &l.record, slot->inode)) != NULL)
        return slot_to_corrupt(q, slot, why);
    return adopt_message(q, slot, &l);
}

/* 1: still leased by somebody; 0; PH_NONE: gone; PH_TEMP. */
static int is_leased(struct ph_queue *q, const char *name, uint64_t *inode)
{
    char path[PH_PATH];
    struct stat st;
    int fd, rc;

    ph_queue_path(path, PH_PLACE_SLOT, name);
    if ((fd = openat(q->dir_fd, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW)) < 0)
        return errno == ENOENT ? PH_NONE : ph_fail_errno(PH_TEMP, errno, "open %s", path);
    rc = fstat(fd, &st) < 0 ? ph_fail_errno(PH_TEMP, errno, "fstat %s", path) : 0;
    if (rc == 0 && !S_ISREG(st.st_mode))
        rc = ph_fail(PH_TEMP, "%s is not a regular file", path);
    if (rc == 0)
        *inode = st.st_ino;
    /* A reader's lock (an agent from before) is not in the way of looking. */
    if (rc == 0)
        rc = ph_lock_is_held(fd, F_RDLCK);
    close(fd);
    return rc;
}

static int recover_slot(struct ph_queue *q, const char *name)
{
    struct ph_slot *slot;
    uint64_t inode = 0;
    int leased = is_leased(q, name, &inode);

    if (leased == PH_NONE)
        return 0;
    slot = ph_slot_add(q, name, inode, PH_SLOT_LIMBO);
    ph_list_push(&q->limbo, &slot->node);
    /* What cannot be looked at now may hold mail: it stays in limbo, where it is
     * looked at again. */
    return leased < 0 ? leased : leased ? 0 : ph_adopt_slot(q, slot);
}

/* Call fn for each name in a directory: trouble with one is a warning, the rest
 * goes on. */
static int each_name(struct ph_queue *q, const char *dir, int (*fn)(struct ph_queue *, const char *, const char *))
{
    int fd = openat(q->dir_fd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;
    int rc = 0;

    if (!d) {
        rc = ph_fail_errno(PH_TEMP, errno, "open directory %s", dir);
        if (fd >= 0)
            close(fd);
        return rc;
    }
    while (rc != PH_CANCEL && (errno = 0, e = readdir(d)) != NULL)
        if (e->d_name[0] != '.' && (rc = fn(q, dir, e->d_name)) < 0 && rc != PH_CANCEL)
            ph_log_warn("%s/%s: %s", dir, e->d_name, ph_error());
    /* A directory that was read in part would leave mail where it is until the
     * next start: this one fails, and the next comes soon. */
    rc = rc == PH_CANCEL ? rc : e == NULL && errno ? ph_fail_errno(PH_TEMP, errno, "read directory %s", dir) : 0;
    closedir(d);
    return rc;
}

static int found_in_pool(struct ph_queue *q, const char *dir, const char *name)
{
    char full[PH_SLOT_NAME];

    if (strlen(name) > sizeof full - 3)
        return ph_fail(PH_TEMP, "not a slot");
    snprintf(full, sizeof full, "%c/%s", dir[strlen(dir) - 1], name);
    return recover_slot(q, full);
}

/* incoming and active: files that an administrator or an import put there under
 * their id.  What they hold is checked when it is loaded. */
static int found_named(struct ph_queue *q, const char *dir, const char *name)
{
    struct ph_qmsg *m;

    if (!ph_id_is_name(ph_cstr(name)) || ph_queue_in_memory(q, ph_cstr(name)))
        return ph_fail(PH_TEMP, "not a queue id, or known from elsewhere: left alone");
    m = ph_qmsg_new(q, ph_cstr(name), (unsigned)ph_place_find(ph_cstr(dir)));
    m->recovered = 1;
    q->ev->arrived(q->arg, m);
    return 0;
}

int ph_queue_recover(struct ph_queue *q)
{
    char dir[PH_PATH];
    int rc = 0;

    for (unsigned h = 0; h < PH_POOL_DIRS && rc == 0; h++) {
        snprintf(dir, sizeof dir, "pool/%x", h);
        rc = each_name(q, dir, found_in_pool);
    }
    if (rc == 0)
        rc = each_name(q, "incoming", found_named);
    if (rc == 0)
        rc = each_name(q, "active", found_named);
    return rc;
}

/* One round over the slots whose worker is not there: those whose lock has gone
 * are settled.  1 when one of them could not be looked at. */
static int look_at_limbo(struct ph_queue *q)
{
    struct ph_list round = PH_LIST_INIT(round);
    struct ph_list *n;
    int trouble = 0;

    while ((n = ph_list_shift(&q->limbo)) != NULL)
        ph_list_push(&round, n);
    while ((n = ph_list_shift(&round)) != NULL) {
        struct ph_slot *slot = ph_list_of(n, struct ph_slot, node);
        char name[PH_SLOT_NAME];   /* the slot may be freed below */
        uint64_t inode;
        int rc;

        memcpy(name, slot->name, sizeof name);
        ph_list_push(&q->limbo, n);
        if ((rc = is_leased(q, slot->name, &inode)) == PH_NONE) {
            ph_slot_free(q, slot);
        } else if (rc == 0) {
            slot->inode = inode;
            rc = ph_adopt_slot(q, slot);
        }
        if (rc < 0 && rc != PH_CANCEL) {
            ph_log_warn("pool/%s: %s", name, ph_error());
            trouble = 1;
        }
    }
    return trouble;
}

void ph_limbo_watch(void *arg)
{
    struct ph_queue *q = arg;
    int rc = 0;

    while (rc != PH_CANCEL && !ph_cancelled()) {
        int64_t pause = look_at_limbo(q) ? TROUBLE_MS : LIMBO_MS;

        rc = ph_cond_wait(q->limbo_wake, ph_list_is_empty(&q->limbo) ? PH_FOREVER : ph_in_ms(pause));
    }
}
