/* disk: the pool of threads for blocking work.  See posthorn/disk.h.
 *
 * A job stands on its task's stack: the task does not run until the job is
 * done.  Answers come back as posts, many in one wake-up of the loop.  Threads
 * block all signals, since the loop reads them. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <posthorn/disk.h>
#include "core/run/inside.h"

#define THREAD_STACK (256u << 10)

struct job {
    struct ph_post post;
    struct job *next;
    int (*fn)(void *);
    void *arg;
    int rc;
    char *error;                   /* heap, when rc < 0 */
    struct ph_task *task;
};

struct disk_pool {
    struct ph_loop *loop;
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct job *first, **last;
    int stop;
    unsigned count;
    pthread_t threads[];
};

static void done(struct ph_post *p)
{
    struct job *j = p->arg;

    ph_task_wake(j->task, 0);
}

static struct job *next_job(struct disk_pool *p)
{
    pthread_mutex_lock(&p->lock);
    while (!p->first && !p->stop)
        pthread_cond_wait(&p->work, &p->lock);
    struct job *j = p->first;
    if (j && !(p->first = j->next))
        p->last = &p->first;
    pthread_mutex_unlock(&p->lock);
    return j;
}

static void *thread_main(void *arg)
{
    struct disk_pool *p = arg;
    struct ph_errtext error = { 0 };

    ph_errtext_current = &error;
    for (struct job *j; (j = next_job(p));) {
        ph_errtext_set("");
        j->rc = j->fn(j->arg);
        if (j->rc < 0 && !(j->error = strdup(ph_error())))
            ph_die("out of memory");
        ph_post(p->loop, &j->post);
    }
    ph_errtext_fini(&error);
    return NULL;
}

int ph_disk(int (*fn)(void *), void *arg)
{
    struct ph_task *t = task_here();
    struct disk_pool *p = t ? ph_loop_current->pool : NULL;

    if (!p || ph_loop_current->in_foreign)
        return fn(arg);
    struct job j = { .fn = fn, .arg = arg, .task = t };
    j.post.fn = done;
    j.post.arg = &j;
    pthread_mutex_lock(&p->lock);
    *p->last = &j;
    p->last = &j.next;
    pthread_mutex_unlock(&p->lock);
    pthread_cond_signal(&p->work); /* after the unlock, or the woken one would wait again at once */
    ph_task_block_fully(t, "disk");
    if (j.error) {
        ph_errtext_set(j.error);
        free(j.error);
    }
    return j.rc;
}

static int start_threads(struct disk_pool *p, unsigned threads)
{
    pthread_attr_t attr;
    sigset_t all, old;
    int err = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, THREAD_STACK);
    while (p->count < threads && !(err = pthread_create(&p->threads[p->count], &attr, thread_main, p)))
        p->count++;
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return err;
}

int ph_disk_start(unsigned threads)
{
    struct ph_loop *l = ph_loop_current;

    ph_assert(l && !l->pool);
    if (threads == 0)
        return 0;
    struct disk_pool *p = calloc(1, sizeof *p + threads * sizeof p->threads[0]);
    if (!p)
        ph_die("out of memory");
    p->loop = l;
    p->last = &p->first;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    l->pool = p;
    int err = start_threads(p, threads);
    if (p->count == 0) {
        ph_disk_stop(l);
        return ph_fail_errno(PH_TEMP, err, "disk pool");
    }
    return 0;                      /* fewer threads than asked for still work */
}

void ph_disk_stop(struct ph_loop *l)
{
    struct disk_pool *p = l->pool;

    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->stop = 1;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->count; i++)
        pthread_join(p->threads[i], NULL);
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->lock);
    free(p);
    l->pool = NULL;
}
