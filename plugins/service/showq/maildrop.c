/* maildrop: what pickup has not taken yet.  Users made these files: they are
 * opened with care, read within bounds, and shown only when they are whole. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/disk.h>
#include <posthorn/maildrop.h>
#include <posthorn/message.h>
#include "showq.h"

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

static int show_submitted(struct ph_scope *s, int fd, struct entry *e, struct ph_stream *client)
{
    struct ph_maildrop_source *source = ph_new(s, struct ph_maildrop_source);
    struct reader r = { fd, 0 };
    struct ph_maildrop m;
    struct ph_frame *out;

    ph_maildrop_source_init(source, s, read_more, &r);
    if (ph_maildrop_envelope(source, s, &m) < 0)
        return 0;                      /* pickup will say what is wrong with it */
    e->sender = m.sender;
    if (m.time_s > 0)
        e->arrival_s = m.time_s;
    out = entry_frame(s, e, 0);
    for (uint32_t i = 0; i < m.rcpt_count && i < 1000; i++)
        entry_rcpt(out, m.rcpt[i].address, m.rcpt[i].address, "", PH_STR(""));
    return ph_frame_send(client, out);
}

/* A message that postsuper -r put back. */
static int show_requeued(struct ph_scope *s, const struct ph_message *m, struct entry *e, struct ph_stream *client)
{
    struct ph_frame *out;
    uint32_t shown = 0;

    e->sender = m->sender;
    e->arrival_s = m->arrival_us / 1000000;
    e->size = ph_message_bytes(m);
    out = entry_frame(s, e, 0);
    for (uint32_t i = 0; i < m->rcpt_count && shown < 1000; i++)
        if (m->rcpt[i].state == PH_STATE_PENDING) {
            entry_rcpt(out, m->rcpt[i].original, m->rcpt[i].address, "", PH_STR(""));
            shown++;
        }
    return ph_frame_send(client, out);
}

static int show_file(int dir, const char *name, struct ph_stream *client)
{
    PH_SCOPED(s, NULL);
    struct entry e = { .queue = PH_STR("maildrop"), .id = ph_cstr(name) };
    struct ph_message *m;
    struct stat st;
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

    if (fd < 0)
        return 0;
    ph_defer_close(s, fd);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || !(st.st_mode & S_IXUSR))
        return 0;                      /* not whole yet */
    e.size = (uint64_t)st.st_size;
    e.arrival_s = st.st_mtim.tv_sec;
    if (ph_message_open(s, fd, ph_cstr(name), &m) == 0)
        return show_requeued(s, m, &e, client);
    return show_submitted(s, fd, &e, client);
}

static void end_dir(void *arg)
{
    closedir(arg);
}

int list_maildrop(struct showq *v, struct ph_stream *client)
{
    PH_SCOPED(s, NULL);
    int fd = v->queue_dir < 0 ? -1 : openat(v->queue_dir, "maildrop", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;
    int rc = 0;

    if (!d) {
        if (fd >= 0)
            close(fd);
        return 0;                      /* the rest of the queue is worth showing */
    }
    ph_defer(s, end_dir, d);
    while (rc == 0 && (e = readdir(d)) != NULL)
        if (e->d_name[0] != '.' && (rc = show_file(fd, e->d_name, client)) == 0)
            rc = ph_yield();
    return rc;
}
