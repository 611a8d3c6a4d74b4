/* drop: see story.h. */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "core/cmd/postdrop.h"
#include "plugins/service/pickup/pickup.h"
#include "story.h"

static const struct ph_maildrop_rcpt rcpts[LETTER_RCPTS] = {
    { .address = PH_STR_INIT("one@example.org") }, { .address = PH_STR_INIT("two@example.org") },
};

int drop_post(const struct letter *l)
{
    PH_SCOPED(s, NULL);
    struct ph_maildrop m = { .has_sender = 1, .sender = PH_STR("s@example.com"), .rcpt_count = LETTER_RCPTS, .rcpt = rcpts };
    char line[LETTER_LINE + 1];
    int rc = postdrop_file_create(world_conf(s), &m);

    say("posting %u", l->n);
    for (unsigned i = 0; i < l->lines + 2 && rc == 0; i++)
        rc = postdrop_file_content((ph_str){ line, letter_line(l, i, line) });
    if (rc == 0 && postdrop_file_commit())
        say("dropped %u", l->n);
    return rc;
}

static int submit(struct ph_scope *step, const struct letter *l)
{
    struct ph_intake *q = letter_begin(step, PH_INTAKE_LOCAL, l, l->lines + 2);

    return q ? letter_end(q, l) : PH_TEMP;
}

int submit_maildrop(struct pickup *k PH_UNUSED, struct feed *f PH_UNUSED, struct ph_scope *step, int fd,
                    const struct origin *o PH_UNUSED)
{
    struct letter l;

    return letter_of_drop(step, fd, &l) ? submit(step, &l) : PH_EOF;
}

int submit_requeued(const struct pickup *k PH_UNUSED, struct feed *f PH_UNUSED, struct ph_scope *step, int fd, const struct origin *o PH_UNUSED)
{
    struct ph_message *m;
    struct letter l;
    int rc = ph_message_open(step, fd, PH_STR(""), &m);

    return rc < 0 ? rc : letter_of(m, &l) ? submit(step, &l) : PH_PERM;
}

void drop_pickup(void)
{
    PH_SCOPED(s, NULL);
    struct pickup k = { .taken = ph_map_new(s), .corrupt = -1 };
    struct feed f = { .scope = s };
    DIR *d;

    k.maildrop = openat(world_queue->dir_fd, "maildrop", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    d = k.maildrop < 0 ? NULL : fdopendir(dup(k.maildrop));
    for (const struct dirent *e; d && (e = readdir(d)); ) {
        PH_SCOPED(step, s);

        if (e->d_name[0] != '.' && pickup_file(&k, &f, step, e->d_name) != 0)
            _exit(93);
    }
    if (d)
        closedir(d);
    if (k.maildrop >= 0)
        close(k.maildrop);
}
