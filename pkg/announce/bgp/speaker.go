package bgp

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
)

// Options is what a Speaker needs.
type Options struct {
	Logger *slog.Logger

	// Notify is told of each change of a peer's status, in order for each
	// peer, from goroutines of the Speaker. It must not block or call back.
	Notify func(Status)
}

// Speaker makes routers see what is desired of this node.
type Speaker struct {
	log     *slog.Logger
	notify  func(Status)
	engines engines
	dial    func(context.Context, Peer) (net.Conn, error)
	changed chan struct{} // capacity 1

	mu         sync.Mutex // guards the fields below
	desired    map[string]Desired
	generation uint64
	peers      map[string]*peer
	progress   chan struct{} // closed and replaced when a peer has come further
}

// New returns a Speaker that does nothing until Run.
func New(o Options) *Speaker {
	notify := o.Notify
	if notify == nil {
		notify = func(Status) {}
	}
	return &Speaker{
		log:      o.Logger,
		notify:   notify,
		engines:  &library{log: o.Logger},
		dial:     func(ctx context.Context, p Peer) (net.Conn, error) { return dialRouter(ctx, p) },
		changed:  make(chan struct{}, 1),
		peers:    map[string]*peer{},
		progress: make(chan struct{}),
	}
}

// Apply replaces what is desired, by the names of the peers. It never waits
// for a router: the work is done by Run. A peer that is not in desired any
// more is told goodbye, so that it drops the routes at once. Equal calls do
// nothing. The routes in it must not be changed afterwards.
func (s *Speaker) Apply(desired map[string]Desired) {
	s.mu.Lock()
	s.desired = maps.Clone(desired)
	s.generation++
	s.mu.Unlock()
	poke(s.changed)
}

// Settled returns once what the last Apply before it asked for has been handed
// to the BGP library, and peers that it removed have gone.
func (s *Speaker) Settled(ctx context.Context) error {
	s.mu.Lock()
	generation := s.generation
	s.mu.Unlock()
	for {
		done, progress := s.has(generation)
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-progress:
		}
	}
}

func (s *Speaker) has(generation uint64) (bool, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.desired {
		if p := s.peers[name]; p == nil || p.generationApplied() < generation {
			return false, s.progress
		}
	}
	for name := range s.peers {
		if _, ok := s.desired[name]; !ok {
			return false, s.progress
		}
	}
	return true, s.progress
}

func (s *Speaker) advance() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.progress)
	s.progress = make(chan struct{})
}

// Reset ends a peer's established session because the path to it is known to
// be broken, as BFD tells, and connects again. It does so at most once in five
// seconds.
func (s *Speaker) Reset(name, reason string) {
	if p := s.peer(name); p != nil {
		p.reset(reason)
	}
}

// Retry makes a peer that waits for its next attempt try at once: the path to
// it is known to work.
func (s *Speaker) Retry(name string) {
	if p := s.peer(name); p != nil && p.current().State == Waiting {
		poke(p.kick)
	}
}

func (s *Speaker) peer(name string) *peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peers[name]
}

// Statuses returns the status of each peer, by name.
func (s *Speaker) Statuses() []Status {
	var all []Status
	for _, p := range s.all() {
		all = append(all, p.current())
	}
	return all
}

// all returns the peers by name.
func (s *Speaker) all() []*peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.peers), func(a, b *peer) int { return cmp.Compare(a.name, b.name) })
}

// Run works until ctx is cancelled, and returns when all connections are
// closed. It closes them without a BGP NOTIFICATION: a router that agreed to
// graceful restart keeps the routes for the next start. To end for good,
// Apply(nil) and wait for Settled first.
func (s *Speaker) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.changed:
			s.distribute(ctx, &running)
		}
	}
}

// distribute gives each peer its part of what is desired.
func (s *Speaker) distribute(ctx context.Context, running *sync.WaitGroup) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.desired {
		d := s.desired[name]
		p := s.peers[name]
		if p == nil {
			p = s.newPeer(name)
			s.peers[name] = p
			running.Go(func() {
				p.run(ctx)
				s.forget(p)
			})
		}
		p.set(&d, s.generation)
	}
	for name, p := range s.peers {
		if _, ok := s.desired[name]; !ok {
			p.set(nil, s.generation)
		}
	}
}

// forget drops a peer that has ended. If it is desired again by now, it starts
// anew.
func (s *Speaker) forget(p *peer) {
	s.mu.Lock()
	delete(s.peers, p.name)
	s.mu.Unlock()
	s.advance()
	poke(s.changed)
}

func (s *Speaker) newPeer(name string) *peer {
	return &peer{
		name: name, log: s.log.With("peer", name), engines: s.engines, dial: s.dial, notify: s.notify, settled: s.advance,
		changed: make(chan struct{}, 1), kick: make(chan struct{}, 1),
		status: Status{Peer: name},
	}
}

func (p *peer) generationApplied() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.applied
}
