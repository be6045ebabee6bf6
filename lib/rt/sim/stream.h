/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What streams and listeners of the simulator share. Internal to rt/sim/. */
#ifndef ASHLAR_RT_SIM_STREAM_H
#define ASHLAR_RT_SIM_STREAM_H

struct stream;

/* Every peer is this process of root's. */
#define SIM_PEER_PID 4711

/* Closes it as one that nobody accepted: the peer reads -ECONNRESET. */
void stream_reset(struct stream *s);

#endif
