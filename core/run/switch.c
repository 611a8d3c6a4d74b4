/* switch: see switch.h.
 *
 * Only what the ABI calls callee-saved is kept.  The floating point control
 * words are not: nothing of ours changes them. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <posthorn/error.h>
#include "core/run/switch.h"

#ifdef WITH_ASAN
void __sanitizer_start_switch_fiber(void **fake, const void *bottom, size_t size);
void __sanitizer_finish_switch_fiber(void *fake, const void **old_bottom, size_t *old_size);
#endif

/* Stop on *save, go on at `to`. */
void ph_switch_raw(void **save, void *to);

#if defined(__x86_64__)
__asm__(
    ".text\n"
    ".globl ph_switch_raw\n"
    ".hidden ph_switch_raw\n"
    ".type ph_switch_raw, @function\n"
    "ph_switch_raw:\n"
    "    endbr64\n"
    "    pushq %rbp\n"
    "    pushq %rbx\n"
    "    pushq %r12\n"
    "    pushq %r13\n"
    "    pushq %r14\n"
    "    pushq %r15\n"
    "    movq %rsp, (%rdi)\n"
    "    movq %rsi, %rsp\n"
    "    popq %r15\n"
    "    popq %r14\n"
    "    popq %r13\n"
    "    popq %r12\n"
    "    popq %rbx\n"
    "    popq %rbp\n"
    "    ret\n"
    ".size ph_switch_raw, .-ph_switch_raw\n");

static void *first_frame(char *top, void (*entry)(void))
{
    void **sp = (void **)(void *)top;

    *--sp = NULL;                  /* entry's return address: the end for a debugger */
    *--sp = (void *)(uintptr_t)entry;
    sp -= 6;
    memset(sp, 0, 6 * sizeof *sp);
    return sp;
}
#elif defined(__aarch64__)
__asm__(
    ".text\n"
    ".globl ph_switch_raw\n"
    ".hidden ph_switch_raw\n"
    ".type ph_switch_raw, %function\n"
    "ph_switch_raw:\n"
    "    hint #34\n"
    "    sub sp, sp, #160\n"
    "    stp x19, x20, [sp, #0]\n"
    "    stp x21, x22, [sp, #16]\n"
    "    stp x23, x24, [sp, #32]\n"
    "    stp x25, x26, [sp, #48]\n"
    "    stp x27, x28, [sp, #64]\n"
    "    stp x29, x30, [sp, #80]\n"
    "    stp d8, d9, [sp, #96]\n"
    "    stp d10, d11, [sp, #112]\n"
    "    stp d12, d13, [sp, #128]\n"
    "    stp d14, d15, [sp, #144]\n"
    "    mov x9, sp\n"
    "    str x9, [x0]\n"
    "    mov sp, x1\n"
    "    ldp x19, x20, [sp, #0]\n"
    "    ldp x21, x22, [sp, #16]\n"
    "    ldp x23, x24, [sp, #32]\n"
    "    ldp x25, x26, [sp, #48]\n"
    "    ldp x27, x28, [sp, #64]\n"
    "    ldp x29, x30, [sp, #80]\n"
    "    ldp d8, d9, [sp, #96]\n"
    "    ldp d10, d11, [sp, #112]\n"
    "    ldp d12, d13, [sp, #128]\n"
    "    ldp d14, d15, [sp, #144]\n"
    "    add sp, sp, #160\n"
    "    br x30\n"
    ".size ph_switch_raw, .-ph_switch_raw\n");

static void *first_frame(char *top, void (*entry)(void))
{
    uint64_t *sp = (uint64_t *)(void *)(top - 160);

    memset(sp, 0, 160);
    sp[11] = (uintptr_t)entry;     /* x30 */
    return sp;
}
#else
#include <ucontext.h>
#define WITH_UCONTEXT 1

static ucontext_t *context_new(void)
{
    ucontext_t *c = calloc(1, sizeof *c);

    if (!c)
        ph_die("out of memory");
    return c;
}

void ph_switch_raw(void **save, void *to)
{
    if (!*save)
        *save = context_new();
    swapcontext(*save, to);
}
#endif

void ph_switch_prepare(struct ph_switch *sw, void *bottom, size_t size, void (*entry)(void))
{
    sw->bottom = bottom;
    sw->size = size;
    sw->fake = NULL;
#ifdef WITH_UCONTEXT
    ucontext_t *c = context_new();

    getcontext(c);
    c->uc_stack.ss_sp = bottom;
    c->uc_stack.ss_size = size;
    makecontext(c, entry, 0);
    sw->sp = c;
#else
    sw->sp = first_frame((char *)bottom + size, entry);
#endif
}

void ph_switch_fini(struct ph_switch *sw)
{
#ifdef WITH_UCONTEXT
    free(sw->sp);
#endif
    sw->sp = NULL;
}

void ph_switch_to(struct ph_switch *from, struct ph_switch *to, int last)
{
#ifdef WITH_ASAN
    __sanitizer_start_switch_fiber(last ? NULL : &from->fake, to->bottom, to->size);
#else
    (void)last;
#endif
    ph_switch_raw(&from->sp, to->sp);
#ifdef WITH_ASAN
    __sanitizer_finish_switch_fiber(from->fake, NULL, NULL);
#endif
}

void ph_switch_arrived(struct ph_switch *from)
{
#ifdef WITH_ASAN
    __sanitizer_finish_switch_fiber(NULL, &from->bottom, &from->size);
#else
    (void)from;
#endif
}
