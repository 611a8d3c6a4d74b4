/* t/unit/why.c: what tables and lists tell to whoever asks why: which table, which key,
 * which file and line.  The tables are the built plugins.
 * Run alone: make t/unit/why.t && prove -v t/unit/why.t */
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/log.h>
#include <posthorn/lookup.h>
#include "core/conf/conf.h"
#include "core/plugin/registry.h"
#include "core/plugin/tables.h"
#include "core/run/loop.h"
#include "core/run/why.h"
#include "t/unit/tap.h"

static struct ph_scope *scope;
static struct ph_conf *conf;
static char dir[] = "/tmp/posthorn-why-XXXXXX";
static struct ph_buf heard;

static const char *path_of(const char *name)
{
    return ph_str_printf(scope, "%s/%s", dir, name).p;
}

static void put_text(const char *name, const char *text)
{
    FILE *f = fopen(path_of(name), "w");

    if (!f || fputs(text, f) < 0 || fclose(f) != 0)
        ph_die("%s", name);
}

/* 1 when it is built. */
static int install(const char *folder, const char *name)
{
    char real[PATH_MAX];

    if (!realpath(ph_str_printf(scope, "%s/plugins/table/%s/.libs/table_%s.so", build_dir(), folder, name).p, real))
        return 0;
    put_text(ph_str_printf(scope, "plugins.d/%s.yaml", name).p,
             ph_str_printf(scope, "format: 1\nkind: table\nname: %s\nobject: %s\n", name, real).p);
    return 1;
}

/* With the directory as @. */
static ph_str placed(ph_str text)
{
    struct ph_buf b;

    ph_buf_init(&b, scope, 65536);
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] == '@' && i + 1 < text.n && text.p[i + 1] == '/')
            ph_buf_puts(&b, dir);
        else
            ph_buf_putc(&b, text.p[i]);
    return ph_buf_view(&b);
}

static void put_shown(const char *name, ph_str v)
{
    ptrdiff_t at;

    if (v.n == 0)
        return;
    ph_buf_printf(&heard, " %s=", name);
    while ((at = ph_str_search(v, ph_cstr(dir))) >= 0) {
        ph_buf_str(&heard, ph_str_first(v, (size_t)at));
        ph_buf_putc(&heard, '@');
        v = ph_str_from(v, (size_t)at + strlen(dir));
    }
    ph_buf_str(&heard, v);
}

static void hear(struct ph_why_sink *w PH_UNUSED, const struct ph_why_step *s)
{
    static const char *const kinds[] = { "?", "lookup", "match", "rule", "note", "log" };

    ph_buf_printf(&heard, "%s%s%s", kinds[s->kind], s->depth ? "+" : "", s->answer == PH_FOUND ? " yes" : s->answer < 0 ? " fail" : s->answer ? " no" : "");
    put_shown("what", ph_cstr(s->what ? s->what : ""));
    put_shown("table", s->table);
    put_shown("key", s->key);
    put_shown("value", s->value);
    put_shown("at", s->file);
    if (s->line)
        ph_buf_printf(&heard, ":%u", s->line);
    put_shown("remark", s->remark);
    ph_buf_putc(&heard, '\n');
}

static struct ph_why_sink sink = { .put = hear };

/* What is told of one question in maps. */
static ph_str ask(const char *list, const char *key)
{
    struct ph_maps *m;
    ph_str val;

    ph_buf_reset(&heard);
    if (ph_maps_open(conf, scope, "test_maps", placed(ph_cstr(list)), PH_MAPS_FOLD, &m) < 0)
        ph_die("%s", ph_error());
    struct ph_why_sink *old = ph_why_to(&sink);
    ph_maps_find(m, ph_cstr(key), scope, &val);
    ph_why_to(old);
    return ph_buf_view(&heard);
}

static ph_str match(const char *list, const char *name, const char *address)
{
    struct ph_match *m;

    ph_buf_reset(&heard);
    if (ph_match_open(conf, scope, "test_list", placed(ph_cstr(list)), PH_MATCH_DOMAIN | PH_MATCH_ADDRESS, &m) < 0)
        ph_die("%s", ph_error());
    ph_why_to(&sink);
    ph_match(m, ph_cstr(name), ph_cstr(address));
    ph_why_to(NULL);
    return ph_buf_view(&heard);
}

static void test_tables(void)
{
    static const struct { const char *name, *list, *key, *want; } cases[] = {
        { "a table that has it", "inline:{a=b}", "A", "lookup yes what=test_maps table=inline:{a=b} key=a value=b\n" },
        { "tables in turn", "inline:{a=b}, static:x", "c",
          "lookup no what=test_maps table=inline:{a=b} key=c\nlookup yes what=test_maps table=static:x key=c value=x\n" },
        { "one that fails says why", "fail:x", "c", "lookup fail what=test_maps table=fail:x key=c value=table fail:x: lookup of \"c\": fail:x always fails\n" },
        { "texthash knows the line", "texthash:@/text", "Joe", "lookup yes what=test_maps table=texthash:@/text key=joe value=two at=@/text:4\n" },
        { "regexp too", "regexp:@/patterns", "Joe", "lookup yes what=test_maps table=regexp:@/patterns key=Joe value=third at=@/patterns:4\n" },
        { "a rule in the name has a number", "regexp:{ {/x/ a}, {/joe/ b} }", "joe",
          "lookup yes what=test_maps table=regexp:{ {/x/ a}, {/joe/ b} } key=joe value=b remark=rule 2\n" },
        { "cidr too", "cidr:@/nets", "10.2.3.4", "lookup yes what=test_maps table=cidr:@/nets key=10.2.3.4 value=ten at=@/nets:3\n" },
        { "tables within a table", "unionmap:{static:x, inline:{a=y}}", "a",
          "lookup+ yes table=static:x key=a value=x\nlookup+ yes table=inline:{a=y} key=a value=y\n"
          "lookup yes what=test_maps table=unionmap:{static:x, inline:{a=y}} key=a value=x,y\n" },
    };

    put_text("text", "# comment\nann one\n\nJoe\n  two\n");
    put_text("patterns", "# comment\n/ann/ first\n!/o/ second\n/^j/ third\n");
    put_text("nets", "192.0.2.0/24 doc\n\n10.0.0.0/8 ten\n");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        is_bytes(ask(cases[i].list, cases[i].key), cases[i].want, "%s", cases[i].name);
}

static void test_lists(void)
{
    static const struct { const char *name, *list, *host, *address, *want; } cases[] = {
        { "the item that matched", "a.test, .b.test", "x.b.test", "", "match yes what=test_list table=.b.test key=x.b.test\n" },
        { "none did", "a.test", "c.test", "", "match no what=test_list key=c.test\n" },
        { "an item that says no", "!a.test, a.test", "a.test", "", "match no what=test_list table=!a.test key=a.test\n" },
        { "a network", "10.0.0.0/8", "", "10.1.2.3", "match yes what=test_list table=10.0.0.0/8 key=10.1.2.3\n" },
        { "name and address", "10.0.0.0/8", "h.test", "10.1.2.3", "match yes what=test_list table=10.0.0.0/8 key=h.test [10.1.2.3]\n" },
        { "an item of a file", "x.test @/list", "file.test", "", "match yes what=test_list table=file.test key=file.test at=@/list:3\n" },
        { "of a file within it", "@/list", "deep.test", "", "match yes what=test_list table=deep.test key=deep.test at=@/inner:2\n" },
        { "and of the rest of it", "@/list", "after.test", "", "match yes what=test_list table=after.test key=after.test at=@/list:5\n" },
        { "a table", "inline:{a.test=x}", "a.test", "",
          "lookup yes what=test_list table=inline:{a.test=x} key=a.test value=x\nmatch yes what=test_list table=inline:{a.test=x} key=a.test\n" },
        { "an empty list", "", "a.test", "", "match no what=test_list key=a.test\n" },
        { "one that fails", "fail:x", "a.test", "",
          "lookup fail what=test_list table=fail:x key=a.test value=table fail:x: lookup of \"a.test\": fail:x always fails\n"
          "match fail what=test_list table=fail:x key=a.test value=test_list: table fail:x: lookup of \"a.test\": fail:x always fails\n" },
    };

    put_text("list", ph_str_printf(scope, "# comment\n\nfile.test\n%s/inner\nafter.test\n", dir).p);
    put_text("inner", "\ndeep.test\n");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        is_bytes(match(cases[i].list, cases[i].host, cases[i].address), cases[i].want, "%s", cases[i].name);
}

/* Build NAME of this type as postmap would; the source is what the caller wrote. */
static void build(const char *type, const char *name, const char *key, const char *value)
{
    struct ph_table *t;
    ph_str text = ph_str_printf(scope, "%s:%s", type, path_of(name));

    if (ph_table_open(conf, scope, text, PH_TABLE_CREATE | PH_TABLE_FOLD, &t) < 0 || ph_table_update(t, ph_cstr(key), ph_cstr(value)) < 0 || ph_table_commit(t) < 0)
        ph_die("%s", ph_error());
}

/* The source gets a time that is so many seconds after the one of its index. */
static void make_older(const char *index, const char *source, int seconds)
{
    struct stat st;

    if (stat(path_of(index), &st) < 0)
        ph_die("%s", index);
    st.st_mtim.tv_sec += seconds;
    if (utimensat(AT_FDCWD, path_of(source), (const struct timespec[]){ st.st_mtim, st.st_mtim }, 0) < 0)
        ph_die("%s", source);
}

static void test_index(const char *type, const char *suffix)
{
    const char *index = ph_str_printf(scope, "src%s", suffix).p, *list = ph_str_printf(scope, "%s:@/src", type).p;
    const char *first = ph_str_printf(scope, "lookup yes what=test_maps table=%s:@/src key=joe value=two at=@/src", type).p;

    put_text("src", "ann one\n# comment\nJOE two\njoe three\n");
    build(type, "src", "joe", "two");
    make_older(index, "src", -10);
    is_bytes(ask(list, "Joe"), ph_str_printf(scope, "%s:3\n", first).p, "%s: the line of the source", type);
    make_older(index, "src", 10);
    is_bytes(ask(list, "Joe"), ph_str_printf(scope, "%s:3 remark=the source is newer than the index\n", first).p, "%s: a newer source", type);
    put_text("src", "joe: two\n");
    make_older(index, "src", -10);
    is_bytes(ask(list, "Joe"), ph_str_printf(scope, "%s:1\n", first).p, "%s: a line of an alias file", type);
    put_text("src", "\nJoe 2\n");
    make_older(index, "src", 10);
    is_bytes(ask(list, "Joe"), ph_str_printf(scope, "%s:2 remark=the source has another value and is newer than the index\n", first).p,
             "%s: another value", type);
    put_text("src", "ann one\n");
    make_older(index, "src", -10);
    is_bytes(ask(list, "Joe"), ph_str_printf(scope, "%s%s remark=@/src does not have the key\n", first, suffix).p, "%s: a key that is not there", type);
    sink.no_lines = 1;
    is_bytes(ask(list, "Joe"), ph_str_printf(scope, "lookup yes what=test_maps table=%s:@/src key=joe value=two\n", type).p, "%s: without lines", type);
    sink.no_lines = 0;
    unlink(path_of("src"));
    is_bytes(ask(list, "Joe"),
             ph_str_printf(scope, "%s%s remark=its source cannot be read: open @/src: No such file or directory\n", first, suffix).p, "%s: no source", type);
}

static int evaluated;

static const char *touch(void)
{
    evaluated++;
    return "x";
}

static void test_notes(void)
{
    ph_buf_reset(&heard);
    ph_why("relayhost", "next hop %s", touch());
    is_int(evaluated, 0, "when nobody asks the arguments are not evaluated");
    ph_why_to(&sink);
    ph_why("relayhost", "next hop %s", touch());
    is_int(evaluated, 1, "else once");
    ph_why_put(&(struct ph_why_step){ .size = sizeof(struct ph_why_step), .kind = PH_WHY_RULE, .what = "list", .table = PH_STR("reject"), .value = PH_STR("554") });
    ph_why_to(NULL);
    is_bytes(ph_buf_view(&heard), "note what=relayhost value=next hop x\nrule what=list table=reject value=554\n", "a note and a rule are heard");
    ph_buf_reset(&heard);
    ph_why_to(&sink);
    ph_log("connect from %s", "x");
    ph_log_warn("odd");
    ph_why_to(NULL);
    is_bytes(ph_buf_view(&heard), "log value=connect from x\nlog value=odd remark=warning: \n", "lines for the log are heard");
    ph_fail(PH_TEMP, "before");
    ask("inline:{a=b}", "a");
    is_bytes(ph_cstr(ph_error()), "before", "telling leaves the error of the task as it was");
}

static void child(void *arg PH_UNUSED)
{
    ph_why("child", "here");
}

static int in_tasks(void *arg PH_UNUSED)
{
    struct ph_group *g = ph_group_new(scope);

    ph_buf_reset(&heard);
    ph_spawn(g, "not heard", child, NULL);
    ph_why_to(&sink);
    ph_spawn(g, "heard", child, NULL);
    ph_group_wait(g, PH_FOREVER);
    is_bytes(ph_buf_view(&heard), "note what=child value=here\n", "tasks that are started then are heard, and no others");
    is_bytes(ask("regexp:@/patterns", "jim"), "lookup yes what=test_maps table=regexp:@/patterns key=jim value=second at=@/patterns:3\n",
             "a table that runs on the large stack");
    ph_why_to(NULL);
    return 0;
}

int main(void)
{
    umask(022);
    scope = ph_scope_new(NULL);
    ph_buf_init(&heard, scope, 1u << 16);
    if (!mkdtemp(dir) || mkdir(path_of("plugins.d"), 0700) < 0 || ph_conf_parse(scope, dir, "main.cf", PH_STR(""), &conf) < 0)
        ph_die("%s", dir);
    int all = install("inline", "inline") && install("static", "static") && install("cidr", "cidr") && install("fail", "fail") &&
              install("pattern", "regexp") && install("texthash", "texthash") && install("combined", "unionmap") && install("hash", "hash") &&
              install("hash", "btree"), lmdb = install("lmdb", "lmdb"), cdb = install("cdb", "cdb");
    ok(all, "the plugins are built");
    ph_registry_data_dir(dir);
    if (ph_registry_open(conf) < 0)
        ph_die("%s", ph_error());
    test_tables();
    test_lists();
    test_index("hash", ".db");
    test_index("btree", ".db");
    if (lmdb)
        test_index("lmdb", ".lmdb");
    if (cdb)
        test_index("cdb", ".cdb");
    test_notes();
    is_int(ph_run_main(in_tasks, NULL), 0, "a loop");
    const char *clean = ph_str_printf(scope, "rm -rf %s", dir).p;
    if (system(clean) != 0)
        printf("# left behind: %s\n", dir);
    ph_scope_free(scope);
    return done_testing();
}
