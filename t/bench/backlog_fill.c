/* backlog_fill: a deferred queue of any size, made at once: message files in the
 * queue's own format, each with its time of the next attempt, a note why it is
 * there, and a defer log.
 *
 *     backlog_fill QUEUE_DIRECTORY COUNT [bytes [seconds [domains [rcpts]]]]
 *
 * COUNT messages of so many bytes of content (4096), due in so many seconds
 * (1000; negative: overdue), to that many domains in turn (100: d0.backlog.test,
 * d1...), so many recipients each (1).  The mail system must not run.  Root
 * becomes the owner of the queue.  Prints nothing; status 0 when all is there. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <posthorn/clock.h>
#include "core/base/crc32c.h"
#include "core/queue/note.h"
#include "core/queue/record.h"

struct fill {
    int dir_fd;
    uint64_t count, bytes, domains, rcpts;
    int64_t due_s, born_us;
    struct ph_scope *s;
    ph_str content;
};

static void fail(const char *what) PH_NORETURN;
static void fail(const char *what)
{
    fprintf(stderr, "backlog_fill: %s: %s\n", what, errno ? strerror(errno) : ph_error());
    exit(1);
}

static ph_str make_content(struct ph_scope *s, uint64_t bytes)
{
    static const char header[] = "From: sender@client.test\r\nSubject: backlog\r\n\r\n";
    struct ph_buf b;

    ph_buf_init(&b, s, bytes + 256);
    ph_buf_puts(&b, header);
    while (b.n < bytes)
        ph_buf_puts(&b, "A line of sixty-four bytes with its end, as mail has many of it.\r\n");
    return ph_buf_view(&b);
}

static ph_str make_rcpts(const struct fill *f, struct ph_scope *s, uint64_t i)
{
    struct ph_buf b;

    ph_buf_init(&b, s, PH_RCPTS_BYTES);
    for (uint64_t k = 0; k < f->rcpts; k++)
        if (ph_record_put_rcpt(&b, ph_str_printf(s, "user%" PRIu64 "-%" PRIu64 "@d%" PRIu64 ".backlog.test", i, k, i % f->domains),
                               PH_STR(""), PH_STR(""), PH_STR("")) < 0)
            fail("recipient");
    return ph_buf_view(&b);
}

static void write_message(const struct fill *f, struct ph_scope *s, int fd, struct ph_record *r, ph_str rcpts)
{
    static const ph_str split = PH_STR_INIT("\r\n\r\n");
    unsigned char head[PH_RECORD_BYTES];
    struct ph_buf envelope;
    char *marks = ph_alloc(s, PH_MARKS_HEAD + f->rcpts);

    memset(marks + PH_MARKS_HEAD, PH_STATE_PENDING, f->rcpts);
    ph_buf_init(&envelope, s, PH_ENVELOPE_MAX);
    ph_record_put_attr(&envelope, "sender", PH_STR("sender@client.test"));
    r->header_bytes = (uint64_t)ph_str_search(f->content, split) + 2;
    r->body_bytes = f->content.n - r->header_bytes - 2;
    r->longest_line = 64;
    r->envelope_bytes = envelope.n;
    r->rcpt_bytes = rcpts.n;
    r->rcpt_count = (uint32_t)f->rcpts;
    ph_record_layout(r);
    r->crc = ph_crc32c(ph_crc32c(ph_crc32c(0, f->content.p, f->content.n), envelope.p, envelope.n), rcpts.p, rcpts.n);
    r->crc = ph_record_checksum(r->crc, r);
    ph_record_encode(r, head);
    struct iovec v[] = { { head, sizeof head }, { (void *)(uintptr_t)f->content.p, f->content.n },
                         { envelope.p, envelope.n }, { (void *)(uintptr_t)rcpts.p, rcpts.n }, { marks, PH_MARKS_HEAD + f->rcpts } };
    if (writev(fd, v, 5) != (ssize_t)r->total)
        fail("write message");
}

static ph_str make_reason(const struct fill *f, struct ph_scope *s, uint64_t i)
{
    return ph_str_printf(s, "connect to d%" PRIu64 ".backlog.test[192.0.2.1]:25: Connection timed out", i % f->domains);
}

/* As qmgr writes it after a try. */
static void write_note(const struct fill *f, struct ph_scope *s, int fd, const struct ph_record *r, uint64_t i)
{
    struct ph_note note = { 0 };
    struct ph_buf b;

    ph_buf_init(&b, s, PH_NOTE_BYTES);
    for (uint32_t k = 0; k < f->rcpts; k++)
        if (ph_note_set(&note, k, make_reason(f, s, i)) != 0)
            return;
    if (ph_note_format(&b, r->crc, &note) == 0 && write(fd, b.p, b.n) != (ssize_t)b.n)
        fail("write note");
}

/* As bounce writes it then. */
static void write_log(const struct fill *f, struct ph_scope *s, const char *path, uint64_t i)
{
    struct ph_buf b;
    int fd = openat(f->dir_fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    ph_buf_init(&b, s, 64u << 20);
    for (uint64_t k = 0; k < f->rcpts; k++) {
        size_t start = b.n;

        ph_buf_printf(&b, "index=%" PRIu64 "\nrecipient=user%" PRIu64 "-%" PRIu64 "@d%" PRIu64 ".backlog.test\ndsn=4.4.1\n"
                          "text=%s\nstamp=1\n",
                      k, i, k, i % f->domains, make_reason(f, s, i).p);
        ph_buf_printf(&b, "sum=%016" PRIx64 "\n\n", ph_str_hash(ph_str_from(ph_buf_view(&b), start)));
    }
    if (fd < 0 || write(fd, b.p, b.n) != (ssize_t)b.n)
        fail(path);
    close(fd);
}

static void make_one(const struct fill *f, uint64_t i)
{
    PH_SCOPED(s, NULL);
    int64_t next = ph_wall_us() / 1000000 + f->due_s;
    struct ph_record r = { .version = PH_RECORD_VERSION, .arrival_us = f->born_us + (int64_t)i * 997 };
    struct timespec ts[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = next } };
    char tmp[64], path[64], log[64], hash[6];
    struct stat st;
    int fd;

    snprintf(hash, sizeof hash, "%05X", (unsigned)(r.arrival_us % 1000000));
    snprintf(tmp, sizeof tmp, "deferred/%c/fill", hash[0]);
    snprintf(log, sizeof log, "defer/%c", hash[0]);
    if (mkdirat(f->dir_fd, log, 0700) < 0 && errno != EEXIST)
        fail(log);
    if ((fd = openat(f->dir_fd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)) < 0 || fstat(fd, &st) < 0)
        fail(tmp);
    r.inode = st.st_ino;
    ph_id_format(r.id, r.arrival_us, r.inode, 1);
    write_message(f, s, fd, &r, make_rcpts(f, s, i));
    write_note(f, s, fd, &r, i);
    snprintf(path, sizeof path, "deferred/%c/%s", hash[0], r.id);
    snprintf(log, sizeof log, "defer/%c/%s", hash[0], r.id);
    if (futimens(fd, ts) < 0 || close(fd) < 0 || renameat(f->dir_fd, tmp, f->dir_fd, path) < 0)
        fail(path);
    write_log(f, s, log, i);
}

static void become_owner(int dir_fd)
{
    struct stat st;

    if (fstatat(dir_fd, "pool", &st, 0) < 0)
        fail("pool");
    if (geteuid() == 0 && (setresgid(st.st_gid, st.st_gid, st.st_gid) < 0 || setresuid(st.st_uid, st.st_uid, st.st_uid) < 0))
        fail("become the owner of the queue");
}

static uint64_t number(char **argv, int argc, int i, uint64_t otherwise)
{
    uint64_t v = otherwise;

    if (i < argc && !ph_str_u64(ph_cstr(argv[i]), &v)) {
        fprintf(stderr, "backlog_fill: not a number: %s\n", argv[i]);
        exit(2);
    }
    return v;
}

int main(int argc, char **argv)
{
    struct fill f = { .dir_fd = -1 };

    if (argc < 3 || argc > 7) {
        fprintf(stderr, "usage: backlog_fill QUEUE_DIRECTORY COUNT [bytes [seconds [domains [rcpts]]]]\n");
        return 2;
    }
    f.s = ph_scope_new(NULL);
    f.count = number(argv, argc, 2, 0);
    f.bytes = number(argv, argc, 3, 4096);
    f.due_s = argc > 4 && argv[4][0] == '-' ? -(int64_t)number((char *[]){ argv[4] + 1 }, 1, 0, 0) : (int64_t)number(argv, argc, 4, 1000);
    f.domains = number(argv, argc, 5, 100);
    f.rcpts = number(argv, argc, 6, 1);
    f.born_us = ph_wall_us() - 3600 * (int64_t)1000000;
    f.content = make_content(f.s, f.bytes);
    if ((f.dir_fd = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        fail(argv[1]);
    become_owner(f.dir_fd);
    for (uint64_t i = 0; i < f.count; i++)
        make_one(&f, i);
    ph_scope_free(f.s);
    return 0;
}
