/* t/unit/spawn.c: the spawner and both sides of spawn.h, with real processes.
 * As root another identity is used, as an ordinary user his own.
 * Run alone: make t/unit/spawn.t && prove -v t/unit/spawn.t */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <posthorn/disk.h>
#include <posthorn/error.h>
#include "core/run/loop.h"
#include "core/worker/spawner.h"
#include "t/unit/tap.h"

static struct ph_identity who;     /* root: another; else ourselves */
static char dir[] = "/tmp/posthorn-spawn-XXXXXX";
static struct ph_scope *scope;

static const char *path(const char *name)
{
    return ph_str_printf(scope, "%s/%s", dir, name).p;
}

/* ---- pure: what a worker may ask ---- */

struct request_case {
    const char *name;
    struct spawner_request r;
    const char *strings;
    size_t n;
    uint32_t fds;
    const char *want;              /* "": accepted */
};

#define S(lit) lit, sizeof(lit)    /* with its final NUL */

static const struct request_case requests[] = {
    { "a command", { .op = SPAWNER_OP_COMMAND, .argc = 1 }, S("/bin/true"), 3, "" },
    { "with everything", { .op = SPAWNER_OP_COMMAND, .argc = 2, .envc = 1, .flags = 7 }, S("a\0b\0X=1\0/dir\0/root"), 4, "" },
    { "an empty argument is one", { .op = SPAWNER_OP_COMMAND, .argc = 2 }, S("a\0"), 3, "" },
    { "no arguments", { .op = SPAWNER_OP_COMMAND }, S(""), 3, "no argument, or too many" },
    { "more words than there are", { .op = SPAWNER_OP_COMMAND, .argc = 2 }, S("a"), 3, "malformed request" },
    { "a count that wraps", { .op = SPAWNER_OP_COMMAND, .argc = UINT32_MAX, .envc = 2 }, S("a\0b"), 3, "no argument, or too many" },
    { "more strings than words", { .op = SPAWNER_OP_COMMAND, .argc = 1 }, S("a\0b"), 3, "malformed request" },
    { "no end of the last string", { .op = SPAWNER_OP_COMMAND, .argc = 1 }, "abc", 3, 3, "malformed request" },
    { "an empty command", { .op = SPAWNER_OP_COMMAND, .argc = 1 }, S(""), 3, "empty command name" },
    { "a relative directory", { .op = SPAWNER_OP_COMMAND, .argc = 1, .flags = 1 }, S("a\0dir"), 3, "the working directory is no absolute path" },
    { "a relative root", { .op = SPAWNER_OP_COMMAND, .argc = 1, .flags = 2 }, S("a\0../x"), 3, "the root directory is no absolute path" },
    { "no directory where one is said", { .op = SPAWNER_OP_COMMAND, .argc = 1, .flags = 1 }, S("a"), 3, "the working directory is no absolute path" },
    { "an unknown flag", { .op = SPAWNER_OP_COMMAND, .argc = 1, .flags = 64 }, S("a"), 3, "malformed request" },
    { "a descriptor is missing", { .op = SPAWNER_OP_COMMAND, .argc = 1 }, S("a"), 2, "malformed request" },
    { "a descriptor too many", { .op = SPAWNER_OP_COMMAND, .argc = 1 }, S("a"), 4, "malformed request" },
    { "a negative limit", { .op = SPAWNER_OP_COMMAND, .argc = 1, .time_limit_ms = -1 }, S("a"), 3, "malformed request" },
    { "an impossible umask", { .op = SPAWNER_OP_COMMAND, .argc = 1, .umask = 01000 }, S("a"), 3, "malformed request" },
    { "files", { .op = SPAWNER_OP_FILES }, "", 0, 1, "" },
    { "files with words", { .op = SPAWNER_OP_FILES }, S("a"), 1, "malformed request" },
    { "an unknown operation", { .op = 9 }, "", 0, 1, "malformed request" },
};

static void test_requests(void)
{
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        const struct request_case *t = &requests[i];
        struct spawner_job j = { .fds = t->fds };
        char mem[256], why[160] = "";

        memcpy(mem, &t->r, sizeof t->r);
        memcpy(mem + sizeof t->r, t->strings, t->n);
        int rc = ph_spawner_decode(&j, mem, sizeof t->r + t->n, why, sizeof why);
        is_bytes(ph_cstr(rc < 0 ? why : ""), t->want, "request: %s", t->name);
        ph_spawner_job_free(&j);
        /* Cut anywhere it is refused, and read nowhere beyond. */
        for (size_t n = 0; n < sizeof t->r + t->n && t->r.op == SPAWNER_OP_COMMAND && !*t->want; n++) {
            char *cut = malloc(n ? n : 1);

            memcpy(cut, mem, n);
            j = (struct spawner_job){ .fds = t->fds };
            if (ph_spawner_decode(&j, cut, n, why, sizeof why) == 0)
                ok(0, "request: %s, cut at %zu, is refused", t->name, n);
            ph_spawner_job_free(&j);
            free(cut);
        }
    }
}

static void test_judge(void)
{
    static const struct { const char *name; uint32_t uid, gid; int want; } root[] = {
        { "a user", 1000, 1000, 0 }, { "uid 0", 0, 1000, -1 }, { "gid 0", 1000, 0, -1 }, { "uid -1", UINT32_MAX, 1000, -1 },
        { "gid -1", 1000, UINT32_MAX, -1 }, { "the mail owner", 120, 1000, -1 }, { "his group", 1000, 121, -1 },
        { "the group of postdrop", 1000, 122, -1 }, { "a uid like that group", 122, 1000, 0 },
    }, own[] = {
        { "ourselves", 1000, 0, 0 }, { "another group", 1000, 1000, -1 }, { "another user", 1001, 0, -1 }, { "root", 0, 0, -1 },
    };
    const struct spawner_policy as_root = { .bad_uid = { 120 }, .bad_uids = 1, .bad_gid = { 121, 122 }, .bad_gids = 2 };
    const struct spawner_policy as_user = { .own_only = 1, .own_uid = 1000, .own_gid = 0 };
    char why[160];

    for (size_t i = 0; i < sizeof root / sizeof *root; i++)
        is_int(ph_spawner_judge(&as_root, root[i].uid, root[i].gid, why, sizeof why), root[i].want, "root: %s", root[i].name);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        is_int(ph_spawner_judge(&as_user, own[i].uid, own[i].gid, why, sizeof why), own[i].want, "ordinary user: %s", own[i].name);
}

/* ---- commands ---- */

struct run {
    struct ph_command_spec spec;
    const char *input;
    size_t input_n;
    int started, wrote, waited;
    struct ph_command_result r;
    char output[8192];
};

static void run_command(struct run *x)
{
    PH_SCOPED(s, scope);
    struct ph_command *c;

    x->spec.size = sizeof x->spec;
    x->spec.output_max = x->spec.output_max ? x->spec.output_max : 4096;
    if (!x->spec.identity)
        x->spec.identity = &who;
    x->r = (struct ph_command_result){ .size = sizeof x->r };
    x->waited = PH_PERM;
    if ((x->started = ph_command_start(s, &x->spec, &c)) < 0) {
        snprintf(x->output, sizeof x->output, "%s", ph_error());
        return;
    }
    x->wrote = x->input ? ph_command_write(c, x->input, x->input_n) : 0;
    x->waited = ph_command_wait(c, &x->r);
    snprintf(x->output, sizeof x->output, "%.*s", PH_FMT(x->r.output));
}

/* A shell script of the test's own; what it wrote, or why there is none. */
static struct run *shell(const char *script, const char *input)
{
    struct run *x = ph_new(scope, struct run);
    const char **argv = ph_alloc_array(scope, 4, sizeof *argv);
    static const char *const env[] = { "PATH=/usr/bin:/bin", "ONLY=this", NULL };

    argv[0] = "/bin/sh";
    argv[1] = "-c";
    argv[2] = script;
    x->spec.argv = argv;
    x->spec.env = env;
    x->input = input;
    x->input_n = input ? strlen(input) : 0;
    run_command(x);
    return x;
}

static void test_commands(void)
{
    struct run *x = shell("cat; echo err >&2; exit 7", "hello\n");

    is_int(x->waited, 0, "a command runs");
    is_int(x->r.status, 7, "its exit status");
    is_bytes(ph_cstr(x->output), "hello\nerr\n", "stdin goes in, stdout and stderr come back");

    char want[64];
    snprintf(want, sizeof want, "%u %u\n", who.uid, who.gid);
    is_bytes(ph_cstr(shell("echo `id -u` `id -g`", NULL)->output), want, "it has the identity");
    /* Without root the groups are the user's own and stay. */
    if (geteuid() == 0) {
        snprintf(want, sizeof want, "%u\n", who.gid);
        is_bytes(ph_cstr(shell("id -G", NULL)->output), want, "and no supplementary groups");
    }
    is_bytes(ph_cstr(shell("env | grep -v ^PWD= | grep -v ^_= | sort", NULL)->output), "ONLY=this\nPATH=/usr/bin:/bin\n", "the environment is what was said");
    is_bytes(ph_cstr(shell("ls /proc/self/fd | tr '\\n' ' '", NULL)->output), "0 1 2 3 ", "no descriptor but its own three (and that of ls)");
    is_bytes(ph_cstr(shell("umask; pwd", NULL)->output), "0077\n/\n", "umask 077, directory /");
    is_bytes(ph_cstr(shell("test `ps -o pgid= -p $$` = $$ && test `ps -o sid= -p $$` = $$ && echo leads", NULL)->output), "leads\n", "it leads a session and a group");
    is_bytes(ph_cstr(shell("grep -E '^Sig(Blk|Ign)' /proc/self/status | cut -f2 | sort -u", NULL)->output), "0000000000000000\n", "no signal is blocked or ignored");
    is_bytes(ph_cstr(shell("grep NoNewPrivs /proc/self/status | cut -f2", NULL)->output), "0\n", "it may gain rights, as any command of that user");
    is_int(shell("kill -9 $$", NULL)->r.signal, 9, "the signal that killed it");
    is_int(shell("exit 0", "unread")->waited, 0, "it need not read its input");
}

static void test_not_started(void)
{
    static const char *const none[] = { "/nowhere/command", "x", NULL }, *const relative[] = { "true", NULL };
    static const char *const env[] = { "PATH=/usr/bin:/bin", NULL };
    struct run x = { .spec = { .argv = none } };

    run_command(&x);
    is_int(x.r.status, 75, "what cannot be executed reads as a temporary failure");
    is_bytes(ph_cstr(x.output), "fatal: cannot execute /nowhere/command: No such file or directory\n", "and says why");
    x = (struct run){ .spec = { .argv = relative, .env = env } };
    run_command(&x);
    is_int(x.r.status, 0, "a name without slash is looked for in its PATH");
    x = (struct run){ .spec = { .argv = relative, .env = env, .directory = "/nowhere" } };
    run_command(&x);
    is_int(x.r.status, 75, "no such directory");
    is_bytes(ph_cstr(x.output), "fatal: enter directory /nowhere: No such file or directory\n", "and says why");
}

static void test_identity(void)
{
    static const char *const argv[] = { "/bin/true", NULL };
    struct ph_identity root = { .size = sizeof root }, other = { .size = sizeof other, .uid = who.uid + 1, .gid = who.gid };
    struct run x = { .spec = { .argv = argv, .identity = &root } };
    struct ph_files *f;

    run_command(&x);
    is_int(x.started, PH_CONF, "no command as root");
    is_int(ph_files_open(scope, &root, &f), PH_CONF, "no files as root");
    x = (struct run){ .spec = { .argv = argv, .identity = &other } };
    run_command(&x);
    is_int(x.started, geteuid() == 0 ? 0 : PH_CONF, geteuid() == 0 ? "root may be anybody" : "an ordinary user is himself only");
}

static void test_big(void)
{
    char *big = malloc(3u << 20);
    struct run x = { .input = big, .input_n = 3u << 20 };
    static const char *const count[] = { "/usr/bin/wc", "-c", NULL }, *const cat[] = { "/bin/cat", NULL };

    memset(big, 'x', x.input_n);
    x.spec.argv = count;
    run_command(&x);
    is_bytes(ph_cstr(x.output), "3145728\n", "an input larger than the pipe");
    x.spec.argv = cat;
    x.spec.output_max = 100;
    run_command(&x);
    is_int(x.waited == 0 && x.r.status == 0, 1, "an output larger than the pipe does not stop the command");
    is_int(x.r.output.n, 100, "so much of it is kept as was said");
    is_int(x.r.output_cut, 1, "and the rest is known to be missing");
    char *argument = malloc(SPAWNER_STRINGS_MAX);
    memset(argument, 'a', SPAWNER_STRINGS_MAX - 1);
    argument[SPAWNER_STRINGS_MAX - 1] = 0;
    const char *const huge[] = { "/bin/true", argument, NULL };
    x.spec.argv = huge;
    run_command(&x);
    is_int(x.started, PH_TEMP, "arguments that are too large");
    argument[SPAWNER_STRINGS_MAX - 200] = 0;
    run_command(&x);
    is_int(x.waited == 0 && x.r.status == 0, 1, "arguments almost as large as that");
    free(argument);
    free(big);
}

/* ---- what is left behind ---- */

static int is_alive(pid_t pid)
{
    char file[64], text[512] = "";
    snprintf(file, sizeof file, "/proc/%d/stat", (int)pid);
    int fd = open(file, O_RDONLY);

    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    const char *p = n > 0 ? strrchr(text, ')') : NULL;
    return p && p[2] != 'Z';
}

static int gone(pid_t pid)
{
    for (int i = 0; i < 5000 && is_alive(pid); i++)
        poll(NULL, 0, 1);
    return !is_alive(pid);
}

static void test_limits(void)
{
    struct run *x = ph_new(scope, struct run);
    static const char *const argv[] = { "/bin/sh", "-c", "sleep 1000 & echo $!; wait", NULL };
    int64_t began = ph_now_ms();

    x->spec.argv = argv;
    x->spec.time_limit_ms = 300;
    run_command(x);
    is_int(x->r.timed_out, 1, "the time limit ends a command");
    is_int(x->r.signal, SIGKILL, "by force");
    ph_yield();
    is_int(ph_now_ms() - began < 10000, 1, "soon");
    is_int(atoi(x->output) > 1 && gone(atoi(x->output)), 1, "and what it started in its group");
    x = shell("sleep 1000 & echo $!", NULL);
    is_int(x->waited == 0 && !x->r.timed_out, 1, "a background process that keeps the output open is not waited for");
    kill(atoi(x->output), SIGKILL);
}

/* One line of the command's, read by the test itself. */
static pid_t start_sleeper(struct ph_scope *s, struct ph_command **c, int out[2])
{
    static const char *const argv[] = { "/bin/sh", "-c", "echo $$; exec sleep 1000", NULL };
    struct ph_command_spec spec = { .size = sizeof spec, .identity = &who, .argv = argv, .stdout_fd = out[1] };
    char line[32] = "";

    if (ph_command_start(s, &spec, c) < 0 || ph_fd_wait(out[0], PH_READ, ph_in_ms(5000)) < 0 || read(out[0], line, sizeof line - 1) <= 0)
        return -1;
    return atoi(line);
}

static void test_kill(void)
{
    struct ph_scope *s = ph_scope_new(scope);
    struct ph_command_result r = { .size = sizeof r };
    struct ph_command *c;
    int out[2];

    if (pipe(out) < 0)
        return;
    pid_t pid = start_sleeper(s, &c, out);
    is_int(pid > 1 && is_alive(pid), 1, "a command with a stdout of the caller's runs");
    ph_command_kill(c);
    is_int(ph_command_wait(c, &r), 0, "a killed command ends");
    is_int(r.signal == SIGKILL && !r.timed_out, 1, "by SIGKILL, not by its time limit");
    pid = start_sleeper(s, &c, out);
    ph_scope_free(s);
    is_int(pid > 1 && gone(pid), 1, "the end of its scope ends a command");
    ph_fd_forget(out[0]);
    close(out[0]);
    close(out[1]);
}

static void test_many(void)
{
    struct ph_scope *s = ph_scope_new(scope);
    static const char *const argv[] = { "/bin/sleep", "1000", NULL };
    struct ph_command_spec spec = { .size = sizeof spec, .identity = &who, .argv = argv };
    struct ph_command *c;
    unsigned n = 0;

    ph_deadline_set(ph_in_ms(3000));
    int rc = 0;
    while (n < 1000 && (rc = ph_command_start(s, &spec, &c)) == 0)
        n++;
    ph_deadline_set(PH_FOREVER);
    is_int(n, SPAWNER_COMMANDS, "so many commands at once");
    is_int(rc, PH_TIMEOUT, "and the next waits");
    ph_scope_free(s);
    struct run x = { .spec = { .argv = (const char *const[]){ "/bin/true", NULL } } };
    for (int i = 0; i < 5000; i++) {
        run_command(&x);
        if (x.started == 0)
            break;
        ph_sleep_until(ph_in_ms(1));
    }
    is_int(x.started, 0, "when they are gone there is room again");
}

/* ---- files ---- */

struct blocked {
    struct ph_files *f;
    const char *path;
    int32_t fd, err;
};

static int in_pool(void *arg)
{
    struct blocked *b = arg;

    return ph_files_fd(b->f, b->path, O_WRONLY | O_CREAT | O_EXCL, 0600, &b->fd, &b->err);
}

static void test_files(void)
{
    PH_SCOPED(s, scope);
    struct ph_files *f, *again;
    struct ph_file_stat st = { .size = sizeof st };
    int32_t fd = -1, err = -1;

    is_int(ph_files_open(s, &who, &f), 0, "files of an identity");
    is_int(ph_files_open(s, &who, &again) == 0 && again == f, 1, "its helper is shared");
    is_int(ph_files_mkdir(f, path("d"), 0700, &err), 0, "a directory is made");
    is_int(ph_files_fd(f, path("d/a"), O_RDWR | O_CREAT | O_EXCL, 0640, &fd, &err), 0, "a file is made, its descriptor comes");
    is_int(write(fd, "12345", 5), 5, "we can write through it");
    is_int(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC, "it is closed at an exec");
    close(fd);
    is_int(ph_files_stat(f, path("d/a"), 0, &st, &err), 0, "it has a state");
    is_int(st.uid == who.uid && st.gid == who.gid && st.bytes == 5 && st.mode == (S_IFREG | 0640), 1, "owner, size, mode as asked for");
    is_int(ph_files_fd(f, path("d/a"), O_RDWR | O_CREAT | O_EXCL, 0640, &fd, &err) == PH_TEMP && err == EEXIST, 1, "EEXIST is told");
    is_int(ph_files_fd(f, path("d/none"), O_RDONLY, 0, &fd, &err) == PH_TEMP && err == ENOENT, 1, "ENOENT is told");
    is_int(ph_files_link(f, path("d/a"), path("d/b"), &err), 0, "link");
    is_int(ph_files_rename(f, path("d/a"), path("d/b"), PH_FILES_NOREPLACE, &err) == PH_TEMP && err == EEXIST, 1, "no rename over another");
    is_int(ph_files_rename(f, path("d/a"), path("d/c"), PH_FILES_NOREPLACE, &err), 0, "rename");
    is_int(ph_files_sync_dir(f, path("d"), &err), 0, "a directory is synced");
    is_int(ph_files_rename(f, path("d/c"), path("d/synced"), PH_FILES_NOREPLACE | PH_FILES_SYNC, &err), 0, "rename, and the name is stable");
    is_int(ph_files_rename(f, path("d/c"), path("d/x"), PH_FILES_SYNC, &err) == PH_TEMP && err == ENOENT, 1, "its errors are those of rename");
    is_int(ph_files_mkdir(f, path("blind"), 0300, &err), 0, "a directory that cannot be read");
    is_int(ph_files_rename(f, path("d/synced"), path("blind/x"), PH_FILES_SYNC, &err) == PH_TEMP && err == EACCES, 1, "cannot be synced: no name is made in it");
    is_int(ph_files_rename(f, path("d/synced"), path("d/c"), 0, &err), 0, "the file is where it was");
    is_int(ph_files_unlink(f, path("d/b"), NULL), 0, "unlink");
    is_int(symlink("c", path("l")) == 0 && ph_files_stat(f, path("l"), PH_FILES_NOFOLLOW, &st, &err) == 0 && S_ISLNK(st.mode), 1, "a link itself");
    is_int(ph_files_access(f, path("d/c"), R_OK, &err), 0, "access");
    is_int(ph_files_unlink(f, "relative", &err) == PH_TEMP && err == EINVAL, 1, "a relative path is refused");
    char *longest = ph_alloc(s, 5000);
    memset(longest, '/', 4999);
    is_int(ph_files_unlink(f, longest, &err) == PH_TEMP && err == ENAMETOOLONG, 1, "a path that is too long is refused");
    mkfifo(path("fifo"), 0666);
    chmod(path("fifo"), 0666);
    is_int(ph_files_fd(f, path("fifo"), O_WRONLY, 0, &fd, &err) == PH_TEMP && err == ENXIO, 1, "a FIFO without reader does not stop the helper");
    if (geteuid() == 0)
        is_int(ph_files_fd(f, "/etc/shadow", O_RDONLY, 0, &fd, &err) == PH_TEMP && err == EACCES, 1, "it has no other rights");
    struct ph_files *here = ph_files_here();
    is_int(ph_files_mkdir(here, path("here"), 0700, &err) == 0 && ph_files_stat(here, path("here"), 0, &st, &err) == 0 && st.uid == geteuid(), 1,
           "the same calls with our own rights");
    is_int(ph_files_unlink(here, path("none"), &err) == PH_TEMP && err == ENOENT, 1, "which fail alike");
    struct blocked b = { .f = f, .path = path("d/pool") };
    is_int(ph_disk(in_pool, &b), 0, "calls from the disk pool");
    close(b.fd);
}

/* ---- hostile datagrams ---- */

static int answers(int sock, const struct spawner_request *r, const void *p, size_t n, uint32_t fds)
{
    int pair[2], fd[3] = { -1, 0, 1 };
    struct spawner_reply reply;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0)
        return -1;
    union { struct cmsghdr align; char space[CMSG_SPACE(sizeof fd)]; } control = { .space = { 0 } };
    struct iovec iov[2] = { { (void *)(uintptr_t)r, r ? sizeof *r : 0 }, { (void *)(uintptr_t)p, n } };
    struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2, .msg_control = &control, .msg_controllen = CMSG_SPACE(fds * sizeof(int)) };
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    fd[0] = pair[1];
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(fds * sizeof(int));
    memcpy(CMSG_DATA(c), fd, fds * sizeof(int));
    ssize_t sent = sendmsg(sock, &msg, MSG_NOSIGNAL);
    close(pair[1]);
    ssize_t got = sent < 0 ? -1 : recv(pair[0], &reply, sizeof reply, 0);
    close(pair[0]);
    return got == (ssize_t)sizeof reply ? (int)reply.what : -1;
}

static void test_hostile(void)
{
    struct spawner_request none = { .op = SPAWNER_OP_COMMAND, .argc = 3, .uid = who.uid, .gid = who.gid };
    struct spawner_request root = { .op = SPAWNER_OP_FILES };
    char *big = calloc(1, SPAWNER_REQUEST_MAX + 4096);
    int sock = ph_spawner_fd();

    is_int(answers(sock, NULL, "x", 1, 1), SPAWNER_REFUSED, "a datagram of one byte");
    is_int(answers(sock, &none, "a", 2, 3), SPAWNER_REFUSED, "fewer words than were said");
    is_int(answers(sock, &root, NULL, 0, 1), SPAWNER_REFUSED, "root");
    is_int(answers(sock, &none, big, SPAWNER_REQUEST_MAX + 1, 3), SPAWNER_REFUSED, "a datagram that is too large");
    is_int(send(sock, "no descriptor", 13, MSG_NOSIGNAL), 13, "one without a descriptor");
    is_bytes(ph_cstr(shell("echo lives", NULL)->output), "lives\n", "the spawner goes on");
    free(big);
}

/* A files child of the test's own, which is told what no worker of ours tells. */
static int raw_files(int sock)
{
    struct spawner_request r = { .op = SPAWNER_OP_FILES, .uid = who.uid, .gid = who.gid };
    struct spawner_reply reply;
    union { struct cmsghdr align; char space[CMSG_SPACE(sizeof(int))]; } control = { .space = { 0 } };
    struct iovec iov = { &r, sizeof r };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0)
        return -1;
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &pair[1], sizeof(int));
    int good = sendmsg(sock, &msg, MSG_NOSIGNAL) == (ssize_t)sizeof r;
    close(pair[1]);
    return good && recv(pair[0], &reply, sizeof reply, 0) == (ssize_t)sizeof reply && reply.what == SPAWNER_STARTED ? pair[0] : -1;
}

static int files_answer(int sock, uint32_t op, const char *names, size_t n)
{
    struct files_request r = { .op = op, .mode = 0600 };
    struct files_reply reply;
    struct iovec iov[2] = { { &r, sizeof r }, { (void *)(uintptr_t)names, n } };
    struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

    if (sendmsg(sock, &msg, MSG_NOSIGNAL) < 0 || recv(sock, &reply, sizeof reply, 0) != (ssize_t)sizeof reply)
        return -1;
    return reply.err;
}

static void test_hostile_files(void)
{
    static const struct { const char *name; uint32_t op; const char *names; size_t n; int err; } cases[] = {
        { "nothing", FILES_OP_STAT, "", 0, EINVAL }, { "one name", FILES_OP_STAT, S("/etc"), EINVAL }, { "no end", FILES_OP_STAT, "/etc\0/x", 7, EINVAL },
        { "three names", FILES_OP_STAT, S("/a\0/b\0/c"), EINVAL }, { "empty names", FILES_OP_STAT, S("\0"), EINVAL },
        { "a relative name", FILES_OP_UNLINK, S("etc\0"), EINVAL }, { "a relative second name", FILES_OP_RENAME, S("/a\0b"), EINVAL },
        { "an unknown operation", 99, S("/etc\0"), EINVAL }, { "no such name", FILES_OP_STAT, S("/no/such\0"), ENOENT },
        { "a rename without a second name", FILES_OP_RENAME, S("/no/such\0"), ENOENT }, { "what is right", FILES_OP_STAT, S("/etc\0"), 0 },
    };
    int sock = raw_files(ph_spawner_fd());
    char *big = malloc(20000);

    ok(sock >= 0, "a files child of our own");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        is_int(files_answer(sock, cases[i].op, cases[i].names, cases[i].n), cases[i].err, "files: %s", cases[i].name);
    memset(big, '/', 20000);
    big[19999] = big[19998] = 0;
    is_int(files_answer(sock, FILES_OP_STAT, big, 20000), EINVAL, "files: more than a request can hold");
    is_int(files_answer(sock, FILES_OP_STAT, big + 10000, 10000), EINVAL, "files: a name that is too long");
    is_int(files_answer(sock, FILES_OP_STAT, S("/etc\0")), 0, "files: it goes on");
    close(sock);
    free(big);
}

/* Well-formed requests with some bytes changed, and pure noise. */
static void test_noise(void)
{
    static const char strings[] = "/bin/true\0X=1\0/tmp\0/";
    struct spawner_request base = { .op = SPAWNER_OP_COMMAND, .flags = 3, .uid = who.uid, .gid = who.gid, .argc = 1, .envc = 1 };
    unsigned seed = 12345;
    int sock = ph_spawner_fd(), answered = 0;

    for (int i = 0; i < 1000; i++) {
        struct { struct spawner_request r; char text[sizeof strings]; } m = { .r = base };

        memcpy(m.text, strings, sizeof strings);
        for (int k = rand_r(&seed) % 4; k >= 0; k--)
            ((char *)&m)[(size_t)rand_r(&seed) % (i % 2 ? sizeof m : 8)] = (char)rand_r(&seed);
        /* Nothing that would run for long, or as somebody real. */
        m.r.uid = who.uid;
        answered += answers(sock, &m.r, m.text, (size_t)rand_r(&seed) % (sizeof strings + 1), 1 + (uint32_t)rand_r(&seed) % 3) > 0;
    }
    is_int(answered, 1000, "noise: each request has an answer");
    is_bytes(ph_cstr(shell("echo lives", NULL)->output), "lives\n", "and the spawner goes on");
}

static void test_accounts(void)
{
    struct ph_identity id;

    is_int(ph_identity_parse(scope, PH_STR("root"), &id) == PH_FOUND && id.uid == 0, 1, "an account by name");
    is_int(ph_identity_parse(scope, PH_STR("daemon:4294"), &id) == PH_FOUND && id.gid == 4294, 1, "with a group of its own");
    is_int(ph_identity_parse(scope, PH_STR("54321:54322"), &id) == PH_FOUND && id.uid == 54321 && id.gid == 54322, 1, "by numbers");
    is_int(ph_identity_parse(scope, PH_STR("54321"), &id), PH_NONE, "a number without account needs a group");
    is_int(ph_identity_parse(scope, PH_STR("no-such-user"), &id), PH_NONE, "no such user");
    is_int(ph_identity_parse(scope, PH_STR("daemon:no-such-group"), &id), PH_NONE, "no such group");
    is_int(ph_identity_parse(scope, PH_STR("4294967295:1"), &id), PH_NONE, "-1 is no user");
    is_int(ph_identity_of_uid(scope, 0, &id) == PH_FOUND && ph_str_eq(id.user, PH_STR("root")), 1, "an account by number");
}

static struct spawner_policy policy(void)
{
    if (geteuid() == 0)
        return (struct spawner_policy){ .own_only = 0 };
    return (struct spawner_policy){ .own_only = 1, .own_uid = geteuid(), .own_gid = getegid() };
}

static int live(void *arg PH_UNUSED)
{
    if (ph_disk_start(2) < 0)
        return PH_TEMP;
    test_accounts();
    test_commands();
    test_not_started();
    test_identity();
    test_big();
    test_limits();
    test_kill();
    test_many();
    test_files();
    test_hostile();
    test_hostile_files();
    test_noise();
    return 0;
}

/* ---- the worker dies ---- */

static int doomed(void *arg)
{
    int *out = arg;
    static const char *const argv[] = { "/bin/sh", "-c", "echo $$ $PPID >&2; sleep 1000 & echo $! >&2; cat >$0/eof && echo end >$0/saw-the-end; wait", dir, NULL };
    struct ph_command_spec spec = { .size = sizeof spec, .identity = &who, .argv = argv, .stdout_fd = out[1] };
    struct ph_command *c;
    struct ph_files *f;

    if (ph_command_start(scope, &spec, &c) < 0 || ph_files_open(scope, &who, &f) < 0 || ph_command_write(c, "half a message", 14) < 0)
        _exit(1);
    ph_sleep_until(PH_FOREVER);
    return 0;
}

static pid_t doomed_worker(int out[2])
{
    struct spawner_options o = { .policy = policy(), .name = "test" };
    pid_t pid = fork();

    if (pid)
        return pid;
    if (ph_spawner_start(&o) == 0)
        ph_run_main(doomed, out);
    _exit(1);
}

static void test_death(void)
{
    int out[2], command = 0, spawner = 0, child = 0;
    char text[256] = "";
    size_t n = 0;

    if (pipe(out) < 0)
        return;
    pid_t worker = doomed_worker(out);
    while (n < sizeof text - 1 && sscanf(text, "%d %d %d", &command, &spawner, &child) < 3) {
        ssize_t got = read(out[0], text + n, sizeof text - 1 - n);

        if (got <= 0)
            break;
        n += (size_t)got;
    }
    for (int i = 0; i < 5000 && access(path("eof"), F_OK) < 0; i++)
        poll(NULL, 0, 1);
    ok(is_alive(command) && is_alive(spawner) && is_alive(child), "a worker's command, its child and the spawner live");
    /* However late the spawner learns of it, the command must not see an end. */
    kill(spawner, SIGSTOP);
    kill(worker, SIGKILL);
    waitpid(worker, NULL, 0);
    for (int i = 0; i < 300 && access(path("saw-the-end"), F_OK) < 0; i++)
        poll(NULL, 0, 1);
    kill(spawner, SIGCONT);
    ok(gone(spawner), "kill -9 of the worker: the spawner ends");
    ok(gone(command), "the command ends");
    ok(gone(child), "what it started ends");
    ok(access(path("saw-the-end"), F_OK) < 0, "and it never took half a message for a whole one");
    close(out[0]);
    close(out[1]);
}

int main(void)
{
    static char title[64] = "old title that is longer";
    struct spawner_options o = { .policy = policy(), .name = "test", .title = title, .title_size = sizeof title };

    signal(SIGPIPE, SIG_IGN);
    scope = ph_scope_new(NULL);
    who = (struct ph_identity){ .size = sizeof who, .uid = geteuid() ? geteuid() : 65534, .gid = geteuid() ? getegid() : 65534 };
    if (!mkdtemp(dir) || chmod(dir, 0777) < 0)
        return 1;
    /* Something to be lost. */
    if (geteuid() == 0 && setgroups(1, (gid_t[]){ 54321 }) < 0)
        return 1;
    test_requests();
    test_judge();
    test_death();
    if (ph_spawner_start(&o) < 0 || ph_run_main(live, NULL) < 0)
        ok(0, "%s", ph_error());
    ph_scope_free(scope);
    char cmd[128];
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    if (system(cmd) != 0)
        ok(0, "cleaning up");
    return done_testing();
}
