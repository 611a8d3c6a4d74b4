/* limit: how many sessions one worker has at most, whatever master.yaml says:
 * beyond what descriptors and stacks allow they would fail half-way, and take
 * the process's other work with them.  Who is next waits in the listener's queue. */
#include <sys/resource.h>
#include <posthorn/log.h>
#include "core/run/loop.h"
#include "core/worker/worker.h"

#define SESSIONS_DEFAULT 500u
#define FDS_RESERVE  128u          /* log, epoll, DNS, private services, slots leased ahead (64) */
#define FDS_EACH     2u            /* the client, and the file of its message */
#define TASKS_RESERVE 64u
#define TASKS_EACH   2u            /* the session, and cleanup inline */
#define SESSIONS_LEAST 8u          /* with less nothing works anyway */

static size_t room(size_t have, size_t reserve, size_t each)
{
    size_t n = have > reserve ? (have - reserve) / each : 0;

    return n < SESSIONS_LEAST ? SESSIONS_LEAST : n;
}

void ph_worker_limit(struct ph_worker *w)
{
    struct rlimit r = { .rlim_cur = RLIM_INFINITY };
    int32_t want = w->def->sessions;
    uint32_t n = want == PH_DEF_UNLIMITED ? UINT32_MAX : want > 0 ? (uint32_t)want : SESSIONS_DEFAULT;

    getrlimit(RLIMIT_NOFILE, &r);
    size_t fds = r.rlim_cur < UINT32_MAX ? (size_t)r.rlim_cur : UINT32_MAX, by_fds = room(fds, FDS_RESERVE, FDS_EACH);
    size_t tasks = ph_tasks_limit(), by_tasks = room(tasks, TASKS_RESERVE, TASKS_EACH), most = by_fds < by_tasks ? by_fds : by_tasks;
    w->session_max = n < most ? n : (uint32_t)most;
    if (ph_needs(w->needs, "one-client")) {
        w->session_max = 1;
        return;
    }
    if (want == PH_DEF_UNLIMITED || n <= most)
        return;
    if (by_fds <= by_tasks)
        ph_log_warn("at most %u sessions at once in one process, not %u: it may have %zu open files (ulimit -n)", w->session_max, n, fds);
    else
        ph_log_warn("at most %u sessions at once in one process, not %u: vm.max_map_count allows %zu stacks", w->session_max, n, tasks);
}
