/* t/unit/frame.c: frames survive the wire; hostile ones are refused whole. */
#include "tap.h"
#include <fcntl.h>
#include <unistd.h>
#include <posthorn/clock.h>
#include <posthorn/error.h>
#include <posthorn/frame.h>
#include "core/run/loop.h"

/* Encode a sample into bytes. */
static ph_str sample(struct ph_scope *s)
{
    struct ph_stream *a, *b;
    struct ph_frame *f = ph_frame_new(s);
    ph_str v;

    ph_stream_pair(s, s, 65536, &a, &b);
    ph_frame_cstr(f, "op", "rcpt");
    ph_frame_str(f, "address", PH_STR("user@example.com"));
    ph_frame_u64(f, "size", 18446744073709551615u);
    ph_frame_i64(f, "when", -5);
    ph_frame_str(f, "empty", PH_STR(""));
    ph_frame_str(f, "address", PH_STR("second\0byte"));
    ph_frame_send(a, f);
    ph_stream_flush(a);
    ph_stream_peek(b, &v);
    return ph_str_dup(s, v);
}

/* Read one frame from exactly these bytes. */
static int recv_bytes(struct ph_scope *s, ph_str bytes, size_t max, struct ph_frame **f)
{
    struct ph_stream *a, *b;

    ph_stream_pair(s, s, 65536, &a, &b);
    ph_stream_str(a, bytes);
    ph_stream_flush(a);
    ph_stream_close(a);
    return ph_frame_recv(b, s, max, f);
}

static void test_round(struct ph_scope *s)
{
    struct ph_frame *f;
    uint64_t u;
    int64_t i;
    ph_str v, name;
    size_t at = 0, n = 0;

    is_int(recv_bytes(s, sample(s), 0, &f), 1, "a frame arrives");
    is_bytes(ph_frame_value(f, "op"), "rcpt", "op");
    is_bytes(ph_frame_value(f, "address"), "user@example.com", "the first of two");
    ok(ph_frame_get_u64(f, "size", &u) == PH_FOUND && u == UINT64_MAX, "largest number");
    ok(ph_frame_get_i64(f, "when", &i) == PH_FOUND && i == -5, "negative number");
    ok(ph_frame_get(f, "empty", &v) == PH_FOUND && v.n == 0, "an empty value is there");
    is_int(ph_frame_get(f, "none", &v), PH_NONE, "a missing one is not");
    is_int(ph_frame_get_u64(f, "op", &u), PH_PERM, "text is no number");
    while (ph_frame_next(f, &at, &name, &v))
        n++;
    ok(n == 6 && v.n == 11 && v.p[6] == 0, "all six in order, bytes as they are");
}

/* Differences of two of them fit into an int64_t, whoever sent them. */
static void test_times(struct ph_scope *s)
{
    static const struct { int64_t t; int rc; } tests[] = {
        { 0, PH_FOUND }, { 1700000000000000, PH_FOUND }, { PH_WALL_MAX_US, PH_FOUND },
        { -1, PH_PERM }, { PH_WALL_MAX_US + 1, PH_PERM }, { INT64_MIN, PH_PERM }, { INT64_MAX, PH_PERM },
    };
    struct ph_frame *f = ph_frame_new(s);
    int64_t got;

    is_int(ph_frame_get_time(f, "at", &got), PH_NONE, "no time");
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        f = ph_frame_new(s);
        ph_frame_i64(f, "at", tests[i].t);
        ok(ph_frame_get_time(f, "at", &got) == tests[i].rc && (tests[i].rc != PH_FOUND || got == tests[i].t),
           "the time %lld", (long long)tests[i].t);
    }
}

static void test_hostile(struct ph_scope *parent)
{
    PH_SCOPED(s, parent);
    ph_str good = sample(s);
    struct ph_frame *f;
    int refused = 1, survived = 0;

    for (size_t cut = 1; cut < good.n; cut++) {
        PH_SCOPED(t, s);
        refused &= recv_bytes(t, ph_str_first(good, cut), 0, &f) == PH_PERM;
    }
    ok(refused, "each of %zu truncations is refused", good.n - 1);
    is_int(recv_bytes(s, PH_STR(""), 0, &f), PH_EOF, "nothing at all is a clean end");
    for (size_t at = 0; at < good.n; at++)
        for (int bit = 0; bit < 256; bit += 5) {
            PH_SCOPED(t, s);
            char *p = ph_cstr_dup(t, good);

            p[at] = (char)(p[at] ^ (bit | 1));
            int rc = recv_bytes(t, (ph_str){ p, good.n }, 0, &f);
            survived += rc == 1 || rc == PH_PERM;
        }
    is_int(survived, (long long)good.n * 52, "each corruption is a frame or refused");
    is_int(recv_bytes(s, good, 20, &f), PH_PERM, "larger than the reader allows");
    static const char huge[] = { '\xff', '\xff', '\xff', '\x7f', 0, 0, 1, 0 };
    is_int(recv_bytes(s, (ph_str){ huge, 8 }, 0, &f), PH_PERM, "a giant length is refused before memory is taken");
    static const char nofd[] = { 4, 0, 0, 0, 2, 0, 0, 0 };
    is_int(recv_bytes(s, (ph_str){ nofd, 8 }, 0, &f), PH_PERM, "promised descriptors that did not come");
}

/* ---- large frames ---- */

struct reading {
    struct ph_scope *s;
    struct ph_stream *io;
    struct ph_frame *f;
    int rc;
};

static void read_one(void *arg)
{
    struct reading *r = arg;

    r->rc = ph_frame_recv(r->io, r->s, 0, &r->f);
}

/* Give so many of the bytes to a reader, which then waits for more: what its scope holds. */
static size_t held_after(struct ph_scope *parent, ph_str wire, size_t come)
{
    PH_SCOPED(s, parent);
    struct ph_group *g = ph_group_new(s);
    struct reading r = { .s = s, .rc = -1000 };
    struct ph_stream *a;

    ph_stream_pair(s, ph_scope_new(s), 0, &a, &r.io);
    size_t before = ph_scope_bytes(s);
    ph_spawn(g, "reader", read_one, &r);
    ph_stream_str(a, ph_str_first(wire, come));
    ph_stream_flush(a);
    ph_sleep_until(ph_in_ms(1));
    size_t held = ph_scope_bytes(s) - before;
    ph_stream_close(a);
    ph_group_wait(g, PH_FOREVER);
    is_int(r.rc, come < wire.n ? PH_PERM : 1, "%zu bytes have come of %zu", come, wire.n);
    if (r.rc == 1)
        ok(ph_str_eq(ph_str_dup(parent, ph_frame_value(r.f, "text")), ph_str_first(ph_str_from(wire, 17), wire.n - 17)), "the value is the one sent");
    return held;
}

/* The largest frame there may be, of one value. */
static ph_str large(struct ph_scope *s, size_t n)
{
    unsigned char head[17] = { 0, 0, 0, 0, 0, 0, 1, 0, 4, 't', 'e', 'x', 't' };
    char *p = ph_alloc(s, n);

    for (int i = 0; i < 4; i++) {
        head[i] = (unsigned char)((n - 4) >> 8 * i);
        head[13 + i] = (unsigned char)((n - sizeof head) >> 8 * i);
    }
    memcpy(p, head, sizeof head);
    for (size_t i = sizeof head; i < n; i++)
        p[i] = (char)(i * 2654435761u >> 13);
    return (ph_str){ p, n };
}

/* Memory follows what has come, not what is said to come. */
static void test_large(struct ph_scope *parent)
{
    static const size_t sizes[] = { 17, 16384, 16392, 16393, 131080, 131081, 1 << 20, PH_FRAME_MAX + 4 };

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        PH_SCOPED(s, parent);
        ph_str wire = large(s, sizes[i]);
        size_t come[] = { 8, 9, wire.n / 10, wire.n - 1, wire.n };

        for (size_t j = 0; j < sizeof come / sizeof *come; j++)
            ok(come[j] < 8 || held_after(s, wire, come[j]) <= 20000 + 10 * come[j], "and little more is held");
    }
    PH_SCOPED(s, parent);
    ok(held_after(s, large(s, PH_FRAME_MAX + 4), 8) < 20000, "a length alone takes no memory");
}

static void test_fds(struct ph_scope *s)
{
    struct ph_stream *a, *b;
    struct ph_frame *f = ph_frame_new(s), *got;
    int p[2];
    char c = 0;

    if (pipe(p) < 0)
        exit(1);
    ph_stream_pair(s, s, 0, &a, &b);
    ph_frame_cstr(f, "op", "x");
    ph_frame_fd(f, p[0]);
    ph_frame_send(a, f);
    ph_stream_flush(a);
    is_int(ph_frame_recv(b, s, 0, &got), 1, "a frame with a descriptor");
    int fd = ph_frame_take_fd(got, 0);
    ok(fd >= 0 && write(p[1], "z", 1) == 1 && read(fd, &c, 1) == 1 && c == 'z', "the descriptor works");
    is_int(ph_frame_take_fd(got, 0), -1, "it can be taken once");
    close(fd);
    close(p[0]);
    close(p[1]);
}

/* How many attributes an answer has is often up to a peer. */
static void test_overfull(struct ph_scope *parent)
{
    PH_SCOPED(s, parent);
    struct ph_frame *f = ph_frame_new(s);
    struct ph_stream *a, *b;

    ph_stream_pair(s, s, 0, &a, &b);
    for (int i = 0; i < 65536; i++)
        ph_frame_cstr(f, "x", "");
    is_int(ph_frame_send(a, f), PH_PERM, "a frame of more attributes than fit is not sent");
}

static int all(void *arg)
{
    struct ph_scope *s = ph_scope_new(NULL);

    (void)arg;
    test_round(s);
    test_times(s);
    test_hostile(s);
    test_large(s);
    test_fds(s);
    test_overfull(s);
    ph_scope_free(s);
    return 0;
}

int main(void)
{
    is_int(ph_run_main(all, NULL), 0, "the loop ends");
    return done_testing();
}
