/* postdrop: takes one message from a local user and makes a file of it in
 * maildrop/.  Set-gid, so that users can submit but not read or change what
 * others submitted; it works while the mail system is down.
 *
 * Reads the form of posthorn/maildrop.h on stdin.  With -r it answers one line
 * on stdout: "ok ID", or "error STATUS text" (STATUS of sysexits.h).  Input that
 * ends before its last line was cancelled: nothing is stored, nothing said.
 *
 * postdrop.c who may, what comes in; postdrop_file.c the file. */
#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sysexits.h>
#include <unistd.h>
#include <posthorn/address.h>
#include <posthorn/error.h>
#include <posthorn/maildrop.h>
#include "core/cmd/cmd.h"
#include "core/cmd/postdrop.h"
#include "core/cmd/setgid.h"
#include "core/cmd/usermap.h"

#define DRAIN_MAX (1u << 30)           /* of input that is not wanted, so that the writer reads our answer */

static int report;                     /* -r */

/* Answer, and end.  The text goes to one line. */
static void refuse(int status, const char *fmt, ...) PH_PRINTF(2, 3) PH_NORETURN;
static void refuse(int status, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    postdrop_file_remove();
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20)
            *p = '?';
    if (report)
        printf("error %d %s\n", status, text);
    fflush(stdout);
    ph_cmd_fatal_status(status);
    ph_cmd_fatal("%s", text);
}

static int64_t read_input(void *arg PH_UNUSED, char *p, size_t n)
{
    ssize_t got;

    do
        got = read(STDIN_FILENO, p, n);
    while (got < 0 && errno == EINTR);
    return got < 0 ? ph_fail_errno(PH_TEMP, errno, "read") : got;
}

static void drain(void)
{
    static char waste[16384];          /* its content is nobody's */

    for (size_t n = 0; n < DRAIN_MAX; ) {
        int64_t got = read_input(NULL, waste, sizeof waste);

        if (got <= 0)
            return;
        n += (size_t)got;
    }
}

static void check_user(struct ph_conf *c, struct ph_scope *s)
{
    uid_t uid = getuid();
    ph_str login = ph_setgid_login(s, uid);
    int rc = ph_usermap_listed(ph_conf_value(c, s, "authorized_submit_users"), login);

    if (rc < 0)
        refuse(EX_TEMPFAIL, "authorized_submit_users: %s", ph_error());
    if (!rc)
        refuse(EX_NOPERM, "User %.*s(%ld) is not allowed to submit mail", PH_FMT(login), (long)uid);
}

/* The sender without its extension, with $myorigin when it has no domain. */
static ph_str plain_sender(struct ph_conf *c, struct ph_scope *s, ph_str sender)
{
    ph_str local, domain, user, extension, delimiters = ph_conf_value(c, s, "recipient_delimiter");
    char delimiter;

    ph_address_split(sender, &local, &domain);
    ph_address_extension(local, delimiters, &user, &extension, &delimiter);
    if (domain.n == 0)
        domain = ph_conf_value(c, s, "myorigin");
    return ph_str_printf(s, "%.*s@%.*s", PH_FMT(user), PH_FMT(domain));
}

/* Patterns: "*", the word for the null sender, "@domain", "user@domain". */
static int sender_allowed(struct ph_conf *c, struct ph_scope *s, ph_str patterns, ph_str sender)
{
    ph_str null_word = ph_conf_value(c, s, "empty_address_local_login_sender_maps_lookup_key");
    ph_str plain = sender.n ? plain_sender(c, s, sender) : PH_STR(""), word;
    ptrdiff_t at = ph_str_rfind(plain, '@');

    while ((word = ph_str_token(&patterns, ", \t\r\n")).n)
        if (ph_str_eq(word, PH_STR("*")) || (sender.n == 0 && ph_str_eq(word, null_word)) ||
            (sender.n && ph_str_eq_nocase(word, word.p[0] == '@' ? ph_str_from(plain, (size_t)at) : plain)))
            return 1;
    return 0;
}

static void check_sender(struct ph_conf *c, struct ph_scope *s, ph_str sender)
{
    uid_t uid = getuid();
    ph_str login = ph_setgid_login(s, uid), patterns = PH_STR("");
    int rc;

    if (!getpwuid(uid))
        login = ph_str_printf(s, "uid:%ld", (long)uid);
    rc = ph_usermap_find(s, ph_conf_value(c, s, "local_login_sender_maps"), login, &patterns);
    if (rc < 0) {
        drain();
        refuse(EX_TEMPFAIL, "local_login_sender_maps: %s", ph_error());
    }
    if (rc != PH_FOUND || !sender_allowed(c, s, patterns, sender)) {
        drain();
        refuse(EX_NOPERM, "not authorized to use sender='%.*s'", PH_FMT(sender));
    }
}

/* Content to the file within the limit. */
static void copy_content(struct ph_maildrop_source *in, int64_t limit)
{
    uint64_t total = 0;
    ph_str bytes;
    int rc;

    while ((rc = ph_maildrop_content(in, &bytes)) == PH_FOUND) {
        total += bytes.n;
        if (limit > 0 && total > (uint64_t)limit) {
            drain();
            refuse(EX_UNAVAILABLE, "message file too big");
        }
        if (postdrop_file_content(bytes) < 0)
            refuse(EX_TEMPFAIL, "%s", ph_error());
    }
    if (rc == PH_NONE)
        return;
    postdrop_file_remove();
    if (rc == PH_EOF)                  /* cancelled */
        exit(0);
    drain();
    refuse(rc == PH_PERM ? EX_DATAERR : EX_TEMPFAIL, "%s", ph_error());
}

static void read_envelope(struct ph_maildrop_source *in, struct ph_scope *s, struct ph_maildrop *m)
{
    int rc = ph_maildrop_envelope(in, s, m);

    if (rc == PH_EOF)
        exit(0);
    if (rc < 0) {
        drain();
        refuse(rc == PH_PERM ? EX_DATAERR : rc == PH_CONF ? EX_SOFTWARE : EX_TEMPFAIL, "%s", ph_error());
    }
}

static const char *take_options(int argc, char **argv)
{
    const char *dir = NULL;
    int option;

    while ((option = getopt(argc, argv, "+c:rv")) > 0)
        switch (option) {
        case 'c': dir = optarg; break;
        case 'r': report = 1; break;
        case 'v': break;
        default: refuse(EX_USAGE, "usage: postdrop [-c config_dir] [-rv]");
        }
    if (optind < argc)
        refuse(EX_USAGE, "usage: postdrop [-c config_dir] [-rv]");
    return ph_conf_choose_dir(dir);
}

int main(int argc, char **argv)
{
    struct ph_scope *scope = ph_scope_new(NULL);
    struct ph_maildrop_source in;
    struct ph_maildrop m;
    struct ph_conf *conf;
    int64_t limit = 0;
    const char *dir;

    ph_cmd_start(argv[0]);
    signal(SIGPIPE, SIG_IGN);
    if (getauxval(AT_SECURE))
        ph_setgid_clean_environment();
    dir = take_options(argc, argv);
    if (getuid() != 0 && (getgid() != getegid() || getuid() != geteuid()) && ph_setgid_check_config_dir(dir) < 0)
        refuse(EX_NOPERM, "%s", ph_error());
    if (ph_conf_open(scope, dir, &conf) < 0)
        refuse(EX_TEMPFAIL, "%s", ph_error());
    ph_cmd_log_open(conf);
    if (ph_conf_get_i64(conf, "message_size_limit", &limit) < 0)
        refuse(EX_TEMPFAIL, "%s", ph_error());
    check_user(conf, scope);
    ph_maildrop_source_init(&in, scope, read_input, NULL);
    read_envelope(&in, scope, &m);
    check_sender(conf, scope, m.sender);
    if (postdrop_file_create(conf, &m) < 0) {
        drain();
        refuse(EX_TEMPFAIL, "%s", ph_error());
    }
    copy_content(&in, limit);
    const char *id = postdrop_file_commit();

    if (!id)
        refuse(EX_TEMPFAIL, "%s", ph_error());
    postdrop_wake(conf);
    if (report)
        printf("ok %s\n", id);
    if (fflush(stdout) != 0)
        return EX_IOERR;
    ph_scope_free(scope);
    return 0;
}
