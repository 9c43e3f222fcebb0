package member

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// sim runs cores against each other over a network that exists only in
// memory, on a clock of its own.
type sim struct {
	now   time.Time
	r     *rand.Rand
	loss  float64 // of each packet
	nodes []*simNode
	queue simQueue
	order int
}

type simNode struct {
	*core
	host    bool // its kernel answers
	agent   bool // its process runs
	until   time.Time
	waiting []func() // what came while it stood still
	downs   []note   // members it saw going down
}

type simEvent struct {
	at    time.Time
	order int
	do    func()
}

type simQueue []simEvent

func (q simQueue) Len() int { return len(q) }
func (q simQueue) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].order < q[j].order
}
func (q simQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *simQueue) Push(x any)   { *q = append(*q, x.(simEvent)) }
func (q *simQueue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

func simMeta(s session) []byte {
	id := keyID{1}
	b, _ := meta{session: s, ready: true, keys: shownKeys{held: []keyID{id}, primary: id}}.encode()
	return b
}

// newSim makes n members that have known each other for a while.
func newSim(n int, seed uint64) *sim {
	s := &sim{now: time.Unix(1e9, 0), r: rand.New(rand.NewPCG(seed, 1))}
	for i := range n {
		offset := time.Duration(s.r.Int64N(int64(tickEvery)))
		c := newCore(fmt.Sprintf("node-%d", i), local(0, i+1), session(i+1), s.now.Add(offset))
		s.nodes = append(s.nodes, &simNode{core: c, host: true, agent: true})
	}
	for _, a := range s.nodes {
		for _, b := range s.nodes {
			if a != b {
				a.present(s.now, b.self, b.addr, simMeta(b.session))
			}
		}
	}
	s.run(time.Second)
	return s
}

func (s *sim) at(after time.Duration, do func()) {
	s.order++
	heap.Push(&s.queue, simEvent{s.now.Add(after), s.order, do})
}

// deliver has a node handle something after a delay, or when it runs again.
func (s *sim) deliver(n *simNode, after time.Duration, do func()) {
	s.at(after, func() {
		switch {
		case !n.agent:
		case s.now.Before(n.until):
			n.waiting = append(n.waiting, do)
		default:
			do()
			s.carryOut(n)
		}
	})
}

func (s *sim) latency() time.Duration {
	return 50*time.Microsecond + time.Duration(s.r.Int64N(int64(400*time.Microsecond)))
}

// passes reports whether a packet gets from one node to another.
func (s *sim) passes(a, b *simNode) bool { return a.host && b.host && s.r.Float64() >= s.loss }

func (s *sim) named(name string) *simNode {
	for _, n := range s.nodes {
		if n.self == name {
			return n
		}
	}
	panic(name)
}

func (s *sim) at4(a netip.Addr) *simNode { return s.nodes[a.As4()[3]-1] }

// carryOut does for a core what the shell does.
func (s *sim) carryOut(n *simNode) {
	o := n.take()
	for _, x := range o.pings {
		to := s.named(x.target)
		if !s.passes(n, to) {
			continue
		}
		if !to.agent {
			s.deliver(n, 2*s.latency(), func() { n.pingRefused(s.now, x.target) })
			continue
		}
		s.deliver(to, s.latency(), func() {
			if s.passes(to, n) {
				s.deliver(n, s.latency(), func() { n.echoed(s.now, x.target, x.number) })
			}
		})
	}
	for _, x := range o.connects {
		to := s.named(x.target)
		switch {
		case !s.passes(n, to) || !s.passes(to, n):
		case to.agent:
			s.deliver(n, 2*s.latency(), func() { n.connected(s.now, x.target, x.number) })
		default:
			s.deliver(n, 2*s.latency(), func() { n.connectRefused(s.now, x.target, x.number) })
		}
	}
	for _, x := range o.tells {
		if to := s.at4(x.addr); s.passes(n, to) {
			s.deliver(to, s.latency(), func() { to.heard(s.now, n.session, x.message) })
		}
	}
	for _, x := range o.notes {
		if x.what == noteDown {
			n.downs = append(n.downs, x)
		}
	}
}

// run lets time pass.
func (s *sim) run(d time.Duration) {
	end := s.now.Add(d)
	for {
		next := end
		var who *simNode
		for _, n := range s.nodes {
			if due := n.core.next(); n.agent && due.Before(next) {
				if due.Before(n.until) {
					due = n.until
				}
				if due.Before(next) {
					next, who = due, n
				}
			}
		}
		if len(s.queue) > 0 && !s.queue[0].at.After(next) {
			e := heap.Pop(&s.queue).(simEvent)
			s.now = e.at
			e.do()
			continue
		}
		if next.After(s.now) {
			s.now = next
		}
		if who == nil {
			return
		}
		// What came while it stood still is read a little later.
		for _, do := range who.waiting {
			s.deliver(who, time.Duration(s.r.Int64N(int64(stepAgain))), do)
		}
		who.waiting = nil
		who.advance(s.now)
		s.carryOut(who)
	}
}

func (s *sim) stall(n *simNode, d time.Duration) { n.until = s.now.Add(d) }

// downAt returns how long it takes from now until the last of the others has
// a member down, for the cause given.
func (s *sim) downAt(t testing.TB, target *simNode, cause Cause) time.Duration {
	t.Helper()
	for waited := time.Duration(0); waited < 3*time.Second; waited += time.Millisecond {
		last := true
		for _, n := range s.nodes {
			if n != target && n.agent && n.host {
				last = last && n.core.nodes[target.self].down == cause
			}
		}
		if last {
			return waited
		}
		s.run(time.Millisecond)
	}
	t.Fatalf("%s isn't seen to be %s", target.self, cause)
	return 0
}

func (s *sim) countDowns() int {
	n := 0
	for _, x := range s.nodes {
		n += len(x.downs)
	}
	return n
}

func TestDeathIsSeenByAllInTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSim(rapid.IntRange(2, 30).Draw(t, "nodes"), rapid.Uint64().Draw(t, "seed"))
		target := s.nodes[s.r.IntN(len(s.nodes))]
		limit, cause := 240*time.Millisecond, HostGone
		if rapid.Bool().Draw(t, "killed") {
			target.agent = false
			limit, cause = 60*time.Millisecond, AgentGone
		} else {
			target.host = false
		}
		took := time.Duration(0)
		for s.run(time.Millisecond); took < time.Second; s.run(time.Millisecond) {
			took += time.Millisecond
			all := true
			for _, n := range s.nodes {
				all = all && (n == target || n.nodes[target.self].down == cause)
			}
			if all {
				break
			}
		}
		if took > limit {
			t.Errorf("took %v, want at most %v", took, limit)
		}
		for _, n := range s.nodes {
			alone := len(s.nodes) == 2
			if n != target && n.view().Members[target.self].NeedsWitness != alone {
				t.Errorf("%s: needs a witness: %v", n.self, !alone)
			}
			if n != target && len(n.downs) != 1 {
				t.Errorf("%s saw going down: %v", n.self, n.downs)
			}
		}
	})
}

func TestNobodyHealthyIsCalledDown(t *testing.T) {
	for _, x := range []struct {
		name       string
		loss       float64
		stall      time.Duration
		stallEvery time.Duration
	}{
		{name: "nothing happens"},
		{name: "10 % loss", loss: 0.1},
		{name: "20 % loss", loss: 0.2},
		{name: "stalls of 300 ms", stall: 300 * time.Millisecond, stallEvery: 500 * time.Millisecond},
		{name: "stalls of 1 s", stall: time.Second, stallEvery: 1500 * time.Millisecond},
		{name: "stalls of 500 ms and 10 % loss", loss: 0.1, stall: 500 * time.Millisecond, stallEvery: 700 * time.Millisecond},
	} {
		t.Run(x.name, func(t *testing.T) {
			for _, n := range []int{2, 3, 5, 10} {
				s := newSim(n, uint64(n))
				s.loss = x.loss
				for range 100 {
					if x.stall > 0 {
						s.stall(s.nodes[s.r.IntN(n)], x.stall)
					}
					s.run(max(x.stallEvery, 500*time.Millisecond))
				}
				if downs := s.countDowns(); downs != 0 {
					t.Errorf("%d members: %d false verdicts", n, downs)
				}
			}
		})
	}
}

func TestAgentThatStandsStillKeepsItsAddressesForTwoSeconds(t *testing.T) {
	s := newSim(5, 1)
	s.stall(s.nodes[0], time.Hour)
	took := s.downAt(t, s.nodes[0], Stalled)
	if took < stallHold || took > stallHold+400*time.Millisecond {
		t.Errorf("took %v", took)
	}
	s.nodes[0].until = s.now
	s.run(200 * time.Millisecond)
	for _, n := range s.nodes[1:] {
		if n.core.nodes["node-0"].down != 0 {
			t.Errorf("%s: it runs again, and is still %s", n.self, n.core.nodes["node-0"].down)
		}
	}
}

func TestCutOffNodeJudgesNobody(t *testing.T) {
	for _, size := range []int{3, 4, 5, 10} {
		s := newSim(size, uint64(size))
		cut := s.nodes[0]
		cut.host = false
		s.run(2 * time.Second)
		for _, n := range s.nodes[1:] { // memberlist gives up on those it doesn't hear
			cut.absent(s.now, n.self)
			n.absent(s.now, cut.self)
			s.run(10 * time.Millisecond)
		}
		s.run(3 * time.Second)
		v := cut.view()
		if !v.Isolated || v.Known != size-1 || s.nodes[1].view().Isolated {
			t.Errorf("%d members: isolated %v, known %d", size, v.Isolated, v.Known)
		}
		for _, n := range s.nodes[1:] {
			if m := v.Members[n.self]; m.Down != Unknown || !m.NeedsWitness {
				t.Errorf("%d members: the one cut off says that %s is %q, needs a witness: %v", size, n.self, m.Down, m.NeedsWitness)
			}
			if m := n.view().Members[cut.self]; m.Down != HostGone || m.NeedsWitness {
				t.Errorf("%d members: %s says of the one cut off: %+v", size, n.self, m)
			}
		}
	}
}

// TestAVerdictLasts has memberlist believe in a member that the watchers don't
// hear, as when only UDP is blocked.
func TestAVerdictLasts(t *testing.T) {
	s := newSim(6, 1)
	s.loss = 0.1
	s.nodes[0].host = false
	s.run(30 * time.Second)
	for _, n := range s.nodes[1:] {
		if len(n.downs) != 1 || n.core.nodes["node-0"].down != HostGone {
			t.Errorf("%s saw going down: %v", n.self, n.downs)
		}
	}
}

func TestAShortCutHealsForAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSim(rapid.IntRange(2, 12).Draw(t, "nodes"), rapid.Uint64().Draw(t, "seed"))
		target := s.nodes[0]
		target.host = false
		s.run(time.Duration(rapid.IntRange(1, 1500).Draw(t, "cut")) * time.Millisecond)
		target.host = true
		s.run(300 * time.Millisecond)
		for _, n := range s.nodes {
			for _, m := range n.view().Members {
				if !m.Alive {
					t.Errorf("%s still says that %s is %s", n.self, m.Name, m.Down)
				}
			}
		}
	})
}

// TestLastOneStandingIsNotIsolated has the others of three die one after the
// other: the last saw the first death together with the second, so only the
// second needs a witness.
func TestLastOneStandingIsNotIsolated(t *testing.T) {
	s := newSim(3, 1)
	for _, n := range s.nodes[1:] {
		n.host = false
		s.run(time.Second)
	}
	v := s.nodes[0].view()
	if v.Isolated || v.Known != 2 || v.Members["node-1"].NeedsWitness || !v.Members["node-2"].NeedsWitness {
		t.Errorf("%+v", v)
	}
}

func TestRackOfWatchersDiesTogether(t *testing.T) {
	s := newSim(10, 7)
	// The first on the ring and the three that watch it.
	ring := s.nodes[0].ring
	var victims []*simNode
	for i := range 4 {
		victims = append(victims, s.named(ring[i].name))
		victims[i].host = false
	}
	s.run(time.Second)
	for _, n := range s.nodes {
		for _, v := range victims {
			if n.host && n.nodes[v.self].down != HostGone {
				t.Errorf("%s says that %s is %q", n.self, v.self, n.nodes[v.self].down)
			}
		}
	}
}

func TestRestartIsAChange(t *testing.T) {
	s := newSim(3, 1)
	n := s.nodes[0]
	before := n.view().Members["node-1"]
	s.run(time.Second)
	n.present(s.now, "node-1", local(0, 2), simMeta(99))
	after := n.view().Members["node-1"]
	if after.Session == before.Session || !after.Since.After(before.Since) {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

func TestGoodbyeIsNoDeath(t *testing.T) {
	s := newSim(3, 1)
	n, id := s.nodes[0], keyID{1}
	b, _ := meta{session: 2, draining: true, keys: shownKeys{held: []keyID{id}, primary: id}}.encode()
	n.present(s.now, "node-1", local(0, 2), b)
	n.absent(s.now, "node-1")
	v := n.view()
	if m := v.Members["node-1"]; m.Alive || m.Down != Left || m.NeedsWitness || v.Known != 1 {
		t.Errorf("known %d, %+v", v.Known, m)
	}
	if w := n.watched(); len(w) != 1 {
		t.Errorf("still watched: %v", w)
	}
	n.setPeers(s.now, []netip.Addr{local(0, 3)})
	s.run(forgetDeleted + forgetEvery + time.Second)
	if m, ok := n.view().Members["node-1"]; ok {
		t.Errorf("not forgotten: %+v", m)
	}
}

func TestOpinionsOfStrangersAndOfThePastDontCount(t *testing.T) {
	s := newSim(3, 1)
	n := s.nodes[0]
	ok := opinionMessage{to: n.session, seq: 100, target: "node-1", targetSession: 2, down: HostGone}
	if r := n.heard(s.now, 77, ok); r != refusedStranger {
		t.Errorf("from a stranger: %q", r)
	}
	past := ok
	past.to = 55
	if r := n.heard(s.now, 3, past); r != refusedReplay {
		t.Errorf("for a former life: %q", r)
	}
	past = ok
	past.targetSession = 55
	if r := n.heard(s.now, 3, past); r != "" || len(n.nodes["node-1"].opinions) != 0 {
		t.Errorf("of a former life: %q, %v", r, n.nodes["node-1"].opinions)
	}
	if r := n.heard(s.now, 3, ok); r != "" || n.nodes["node-1"].opinions["node-2"].down != HostGone {
		t.Errorf("%q, %v", r, n.nodes["node-1"].opinions)
	}
	older := ok
	older.seq, older.down = 99, 0
	n.heard(s.now, 3, older)
	if n.nodes["node-1"].opinions["node-2"].down != HostGone {
		t.Error("an older opinion replaced a newer one")
	}
}

// TestCoreTakesAnything has events come in any order.
func TestCoreTakesAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(1e9, 0)
		c := newCore("node-0", local(0, 1), 1, now)
		name := rapid.Custom(func(t *rapid.T) string { return fmt.Sprintf("node-%d", rapid.IntRange(0, 5).Draw(t, "node")) })
		number := rapid.Uint64Range(0, 40)
		causes := rapid.SampledFrom([]Cause{0, Left, AgentGone, HostGone, Stalled, Unknown})
		do := map[string]func(*rapid.T){
			"present": func(t *rapid.T) {
				i := rapid.IntRange(1, 5).Draw(t, "node")
				s := session(10*i + rapid.IntRange(0, 1).Draw(t, "run"))
				c.present(now, fmt.Sprintf("node-%d", i), local(0, i+1), simMeta(s))
			},
			"unreadable": func(t *rapid.T) { c.present(now, "node-1", local(0, 2), nil) },
			"absent":     func(t *rapid.T) { c.absent(now, name.Draw(t, "name")) },
			"peers":      func(t *rapid.T) { c.setPeers(now, []netip.Addr{local(0, rapid.IntRange(1, 8).Draw(t, "peer"))}) },
			"echo":       func(t *rapid.T) { c.echoed(now, name.Draw(t, "name"), number.Draw(t, "number")) },
			"refused":    func(t *rapid.T) { c.pingRefused(now, name.Draw(t, "name")) },
			"reset":      func(t *rapid.T) { c.connectRefused(now, name.Draw(t, "name"), number.Draw(t, "number")) },
			"connected":  func(t *rapid.T) { c.connected(now, name.Draw(t, "name"), number.Draw(t, "number")) },
			"opinion": func(t *rapid.T) {
				i := session(rapid.IntRange(1, 5).Draw(t, "target"))
				c.heard(now, session(rapid.IntRange(10, 51).Draw(t, "from")), opinionMessage{to: c.session, seq: number.Draw(t, "seq"),
					target: fmt.Sprintf("node-%d", i), targetSession: 10 * i, down: causes.Draw(t, "cause")})
			},
			"time": func(t *rapid.T) {
				now = now.Add(rapid.SampledFrom([]time.Duration{time.Millisecond, probeStep, tickEvery, time.Second, 2 * forgetDeleted}).Draw(t, "passes"))
				c.advance(now)
			},
			"": func(t *rapid.T) {
				v, o := c.view(), c.take()
				if len(v.Members) != len(c.nodes)+1 || !v.Members[c.self].Alive {
					t.Errorf("%+v", v)
				}
				for _, m := range v.Members {
					if m.Alive != (m.Down == 0) || m.Alive && m.NeedsWitness {
						t.Errorf("%+v", m)
					}
				}
				for _, p := range o.pings {
					if c.nodes[p.target] == nil {
						t.Errorf("pings %s, which isn't there", p.target)
					}
				}
				if c.next().After(now.Add(tickEvery)) {
					t.Errorf("sleeps until %v", c.next().Sub(now))
				}
				c.watched()
			},
		}
		t.Repeat(do)
	})
}
