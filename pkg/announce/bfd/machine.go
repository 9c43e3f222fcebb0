package bfd

import (
	"math/rand/v2"
	"time"
)

// slow is the least transmit interval of a session that is not Up (RFC 5880,
// section 6.8.3).
const slow = time.Second

// A detection time that was noticed later than lateLimit is looked at once
// more, after secondLook.
const (
	lateLimit  = 5 * time.Millisecond
	secondLook = 20 * time.Millisecond
)

// timing is what a session is to send and to receive.
type timing struct {
	tx, rx     time.Duration
	multiplier uint8
}

// machine is one session (RFC 5880, section 6.8.1). It sends nothing itself:
// due and receive return packets.
type machine struct {
	rand    *rand.Rand
	passive bool
	my      uint32 // discriminator
	want    timing // once Up

	state      State
	diagnostic Diagnostic

	// What packets say, and what is in force: the two differ while a Poll
	// Sequence is on its way (section 6.8.3).
	said    timing
	inForce timing
	polling bool
	again   bool // said has changed since the Poll began

	your             uint32
	remoteState      State
	remoteDiagnostic Diagnostic
	remoteTx         time.Duration
	remoteRx         time.Duration // 0: it does not want packets
	remoteMultiplier uint8
	remoteDemand     bool

	lastTx   time.Time
	nextTx   time.Time
	detect   time.Time // when to give up; zero: nothing was heard
	secondly bool      // detect was put off
}

func newMachine(my uint32, want timing, r *rand.Rand) *machine {
	m := &machine{rand: r, my: my, want: want, state: Down, remoteState: Down, remoteRx: time.Microsecond}
	m.said = m.slowly()
	m.inForce = m.said
	return m
}

// slowly is the timing while the session is not Up.
func (m *machine) slowly() timing {
	t := m.want
	t.tx = max(t.tx, slow)
	return t
}

// interval is the time between two packets, without jitter.
func (m *machine) interval() time.Duration { return max(m.inForce.tx, m.remoteRx) }

// detection is how long to wait for a packet (section 6.8.4).
func (m *machine) detection() time.Duration {
	return time.Duration(m.remoteMultiplier) * max(m.inForce.rx, m.remoteTx)
}

// jittered takes 0 to 25 percent off, and at least 10 when a single packet is
// all the other side waits for (section 6.8.7).
func (m *machine) jittered(d time.Duration) time.Duration {
	least := int64(0)
	if m.said.multiplier == 1 {
		least = 10
	}
	percent := least + m.rand.Int64N(26-least)
	return d - d*time.Duration(percent)/100
}

// silent reports whether no periodic packets are to be sent (section 6.8.7).
func (m *machine) silent() bool {
	return m.passive && m.your == 0 || m.remoteRx == 0 ||
		m.remoteDemand && m.state == Up && m.remoteState == Up && !m.polling
}

// deadline is when due has something to do; false: only once a packet came.
func (m *machine) deadline() (time.Time, bool) {
	tx, det := m.nextTx, m.detect
	switch {
	case m.silent() && det.IsZero():
		return time.Time{}, false
	case m.silent():
		return det, true
	case det.IsZero() || tx.Before(det):
		return tx, true
	}
	return det, true
}

// due does what the clock asks for, and returns the packet to send, if any.
func (m *machine) due(now time.Time) *Packet {
	if !m.detect.IsZero() && !now.Before(m.detect) {
		m.expire(now)
	}
	if m.silent() || now.Before(m.nextTx) {
		return nil
	}
	p := m.packet()
	p.Poll = m.polling
	m.lastTx = now
	m.nextTx = now.Add(m.jittered(m.interval()))
	return &p
}

// expire is the end of the detection time.
func (m *machine) expire(now time.Time) {
	if now.Sub(m.detect) > lateLimit && !m.secondly {
		m.detect, m.secondly = now.Add(secondLook), true
		return
	}
	m.detect, m.secondly = time.Time{}, false
	m.your = 0 // section 6.8.1, bfd.RemoteDiscr
	m.remoteRx, m.remoteDemand = time.Microsecond, false
	if m.state == Init || m.state == Up {
		m.become(Down, TimeExpired, now)
	}
}

func (m *machine) packet() Packet {
	return Packet{
		Diagnostic: m.diagnostic, State: m.state, Multiplier: m.said.multiplier,
		My: m.my, Your: m.your, DesiredTx: m.said.tx, RequiredRx: m.said.rx,
	}
}

// next is the state machine of section 6.2 and 6.8.6: the state after a packet
// that says received, and whether there is a diagnostic to note.
func next(current, received State) (State, bool) {
	switch {
	case current == AdminDown:
		return AdminDown, false
	case received == AdminDown && current != Down:
		return Down, true
	case current == Down && received == Down:
		return Init, false
	case current == Down && received == Init, current == Init && (received == Init || received == Up):
		return Up, false
	case current == Up && received == Down:
		return Down, true
	}
	return current, false
}

// receive takes a packet that passed all checks, and returns the answer to a
// Poll, if it is one.
func (m *machine) receive(p Packet, now time.Time) *Packet {
	before := m.interval()
	m.your, m.remoteState, m.remoteDiagnostic = p.My, p.State, p.Diagnostic
	m.remoteTx, m.remoteRx, m.remoteMultiplier, m.remoteDemand = p.DesiredTx, p.RequiredRx, p.Multiplier, p.Demand
	if p.Final && m.polling {
		m.polled()
	}
	if m.state == AdminDown {
		return nil
	}
	if s, down := next(m.state, p.State); s != m.state {
		d := m.diagnostic
		if down {
			d = NeighborDown
		}
		m.become(s, d, now)
	}
	m.detect, m.secondly = now.Add(m.detection()), false
	if m.interval() < before {
		m.hurry(now)
	}
	if !p.Poll {
		return nil
	}
	answer := m.packet()
	answer.Final = true
	return &answer
}

// become changes the state, and the timing with it. The other side is to know
// at once.
func (m *machine) become(s State, d Diagnostic, now time.Time) {
	m.state, m.diagnostic = s, d
	if s == Up {
		m.diagnostic = NoDiagnostic
		m.say(m.want)
	} else {
		// No Poll: packets are slow anyway, and the other side goes Down, too.
		m.said = m.slowly()
		m.inForce, m.polling, m.again = m.said, false, false
	}
	m.nextTx = now
}

// reconfigure changes the timing that the session is to have when Up.
func (m *machine) reconfigure(want timing, now time.Time) {
	m.want = want
	if m.state == Up {
		m.say(want)
	} else {
		m.said = m.slowly()
		m.inForce = m.said
	}
	m.hurry(now)
}

// say announces a timing by a Poll Sequence (section 6.8.3). Until it is
// answered, packets come as often as before at least, and are waited for as
// long as before at least.
func (m *machine) say(t timing) {
	if t == m.said {
		return
	}
	m.said = t
	m.inForce = timing{tx: min(m.inForce.tx, t.tx), rx: max(m.inForce.rx, t.rx), multiplier: t.multiplier}
	m.again = m.polling
	m.polling = true
}

// polled ends a Poll Sequence.
func (m *machine) polled() {
	m.polling, m.again = m.again, false
	if !m.polling {
		m.inForce = m.said
	}
}

// hurry moves the next packet forward when the interval has become shorter.
func (m *machine) hurry(now time.Time) {
	next := m.lastTx.Add(m.jittered(m.interval()))
	if next.Before(now) {
		next = now
	}
	if next.Before(m.nextTx) {
		m.nextTx = next
	}
}

// shutDown returns the packet that tells the other side that the session ends
// by intent. Nothing else is sent or received any more.
func (m *machine) shutDown(now time.Time) Packet {
	m.become(AdminDown, AdministrativelyOff, now)
	m.detect = time.Time{}
	return m.packet()
}
