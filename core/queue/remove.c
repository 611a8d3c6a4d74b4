/* remove: the end of many messages at once: one job of the disk pool for all of
 * their files. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <posthorn/disk.h>
#include "core/queue/store.h"

struct removal {
    int dir_fd;
    unsigned n;
    struct { char path[PH_PATH]; int error; } *file;
};

static int run_removal(void *arg)
{
    struct removal *r = arg;

    for (unsigned i = 0; i < r->n; i++)
        r->file[i].error = unlinkat(r->dir_fd, r->file[i].path, 0) < 0 && errno != ENOENT ? errno : 0;
    return 0;
}

unsigned ph_queue_remove_many(struct ph_queue *q, struct ph_qmsg **m, unsigned n)
{
    PH_SCOPED(s, NULL);
    struct removal r = { .dir_fd = q->dir_fd, .n = n };
    unsigned stay = 0;

    r.file = ph_alloc_array(s, n, sizeof *r.file);
    for (unsigned i = 0; i < n; i++) {
        ph_assert(!m[i]->slot);
        ph_qmsg_path(r.file[i].path, m[i]);
    }
    ph_disk(run_removal, &r);
    for (unsigned i = 0; i < n; i++)
        if (r.file[i].error) {
            ph_fail_errno(PH_TEMP, r.file[i].error, "remove %s", r.file[i].path);
            m[stay++] = m[i];
        } else {
            ph_queue_forget(q, m[i]);
        }
    return stay;
}
