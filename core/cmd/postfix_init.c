/* postfix init: a self-contained instance: configuration, queue, data, log and
 * mailboxes below one directory, SMTP on loopback. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/buf.h>
#include <posthorn/error.h>
#include "core/cmd/cmd.h"
#include "core/cmd/layout.h"
#include "core/cmd/postfix.h"

#define SETTINGS_MAX 200

struct instance {
    struct ph_scope *scope;
    const char *dir;
    unsigned port;
    uid_t uid;
    gid_t gid;
    const char *owner;
    char **set;                    /* name=value ... */
    int set_count;
};

static int usage(void)
{
    fprintf(stderr, "usage: postfix init [-p PORT] DIR [name=value ...]\n");
    return 2;
}

/* A port nobody has right now. */
static unsigned free_port(void)
{
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof sa;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (const struct sockaddr *)&sa, n) < 0 || getsockname(fd, (struct sockaddr *)&sa, &n) < 0)
        ph_cmd_fatal("no free port: %s", strerror(errno));
    close(fd);
    return ntohs(sa.sin_port);
}

/* Who runs the workers: ourselves, or when root an account without rights. */
static void choose_owner(struct instance *in)
{
    struct passwd *pw;

    if (geteuid() != 0) {
        pw = getpwuid(geteuid());
        in->owner = pw ? ph_cstr_dup(in->scope, ph_cstr(pw->pw_name)) : "nobody";
        in->uid = geteuid();
        in->gid = getegid();
        return;
    }
    pw = getpwnam("postfix");
    if (!pw) {
        pw = getpwnam("nobody");
        if (!pw || pw->pw_uid == 0)
            ph_cmd_fatal("neither the account postfix nor nobody exists: make one, workers must not run as root");
        printf("postfix init: there is no account \"postfix\": the workers will run as \"nobody\"\n");
    }
    in->owner = ph_cstr_dup(in->scope, ph_cstr(pw->pw_name));
    in->uid = pw->pw_uid;
    in->gid = pw->pw_gid;
}

static void write_file(const struct instance *in, const char *name, ph_str text)
{
    const char *path = ph_str_printf(in->scope, "%s/%s", in->dir, name).p;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);

    if (fd < 0)
        ph_cmd_fatal("%s: %s", path, strerror(errno));
    if (write(fd, text.p, text.n) != (ssize_t)text.n || fchmod(fd, 0644) < 0 || close(fd) < 0)
        ph_cmd_fatal("write %s: %s", path, strerror(errno));
}

static int is_set(const struct instance *in, const char *name)
{
    size_t n = strlen(name);

    for (int i = 0; i < in->set_count; i++)
        if (strncmp(in->set[i], name, n) == 0 && in->set[i][n] == '=')
            return 1;
    return 0;
}

/* A setting of ours, unless the caller gives that name himself. */
static void put(struct ph_buf *b, const struct instance *in, const char *name, ph_str value)
{
    if (!is_set(in, name))
        ph_buf_printf(b, "%s = %.*s\n", name, PH_FMT(value));
}

static void put_settings(struct ph_buf *b, const struct instance *in)
{
    for (int i = 0; i < in->set_count; i++) {
        ph_str value = ph_cstr(in->set[i]), name = ph_str_trim(ph_str_cut(&value, '='));

        if (name.n == 0 || !strchr(in->set[i], '=') || ph_str_find(value, '\n') >= 0)
            ph_cmd_fatal("\"%s\" is not name=value", in->set[i]);
        ph_buf_printf(b, "%.*s = %.*s\n", PH_FMT(name), PH_FMT(ph_str_trim(value)));
    }
}

static void write_main_cf(const struct instance *in)
{
    struct ph_scope *s = in->scope;
    struct ph_buf b;

    ph_buf_init(&b, s, 1u << 20);
    ph_buf_printf(&b, "# Written by `postfix init`: an instance of its own below %s.\n", in->dir);
    put(&b, in, "compatibility_level", PH_STR("3.11"));
    put(&b, in, "queue_directory", ph_str_printf(s, "%s/queue", in->dir));
    put(&b, in, "data_directory", ph_str_printf(s, "%s/data", in->dir));
    put(&b, in, "maillog_file", ph_str_printf(s, "%s/log/posthorn.log", in->dir));
    put(&b, in, "maillog_file_prefixes", ph_str_printf(s, "%s/log, /dev/stdout", in->dir));
    put(&b, in, "mail_owner", ph_cstr(in->owner));
    put(&b, in, "inet_interfaces", PH_STR("loopback-only"));
    put(&b, in, "mynetworks", PH_STR("127.0.0.0/8 [::1]/128"));
    ph_buf_puts(&b, "\n# Nobody's mail is delivered by local(8) until mydestination says so.\n");
    put(&b, in, "mydestination", PH_STR(""));
    put(&b, in, "local_recipient_maps", PH_STR(""));
    put(&b, in, "alias_maps", PH_STR(""));
    ph_buf_puts(&b, "\n# Every user of example.test has a maildir below mail/.\n");
    put(&b, in, "virtual_mailbox_domains", PH_STR("example.test"));
    put(&b, in, "virtual_mailbox_base", ph_str_printf(s, "%s/mail", in->dir));
    put(&b, in, "virtual_mailbox_maps", ph_str_printf(s, "pcre:%s/mailboxes.pcre", in->dir));
    put(&b, in, "virtual_uid_maps", ph_str_printf(s, "static:%u", (unsigned)in->uid));
    put(&b, in, "virtual_gid_maps", ph_str_printf(s, "static:%u", (unsigned)in->gid));
    if (in->uid < 100)
        put(&b, in, "virtual_minimum_uid", ph_str_printf(s, "%u", (unsigned)in->uid ? (unsigned)in->uid : 1));
    if (in->set_count) {
        ph_buf_puts(&b, "\n");
        put_settings(&b, in);
    }
    write_file(in, "main.cf", ph_buf_view(&b));
}

static void write_master_yaml(const struct instance *in)
{
    write_file(in, "master.yaml", ph_str_printf(in->scope,
        "# Written by `postfix init`.  Each service: its plugin, where it listens, how it is placed.\n"
        "format: 1\n"
        "services:\n"
        "  - {name: smtp,    plugin: smtpd,   listen: \"inet:127.0.0.1:%u\", sessions: 1000}\n"
        "  - {name: pickup,  plugin: pickup,  listen: unix, private: false, wakeup: 60s}\n"
        "  - {name: cleanup, plugin: cleanup, listen: unix, place: inline}\n"
        "  - {name: rewrite, plugin: rewrite, listen: unix, place: inline}\n"
        "  - {name: qmgr,    builtin: qmgr,   listen: unix, private: false, processes: 1, wakeup: 300s}\n"
        "  - {name: bounce,  plugin: bounce,  listen: unix, processes: 1, wakeup: 3600s}\n"
        "  - {name: showq,   plugin: showq,   listen: unix, private: false}\n"
        "  - {name: proxymap,   plugin: proxymap, listen: unix}\n"
        "  - {name: proxywrite, plugin: proxymap, listen: unix, processes: 1}\n"
        "  - {name: smtp,    transport: smtp, listen: unix}\n"
        "  - {name: relay,   transport: smtp, listen: unix, settings: {syslog_name: postfix/relay}}\n"
        "  - {name: local,   transport: local, listen: unix}\n"
        "  - {name: lmtp,    transport: lmtp, listen: unix}\n"
        "  - {name: virtual, transport: virtual, listen: unix}\n"
        "  - {name: error,   transport: error, listen: unix}\n"
        "  - {name: retry,   transport: error, listen: unix}\n"
        "  - {name: discard, transport: discard, listen: unix}\n", in->port));
}

static void make_directories(const struct instance *in)
{
    static const char *const subs[] = { "", "/log", "/mail" };   /* queue and data: hand_over */

    for (size_t i = 0; i < sizeof subs / sizeof *subs; i++) {
        const char *path = ph_str_printf(in->scope, "%s%s", in->dir, subs[i]).p;

        if (mkdir(path, 0755) < 0 && errno != EEXIST)
            ph_cmd_fatal("mkdir %s: %s", path, strerror(errno));
    }
}

/* The mailboxes are the owner's, and below queue and data what the table says;
 * root keeps what decides how it runs, and the log. */
static void hand_over(const struct instance *in)
{
    struct layout l;

    if (geteuid() == 0 && lchown(ph_str_printf(in->scope, "%s/mail", in->dir).p, in->uid, in->gid) < 0)
        ph_cmd_fatal("chown %s/mail: %s", in->dir, strerror(errno));
    if (layout_open(&l, in->scope, ph_cmd_conf(in->scope, in->dir), "") < 0 || layout_make(&l) < 0)
        ph_cmd_fatal("%s", ph_error());
    for (uint32_t i = 0; i < l.accounts.note_count; i++)
        ph_cmd_warn("%s", l.accounts.note[i]);
}

static int options(struct instance *in, int argc, char **argv)
{
    int c;

    optind = 1;
    while ((c = getopt(argc, argv, "+p:")) != -1) {
        uint64_t port;

        if (c != 'p' || !ph_str_u64(ph_cstr(optarg), &port) || port < 1 || port > 65535)
            return 0;
        in->port = (unsigned)port;
    }
    if (optind >= argc || argc - optind - 1 > SETTINGS_MAX)
        return 0;
    in->dir = argv[optind];
    in->set = argv + optind + 1;
    in->set_count = argc - optind - 1;
    return 1;
}

int postfix_init(struct ph_scope *s, int argc, char **argv)
{
    struct instance in = { .scope = s };
    char real[PATH_MAX];

    if (!options(&in, argc, argv))
        return usage();
    umask(022);
    if (mkdir(in.dir, 0755) < 0 && errno != EEXIST)
        ph_cmd_fatal("mkdir %s: %s", in.dir, strerror(errno));
    if (!realpath(in.dir, real))
        ph_cmd_fatal("%s: %s", in.dir, strerror(errno));
    in.dir = real;
    if (access(ph_str_printf(s, "%s/main.cf", real).p, F_OK) == 0)
        ph_cmd_fatal("%s/main.cf exists: init does not overwrite an instance", real);
    if (in.port == 0)
        in.port = free_port();
    choose_owner(&in);
    make_directories(&in);
    write_main_cf(&in);
    write_master_yaml(&in);
    write_file(&in, "mailboxes.pcre", PH_STR("# user@example.test and user+tag@example.test to the maildir of user.\n"
                                             "/^([a-z0-9_][a-z0-9._=-]*)(\\+[^@\\/]*)?@example\\.test$/  $1/\n"));
    hand_over(&in);
    printf("postfix init: instance in %s, SMTP on 127.0.0.1:%u; start it with: postfix -c %s start\n", real, in.port, real);
    return 0;
}
