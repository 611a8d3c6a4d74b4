/* The hub: one connection to private/qmgr per receiving process, leases kept
 * ahead of need, commits told in batches.
 *
 * When qmgr goes, leases that nobody uses are given up, transactions that have
 * not begun to commit fail (4xx), and commits under way end: the next qmgr finds
 * their slots by their locks, and is told their names. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <posthorn/client.h>
#include <posthorn/intake.h>
#include <posthorn/log.h>
#include "core/queue/hub.h"
#include "core/run/context.h"

#define AHEAD_MIN  4
#define AHEAD_MAX  64
#define PATIENCE_MS 10000          /* wait for slots that are being made */
#define RETRY_MS   100
#define RETRY_MAX_MS 1000

/* Something to tell qmgr, on its own scope. */
struct note {
    struct ph_list node;
    struct ph_scope *scope;
    const char *op;
    ph_str slot, record, envelope, rcpts;
};

struct ph_hub {
    struct ph_scope *scope, *link;     /* link: of the connection */
    struct ph_stream *io;              /* NULL: not connected */
    uint64_t life;                     /* counts connections */
    struct ph_list ready, busy, notes;
    unsigned ready_count, asked, used, waiting;
    uint32_t who;                      /* on whose behalf leases are asked for ahead: the least of all that came */
    unsigned urgent[PH_INTAKE_NOTICE + 1];     /* to ask for on behalf of others than that */
    int refused;
    struct ph_cond *come, *tell;       /* leases came; there is something to send */
    struct ph_intake_settings settings;
    int refs;                          /* the task, and leases */
};

/* One per process: ph_intake_begin has no handle to hang it on.  The groups of
 * its tasks stay on `tasks_scope`, which never ends; their tasks end with the loop. */
static struct ph_hub *the_hub;
static struct ph_scope *tasks_scope;
static int (*dial_fn)(struct ph_scope *s, struct ph_stream **io);

static int dial_qmgr(struct ph_scope *s, struct ph_stream **io)
{
    return dial_fn ? dial_fn(s, io) : ph_service_dial(s, "qmgr", io);
}

void ph_hub_dial_with(int (*dial)(struct ph_scope *s, struct ph_stream **io))
{
    dial_fn = dial;
}

static void hub_unref(struct ph_hub *h)
{
    if (--h->refs > 0)
        return;
    ph_scope_free(h->scope);
    free(h);
}

/* The descriptor is the lock: closing it gives the slot back to qmgr's eyes. */
static void lease_free(struct ph_lease *l)
{
    struct ph_hub *h = l->hub;

    if (l->fd >= 0)
        close(l->fd);
    ph_list_remove(&l->node);
    free(l);
    hub_unref(h);
}

static void note_free(struct note *n)
{
    ph_list_remove(&n->node);
    ph_scope_free(n->scope);
}

static struct note *note_new(struct ph_hub *h, const char *op, const char *slot)
{
    struct ph_scope *s = ph_scope_new(NULL);
    struct note *n = ph_new(s, struct note);

    n->scope = s;
    n->op = op;
    n->slot = ph_str_dup(s, ph_cstr(slot));
    ph_list_push(&h->notes, &n->node);
    ph_cond_signal(h->tell);
    return n;
}

/* Leases to have at hand: as many as sessions use now, and some. */
static unsigned ahead(const struct ph_hub *h)
{
    unsigned n = h->used + h->waiting;

    return n < AHEAD_MIN ? AHEAD_MIN : n > AHEAD_MAX ? AHEAD_MAX : n;
}

static int is_short(const struct ph_hub *h)
{
    return h->ready_count + h->asked <= ahead(h) / 2;
}

static int is_urgent(const struct ph_hub *h)
{
    return h->urgent[PH_INTAKE_LOCAL] || h->urgent[PH_INTAKE_NOTICE];
}

static int ask_for(struct ph_hub *h, uint32_t who, unsigned n)
{
    PH_SCOPED(s, NULL);
    struct ph_frame *f = ph_frame_new(s);
    int rc;

    ph_frame_cstr(f, "op", "lease");
    ph_frame_u64(f, "who", who);
    ph_frame_u64(f, "count", n);
    h->asked += n;
    if ((rc = ph_frame_send(h->io, f)) < 0)
        h->asked -= n;
    return rc;
}

/* A notice may have what is reserved; the mail of the same process may not. */
static int send_leases_wanted(struct ph_hub *h)
{
    int rc = 0;

    for (uint32_t who = PH_INTAKE_NET; rc == 0 && who <= PH_INTAKE_NOTICE; who++) {
        unsigned n = h->urgent[who];

        h->urgent[who] = 0;
        rc = n ? ask_for(h, who, n) : 0;
    }
    return rc < 0 || !is_short(h) ? rc : ask_for(h, h->who, ahead(h) + h->waiting - h->ready_count - h->asked);
}

static int send_note(struct ph_hub *h, struct note *n)
{
    PH_SCOPED(s, NULL);
    struct ph_frame *f = ph_frame_new(s);

    ph_frame_cstr(f, "op", n->op);
    ph_frame_str(f, "slot", n->slot);
    if (n->record.n)
        ph_frame_str(f, "record", n->record);
    /* A large envelope is read from the file when its turn comes. */
    if (n->record.n && n->envelope.n + n->rcpts.n < PH_FRAME_MAX / 2) {
        ph_frame_str(f, "envelope", n->envelope);
        ph_frame_str(f, "rcpts", n->rcpts);
    }
    return ph_frame_send(h->io, f);
}

static int send_hello(struct ph_hub *h)
{
    PH_SCOPED(s, NULL);
    struct ph_frame *f = ph_frame_new(s);
    const char *service = ph_context()->log_service;

    ph_frame_cstr(f, "op", "hello");
    ph_frame_cstr(f, "role", "intake");
    ph_frame_cstr(f, "service", service ? service : "intake");
    ph_frame_u64(f, "pid", (uint64_t)getpid());
    return ph_frame_send(h->io, f);
}

/* Commits that were under way when the last connection ended, with the
 * descriptors that prove it.  One that ends while we send is not named: qmgr
 * finds it complete and without a lock.  */
static int send_some_held(struct ph_hub *h, unsigned *sent)
{
    PH_SCOPED(s, NULL);
    struct ph_frame *f = ph_frame_new(s);

    *sent = 0;
    ph_frame_cstr(f, "op", "hold");
    for (struct ph_list *n = h->busy.next; n != &h->busy && *sent < PH_FRAME_FDS; n = n->next) {
        struct ph_lease *l = ph_list_of(n, struct ph_lease, node);

        if (l->life == h->life)
            continue;
        l->life = h->life;
        ph_frame_str(f, "slot", ph_str_dup(s, ph_cstr(l->slot)));
        ph_frame_fd(f, l->fd);
        ++*sent;
    }
    /* Flushed at once: descriptors are copied when they are put, and the next
     * frame's must not mix with these. */
    int rc = *sent ? ph_frame_send(h->io, f) : 0;
    return rc < 0 || !*sent ? rc : ph_stream_flush(h->io);
}

static int send_held(struct ph_hub *h)
{
    unsigned sent;
    int rc;

    do {
        rc = send_some_held(h, &sent);
    } while (rc == 0 && sent);
    return rc;
}

static void writer(void *arg)
{
    struct ph_hub *h = arg;
    int rc = send_hello(h);

    if (rc == 0)
        rc = send_held(h);
    while (rc == 0) {
        struct ph_list *n;

        while (rc == 0 && (n = ph_list_shift(&h->notes)) != NULL) {
            rc = send_note(h, ph_list_of(n, struct note, node));
            note_free(ph_list_of(n, struct note, node));
        }
        if (rc == 0)
            rc = send_leases_wanted(h);
        if (rc == 0)
            rc = ph_stream_flush(h->io);
        if (rc == 0 && ph_list_is_empty(&h->notes) && !is_short(h) && !is_urgent(h))
            rc = ph_cond_wait(h->tell, PH_FOREVER);
    }
    /* qmgr would go on, and never hear of a commit: the end of the connection
     * makes both sides settle what stands in the slots. */
    if (rc == PH_TEMP)
        ph_log_warn("connection to qmgr: %s", ph_error());
    if (rc != PH_CANCEL)
        ph_stream_close(h->io);    /* the reader sees it */
}

static void add_lease(struct ph_hub *h, ph_str slot, uint64_t inode, int fd)
{
    struct ph_lease *l = calloc(1, sizeof *l);

    if (!l)
        ph_die("out of memory");
    memcpy(l->slot, slot.p, slot.n);
    l->inode = inode;
    l->fd = fd;
    l->hub = h;
    l->life = h->life;
    h->refs++;
    ph_list_init(&l->node);
    ph_list_push(&h->ready, &l->node);
    h->ready_count++;
    ph_cond_signal(h->come);
}

static int take_leases(struct ph_hub *h, struct ph_frame *f)
{
    ph_str name, value, slot = { 0 };
    unsigned i = 0;
    uint64_t inode;

    for (size_t at = 0; ph_frame_next(f, &at, &name, &value);) {
        if (ph_str_eq(name, PH_STR("slot"))) {
            slot = value;
        } else if (ph_str_eq(name, PH_STR("inode"))) {
            int fd = ph_frame_take_fd(f, i++);

            /* Descriptors are few: none is taken that nobody asked for. */
            if (fd < 0 || i > h->asked || slot.n == 0 || slot.n >= PH_SLOT_NAME || !ph_str_u64(value, &inode)) {
                ph_stream_close_taken(fd);
                return ph_fail(PH_PERM, "bad lease from qmgr");
            }
            add_lease(h, slot, inode, fd);
        }
    }
    h->asked = h->asked > i ? h->asked - i : 0;
    h->refused = 0;
    return 0;
}

static int take_settings(struct ph_hub *h, const struct ph_frame *f)
{
    uint64_t size, delay, is_long;

    if (ph_frame_get_u64(f, "size_limit", &size) != PH_FOUND ||
        ph_frame_get_u64(f, "flow_delay", &delay) != PH_FOUND || delay > 3600 ||
        ph_frame_get_u64(f, "long_ids", &is_long) != PH_FOUND)
        return ph_fail(PH_PERM, "bad settings from qmgr");
    h->settings = (struct ph_intake_settings){ size, (int64_t)delay * 1000, is_long != 0 };
    return 0;
}

static int read_one(struct ph_hub *h)
{
    PH_SCOPED(s, h->link);
    struct ph_frame *f;
    ph_str op;
    int rc = ph_frame_recv(h->io, s, 0, &f);

    if (rc < 0)
        return rc;
    op = ph_frame_value(f, "op");
    if (ph_str_eq(op, PH_STR("lease")))
        return take_leases(h, f);
    if (ph_str_eq(op, PH_STR("settings")))
        return take_settings(h, f);
    if (ph_str_eq(op, PH_STR("none"))) {
        h->refused = 1;
        ph_cond_broadcast(h->come);
    }
    return 0;
}

/* One connection, from dial to its end. */
static int link_once(struct ph_hub *h)
{
    PH_SCOPED(s, h->scope);
    struct ph_group *g;
    struct ph_list *n;
    int rc = dial_qmgr(s, &h->io);

    if (rc < 0)
        return rc;
    h->link = s;
    h->life++;
    g = ph_group_new(s);
    if ((rc = ph_spawn(g, "qmgr writer", writer, h)) == 0)
        while ((rc = read_one(h)) == 0)
            ;
    if (rc == PH_PERM || rc == PH_TEMP)
        ph_log_warn("connection to qmgr: %s", ph_error());
    ph_group_cancel(g);
    ph_group_wait(g, PH_FOREVER);
    h->io = NULL;
    h->link = NULL;
    h->asked = 0;
    while ((n = ph_list_shift(&h->notes)) != NULL)     /* the files say it too */
        note_free(ph_list_of(n, struct note, node));
    h->ready_count = 0;
    while (!ph_list_is_empty(&h->ready))
        lease_free(ph_list_of(h->ready.next, struct ph_lease, node));
    return rc;
}

static void hub_main(void *arg)
{
    struct ph_hub *h = arg;
    int64_t delay = RETRY_MS;
    int rc = 0;

    while (rc != PH_CANCEL && !ph_cancelled()) {
        uint64_t was = h->life;

        rc = link_once(h);
        delay = h->life != was ? RETRY_MS : delay * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : delay * 2;
        if (rc != PH_CANCEL)
            rc = ph_sleep_until(ph_in_ms(delay));
    }
    ph_cond_broadcast(h->come);
    if (the_hub == h)
        the_hub = NULL;
    hub_unref(h);
}

static int hub_start(void)
{
    struct ph_hub *h = calloc(1, sizeof *h);
    int rc;

    if (!h)
        ph_die("out of memory");
    if (!tasks_scope)
        tasks_scope = ph_scope_new(NULL);
    h->refs = 1;
    h->scope = ph_scope_new(NULL);
    ph_list_init(&h->ready);
    ph_list_init(&h->busy);
    ph_list_init(&h->notes);
    h->come = ph_cond_new(h->scope);
    h->tell = ph_cond_new(h->scope);
    h->who = PH_INTAKE_NOTICE;
    h->settings.long_ids = 1;
    h->settings.flow_delay_ms = 1000;
    if ((rc = ph_spawn(ph_group_new(tasks_scope), "qmgr link", hub_main, h)) < 0) {
        hub_unref(h);
        return rc;
    }
    the_hub = h;
    return 0;
}

/* A qmgr that said there is none is not waited for longer than in_flow_delay;
 * one that makes slots, or restarts, a little more. */
static int wait_ready(struct ph_hub *h)
{
    int64_t began = ph_now_ms();
    int rc = 0;

    while (ph_list_is_empty(&h->ready) && rc >= 0) {
        int64_t until = began + (h->refused ? h->settings.flow_delay_ms : PATIENCE_MS);

        if (until <= ph_now_ms())
            rc = PH_TIMEOUT;
        else
            rc = ph_cond_wait(h->come, until);
        if (rc == PH_TIMEOUT && ph_list_is_empty(&h->ready) && began + PATIENCE_MS > ph_now_ms() && !h->refused)
            rc = 0;
    }
    return rc;
}

int ph_hub_take(uint32_t who, struct ph_lease **out)
{
    struct ph_hub *h;
    struct ph_list *n;
    int rc;

    if (!the_hub && (rc = hub_start()) < 0)
        return rc;
    h = the_hub;
    h->refs++;
    h->waiting++;
    if (who < h->who)
        h->who = who;
    if (who > h->who && ph_list_is_empty(&h->ready))
        h->urgent[who]++;
    if (is_short(h) || is_urgent(h))
        ph_cond_signal(h->tell);
    rc = wait_ready(h);
    h->waiting--;
    n = rc < 0 ? NULL : ph_list_shift(&h->ready);
    if (n) {
        h->ready_count--;
        h->used++;
        *out = ph_list_of(n, struct ph_lease, node);
        ph_cond_signal(h->tell);
    } else if (rc != PH_CANCEL) {
        rc = ph_fail(PH_TEMP, h->refused ? "insufficient system storage" : h->io ? "no queue file in time"
                                                                                 : "queue manager not available");
    }
    hub_unref(h);
    return rc;
}

const struct ph_intake_settings *ph_hub_settings(const struct ph_lease *l)
{
    return &l->hub->settings;
}

int ph_lease_is_good(const struct ph_lease *l)
{
    return l->hub->io != NULL && l->life == l->hub->life;
}

void ph_lease_return(struct ph_lease *l)
{
    struct ph_hub *h = l->hub;

    h->used--;
    if (!ph_lease_is_good(l)) {
        lease_free(l);
        return;
    }
    ph_list_remove(&l->node);
    ph_list_unshift(&h->ready, &l->node);
    h->ready_count++;
    ph_cond_signal(h->come);
}

void ph_lease_spoil(struct ph_lease *l)
{
    if (ph_lease_is_good(l))
        note_new(l->hub, "drop", l->slot);
    l->hub->used--;
    lease_free(l);
}

void ph_lease_commit_begin(struct ph_lease *l)
{
    ph_list_push(&l->hub->busy, &l->node);
}

void ph_lease_commit_end(struct ph_lease *l, ph_str record, ph_str envelope, ph_str rcpts)
{
    struct ph_hub *h = l->hub;

    /* The lock goes before the word: qmgr may give the message to an agent, and
     * then takes a reader's lock.  Should we die in between, the slot is found
     * complete and without a lock. */
    close(l->fd);
    l->fd = -1;
    if (ph_lease_is_good(l)) {
        struct note *n = note_new(h, "commit", l->slot);

        n->record = ph_str_dup(n->scope, record);
        n->envelope = ph_str_dup(n->scope, envelope);
        n->rcpts = ph_str_dup(n->scope, rcpts);
    }
    h->used--;
    lease_free(l);
}
