package layer2

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func testWorld(self int, down ...int) *world {
	w := &world{self: nodeOf(self), down: make(map[string]struct{}), outranks: byName, spread: func(d time.Duration) time.Duration { return d }}
	for _, n := range down {
		w.down[nodeOf(n)] = struct{}{}
	}
	return w
}

func claimOf(n int) claim {
	c := claim{mac: macOf(n), link: "eth0"}
	if n < clientHost {
		c.node = nodeOf(n)
	}
	return c
}

// mine is what an elected node 1 is told; second is what node 2 is told.
func mine(previous Predecessor) Address {
	return Address{Links: []string{"eth0"}, Mine: true, Owner: "n1", Previous: previous, Order: []string{"n1", "n2"}}
}

func others() Address {
	return Address{Links: []string{"eth0"}, Owner: "n2", Order: []string{"n2", "n1"}}
}

// driver runs one machine and writes down what it does.
type driver struct {
	o       *ownership
	w       *world
	start   time.Time
	now     time.Time
	witness time.Time
	rest    time.Time
	log     []string
}

func drive(w *world) *driver {
	start := time.Unix(1000, 0)
	return &driver{o: &ownership{addr: vip4}, w: w, start: start, now: start}
}

func (d *driver) note(fx effects) {
	at := d.now.Sub(d.start).String() + " "
	if fx.probe != noProbe {
		what := "probe"
		if fx.witnesses {
			what = "probe with witnesses"
		}
		d.log = append(d.log, at+what)
		d.o.probed(d.now, true)
	}
	switch fx.announce {
	case startAnnouncing:
		d.log = append(d.log, at+"announce")
	case repeatAnnouncing:
		d.log = append(d.log, at+"repeat")
	case stopAnnouncing:
		d.log = append(d.log, at+"stop")
	}
	for _, e := range fx.events {
		d.log = append(d.log, at+e.Kind.String())
	}
}

func (d *driver) elect(want Address) { d.note(d.o.elect(d.now, d.w, want)) }
func (d *driver) claimed(n int)      { d.note(d.o.claimed(d.now, d.w, claimOf(n))) }

func (d *driver) probed(n int) { d.note(d.o.probedBy(d.now, d.w, claimOf(n))) }

// until lets time pass to a moment since the start.
func (d *driver) until(t time.Duration) {
	end := d.start.Add(t)
	for !d.o.next.IsZero() && !d.o.next.After(end) {
		d.now = later(d.now, d.o.next)
		d.note(d.o.tick(d.now, d.w, sensed{witness: d.witness, rest: d.rest}))
	}
	d.now = end
}

func TestOwnership(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name  string
		down  []int
		run   func(d *driver)
		want  []string
		state state
	}{
		{
			"first use: probed, then taken", nil,
			func(d *driver) { d.elect(mine(Nobody)); d.until(time.Second) },
			[]string{"0s probe", "200ms probe", "400ms probe", "800ms announce", "800ms took over"}, owning,
		},
		{
			"first use: a stranger holds it until it doesn't", nil,
			func(d *driver) {
				d.elect(mine(Nobody))
				d.until(1 * ms)
				d.claimed(clientHost)
				d.until(202 * ms)
				d.claimed(clientHost)
				d.until(700 * ms)
			},
			[]string{"0s probe", "1ms held", "201ms probe", "401ms probe", "601ms probe", "621ms probe", "641ms probe", "661ms announce", "661ms took over"}, owning,
		},
		{
			"first use: this node may be cut off, and no witness answers until one does", nil,
			func(d *driver) {
				want := mine(Nobody)
				want.NeedsWitness = true
				d.elect(want)
				d.until(1201 * ms)
				d.witness = d.now
				d.until(1300 * ms)
			},
			[]string{"0s probe with witnesses", "200ms probe with witnesses", "400ms probe with witnesses", "800ms held", "1s probe",
				"1.2s probe with witnesses", "1.22s probe with witnesses", "1.24s probe with witnesses", "1.26s announce", "1.26s took over"}, owning,
		},
		{
			"once more: taken at once", nil,
			func(d *driver) { d.elect(mine(Itself)); d.until(time.Second) },
			[]string{"0s announce", "0s took over"}, owning,
		},
		{
			"planned: asked for, and taken when told", nil,
			func(d *driver) {
				d.elect(mine(Alive))
				d.until(1 * ms)
				d.claimed(2)
				d.until(110 * ms)
				d.claimed(2)
				d.until(140 * ms)
				d.probed(2)
			},
			[]string{"0s probe", "101ms probe", "140ms announce", "140ms took over"}, owning,
		},
		{
			"planned: the owner is silent", nil,
			func(d *driver) { d.elect(mine(Alive)); d.until(time.Second) },
			[]string{"0s probe", "20ms probe", "40ms probe", "60ms announce", "60ms took over"}, owning,
		},
		{
			"planned: the owner falls silent", nil,
			func(d *driver) {
				d.elect(mine(Alive))
				d.until(1 * ms)
				d.claimed(2)
				d.until(time.Second)
			},
			[]string{"0s probe", "101ms probe", "121ms probe", "141ms probe", "161ms announce", "161ms took over"}, owning,
		},
		{
			"planned: the owner doesn't hand over", nil,
			func(d *driver) {
				d.elect(mine(Alive))
				for at := 1 * ms; at < time.Second; at += 100 * ms {
					d.until(at)
					d.claimed(2)
				}
			},
			[]string{"0s probe", "101ms probe", "201ms probe", "301ms probe", "401ms probe", "501ms probe", "601ms probe", "701ms probe",
				"801ms announce", "801ms took over", "901ms repeat", "901ms split brain"}, owning,
		},
		{
			"planned: the owner dies meanwhile", nil,
			func(d *driver) {
				d.elect(mine(Alive))
				d.until(1 * ms)
				d.claimed(2)
				d.until(50 * ms)
				d.w.down["n2"] = struct{}{}
				d.elect(mine(Down))
				d.until(time.Second)
			},
			[]string{"0s probe", "101ms probe", "121ms probe", "141ms probe", "161ms announce", "161ms took over"}, owning,
		},
		{
			"planned: a stranger answers", nil,
			func(d *driver) { d.elect(mine(Alive)); d.until(1 * ms); d.claimed(clientHost) },
			[]string{"0s probe", "1ms held"}, held,
		},
		{
			"planned, and called off", nil,
			func(d *driver) { d.elect(mine(Alive)); d.elect(others()); d.until(time.Second) },
			[]string{"0s probe", "0s stop"}, idle,
		},
		{
			"failover: a second opinion of 60 ms", []int{2},
			func(d *driver) { d.elect(mine(Down)); d.until(time.Second) },
			[]string{"0s probe", "20ms probe", "40ms probe", "60ms announce", "60ms took over"}, owning,
		},
		{
			"back on the LAN: nobody has it meanwhile", nil,
			func(d *driver) {
				d.elect(mine(Unheard))
				d.witness = d.now.Add(ms)
				d.until(time.Second)
			},
			[]string{"0s probe with witnesses", "100ms probe with witnesses", "200ms probe with witnesses", "300ms announce", "300ms took over"}, owning,
		},
		{
			"back on the LAN: the switch forwards late, and nobody has it", nil,
			func(d *driver) {
				d.elect(mine(Unheard))
				d.until(450 * ms)
				d.witness = d.now
				d.until(time.Second)
			},
			[]string{"0s probe with witnesses", "100ms probe with witnesses", "200ms probe with witnesses", "300ms probe with witnesses", "400ms probe with witnesses",
				"500ms announce", "500ms took over"}, owning,
		},
		{
			"back on the LAN: nobody at all is there", nil,
			func(d *driver) { d.elect(mine(Unheard)); d.until(1100 * ms); d.log = nil; d.until(2 * time.Second) },
			[]string{"1.2s probe with witnesses", "1.3s announce", "1.3s took over"}, owning,
		},
		{
			"back on the LAN: a node has it, and goes on for more than a second after it is heard", nil,
			func(d *driver) {
				d.elect(mine(Unheard))
				for _, at := range []time.Duration{301 * ms, 502 * ms, 702 * ms, 902 * ms, 1102 * ms, 1302 * ms, 1502 * ms, 1702 * ms} {
					d.until(at)
					d.claimed(2)
				}
				d.probed(2)
			},
			[]string{"0s probe with witnesses", "100ms probe with witnesses", "200ms probe with witnesses", "300ms probe with witnesses", "301ms held",
				"501ms probe", "701ms probe", "901ms probe", "1.101s probe", "1.301s probe", "1.501s probe", "1.701s probe", "1.702s announce", "1.702s took over"}, owning,
		},
		{
			"back on the LAN: the node that had it falls silent", nil,
			func(d *driver) {
				d.elect(mine(Unheard))
				d.until(1 * ms)
				d.claimed(2)
				d.until(402 * ms)
				d.witness = d.now
				d.until(time.Second)
			},
			[]string{"0s probe with witnesses", "1ms held", "201ms probe", "401ms probe with witnesses", "501ms probe with witnesses", "601ms probe with witnesses",
				"701ms announce", "701ms took over"}, owning,
		},
		{
			"failover: the owner answers, only the membership lost it", []int{2},
			func(d *driver) {
				d.elect(mine(Down))
				d.until(1 * ms)
				d.claimed(2)
				d.until(202 * ms)
				d.claimed(2)
				d.until(401 * ms)
			},
			[]string{"0s probe", "1ms held", "201ms probe", "401ms probe"}, held,
		},
		{
			"failover: the owner is back in sight meanwhile", []int{2},
			func(d *driver) {
				d.elect(mine(Down))
				d.until(1 * ms)
				d.claimed(2)
				delete(d.w.down, "n2")
				d.until(202 * ms)
				d.claimed(2)
				d.probed(2)
			},
			[]string{"0s probe", "1ms held", "201ms probe", "202ms announce", "202ms took over"}, owning,
		},
		{
			"failover: alone, and no witness", []int{2},
			func(d *driver) {
				want := mine(Down)
				want.NeedsWitness = true
				d.elect(want)
				d.until(500 * ms)
			},
			[]string{"0s probe with witnesses", "20ms probe with witnesses", "40ms probe with witnesses", "60ms held", "260ms probe",
				"460ms probe with witnesses", "480ms probe with witnesses", "500ms probe with witnesses"}, verifying,
		},
		{
			"failover: alone, and a witness answers", []int{2},
			func(d *driver) {
				want := mine(Down)
				want.NeedsWitness = true
				d.elect(want)
				d.until(21 * ms)
				d.witness = d.now
				d.until(100 * ms)
			},
			[]string{"0s probe with witnesses", "20ms probe with witnesses", "40ms probe with witnesses", "60ms announce", "60ms took over"}, owning,
		},
		{
			"no longer elected: answers until the new owner claims", nil,
			func(d *driver) {
				d.elect(mine(Itself))
				d.until(10 * ms)
				d.elect(others())
				d.until(12 * ms)
				d.claimed(2)
				d.until(time.Minute)
			},
			[]string{"0s announce", "0s took over", "10ms stop", "12ms stop", "12ms yielded"}, idle,
		},
		{
			"no longer elected: the new owner's claim is lost, its answer isn't", nil,
			func(d *driver) {
				d.elect(mine(Itself))
				d.until(10 * ms)
				d.elect(others())
				d.until(111 * ms)
				d.claimed(2)
			},
			[]string{"0s announce", "0s took over", "10ms stop", "110ms probe", "111ms stop", "111ms yielded"}, idle,
		},
		{
			"no longer elected: the claim came before the plan", nil,
			func(d *driver) {
				d.elect(mine(Itself))
				d.until(10 * ms)
				d.claimed(2)
				d.until(60 * ms)
				d.elect(others())
				d.until(61 * ms)
				d.claimed(2)
			},
			[]string{"0s announce", "0s took over", "60ms stop", "60ms probe", "61ms stop", "61ms yielded"}, idle,
		},
		{
			"no longer elected: a stranger's answer doesn't end it", nil,
			func(d *driver) {
				d.elect(mine(Itself))
				d.until(10 * ms)
				d.elect(others())
				d.until(12 * ms)
				d.claimed(clientHost)
				d.until(350 * ms)
			},
			[]string{"0s announce", "0s took over", "10ms stop", "12ms conflict", "110ms probe", "310ms probe"}, yielding,
		},
		{
			"elected again while yielding", nil,
			func(d *driver) {
				d.elect(mine(Itself))
				d.elect(others())
				d.until(5 * ms)
				d.elect(mine(Itself))
			},
			[]string{"0s announce", "0s took over", "0s stop", "5ms announce", "5ms took over"}, owning,
		},
		{
			"nobody is to announce it", nil,
			func(d *driver) {
				d.elect(mine(Itself))
				want := others()
				want.Owner = ""
				d.elect(want)
			},
			[]string{"0s announce", "0s took over", "0s stop", "0s released"}, idle,
		},
		{
			"without a link, and back before it notices that all others are gone", nil,
			func(d *driver) {
				d.elect(mine(Itself))
				d.until(10 * ms)
				want := others()
				want.Links = nil
				d.elect(want)
				d.until(20 * ms)
				d.elect(mine(Unheard))
			},
			[]string{"0s announce", "0s took over", "10ms stop", "10ms released", "20ms probe with witnesses"}, verifying,
		},
		{
			"elected no more before it was taken", nil,
			func(d *driver) { d.elect(mine(Nobody)); d.elect(others()); d.until(time.Minute) },
			[]string{"0s probe", "0s stop"}, idle,
		},
		{
			"split brain: the one out of sight ranks lower", []int{2},
			func(d *driver) {
				d.elect(mine(Itself))
				d.until(50 * ms)
				d.claimed(2)
				d.until(55 * ms)
				d.claimed(2) // too soon: the next announcement is due 20 ms after the last
				d.claimed(2)
				d.until(time.Second)
			},
			[]string{"0s announce", "0s took over", "50ms repeat", "50ms split brain", "70ms repeat"}, owning,
		},
		{
			"split brain: the one in sight ranks lower, its view may be ahead", nil,
			func(d *driver) {
				d.elect(mine(Itself))
				d.until(50 * ms)
				d.claimed(2)
				d.until(time.Second)
			},
			[]string{"0s announce", "0s took over", "150ms repeat", "150ms split brain"}, owning,
		},
		{
			"a stranger: held back after a takeover, then defended each 10 s", nil,
			func(d *driver) {
				d.elect(mine(Itself))
				for _, s := range []time.Duration{1, 6, 7, 15, 17} {
					d.until(s * time.Second)
					d.claimed(clientHost)
				}
			},
			[]string{"0s announce", "0s took over", "5s probe", "6s repeat", "6s conflict", "17s repeat"}, owning,
		},
		{
			"a stranger goes away", nil,
			func(d *driver) {
				d.elect(mine(Itself))
				d.until(6 * time.Second)
				d.claimed(clientHost)
				d.until(4 * time.Minute)
			},
			[]string{"0s announce", "0s took over", "6s repeat", "6s conflict", "45s probe", "1m45s probe", "2m45s probe", "2m45s conflict over", "3m45s probe"}, owning,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := drive(testWorld(1, tt.down...))
			tt.run(d)
			if diff := cmp.Diff(tt.want, d.log); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if d.o.state != tt.state {
				t.Errorf("state is %v, want %v", d.o.state, tt.state)
			}
		})
	}
}

// TestDisputes runs node 2, which ranks below node 1 in the order that depends
// on nobody's view.
func TestDisputes(t *testing.T) {
	const ms = time.Millisecond
	own := Address{Links: []string{"eth0"}, Mine: true, Owner: "n2", Previous: Itself}
	tests := []struct {
		name  string
		order []string
		down  []int
		run   func(d *driver)
		want  []string
		state state
	}{
		{
			"the other comes first in the election", []string{"n1", "n2"}, nil,
			func(d *driver) { d.claimed(1) },
			[]string{"stop", "split brain", "held"}, held,
		},
		{
			"the other is out of sight and comes first in the common order", []string{"n2"}, []int{1},
			func(d *driver) { d.claimed(1) },
			[]string{"stop", "split brain", "held"}, held,
		},
		{
			"the other is not eligible but insists for half a second", []string{"n2"}, nil,
			func(d *driver) {
				for range 6 {
					d.claimed(1)
					d.until(d.now.Sub(d.start) + 100*ms)
				}
			},
			[]string{"repeat", "split brain", "repeat", "repeat", "repeat", "repeat", "repeat"}, owning,
		},
		{
			"and longer: the views disagree for good", []string{"n2"}, nil,
			func(d *driver) {
				for range 5 {
					d.claimed(1)
					d.until(d.now.Sub(d.start) + 150*ms)
				}
				d.claimed(1) // its answer to a probe doesn't begin the dispute anew
				d.until(d.now.Sub(d.start) + 150*ms)
			},
			[]string{"repeat", "split brain", "repeat", "repeat", "repeat", "stop", "split brain", "held", "probe"}, held,
		},
		{
			"and the other, which won, yields at last: it probes", []string{"n2"}, nil,
			func(d *driver) {
				for range 5 {
					d.claimed(1)
					d.until(d.now.Sub(d.start) + 150*ms)
				}
				d.log = nil
				d.probed(1)
				d.probed(1)
			},
			[]string{"announce", "took over"}, owning,
		},
		{
			"the winner is gone", []string{"n1", "n2"}, nil,
			func(d *driver) { d.claimed(1); d.until(time.Second) },
			[]string{"stop", "split brain", "held", "probe", "probe", "probe", "probe", "announce", "took over"}, owning,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := drive(testWorld(2, tt.down...))
			want := own
			want.Order = tt.order
			d.elect(want)
			d.log = nil
			tt.run(d)
			for i := range d.log {
				for j, c := range d.log[i] {
					if c == ' ' {
						d.log[i] = d.log[i][j+1:]
						break
					}
				}
			}
			if diff := cmp.Diff(tt.want, d.log); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if d.o.state != tt.state {
				t.Errorf("state is %v, want %v", d.o.state, tt.state)
			}
		})
	}
}

// TestDisputeOfSiblings: addresses that have one owner by election have one by
// dispute, too.
func TestDisputeOfSiblings(t *testing.T) {
	w := testWorld(2, 1)
	w.outranks = func(x, y string, lead netip.Addr) bool { return byName(x, y, lead) == (lead == vip4) }
	for _, a := range vips {
		d := &driver{o: &ownership{addr: a}, w: w, now: time.Unix(1000, 0)}
		d.elect(Address{Links: []string{"eth0"}, Mine: true, Owner: "n2", Lead: vip4, Previous: Itself, Order: []string{"n2"}})
		d.claimed(1)
		if d.o.state != held {
			t.Errorf("%s: state is %v, want %v", a, d.o.state, held)
		}
	}
}

// TestProbeNotSent: a probe that could not be sent is no silence.
func TestProbeNotSent(t *testing.T) {
	w := testWorld(1, 2)
	o := &ownership{addr: vip4}
	now := time.Unix(1000, 0)
	o.elect(now, w, mine(Down))
	for range 100 {
		o.probed(now, false)
		now = o.next
		if fx := o.tick(now, w, sensed{}); fx.probe != urgentProbe {
			t.Fatalf("%+v in state %v", fx, o.state)
		}
	}
}

// model is three nodes and a LAN that delivers all or, if it is split, what
// stays on one side. The nodes' plans come late and in any order.
type model struct {
	t     *rapid.T
	rng   *rand.Rand
	now   time.Time
	nodes []*modelNode
}

type modelNode struct {
	w    *world
	o    ownership
	ann  *announcer
	side int
	busy bool // its traffic never rests
}

func newModel(t *rapid.T) *model {
	m := &model{t: t, rng: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)), now: time.Unix(1000, 0)}
	for i := 1; i <= 3; i++ {
		m.nodes = append(m.nodes, &modelNode{w: testWorld(i), o: ownership{addr: vip4}, ann: newAnnouncer(m.rng)})
	}
	return m
}

func (m *model) perform(n *modelNode, fx effects) {
	switch fx.announce {
	case startAnnouncing:
		n.ann.start(vip4, m.now)
	case repeatAnnouncing:
		n.ann.repeat(vip4, m.now)
	case stopAnnouncing:
		n.ann.stop(vip4)
	}
	if fx.probe == noProbe {
		return
	}
	n.o.probed(m.now, true)
	self := slices.Index(m.nodes, n) + 1
	for i, other := range m.nodes {
		if other == n || other.side != n.side {
			continue
		}
		answers := other.o.answers()
		m.perform(other, other.o.probedBy(m.now, other.w, claimOf(self)))
		if answers {
			m.perform(n, n.o.claimed(m.now, n.w, claimOf(i+1)))
		}
	}
}

// rest is when a node sees traffic rest.
func (m *model) rest(n *modelNode) time.Time {
	if n.busy {
		return m.now.Add(2 * time.Millisecond)
	}
	return m.now
}

// pass lets time pass in milliseconds, in which the nodes come in any order.
func (m *model) pass(d time.Duration, check func()) {
	for end := m.now.Add(d); m.now.Before(end); m.now = m.now.Add(time.Millisecond) {
		for _, i := range m.rng.Perm(len(m.nodes)) {
			n := m.nodes[i]
			if !n.o.next.IsZero() && !n.o.next.After(m.now) {
				m.perform(n, n.o.tick(m.now, n.w, sensed{witness: m.now, rest: m.rest(n)}))
			}
			for _, ok := n.ann.next(m.now); ok; _, ok = n.ann.next(m.now) {
				for _, other := range m.nodes {
					if other != n && other.side == n.side {
						m.perform(other, other.o.claimed(m.now, other.w, claimOf(i+1)))
					}
				}
			}
		}
		check()
	}
}

func (m *model) answering() (nodes []int) {
	for i, n := range m.nodes {
		if n.o.answers() {
			nodes = append(nodes, i+1)
		}
	}
	return nodes
}

// plan gives a node the plan of an order.
func (m *model) plan(i int, order []int, previous Predecessor) {
	n := m.nodes[i-1]
	want := Address{Links: []string{"eth0"}, Owner: nodeOf(order[0]), Mine: order[0] == i, Previous: previous}
	for _, x := range order {
		want.Order = append(want.Order, nodeOf(x))
	}
	m.perform(n, n.o.elect(m.now, n.w, want))
}

// TestMovesAreNeverUnanswered moves an address between living nodes again and
// again, while each learns of each plan at its own time or never. Nobody answers
// only for the moment that an owner waits for the node it told to take over.
func TestMovesAreNeverUnanswered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		order := []int{1, 2, 3}
		for i, n := range m.nodes {
			n.busy = rapid.Bool().Draw(t, "busy")
			m.plan(i+1, order, Itself)
		}
		last := m.now
		answered := func() {
			if len(m.answering()) > 0 {
				last = m.now
			}
			if m.now.Sub(last) > handOverWait {
				t.Fatalf("nobody answers at %v", m.now.Sub(time.Unix(1000, 0)))
			}
		}
		answered()
		for range rapid.IntRange(1, 8).Draw(t, "moves") {
			order = rapid.Permutation([]int{1, 2, 3}).Draw(t, "order")
			order = order[:rapid.IntRange(1, 3).Draw(t, "eligible")]
			for _, i := range rapid.Permutation([]int{1, 2, 3}).Draw(t, "told") {
				if rapid.IntRange(0, 9).Draw(t, "missed") > 0 {
					m.plan(i, order, Alive)
				}
				m.pass(time.Duration(rapid.IntRange(0, 700).Draw(t, "late"))*time.Millisecond, answered)
			}
		}
		for i := 1; i <= 3; i++ {
			m.plan(i, order, Alive)
		}
		m.pass(3*time.Second, answered)
		if diff := cmp.Diff([]int{order[0]}, m.answering()); diff != "" {
			t.Fatalf("in the end (-want +got):\n%s", diff)
		}
	})
}

// TestSplitsHeal splits the LAN, lets each side elect an owner, and joins it
// again while the membership stays split for as long as it likes.
func TestSplitsHeal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		nothing := func() {}
		for i := 1; i <= 3; i++ {
			m.plan(i, []int{1, 2, 3}, Itself)
		}
		sides := rapid.SampledFrom([][]int{{0, 0, 1}, {0, 1, 0}, {0, 1, 1}, {0, 1, 2}}).Draw(t, "sides")
		for i, n := range m.nodes {
			n.side = sides[i]
			n.ann.hasten(m.now)
			for j := range m.nodes {
				if sides[j] != sides[i] {
					n.w.down[nodeOf(j+1)] = struct{}{}
				}
			}
		}
		m.pass(300*time.Millisecond, nothing)
		for i := range m.nodes {
			var order []int
			for j := range m.nodes {
				if sides[j] == sides[i] {
					order = append(order, j+1)
				}
			}
			m.plan(i+1, order, Down)
		}
		m.pass(time.Duration(rapid.IntRange(1, 5000).Draw(t, "split"))*time.Millisecond, nothing)
		for _, n := range m.nodes {
			n.side = 0
		}
		m.pass(2*time.Second, nothing)
		if got := m.answering(); len(got) != 1 {
			t.Fatalf("LAN healed, membership not: %v answer", got)
		}
		for i, n := range m.nodes {
			clear(n.w.down)
			m.plan(i+1, []int{1, 2, 3}, Down)
			m.pass(time.Duration(rapid.IntRange(0, 700).Draw(t, "late"))*time.Millisecond, func() {
				if len(m.answering()) == 0 {
					t.Fatal("nobody answers while the membership heals")
				}
			})
		}
		m.pass(3*time.Second, nothing)
		if got := m.answering(); len(got) != 1 || got[0] != 1 {
			t.Fatalf("in the end: %v", got)
		}
	})
}

func TestVirtualRouters(t *testing.T) {
	tests := []struct {
		mac  [6]byte
		want bool
	}{
		{[6]byte{0, 0, 0x5e, 0, 1, 7}, true},
		{[6]byte{0, 0, 0x5e, 0, 2, 7}, true},
		{[6]byte{0, 0, 0x5e, 0, 3, 7}, false},
		{[6]byte{0, 0, 0x0c, 7, 0xac, 1}, true},
		{[6]byte{0, 0, 0x0c, 0x9f, 0xf1, 1}, true},
		{[6]byte{0, 0, 0x0c, 1, 2, 3}, false},
		{macOf(1), false},
	}
	for _, tt := range tests {
		if got := (Event{MAC: tt.mac}).ProxyARP(); got != tt.want {
			t.Errorf("%x: %v", tt.mac, got)
		}
	}
}
