/* t/unit/record.c: the commit record: what is whole is read, and nothing else:
 * every truncation, every changed byte, every mixture of two messages. */
#include <unistd.h>
#include "core/base/crc32c.h"
#include "core/queue/facts.h"
#include "core/queue/record.h"
#include "tap.h"

struct file {
    char *p;
    size_t n;
};

/* A message file as reception writes it. */
static struct file make(struct ph_scope *s, int64_t time_us, const char *headers, const char *body, unsigned rcpts)
{
    struct ph_record r = { .version = PH_RECORD_VERSION, .arrival_us = time_us, .inode = 77, .rcpt_count = rcpts,
                           .header_bytes = strlen(headers), .body_bytes = strlen(body), .facts = 4,
                           .longest_line = 9 };
    struct ph_buf env, list, out;
    unsigned char head[PH_RECORD_BYTES];

    ph_buf_init(&env, s, PH_ENVELOPE_MAX);
    ph_buf_init(&list, s, PH_RCPTS_BYTES);
    ph_buf_init(&out, s, 1 << 20);
    ph_record_put_attr(&env, "sender", PH_STR("s@example.com"));
    ph_record_put_attr(&env, "client_name", PH_STR("host.example"));
    for (unsigned i = 0; i < rcpts; i++)
        ph_record_put_rcpt(&list, PH_STR("r@example.org"), PH_STR("alias@example.org"), PH_STR("rfc822;x@y"),
                           PH_STR("NEVER"));
    ph_id_format(r.id, time_us, 77, 1);
    r.envelope_bytes = env.n;
    r.rcpt_bytes = list.n;
    ph_record_layout(&r);
    ph_buf_printf(&out, "%s\r\n%s", headers, body);
    ph_buf_str(&out, ph_buf_view(&env));
    ph_buf_str(&out, ph_buf_view(&list));
    r.crc = ph_record_checksum(ph_crc32c(0, out.p, out.n), &r);
    ph_record_encode(&r, head);

    struct file f = { ph_alloc(s, r.total), r.total };
    memcpy(f.p, head, sizeof head);
    memcpy(f.p + PH_RECORD_BYTES, out.p, out.n);
    memset(f.p + r.marks_offset + PH_MARKS_HEAD, 'P', rcpts);
    return f;
}

static int fd_of(const char *p, size_t n)
{
    char name[] = "/tmp/record.XXXXXX";
    int fd = mkstemp(name);

    unlink(name);
    if (fd < 0 || pwrite(fd, p, n, 0) != (ssize_t)n)
        exit(99);
    return fd;
}

/* 0 when the bytes are a whole message, else what says no. */
static int judge(int fd, struct ph_message *m)
{
    PH_SCOPED(s, NULL);
    struct ph_loaded l;
    int rc = ph_record_load(s, s, fd, m, &l);

    return rc != 0 ? rc : ph_record_verify(fd, &l.record);
}

static void test_whole(struct ph_scope *s)
{
    struct file f = make(s, 1763985600000001, "A: b\r\n", "body\r\n", 3);
    int fd = fd_of(f.p, f.n);
    struct ph_message m;
    struct ph_loaded l;

    is_int(ph_record_load(s, s, fd, &m, &l), 0, "a whole message is read");
    is_int(ph_record_verify(fd, &l.record), 0, "and verified");
    is_bytes(m.sender, "s@example.com", "sender");
    is_bytes(m.client_name, "host.example", "an attribute");
    is_int(m.rcpt_count, 3, "recipients");
    is_bytes(m.rcpt[2].address, "r@example.org", "address of the last");
    is_bytes(m.rcpt[2].original, "alias@example.org", "its original");
    is_bytes(m.rcpt[2].dsn_orcpt, "rfc822;x@y", "its ORCPT");
    is_bytes(m.rcpt[2].dsn_notify, "NEVER", "its NOTIFY");
    is_int(m.rcpt[2].state, PH_STATE_PENDING, "its state");
    is_int(m.facts, 4, "facts");
    is_int(m.arrival_us, 1763985600000001, "arrival");
    is_int(ph_message_bytes(&m), 14, "bytes of content");
    close(fd);
}

/* Marks are not part of the checksum; a byte that is no state reads pending. */
static void test_marks(struct ph_scope *s)
{
    struct file f = make(s, 5000001, "A: b\r\n", "", 4);
    struct ph_message m;
    struct ph_loaded l;
    int fd;

    memcpy(f.p + f.n - 4, "DFT?", 4);
    f.p[f.n - 12] = 'W';
    fd = fd_of(f.p, f.n);
    is_int(ph_record_load(s, s, fd, &m, &l), 0, "marked file is read");
    is_int(ph_record_verify(fd, &l.record), 0, "marks do not change the checksum");
    is_int(m.rcpt[0].state, PH_STATE_DELIVERED, "delivered");
    is_int(m.rcpt[1].state, PH_STATE_FAILED, "failed");
    is_int(m.rcpt[2].state, PH_STATE_TOLD, "told");
    is_int(m.rcpt[3].state, PH_STATE_PENDING, "an unknown state is pending");
    is_int(m.warned, 1, "warned");
    close(fd);
}

static void test_truncations(struct ph_scope *s)
{
    struct file f = make(s, 5000001, "A: b\r\n", "some body\r\n", 2);
    struct ph_message m;
    int bad = 0;

    for (size_t n = 0; n < f.n; n++) {
        int fd = fd_of(f.p, n);

        bad += judge(fd, &m) == 0;
        close(fd);
    }
    is_int(bad, 0, "no truncation of %zu bytes is a message", f.n);
}

static void test_flips(struct ph_scope *s)
{
    struct file f = make(s, 5000001, "A: b\r\n", "some body\r\n", 2);
    size_t marks = f.n - PH_MARKS_HEAD - 2;
    int fd = fd_of(f.p, f.n), bad = 0;
    struct ph_message m;

    for (size_t i = 0; i < marks; i++)
        for (int bit = 0; bit < 8; bit++) {
            char was = f.p[i], now = (char)(was ^ (1 << bit));

            if (pwrite(fd, &now, 1, (off_t)i) != 1)
                exit(99);
            if (judge(fd, &m) == 0 && ++bad < 5)
                printf("# bit %d of byte %zu\n", bit, i);
            if (pwrite(fd, &was, 1, (off_t)i) != 1)
                exit(99);
        }
    is_int(bad, 0, "no changed bit before the marks is overlooked");
    is_int(judge(fd, &m), 0, "the file was put back");
    close(fd);
}

/* A slot is used again: a power loss may leave any blocks of the new message
 * among those of the old one.  Only all of the new, or all of the old, is valid. */
static void test_torn(struct ph_scope *s)
{
    enum { BLOCK = 64, MAX = 16 };
    struct file old = make(s, 5000001, "Subject: one\r\n", "the same words in both\r\n", 3);
    struct file new = make(s, 6000002, "Subject: two\r\n", "the same words in both\r\n", 3);
    size_t blocks = (new.n + BLOCK - 1) / BLOCK;
    char *mix = ph_alloc(s, new.n);
    struct ph_message m;
    int bad = 0, tried = 0;

    ok(old.n == new.n && blocks <= MAX, "two messages of %zu blocks", blocks);
    for (unsigned mask = 1; mask + 1 < 1u << blocks; mask++) {
        int fd;

        memcpy(mix, old.p, old.n);
        for (size_t b = 0; b < blocks; b++)
            if (mask >> b & 1)
                memcpy(mix + b * BLOCK, new.p + b * BLOCK, b + 1 < blocks ? BLOCK : new.n - b * BLOCK);
        if (memcmp(mix, old.p, old.n) == 0 || memcmp(mix, new.p, new.n) == 0)
            continue;              /* these blocks are alike */
        fd = fd_of(mix, new.n);
        tried++;
        bad += judge(fd, &m) == 0;
        close(fd);
    }
    ok(tried > 3, "%d different mixtures", tried);
    is_int(bad, 0, "no mixture of an old and a new message is valid");
}

/* Unknown attributes and items are skipped, damaged ones are not. */
static void test_unknown(struct ph_scope *s)
{
    struct ph_buf env, list;
    struct ph_record r = { .rcpt_count = 1 };
    static const char marks[] = "\0\0\0\0\0\0\0\0P", item[] = "Z\3\0abc";
    struct ph_message m;
    uint32_t skipped = 0;

    ph_buf_init(&env, s, PH_ENVELOPE_MAX);
    ph_buf_init(&list, s, PH_RCPTS_BYTES);
    ph_record_put_attr(&env, "from_the_future", PH_STR("x"));
    ph_record_put_attr(&env, "sender", PH_STR(""));
    ph_buf_put(&list, item, 6);
    ph_record_put_rcpt(&list, PH_STR("a@b"), PH_STR(""), PH_STR(""), PH_STR(""));
    is_int(ph_record_parse(s, &r, ph_buf_view(&env), ph_buf_view(&list), (ph_str){ marks, 9 }, &m, &skipped), 0,
           "unknown records do not hurt");
    is_int(skipped, 2, "and are counted");
    is_bytes(m.rcpt[0].address, "a@b", "the rest is read");
    is_int(m.rcpt[0].expanded, 0, "as a recipient");
    ph_buf_reset(&list);
    ph_record_put_expanded(&list, PH_STR("l@b"), PH_STR("o@b"), PH_STR("rfc822;x"), PH_STR("SUCCESS"));
    skipped = 0;
    is_int(ph_record_parse(s, &r, ph_buf_view(&env), ph_buf_view(&list), (ph_str){ marks, 9 }, &m, &skipped), 0, "an alias that was expanded");
    is_int(m.rcpt[0].expanded, 1, "is read as such");
    ok(ph_str_eq(m.rcpt[0].address, PH_STR("l@b")) && ph_str_eq(m.rcpt[0].original, PH_STR("o@b")) && ph_str_eq(m.rcpt[0].dsn_notify, PH_STR("SUCCESS")), "with all of it");
    r.rcpt_count = 2000;
    is_int(ph_record_parse(s, &r, ph_buf_view(&env), ph_buf_view(&list), (ph_str){ marks, 9 }, &m, &skipped),
           PH_PERM, "a count without recipients is refused");
    is_int(ph_record_put_attr(&env, "sender", PH_STR("a\nb")), PH_PERM, "a line end in a value is refused");
    is_int(ph_record_put_attr(&env, "Bad Name", PH_STR("a")), PH_PERM, "a bad name is refused");
    is_int(ph_record_put_rcpt(&list, (ph_str){ "a\0b", 3 }, PH_STR(""), PH_STR(""), PH_STR("")), PH_PERM,
           "a NUL in an address is refused");
}

/* What facts are, a byte at a time; the last CR is still open. */
static struct ph_facts naive_facts(const char *p, size_t n)
{
    struct ph_facts f = { 0 };

    for (size_t i = 0; i < n; i++) {
        f.bits |= (p[i] & 0x80 ? PH_FACT_8BIT : 0u) | (p[i] == 0 ? PH_FACT_NUL : 0u);
        f.bits |= f.line == 0 && p[i] == '.' ? PH_FACT_LEADING_DOT : 0u;
        f.bits |= f.cr && p[i] != '\n' ? PH_FACT_BARE_CR : 0u;
        f.bits |= !f.cr && p[i] == '\n' ? PH_FACT_BARE_LF : 0u;
        uint64_t text = f.line - (p[i] == '\n' && f.cr);
        f.line = p[i] == '\n' ? 0 : f.line + 1;
        f.cr = p[i] == '\r';
        if (p[i] != '\n')
            text = f.line - (uint64_t)f.cr;
        if (text > f.longest && (p[i] == '\n' || i + 1 == n))
            f.longest = text;
    }
    return f;
}

static void test_facts(void)
{
    static const char *const bits[] = { "a", "word", "\r\n", "\r\n", "\r\n.", ".", "thirty bytes of nothing at all", "\n", "\r", "\xc3\xa4", "\r\r\n" };
    uint32_t seed = 7;
    int good = 1, split = 1;
    char text[700];

    for (int i = 0; i < 20000; i++) {
        uint32_t kinds = 3 + (seed >> 20) % 9;     /* plain text is the common case */
        size_t n = 0, want = (seed >> 8) % (sizeof text - 40);

        while (n < want) {
            seed = seed * 1664525u + 1013904223u;
            ph_str b = ph_cstr(bits[(seed >> 16) % kinds]);
            memcpy(text + n, b.p, b.n);
            n += b.n;
        }
        seed = seed * 1664525u + 1013904223u;
        if (n && (seed >> 28) == 0)
            text[(seed >> 8) % n] = 0;
        struct ph_facts want_f = naive_facts(text, n), f = { 0 }, g = { 0 };
        ph_facts_scan(&f, (ph_str){ text, n });
        good &= f.bits == want_f.bits && f.cr == want_f.cr && f.line == want_f.line && f.longest == want_f.longest;
        size_t cut = n ? (seed >> 4) % n : 0;
        ph_facts_scan(&g, (ph_str){ text, cut });
        ph_facts_scan(&g, (ph_str){ text + cut, n - cut });
        /* A part of a line counts as a line, but for a CR at its end. */
        split &= g.bits == f.bits && g.cr == f.cr && g.line == f.line && g.longest == f.longest;
    }
    ok(good, "facts of random text");
    ok(split, "and of two pieces of it");
}

int main(void)
{
    PH_SCOPED(s, NULL);

    test_whole(s);
    test_marks(s);
    test_truncations(s);
    test_flips(s);
    test_torn(s);
    test_unknown(s);
    test_facts();
    return done_testing();
}
