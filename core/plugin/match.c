/* match: lists that are matched: mynetworks, relay_domains ...  See posthorn/lookup.h.
 * The first item that matches decides; an item with "!" in front decides "no".
 * An item that cannot be used is an error in the log, and a list that comes to
 * it answers "could not look": neither yes nor no. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include <posthorn/lookup.h>
#include <posthorn/net.h>
#include "core/plugin/internal.h"
#include "core/plugin/tables.h"
#include "core/run/why.h"

#define FILE_MAX_BYTES (1u << 20)
#define DEPTH_MAX 10

enum item_kind { ITEM_TEXT, ITEM_NET, ITEM_TABLE, ITEM_BROKEN };

struct item {
    struct item *next;
    enum item_kind kind;
    int negative;
    uint32_t line;                 /* of file; NULL: the list is the parameter's */
    const char *file;
    ph_str text;                   /* of a broken item: what is wrong with it */
    struct ph_ip net;
    unsigned bits;
    struct ph_table *table;
};

struct ph_match {
    struct ph_scope *scope;
    struct ph_conf *conf;
    const char *what;
    uint32_t how;
    struct item *first, **last;
    const char *file;              /* what is being read */
    uint32_t line;
};

static int add_list(struct ph_match *m, ph_str list, int negative, int depth);

/* Its lines are further items; # starts a comment line. */
static int add_lines(struct ph_match *m, ph_str text, int negative, int depth)
{
    for (m->line = 1; text.n; m->line++) {
        ph_str line = ph_str_trim(ph_str_cut(&text, '\n'));

        if (line.n == 0 || line.p[0] == '#')
            continue;
        int rc = add_list(m, line, negative, depth + 1);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* "/file" */
static int add_file(struct ph_match *m, ph_str path, int negative, int depth)
{
    int fd = open(ph_cstr_dup(m->scope, path), O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return ph_fail_errno(PH_CONF, errno, "open %.*s", PH_FMT(path));
    char *mem = ph_alloc(m->scope, FILE_MAX_BYTES + 1);
    size_t n = 0;
    ssize_t got = 0;
    while (n <= FILE_MAX_BYTES && (got = read(fd, mem + n, FILE_MAX_BYTES + 1 - n)) > 0)
        n += (size_t)got;
    int err = errno;
    close(fd);
    if (got < 0)
        return ph_fail_errno(PH_CONF, err, "read %.*s", PH_FMT(path));
    if (n > FILE_MAX_BYTES)
        return ph_fail(PH_CONF, "%.*s is larger than %u bytes", PH_FMT(path), FILE_MAX_BYTES);
    const char *file = m->file;
    uint32_t line = m->line;
    m->file = ph_cstr_dup(m->scope, path);
    int rc = add_lines(m, (ph_str){ mem, n }, negative, depth);
    m->file = file;
    m->line = line;
    return rc;
}

/* May this be meant as an address or a network?  A list may hold names too, and what is
 * neither is a name that nobody has. */
static int looks_like_net(ph_str t)
{
    struct ph_ip ip;

    if (ph_str_find(t, '/') < 0)
        return ph_ip_parse(t, &ip);
    for (size_t i = 0; i < t.n; i++)
        if (!ph_is_digit(t.p[i]) && !strchr("abcdefABCDEF.:/[]", t.p[i]))
            return 0;
    return 1;
}

static int add_net(struct ph_match *m, struct item *it)
{
    if (!(m->how & PH_MATCH_ADDRESS) || !looks_like_net(it->text))
        return 0;
    ph_str t = it->text;
    if (!ph_net_parse(t, &it->net, &it->bits)) {
        if (it->net.family)
            return ph_fail(PH_CONF, "non-null host address bits in \"%.*s\", perhaps you should use \"%.*s/%u\" instead",
                           PH_FMT(t), PH_FMT(ph_ip_format(m->scope, &it->net)), it->bits);
        return ph_fail(PH_CONF, "\"%.*s\" is no network address", PH_FMT(t));
    }
    it->kind = ITEM_NET;
    return 0;
}

/* "type:name"; a name or an address with a port is a table of a type that nobody has. */
static int is_table(ph_str t)
{
    struct ph_ip ip = { 0 };
    unsigned bits;

    if (ph_str_find(t, ':') <= 0 || t.p[0] == '[')
        return 0;
    return !ph_net_parse(t, &ip, &bits) && !ip.family;
}

static void append(struct ph_match *m, struct item *it)
{
    it->file = m->file;
    it->line = m->line;
    *m->last = it;
    m->last = &it->next;
}

static void add_broken(struct ph_match *m)
{
    struct item *it = ph_new(m->scope, struct item);

    it->kind = ITEM_BROKEN;
    it->text = ph_str_dup(m->scope, ph_cstr(ph_error()));
    ph_log_error("%s: %.*s", m->what, PH_FMT(it->text));
    append(m, it);
}

static int add_item(struct ph_match *m, ph_str text, int negative, int depth)
{
    while (text.n && text.p[0] == '!') {
        negative = !negative;
        text = ph_str_from(text, 1);
    }
    if (text.n == 0)                       /* a program of Postfix ends here; who asks us is told to come again */
        return ph_fail(PH_CONF, "nothing behind \"!\"");
    if (text.p[0] == '/')
        return add_file(m, text, negative, depth);
    struct item *it = ph_new(m->scope, struct item);
    it->negative = negative;
    it->text = ph_str_dup(m->scope, text);
    if (is_table(it->text)) {
        it->kind = ITEM_TABLE;
        it->table = ph_table_open_soft(m->conf, m->scope, m->what, it->text, PH_TABLE_FOLD);
    } else {
        int rc = add_net(m, it);

        if (rc < 0)
            return rc;
    }
    append(m, it);
    return 0;
}

static int add_list(struct ph_match *m, ph_str list, int negative, int depth)
{
    if (depth > DEPTH_MAX)
        return ph_fail(PH_CONF, "files name each other more than %d deep", DEPTH_MAX);
    for (ph_str word; (word = ph_str_list(&list)).n; ) {
        if (word.p[0] == '#') {    /* whoever wrote it meant no address behind it */
            ph_log_warn("%s: a comment behind other text is not allowed: \"%.*s %.*s\"", m->what, PH_FMT(word), PH_FMT(ph_str_trim(list)));
            break;
        }
        if (add_item(m, word, negative, depth) < 0)
            add_broken(m);
    }
    return 0;
}

int ph_match_open(struct ph_conf *c, struct ph_scope *s, const char *what, ph_str list, uint32_t how, struct ph_match **out)
{
    struct ph_match *m = ph_new(s, struct ph_match);

    *m = (struct ph_match){ .scope = s, .conf = c, .what = what, .how = how };
    m->last = &m->first;
    int rc = add_list(m, list, 0, 0);
    if (rc < 0)
        return rc;
    *out = m;
    return 0;
}

/* A name against a pattern: 1 or 0. */
static int name_matches(const struct ph_match *m, ph_str pattern, ph_str name)
{
    if (ph_str_eq_nocase(pattern, name))
        return 1;
    if (!(m->how & PH_MATCH_DOMAIN) || name.n <= pattern.n)
        return 0;
    if (pattern.p[0] == '.')                   /* where parents match, a dot in front says nothing */
        return !(m->how & PH_MATCH_PARENT) && ph_str_ends_nocase(name, pattern);
    return m->how & PH_MATCH_PARENT && name.p[name.n - pattern.n - 1] == '.' && ph_str_ends_nocase(name, pattern);
}

/* The name, then its parents (with their dot, or without when PARENT). */
static int table_has_name(const struct ph_match *m, struct ph_table *t, ph_str name, struct ph_scope *s)
{
    ph_str val, key = name;
    int rc = ph_table_lookup(t, key, s, &val);

    while (rc == PH_NONE && m->how & PH_MATCH_DOMAIN && !ph_table_is_pattern(t) && key.n > 1) {
        ptrdiff_t dot = ph_str_find(ph_str_from(key, 1), '.');

        if (dot < 0)
            break;
        key = ph_str_from(key, (size_t)dot + (m->how & PH_MATCH_PARENT ? 2 : 1));
        rc = ph_table_lookup(t, key, s, &val);
    }
    return rc;
}

static int item_matches(const struct ph_match *m, const struct item *it, ph_str name, ph_str address, const struct ph_ip *ip, struct ph_scope *s)
{
    ph_str val;
    int rc = PH_NONE;

    switch (it->kind) {
    case ITEM_BROKEN:
        return ph_fail(PH_TEMP, "%.*s", PH_FMT(it->text));
    case ITEM_NET:
        return ip->family && ph_ip_in_net(ip, &it->net, it->bits) ? PH_FOUND : PH_NONE;
    case ITEM_TEXT:
        return (name.n && name_matches(m, it->text, name)) || (address.n && ph_str_eq_nocase(it->text, address)) ? PH_FOUND : PH_NONE;
    case ITEM_TABLE:
        if (name.n)
            rc = table_has_name(m, it->table, name, s);
        if (rc == PH_NONE && address.n)
            rc = ph_table_lookup(it->table, address, s, &val);
        return rc;
    }
    return PH_NONE;
}

/* The item that decides and its answer: PH_FOUND also when it is negative.  NULL: none. */
static const struct item *decide(const struct ph_match *m, ph_str name, ph_str address, int *answer)
{
    struct ph_ip ip = { 0 };

    *answer = PH_NONE;
    if (!m->first)
        return NULL;
    if (address.n)
        ph_ip_parse(address, &ip);
    PH_SCOPED(s, NULL);
    for (const struct item *it = m->first; it; it = it->next)
        if ((*answer = item_matches(m, it, name, address, &ip, s)) != PH_NONE)
            return it;
    return NULL;
}

static ph_str item_shown(struct ph_scope *s, const struct item *it)
{
    return it->negative ? ph_str_printf(s, "!%.*s", PH_FMT(it->text)) : it->text;
}

static void tell(struct ph_why_sink *why, const struct ph_match *m, const struct item *it, ph_str name, ph_str address, int answer)
{
    PH_SCOPED(s, NULL);
    struct list_answer a = { .what = m->what, .name = name, .address = address, .answer = answer };

    if (it) {
        a.item = it->kind == ITEM_BROKEN ? PH_STR("") : item_shown(s, it);
        a.file = it->file;
        a.line = it->line;
    }
    ph_why_matched(why, &a);
}

int ph_match(struct ph_match *m, ph_str name, ph_str address)
{
    struct ph_why_sink *why = ph_why_here();
    int answer;
    const struct item *it = decide(m, name, address, &answer);

    if (answer == PH_FOUND && it->negative)
        answer = PH_NONE;
    if (answer < 0)
        ph_wrap(answer, "%s", m->what);
    if (why)
        tell(why, m, it, name, address, answer);
    return answer;
}
