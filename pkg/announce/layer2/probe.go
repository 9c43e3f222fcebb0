package layer2

import (
	"net/netip"
	"time"

	"golang.org/x/time/rate"
)

const (
	// urgentPerSecond lets 500 addresses of a dead node be asked for three
	// times within 60 ms.
	urgentPerSecond = 25_000
	urgentBurst     = 250
	calmPerSecond   = 2_000
)

// prober paces probes. Those that a takeover waits for have a lane of their own.
type prober struct {
	urgent, calm         agenda[netip.Addr]
	urgentRate, calmRate *rate.Limiter
}

func newProber() *prober {
	return &prober{
		urgentRate: rate.NewLimiter(urgentPerSecond, urgentBurst),
		calmRate:   rate.NewLimiter(calmPerSecond, announceBurst),
	}
}

// ask wants a probe for a. There is at most one at a time.
func (p *prober) ask(a netip.Addr, op probeOp, now time.Time) {
	switch op {
	case urgentProbe:
		p.calm.remove(a)
		p.urgent.set(a, now)
	case calmProbe:
		p.calm.set(a, now)
	}
}

// forget drops what was wanted for a.
func (p *prober) forget(a netip.Addr) {
	p.urgent.remove(a)
	p.calm.remove(a)
}

// next returns an address to probe at now, if there is one.
func (p *prober) next(now time.Time) (netip.Addr, bool) {
	if p.urgent.len() > 0 && p.urgentRate.AllowN(now, 1) {
		return p.urgent.pop(now)
	}
	if p.calm.len() > 0 && p.calmRate.AllowN(now, 1) {
		return p.calm.pop(now)
	}
	return netip.Addr{}, false
}

// wake returns when next has something to say; false when never.
func (p *prober) wake(now time.Time) (time.Time, bool) {
	switch {
	case p.urgent.len() > 0:
		return available(p.urgentRate, now, 1), true
	case p.calm.len() > 0:
		return available(p.calmRate, now, 1), true
	}
	return time.Time{}, false
}
