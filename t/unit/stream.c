/* t/unit/stream.c: streams over UNIX sockets, TCP and memory must be one and the
 * same: each case runs over all. */
#include "tap.h"
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include <posthorn/error.h>
#include <posthorn/stream.h>
#include "core/run/loop.h"
#include "core/run/stream_in.h"

enum { OVER_UNIX, OVER_MEMORY, OVER_TCP, KINDS };
static int over;

/* Two ends of a connection on loopback. */
static void tcp_pair(int fd[2])
{
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof sa;
    int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(l, (struct sockaddr *)&sa, n) < 0 || listen(l, 1) < 0 || getsockname(l, (struct sockaddr *)&sa, &n) < 0 ||
        connect(fd[0], (struct sockaddr *)&sa, n) < 0 || (fd[1] = accept4(l, NULL, NULL, SOCK_CLOEXEC)) < 0)
        exit(1);
    close(l);
}

static void make_pair(struct ph_scope *s, size_t size, struct ph_stream **a, struct ph_stream **b)
{
    int fd[2];

    if (over == OVER_MEMORY) {
        ph_stream_pair(s, s, size, a, b);
        return;
    }
    if (over == OVER_TCP)
        tcp_pair(fd);
    else if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) < 0)
        exit(1);
    *a = ph_stream_fd(s, fd[0], size);
    *b = ph_stream_fd(s, fd[1], size);
}

static const char *kind(void) { return over == OVER_MEMORY ? "memory" : over == OVER_TCP ? "TCP" : "socket"; }

struct writer { struct ph_stream *io; ph_str text; size_t step; int close_after, rc; };

static void write_pieces(void *arg)
{
    struct writer *w = arg;

    for (ph_str rest = w->text; rest.n && w->rc == 0; rest = ph_str_from(rest, w->step)) {
        w->rc = ph_stream_str(w->io, ph_str_first(rest, w->step));
        if (w->rc == 0)
            w->rc = ph_stream_flush(w->io);
        if (w->rc == 0)
            w->rc = ph_yield();
    }
    if (w->close_after)
        ph_stream_close(w->io);
}

static const struct { int rc; const char *line; } lines[] = {
    { PH_LINE_CRLF, "one" }, { PH_LINE_LF, "two" }, { PH_LINE_CRLF, "" }, { PH_LINE_CRLF, "a\rb" },
    { PH_LINE_LONG, "" }, { PH_LINE_LONG, "" }, { PH_LINE_LONG, "" }, { PH_LINE_LF, "after" },   /* 3001 bytes, 1196 at a time */
};

static void test_lines(struct ph_scope *parent)
{
    PH_SCOPED(s, parent);
    struct ph_buf text;

    ph_buf_init(&text, s, 10000);
    ph_buf_puts(&text, "one\r\ntwo\n\r\na\rb\r\n");
    for (int i = 0; i < 3000; i++)
        ph_buf_putc(&text, 'x');
    ph_buf_puts(&text, "\r\nafter\nrest");
    for (size_t step = 1; step < 40; step += 3) {
        PH_SCOPED(t, s);
        struct ph_stream *a, *b;
        ph_str line;
        int good = 1;

        make_pair(t, 600, &a, &b);
        struct writer w = { .io = a, .text = ph_buf_view(&text), .step = step, .close_after = 1 };
        struct ph_group *g = ph_group_new(t);
        ph_spawn(g, "writer", write_pieces, &w);
        for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
            int rc = ph_stream_line(b, 0, &line);

            good &= rc == lines[i].rc && ph_str_eq(line, ph_cstr(lines[i].line));
        }
        good &= ph_stream_line(b, 0, &line) == PH_EOF;
        ph_group_wait(g, PH_FOREVER);
        ok(good, "%s: lines in pieces of %zu", kind(), step);
    }
}

static void test_big(struct ph_scope *parent)
{
    PH_SCOPED(s, parent);
    struct ph_stream *a, *b;
    size_t n = 1000003;
    char *big = ph_alloc(s, n), *got = ph_alloc(s, n);

    for (size_t i = 0; i < n; i++)
        big[i] = (char)(i * 31 + i / 777);
    make_pair(s, 4096, &a, &b);
    struct writer w = { .io = a, .text = { big, n }, .step = 70001, .close_after = 1 };
    struct ph_group *g = ph_group_new(s);
    ph_spawn(g, "writer", write_pieces, &w);
    is_int(ph_stream_read(b, got, 10), 0, "%s: a small read", kind());
    is_int(ph_stream_read(b, got + 10, n - 10), 0, "%s: a big read", kind());
    ok(memcmp(big, got, n) == 0, "%s: a million bytes arrive as they were", kind());
    ph_str v;
    is_int(ph_stream_peek(b, &v), PH_EOF, "%s: then the end", kind());
    ph_group_wait(g, PH_FOREVER);
    is_int(w.rc, 0, "%s: the writer saw no error", kind());
}

static void test_limits(struct ph_scope *parent)
{
    PH_SCOPED(s, parent);
    struct ph_stream *a, *b;
    ph_str v;

    make_pair(s, 1024, &a, &b);
    ph_stream_deadline(b, ph_in_ms(20));
    is_int(ph_stream_peek(b, &v), PH_TIMEOUT, "%s: a deadline ends a read", kind());
    ph_stream_deadline(b, PH_FOREVER);
    ph_stream_deadline(a, ph_in_ms(50));
    int rc = 0;
    for (int i = 0; i < 100000 && rc == 0; i++)
        rc = ph_stream_printf(a, "%01000d", i);
    is_int(rc, PH_TIMEOUT, "%s: a deadline ends a write that nobody reads", kind());
    ok(ph_stream_flush(a) < 0, "%s: a failed write stays", kind());
    ph_stream_close(b);
    ph_stream_close(b);
    ok(ph_stream_is_stale(a), "%s: a stream with a gone peer is stale", kind());
}

static void test_fds(struct ph_scope *parent)
{
    PH_SCOPED(s, parent);
    struct ph_stream *a, *b;
    int p[2], good = 1;
    char c;
    ph_str v;

    make_pair(s, 1024, &a, &b);
    ok(!ph_stream_is_stale(a), "%s: a quiet stream is not stale", kind());
    for (int i = 0; i < 40; i++) {
        if (pipe(p) < 0)
            exit(1);
        good &= write(p[1], &(char){ (char)i }, 1) == 1;
        good &= ph_stream_send_fd(a, p[0]) == 0 && ph_stream_write(a, "x", 1) == 0;
        close(p[0]);
        close(p[1]);
    }
    ph_stream_flush(a);
    for (int i = 0; i < 40; i++) {
        good &= ph_stream_peek(b, &v) == 1;
        ph_stream_skip(b, 1);
        int fd = ph_stream_take_fd(b);

        good &= fd >= 0 && read(fd, &c, 1) == 1 && c == (char)i;
        close(fd);
    }
    ok(good && ph_stream_take_fd(b) == -1, "%s: 40 descriptors pass in order", kind());
}

static void test_idle(struct ph_scope *parent)
{
    PH_SCOPED(s, parent);
    struct ph_stream *a, *b;
    ph_str line;

    make_pair(s, 4096, &a, &b);
    ph_stream_str(a, PH_STR("x\r\ny"));
    ph_stream_flush(a);
    is_int(ph_stream_line(b, 0, &line), PH_LINE_CRLF, "%s: a line", kind());
    is_int(ph_stream_pending(b), 1, "%s: one byte of the next is there", kind());
    is_int(ph_stream_discard(b), 1, "%s: and can be thrown away", kind());
    is_int(ph_stream_pending(b), 0, "%s: nothing is left", kind());
}

struct speaker { struct ph_stream *io; int turns, last; };

/* The last words, and the end right behind them. */
static void speak_and_go(void *arg)
{
    struct speaker *w = arg;

    for (int i = 0; i < w->turns; i++)
        ph_yield();
    ph_stream_str(w->io, PH_STR("goodbye\r\n"));
    if (w->last)
        ph_stream_flush_last(w->io);
    else
        ph_stream_flush(w->io);
    ph_stream_close(w->io);
}

/* However the words and the end fall into turns of the loop, both are met at once:
 * who got fewer bytes than he had room for waits for an edge that may have been. */
static void test_end(struct ph_scope *parent)
{
    for (int i = 0; i < 8; i++) {
        PH_SCOPED(s, parent);
        struct ph_stream *a, *b;
        ph_str line = PH_STR("");

        make_pair(s, 4096, &a, &b);
        struct speaker w = { .io = a, .turns = i / 2, .last = i % 2 };
        struct ph_group *g = ph_group_new(s);
        ph_spawn(g, "speaker", speak_and_go, &w);
        ph_stream_deadline(b, ph_in_ms(20000));
        int rc = ph_stream_line(b, 0, &line);
        ok(rc == PH_LINE_CRLF && ph_str_eq(line, PH_STR("goodbye")), "%s: last words (%d)", kind(), i);
        is_int(ph_stream_line(b, 0, &line), PH_EOF, "%s: and the end behind them", kind());
        ph_group_wait(g, PH_FOREVER);
    }
}

/* Asked for as many bytes as there are, then for more than come at once. */
static void test_exact(struct ph_scope *parent)
{
    PH_SCOPED(s, parent);
    struct ph_stream *a, *b;
    char got[600];
    int good = 1;

    make_pair(s, 512, &a, &b);
    struct writer w = { .io = a, .text = { memset(ph_alloc(s, 6000), 'e', 6000), 6000 }, .step = 512 };
    struct ph_group *g = ph_group_new(s);
    ph_stream_deadline(b, ph_in_ms(20000));
    ph_spawn(g, "writer", write_pieces, &w);
    for (int i = 0; i < 10; i++)
        good &= ph_stream_read(b, got, 600) == 0;
    ok(good, "%s: reads that fit and reads that do not", kind());
    ph_group_wait(g, PH_FOREVER);
}

static void read_to_end(void *arg)
{
    ph_str v;

    while (ph_stream_peek(arg, &v) > 0)
        ph_stream_skip(arg, v.n);
}

/* One task sends, the peer does not read yet; meanwhile another task of ours
 * waits and reads on the same stream: the buffers of the two are apart. */
static void test_both_ways(struct ph_scope *parent)
{
    PH_SCOPED(s, parent);
    struct ph_stream *a, *b;
    size_t n = 2u << 20, got = 0, bad = 0;
    ph_str v;

    make_pair(s, 8192, &a, &b);
    struct writer w = { .io = a, .text = { memset(ph_alloc(s, n), 'w', n), n }, .step = 8192 };
    struct ph_group *g = ph_group_new(s);
    ph_spawn(g, "writer", write_pieces, &w);
    ph_spawn(g, "reader", read_to_end, a);
    for (int i = 0; i < 200; i++) {
        ph_stream_str(b, PH_STR("rrrrrrrrrrrrrrrr"));
        ph_stream_flush(b);
        ph_yield();
    }
    while (got < n && ph_stream_peek(b, &v) > 0) {
        for (size_t i = 0; i < v.n; i++)
            bad += v.p[i] != 'w';
        got += v.n;
        ph_stream_skip(b, v.n);
    }
    ok(got == n && bad == 0, "%s: what one task sends is not disturbed by what another reads (%zu of %zu bytes wrong)", kind(), bad, got);
    ph_stream_close(b);
    ph_group_wait(g, PH_FOREVER);
}

/* A socket that keeps the bounds of calls shows how many there were. */
static void test_gather(struct ph_scope *parent)
{
    PH_SCOPED(s, parent);
    char long_part[700], got[2000];
    const ph_str few[] = { PH_STR("a"), PH_STR(""), PH_STR("b") }, many[] = { { long_part, sizeof long_part }, PH_STR(".\r\n") };
    int fd[2];

    memset(long_part, 'x', sizeof long_part);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd) < 0)
        exit(1);
    struct ph_stream *io = ph_stream_fd(s, fd[0], 600);
    is_int(ph_stream_gather(io, few, 3), 0, "parts that fit");
    is_int(recv(fd[1], got, sizeof got, 0), -1, "wait in the buffer");
    is_int(ph_stream_gather(io, many, 2), 0, "parts that do not");
    is_int(recv(fd[1], got, sizeof got, 0), 2 + 700 + 3, "leave in one call with what waited");
    ok(memcmp(got, "abxx", 4) == 0 && memcmp(got + 700, "xx.\r\n", 5) == 0, "in order");
    is_int(ph_stream_flush(io), 0, "nothing is left");
    is_int(recv(fd[1], got, sizeof got, 0), -1, "nor sent");
    close(fd[1]);
    is_int(ph_stream_gather(io, many, 2), PH_EOF, "a failure is told");
    is_int(ph_stream_gather(io, few, 1), PH_EOF, "and stays");
}

/* What comes in large pieces is read in large pieces, but lines are no longer for it. */
static void test_bulk(struct ph_scope *parent)
{
    PH_SCOPED(s, parent);
    struct ph_stream *a, *b;
    const size_t n = 1 << 20;
    char *text = ph_alloc(s, n);
    size_t got = 0, bad = 0, largest = 0;
    ph_str v;

    for (size_t i = 0; i < n; i++)
        text[i] = (char)('a' + i * i % 23);
    make_pair(s, 16384, &a, &b);
    struct writer w = { .io = a, .text = { text, n }, .step = n };
    struct ph_group *g = ph_group_new(s);
    ph_spawn(g, "writer", write_pieces, &w);
    ph_stream_deadline(b, ph_in_ms(20000));
    while (got < n && ph_stream_peek(b, &v) > 0) {
        /* Not all of it each time, so that pieces begin and end anywhere. */
        size_t take = v.n > 1000 ? v.n - v.n % 7 : v.n;
        bad += memcmp(v.p, text + got, take) != 0;
        largest = v.n > largest ? v.n : largest;
        got += take;
        ph_stream_skip(b, take);
    }
    ok(got == n && bad == 0, "%s: 1 MB comes as it was sent", kind());
    if (over == OVER_MEMORY)
        is_int(largest, 16384, "memory: in pieces of what may be under way");
    else
        ok(largest > 32768, "%s: in pieces of up to %zu bytes", kind(), largest);
    ph_group_wait(g, PH_FOREVER);
    w = (struct writer){ .io = a, .text = { text, n }, .step = 200000, .close_after = 1 };
    text[99999] = text[n - 1] = '\n';
    ph_spawn(g, "writer", write_pieces, &w);
    int rc = PH_LINE_LONG, longs = 0;
    while ((rc = ph_stream_line(b, 0, &v)) == PH_LINE_LONG && longs < 100)
        longs++;
    ok(rc == PH_EOF && longs > (int)(n / 2 / 16384) - 4, "%s: a line of 100,000 bytes is too long, and one of 900,000 (told %d times)", kind(), longs);
    ph_group_wait(g, PH_FOREVER);
}

/* Behind large input the start of a line, whose end is late.  The first read ends with a line. */
static void test_shrink(struct ph_scope *parent)
{
    PH_SCOPED(s, parent);
    struct ph_stream *a, *b;
    char text[56384];
    size_t largest = 0, lines_seen = 0;
    ph_str line;
    int rc;

    make_pair(s, 16384, &a, &b);
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = i % 100 == 99 || i == 16383 || i == sizeof text - 2 ? '\n' : 'x';
    text[sizeof text - 1] = 'y';
    ph_stream_deadline(a, ph_in_ms(20000));
    is_int(ph_stream_write(a, text, sizeof text), 0, "%s: all of it is under way", kind());
    ph_stream_deadline(b, ph_in_ms(100));
    while ((rc = ph_stream_line(b, 0, &line)) == PH_LINE_LF) {
        lines_seen++;
        largest = b->in_cap > largest ? b->in_cap : largest;
    }
    ok(rc == PH_TIMEOUT && lines_seen == 565 && largest == 65536, "%s: lines come in a large piece", kind());
    is_int(b->in_cap, 16384, "%s: who waits for the end of one holds an ordinary buffer", kind());
    ph_stream_str(a, PH_STR("es\r\n"));
    ph_stream_flush(a);
    ph_stream_deadline(b, ph_in_ms(20000));
    ok(ph_stream_line(b, 0, &line) == PH_LINE_CRLF && ph_str_eq(line, PH_STR("yes")), "%s: its start is still there", kind());
}

struct slow_reader { struct ph_stream *io; size_t piece, pieces; int64_t pause; };

static void read_slowly(void *arg)
{
    struct slow_reader *r = arg;
    char got[4096];

    for (size_t i = 0; i < r->pieces; i++)
        if (ph_sleep_until(ph_in_ms(r->pause)) < 0 || ph_stream_read(r->io, got, r->piece) < 0)
            return;
}

/* One large write to a peer that takes a piece now and then; on simulated time. */
static int pace(void *arg PH_UNUSED)
{
    static const struct { const char *what; int64_t ms; size_t piece, pieces; int64_t pause; int rc, least, most; } cases[] = {
        { "a peer that takes each piece in time has all the time it needs", 1000, 4096, 20, 900, 0, 16000, 20000 },
        { "one that takes too little in it has not", 1000, 1024, 80, 900, PH_TIMEOUT, 1000, 2000 },
        { "nor one that stops", 1000, 4096, 8, 900, PH_TIMEOUT, 8000, 8600 },
    };
    char text[80 * 1024];

    over = OVER_MEMORY;
    memset(text, 'p', sizeof text);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        PH_SCOPED(s, NULL);
        struct ph_stream *a, *b;
        make_pair(s, 4096, &a, &b);
        struct slow_reader r = { b, cases[i].piece, cases[i].pieces, cases[i].pause };
        struct ph_group *g = ph_group_new(s);
        int64_t start = ph_now_ms();

        ph_spawn(g, "reader", read_slowly, &r);
        ph_stream_pace(a, cases[i].ms, 4096);
        is_int(ph_stream_write(a, text, sizeof text), cases[i].rc, "%s", cases[i].what);
        int64_t took = ph_now_ms() - start;
        ok(took >= cases[i].least && took <= cases[i].most, "after %lld ms", (long long)took);
        ph_stream_close(a);
        ph_group_wait(g, PH_FOREVER);
    }
    return 0;
}

static int all(void *arg)
{
    struct ph_scope *s = ph_scope_new(NULL);

    (void)arg;
    for (over = 0; over < KINDS; over++) {
        test_lines(s);
        test_big(s);
        test_limits(s);
        if (over != OVER_TCP)
            test_fds(s);
        test_end(s);
        test_exact(s);
        test_idle(s);
        test_both_ways(s);
        test_bulk(s);
        if (over != OVER_MEMORY)
            test_shrink(s);
    }
    test_gather(s);
    ph_scope_free(s);
    return 0;
}

int main(void)
{
    is_int(ph_run_main(all, NULL), 0, "the loop ends");
    ph_clock_simulate(1000);
    is_int(ph_run_main(pace, NULL), 0, "the other too");
    ph_clock_simulate(0);
    return done_testing();
}
