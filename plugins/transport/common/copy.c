/* copy: a queued message into a mailbox file, in host line ends. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>
#include <posthorn/buf.h>
#include <posthorn/error.h>
#include "plugins/transport/common/mailbox.h"

#define PIECE 65536

int mailbox_write_failed(struct mailbox_job *job, int err)
{
    int full = err == EDQUOT || err == EFBIG;

    job->dsn = full ? "5.2.2" : "4.3.0";
    return ph_fail_errno(full ? PH_PERM : PH_TEMP, err, "error writing message");
}

int mailbox_is_his(int err)
{
    return err == EACCES || err == EPERM || err == ELOOP || err == EISDIR || err == ENXIO || err == ENOTDIR;
}

int mailbox_files_failed(struct mailbox_job *job, int rc, int err, const char *fmt, ...)
{
    char what[4200];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    if (err == 0) {                /* not the file: the helper was lost */
        job->dsn = "4.3.0";
        return ph_wrap(rc, "%s", what);
    }
    if (err == ENOSPC || err == EDQUOT)
        job->dsn = err == EDQUOT ? "5.2.2" : "4.3.0";
    else
        job->dsn = mailbox_is_his(err) ? "5.2.0" : "4.2.0";
    return ph_fail_errno(job->dsn[0] == '5' ? PH_PERM : PH_TEMP, err, "%s", what);
}

void mailbox_unlink(struct mailbox_job *job, const char *path)
{
    PH_SCOPED(s, NULL);
    ph_str why = ph_str_dup(s, ph_cstr(ph_error()));

    if (ph_files_unlink(job->files, path, NULL) < 0)
        ph_fail(PH_TEMP, "%s", why.p);
}

struct output {
    int fd, err;                   /* err: errno of the write that failed */
    ph_str head;                   /* not written yet: it goes with the first piece */
};

static int put_out(struct output *o, const char *p, size_t n)
{
    while (n || o->head.n) {
        struct iovec iov[2] = { { (void *)(uintptr_t)o->head.p, o->head.n }, { (void *)(uintptr_t)p, n } };
        ssize_t done = writev(o->fd, iov, 2);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0) {
            o->err = done < 0 ? errno : EIO;
            return PH_TEMP;
        }
        size_t of_head = (size_t)done < o->head.n ? (size_t)done : o->head.n;

        o->head = ph_str_from(o->head, of_head);
        p += (size_t)done - of_head;
        n -= (size_t)done - of_head;
    }
    return 0;
}

static int put_fd(void *arg, const char *p, size_t n)
{
    return n ? put_out(arg, p, n) : 0;
}

/* Where the copy stands between two pieces. */
struct copy {
    int line_start, quote_from;
    char *out;
    size_t n;
    int (*put)(void *arg, const char *p, size_t n);
    void *arg;
};

static int is_from(const char *p, size_t n)
{
    return n >= 5 && memcmp(p, "From ", 5) == 0;
}

/* Convert whole lines of in[0..n) into c->out (room for 2n + 1).  Returns the
 * bytes used: a tail too short to know whether it says "From " is left, unless
 * it is the last. */
static size_t convert(struct copy *c, const char *in, size_t n, int last)
{
    size_t at = 0;

    c->n = 0;
    while (at < n) {
        if (c->line_start && c->quote_from) {
            if (n - at < 5 && !last && memcmp(in + at, "From ", n - at) == 0)
                break;
            if (is_from(in + at, n - at))
                c->out[c->n++] = '>';
        }
        const char *eol = memchr(in + at, '\n', n - at);
        size_t end = eol ? (size_t)(eol - in) : n, len = end - at;

        if (eol && len && in[end - 1] == '\r')
            len--;
        else if (!eol && len && in[end - 1] == '\r' && !last)
            end--, len--;          /* the LF may stand in the next piece */
        memcpy(c->out + c->n, in + at, len);
        c->n += len;
        if (eol)
            c->out[c->n++] = '\n';
        c->line_start = eol != NULL || (c->line_start && len == 0);
        at = eol ? end + 1 : end;
        if (!eol)
            break;
    }
    return at;
}

static int copy_content(const struct ph_message *m, struct copy *c, char *in)
{
    uint64_t at = 0, total = ph_message_bytes(m);
    size_t kept = 0;

    while (at < total || kept) {
        size_t want = PIECE - kept;

        if (want > total - at)
            want = (size_t)(total - at);
        int64_t got = want ? ph_message_read(m, at, in + kept, want) : 0;
        if (got < 0 || (want && got == 0))
            return got < 0 ? (int)got : ph_fail(PH_TEMP, "queue file is shorter than its record");
        at += (uint64_t)got;
        kept += (size_t)got;
        size_t used = convert(c, in, kept, at == total);
        int rc = c->put(c->arg, c->out, c->n);

        if (rc < 0)
            return rc;
        kept -= used;
        memmove(in, in + used, kept);
    }
    return 0;
}

int mailbox_copy_to(const struct ph_message *m, ph_str prefix, int quote_from, int (*put)(void *arg, const char *p, size_t n), void *arg)
{
    struct copy c = { .line_start = 1, .quote_from = quote_from, .put = put, .arg = arg };
    char *mem = malloc(3 * PIECE + 16);

    if (!mem)
        return ph_fail(PH_TEMP, "out of memory");
    c.out = mem + PIECE;
    int rc = put(arg, prefix.p, prefix.n);
    if (rc == 0)
        rc = copy_content(m, &c, mem);
    if (rc == 0 && !c.line_start)
        rc = put(arg, "\n", 1);
    free(mem);
    return rc;
}

int mailbox_copy(struct mailbox_job *job, int fd, int quote_from)
{
    struct output o = { .fd = fd, .head = job->prefix };
    int rc = mailbox_copy_to(job->message, PH_STR(""), quote_from, put_fd, &o);

    if (rc == 0)
        rc = put_out(&o, "", 0);   /* of a message without content */
    if (o.err)
        return mailbox_write_failed(job, o.err);
    if (rc < 0)
        job->dsn = "4.3.0";
    return rc;
}
