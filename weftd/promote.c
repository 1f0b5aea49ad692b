/* A node that joined: notes once that its log holds something, and asks for a vote until it has one
 * (or stays a standby, --standby). */
#include "base/core/log.h"
#include "weftd/member_file.h"
#include "weftd/weftd.h"

#define LOOK_MS 200 /* how often it looks at itself, while there is something to do */
#define ASK_AGAIN_MS 1000

static const struct reg_member_status *self_of(const struct reg_status *st)
{
    for (size_t i = 0; i < st->member_count; i++)
        if (st->members[i].self)
            return &st->members[i];
    return NULL;
}

static void note_begun(struct weftd *d)
{
    struct member_file f;
    struct err err = {0};
    d->promote.noted = true;
    if (!member_file_load(d->env, d->opt.node.dir, &f, &err) || f.state == MEMBER_BEGAN)
        return;
    f.state = MEMBER_BEGAN;
    if (!member_file_store(d->env, d->opt.node.dir, &f, &err))
        LOG_ERROR("weftd.member.file", F_ERR(&err));
}

static void on_promoted(struct reg_member_change *c)
{
    struct weftd *d = container_of(c, struct weftd, promote.change);
    d->promote.asking = false;
    if (d->stopping)
        return;
    if (c->err.code == ERR_NONE) {
        LOG_INFO("weftd.member.voter", F_U64("id", d->opt.node.id));
        d->promote.over = true;
    } else if (c->err.code == ERR_NOT_FOUND) {
        LOG_WARN("weftd.member.gone", F_U64("id", d->opt.node.id), F_ERR(&c->err));
        d->promote.over = true;
    } else {
        LOG_DEBUG("weftd.member.not_yet", F_ERR(&c->err));
    }
    if (!d->promote.over || !d->promote.noted)
        env_timer_start(d->env, &d->promote.timer, ASK_AGAIN_MS);
}

static void ask(struct weftd *d)
{
    d->promote.asking = true;
    d->promote.change =
        (struct reg_member_change){.kind = REG_MEMBER_PROMOTE, .env = d->env, .fn = on_promoted};
    for (size_t i = 0; i < d->opt.node.member_count; i++)
        if (d->opt.node.members[i].id == d->opt.node.id)
            d->promote.change.member = d->opt.node.members[i];
    reg_member_change(d->node, &d->promote.change);
}

static void on_look(struct env_timer *t)
{
    struct weftd *d = container_of(t, struct weftd, promote.timer);
    struct reg_status st;
    reg_node_status(d->node, &st);
    const struct reg_member_status *self = self_of(&st);
    if (!d->promote.noted && st.last_index > 0)
        note_begun(d);
    d->promote.over |= d->opt.standby || (self && self->role == REG_MEMBER_VOTER);
    if (!d->promote.over && !d->promote.asking && self && self->role == REG_MEMBER_STANDBY)
        ask(d);
    if (!d->promote.asking && (!d->promote.over || !d->promote.noted))
        env_timer_start(d->env, t, LOOK_MS);
}

void weftd_promote_start(struct weftd *d)
{
    d->promote.timer.fn = on_look;
    if (d->opt.node.newcomer)
        env_timer_start(d->env, &d->promote.timer, 0);
}

void weftd_promote_stop(struct weftd *d)
{
    env_timer_stop(d->env, &d->promote.timer);
}
