/* postqueue without showq: what waits in maildrop.  The files are users': opened
 * with care, read within bounds, shown only when they are whole. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/error.h>
#include <posthorn/maildrop.h>
#include <posthorn/message.h>
#include "core/cmd/postqueue.h"

#define SHOWN_MAX 1000                 /* recipients of one message */

struct reader {
    int fd;
    int64_t at;
};

static int64_t read_more(void *arg, char *p, size_t n)
{
    struct reader *r = arg;
    ssize_t got = pread(r->fd, p, n, r->at);

    if (got < 0)
        return ph_fail_errno(PH_TEMP, errno, "read");
    r->at += got;
    return got;
}

static struct ph_frame *begin(struct ph_scope *s, const char *name, int64_t when, uint64_t size, ph_str sender)
{
    struct ph_frame *f = ph_frame_new(s);

    ph_frame_cstr(f, "queue_name", "maildrop");
    ph_frame_cstr(f, "queue_id", name);
    ph_frame_i64(f, "time", when);
    ph_frame_u64(f, "size", size);
    ph_frame_u64(f, "forced_expire", 0);
    ph_frame_str(f, "sender", sender);
    return f;
}

static void put_rcpt(struct ph_frame *f, ph_str original, ph_str address)
{
    ph_frame_str(f, "original_recipient", original.n ? original : address);
    ph_frame_str(f, "recipient", address);
    ph_frame_cstr(f, "log_class", "");
    ph_frame_cstr(f, "reason", "");
}

/* One that postsuper -r put back. */
static void list_requeued(struct ph_scope *s, const char *name, const struct ph_message *m, struct listing *l)
{
    struct ph_frame *f = begin(s, name, m->arrival_us / 1000000, ph_message_bytes(m), m->sender);

    for (uint32_t i = 0, shown = 0; i < m->rcpt_count && shown < SHOWN_MAX; i++)
        if (m->rcpt[i].state == PH_STATE_PENDING) {
            put_rcpt(f, m->rcpt[i].original, m->rcpt[i].address);
            shown++;
        }
    ph_listing_frame(l, f);
}

static void list_file(int dir, const char *name, struct listing *l)
{
    PH_SCOPED(s, NULL);
    struct ph_maildrop_source source;
    struct ph_message *message;
    struct ph_maildrop m;
    struct stat st;
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

    if (fd < 0)
        return;
    ph_defer_close(s, fd);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || !(st.st_mode & S_IXUSR))
        return;                        /* not whole yet */
    if (ph_message_open(s, fd, ph_cstr(name), &message) == 0) {
        list_requeued(s, name, message, l);
        return;
    }
    ph_maildrop_source_init(&source, s, read_more, &(struct reader){ fd, 0 });
    if (ph_maildrop_envelope(&source, s, &m) < 0)
        return;                        /* pickup will say what is wrong with it */
    struct ph_frame *f = begin(s, name, m.time_s > 0 ? m.time_s : st.st_mtim.tv_sec, (uint64_t)st.st_size, m.sender);

    for (uint32_t i = 0; i < m.rcpt_count && i < SHOWN_MAX; i++)
        put_rcpt(f, m.rcpt[i].address, m.rcpt[i].address);
    ph_listing_frame(l, f);
}

void postqueue_maildrop(struct ph_scope *s, struct ph_conf *c, struct listing *l)
{
    const char *path = ph_str_printf(s, "%.*s/maildrop", PH_FMT(ph_conf_value(c, s, "queue_directory"))).p;
    DIR *d = opendir(path);
    const struct dirent *e;

    if (!d) {
        ph_cmd_warn("open directory %s: %s", path, strerror(errno));
        return;
    }
    while ((e = readdir(d)) != NULL)
        if (e->d_name[0] != '.')
            list_file(dirfd(d), e->d_name, l);
    closedir(d);
}
