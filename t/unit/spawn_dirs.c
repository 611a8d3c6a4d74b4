/* t/unit/spawn_dirs.c: names that are made stable: one sync serves many, but never a name that was made after it began. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <posthorn/spawn.h>
#include "core/run/loop.h"
#include "tap.h"

#define FILES 40

/* ---- our fsync: what was in the directory when it began ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned syncs, failing;
static int fail_with;
static char stable[FILES];         /* its name was there when a sync began that has ended well */
static struct stat last;           /* of the directory that was synced */

static void look_in(int fd, char *seen)
{
    char path[64];
    struct dirent *e;

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    DIR *d = opendir(path);
    while (d && (e = readdir(d)))
        if (e->d_name[0] == 'n')
            seen[atoi(e->d_name + 1)] = 1;
    if (d)
        closedir(d);
}

int fsync(int fd)
{
    char seen[FILES] = { 0 };
    struct stat st;

    if (fstat(fd, &st) < 0 || !S_ISDIR(st.st_mode))
        return (int)syscall(SYS_fsync, fd);
    look_in(fd, seen);
    usleep(3000);                  /* many ask meanwhile */
    pthread_mutex_lock(&lock);
    syncs++;
    last = st;
    int err = failing ? fail_with : 0;
    failing -= failing > 0;
    for (int i = 0; i < FILES; i++)
        stable[i] |= (char)(seen[i] && !err);
    pthread_mutex_unlock(&lock);
    errno = err;
    return err ? -1 : 0;
}

/* ---- deliveries ---- */

static char dir[128];

static const char *path(struct ph_scope *s, const char *sub, char kind, int i)
{
    return ph_str_printf(s, "%s/%s/%c%d", dir, sub, kind, i).p;
}

static void make_file(const char *name)
{
    int fd = open(name, O_WRONLY | O_CREAT, 0600);

    if (fd >= 0)
        close(fd);
}

struct one {
    int i, rc, was_stable;
    int32_t err;
};

static void deliver(void *arg)
{
    struct one *x = arg;
    PH_SCOPED(s, NULL);

    for (int i = 0; i < x->i % 7; i++)
        ph_yield();                /* not all at once */
    x->rc = ph_files_rename(ph_files_here(), path(s, "tmp", 't', x->i), path(s, "new", 'n', x->i), PH_FILES_NOREPLACE | PH_FILES_SYNC, &x->err);
    x->was_stable = stable[x->i];
}

/* FILES deliveries at once: what each was told. */
static void all(struct one *x)
{
    PH_SCOPED(s, NULL);
    struct ph_group *g = ph_group_new(s);

    memset(stable, 0, sizeof stable);
    syncs = 0;
    for (int i = 0; i < FILES; i++) {
        unlink(path(s, "new", 'n', i));
        make_file(path(s, "tmp", 't', i));
        x[i] = (struct one){ .i = i };
        ph_spawn(g, "delivery", deliver, &x[i]);
    }
    ph_group_wait(g, PH_FOREVER);
}

static void test_many(void)
{
    struct one x[FILES];
    int good = 0, kept = 0;

    for (int round = 0; round < 5; round++) {
        all(x);
        for (int i = 0; i < FILES; i++) {
            good += x[i].rc == 0;
            kept += x[i].rc == 0 && x[i].was_stable;
        }
        ok(syncs >= 1 && syncs <= FILES / 2, "%d names, %u syncs", FILES, syncs);
    }
    is_int(good, 5 * FILES, "all renames succeed");
    is_int(kept, good, "each of them answers after a sync that began when its name was there");
}

static void test_failed(void)
{
    struct one x[FILES];
    int lied = 0, failed = 0, here = 0;
    PH_SCOPED(s, NULL);

    failing = 1;
    fail_with = ENOSPC;
    all(x);
    for (int i = 0; i < FILES; i++) {
        failed += x[i].rc == PH_TEMP && x[i].err == EIO;
        here += access(path(s, "new", 'n', i), F_OK) == 0;
        lied += x[i].rc == 0 && !x[i].was_stable;
    }
    ok(failed > 0, "a sync fails: %d of %d are told EIO, whatever it was", failed, FILES);
    is_int(here, FILES, "their names are there all the same");
    is_int(lied, 0, "nobody is told that his is stable by what came before it");
    all(x);
    for (int i = failed = 0; i < FILES; i++)
        failed += x[i].rc != 0;
    is_int(failed, 0, "later ones are made with a descriptor of their own, and succeed");
}

/* The directory was moved away and made anew: the one in which the name is must be synced. */
static void test_replaced(void)
{
    PH_SCOPED(s, NULL);
    struct one x = { .i = 3 };
    struct stat old, st;
    const char *new = ph_str_printf(s, "%s/new", dir).p, *gone = ph_str_printf(s, "%s/gone", dir).p;

    stat(new, &old);
    ok(rename(new, gone) == 0 && mkdir(new, 0700) == 0, "another directory takes the name");
    make_file(path(s, "tmp", 't', x.i));
    deliver(&x);
    ok(x.rc == 0 && stat(new, &st) == 0 && last.st_ino == st.st_ino && last.st_ino != old.st_ino, "it is the one that is synced");
}

static int test(void *arg PH_UNUSED)
{
    if (ph_disk_start(4) < 0)
        return PH_TEMP;
    test_many();
    test_failed();
    test_replaced();
    return 0;
}

int main(void)
{
    PH_SCOPED(s, NULL);

    snprintf(dir, sizeof dir, "/tmp/posthorn-dirs-XXXXXX");
    if (!mkdtemp(dir) || mkdir(ph_str_printf(s, "%s/tmp", dir).p, 0700) < 0 || mkdir(ph_str_printf(s, "%s/new", dir).p, 0700) < 0)
        return 1;
    is_int(ph_run_main(test, NULL), 0, "the loop ends");
    for (int i = 0; i < FILES; i++) {
        unlink(path(s, "new", 'n', i));
        unlink(path(s, "gone", 'n', i));
        unlink(path(s, "tmp", 't', i));
    }
    for (const char *const *d = (const char *const[]){ "new", "gone", "tmp", "", NULL }; *d; d++)
        rmdir(ph_str_printf(s, "%s/%s", dir, *d).p);
    return done_testing();
}
