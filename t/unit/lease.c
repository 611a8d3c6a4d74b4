/* t/unit/lease.c: slots that are lent: to agents that read, to receivers that write,
 * that live longer than they should, lie, or find none. */
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include "queue_world.h"

/* Another description of the same file, as an agent that keeps its lock has one. */
static int is_locked(struct owner *o, const struct ph_qmsg *m)
{
    char path[PH_PATH];

    ph_qmsg_path(path, m);
    int fd = openat(o->queue->dir_fd, path, O_RDWR | O_CLOEXEC), rc = ph_lock_is_held(fd, F_WRLCK);

    close(fd);
    return rc;
}

/* A descriptor that is lent stays open for the next message of its slot. */
static void test_lent(struct owner *o)
{
    const char *smtp = "smtp", *lmtp = "lmtp";
    struct ph_queue *q = o->queue;
    char id[PH_ID_MAX + 1];
    int kept, other_kept;

    is_int(submit("A: lent\r\n", 64, 0, id), 0, "a message to lend");
    struct ph_qmsg *m = next_message(o);
    ok(!is_locked(o, m), "the lease of a message that was taken holds no lock");
    int fd = ph_queue_lend_reader(q, m, smtp, &kept), copy = dup(fd);
    ok(fd > 2 && kept && is_locked(o, m), "a reader is lent, with its lock");
    int other = ph_queue_lend_reader(q, m, smtp, &other_kept);
    ok(other > 2 && other != fd && !other_kept, "a second one at the same time is another");
    close(other);
    ph_lock_take(copy, F_UNLCK);
    ok(!is_locked(o, m), "the borrower gives the lock up");
    ph_queue_reader_back(q, m, 1);
    ok(ph_queue_lend_reader(q, m, smtp, &kept) == fd && kept && is_locked(o, m), "the next one of the same service is the same, locked again");
    ph_queue_reader_back(q, m, 0);
    ok(m->slot->reader_fd < 0 && is_locked(o, m), "what was not given back is let go, and the borrower's lock stays");
    close(copy);
    ok(!is_locked(o, m), "until he ends");
    fd = ph_queue_lend_reader(q, m, smtp, &kept);
    copy = dup(fd);
    ph_lock_take(copy, F_UNLCK);
    ph_queue_reader_back(q, m, 1);
    ok(ph_queue_lend_reader(q, m, lmtp, &kept) > 2 && kept, "another service gets one of its own");
    ph_lock_take(copy, F_RDLCK);
    ph_lock_take(m->slot->reader_fd, F_UNLCK);
    ok(is_locked(o, m), "whose lock the first one cannot touch");
    close(copy);
    ph_queue_reader_back(q, m, 1);
    finish(o, m);
}

/* A client that speaks the protocol itself. */
struct raw {
    struct ph_scope *scope;
    struct ph_stream *io;
    char slot[PH_SLOT_NAME];
    uint64_t inode;
    int fd;
};

static void raw_connect(struct raw *r)
{
    PH_SCOPED(s, NULL);
    struct ph_frame *f = ph_frame_new(s);
    struct ph_frame *want = ph_frame_new(s), *got;

    r->scope = ph_scope_new(NULL);
    if (dial(r->scope, &r->io) < 0)
        exit(99);
    ph_frame_cstr(f, "op", "hello");
    ph_frame_cstr(f, "role", "intake");
    ph_frame_send(r->io, f);
    ph_frame_cstr(want, "op", "lease");
    ph_frame_u64(want, "who", 0);
    ph_frame_u64(want, "count", 1);
    ph_frame_send(r->io, want);
    ph_stream_flush(r->io);
    r->fd = -1;
    while (r->fd < 0 && ph_frame_recv(r->io, s, 0, &got) > 0)
        if (ph_str_eq(ph_frame_value(got, "op"), PH_STR("lease"))) {
            r->fd = ph_frame_take_fd(got, 0);
            snprintf(r->slot, sizeof r->slot, "%.*s", PH_FMT(ph_frame_value(got, "slot")));
            ph_frame_get_u64(got, "inode", &r->inode);
        }
}

static void raw_close(struct raw *r)
{
    ph_stream_close(r->io);
    ph_scope_free(r->scope);
}

/* The lease outlives the worker that took it: a program it started still holds
 * the descriptor, and may be writing. */
static void test_orphan(struct owner *o)
{
    PH_SCOPED(s, NULL);
    struct ph_record rec;
    struct raw r;
    ph_str bytes;
    struct ph_qmsg *m;
    int before = o->count, gate[2], status;
    pid_t child;
    char path[200];

    raw_connect(&r);
    ok(r.fd > 2, "a lease comes with a descriptor");
    ok(read(r.fd, path, 1) < 0, "that cannot be read");
    bytes = file_bytes(s, r.inode, RIGHT, &rec, 0);
    if (pwrite(r.fd, bytes.p, bytes.n, 0) != (ssize_t)bytes.n || pipe(gate) < 0)
        exit(99);
    fflush(stdout);
    if ((child = fork()) == 0) {
        dup2(gate[0], 0);
        close(gate[1]);
        if (fcntl(r.fd, F_DUPFD, 10) < 0)            /* not dup2: r.fd may have that number, and closes at exec */
            _exit(1);
        execl("/bin/cat", "cat", (char *)NULL);      /* holds the copy until its input ends */
        _exit(1);
    }
    close(gate[0]);
    close(r.fd);
    raw_close(&r);
    /* Other leases come and go meanwhile; this slot is not among them. */
    for (int i = 0; i < 50; i++) {
        struct raw other;

        raw_connect(&other);
        if (strcmp(other.slot, r.slot) == 0)
            ok(0, "a slot that a living process holds was leased again");
        close(other.fd);
        raw_close(&other);
    }
    snprintf(path, sizeof path, "pool/%s", r.slot);
    ok(exists("%s", path), "its slot stays");
    is_int(o->count, before, "nothing is adopted while the lease lives");
    close(gate[1]);
    waitpid(child, &status, 0);
    is_int(wait_count(o, before + 1), before + 1, "when its last holder ends it is adopted");
    m = next_message(o);
    is_bytes(ph_cstr(m->id), rec.id, "under the id in the file");
    is_int(ph_queue_load(o->queue, m), 0, "and is loaded from it");
    is_bytes(ph_qmsg_rcpt(m, 0)->address, "r@z.example", "with its recipient");
    finish(o, m);
}

/* What qmgr is told must be about the peer's own slots. */
static void test_lies(struct owner *o)
{
    PH_SCOPED(s, NULL);
    struct ph_record rec;
    struct raw r;
    ph_str bytes;
    struct ph_frame *f = ph_frame_new(s);
    int before = o->count, corrupt = count_files("corrupt");
    int64_t until = ph_in_ms(5000);

    raw_connect(&r);
    bytes = file_bytes(s, r.inode, WRONG_INODE, &rec, 0);
    if (pwrite(r.fd, bytes.p, bytes.n, 0) != (ssize_t)bytes.n)
        exit(99);
    close(r.fd);
    ph_frame_cstr(f, "op", "commit");
    ph_frame_cstr(f, "slot", r.slot);
    ph_frame_str(f, "record", ph_str_first(bytes, PH_RECORD_BYTES));
    ph_frame_send(r.io, f);
    ph_stream_flush(r.io);
    while (count_files("corrupt") == corrupt && ph_now_ms() < until)
        ph_sleep_until(ph_in_ms(10));
    is_int(count_files("corrupt"), corrupt + 1, "an id that is not of the file's inode goes to corrupt");
    is_int(o->count, before, "and nothing arrives");
    raw_close(&r);
}

/* hold and drop a slot by its name, with a descriptor (or -1): 1 when the owner
 * listens on, 0 when it hung up. */
static int claim(struct raw *r, const char *slot, int fd)
{
    PH_SCOPED(s, NULL);
    struct ph_frame *hold = ph_frame_new(s), *drop = ph_frame_new(s), *lease = ph_frame_new(s), *got;

    ph_frame_cstr(hold, "op", "hold");
    ph_frame_cstr(hold, "slot", slot);
    if (fd >= 0)
        ph_frame_fd(hold, fd);
    ph_frame_cstr(drop, "op", "drop");
    ph_frame_cstr(drop, "slot", slot);
    ph_frame_cstr(lease, "op", "lease");
    ph_frame_u64(lease, "who", 0);
    ph_frame_u64(lease, "count", 1);
    ph_frame_send(r->io, hold);
    ph_frame_send(r->io, drop);
    ph_frame_send(r->io, lease);
    ph_stream_flush(r->io);
    return ph_frame_recv(r->io, s, 0, &got) > 0;
}

/* A slot that somebody is still writing belongs to who shows its lease. */
static void test_claims(struct owner *o)
{
    struct raw r, thief, other;
    int before = o->count;

    raw_connect(&r);
    raw_close(&r);                 /* the descriptor, and so the lease, lives */
    raw_connect(&thief);
    is_int(claim(&thief, r.slot, -1), 0, "who names the slot of another is hung up on");
    ok(exists("pool/%s", r.slot), "and cannot drop it");
    raw_close(&thief);
    raw_connect(&other);
    is_int(claim(&other, r.slot, other.fd), 0, "showing the lease of another slot does not help");
    ok(exists("pool/%s", r.slot), "it is still there");
    close(thief.fd);
    close(other.fd);
    raw_close(&other);
    raw_connect(&other);
    is_int(claim(&other, r.slot, r.fd), 1, "its lease does");
    ok(!exists("pool/%s", r.slot), "and it is dropped");
    close(r.fd);
    close(other.fd);
    raw_close(&other);
    is_int(o->count, before, "nothing arrived");
}

/* No file may grow while this lasts: as on a full disk. */
static void fill_disk(int full)
{
    struct rlimit r;

    fflush(stdout);
    signal(SIGXFSZ, full ? SIG_IGN : SIG_DFL);
    getrlimit(RLIMIT_FSIZE, &r);
    r.rlim_cur = full ? 0 : r.rlim_max;
    setrlimit(RLIMIT_FSIZE, &r);
}

/* Slots cannot be made and somebody waits for them: it is tried again after a
 * while, not without a pause; on simulated time that would never end. */
static int no_slots(void *arg PH_UNUSED)
{
    PH_SCOPED(s, NULL);
    struct owner *o = owner_new();
    struct ph_stream *io;
    struct ph_frame *f = ph_frame_new(s);

    ph_sleep_until(ph_in_ms(100));
    ph_frame_cstr(f, "role", "intake");
    ok(dial(s, &io) == 0 && ph_frame_send(io, f) == 0, "a receiver");
    f = ph_frame_new(s);
    ph_frame_cstr(f, "op", "lease");
    ph_frame_u64(f, "who", PH_INTAKE_NET);
    ph_frame_u64(f, "count", 1000);
    fill_disk(1);
    int sent = ph_frame_send(io, f) == 0 && ph_stream_flush(io) == 0;
    ph_sleep_until(ph_in_ms(5000));
    fill_disk(0);
    ok(sent && o->queue->space_low, "wants more slots than there are: none can be made, and time goes on");
    ph_sleep_until(ph_in_ms(5000));
    ok(!o->queue->space_low, "when there is room they are made again");
    ph_stream_close(io);
    owner_free(o);
    return 0;
}

/* Locks every fresh slot as nobody does: their descriptors in fd, how many. */
static int lock_fresh(struct owner *o, int *fd, int max)
{
    int n = 0;

    for (struct ph_list *i = o->queue->fresh.next; i != &o->queue->fresh && n < max; i = i->next) {
        char path[PH_PATH];

        ph_queue_path(path, PH_PLACE_SLOT, ph_list_of(i, struct ph_slot, node)->name);
        fd[n] = openat(o->queue->dir_fd, path, O_RDWR | O_CLOEXEC);
        if (fd[n] >= 0 && ph_lock_take(fd[n], F_WRLCK) == 0)
            n++;
    }
    return n;
}

/* Leases of one answer that are the files which the answer names. */
static int count_true(struct ph_frame *f)
{
    size_t at = 0;
    unsigned i = 0;
    int good = 0;

    for (ph_str key, value; ph_frame_next(f, &at, &key, &value); ) {
        struct stat st;
        uint64_t inode;
        int fd;

        if (!ph_str_eq(key, PH_STR("inode")))
            continue;
        fd = ph_frame_take_fd(f, i++);
        good += ph_str_u64(value, &inode) && fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_ino == inode;
        close(fd);
    }
    return good;
}

static int locked_slots(void *arg PH_UNUSED)
{
    PH_SCOPED(s, NULL);
    struct owner *o = owner_new();
    int fd[200], locked, leases = 0, good = 0;
    struct ph_stream *io;
    struct ph_frame *f = ph_frame_new(s);

    alarm(60);                     /* instead of waiting for ever */
    while (o->queue->fresh_count < 32)
        ph_yield();
    locked = lock_fresh(o, fd, 200);
    ok(locked >= 32, "%d fresh slots are locked by a stranger", locked);
    ph_frame_cstr(f, "role", "intake");
    ok(dial(s, &io) == 0 && ph_frame_send(io, f) == 0, "a receiver");
    f = ph_frame_new(s);
    ph_frame_cstr(f, "op", "lease");
    ph_frame_u64(f, "who", PH_INTAKE_NET);
    ph_frame_u64(f, "count", 4);
    ph_frame_send(io, f);
    ph_stream_flush(io);
    while (leases < 4 && ph_frame_recv(io, s, 0, &f) > 0)
        if (ph_frame_value(f, "slot").n) {
            int n = 0;
            size_t at = 0;

            for (ph_str key, value; ph_frame_next(f, &at, &key, &value); )
                n += ph_str_eq(key, PH_STR("slot"));
            leases += n;
            good += count_true(f);
        }
    is_int(good, 4, "others are made and lent, and each descriptor is the slot that was named");
    alarm(0);
    while (locked > 0)
        close(fd[--locked]);
    ph_stream_close(io);
    owner_free(o);
    return 0;
}

static int run(void *arg PH_UNUSED)
{
    struct owner *o = owner_new();

    ph_hub_dial_with(dial);
    test_lent(o);
    test_orphan(o);
    test_lies(o);
    test_claims(o);
    is_int(ph_queue_count(o->queue), 0, "no message is left");
    owner_free(o);
    return 0;
}

static int simulated(void *arg)
{
    int rc;

    alarm(60);
    ph_clock_simulate(1000);
    rc = no_slots(arg);
    ph_clock_simulate(0);
    alarm(0);
    return rc;
}

int main(void)
{
    queue_world((int (*const[])(void *)){ run, locked_slots, simulated }, 3);
    return done_testing();
}
