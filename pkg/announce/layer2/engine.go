package layer2

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"go4.org/netipx"
)

const (
	// minSleep bounds how often the loop turns: paced frames leave in small
	// batches.
	minSleep = 500 * time.Microsecond

	statsEvery   = 10 * time.Second
	claimsAtOnce = 256
)

// engine is the one goroutine that owns the state of all addresses. The read
// loops of the ports answer by themselves, from the table; what they see and
// what is desired comes here.
type engine struct {
	s     *Speaker
	done  <-chan struct{} // closed when the speaker ends
	world world

	addresses map[netip.Addr]*address
	links     map[int]*link
	timers    agenda[netip.Addr]
	prober    *prober
	witnesses []netip.Addr
	pools     []netipx.IPRange

	seen    chan report
	events  []Event
	readers sync.WaitGroup
	groups  *groupKeeper
	watcher *watcher
	statsAt time.Time
}

// address is one address of the plan.
type address struct {
	own   ownership
	entry *entry
}

func newEngine(ctx context.Context, s *Speaker) *engine {
	e := &engine{
		s: s, done: ctx.Done(),
		addresses: make(map[netip.Addr]*address),
		links:     make(map[int]*link),
		prober:    newProber(),
		seen:      make(chan report, seenBuffer),
		groups:    newGroupKeeper(s.cfg.Groups, s.cfg.Log),
		watcher:   newWatcher(),
	}
	e.world = world{
		self:     s.cfg.Self,
		outranks: s.cfg.Outranks,
		spread:   func(d time.Duration) time.Duration { return jitter(s.cfg.Rand, d) },
	}
	e.readers.Go(func() { e.groups.run(ctx) })
	return e
}

// loop is the only place where the engine waits.
func (e *engine) loop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var events chan<- Event
		var first Event
		if len(e.events) > 0 {
			events, first = e.s.events, e.events[0]
		}
		select {
		case <-ctx.Done():
			return
		case <-e.s.applied:
			e.apply(time.Now(), e.s.desired.Load())
		case r := <-e.seen:
			e.see(r)
		case events <- first:
			e.events = e.events[1:]
			continue
		case <-timer.C:
		}
		e.act(time.Now())
		timer.Reset(e.sleep(time.Now()))
	}
}

// see takes in what a port saw, and what waits behind it.
func (e *engine) see(r report) {
	now := time.Now()
	for range claimsAtOnce {
		e.sight(now, r)
		select {
		case r = <-e.seen:
		default:
			return
		}
	}
}

func (e *engine) sight(now time.Time, r report) {
	a := e.addresses[r.addr]
	c := claim{mac: r.mac, node: r.node, link: r.name}
	switch {
	case r.kind == sawWitness:
		if l := e.links[r.link]; l != nil {
			l.witnessed = now
		}
	case a == nil:
	case r.kind == sawProbe:
		e.perform(now, a, a.own.probedBy(now, &e.world, c))
	default:
		e.perform(now, a, a.own.claimed(now, &e.world, c))
	}
}

// act does everything that is due.
func (e *engine) act(now time.Time) {
	for k, ok := e.timers.pop(now); ok; k, ok = e.timers.pop(now) {
		a := e.addresses[k]
		e.perform(now, a, a.own.tick(now, &e.world, sensed{witness: e.witnessed(a), rest: e.watcher.rest(k, now)}))
	}
	for k, ok := e.prober.next(now); ok; k, ok = e.prober.next(now) {
		a := e.addresses[k]
		a.own.probed(now, e.probe(a))
		a.entry.show(&a.own)
		e.schedule(a)
	}
	for _, l := range e.links {
		for n, ok := l.announcer.next(now); ok; n, ok = l.announcer.next(now) {
			if p := l.ports[FamilyOf(n.addr)]; p != nil {
				p.announce(n)
			}
		}
		if !l.reopenAt.IsZero() && !l.reopenAt.After(now) {
			e.openPorts(now, l)
		}
	}
	e.watch()
	if !e.statsAt.After(now) {
		e.statsAt = now.Add(statsEvery)
		e.collect()
	}
}

// perform carries out what a transition asks for.
func (e *engine) perform(now time.Time, a *address, fx effects) {
	addr := a.own.addr
	a.entry.show(&a.own)
	e.watcher.follow(addr, a.own.wanted(now), now)
	for _, i := range a.entry.links {
		switch l := e.links[i]; fx.announce {
		case startAnnouncing:
			l.announcer.start(addr, now)
		case repeatAnnouncing:
			l.announcer.repeat(addr, now)
		case stopAnnouncing:
			l.announcer.stop(addr)
		}
	}
	if a.own.state == idle {
		e.prober.forget(addr)
	}
	e.prober.ask(addr, fx.probe, now)
	if fx.witnesses {
		e.askWitnesses(now, a)
	}
	for _, ev := range fx.events {
		e.emit(ev)
	}
	e.schedule(a)
}

func (e *engine) schedule(a *address) {
	if a.own.next.IsZero() {
		e.timers.remove(a.own.addr)
		return
	}
	e.timers.set(a.own.addr, a.own.next)
}

func (e *engine) emit(ev Event) {
	e.s.cfg.Metrics.events.WithLabelValues(ev.Kind.String()).Inc()
	if len(e.events) >= eventBuffer {
		e.events = e.events[1:]
	}
	e.events = append(e.events, ev)
}

// probe asks on all links of an address and reports whether any frame left.
func (e *engine) probe(a *address) bool {
	sent := false
	for _, i := range a.entry.links {
		if p := e.links[i].ports[FamilyOf(a.own.addr)]; p != nil && p.probe(a.own.addr) {
			sent = true
		}
	}
	return sent
}

// sleep returns how long nothing is due.
func (e *engine) sleep(now time.Time) time.Duration {
	at := e.statsAt
	earlier := func(t time.Time, ok bool) {
		if ok && t.Before(at) {
			at = t
		}
	}
	_, due, ok := e.timers.peek()
	earlier(due, ok)
	earlier(e.prober.wake(now))
	for _, l := range e.links {
		earlier(l.announcer.wake(now))
		earlier(l.reopenAt, !l.reopenAt.IsZero())
	}
	return max(at.Sub(now), minSleep)
}

// collect reads the sockets' counters and counts the addresses' states.
func (e *engine) collect() {
	var count [states]int
	conflicts := 0
	for _, a := range e.addresses {
		count[a.own.state]++
		if a.own.foreign != (claim{}) {
			conflicts++
		}
	}
	m := e.s.cfg.Metrics
	for s := range states {
		m.addresses.WithLabelValues(s.String()).Set(float64(count[s]))
	}
	m.conflicts.Set(float64(conflicts))
	for _, l := range e.links {
		for _, p := range l.ports {
			if n, err := p.wire.Drops(); err == nil {
				p.count.drops.Add(float64(n))
			}
		}
	}
}

// close stops answering, ends the read loops and waits for them.
func (e *engine) close() {
	for _, a := range e.addresses {
		a.entry.show(&ownership{})
	}
	for _, l := range e.links {
		e.closeLink(l)
	}
	e.readers.Wait()
}
