package member

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// delegate is what memberlist calls, most of it while it holds its lock: each
// method only hands over what it is given.
type delegate struct{ m *Member }

var (
	_ memberlist.Delegate         = (*delegate)(nil)
	_ memberlist.EventDelegate    = (*delegate)(nil)
	_ memberlist.AliveDelegate    = (*delegate)(nil)
	_ memberlist.ConflictDelegate = (*delegate)(nil)
)

// NodeMeta implements memberlist.Delegate.
func (d *delegate) NodeMeta(int) []byte { return *d.m.encoded.Load() }

// NotifyMsg implements memberlist.Delegate.
func (d *delegate) NotifyMsg([]byte) {}

// GetBroadcasts implements memberlist.Delegate.
func (d *delegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState implements memberlist.Delegate.
func (d *delegate) LocalState(bool) []byte { return nil }

// MergeRemoteState implements memberlist.Delegate.
func (d *delegate) MergeRemoteState([]byte, bool) {}

// NotifyJoin implements memberlist.EventDelegate.
func (d *delegate) NotifyJoin(n *memberlist.Node) { d.present(n) }

// NotifyUpdate implements memberlist.EventDelegate.
func (d *delegate) NotifyUpdate(n *memberlist.Node) { d.present(n) }

func (d *delegate) present(n *memberlist.Node) {
	name, meta := n.Name, slices.Clone(n.Meta)
	addr, _ := netip.AddrFromSlice(n.Addr)
	if name == d.m.options.Name {
		return
	}
	d.m.mail.post(func(c *core, now time.Time) { c.present(now, name, addr.Unmap(), meta) })
}

// NotifyLeave implements memberlist.EventDelegate.
func (d *delegate) NotifyLeave(n *memberlist.Node) {
	name := n.Name
	if name == d.m.options.Name {
		return
	}
	d.m.mail.post(func(c *core, now time.Time) { c.absent(now, name) })
}

var errStrangeNode = errors.New("its name, address or port isn't that of a member")

// NotifyAlive implements memberlist.AliveDelegate: it keeps out what no
// announcer says of itself.
func (d *delegate) NotifyAlive(n *memberlist.Node) error {
	addr, ok := netip.AddrFromSlice(n.Addr)
	addr = addr.Unmap()
	if !ok || addr.Is4() != d.m.options.Address.Is4() || addr.IsUnspecified() || addr.IsMulticast() || !validName(n.Name) || n.Port != d.m.options.Port {
		return errStrangeNode
	}
	return nil
}

// NotifyConflict implements memberlist.ConflictDelegate.
func (d *delegate) NotifyConflict(existing, other *memberlist.Node) {
	name, have, claims := existing.Name, existing.Addr.String(), other.Addr.String()
	d.m.mail.post(func(*core, time.Time) {
		d.m.options.Metrics.conflicts.Inc()
		d.m.log.Warn("Two nodes have one name, the second isn't taken while the first is alive", "node", name, "address", have, "second", claims)
	})
}

// rejoin looks for lost members until the context ends: memberlist does it
// only once.
func (m *Member) rejoin(ctx context.Context, list *memberlist.Memberlist) {
	r := rand.New(rand.NewPCG(uint64(m.session), 0))
	j := joiner{list: list, port: m.options.Port, busy: map[netip.Addr]bool{}}
	defer j.wg.Wait()
	start, before := time.Now(), time.Duration(0)
	for {
		p := m.places.Load()
		for _, a := range rejoinChoice(p.known, p.alive, r) {
			j.join(a)
		}
		now := time.Since(start)
		if greetingDue(before, now) && len(p.alive) > 0 {
			j.join(p.alive[r.IntN(len(p.alive))])
		}
		before = now
		wait := rejoinAfter(r)
		if len(p.alive) == 0 && now < eagerFor {
			wait = eagerEvery
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// joiner joins addresses, each once at a time.
type joiner struct {
	list *memberlist.Memberlist
	port uint16
	wg   sync.WaitGroup

	mu   sync.Mutex // guards the field below
	busy map[netip.Addr]bool
}

func (j *joiner) join(a netip.Addr) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.busy[a] {
		return
	}
	j.busy[a] = true
	j.wg.Go(func() {
		// memberlist logs the error, and the next round tries again.
		_, _ = j.list.Join([]string{netip.AddrPortFrom(a, j.port).String()})
		j.mu.Lock()
		defer j.mu.Unlock()
		delete(j.busy, a)
	})
}
