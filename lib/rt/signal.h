/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Signals as something that a coroutine waits for. */
#ifndef ASHLAR_RT_SIGNAL_H
#define ASHLAR_RT_SIGNAL_H

struct signals;

/* Blocks the signals (a list ended by 0) in the calling thread and those that it starts, so before
 * rt_main; they are received by signals_next only. -ENOMEM, -EMFILE. */
int signals_open(struct signals **s, const int *numbers);
/* Waits for one; its number, or -errno. One waiter. */
int signals_next(struct signals *s);
/* They stay blocked. */
void signals_close(struct signals *s);

#endif
