/* snapshot: see snapshot.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
#include <posthorn/disk.h>
#include <posthorn/error.h>
#include "core/conf/internal.h"
#include "core/conf/snapshot.h"

static const struct { const char *name; size_t max; } files[PH_SNAPSHOT_FILES] = {
    { "main.cf", PH_CONF_FILE_MAX }, { "master.yaml", PH_MASTER_FILE_MAX },
};

void ph_snapshot_close(struct ph_snapshot *snap)
{
    for (size_t i = 0; i < PH_SNAPSHOT_FILES; i++) {
        if (snap->fd[i] >= 0)
            close(snap->fd[i]);
        snap->fd[i] = -1;
    }
}

/* A memory file of that text, sealed; or PH_TEMP. */
static int memory_file(const char *name, ph_str text)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    struct iovec v = { .iov_base = (void *)(uintptr_t)text.p, .iov_len = text.n };
    int rc;

    if (fd < 0)
        return ph_fail_errno(PH_TEMP, errno, "memfd_create");
    if (text.n && (rc = ph_pwritev_all(fd, &v, 1, 0)) < 0) {
        close(fd);
        return rc;
    }
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0) {
        rc = ph_fail_errno(PH_TEMP, errno, "seal the copy of %s", name);
        close(fd);
        return rc;
    }
    return fd;
}

int ph_snapshot_take(const char *dir, struct ph_snapshot *out)
{
    PH_SCOPED(s, NULL);
    struct ph_snapshot snap = { { -1, -1 } };

    for (size_t i = 0; i < PH_SNAPSHOT_FILES; i++) {
        ph_str path = ph_str_printf(s, "%s/%s", ph_conf_choose_dir(dir), files[i].name), text;
        int rc = ph_conf_read_file(s, path.p, files[i].max, &text);

        if (rc < 0 || (rc = memory_file(files[i].name, text)) < 0) {
            ph_snapshot_close(&snap);
            return rc;
        }
        snap.fd[i] = rc;
    }
    *out = snap;
    return 0;
}

int ph_snapshot_read(const struct ph_snapshot *snap, struct ph_scope *s, const char *dir, struct ph_conf **conf,
                     const struct ph_master_def **master)
{
    PH_SCOPED(step, NULL);
    ph_str path[PH_SNAPSHOT_FILES], text[PH_SNAPSHOT_FILES];
    struct ph_conf *c;
    int rc = 0;

    for (size_t i = 0; i < PH_SNAPSHOT_FILES && rc == 0; i++) {
        path[i] = ph_str_printf(step, "%s/%s", dir, files[i].name);
        rc = ph_conf_read_fd(step, snap->fd[i], path[i].p, files[i].max, &text[i]);
    }
    if (rc < 0 || (rc = ph_conf_parse(s, dir, path[0].p, text[0], &c)) < 0 ||
        (rc = ph_master_parse(s, c, path[1].p, text[1], master)) < 0)
        return rc;
    *conf = c;
    return 0;
}
