/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The simulator's small files as its programs see them. They are part of the world: rt/fs.h also
 * works between machines, without waiting then.
 */
#ifndef ASHLAR_RT_SIM_FS_H
#define ASHLAR_RT_SIM_FS_H

/* Once a process, by sim_init. */
void sim_fs_init(void);
/* The next so many replacements fail with this errno. What is ENOSPC changes nothing; after EIO the
 * file may be new all the same. 0 times: no more. */
void sim_fs_fail(int error, unsigned times);

#endif
