package agent

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/herald-lb/herald/pkg/announce"
)

const (
	// coalesce is how long what follows a change waits to be taken together.
	coalesce = 5 * time.Millisecond
	// How long a node stays among the same members before it is ready, so that
	// it claims nothing by an incomplete view: if it sees all that should be
	// there, some of them, none of them, or is to be the only one. The shortest
	// is enough to hear what the others say of themselves.
	settleAll     = 50 * time.Millisecond
	settleSome    = 500 * time.Millisecond
	settleMissing = 3 * time.Second
	settleAlone   = time.Second
	settleMost    = 8 * time.Second // whatever comes and goes
	// lead is how long before this node claims anything it says that it is
	// ready: so the others know already whom they give way to.
	lead = 200 * time.Millisecond
	// drainPatience bounds how long a node that stops waits until others have
	// taken its addresses over.
	drainPatience = 4 * time.Second
	// poll is how often a node that waits to be ready, or to go, looks again.
	poll = 20 * time.Millisecond
	beat = time.Second
)

// Options is what an Agent needs. All fields are required.
type Options struct {
	Node       string // this node's name
	Layer2     Layer2
	BGP        BGP
	Membership Membership
	Recorder   Recorder
	Log        *slog.Logger
	Metrics    *Metrics
}

// Agent decides and has it carried out. Its methods may be called from any
// goroutine, before Run and during it.
type Agent struct {
	options Options
	log     *slog.Logger
	dirty   chan struct{} // holds one: look again
	state   atomic.Pointer[state]
	beats   atomic.Int64 // when the loop was last seen, in Unix nanoseconds

	mu    sync.Mutex // guards the fields below
	input input

	// Only the goroutine of Run uses the fields below.
	joined   time.Time // when members were first seen and all else was there
	started  time.Time // since when company is what it is
	company  int       // other members that are alive; of use until the node is ready
	draining bool
	local    *Local    // as published
	readyAt  time.Time // since when it says what it says of its readiness
	routers  routers
}

// input is what the edges handed over last.
type input struct {
	cluster      *announce.Cluster // nil before the first
	members      *Members          // nil before the first
	links        []announce.Link
	haveLinks    bool
	observations []Observation
}

// state is what the loop came to last. It is immutable.
type state struct {
	local   Local
	waiting string // what the node waits for before it may claim addresses; "" if it may
	input   input
	plan    announce.Plan
	tenures []tenure // index for index those of plan.Addresses
	routes  map[string]announce.PeerRoutes
}

// New returns an Agent that does nothing until Run.
func New(o Options) *Agent {
	a := &Agent{options: o, log: o.Log, dirty: make(chan struct{}, 1), routers: routers{bgp: o.BGP}}
	a.state.Store(&state{waiting: "the program to start"})
	return a
}

// SetCluster replaces what the API server shows.
func (a *Agent) SetCluster(c *announce.Cluster) {
	a.update(func(in *input) { in.cluster = c })
}

// SetMembers replaces what is known of the nodes' announcers.
func (a *Agent) SetMembers(m Members) {
	a.update(func(in *input) { in.members = &m })
}

// SetLinks replaces this node's usable links. The caller must not write to
// them any more.
func (a *Agent) SetLinks(links []announce.Link) {
	a.update(func(in *input) { in.links, in.haveLinks = links, true })
}

// Observe takes in what a speaker saw.
func (a *Agent) Observe(o Observation) {
	a.update(func(in *input) { in.observations = append(in.observations, o) })
}

// Wake makes the loop look again: a session has changed.
func (a *Agent) Wake() { a.update(func(*input) {}) }

func (a *Agent) update(f func(*input)) {
	a.mu.Lock()
	f(&a.input)
	a.mu.Unlock()
	select {
	case a.dirty <- struct{}{}:
	default:
	}
}

// Run works until ctx ends. Then it has other nodes take its addresses over,
// for which all the edges must still be at work, and returns nil.
func (a *Agent) Run(ctx context.Context) error {
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	stop := ctx.Done()
	var again, deadline <-chan time.Time
	for {
		a.beats.Store(time.Now().UnixNano())
		select {
		case <-stop:
			a.log.Info("stopping: other nodes take the addresses over", "addresses", len(a.options.Layer2.Owned()))
			a.routers.keep()
			a.draining, stop, deadline = true, nil, time.After(drainPatience)
		case <-deadline:
			a.log.Warn("stopping although not all is handed over", "addresses", a.left(), "routes", !a.routers.due.IsZero())
			return nil
		case <-again:
		case <-ticker.C:
		case <-a.dirty:
		}
		now := time.Now()
		a.step(now)
		if a.draining && a.routers.gone(a.state.Load(), now) && len(a.left()) == 0 {
			return nil
		}
		again = nil
		switch due := a.routers.due; {
		case a.draining || a.state.Load().waiting != "":
			again = time.After(poll)
		case !due.IsZero():
			again = time.After(due.Sub(now))
		}
		<-time.After(coalesce)
	}
}

// left returns the addresses that this node still answers for although another
// one is to take them over.
func (a *Agent) left() []string {
	s := a.state.Load()
	var left []string
	for _, addr := range a.options.Layer2.Owned() {
		d, ok := s.plan.Lookup(addr)
		if ok && d.Owner != "" && !d.Mine() {
			left = append(left, addr.String())
		}
	}
	return left
}

// step looks at everything and acts.
func (a *Agent) step(now time.Time) {
	in := a.take()
	before := a.state.Load()
	after := &state{input: in, waiting: a.waitingFor(in, now), plan: before.plan, tenures: before.tenures, routes: before.routes}
	after.local = a.describe(in, after.waiting == "")
	a.publish(after.local, now)
	if after.local.Ready && now.Sub(a.readyAt) < lead {
		after.waiting = "the others to hear of it"
	}
	if in.cluster != nil && in.cluster.Freshness != announce.Incomplete && in.members != nil {
		decided := a.decide(before, after, now)
		a.route(before, after, decided, now)
	}
	a.tell(after, in.observations)
	after.input.observations = nil
	a.options.Metrics.observe(after)
	a.state.Store(after)
}

// take returns the input, and forgets the observations in it.
func (a *Agent) take() input {
	a.mu.Lock()
	defer a.mu.Unlock()
	in := a.input
	a.input.observations = nil
	return in
}
