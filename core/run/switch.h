/* switch: change stacks within a thread.  Own assembly on x86-64 and aarch64,
 * ucontext elsewhere.  AddressSanitizer is told of each change. */
#ifndef CORE_RUN_SWITCH_H
#define CORE_RUN_SWITCH_H

#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif

struct ph_switch {
    void *sp;                      /* where it stopped (ucontext: the context) */
    const void *bottom;            /* bounds of its stack, for ASan */
    size_t size;
    void *fake;                    /* ASan's fake stack */
};

/* Prepare a stack so that the first switch to it calls entry(), which never
 * returns.  bottom + size must be aligned to 16. */
void ph_switch_prepare(struct ph_switch *sw, void *bottom, size_t size, void (*entry)(void));
/* Save the running one in *from, continue *to.  Returns when somebody switches
 * back.  `last`: from ends here and is never continued. */
void ph_switch_to(struct ph_switch *from, struct ph_switch *to, int last);
/* First thing on a fresh stack: `from` is who switched here. */
void ph_switch_arrived(struct ph_switch *from);
/* Free what prepare made. */
void ph_switch_fini(struct ph_switch *sw);

#endif
