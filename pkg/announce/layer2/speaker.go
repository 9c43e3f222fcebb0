package layer2

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/herald-lb/herald/pkg/announce"
)

const (
	seenBuffer = 4096
	// eventBuffer bounds what is kept for a reader that doesn't read.
	eventBuffer = 1 << 16
)

// Config is what a Speaker needs.
type Config struct {
	// Self is this node's name.
	Self string
	// Opener opens the wires; Sockets does on a real machine.
	Opener Opener
	// Groups holds the multicast memberships; nil when the wires need none.
	Groups Groups
	// Outranks is a total order of nodes for an address's Lead that doesn't depend
	// on anybody's view of the cluster: the election's order without its question
	// who is eligible. It decides between nodes whose views disagree.
	Outranks func(x, y string, lead netip.Addr) bool
	// Log and Metrics may be nil.
	Log     *slog.Logger
	Metrics *Metrics
	// Rand spreads refreshes and probes; nil is a seed of its own.
	Rand *rand.Rand
}

// Speaker answers ARP and neighbour discovery for the addresses that are this
// node's, and sees to it that their ownership moves without a gap.
type Speaker struct {
	cfg     Config
	desired atomic.Pointer[Desired]
	applied chan struct{} // holds one token while desired hasn't been taken up
	events  chan Event
	table   atomic.Pointer[table]
}

// New returns a speaker that does nothing until Run.
func New(cfg Config) *Speaker {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics()
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	s := &Speaker{cfg: cfg, applied: make(chan struct{}, 1), events: make(chan Event)}
	s.table.Store(&table{})
	return s
}

// Apply replaces the desired state. It doesn't wait; of states that come faster
// than they can be taken up only the last one counts.
func (s *Speaker) Apply(d Desired) {
	s.desired.Store(&d)
	select {
	case s.applied <- struct{}{}:
	default:
	}
}

// Events delivers what happens to addresses, in order. It is closed when Run
// returns. A reader that doesn't read loses the oldest, after 65,536.
func (s *Speaker) Events() <-chan Event { return s.events }

// Owned returns the addresses that this node answers for, sorted; those too that
// it is silent about for the moment of a hand-over. A node that is about to stop
// can go when none is left: each has been taken over by another node that
// verifiably answers.
func (s *Speaker) Owned() []netip.Addr {
	var owned []netip.Addr
	for a, e := range s.table.Load().addresses {
		if e.serves.Load() {
			owned = append(owned, a)
		}
	}
	slices.SortFunc(owned, netip.Addr.Compare)
	return owned
}

// Run speaks until ctx is done; then it stops answering at once and returns nil
// when everything it started has ended. It can be called once.
func (s *Speaker) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	e := newEngine(ctx, s)
	defer close(s.events)
	defer e.close()
	e.loop(ctx)
	return nil
}

// linkSetOf returns the links with these names, by ascending index.
func linkSetOf(links []announce.Link, names []string) []int {
	var set []int
	for _, l := range links {
		if slices.Contains(names, l.Name) {
			set = append(set, l.Index)
		}
	}
	slices.SortFunc(set, cmp.Compare[int])
	return slices.Compact(set)
}
