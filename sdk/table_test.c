/* posthorn-table-test: runs a table plugin as the core would, by a script.
 *
 *     posthorn-table-test [-o name=value] [-p OTHER.so]... OBJECT.so SCRIPT
 *
 * For in-tree tables and for yours.  The object is loaded with all the checks of
 * the real loader; others (-p) are there for tables that stand on them.  Lines of the script ($dir is a fresh directory; what follows
 * "--" is the answer expected; # begins a comment line):
 *
 *     file NAME              the lines up to a single "." become $dir/NAME
 *     open TYPE:NAME [-- fold secure write create nofold no_nul with_nul keep]
 *     refused TYPE:NAME -- words of the error   (flags of the last open count)
 *     warned words           a warning said so since the last open
 *     quiet                  no warning did
 *     found KEY -- VALUE     none KEY     fails KEY -- words
 *     comes KEY -- VALUE     like found, but waits for it: a table read again
 *     within MS              the look-ups below have so much time each
 *     kept KEY -- VALUE      (a put under keep: there is one already)
 *     unwritten KEY -- words (a put that fails)
 *     put KEY -- VALUE       remove KEY   missing KEY (remove says: not there)
 *     next KEY -- VALUE      end          walking, in the table's order
 *     has N                  the walk gives N entries
 *     commit
 *     swap                   the table opened last and the one before change places
 *
 * Output is TAP. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <posthorn/buf.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include <posthorn/task.h>
#include "core/conf/conf.h"
#include "core/plugin/registry.h"
#include "core/plugin/tables.h"

static struct ph_scope *scope;
static struct ph_conf *conf;
static struct ph_table *table, *kept;
static struct ph_buf warnings;
static char dir[64];
static uint32_t last_flags;
static uint64_t within_ms;
static int tests, bad, started, kept_started, line_number;
static const char *script_name;

/* In place of the core's: what the plugin says is looked at by the script. */
static void note(const char *fmt, va_list ap) PH_PRINTF(1, 0);
static void note(const char *fmt, va_list ap)
{
    ph_buf_str(&warnings, ph_str_vprintf(scope, fmt, ap));
    ph_buf_putc(&warnings, '\n');
}

void ph_log_warn(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    note(fmt, ap);
    va_end(ap);
}

void ph_log(const char *fmt PH_UNUSED, ...)
{
}

static void say(int good, ph_str what, const char *got)
{
    tests++;
    bad += !good;
    printf("%sok %d - %s:%d: %.*s\n", good ? "" : "not ", tests, script_name, line_number, PH_FMT(what));
    if (!good)
        printf("#  got: %s\n", got);
}

static const char *answer(int rc, ph_str val)
{
    return rc == PH_FOUND ? ph_str_printf(scope, "found \"%.*s\"", PH_FMT(val)).p
           : rc == PH_NONE ? "none" : rc < 0 ? ph_str_printf(scope, "%d %s", rc, ph_error()).p
           : ph_str_printf(scope, "the answer %d, which is none", rc).p;
}

/* $dir in text. */
static ph_str fill_in(ph_str text)
{
    struct ph_buf b;
    ptrdiff_t at;

    ph_buf_init(&b, scope, 65536);
    while ((at = ph_str_search(text, PH_STR("$dir"))) >= 0) {
        ph_buf_str(&b, ph_str_first(text, (size_t)at));
        ph_buf_puts(&b, dir);
        text = ph_str_from(text, (size_t)at + 4);
    }
    ph_buf_str(&b, text);
    return ph_buf_view(&b);
}

static void do_open(ph_str name, ph_str words, int refused)
{
    static const struct { const char *word; uint32_t flag; } known[] = {
        { "fold", PH_TABLE_FOLD }, { "secure", PH_TABLE_SECURE }, { "write", PH_TABLE_WRITE }, { "create", PH_TABLE_CREATE }, { "no_nul", PH_TABLE_NO_NUL },
        { "with_nul", PH_TABLE_WITH_NUL }, { "keep", PH_TABLE_KEEP },
    };
    ph_str word, all = words;

    if (!refused)
        last_flags = PH_TABLE_FOLD;
    while (!refused && (word = ph_str_word(&words)).n) {
        if (ph_str_eq(word, PH_STR("nofold")))
            last_flags &= ~PH_TABLE_FOLD;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            if (ph_str_eq(word, ph_cstr(known[i].word)))
                last_flags |= known[i].flag;
    }
    warnings.n = 0;
    kept_started = started;
    started = 0;
    kept = table;
    int rc = ph_table_open(conf, scope, name, last_flags, &table);
    if (refused)
        say(rc < 0 && ph_str_search(ph_cstr(ph_error()), all) >= 0, ph_str_printf(scope, "%.*s is refused: %.*s", PH_FMT(name), PH_FMT(all)), answer(rc, PH_STR("")));
    else
        say(rc == 0, ph_str_printf(scope, "open %.*s", PH_FMT(name)), answer(rc, PH_STR("")));
    if (rc < 0 && !refused)
        exit(1);
}

static void do_lookup(ph_str verb, ph_str key, ph_str want)
{
    struct ph_scope *out = ph_scope_new(scope);
    ph_str val = PH_STR(""), what = ph_str_printf(scope, "%.*s %.*s -- %.*s", PH_FMT(verb), PH_FMT(key), PH_FMT(want));
    int64_t before = ph_deadline_set(within_ms ? ph_in_ms((int64_t)within_ms) : PH_FOREVER);
    int rc = ph_table_lookup(table, key, out, &val), good;

    ph_deadline_set(before);
    for (int i = 0; i < 500 && ph_str_eq(verb, PH_STR("comes")) && !(rc == PH_FOUND && ph_str_eq(val, want)); i++) {
        nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
        rc = ph_table_lookup(table, key, out, &val);
    }
    if (ph_str_eq(verb, PH_STR("none")))
        good = rc == PH_NONE;
    else if (ph_str_eq(verb, PH_STR("fails")))
        good = rc < 0 && ph_str_search(ph_cstr(ph_error()), want) >= 0;
    else
        good = rc == PH_FOUND && ph_str_eq(val, want);
    say(good, what, answer(rc, val));
    ph_scope_free(out);
}

static void do_write(ph_str verb, ph_str key, ph_str val)
{
    ph_str what = ph_str_printf(scope, "%.*s %.*s", PH_FMT(verb), PH_FMT(key));
    int put = !ph_str_eq(verb, PH_STR("remove")) && !ph_str_eq(verb, PH_STR("missing")), rc = put ? ph_table_update(table, key, val) : ph_table_remove(table, key);

    if (ph_str_eq(verb, PH_STR("unwritten")))
        say(rc < 0 && ph_str_search(ph_cstr(ph_error()), val) >= 0, what, answer(rc, PH_STR("")));
    else
        say(rc == (ph_str_eq(verb, PH_STR("missing")) || ph_str_eq(verb, PH_STR("kept")) ? PH_NONE : PH_FOUND), what, answer(rc, PH_STR("")));
}

static void do_walk(ph_str verb, ph_str key, ph_str want)
{
    ph_str k, v;
    uint64_t n = 0, count = 0;
    int rc;

    if (ph_str_eq(verb, PH_STR("has"))) {
        ph_str_u64(key, &n);
        for (rc = ph_table_next(table, 1, scope, &k, &v); rc == PH_FOUND; count++)
            rc = ph_table_next(table, 0, scope, &k, &v);
        say(rc == PH_NONE && count == n, ph_str_printf(scope, "the walk gives %.*s entries", PH_FMT(key)), ph_str_printf(scope, "%d", (int)count).p);
        started = 0;
        return;
    }
    rc = ph_table_next(table, !started, scope, &k, &v);
    started = rc == PH_FOUND;      /* behind the end: anew */
    if (ph_str_eq(verb, PH_STR("end")))
        say(rc == PH_NONE, PH_STR("the walk ends"), answer(rc, rc == PH_FOUND ? k : PH_STR("")));
    else
        say(rc == PH_FOUND && ph_str_eq(k, key) && ph_str_eq(v, want), ph_str_printf(scope, "next %.*s", PH_FMT(key)), answer(rc, rc == PH_FOUND ? k : PH_STR("")));
}

static void do_file(ph_str name, ph_str *rest)
{
    const char *path = ph_str_printf(scope, "%s/%.*s", dir, PH_FMT(name)).p;
    FILE *f = fopen(path, "w");

    while (f && rest->n) {
        ph_str line = ph_str_cut(rest, '\n');

        line_number++;
        if (ph_str_eq(line, PH_STR(".")))
            break;
        fprintf(f, "%.*s\n", PH_FMT(line));
    }
    if (!f || fclose(f) != 0)
        ph_die("%s: %s", path, strerror(errno));
}

static void do_line(ph_str line, ph_str *rest)
{
    ph_str verb = ph_str_word(&line), arg, want = PH_STR("");
    ptrdiff_t at = ph_str_search(line, PH_STR("--"));

    arg = at < 0 ? line : ph_str_first(line, (size_t)at);
    if (at >= 0)
        want = fill_in(ph_str_trim(ph_str_from(line, (size_t)at + 2)));
    arg = fill_in(ph_str_trim(arg));
    if (ph_str_eq(verb, PH_STR("file")))
        do_file(arg, rest);
    else if (ph_str_eq(verb, PH_STR("open")) || ph_str_eq(verb, PH_STR("refused")))
        do_open(arg, want, verb.p[0] == 'r');
    else if (ph_str_eq(verb, PH_STR("warned")))
        say(ph_str_search(ph_buf_view(&warnings), arg) >= 0, ph_str_printf(scope, "a warning says: %.*s", PH_FMT(arg)), warnings.n ? warnings.p : "");
    else if (ph_str_eq(verb, PH_STR("quiet")))
        say(warnings.n == 0, PH_STR("no warning"), warnings.n ? warnings.p : "");
    else if (ph_str_eq(verb, PH_STR("within")))
        ph_str_u64(arg, &within_ms);
    else if (!table)
        ph_die("%s:%d: no table is open", script_name, line_number);
    else if (ph_str_eq(verb, PH_STR("swap"))) {
        struct ph_table *was = table;
        int had_started = started;

        table = kept;
        kept = was;
        started = kept_started;
        kept_started = had_started;
    } else if (ph_str_eq(verb, PH_STR("found")) || ph_str_eq(verb, PH_STR("none")) || ph_str_eq(verb, PH_STR("fails")) || ph_str_eq(verb, PH_STR("comes")))
        do_lookup(verb, arg, want);
    else if (ph_str_eq(verb, PH_STR("put")) || ph_str_eq(verb, PH_STR("kept")) || ph_str_eq(verb, PH_STR("unwritten")) || ph_str_eq(verb, PH_STR("remove")) || ph_str_eq(verb, PH_STR("missing")))
        do_write(verb, arg, want);
    else if (ph_str_eq(verb, PH_STR("next")) || ph_str_eq(verb, PH_STR("end")) || ph_str_eq(verb, PH_STR("has")))
        do_walk(verb, arg, want);
    else if (ph_str_eq(verb, PH_STR("commit")))
        say(ph_table_commit(table) == 0, PH_STR("commit"), ph_error());
    else
        ph_die("%s:%d: no such command: %.*s", script_name, line_number, PH_FMT(verb));
}

static ph_str read_script(const char *path)
{
    struct ph_buf b;
    FILE *f = fopen(path, "r");
    char piece[4096];
    size_t n;

    if (!f)
        ph_die("%s: %s", path, strerror(errno));
    ph_buf_init(&b, scope, 1 << 20);
    while ((n = fread(piece, 1, sizeof piece, f)) > 0)
        ph_buf_put(&b, piece, n);
    fclose(f);
    return ph_buf_view(&b);
}

/* A manifest for the object, so that the real loader finds it. */
static void install(const char *object)
{
    char real[4096];
    const char *base, *dot;

    if (!realpath(object, real))
        ph_die("%s: %s", object, strerror(errno));
    base = strrchr(real, '/') + 1;
    dot = strrchr(base, '.');
    if (strncmp(base, "table_", 6) != 0 || !dot)
        ph_die("%s: the object of a table is called table_NAME.so", object);
    mkdir(ph_str_printf(scope, "%s/plugins.d", dir).p, 0700);
    FILE *f = fopen(ph_str_printf(scope, "%s/plugins.d/%.*s.yaml", dir, (int)(dot - base), base).p, "w");
    if (!f || fprintf(f, "format: 1\nkind: table\nname: %.*s\nobject: %s\n", (int)(dot - base - 6), base + 6, real) < 0 || fclose(f) != 0)
        ph_die("%s: %s", dir, strerror(errno));
}

int main(int argc, char **argv)
{
    ph_str rest, line;
    int c;

    umask(022);
    scope = ph_scope_new(NULL);
    ph_buf_init(&warnings, NULL, 1 << 20);
    strcpy(dir, "/tmp/posthorn-table-XXXXXX");
    if (!mkdtemp(dir) || ph_conf_parse(scope, dir, "main.cf", PH_STR("compatibility_level = 3.11\n"), &conf) < 0)
        ph_die("%s: %s", dir, strerror(errno));
    while ((c = getopt(argc, argv, "o:p:")) == 'o' || c == 'p')
        if (c == 'p')
            install(optarg);
        else if (ph_conf_override(conf, optarg) < 0)
            ph_die("%s", ph_error());
    if (c != -1 || argc - optind != 2)
        ph_die("usage: posthorn-table-test [-o name=value] [-p OTHER.so]... OBJECT.so SCRIPT");
    install(argv[optind]);
    ph_registry_data_dir(dir);
    if (ph_registry_open(conf) < 0)
        ph_die("%s", ph_error());
    script_name = strrchr(argv[optind + 1], '/') ? strrchr(argv[optind + 1], '/') + 1 : argv[optind + 1];
    for (rest = read_script(argv[optind + 1]); rest.n; ) {
        line = ph_str_trim(ph_str_cut(&rest, '\n'));
        line_number++;
        if (line.n && line.p[0] != '#')
            do_line(line, &rest);
    }
    printf("1..%d\n", tests);
    const char *clean = ph_str_printf(scope, "rm -rf %s", dir).p;
    int left = system(clean);
    ph_scope_free(scope);
    ph_buf_fini(&warnings);
    return bad || left ? 1 : 0;
}
