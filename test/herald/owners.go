package herald

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/herald-lb/herald/test/lab"
)

// Sighting is who answered for an address from a time on: nobody, one host or,
// as it may be for a moment while an address moves, several.
type Sighting struct {
	At    time.Time
	Hosts []string
}

// Owner is the host that answered alone, and "" if there was no such host.
func (s Sighting) Owner() string {
	if len(s.Hosts) == 1 {
		return s.Hosts[0]
	}
	return ""
}

// Owners asks the LAN again and again who has some addresses. It asks from the
// router: a client's kernel would learn from answers to questions that it never
// asked, from both nodes in a moment at which both answer.
type Owners struct {
	cancel context.CancelFunc
	asking sync.WaitGroup

	mu   sync.Mutex // guards the field below
	seen map[netip.Addr][]Sighting
}

// askEvery is the pause after each question, which itself takes 200 ms.
const askEvery = 50 * time.Millisecond

// WatchOwners watches until Stop is called.
func (c *Cluster) WatchOwners(addresses []netip.Addr) *Owners {
	ctx, cancel := context.WithCancel(context.Background())
	o := &Owners{cancel: cancel, seen: map[netip.Addr][]Sighting{}}
	for _, a := range addresses {
		o.asking.Go(func() { o.watch(ctx, c.Lab, a) })
	}
	return o
}

// Stop ends the watch.
func (o *Owners) Stop() {
	o.cancel()
	o.asking.Wait()
}

func (o *Owners) watch(ctx context.Context, l *lab.Lab, a netip.Addr) {
	for ctx.Err() == nil {
		at := time.Now()
		if answers, err := l.WhoHas(ctx, lab.Router, a); err == nil && ctx.Err() == nil {
			o.saw(a, at, answers)
		}
		select {
		case <-ctx.Done():
		case <-time.After(askEvery):
		}
	}
}

func (o *Owners) saw(a netip.Addr, at time.Time, answers []lab.Answer) {
	hosts := make([]string, len(answers))
	for i, answer := range answers {
		hosts[i] = answer.Host
	}
	slices.Sort(hosts)
	o.mu.Lock()
	defer o.mu.Unlock()
	if all := o.seen[a]; len(all) == 0 || !slices.Equal(all[len(all)-1].Hosts, hosts) {
		o.seen[a] = append(all, Sighting{At: at, Hosts: hosts})
	}
}

// Last is what was seen last of an address.
func (o *Owners) Last(a netip.Addr) Sighting {
	o.mu.Lock()
	defer o.mu.Unlock()
	if all := o.seen[a]; len(all) > 0 {
		return all[len(all)-1]
	}
	return Sighting{}
}

// Seen lists what was seen of an address, a sighting for each change.
func (o *Owners) Seen(a netip.Addr) []Sighting {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.seen[a])
}

// Moves lists the owners that followed each other, times without an owner or
// with several left out: an address that never moved has one.
func (o *Owners) Moves(a netip.Addr) []string {
	var out []string
	for _, s := range o.Seen(a) {
		if owner := s.Owner(); owner != "" {
			out = append(out, owner)
		}
	}
	return slices.Compact(out)
}

// Settled reports for how long an address has had one owner, and whose it is;
// zero if it has none or several.
func (o *Owners) Settled(a netip.Addr) (time.Duration, string) {
	s := o.Last(a)
	if s.Owner() == "" {
		return 0, ""
	}
	return time.Since(s.At), s.Owner()
}
