/* t/faults/inject.c: which call is struck, and which call sites there are.  A
 * site is the service, the call and the return addresses above it, so that two
 * writes through one helper count as two. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <unwind.h>
#include "inject.h"

struct shared *inject_shared;
_Thread_local int inject_inside;
static char service[INJECT_NAME];

void *inject_next(const char *name)
{
    void *p = dlsym(RTLD_NEXT, name);

    if (!p)
        _exit(120);
    return p;
}

/* ---- modules: shared objects, so that addresses mean the same in each process ---- */

#define KNOWN 48
static struct module { uintptr_t from, to, base; uint32_t number; } known[KNOWN];
static unsigned known_count;

static int is_foreign(const char *path)
{
    static const char *const names[] = { "/libc.so", "/inject.so", "/libasan", "/libubsan", "/libgcc_s", "ld-linux", "linux-vdso" };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strstr(path, names[i]))
            return 1;
    return 0;
}

static uint32_t number_of(const char *path)
{
    if (is_foreign(path))
        return 0;
    for (uint32_t i = 1; i < INJECT_MODULES; i++) {
        char *m = inject_shared->module[i];

        if (!m[0])
            snprintf(m, sizeof inject_shared->module[i], "%.127s", path);
        if (strncmp(m, path, sizeof inject_shared->module[i] - 1) == 0)
            return i;
    }
    return 0;
}

/* Numbers are given under a lock of the shared file. */
static void add_module(const struct link_map *m, uintptr_t address)
{
    Dl_info info;

    if (known_count == KNOWN || !dladdr((void *)address, &info))
        return;
    const ElfW(Ehdr) *e = info.dli_fbase;
    const ElfW(Phdr) *p = (const void *)((const char *)info.dli_fbase + e->e_phoff);
    uintptr_t base = (uintptr_t)info.dli_fbase, end = base;

    for (int i = 0; i < e->e_phnum; i++)
        if (p[i].p_type == PT_LOAD && m->l_addr + p[i].p_vaddr + p[i].p_memsz > end)
            end = m->l_addr + p[i].p_vaddr + p[i].p_memsz;
    char real[512];
    ssize_t n = info.dli_fname[0] == '/' ? -1 : readlink("/proc/self/exe", real, sizeof real - 1);
    if (n > 0)
        real[n] = 0;
    while (__atomic_exchange_n(&inject_shared->module[0][0], 1, __ATOMIC_ACQUIRE))
        ;
    uint32_t number = number_of(n > 0 && !strstr(info.dli_fname, ".so") ? real : info.dli_fname);
    __atomic_store_n(&inject_shared->module[0][0], 0, __ATOMIC_RELEASE);
    known[known_count++] = (struct module){ base, end, base, number };
}

static const struct module *module_at(uintptr_t address)
{
    static char lock;
    const struct module *found = NULL;

    while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE))
        ;
    for (int turn = 0; turn < 2 && !found; turn++) {
        for (unsigned i = 0; i < known_count; i++)
            if (address >= known[i].from && address < known[i].to)
                found = &known[i];
        struct dl_find_object o;
        if (!found && turn == 0) {
            if (_dl_find_object((void *)address, &o) != 0)
                break;
            add_module(o.dlfo_link_map, address);
        }
    }
    __atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
    return found;
}

struct unwinding { struct frames *f; unsigned n; int steps; };

static _Unwind_Reason_Code step(struct _Unwind_Context *c, void *arg)
{
    struct unwinding *u = arg;
    uintptr_t at = _Unwind_GetIP(c);
    const struct module *m = at ? module_at(at) : NULL;

    if (!m || ++u->steps > 24)
        return _URC_END_OF_STACK;
    if (m->number) {
        u->f->module[u->n] = m->number;
        u->f->offset[u->n++] = (uint32_t)(at - m->base);
    }
    return u->n == INJECT_DEPTH ? _URC_END_OF_STACK : _URC_NO_REASON;
}

uint64_t inject_frames(struct frames *f)
{
    struct unwinding u = { .f = f };
    uint64_t h = 1469598103934665603u;

    memset(f, 0, sizeof *f);
    inject_inside++;
    _Unwind_Backtrace(step, &u);
    inject_inside--;
    for (const unsigned char *p = (const unsigned char *)f; p < (const unsigned char *)(f + 1); p++)
        h = (h ^ *p) * 1099511628211u;
    return h;
}

/* ---- sites ---- */

static uint64_t site_hash(enum call call, char kind, struct frames *f)
{
    uint64_t h = inject_frames(f);

    for (const char *p = service; *p; p++)
        h = (h ^ (unsigned char)*p) * 1099511628211u;
    h = (h ^ (uint64_t)call << 8 ^ (unsigned char)kind) * 1099511628211u;
    return h ? h : 1;
}

static char kind_of(int fd, const char *path)
{
    struct stat st;

    if (path)
        return fd == -2 ? 'c' : 'n';
    if (fd < 0)
        return '?';
    inject_inside++;
    int rc = fstat(fd, &st);
    inject_inside--;
    if (rc < 0)
        return '?';
    return S_ISREG(st.st_mode) ? 'f' : S_ISDIR(st.st_mode) ? 'd' : S_ISSOCK(st.st_mode) ? 's' : S_ISFIFO(st.st_mode) ? 'p' : '?';
}

static void describe(char out[INJECT_WHAT], int fd, const char *path)
{
    char link[32];
    ssize_t n;

    if (path) {
        snprintf(out, INJECT_WHAT, "%s", path);
        return;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = syscall(SYS_readlinkat, AT_FDCWD, link, out, INJECT_WHAT - 1);
    if (n > 0)
        out[n] = 0;
    else
        snprintf(out, INJECT_WHAT, "fd %d", fd);
}

static void record(enum call call, int fd, const char *path)
{
    struct frames f;
    char kind = kind_of(fd, path);
    uint64_t hash = site_hash(call, kind, &f);

    for (unsigned i = 0; i < INJECT_SITES; i++) {
        struct site *s = &inject_shared->site[(hash + i) % INJECT_SITES];
        uint64_t none = 0;

        if (__atomic_compare_exchange_n(&s->hash, &none, hash, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
            s->call = call;
            s->kind = (unsigned char)kind;
            memcpy(s->service, service, sizeof s->service);
            memcpy(s->module, f.module, sizeof f.module);
            memcpy(s->offset, f.offset, sizeof f.offset);
            describe(s->what, fd, path);
            __atomic_store_n(&s->seen, 1, __ATOMIC_SEQ_CST);
            none = hash;
        }
        if (none == hash || s->hash == hash) {
            __atomic_fetch_add(&s->met, 1, __ATOMIC_SEQ_CST);
            return;
        }
    }
    __atomic_fetch_add(&inject_shared->control.sites_lost, 1, __ATOMIC_SEQ_CST);
}

void inject_struck(const char *call, const char *what, const struct frames *f)
{
    struct control *c = &inject_shared->control;

    snprintf(c->struck, sizeof c->struck, "%s[%d] %s %s", service, (int)getpid(), call, what);
    memcpy(c->struck_module, f->module, sizeof f->module);
    memcpy(c->struck_offset, f->offset, sizeof f->offset);
    c->struck_pid = getpid();
    __atomic_fetch_add(&c->hits, 1, __ATOMIC_SEQ_CST);
}

static int is_target(enum call call, int fd, const char *path, struct frames *f)
{
    const struct control *c = &inject_shared->control;

    if (c->service[0] && strncmp(c->service, service, INJECT_NAME) != 0)
        return 0;
    if (c->calls && !(c->calls >> call & 1))
        return 0;
    uint64_t hash = c->site ? site_hash(call, kind_of(fd, path), f) : inject_frames(f);
    return !c->site || hash == c->site;
}

/* Each strike is taken by one call, whatever process makes it. */
static int takes_turn(struct control *c)
{
    return __atomic_fetch_sub(&c->skip, 1, __ATOMIC_SEQ_CST) <= 0 && __atomic_fetch_sub(&c->count, 1, __ATOMIC_SEQ_CST) > 0;
}

static int strikes(enum call call, int fd, const char *path)
{
    struct control *c = &inject_shared->control;
    struct frames f;
    char what[INJECT_WHAT];

    if (!is_target(call, fd, path, &f) || !takes_turn(c))
        return HOW_PASS;
    describe(what, fd, path);
    inject_struck("call", what, &f);
    return c->how;
}

int inject_meets(enum call call, int fd, const char *path, size_t size)
{
    int old = errno, how = HOW_PASS, mode = inject_shared && !inject_inside ? inject_shared->control.mode : MODE_CALM;

    if (mode == MODE_RECORD)
        record(call, fd, path);
    else if (mode == MODE_FAULT && inject_shared->control.how != HOW_LOSE_FDS && (inject_shared->control.how != HOW_SHORT || size > 1))
        how = strikes(call, fd, path);
    errno = how == HOW_FAIL ? inject_shared->control.err : old;
    return how;
}

int inject_loses_fds(int fd)
{
    int mode = inject_shared && !inject_inside ? inject_shared->control.mode : MODE_CALM;

    if (mode == MODE_RECORD)
        record(CALL_FDS, fd, NULL);
    return mode == MODE_FAULT && inject_shared->control.how == HOW_LOSE_FDS && strikes(CALL_FDS, fd, NULL) != HOW_PASS;
}

const char *inject_service(void)
{
    return service;
}

/* `worker -n NAME`, else the program's own name. */
static void learn_service(void)
{
    char line[512], *p = line;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof line - 1);
    const char *base = strrchr(line, '/'), *type = "";

    close(fd);
    if (n <= 0)
        return;
    line[n] = 0;
    base = (base = strrchr(line, '/')) ? base + 1 : line;
    for (; p < line + n; p += strlen(p) + 1)
        if (strcmp(base, "worker") == 0 && strcmp(p, "-n") == 0)
            base = p + 3;
        else if (strcmp(p, "-t") == 0)
            type = p + 3;
    /* The receiver and the agent have one name. */
    snprintf(service, sizeof service, "%s%.12s", strcmp(type, "inet") == 0 ? "in:" : "", base);
}

__attribute__((constructor))
static void map_shared(void)
{
    const char *path = getenv("POSTHORN_FAULTS");
    int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC) : -1;
    struct frames warm;

    inject_inside++;
    learn_service();
    if (fd >= 0) {
        void *p = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        if (p != MAP_FAILED)
            inject_shared = p;
        close(fd);
    }
    if (inject_shared)
        inject_frames(&warm);      /* what the unwinder sets up once */
    inject_inside--;
}
