package member

import (
	"net/netip"
	"slices"
	"time"
)

// telling is how far the repetition of an opinion has come. Opinions go by
// UDP, so each is repeated: soon, and then now and then, also for members
// that come later.
type telling struct {
	target session
	down   Cause
	seq    uint64
	ticks  int // since it was formed
}

const (
	repeatEvery = 10              // ticks, after the first few
	repeatAlive = 3 * repeatEvery // ticks; "it is down" is repeated as long as it holds
	opinionLife = 3 * time.Second // without being repeated
)

// due reports whether the opinion is sent again at this tick.
func (t *telling) due() bool {
	return t.ticks <= 2 || t.ticks == 4 || t.ticks%repeatEvery == 0
}

// judgeAll settles who watches whom, and who is down by the watchers' word. A
// verdict changes who counts as a watcher, so it goes on until nothing
// changes, which takes as many rounds as watchers went down together.
func (c *core) judgeAll(now time.Time) {
	for changed, rounds := true, 0; changed && rounds <= len(c.ring); rounds++ {
		changed = false
		for i, p := range c.ring {
			n := c.nodes[p.name]
			if n == nil || !n.counted() {
				continue // this node itself, or one whose verdict stays what it was when it died
			}
			watchers := watchersOf(c.ring, i, c.countsAsWatcher)
			if v := judge(n.verdict, watchers, n.opinions, c.self); v != n.verdict {
				n.verdict, changed = v, true
			}
		}
	}
	for i, p := range c.ring {
		if n := c.nodes[p.name]; n != nil {
			watchers := watchersOf(c.ring, i, c.countsAsWatcher)
			c.assign(now, n, n.counted() && slices.Contains(watchers, c.self))
		}
	}
}

// countsAsWatcher reports whether a node's word is waited for. A node that is
// dead by memberlist's word alone counts on: or else a node cut off alone would soon be the
// only watcher of all others, and judge them by itself.
func (c *core) countsAsWatcher(name string) bool {
	n := c.nodes[name]
	return n == nil || n.presence != gone && n.verdict.down == 0
}

// assign starts or ends the watching of a node.
func (c *core) assign(now time.Time, n *node, mine bool) {
	w := c.watches[n.name]
	switch {
	case mine && w == nil:
		w = &watch{quiet: now}
		if now.Sub(n.since) < newcomerGrace {
			w.quiet = n.since.Add(newcomerGrace)
		}
		c.watches[n.name] = w
	case !mine && w != nil:
		c.unwatch(n)
	}
}

// unwatch ends the watching of a node, and this node's opinion of it.
func (c *core) unwatch(n *node) {
	delete(c.watches, n.name)
	delete(c.told, n.name)
	delete(n.opinions, c.self)
}

// next returns when advance is due.
func (c *core) next() time.Time {
	next := c.nextTick
	for _, w := range c.watches {
		if w.probe != nil && w.probe.due.Before(next) {
			next = w.probe.due
		}
	}
	return next
}

// advance does what is due by now: probes' steps, and the tick.
func (c *core) advance(now time.Time) {
	for name, w := range c.watches {
		if w.probe != nil && !now.Before(w.probe.due) {
			c.order(name, w.step(now))
			c.concluded(now, name)
		}
	}
	if now.Before(c.nextTick) {
		return
	}
	if now.Sub(c.nextTick) > tickLate {
		c.nextTick = now.Add(tickAgain)
		c.out.notes = append(c.out.notes, note{what: noteLate})
		for name, w := range c.watches {
			c.order(name, w.late())
		}
		return
	}
	c.nextTick = now.Add(tickEvery)
	for name, w := range c.watches {
		c.order(name, w.tick(now))
	}
	c.repeat()
	c.expire(now)
}

func (c *core) order(target string, o orders) {
	w := c.watches[target]
	if o.ping {
		c.out.pings = append(c.out.pings, ping{target, w.pings})
	}
	if o.connect {
		c.out.connects = append(c.out.connects, connect{target, w.probes})
	}
}

// echoed takes the answer of a member to a ping.
func (c *core) echoed(now time.Time, target string, number uint64) {
	w, n := c.watches[target], c.nodes[target]
	if w == nil || !w.echo(number) {
		return
	}
	own, had := n.opinions[c.self]
	disputed := n.verdict.down != 0 || len(n.opinions) > 0
	if had && own.down != 0 || !had && disputed {
		c.declare(now, n, 0)
	}
}

// pingRefused takes the refusal of a ping by the member's kernel.
func (c *core) pingRefused(now time.Time, target string) {
	if w := c.watches[target]; w != nil {
		c.order(target, w.refused(now))
		c.concluded(now, target)
	}
}

// connectRefused takes the refusal of a probe's connect.
func (c *core) connectRefused(now time.Time, target string, number uint64) {
	if w := c.watches[target]; w != nil {
		w.reset(number)
		c.concluded(now, target)
	}
}

// connected takes the success of a probe's connect.
func (c *core) connected(now time.Time, target string, number uint64) {
	if w := c.watches[target]; w != nil {
		w.connected(now, number)
		c.concluded(now, target)
	}
}

// concluded tells the others if a watch has come to think its member down.
func (c *core) concluded(now time.Time, target string) {
	w, n := c.watches[target], c.nodes[target]
	if w.down != 0 && n.opinions[c.self].down != w.down {
		c.declare(now, n, w.down)
	}
}

// declare makes an opinion this node's own and tells all others.
func (c *core) declare(now time.Time, n *node, down Cause) {
	c.seq++
	n.opinions[c.self] = opinion{down: down, seq: c.seq, by: c.session, at: now}
	c.told[n.name] = &telling{target: n.meta.session, down: down, seq: c.seq}
	c.tell(n.name)
	c.out.notes = append(c.out.notes, note{what: noteOpinion, node: n.name, cause: down})
	c.settle(now)
}

// repeat sends again what is due.
func (c *core) repeat() {
	for target, t := range c.told {
		if t.ticks++; t.due() {
			c.tell(target)
		}
		if t.down == 0 && t.ticks >= repeatAlive {
			delete(c.told, target)
		}
	}
}

// tell sends the opinion of a member to all others.
func (c *core) tell(target string) {
	t := c.told[target]
	for name, n := range c.nodes {
		if name == target || !n.counted() || n.unread {
			continue
		}
		c.out.tells = append(c.out.tells, tell{addr: n.addr, message: opinionMessage{
			to: n.meta.session, seq: t.seq, target: target, targetSession: t.target, down: t.down}})
	}
}

// heard takes a watcher's opinion. The refusal is empty if it was taken.
func (c *core) heard(now time.Time, from session, m opinionMessage) refusal {
	by := c.memberBySession(from)
	switch {
	case by == nil:
		return refusedStranger
	case m.to != c.session:
		return refusedReplay
	case m.target == c.self:
		if m.down != 0 && m.targetSession == c.session {
			c.out.notes = append(c.out.notes, note{what: noteAccused, node: c.self, by: by.name, cause: m.down})
		}
		return ""
	}
	n := c.nodes[m.target]
	if n == nil || n.meta.session != m.targetSession || n.presence == gone {
		return "" // of a life that isn't known here, or is over
	}
	if o, ok := n.opinions[by.name]; ok && o.by == from && o.seq >= m.seq {
		if o.seq == m.seq {
			o.at = now
			n.opinions[by.name] = o
		}
		return ""
	}
	n.opinions[by.name] = opinion{down: m.down, seq: m.seq, by: from, at: now}
	if w := c.watches[m.target]; w != nil && m.down == 0 {
		w.doubt()
	}
	c.settle(now)
	return ""
}

// expire drops opinions that their watchers have stopped repeating: they watch
// no more, or have changed their mind unheard. It ends members that are lost
// for too long, and has old ones forgotten.
func (c *core) expire(now time.Time) {
	changed := now.Sub(c.settled) > forgetEvery
	for _, n := range c.nodes {
		for by, o := range n.opinions {
			if by != c.self && n.counted() && now.Sub(o.at) > opinionLife {
				delete(n.opinions, by)
				changed = true
			}
		}
		if n.presence == lost && now.Sub(n.lostAt) >= lostFor {
			c.end(n, dead)
			changed = true
		}
	}
	if changed {
		c.settle(now)
	}
}

func (c *core) memberBySession(s session) *node {
	for _, n := range c.nodes {
		if n.meta.session == s && n.counted() && !n.unread {
			return n
		}
	}
	return nil
}

// watched returns the members to keep a socket for, with their addresses.
func (c *core) watched() map[string]netip.Addr {
	w := make(map[string]netip.Addr, len(c.watches))
	for name := range c.watches {
		w[name] = c.nodes[name].addr
	}
	return w
}
