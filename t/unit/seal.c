/* t/unit/seal.c: a sealed process tries what it must not do, and what it may.
 * Each case is a child of its own: sealed for good. */
#include "tap.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <posthorn/error.h>
#include <posthorn/table.h>
#include "config.h"
#include "core/worker/worker.h"

#define LANDLOCK_VERSION 1u            /* flag: ask for the ABI */

static char top[] = "/tmp/posthorn-seal-XXXXXX";
static int tcp_port;                   /* somebody listens there */
static pid_t parent;

static const char *below(const char *name)
{
    static char path[128];             /* one at a time */

    snprintf(path, sizeof path, "%s/%s", top, name);
    return path;
}

static int read_file(const char *name)
{
    int fd = open(below(name), O_RDONLY);

    return fd < 0 ? errno : (close(fd), 0);
}

static int make_file(const char *name)
{
    int fd = open(below(name), O_WRONLY | O_CREAT, 0600);

    return fd < 0 ? errno : (close(fd), 0);
}

static int try_read_queue(void)     { return read_file("queue/deferred/message"); }
static int try_make_queue(void)     { return make_file("queue/deferred/new"); }
static int try_read_maildrop(void)  { return read_file("queue/maildrop/message"); }
static int try_make_bounce(void)    { return make_file("queue/bounce/log"); }
static int try_read_config(void)    { return read_file("conf/main.cf"); }
static int try_make_config(void)    { return make_file("conf/new"); }
static int try_read_mailbox(void)   { return read_file("mail/box"); }
static int try_read_table(void)     { return read_file("maps/x.db"); }
static int try_read_beside(void)    { return read_file("maps/below/y.db"); }
static int try_read_linked(void)    { return read_file("far/z.db"); }
static int try_read_far(void)       { return read_file("other/secret"); }
static int try_make_table(void)     { return make_file("maps/new.db"); }
static int try_list_tables(void)    { int fd = open(below("maps"), O_RDONLY | O_DIRECTORY); return fd < 0 ? errno : (close(fd), 0); }
static int try_read_libc(void)      { int fd = open("/etc/passwd", O_RDONLY); return fd < 0 ? errno : (close(fd), 0); }
static int try_exec(void)           { execl("/bin/true", "true", (char *)NULL); return errno; }
static int try_fork(void)           { pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); if (pid == 0) _exit(0); return pid < 0 ? errno : 0; }
static int try_kill(void)           { return syscall(SYS_kill, parent, SIGCONT) < 0 ? errno : 0; }
static int try_tgkill(void)         { return syscall(SYS_tgkill, parent, parent, SIGCONT) < 0 ? errno : 0; }
static int try_raise(void)          { signal(SIGUSR1, SIG_IGN); return raise(SIGUSR1) != 0 ? errno : 0; }
static int try_ptrace(void)         { return syscall(SYS_ptrace, 16, parent, 0, 0) < 0 ? errno : 0; }
static int try_mount(void)          { return syscall(SYS_mount, "none", top, "tmpfs", 0, NULL) < 0 ? errno : 0; }
static int try_setuid(void)         { return syscall(SYS_setuid, 0) < 0 ? errno : 0; }

static int try_connect(void)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)tcp_port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    return connect(fd, (const struct sockaddr *)&to, sizeof to) < 0 ? errno : 0;
}

static int bind_to(unsigned port)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    return bind(fd, (const struct sockaddr *)&to, sizeof to) < 0 ? errno : 0;
}

static int set_option(int level, int name)
{
    const struct linger v = { .l_onoff = 1, .l_linger = 1 };       /* also a number that is not 0 */

    return setsockopt(socket(AF_INET, SOCK_STREAM, 0), level, name, &v, sizeof v) < 0 ? errno : 0;
}

static int try_setown(void)         { return fcntl(0, F_SETOWN, (int)parent) < 0 ? errno : 0; }
static int try_netlink(void)        { return socket(AF_NETLINK, SOCK_RAW, 12) < 0 ? errno : 0; }

/* The kernel takes 32 bits of the option's number. */
static int try_linger_above(void)
{
    const struct linger v = { .l_onoff = 1, .l_linger = 1 };

    return syscall(SYS_setsockopt, socket(AF_INET, SOCK_STREAM, 0), SOL_SOCKET, (1ull << 32) | SO_LINGER, &v, sizeof v) < 0 ? errno : 0;
}

static int try_limits(void)
{
    struct rlimit got;

    return syscall(SYS_prlimit64, parent, RLIMIT_NOFILE, NULL, &got) < 0 ? errno : 0;
}

static int try_linger(void)         { return set_option(SOL_SOCKET, SO_LINGER); }
static int try_keepalive(void)      { return set_option(SOL_SOCKET, SO_KEEPALIVE); }
static int try_bind_any(void)       { return bind_to(0); }
static int try_bind_port(void)      { return bind_to(54321); }

static socklen_t abstract_name(struct sockaddr_un *to)
{
    *to = (struct sockaddr_un){ .sun_family = AF_UNIX };
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
                       (size_t)snprintf(to->sun_path + 1, sizeof to->sun_path - 1, "posthorn-seal-%d", (int)parent));
}

static int try_abstract(void)
{
    struct sockaddr_un to;
    socklen_t n = abstract_name(&to);

    return connect(socket(AF_UNIX, SOCK_STREAM, 0), (const struct sockaddr *)&to, n) < 0 ? errno : 0;
}

/* want: errno, 0 when it is allowed.  abi: of Landlock, from which this holds (0: seccomp's). */
static const struct {
    const char *name, *needs;
    int (*attempt)(void);
    int want;
    long abi;
} cases[] = {
    { "the queue cannot be read",                     "",            try_read_queue,    EACCES, 1 },
    { "nor written",                                  "network",     try_make_queue,    EACCES, 1 },
    { "nor maildrop",                                 "network queue private", try_read_maildrop, EACCES, 1 },
    { "the owner of the queue may",                   "queue-owner", try_make_queue,    0,      0 },
    { "pickup reads maildrop",                        "maildrop",    try_read_maildrop, 0,      0 },
    { "and not the queue",                            "maildrop",    try_read_queue,    EACCES, 1 },
    { "bounce writes its logs",                       "bounce",      try_make_bounce,   0,      0 },
    { "and not the queue",                            "bounce",      try_make_queue,    EACCES, 1 },
    { "the configuration can be read",                "",            try_read_config,   0,      0 },
    { "and not be changed",                           "queue-owner", try_make_config,   EACCES, 1 },
    { "mailboxes are for who delivers to them",       "mailbox",     try_read_mailbox,  0,      0 },
    { "and for nobody else",                          "network",     try_read_mailbox,  EACCES, 1 },
    { "a table elsewhere can be opened again",        "",            try_read_table,    0,      0 },
    { "and what lies beside and below",               "",            try_read_beside,   0,      0 },
    { "also where a link leads",                      "",            try_read_linked,   0,      0 },
    { "but nothing of another directory",             "",            try_read_far,      EACCES, 1 },
    { "nor is a table changed",                       "queue-owner", try_make_table,    EACCES, 1 },
    { "or its directory listed",                      "queue-owner", try_list_tables,   EACCES, 1 },
    { "libraries find their files",                   "",            try_read_libc,     0,      0 },
    { "no program can be run",                        "queue-owner", try_exec,          ENOSYS, 0 },
    { "no process can be made",                       "network",     try_fork,          ENOSYS, 0 },
    { "no signal to others",                          "queue-owner", try_kill,          ENOSYS, 0 },
    { "not to their threads either",                  "queue-owner", try_tgkill,        ENOSYS, 0 },
    { "but to oneself",                               "",            try_raise,         0,      0 },
    { "no looking into others",                       "",            try_ptrace,        ENOSYS, 0 },
    { "no mounts",                                    "",            try_mount,         ENOSYS, 0 },
    { "no other identity",                            "",            try_setuid,        ENOSYS, 0 },
    { "who needs no network cannot connect",          "queue-owner", try_connect,       EACCES, 4 },
    { "who needs it may",                             "network",     try_connect,       0,      0 },
    { "and may choose its address",                   "network",     try_bind_any,      0,      0 },
    { "but no port",                                  "network",     try_bind_port,     EACCES, 4 },
    { "no socket lingers, for who closes it last",    "network",     try_linger,        ENOSYS, 0 },
    { "whatever stands above its number",             "network",     try_linger_above,  ENOSYS, 0 },
    { "no signals through a descriptor's owner",      "network",     try_setown,        ENOSYS, 0 },
    { "no limits of others",                          "queue-owner", try_limits,        ENOSYS, 0 },
    { "no netlink but for addresses",                 "network",     try_netlink,       ENOSYS, 0 },
    { "other options can be set",                     "network",     try_keepalive,     0,      0 },
    { "sockets of others without a file are closed",  "network",     try_abstract,      EPERM,  6 },
};

static int in_child(size_t i)
{
    char queue[64], conf[64], mail[64];
    int status;

    snprintf(queue, sizeof queue, "%s/queue", top);
    snprintf(conf, sizeof conf, "%s/conf", top);
    snprintf(mail, sizeof mail, "%s/mail", top);
    struct ph_seal s = { .needs = cases[i].needs, .queue_directory = ph_cstr(queue), .config_directory = ph_cstr(conf),
                         .mailbox_base = ph_cstr(mail) };
    pid_t pid = fork();
    if (pid == 0) {
        ph_reopen_later(below("maps/x.db"));
        ph_reopen_later(below("links/z.db"));
        ph_reopen_later("/not-here");
        ph_reopen_later("relative/x");
        if (ph_seal(&s) < 0)
            _exit(255);
        _exit(cases[i].attempt());
    }
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void set_stage(void)
{
    static const char *const dirs[] = { "queue", "queue/deferred", "queue/maildrop", "queue/bounce", "queue/defer", "queue/trace", "queue/corrupt", "conf", "mail", "maps", "maps/below", "links", "far", "other" };
    static const char *const files[] = { "queue/deferred/message", "queue/maildrop/message", "conf/main.cf", "mail/box", "maps/x.db", "maps/below/y.db", "far/z.db", "other/secret" };
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct sockaddr_un un;
    socklen_t n = sizeof sa, len;
    int fd = socket(AF_INET, SOCK_STREAM, 0), local = socket(AF_UNIX, SOCK_STREAM, 0);

    parent = getpid();
    len = abstract_name(&un);
    if (!mkdtemp(top) || bind(fd, (const struct sockaddr *)&sa, n) < 0 || listen(fd, 10) < 0 || getsockname(fd, (struct sockaddr *)&sa, &n) < 0 ||
        bind(local, (const struct sockaddr *)&un, len) < 0 || listen(local, 10) < 0) {
        perror("stage");
        exit(1);
    }
    tcp_port = ntohs(sa.sin_port);
    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++)
        mkdir(below(dirs[i]), 0700);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        make_file(files[i]);
    if (symlink("../far/z.db", below("links/z.db")) < 0)
        exit(1);
}

/* WORD@NAME is a need of the service of that name only. */
static void test_words(void)
{
    struct ph_scope *s = ph_scope_new(NULL);
    static const struct { const char *needs, *name, *want; } words[] = {
        { "", "x", "" }, { "network queue", "x", "network queue" }, { "a@x b c@y", "x", "a b" }, { "a@x b c@y", "y", "b c" }, { "a@x b@xy c@", "x", "a c" }, { " a@x@y ", "x", "" },
    };

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        ok(strcmp(ph_needs_of(s, ph_cstr(words[i].needs), words[i].name), words[i].want) == 0, "needs \"%s\" of service %s", words[i].needs, words[i].name);
    ph_scope_free(s);
}

int main(void)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION);

#ifdef PH_SANITIZERS
    puts("1..0 # SKIP a sanitized process is not sealed");
    return 0;
#endif
    test_words();
    set_stage();
    printf("# Landlock ABI %ld\n", abi);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (cases[i].abi > abi) {
            ok(1, "%s # SKIP this kernel's Landlock does not hold it back", cases[i].name);
            continue;
        }
        is_int(in_child(i), cases[i].want, "%s (needs \"%s\")", cases[i].name, cases[i].needs);
    }
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", top);
    ok(system(command) == 0, "the stage is cleared");
    return done_testing();
}
