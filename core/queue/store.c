/* The store: messages in memory, their marks, and where their files go.
 *
 * At each step the file is somewhere the next start looks: a mark is one byte
 * written in place, a move is one rename, an end is one unlink (or a slot whose
 * recipients are all marked, which reads as finished). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/disk.h>
#include <posthorn/log.h>
#include "core/queue/store.h"

#define UNMARKED 0x80u             /* in qmsg.state: the file does not say it yet */

struct ph_qmsg *ph_qmsg_new(struct ph_queue *q, ph_str id, unsigned place)
{
    struct ph_qmsg *m = calloc(1, sizeof *m);

    if (!m)
        ph_die("out of memory");
    memcpy(m->id, id.p, id.n < PH_ID_MAX ? id.n : PH_ID_MAX);
    m->place = place;
    m->queue = q;
    m->fd = -1;
    ph_list_init(&m->node);
    ph_list_init(&m->portions);
    ph_list_init(&m->open_node);
    ph_map_set(q->by_id, ph_cstr(m->id), m);
    return m;
}

/* The portion of a message that was read whole stands on its scope. */
static void free_loaded(struct ph_qmsg *m)
{
    for (struct ph_list *n; (n = ph_list_shift(&m->portions)); ) {
        struct ph_portion *p = ph_list_of(n, struct ph_portion, node);

        if (p->scope != m->scope)
            ph_scope_free(p->scope);
    }
    ph_scope_free(m->scope);
}

static void qmsg_free(struct ph_qmsg *m)
{
    ph_qmsg_fd_close(m);
    ph_list_remove(&m->node);
    ph_map_del(m->queue->by_id, ph_cstr(m->id));
    free_loaded(m);
    free(m);
}

void ph_queue_forget(struct ph_queue *q PH_UNUSED, struct ph_qmsg *m)
{
    qmsg_free(m);
}

void ph_queue_unload(struct ph_qmsg *m)
{
    free_loaded(m);
    m->scope = NULL;
    m->state = NULL;
    m->rcpt_count = m->pending = m->failed = m->loaded = m->whole = 0;
    memset(&m->message, 0, sizeof m->message);
    m->message.fd = -1;
}

void ph_qmsg_fd_close(struct ph_qmsg *m)
{
    if (m->fd < 0)
        return;
    close(m->fd);
    m->fd = -1;
    ph_list_remove(&m->open_node);
    m->queue->open_count--;
}

/* Descriptors are kept while there are enough of them: marking is then one
 * system call.  The one that was used longest ago gives way. */
int ph_qmsg_fd(struct ph_qmsg *m)
{
    struct ph_queue *q = m->queue;
    char path[PH_PATH];
    int fd;

    ph_list_remove(&m->open_node);
    if (m->fd < 0 && m->slot && m->slot->fd >= 0) {
        m->fd = m->slot->fd;
        m->slot->fd = -1;
    }
    if (m->fd < 0) {
        if (q->open_count >= q->open_max && !ph_list_is_empty(&q->open))
            ph_qmsg_fd_close(ph_list_of(q->open.next, struct ph_qmsg, open_node));
        ph_qmsg_path(path, m);
        fd = ph_queue_open_file(q->dir_fd, path, q->read_only ? O_RDONLY : O_RDWR);
        if (fd < 0)
            return errno == ENOENT ? PH_NONE : ph_fail_errno(PH_TEMP, errno, "open %s", path);
        m->fd = fd;
        q->open_count++;
    }
    ph_list_push(&q->open, &m->open_node);
    return 0;
}

void ph_qmsg_loaded(struct ph_qmsg *m, struct ph_scope *s, const struct ph_message *msg,
                    const struct ph_loaded *l)
{
    m->message = *msg;
    m->message.queue_id = ph_cstr(m->id);
    m->message.fd = -1;
    m->message.rcpt = NULL;
    m->rcpt_count = msg->rcpt_count;
    m->state = ph_alloc(s, m->rcpt_count);
    m->pending = m->failed = 0;
    for (uint32_t i = 0; i < m->rcpt_count; i++) {
        m->state[i] = (unsigned char)ph_record_state(l->marks.p[PH_MARKS_HEAD + i]);
        m->pending += m->state[i] == PH_STATE_PENDING;
        m->failed += m->state[i] == PH_STATE_FAILED;
    }
    if ((m->whole = msg->rcpt != NULL))            /* ours: made by the parser on s */
        ph_portion_new(m, s, (struct ph_message_rcpt *)(uintptr_t)msg->rcpt, 0, m->rcpt_count);
    m->rcpt_offset = l->record.rcpt_offset;
    m->rcpt_bytes = l->record.rcpt_bytes;
    m->warned = msg->warned;
    m->expired = l->marks.p[PH_MARK_AT_EXPIRED] == 'E';
    m->marks_offset = l->record.marks_offset;
    m->inode = l->record.inode;
    m->file_bytes = l->record.total;
    m->record_crc = l->record.crc;
    m->scope = s;
    m->loaded = 1;
    if (l->skipped > 0)
        ph_log_warn("%s: %u unknown records in the message file skipped", m->id, l->skipped);
}

/* The file is gone, or was finished before: nothing is left to do. */
static int load_nothing(struct ph_queue *q, struct ph_qmsg *m)
{
    if (m->slot)
        ph_slot_free(q, m->slot);
    qmsg_free(m);
    return PH_NONE;
}

int ph_queue_corrupt(struct ph_queue *q, struct ph_qmsg *m, const char *why)
{
    char from[PH_PATH], to[PH_PATH];
    int rc;

    if (q->read_only) {            /* a program that only looks: its caller says it */
        load_nothing(q, m);
        return 0;
    }
    ph_qmsg_path(from, m);
    ph_queue_path(to, PH_PLACE_CORRUPT, m->id);
    ph_log_warn("%s: %s: damaged message file moved to corrupt: %s", m->id, from, why);
    if ((rc = ph_dirs_move(q, from, to, -1)) < 0)
        return rc;
    if (m->slot)
        ph_slot_free(q, m->slot);
    qmsg_free(m);
    return 0;
}

static int load_failed(struct ph_queue *q, struct ph_qmsg *m, int rc)
{
    PH_SCOPED(s, NULL);
    ph_str why = ph_str_dup(s, rc == PH_NONE ? PH_STR("no commit record") : ph_cstr(ph_error()));

    if (rc != PH_NONE && rc != PH_PERM)
        return ph_wrap(rc, "%s", m->id);
    if ((rc = ph_queue_corrupt(q, m, why.p)) < 0)
        return rc;
    return ph_fail(PH_PERM, "damaged message file: %s", why.p);
}

int ph_queue_load(struct ph_queue *q, struct ph_qmsg *m)
{
    return ph_queue_load_upto(q, m, UINT32_MAX);
}

int ph_queue_load_upto(struct ph_queue *q, struct ph_qmsg *m, uint32_t max)
{
    struct ph_scope *s;
    struct ph_message msg;
    struct ph_loaded l;
    int rc;

    if (m->loaded)
        return 0;
    if ((rc = ph_qmsg_fd(m)) == PH_NONE)
        return load_nothing(q, m);
    if (rc < 0)
        return rc;
    /* D13: an agent that outlived us still works on it. */
    if (m->recovered && (rc = ph_lock_is_held(m->fd, F_WRLCK)) != 0)
        return rc < 0 ? rc : PH_FOUND;
    s = ph_scope_new(NULL);
    {
        PH_SCOPED(brief, NULL);
        rc = ph_record_load_upto(s, brief, m->fd, max, &msg, &l);
    }
    /* One page more or less: small files are checked whole each time. */
    if (rc == 0 && l.record.total <= PH_SLOT_BYTES)
        rc = ph_record_check(m->fd, &l.record);
    if (rc != 0) {
        ph_scope_free(s);
        return load_failed(q, m, rc);
    }
    ph_qmsg_loaded(m, s, &msg, &l);
    return 0;
}

int ph_queue_open_reader(struct ph_queue *q, struct ph_qmsg *m)
{
    char path[PH_PATH];
    int fd, rc;

    ph_qmsg_path(path, m);
    if ((fd = ph_queue_open_file(q->dir_fd, path, O_RDONLY)) < 0)
        return ph_fail_errno(errno == ENOENT ? PH_PERM : PH_TEMP, errno, "open %s", path);
    /* Its receiver gave its lock up before it told us of the message. */
    if ((rc = ph_lock_take(fd, F_RDLCK)) < 0) {
        close(fd);
        return ph_wrap(rc, "%s", m->id);
    }
    return fd;
}

/* One that stays open is lent again to the same borrower only.  Two deliveries of
 * one message at a time have one each: the first to end gives its lock up. */
int ph_queue_lend_reader(struct ph_queue *q, struct ph_qmsg *m, const void *who, int *kept)
{
    struct ph_slot *slot = m->slot;
    int fd;

    *kept = 0;
    if (!slot || slot->reader_out || q->open_count > q->open_max / 2)
        return ph_queue_open_reader(q, m);
    if (slot->reader_fd < 0 || slot->reader_of != who) {
        ph_slot_reader_close(q, slot);
        if ((fd = ph_queue_open_reader(q, m)) < 0)
            return fd;
        slot->reader_fd = fd;
        slot->reader_of = who;
        q->open_count++;
    } else if (ph_lock_take(slot->reader_fd, F_RDLCK) < 0) {
        return ph_wrap(PH_TEMP, "%s", m->id);
    }
    slot->reader_out = 1;
    *kept = 1;
    return slot->reader_fd;
}

void ph_queue_reader_back(struct ph_queue *q, struct ph_qmsg *m, int is_over)
{
    if (m->slot && is_over)
        m->slot->reader_out = 0;
    else if (m->slot)
        ph_slot_reader_close(q, m->slot);
}

int ph_queue_is_reader(const struct ph_queue *q, const struct ph_qmsg *m, int fd)
{
    char path[PH_PATH];
    struct stat ours, shown;
    int flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);

    if (flags < 0 || (flags & (O_ACCMODE | O_PATH)) != O_RDONLY)
        return 0;
    ph_qmsg_path(path, m);
    if (fstatat(q->dir_fd, path, &ours, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : ph_fail_errno(PH_TEMP, errno, "look at %s", path);
    if (fstat(fd, &shown) < 0)
        return ph_fail_errno(PH_TEMP, errno, "look at a descriptor of %s", m->id);
    return ours.st_dev == shown.st_dev && ours.st_ino == shown.st_ino;
}

static int write_mark(struct ph_qmsg *m, uint64_t offset, char byte)
{
    ssize_t n;
    int rc = ph_qmsg_fd(m);

    if (rc == PH_NONE)
        return ph_fail(PH_TEMP, "%s: the message file is gone", m->id);
    if (rc < 0)
        return rc;
    while ((n = pwrite(m->fd, &byte, 1, (off_t)offset)) < 0 && errno == EINTR)
        ;
    if (n != 1)
        return ph_fail_errno(PH_TEMP, n < 0 ? errno : ENOSPC, "%s: mark message file", m->id);
    m->dirty = 1;
    return 0;
}

static int write_state(struct ph_qmsg *m, uint32_t i)
{
    int rc = write_mark(m, m->marks_offset + PH_MARKS_HEAD + i, (char)ph_qmsg_state(m, i));

    m->state[i] = (unsigned char)(ph_qmsg_state(m, i) | (rc < 0 ? UNMARKED : 0));
    m->unmarked |= rc < 0;
    return rc;
}

int ph_queue_mark(struct ph_queue *q PH_UNUSED, struct ph_qmsg *m, uint32_t i, char state)
{
    ph_assert(m->loaded && i < m->rcpt_count);
    m->pending -= ph_qmsg_state(m, i) == PH_STATE_PENDING;
    m->failed -= ph_qmsg_state(m, i) == PH_STATE_FAILED;
    m->state[i] = (unsigned char)state;
    m->pending += state == PH_STATE_PENDING;
    m->failed += state == PH_STATE_FAILED;
    return write_state(m, i);
}

/* Try again what could not be written: 0 when the file says what memory says. */
static int write_missing(struct ph_qmsg *m)
{
    int rc = 0;

    if (!m->unmarked)
        return 0;
    m->unmarked = 0;
    for (uint32_t i = 0; i < m->rcpt_count; i++)
        if (m->state[i] & UNMARKED) {
            int one = write_state(m, i);

            rc = one < 0 ? one : rc;
        }
    return rc;
}

int ph_queue_mark_warned(struct ph_queue *q PH_UNUSED, struct ph_qmsg *m)
{
    m->warned = 1;
    return write_mark(m, m->marks_offset + PH_MARK_AT_WARNED, 'W');
}

int ph_queue_mark_expired(struct ph_queue *q PH_UNUSED, struct ph_qmsg *m)
{
    m->expired = 1;
    return write_mark(m, m->marks_offset + PH_MARK_AT_EXPIRED, 'E');
}

int ph_queue_sync(struct ph_queue *q PH_UNUSED, struct ph_qmsg *m)
{
    int rc = write_missing(m), fd;

    if (rc < 0)
        return rc;
    if (m->sync_failed)            /* the kernel may have dropped the pages: it would lie now */
        return ph_fail(PH_TEMP, "%s: an earlier sync of the message file failed", m->id);
    if (!m->dirty)
        return 0;
    if ((rc = ph_qmsg_fd(m)) != 0)
        return rc < 0 ? rc : ph_fail(PH_TEMP, "%s: the message file is gone", m->id);
    /* Its own descriptor: ours may be closed for others during the wait. */
    if ((fd = fcntl(m->fd, F_DUPFD_CLOEXEC, 0)) < 0)
        return ph_fail_errno(PH_TEMP, errno, "%s: sync message file", m->id);
    m->dirty = 0;
    rc = ph_fdatasync(fd);
    close(fd);
    if (rc < 0) {
        m->dirty = 1;
        m->sync_failed = 1;
        return ph_wrap(rc, "%s: message file", m->id);
    }
    return 0;
}

static int is_finished(const struct ph_qmsg *m)
{
    return m->loaded && m->pending == 0 && m->failed == 0;
}

/* Used again only when the file itself says that all is done. */
static int is_reusable(const struct ph_qmsg *m)
{
    return is_finished(m) && !m->unmarked && !m->sync_failed && ph_slot_can_serve(m->slot, m->file_bytes);
}

int ph_queue_remove_is_quick(const struct ph_qmsg *m)
{
    return m->slot && is_reusable(m);
}

int ph_queue_remove(struct ph_queue *q, struct ph_qmsg *m)
{
    char path[PH_PATH];
    int rc;

    if (m->slot) {
        if (is_finished(m) && (rc = write_missing(m)) < 0)
            return rc;
        int reusable = is_reusable(m);
        struct ph_slot *slot = m->slot;
        uint64_t bytes = m->file_bytes;

        if (reusable && slot->fd < 0 && q->open_count < q->open_max / 2) {
            slot->fd = m->fd;          /* its next message is marked through it */
            m->fd = -1;
            ph_list_remove(&m->open_node);
        }
        qmsg_free(m);
        ph_slot_release(q, slot, reusable, bytes);
        return 0;
    }
    ph_qmsg_path(path, m);
    if ((rc = ph_dirs_unlink(q, path)) == 0)
        qmsg_free(m);
    return rc;
}

/* Move m; its slot, if it had one, is gone from the pool for good. */
static int move_to(struct ph_queue *q, struct ph_qmsg *m, unsigned place, int64_t mtime_us)
{
    char from[PH_PATH], to[PH_PATH];
    int rc;

    ph_qmsg_path(from, m);
    ph_queue_path(to, place, m->id);
    if ((rc = ph_dirs_move(q, from, to, mtime_us)) != 0)
        return rc < 0 ? rc : ph_fail(PH_TEMP, "%s: the message file is gone", m->id);
    if (m->slot)
        ph_slot_free(q, m->slot);
    m->slot = NULL;
    m->place = place;
    return 0;
}

int ph_queue_defer(struct ph_queue *q, struct ph_qmsg *m, int64_t next_us)
{
    char path[PH_PATH];
    int rc;

    if (m->loaded && (rc = write_missing(m)) < 0)
        return rc;
    if (m->place == PH_PLACE_DEFERRED) {
        ph_qmsg_path(path, m);
        if ((rc = ph_dirs_move(q, path, NULL, next_us)) != 0)
            return rc;
    } else if ((rc = move_to(q, m, PH_PLACE_DEFERRED, next_us)) < 0) {
        return rc;
    }
    m->next_us = next_us;
    return 0;
}

/* They moved in any case: a directory that could not be synced stays dirty and is synced later. */
void ph_queue_settle(struct ph_queue *q)
{
    if (ph_dirs_settle(q) < 0)
        ph_log_warn("%s", ph_error());
}

int ph_queue_hold(struct ph_queue *q, struct ph_qmsg *m)
{
    int rc;

    if (m->loaded && (rc = write_missing(m)) < 0)
        return rc;
    return m->place == PH_PLACE_HOLD ? 0 : move_to(q, m, PH_PLACE_HOLD, -1);
}

int ph_queue_release(struct ph_queue *q, struct ph_qmsg *m)
{
    int64_t now = ph_wall_us();
    int rc = move_to(q, m, PH_PLACE_DEFERRED, now);

    if (rc < 0)
        return rc;
    m->next_us = now;
    return 0;
}

/* The mode is on disk before the name is: pickup never looks at a file without it. */
static int run_ready(void *arg)
{
    const int *fd = arg;

    return fchmod(*fd, 0700) == 0 && fsync(*fd) == 0 ? 0 : ph_fail_errno(PH_TEMP, errno, "mode of message file");
}

static int make_ready(struct ph_qmsg *m)
{
    int rc = ph_qmsg_fd(m), fd;

    if (rc != 0)
        return rc < 0 ? rc : ph_fail(PH_TEMP, "%s: the message file is gone", m->id);
    if ((fd = fcntl(m->fd, F_DUPFD_CLOEXEC, 0)) < 0)       /* ours may be closed for others during the wait */
        return ph_fail_errno(PH_TEMP, errno, "%s: mode of message file", m->id);
    rc = ph_disk(run_ready, &fd);
    close(fd);
    return rc < 0 ? ph_wrap(rc, "%s", m->id) : 0;
}

/* pickup takes it from maildrop, reads it (message.h) and submits it anew.  The
 * name there is the id, and its mode is that of a file that is whole. */
int ph_queue_requeue(struct ph_queue *q, struct ph_qmsg *m)
{
    char from[PH_PATH], to[PH_PATH];
    int rc;

    if (m->loaded && (rc = write_missing(m)) < 0)
        return rc;
    ph_qmsg_path(from, m);
    snprintf(to, sizeof to, "maildrop/%s", m->id);
    if ((rc = make_ready(m)) < 0)
        return rc;
    if ((rc = ph_dirs_move(q, from, to, ph_wall_us())) != 0)
        return rc < 0 ? rc : ph_fail(PH_TEMP, "%s: the message file is gone", m->id);
    if (m->slot)
        ph_slot_free(q, m->slot);
    qmsg_free(m);
    return 0;
}

struct ph_qmsg *ph_queue_in_memory(struct ph_queue *q, ph_str id)
{
    return ph_map_get(q->by_id, id);
}

size_t ph_queue_count(const struct ph_queue *q)
{
    return ph_map_count(q->by_id);
}

struct ph_qmsg *ph_queue_next(const struct ph_queue *q, size_t *at)
{
    ph_str key;
    void *value;

    return ph_map_next(q->by_id, at, &key, &value) ? value : NULL;
}

/* For programs that only look: the owner has the pool's messages in memory. */
static int find_in_pool(struct ph_queue *q, ph_str id, struct ph_qmsg **out, int *in_memory)
{
    PH_SCOPED(s, NULL);
    struct ph_walk *w = ph_walk_new(s, q, PH_PLACE_SLOT);
    int rc;

    while ((rc = ph_walk_next(w, out)) == PH_FOUND) {
        if (ph_str_eq(ph_cstr((*out)->id), id)) {
            *in_memory = 0;
            return PH_FOUND;
        }
        load_nothing(q, *out);
    }
    return rc;
}

int ph_queue_find(struct ph_queue *q, ph_str id, struct ph_qmsg **out, int *in_memory)
{
    static const unsigned char order[] = { PH_PLACE_DEFERRED, PH_PLACE_HOLD, PH_PLACE_INCOMING,
                                           PH_PLACE_ACTIVE, PH_PLACE_CORRUPT };
    char name[PH_ID_MAX + 1] = "", path[PH_PATH];
    struct stat st;
    struct ph_qmsg *m;

    if (!ph_id_is_name(id))
        return ph_fail(PH_PERM, "invalid mail queue id: %.*s", PH_FMT(id));
    if ((m = ph_queue_in_memory(q, id)) != NULL && m->moving)
        return ph_fail(PH_TEMP, "%s is being moved", m->id);
    if (m) {
        *in_memory = 1;
        *out = m;
        return PH_FOUND;
    }
    memcpy(name, id.p, id.n);
    for (size_t i = 0; i < sizeof order; i++) {
        ph_queue_path(path, order[i], name);
        if (fstatat(q->dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0) {
            if (errno != ENOENT)       /* "cannot look" is not "not there" */
                return ph_fail_errno(PH_TEMP, errno, "look for %s", path);
            continue;
        }
        if (!S_ISREG(st.st_mode))
            continue;
        m = ph_qmsg_new(q, id, order[i]);
        m->next_us = (int64_t)st.st_mtim.tv_sec * 1000000 + st.st_mtim.tv_nsec / 1000;
        m->recovered = 1;
        *in_memory = 0;
        *out = m;
        return PH_FOUND;
    }
    return q->read_only ? find_in_pool(q, id, out, in_memory) : PH_NONE;
}
