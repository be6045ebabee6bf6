/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by model.c (what happens) and model_check.c (what is found). */
#ifndef ASHLAR_TESTS_SIM_MODEL_PRIVATE_H
#define ASHLAR_TESTS_SIM_MODEL_PRIVATE_H

#include "model.h"

#define MODEL_UNDER_WAY UINT32_MAX /* ended */
/* ruled_by, beside writes: */
#define MODEL_NOBODY  UINT16_MAX
#define MODEL_SEVERAL (UINT16_MAX - 1) /* one of several that hold the same */
#define MODEL_GONE    (UINT16_MAX - 2) /* a durable write: only reads under way may still give it */

static inline const struct model_write *model_write_of(
    const struct model *m, const struct model_version *v)
{
    return &m->writes[v->write];
}

/* What is seen to stand there outlasts power cuts. */
static inline bool model_on_medium(const struct model *m, const struct model_version *v)
{
    const struct model_write *w = model_write_of(m, v);

    return w->durable || w->begun < m->power_cut_at || (v->seen && w->ended < m->flushed_at);
}

#endif
