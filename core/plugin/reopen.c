/* reopen: directories whose files stay readable behind the seal, because a table
 * there is rebuilt while we run: another file then, which no descriptor that was
 * opened before leads to; and Landlock judges a file by where it lies, also when it
 * is opened through the descriptor of its directory. */
#include <stdlib.h>
#include <string.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include <posthorn/source.h>
#include "core/plugin/reopen.h"

static char *later[PH_REOPEN_DIRS];
static size_t later_count;
/* What the seal will keep from us, one of each kind; said when there is a seal: a command has none. */
static char *at_root, *one_too_many;

/* Takes over `text`. */
static void note(char **what, char *text)
{
    free(*what);
    *what = text;
}

/* Takes over `dir`. */
static void remember(char *dir)
{
    for (size_t i = 0; i < later_count; i++)
        if (strcmp(later[i], dir) == 0) {
            free(dir);
            return;
        }
    if (later_count < PH_REOPEN_DIRS) {
        later[later_count++] = dir;
        return;
    }
    note(&one_too_many, dir);
}

/* Takes over `path`, or NULL: its directory. */
static void add_dir(char *path)
{
    char *slash = path ? strrchr(path, '/') : NULL;

    if (!slash || slash == path) {             /* all files there are: that is no seal any more */
        if (slash)
            note(&at_root, path);
        else
            free(path);
        return;
    }
    *slash = 0;
    remember(path);
}

void ph_reopen_later(const char *path)
{
    if (path[0] != '/')
        return;
    char *copy = strdup(path);
    if (!copy)
        ph_die("out of memory");
    add_dir(copy);
    add_dir(realpath(path, NULL));             /* a link: Landlock looks at where it leads */
}

int ph_table_source(struct ph_table *t, ph_str name, struct ph_source *src)
{
    const char *path = ph_cstr_dup(t->scope, name);

    ph_reopen_later(path);
    return ph_source_open(t->scope, path, src);
}

size_t ph_reopen_dirs(const char *const **dirs)
{
    if (at_root)
        ph_log_warn("%s lies in the root directory: it is not read again before a reload", at_root);
    if (one_too_many)
        ph_log_warn("tables lie in more than %d directories: those in %s are not read again before a reload", PH_REOPEN_DIRS, one_too_many);
    note(&at_root, NULL);
    note(&one_too_many, NULL);
    *dirs = (const char *const *)later;
    return later_count;
}
