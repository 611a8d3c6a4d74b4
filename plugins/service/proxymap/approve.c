/* approve: which tables the configuration lets be asked for.  A client is hostile: what
 * is not in these sets is never opened.
 *
 * proxied  what stands with proxy: in proxy_read_maps (proxywrite: proxy_write_maps),
 *          through all that it refers to, and in the classes of restrictions
 * named    tables of types that may block, wherever a value of main.cf or of a service's
 *          settings names one: services ask for these without anybody writing proxy:
 *
 * A value is a list; in it stand tables, tables within tables (pipemap:{...},
 * debug:...), restrictions with tables, {...}, and /files with more of it. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "proxymap.h"

#define DEPTH_MAX      10
#define APPROVED_MAX   1000u
#define FILE_MAX_BYTES (1u << 20)

/* Where "/file" is a list of further items.  In other values a path is not looked into: a
 * log, say, holds what others write. */
static const char lists[] =
    "authorized_flush_users authorized_mailq_users authorized_submit_users authorized_verp_clients debug_peer_list fast_flush_domains "
    "local_header_rewrite_clients masquerade_exceptions mydestination mynetworks permit_mx_backup_networks postscreen_access_list "
    "qmqpd_authorized_clients relay_domains smtpd_authorized_verp_clients smtpd_authorized_xclient_hosts "
    "smtpd_authorized_xforward_hosts smtpd_client_event_limit_exceptions smtpd_sasl_exceptions_networks virtual_alias_domains "
    "virtual_mailbox_domains";

struct scan {
    struct pool *pool;
    struct ph_scope *scope;        /* of one value */
    int proxied;                   /* collect these, too */
    int files;                     /* look into /files */
};

static void scan_list(struct scan *x, ph_str list, int depth);

static void approve_one(struct scan *x, struct ph_map *set, ph_str table)
{
    if (table.n && ph_map_count(set) < APPROVED_MAX)
        ph_map_set(set, table, x->pool);
}

/* Lines of a file: what is no file, or cannot be read, is no list here; who uses it says so. */
static void scan_file(struct scan *x, ph_str path, int depth)
{
    struct stat st;
    int fd = open(ph_cstr_dup(x->scope, path), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= (off_t)FILE_MAX_BYTES) {
        char *mem = ph_alloc(x->scope, FILE_MAX_BYTES);
        size_t n = 0;

        for (ssize_t got = 1; n < FILE_MAX_BYTES && got > 0; n += got > 0 ? (size_t)got : 0)
            got = read(fd, mem + n, FILE_MAX_BYTES - n);
        for (ph_str rest = { mem, n }; rest.n; ) {
            ph_str line = ph_str_trim(ph_str_cut(&rest, '\n'));

            if (line.n && line.p[0] != '#')
                scan_list(x, line, depth);
        }
    }
    close(fd);
}

/* memcache:/file names a table that it stands before. */
static void scan_memcache(struct scan *x, ph_str path, int depth)
{
    struct scan within = *x;

    if (path.n && path.p[0] == '/') {
        within.files = 0;
        scan_file(&within, path, depth);
    }
}

static int is_type(ph_str t)
{
    for (size_t i = 0; i < t.n; i++)
        if (!ph_is_alnum(t.p[i]) && t.p[i] != '_' && t.p[i] != '-')
            return 0;
    return t.n > 0;
}

static void scan_item(struct scan *x, ph_str item, int depth);

static void scan_table(struct scan *x, ph_str item, ph_str type, ph_str name, int depth)
{
    if (ph_str_eq(type, PH_STR("proxy"))) {
        while (ph_str_starts(name, PH_STR("proxy:")))
            name = ph_str_from(name, 6);
        if (x->proxied)
            approve_one(x, x->pool->approved.proxied, name);
    } else if (ph_table_type_blocks(type) == PH_FOUND) {
        approve_one(x, x->pool->approved.named, item);
    } else if (ph_str_eq(type, PH_STR("memcache"))) {
        scan_memcache(x, name, depth);
    }
    if (name.n && name.p[0] != '/')
        scan_item(x, name, depth + 1);
}

static void scan_item(struct scan *x, ph_str item, int depth)
{
    while (item.n && item.p[0] == '!')
        item = ph_str_from(item, 1);
    if (item.n == 0 || depth > DEPTH_MAX)
        return;
    if (item.p[0] == '{') {
        item = ph_str_from(item, 1);
        scan_list(x, ph_str_ends(item, PH_STR("}")) ? ph_str_first(item, item.n - 1) : item, depth + 1);
        return;
    }
    if (item.p[0] == '/') {
        if (x->files)
            scan_file(x, item, depth + 1);
        return;
    }
    ptrdiff_t colon = ph_str_find(item, ':');
    if (colon > 0 && is_type(ph_str_first(item, (size_t)colon)))
        scan_table(x, item, ph_str_first(item, (size_t)colon), ph_str_from(item, (size_t)colon + 1), depth);
}

static void scan_list(struct scan *x, ph_str list, int depth)
{
    for (ph_str item; depth <= DEPTH_MAX && (item = ph_str_list(&list)).n; )
        scan_item(x, item, depth);
}

static void scan_value(struct pool *p, ph_str value, int proxied, int files)
{
    PH_SCOPED(s, NULL);
    struct scan x = { .pool = p, .scope = s, .proxied = proxied, .files = files };

    scan_list(&x, value, 0);
}

/* Values that most services have in common are looked at once. */
struct walk { struct pool *pool; struct ph_map *seen; };

static int has_word(ph_str list, ph_str word)
{
    for (ph_str w; (w = ph_str_word(&list)).n; )
        if (ph_str_eq(w, word))
            return 1;
    return 0;
}

static int each_value(void *arg, const char *service PH_UNUSED, ph_str name, ph_str value)
{
    struct walk *w = arg;
    int files = has_word(ph_cstr(lists), name);

    if (value.n && !(ph_map_get(w->seen, value) && !files)) {
        ph_map_set(w->seen, value, w);
        scan_value(w->pool, value, 0, files);
    }
    return 0;
}

static int approve_named(struct pool *p)
{
    PH_SCOPED(s, NULL);
    struct walk w = { .pool = p, .seen = ph_map_new(s) };

    return ph_config_values(each_value, &w);
}

/* What the names in a value refer to is in it already; classes are names in other lists. */
static int approve_proxied(struct pool *p)
{
    PH_SCOPED(s, NULL);
    ph_str value, classes, name;
    int rc = ph_conf_get(p->conf, s, p->parameter, &value);

    if (rc < 0)
        return rc;
    if (rc == PH_FOUND)
        scan_value(p, value, 1, 1);
    if ((rc = ph_conf_get(p->conf, s, "smtpd_restriction_classes", &classes)) != PH_FOUND)
        return rc < 0 ? rc : 0;
    while (!p->writes && (name = ph_str_list(&classes)).n)
        if (ph_conf_get(p->conf, s, ph_cstr_dup(s, name), &value) == PH_FOUND)
            scan_value(p, value, 1, 1);
    return 0;
}

int approve(struct pool *p)
{
    p->approved = (struct approved){ .proxied = ph_map_new(p->scope), .named = ph_map_new(p->scope) };
    int rc = approve_proxied(p);

    if (rc == 0 && !p->writes)
        rc = approve_named(p);
    if (rc == 0 && (ph_map_count(p->approved.proxied) == APPROVED_MAX || ph_map_count(p->approved.named) == APPROVED_MAX))
        ph_log_warn("the configuration names more than %u tables: what comes behind them is not served", APPROVED_MAX - 1);
    return rc;
}
