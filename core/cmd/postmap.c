/* postmap, postalias: build and ask tables.
 *
 *     postmap [-NUFbfhimnoprsuvwj] [-c config_dir] [-d key] [-q key] [type:]file ...
 *
 * postmap.c options, queries, deletions, lists; postmap_build.c building; postalias.c
 * the lines of an alias file;
 * postmap_message.c a message as keys; postmap_files.c values that are files.  A
 * table is built beside the old one and takes its place when it is whole, also
 * with -i and -d: readers never see half of it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <posthorn/error.h>
#include <posthorn/fold.h>
#include "core/cmd/postmap.h"
#include "core/plugin/registry.h"

#define STDIO_BYTES 65536

static struct ph_scope *all;       /* what goes when the command fails: half a table, and who waits for its lock */

static void free_all(void)
{
    postmap_become_self();         /* of several tables, not all are his who was asked last */
    ph_scope_free(all);
}

static void usage(const struct postmap *p) PH_NORETURN;
static void usage(const struct postmap *p)
{
    ph_cmd_fatal("usage: %s [map_type:]file...", p->is_alias ? "postalias [-Nfinoprsuvw] [-c config_dir] [-d key] [-q key]"
                                                             : "postmap [-bfFhimnNoprsuUvw] [-c config_dir] [-d key] [-q key]");
}

ph_str postmap_shown_duplicate(struct ph_scope *s, const struct ph_table *t)
{
    if (ph_str_eq(t->type, PH_STR("cdb")))
        return t->name;
    ph_str file = ph_table_file(s, t);

    return ph_str_eq(file, t->name) ? ph_table_shown(s, t) : file;
}

ph_str postmap_key(const struct postmap *p, struct ph_scope *s, ph_str key)
{
    return p->no_fold ? key : p->any_bytes ? ph_str_lower(s, key) : ph_key_fold(s, key);
}

static int has_type(const char *table)
{
    return strchr(table, ':') && table[0] != '/';
}

ph_str postmap_type(const struct postmap *p, struct ph_scope *s, const char *table)
{
    return has_type(table) ? ph_str_first(ph_cstr(table), (size_t)(strchr(table, ':') - table)) : ph_conf_value(p->conf, s, "default_database_type");
}

const char *postmap_cause(const struct postmap *p, const char *table)
{
    PH_SCOPED(s, p->scope);
    ph_str type = has_type(table) ? PH_STR("") : ph_str_printf(s, "%.*s:", PH_FMT(ph_conf_value(p->conf, s, "default_database_type")));
    ph_str named = ph_str_printf(s, "%.*s%s: ", PH_FMT(type), table);
    const char *text = ph_error();

    return strncmp(text, named.p, named.n) == 0 ? text + named.n : text;
}

const char *postmap_path(const char *table)
{
    return has_type(table) ? strchr(table, ':') + 1 : table;
}

static struct ph_table *open_table(struct postmap *p, struct ph_scope *s, const char *name, uint32_t flags)
{
    struct ph_table *t;

    flags |= (p->no_fold ? 0 : PH_TABLE_FOLD) | (p->any_bytes ? PH_TABLE_ANY_BYTES : 0) | p->nul;
    if (ph_table_open(p->conf, s, ph_cstr(name), flags, &t) < 0)
        ph_cmd_fatal("%s", postmap_cause(p, name));
    return t;
}

static void put(ph_str text)
{
    if (text.n)
        fwrite_unlocked(text.p, 1, text.n, stdout);
}

static void put_value(ph_str val)
{
    put(val);
    putc_unlocked('\n', stdout);
}

static void put_entry(const struct postmap *p, ph_str key, ph_str val)
{
    if (p->json) {
        ph_cmd_put_json(key, val);
        return;
    }
    put(key);
    put(p->is_alias ? PH_STR(":\t") : PH_STR("\t"));
    put_value(val);
}

static void warn_empty(ph_str shown, ph_str key)
{
    ph_cmd_warn("table %.*s: key %.*s: empty string result is not allowed", PH_FMT(shown), PH_FMT(key));
    ph_cmd_warn("table %.*s should return NO RESULT in case of NOT FOUND", PH_FMT(shown));
}

/* -F: what is shown is the content of the files, which stands in tables that are built,
 * and is read where there are only names.  PH_FOUND; after a warning PH_NONE: no such file,
 * or 0: not what -F built. */
static int show_files(const struct postmap *p, const struct ph_table *t, struct ph_scope *s, ph_str key, ph_str *val)
{
    if (!p->files)
        return PH_FOUND;
    if (!(t->ops->is & PH_TABLE_INDEXED)) {
        if (postmap_read_files(s, *val, val) == 0)
            return PH_FOUND;
        ph_cmd_warn("table %.*s: key %.*s: %s: skipping this entry", PH_FMT(ph_table_shown(s, t)), PH_FMT(key), ph_error());
        return PH_NONE;
    }
    if (postmap_decode(s, *val, val))
        return PH_FOUND;
    ph_cmd_warn("table %.*s: key %.*s: malformed BASE64 value: %.*s", PH_FMT(ph_table_shown(s, t)), PH_FMT(key), PH_FMT(*val));
    return 0;
}

/* The first table that has it: PH_FOUND with *val, or PH_NONE.  A table is opened when
 * those before it do not have a key: what is wrong with one that is not needed is not said. */
static int ask(struct postmap *p, struct ph_table **tables, int count, ph_str key, struct ph_scope *s, ph_str *val)
{
    for (int i = 0; i < count; i++) {
        if (!tables[i])
            tables[i] = open_table(p, p->scope, p->names[i], 0);
        int rc = ph_table_lookup(tables[i], key, s, val);

        if (rc < 0)
            ph_cmd_fatal("table %.*s: query error: %s", PH_FMT(ph_table_shown(s, tables[i])), ph_error());
        if (rc != PH_FOUND || (rc = show_files(p, tables[i], s, key, val)) == PH_NONE)
            continue;
        if (!rc)
            ph_cmd_fatal("table %.*s: query error", PH_FMT(ph_table_shown(s, tables[i])));
        if (val->n == 0)
            warn_empty(ph_str_printf(s, "%.*s:%.*s", PH_FMT(tables[i]->type), PH_FMT(tables[i]->name)), key);
        return rc;
    }
    return PH_NONE;
}

/* Each line of standard input, or the one key: fn says 1 when it was there. */
static int each_key(struct postmap *p, int (*fn)(struct postmap *, struct ph_table **, int, ph_str, int), struct ph_table **tables, int count)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t n;
    int any = 0;

    if (strcmp(p->key, "-") != 0)
        return fn(p, tables, count, ph_cstr(p->key), 0);
    while ((n = getline(&line, &size, stdin)) >= 0) {
        if (n > 0 && line[n - 1] == '\n')
            line[--n] = 0;
        any |= fn(p, tables, count, ph_cstr(line), 1);         /* nothing stands behind a NUL */
    }
    free(line);
    return any;
}

static int query_one(struct postmap *p, struct ph_table **tables, int count, ph_str key, int from_stdin)
{
    struct ph_scope *s = p->step;
    ph_str val;

    ph_scope_reset(s);
    if (ask(p, tables, count, key, s, &val) != PH_FOUND)
        return 0;
    if (from_stdin || p->json)
        put_entry(p, key, val);
    else
        put_value(val);
    return 1;
}

static int remove_one(struct postmap *p, struct ph_table **tables, int count, ph_str key, int from_stdin PH_UNUSED)
{
    struct ph_scope *s = p->step;
    int any = 0;

    ph_scope_reset(s);
    for (int i = 0; i < count; i++) {
        int rc = ph_table_takes_key(tables[i], key) ? ph_table_remove(tables[i], postmap_key(p, s, key)) : PH_NONE;

        if (rc < 0)
            ph_cmd_fatal("%s", ph_error());
        any |= rc == PH_FOUND;
    }
    return any;
}

static int query_part(struct postmap *p, ph_str key)
{
    return query_one(p, p->tables, p->table_count, key, 1);
}

static int query(struct postmap *p, char **names, int count)
{
    p->tables = ph_alloc_array(p->scope, (size_t)count, sizeof *p->tables);
    p->table_count = count;
    p->names = names;
    if (p->headers || p->body)
        return postmap_message(p, query_part);
    return each_key(p, query_one, p->tables, count);
}

/* Only what is built has keys that can go.  The words have always told two kinds: what
 * cannot be opened for writing at all, and what can, but forgets nothing. */
static void check_removes(struct postmap *p, const char *name)
{
    PH_SCOPED(s, p->scope);
    ph_str type = postmap_type(p, s, name);
    const struct ph_plugin *desc;
    int writable = ph_str_eq(type, PH_STR("static"));

    if (!postmap_path(name)[0] || ph_plugin_exists(PH_KIND_TABLE, type) != PH_FOUND || ph_plugin_find(PH_KIND_TABLE, type, &desc) < 0 ||
        ((const struct ph_table_plugin *)(const void *)desc)->remove)
        open_table(p, s, name, 0);     /* says what is wrong with it */
    else if (writable)
        ph_cmd_fatal("table %.*s:%s: delete operation is not supported", PH_FMT(type), postmap_path(name));
    else
        ph_cmd_fatal("%.*s:%s map requires O_RDONLY access mode", PH_FMT(type), postmap_path(name));
}

static void commit_as(const struct postmap *p, const char *path, struct ph_table *t, const struct stat *owner)
{
    if (owner->st_uid != 0)        /* of root's it was said already */
        postmap_become(p, "table", path, owner);
    if (ph_table_commit(t) < 0)
        ph_cmd_fatal("%s", ph_error());
    postmap_become_self();
}

static int delete_keys(struct postmap *p, char **names, int count)
{
    struct ph_table **tables = ph_alloc_array(p->scope, (size_t)count, sizeof *tables);
    struct stat *owners = ph_alloc_array(p->scope, (size_t)count, sizeof *owners);

    for (int i = 0; i < count; i++)
        check_removes(p, names[i]);
    for (int i = 0; i < count; i++) {
        postmap_find_owner(p, names[i], &owners[i]);
        postmap_become(p, "table", postmap_path(names[i]), &owners[i]);
        tables[i] = open_table(p, p->scope, names[i], PH_TABLE_WRITE | PH_TABLE_CREATE);
        postmap_become_self();
    }
    int any = each_key(p, remove_one, tables, count);

    for (int i = 0; any && i < count; i++)
        commit_as(p, postmap_path(names[i]), tables[i], &owners[i]);
    return any;
}

/* The first table only, in the order it is stored in. */
static void list(struct postmap *p, const char *name)
{
    struct ph_table *t = open_table(p, p->scope, name, 0);
    PH_SCOPED(s, p->scope);
    ph_str key, val, shown = ph_str_printf(p->scope, "%.*s:%.*s", PH_FMT(t->type), PH_FMT(t->name));
    int rc = ph_table_next(t, 1, s, &key, &val);

    for (; rc == PH_FOUND; rc = ph_table_next(t, 0, s, &key, &val)) {
        if (key.n == 0)
            ph_cmd_warn("table %.*s: empty lookup key value is not allowed", PH_FMT(shown));
        if (show_files(p, t, s, key, &val) != PH_FOUND)
            continue;
        if (val.n == 0)
            warn_empty(shown, key);
        put_entry(p, key, val);
        ph_scope_reset(s);
    }
    if (rc < 0)
        ph_cmd_fatal("%s", ph_error());
}

static void take_mode(struct postmap *p, int mode, const char *key)
{
    if (mode == 'i' && p->mode)    /* the others win */
        return;
    if (p->key || (key && p->mode == 's'))
        ph_cmd_fatal("specify only one of -s %s-q or -d", mode == 's' ? "or " : "");
    p->mode = mode;
    p->key = key;
}

static void take_option(struct postmap *p, int c)
{
    switch (c) {
    case 'N': p->nul = PH_TABLE_WITH_NUL; break;
    case 'n': p->nul = PH_TABLE_NO_NUL; break;
    case 'c': p->dir = optarg; break;
    case 'd': case 'q': take_mode(p, c, optarg); break;
    case 'i': case 's': take_mode(p, c, NULL); break;
    case 'f': p->no_fold = 1; break;
    case 'o': p->keep_root = 1; break;
    case 'p': p->open_mode = 1; break;
    case 'w': p->quiet = 1; p->replace = 0; break;     /* of the two the last one counts */
    case 'r': p->replace = 1; p->quiet = 0; break;
    case 'u': p->any_bytes = 1; break;
    case 'j': p->json = 1; break;
    case 'v': break;
    case 'b': p->body = 1; break;
    case 'h': p->headers = 1; break;
    case 'm': p->mime = 1; break;
    case 'F': p->files = 1; break;
    case 'U': p->check_bytes = 1; break;
    default: usage(p);
    }
}

/* -b -h -m are about a message on standard input. */
static void check_parts(struct postmap *p)
{
    int message = p->body || p->headers;

    if ((message || p->mime) && (p->mode != 'q' || strcmp(p->key, "-") != 0))
        ph_cmd_fatal("specify -b -h or -m only with \"-q -\"");
    if (p->mime && !message)
        ph_cmd_warn("ignoring -m option without -b or -h");
    if (message && !p->check_bytes)
        p->any_bytes = 1;
}

/* smtputf8_enable = no: bytes are bytes, for every line and key. */
static void load_conf(struct postmap *p)
{
    int utf8 = 1;

    p->conf = ph_cmd_conf(p->scope, p->dir);
    if (ph_registry_open(p->conf) < 0 || ph_conf_get_bool(p->conf, "smtputf8_enable", &utf8) < 0)
        ph_cmd_fatal("%s", ph_error());
    p->any_bytes |= !utf8;
}

/* The exit status. */
static int run(struct postmap *p, char **names, int count)
{
    int status = 0;

    switch (p->mode) {
    case 'q': status = !query(p, names, count); break;
    case 'd': status = !delete_keys(p, names, count); break;
    case 's': list(p, names[0]); break;
    default:
        for (int i = 0; i < count; i++)
            postmap_build(p, names[i]);
    }
    return status;
}

int main(int argc, char **argv)
{
    struct postmap p = { 0 };
    int c;

    ph_cmd_start(argv[0]);
    argv[0] = (char *)(uintptr_t)ph_cmd_name();    /* getopt's messages begin with it */
    p.is_alias = strcmp(ph_cmd_name(), "postalias") == 0;
    while ((c = getopt(argc, argv, p.is_alias ? "+Nc:d:fijnopq:rsuvw" : "+FNUbc:d:fhijmnopq:rsuvw")) != -1)
        take_option(&p, c);
    check_parts(&p);
    if (optind >= argc)
        usage(&p);
    if (p.json && p.mode != 'q' && p.mode != 's')
        ph_cmd_fatal("option -j goes with -q or -s");
    setvbuf(stdin, NULL, _IOFBF, STDIO_BYTES);
    setvbuf(stdout, NULL, _IOFBF, STDIO_BYTES);
    p.scope = all = ph_scope_new(NULL);
    ph_cmd_before_fatal(free_all);
    p.step = ph_scope_new(p.scope);
    load_conf(&p);
    int status = run(&p, argv + optind, argc - optind);
    ph_cmd_before_fatal(NULL);
    ph_scope_free(p.scope);
    if (fflush(stdout) != 0 && errno != EPIPE)
        ph_cmd_fatal("output write error: %s", strerror(errno));
    return status;
}
