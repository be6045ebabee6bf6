/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Members that wear out: each read error that has been corrected is spent from its member's budget
 * (error_budget.h). Who is over it is replaced by a spare, serving meanwhile; without a spare it
 * fails, if the array can do without it; else it stays, and the status says so. What a recovery or
 * a replacement reads from stays until that is through.
 */
#include "raid/array_private.h"

bool wear_is_over(const struct array *a, const struct member *m)
{
    return atomic_load(&m->errors_recent) > atomic_load(&a->max_read_errors);
}

void wear_note_corrected(struct array *a, struct member *m)
{
    uint64_t now = rt_now_ns();

    atomic_fetch_add(&m->errors_corrected, 1);
    spin_lock(&a->states);
    error_budget_spend(&m->budget, now);
    atomic_store(&m->errors_recent, error_budget_used(&m->budget, now));
    spin_unlock(&a->states);
    array_changed(a);
    if (wear_is_over(a, m))
        array_wake(a);
}

void wear_forgive(struct array *a, struct member *m)
{
    spin_lock(&a->states);
    m->budget = (struct error_budget){0};
    atomic_store(&m->errors_recent, 0);
    spin_unlock(&a->states);
}

/* Time goes by. */
static void look_again(struct array *a, struct member *m)
{
    spin_lock(&a->states);
    atomic_store(&m->errors_recent, error_budget_used(&m->budget, rt_now_ns()));
    spin_unlock(&a->states);
}

static bool is_worn(const struct array *a, unsigned role)
{
    const struct member *m = array_readable(a, role);

    return m && !array_writable(a->replacements[role]) && wear_is_over(a, m);
}

/* Whether some member is being filled, or a role waits for the spare that there is. */
static bool is_filling(struct array *a)
{
    for (unsigned role = 0; role < a->geometry.raid_disks; role++) {
        bool lacks = !array_readable(a, role);
        if (array_writable(a->replacements[role]) || (lacks && array_writable(a->roles[role])) ||
            (lacks && members_find_spare(a)))
            return true;
    }
    return false;
}

static void retire(struct array *a, unsigned role)
{
    struct member *m = a->roles[role], *spare = array_degraded(a) ? NULL : members_find_spare(a);

    if (spare) {
        array_place_member(a, spare, role, MEMBER_REPLACING, false);
    } else if (!is_filling(a) && members_can_lose(a, &m, 1) && !members_fail(a, &m, 1)) {
        members_record(a);
        array_settle_failures(a);
    }
}

void wear_settle(struct array *a)
{
    list_for_each (it, &a->members)
        look_again(a, container_of(it, struct member, link));
    for (unsigned role = 0; role < a->geometry.raid_disks; role++)
        if (is_worn(a, role))
            retire(a, role);
}

void array_set_max_read_errors(struct array *a, unsigned max)
{
    atomic_store(&a->max_read_errors, max);
    array_changed(a);
    array_wake(a);
}
