/* source: logical lines of table sources.  See posthorn/source.h. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/buf.h>
#include <posthorn/error.h>
#include <posthorn/source.h>

int ph_source_open(struct ph_scope *s, const char *path, struct ph_source *src)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return ph_fail_errno(PH_TEMP, errno, "open %s", path);
    struct ph_defer *d = ph_defer_close(s, fd);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size > PH_SOURCE_MAX) {
        ph_defer_run(d);
        return ph_fail(PH_TEMP, "%s: not a regular file of at most %u bytes", path, PH_SOURCE_MAX);
    }
    char *p = ph_alloc(s, (size_t)st.st_size + 1);
    size_t n = 0;
    ssize_t got = 0;
    while (n < (size_t)st.st_size && (got = read(fd, p + n, (size_t)st.st_size - n)) > 0)
        n += (size_t)got;
    int err = errno;
    ph_defer_run(d);
    if (got < 0)
        return ph_fail_errno(PH_TEMP, err, "read %s", path);
    *src = (struct ph_source){ .text = { p, n }, .rest = { p, n }, .line = 1, .scope = s, .path = ph_cstr_dup(s, ph_cstr(path)) };
    return 0;
}

static int is_blank(char c) { return c == ' ' || c == '\t'; }

/* Nothing in it but blanks, or a comment. */
static int is_empty(ph_str line)
{
    ph_str t = ph_str_trim(line);

    return t.n == 0 || t.p[0] == '#';
}

static ph_str take_line(struct ph_source *src)
{
    ph_str line = ph_str_cut(&src->rest, '\n');

    src->line++;
    if (line.n && line.p[line.n - 1] == '\r')
        line.n--;
    return line;
}

/* 1 when what comes next belongs to the current line (comments are eaten). */
static int continues(struct ph_source *src)
{
    while (src->rest.n) {
        ph_str ahead = src->rest, line = ph_str_cut(&ahead, '\n');

        if (!is_empty(line))
            return is_blank(line.p[0]);
        take_line(src);
    }
    return 0;
}

int ph_source_next(struct ph_source *src, ph_str *line, uint32_t *number)
{
    ph_str first;

    do {
        if (src->rest.n == 0)
            return 0;
        *number = src->line;
        first = take_line(src);
    } while (is_empty(first));
    if (continues(src)) {
        struct ph_buf b;

        ph_buf_init(&b, src->scope, PH_SOURCE_MAX);
        ph_buf_str(&b, first);
        do {
            ph_buf_str(&b, take_line(src));
        } while (continues(src));
        first = ph_buf_view(&b);
    }
    *line = first;
    return 1;
}

int ph_source_pair(ph_str line, ph_str *key, ph_str *value)
{
    ph_str rest = ph_str_trim(line);
    size_t n = 0;

    while (n < rest.n && !ph_is_space(rest.p[n]))
        n++;
    *key = ph_str_first(rest, n);
    *value = ph_str_trim(ph_str_from(rest, n));
    return key->n && value->n;
}
