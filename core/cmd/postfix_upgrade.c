/* postfix upgrade-configuration [name=value ...]: makes missing directories, and adds to
 * master.yaml the services that the stock file has and this one lacks (a release
 * may have brought them).  Each edit is announced.  Nothing that is there is
 * changed: a service that is disabled stays so.  The edited file is read and
 * checked whole before it takes the place of the old one. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/buf.h>
#include <posthorn/error.h>
#include <posthorn/source.h>
#include "core/cmd/cmd.h"
#include "core/cmd/edit_file.h"
#include "core/cmd/layout.h"
#include "core/cmd/postfix.h"
#include "core/conf/master.h"

#define FILE_MAX PH_MASTER_FILE_MAX

static int is_declared(const struct ph_master_def *m, const struct ph_service_def *d)
{
    for (size_t i = 0; i < m->services_count; i++)
        if (ph_str_eq(m->services[i].name, d->name) && strcmp(ph_service_def_type(&m->services[i]), ph_service_def_type(d)) == 0)
            return 1;
    return 0;
}

static ph_str read_text(struct postfix *p, const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st) < 0 || st.st_size > (off_t)FILE_MAX)
        ph_cmd_fatal("%s: %s", path, fd < 0 ? strerror(errno) : "too large");
    char *text = ph_alloc(p->scope, (size_t)st.st_size + 1);
    ssize_t n = read(fd, text, (size_t)st.st_size);
    close(fd);
    if (n < 0)
        ph_cmd_fatal("read %s: %s", path, strerror(errno));
    return (ph_str){ text, (size_t)n };
}

/* The stock file has each service that counts on a line of its own. */
static ph_str line_of(ph_str text, uint32_t number)
{
    ph_str line = PH_STR("");

    while (number--)
        line = ph_str_cut(&text, '\n');
    return line;
}

/* Appended services: the number of them, and the new text in *b. */
static unsigned add_missing(struct postfix *p, const struct ph_master_def *ours, const struct ph_master_def *stock, struct ph_buf *b)
{
    ph_str text = read_text(p, stock->file);
    unsigned n = 0;

    for (size_t i = 0; i < stock->services_count; i++) {
        const struct ph_service_def *d = &stock->services[i];

        if (!d->enabled || strcmp(ph_service_def_type(d), "unix") != 0 || is_declared(ours, d))
            continue;
        printf("Editing %s, adding missing service %.*s\n", ours->file, PH_FMT(d->name));
        ph_buf_printf(b, "%.*s\n", PH_FMT(line_of(text, d->place_in_file.line)));
        n++;
    }
    return n;
}

static void upgrade_services(struct postfix *p)
{
    const struct ph_master_def *ours, *stock, *edited;
    struct edit_file file;
    struct ph_buf b;

    if (ph_master_open(p->scope, p->conf, p->dir, &ours) < 0 || ph_master_open(p->scope, NULL, PH_DATA_DIR, &stock) < 0)
        ph_cmd_fatal("%s", ph_error());
    edit_file_open(&file, p->scope, ours->file, FILE_MAX);
    ph_str old = file.text;
    if (ph_master_parse(p->scope, p->conf, ours->file, old, &ours) < 0) {
        edit_file_abandon(&file);
        ph_cmd_fatal("%s", ph_error());
    }
    ph_buf_init(&b, p->scope, 2 * FILE_MAX);
    ph_buf_str(&b, old);
    if (old.n && old.p[old.n - 1] != '\n')
        ph_buf_puts(&b, "\n");
    if (add_missing(p, ours, stock, &b) == 0) {
        edit_file_abandon(&file);
        return;
    }
    if (ph_master_parse(p->scope, p->conf, ours->file, ph_buf_view(&b), &edited) < 0) {
        edit_file_abandon(&file);
        ph_cmd_fatal("%s: the services above cannot be put at its end (%s): add them to the list by hand", ours->file, ph_error());
    }
    edit_file_commit(&file, ph_buf_view(&b));
}

int postfix_upgrade_configuration(struct postfix *p)
{
    struct layout l;

    postfix_edit_configuration(p);
    if (layout_open(&l, p->scope, p->conf, "") < 0 || layout_make(&l) < 0)
        ph_cmd_fatal("%s", ph_error());
    upgrade_services(p);
    return 0;
}
