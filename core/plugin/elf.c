/* elf: which symbol versions an object needs, read before anything of it runs.
 * The file is as hostile as any other: every offset is checked. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "core/plugin/internal.h"

#define OBJECT_MAX (256u << 20)

struct image {
    const char *p;
    size_t n;
};

/* n bytes at offset, or NULL when they are not all there. */
static const void *at(const struct image *im, uint64_t offset, uint64_t n)
{
    return offset <= im->n && n <= im->n - offset ? im->p + offset : NULL;
}

static const char *string_at(const struct image *im, const ElfW(Shdr) *strtab, uint64_t index)
{
    const char *table = at(im, strtab->sh_offset, strtab->sh_size);

    return table && index < strtab->sh_size && memchr(table + index, 0, strtab->sh_size - index) ? table + index : "";
}

/* Walk the needed versions of one section. */
static int check_needs(const struct image *im, const char *path, const ElfW(Shdr) *sec, const ElfW(Shdr) *strtab)
{
    uint64_t offset = sec->sh_offset;
    ElfW(Verneed) need;
    ElfW(Vernaux) aux;

    for (unsigned i = 0; i < 1000; i++) {
        const void *p = at(im, offset, sizeof need);

        if (!p)
            return 0;
        memcpy(&need, p, sizeof need);
        uint64_t a = offset + need.vn_aux;
        for (unsigned k = 0; k < need.vn_cnt && k < 1000; k++) {
            const void *q = at(im, a, sizeof aux);

            if (!q)
                return 0;
            memcpy(&aux, q, sizeof aux);
            if (strcmp(string_at(im, strtab, aux.vna_name), "POSTHORN_PRIVATE") == 0)
                return ph_fail(PH_CONF, "%s: uses private symbols of libposthorn (version POSTHORN_PRIVATE); a plugin may use only what <posthorn/...> declares", path);
            if (aux.vna_next == 0)
                break;
            a += aux.vna_next;
        }
        if (need.vn_next == 0)
            return 0;
        offset += need.vn_next;
    }
    return 0;
}

static int check_image(const struct image *im, const char *path)
{
    const void *head = at(im, 0, sizeof(ElfW(Ehdr)));
    ElfW(Ehdr) eh;
    ElfW(Shdr) sec, strtab;

    if (head)
        memcpy(&eh, head, sizeof eh);
    if (!head || memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0)
        return ph_fail(PH_CONF, "%s: not a shared object", path);
    if (eh.e_shnum == 0)
        return ph_fail(PH_CONF, "%s: stripped of its section headers, so that its needs cannot be checked", path);
    for (unsigned i = 0; i < eh.e_shnum; i++) {
        const void *p = at(im, eh.e_shoff + (uint64_t)i * eh.e_shentsize, sizeof sec);

        if (!p)
            return ph_fail(PH_CONF, "%s: damaged shared object", path);
        memcpy(&sec, p, sizeof sec);
        if (sec.sh_type != SHT_GNU_verneed)
            continue;
        const void *q = sec.sh_link < eh.e_shnum ? at(im, eh.e_shoff + (uint64_t)sec.sh_link * eh.e_shentsize, sizeof strtab) : NULL;
        if (!q)
            return ph_fail(PH_CONF, "%s: damaged shared object", path);
        memcpy(&strtab, q, sizeof strtab);
        int rc = check_needs(im, path, &sec, &strtab);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int ph_elf_check(const char *path)
{
    PH_SCOPED(s, NULL);
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return ph_fail_errno(PH_CONF, errno, "%s", path);
    ph_defer_close(s, fd);
    if (fstat(fd, &st) < 0 || st.st_size < 0 || (uint64_t)st.st_size > OBJECT_MAX)
        return ph_fail(PH_CONF, "%s: too large for a plugin", path);
    char *p = ph_alloc(s, (size_t)st.st_size);
    struct image im = { p, 0 };
    while (im.n < (size_t)st.st_size) {
        ssize_t got = read(fd, p + im.n, (size_t)st.st_size - im.n);

        if (got <= 0)
            break;
        im.n += (size_t)got;
    }
    return check_image(&im, path);
}
