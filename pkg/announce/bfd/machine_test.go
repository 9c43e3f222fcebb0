package bfd

import (
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var (
	begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	fast  = timing{tx: 50 * time.Millisecond, rx: 50 * time.Millisecond, multiplier: 3}
)

func at(d time.Duration) time.Time { return begin.Add(d) }

func testMachine(want timing) *machine {
	return newMachine(1, want, rand.New(rand.NewPCG(1, 2)))
}

// The table of RFC 5880, section 6.2 with 6.8.6: rows are the state of the
// session, columns what the packet says.
func TestStateTable(t *testing.T) {
	table := map[State][4]State{ //       AdminDown  Down       Init       Up
		AdminDown: {AdminDown, AdminDown, AdminDown, AdminDown},
		Down:      {Down, Init, Up, Down},
		Init:      {Down, Init, Up, Up},
		Up:        {Down, Down, Up, Up},
	}
	for current, row := range table {
		for received, want := range row {
			got, noted := next(current, State(received))
			if got != want {
				t.Errorf("%s, received %s: %s, want %s", current, State(received), got, want)
			}
			if lost := want == Down && current > Down; noted != lost {
				t.Errorf("%s, received %s: diagnostic noted %t, want %t", current, State(received), noted, lost)
			}
		}
	}
}

// remote is a packet of the other side's.
func remote(s State, change ...func(*Packet)) Packet {
	p := Packet{State: s, Multiplier: 3, My: 7, Your: 1, DesiredTx: time.Second, RequiredRx: time.Second}
	if s == Up {
		p.DesiredTx, p.RequiredRx = 50*time.Millisecond, 50*time.Millisecond
	}
	for _, f := range change {
		f(&p)
	}
	return p
}

// bringUp is the exchange with FRR: it says Init, then Up with a Poll.
func bringUp(t *testing.T, m *machine) {
	t.Helper()
	if p := m.due(at(0)); p == nil || p.State != Down || p.DesiredTx != slow || p.RequiredRx != m.want.rx || p.Your != 0 || p.Poll {
		t.Fatalf("first packet %+v", p)
	}
	if m.receive(remote(Init), at(10*time.Millisecond)) != nil || m.state != Up {
		t.Fatalf("state %s", m.state)
	}
	p := m.due(at(10 * time.Millisecond))
	if p == nil || p.State != Up || !p.Poll || p.Your != 7 || p.DesiredTx != m.want.tx {
		t.Fatalf("packet on the way up %+v", p)
	}
}

func TestComesUpWithAPoll(t *testing.T) {
	m := testMachine(fast)
	bringUp(t, m)
	if m.interval() != time.Second {
		t.Errorf("interval %s before the other side asks for more", m.interval())
	}
	answer := m.receive(remote(Up, func(p *Packet) { p.Poll = true }), at(20*time.Millisecond))
	if answer == nil || !answer.Final || answer.Poll {
		t.Errorf("answer to a Poll %+v", answer)
	}
	if next, _ := m.deadline(); m.interval() != 50*time.Millisecond || next.After(at(60*time.Millisecond)) {
		t.Errorf("interval %s, next packet after %s: the timer must follow at once", m.interval(), next.Sub(begin))
	}
	if m.receive(remote(Up, func(p *Packet) { p.Final = true }), at(30*time.Millisecond)) != nil || m.polling {
		t.Error("the Poll goes on after its Final")
	}
	if p := m.due(at(100 * time.Millisecond)); p == nil || p.Poll || p.Final {
		t.Errorf("packet after the Poll %+v", p)
	}
}

func TestDetectionTime(t *testing.T) {
	m := testMachine(fast)
	bringUp(t, m)
	m.receive(remote(Up, func(p *Packet) { p.DesiredTx, p.Multiplier = 80*time.Millisecond, 4 }), at(100*time.Millisecond))
	if m.detection() != 320*time.Millisecond {
		t.Fatalf("detection time %s, want the other side's multiplier times the greater interval", m.detection())
	}
	m.due(at(419 * time.Millisecond))
	if m.state != Up {
		t.Fatal("down too early")
	}
	m.due(at(420 * time.Millisecond))
	if m.state != Down || m.diagnostic != TimeExpired || m.your != 0 || m.said.tx != slow {
		t.Errorf("%s, %s, your %d, tx %s", m.state, m.diagnostic, m.your, m.said.tx)
	}
}

// A process that could not run has packets waiting: it must not blame the path.
func TestLateClockGetsASecondLook(t *testing.T) {
	m := testMachine(fast)
	bringUp(t, m)
	m.receive(remote(Up), at(100*time.Millisecond)) // detection at 250 ms
	m.due(at(400 * time.Millisecond))
	if m.state != Up {
		t.Fatal("went down without a second look")
	}
	saved := *m
	m.receive(remote(Up), at(401*time.Millisecond))
	m.due(at(420 * time.Millisecond))
	if m.state != Up {
		t.Error("went down although a packet was there")
	}
	*m = saved
	m.due(at(420 * time.Millisecond))
	if m.state != Down {
		t.Error("the second look never ends")
	}
}

func TestNeighborSaysDown(t *testing.T) {
	for _, s := range []State{Down, AdminDown} {
		m := testMachine(fast)
		bringUp(t, m)
		m.receive(remote(s), at(time.Second))
		p := m.due(at(time.Second))
		if m.state != Down || m.diagnostic != NeighborDown || p == nil || p.State != Down || p.DesiredTx != slow {
			t.Errorf("%s: %s, %s, %+v", s, m.state, m.diagnostic, p)
		}
	}
}

func TestPassiveWaits(t *testing.T) {
	m := testMachine(fast)
	m.passive = true
	if _, ok := m.deadline(); ok || m.due(at(time.Minute)) != nil {
		t.Error("a passive session begins")
	}
	m.receive(remote(Down, func(p *Packet) { p.Your = 0 }), at(time.Minute))
	if p := m.due(at(time.Minute)); p == nil || p.State != Init {
		t.Errorf("answer %+v", p)
	}
	m.due(at(2 * time.Minute))
	m.due(at(2*time.Minute + time.Second))
	if m.state != Down || m.due(at(time.Hour)) != nil {
		t.Error("it does not fall silent again")
	}
}

func TestOtherSideWantsNothing(t *testing.T) {
	m := testMachine(fast)
	bringUp(t, m)
	m.receive(remote(Up, func(p *Packet) { p.RequiredRx = 0 }), at(100*time.Millisecond))
	if m.due(at(200*time.Millisecond)) != nil {
		t.Error("sent although the other side wants no packets")
	}
	m.due(at(250 * time.Millisecond))
	if p := m.due(at(250 * time.Millisecond)); m.state != Down || p == nil && m.lastTx.Before(at(250*time.Millisecond)) {
		t.Error("silent after the detection time")
	}
}

func TestDemandMode(t *testing.T) {
	m := testMachine(fast)
	bringUp(t, m)
	m.receive(remote(Up, func(p *Packet) { p.Demand, p.Final = true, true }), at(20*time.Millisecond))
	if m.due(at(100*time.Millisecond)) != nil {
		t.Error("periodic packets in demand mode")
	}
	if a := m.receive(remote(Up, func(p *Packet) { p.Demand, p.Poll = true, true }), at(110*time.Millisecond)); a == nil || !a.Final {
		t.Errorf("answer to a Poll in demand mode %+v", a)
	}
}

// RFC 5880, section 6.8.3: until the Poll is answered, neither side may be
// surprised.
func TestIntervalsChangeByPoll(t *testing.T) {
	m := testMachine(fast)
	bringUp(t, m)
	m.receive(remote(Up, func(p *Packet) { p.Final = true; p.RequiredRx = time.Millisecond; p.DesiredTx = time.Millisecond }), at(20*time.Millisecond))

	m.reconfigure(timing{tx: 200 * time.Millisecond, rx: 20 * time.Millisecond, multiplier: 5}, at(30*time.Millisecond))
	if m.interval() != 50*time.Millisecond || m.detection() != 150*time.Millisecond {
		t.Errorf("in force before the Poll is answered: %s, %s", m.interval(), m.detection())
	}
	p := m.due(at(100 * time.Millisecond))
	if p == nil || !p.Poll || p.DesiredTx != 200*time.Millisecond || p.RequiredRx != 20*time.Millisecond || p.Multiplier != 5 {
		t.Fatalf("poll %+v", p)
	}
	m.reconfigure(timing{tx: 300 * time.Millisecond, rx: 20 * time.Millisecond, multiplier: 5}, at(110*time.Millisecond))
	final := func(p *Packet) { p.Final, p.DesiredTx, p.RequiredRx = true, time.Millisecond, time.Millisecond }
	m.receive(remote(Up, final), at(120*time.Millisecond))
	if !m.polling || m.interval() != 50*time.Millisecond {
		t.Error("the answer to the first Poll was taken for one to the second")
	}
	m.receive(remote(Up, final), at(130*time.Millisecond))
	if m.polling || m.interval() != 300*time.Millisecond || m.detection() != 60*time.Millisecond {
		t.Errorf("after the Poll: polling %t, %s, %s", m.polling, m.interval(), m.detection())
	}
	m.reconfigure(fast, at(140*time.Millisecond))
	if next, _ := m.deadline(); m.interval() != 50*time.Millisecond || next.After(at(190*time.Millisecond)) {
		t.Errorf("a shorter interval is not followed at once: %s", next.Sub(begin))
	}
}

func TestJitter(t *testing.T) {
	for multiplier, most := range map[uint8]time.Duration{1: 900 * time.Millisecond, 3: time.Second} {
		m := testMachine(timing{tx: time.Second, rx: time.Second, multiplier: multiplier})
		shortest, longest := time.Hour, time.Duration(0)
		for range 10_000 {
			d := m.jittered(time.Second)
			shortest, longest = min(shortest, d), max(longest, d)
		}
		if shortest != 750*time.Millisecond || longest != most {
			t.Errorf("multiplier %d: %s to %s", multiplier, shortest, longest)
		}
	}
}

func TestShutDown(t *testing.T) {
	m := testMachine(fast)
	bringUp(t, m)
	if p := m.shutDown(at(time.Second)); p.State != AdminDown || p.Diagnostic != AdministrativelyOff || p.Your != 7 {
		t.Errorf("%+v", p)
	}
	if m.receive(remote(Up), at(time.Second)) != nil || m.state != AdminDown {
		t.Error("it comes up again")
	}
}

// Whatever two machines with any timing lose on the way: once the path works
// they are both Up, within seconds, and stay so; and when it breaks, both are
// Down within the detection time.
func TestTwoMachinesAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		interval := rapid.Custom(func(t *rapid.T) time.Duration {
			return time.Duration(rapid.IntRange(10, 2000).Draw(t, "ms")) * time.Millisecond
		})
		side := func(name string, my uint32) *machine {
			want := timing{tx: interval.Draw(t, name+" tx"), rx: interval.Draw(t, name+" rx"), multiplier: uint8(rapid.IntRange(1, 5).Draw(t, name+" multiplier"))}
			m := newMachine(my, want, rand.New(rand.NewPCG(rapid.Uint64().Draw(t, name+" seed"), 1)))
			return m
		}
		a, b := side("a", 1), side("b", 2)
		a.passive = rapid.Bool().Draw(t, "a passive")
		loss := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "loss"), 1))
		now, lossy := begin, 0.3
		pass := func(from, to *machine, p *Packet) {
			for p != nil && loss.Float64() >= lossy {
				p, from, to = to.receive(*p, now), to, from // the answer goes back
			}
		}
		run := func(d time.Duration) {
			for end := now.Add(d); now.Before(end); now = now.Add(time.Millisecond) {
				pass(a, b, a.due(now))
				pass(b, a, b.due(now))
			}
		}
		run(20 * time.Second)
		lossy = 0
		run(20 * time.Second)
		if a.state != Up || b.state != Up {
			t.Fatalf("%s and %s on a path that works", a.state, b.state)
		}
		if a.polling || b.polling || a.inForce != a.want || b.inForce != b.want {
			t.Fatalf("timing %+v and %+v not agreed", a.inForce, b.inForce)
		}
		for range 20 {
			if run(time.Second); a.state != Up || b.state != Up {
				t.Fatalf("%s and %s after a while", a.state, b.state)
			}
		}
		lossy = 2
		run(max(a.detection(), b.detection()) + 2*time.Millisecond)
		if a.state != Down || b.state != Down {
			t.Fatalf("%s and %s on a broken path", a.state, b.state)
		}
	})
}
