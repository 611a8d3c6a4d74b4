/* loader: libltdl with a dlopen of our own.
 *
 * libltdl's loader binds lazily and answers "file not found" to every failure.
 * Ours binds at once, keeps the object for ever and keeps what dlerror() said.
 * A bare name is asked of the preloaded objects only; files are loaded by
 * absolute path, so that no search path is ever used. */
#include <dlfcn.h>
#include <ltdl.h>
#include <libltdl/lt_dlloader.h>
#include <stdio.h>
#include <string.h>
#include <posthorn/error.h>
#include "core/plugin/internal.h"
#include "core/plugin/registry.h"

static struct {
    int ready, has_preloaded;
    const void *unused;            /* libltdl's own loader, which it forgets when we take its place */
    char cause[1024];              /* dlerror() of the last failure */
} state;

static lt_module our_open(lt_user_data data PH_UNUSED, const char *file, lt_dladvise advise PH_UNUSED)
{
    void *h = dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    const char *why = h ? "" : dlerror();

    snprintf(state.cause, sizeof state.cause, "%s", why ? why : "unknown error");
    return h;
}

static int our_close(lt_user_data data PH_UNUSED, lt_module module PH_UNUSED)
{
    return 0;                      /* reload means new processes */
}

static void *our_symbol(lt_user_data data PH_UNUSED, lt_module module, const char *name)
{
    return dlsym(module, name);
}

static const lt_dlvtable our_loader = {
    .name = "posthorn", .module_open = our_open, .module_close = our_close, .find_sym = our_symbol,
    .priority = LT_DLLOADER_PREPEND,
};

static int init(void)
{
    if (state.ready)
        return 0;
    if (lt_dlinit() != 0)
        return ph_fail(PH_CONF, "libltdl: %s", lt_dlerror());
    state.unused = lt_dlloader_remove("lt_dlopen");
    if (lt_dlloader_add(&our_loader) != 0)
        return ph_fail(PH_CONF, "libltdl: %s", lt_dlerror());
    state.ready = 1;
    return 0;
}

void ph_plugin_preload(const void *symbols)
{
    /* Initialising libltdl empties its list. */
    if (init() < 0)
        ph_die("%s", ph_error());
    lt_dlpreload((const lt_dlsymlist *)symbols);
    state.has_preloaded = 1;
}

/* The preloaded object of that bare name, or NULL. */
static lt_dlhandle open_preloaded(const char *stem)
{
    lt_dladvise advise;
    lt_dlhandle h = NULL;

    if (!state.has_preloaded || lt_dladvise_init(&advise) != 0)
        return NULL;
    if (lt_dladvise_preload(&advise) == 0) {
        char name[160];

        snprintf(name, sizeof name, "%s.a", stem);
        h = lt_dlopenadvise(name, advise);
        if (!h)
            h = lt_dlopenadvise(stem, advise);
    }
    lt_dladvise_destroy(&advise);
    return h;
}

int ph_object_load(const char *stem, const char *object, const struct ph_plugin **raw)
{
    char symbol[200];
    int rc = init();

    if (rc < 0)
        return rc;
    lt_dlhandle h = open_preloaded(stem);
    if (!h) {
        if (!object)
            return ph_fail(PH_CONF, "%s is not preloaded", stem);
        state.cause[0] = 0;
        if (!(h = lt_dlopen(object)))
            return ph_fail(PH_CONF, "cannot load plugin: %s", state.cause[0] ? state.cause : lt_dlerror());
    }
    snprintf(symbol, sizeof symbol, "%s_LTX_ph_plugin", stem);
    /* libltdl puts STEM_LTX_ in front itself; ask for the short name first. */
    const void *p = lt_dlsym(h, "ph_plugin");
    if (!p)
        p = lt_dlsym(h, symbol);
    if (!p)
        return ph_fail(PH_CONF, "%s: does not export %s: not a plugin of that name", object ? object : stem, symbol);
    *raw = p;
    return 0;
}
