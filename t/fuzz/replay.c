/* replay: main() of a target in ordinary builds.  Runs the target over its seeds
 * as a TAP test: each file whole, every prefix of it (a peer may stop anywhere),
 * whole again, and the outcome must be the one of the first time.
 *
 *   t/fuzz/NAME.t              the files of t/fuzz/seeds/NAME
 *   t/fuzz/NAME.t FILE...      these (what the engine found)
 *
 * Each file is a child of its own, so that one failure hides no other. */
#include <dirent.h>
#include <libgen.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "t/unit/tap.h"
#include "fuzz.h"

#define MAX_FILE     (1u << 20)
#define MAX_PREFIXES 500       /* of a longer file as many, evenly spread */
#define MAX_SECONDS  60        /* of one file; it takes milliseconds */

static size_t *reached;        /* shared with the child: the length it is at */

/* A copy of its own, so that reading one byte too far is seen. */
static void run(ph_str in)
{
    uint8_t *copy = malloc(in.n ? in.n : 1);

    if (in.n)
        memcpy(copy, in.p, in.n);
    *reached = in.n;
    LLVMFuzzerTestOneInput(copy, in.n);
    free(copy);
}

static void replay(ph_str in)
{
    size_t step = in.n / MAX_PREFIXES + 1;

    fuzz_seen();
    run(in);
    uint64_t first = fuzz_seen();

    for (size_t n = 0; n < in.n; n += step)
        run(ph_str_first(in, n));
    fuzz_seen();
    run(in);
    FUZZ_CHECK(fuzz_seen() == first, "the same input, another outcome");
}

static ph_str slurp(const char *path)
{
    FILE *f = fopen(path, "rb");
    char *mem = malloc(MAX_FILE);
    size_t n = f && mem ? fread(mem, 1, MAX_FILE, f) : 0;

    if (!f || !mem || n == MAX_FILE) {
        perror(path);
        exit(1);
    }
    fclose(f);
    return (ph_str){ mem, n };
}

static void child(const char *path)
{
    for (int sig = 1; sig < 32; sig++)
        signal(sig, SIG_DFL);
    dup2(2, 1);
    alarm(MAX_SECONDS);
    ph_str in = slurp(path);

    replay(in);
    free((void *)(uintptr_t)in.p);
    exit(0);
}

static void one(const char *path)
{
    int status = -1;
    pid_t pid;

    *reached = 0;
    fflush(stdout);
    if ((pid = fork()) == 0)
        child(path);
    while (pid > 0 && waitpid(pid, &status, 0) < 0)
        ;
    const char *name = strrchr(path, '/');
    if (!ok(pid > 0 && status == 0, "%s", name ? name + 1 : path))
        printf("# at the first %zu bytes: wait status 0x%x\n", *reached, (unsigned)status);
}

static int is_seed(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

static void folder(const char *dir)
{
    struct dirent **names;
    int n = scandir(dir, &names, is_seed, alphasort);

    ok(n > 0, "%d seeds", n);
    for (int i = 0; i < n; i++) {
        char path[4096 + 256 + 2];

        snprintf(path, sizeof path, "%s/%s", dir, names[i]->d_name);
        one(path);
        free(names[i]);
    }
    if (n >= 0)
        free(names);
}

int main(int argc, char **argv)
{
    char dir[4096], *name = basename(argv[0]), *dot = strrchr(name, '.');

    if (!strncmp(name, "lt-", 3))      /* libtool's wrapper may have named it so */
        name += 3;
    reached = mmap(NULL, sizeof *reached, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (reached == MAP_FAILED)
        return 1;
    for (int i = 1; i < argc; i++)
        one(argv[i]);
    if (argc == 1) {
        snprintf(dir, sizeof dir, "%s/%.*s", FUZZ_SEEDS, (int)(dot ? dot - name : (ptrdiff_t)strlen(name)), name);
        folder(dir);
    }
    return done_testing();
}
