/* spawner_request: what a worker may ask.  The worker may have been broken into:
 * nothing it says is believed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "core/worker/spawner.h"

static int refuse(char *text, size_t size, const char *why)
{
    snprintf(text, size, "%s", why);
    return -1;
}

/* The next NUL-terminated string of [*p, end); NULL when there is none. */
static char *next_string(char **p, const char *end)
{
    char *start = *p, *nul = memchr(start, 0, (size_t)(end - start));

    if (!nul)
        return NULL;
    *p = nul + 1;
    return start;
}

static int take_words(char **words, uint32_t count, char **p, const char *end)
{
    for (uint32_t i = 0; i < count; i++)
        if (!(words[i] = next_string(p, end)))
            return -1;
    words[count] = NULL;
    return 0;
}

/* An absolute path that fits a path. */
static int is_path(const char *s)
{
    return s && s[0] == '/' && strlen(s) < SPAWNER_PATH_MAX;
}

static int take_command(struct spawner_job *j, char *p, const char *end, char *text, size_t size)
{
    const struct spawner_request *r = &j->r;
    uint32_t inputs = r->flags & SPAWNER_HAS_INPUT ? 4 : 3;

    if (r->argc == 0 || r->argc > SPAWNER_WORDS_MAX || r->envc > SPAWNER_WORDS_MAX)
        return refuse(text, size, "no argument, or too many");
    if (j->fds != inputs || r->umask > 0777 || r->time_limit_ms < 0 ||
        r->flags & ~(SPAWNER_HAS_DIRECTORY | SPAWNER_HAS_CHROOT | SPAWNER_HAS_INPUT))
        return refuse(text, size, "malformed request");
    j->argv = calloc(r->argc + r->envc + 2u, sizeof *j->argv);
    if (!j->argv)
        return refuse(text, size, "out of memory");
    j->env = j->argv + r->argc + 1;
    if (take_words(j->argv, r->argc, &p, end) < 0 || take_words(j->env, r->envc, &p, end) < 0)
        return refuse(text, size, "malformed request");
    if (j->argv[0][0] == 0)
        return refuse(text, size, "empty command name");
    if (r->flags & SPAWNER_HAS_DIRECTORY && !is_path(j->directory = next_string(&p, end)))
        return refuse(text, size, "the working directory is no absolute path");
    if (r->flags & SPAWNER_HAS_CHROOT && !is_path(j->chroot = next_string(&p, end)))
        return refuse(text, size, "the root directory is no absolute path");
    return p == end ? 0 : refuse(text, size, "malformed request");
}

int ph_spawner_decode(struct spawner_job *j, char *p, size_t n, char *text, size_t size)
{
    if (n < sizeof j->r || n > SPAWNER_REQUEST_MAX)
        return refuse(text, size, "malformed request");
    memcpy(&j->r, p, sizeof j->r);
    if (j->r.op == SPAWNER_OP_COMMAND)
        return take_command(j, p + sizeof j->r, p + n, text, size);
    if (j->r.op == SPAWNER_OP_FILES && n == sizeof j->r && j->fds == 1 && j->r.flags == 0)
        return 0;
    return refuse(text, size, "malformed request");
}

void ph_spawner_job_free(struct spawner_job *j)
{
    free(j->argv);
    j->argv = j->env = NULL;
}

static int is_in(const uint32_t *list, uint32_t count, uint32_t id)
{
    for (uint32_t i = 0; i < count && i < 4; i++)
        if (list[i] == id)
            return 1;
    return 0;
}

static int judge_limits(const struct spawner_policy *p, uint32_t uid, uint32_t gid, char *text, size_t size)
{
    if ((p->only_uid && uid != p->only_uid) || (p->only_gid && gid != p->only_gid) || uid < p->least_uid) {
        snprintf(text, size, "user %u, group %u is none that this service works for", uid, gid);
        return -1;
    }
    return 0;
}

int ph_spawner_judge_job(const struct spawner_policy *p, const struct spawner_job *j, char *text, size_t size)
{
    if (j->r.op == SPAWNER_OP_FILES)
        return p->no_files ? refuse(text, size, "this service does not work with files") : 0;
    if (p->no_commands)
        return refuse(text, size, "this service runs no commands");
    return p->command[0] && strcmp(p->command, j->argv[0]) != 0 ? refuse(text, size, "this service runs another command") : 0;
}

int ph_spawner_take_limits(struct spawner_policy *p, const char *mem, size_t n)
{
    struct spawner_limits l;

    if (p->limited || n < sizeof l + 2)
        return -1;
    memcpy(&l, mem, sizeof l);
    char *at = (char *)(uintptr_t)mem + sizeof l;
    const char *command = next_string(&at, mem + n), *below = command ? next_string(&at, mem + n) : NULL;
    if (l.op != SPAWNER_OP_LIMIT || !below || at != mem + n || strlen(command) >= sizeof p->command || strlen(below) >= sizeof p->below)
        return -1;
    p->limited = 1;
    p->no_files = !(l.flags & SPAWNER_LIMIT_FILES);
    p->no_commands = !(l.flags & SPAWNER_LIMIT_COMMANDS);
    p->only_uid = l.uid;
    p->only_gid = l.gid;
    p->least_uid = l.least_uid;
    memcpy(p->command, command, strlen(command) + 1);
    memcpy(p->below, below, strlen(below) + 1);
    return 0;
}

int ph_spawner_is_below(const char *below, const char *path)
{
    size_t n = strlen(below);

    if (n == 0)
        return 1;
    while (n > 1 && below[n - 1] == '/')
        n--;
    if (strncmp(path, below, n) != 0 || (n > 1 && path[n] != '/' && path[n] != 0))
        return 0;
    for (const char *p = path; (p = strstr(p, "..")); p += 2)
        if ((p == path || p[-1] == '/') && (p[2] == '/' || p[2] == 0))
            return 0;
    return 1;
}

int ph_spawner_judge(const struct spawner_policy *p, uint32_t uid, uint32_t gid, char *text, size_t size)
{
    if (judge_limits(p, uid, gid, text, size) < 0)
        return -1;
    if (p->own_only) {
        if (uid == p->own_uid && gid == p->own_gid)
            return 0;
        snprintf(text, size, "the mail system runs as user %u, group %u and cannot become user %u, group %u", p->own_uid, p->own_gid, uid, gid);
        return -1;
    }
    if (uid == 0 || gid == 0)
        return refuse(text, size, "nothing is done with the rights of root");
    if (uid == UINT32_MAX || gid == UINT32_MAX)
        return refuse(text, size, "not a user or group id");
    if (is_in(p->bad_uid, p->bad_uids, uid) || is_in(p->bad_gid, p->bad_gids, gid))
        return refuse(text, size, "nothing is done with the rights of the mail system");
    return 0;
}
