/* copy: a queued message into a mailbox file, in host line ends. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
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

static int write_all(struct mailbox_job *job, int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t done = write(fd, p, n);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return mailbox_write_failed(job, done < 0 ? errno : EIO);
        p += done;
        n -= (size_t)done;
        job->written += (uint64_t)done;
    }
    return 0;
}

/* Where the copy stands between two pieces. */
struct copy {
    int line_start, pending_cr, quote_from;
    char *out;
    size_t n;
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

static int copy_content(struct mailbox_job *job, int fd, struct copy *c, char *in)
{
    const struct ph_message *m = job->message;
    uint64_t at = 0, total = ph_message_bytes(m);
    size_t kept = 0;

    while (at < total || kept) {
        size_t want = PIECE - kept;

        if (want > total - at)
            want = (size_t)(total - at);
        int64_t got = want ? ph_message_read(m, at, in + kept, want) : 0;
        if (got < 0 || (want && got == 0)) {
            job->dsn = "4.3.0";
            return got < 0 ? (int)got : ph_fail(PH_TEMP, "queue file is shorter than its record");
        }
        at += (uint64_t)got;
        kept += (size_t)got;
        size_t used = convert(c, in, kept, at == total);
        int rc = write_all(job, fd, c->out, c->n);

        if (rc < 0)
            return rc;
        kept -= used;
        memmove(in, in + used, kept);
    }
    return 0;
}

int mailbox_copy(struct mailbox_job *job, int fd, int quote_from)
{
    struct copy c = { .line_start = 1, .quote_from = quote_from };
    char *mem = malloc(3 * PIECE + 16);

    if (!mem) {
        job->dsn = "4.3.0";
        return ph_fail(PH_TEMP, "out of memory");
    }
    c.out = mem + PIECE;
    int rc = write_all(job, fd, job->prefix.p, job->prefix.n);
    if (rc == 0)
        rc = copy_content(job, fd, &c, mem);
    if (rc == 0 && !c.line_start)
        rc = write_all(job, fd, "\n", 1);
    free(mem);
    return rc;
}
