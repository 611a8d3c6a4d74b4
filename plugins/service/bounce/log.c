/* log: one file per message and kind, a list of records.
 *
 * A record is lines "name=value" (control bytes and backslash as \xHH), then
 * "sum=" with a hash of these lines, then an empty line.  It is appended in one
 * write.  A torn or damaged record fails its sum and is skipped; the reader
 * finds its feet again at the next empty line.  Nothing is synced: the state
 * byte in the message decides, a log only gives words. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/disk.h>
#include <posthorn/map.h>
#include "bounce.h"

#define VALUE_MAX  4096u           /* bytes of a value */
#define RECORD_MAX (LOG_FIELDS * (VALUE_MAX * 4 + 32) + 64)

const char *const log_names[LOG_FIELDS] = {
    "index", "recipient", "original", "dsn_orcpt", "dsn_notify", "dsn", "action", "text",
    "stamp", "relay", "diagnostic_type", "diagnostic", "remote_mta_type", "remote_mta",
};

int log_kind_is_valid(ph_str kind)
{
    return ph_str_eq(kind, PH_STR("bounce")) || ph_str_eq(kind, PH_STR("defer")) || ph_str_eq(kind, PH_STR("trace"));
}

int log_id_is_valid(ph_str id)
{
    for (size_t i = 0; i < id.n; i++)
        if (!ph_is_alnum(id.p[i]))
            return 0;
    return id.n >= 5 && id.n <= 64;
}

/* ---- where ---- */

/* The microseconds of a long id are its characters 6 to 9 in base 52; a short one
 * (no 'z' in it) begins with them in hex.  The levels of a hashed directory are
 * their first hex digits. */
static unsigned id_microseconds(ph_str id)
{
    char hex[6] = "";

    if (ph_str_find(id, 'z') < 0) {
        memcpy(hex, id.p, id.n < 5 ? id.n : 5);
        return (unsigned)strtoul(hex, NULL, 16);
    }
    static const char digits[] = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz";
    unsigned v = 0;

    for (size_t i = 6; i < 10 && i < id.n; i++) {
        const char *d = memchr(digits, id.p[i], sizeof digits - 1);

        v = v * 52 + (d ? (unsigned)(d - digits) : 0);
    }
    return v;
}

static int is_hashed(struct bounce *b, ph_str kind)
{
    ph_str names = b->p.hash_names;

    for (ph_str w; (w = ph_str_list(&names)).n; )
        if (ph_str_eq(w, kind))
            return 1;
    return 0;
}

ph_str log_path(struct bounce *b, struct ph_scope *s, ph_str kind, ph_str id)
{
    char hex[16];
    struct ph_buf path;

    ph_buf_init(&path, s, 256);
    ph_buf_str(&path, kind);
    snprintf(hex, sizeof hex, "%05X", id_microseconds(id));
    for (int i = 0; i < b->p.hash_depth && i < 5 && is_hashed(b, kind); i++)
        ph_buf_printf(&path, "/%c", hex[i]);
    ph_buf_printf(&path, "/%.*s", PH_FMT(id));
    return ph_buf_view(&path);
}

/* ---- text ---- */

static void put_escaped(struct ph_buf *out, ph_str v)
{
    for (size_t i = 0; i < v.n && i < VALUE_MAX; i++) {
        unsigned char c = (unsigned char)v.p[i];

        if (c < 0x20 || c == 0x7f || c == '\\')
            ph_buf_printf(out, "\\x%02x", c);
        else
            ph_buf_putc(out, (char)c);
    }
}

void log_format(struct ph_buf *out, const struct log_record *r)
{
    size_t start = out->n;

    for (int i = 0; i < LOG_FIELDS; i++)
        if (r->f[i].n) {
            ph_buf_printf(out, "%s=", log_names[i]);
            put_escaped(out, r->f[i]);
            ph_buf_putc(out, '\n');
        }
    ph_buf_printf(out, "sum=%016" PRIx64 "\n\n", ph_str_hash(ph_str_from(ph_buf_view(out), start)));
}

static int hex_digit(char c)
{
    return ph_is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static ph_str unescape(struct ph_scope *s, ph_str v)
{
    char *out = ph_alloc(s, v.n + 1);
    size_t n = 0;

    for (size_t i = 0; i < v.n; i++)
        if (v.p[i] == '\\' && v.n - i >= 4 && hex_digit(v.p[i + 2]) >= 0 && hex_digit(v.p[i + 3]) >= 0) {
            out[n++] = (char)(hex_digit(v.p[i + 2]) * 16 + hex_digit(v.p[i + 3]));
            i += 3;
        } else {
            out[n++] = v.p[i];
        }
    return (ph_str){ out, n };
}

/* The text up to the next empty line, without it. */
static ph_str next_block(ph_str *text)
{
    ptrdiff_t end = ph_str_search(*text, PH_STR("\n\n"));
    ph_str block = ph_str_first(*text, end < 0 ? 0 : (size_t)end + 1);

    *text = end < 0 ? ph_str_from(*text, text->n) : ph_str_from(*text, (size_t)end + 2);
    return block;
}

static int block_is_good(ph_str *block)
{
    char want[32];
    size_t tail = 4 + 16 + 1;      /* "sum=" digits LF */

    if (block->n < tail)
        return 0;
    ph_str lines = ph_str_first(*block, block->n - tail), sum = ph_str_from(*block, block->n - tail);

    snprintf(want, sizeof want, "sum=%016" PRIx64 "\n", ph_str_hash(lines));
    *block = lines;
    return ph_str_eq(sum, ph_cstr(want));
}

static int parse_block(struct ph_scope *s, ph_str block, struct log_record *r)
{
    uint64_t index;

    if (!block_is_good(&block))
        return 0;
    *r = (struct log_record){ .index = 0 };
    while (block.n) {
        ph_str value = ph_str_cut(&block, '\n'), name = ph_str_cut(&value, '=');

        for (int i = 0; i < LOG_FIELDS; i++)
            if (ph_str_eq(name, ph_cstr(log_names[i])))
                r->f[i] = unescape(s, value);
    }
    if (!ph_str_u64(r->f[LOG_INDEX], &index) || index > UINT32_MAX)
        return 0;
    r->index = (uint32_t)index;
    return 1;
}

/* A torn record runs into the next one: of a bad block try again behind the
 * line where the next record begins. */
static int parse_from_torn(struct ph_scope *s, ph_str block, struct log_record *r)
{
    for (ptrdiff_t at; (at = ph_str_search(ph_str_from(block, 1), PH_STR("index="))) >= 0; ) {
        block = ph_str_from(block, (size_t)at + 1);
        if (parse_block(s, block, r))
            return 1;
    }
    return 0;
}

void log_parse(struct ph_scope *s, ph_str text, struct log_record **list, size_t *n)
{
    size_t cap = 1;

    for (size_t i = 0; i + 1 < text.n; i++)
        cap += text.p[i] == '\n' && text.p[i + 1] == '\n';
    struct log_record *all = ph_alloc_array(s, cap, sizeof *all);
    size_t used = 0;

    while (text.n) {
        ph_str block = next_block(&text);

        if (block.n && used < cap && (parse_block(s, block, &all[used]) || parse_from_torn(s, block, &all[used])))
            used++;
    }
    *list = all;
    *n = used;
}

/* ---- files ---- */

struct job {
    int dir_fd;
    const char *path;
    struct ph_buf *buf;
};

static int make_parents(int dir_fd, const char *path)
{
    char part[256];

    for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        snprintf(part, sizeof part, "%.*s", (int)(slash - path), path);
        if (mkdirat(dir_fd, part, 0700) < 0 && errno != EEXIST)
            return ph_fail_errno(PH_TEMP, errno, "create directory %s", part);
    }
    return 0;
}

static int open_for_append(const struct job *j)
{
    int flags = O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(j->dir_fd, j->path, flags, 0600);

    if (fd < 0 && errno == ENOENT && make_parents(j->dir_fd, j->path) == 0)
        fd = openat(j->dir_fd, j->path, flags, 0600);
    return fd < 0 ? ph_fail_errno(PH_TEMP, errno, "open %s", j->path) : fd;
}

/* In the disk pool. */
static int append_job(void *arg)
{
    struct job *j = arg;
    int fd = open_for_append(j);
    struct stat st;

    if (fd < 0)
        return fd;
    int bad = fstat(fd, &st) < 0 ? errno : S_ISREG(st.st_mode) ? 0 : EINVAL;
    if (bad) {
        close(fd);
        return ph_fail_errno(PH_TEMP, bad, "use %s", j->path);
    }
    if (st.st_size > (off_t)LOG_MAX / 2 && ftruncate(fd, 0) == 0)
        st.st_size = 0;
    ssize_t put = write(fd, j->buf->p, j->buf->n);
    int err = put < 0 ? errno : ENOSPC;

    if ((put < 0 || (size_t)put != j->buf->n) && ftruncate(fd, st.st_size) < 0)
        err = errno;               /* the torn record stays; its sum is wrong */
    close(fd);
    return put >= 0 && (size_t)put == j->buf->n ? 0 : ph_fail_errno(PH_TEMP, err, "write %s", j->path);
}

int log_append(struct bounce *b, ph_str kind, ph_str id, const struct log_record *list, size_t n)
{
    PH_SCOPED(s, NULL);
    struct ph_buf text;
    struct job j = { b->service->queue_dir_fd, log_path(b, s, kind, id).p, &text };

    ph_buf_init(&text, s, n * RECORD_MAX);
    for (size_t i = 0; i < n; i++)
        log_format(&text, &list[i]);
    return ph_disk(append_job, &j);
}

int log_slurp(int dir_fd, const char *path, struct ph_buf *text)
{
    int fd = openat(dir_fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t got = 1;

    if (fd < 0)
        return errno == ENOENT ? 0 : ph_fail_errno(PH_TEMP, errno, "open %s", path);
    while (got > 0) {
        char *room = ph_buf_room(text, 4096);

        if (!room)
            break;                 /* LOG_MAX: the rest is not read */
        while ((got = read(fd, room, 4096)) < 0 && errno == EINTR)
            ;
        if (got > 0)
            ph_buf_added(text, (size_t)got);
    }
    int err = errno;

    close(fd);
    return got < 0 ? ph_fail_errno(PH_TEMP, err, "read %s", path) : 0;
}

static int read_job(void *arg)
{
    struct job *j = arg;

    return log_slurp(j->dir_fd, j->path, j->buf);
}

/* Keep the last record of each recipient at the place of its first; two of the
 * same request are two failures (commands of one alias). */
size_t log_keep_last(struct log_record *list, size_t n, struct ph_scope *s)
{
    if (n < 2)
        return n;
    struct ph_map *seen = ph_map_new(s);
    size_t kept = 0;

    for (size_t i = 0; i < n; i++) {
        ph_str key = ph_str_printf(s, "%.*s\n%.*s\n%.*s", PH_FMT(list[i].f[LOG_INDEX]),
                                   PH_FMT(list[i].f[LOG_RECIPIENT]), PH_FMT(list[i].f[LOG_ORIGINAL]));
        struct log_record *first = ph_map_get(seen, key);

        if (first && !ph_str_eq(first->f[LOG_STAMP], list[i].f[LOG_STAMP])) {
            *first = list[i];
            continue;
        }
        list[kept] = list[i];
        ph_map_set(seen, key, &list[kept]);
        kept++;
    }
    return kept;
}

int log_read(struct bounce *b, struct ph_scope *s, ph_str kind, ph_str id,
             struct log_record **list, size_t *n)
{
    struct ph_buf text;
    struct job j = { b->service->queue_dir_fd, log_path(b, s, kind, id).p, &text };

    ph_buf_init(&text, NULL, LOG_MAX);      /* grown in a pool thread: not on a scope */
    int rc = ph_disk(read_job, &j);

    if (rc >= 0) {
        log_parse(s, ph_buf_view(&text), list, n);
        *n = log_keep_last(*list, *n, s);
    }
    ph_buf_fini(&text);
    return rc;
}
