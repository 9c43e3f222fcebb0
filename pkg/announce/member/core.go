package member

import (
	"net/netip"
	"slices"
	"time"
)

// A member that is down is remembered for an hour. When the API doesn't know
// its address any more, the node is deleted, and a minute is enough for who
// hears from it still.
const (
	forgetAfter   = time.Hour
	forgetDeleted = time.Minute
	forgetEvery   = 10 * time.Second // looked for, at least
)

// presence is what memberlist says of a member.
type presence uint8

const (
	present presence = iota
	lost             // dead by memberlist's word, for so short that it may be a mistake
	dead
	gone // dead after it said that it is draining: a goodbye
)

// lostFor is how long memberlist's word alone makes nobody down. A node that
// comes back from a partition brings along that others are dead, and those
// have to say that they aren't.
const lostFor = time.Second

// counted reports whether the member is judged by its watchers still.
func (n *node) counted() bool { return n.presence == present || n.presence == lost }

// node is another member.
type node struct {
	name     string
	addr     netip.Addr
	meta     meta
	unread   bool // its metadata can't be read
	stalled  bool // it stood still when memberlist lost it
	presence presence
	opinions map[string]opinion // by watcher, this node included
	verdict  verdict
	down     Cause     // the cause shown, zero while it is alive
	since    time.Time // of the last change of down or session
	lostAt   time.Time // since when it is lost, if it is
}

// core is the state of a member, without socket, clock or goroutine: events go
// in with the time they came, and what to do about them is in out. One
// goroutine owns it.
type core struct {
	self    string
	addr    netip.Addr
	session session
	started time.Time
	local   Local

	nodes   map[string]*node
	peers   map[netip.Addr]struct{}
	ring    []place
	watches map[string]*watch
	told    map[string]*telling
	seq     uint64
	version uint64 // grows with each change that a view may show
	settled time.Time

	nextTick time.Time
	out      output
}

// output is what the shell does after an event.
type output struct {
	pings    []ping
	connects []connect
	tells    []tell
	notes    []note
}

type ping struct {
	target string
	number uint64
}

type connect struct {
	target string
	number uint64
}

// tell is an opinion for one member.
type tell struct {
	addr    netip.Addr
	message opinionMessage
}

// note is something that people want to know.
type note struct {
	what  noted
	node  string
	by    string
	cause Cause
}

type noted uint8

const (
	noteDown      noted = iota // a member went down
	noteAlive                  // a member came, or came back
	noteRestarted              // a member restarted without leaving
	noteUnread                 // a member's metadata can't be read
	noteAccused                // a watcher says that this node is down
	noteLate                   // this node stood still
	noteOpinion                // this node's own opinion of a member changed
)

func newCore(self string, addr netip.Addr, s session, now time.Time) *core {
	return &core{self: self, addr: addr, session: s, started: now, nodes: map[string]*node{},
		peers: map[netip.Addr]struct{}{}, watches: map[string]*watch{}, told: map[string]*telling{}, nextTick: now.Add(tickEvery)}
}

// forget drops a node, and with it what was to be sent to it.
func (c *core) forget(name string) {
	delete(c.nodes, name)
	c.out.pings = slices.DeleteFunc(c.out.pings, func(p ping) bool { return p.target == name })
	c.out.connects = slices.DeleteFunc(c.out.connects, func(k connect) bool { return k.target == name })
}

// take returns what to do since the last call.
func (c *core) take() output {
	o := c.out
	c.out = output{}
	return o
}

func (c *core) note(what noted, n *node) {
	c.out.notes = append(c.out.notes, note{what: what, node: n.name, cause: n.down})
}

// present takes memberlist's news of a live member: joined, or changed.
func (c *core) present(now time.Time, name string, addr netip.Addr, raw []byte) {
	n := c.nodes[name]
	fresh := n == nil
	if fresh {
		n = &node{name: name, since: now}
		c.nodes[name] = n
	}
	m, err := decodeMeta(raw)
	if err != nil {
		m = meta{}
		if !n.unread {
			c.note(noteUnread, n)
		}
	}
	n.unread = err != nil
	back := !n.counted()
	restarted := !fresh && m.session != n.meta.session
	if restarted && !back {
		c.note(noteRestarted, n)
	}
	if restarted {
		n.since = now
	}
	n.addr, n.meta, n.presence = addr, m, present
	if fresh || back || restarted {
		// What was said of an earlier life is void.
		c.unwatch(n)
		n.opinions, n.verdict = map[string]opinion{}, verdict{}
		for _, other := range c.nodes {
			delete(other.opinions, name)
		}
	}
	if fresh {
		c.note(noteAlive, n)
	}
	c.settle(now)
}

// absent takes memberlist's news that a member died or left; memberlist
// doesn't say which.
func (c *core) absent(now time.Time, name string) {
	n := c.nodes[name]
	if n == nil {
		return
	}
	switch {
	case n.meta.draining:
		c.end(n, gone)
	case n.presence == present:
		n.presence, n.lostAt = lost, now
	}
	c.settle(now)
}

// end takes a member out of the ring: it isn't judged any more.
func (c *core) end(n *node, p presence) {
	w := c.watches[n.name]
	n.stalled = w != nil && !w.stalled.IsZero()
	n.presence = p
	c.unwatch(n)
}

// setLocal takes what this node says of itself.
func (c *core) setLocal(l Local) {
	c.local = l
	c.version++
}

// setPeers takes the addresses where members should be.
func (c *core) setPeers(now time.Time, peers []netip.Addr) {
	c.peers = map[netip.Addr]struct{}{}
	for _, p := range peers {
		if p != c.addr {
			c.peers[p] = struct{}{}
		}
	}
	c.settle(now)
}

// settle brings watches, verdicts and causes in line with the events.
func (c *core) settle(now time.Time) {
	c.version++
	c.settled = now
	names := []string{c.self}
	for name, n := range c.nodes {
		if c.forgotten(now, n) {
			c.forget(name)
			continue
		}
		if n.presence != gone {
			names = append(names, name)
		}
	}
	c.ring = ringOf(names)
	c.judgeAll(now)
	for _, n := range c.nodes {
		was := n.down
		if n.down = c.causeOf(n); n.down == was {
			continue
		}
		n.since = now
		if n.down == 0 {
			c.note(noteAlive, n)
		} else if was == 0 {
			c.note(noteDown, n)
		}
	}
}

func (c *core) forgotten(now time.Time, n *node) bool {
	if n.counted() || c.isPeer(n.addr) {
		return false
	}
	down := now.Sub(n.since)
	return down > forgetAfter || down > forgetDeleted && len(c.peers) > 0
}

func (c *core) isPeer(a netip.Addr) bool {
	_, ok := c.peers[a]
	return ok
}

// causeOf is why a member is shown as down, zero if it is not.
func (c *core) causeOf(n *node) Cause {
	switch {
	case n.presence == gone, n.meta.draining && n.verdict.down == AgentGone:
		return Left
	case n.counted():
		return n.verdict.down
	case n.verdict.down != 0:
		return n.verdict.down
	case n.down != 0:
		return n.down
	case n.stalled:
		return Stalled
	}
	return Unknown
}

// shown returns what the live other members show of their keys.
func (c *core) shown() []shownKeys {
	var shown []shownKeys
	for _, n := range c.nodes {
		if n.presence == present && !n.unread {
			shown = append(shown, n.meta.keys)
		}
	}
	return shown
}

// addresses returns where members are and should be, and where live ones are.
func (c *core) addresses() (known, alive []netip.Addr) {
	for p := range c.peers {
		known = append(known, p)
	}
	for _, n := range c.nodes {
		if n.presence == present {
			alive = append(alive, n.addr)
		}
		if n.presence != gone && n.addr != c.addr {
			known = append(known, n.addr)
		}
	}
	return known, alive
}
