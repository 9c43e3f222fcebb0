package layer2

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/herald-lb/herald/pkg/announce"
)

const (
	minBackOff = 10 * time.Millisecond
	maxBackOff = time.Second

	// stuckFor is how long nothing is written after a write that timed out, so
	// that a link that takes no frames costs the others little.
	stuckFor = time.Second
)

// port is one open wire and the loop that answers on it.
type port struct {
	family  Family
	wire    Wire
	link    atomic.Pointer[announce.Link] // as last seen; its MAC may change while the wire is open
	table   *atomic.Pointer[table]
	seen    chan<- report
	guard   *guard
	metrics *Metrics
	count   *portMetrics
	ranges  []Range

	stuckUntil atomic.Int64 // Unix time in nanoseconds
}

// report is a sighting that the ownership of an address depends on.
type report struct {
	sighting
	link int
	name string
}

// serve answers until the wire is closed.
func (p *port) serve(done <-chan struct{}) {
	out := make([]byte, 0, maxFrame)
	readFrames(p.wire, done, p.count.readErrors, func(frame []byte) { p.handle(frame, out) })
}

// readFrames hands on what a wire receives until it is closed. Any other error is
// no reason to end: a link that is down comes back, and the same wire with it.
func readFrames(w Wire, done <-chan struct{}, failed prometheus.Counter, handle func(frame []byte)) {
	in := make([]byte, maxFrame)
	wait := minBackOff
	for {
		n, err := w.ReadFrame(in)
		if err == nil {
			wait = minBackOff
			handle(in[:n])
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		failed.Inc()
		select {
		case <-done:
			return
		case <-time.After(wait):
		}
		wait = min(2*wait, maxBackOff)
	}
}

// handle judges one frame, answers it and passes on what it tells.
func (p *port) handle(frame, out []byte) {
	link := *p.link.Load()
	reply, s := decide(link, p.table.Load(), frame, out)
	p.count.count(s)
	if len(reply) > 0 {
		switch {
		case !p.guard.allow(time.Now(), s.mac, s.addr):
			p.count.suppressed.Inc()
		case p.write(reply):
			p.count.replies.Inc()
		}
	}
	if s.kind != sawClaim && s.kind != sawWitness && (s.kind != sawProbe || s.node == "") {
		return
	}
	select {
	case p.seen <- report{s, link.Index, link.Name}:
	default:
		p.metrics.overrun.Inc()
	}
}

// write reports whether the frame was sent.
func (p *port) write(frame []byte) bool {
	if len(frame) == 0 {
		return false
	}
	if time.Now().UnixNano() < p.stuckUntil.Load() {
		return false
	}
	if err := p.wire.WriteFrame(frame); err != nil {
		p.count.writeErrors.Inc()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			p.stuckUntil.Store(time.Now().Add(stuckFor).UnixNano())
		}
		return false
	}
	return true
}

// probe asks who else answers for a and reports whether the frame was sent.
func (p *port) probe(a netip.Addr) bool {
	mac := p.link.Load().MAC
	var frame []byte
	if p.family == IPv4 {
		frame = arpProbe(nil, mac, a)
	} else {
		frame = neighborProbe(nil, mac, a)
	}
	p.count.probes.Inc()
	return p.write(frame)
}

// announce sends the forms of an announcement.
func (p *port) announce(a announcement) {
	link := *p.link.Load()
	var frames [][]byte
	switch {
	case p.family == IPv6:
		frames = append(frames, neighborAnnounce(nil, link, a.addr))
	default:
		if a.forms.request {
			frames = append(frames, arpAnnounceRequest(nil, link.MAC, a.addr))
		}
		if a.forms.reply {
			frames = append(frames, arpAnnounceReply(nil, link.MAC, a.addr))
		}
	}
	for _, f := range frames {
		if p.write(f) {
			p.count.announcements.Inc()
		}
	}
}

// narrow updates the wire's filter when the ranges changed.
func (p *port) narrow(ranges []Range) error {
	if slices.Equal(p.ranges, ranges) {
		return nil
	}
	if err := p.wire.SetRanges(ranges); err != nil {
		return err
	}
	p.ranges = ranges
	return nil
}
