/* posthorn/disk.h: blocking work off the loop.  A pool of threads (parameter
 * disk_threads, 8) runs it while the task waits; with 0 threads, outside tasks
 * and before the pool is started it runs in place.
 *
 * The wait for disk work is not cut short by cancel or deadline: the buffers
 * belong to the pool until it answers. */
#ifndef POSTHORN_DISK_H
#define POSTHORN_DISK_H

#include <sys/types.h>
#include <sys/uio.h>
#include <posthorn/error.h>

PH_BEGIN

/* Run fn(arg) in the pool and return its answer.  fn must not yield, log, or
 * touch what other tasks touch; ph_fail* in it reaches the caller's text. */
int ph_disk(int (*fn)(void *), void *arg) PH_YIELDS;

/* Whole transfers: 0, or PH_TEMP with text (short write, EINTR are handled).
 * ph_pread_all: number of bytes read, less than n only at the end of file. */
int ph_pwritev_all(int fd, const struct iovec *iov, int count, int64_t offset) PH_YIELDS;
int64_t ph_pread_all(int fd, void *p, size_t n, int64_t offset) PH_YIELDS;
/* 0, or PH_TEMP.  Never retried: after a failed sync the kernel may have
 * dropped the pages. */
int ph_fdatasync(int fd) PH_YIELDS;
/* The two above in one trip to the pool: what a commit costs. */
int ph_pwritev_sync(int fd, const struct iovec *iov, int count, int64_t offset) PH_YIELDS;
/* fsync the directory that holds path (so that its entry is stable). */
int ph_sync_parent(const char *path) PH_YIELDS;
/* rename with RENAME_NOREPLACE: 0, PH_TEMP. */
int ph_rename(const char *from, const char *to) PH_YIELDS;
int ph_unlink(const char *path) PH_YIELDS;

PH_END
#endif
