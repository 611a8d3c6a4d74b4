/* spawn_files: files with somebody's rights, as the worker sees them (spawn.h): one
 * child for each (uid, gid), kept and shared. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "core/worker/spawn_files.h"

#define KEPT_MAX  32u
#define IDLE_MS   60000
#define START_MS  30000
#define ROOM_MS   60000            /* waiting for one of 32 to become idle */

/* One per process. */
static struct {
    struct ph_list list;           /* least recently used first */
    uint32_t count;
    struct ph_scope *scope;
    struct ph_cond *changed;
    struct ph_timer sweep;
} kept = { .list = PH_LIST_INIT(kept.list) };

static void discard(struct ph_files *f)
{
    ph_list_remove(&f->node);
    kept.count--;
    ph_files_detach(f);
    if (f->fd >= 0)
        close(f->fd);              /* its child ends */
    free(f);
}

static void arm(void);

static void on_sweep(struct ph_timer *t PH_UNUSED)
{
    for (struct ph_list *n = kept.list.next, *next; n != &kept.list; n = next) {
        struct ph_files *f = ph_list_of(n, struct ph_files, node);

        next = n->next;
        if (f->users == 0 && ph_now_ms() - f->idle_since >= IDLE_MS)
            discard(f);
    }
    arm();
}

static void arm(void)
{
    kept.sweep.fn = on_sweep;
    /* A use of one does not put it off: the others are idle all the same. */
    if (!kept.sweep.index && !ph_list_is_empty(&kept.list))
        ph_timer_set(&kept.sweep, ph_in_ms(IDLE_MS / 2));
}

/* The one kept for this identity, or NULL.  A broken one is nobody's any more. */
static struct ph_files *find(uint32_t uid, uint32_t gid)
{
    for (struct ph_list *n = kept.list.next, *next; n != &kept.list; n = next) {
        struct ph_files *f = ph_list_of(n, struct ph_files, node);

        next = n->next;
        if (f->uid != uid || f->gid != gid)
            continue;
        if (!f->broken)
            return f;
        if (f->users == 0)
            discard(f);
    }
    return NULL;
}

static int evict(void)
{
    for (struct ph_list *n = kept.list.next; n != &kept.list; n = n->next)
        if (ph_list_of(n, struct ph_files, node)->users == 0) {
            discard(ph_list_of(n, struct ph_files, node));
            return 1;
        }
    return 0;
}

static void release(void *arg)
{
    struct ph_files *f = arg;

    f->idle_since = ph_now_ms();
    if (--f->users == 0 && f->broken)
        discard(f);
    ph_cond_broadcast(kept.changed);
}

/* ---- a new child ---- */

static int start(struct ph_files *f)
{
    struct spawner_request r = { .op = SPAWNER_OP_FILES, .uid = f->uid, .gid = f->gid };
    struct spawner_reply reply;
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return ph_fail_errno(PH_TEMP, errno, "socketpair");
    f->fd = pair[0];
    int rc = ph_spawner_send(&r, NULL, 0, &pair[1], 1);
    close(pair[1]);
    if (rc < 0)
        return rc;
    rc = ph_spawner_reply(f->fd, &reply, ph_in_ms(START_MS));
    ph_fd_forget(f->fd);
    if (rc < 0)
        return rc == PH_TIMEOUT ? ph_fail(PH_TEMP, "the spawner does not answer") : rc;
    if (reply.what != SPAWNER_STARTED)
        return ph_spawner_refused(&reply, "files of another user");
    return ph_files_attach(f);
}

static int add(const struct ph_identity *id, struct ph_files **out)
{
    struct ph_files *f = calloc(1, sizeof *f);

    if (!f)
        ph_die("out of memory");
    *f = (struct ph_files){ .uid = id->uid, .gid = id->gid, .users = 1, .starting = 1, .fd = -1 };
    ph_list_push(&kept.list, &f->node);
    kept.count++;
    int rc = start(f);
    f->starting = 0;
    if (rc < 0)
        f->broken = 1;
    ph_cond_broadcast(kept.changed);
    if (rc < 0)
        discard(f);                /* those who waited for it look again */
    else
        *out = f;
    return rc;
}

int ph_files_open(struct ph_scope *s, const struct ph_identity *id, struct ph_files **out)
{
    struct ph_files *f;
    int64_t until = ph_in_ms(ROOM_MS);
    int rc = 0;

    if (!kept.changed) {
        kept.scope = ph_scope_new(NULL);
        kept.changed = ph_cond_new(kept.scope);
    }
    while (((f = find(id->uid, id->gid)) && f->starting) || (!f && kept.count >= KEPT_MAX && !evict()))
        if ((rc = ph_cond_wait(kept.changed, until)) < 0)
            return rc == PH_TIMEOUT ? ph_fail(PH_TEMP, "too many identities at once") : rc;
    if (f) {
        f->users++;
        ph_list_remove(&f->node);  /* the most recently used is last */
        ph_list_push(&kept.list, &f->node);
    } else if ((rc = add(id, &f)) < 0) {
        return rc;
    }
    arm();
    ph_defer(s, release, f);
    *out = f;
    return 0;
}
