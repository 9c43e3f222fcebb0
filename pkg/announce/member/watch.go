package member

import "time"

const (
	tickEvery = 50 * time.Millisecond
	// A tick that comes this late was missed because this process or its
	// host stood still: what wasn't heard says nothing about others.
	tickLate = tickEvery / 2
	// After a stall, what came meanwhile has been read this much later.
	tickAgain = 10 * time.Millisecond
	stepAgain = 3 * time.Millisecond

	missesToProbe = 2
	probeStep     = 15 * time.Millisecond
	probeSteps    = 5
	stallHold     = 2 * time.Second        // how long a stalled agent on a live kernel keeps its addresses
	stallProbe    = 200 * time.Millisecond // between two looks at a stalled agent
	newcomerGrace = 500 * time.Millisecond // until all filters let a new member in
)

// watch is this node's watching of one member. Each tick sends a ping and
// looks for the echo of the one before. Two misses, or a refusal by the
// member's kernel, start a probe: five pings and five TCP connects in 75 ms,
// which decides. The kernel completes a connect while the agent stands still,
// so a connect that succeeds is a live host, one that is reset a host without
// an agent, and nothing at all a host that is gone.
type watch struct {
	quiet   time.Time // misses count from then on
	pings   uint64    // number of the latest ping
	wanted  uint64    // number of the ping whose echo the next tick looks for
	echoed  uint64    // number of the latest ping answered
	missed  int
	probe   *probe
	probes  uint64    // number of the latest probe
	rest    time.Time // no probe for misses before it
	stalled time.Time // since when the kernel answers and the agent doesn't
	down    Cause     // the opinion: why it is down; zero if it isn't
}

// probe is a burst of pings and connects.
type probe struct {
	number           uint64
	started, due     time.Time
	steps            int
	udpGone, tcpGone bool // the kernel said that nobody listens
}

// orders is what a watch wants sent.
type orders struct {
	ping    bool // with number watch.pings
	connect bool // for probe number watch.probes
}

// tick is called every 50 ms.
func (w *watch) tick(now time.Time) orders {
	switch {
	case w.echoed >= w.wanted:
		w.missed = 0
	case !now.Before(w.quiet):
		w.missed++
	}
	var o orders
	if w.missed >= missesToProbe && !now.Before(w.rest) {
		o = w.startProbe(now)
	}
	if !o.ping {
		o = orders{ping: true}
		w.pings++
	}
	w.wanted = w.pings
	return o
}

// late is called in the place of a tick that came too late: nothing is
// missed, and nothing was seen standing still by one who stood still.
func (w *watch) late() orders {
	w.stalled = time.Time{}
	w.pings++
	return orders{ping: true}
}

func (w *watch) startProbe(now time.Time) orders {
	if w.probe != nil || w.down != 0 {
		return orders{}
	}
	w.probes++
	w.pings++
	w.probe = &probe{number: w.probes, started: now, due: now.Add(probeStep)}
	return orders{ping: true, connect: true}
}

// step is called when the probe's time has come. One that comes late is put
// off a little: what a process that stood still hasn't read yet is no evidence.
func (w *watch) step(now time.Time) orders {
	p := w.probe
	if p == nil || now.Before(p.due) {
		return orders{}
	}
	if now.Sub(p.due) >= probeStep {
		p.due = now.Add(stepAgain)
		return orders{}
	}
	if p.steps++; p.steps >= probeSteps {
		w.conclude(HostGone)
		return orders{}
	}
	p.due = now.Add(probeStep)
	w.pings++
	return orders{ping: true, connect: true}
}

// doubt is called when another watcher has heard the member again: what the
// probe didn't hear before that is no evidence any more.
func (w *watch) doubt() {
	if w.probe != nil {
		w.probe.steps = 0
	}
}

func (w *watch) conclude(c Cause) {
	if c == HostGone && (w.probe.udpGone || w.probe.tcpGone) {
		c = AgentGone // a refusal comes from a live kernel
	}
	w.down, w.probe, w.stalled = c, nil, time.Time{}
}

// echo takes the answer to a ping. It reports whether it is a new one.
func (w *watch) echo(number uint64) bool {
	if number <= w.echoed || number > w.pings {
		return false
	}
	w.echoed, w.missed, w.probe, w.stalled, w.down = number, 0, nil, time.Time{}, 0
	return true
}

// refused takes an ICMP refusal of a ping: a process that isn't there.
func (w *watch) refused(now time.Time) orders {
	if w.probe != nil {
		w.probe.udpGone = true
		w.agentGone()
		return orders{}
	}
	return w.startProbe(now)
}

// reset takes a TCP refusal.
func (w *watch) reset(number uint64) {
	if w.probe != nil && w.probe.number == number {
		w.probe.tcpGone = true
		w.agentGone()
	}
}

// agentGone concludes as soon as both protocols were refused; one of them
// alone may be forged, or a rule of a firewall.
func (w *watch) agentGone() {
	if w.probe.udpGone && w.probe.tcpGone {
		w.conclude(AgentGone)
	}
}

// connected takes a completed connect: the kernel lives, so the agent stands
// still, or our packets don't reach it.
func (w *watch) connected(now time.Time, number uint64) {
	p := w.probe
	if p == nil || p.number != number {
		return
	}
	if w.stalled.IsZero() {
		w.stalled = p.started
	}
	if now.Sub(w.stalled) >= stallHold {
		w.conclude(Stalled)
		return
	}
	w.probe, w.rest = nil, now.Add(stallProbe)
}
