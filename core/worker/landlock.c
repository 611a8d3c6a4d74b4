/* landlock: which files this process may still touch.  See seal.c. */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include "core/net/dial.h"
#include "core/plugin/reopen.h"
#include "core/worker/worker.h"

#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (1ULL << 13)
#endif
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif
#define NET_BIND_TCP    (1ULL << 0)
#define NET_CONNECT_TCP (1ULL << 1)
#define RULE_NET_PORT   2
#define SCOPE_ABSTRACT_UNIX_SOCKET (1ULL << 0)
#define SCOPE_SIGNAL               (1ULL << 1)

/* The kernel's headers may be older than the kernel. */
struct ruleset_attr { uint64_t fs, net, scoped; };
struct net_port_attr { uint64_t allowed_access, port; };

#define READS  (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITES (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | \
                LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG)
#define ALL_V1 ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1)
#define FILE_ONLY (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE)

struct rules {
    int fd;
    uint64_t handled, net;
};

static int allow(struct rules *r, const char *path, uint64_t access)
{
    struct landlock_path_beneath_attr rule = { .allowed_access = access & r->handled };
    struct stat st;
    int rc = 0, fd = open(path, O_PATH | O_CLOEXEC);

    /* What is not there needs no rule.  Any other trouble must not leave the
     * worker without what it needs, sealed until it ends. */
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR || errno == EACCES ? 0 : ph_fail_errno(PH_CONF, errno, "landlock: %s", path);
    rule.parent_fd = fd;
    if (fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode))
        rule.allowed_access &= FILE_ONLY;
    if (rule.allowed_access && syscall(SYS_landlock_add_rule, r->fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
        rc = ph_fail_errno(PH_CONF, errno, "landlock: %s", path);
    close(fd);
    return rc;
}

static int allow_below(struct rules *r, ph_str base, const char *sub, uint64_t access)
{
    char path[4096];

    snprintf(path, sizeof path, "%.*s/%s", PH_FMT(base), sub);
    return allow(r, path, access);
}

/* What every service may read: libraries, zone and host data, configuration. */
static int allow_common(struct rules *r, const struct ph_seal *s)
{
    static const char *const reads[] = { "/usr", "/lib", "/lib64", "/etc", "/run/systemd/resolve", "/dev/null", "/dev/urandom", "/dev/random", "/proc/self", "/proc/sys", PH_PLUGIN_DIR, PH_DATA_DIR };
    char path[4096];
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < sizeof reads / sizeof *reads; i++)
        rc = allow(r, reads[i], READS);
    if (rc == 0)
        rc = allow(r, "/dev/null", READS | LANDLOCK_ACCESS_FS_WRITE_FILE);
    snprintf(path, sizeof path, "%.*s", PH_FMT(s->config_directory));
    if (rc == 0)
        rc = allow(r, path, READS);
    return rc;
}

/* Tables elsewhere that are rebuilt while we run; nobody lists what lies beside them. */
static int allow_tables(struct rules *r)
{
    const char *const *dirs;
    size_t n = ph_reopen_dirs(&dirs);
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = allow(r, dirs[i], LANDLOCK_ACCESS_FS_READ_FILE);
    return rc;
}

static int allow_needs(struct rules *r, const struct ph_seal *s)
{
    const uint64_t all = READS | WRITES | LANDLOCK_ACCESS_FS_REFER | LANDLOCK_ACCESS_FS_TRUNCATE;
    int rc = 0;

    if (ph_needs(s->needs, "queue-owner"))
        rc = allow_below(r, s->queue_directory, "", all);
    if (rc == 0 && ph_needs(s->needs, "bounce") && (rc = allow_below(r, s->queue_directory, "bounce", all)) == 0 &&
        (rc = allow_below(r, s->queue_directory, "defer", all)) == 0)
        rc = allow_below(r, s->queue_directory, "trace", all);
    if (rc == 0 && ph_needs(s->needs, "maildrop") && (rc = allow_below(r, s->queue_directory, "maildrop", all)) == 0)
        rc = allow_below(r, s->queue_directory, "corrupt", all);
    if (rc == 0 && ph_needs(s->needs, "mailbox") && s->mailbox_base.n)
        rc = allow_below(r, s->mailbox_base, "", all);
    if (rc == 0 && ph_needs(s->needs, "data") && s->data_directory.n)
        rc = allow_below(r, s->data_directory, "", all);
    return rc;
}

/* A client may choose its own address (smtp_bind_address), but no port. */
static int allow_any_port(struct rules *r)
{
    struct net_port_attr rule = { .allowed_access = NET_BIND_TCP, .port = 0 };

    if (r->net && syscall(SYS_landlock_add_rule, r->fd, RULE_NET_PORT, &rule, 0) < 0)
        return ph_fail_errno(PH_CONF, errno, "landlock: bind");
    return 0;
}

/* Who may connect to nothing else may to the servers of his tables. */
static int allow_later(struct rules *r)
{
    const unsigned *ports;
    size_t n = ph_dial_ports(&ports);

    for (size_t i = 0; r->net & NET_CONNECT_TCP && i < n; i++) {
        struct net_port_attr rule = { .allowed_access = NET_CONNECT_TCP, .port = ports[i] };

        if (syscall(SYS_landlock_add_rule, r->fd, RULE_NET_PORT, &rule, 0) < 0)
            return ph_fail_errno(PH_CONF, errno, "landlock: connect");
    }
    return 0;
}

static size_t attr_bytes(long abi)
{
    return abi >= 6 ? sizeof(struct ruleset_attr) : abi >= 4 ? offsetof(struct ruleset_attr, scoped) : offsetof(struct ruleset_attr, net);
}

int ph_landlock(const struct ph_seal *s)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    struct ruleset_attr attr = { .fs = ALL_V1 };

    if (abi < 1) {
        ph_log_warn("Landlock is not available on this kernel: files are guarded by their owners only");
        return 0;
    }
    if (abi >= 2)
        attr.fs |= LANDLOCK_ACCESS_FS_REFER;
    if (abi >= 3)
        attr.fs |= LANDLOCK_ACCESS_FS_TRUNCATE;
    if (abi >= 4)
        attr.net = NET_BIND_TCP | (ph_needs(s->needs, "network") ? 0 : NET_CONNECT_TCP);
    if (abi >= 6)
        attr.scoped = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL;
    struct rules r = { .handled = attr.fs, .net = attr.net };
    r.fd = (int)syscall(SYS_landlock_create_ruleset, &attr, attr_bytes(abi), 0);
    if (r.fd < 0)
        return ph_fail_errno(PH_CONF, errno, "landlock");
    int rc = allow_common(&r, s);
    if (rc == 0)
        rc = allow_tables(&r);
    if (rc == 0)
        rc = allow_needs(&r, s);
    if (rc == 0 && ph_needs(s->needs, "network"))
        rc = allow_any_port(&r);
    if (rc == 0)
        rc = allow_later(&r);
    if (rc == 0 && syscall(SYS_landlock_restrict_self, r.fd, 0) < 0)
        rc = ph_fail_errno(PH_CONF, errno, "landlock");
    close(r.fd);
    return rc;
}
