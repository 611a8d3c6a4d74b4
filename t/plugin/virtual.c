/* t/plugin/virtual.c: the agents that need no network: virtual (maildir, mbox),
 * error, discard.  The test stands in for the message and takes the outcomes.
 * Run alone: make t/plugin/virtual.t && prove -v t/plugin/virtual.t */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utime.h>
#include <posthorn/task.h>
#include <posthorn/transport.h>
#include "core/conf/conf.h"
#include "core/plugin/registry.h"
#include "core/run/loop.h"
#include "core/worker/spawner.h"
#include "t/unit/tap.h"

extern const struct ph_transport_plugin transport_virtual_LTX_ph_plugin, transport_error_LTX_ph_plugin, transport_discard_LTX_ph_plugin;

/* --- the message --- */

static const char *text;
static size_t text_n, fail_at;     /* fail_at: reading past it fails; 0: never */

uint64_t ph_message_bytes(const struct ph_message *m PH_UNUSED)
{
    return text_n;
}

int64_t ph_message_read(const struct ph_message *m PH_UNUSED, uint64_t offset, void *p, size_t n)
{
    if (fail_at && offset + n > fail_at)
        return ph_fail(PH_TEMP, "read error of the test");
    if (offset >= text_n)
        return 0;
    if (n > text_n - offset)
        n = text_n - (size_t)offset;
    memcpy(p, text + offset, n);
    return (int64_t)n;
}

/* --- outcomes --- */

static char outcome[1024];
static int sent;

void ph_delivered(struct ph_delivery *d, uint32_t i, const struct ph_outcome *o)
{
    static const char *const status[] = { "open", "sent", "bounced", "deferred" };

    d->rcpt[i].state = o->status;
    sent += o->status == PH_RCPT_SENT;
    snprintf(outcome, sizeof outcome, "%s %.*s %.*s: %.*s", status[o->status], PH_FMT(o->dsn), PH_FMT(o->relay), PH_FMT(o->text));
}

void ph_delivered_all(struct ph_delivery *d, const struct ph_outcome *o)
{
    for (uint32_t i = 0; i < d->rcpt_count; i++)
        ph_delivered(d, i, o);
}

void ph_delivered_text(struct ph_delivery *d, uint32_t i, uint32_t status, const char *dsn, const char *relay, const char *fmt, ...)
{
    PH_SCOPED(s, NULL);
    va_list ap;

    va_start(ap, fmt);
    struct ph_outcome o = { .status = status, .dsn = ph_cstr(dsn), .relay = ph_cstr(relay), .text = ph_str_vprintf(s, fmt, ap) };
    va_end(ap);
    ph_delivered(d, i, &o);
}

/* --- a delivery --- */

static struct ph_scope *scope;
static struct ph_conf *conf;
static char dir[] = "/tmp/posthorn-virtual-XXXXXX";

static const char *path(const char *name)
{
    return ph_str_printf(scope, "%s/%s", dir, name).p;
}

static int opened;                 /* what open answered */

static void deliver(const struct ph_transport_plugin *ops, const char *service, const char *sender, const char *to, const char *nexthop)
{
    struct ph_scope *s = ph_scope_new(scope);
    struct ph_transport t = { .scope = s, .ops = ops, .conf = conf, .service = service };
    struct ph_message m = { .sender = ph_cstr(sender), .queue_id = PH_STR("ID") };
    struct ph_recipient r = { .address = ph_cstr(to) };
    struct ph_delivery d = { .scope = s, .transport = &t, .message = &m, .nexthop = ph_cstr(nexthop), .rcpt = &r, .rcpt_count = 1 };

    strcpy(outcome, "none");
    opened = ops->open ? ops->open(&t) : 0;
    if (opened == 0 && ops->deliver(&t, &d) < 0)
        snprintf(outcome, sizeof outcome, "error %s", ph_error());
    ph_scope_free(s);
}

static void virtual(const char *to)
{
    deliver(&transport_virtual_LTX_ph_plugin, "virtual", "from@x.test", to, "");
}

static void set_text(const char *t)
{
    text = t;
    text_n = strlen(t);
    fail_at = 0;
}

static void set(const char *name, const char *value)
{
    ph_conf_set(conf, name, ph_str_dup(scope, ph_cstr(value)));
}

static void is_outcome(const char *want, const char *sentence)
{
    if (!ok(strncmp(outcome, want, strlen(want)) == 0, "%s", sentence))
        printf("#  got: %s\n#  want: %s\n", outcome, want);
}

static ph_str slurp(const char *file)
{
    struct ph_buf b;
    FILE *f = fopen(file, "r");
    int c;

    ph_buf_init(&b, scope, 1 << 20);
    while (f && (c = getc(f)) != EOF)
        ph_buf_putc(&b, (char)c);
    if (f)
        fclose(f);
    return ph_buf_view(&b);
}

/* Files in a directory; the last one's path in *last. */
static int count(const char *name, const char **last)
{
    DIR *d = opendir(path(name));
    int n = 0;

    for (struct dirent *e; d && (e = readdir(d)); )
        if (e->d_name[0] != '.') {
            n++;
            if (last)
                *last = ph_str_printf(scope, "%s/%s/%s", dir, name, e->d_name).p;
        }
    if (d)
        closedir(d);
    return n;
}

static unsigned mode_of(const char *file)
{
    struct stat st;

    return stat(file, &st) < 0 ? 0 : st.st_mode & 07777;
}

#define TEXT "Subject: x\r\n\r\nFrom here\r\n>From\r\n.dot\r\n"
#define HEAD "Return-Path: <from@x.test>\nX-Original-To: %s\nDelivered-To: %s\n"

static const char *head(const char *to, const char *rest)
{
    return ph_str_printf(scope, HEAD "%s", to, to, rest).p;
}

static void test_maildir(void)
{
    const char *file = "";

    set_text(TEXT);
    virtual("md@v.test");
    is_outcome("sent 2.0.0 virtual: delivered to maildir", "a maildir that was not there");
    is_int(count("deep/md/new", &file), 1, "one message in new");
    is_int(count("deep/md/tmp", NULL), 0, "none in tmp");
    is_int(mode_of(path("deep/md/cur")), 0700, "directories are the owner's");
    is_int(mode_of(file), 0600, "and files");
    is_bytes(slurp(file), head("md@v.test", "Subject: x\n\nFrom here\n>From\n.dot\n"), "headers in front, LF, nothing quoted");
    virtual("MD@v.test");
    is_int(count("deep/md/new", NULL), 2, "case does not matter, names do not collide");
    fail_at = 10;
    virtual("md@v.test");
    is_outcome("deferred 4.3.0 virtual: maildir delivery failed: read error of the test", "a queue file that cannot be read defers");
    is_int(count("deep/md/tmp", NULL), 0, "and leaves nothing in tmp");
    is_int(count("deep/md/new", NULL), 2, "nor in new");
    set_text("Subject: no end");
    deliver(&transport_virtual_LTX_ph_plugin, "virtual", "", "other@v.test", "");
    count("deep/other/new", &file);
    is_bytes(slurp(file), "Return-Path: <>\nX-Original-To: other@v.test\nDelivered-To: other@v.test\nSubject: no end\n", "the null sender; a last line is ended");
}

/* The From_ line of a record has the time: cut it off. */
static ph_str behind_from(ph_str all)
{
    if (!ph_str_starts(all, PH_STR("From from@x.test  ")))
        return all;
    ph_str_cut(&all, '\n');
    return all;
}

static void test_mbox(void)
{
    const char *want = head("mb@v.test", "Subject: x\n\n>From here\n>From\n.dot\n\n");

    set_text(TEXT);
    virtual("mb@v.test");
    is_outcome("sent 2.0.0 virtual: delivered to mailbox", "an mbox that was not there");
    is_bytes(behind_from(slurp(path("mbox"))), want, "From_ line, headers, From quoted, an empty line behind");
    is_int(mode_of(path("mbox")), 0600, "mode 0600");
    size_t one = slurp(path("mbox")).n;
    virtual("mb@v.test");
    is_bytes(behind_from(ph_str_from(slurp(path("mbox")), one)), want, "the next one behind it");
    fail_at = 10;
    virtual("mb@v.test");
    is_outcome("deferred 4.3.0 virtual: delivery failed to mailbox", "a failure defers");
    is_int(slurp(path("mbox")).n, 2 * one, "and the mailbox is as it was");
    ok(access(path("mbox.lock"), F_OK) < 0, "without a lock file");
    fail_at = 0;
    virtual("noparent@v.test");
    is_outcome("deferred 4.2.0", "a directory that is missing is not made for an mbox");
    if (mkdir(path("adir"), 0700) < 0 || symlink("mbox", path("alink")) < 0 || link(path("mbox"), path("hard")) < 0)
        ph_die("%s", dir);
    virtual("adir@v.test");
    is_outcome("bounced 5.2.0", "a directory is no mailbox");
    virtual("alink@v.test");
    is_outcome("bounced 5.2.0", "a symbolic link is not followed");
    virtual("hard@v.test");
    is_outcome("bounced 5.2.0", "a file of two names is not written");
    unlink(path("hard"));
}

static void test_locks(void)
{
    struct utimbuf old = { 1, 1 };
    int ready[2], done[2];
    char c = 0;

    set_text(TEXT);
    close(open(path("mbox.lock"), O_WRONLY | O_CREAT, 0600));
    virtual("mb@v.test");
    is_outcome(ph_str_printf(scope, "deferred 4.2.0 virtual: delivery failed to mailbox %s: unable to create lock file %s.lock: File exists", path("mbox"), path("mbox")).p, "a lock file defers");
    ok(access(path("mbox.lock"), F_OK) == 0, "and is left alone");
    utime(path("mbox.lock"), &old);
    set("deliver_lock_attempts", "2");
    virtual("mb@v.test");
    is_outcome("sent", "an old one is removed");
    set("deliver_lock_attempts", "1");
    if (pipe(ready) < 0 || pipe(done) < 0)
        ph_die("pipe");
    pid_t pid = fork();
    if (pid == 0) {
        struct flock lk = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
        int fd = open(path("mbox"), O_RDWR);

        close(done[1]);
        _exit(fcntl(fd, F_SETLK, &lk) < 0 || write(ready[1], "x", 1) != 1 || read(done[0], &c, 1) < 0);
    }
    ok(pid > 0 && read(ready[0], &c, 1) == 1, "another process locks the mailbox");
    virtual("mb@v.test");
    is_outcome(ph_str_printf(scope, "deferred 4.2.0 virtual: delivery failed to mailbox %s: unable to lock for exclusive access: Resource temporarily unavailable", path("mbox")).p, "which defers");
    close(done[1]);
    waitpid(pid, NULL, 0);
    virtual("mb@v.test");
    is_outcome("sent", "until it is unlocked");
}

static void test_limits(void)
{
    set_text(TEXT);
    set("message_size_limit", "20");
    set("virtual_mailbox_limit", "20");
    virtual("md@v.test");
    is_outcome("bounced 5.2.2 virtual: maildir delivery failed: error writing message: File too large", "a message over the limit of a maildir");
    virtual("mb@v.test");
    is_outcome("bounced 5.2.2", "a mailbox over its limit");
    set("message_size_limit", "30");
    virtual("md@v.test");
    is_int(opened, PH_CONF, "a limit below message_size_limit is refused at start");
    set("message_size_limit", "10240000");
    set("virtual_mailbox_limit", "51200000");
}

static void test_tables(void)
{
    set_text(TEXT);
    virtual("nobody@v.test");
    is_outcome("bounced 5.1.1 virtual: unknown user: \"nobody@v.test\"", "an unknown user");
    virtual("up@v.test");
    is_outcome("deferred 4.3.5", "a path that leaves the base");
    virtual("ext+x@v.test");
    is_outcome("sent", "an extension is left off");
    set("virtual_uid_maps", "static:4242");   /* root may become that */
    virtual("md@v.test");
    is_outcome(getuid() == 0 ? "bounced 5.2.0" : "deferred 4.3.5 virtual: mail system configuration error", "another's uid, who may not write here, or whom we cannot become");
    set("virtual_uid_maps", "static:50");
    virtual("md@v.test");
    is_outcome("deferred 4.3.5 virtual: mail system configuration error", "a uid below the minimum");
    set("virtual_uid_maps", "static:0x100");
    virtual("md@v.test");
    is_outcome("deferred 4.3.5", "a uid that is no decimal number");
    set("virtual_uid_maps", "");
    virtual("md@v.test");
    is_outcome("deferred 4.3.5", "no uid at all");
    set("virtual_mailbox_maps", "fail:down");
    virtual("md@v.test");
    is_outcome("deferred 4.3.0", "a failing table is no unknown user");
    set("virtual_mailbox_base", "");
    virtual("md@v.test");
    is_int(opened, PH_CONF, "an empty base is refused at start");
}

/* Line ends and "From " at each place around the border of two reads. */
static void test_pieces(void)
{
    static char in[70000], want[140000];
    const char *file = "", tail[] = "\r\nFrom x\r\nb\r\n\r\nend\r\n";

    for (int back = 0; back <= 14; back++) {
        size_t pad = 65536u - (size_t)back;

        memset(in, 'a', pad);
        strcpy(in + pad, tail);
        set_text(in);
        memset(want, 'a', pad);
        strcpy(want + pad, "\n>From x\nb\n\nend\n\n");
        unlink(path("border"));
        virtual("border@v.test");
        ph_str got = behind_from(slurp(path("border")));
        ok(ph_str_ends(got, ph_cstr(want)) && got.n == strlen(head("border@v.test", "")) + strlen(want), "mbox: the border is %d bytes into the end", back);
        strcpy(want + pad, "\nFrom x\nb\n\nend\n");
        virtual("bordir@v.test");
        count("bordir/new", &file);
        got = slurp(file);
        ok(ph_str_ends(got, ph_cstr(want)) && got.n == strlen(head("bordir@v.test", "")) + strlen(want), "maildir: the border is %d bytes into the end", back);
        unlink(file);
    }
}

static void test_others(void)
{
    static const struct { const struct ph_transport_plugin *ops; const char *service, *nexthop, *want; } cases[] = {
        { &transport_error_LTX_ph_plugin, "error", "5.1.2 no such host", "bounced 5.1.2 none: no such host" },
        { &transport_error_LTX_ph_plugin, "error", "gone away", "bounced 5.0.0 none: gone away" },
        { &transport_error_LTX_ph_plugin, "error", "4.1.2 odd", "bounced 5.0.0 none: odd" },
        { &transport_error_LTX_ph_plugin, "error", "", "bounced 5.0.0 none: Address is undeliverable" },
        { &transport_error_LTX_ph_plugin, "retry", "4.3.0 wait", "deferred 4.3.0 none: wait" },
        { &transport_error_LTX_ph_plugin, "retry", "wait", "deferred 4.0.0 none: wait" },
        { &transport_discard_LTX_ph_plugin, "discard", "silently", "sent 2.0.0 none: silently" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        deliver(cases[i].ops, cases[i].service, "a@x.test", "b@x.test", cases[i].nexthop);
        is_outcome(cases[i].want, cases[i].want);
    }
}

static void deliver_one(void *arg)
{
    virtual(arg);
}

/* Eight messages at once for a mailbox that does not exist: pool threads make it
 * together. */
static void test_together(void)
{
    char name[32];

    set_text(TEXT);
    for (int round = 0; round < 20; round++) {
        struct ph_scope *s = ph_scope_new(scope);
        struct ph_group *g = ph_group_new(s);

        snprintf(name, sizeof name, "u%d@many.test", round);
        sent = 0;
        for (int i = 0; i < 8; i++)
            ph_spawn(g, "deliver", deliver_one, name);
        ph_group_wait(g, PH_FOREVER);
        is_int(sent, 8, "round %d: eight messages make a maildir together", round);
        is_int(count(ph_str_printf(scope, "many/%.*s/new", (int)strcspn(name, "@"), name).p, NULL), 8, "and all are in it");
        ph_scope_free(s);
    }
    if (mkdir(path("half"), 0700) < 0 || mkdir(path("half/tmp"), 0700) < 0)
        ph_die("%s", dir);
    virtual("half@v.test");
    is_outcome("sent", "a maildir of which there is only tmp is completed");
}

static int run(void *arg PH_UNUSED)
{
    ph_disk_start(8);
    test_together();
    test_maildir();
    test_mbox();
    test_locks();
    test_limits();
    test_pieces();
    test_tables();
    test_others();
    return 0;
}

static void put_text(const char *name, const char *t)
{
    FILE *f = fopen(path(name), "w");

    if (!f || fputs(t, f) < 0 || fclose(f) != 0)
        ph_die("%s", path(name));
}

static void install(const char *folder, const char *name)
{
    put_text(ph_str_printf(scope, "plugins.d/%s.yaml", name).p,
             ph_str_printf(scope, "format: 1\nkind: table\nname: %s\nobject: %s/plugins/table/%s/.libs/table_%s.so\n", name, build_dir(), folder, name).p);
}

int main(void)
{
    umask(022);
    scope = ph_scope_new(NULL);
    if (!mkdtemp(dir) || mkdir(path("plugins.d"), 0700) < 0 || ph_conf_parse(scope, dir, "main.cf", PH_STR(""), &conf) < 0)
        ph_die("%s", dir);
    install("inline", "inline");
    install("static", "static");
    install("fail", "fail");
    install("pattern", "regexp");
    ph_registry_data_dir(dir);
    struct spawner_options o = { .policy = { .own_only = geteuid() != 0, .own_uid = geteuid(), .own_gid = getegid() }, .name = "test" };
    if (ph_spawner_start(&o) < 0)
        ph_die("%s", ph_error());
    /* root may be no mailbox's owner: be somebody. */
    if (geteuid() == 0 && (chown(dir, 65534, 65534) < 0 || chmod(path("plugins.d"), 0755) < 0 || setegid(65534) < 0 || seteuid(65534) < 0))
        ph_die("cannot become nobody");
    if (ph_registry_open(conf) < 0)
        ph_die("%s", ph_error());
    set("virtual_mailbox_base", dir);
    set("virtual_mailbox_maps", "inline:{md@v.test=deep/md/, other@v.test=deep/other/, mb@v.test=mbox, noparent@v.test=none/mbox, adir@v.test=adir, "
        "alink@v.test=alink, hard@v.test=mbox, up@v.test=../x, ext@v.test=ext/, border@v.test=border, bordir@v.test=bordir/, half@v.test=half/}, regexp:{ {/^(u.*)@many/ many/$$1/} }");
    set("virtual_uid_maps", ph_str_printf(scope, "static:%u", (unsigned)geteuid()).p);
    set("virtual_gid_maps", ph_str_printf(scope, "static:%u", (unsigned)getegid()).p);
    set("recipient_delimiter", "+");
    set("deliver_lock_attempts", "1");
    if (ph_run_main(run, NULL) < 0)
        ph_die("%s", ph_error());
    if (getuid() == 0 && seteuid(0) < 0)
        ph_die("cannot become root again");
    const char *clean = ph_str_printf(scope, "rm -rf %s", dir).p;
    if (system(clean) != 0)
        printf("# left behind: %s\n", dir);
    ph_scope_free(scope);
    return done_testing();
}
