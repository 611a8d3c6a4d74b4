/* submit: giving a message to postdrop.  See submit.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "core/cmd/submit.h"

#define ENVELOPE_MAX ((size_t)64 << 20)
#define ANSWER_MAX   1024u

static void run_postdrop(const char *path, int in, int out) PH_NORETURN;
static void run_postdrop(const char *path, int in, int out)
{
    if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0) {
        dprintf(out, "error %d cannot start postdrop: %s\n", EX_TEMPFAIL, strerror(errno));
        _exit(EX_OSERR);
    }
    /* What it says on stderr it also answers, and the caller says that. */
    int null = open("/dev/null", O_WRONLY);

    if (null >= 0)
        dup2(null, STDERR_FILENO);
    execl(path, "postdrop", "-r", (char *)NULL);
    _exit(errno == ENOENT ? EX_UNAVAILABLE : EX_OSERR);
}

static int start(struct submit *u, struct ph_conf *c)
{
    const char *path = ph_str_printf(u->scope, "%.*s/postdrop", PH_FMT(ph_conf_value(c, u->scope, "command_directory"))).p;
    int in[2], out[2];

    if (pipe2(in, O_CLOEXEC) < 0)
        return ph_fail_errno(PH_TEMP, errno, "pipe");
    if (pipe2(out, O_CLOEXEC) < 0) {
        close(in[0]);
        close(in[1]);
        return ph_fail_errno(PH_TEMP, errno, "pipe");
    }
    u->pid = fork();
    if (u->pid == 0)
        run_postdrop(path, in[0], out[1]);
    close(in[0]);
    close(out[1]);
    u->to = in[1];
    u->from = out[0];
    return u->pid < 0 ? ph_fail_errno(PH_TEMP, errno, "fork") : 0;
}

/* A broken pipe is no error here: postdrop's answer will say what it is. */
static void put(struct submit *u, ph_str bytes)
{
    while (bytes.n && !u->broken) {
        ssize_t n = write(u->to, bytes.p, bytes.n);

        if (n < 0 && errno != EINTR)
            u->broken = 1;
        bytes = ph_str_from(bytes, n > 0 ? (size_t)n : 0);
    }
}

static void flush_chunk(struct submit *u)
{
    char mem[64];
    struct ph_buf head;

    if (u->chunk.n == 0)
        return;
    ph_buf_fixed(&head, mem, sizeof mem);
    ph_maildrop_put_chunk(&head, u->chunk.n);
    put(u, ph_buf_view(&head));
    put(u, ph_buf_view(&u->chunk));
    ph_buf_reset(&u->chunk);
}

int submit_begin(struct submit *u, struct ph_scope *s, struct ph_conf *c, const struct ph_maildrop *m)
{
    struct ph_buf envelope;
    int rc;

    *u = (struct submit){ .scope = s, .to = -1, .from = -1, .pid = -1 };
    ph_buf_init(&envelope, s, ENVELOPE_MAX);
    ph_buf_init(&u->chunk, s, PH_MAILDROP_CHUNK);
    if ((rc = ph_maildrop_put(&envelope, m)) < 0 || (rc = start(u, c)) < 0)
        return rc;
    put(u, ph_buf_view(&envelope));
    return 0;
}

void submit_content(struct submit *u, ph_str bytes)
{
    while (bytes.n) {
        ph_str piece = ph_str_first(bytes, PH_MAILDROP_CHUNK - u->chunk.n);

        ph_buf_str(&u->chunk, piece);
        bytes = ph_str_from(bytes, piece.n);
        if (u->chunk.n == PH_MAILDROP_CHUNK)
            flush_chunk(u);
    }
}

static void close_pipe(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static int wait_child(struct submit *u)
{
    int status = 0;
    pid_t pid;

    do
        pid = waitpid(u->pid, &status, 0);
    while (pid < 0 && errno == EINTR);
    u->pid = -1;
    return pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : EX_OSERR;
}

/* *failed: why reading ended early, or 0. */
static ph_str read_answer(struct submit *u, int *failed)
{
    char *mem = ph_alloc(u->scope, ANSWER_MAX);
    size_t n = 0;

    while (n < ANSWER_MAX) {
        ssize_t got = read(u->from, mem + n, ANSWER_MAX - n);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            *failed = errno;
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    return ph_str_trim((ph_str){ mem, n });
}

int submit_end(struct submit *u)
{
    struct ph_buf end;
    char mem[16];
    uint64_t code;

    flush_chunk(u);
    ph_buf_fixed(&end, mem, sizeof mem);
    ph_maildrop_put_end(&end);
    put(u, ph_buf_view(&end));
    close_pipe(&u->to);
    int failed = 0;
    ph_str answer = read_answer(u, &failed);

    close_pipe(&u->from);
    int status = wait_child(u);

    /* Stored is what postdrop says is stored, whatever became of it since.  (Its
     * status alone says little: it is 0 too when we did not finish.) */
    if (ph_str_starts(answer, PH_STR("ok "))) {
        u->id = ph_str_from(answer, 3);
        return 0;
    }
    if (ph_str_starts(answer, PH_STR("error "))) {
        ph_str rest = ph_str_from(answer, 6);

        if (!ph_str_u64(ph_str_word(&rest), &code) || code == 0 || code > 255)
            code = EX_SOFTWARE;
        ph_fail(PH_TEMP, "%.*s", PH_FMT(rest));
        return (int)code;
    }
    if (failed)
        ph_fail_errno(PH_TEMP, failed, "read postdrop's answer");
    else if (status == EX_UNAVAILABLE)
        ph_fail(PH_TEMP, "cannot run postdrop from command_directory");
    else
        ph_fail(PH_TEMP, "postdrop gave no answer (status %d)", status);
    return EX_TEMPFAIL;
}

void submit_cancel(struct submit *u)
{
    close_pipe(&u->to);
    close_pipe(&u->from);
    if (u->pid > 0)
        wait_child(u);
}
