/* source: logical lines of table sources.  See posthorn/source.h. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/buf.h>
#include <posthorn/error.h>
#include <posthorn/log.h>
#include <posthorn/source.h>

#define SHOWN_BYTES 30             /* of a line in a warning */

/* "{ {line}, {line} }": each item is a line. */
static int open_inline(struct ph_scope *s, ph_str text, struct ph_source *src)
{
    struct ph_buf b;
    ph_str item;

    if (text.n < 2 || text.p[text.n - 1] != '}')
        return ph_fail(PH_CONF, "contents are written { {line}, {line} ... }");
    ph_buf_init(&b, s, PH_SOURCE_MAX);
    for (text = ph_str_first(ph_str_from(text, 1), text.n - 2); (item = ph_str_list(&text)).n; ) {
        if (item.n >= 2 && item.p[0] == '{' && item.p[item.n - 1] == '}')
            item = ph_str_trim(ph_str_first(ph_str_from(item, 1), item.n - 2));
        ph_buf_str(&b, item);
        ph_buf_putc(&b, '\n');
    }
    if (b.n == 0)
        return ph_fail(PH_CONF, "no line between the braces");
    *src = (struct ph_source){ .text = ph_buf_view(&b), .rest = ph_buf_view(&b), .line = 1, .scope = s, .path = "inline" };
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

int ph_source_open(struct ph_scope *s, const char *path, struct ph_source *src)
{
    struct stat st;

    if (path[0] == '{')
        return open_inline(s, ph_str_trim(ph_cstr(path)), src);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return ph_fail_errno(PH_TEMP, errno, "open %s", path);
    struct ph_defer *d = ph_defer_close(s, fd);
    int rc = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? ph_source_fd(s, fd, path, src)
                                                        : ph_fail(PH_TEMP, "open %s: not a regular file", path);
    ph_defer_run(d);
    return rc;
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
        if (line->n && !is_blank(line->p[0]))
            return 1;
        if (line->n)               /* the first of the file: it continues nothing */
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

/* Bytes of the UTF-8 character that begins there, or 0. */
static size_t character(ph_str text)
{
    unsigned char lead = (unsigned char)text.p[0];
    size_t n = lead < 0xc0 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;

    return n && n <= text.n && ph_str_is_utf8(ph_str_first(text, n)) ? n : 0;
}

ph_str ph_source_shown(struct ph_scope *s, ph_str text)
{
    char *p = ph_alloc(s, text.n + 1);

    for (size_t i = 0, n; i < text.n; i += n) {
        n = character(ph_str_from(text, i));
        if (n)
            memcpy(p + i, text.p + i, n);
        else
            p[i] = ph_is_print(text.p[i]) ? text.p[i] : '?';
        n += n == 0;
    }
    return (ph_str){ p, text.n };
}
