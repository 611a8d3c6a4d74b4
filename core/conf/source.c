/* source: logical lines of table sources.  See posthorn/source.h. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <posthorn/buf.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include <posthorn/source.h>

#define SHOWN_BYTES 30             /* of a line in a warning */

int ph_source_braces(ph_str text, ph_str *inside)
{
    size_t depth = 0, n = 0;

    if (text.n == 0 || text.p[0] != '{')
        return ph_fail(PH_CONF, "no '{' at start of text in \"%.*s\"", PH_FMT(text));
    for (; n < text.n; n++)
        if (text.p[n] == '{')
            depth++;
        else if (text.p[n] == '}' && --depth == 0)
            break;
    if (n == text.n)
        return ph_fail(PH_CONF, "missing '}' in \"%.*s\"", PH_FMT(text));
    if (n + 1 < text.n)
        return ph_fail(PH_CONF, "syntax error after '}' in \"%.*s\"", PH_FMT(text));
    *inside = ph_str_trim(ph_str_first(ph_str_from(text, 1), n - 1));
    return 0;
}

/* "{ {line}, {line} }": each item is a line. */
static int open_inline(struct ph_scope *s, const char *text, struct ph_source *src)
{
    struct ph_buf b;
    ph_str all, item;
    int rc = ph_source_braces(ph_cstr(text), &all);

    if (rc < 0)
        return rc;
    ph_buf_init(&b, s, PH_SOURCE_MAX);
    while ((item = ph_str_list(&all)).n) {
        if ((rc = ph_source_braces(item, &item)) < 0)
            return rc;
        ph_buf_str(&b, item);
        ph_buf_putc(&b, '\n');
    }
    *src = (struct ph_source){ .text = ph_buf_view(&b), .rest = ph_buf_view(&b), .line = 1, .scope = s, .path = ph_cstr_dup(s, ph_cstr(text)) };
    return 0;
}

int ph_source_fd(struct ph_scope *s, int fd, const char *path, struct ph_source *src)
{
    struct ph_buf b;
    ssize_t got = 1;

    ph_buf_init(&b, s, PH_SOURCE_MAX);
    while (got > 0 && b.n < PH_SOURCE_MAX) {
        char piece[16384];

        got = read(fd, piece, sizeof piece);
        if (got > 0)
            ph_buf_put(&b, piece, (size_t)got);
    }
    if (got < 0)
        return ph_fail_errno(PH_TEMP, errno, "read %s", path);
    if (got > 0)
        return ph_fail(PH_TEMP, "%s: larger than %u bytes", path, PH_SOURCE_MAX);
    *src = (struct ph_source){ .text = ph_buf_view(&b), .rest = ph_buf_view(&b), .line = 1, .scope = s, .path = ph_cstr_dup(s, ph_cstr(path)) };
    return 0;
}

/* A file, or what people write for an empty one: /dev/null.  Other devices and pipes might
 * never end.  (Of directories reading says what they are.) */
static int is_source(int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return 0;
    return S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3));
}

int ph_source_open(struct ph_scope *s, const char *path, struct ph_source *src)
{
    if (path[0] == '{')
        return open_inline(s, path, src);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return ph_fail_errno(PH_TEMP, errno, "open %s", path);
    struct ph_defer *d = ph_defer_close(s, fd);
    int rc = is_source(fd) ? ph_source_fd(s, fd, path, src) : ph_fail(PH_TEMP, "open %s: not a regular file", path);
    ph_defer_run(d);
    return rc;
}

/* Nothing in it but blanks, or a comment. */
static int is_empty(ph_str line)
{
    ph_str t = ph_str_trim(line);

    return t.n == 0 || t.p[0] == '#';
}

static ph_str take_line(struct ph_source *src)
{
    src->line++;
    return ph_str_cut(&src->rest, '\n');
}

/* 1 when what comes next belongs to the current line (comments are eaten). */
static int continues(struct ph_source *src)
{
    while (src->rest.n) {
        ph_str ahead = src->rest, line = ph_str_cut(&ahead, '\n');

        if (!is_empty(line))
            return ph_is_space(line.p[0]);
        take_line(src);
    }
    return 0;
}

/* The next logical line, also one that begins with a blank. */
static int take_logical(struct ph_source *src, ph_str *line, uint32_t *number)
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
    ptrdiff_t nul = ph_str_find(first, 0);
    *line = nul < 0 ? first : ph_str_first(first, (size_t)nul);
    return 1;
}

int ph_source_next(struct ph_source *src, ph_str *line, uint32_t *number)
{
    while (take_logical(src, line, number)) {
        if (line->n == 0 || !ph_is_space(line->p[0]))
            return 1;
        /* The first of the file: it continues nothing. */
        ph_log_warn("%s: logical line must not start with whitespace: \"%.*s%s\"", src->path, PH_FMT(ph_str_first(*line, SHOWN_BYTES)),
                    line->n > SHOWN_BYTES ? "..." : "");
    }
    return 0;
}

int ph_source_pair(ph_str line, ph_str *key, ph_str *value)
{
    ph_str rest = ph_str_trim(line);
    int quoted = 0;
    size_t n = 0;

    for (; n < rest.n && (quoted || !ph_is_space(rest.p[n])); n++)
        if (rest.p[n] == '"')
            quoted = !quoted;
        else if (rest.p[n] == '\\' && n + 1 < rest.n)
            n++;
    *key = ph_str_first(rest, n);
    *value = ph_str_trim(ph_str_from(rest, n));
    return quoted ? PH_SOURCE_UNBALANCED : key->n && value->n ? PH_SOURCE_PAIR : PH_SOURCE_NO_VALUE;
}

ph_str ph_source_shown(struct ph_scope *s, ph_str text)
{
    char *p = ph_alloc(s, text.n + 1);

    if (text.n)
        memcpy(p, text.p, text.n);
    ph_make_shown(p, text.n);
    return (ph_str){ p, text.n };
}
