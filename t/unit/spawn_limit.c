/* t/unit/spawn_limit.c: what a plugin says that it will ever ask for holds from then
 * on, whatever its worker asks.
 * Run alone: make t/unit/spawn_limit.t && prove -v t/unit/spawn_limit.t */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "core/run/loop.h"
#include "core/worker/spawner.h"
#include "t/unit/tap.h"

static struct ph_scope *scope;
static struct ph_identity who;
static char dir[] = "/tmp/posthorn-limit-XXXXXX";

static const char *path(const char *name)
{
    return ph_str_printf(scope, "%s/%s", dir, name).p;
}

static void test_below(void)
{
    static const struct { const char *below, *path; int want; } cases[] = {
        { "", "/anything", 1 }, { "/a/b", "/a/b/c", 1 }, { "/a/b", "/a/b", 1 }, { "/a/b/", "/a/b//c", 1 }, { "/a/b", "/a/bc", 0 },
        { "/a/b", "/a", 0 }, { "/a/b", "/a/b/../c", 0 }, { "/a/b", "/a/b/..", 0 }, { "/a/b", "/a/b/..c/d..", 1 }, { "/a/b", "/a/b/...", 1 },
        { "/", "/a", 1 }, { "/", "/../a", 0 }, { "/a/b", "/a/b/c/....//../x", 0 },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        is_int(ph_spawner_is_below(cases[i].below, cases[i].path), cases[i].want, "%s below %s", cases[i].path, cases[i].below);
}

#define S(lit) lit, sizeof(lit)

static void test_decode(void)
{
    static const struct { const char *name; uint32_t op; const char *text; size_t n; int want; } cases[] = {
        { "nothing said", SPAWNER_OP_LIMIT, S("\0"), 0 }, { "both texts", SPAWNER_OP_LIMIT, S("/bin/x\0/below"), 0 },
        { "one text", SPAWNER_OP_LIMIT, S("/bin/x"), -1 }, { "three", SPAWNER_OP_LIMIT, S("a\0b\0c"), -1 },
        { "no end", SPAWNER_OP_LIMIT, "a\0b", 3, -1 }, { "something else", SPAWNER_OP_COMMAND, S("\0"), -1 },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct spawner_policy p = { .limited = 0 };
        struct spawner_limits l = { .op = cases[i].op, .flags = SPAWNER_LIMIT_FILES };
        char mem[256];

        memcpy(mem, &l, sizeof l);
        memcpy(mem + sizeof l, cases[i].text, cases[i].n);
        is_int(ph_spawner_take_limits(&p, mem, sizeof l + cases[i].n), cases[i].want, "limits: %s", cases[i].name);
        if (cases[i].want == 0)
            is_int(ph_spawner_take_limits(&p, mem, sizeof l + cases[i].n), -1, "limits: only once");
    }
}

static int start(const char *const *argv, uint32_t uid)
{
    PH_SCOPED(s, scope);
    struct ph_identity id = { .size = sizeof id, .uid = uid, .gid = who.gid };
    struct ph_command_spec spec = { .size = sizeof spec, .identity = &id, .argv = argv, .output_max = 10 };
    struct ph_command_result r = { .size = sizeof r };
    struct ph_command *c;
    int rc = ph_command_start(s, &spec, &c);

    return rc < 0 ? rc : ph_command_wait(c, &r) < 0 ? -99 : r.status;
}

static int live(void *arg PH_UNUSED)
{
    static const char *const right[] = { "/bin/true", "x", NULL }, *const wrong[] = { "/bin/false", NULL };
    struct ph_spawn_limits l = { .size = sizeof l, .files = 1, .commands = 1, .uid = who.uid, .gid = who.gid, .least_uid = 1, .command = "/bin/true", .below = path("in") };
    struct ph_files *f;
    int32_t fd, err = 0;

    if (ph_spawn_limit(&l) < 0)
        return PH_TEMP;
    is_int(start(right, who.uid), 0, "the command that was named");
    is_int(start(wrong, who.uid), PH_CONF, "another command");
    is_int(start(right, who.uid + 1), PH_CONF, "another user");
    if (ph_files_open(scope, &who, &f) < 0)
        return PH_TEMP;
    is_int(ph_files_fd(f, path("in/x"), O_WRONLY | O_CREAT, 0600, &fd, &err), 0, "a file below the directory");
    close(fd);
    is_int(ph_files_fd(f, path("out"), O_WRONLY | O_CREAT, 0600, &fd, &err) == PH_TEMP && err == EACCES, 1, "one beside it");
    is_int(ph_files_fd(f, path("in/../out"), O_WRONLY | O_CREAT, 0600, &fd, &err) == PH_TEMP && err == EACCES, 1, "or so");
    is_int(ph_files_rename(f, path("in/x"), path("out"), 0, &err) == PH_TEMP && err == EACCES, 1, "by its new name");
    is_int(ph_files_link(f, "/etc/passwd", path("in/y"), &err) == PH_TEMP && err == EACCES, 1, "or its old one");
    /* A second word can only come from a worker that is not the plugin's any more. */
    struct { struct spawner_limits l; char text[2]; } raw = { .l = { .op = SPAWNER_OP_LIMIT, .flags = SPAWNER_LIMIT_COMMANDS } };
    is_int(send(ph_spawner_fd(), &raw, sizeof raw.l + 2, MSG_NOSIGNAL), sizeof raw.l + 2, "other limits can be sent");
    is_int(start(wrong, who.uid), PH_TEMP, "after a second attempt to set limits there is no spawner");
    return 0;
}

int main(void)
{
    struct spawner_options o = { .policy = { .own_only = geteuid() != 0, .own_uid = geteuid(), .own_gid = getegid() }, .name = "test" };
    char cmd[128];

    signal(SIGPIPE, SIG_IGN);
    scope = ph_scope_new(NULL);
    who = (struct ph_identity){ .size = sizeof who, .uid = geteuid() ? geteuid() : 65534, .gid = geteuid() ? getegid() : 65534 };
    test_below();
    test_decode();
    if (!mkdtemp(dir) || chmod(dir, 0777) < 0 || mkdir(path("in"), 0777) < 0 || chmod(path("in"), 0777) < 0)
        return 1;
    if (ph_spawner_start(&o) < 0 || ph_run_main(live, NULL) < 0)
        ok(0, "%s", ph_error());
    ph_scope_free(scope);
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    if (system(cmd) != 0)
        ok(0, "cleaning up");
    return done_testing();
}
